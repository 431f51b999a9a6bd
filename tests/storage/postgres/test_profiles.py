"""Reads by strike, of a moment, of a board and of a symbol's days."""

from __future__ import annotations

import math
import struct
from datetime import date, timedelta

import numpy as np
import psycopg
import pytest
from factories import DAY, OPEN, PROFILE, at, record

from storage.postgres.binary import read_array, read_arrays
from storage.postgres.store import Store
from storage.record.row import PROFILE_ARRAYS, Gap, Reason

MINUTE = timedelta(minutes=1)


def sent(*numbers: float) -> bytes:
    """A one-dimensional array as the server's documentation says it is sent."""
    head = struct.pack(">iiIii", 1, 0, 701, len(numbers), 1)
    return head + b"".join(struct.pack(">id", 8, number) for number in numbers)


def test_arrays_are_read_as_they_lie():
    """Every number to the bit, none for an empty array and for null."""
    numbers = [0.1, -0.0, 1e300, math.inf, 5e-324]
    assert read_array(sent(*numbers)).tolist() == numbers
    assert np.isnan(read_array(sent(math.nan, 1.0))).tolist() == [True, False]
    assert read_array(struct.pack(">iiI", 0, 0, 701)).tolist() == []
    assert read_array(None).tolist() == []


@pytest.mark.parametrize("head", [struct.pack(">iiI", 1, 1, 701), struct.pack(">iiI", 2, 0, 701)])
def test_other_arrays_are_refused(head):
    """What none of ours is, is an error and not another number."""
    with pytest.raises(ValueError, match="nulls"):
        read_array(head + sent(1.0)[12:])


@pytest.mark.parametrize(
    "lists",
    [
        [[0.1, -0.0], [1e300, math.inf], [5e-324, 2.0]],
        [[0.1, -0.0], [1.0], [2.0, 3.0, 4.0]],
        [[1.0], [], [2.0]],
        [[1.0, 2.0], None, [3.0, 4.0]],
        [None],
        [[], []],
        [[7.0]],
        [],
    ],
    ids=["alike", "lengths", "empty", "null", "only null", "all empty", "one", "none"],
)
def test_many_arrays_are_read_as_each_is(lists):
    """Of one length or not, with nulls and empty ones between: each by itself, in order."""
    empty = struct.pack(">iiI", 0, 0, 701)
    sent_arrays = [
        None if values is None else sent(*values) if values else empty for values in lists
    ]
    arrays = read_arrays(sent_arrays)
    assert [values.tolist() for values in arrays] == [values or [] for values in lists]
    assert all(values.flags.writeable and values.dtype == np.float64 for values in arrays)


@pytest.mark.parametrize("head", [struct.pack(">iiI", 1, 1, 701), struct.pack(">iiI", 2, 0, 701)])
def test_other_arrays_are_refused_among_many(head):
    """Also where all of them are alike."""
    with pytest.raises(ValueError, match="nulls"):
        read_arrays([head + sent(1.0, 2.0)[12:]] * 3)


async def test_profiles(store: Store):
    """The last sample of each bucket with the arrays asked for, to the bit; and no other."""
    slots = [at(0), at(1), at(2), at(5)]
    await store.write(
        [
            record(slot=s, spot=7700.0 + i, profile={"vex": [i, math.nan]})
            for i, s in enumerate(slots)
        ]
    )
    window = {"start": OPEN, "until": at(10), "width": MINUTE}
    profiles = await store.profiles("SPX", DAY, **window, columns=("strike", "vex", "call_flow"))
    assert [(p.bucket, p.slot, p.spot) for p in profiles] == [
        (at(0), at(1), 7701.0),
        (at(2), at(2), 7702.0),
        (at(4), at(5), 7703.0),
    ]
    assert [p.arrays["vex"][0] for p in profiles] == [1.0, 2.0, 3.0]
    for profile in profiles:
        assert list(profile.arrays) == ["strike", "vex", "call_flow"]
        assert profile.arrays["strike"].tolist() == PROFILE["strike"]
        assert profile.arrays["call_flow"].tolist() == PROFILE["call_flow"]
        assert profile.oi_confidence == 0.43
    cut = await store.profiles("SPX", DAY, start=at(2), until=at(5), width=MINUTE, columns=("vex",))
    assert [p.slot for p in cut] == [at(2)]
    assert await store.profiles("SPY", DAY, **window, columns=("vex",)) == []


