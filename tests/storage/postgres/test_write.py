"""The write path: batches and single records alike, feeds apart, a poisoned record alone."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import psycopg
import pytest
from factories import DAY, OPEN, PROFILE, at, gap, gaps_of, record, rows_of
from structlog.testing import capture_logs

from storage.errors import StoreUnavailable
from storage.postgres import write
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import COLUMNS, Row, SlotRecord

LATER = timedelta(seconds=1)


def spoiled(whole: SlotRecord, **changes: Any) -> SlotRecord:
    """A record whose row has what no row takes at birth."""
    for name, value in changes.items():
        object.__setattr__(whole.row, name, value)
    return whole


class TestBatches:
    """Two records or more come by COPY, one by itself: nothing tells them apart afterwards."""

    async def test_every_field(self, store):
        """A batch's rows, profiles and chains come back exactly."""
        batch = [
            record(
                slot=at(i),
                symbol=f"S{i}",
                quoted_at=datetime(2026, 8, 19, 13, 29, 51, 123_457 + i, tzinfo=UTC),
                profile={"iv": [float("nan"), 0.1 + 0.2], "chex": [float("inf"), -5e-324]},
                evidence=bytes(range(256)) * i,
                spot=1.0 + i,
                flags=("a", 'b"{,}\\') if i else (),
                detail={"crossings": [1.5, 2.5], "hedging": {"spot_up_1pct": 0.1}} if i else {},
                gamma_flip=None if i else 1.5,
            )
            for i in range(3)
        ]
        written = rows_of(await store.write(batch))
        assert [expected.row for expected in batch] == [stored.row for stored in written]
        for i, expected in enumerate(batch):
            newest = await store.before(f"S{i}", DAY, at(9))
            assert expected.row == newest.row
            assert {n: type(getattr(expected.row, n)) for n in COLUMNS} == {
                n: type(getattr(newest.row, n)) for n in COLUMNS
            }
            assert expected.evidence == newest.evidence
            for name in PROFILE:
                assert expected.profile[name].tobytes() == newest.profile[name].tobytes()

    async def test_profiles_without_strikes(self, store):
        """An empty profile and an empty chain are stored as such."""
        nothing = {name: [] for name in PROFILE}
        await store.write([record(slot=at(i), profile=nothing, evidence=b"") for i in (0, 1)])
        newest = await store.before("SPX", DAY, at(9))
        assert (newest.evidence, newest.profile["iv"].tolist()) == (b"", [])

    @pytest.mark.parametrize(
        ("mode", "spot"),
        [
            (WriteMode.KEEP, 1.0),
            (WriteMode.NEWER, 3.0),
            (WriteMode.FILL, 3.0),
            (WriteMode.REWRITE, 2.0),
        ],
    )
    async def test_one_slot_thrice(self, store, mode, spot):
        """Of several records of a slot in one call, the one counts that would in calls of their own."""
        batch = [
            record(spot=1.0, quoted_at=OPEN),
            record(spot=3.0, quoted_at=OPEN + LATER),
            record(spot=2.0, quoted_at=OPEN),
        ]
        (stored,) = rows_of(await store.write(batch, mode=mode))
        assert stored.row.spot == spot

    async def test_an_unchanged_batch_writes_nothing(self, store, database):
        """The same tick again touches no table."""
        batch = [record(symbol=f"S{i}") for i in range(20)]
        await store.write(batch)

        def marks() -> list[Any]:
            with psycopg.connect(database) as connection:
                return [
                    connection.execute(
                        f"select xmin, xmax, ctid from live.{t} order by symbol"
                    ).fetchall()
                    for t in ("rows", "profiles", "chains", "heads", "sessions")
                ]

        before = marks()
        for mode in (WriteMode.KEEP, WriteMode.NEWER, WriteMode.FILL, WriteMode.REWRITE):
            assert (await store.write(batch, mode=mode)).changes == ()
        # An upsert locks the row that it then leaves alone: that is in xmax, and in no table.
        assert [[(m[0], m[2]) for m in table] for table in before] == [
            [(m[0], m[2]) for m in table] for table in marks()
        ]

    async def test_a_kept_slot_needs_no_more(self, store):
        """Of a batch whose slots have rows already nothing but the keys is looked at."""
        batch = [record(symbol=f"S{i}") for i in range(4)]
        await store.write(batch[:3])
        again = [SlotRecord(row=whole.row, profile={}, evidence=b"") for whole in batch[:3]]
        written = await store.write([*again, batch[3]])
        assert ([k.row.symbol for k in rows_of(written)], written.refused) == (["S3"], ())


