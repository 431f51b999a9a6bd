"""What TimescaleDB adds, where ``TEST_DATABASE_URL`` has it; and that all goes without."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from factories import at, gap, gaps_of, record, rows_of

from storage.postgres import retention
from storage.postgres.migrate import VERSION, migrate
from storage.postgres.pool import session_bounds
from storage.postgres.queries import query
from storage.postgres.store import Store
from storage.record.mode import WriteMode

TABLES = ("rows", "profiles", "chains", "gaps")
#: Four sessions in a row: Monday to Thursday.
DAYS = [date(2026, 8, 17) + timedelta(days=i) for i in range(4)]


def ask(url: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []


def license_level(url: str) -> str | None:
    """None where the extension is not; loading it shows the setting."""
    if not ask(url, "select 1 from pg_extension where extname = 'timescaledb'"):
        return None
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select count(*) from timescaledb_information.hypertables")
        return connection.execute("show timescaledb.license").fetchone()[0]


@pytest.fixture
def timescale(database) -> str:
    """URL of a migrated database with TimescaleDB, whatever its license level."""
    if license_level(database) is None:
        pytest.skip("no TimescaleDB: TEST_DATABASE_URL names none")
    return database


@pytest.fixture
def community(timescale) -> str:
    """URL of one with compression."""
    if license_level(timescale) != "timescale":
        pytest.skip("this TimescaleDB is at license level apache")
    return timescale


def on(day: date, step: int, **changes: Any) -> dict[str, Any]:
    """A slot of another day than ``DAY``."""
    moved = at(step) + (day - date(2026, 8, 19))
    return {"expiration": day, "slot": moved} | changes


async def fill(url: str) -> list[int]:
    """Ten rows and a gap on each day; the rows' revisions."""
    async with Store.open(url, "live") as store:
        written = await store.write(
            [record(**on(day, i, spot=7000.0 + i)) for day in DAYS for i in range(10)],
            [gap(11, **on(day, 11)) for day in DAYS],
        )
        return [stored.revision for stored in rows_of(written)]


def compress(url: str) -> int:
    """Compress every chunk there is; how many."""
    chunks = [c for t in TABLES for (c,) in ask(url, "select show_chunks(%s)", f"live.{t}")]
    for chunk in chunks:
        # The policy's own job may have come first.
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            ask(url, "select compress_chunk(%s, if_not_compressed => true)", chunk)
    return len(chunks)


def test_says_what_it_did(empty_database):
    """Hypertables, and compression where the license level has it; the second time nothing."""
    done = asyncio.run(migrate(empty_database, "live", compress_after=9))
    level = license_level(empty_database)
    expected = [f"live: {t} is a TimescaleDB hypertable, a chunk a day" for t in TABLES]
    packed = [f"live: {t} is compressed by column once it is 9 days old" for t in TABLES]
    sentences = [sentence for sentence in done if "migration" not in sentence]
    if level is None:
        assert sentences == []
    elif level == "apache":
        assert sentences[:-1] == expected
        assert sentences[-1].endswith("at license level apache: no compression")
    else:
        assert sentences == expected + packed
        changed = asyncio.run(migrate(empty_database, "live", compress_after=40))
        assert changed == [sentence.replace("9 days", "40 days") for sentence in packed]
    again = asyncio.run(migrate(empty_database, "live", compress_after=40))
    assert again == [f"live: schema version {VERSION}, nothing to do"]


async def test_data_in_place(timescale):
    """Tables that were plain, and full, become hypertables with their rows in them."""
    for table in TABLES:
        ask(timescale, f"create table live.plain (like live.{table} including all)")
        # The views for analysts go too: nothing here reads them.
        ask(timescale, f"drop table live.{table} cascade")
        ask(timescale, f"alter table live.plain rename to {table}")
    revisions = await fill(timescale)
    done = await migrate(timescale, "live")
    assert len([sentence for sentence in done if "hypertable" in sentence]) == 4
    async with Store.open(timescale, "live") as store:
        (change,) = await store.changes({"SPX": 0})
        assert [n for n, _ in change.rows] == revisions
    assert ask(timescale, "select count(*) from show_chunks('live.rows')") == [(4,)]


async def test_no_index_of_the_slot_alone(timescale):
    """Every symbol of a tick has the same slot; an index that an earlier release left goes."""
    await fill(timescale)
    named = "select indexname from pg_indexes where indexdef like '%%USING btree (slot%%'"
    assert ask(timescale, named) == []
    ask(timescale, "create index rows_slot_idx on live.rows (slot desc)")
    # Of the table and of its four days.
    assert len(ask(timescale, named)) == 5
    await migrate(timescale, "live")
    assert ask(timescale, named) == []


async def test_compressed_sessions(community):
    """Compressed sessions are read, rewritten and filled in like any other, revisions and all."""
    await migrate(community, "live", compress_after=30)
    revisions = await fill(community)
    assert compress(community) == 16
    async with Store.open(community, "live") as store:
        (change,) = await store.changes({"SPX": 0})
        assert [n for n, _ in change.rows] == revisions
        assert len(change.gaps) == 4
        newest = await store.before("SPX", DAYS[1], at(0) + timedelta(days=2))
        assert (newest.row.spot, newest.evidence) == (7009.0, b"chain\x00\xff")
        again = [record(**on(day, i, spot=7000.0 + i)) for day in DAYS for i in range(10)]
        assert (await store.write(again)).changes == ()
        assert (await store.write(again, mode=WriteMode.REWRITE)).changes == ()
        written = await store.write(
            [record(**on(DAYS[0], 3, spot=1.0)), record(**on(DAYS[0], 11))], mode=WriteMode.REWRITE
        )
        assert [stored.row.spot for stored in rows_of(written)] == [1.0, 7700.5]
        assert await store.gaps("SPX", DAYS[0]) == []
        marked = (
            await store.write(gaps=[gap(12, **on(DAYS[2], 12)), gap(1, **on(DAYS[2], 1))])
        ).changes
        assert [stored.row.slot for stored in gaps_of(marked)] == [on(DAYS[2], 12)["slot"]]
        assert len(await store.slots("SPX", DAYS[0])) == 11


