"""What a source's other expiries add: gamma of all, a week's volatility, the future's forward."""

from __future__ import annotations

import math
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.chain import (
    HIGHEST_COUNT,
    HIGHEST_PRICE,
    LOWEST_STRIKE,
    Frame,
    am_twins,
    mask_outside,
    weaker_twins,
)
from sampler.metrics import black
from sampler.metrics.exposure import DEALER_SIGN, ONE_PERCENT
from sampler.metrics.flow import quote
from sampler.metrics.parity import discounted_forward
from sampler.metrics.smile import Forward, forward, smile
from storage.market.calendar import Session, expiry_moment, expiry_moment_on, sessions_between
from storage.market.constants import MULTIPLIER, YEAR_SECONDS
from storage.market.futures import FUTURES_INDEXES, settlement_after
from storage.market.instruments import AM_ROOTS, instrument_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: An expiry so many days away stands for "seven days".
WEEK, NEAREST, FARTHEST = 7, 5, 9


class OtherExpiries(NamedTuple):
    """Figures of all expiries; None where the source brings only today's."""

    #: Settled net GEX of every expiry that could be priced. [$ per 1 %]
    total_chain_net_gex: float | None
    #: ATM volatility of the expiry nearest to seven days away, five to nine. [decimal]
    seven_dte_atm_iv: float | None
    #: Volatility a session: today's remaining over that expiry's.
    iv_ratio_0dte_7dte: float | None
    #: Age of the oldest answer for another expiry, where each has an answer of its own. [s]
    other_expiries_age_seconds: float | None = None
    #: Parity forward to the day on which the index's nearest quarterly future settles. [$]
    future_forward: float | None = None
    #: Half the interquartile range of its estimates by strike. [$]
    future_forward_scatter: float | None = None


NO_OTHER_EXPIRIES = OtherExpiries(None, None, None)


def measure_other_expiries(
    frame: Frame, session: Session, *, spot: float, atm: float, years: float
) -> OtherExpiries:
    """Price every expiry of a frame at its own parity forward and smile.

    AM-settled contracts count to 09:30 of their day, every other contract to the close of its own
    session, early or late. Of contracts with the same strike and right in one expiry the one with
    the most life counts (see ``weaker_twins``). Where an index feed drops roots, both may be real:
    then the open interest of all that are quoted or traded counts. Of two expiries equally far from
    seven days the earlier one counts. A frame that was stored without its other expiries carries
    their figures instead. Where a known expiry is missing in the frame there is no sum of all, and
    no volatility of a week if the missing one may be the nearest.

    Parameters
    ----------
    frame : every contract of the source, of all expiries.
    session : today's session.
    spot : price of the underlying. [$]
    atm : today's volatility at the money, a year; 0.12 is 12 %.
    years : time to today's close. It gives today's weight in the ratio of volatilities per session,
        √(σ²T / sessions): today counts as the part of it that is left to trade. [years]

    Returns
    -------
    OtherExpiries
        What the other expiries add; None for what they do not tell.
    """
    if frame.other_expiries is not None:
        return OtherExpiries(*(frame.other_expiries.get(name) for name in OtherExpiries._fields))
    today = np.datetime64(session.day)
    sound = (
        (frame.expiry >= today)
        & (frame.strike >= LOWEST_STRIKE)
        & (frame.right != 0)
        & (frame.open_interest >= 0)
        & (frame.open_interest <= HIGHEST_COUNT)
    )
    morning = np.isin(frame.root, sorted(AM_ROOTS))
    # Adjusted contracts deliver something else; today's AM-settled ones settled at the open.
    adjusted = [root for root in np.unique(frame.root).tolist() if root[-1:].isdigit()]
    sound &= ~np.isin(frame.root, adjusted)
    sound &= ~((frame.expiry == today) & (morning | am_twins(frame, frame.expiry == today)))
    if not (frame.expiry[sound] > today).any():
        return NO_OTHER_EXPIRIES
    total = 0.0
    week: tuple[int, float, float, date] | None = None
    settles = settlement_after(session.day) if frame.symbol in FUTURES_INDEXES else None
    future: Forward | None = None
    for day in np.unique(frame.expiry[sound]):
        for am in (False, True):
            contracts = np.flatnonzero(sound & (frame.expiry == day) & (morning == am))
            if not len(contracts):
                continue
            expires = expiry_moment_on(frame.symbol, day.item(), morning=am)
            left = (expires - frame.quoted_at).total_seconds() / YEAR_SECONDS
            expiry = _expiry(frame, contracts, today=bool(day == today))
            if day.item() == settles:
                # Contracts that settle in the morning, as the future does, come after the others.
                future = discounted_forward(expiry.strike, expiry.mid, expiry.bid) or future
            priced = _price(expiry, spot, left)
            if priced is None:
                continue
            gex, iv = priced
            total += gex
            away = (day.item() - session.day).days
            if not am and NEAREST <= away <= FARTHEST:
                # Days ascend: of two that are equally far from a week the earlier one stands.
                candidate = (abs(away - WEEK), iv, left, day.item())
                week = candidate if week is None or candidate[0] < week[0] else week
    age = frame.other_expiries_age_seconds
    ahead = (age, *((None, None) if future is None else (future.level, future.spread)))
    whole_chain = None if frame.missing_expirations else total
    nearest = [abs((day - session.day).days - WEEK) for day in frame.missing_expirations]
    if week is None or min(nearest, default=math.inf) <= week[0]:
        return OtherExpiries(whole_chain, None, None, *ahead)
    _, iv, left, week_expiry = week
    whole = (expiry_moment(frame.symbol, session) - session.open).total_seconds() / YEAR_SECONDS
    rest = years / whole
    sessions = rest + len(sessions_between(session.day, week_expiry)) - 1
    ratio = None
    if rest > 0 and iv > 0:
        ratio = atm * math.sqrt(years / rest) / (iv * math.sqrt(left / sessions))
    return OtherExpiries(whole_chain, iv, ratio, *ahead)