class TestStandstill:
    """Who stands still in the middle of a write keeps nobody else from writing."""

    async def test_the_lock_falls(self, store, database, monkeypatch):
        """The server ends the session of a writer that stands still; nothing of it was written."""
        queries = {name: write.query(name) for name in ("lock", "standing")}
        assert "'20s'" in queries["lock"]
        queries["lock"] = queries["lock"].replace("'20s'", "'300ms'")
        going_on = asyncio.Event()

        async def stand_still(*_: object) -> None:
            going_on.set()
            await asyncio.sleep(5)

        with monkeypatch.context() as patched:
            patched.setattr(write, "query", queries.__getitem__)
            patched.setattr(write, "_put", stand_still)
            stopped = asyncio.create_task(store.write([record(slot=at(0))]))
            await asyncio.wait_for(going_on.wait(), 10)
        since = time.monotonic()
        async with Store.open(database, "live", size=1) as other:
            assert len(rows_of(await other.write([record(slot=at(1))]))) == 1
        # As soon as the server has ended the session, and not when the writer goes on.
        assert time.monotonic() - since < 4
        with pytest.raises(StoreUnavailable, match="idle-in-transaction timeout"):
            await stopped
        assert await store.before("SPX", DAY, at(1)) is None


@pytest.mark.parametrize("size", [1, 3])
class TestFilledIn:
    """What was sampled live is better than what was filled in afterwards; alone and in a batch."""

    async def spots(self, store: Store, size: int, *steps: tuple[str, float, int]) -> list[float]:
        """The slot's spot after each write of mode, spot, and seconds of its quotes."""
        spots = []
        for mode, spot, seconds in steps:
            quoted = OPEN + timedelta(seconds=seconds)
            batch = [record(symbol=f"S{i}", spot=spot, quoted_at=quoted) for i in range(size)]
            await store.write(batch, mode=mode)
            (common,) = {(await store.before(f"S{i}", DAY, at(1))).row.spot for i in range(size)}
            spots.append(common)
        return spots

    async def test_live_beats_backfill(self, store, size):
        """A live row takes the place of one filled in, and is never filled over."""
        steps = [
            (WriteMode.FILL, 1.0, 0),
            (WriteMode.KEEP, 2.0, -1),
            (WriteMode.FILL, 3.0, 5),
            (WriteMode.KEEP, 4.0, 5),
        ]
        assert await self.spots(store, size, *steps) == [1.0, 2.0, 2.0, 2.0]

    async def test_backfill_against_itself(self, store, size):
        """Of two filled in, later quotes win, as in a session's last slot."""
        steps = [
            (WriteMode.FILL, 1.0, 0),
            (WriteMode.FILL, 2.0, 0),
            (WriteMode.FILL, 3.0, 1),
            (WriteMode.NEWER, 4.0, -1),
        ]
        assert await self.spots(store, size, *steps) == [1.0, 1.0, 3.0, 4.0]

    async def test_later_quotes(self, store, size):
        """Where later quotes are wanted, equal ones and earlier ones are not."""
        steps = [
            (WriteMode.NEWER, 1.0, 0),
            (WriteMode.NEWER, 2.0, 0),
            (WriteMode.NEWER, 3.0, 1),
            (WriteMode.NEWER, 4.0, 0),
        ]
        assert await self.spots(store, size, *steps) == [1.0, 1.0, 3.0, 3.0]

    async def test_told_otherwise(self, store, size):
        """A rewrite wins over both, and does not make a live row of one filled in."""
        steps = [
            (WriteMode.FILL, 1.0, 0),
            (WriteMode.REWRITE, 2.0, 0),
            (WriteMode.KEEP, 3.0, 0),
            (WriteMode.REWRITE, 4.0, 0),
        ]
        assert await self.spots(store, size, *steps) == [1.0, 2.0, 3.0, 4.0]
        assert await self.spots(store, size, (WriteMode.KEEP, 5.0, 9)) == [4.0]


