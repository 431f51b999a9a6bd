"""Quotes, volume, and which side started the trades between two samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics import black
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_TABLE,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
)

Floats = NDArray[np.float64]

#: A previous quote older than this says nothing about where the mid stood in between. [s]
OLDEST = 90.0


class Quote(NamedTuple):
    """A contract's quote: its middle and half its width, NaN where there is none. [$]"""

    mid: Floats
    half: Floats


def quote(bid: Floats, ask: Floats) -> Quote:
    """Middle and half-width of each quote; none without an ask, or where it is below the bid.

    Parameters
    ----------
    bid, ask : prices, calls first, NaN where unreadable. (2, n) [$]

    Returns
    -------
    Quote
        Both fields (2, n), NaN where there is no quote. A bid of 0 is one. [$]
    """
    mid, half = np.empty(bid.shape), np.empty(bid.shape)
    _loops()[2](np.ascontiguousarray(bid), np.ascontiguousarray(ask), mid, half)
    return Quote(mid, half)


def aggressor_sign(
    added: Floats,
    last: Floats,
    last_at: Floats,
    *,
    before: Quote,
    now: Quote,
    before_at: float,
    now_at: float,
    tick: Floats,
    modelled: Floats,
) -> Floats:
    """The part of each contract's new volume that customers bought, less what they sold. [−1, 1]

    Where one of the two quotes is missing, the other one stands for both.

    Parameters
    ----------
    added : contracts traded in the interval; 0 gives 0. (2, n), as are all arrays here.
    last, last_at : last trade's price [$] and unix time [s], NaN where unknown.
    before, now : quotes at the interval's start and end, NaN where there is none. [$]
    before_at, now_at : unix times of the two quotes. [s]
    tick : the contract's price step. [$]
    modelled : Black's price at the new forward and time with the previous volatility, the
        yardstick where there is no print. [$]

    Returns
    -------
    ndarray
        s, in the shape of ``added``; 0 where the side is unknown. [−1 to 1]

    Notes
    -----
    In 30 s a 0DTE option moves several half-spreads, so a print is judged against where the mid
    stood when it printed: m* = m₀ + w·(m₁ − m₀), w by the trade's time, else n/(n+1) with
    n = max(1, ΔV/2), the mean position of the last of n evenly spread prints.
    s = clip((l − m*)/h, −1, 1); a locked quote gives the bare sign.
    """
    out = np.empty(added.size)
    _loops()[0](
        before_at,
        now_at,
        *(
            # A view, where the column is contiguous.
            column.ravel()
            for column in (
                added,
                last,
                last_at,
                before.mid,
                before.half,
                now.mid,
                now.half,
                tick,
                modelled,
            )
        ),
        out,
    )
    return out.reshape(added.shape)


def silent_prices(
    added: Floats, last: Floats, *, forward: float, strike: Floats, years: float, sigma: Floats
) -> Floats:
    """Black's prices of what traded without leaving a print: ``modelled`` of ``aggressor_sign``.

    Parameters
    ----------
    added : contracts traded in the interval, calls first. (2, n)
    last : last trade's price, NaN or 0 without one. (2, n) [$]
    forward : at the interval's end. [$]
    strike : (n,) [$]
    years : time to expiry at the interval's end. [years]
    sigma : volatility at the interval's start. (2, n) [decimal]

    Returns
    -------
    ndarray
        Prices; NaN where nothing traded or there is a print. (2, n) [$]
    """
    prices = np.empty(added.shape)
    tables = map(np.ascontiguousarray, (added, last, sigma))
    _loops()[3](forward, years, strike, *tables, prices)
    return prices


def trade_signs(price: Floats, size: Floats, mid: Floats, half: Floats, *, tick: Floats) -> Floats:
    """Contracts that customers bought in each trade, less what they sold: s·size.

    s = clip((price − mid)/half, −1, 1) against the quote that stood when it traded, by the rules
    of ``aggressor_sign``: half a tick at least, the bare sign where the quote is locked. A trade
    without a price or a quote (NaN) is of unknown side: 0. The sum over a contract's trades is its
    signed volume.

    Parameters
    ----------
    price : of each trade. Arrays that broadcast, (n,) as a rule. [$]
    size : of each trade. As above. [contracts]
    mid, half : middle and half-width of the quote that stood then. As above. [$]
    tick : the contract's price step. As above. [$]

    Returns
    -------
    ndarray
        Signed contracts, in the common shape of the arguments. [contracts]

    Raises
    ------
    ValueError
        Where the shapes do not broadcast.
    """
    columns = np.broadcast_arrays(price, size, mid, half, tick)
    out = np.empty(columns[0].size)
    # Copies, since a broadcast array is read-only, and compiled loops refuse one.
    _loops()[1](*(np.array(c, np.float64).reshape(-1) for c in columns), out)
    return out.reshape(columns[0].shape)


