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
from sampler.metrics.special import READ, WRITE_TABLE, compiled, norm_cdf

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
    _loop()(forwards, times, strike, sigma, there)
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
    """Exposures of one book; gex and dex are (2, n), vex and chex (n,)."""

    #: $ of delta per 1 % move; positive: dealers dampen moves.
    gex: Floats
    #: Holders' delta in $; puts are negative.
    dex: Floats
    #: $ of delta per vol point; positive: vol up makes dealers sell.
    vex: Floats
    #: $ of delta that time alone leaves to trade until expiry; positive: dealers buy.
    chex: Floats
    #: The dealers' book in $ of delta, summed.
    dealer_delta: float
    #: $ of delta that the next hour alone makes dealers trade; positive: they buy.
    charm_per_hour: float


def exposures(position: Floats, open_interest: Floats, of: Sheet) -> Exposures:
    """All exposures of a dealer position, and dex of the open interest held against it.

    Formulas: q·Γ·M·S²·0.01; Δ·OI·M·S; q·vanna·M·S·0.01; q·M·S·(Δ(T) − Δ(0)) at fixed forward and
    smile; Σ q·Δ·M·S; Σ q·M·S·(Δ(T) − Δ(T − 1 h)).
    """
    dollars = MULTIPLIER * of.spot
    # A call's and a put's delta differ by one at any time, so their changes are the same.
    net = (position[0] + position[1]) * dollars
    return Exposures(
        gex=position * (of.now.gamma * (dollars * of.spot * ONE_PERCENT)),
        dex=open_interest * of.delta * dollars,
        vex=net * of.now.vanna * ONE_PERCENT,
        chex=net * (of.now.call_delta - of.end),
        dealer_delta=float(np.vdot(position, of.delta) * dollars),
        charm_per_hour=float(net @ (of.now.call_delta - of.hour)),
    )


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


def hedging(position: Floats, of: Sheet) -> Hedging:
    """What a book makes dealers do for a move of spot, and as time passes.

    Shares are −Σ q·(Δ(S(1 + p)) − Δ(S))·M, every contract repriced at its own volatility: linear
    gamma has the wrong sign at +1 % on nearly half of the real chains that were looked at.
    """
    net = (position[0] + position[1]) * MULTIPLIER
    size = np.abs(position).sum(axis=0)
    shares = -((of.moved - of.now.call_delta) @ net)
    theta = -float(net @ of.time_value)
    gamma = float(size @ of.now.gamma)
    return Hedging(
        shares=dict(zip(MOVES, shares.tolist(), strict=True)),
        convexity=float(net @ of.now.gamma),
        net_theta_dollars=theta,
        theta_per_hour_remaining=theta / (of.years / HOUR) if of.years > 0 else None,
        gamma_acceleration=float(size @ of.later_gamma) / gamma if gamma > 0 else None,
    )


def warm() -> None:
    """Load the compiled loop, so that no slot waits for it."""
    _loop()


@functools.cache
def _loop() -> Callable[..., None]:
    return compiled(_delta_loop, READ, READ, READ, READ, WRITE_TABLE)


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
