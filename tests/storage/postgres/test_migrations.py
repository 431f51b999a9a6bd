"""From every earlier version of the schema to this one, with data in place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from factories import DAY, at, gap, record, row
from psycopg import sql as compose
from psycopg.types.json import Jsonb

from sampler.chain import Frame
from sampler.sources.synthetic.source import Synthetic
from storage.errors import SchemaMissing
from storage.postgres import sql
from storage.postgres.migrate import RETIRED, VERSION, migrate
from storage.postgres.store import Store
from storage.record.row import COLUMNS
from tests.hostile import pick
from tests.rig import rig

NUMBERS = [number for number, _ in sql.migrations()]
#: The migration since which the feed is a part of every key.
FEEDS = 10


def older(url: str, version: int) -> set[str]:
    """Make ``live`` as releases up to a version left it, by their own SQL, and fill it.

    Returns the columns that its rows have.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema live")
        connection.execute("set search_path to live")
        connection.execute(
            "create table schema_version"
            " (version integer primary key, applied_at timestamptz not null default now())"
        )
        for number, text in sql.migrations():
            if number <= version:
                connection.execute(text)
                connection.execute("insert into schema_version (version) values (%s)", [number])
        known = columns_of(connection, "rows")
        arrays = columns_of(connection, "profiles") - columns_of(connection, "gaps")
        of_test, of_none = ({"source": s} if version >= FEEDS else {} for s in ("test", ""))
        for step, symbol in ((0, "SPX"), (1, "SPX"), (0, "SPY")):
            values: dict[str, Any] = {
                name: getattr(row(slot=at(step), symbol=symbol), name) for name in COLUMNS
            }
            values["flags"] = list(values["flags"])
            values |= {name: values[name].as_json() for name in ("settled", "detail")}
            for name in ("dropped", "quotes_unused", "settled", "detail"):
                values[name] = Jsonb(values[name])
            insert(connection, "rows", {n: v for n, v in values.items() if n in known})
            key = {name: values[name] for name in ("symbol", "expiration", "slot")}
            if version >= FEEDS:
                key["source"] = values["source"]
            insert(connection, "profiles", key | {name: [1.0, 2.0] for name in arrays})
            insert(connection, "chains", key | {"evidence": b"chain"})
        marked = {"symbol": "SPX", "expiration": DAY, "slot": at(2), "reason": "late"}
        insert(connection, "gaps", marked | of_test)
        insert(connection, "gaps", marked | {"symbol": "IWM"} | of_none)
        if version > 1:
            connection.execute("insert into heads values ('SPX', 4), ('SPY', 3), ('IWM', 5)")
            for symbol, source, revision in (
                ("SPX", "test", 4),
                ("SPY", "test", 3),
                ("IWM", None, 5),
            ):
                session = {"symbol": symbol, "expiration": DAY, "source": source}
                session |= {"first_slot": at(0), "last_slot": at(2), "revision": revision}
                if version >= FEEDS:
                    session |= {"source": source or "", "has_rows": bool(source), "shown": True}
                insert(connection, "sessions", session)
    return known


def columns_of(connection: psycopg.Connection, table: str) -> set[str]:
    columns = connection.execute(f"select * from {table} limit 0").description
    assert columns
    return {column.name for column in columns}


def insert(connection: psycopg.Connection, table: str, values: dict[str, Any]) -> None:
    names = compose.SQL(", ").join(map(compose.Identifier, values))
    places = compose.SQL(", ").join(map(compose.Placeholder, values))
    connection.execute(
        compose.SQL("insert into {} ({}) values ({})").format(
            compose.Identifier(table), names, places
        ),
        values,
    )