async def test_rows_without_profiles(store: Store, database: str):
    """They are there, with empty arrays."""
    await store.write([record(slot=at(3))])
    with psycopg.connect(database) as connection:
        connection.execute("delete from live.profiles")
    window = {"start": OPEN, "until": at(10), "width": MINUTE}
    [profile] = await store.profiles("SPX", DAY, **window, columns=("strike",))
    assert (profile.slot, profile.arrays["strike"].tolist()) == (at(3), [])
    moment = await store.moment("SPX", DAY)
    assert moment.row.slot == at(3)
    assert {len(moment.profile[name]) for name in PROFILE_ARRAYS} == {0}


async def test_what_increments_count_from(store: Store):
    """The newest sample before a moment; before the first, the first itself; none of no session."""
    columns = ("strike",)
    assert await store.profile_before("SPX", DAY, at(9), columns=columns) is None
    await store.write([record(slot=at(2)), record(slot=at(5))])
    for before, slot in ((at(0), at(2)), (at(2), at(2)), (at(3), at(2)), (at(6), at(5))):
        profile = await store.profile_before("SPX", DAY, before, columns=columns)
        assert profile.slot == slot
    row = await store.figures_before("SPX", DAY, at(5), columns=("slot", "spot"))
    assert row == {"slot": at(2), "spot": 7700.5}
    assert await store.figures_before("SPX", DAY, at(2), columns=("slot",)) is None


async def test_moment(store: Store):
    """The newest row, or the newest that was quoted by then, as it was written."""
    assert await store.moment("SPX", DAY) is None
    # Quotes are nine seconds older than their slots.
    written = [record(slot=at(i), spot=7700.0 + i) for i in range(3)]
    await store.write(written)
    newest = await store.moment("SPX", DAY)
    assert newest.row == written[2].row
    for name in PROFILE_ARRAYS:
        np.testing.assert_array_equal(newest.profile[name], written[2].profile[name])
    quoted = at(1) - timedelta(seconds=9)
    assert (await store.moment("SPX", DAY, quoted)).row == written[1].row
    assert (await store.moment("SPX", DAY, quoted - timedelta(seconds=1))).row == written[0].row
    assert await store.moment("SPX", DAY, OPEN - timedelta(minutes=1)) is None


async def test_board(store: Store):
    """Each symbol's newest row up to a day."""
    eve = DAY - timedelta(days=1)
    await store.write(
        [
            record(symbol="SPY", slot=at(1)),
            record(symbol="SPY", slot=at(4)),
            record(symbol="QQQ", expiration=eve, slot=at(0) - timedelta(days=1)),
            record(
                symbol="QQQ", expiration=DAY + timedelta(days=1), slot=at(0) + timedelta(days=1)
            ),
        ]
    )
    columns = ("symbol", "expiration", "slot")
    assert [tuple(row.values()) for row in await store.board(DAY, columns=columns)] == [
        ("QQQ", eve, at(0) - timedelta(days=1)),
        ("SPY", DAY, at(4)),
    ]
    assert await store.board(date(2020, 1, 1), columns=columns) == []
    assert await store.newest_day("QQQ", DAY) == eve
    assert await store.newest_day("QQQ", DAY + timedelta(days=9)) == DAY + timedelta(days=1)
    assert await store.newest_day("XYZ", DAY) is None


async def test_sessions(store: Store):
    """Days with rows, with gaps alone, and with both."""
    eve = DAY - timedelta(days=1)
    gaps = [
        Gap(symbol="SPX", expiration=eve, slot=at(i) - timedelta(days=1), reason=Reason.NO_ZERO_DTE)
        for i in range(3)
    ]
    gaps += [Gap(symbol="SPX", expiration=DAY, slot=at(1), reason=Reason.STALE)]
    await store.write([record(slot=at(0)), record(slot=at(2)), record(symbol="SPY")], gaps)
    assert await store.sessions("SPX") == [
        {
            "expiration": eve,
            "rows": 0,
            "first": None,
            "last": None,
            "step": None,
            "gaps": 3,
            "reasons": {"no_zero_dte": 3},
            "feed": "",
            "source": None,
            "first_feed": None,
            "feeds": None,
        },
        {
            "expiration": DAY,
            "rows": 2,
            "first": at(0),
            "last": at(2),
            "step": timedelta(seconds=60),
            "gaps": 1,
            "reasons": {"stale": 1},
            "feed": "test",
            "source": "test",
            "first_feed": None,
            "feeds": ["test"],
        },
    ]
    assert await store.sessions("XYZ") == []
