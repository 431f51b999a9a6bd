"""Which strikes lie near spot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Where a part of spot holds too few strikes, so many on each side of spot are near.
EACH_SIDE = 5


def strikes_near_spot(strike: NDArray[np.float64], spot: float, reach: float) -> tuple[int, int]:
    """Find the strikes within a part of spot.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    spot : price of the underlying. [$]
    reach : part of spot. [0-1]

    Returns
    -------
    tuple
        First index, and the one after the last.
    """
    low = strike.searchsorted(spot - reach * spot)
    high = strike.searchsorted(spot + reach * spot, side="right")
    return int(low), int(high)


def strikes_on_each_side(strike: NDArray[np.float64], spot: float, reach: float) -> tuple[int, int]:
    """Find the strikes within a part of spot, and five on each side if these reach farther.

    A share's strikes lie so far apart that a part of spot may hold hardly any.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    spot : price of the underlying. [$]
    reach : part of spot. [0-1]

    Returns
    -------
    tuple[int, int]
        First index, and the one after the last.
    """
    low, high = strikes_near_spot(strike, spot, reach)
    below = int(strike.searchsorted(spot)) - EACH_SIDE
    above = int(strike.searchsorted(spot, side="right")) + EACH_SIDE
    return max(min(low, below), 0), min(max(high, above), len(strike))


def strikes_for_concentration(
    strike: NDArray[np.float64], spot: float, reach: float
) -> tuple[int, int]:
    """Find the strikes among which the top three are compared with the rest.

    Within a part of spot; where that holds three or fewer, so that there is no rest, five on each
    side as well.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    spot : price of the underlying. [$]
    reach : part of spot. [0-1]

    Returns
    -------
    tuple[int, int]
        First index, and the one after the last.
    """
    low, high = strikes_near_spot(strike, spot, reach)
    return (low, high) if high - low > 3 else strikes_on_each_side(strike, spot, reach)
