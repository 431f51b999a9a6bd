"""Profiles and chains in PostgreSQL's binary COPY format, a whole profile in one numpy array.

The driver's own way, list by list and number by number, takes longer than the database does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

#: Signature, flags, length of the extension.
HEAD = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TAIL = struct.pack(">h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = date(2000, 1, 1).toordinal()
_FLOAT8 = 701
#: Symbol, expiration, slot.
_KEY_FIELDS = 3


def key(symbol: str, expiration: date, slot: datetime, fields: int) -> bytes:
    """The beginning of a row with ``fields`` more after its key."""
    name = symbol.encode()
    since = slot - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return (
        struct.pack(">hi", _KEY_FIELDS + fields, len(name))
        + name
        + struct.pack(">iiiq", 4, expiration.toordinal() - _DAY, 8, microseconds)
    )


def arrays(columns: Sequence[NDArray[np.float64]]) -> bytes:
    """Arrays of one length as double precision[] fields, in order.

    Raises
    ------
    ValueError
        If their lengths differ.
    """
    size = len(columns[0])
    if not size:
        # Without elements an array has no dimensions either.
        return struct.pack(">iiii", 12, 0, 0, _FLOAT8) * len(columns)
    head = ("field", "dimensions", "nulls", "type", "length", "first")
    layout = np.dtype(
        [(name, ">i4") for name in head]
        + [("values", [("bytes", ">i4"), ("value", ">f8")], (size,))]
    )
    fields = np.empty(len(columns), layout)
    for name, value in zip(head, (20 + 12 * size, 1, 0, _FLOAT8, size, 1), strict=True):
        fields[name] = value
    fields["values"]["bytes"] = 8
    fields["values"]["value"] = np.asarray(columns, np.float64)
    return fields.tobytes()


def field(value: bytes) -> bytes:
    """A bytea field."""
    return struct.pack(">i", len(value)) + value


def stream(rows: Iterable[bytes], size: int = 1 << 17) -> Iterable[bytes]:
    """A whole COPY stream of rows, in blocks that suit the driver."""
    waiting, length = [HEAD], len(HEAD)
    for row in rows:
        waiting.append(row)
        length += len(row)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join([*waiting, TAIL])
