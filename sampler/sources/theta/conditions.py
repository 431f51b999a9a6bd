"""Theta's trade conditions: what a code says of volume and side.

The codes are the vendor's own and cover all exchanges; those of options are 18, 95 and 125 to 148.
A code that is not here is a trade of one leg.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sampler.sources.trades import Indexes, PrintKind

#: Legs of spreads, in today's codes (130-144) and in those until 2019 (spread, straddle, buy-write,
#: combination).
MULTI_LEG = (*range(35, 39), *range(130, 145))
#: 42 cancels the opening print; the others the newest one.
CANCEL, CANCEL_FIRST = (40, 41, 43, 44), (42,)
#: Late or out of sequence; average, contingent and derived prices; outside regular hours.
UNSIDED = (
    *(1, 2, 4, 5, 6, 8, 9, 11, 12, 13, 15, 17, 20, 28, 33, 59, 60, 65, 77, 89, 96, 98, 99),
    *(101, 102, 105, 106, 109, 124, 147, 148),
)
#: No trade of their own: they do not count to a day's volume.
IGNORED = (
    *(19, 26, 27, *range(48, 52), 56, 61, 64, 66, 68, 69, 70, 72, 73, 74, 84, 85),
    *(*range(90, 95), 103, 104, 107, 108, *range(110, 115), *range(116, 124)),
)
_KINDS = np.full(256, PrintKind.SIDED, np.int8)
for _kind, _codes in (
    (PrintKind.MULTI_LEG, MULTI_LEG),
    (PrintKind.CANCEL, CANCEL),
    (PrintKind.CANCEL_FIRST, CANCEL_FIRST),
    (PrintKind.UNSIDED, UNSIDED),
    (PrintKind.IGNORED, IGNORED),
):
    _KINDS[list(_codes)] = _kind


def kinds_of(condition: Indexes) -> NDArray[np.int8]:
    """What each print says, by its condition.

    Parameters
    ----------
    condition : Theta's codes, of any shape. One outside 0 to 255 is of unknown meaning.

    Returns
    -------
    ndarray
        ``PrintKind`` of each, in the same shape; ``UNSIDED`` where the meaning is unknown.
    """
    known = (condition >= 0) & (condition < len(_KINDS))
    return np.where(known, _KINDS[np.where(known, condition, 0)], np.int8(PrintKind.UNSIDED))
