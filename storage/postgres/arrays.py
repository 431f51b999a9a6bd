"""Arrays as the database sends them: bytes that numpy reads as they lie, without a number parsed.

What ``array_send`` makes of a ``double precision[]``: three big-endian integers (dimensions, a flag
for nulls, the element's type), size and lower bound of each dimension, then every element behind
its length. A day of a chain's profiles is 100,000 numbers; as text, reading them takes ten times
the query.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

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


def read_arrays(sent: Sequence[bytes | None]) -> list[NDArray[np.float64]]:
    """Arrays as ``read_array`` reads each; those of one length, as of a profile, all in one step.

    Raises
    ------
    ValueError
        As ``read_array``.
    """
    given = [one for one in sent if one]
    first = given[0] if len(given) == len(sent) > 1 else b""
    bounds = _HEAD.size + _BOUNDS
    size = (len(first) - bounds) // _ELEMENT.itemsize
    # What stands before the elements is all alike where dimensions and lengths are.
    if size < 1 or any(len(one) != len(first) or one[:bounds] != first[:bounds] for one in given):
        return [read_array(one) for one in sent]
    if _HEAD.unpack_from(first)[:2] != (1, 0):
        raise ValueError("an array with nulls, or with more than one dimension")
    layout = np.dtype([("head", f"V{bounds}"), ("values", _ELEMENT, (size,))])
    table = np.frombuffer(b"".join(given), layout)["values"]["value"].astype(np.float64)
    return list(table)
