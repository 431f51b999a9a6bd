"""Pack named numpy columns into one compressed value: how a chain is stored.

Layout: zstandard frame of one JSON line (names, types, shapes, in order) and the columns' bytes,
little-endian, one after another. 520 contracts take about 8 kB.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

_LEVEL = 3
#: No chain comes near this size; a corrupt value must not take all memory. [bytes]
_MOST = 1 << 28


class _Zstandard(threading.local):
    """A compressor and a decompressor for each thread: making one takes as long as using it."""

    def __init__(self) -> None:
        # With the checksum, a flipped bit is an error instead of another price.
        self.pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.unpack = zstandard.ZstdDecompressor()


_zstandard = _Zstandard()


def pack(columns: Mapping[str, NDArray[Any]], **notes: Any) -> bytes:
    """Pack columns and a few plain values; the same input gives the same bytes.

    Parameters
    ----------
    columns : arrays by name, of any shape and numeric type.
    **notes : values that JSON can hold, by name.

    Returns
    -------
    bytes
        The packed value: a zstandard frame.
    """
    arrays = {name: _little(column) for name, column in columns.items()}
    head = {
        "columns": [[n, a.dtype.str, list(a.shape)] for n, a in arrays.items()],
        "notes": notes,
    }
    body = b"".join(a.tobytes() for a in arrays.values())
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    return _zstandard.pack.compress(line + body)


def unpack(packed: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Unpack what ``pack`` made: columns and notes.

    Parameters
    ----------
    packed : what ``pack`` returned.

    Returns
    -------
    tuple of dict and dict
        The columns, with their types and shapes, and the notes.

    Raises
    ------
    ValueError
        If ``pack`` did not make the bytes.
    """
    try:
        # zstandard ignores max_output_size for a frame that states its size.
        if zstandard.frame_content_size(packed) > _MOST:
            raise ValueError("too large")
        raw = _zstandard.unpack.decompress(packed, max_output_size=_MOST)
        line, _, body = raw.partition(b"\n")
        head = json.loads(line)
        columns: dict[str, NDArray[Any]] = {}
        offset = 0
        for name, kind, shape in head["columns"]:
            column = np.frombuffer(body, kind, count=math.prod(shape), offset=offset)
            columns[name] = column.reshape(shape)
            offset += column.nbytes
        if offset != len(body):
            raise ValueError("bytes are left over")
        return columns, dict(head["notes"])
    # Bytes that are not ours can make JSON and numpy raise nearly anything.
    except Exception as error:
        raise ValueError(f"not a packed chain: {error}") from error


def _little(column: NDArray[Any]) -> NDArray[Any]:
    """Return the same numbers in little-endian order."""
    if column.dtype.str.startswith(">"):
        column = column.astype(column.dtype.newbyteorder("<"))
    return np.ascontiguousarray(column)
