"""What a book of options makes its dealers hedge, by strike.

``position`` is the dealers' contracts per strike, calls in row 0 and puts in row 1, positive long.
Dollars per contract carry the multiplier of 100 shares. Everything that does not depend on a
position is computed once, on a ``GreeksByMove``, and used for every book.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.black import Greeks, greeks_columns
from sampler.metrics.special import (
    LEVEL,
    READ,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
    log_moneyness,
    mills,
    norm_pdf,
    scalar,
    time_value,
)
from storage.market.constants import MOVES, MULTIPLIER, YEAR_SECONDS

Floats = NDArray[np.float64]

ONE_PERCENT = 0.01
HOUR = 1 / 8760.0
#: This many standard deviations from the money, time value is below 1e-18 of the spot price.
FAR = 9.0
#: Sign of the dealers' position per open contract: long calls, short puts.
DEALER_SIGN = np.array([[1.0], [-1.0]])


class GreeksByMove(NamedTuple):
    """Per-strike figures of a chain that its books share: now, later, and at other levels."""

    spot: float
    years: float
    now: Greeks
    #: As the rows of ``AHEAD``. (12, n)
    ahead: Floats
    #: ln(F/K) of each strike. (n,)
    moneyness: Floats


#: Rows of ``GreeksByMove.ahead``: call delta in an hour, or half-way to expiry if that is sooner,
#: and call delta half-way to expiry, at the same forward; gamma at the former of the two; price
#: less intrinsic value, the same for a call and a put [$]; then call delta after each ``MOVES``.
#: No delta at expiry: it jumps with spot at each strike, and so would every sum over strikes.
HOUR_DELTA, HALF_DELTA, LATER_GAMMA, TIME_VALUE, MOVED = range(5)
AHEAD = MOVED + len(MOVES)
#: How many sums ``book_loop`` fills in.
SUMS = 13 + len(MOVES)
_LN_MOVES = np.log1p(list(MOVES.values()))


def greeks_by_move(
    spot: float, forward: float, strike: Floats, years: float, sigma: Floats
) -> GreeksByMove:
    """Everything about a chain that its books share. Forward moves with spot in proportion.

    Parameters
    ----------
    spot, forward : of the chain. [$]
    strike : ascending. (n,) [$]
    years : time to expiry; at 0 deltas are intrinsic. [years]
    sigma : volatility of each strike. (n,) [decimal]

    Returns
    -------
    GreeksByMove
        Greeks now (n,), the rows of ``AHEAD`` (12, n), and ln(F/K) (n,).
    """
    n = len(strike)
    now, ahead, moneyness = np.empty((7, n)), np.empty((AHEAD, n)), np.empty(n)
    _loops()[0](spot, forward, years, _LN_MOVES, strike, sigma, now, ahead, moneyness)
    # Faster than *now.
    today = Greeks(now[0], now[1], now[2], now[3], now[4], now[5], now[6])
    return GreeksByMove(spot, years, today, ahead, moneyness)


def charm_horizon(years: float) -> float:
    """Return how far ahead charm looks: an hour, or half of the time to expiry.

    Parameters
    ----------
    years : time to expiry. [years]

    Returns
    -------
    float
        The shorter of the two. [s]
    """
    return min(HOUR, 0.5 * years) * YEAR_SECONDS


def charm_curve(
    net: Floats,
    levels: Sequence[float],
    scene: GreeksByMove,
    *,
    forward: float,
    strike: Floats,
    sigma: Floats,
) -> tuple[tuple[float, float], ...]:
    """Return what dealers trade by time alone until expiry, if spot stays at each of some levels.

    At expiry a delta is 1 or 0, so a single level's number jumps where a strike is crossed. The
    curve shows where.

    Parameters
    ----------
    net : dealers' contracts of each strike, calls and puts together, positive long. (n,)
    levels : where spot might stay. [$]
    scene : of the chain, from ``greeks_by_move``; its time to expiry is above 0.
    forward : today's; it moves with spot in proportion. [$]
    strike, sigma : of the chain; each strike keeps its own volatility. (n,) [$, decimal]

    Returns
    -------
    tuple
        Pairs of level and Σ q·M·x·(Δ(T) − Δ(0)); positive: dealers buy. [$ and $]
    """
    dollars, stay = np.empty(len(levels)), np.array(levels)
    _loops()[1](
        scene.spot,
        forward,
        math.sqrt(scene.years),
        np.log(stay / scene.spot),
        stay,
        net,
        scene.moneyness,
        strike,
        sigma,
        dollars,
    )
    return tuple(zip(levels, dollars.tolist(), strict=True))


class BookExposures(NamedTuple):
    """One book's exposures by strike, gex and dex (2, n), and their sums."""

    #: $ of delta per 1 % move; positive: dealers dampen moves.
    gex: Floats
    #: Holders' delta in $; puts are negative.
    dex: Floats
    #: $ of delta per vol point; positive: vol up makes dealers sell.
    vex: Floats
    #: $ of delta that half of the time left makes dealers trade; positive: they buy.
    chex: Floats
    call_gex: float
    put_gex: float
    gross_gex: float
    call_dex: float
    put_dex: float
    net_vex: float
    net_chex: float
    #: The dealers' book in $ of delta.
    dealer_delta: float
    #: $ of delta that time makes dealers trade in the next hour, or in half of the time left if
    #: that is shorter; positive: they buy.
    charm: float
    hedging: Hedging


