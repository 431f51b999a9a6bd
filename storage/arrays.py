"""Arrays as the database sends them: bytes that numpy reads as they lie, without a number parsed.

What ``array_send`` makes of a ``double precision[]``: three big-endian integers (dimensions, a flag
for nulls, the element's type), size and lower bound of each dimension, then every element behind
its length. A day of a chain's profiles is 100,000 numbers; as text, reading them takes ten times
the query.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct(">iiI")
_BOUNDS = 8
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])


def read_array(sent: bytes | None) -> NDArray[np.float64]:
    """The numbers of one array; none for null.

    Raises
    ------
    ValueError
        If it has nulls, or more than one dimension: no array of ours does.
    """
    if sent is None:
        return np.empty(0)
    dimensions, nulls, _ = _HEAD.unpack_from(sent)
    if nulls or dimensions > 1:
        raise ValueError("an array with nulls, or with more than one dimension")
    if dimensions == 0:
        return np.empty(0)
    return np.frombuffer(sent, _ELEMENT, offset=_HEAD.size + _BOUNDS)["value"].astype(np.float64)
