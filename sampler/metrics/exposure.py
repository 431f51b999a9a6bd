"""What a book of options makes its dealers hedge, by strike.

``position`` is the dealers' contracts per strike, calls in row 0 and puts in row 1, positive long.
Dollars per contract carry the multiplier of 100 shares. Everything that does not depend on a
position is computed once, on a ``Sheet``, and used for every book.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.black import Greeks, greeks, price
from sampler.metrics.special import READ, WRITE, WRITE_TABLE, compiled, norm_cdf

Floats = NDArray[np.float64]

MULTIPLIER = 100.0
ONE_PERCENT = 0.01
HOUR = 1 / 8760.0
#: Sign of the dealers' position per open contract: long calls, short puts.
DEALER_SIGN = np.array([[1.0], [-1.0]])
#: Moves of spot in the hedging table, by the names that clients know.
MOVES: dict[str, float] = {
    "spot_up_10bp": 0.001,
    "spot_down_10bp": -0.001,
    "spot_up_25bp": 0.0025,
    "spot_down_25bp": -0.0025,
    "spot_up_half_pct": 0.005,
    "spot_down_half_pct": -0.005,
    "spot_up_1pct": 0.01,
    "spot_down_1pct": -0.01,
}


class Sheet(NamedTuple):
    """Per-contract figures of a chain, by strike: now, later, and at other levels of spot."""

    spot: float
    years: float
    now: Greeks
    #: Deltas of calls and puts. (2, n)
    delta: Floats
    #: Call delta in an hour (at expiry, if that is sooner), and at expiry, at the same forward.
    hour: Floats
    end: Floats
    #: Call delta after each of ``MOVES``. (8, n)
    moved: Floats
    #: Gamma in an hour, or half-way to expiry if that is sooner.
    later_gamma: Floats
    #: Price less intrinsic value, the same for a call and a put. [$]
    time_value: Floats


def sheet(spot: float, forward: float, strike: Floats, years: float, sigma: Floats) -> Sheet:
    """Everything about a chain that its books share. Forward moves with spot in proportion."""
    now = greeks(spot, forward, strike, years, sigma)
    forwards = np.array([forward, forward, *(forward * (1 + move) for move in MOVES.values())])
    times = np.full(len(forwards), years)
    times[0], times[1] = max(years - HOUR, 0.0), 0.0
    there = np.empty((len(forwards), len(strike)))
    _loops()[0](forwards, times, strike, sigma, there)
    return Sheet(
        spot=spot,
        years=years,
        now=now,
        delta=np.stack([now.call_delta, now.put_delta]),
        hour=there[0],
        end=there[1],
        moved=there[2:],
        later_gamma=greeks(spot, forward, strike, max(years - HOUR, years / 2), sigma).gamma,
        time_value=price(forward, strike, years, sigma, strike >= forward),
    )


class Exposures(NamedTuple):
    """One book's exposures by strike, gex and dex (2, n), and their sums."""

    #: $ of delta per 1 % move; positive: dealers dampen moves.
    gex: Floats
    #: Holders' delta in $; puts are negative.
    dex: Floats
    #: $ of delta per vol point; positive: vol up makes dealers sell.
    vex: Floats
    #: $ of delta that time alone leaves to trade until expiry; positive: dealers buy.
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
    #: $ of delta that the next hour alone makes dealers trade; positive: they buy.
    charm_per_hour: float
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
    #: Σ|q|·Γ later (see ``Sheet.later_gamma``) over Σ|q|·Γ now; None without gamma.
    gamma_acceleration: float | None


