"""The store on a real PostgreSQL: what is written, what is read, and what a failure costs."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from factories import DAY, OPEN, PROFILE, at, gap, gaps_of, record, row, rows_of
from proxy import Proxy
from psycopg import sql as compose

from storage.errors import (
    SchemaMissing,
    SchemaNewer,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from storage.postgres import sql
from storage.postgres.migrate import VERSION, migrate
from storage.postgres.store import Store
from storage.record.figures import DetailFigures, SettledFigures
from storage.record.mode import WriteMode
from storage.record.row import COLUMNS, Reason, SlotRecord
from tests import forked

NEXT_DAY = date(2026, 8, 20)
HALF = timedelta(seconds=30)
#: What the store's errors must never show.
SECRET = "s3cret"


def query(url: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the database itself, past the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text, values)
        return cursor.fetchall() if cursor.description else []


def alter(url: str, setting: str) -> None:
    """Give a database a default for all new connections."""
    name = urlsplit(url).path.strip("/")
    query(url, f'alter database "{name}" set {setting}')


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of the dataset, with the transactions that wrote them."""
    tables = ("rows", "profiles", "chains", "gaps", "sessions", "heads")
    return {
        table: sorted(query(url, f"select xmin::text, t::text from live.{table} t"))
        for table in tables
    }


async def read(store: Store, step: int = 0, symbol: str = "SPX") -> SlotRecord:
    """The record of a slot."""
    newest = await store.before(symbol, DAY, at(step + 1))
    assert newest is not None
    assert at(step) == newest.row.slot
    return newest


class TestAppend:
    """Writing slot records."""

    async def test_new_rows(self, store):
        """What was written comes back in order, each with the next revision."""
        records = [record(slot=at(i)) for i in (2, 0, 1)]
        written = rows_of(await store.write(records))
        assert [r.row for r in records] == [w.row for w in written]
        revisions = [w.revision for w in written]
        assert sorted(set(revisions)) == revisions
        assert revisions[-1] == await store.cursor()
        assert [at(0), at(1), at(2)] == await store.slots("SPX", DAY)

    async def test_nothing(self, store):
        """Nothing to write is fine."""
        assert (await store.write([])).changes == ()
        assert await store.cursor() == 0

    async def test_keep(self, store):
        """A slot that has a row keeps it, its profile and its chain."""
        await store.write([record(spot=1.0)])
        later = record(
            spot=2.0,
            quoted_at=OPEN + HALF,
            profile={"vex": [0.0, 0.0]},
            evidence=b"other",
        )
        assert (await store.write([later], mode=WriteMode.KEEP)).changes == ()
        assert (await store.write([later])).changes == ()
        stored = await read(store)
        assert (stored.row.spot, stored.evidence) == (1.0, b"chain\x00\xff")
        assert PROFILE["vex"] == stored.profile["vex"].tolist()

    @pytest.mark.parametrize(("seconds", "wins"), [(-1, False), (0, False), (1, True)])
    async def test_newer(self, store, seconds, wins):
        """Later quotes of a slot win; older ones, and those of the same time, do not."""
        (first,) = rows_of(await store.write([record(spot=1.0, quoted_at=OPEN)]))
        moved = OPEN + timedelta(seconds=seconds)
        other = record(spot=2.0, quoted_at=moved, evidence=b"other")
        written = rows_of(await store.write([other], mode=WriteMode.NEWER))
        stored = await read(store)
        if wins:
            assert [w.revision > first.revision for w in written] == [True]
            assert (stored.row.spot, stored.evidence) == (2.0, b"other")
        else:
            assert written == []
            assert (stored.row.spot, stored.evidence) == (1.0, b"chain\x00\xff")

    async def test_rewrite(self, store):
        """A rewrite wins, whatever was there: the row, its profile and its chain."""
        (first,) = rows_of(await store.write([record(spot=1.0)]))
        other = record(
            spot=2.0, quoted_at=OPEN - HALF, profile={"vex": [7.0, 8.0]}, evidence=b"other"
        )
        (second,) = rows_of(await store.write([other], mode=WriteMode.REWRITE))
        assert second.revision > first.revision
        stored = await read(store)
        assert other.row == stored.row
        assert stored.profile["vex"].tolist() == [7.0, 8.0]
        assert stored.evidence == b"other"

    @pytest.mark.parametrize("mode", [WriteMode.KEEP, WriteMode.NEWER, WriteMode.REWRITE])
    async def test_unchanged_writes_nothing(self, store, database, mode):
        """The same row again writes nothing and takes no revision, in any mode."""
        await store.write([record(), record(slot=at(1), net_gex=1.0, gamma_flip=None)])
        before, cursor = contents(database), await store.cursor()
        again = [record(), record(slot=at(1), net_gex=1.0, gamma_flip=None)]
        assert (await store.write(again, mode=mode)).changes == ()
        assert before == contents(database)
        assert cursor == await store.cursor()
        assert await store.changes({"SPX": cursor}) == []

    async def test_rewrite_of_a_part(self, store):
        """Of a session rewritten, only rows that differ are written; a null is a difference."""
        await store.write([record(slot=at(i)) for i in range(3)])
        again = [record(slot=at(0)), record(slot=at(1), atm_iv=None), record(slot=at(2))]
        (written,) = rows_of(await store.write(again, mode=WriteMode.REWRITE))
        assert at(1) == written.row.slot
        assert written.revision == await store.cursor()

    async def test_one_slot_twice_in_a_batch(self, store):
        """Of two records of a slot in one call, the first stays."""
        written = rows_of(await store.write([record(spot=1.0), record(spot=2.0)]))
        assert [w.row.spot for w in written] == [1.0]

    async def test_keys_are_apart(self, store):
        """Symbols, expirations and slots are different rows."""
        records = [
            record(spot=1.0),
            record(spot=2.0, symbol="SPY"),
            record(spot=3.0, expiration=NEXT_DAY),
            record(spot=4.0, slot=at(1)),
        ]
        assert len(rows_of(await store.write(records))) == 4
        assert (await read(store)).row.spot == 1.0
        assert (await read(store, symbol="SPY")).row.spot == 2.0
        assert await store.slots("SPX", NEXT_DAY) == [OPEN]

    async def test_closed_gap(self, store):
        """A row takes the gap of its slot away, and no other."""
        gaps = [gap(0), gap(1), gap(0, symbol="SPY"), gap(0, expiration=NEXT_DAY)]
        await store.write(gaps=[replace(missed, source="test") for missed in gaps])
        before = await store.cursor()
        (written,) = rows_of(await store.write([record()]))
        assert written.revision > before
        assert [at(1)] == [g["slot"] for g in await store.gaps("SPX", DAY)]
        assert [at(0)] == [g["slot"] for g in await store.gaps("SPY", DAY)]
        assert [at(0)] == [g["slot"] for g in await store.gaps("SPX", NEXT_DAY)]


