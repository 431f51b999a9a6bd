"""A book's gamma and charm on the way to the close: on a grid of spot and time, and the flip's way.

Everything stays as it is but spot and time: the dealers' position, each strike's own volatility
(sticky strike), and the forward's ratio to spot. It is no forecast.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import FAR, ONE_PERCENT, GreeksByMove, charm_curve
from sampler.metrics.flip import find_flips
from storage.market.constants import MULTIPLIER

Floats = NDArray[np.float64]


class BookProjection(NamedTuple):
    """A book's gamma and charm by time and level, and its flip at each time."""

    #: Gamma dollars per 1 %, the mean over the level's cell; positive: dampens. (times, levels)
    gamma: Floats
    #: What time alone makes dealers trade from now until then at the level, $; positive: buy.
    charm: Floats
    #: The crossing nearest to today's spot; None where there is none, or it cannot be told. [$]
    flips: list[float | None]


def project_book(
    net: Floats,
    scene: GreeksByMove,
    *,
    forward: float,
    strike: Floats,
    sigma: Floats,
    levels: Floats,
    left: Floats,
    covered: list[bool],
) -> BookProjection:
    """Reprice a book at levels of spot and at later times.

    Parameters
    ----------
    net : dealers' contracts of each strike, calls and puts together, positive long. (n,)
    scene : of the chain, from ``greeks_by_move``; its time to expiry is above 0.
    forward : today's; it moves with spot in proportion. [$]
    strike, sigma : of the chain; each strike keeps its own volatility. (n,) [$, decimal]
    levels : where spot may be, evenly spaced, ascending, above 0. (m,) [$]
    left : the time to expiry at each time, above 0 and at most today's. (t,) [years]
    covered : whether the strikes are close enough together to tell a flip by at each time. (t,)

    Returns
    -------
    BookProjection
        Gamma is the mean over the level's cell, Σ q·M·x²·0.01·(Δ(x + h/2) − Δ(x − h/2))/h, h the
        spacing: near the close gamma is a spike at each strike, which single points would miss.
        Charm is Σ q·M·x·(Δ(T) − Δ(T left)).
    """
    width = float(levels[1] - levels[0])
    edges = np.append(levels - width / 2, levels[-1] + width / 2)
    near = _within_reach(scene, sigma, edges)
    close = scene._replace(moneyness=scene.moneyness[near])
    net_near, strikes, volatility = net[near], strike[near], sigma[near]

    def deltas(places: Floats, years: float) -> Floats:
        """Σ q·Δ at each level, with each put as its call: the 1 between their deltas cancels."""
        later = close._replace(years=years)
        curve = charm_curve(
            net_near, places.tolist(), later, forward=forward, strike=strikes, sigma=volatility
        )
        ended = _ended(net_near, places * (forward / scene.spot), strikes)
        return np.array([dollars for _, dollars in curve]) / (MULTIPLIER * places) + ended

    today = deltas(levels, scene.years)
    gamma, charm = np.empty((2, len(left), len(levels)))
    flips = []
    for i, years in enumerate(left.tolist()):
        gamma[i] = np.diff(deltas(edges, years)) / width * MULTIPLIER * levels**2 * ONE_PERCENT
        charm[i] = (today - deltas(levels, years)) * MULTIPLIER * levels
        (flip,) = find_flips(
            net[np.newaxis],
            spot=scene.spot,
            moneyness=scene.moneyness,
            years=years,
            sigma=sigma,
        )
        flips.append(flip.level if covered[i] else None)
    return BookProjection(gamma, charm, flips)


def _within_reach(scene: GreeksByMove, sigma: Floats, edges: Floats) -> NDArray[np.bool_]:
    """Strikes whose delta is not 0 or 1 at all levels: the others change nothing. (n,)"""
    total = sigma * math.sqrt(scene.years)
    reach = FAR * total + 0.5 * total**2
    low, high = np.log(edges[[0, -1]] / scene.spot)
    within: NDArray[np.bool_] = (scene.moneyness + high >= -reach) & (
        scene.moneyness + low <= reach
    )
    return within


def _ended(net: Floats, forwards: Floats, strike: Floats) -> Floats:
    """Σ q·Δ of calls at expiry: 1 below the forward, ½ at it."""
    sums = np.concatenate([[0.0], np.cumsum(net)])
    below = sums[np.searchsorted(strike, forwards, side="left")]
    above: Floats = sums[np.searchsorted(strike, forwards, side="right")]
    return 0.5 * (below + above)