async def test_compression_under_a_backfill(community):
    """The compression job runs over and over under a backfill: every row lands, once."""
    await migrate(community, "live", compress_after=30)
    await fill(community)
    over = False

    async def jobs() -> int:
        runs = 0
        connect = psycopg.AsyncConnection.connect(community, autocommit=True)
        async with await connect as other:
            answer = await other.execute(
                "select job_id from timescaledb_information.jobs"
                " where proc_name = 'policy_compression' and hypertable_schema = 'live'"
            )
            policies = [job for (job,) in await answer.fetchall()]
            assert len(policies) == 4
            while not over or not runs:
                for job in policies:
                    # The scheduler may be at it already: ours finds it done, or cannot have the chunk.
                    with contextlib.suppress(
                        psycopg.errors.DataException, psycopg.errors.RaiseException
                    ):
                        await other.execute(f"call run_job({job})")
                runs += 1
        return runs

    async with Store.open(community, "live") as store:
        running = asyncio.create_task(jobs())
        for step in range(10, 40):
            batch = [record(**on(day, step)) for day in DAYS]
            written = await store.write(batch, mode=WriteMode.FILL)
            assert len(rows_of(written)) == 4
            assert (await store.write(batch, mode=WriteMode.FILL)).changes == ()
        over = True
        assert await running > 0
        for day in DAYS:
            assert await store.slots("SPX", day) == [on(day, i)["slot"] for i in range(40)]
        assert ask(
            community,
            "select count(*) from timescaledb_information.chunks"
            " where hypertable_schema = 'live' and is_compressed",
        ) > [(0,)]
        for table in TABLES[:3]:
            assert ask(community, f"select count(*) from live.{table}") == [(160,)]


async def test_queries_keep_to_their_days(timescale):
    """What is asked about a session looks at no other day's chunks; about all, at each day once."""
    await fill(timescale)
    every = {"symbols": ["SPX"], "first": DAYS[0], "last": DAYS[-1]}
    async with Store.open(timescale, "live") as store:
        for day in DAYS:
            await store.own({"SPX": "test"}, day)

        async def looks(name: str, **parameters: Any) -> int:
            plan = await store._one(f"explain (analyze, format json) {query(name)}", **parameters)
            return _looks(plan["QUERY PLAN"][0]["Plan"])

        # Rows and gaps, a chunk each, and the days beside it.
        assert await looks("accounted", **session_bounds("SPX", DAYS[0])) == 4
        # Counts of both, a day.
        assert await looks("watched", **every) == 8
        assert await looks("sessions", symbol="SPX") == 8


def _looks(node: dict[str, Any]) -> int:
    """How many times a plan has looked into a chunk."""
    chunk = node.get("Relation Name", "").endswith("_chunk")
    here = node["Actual Loops"] if chunk else 0
    return here + sum(map(_looks, node.get("Plans", [])))


class TestPrune:
    """Retention, the same with and without the extension."""

    async def test_by_table(self, database):
        """Each table keeps its days, counted from the newest session; rows outlive the rest."""
        await fill(database)
        keep = {"rows": 2, "profiles": 1, "chains": 30, "gaps": 0}
        done = {pruned.table: pruned for pruned in await retention.prune(database, "live", keep)}
        assert {t: done[t].before for t in TABLES} == {
            "rows": DAYS[1],
            "profiles": DAYS[2],
            "chains": DAYS[1],
            "gaps": None,
        }
        left = [
            ask(database, f"select distinct expiration from live.{t} order by 1") for t in TABLES
        ]
        assert [[day for (day,) in days] for days in left] == [DAYS[1:], DAYS[2:], DAYS[1:], DAYS]
        assert all(pruned.size > 0 for pruned in done.values())
        again = await retention.prune(database, "live", keep)
        assert [pruned.dropped for pruned in again] == [0, 0, 0, 0]

    async def test_sessions_go_with_their_last(self, database):
        """A session is forgotten with its rows and gaps; a symbol's head never goes back."""
        revisions = await fill(database)
        keep = {"rows": 1, "profiles": 1, "chains": 1, "gaps": 1}
        await retention.prune(database, "live", keep)
        assert ask(database, "select expiration from live.sessions order by 1") == [
            (day,) for day in DAYS[2:]
        ]
        async with Store.open(database, "live") as store:
            assert (await store.heads())["SPX"] > revisions[-1]
            (change,) = await store.changes({"SPX": 0})
            assert [n for n, _ in change.rows] == revisions[20:]

    async def test_for_ever_and_dry(self, database):
        """Nothing is dropped for ever, nor by a dry run; an empty dataset has nothing to drop."""
        nothing = dict.fromkeys(TABLES, 1)
        assert {k.before for k in await retention.prune(database, "synthetic", nothing)} == {None}
        await fill(database)
        await retention.prune(database, "live", dict.fromkeys(TABLES, 0))
        done = await retention.prune(database, "live", nothing, dry=True)
        assert {pruned.before for pruned in done} == {DAYS[2]}
        assert ask(database, "select count(*) from live.rows") == [(40,)]
