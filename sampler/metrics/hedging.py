"""What dealers must do next: for a move of spot, and as time passes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.black import Greeks, greeks, price
from sampler.metrics.exposure import HOUR, MULTIPLIER

Floats = NDArray[np.float64]

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


class Decay(NamedTuple):
    """What time alone does to a book until it expires."""

    #: −Σ q·(time value)·M: what the dealers' book loses until expiry; positive: it gains. [$]
    net_theta_dollars: float
    #: The same for each hour that is left. [$/h]
    theta_per_hour_remaining: float | None
    #: Σ|q|·Γ an hour from now (or half-way to expiry, whichever is nearer) over Σ|q|·Γ now.
    gamma_acceleration: float | None


def hedging_table(
    net: Floats,
    g: Greeks,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
) -> dict[str, float]:
    """Shares of the underlying that dealers trade to stay hedged after each move; positive: buy.

    −Σ q·(Δ(S(1 + p)) − Δ(S))·M, every contract repriced at its own volatility: linear gamma has the
    wrong sign at +1 % on nearly half of real chains. ``net`` is dealers' contracts by strike.
    """
    shares = {}
    for name, move in MOVES.items():
        up = 1 + move
        there = greeks(spot * up, forward * up, strike, years, sigma)
        # Calls and puts of a strike change their delta alike.
        shares[name] = -float(net @ (there.call_delta - g.call_delta)) * MULTIPLIER
    return shares


def convexity(net: Floats, g: Greeks) -> float:
    """Σ q·Γ·M: shares of delta that the book gains per $ that spot rises."""
    return float(net @ g.gamma) * MULTIPLIER


def decay(
    position: Floats,
    g: Greeks,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
) -> Decay:
    """What time takes from a book; ``position`` is (2, n). Null ratios once nothing is left."""
    # A strike's call and put have the same time value.
    call = strike >= forward
    value = price(forward, strike, years, sigma, call)
    total = -float(position.sum(axis=0) @ value) * MULTIPLIER
    hours = years / HOUR
    size = np.abs(position).sum(axis=0)
    now = float(size @ g.gamma)
    later = greeks(spot, forward, strike, max(years - HOUR, years / 2), sigma)
    return Decay(
        net_theta_dollars=total,
        theta_per_hour_remaining=total / hours if hours > 0 else None,
        gamma_acceleration=float(size @ later.gamma) / now if now > 0 else None,
    )