@pytest.mark.parametrize("version", NUMBERS)
async def test_data_survives(empty_database, version):
    """Rows, gaps and revisions are all there, cursors are right, and writing goes on."""
    known = older(empty_database, version)
    added = dict.fromkeys(set(COLUMNS) - known)
    done = await migrate(empty_database, "live")
    applied = [sentence for sentence in done if "migration" in sentence]
    assert applied == [f"live: migration {n} applied" for n in NUMBERS if n > version]
    async with Store.open(empty_database, "live", write=True) as store:
        assert await store.heads() == {"IWM": 5, "SPX": 4, "SPY": 3}
        (change,) = await store.changes({"SPX": 0})
        assert [(n, r) for n, r in change.rows] == [
            (n, row(slot=at(n - 1), **added)) for n in (1, 2)
        ]
        assert [n for n, _ in change.gaps] == [4]
        assert await store.symbols() == {"SPX": at(1), "SPY": at(0)}
        assert await store.newest_slot() == at(1)
        assert [await store.known(s) for s in ("SPX", "IWM", "QQQ")] == [True, True, False]
        newest = await store.before("SPX", DAY, at(5))
        assert (newest.row.slot, newest.evidence) == (at(1), b"chain")
        assert newest.profile["iv"].tolist() == [1.0, 2.0]
        (written,) = (await store.write([record(slot=at(2)), record(slot=at(0))], [gap(3)])).changes
        assert (written.after, [r.slot for _, r in written.rows]) == (4, [at(2)])
        assert [g["slot"] for g in await store.gaps("SPX", DAY)] == [at(3)]
        assert [g["next_expiry"] for g in await store.gaps("IWM", DAY)] == [None]
        assert await store.feeds("SPX", DAY) == {"test": True}
    again = await migrate(empty_database, "live")
    assert again == [f"live: schema version {VERSION}, nothing to do"]


async def test_feeds_that_were_mixed(empty_database):
    """Rows of a session go to their own feed's, with profile and chain; gaps to the first feed's."""
    older(empty_database, FEEDS - 1)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("set search_path to live")
        connection.execute("update rows set source = 'other' where slot = %s", [at(1)])
        connection.execute("insert into watched (symbol, expiration) values ('SPX', %s)", [DAY])
    await migrate(empty_database, "live")
    with psycopg.connect(empty_database) as connection:
        for table in ("rows", "profiles", "chains"):
            keys = connection.execute(
                f"select symbol, source, slot from live.{table} order by 1, 2"
            ).fetchall()
            assert keys == [
                ("SPX", "other", at(1)),
                ("SPX", "test", at(0)),
                ("SPY", "test", at(0)),
            ]
        gaps = connection.execute("select symbol, source from live.gaps order by 1").fetchall()
        assert gaps == [("IWM", ""), ("SPX", "test")]
        watched = connection.execute("select symbol, source, fallback from live.watched")
        assert watched.fetchall() == [("SPX", "test", False)]
    async with Store.open(empty_database, "live") as store:
        assert await store.feeds("SPX", DAY) == {"other": False, "test": True}
        assert await store.slots("SPX", DAY) == [at(0)]
        assert await store.of_feed("other").slots("SPX", DAY) == [at(1)]


async def test_one_is_missing(empty_database):
    """A schema that lacks a migration below its newest one is refused, and can be migrated."""
    await migrate(empty_database, "live")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("delete from live.schema_version where version = 7")
        connection.execute("alter table live.rows drop column backfilled")
    with pytest.raises(SchemaMissing, match="not applied: 7; run: flow-store migrate"):
        async with Store.open(empty_database, "live"):
            pass
    assert await migrate(empty_database, "live") == ["live: migration 7 applied"]
    async with Store.open(empty_database, "live"):
        pass


@pytest.mark.parametrize("version", [0, *NUMBERS[:-1]])
async def test_an_older_schema_is_refused(empty_database, version):
    """A store does not open on the schema of an earlier release, and says what to run."""
    older(empty_database, version) if version else None
    with pytest.raises(SchemaMissing, match=f"version {version}.*run: flow-store migrate"):
        async with Store.open(empty_database, "live"):
            pass