class Hedging(NamedTuple):
    """What dealers must do next."""

    #: Shares that they trade after each of ``MOVES``; positive: buy.
    shares: dict[str, float]
    #: Σ q·Γ·M: shares of delta that the book gains per $ that spot rises.
    convexity: float
    #: −Σ q·(time value)·M: what is left to decay; positive: the book gains. [$]
    net_theta_dollars: float
    #: The same for each hour that is left; None at expiry. [$/h]
    theta_per_hour_remaining: float | None
    #: Σ|q|·Γ later (see ``AHEAD``) over Σ|q|·Γ now; None without gamma.
    gamma_acceleration: float | None


def exposures_of(by_strike: Floats, total: Sequence[float], years: float) -> BookExposures:
    """Name what ``book_loop`` has filled in.

    Formulas: q·Γ·M·S²·0.01; Δ·OI·M·S; q·vanna·M·S·0.01; q·M·S·(Δ(T) − Δ(T/2)) at fixed forward and
    smile; Σ q·Δ·M·S; Σ q·M·S·(Δ(T) − Δ(max(T − 1 h, T/2))). Shares after a move are
    −Σ q·(Δ(S(1 + p)) − Δ(S))·M, every contract repriced at its own volatility: linear gamma has the
    wrong sign at +1 % on nearly half of the real chains that were looked at.

    Parameters
    ----------
    by_strike : its rows. (6, n)
    total : its sums.
    years : time to expiry. [years]

    Returns
    -------
    BookExposures
        By strike and summed; units are at its fields. [$, $ per 1 %, $ per vol point]
    """
    theta, gamma = total[9], total[11]
    return BookExposures(
        by_strike[:2],
        by_strike[2:4],
        by_strike[4],
        by_strike[5],
        call_gex=total[0],
        put_gex=total[1],
        gross_gex=total[2],
        call_dex=total[3],
        put_dex=total[4],
        net_vex=total[5],
        net_chex=total[6],
        dealer_delta=total[7],
        charm=total[8],
        hedging=Hedging(
            shares=dict(zip(MOVES, total[13:], strict=True)),
            convexity=total[10],
            net_theta_dollars=theta,
            theta_per_hour_remaining=theta / (years / HOUR) if years > 0 else None,
            gamma_acceleration=total[12] / gamma if gamma > 0 else None,
        ),
    )


@load_once
def _loops() -> tuple[Callable[..., None], Callable[..., None]]:
    return (
        compiled(_scene_loop, *[LEVEL] * 3, *[READ] * 3, *[WRITE_TABLE] * 2, WRITE),
        compiled(_curve_loop, *[LEVEL] * 3, *[READ] * 6, WRITE),
    )