@load_once
def _loops() -> tuple[Callable[..., None], ...]:
    return (
        compiled(sign_loop, LEVEL, LEVEL, *[READ] * 9, WRITE),
        compiled(_trade_loop, *[READ] * 5, WRITE),
        compiled(quote_loop, *[READ_TABLE] * 2, *[WRITE_TABLE] * 2),
        compiled(silent_loop, LEVEL, LEVEL, READ, *[READ_TABLE] * 3, WRITE_TABLE),
    )


@scalar
def silent_loop(
    forward: float,
    years: float,
    strike: Floats,
    added: Floats,
    last: Floats,
    sigma: Floats,
    out: Floats,
) -> None:
    """Fill in what ``silent_prices`` returns.

    Parameters
    ----------
    forward, years, strike, added, last, sigma : as there.
    out : the prices. (2, n) [$]
    """
    for side in range(2):
        for k in range(strike.size):
            silent = added[side, k] > 0.0 and not last[side, k] > 0.0
            out[side, k] = (
                black.one_price(forward, strike[k], years, sigma[side, k], 1.0 - side)
                if silent
                else math.nan
            )


@scalar
def quote_loop(bid: Floats, ask: Floats, mid: Floats, half: Floats) -> None:
    """Fill in the fields of ``Quote``.

    Parameters
    ----------
    bid, ask : as ``quote`` has them. (2, n) [$]
    mid, half : the fields. (2, n) [$]
    """
    for side in range(bid.shape[0]):
        for k in range(bid.shape[1]):
            b, a = bid[side, k], ask[side, k]
            usable = a > 0.0 and a >= b >= 0.0
            mid[side, k] = (b + a) / 2.0 if usable else math.nan
            half[side, k] = (a - b) / 2.0 if usable else math.nan


@scalar
def _against(price: float, mid: float, width: float, tick: float) -> float:
    """Where a price stands between bid (−1) and ask (1); NaN where either is unknown."""
    off = price - mid
    if width == 0.0:
        # Locked: the bare sign.
        return off if math.isnan(off) else float((off > 0.0) - (off < 0.0))
    if math.isnan(off) or math.isnan(width):
        return math.nan
    return min(max(off / max(width, 0.5 * tick), -1.0), 1.0)


def _trade_loop(
    price: Floats, size: Floats, mid: Floats, half: Floats, tick: Floats, out: Floats
) -> None:
    for i in range(out.size):
        signed = size[i] * _against(price[i], mid[i], half[i], tick[i])
        out[i] = signed if price[i] > 0.0 and math.isfinite(signed) else 0.0


@scalar
def sign_loop(
    before_at: float,
    now_at: float,
    added: Floats,
    last: Floats,
    last_at: Floats,
    mid_before: Floats,
    half_before: Floats,
    mid_now: Floats,
    half_now: Floats,
    tick: Floats,
    modelled: Floats,
    out: Floats,
) -> None:
    """Fill in what ``aggressor_sign`` returns.

    Parameters
    ----------
    before_at, now_at, added, last, last_at, tick, modelled : as there, columns of one length n.
    mid_before, half_before, mid_now, half_now : the quotes there. (n,) [$]
    out : the signs. (n,) [−1 to 1]
    """
    span = now_at - before_at
    for i in range(out.size):
        out[i] = 0.0
        if not added[i] > 0.0:
            continue
        # Where one of the two quotes is missing the other stands for both.
        mid0 = mid_now[i] if math.isnan(mid_before[i]) else mid_before[i]
        mid1 = mid_before[i] if math.isnan(mid_now[i]) else mid_now[i]
        half0 = half_now[i] if math.isnan(half_before[i]) else half_before[i]
        half1 = half_before[i] if math.isnan(half_now[i]) else half_now[i]
        width = 0.5 * (half0 + half1)
        if last[i] > 0.0:
            weight = 1.0
            if 0.0 < span <= OLDEST:
                count = max(1.0, 0.5 * added[i])
                timed = (last_at[i] - before_at) / span
                known = math.isfinite(timed)
                weight = min(max(timed, 0.0), 1.0) if known else count / (count + 1.0)
            sign = _against(last[i], mid0 + weight * (mid1 - mid0), width, tick[i])
        else:
            off = mid1 - modelled[i]
            sign = 0.0
            if abs(off) > max(width, 0.5 * tick[i]):
                sign = 1.0 if off > 0.0 else -1.0
        if math.isfinite(sign):
            out[i] = sign
