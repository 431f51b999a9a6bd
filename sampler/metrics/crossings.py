"""Every level of spot at which the net gamma of a book, repriced there, crosses zero.

G(x) = Σ q·Γ(x)·M·x²·0.01 at each strike's own volatility, the forward moving with spot in
proportion: a sum of bells in ln x, one a strike, σ√T wide. They are laid on an even grid three
times as fine as the narrowest, so that none is stepped over; each turn is then closed in on. All
books of a chain share the bells.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import ONE_PERCENT
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
from storage.market.constants import MULTIPLIER

Floats = NDArray[np.float64]

#: How far from spot crossings are looked for.
REACH = 0.10
#: A crossing counts only if |G| passes this part of its maximum on both sides.
SIGNIFICANT = 0.01
#: No finer grid than this: a volatility that small is a quote's error.
MOST_POINTS = 1 << 17
#: More turns than a book of real strikes has; those beyond are left out.
MOST_CROSSINGS = 64
#: A bell is no double any more so many of its widths away; for the grid, 1e-8 of its height is
#: nothing.
WIDTH, GRID_WIDTH = 37.0, 6.0
#: So many secants are tried before every other step halves; a hundred more end it.
SECANTS, STEPS = 10, 110
#: Points of the grid that are worked on together.
LANES = 4
#: Gamma dollars of one contract per 1 % move, less the bell and its width.
_UNIT = MULTIPLIER * ONE_PERCENT / math.sqrt(2.0 * math.pi)


def crossings(
    positions: Floats,
    *,
    spot: float,
    moneyness: Floats,
    years: float,
    sigma: Floats,
) -> list[list[float]]:
    """Levels where the repriced net gamma of each book crosses zero, within ±10 % of spot.

    Parameters
    ----------
    positions : net dealer contracts of each book by strike, positive long. (books, n)
    spot : of the chain; the forward moves with it in proportion. [$]
    moneyness : ln(F/K) of each strike, ascending by strike. (n,)
    years : time to expiry. [years]
    sigma : each strike keeps its own volatility. (n,) [decimal]

    Returns
    -------
    list
        A list of levels for each book, ascending; at most 64. [$]
    """
    levels, counts = np.empty((len(positions), MOST_CROSSINGS)), np.empty(len(positions))
    _loops()[0](spot, math.sqrt(years), moneyness, sigma, positions, levels, counts)
    return [
        turns[: int(count)].tolist() for turns, count in zip(levels, counts.tolist(), strict=True)
    ]


@load_once
def _loops() -> tuple[Callable[..., None]]:
    return (compiled(_cross_loop, *[LEVEL] * 2, READ, READ, READ_TABLE, WRITE_TABLE, WRITE),)


def _cross_loop(
    spot: float,
    root: float,
    moneyness: Floats,
    sigma: Floats,
    positions: Floats,
    crossings: Floats,
    counts: Floats,
) -> None:
    """Lay the bells on a grid, find where each book's sum turns, and close in on each turn.

    ``counts`` says how many of each book's ``crossings`` were found; they come first.
    """
    n, books = sigma.size, positions.shape[0]
    low, high = math.log(1.0 - REACH), math.log(1.0 + REACH)
    # In ln(x/S): where each bell stands (d1 = 0 there), its width, and its height in each book.
    center, total, weight = np.empty(n), np.empty(n), np.empty((books, n))
    narrowest = math.inf
    for k in range(n):
        total[k] = sigma[k] * root
        center[k] = -moneyness[k] - 0.5 * total[k] * total[k]
        for b in range(books):
            weight[b, k] = positions[b, k] / total[k] * _UNIT
        narrowest = min(narrowest, total[k])
    points = int(min((high - low) / narrowest * 3.0, MOST_POINTS)) + 2
    step = (high - low) / (points - 1)
    bells, bell = np.zeros((books, points + LANES)), np.empty(points + LANES)
    for k in range(n):
        first = max(math.ceil((center[k] - GRID_WIDTH * total[k] - low) / step), 0)
        last = min(math.floor((center[k] + GRID_WIDTH * total[k] - low) / step), points - 1)
        if first > last:
            continue
        z, pace = (low + first * step - center[k]) / total[k], step / total[k]
        end = _lay(bell[: last - first + LANES], z, pace)
        for b in range(books):
            height, row = weight[b, k], bells[b, first : first + end]
            for i in range(end):
                row[i] += height * bell[i]
    for b in range(books):
        turns = _turns(bells[b, :points], low, step, center, total, weight[b], crossings[b])
        counts[b] = turns
        for i in range(turns):
            crossings[b, i] = spot * math.exp(crossings[b, i])


@scalar
def _lay(bell: Floats, z: float, pace: float) -> int:
    """Fill a bell from z on, but for its last points, and return how many points it has."""
    # exp(−z²/2) follows an even grid by its own ratio, which decays evenly too: two products a
    # point; ``LANES`` stretches side by side, so that no product waits for the one before it.
    ratio = math.exp(-z * pace - 0.5 * pace * pace)
    decay = math.exp(-pace * pace)
    u1, u2, u3 = ratio, ratio * ratio * decay, (ratio * decay) ** 3
    d4 = decay**4
    q0 = ratio**4 * decay**6
    q1, q2, q3 = q0 * d4, q0 * d4 * d4, q0 * d4 * d4 * d4
    v0, d16, end = math.exp(-0.5 * z * z), d4**4, 0
    v1, v2, v3 = v0 * u1, v0 * u2, v0 * u3
    while end <= bell.size - LANES:
        bell[end], bell[end + 1], bell[end + 2], bell[end + 3] = v0, v1, v2, v3
        v0, v1, v2, v3 = v0 * q0, v1 * q1, v2 * q2, v3 * q3
        q0, q1, q2, q3 = q0 * d16, q1 * d16, q2 * d16, q3 * d16
        end += LANES
    return end


@scalar
def _turns(
    bells: Floats,
    low: float,
    step: float,
    center: Floats,
    total: Floats,
    weight: Floats,
    crossings: Floats,
) -> int:
    """Fill in ln(x/S) of one book's crossings, ascending, and return how many there are."""
    # G(x) is x times the sum; only points where it is clearly signed can bound a crossing.
    level, growth, largest = math.exp(low), math.exp(step), 0.0
    for j in range(bells.size):
        largest = max(largest, abs(bells[j]) * level)
        level *= growth
    level, before, count = math.exp(low), -1, 0
    for j in range(bells.size):
        if abs(bells[j]) * level > SIGNIFICANT * largest:
            turned = before >= 0 and (bells[j] > 0.0) != (bells[before] > 0.0)
            if turned and count < crossings.size:
                crossings[count] = _close_in(
                    low + before * step, low + j * step, center, total, weight
                )
                count += 1
            before = j
        level *= growth
    return count


