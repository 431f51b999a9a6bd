"""Batches and changes as bytes: what travels between two releases."""

from __future__ import annotations

from datetime import date

import orjson
import pytest
from factories import at, gap, record, row

from storage.record.row import ADDED_COLUMNS, COLUMNS, Change, Reason
from storage.record.wire import (
    BATCH_FIELDS,
    Batch,
    decode_batch,
    decode_change,
    encode_batch,
    encode_change,
)

IDLE = gap(1, Reason.NO_ZERO_DTE, "nothing expires", next_expiry=date(2026, 8, 21))
OLD = gap(1, Reason.NO_ZERO_DTE, "nothing expires")
CHANGE = Change(symbol="SPX", after=1, revision=3, rows=((2, row()),), gaps=((3, IDLE),))


def test_gaps_keep_their_next_expiry():
    """The next expiry goes by the spool and by the live channel as a date."""
    assert decode_batch(encode_batch(Batch(gaps=[IDLE, OLD]))).gaps == [IDLE, OLD]
    assert decode_change(encode_change(CHANGE)) == CHANGE


def test_bytes_of_an_earlier_release():
    """A gap that was written without a next expiry is read: nobody knows it."""
    line, _, _ = encode_batch(Batch(gaps=[IDLE])).partition(b"\n")
    head = orjson.loads(line)
    del head["gaps"][0]["next_expiry"]
    assert decode_batch(orjson.dumps(head) + b"\n").gaps == [OLD]
    values = orjson.loads(encode_change(CHANGE))
    del values["gaps"][0][1]["next_expiry"]
    ((_, read),) = decode_change(orjson.dumps(values)).gaps
    assert read == OLD


def test_figures_of_an_earlier_release():
    """A row whose groups lack a figure is read; one with a figure that nobody knows is refused."""
    values = orjson.loads(encode_change(CHANGE))
    settled = values["rows"][0][1]["settled"]
    del settled["net_gex"]
    ((_, read),) = decode_change(orjson.dumps(values)).rows
    assert (read.settled.net_gex, read.settled.regime) == (None, "positive_gamma")
    settled["net_gexx"] = 1.0
    with pytest.raises(ValueError, match="no figure 'net_gexx'"):
        decode_change(orjson.dumps(values))
    line, _, rest = encode_batch(Batch(records=[record(slot=at(1))])).partition(b"\n")
    spoilt = line.replace(b'"net_gex":1500000000.0', b'"net_gexx":1500000000.0')
    with pytest.raises(ValueError, match="no figure 'net_gexx'"):
        decode_batch(spoilt + b"\n" + rest)


def test_rows_of_an_earlier_release():
    """A row without the fields that came later is read; one without any other field is refused."""
    values = orjson.loads(encode_change(CHANGE))
    ((_, plain),) = values["rows"]
    for name in ADDED_COLUMNS:
        del plain[name]
    ((_, read),) = decode_change(orjson.dumps(values)).rows
    assert {getattr(read, name) for name in ADDED_COLUMNS} == {None}
    assert read.net_gex == row().net_gex
    del plain["net_gex"]
    with pytest.raises(ValueError, match=f"{len(COLUMNS) - 1} fields, not {len(COLUMNS)}"):
        decode_change(orjson.dumps(values))


def test_spools_of_an_earlier_release_are_ours():
    """The mark of a spool file's fields is that of release 0.1: what it left is read."""
    assert BATCH_FIELDS == "890756b4", "give each new field of a row the default None"
