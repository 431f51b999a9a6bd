"""Where a book's net gamma, repriced at other levels of spot, changes its sign."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.crossings import crossings
from storage.market.strikes import strikes_near_spot, strikes_on_each_side

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Two-sided strikes that a flip needs within ±2 %, or, where there are fewer, among these and the
#: five on each side.
LEAST_NEAR, NEAR = 5, 0.02


class FlipStatus(StrEnum):
    """Whether there is a gamma flip, and why not."""

    AVAILABLE = "available"
    NO_BOUNDARY = "no_boundary"
    INSUFFICIENT = "insufficient_local_coverage"


class Flip(NamedTuple):
    """The crossing nearest to spot, and all of them in order. [$]"""

    level: float | None
    status: FlipStatus
    crossings: list[float]


#: Where strikes are too few, or too wide for what is left, to tell a flip.
NO_COVERAGE = Flip(None, FlipStatus.INSUFFICIENT, [])


def has_coverage(strike: Floats, two_sided: Bools, *, spot: float, remaining: float) -> bool:
    """Whether the strikes near spot are enough to tell a flip by.

    At least five near spot whose out-of-the-money quote has a bid and an ask, and a step between
    them of at most two standard deviations of what is left. Near is within ±2 %; where that holds
    too few of them, the five listed on each side are near too.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    two_sided : whether the strike's out-of-the-money quote has a bid and an ask. (n,)
    spot, remaining : price, and one standard deviation of what is left. [$]

    Returns
    -------
    bool
        False where a flip would rest on too few strikes, or on strikes too far apart.
    """
    low, high = strikes_near_spot(strike, spot, NEAR)
    if np.count_nonzero(two_sided[low:high]) < LEAST_NEAR:
        low, high = strikes_on_each_side(strike, spot, NEAR)
    if np.count_nonzero(two_sided[low:high]) < LEAST_NEAR:
        return False
    near = strike[low:high]
    steps = sorted((near[1:] - near[:-1]).tolist())
    middle = len(steps) // 2
    step = steps[middle] if len(steps) % 2 else (steps[middle - 1] + steps[middle]) / 2
    return bool(remaining >= step / 2)


def find_flips(
    positions: Floats,
    *,
    spot: float,
    moneyness: Floats,
    years: float,
    sigma: Floats,
) -> list[Flip]:
    """Where each book's net gamma, repriced at each level within ±10 % of spot, crosses zero.

    Parameters
    ----------
    positions : net dealer contracts of each book by strike, positive long. (books, n)
    spot : of the chain; the forward moves with it in proportion. [$]
    moneyness : ln(F/K) of each strike, ascending by strike. (n,)
    years : time to expiry. [years]
    sigma : each strike keeps its own volatility. (n,) [decimal]

    Returns
    -------
    list of Flip
        For each book the crossing nearest to spot and all of them, ascending. [$]
    """
    levels = crossings(positions, spot=spot, moneyness=moneyness, years=years, sigma=sigma)
    return [_nearest(turns, spot) for turns in levels]


def _nearest(turns: list[float], spot: float) -> Flip:
    if not turns:
        return Flip(None, FlipStatus.NO_BOUNDARY, [])
    nearest = min(turns, key=lambda x: abs(x - spot))
    return Flip(nearest, FlipStatus.AVAILABLE, turns)