class TestRead:
    """Records come back as they were written."""

    async def test_all_fields(self, store):
        """Every field of the row, every array and the chain are exactly what was written."""
        written = record(
            profile={"iv": [float("nan"), 0.1 + 0.2], "chex": [float("inf"), -5e-324]},
            evidence=bytes(range(256)) * 40,
        )
        await store.write([written])
        stored = await read(store)
        assert written.row == stored.row
        assert {n: type(getattr(written.row, n)) for n in COLUMNS} == {
            n: type(getattr(stored.row, n)) for n in COLUMNS
        }
        assert list(written.profile) == list(stored.profile)
        for name, array in written.profile.items():
            assert array.tobytes() == stored.profile[name].tobytes(), name
            assert np.float64 == stored.profile[name].dtype
        assert written.evidence == stored.evidence

    async def test_all_nulls(self, store):
        """What a row lacks comes back as lacking; empty collections as empty."""
        lacking = {
            "source_spot": None,
            "charm_dollars_per_hour": None,
            "gamma_flip": None,
            "call_wall": None,
            "put_wall": None,
            "magnet": None,
            "magnet_gex": None,
            "max_pain": None,
            "pin_probability_pct": None,
            "atm_iv": None,
            "remaining_1sd": None,
            "classified_share": None,
            "differenced_from": None,
            "flags": (),
            "dropped": {},
            "quotes_unused": {},
            "settled": {},
            "detail": {},
        }
        written = record(**lacking, profile={name: [] for name in PROFILE}, evidence=b"")
        await store.write([written])
        stored = await read(store)
        assert written.row == stored.row
        lacking |= {"settled": SettledFigures.from_json({}), "detail": DetailFigures.from_json({})}
        assert lacking == {name: getattr(stored.row, name) for name in lacking}
        assert {name: [] for name in PROFILE} == {n: a.tolist() for n, a in stored.profile.items()}
        assert stored.evidence == b""

    async def test_times_to_the_microsecond(self, store):
        """Quote times keep their microseconds, and are UTC."""
        quoted = datetime(2026, 8, 19, 13, 29, 51, 123_457, tzinfo=UTC)
        await store.write([record(quoted_at=quoted)])
        row = (await read(store)).row
        assert quoted == row.quoted_at
        assert {timedelta(0)} == {row.slot.utcoffset(), row.flow_since.utcoffset()}

    async def test_before(self, store):
        """The newest earlier slot of that symbol's session, or none."""
        await store.write(
            [
                record(slot=at(0), spot=1.0),
                record(slot=at(5), spot=2.0),
                record(slot=at(7), spot=3.0, symbol="SPY"),
                record(slot=at(8), spot=4.0, expiration=NEXT_DAY),
            ]
        )
        assert await store.before("SPX", DAY, at(0)) is None
        assert await store.before("QQQ", DAY, at(9)) is None
        spots = []
        for step in (1, 5, 6, 100):
            newest = await store.before("SPX", DAY, at(step))
            assert newest is not None
            spots.append(newest.row.spot)
        assert spots == [1.0, 1.0, 2.0, 2.0]

    async def test_nothing_stored(self, store):
        """An empty dataset answers every question."""
        assert await store.before("SPX", DAY, at(1)) is None
        assert await store.slots("SPX", DAY) == []
        assert await store.gaps("SPX", DAY) == []
        assert await store.cursor() == 0
        assert await store.newest_slot() is None
        assert await store.heads() == {}
        assert await store.changes({"SPX": 0}) == []
        assert await store.coverage(date(2020, 1, 1), date(2030, 1, 1)) == []
        assert not await store.known("SPX")
        newest = await store.newest("SPX", DAY)
        assert {None} == {newest[name] for name in (*COLUMNS, "cursor")}
        assert [r async for r in store.records("SPX", DAY)] == []
        await store.ping()

    async def test_newest(self, store):
        """A session's newest slot, and its newest change, be it an older row or a gap."""
        await store.write([record(slot=at(i), spot=1.0 + i) for i in (0, 1, 2)])
        await store.write([record(slot=at(9), symbol="SPY")])
        newest = await store.newest("SPX", DAY)
        assert (newest["slot"], newest["spot"]) == (at(2), 3.0)
        (again,) = rows_of(
            await store.write([record(slot=at(0), spot=9.0)], mode=WriteMode.REWRITE)
        )
        newest = await store.newest("SPX", DAY)
        assert (newest["slot"], newest["cursor"]) == (at(2), again.revision)
        await store.write(gaps=[gap(3)])
        newest = await store.newest("SPX", DAY)
        assert newest["slot"] == at(2)
        assert newest["cursor"] == await store.cursor() > again.revision
        assert at(9) == await store.newest_slot()

    async def test_newest_of_gaps_alone(self, store):
        """A session of gaps alone has a newest change and no row."""
        await store.write(gaps=[gap(0)])
        newest = await store.newest("SPX", DAY)
        assert (newest["slot"], newest["cursor"]) == (None, await store.cursor())

    async def test_symbols(self, store):
        """Every symbol that has rows, with its newest slot; gaps alone make none."""
        assert await store.symbols() == {}
        await store.write([record(slot=at(1)), record(slot=at(0)), record(symbol="QQQ")])
        await store.write([record(symbol="SPY", slot=at(s)) for s in (3, 9, 5)])
        tomorrow = at(0) + timedelta(days=1)
        await store.write([record(symbol="QQQ", expiration=NEXT_DAY, slot=tomorrow)])
        await store.write(gaps=[gap(7, symbol="IWM"), gap(8)])
        assert {"QQQ": tomorrow, "SPX": at(1), "SPY": at(9)} == await store.symbols()

    async def test_known(self, store):
        """A symbol is known by a row or a gap, on whatever day."""
        await store.write([record()])
        await store.write(gaps=[gap(0, symbol="SPY")])
        assert [await store.known(s) for s in ("SPX", "SPY", "QQQ")] == [True, True, False]

    async def test_records(self, store):
        """A session's records as they were kept, in order; their profiles only if asked for."""
        steps = [("SPY", DAY, 0), ("SPX", NEXT_DAY, 2), ("SPX", DAY, 1), ("SPX", DAY, 0)]
        for symbol, day, step in steps:
            name = f"{symbol} {day} {step}".encode()
            await store.write([record(symbol=symbol, expiration=day, slot=at(step), evidence=name)])
        read = [r async for r in store.records("SPX", DAY)]
        assert [r.evidence for r in read] == [b"SPX 2026-08-19 0", b"SPX 2026-08-19 1"]
        for stored, step in zip(read, range(2), strict=True):
            expected = record(slot=at(step))
            assert stored.row == expected.row
            assert {n: a.tobytes() for n, a in stored.profile.items()} == {
                n: a.tobytes() for n, a in expected.profile.items()
            }
        bare = [r async for r in store.records("SPX", NEXT_DAY, profiles=False)]
        assert [(r.evidence, r.profile) for r in bare] == [(b"SPX 2026-08-20 2", {})]

    async def test_session(self, store):
        """A session in one statement: columns of each row, facts of the newest, and the gaps."""
        await store.write([record(slot=at(i), spot=100.0 + i) for i in (0, 1, 3)], [gap(2)])
        await store.write([record(symbol="SPY", slot=at(4), spot=7.0)])
        rows, newest, gaps, feed = await store.session(
            "SPX", DAY, ["spot", "flags"], ["spot", "slot"]
        )
        assert [row[1:] for row in rows] == [
            (int(at(i).timestamp()), 100.0 + i, list(record().row.flags)) for i in (0, 1, 3)
        ]
        revisions = [row[0] for row in rows]
        assert revisions == sorted(revisions)
        assert newest == {"spot": 103.0, "slot": at(3)}
        assert feed == "test"
        assert [(g["slot"], g["reason"]) for g in gaps] == [(at(2), "source_down")]
        assert gaps[0]["revision"] > revisions[-1]
        assert await store.session("SPX", DAY - timedelta(days=1), ["spot"], ["slot"]) == (
            [],
            None,
            [],
            None,
        )


