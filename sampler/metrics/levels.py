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
from sampler.metrics.special import READ, WRITE, compiled

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
    none = np.empty(0)
    total = sigma * math.sqrt(years)
    weight = position / total * (MULTIPLIER * ONE_PERCENT / math.sqrt(2 * math.pi))
    # Where each bell stands: d1 = 0 there.
    center = np.log(strike * (spot / forward)) - total * total / 2
    held = weight != 0
    if not held.any():
        return Flip(None, FlipStatus.NO_BOUNDARY, none)
    low, high = math.log(spot * (1 - REACH)), math.log(spot * (1 + REACH))
    points = int(min((high - low) / total[held].min() * 3, MOST_POINTS)) + 2
    step = (high - low) / (points - 1)
    bells = np.zeros(points)
    _lay(np.array([low, step]), center, total, weight, bells)
    grid: Floats = low + step * np.arange(points, dtype=np.float64)
    gamma = np.abs(bells) * np.exp(grid)
    # Only points where the book is clearly signed can bound a crossing.
    clear = np.flatnonzero(gamma > SIGNIFICANT * gamma.max())
    turn = np.flatnonzero(np.signbit(bells[clear[1:]]) != np.signbit(bells[clear[:-1]]))
    if not len(turn):
        return Flip(None, FlipStatus.NO_BOUNDARY, none)
    crossings = np.empty(len(turn))
    _close_in(grid[clear[turn]], grid[clear[turn + 1]], center, total, weight, crossings)
    crossings = np.exp(crossings)
    nearest = float(crossings[np.argmin(np.abs(crossings - spot))])
    return Flip(nearest, FlipStatus.AVAILABLE, crossings)


def warm() -> None:
    """Load the compiled loops, so that no slot waits for them."""
    _loop("lay"), _loop("close_in")


def _lay(*columns: Floats) -> None:
    _loop("lay")(*columns)


def _close_in(*columns: Floats) -> None:
    _loop("close_in")(*columns)


@functools.cache
def _loop(name: str) -> Callable[..., None]:
    if name == "lay":
        return compiled(_lay_bells, READ, READ, READ, READ, WRITE)
    return compiled(_close_in_on, READ, READ, READ, READ, READ, WRITE)


def _lay_bells(even: Floats, center: Floats, total: Floats, weight: Floats, out: Floats) -> None:
    """Add each strike's bell to the grid, as far as it is not nothing."""
    low, step = even[0], even[1]
    for k in range(center.size):
        first = max(math.ceil((center[k] - 9 * total[k] - low) / step), 0)
        last = min(math.floor((center[k] + 9 * total[k] - low) / step), out.size - 1)
        if weight[k] == 0.0 or first > last:
            continue
        # exp(−z²/2) along an even grid by its own ratio: two products a point.
        pace = step / total[k]
        z = (low + first * step - center[k]) / total[k]
        value = weight[k] * math.exp(-z * z / 2)
        ratio = math.exp(-z * pace - pace * pace / 2)
        decay = math.exp(-pace * pace)
        for j in range(first, last + 1):
            out[j] += value
            value *= ratio
            ratio *= decay


def _close_in_on(
    left: Floats, right: Floats, center: Floats, total: Floats, weight: Floats, out: Floats
) -> None:
    """Halve each bracket, by the secant where it helps (Illinois), until it is a point."""
    for i in range(left.size):
        a, b = left[i], right[i]
        fa, fb = 0.0, 0.0
        for k in range(center.size):
            za, zb = (a - center[k]) / total[k], (b - center[k]) / total[k]
            fa += weight[k] * math.exp(-za * za / 2)
            fb += weight[k] * math.exp(-zb * zb / 2)
        side = 0
        x = a
        for _ in range(100):
            x = (a * fb - b * fa) / (fb - fa) if fa != fb else (a + b) / 2
            if not a < x < b:
                x = (a + b) / 2
            fx = 0.0
            for k in range(center.size):
                z = (x - center[k]) / total[k]
                fx += weight[k] * math.exp(-z * z / 2)
            if fx == 0.0 or b - a < 1e-13 * abs(x):
                break
            if (fx > 0.0) == (fb > 0.0):
                # Twice on one side: the other end's weight is halved, or it would never move.
                if side == 1:
                    fa *= 0.5
                b, fb, side = x, fx, 1
            else:
                if side == -1:
                    fb *= 0.5
                a, fa, side = x, fx, -1
            if abs(fx) <= 1e-15 * (abs(fa) + abs(fb)):
                break
        out[i] = x


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
    gaps = np.diff(strike)
    # A step up costs every call below it and spares every put above.
    calls = np.concatenate([[0.0], np.cumsum(gaps * np.cumsum(open_interest[0])[:-1])])
    puts = np.cumsum((gaps * np.cumsum(open_interest[1][::-1])[-2::-1])[::-1])[::-1]
    paid = calls + np.append(puts, 0.0)
    tied = np.flatnonzero(paid == paid.min())
    return float(strike[tied[np.argmin(np.abs(strike[tied] - spot))]])
