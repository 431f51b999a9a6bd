"""Named numpy columns as one compressed value: how a chain is kept.

Layout: zstandard frame of one JSON line (names, types, shapes, in order) and the columns' bytes,
little-endian, one after another. 520 contracts take about 8 kB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

_LEVEL = 3
#: No chain comes near it; a corrupt value must not ask for all memory.
_MOST = 1 << 28


def pack(columns: Mapping[str, NDArray[Any]], **notes: Any) -> bytes:
    """Columns and a few plain values beside them as bytes; the same input gives the same bytes."""
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    head = {
        "columns": [[n, a.dtype.newbyteorder("<").str, list(a.shape)] for n, a in arrays.items()],
        "notes": notes,
    }
    body = b"".join(
        a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes() for a in arrays.values()
    )
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    # With the checksum, a flipped bit is an error and not another price.
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(line + body)


def unpack(packed: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Columns and notes of a packed value.

    Raises
    ------
    ValueError
        If the bytes are not what ``pack`` made.
    """
    try:
        # A frame that tells its size is not held to max_output_size.
        if zstandard.frame_content_size(packed) > _MOST:
            raise ValueError("too large")
        raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MOST)
        line, _, body = raw.partition(b"\n")
        head = json.loads(line)
        columns: dict[str, NDArray[Any]] = {}
        at = 0
        for name, kind, shape in head["columns"]:
            column = np.frombuffer(body, kind, count=int(np.prod(shape)), offset=at)
            columns[name] = column.reshape(shape)
            at += column.nbytes
        if at != len(body):
            raise ValueError("bytes are left over")
        return columns, dict(head["notes"])
    # Foreign bytes meet JSON, numpy's type names and shapes: they can raise nearly anything.
    except Exception as error:
        raise ValueError(f"not a packed chain: {error}") from error
