"""Price levels that a book of options makes: flip, walls, magnet, max pain."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import MULTIPLIER, ONE_PERCENT
from sampler.metrics.special import READ, WRITE, compiled, scalar

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: How far from spot a flip is looked for.
REACH = 0.10
#: A crossing counts only if |G| passes this part of its maximum on both sides.
SIGNIFICANT = 0.01
#: Two-sided strikes within ±2 % that a flip needs.
LEAST_NEAR, NEAR = 5, 0.02
#: No finer grid than this: a volatility that small is a quote's error.
MOST_POINTS = 1 << 17
#: More turns than a book of real strikes has; those beyond are left out.
MOST_CROSSINGS = 64
#: A bell is nothing so many of its widths away; for the grid, 1e-8 of its height is nothing.
WIDTH, GRID_WIDTH = 9.0, 6.0


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


#: Where strikes are too few, or too wide for what is left, to tell a flip.
UNTOLD = Flip(None, FlipStatus.INSUFFICIENT, np.empty(0))


def covered(strike: Floats, two_sided: Bools, *, spot: float, remaining: float) -> bool:
    """Whether the strikes near spot are enough to tell a flip by.

    At least five within ±2 % whose out-of-the-money quote has a bid and an ask (``two_sided``,
    (n,)), and a step between them of at most two standard deviations of what is left. [$]
    """
    near = np.abs(strike - spot) <= NEAR * spot
    if np.count_nonzero(two_sided & near) < LEAST_NEAR:
        return False
    steps = np.sort(np.diff(strike[near]))
    middle = len(steps) // 2
    step = steps[middle] if len(steps) % 2 else (steps[middle - 1] + steps[middle]) / 2
    return bool(remaining >= step / 2)


def flip(
    position: Floats,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
) -> Flip:
    """Where net gamma, repriced at each level within ±10 % of spot, crosses zero.

    Parameters
    ----------
    position : (n,) net dealer contracts by strike.

    Notes
    -----
    G(x) = Σ q·Γ(x)·M·x²·0.01 at each strike's own volatility, the forward moving with spot in
    proportion: a sum of bells in ln x, one a strike, σ√T wide. They are laid on an even grid three
    times as fine as the narrowest, so that none is stepped over; each turn is then closed in on.
    """
    total = sigma * math.sqrt(years)
    weight = position / total * (MULTIPLIER * ONE_PERCENT / math.sqrt(2 * math.pi))
    held = weight != 0
    if not held.any():
        return Flip(None, FlipStatus.NO_BOUNDARY, np.empty(0))
    # Where each bell stands: d1 = 0 there.
    center = np.log(strike) + (math.log(spot / forward) - total * total / 2)
    low, high = math.log(spot * (1 - REACH)), math.log(spot * (1 + REACH))
    points = int(min((high - low) / total[held].min() * 3, MOST_POINTS)) + 2
    bells, found = np.zeros(points), np.full(MOST_CROSSINGS, np.nan)
    _loops()[0](np.array([low, high]), center, total, weight, bells, found)
    crossings = np.exp(found[~np.isnan(found)])
    if not len(crossings):
        return Flip(None, FlipStatus.NO_BOUNDARY, crossings)
    nearest = float(crossings[np.argmin(np.abs(crossings - spot))])
    return Flip(nearest, FlipStatus.AVAILABLE, crossings)


def warm() -> None:
    """Load the compiled loops, so that no slot waits for them."""
    _loops()


@functools.cache
def _loops() -> tuple[Callable[..., None], Callable[..., None]]:
    return (
        compiled(_cross_loop, READ, READ, READ, READ, WRITE, WRITE),
        compiled(_pain_loop, READ, READ, READ, WRITE),
    )


def _cross_loop(
    ends: Floats,
    center: Floats,
    total: Floats,
    weight: Floats,
    bells: Floats,
    crossings: Floats,
) -> None:
    """Lay the bells on the grid, find where their sum turns, and close in on each turn."""
    low, step = ends[0], (ends[1] - ends[0]) / (bells.size - 1)
    for k in range(center.size):
        first = max(math.ceil((center[k] - GRID_WIDTH * total[k] - low) / step), 0)
        last = min(math.floor((center[k] + GRID_WIDTH * total[k] - low) / step), bells.size - 1)
        if weight[k] == 0.0 or first > last:
            continue
        # exp(−z²/2) along an even grid by its own ratio: two products a point.
        pace = step / total[k]
        z = (low + first * step - center[k]) / total[k]
        value = weight[k] * math.exp(-z * z / 2)
        ratio = math.exp(-z * pace - pace * pace / 2)
        decay = math.exp(-pace * pace)
        for j in range(first, last + 1):
            bells[j] += value
            value *= ratio
            ratio *= decay
    # G(x) is x times the sum; only points where it is clearly signed can bound a crossing.
    level, growth, largest = math.exp(low), math.exp(step), 0.0
    for j in range(bells.size):
        largest = max(largest, abs(bells[j]) * level)
        level *= growth
    level, before, found = math.exp(low), -1, 0
    for j in range(bells.size):
        if abs(bells[j]) * level > SIGNIFICANT * largest:
            turned = before >= 0 and (bells[j] > 0.0) != (bells[before] > 0.0)
            if turned and found < crossings.size:
                crossings[found] = _close_in(
                    low + before * step, low + j * step, center, total, weight
                )
                found += 1
            before = j
        level *= growth


@scalar
def _sum_at(x: float, center: Floats, total: Floats, weight: Floats) -> float:
    """Sum of the bells at one level of ln x."""
    found = 0.0
    for k in range(center.size):
        z = (x - center[k]) / total[k]
        if abs(z) < WIDTH:
            found += weight[k] * math.exp(-0.5 * z * z)
    return found


@scalar
def _close_in(a: float, b: float, center: Floats, total: Floats, weight: Floats) -> float:
    """Find where the sum is zero between a and b: halving, by the secant where it helps."""
    fa, fb = _sum_at(a, center, total, weight), _sum_at(b, center, total, weight)
    side, x = 0, a
    for _ in range(100):
        x = (a * fb - b * fa) / (fb - fa) if fa != fb else (a + b) / 2
        if not a < x < b:
            x = (a + b) / 2
        fx = _sum_at(x, center, total, weight)
        if fx == 0.0 or b - a < 1e-13 * abs(x):
            break
        # Illinois: twice on one side halves the other end's weight, or it would never move.
        if (fx > 0.0) == (fb > 0.0):
            if side == 1:
                fa *= 0.5
            b, fb, side = x, fx, 1
        else:
            if side == -1:
                fb *= 0.5
            a, fa, side = x, fx, -1
        if abs(fx) <= 1e-15 * (abs(fa) + abs(fb)):
            break
    return x


def strongest(strike: Floats, size: Floats, spot: float) -> int | None:
    """Index of the largest size, ties to the strike nearest spot; None if none is positive."""
    if not len(size) or not (top := size[size.argmax()]) > 0:
        return None
    tied = np.flatnonzero(size == top)
    if len(tied) == 1:
        return int(tied[0])
    return int(tied[np.argmin(np.abs(strike[tied] - spot))])


def max_pain(strike: Floats, open_interest: Floats, spot: float) -> float | None:
    """The settlement at which holders receive least; None without open interest. [$]

    ``open_interest`` is (2, n), calls first. Ties go to the strike nearest spot.
    """
    if not open_interest.any():
        return None
    paid = np.zeros(len(strike))
    calls, puts = np.ascontiguousarray(open_interest)
    _loops()[1](strike, calls, puts, paid)
    tied = np.flatnonzero(paid == paid.min())
    return float(strike[tied[np.argmin(np.abs(strike[tied] - spot))]])


def _pain_loop(strike: Floats, calls: Floats, puts: Floats, paid: Floats) -> None:
    """What holders receive at each strike, in contracts times dollars."""
    n, held, worth = strike.size, 0.0, 0.0
    for k in range(1, n):
        # A step up is earned by every call below it ...
        held += calls[k - 1]
        worth += held * (strike[k] - strike[k - 1])
        paid[k] += worth
    held, worth = 0.0, 0.0
    for k in range(n - 2, -1, -1):
        # ... and a step down by every put above.
        held += puts[k + 1]
        worth += held * (strike[k + 1] - strike[k])
        paid[k] += worth