class TestGaps:
    """Slots without a row."""

    async def test_next_expiry(self, store):
        """The next expiry is stored with the gap, and a change of it is news."""
        idle = gap(1, Reason.NO_ZERO_DTE, "nothing", next_expiry=date(2026, 8, 21))
        ((written, _),) = gaps_of(await store.write(gaps=[idle]))
        assert written == idle
        (change,) = await store.changes({"SPX": 0})
        assert [item for _, item in change.gaps] == [idle]
        assert [g["next_expiry"] for g in await store.gaps("SPX", DAY)] == [date(2026, 8, 21)]
        assert (await store.write(gaps=[idle])).changes == ()
        later = replace(idle, next_expiry=date(2026, 8, 24))
        assert [item.row for item in gaps_of(await store.write(gaps=[later]))] == [later]

    async def test_marked(self, store):
        """A gap is news once; it keeps its revision until something about it changes."""
        assert (
            len(gaps_of(await store.write(gaps=[gap(1, detail="504"), gap(0, Reason.LATE)]))) == 2
        )
        first = await store.gaps("SPX", DAY)
        assert [(at(0), "late", ""), (at(1), "source_down", "504")] == [
            (g["slot"], g["reason"], g["detail"]) for g in first
        ]
        assert (await store.write(gaps=[gap(1, detail="504"), gap(0, Reason.LATE)])).changes == ()
        assert first == await store.gaps("SPX", DAY)
        assert (
            len(gaps_of(await store.write(gaps=[gap(1, detail="502"), gap(0, Reason.LATE)]))) == 1
        )
        unchanged, changed = await store.gaps("SPX", DAY)
        assert first[0] == unchanged
        assert changed["revision"] > first[1]["revision"]
        assert changed["revision"] == await store.cursor()

    async def test_nothing(self, store):
        """No gaps are no news."""
        assert (await store.write(gaps=[])).changes == ()

    async def test_a_slot_with_a_row_is_none(self, store):
        """Where there is a row, a gap is not marked."""
        await store.write([record()])
        before = await store.cursor()
        assert (await store.write(gaps=[gap(0)])).changes == ()
        assert await store.gaps("SPX", DAY) == []
        assert before == await store.cursor()
        assert (
            len(
                gaps_of(await store.write(gaps=[gap(0, symbol="SPY"), gap(0, expiration=NEXT_DAY)]))
            )
            == 2
        )

    async def test_long_detail(self, store):
        """Of a long explanation the first 500 characters are kept."""
        await store.write(gaps=[gap(0, detail="é" * 9_000)])
        ((detail),) = [g["detail"] for g in await store.gaps("SPX", DAY)]
        assert detail == "é" * 500

    async def test_every_reason(self, store):
        """Each reason there is can be told apart."""
        await store.write(gaps=[gap(i, reason) for i, reason in enumerate(Reason)])
        assert [str(r) for r in Reason] == [g["reason"] for g in await store.gaps("SPX", DAY)]