def _both_real(frame: Frame, among: Bools, *, today: bool) -> Bools:
    """Living contracts of an expiry whose twins need not be copies: AM- and PM-settled ones.

    They are told apart by their roots where a feed has them. Today's AM-settled ones are over.
    """
    if (
        today
        or not instrument_of(frame.symbol).am_roots
        or np.char.str_len(frame.root[among]).any()
    ):
        return np.zeros(len(among), np.bool_)
    return among & ((frame.bid > 0) | (frame.ask > 0) | (frame.volume > 0))


class _Expiry(NamedTuple):
    """One expiry's contracts by strike; tables have calls first."""

    strike: Floats
    open_interest: Floats
    bid: Floats
    mid: Floats


def _expiry(frame: Frame, contracts: NDArray[np.intp], *, today: bool) -> _Expiry:
    """Lay the contracts of one expiry out by strike, each strike and right once."""
    among = np.zeros(len(frame.strike), np.bool_)
    among[contracts] = True
    weaker = weaker_twins(frame, among)
    held = np.flatnonzero(among & ~(weaker & ~_both_real(frame, among, today=today)))
    contracts = np.flatnonzero(among & ~weaker)
    strike, column = np.unique(frame.strike[contracts], return_inverse=True)
    side = np.where(frame.right[contracts] > 0, 0, 1)
    oi = np.zeros((2, len(strike)))
    holder = np.where(frame.right[held] > 0, 0, 1)
    np.add.at(oi, (holder, np.searchsorted(strike, frame.strike[held])), frame.open_interest[held])
    bid, ask = np.full((2, len(strike)), np.nan), np.full((2, len(strike)), np.nan)
    bid[side, column], ask[side, column] = frame.bid[contracts], frame.ask[contracts]
    bid, ask = mask_outside(bid, HIGHEST_PRICE), mask_outside(ask, HIGHEST_PRICE)
    return _Expiry(strike, oi, bid, quote(bid, ask).mid)


def _price(expiry: _Expiry, spot: float, years: float) -> tuple[float, float] | None:
    """Net GEX and ATM volatility of one expiry; None if it cannot be priced."""
    strike, oi, bid, mid = expiry
    level = forward(strike, mid, bid, spot).level
    fitted = smile(strike, mid, bid, forward=level, years=years)
    if fitted is None or years <= 0:
        return None
    gamma = black.greeks(spot, level, strike, years, fitted.filled).gamma
    gex = (DEALER_SIGN * oi * gamma).sum() * MULTIPLIER * spot * spot * ONE_PERCENT
    return float(gex), float(np.interp(level, strike, fitted.filled))
