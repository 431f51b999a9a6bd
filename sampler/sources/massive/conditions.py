"""Massive's trade conditions of options: what a code says of volume and side.

The codes are 200 more than the place of OPRA's letter in A–Z, a–v: 201 is A, 227 is a.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sampler.sources.trades import PrintKind

#: One leg: automatic, reopening, sweep; auction, cross and floor of a single leg. 0 says nothing.
SIDED = (0, 209, 210, 219, *range(227, 232))
#: Legs of spreads and of packages with stock.
MULTI_LEG = tuple(range(232, 247))
#: Late or out of sequence; compression at derived prices; outside of regular hours.
UNSIDED = (202, 204, 206, 208, 247, 248)
#: Code 205 cancels the contract's opening print, the other three its newest print.
CANCEL, CANCEL_FIRST = (201, 203, 207), (205,)
#: A print with several codes has the first of these kinds that one of its codes names.
_ORDER = (
    (PrintKind.CANCEL_FIRST, frozenset(CANCEL_FIRST)),
    (PrintKind.CANCEL, frozenset(CANCEL)),
    (PrintKind.MULTI_LEG, frozenset(MULTI_LEG)),
    (PrintKind.UNSIDED, frozenset(UNSIDED)),
)


def massive_kinds(conditions: Sequence[str], corrections: Sequence[str]) -> NDArray[np.int8]:
    """What each print says, by its conditions.

    Parameters
    ----------
    conditions : a code, or several with commas, of each print; empty where it has none.
    corrections : the correction indicator of each; anything but 0 or nothing is no print as it was.

    Returns
    -------
    ndarray
        ``PrintKind`` of each, of shape (n,); ``UNSIDED`` where the meaning is unknown.
    """
    pairs = list(zip(conditions, corrections, strict=True))
    known = {pair: _kind(*pair) for pair in set(pairs)}
    return np.array([known[pair] for pair in pairs], np.int8)


def _kind(conditions: str, correction: str) -> PrintKind:
    texts = [text.strip() for text in conditions.split(",") if text.strip()]
    codes = {int(text) if text.isdecimal() and len(text) < 6 else -1 for text in texts}
    for kind, members in _ORDER:
        if codes & members:
            return kind
    regular = codes <= set(SIDED) and correction.strip() in ("", "0")
    return PrintKind.SIDED if regular else PrintKind.UNSIDED