class TestWindow:
    """Rows in buckets: the last of each, and the newest change of all of it."""

    @pytest.fixture
    async def revisions(self, store) -> dict[int, int]:
        """SPX at steps 0-3, 9-12, 29, 30 and 61, each row's pin_score its step; step 10 rewritten."""
        steps = [0, 1, 2, 3, 9, 10, 11, 12, 29, 30, 61]
        written = rows_of(await store.write([record(slot=at(i), pin_score=i) for i in steps]))
        by_step = {i: w.revision for i, w in zip(steps, written, strict=True)}
        await store.write(
            [record(slot=at(5), symbol="SPY"), record(slot=at(4), expiration=NEXT_DAY)]
        )
        (again,) = rows_of(
            await store.write([record(slot=at(10), pin_score=10, spot=1.0)], mode=WriteMode.REWRITE)
        )
        return by_step | {10: again.revision}

    async def ask(
        self, store: Store, width: timedelta, start: int = 0, until: int = 100
    ) -> list[tuple[datetime, int, int]]:
        bars = await store.window(
            "SPX", DAY, start=at(start), until=at(until), width=width, columns=["pin_score"]
        )
        assert all(list(row) == ["bucket", "pin_score", "revision"] for row in bars)
        return [(row["bucket"], row["pin_score"], row["revision"]) for row in bars]

    @pytest.mark.parametrize(
        ("width", "buckets"),
        [
            # Width, and of each bucket: its start, its last row, the row changed last.
            (
                timedelta(seconds=30),
                [
                    ("13:30:00", 0, 0),
                    ("13:30:30", 1, 1),
                    ("13:31:00", 2, 2),
                    ("13:31:30", 3, 3),
                    ("13:34:30", 9, 9),
                    ("13:35:00", 10, 10),
                    ("13:35:30", 11, 11),
                    ("13:36:00", 12, 12),
                    ("13:44:30", 29, 29),
                    ("13:45:00", 30, 30),
                    ("14:00:30", 61, 61),
                ],
            ),
            (
                timedelta(minutes=1),
                [
                    ("13:30:00", 1, 1),
                    ("13:31:00", 3, 3),
                    ("13:34:00", 9, 9),
                    ("13:35:00", 11, 10),
                    ("13:36:00", 12, 12),
                    ("13:44:00", 29, 29),
                    ("13:45:00", 30, 30),
                    ("14:00:00", 61, 61),
                ],
            ),
            (
                timedelta(minutes=5),
                [
                    ("13:30:00", 9, 9),
                    ("13:35:00", 12, 10),
                    ("13:40:00", 29, 29),
                    ("13:45:00", 30, 30),
                    ("14:00:00", 61, 61),
                ],
            ),
            (
                timedelta(minutes=15),
                [("13:30:00", 29, 10), ("13:45:00", 30, 30), ("14:00:00", 61, 61)],
            ),
        ],
        ids=["30s", "1m", "5m", "15m"],
    )
    async def test_buckets(self, store, revisions, width, buckets):
        """Each bucket's start, last row and newest revision, computed by hand."""
        expected = [
            (datetime.fromisoformat(f"2026-08-19T{begin}+00:00"), last, revisions[changed])
            for begin, last, changed in buckets
        ]
        assert expected == await self.ask(store, width)

    async def test_half_open(self, store, revisions):
        """The start belongs to a window, its end does not; buckets align to the clock all the same."""
        bars = await self.ask(store, timedelta(minutes=5), start=2, until=10)
        assert [(at(0), 9, revisions[9])] == bars
        bars = await self.ask(store, timedelta(minutes=5), start=3, until=11)
        assert [(at(0), 9, revisions[9]), (at(10), 10, revisions[10])] == bars
        assert await self.ask(store, timedelta(minutes=5), start=4, until=9) == []
        assert await self.ask(store, timedelta(minutes=5), start=9, until=9) == []

    async def test_columns(self, store, revisions):
        """The columns asked for, in the table's types; all of them at once too."""
        bars = await store.window(
            "SPX", DAY, start=at(12), until=at(13), width=HALF, columns=COLUMNS
        )
        expected = {name: getattr(row(slot=at(12), pin_score=12), name) for name in COLUMNS}
        expected |= {"bucket": at(12), "revision": revisions[12]}
        expected["flags"] = list(expected["flags"])
        expected |= {name: expected[name].as_json() for name in ("settled", "detail")}
        assert [expected] == bars


class TestChanges:
    """Following what is stored."""

    async def test_what_a_write_says(self, store):
        """A change a symbol, each from the symbol's head before it to the one after it."""
        assert await store.heads() == {}
        written = await store.write(
            [record(slot=at(0)), record(symbol="SPY"), record(slot=at(1))], [gap(2), gap(0)]
        )
        first = written.changes
        assert [(c.symbol, c.after) for c in first] == [("SPX", 0), ("SPY", 0)]
        assert [row.slot for _, row in first[0].rows] == [at(0), at(1)]
        assert [g for _, g in first[0].gaps] == [gap(2, source="test")]
        revisions = [n for n, _ in (*first[0].rows, *first[0].gaps, *first[1].rows)]
        assert len(set(revisions)) == 4
        assert max(n for n, _ in (*first[0].rows, *first[0].gaps)) == first[0].revision
        assert {c.symbol: c.revision for c in first} == await store.heads()
        (second,) = (await store.write(gaps=[gap(5)])).changes
        assert (second.after, second.rows) == (first[0].revision, ())
        assert second.revision > first[0].revision
        assert await store.heads(["SPX", "QQQ"]) == {"SPX": second.revision}
        assert await store.cursor() == max((await store.heads()).values())

    async def test_read_again(self, store):
        """What was written is read from any cursor, a symbol's changes as one; a rewritten row last."""
        written = (await store.write([record(slot=at(2)), record(slot=at(0))], [gap(3)])).changes
        await store.write([record(symbol="SPY", slot=at(7))])
        written += (await store.write([record(slot=at(4))])).changes
        written += (
            await store.write([record(slot=at(0), spot=1.0)], mode=WriteMode.REWRITE)
        ).changes
        (change,) = await store.changes({"SPX": 0})
        assert (change.after, change.revision) == (0, written[-1].revision)
        assert [(r.slot, r.spot) for _, r in change.rows] == [
            (at(2), 7700.5),
            (at(4), 7700.5),
            (at(0), 1.0),
        ]
        assert [g for _, g in change.gaps] == [gap(3, source="test")]
        (change,) = await store.changes({"SPX": written[0].revision})
        assert change.rows == written[1].rows + written[2].rows
        assert change.gaps == ()
        assert await store.changes({"SPX": written[-1].revision, "QQQ": 0}) == []
        assert await store.changes({}) == []
        both = await store.changes({"SPX": written[1].revision, "SPY": 0})
        assert [(c.symbol, len(c.rows)) for c in both] == [("SPX", 1), ("SPY", 1)]

    async def test_in_parts(self, store):
        """With a limit, each part ends where its rows do, and the parts make the whole."""
        for i in range(4):
            await store.write([record(slot=at(2 * i))], [gap(2 * i + 1, symbol="SPX")])
        (whole,) = await store.changes({"SPX": 0})
        cursor, rows, gaps = 0, (), ()
        for _ in range(4):
            (change,) = await store.changes({"SPX": cursor}, 1)
            assert (change.after, len(change.rows)) == (cursor, 1)
            cursor, rows, gaps = change.revision, rows + change.rows, gaps + change.gaps
        (change,) = await store.changes({"SPX": cursor}, 1)
        assert (change.rows, change.revision) == ((), whole.revision)
        assert (rows, gaps + change.gaps) == (whole.rows, whole.gaps)

    async def test_several_days(self, store):
        """Changes of several sessions come in the order in which they were stored."""
        later = at(3) + timedelta(days=1)
        await store.write([record(slot=later, expiration=NEXT_DAY)])
        await store.write([record(slot=at(1))])
        (change,) = await store.changes({"SPX": 0})
        assert [later, at(1)] == [row.slot for _, row in change.rows]

    async def test_visible_in_order(self, database):
        """Of eight writers at once, no reader ever sees a revision before a smaller one."""
        writers, each = 8, 12
        visible: set[int] = set()
        polls = 0
        async with Store.open(database, "live", size=writers) as store:

            async def write(writer: int) -> None:
                for step in range(each):
                    batch = [record(symbol=f"W{writer}", slot=at(2 * step + i)) for i in (0, 1)]
                    await store.write(batch)
                    await store.write(gaps=[gap(step, symbol=f"G{writer}")])

            watched = "select revision from live.rows union all select revision from live.gaps"
            connect = psycopg.AsyncConnection.connect(database, autocommit=True)
            async with await connect as reader, asyncio.TaskGroup() as group:
                writing = [group.create_task(write(i)) for i in range(writers)]
                over = False
                while not over:
                    over = all(task.done() for task in writing)
                    visible_now = {r for (r,) in await (await reader.execute(watched)).fetchall()}
                    assert {
                        r for r in visible_now - visible if r < max(visible, default=0)
                    } == set()
                    assert visible <= visible_now
                    visible = visible_now
                    polls += 1
        assert len(visible) == writers * each * 3
        assert polls > 10

    async def test_writers_of_one_slot(self, store):
        """Of writers that race for a slot one wins, and says so."""
        written = await asyncio.gather(*(store.write([record(spot=1.0 + i)]) for i in range(8)))
        (winner,) = [w for result in written for w in rows_of(result)]
        assert (await read(store)).row.spot == winner.row.spot