async def test_retired_numbers(empty_database):
    """A database in which a retired migration was applied once is opened and migrated as any."""
    await migrate(empty_database, "live")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("insert into live.schema_version (version) values (4), (6)")
    async with Store.open(empty_database, "live"):
        pass
    assert await migrate(empty_database, "live") == [
        f"live: schema version {VERSION}, nothing to do"
    ]


def test_numbers_have_no_holes():
    """Each number up to the newest is a migration or declared retired, never both; 4 and 6 are."""
    assert {4, 6} == RETIRED
    assert set(NUMBERS) | RETIRED == set(range(1, VERSION + 1))
    assert not set(NUMBERS) & RETIRED
    assert len(set(NUMBERS)) == len(NUMBERS)


class NearStrikes:
    """Of the simulated market, ten strikes of today: what the older release had sampled."""

    name, synthetic, remote, delay_seconds = "synthetic", True, False, 0

    def __init__(self) -> None:
        self._whole = Synthetic(seed=3)

    async def live(self, symbol: str, now: datetime) -> Frame:
        frame = await self._whole.live(symbol, now)
        strikes = np.unique(frame.strike)
        near = strikes[np.argsort(abs(strikes - frame.spot))[:10]]
        return pick(frame, np.isin(frame.strike, near) & (frame.expiry == frame.expiry.min()))


def stored(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that lies in the tables of schema 10, to the bit."""
    with psycopg.connect(url) as connection:
        connection.execute("set search_path to live")
        return {
            table: connection.execute(
                f"select symbol, expiration, source, slot, md5(t::text) from {table} t"
                " where slot < '2026-08-19 14:02:30+00' order by 1, 2, 3, 4"
            ).fetchall()
            for table in ("rows", "profiles", "chains", "gaps")
        }


async def test_an_upgrade_with_data_while_a_sampler_writes(empty_database, tmp_path):
    """The database that the release of schema 10 has written keeps every byte; sampling goes on.

    ``schema_10.sql`` is a dump of what that release made of five slots of two symbols, the third
    slot of SPX a gap. The sampler of this release starts before the migration, and spools.
    """
    dump = (Path(__file__).parent / "schema_10.sql").read_text()
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(dump)
    before = stored(empty_database)
    assert {table: len(rows) for table, rows in before.items()} == {
        "rows": 9, "profiles": 9, "chains": 9, "gaps": 121
    }  # fmt: skip
    slot = datetime(2026, 8, 19, 14, 2, 30, tzinfo=UTC)
    async with (
        Store.open(empty_database, "live", later=True) as store,
        rig(NearStrikes(), store, tmp_path) as rigged,
    ):
        begins = slot + timedelta(seconds=1)
        assert await rigged.tracker.add_symbols(["SPX", "QQQ"], begins) == ["SPX", "QQQ"]
        for number in range(2):
            await rigged.step(["SPX", "QQQ"], begins + timedelta(seconds=30 * number))
        assert rigged.writer.spool_batches == 2
        done, _ = await asyncio.gather(
            migrate(empty_database, "live"),
            rigged.step(["SPX", "QQQ"], slot + timedelta(seconds=61)),
        )
        assert "live: migration 11 applied" in done
        assert f"live: migration {VERSION} applied" in done
        async with asyncio.timeout(30):
            await rigged.writer.drained()
        after = await store.before("SPX", slot.date(), slot + timedelta(minutes=5))
        first = await store.before("SPX", slot.date(), slot + timedelta(seconds=1))
        old = await store.before("SPX", slot.date(), slot)
    assert stored(empty_database) == before
    assert (after.row.slot, first.row.slot) == (slot + timedelta(minutes=1), slot)
    # The flow of before the upgrade goes on, from the older release's evidence.
    assert old.row.slot == first.row.differenced_from == slot - timedelta(seconds=30)
    assert first.row.flow_since == old.row.flow_since
