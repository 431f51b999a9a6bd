"""How wide an expiry's quotes are: what that leaves uncertain, and how wide ones count for less."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics import black
from sampler.metrics.flow import Quote
from sampler.metrics.smile import LEAST, LEAST_SIGMA, NEAREST, Forward, Smile
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_TABLE,
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
)
from storage.market.constants import SMOOTH_WITHIN

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: A quote is too wide where its half-width exceeds this part of an at-the-money option's value.
WIDE = 0.2
#: Within so many standard deviations of the forward one is also too wide beside its neighbours:
#: where it is this many times as wide as the middle one of the two on each side.
REACH, BESIDE = 6.0, 8.0
#: No quote narrower than this is too wide. Recorded options of funds that are worth next to
#: nothing after 16:00 are quoted up to 0.28 $ wide. [$]
LEAST_WIDE = 0.50
#: No quote counts for more than one of this width, and no volatility for more than one that is
#: known to this. [$, decimal]
NARROWEST, SUREST = 0.01, 1e-4


def out_of_the_money(strike: Floats, sides: Floats, forward: float) -> Floats:
    """By strike, the puts' values below the forward and the calls' from it on.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    sides : (2, n), calls first.
    forward : the forward. [$]

    Returns
    -------
    (n,) in the unit of ``sides``.
    """
    values: Floats = np.where(strike >= forward, sides[0], sides[1])
    return values


def count_wide_quotes(strike: Floats, half: Floats, *, forward: float, remaining: float) -> int:
    """How many out-of-the-money quotes are wider than makes sense.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    half : (2, n) half-widths of the quotes, calls first; NaN where there is none. [$]
    forward : the forward. [$]
    remaining : one standard deviation of what is left until expiry. [$]

    Returns
    -------
    int
        The number of such quotes, one a strike at most.

    Notes
    -----
    An at-the-money option is worth ``remaining``/√(2π). A half-width of a fifth of that is a fifth
    of the at-the-money volatility. On 271 recorded frames no quote has more than a tenth.
    """
    width = out_of_the_money(strike, half, forward)
    suspect = 2.0 * width > LEAST_WIDE
    if not suspect.any():
        return 0
    wide = suspect & (width > WIDE * remaining / math.sqrt(2 * math.pi))
    near = suspect & (np.abs(strike - forward) <= REACH * remaining)
    if near.any():
        quoted = np.isfinite(width)
        usual = np.full(len(strike), np.nan)
        usual[quoted] = _median_beside(width[quoted])
        wide |= near & (width > BESIDE * usual)
    return int(np.count_nonzero(wide))


def _median_beside(values: Floats) -> Floats:
    """Median of the two values on each side of each; NaN where there are fewer than two in all."""
    padded = np.concatenate([[np.nan] * 2, values, [np.nan] * 2])
    beside = np.sort([padded[i : i + len(values)] for i in (0, 1, 3, 4)], axis=0)
    # What is not a number is sorted last.
    count = np.count_nonzero(np.isfinite(beside), axis=0)
    column = np.arange(len(values))
    middle = (beside[np.maximum(count - 1, 0) // 2, column] + beside[count // 2, column]) / 2.0
    median: Floats = np.where(count >= 2, middle, np.nan)
    return median


class QuotedRange(NamedTuple):
    """Volatilities of the two prices of each strike's out-of-the-money quote.

    NaN where the quote is not two-sided, and where a price has no volatility. (n,) [decimal]
    """

    at_bid: Floats
    at_ask: Floats
    #: Half the difference.
    uncertainty: Floats


def quoted_range(
    strike: Floats, bid: Floats, ask: Floats, *, forward: float, years: float
) -> QuotedRange:
    """By strike, the volatilities at the bid and at the ask, and half their difference.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    bid, ask : (2, n), calls first. [$]
    forward : the forward. [$]
    years : time to expiry. [years]

    Returns
    -------
    QuotedRange
        Each field (n,), of the out-of-the-money quotes. [decimal]
    """
    at_bid, at_ask, uncertainty = out = np.empty((3, len(strike)))
    _loops()[0](forward, years, strike, *map(np.ascontiguousarray, (bid, ask)), out)
    return QuotedRange(at_bid, at_ask, uncertainty)


@load_once
def _loops() -> tuple[Callable[..., None]]:
    return (compiled(range_loop, LEVEL, LEVEL, READ, READ_TABLE, READ_TABLE, WRITE_TABLE),)


@scalar
def range_loop(
    forward: float, years: float, strike: Floats, bid: Floats, ask: Floats, out: Floats
) -> None:
    """Fill the fields of ``QuotedRange``, a row each.

    Parameters
    ----------
    forward, years, strike, bid, ask : as ``quoted_range`` has them.
    out : the fields. (3, n)
    """
    n, count = strike.size, 0
    price, quoted, call, sigma = np.empty(2 * n), np.empty(2 * n), np.empty(2 * n), np.empty(2 * n)
    for k in range(n):
        side = 0 if strike[k] >= forward else 1
        low, high = bid[side, k], ask[side, k]
        out[:, k] = math.nan
        if low > 0.0 and high >= low:
            out[2, k] = 0.0
            for edge in (low, high):
                price[count], quoted[count], call[count] = edge, strike[k], 1.0 - side
                count += 1
    black.implied_column(forward, years, price[:count], quoted[:count], call[:count], sigma[:count])
    row = 0
    for k in range(n):
        if out[2, k] == 0.0:
            out[0, k], out[1, k] = sigma[row], sigma[row + 1]
            out[2, k] = (sigma[row + 1] - sigma[row]) / 2.0
            row += 2


def weighted_forward(strike: Floats, quoted: Quote, bid: Floats, spot: float) -> Forward:
    """Median of K + C − P as ``smile.forward`` takes it, each estimate by its quotes' widths.

    An estimate weighs 1/w², w the sum of the widths of its two quotes. The median and the
    quartiles of the scatter are linear between the estimates at the middles of their weights.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    quoted : the quotes of (2, n), calls first. [$]
    bid : (2, n). [$]
    spot : what is returned when fewer than three strikes qualify. [$]

    Returns
    -------
    Forward
        The level and its scatter [$], and how many strikes were used, 12 at most.
    """
    gap = quoted.mid[0] - quoted.mid[1]
    usable = np.flatnonzero(np.isfinite(gap) & ((bid[0] > 0) | (bid[1] > 0)))
    nearest = usable[np.argsort(np.abs(gap[usable]), kind="stable")[:NEAREST]]
    if len(nearest) < LEAST:
        return Forward(spot, 0.0, len(nearest))
    estimates = strike[nearest] + gap[nearest]
    order = np.argsort(estimates, kind="stable")
    widths = 2.0 * (quoted.half[0] + quoted.half[1])[nearest[order]]
    weight = 1.0 / np.maximum(widths, NARROWEST) ** 2
    middle = (np.cumsum(weight) - weight / 2.0) / weight.sum()
    low, level, high = np.interp([0.25, 0.5, 0.75], middle, estimates[order]).tolist()
    return Forward(level, (high - low) / 2.0, len(nearest))


def weighted_smile(
    strike: Floats, own_smile: Smile, uncertainty: Floats, *, within: float = SMOOTH_WITHIN
) -> Smile:
    """The smile that is nearest to the volatilities by their uncertainty, and smooth.

    It is least in Σ((s − σ)/u)² + Σ((s − line)/within)²: σ a strike's own volatility, u its
    uncertainty, line the straight line between both neighbours' s at the strike. What is known
    well stays where it is; what is not known is drawn to its neighbours.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    own_smile : the smile by itself. Its own volatilities stay what they are.
    uncertainty : (n,) of the volatilities; NaN counts for nothing. [decimal]
    within : how far from its neighbours' line a volatility may well lie. [decimal]

    Returns
    -------
    Smile
        The same with other ``filled`` (n,) [decimal]; ``own_smile`` itself where fewer than three
        volatilities are known, or fewer than two have an uncertainty.
    """
    known = np.flatnonzero(np.isfinite(own_smile.own))
    sure = 1.0 / np.maximum(uncertainty[known], SUREST) ** 2
    sure[np.isnan(sure)] = 0.0
    if len(known) < 3 or np.count_nonzero(sure) < 2:
        return own_smile
    known_strike = strike[known]
    place = (known_strike[1:-1] - known_strike[:-2]) / (known_strike[2:] - known_strike[:-2])
    smooth = _solve(place, sure, sure * own_smile.own[known], stiff=1.0 / within**2)
    return own_smile._replace(
        filled=np.interp(strike, known_strike, np.maximum(smooth, LEAST_SIGMA))
    )


def _solve(place: Floats, sure: Floats, right: Floats, *, stiff: float) -> Floats:
    """Solve the five diagonals of ``weighted_smile`` by elimination, from the lowest strike up.

    Every machine rounds it alike. ``place`` is where each inner strike stands between its
    neighbours, 0 to 1.
    """
    n = len(sure)
    diagonal, first, second = sure.copy(), np.zeros(n), np.zeros(n)
    below, above = place - 1.0, -place
    diagonal[:-2] += stiff * below * below
    diagonal[1:-1] += stiff
    diagonal[2:] += stiff * above * above
    first[:-2] += stiff * below
    first[1:-1] += stiff * above
    second[:-2] += stiff * below * above
    solution = right.copy()
    for i in range(n):
        for j, beside in ((i + 1, first[i]), (i + 2, second[i])):
            if j < n:
                factor = beside / diagonal[i]
                diagonal[j] -= factor * beside
                solution[j] -= factor * solution[i]
                if j == i + 1:
                    first[j] -= factor * second[i]
    for i in range(n - 1, -1, -1):
        for j, beside in ((i + 1, first[i]), (i + 2, second[i])):
            if j < n:
                solution[i] -= beside * solution[j]
        solution[i] /= diagonal[i]
    return solution