def exposures(position: Floats, open_interest: Floats, of: Sheet) -> Exposures:
    """All exposures of a dealer position, dex of the open interest held against it, and its hedges.

    Formulas: q·Γ·M·S²·0.01; Δ·OI·M·S; q·vanna·M·S·0.01; q·M·S·(Δ(T) − Δ(0)) at fixed forward and
    smile; Σ q·Δ·M·S; Σ q·M·S·(Δ(T) − Δ(T − 1 h)). Shares after a move are −Σ q·(Δ(S(1 + p)) −
    Δ(S))·M, every contract repriced at its own volatility: linear gamma has the wrong sign at +1 %
    on nearly half of the real chains that were looked at.
    """
    by_strike = np.empty((6, position.shape[1]))
    sums = np.zeros(14 + len(MOVES))
    now = of.now
    _loops()[1](
        np.array([of.spot]),
        *np.ascontiguousarray(position),
        *np.ascontiguousarray(open_interest),
        now.call_delta,
        now.put_delta,
        now.gamma,
        now.vanna,
        of.end,
        of.hour,
        of.later_gamma,
        of.time_value,
        of.moved.reshape(-1),
        by_strike,
        sums,
    )
    total = sums.tolist()
    theta, gamma = total[9], total[11]
    return Exposures(
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
        charm_per_hour=total[8],
        hedging=Hedging(
            shares=dict(zip(MOVES, total[14:], strict=True)),
            convexity=total[10],
            net_theta_dollars=theta,
            theta_per_hour_remaining=theta / (of.years / HOUR) if of.years > 0 else None,
            gamma_acceleration=total[12] / gamma if gamma > 0 else None,
        ),
    )


def warm() -> None:
    """Load the compiled loops, so that no slot waits for them."""
    _loops()


@functools.cache
def _loops() -> tuple[Callable[..., None], Callable[..., None]]:
    return (
        compiled(_delta_loop, READ, READ, READ, READ, WRITE_TABLE),
        compiled(_book_loop, *[READ] * 14, WRITE_TABLE, WRITE),
    )


def _book_loop(
    spot: Floats,
    q_call: Floats,
    q_put: Floats,
    oi_call: Floats,
    oi_put: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    vanna: Floats,
    end: Floats,
    hour: Floats,
    later_gamma: Floats,
    time_value: Floats,
    moved: Floats,
    out: Floats,
    sums: Floats,
) -> None:
    """Fill the six rows by strike, and the sums in the order of ``Exposures`` and ``Hedging``."""
    dollars = MULTIPLIER * spot[0]
    n = gamma.size
    for k in range(n):
        # A call's and a put's delta differ by one at any time, so their changes are the same.
        net = q_call[k] + q_put[k]
        per_gamma = gamma[k] * (dollars * spot[0] * ONE_PERCENT)
        out[0, k] = q_call[k] * per_gamma
        out[1, k] = q_put[k] * per_gamma
        out[2, k] = oi_call[k] * call_delta[k] * dollars
        out[3, k] = oi_put[k] * put_delta[k] * dollars
        out[4, k] = net * dollars * vanna[k] * ONE_PERCENT
        out[5, k] = net * dollars * (call_delta[k] - end[k])
        size = abs(q_call[k]) + abs(q_put[k])
        sums[0] += out[0, k]
        sums[1] += out[1, k]
        sums[2] += abs(out[0, k]) + abs(out[1, k])
        sums[3] += out[2, k]
        sums[4] += out[3, k]
        sums[5] += out[4, k]
        sums[6] += out[5, k]
        sums[7] += (q_call[k] * call_delta[k] + q_put[k] * put_delta[k]) * dollars
        sums[8] += net * dollars * (call_delta[k] - hour[k])
        sums[9] -= net * MULTIPLIER * time_value[k]
        sums[10] += net * MULTIPLIER * gamma[k]
        sums[11] += size * gamma[k]
        sums[12] += size * later_gamma[k]
        for m in range(sums.size - 14):
            sums[14 + m] -= net * MULTIPLIER * (moved[m * n + k] - call_delta[k])


def _delta_loop(
    forwards: Floats, times: Floats, strike: Floats, sigma: Floats, out: Floats
) -> None:
    """Call deltas N(d1) at several forwards and times; intrinsic, ½ at the money, at T = 0."""
    for r in range(forwards.size):
        root = math.sqrt(times[r])
        for k in range(strike.size):
            total = sigma[k] * root
            if total > 0.0:
                out[r, k] = norm_cdf(math.log(forwards[r] / strike[k]) / total + 0.5 * total)
            elif forwards[r] == strike[k]:
                out[r, k] = 0.5
            else:
                out[r, k] = 1.0 if forwards[r] > strike[k] else 0.0