@scalar
def _sum_at(x: float, center: Floats, total: Floats, weight: Floats) -> tuple[float, float]:
    """Sum of the bells at one level of ln(x/S), and of their sizes."""
    value = size = 0.0
    for k in range(center.size):
        z = (x - center[k]) / total[k]
        if abs(z) < WIDTH:
            bell = weight[k] * math.exp(-0.5 * z * z)
            value, size = value + bell, size + abs(bell)
    if value != 0.0:
        return value, size
    # No bell is a double here: the sign of the one that reaches farthest.
    highest = -math.inf
    for k in range(center.size):
        if weight[k] != 0.0:
            height = math.log(abs(weight[k])) - 0.5 * ((x - center[k]) / total[k]) ** 2
            if height > highest:
                highest, value = height, math.copysign(1e-300, weight[k])
    return value, 0.0


@scalar
def _close_in(a: float, b: float, center: Floats, total: Floats, weight: Floats) -> float:
    """Find where the sum is zero between a and b: halving, by the secant where it helps."""
    fa, fb = _sum_at(a, center, total, weight)[0], _sum_at(b, center, total, weight)[0]
    side, x = 0, a
    for i in range(STEPS):
        x = (a * fb - b * fa) / (fb - fa) if fa != fb else (a + b) / 2.0
        # Far between two strikes the sum falls by hundreds of magnitudes: no secant helps there.
        if not a < x < b or (i > SECANTS and i % 2 == 0):
            x = (a + b) / 2.0
        fx, size = _sum_at(x, center, total, weight)
        if abs(fx) <= 1e-15 * size or b - a < 1e-14:
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
    return x