class TestCoverage:
    """Rows and gaps, counted."""

    async def test_counts(self, store):
        """Per symbol, session and feed: rows, gaps by reason; in order of day, symbol and feed."""
        await store.write(
            [
                record(symbol="SPY"),
                record(slot=at(0)),
                record(slot=at(1), source="recorded"),
                record(slot=at(2), expiration=NEXT_DAY),
            ],
        )
        await store.write(
            gaps=[
                gap(3, source="test"),
                gap(4, source="test"),
                gap(5, Reason.LATE, source="test"),
                gap(0, symbol="QQQ", expiration=NEXT_DAY),
            ]
        )
        lines = await store.coverage(DAY, NEXT_DAY)
        expected = [
            ("SPX", DAY, 1, 0, None, "recorded", True),
            ("SPX", DAY, 1, 3, {"source_down": 2, "late": 1}, "test", False),
            ("SPY", DAY, 1, 0, None, "test", True),
            ("QQQ", NEXT_DAY, 0, 1, {"source_down": 1}, "", True),
            ("SPX", NEXT_DAY, 1, 0, None, "test", True),
        ]
        names = ("symbol", "expiration", "rows", "gaps", "reasons", "source", "shown")
        assert expected == [tuple(r[n] for n in names) for r in lines]

    async def test_period_and_symbols(self, store):
        """Only sessions of the period, both ends included, and symbols asked for."""
        await store.write([record(), record(symbol="SPY"), record(expiration=NEXT_DAY)])

        async def ask(*arguments: Any) -> list[tuple[str, date]]:
            return [(r["symbol"], r["expiration"]) for r in await store.coverage(*arguments)]

        assert await ask(DAY, DAY) == [("SPX", DAY), ("SPY", DAY)]
        assert await ask(NEXT_DAY, NEXT_DAY, ["SPX", "SPY"]) == [("SPX", NEXT_DAY)]
        assert await ask(DAY, NEXT_DAY, ["SPY"]) == [("SPY", DAY)]
        assert await ask(DAY, NEXT_DAY, []) == []


async def test_datasets_never_meet(database):
    """What one dataset holds, the other knows nothing of."""
    async with Store.open(database, "live") as real, Store.open(database, "synthetic") as made_up:
        await real.write([record(spot=1.0)])
        await real.write(gaps=[gap(1)])
        assert await made_up.cursor() == 0
        assert await made_up.slots("SPX", DAY) == []
        assert await made_up.gaps("SPX", DAY) == []
        assert not await made_up.known("SPX")
        await made_up.write([record(spot=2.0)])
        assert (await read(real)).row.spot == 1.0
        assert (await read(made_up)).row.spot == 2.0
        assert await made_up.coverage(DAY, DAY, ["SPX"]) != []
        assert [r.row.symbol async for r in made_up.records("SPX", DAY)] == ["SPX"]


async def test_other_time_zone(database):
    """A database with another time zone still answers in UTC, in the same buckets."""
    alter(database, "timezone = 'Asia/Kolkata'")
    alter(database, "datestyle = 'German, DMY'")
    assert query(database, "show timezone") == [("Asia/Kolkata",)]
    async with Store.open(database, "live") as store:
        written = record(slot=at(29))
        await store.write([written])
        stored = await read(store, 29)
        assert written.row == stored.row
        assert stored.row.slot.utcoffset() == timedelta(0)
        (bucket,) = await store.window(
            "SPX", DAY, start=OPEN, until=at(60), width=timedelta(hours=1), columns=["slot"]
        )
        assert datetime(2026, 8, 19, 13, tzinfo=UTC) == bucket["bucket"]
        assert bucket["bucket"].utcoffset() == timedelta(0)


