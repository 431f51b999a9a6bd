"""Price levels that a book of options makes: flip, walls, magnet, max pain."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import MULTIPLIER, ONE_PERCENT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: How far from spot a flip is looked for.
REACH = 0.10
#: A crossing counts only if |G| passes this part of its maximum on both sides.
SIGNIFICANT = 0.01
#: Two-sided strikes within ±2 % that a flip needs.
LEAST_NEAR, NEAR = 5, 0.02
_ROOT_2PI = np.sqrt(2 * np.pi)


class FlipStatus(StrEnum):
    """Whether there is a gamma flip, and why not."""

    AVAILABLE = "available"
    NO_BOUNDARY = "no_boundary"
    INSUFFICIENT = "insufficient_local_coverage"


class Flip(NamedTuple):
    """The crossing nearest to spot, and all of them in order."""

    level: float | None
    status: FlipStatus
    crossings: Floats


def gamma_at(
    levels: Floats,
    position: Floats,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
) -> Floats:
    """Net gamma exposure G(x) with spot at each level, every strike at its own volatility. [$]

    ``position`` is net contracts by strike. The forward moves with spot, in proportion.
    """
    total = sigma * np.sqrt(years)
    d1 = np.log(levels[:, None] * (forward / spot) / strike) / total + total / 2
    weight = position / total * (MULTIPLIER * ONE_PERCENT / _ROOT_2PI)
    return np.asarray(levels * (np.exp(-d1 * d1 / 2) @ weight))


def flip(
    position: Floats,
    two_sided: Bools,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
    remaining: float,
) -> Flip:
    """Where net gamma, repriced at each level within ±10 % of spot, crosses zero.

    Parameters
    ----------
    position : (n,) net dealer contracts by strike.
    two_sided : (n,) whether the strike's out-of-the-money quote has a bid and an ask.
    remaining : one standard deviation of what is left. [$]

    Notes
    -----
    The grid is even, plus eight points to a standard deviation around each strike, so that
    no bell is stepped over however narrow it is.
    """
    none = np.empty(0)
    near = np.abs(strike - spot) <= NEAR * spot
    if (two_sided & near).sum() < LEAST_NEAR or remaining < np.median(np.diff(strike[near])) / 2:
        return Flip(None, FlipStatus.INSUFFICIENT, none)
    total = sigma * np.sqrt(years)
    around = strike[:, None] * (spot / forward) * np.exp(np.linspace(-4, 4, 33) * total[:, None])
    low, high = spot * (1 - REACH), spot * (1 + REACH)
    grid = np.unique(np.concatenate([np.linspace(low, high, 401), around.ravel()]))
    grid = grid[(grid >= low) & (grid <= high)]

    def gamma(levels: Floats) -> Floats:
        return gamma_at(
            levels,
            position,
            spot=spot,
            forward=forward,
            strike=strike,
            years=years,
            sigma=sigma,
        )

    value = gamma(grid)
    # Only points where the book is clearly signed can bound a crossing.
    clear = np.flatnonzero(np.abs(value) > SIGNIFICANT * np.abs(value).max(initial=0.0))
    turn = np.flatnonzero(np.sign(value[clear[1:]]) != np.sign(value[clear[:-1]]))
    if not len(turn):
        return Flip(None, FlipStatus.NO_BOUNDARY, none)
    left, right = grid[clear[turn]], grid[clear[turn + 1]]
    sign = np.sign(value[clear[turn]])
    while np.max(right - left) > 1e-9 * spot:
        middle = (left + right) / 2
        same = np.sign(gamma(middle)) == sign
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    crossings = (left + right) / 2
    nearest = float(crossings[np.argmin(np.abs(crossings - spot))])
    return Flip(nearest, FlipStatus.AVAILABLE, crossings)


def strongest(strike: Floats, size: Floats, spot: float) -> int | None:
    """Index of the largest size, ties to the strike nearest spot; None if none is positive."""
    top = size.max(initial=0.0)
    if not top > 0:
        return None
    tied = np.flatnonzero(size == top)
    return int(tied[np.argmin(np.abs(strike[tied] - spot))])


def max_pain(strike: Floats, open_interest: Floats, spot: float) -> float | None:
    """The settlement at which holders receive least; None without open interest. [$]"""
    if not open_interest.any():
        return None
    above = np.maximum(strike[:, None] - strike, 0.0)
    paid = above @ open_interest[0] + above.T @ open_interest[1]
    tied = np.flatnonzero(paid == paid.min())
    return float(strike[tied[np.argmin(np.abs(strike[tied] - spot))]])