@scalar
def book_loop(
    spot: float,
    position: Floats,
    open_interest: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    vanna: Floats,
    ahead: Floats,
    out: Floats,
    sums: Floats,
) -> None:
    """Fill the rows by strike, then the sums in the order of ``BookExposures`` and ``Hedging``.

    Parameters
    ----------
    spot : price of the underlying. [$]
    position : q, the dealers' contracts, calls first, positive long. (2, n)
    open_interest : OI held by customers, calls first. (2, n) [contracts]
    call_delta, put_delta, gamma, vanna : of this slot. (n,)
    ahead : as in ``GreeksByMove``. (12, n)
    out, sums : the rows (6, n), and ``SUMS`` sums that begin at 0.
    """
    dollars = MULTIPLIER * spot
    for k in range(gamma.size):
        # A call's and a put's delta differ by one at any time, so their changes are the same.
        call, put = position[0, k], position[1, k]
        delta, net = call_delta[k], call + put
        per_gamma = gamma[k] * (dollars * spot * ONE_PERCENT)
        out[0, k] = call * per_gamma
        out[1, k] = put * per_gamma
        out[2, k] = open_interest[0, k] * delta * dollars
        out[3, k] = open_interest[1, k] * put_delta[k] * dollars
        out[4, k] = net * dollars * vanna[k] * ONE_PERCENT
        out[5, k] = net * dollars * (delta - ahead[HALF_DELTA, k])
        size = abs(call) + abs(put)
        sums[0] += out[0, k]
        sums[1] += out[1, k]
        sums[2] += abs(out[0, k]) + abs(out[1, k])
        sums[3] += out[2, k]
        sums[4] += out[3, k]
        sums[5] += out[4, k]
        sums[6] += out[5, k]
        sums[7] += (call * delta + put * put_delta[k]) * dollars
        sums[8] += net * dollars * (delta - ahead[HOUR_DELTA, k])
        sums[9] -= net * MULTIPLIER * ahead[TIME_VALUE, k]
        sums[10] += net * MULTIPLIER * gamma[k]
        sums[11] += size * gamma[k]
        sums[12] += size * ahead[LATER_GAMMA, k]
    for m in range(sums.size - 13):
        shares = 0.0
        for k in range(gamma.size):
            net = position[0, k] + position[1, k]
            shares -= net * MULTIPLIER * (ahead[MOVED + m, k] - call_delta[k])
        sums[13 + m] = shares


def _scene_loop(
    spot: float,
    forward: float,
    years: float,
    moves: Floats,
    strike: Floats,
    sigma: Floats,
    now: Floats,
    out: Floats,
    x: Floats,
) -> None:
    """Fill greeks, the rows of ``AHEAD`` and ln(F/K); at T = 0 deltas are intrinsic, ½ at F."""
    n, root, half = strike.size, math.sqrt(years), math.sqrt(0.5 * years)
    for k in range(n):
        x[k] = log_moneyness(forward, strike[k])
    greeks_columns(spot, forward, years, x, strike, sigma, now)
    later = math.sqrt(max(years - HOUR, 0.5 * years))
    d1 = np.empty(n)
    for k in range(n):
        total = sigma[k] * later
        bell = norm_pdf(x[k] / total + 0.5 * total)
        out[LATER_GAMMA, k] = bell / (spot * total) if total > 0.0 else 0.0
        total = sigma[k] * root
        low, high = min(forward, strike[k]), max(forward, strike[k])
        out[TIME_VALUE, k] = time_value(low, high, total) if abs(x[k]) < FAR * total else 0.0
    _deltas(x, 0.0, half, sigma, d1, out[HALF_DELTA])
    if later == half:
        out[HOUR_DELTA] = out[HALF_DELTA]
    else:
        _deltas(x, 0.0, later, sigma, d1, out[HOUR_DELTA])
    for m in range(moves.size):
        _deltas(x, moves[m], root, sigma, d1, out[MOVED + m])


def _curve_loop(
    spot: float,
    forward: float,
    root: float,
    moves: Floats,
    levels: Floats,
    position: Floats,
    x: Floats,
    strike: Floats,
    sigma: Floats,
    out: Floats,
) -> None:
    """Fill ``out`` with the dollars of ``charm_curve``; ``moves`` are the levels' ln(x/S)."""
    n = strike.size
    d1, delta = np.empty(n), np.empty(n)
    for m in range(moves.size):
        _deltas(x, moves[m], root, sigma, d1, delta)
        left = 0.0
        at_level = forward / spot * levels[m]
        for k in range(n):
            end = 0.5 if at_level == strike[k] else 1.0 if at_level > strike[k] else 0.0
            left += position[k] * (delta[k] - end)
        out[m] = levels[m] * MULTIPLIER * left


@scalar
def _deltas(x: Floats, move: float, root: float, sigma: Floats, d1: Floats, out: Floats) -> None:
    """Call deltas N(d1) with ln(F/K) moved and √T = ``root``; in stages, for LLVM's vectors."""
    for k in range(out.size):
        total = sigma[k] * root
        d1[k] = (x[k] + move) / total + 0.5 * total
        out[k] = norm_pdf(d1[k])
    for k in range(out.size):
        out[k] *= mills(abs(d1[k]))[0]
    for k in range(out.size):
        # NaN is 0/0: nothing left, and at the money.
        out[k] = out[k] if d1[k] < 0.0 else 1.0 - out[k] if d1[k] >= 0.0 else 0.5