class TestMigrate:
    """Bringing a schema up to date."""

    async def test_twice(self, empty_database):
        """The first time makes the tables, the second does nothing and loses nothing."""
        done = await migrate(empty_database, "live")
        assert [f"live: migration {n} applied" for n, _ in sql.migrations()] == [
            d for d in done if "migration" in d
        ]
        async with Store.open(empty_database, "live") as store:
            await store.write([record()])
        again = await migrate(empty_database, "live")
        assert [f"live: schema version {VERSION}, nothing to do"] == again
        async with Store.open(empty_database, "live") as store:
            assert await store.slots("SPX", DAY) == [OPEN]

    async def test_both_datasets(self, empty_database):
        """One dataset's schema does not make the other's; each is migrated by itself."""
        await migrate(empty_database, "live")
        with pytest.raises(SchemaMissing):
            async with Store.open(empty_database, "synthetic"):
                pass
        done = await migrate(empty_database, "synthetic")
        assert done[0] == "synthetic: migration 1 applied"
        async with Store.open(empty_database, "synthetic") as store:
            assert await store.cursor() == 0

    async def test_tasks_at_once(self, empty_database):
        """Of four at once one migrates; the others wait and find it done."""
        done = await asyncio.gather(*(migrate(empty_database, "live") for _ in range(4)))
        nothing = [f"live: schema version {VERSION}, nothing to do"]
        assert [nothing] * 3 == [d for d in done if d == nothing]
        assert [s for d in done for s in d if "migration 1 " in s] == ["live: migration 1 applied"]

    async def test_who_waited_sets_the_path_anew(self, empty_database, monkeypatch):
        """Who has waited for the lock sets its search path before it looks at anything.

        PostgreSQL can miss that a schema was made while it looked names up: of 900 starts at once
        one went on with the path of before, and made its table in ``public``.
        """
        statements: list[str] = []
        execute = psycopg.AsyncConnection.execute

        async def recorded(self: Any, text: Any, *parameters: Any, **options: Any) -> Any:
            statements.append(text if isinstance(text, str) else text.as_string(self))
            return await execute(self, text, *parameters, **options)

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", recorded)
        await migrate(empty_database, "live")
        locked = [i for i, text in enumerate(statements) if "pg_advisory_lock" in text]
        assert len(locked) == 1
        assert statements[locked[0] + 1] == 'set search_path to "live", public'

    def test_processes_at_once(self, empty_database, servers):
        """Four processes at once all succeed; each migration was applied once."""
        environment = os.environ | {
            "FLOW_DATABASE_URL": empty_database,
            "FLOW_REDIS_URL": servers.redis_url,
        }
        command = [sys.executable, "-m", "storage", "migrate"]
        running = [
            forked.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        outputs = [process.communicate(timeout=60) for process in running]
        assert [(p.returncode, err) for p, (_, err) in zip(running, outputs, strict=True)] == [
            (0, "")
        ] * 4
        lines = "".join(out for out, _ in outputs).splitlines()
        assert lines.count("live: migration 1 applied") == 1
        assert lines.count("synthetic: migration 1 applied") == 1

    async def test_killed_half_way(self, empty_database):
        """A run that got no further than the version table is taken up."""
        query(empty_database, "create schema live")
        query(
            empty_database,
            "create table live.schema_version"
            " (version integer primary key, applied_at timestamptz not null default now())",
        )
        assert "live: migration 1 applied" in await migrate(empty_database, "live")

    async def test_failing_migration(self, database, monkeypatch):
        """A migration that fails leaves nothing of itself, and the version as it was."""
        broken = (VERSION + 1, "create table half_done (); select 1 / 0")
        monkeypatch.setattr(sql, "migrations", lambda: [(1, "select 1"), broken])
        with pytest.raises(StoreError, match="division by zero"):
            await migrate(database, "live")
        assert query(database, "select to_regclass('live.half_done')") == [(None,)]
        assert query(database, "select max(version) from live.schema_version") == [(VERSION,)]

    async def test_newer(self, database):
        """A schema of a newer release is left alone, and neither opened nor migrated."""
        query(database, "insert into live.schema_version (version) values (99)")
        everything = (
            "select table_schema, table_name, column_name, data_type from"
            " information_schema.columns where table_schema in ('live', 'synthetic') order by 1, 2, 3"
        )
        versions = "select version, applied_at from live.schema_version order by 1"
        before = query(database, everything), query(database, versions)
        expected = f"the database's schema is version 99, this release knows {VERSION}: use the newer release"
        for _ in range(2):
            with pytest.raises(SchemaNewer, match=expected):
                await migrate(database, "live")
            with pytest.raises(SchemaNewer, match=expected):
                async with Store.open(database, "live"):
                    pass
        assert before == (query(database, everything), query(database, versions))

    async def test_never(self, empty_database):
        """A database that was never migrated is refused, with the command to run."""
        with pytest.raises(SchemaMissing, match="run: flow-store migrate"):
            async with Store.open(empty_database, "live"):
                pass
        assert query(
            empty_database, "select count(*) from pg_namespace where nspname = 'live'"
        ) == [(0,)]

    async def test_gone_again(self, store, database):
        """Tables that vanish under an open store are told of in the same way."""
        query(database, "drop schema live cascade")
        with pytest.raises(SchemaMissing, match="run: flow-store migrate"):
            await store.slots("SPX", DAY)
        with pytest.raises(SchemaMissing, match="run: flow-store migrate"):
            await store.write([record()])


@pytest.fixture
def role(empty_database) -> Iterator[tuple[str, str]]:
    """A role that may do nothing yet, and a URL that acts as it."""
    name = f"flow_plain_{os.getpid()}"
    identifier = compose.Identifier(name)
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute(compose.SQL("create role {}").format(identifier))
        yield name, with_options(empty_database, f"-c role={name}")
        admin.execute(compose.SQL("drop owned by {}").format(identifier))
        admin.execute(compose.SQL("drop role {}").format(identifier))


def with_options(url: str, options: str) -> str:
    parts = urlsplit(url)
    parameters = "&".join(p for p in (parts.query, f"options={quote(options)}") if p)
    return urlunsplit(parts._replace(query=parameters))


class TestRoles:
    """Roles that may not do everything."""

    async def test_may_not_create(self, role):
        """A role without CREATE cannot migrate, and reads why."""
        with pytest.raises(
            StoreError, match="the role may not do this: permission denied for data"
        ):
            await migrate(role[1], "live")

    async def test_owns_its_schema(self, role, empty_database):
        """A role that was given a schema migrates and uses it, without the right to make schemas."""
        name, url = role
        query(empty_database, f"create schema live authorization {name}")
        assert "live: migration 1 applied" in await migrate(url, "live")
        async with Store.open(url, "live") as store:
            await store.write([record()])
            assert await store.slots("SPX", DAY) == [OPEN]

    async def test_may_only_read(self, role, empty_database):
        """A role that may only read reads; its writing is refused and says so."""
        name, url = role
        await migrate(empty_database, "live")
        query(empty_database, f"grant usage on schema live to {name}")
        query(empty_database, f"grant select on all tables in schema live to {name}")
        async with Store.open(url, "live") as store:
            assert await store.slots("SPX", DAY) == []
            with pytest.raises(StoreError, match="the role may not do this: permission denied"):
                await store.write([record()])
            with pytest.raises(StoreError, match="the role may not do this: permission denied"):
                await store.write(gaps=[gap(0)])


async def test_read_only(database):
    """A read-only database is read; writing to it is refused in words, migrating too."""
    async with Store.open(database, "live") as store:
        await store.write([record()])
    query(database, "delete from synthetic.schema_version")
    alter(database, "default_transaction_read_only = on")
    async with Store.open(database, "live") as store:
        assert await store.slots("SPX", DAY) == [OPEN]
        with pytest.raises(StoreError, match="FLOW_DATABASE_URL: the database is read-only"):
            await store.write([record(slot=at(1))])
        with pytest.raises(StoreError, match="FLOW_DATABASE_URL: the database is read-only"):
            await store.write(gaps=[gap(2)])
    with pytest.raises(StoreError, match="FLOW_DATABASE_URL: the database is read-only"):
        await migrate(database, "synthetic")


class TestFull:
    """A disk without room, as the database reports it."""

    @pytest.fixture
    async def full(self, store, database) -> None:
        """There is a row, a gap, and from now on no room for chains and gaps of SPY."""
        await store.write([record(spot=1.0)])
        await store.write(gaps=[gap(1)])
        query(
            database,
            """create function live.no_room() returns trigger language plpgsql as $$ begin
                 if new.symbol = 'SPY' then
                   raise exception 'could not extend file: No space left' using errcode = '53100';
                 end if;
                 return new;
               end $$""",
        )
        for table in ("chains", "gaps"):
            query(
                database,
                f"create trigger no_room before insert or update on live.{table}"
                " for each row execute function live.no_room()",
            )

    async def test_nothing_is_written(self, store, database, full):
        """When the last record does not fit, nothing of the whole call was written."""
        before = contents(database)
        batch = [record(slot=at(1)), record(slot=at(2)), record(symbol="SPY")]
        with pytest.raises(StoreFull, match="no room left: could not extend file") as raised:
            await store.write(batch)
        assert isinstance(raised.value.__cause__, psycopg.errors.DiskFull)
        assert before == contents(database)
        with pytest.raises(StoreFull):
            await store.write([record(spot=9.0), record(symbol="SPY")], mode=WriteMode.REWRITE)
        with pytest.raises(StoreFull):
            await store.write(gaps=[gap(7), gap(7, symbol="SPY")])
        assert before == contents(database)

    async def test_room_again(self, store, database, full):
        """Once there is room, the same call succeeds on the same store."""
        batch = [record(slot=at(1)), record(symbol="SPY")]
        with pytest.raises(StoreFull):
            await store.write(batch)
        query(database, "drop function live.no_room cascade")
        assert len(rows_of(await store.write(batch))) == 2
        assert await store.gaps("SPX", DAY) == []


def wrong_urls(url: str) -> dict[str, str]:
    """URLs that lead nowhere, each with the secret in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return {
        "nobody there": f"postgresql://u:{SECRET}@127.0.0.1:1/flow",
        "no such host": f"postgresql://u:{SECRET}@no-such-host.invalid/flow",
        "no such socket": f"postgresql://u:{SECRET}@/flow?host=/nowhere",
        "no such database": urlunsplit(
            parts._replace(netloc=f"postgres:{SECRET}@{host}", path="/no_such_database")
        ),
        "port out of range": f"postgresql://u:{SECRET}@127.0.0.1:99999/flow",
        "port is a word": f"postgresql://u:{SECRET}@127.0.0.1:port/flow",
        "no URL": f"u:{SECRET}@db/flow",
        "no end of an address": f"postgresql://u:{SECRET}@[::1/flow",
        "percent sign": f"postgresql://u:{SECRET}%zz@db/flow",
        "NUL": f"postgresql://u:{SECRET}%00@db/flow",
        "at sign": f"postgresql://u:p@{SECRET}@127.0.0.1:1/flow",
        "slash": f"postgresql://u:{SECRET}/x@127.0.0.1:1/flow",
        "slash and more": f"postgresql://u:1/{SECRET}@127.0.0.1:1/flow",
        "no such option": f"postgresql://u:{SECRET}@127.0.0.1:1/flow?{SECRET}=1",
        "not UTF-8": f"postgresql://u:{SECRET}\udce9@127.0.0.1:1/flow",
    }


#: Connections of this database that others hold.
OTHERS = (
    "from pg_stat_activity where datname = current_database()"
    " and backend_type = 'client backend' and pid <> pg_backend_pid()"
)
COUNT = f"select count(*) {OTHERS}"
KILL = f"select count(pg_terminate_backend(pid, 5000)) {OTHERS}"
WAITING = f"{OTHERS} and wait_event_type = 'Lock' and query like %s"


class TestUnavailable:
    """Databases that are not there, or no longer."""

    @pytest.mark.parametrize("which", wrong_urls("postgresql://x/x"))
    async def test_wrong_url(self, servers, which):
        """What cannot be reached is said so at once, by its setting and without its password."""
        url = wrong_urls(servers.database_url)[which]
        async with asyncio.timeout(6):
            with pytest.raises(StoreUnavailable, match=r"^FLOW_DATABASE_URL: ") as raised:
                async with Store.open(url, "live"):
                    pass
            with pytest.raises(StoreUnavailable, match=r"^FLOW_DATABASE_URL: "):
                await migrate(url, "live")
        assert SECRET not in "".join(traceback.format_exception(raised.value))
        assert "\n" not in str(raised.value)

    async def test_no_such_database(self, servers):
        """The server's own words tell which database is missing."""
        url = wrong_urls(servers.database_url)["no such database"]
        with pytest.raises(StoreUnavailable, match='database "no_such_database" does not exist'):
            await migrate(url, "live")

    async def test_connections_killed_between_calls(self, database):
        """When the server has ended all connections, as by a restart, the very next call works."""
        async with Store.open(database, "live", size=8) as store, asyncio.timeout(60):
            with psycopg.connect(database) as other:
                other.execute("lock table live.rows in access exclusive mode")
                calls = [asyncio.create_task(store.slots("SPX", DAY)) for _ in range(8)]
                while query(database, f"select count(*) {WAITING}", "%") != [(8,)]:
                    await asyncio.sleep(0.02)
            assert await asyncio.gather(*calls) == [[]] * 8
            for step in range(2):
                ((killed,),) = query(database, KILL)
                assert killed >= 8
                assert len(rows_of(await store.write([record(slot=at(step))]))) == 1
                await asyncio.gather(*(store.slots("SPX", DAY) for _ in range(8)))
                while query(database, COUNT) < [(8,)]:
                    await asyncio.sleep(0.02)
            query(database, KILL)
            assert await store.slots("SPX", DAY) == [at(0), at(1)]

    async def test_network_goes_silent(self, database):
        """Of connections that no longer answer, each is given up in seconds, not one by one."""
        with Proxy(database) as proxy:
            async with Store.open(proxy.url, "live", size=4) as store:
                with psycopg.connect(database) as other:
                    other.execute("lock table live.rows in access exclusive mode")
                    calls = [asyncio.create_task(store.slots("SPX", DAY)) for _ in range(4)]
                    while query(database, f"select count(*) {WAITING}", "%") != [(4,)]:
                        await asyncio.sleep(0.02)
                assert await asyncio.gather(*calls) == [[]] * 4
                proxy.stall()
                # Three seconds for the first of them, three for all others together.
                call = asyncio.create_task(store.slots("SPX", DAY))
                ended, _ = await asyncio.wait({call}, timeout=40)
                proxy.mend()
                with pytest.raises(StoreUnavailable):
                    await call
                assert ended == {call}
                async with asyncio.timeout(60):
                    while True:
                        with suppress(StoreUnavailable):
                            assert await store.slots("SPX", DAY) == []
                            break

    async def test_killed_while_writing(self, store, database):
        """A connection that ends within a call costs that call, nothing of which was written."""
        with psycopg.connect(database) as other:
            other.execute("lock table live.profiles in access exclusive mode")
            writing = asyncio.create_task(store.write([record()]))
            kill = f"select pg_terminate_backend(pid, 5000) {WAITING}"
            while not query(database, kill, "%delete from profiles%"):
                assert not writing.done()
                await asyncio.sleep(0.02)
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await writing
        assert {table for table, rows_there in contents(database).items() if rows_there} == set()
        assert len(rows_of(await store.write([record()]))) == 1

    async def test_given_up_soon(self, store, database, servers):
        """A server that says nothing, and a database that vanishes while it is open, are given up."""

        async def silent() -> str:
            with socket.create_server(("127.0.0.1", 0)) as server:
                url = f"postgresql://u:{SECRET}@127.0.0.1:{server.getsockname()[1]}/flow"
                with pytest.raises(StoreUnavailable) as raised:
                    async with Store.open(url, "live"):
                        pass
            return str(raised.value)

        async def dropped() -> str:
            name = urlsplit(database).path.strip("/")
            query(servers.database_url, f'drop database "{name}" with (force)')
            with pytest.raises(StoreUnavailable) as raised:
                await store.ping()
            return str(raised.value)

        async with asyncio.timeout(20):
            refusals = await asyncio.gather(silent(), dropped())
        assert [s[:20] for s in refusals] == ["FLOW_DATABASE_URL: t"] * 2
        assert SECRET not in refusals[0]


def test_sql_is_complete():
    """Every query has a name and a text; no two migrations have a number."""
    assert all(text for text in sql.load("queries.sql").values())
    numbers = [number for number, _ in sql.migrations()]
    assert numbers[0] == 1
    assert sorted(set(numbers)) == numbers


async def test_a_slot_before_the_first_one_is_read(store):
    """A session's rows are read from its first slot on, and an earlier slot moves that slot."""
    await store.write([record(slot=at(5)), record(slot=at(7))])
    await store.write([record(slot=at(2))])
    (line,) = await store.sessions("SPX")
    assert (line["rows"], line["first"], line["last"]) == (3, at(2), at(7))


class TestLater:
    """A store that is opened before the database is ready."""

    #: Every call of the store that reads or writes.
    CALLS: ClassVar[dict[str, Callable[[Store], Awaitable[object]]]] = {
        "cursor": lambda store: store.cursor(),
        "changes": lambda store: store.changes({"SPX": 0}),
        "ping": lambda store: store.ping(),
        "session": lambda store: store.session("SPX", DAY, ("spot",), ("source",)),
        "slots": lambda store: store.slots("SPX", DAY),
        "keys": lambda store: store.keys.all(),
        "write": lambda store: store.write([record()]),
        "own": lambda store: store.own({"SPX": "test"}, DAY),
    }

    @pytest.mark.parametrize("call", CALLS)
    async def test_each_call_checks_first(self, database, call):
        """No call touches a schema of a newer release, whichever comes first; each works after."""
        query(database, "insert into live.schema_version (version) values (99)")
        async with Store.open(database, "live", later=True) as store:
            for _ in range(2):
                with pytest.raises(SchemaNewer):
                    await self.CALLS[call](store)
            assert not any(contents(database).values())
            query(database, "delete from live.schema_version where version = 99")
            await self.CALLS[call](store)

    async def test_checked_once(self, database):
        """What has passed the check is not checked again."""
        async with Store.open(database, "live", later=True) as store:
            await store.ping()
            query(database, "insert into live.schema_version (version) values (99)")
            assert await store.slots("SPX", DAY) == []


async def test_one_connection_at_rest(database):
    """A store that was only opened holds one connection, not as many as it may have."""
    url = with_options(database, "-c application_name=at_rest")
    count = "select count(*) from pg_stat_activity where application_name = 'at_rest'"
    async with Store.open(url, "live") as store:
        await store._pool.wait(30)
        assert query(database, count) == [(1,)]


class TestUnaccounted:
    """Sessions that a daemon sampled, and whose slots are not all a row or a gap."""

    async def test_slots_are_counted(self, store):
        """A whole day has 780 slots; with 779 of them it is not whole."""
        await store.own({"SPX": "test", "SPY": "test"}, DAY)
        expected = [("SPX", "test", DAY), ("SPY", "test", DAY)]
        assert await store.unaccounted(["SPX", "SPY"], DAY, DAY) == expected
        await store.write([record(slot=at(0))], [gap(i) for i in range(1, 779)])
        assert await store.unaccounted(["SPX", "SPY"], DAY, DAY) == expected
        await store.write([], [gap(779)])
        assert await store.unaccounted(["SPX", "SPY"], DAY, DAY) == expected[1:]
        assert await store.unaccounted(["SPX"], DAY, DAY) == []

    async def test_days_and_owners(self, store):
        """Only days of the period with a session, and only what a daemon has noted."""
        saturday = date(2026, 8, 22)
        for day in (DAY, NEXT_DAY, saturday):
            await store.own({"SPX": "test"}, day)
        await store.write([record(symbol="QQQ")])
        both = [("SPX", "test", DAY), ("SPX", "test", NEXT_DAY)]
        assert await store.unaccounted(["SPX", "QQQ"], DAY, saturday) == both
        assert await store.unaccounted(["SPX"], NEXT_DAY, NEXT_DAY) == both[1:]