class TestFeeds:
    """A feed's rows of a day are a session of their own."""

    @pytest.mark.parametrize("mode", list(WriteMode))
    async def test_apart(self, store, mode):
        """A row of another feed replaces nothing, whatever the mode; each feed has its own slots."""
        await store.write([record(source="cboe", spot=1.0)], [gap(1, source="cboe")])
        written = await store.write([record(source="theta", spot=2.0)], mode=mode)
        assert [(r.row.source, r.row.spot) for r in rows_of(written)] == [("theta", 2.0)]
        for feed, spot, gaps in (("cboe", 1.0, [at(1)]), ("theta", 2.0, [])):
            its_store = store.of_feed(feed)
            previous = await its_store.before("SPX", DAY, at(9))
            assert (previous.row.source, previous.row.spot) == (feed, spot)
            assert previous.evidence == record(source=feed).evidence
            assert [g["slot"] for g in await its_store.gaps("SPX", DAY)] == gaps
            assert await store.accounted("SPX", DAY, feed) == {at(0), *gaps}
            assert [
                row[1] for row in (await its_store.session("SPX", DAY, ("spot",), ("source",)))[0]
            ]
        assert await store.feeds("SPX", DAY) == {"cboe": True, "theta": False}

    async def test_a_row_closes_its_own_feeds_gap(self, store):
        """The gap of another feed stays."""
        await store.write(gaps=[gap(0, source="cboe"), gap(0, source="theta")])
        await store.write([record(source="theta")])
        assert len(await store.of_feed("cboe").gaps("SPX", DAY)) == 1
        assert len(await store.of_feed("theta").gaps("SPX", DAY)) == 0

    async def test_a_gap_without_a_feed(self, store):
        """An earlier release's gap goes to the session's feed; it is not known without one."""
        await store.write([record(source="theta")])
        await store.write(gaps=[gap(3), gap(3, symbol="QQQ")])
        assert [g["slot"] for g in await store.of_feed("theta").gaps("SPX", DAY)] == [at(3)]
        lines = await store.coverage(DAY, DAY, ["QQQ"])
        assert [line["source"] for line in lines] == [""]

    async def test_which_is_shown(self, store):
        """The configured feed before its fallback; without one, the feed with most rows."""
        await store.write([record(source="b")])
        assert await store.feeds("SPX", DAY) == {"b": True}
        await store.write([record(source="a"), record(source="a", slot=at(1))])
        assert await store.feeds("SPX", DAY) == {"a": True, "b": False}
        await store.own({"SPX": "c"}, DAY)
        await store.own({"SPX": "a"}, DAY, fallback=True)
        await store.write(gaps=[gap(0, source="c")])
        assert await store.feeds("SPX", DAY) == {"a": True, "b": False}
        await store.write([record(source="c", slot=at(2))])
        assert await store.feeds("SPX", DAY) == {"a": False, "b": False, "c": True}
        assert await store.slots("SPX", DAY) == [at(2)]
        assert await store.symbols() == {"SPX": at(2)}


NUL = "a\x00b"


def poisons() -> dict[str, SlotRecord]:
    """Records of slot 1 that cannot be stored, each for a reason of its own."""
    two = {"profile": {"iv": [0.1, 0.2]}}
    return {
        "not a number": spoiled(record(slot=at(1)), net_gex=float("nan")),
        "infinite": spoiled(record(slot=at(1)), atm_iv=float("-inf")),
        "missing": spoiled(record(slot=at(1)), spot=None),
        "too large": spoiled(record(slot=at(1)), contracts=2**40),
        "NUL in its name": spoiled(record(slot=at(1)), symbol=NUL),
        "half a character in its name": spoiled(record(slot=at(1)), symbol="S\udce9"),
        "too large for any": spoiled(record(slot=at(1)), total_oi=2**63),
        "NUL in a text": spoiled(record(slot=at(1)), regime=NUL),
        "NUL in JSON": spoiled(record(slot=at(1)), settled={"regime": NUL}),
        "half a character": spoiled(record(slot=at(1)), regime="\udce9"),
        "too long for an index": spoiled(
            record(slot=at(1)),
            symbol="".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(3_000)),
        ),
        "another type": spoiled(record(slot=at(1)), flags=7),
        "a word for a number": spoiled(record(slot=at(1)), spot="7700"),
        "arrays of two lengths": record(slot=at(1), profile={"iv": [0.1]}),
        "an array is missing": SlotRecord(row=record(slot=at(1)).row, profile={}, evidence=b""),
        "no chain": SlotRecord(row=record(slot=at(1)).row, **_arrays(two["profile"]), evidence=7),
    }


def _arrays(profile: dict[str, list[float]]) -> dict[str, Any]:
    return {"profile": {k: np.array(v) for k, v in (PROFILE | profile).items()}}


