"""Reads of a session that the API and exports make, on rows that are written by hand."""

from __future__ import annotations

from datetime import date, timedelta

from factories import DAY, PROFILE, at, gap, record

from storage.record.row import PROFILE_ARRAYS

NEXT_DAY = date(2026, 8, 20)
ARRAYS = ("strike", "vex")


def later(step: int, **changes):
    """Make a record of the session after ``DAY``, ``step`` slots in."""
    return record(slot=at(step) + timedelta(days=1), expiration=NEXT_DAY, **changes)


async def test_session_heads(store):
    """The newest revision of each symbol that has rows on a day, in order of symbols."""
    await store.write([record(symbol="SPY"), record(), later(0)], [gap(3, symbol="IWM")])
    await store.write([record(slot=at(1))])
    heads = await store.session_heads(DAY)
    assert [(h["symbol"], h["source"]) for h in heads] == [("SPX", "test"), ("SPY", "test")]
    changes = await store.changes({"SPX": 0, "SPY": 0})
    newest = {c.symbol: [n for n, row in c.rows if row.expiration == DAY][-1] for c in changes}
    assert {h["symbol"]: h["revision"] for h in heads} == newest
    assert await store.session_heads(date(2026, 8, 18)) == []


async def test_samples(store):
    """Rows of one feed after a slot, with some columns and some arrays."""
    await store.write([record(slot=at(i), spot=100.0 + i) for i in range(4)])
    await store.write([record(slot=at(1), spot=7.0, source="other"), later(0)])
    columns = {"columns": ("spot",), "arrays": ARRAYS}
    whole = await store.samples("SPX", DAY, "test", **columns)
    assert [(slot, row["spot"]) for slot, row, _ in whole] == [(at(i), 100.0 + i) for i in range(4)]
    for _, _, arrays in whole:
        assert {n: a.tolist() for n, a in arrays.items()} == {n: PROFILE[n] for n in ARRAYS}
    rest = await store.samples("SPX", DAY, "test", after=at(1), **columns)
    assert [slot for slot, _, _ in rest] == [at(2), at(3)]
    other = await store.samples("SPX", DAY, "other", **columns)
    assert [(slot, row["spot"]) for slot, row, _ in other] == [(at(1), 7.0)]


async def test_flow_history(store):
    """Slots and flow of the newest sessions before a day: one feed's rows, by one definition.

    Without the rows whose flags say that the flow is not to be relied on.
    """
    flow = {"hedge_flow_cumulative_all": 5.0, "flags": ()}
    await store.write([record(slot=at(i), definitions="3", **flow) for i in range(2)])
    await store.write([record(slot=at(2), definitions="3", **flow | {"flags": ("after_gap",)})])
    await store.write([later(0, definitions="3", flags=()), later(1, definitions="2", flags=())])
    bounds = {"count": 1, "definitions": "3", "without": ["after_gap"]}
    history = await store.flow_history("SPX", "test", NEXT_DAY, **bounds)
    assert {day: (slots.tolist(), flows.tolist()) for day, (slots, flows) in history.items()} == {
        DAY: ([at(i).timestamp() for i in range(2)], [5.0, 5.0])
    }
    after = await store.flow_history("SPX", "test", date(2026, 8, 21), **bounds)
    assert {day: slots.tolist() for day, (slots, _) in after.items()} == {
        NEXT_DAY: [(at(0) + timedelta(days=1)).timestamp()]
    }
    all_flags = await store.flow_history("SPX", "test", NEXT_DAY, **bounds | {"without": []})
    assert len(all_flags[DAY][0]) == 3
    assert await store.flow_history("SPX", "other", NEXT_DAY, **bounds) == {}


async def test_before_a_moment(store):
    """The newest row before a moment; as a baseline the first one stands in where none is."""
    await store.write([record(slot=at(i), spot=100.0 + i) for i in (2, 4)])
    for step, figures, baseline in ((5, 104.0, at(4)), (4, 102.0, at(2)), (2, None, at(2))):
        row = await store.figures_before("SPX", DAY, at(step), columns=("spot",))
        assert (row and row["spot"]) == figures
        before = await store.profile_before("SPX", DAY, at(step), columns=ARRAYS)
        assert (before.slot, before.bucket) == (baseline, baseline)
        assert {n: a.tolist() for n, a in before.arrays.items()} == {n: PROFILE[n] for n in ARRAYS}
    assert await store.profile_before("SPY", DAY, at(5), columns=ARRAYS) is None


async def test_moment(store):
    """The newest record whose quotes were made by a time; its evidence is not read."""
    quoted = [record(slot=at(i), quoted_at=at(i) + timedelta(seconds=20)) for i in range(3)]
    await store.write(quoted)
    newest = await store.moment("SPX", DAY)
    assert newest.row == quoted[2].row
    assert set(newest.profile) == set(PROFILE_ARRAYS)
    assert newest.profile["vex"].tolist() == PROFILE["vex"]
    by_then = await store.moment("SPX", DAY, at(1) + timedelta(seconds=20))
    assert by_then.row == quoted[1].row
    assert await store.moment("SPX", DAY, at(0)) is None


async def test_buckets_of_profiles(store):
    """The last row of each minute, with where the minute begins."""
    await store.write([record(slot=at(i), spot=100.0 + i) for i in (0, 1, 4)])
    rows = await store.profiles(
        "SPX", DAY, start=at(0), until=at(5), width=timedelta(minutes=1), columns=ARRAYS
    )
    assert [(r.bucket, r.slot, r.spot) for r in rows] == [
        (at(0), at(1), 101.0),
        (at(4), at(4), 104.0),
    ]
    assert {n: a.tolist() for n, a in rows[0].arrays.items()} == {n: PROFILE[n] for n in ARRAYS}
