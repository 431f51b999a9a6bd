"""PostgreSQL's binary format, byte by byte as its documentation and sources have it."""

from __future__ import annotations

import struct
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest

from storage.postgres.binary import (
    array_fields,
    bytea_field,
    copy_stream,
    key_fields,
    read_array,
    read_arrays,
)

#: The object id of float8 in every PostgreSQL.
FLOAT8 = 701


def sent(*values: float, dimensions: int = 1, nulls: int = 0, first: int = 1) -> bytes:
    """An array as ``array_send`` writes it: head, bounds of each dimension, elements."""
    bounds = struct.pack(">ii", len(values), first) * dimensions
    elements = b"".join(struct.pack(">id", 8, value) for value in values)
    return struct.pack(">iii", dimensions, nulls, FLOAT8) + bounds + elements


EMPTY = struct.pack(">iii", 0, 0, FLOAT8)


def test_arrays_are_read():
    """Values come back in order; an empty array and null are empty."""
    assert read_array(sent(1.5, -2.25, 1e300)).tolist() == [1.5, -2.25, 1e300]
    assert read_array(EMPTY).tolist() == read_array(None).tolist() == []


@pytest.mark.parametrize(
    "arrays",
    [
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        [[1.0], [2.0]],
        [[1.0, 2.0], [3.0]],
        [[1.0, 2.0], None, [3.0, 4.0]],
        [[], []],
        [[1.0, 2.0]],
        [],
    ],
    ids=str,
)
def test_several_arrays_are_read(arrays):
    """Arrays of one length, of several, and absent ones come back alike."""
    encoded = [None if a is None else sent(*a) if a else EMPTY for a in arrays]
    assert [a.tolist() for a in read_arrays(encoded)] == [a or [] for a in arrays]
    assert all(a.dtype == np.float64 for a in read_arrays(encoded))


@pytest.mark.parametrize("bad", [sent(1.0, 2.0, nulls=1), sent(1.0, 2.0, dimensions=2)])
@pytest.mark.parametrize("others", [0, 1])
def test_what_no_array_of_ours_has_is_an_error(bad, others):
    """Nulls and further dimensions are refused, of one array and of several alike."""
    with pytest.raises(ValueError, match="nulls, or with more than one dimension"):
        read_array(bad)
    with pytest.raises(ValueError, match="nulls, or with more than one dimension"):
        read_arrays([bad] * (1 + others))
    with pytest.raises(ValueError, match="nulls, or with more than one dimension"):
        read_arrays([sent(3.0, 4.0), bad])


@pytest.mark.parametrize("arrays", [[[1.5, -2.25], [3.0, 1e300]], [[0.1]], [[], []]], ids=str)
def test_arrays_are_written(arrays):
    """Each array as a field: how many bytes follow, then what PostgreSQL itself would send."""
    expected = [sent(*array) if array else EMPTY for array in arrays]
    assert array_fields([np.array(array, float) for array in arrays]) == b"".join(
        struct.pack(">i", len(field)) + field for field in expected
    )


def test_a_key_is_written():
    """A row's first bytes, by hand: days and microseconds count from 2000-01-01.

    2000-03-01 is 31 + 29 days on; 09:30 in New York is 14:30 UTC, 52,200 s into that day.
    """
    slot = datetime(2000, 3, 1, 9, 30, 0, 7, tzinfo=timezone(timedelta(hours=-5)))
    expected = struct.pack(">hi", 4 + 2, 4) + "SPÜ".encode()
    expected += struct.pack(">iii", 4, 60, 3) + b"csv"
    expected += struct.pack(">iq", 8, (60 * 86_400 + 52_200) * 1_000_000 + 7)
    assert key_fields("SPÜ", date(2000, 3, 1), "csv", slot, 2) == expected
    assert bytea_field(b"\x00\xff") == b"\0\0\0\x02\x00\xff"


def test_a_copy_stream_comes_in_blocks():
    """Signature, flags and extension of 19 bytes first, −1 as int16 last; blocks when they fill."""
    rows = [b"0123456789"] * 5
    head, tail = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
    assert list(copy_stream(rows, 20)) == [
        head + rows[0],
        rows[0] + rows[0],
        rows[0] + rows[0],
        tail,
    ]
    # A block begins with nothing in it: of rows of ten bytes it takes three to make 21.
    assert list(copy_stream(rows, 21))[1] == b"".join(rows[:3])
    assert list(copy_stream(rows)) == [head + b"".join(rows) + tail]