class TestPoison:
    """One bad record costs no other."""

    @pytest.mark.parametrize("which", poisons())
    @pytest.mark.parametrize("size", [1, 5])
    async def test_alone(self, store, which, size):
        """It is left out and reported; the others, before it and after, are written whole."""
        bad = poisons()[which]
        others = [record(slot=at(i)) for i in (0, 2, 3, 4)] if size > 1 else []
        batch = [*others[:1], bad, *others[1:]]
        with capture_logs() as lines:
            written = await store.write(batch, [gap(7)])
        assert [k.row.slot for k in rows_of(written)] == [whole.row.slot for whole in others]
        assert [k.row.slot for k in gaps_of(written)] == [at(7)]
        assert [refused.item for refused in written.refused] == [bad]
        assert written.refused[0].reason
        assert [line["event"] for line in lines] == ["not written"]
        assert await store.slots("SPX", DAY) == [whole.row.slot for whole in others]
        if others:
            newest = await store.before("SPX", DAY, at(9))
            assert newest.profile["iv"].tobytes() == others[-1].profile["iv"].tobytes()
        assert (await store.heads())["SPX"] == written.changes[0].revision

    async def test_several(self, store):
        """Of many, only the bad ones are left out."""
        batch = [record(symbol=f"S{i:02}") for i in range(40)]
        for i in (3, 4, 17, 39):
            spoiled(batch[i], regime=NUL)
        written = await store.write(batch)
        assert len(written.changes) == 36
        assert len(written.refused) == 4

    @pytest.mark.parametrize("place", [0, 1, 2, 3])
    @pytest.mark.parametrize(
        "changes",
        [{"symbol": NUL}, {"symbol": "S\udce9"}, {"expiration": None}],
        ids=["NUL", "surrogate", "no expiration"],
    )
    async def test_a_bad_gap(self, store, changes, place):
        """The same holds for gaps: before the database sees them, and where it refuses one."""
        bad, others = gap(9), [gap(i) for i in (2, 3, 4)]
        for name, value in changes.items():
            object.__setattr__(bad, name, value)
        batch = [*others[:place], bad, *others[place:]]
        written = await store.write([record()], batch)
        assert [k.row.slot for k in gaps_of(written)] == [at(2), at(3), at(4)]
        assert [refused.item for refused in written.refused] == [bad]

    async def test_foreign_words(self, store):
        """What a vendor said is kept as far as a database takes it."""
        await store.write(gaps=[gap(1, detail="a\x00b\udce9c")])
        ((detail),) = [g["detail"] for g in await store.gaps("SPX", DAY)]
        assert detail == "a\ufffdb?c"


def test_rows_have_no_secret_columns():
    """What the store keeps beside a row's own fields is named here."""
    assert "backfilled" not in COLUMNS
    assert "revision" not in COLUMNS
    assert len(COLUMNS) == len(Row.__dataclass_fields__)


class TestConflictRule:
    """What each mode does to a slot that has a row: one table, which Python and SQL both follow."""

    #: Mode → what wins over a sampled row, and over a backfilled one: nothing, later quotes, or all.
    EXPECTED: ClassVar = {
        "keep": ("never", "always"),
        "newer": ("later", "always"),
        "fill": ("never", "later"),
        "rewrite": ("always", "always"),
        "replace": ("always", "always"),
    }

    @pytest.mark.parametrize("size", [1, 2], ids=["one", "batch"])
    @pytest.mark.parametrize("shift", [-1, 0, 1], ids=["earlier", "same", "later"])
    @pytest.mark.parametrize("backfilled", [False, True], ids=["sampled", "backfilled"])
    @pytest.mark.parametrize("mode", list(WriteMode), ids=str)
    async def test_who_wins(self, store, mode, backfilled, shift, size):
        """Alone, in a batch, and by the rule itself, the same record stays."""
        when = self.EXPECTED[str(mode)][backfilled]
        wins = when == "always" or (when == "later" and shift > 0)
        offered_at = OPEN + timedelta(seconds=shift)
        rule = mode.rule
        assert wins == rule.replaces(backfilled=backfilled, stored_at=OPEN, offered_at=offered_at)
        slots = [at(i) for i in range(size)]
        await store.write(
            [record(slot=slot, spot=1.0, quoted_at=OPEN) for slot in slots],
            mode=WriteMode.FILL if backfilled else WriteMode.KEEP,
        )
        written = await store.write(
            [record(slot=slot, spot=2.0, quoted_at=offered_at) for slot in slots], mode=mode
        )
        assert [k.row.spot for k in rows_of(written)] == [2.0] * size * wins
        (change,) = await store.changes({"SPX": 0})
        assert [row.spot for _, row in change.rows] == [2.0 if wins else 1.0] * size

    @pytest.mark.parametrize("mode", list(WriteMode), ids=str)
    async def test_equal_records(self, store, mode):
        """Only replace writes a record that equals the row."""
        await store.write([record()])
        written = await store.write([record()], mode=mode)
        assert len(rows_of(written)) == (mode is WriteMode.REPLACE)
