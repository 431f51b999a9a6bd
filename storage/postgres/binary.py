"""Profiles and chains in PostgreSQL's binary formats.

They are written by binary COPY, a whole profile from one numpy array, and read as ``array_send``
sends them: numpy reads the bytes as they lie. The driver's own way, number by number, takes longer
than the database does: a day of a chain's profiles is 100,000 numbers.

An array is three big-endian integers (dimensions, a flag for nulls, the element's type), size and
lower bound of each dimension, then every element behind its length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

#: Signature, flags, length of the extension.
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
COPY_TRAILER = struct.pack(">h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = date(2000, 1, 1).toordinal()
_FLOAT8 = 701
#: Symbol, expiration, source, slot.
_KEY_FIELDS = 4
_ARRAY_HEAD = struct.Struct(">iiI")
_ARRAY_BOUNDS = 8
_ARRAY_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])


def key_fields(symbol: str, expiration: date, source: str, slot: datetime, fields: int) -> bytes:
    """Return the beginning of a COPY row: its key, with ``fields`` more fields to follow.

    Parameters
    ----------
    symbol, expiration, source, slot : the row's key; ``slot`` with a zone.
    fields : how many fields follow the key.

    Returns
    -------
    bytes
        Field count, symbol, date, feed and timestamp, each behind its length.
    """
    name, feed = symbol.encode(), source.encode()
    since = slot - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return (
        struct.pack(">hi", _KEY_FIELDS + fields, len(name))
        + name
        + struct.pack(">iii", 4, expiration.toordinal() - _DAY, len(feed))
        + feed
        + struct.pack(">iq", 8, microseconds)
    )


def array_fields(columns: Sequence[NDArray[np.float64]]) -> bytes:
    """Encode arrays of one length as double precision[] fields of a COPY row, in order.

    Parameters
    ----------
    columns : arrays of shape (n,).

    Returns
    -------
    bytes
        One field an array, each behind its length.

    Raises
    ------
    ValueError
        If their lengths differ.
    """
    size = len(columns[0])
    if not size:
        # PostgreSQL writes an empty array with no dimension.
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


def bytea_field(value: bytes) -> bytes:
    """Encode a bytea field of a COPY row.

    Parameters
    ----------
    value : the field's content.

    Returns
    -------
    bytes
        The content behind its length.
    """
    return struct.pack(">i", len(value)) + value


def copy_stream(rows: Iterable[bytes], size: int = 1 << 17) -> Iterable[bytes]:
    """Yield a COPY stream of rows in blocks of about ``size`` bytes.

    Parameters
    ----------
    rows : encoded rows: a key, then its fields.
    size : about how large a block is. [bytes]

    Yields
    ------
    bytes
        The stream, block by block, with its header and trailer.
    """
    waiting, length = [COPY_HEADER], len(COPY_HEADER)
    for row in rows:
        waiting.append(row)
        length += len(row)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join([*waiting, COPY_TRAILER])


def read_array(sent: bytes | None) -> NDArray[np.float64]:
    """Decode one array as ``array_send`` sends it; empty for null.

    Parameters
    ----------
    sent : the value in PostgreSQL's binary format.

    Returns
    -------
    ndarray
        Of shape (n,).

    Raises
    ------
    ValueError
        If it has nulls or more than one dimension, which no array of ours has.
    """
    if sent is None:
        return np.empty(0)
    dimensions, nulls, _ = _ARRAY_HEAD.unpack_from(sent)
    if nulls or dimensions > 1:
        raise ValueError("an array with nulls, or with more than one dimension")
    if dimensions == 0:
        return np.empty(0)
    return np.frombuffer(sent, _ARRAY_ELEMENT, offset=_ARRAY_HEAD.size + _ARRAY_BOUNDS)[
        "value"
    ].astype(np.float64)


def read_arrays(sent: Sequence[bytes | None]) -> list[NDArray[np.float64]]:
    """Decode arrays as ``read_array`` does; arrays of one length are decoded in one step.

    Parameters
    ----------
    sent : values in PostgreSQL's binary format.

    Returns
    -------
    list of ndarray
        One of shape (n,) a value, in the same order.

    Raises
    ------
    ValueError
        As ``read_array``.
    """
    filled = [array for array in sent if array]
    first = filled[0] if len(filled) == len(sent) > 1 else b""
    bounds = _ARRAY_HEAD.size + _ARRAY_BOUNDS
    size = (len(first) - bounds) // _ARRAY_ELEMENT.itemsize
    # Arrays of one length have equal headers.
    if size < 1 or any(
        len(array) != len(first) or array[:bounds] != first[:bounds] for array in filled
    ):
        return [read_array(array) for array in sent]
    if _ARRAY_HEAD.unpack_from(first)[:2] != (1, 0):
        raise ValueError("an array with nulls, or with more than one dimension")
    layout = np.dtype([("head", f"V{bounds}"), ("values", _ARRAY_ELEMENT, (size,))])
    table = np.frombuffer(b"".join(filled), layout)["values"]["value"].astype(np.float64)
    return list(table)
