"""The store's speed beside named peers in the same run. ``make bench-store``

On an embedded PostgreSQL, or on the database that ``TEST_DATABASE_URL`` names (PostgreSQL or
TimescaleDB, a superuser's). One tick of 600 symbols is written by the store and, into tables of the
same shape, by psycopg's pipelined ``executemany``; nothing is asserted, machines are noisy: compare
ratios. The window is timed over a year when ``make bench-year`` has made one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psycopg
from psycopg import sql as compose
from psycopg.types.json import Jsonb

from api.series.bars import FIGURES
from sampler.chain import select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from storage.embedded import attach as embedded
from storage.market.calendar import market_day, session_on
from storage.postgres.migrate import migrate
from storage.postgres.queries import query
from storage.postgres.store import Store
from storage.record import packing
from storage.record.mode import WriteMode
from storage.record.row import COLUMNS, JSON_COLUMNS, PROFILE_ARRAYS, SlotRecord
from tests.benchmarks import year

SYMBOLS, SLOTS = 600, 7
#: Whose sessions are compressed.
SEVERAL = ("SPX", "SPY", "QQQ", "IWM", "AAPL", "TSLA")
#: What a tick of 600 symbols is taken to weigh. [bytes]
WEIGHT = 20e6


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """URL of a database server that is ours for a while."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="flow-bench-"))
    folder.chmod(0o755)
    try:
        with embedded.attach(folder, wait=True) as servers:
            yield servers.database_url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def scratch(server_url: str) -> AsyncIterator[str]:
    """URL of a migrated database that is gone afterwards."""
    name = compose.Identifier(f"flow_bench_{os.getpid()}")
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(compose.SQL("create database {}").format(name))
        url = str(psycopg.conninfo.make_conninfo(server_url, dbname=f"flow_bench_{os.getpid()}"))
        try:
            yield url
        finally:
            admin.execute(compose.SQL("drop database {} with (force)").format(name))


async def one_record() -> SlotRecord:
    """A measured record, cut to the strikes of an ordinary symbol."""
    source = open_source("synthetic:?seed=7")
    session = session_on(market_day(year.LAST.open))
    assert session is not None
    frame = await source.live("SPX", session.open + timedelta(hours=2))
    await source.close()
    return measure_slot(select_chain(frame, session), None, oi_confidence=0.43)


def tick(first: SlotRecord, slot: int, strikes: int, symbols: int = SYMBOLS) -> list[SlotRecord]:
    """A record for each of 600 symbols, no two alike."""
    dice = np.random.default_rng(slot)
    state, notes = first.state
    records = []
    for i in range(symbols):
        row = replace(
            first.row,
            symbol=f"S{i:03}",
            slot=first.row.slot + timedelta(seconds=30 * slot),
            quoted_at=first.row.quoted_at + timedelta(seconds=30 * slot),
            spot=first.row.spot * (1 + dice.normal() / 1000),
        )
        profile = {
            name: values[:strikes] * (1 + dice.random() / 100)
            for name, values in first.profile.items()
        }
        chain = {name: values[: 2 * strikes] for name, values in state.items()}
        records.append(SlotRecord(row=row, profile=profile, evidence=packing.pack(chain, **notes)))
    return records


def weight(records: list[SlotRecord]) -> int:
    """Bytes of a tick as numbers, without the database's own."""
    return sum(
        len(str(r.row.settled))
        + len(str(r.row.detail))
        + 8 * len(COLUMNS)
        + len(r.evidence)
        + 8 * len(PROFILE_ARRAYS) * len(r.profile["strike"])
        for r in records
    )


class Peer:
    """The usual way: the same upserts by psycopg's executemany, which pipelines them."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection
        self.statements = [
            self._upsert("rows", COLUMNS),
            self._upsert("profiles", ("symbol", "expiration", "slot", *PROFILE_ARRAYS)),
            self._upsert("chains", ("symbol", "expiration", "slot", "evidence")),
        ]

    @staticmethod
    def _upsert(table: str, names: tuple[str, ...]) -> str:
        changed = [n for n in names if n not in ("symbol", "expiration", "slot")]
        return (
            f"insert into {table} ({', '.join(names)}) values"
            f" ({', '.join(f'%({n})s' for n in names)})"
            f" on conflict (symbol, expiration, slot) do update"
            f" set {', '.join(f'{n} = excluded.{n}' for n in changed)}"
        )

    @staticmethod
    def prepared(records: list[SlotRecord]) -> list[list[dict[str, Any]]]:
        """Parameters of rows, profiles and chains: not on the peer's time."""
        rows, profiles, chains = [], [], []
        for record in records:
            values = {name: getattr(record.row, name) for name in COLUMNS}
            key = {n: values[n] for n in ("symbol", "expiration", "slot")}
            values["flags"] = list(record.row.flags)
            for name in JSON_COLUMNS:
                values[name] = Jsonb(values[name], orjson.dumps)
            rows.append(values)
            profiles.append(key | {n: record.profile[n].tolist() for n in PROFILE_ARRAYS})
            chains.append(key | {"evidence": record.evidence})
        return [rows, profiles, chains]

    async def write(self, prepared: list[list[dict[str, Any]]]) -> None:
        """One transaction."""
        async with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            for statement, values in zip(self.statements, prepared, strict=True):
                await cursor.executemany(statement, values)


async def write(url: str) -> None:
    """Print what a tick takes."""
    await migrate(url, "live")
    await migrate(url, "synthetic")
    first = await one_record()
    whole = len(first.profile["strike"])
    strikes = next(
        n
        for n in range(10, whole + 1)
        if weight(tick(first, 0, n, 6)) * 100 >= WEIGHT or n == whole
    )
    ticks = [tick(first, slot, strikes) for slot in range(SLOTS)]
    took: dict[str, list[float]] = {}

    def note(name: str, since: float) -> None:
        took.setdefault(name, []).append(time.perf_counter() - since)

    connect = psycopg.AsyncConnection.connect(
        url, autocommit=True, options="-c search_path=synthetic,public -c timezone=UTC"
    )
    async with Store.open(url, "live") as store, await connect as connection:
        for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers"):
            setting = await (await connection.execute(f"show {name}")).fetchone()
            print(f"{name:46} {setting[0]}")
        print(f"{'one tick':46} {SYMBOLS} symbols, {weight(ticks[0]) / 1e6:.1f} MB")
        peer = Peer(connection)
        for records in ticks:
            prepared = peer.prepared(records)
            for ours in (True, False) if len(took.get("store", [])) % 2 else (False, True):
                since = time.perf_counter()
                if ours:
                    await store.write(records)
                else:
                    await peer.write(prepared)
                note("store" if ours else "pipelined executemany", since)
            since = time.perf_counter()
            await store.write(records)
            note("store, unchanged repeat", since)
        for i in range(50):
            record = tick(first, 100 + i, strikes, 1)
            since = time.perf_counter()
            await store.write(record)
            note("store, one symbol", since)
            prepared = peer.prepared(record)
            since = time.perf_counter()
            await peer.write(prepared)
            note("pipelined executemany, one symbol", since)
        since = time.perf_counter()
        changed = [
            SlotRecord(row=replace(r.row, pin_score=1), profile=r.profile, evidence=r.evidence)
            for r in ticks[0]
        ]
        since = time.perf_counter()
        await store.write(changed, mode=WriteMode.REWRITE)
        note("store, a tick rewritten", since)
    for name, times in took.items():
        steady = times[1:] or times  # The first warms caches up.
        print(
            f"{name:46} {statistics.median(steady) * 1e3:9.1f} ms   (best {min(steady) * 1e3:.1f})"
        )
    ratio = statistics.median(took["pipelined executemany"][1:]) / statistics.median(
        took["store"][1:]
    )
    print(f"{'pipelined executemany ÷ store':46} {ratio:9.2f} ×")


async def window(url: str) -> None:
    """Print what a session's window takes with a year behind it, and with nothing."""
    print(f"\n{'a window of one symbol-day':46} with a year of 50 symbols | one day of data")
    async with Store.open(url, "live") as long, Store.open(url, "synthetic") as short:
        for width in (30, 60):
            bounds = {
                "start": year.LAST.open,
                "until": year.LAST.close,
                "width": timedelta(seconds=width),
            }
            took: tuple[list[float], list[float]] = [], []
            for _ in range(80):
                # By turns: what the machine does else hits both.
                for store, times in zip((long, short), took, strict=True):
                    since = time.perf_counter()
                    bars = await store.window("Y07", year.LAST.day, columns=FIGURES, **bounds)
                    times.append((time.perf_counter() - since) * 1e3)
                    assert len(bars) > 350
            (years, day), (best, least) = map(statistics.median, took), map(min, took)
            print(
                f"{f'  {width} s: milliseconds, median':46} {years:9.2f} | {day:.2f}"
                f"   ({years / day:.2f} ×; best {best:.2f} | {least:.2f}, {best / least:.2f} ×)"
            )
            key = {"symbol": "Y07", "expiration": year.LAST.day}
            text = f"explain (analyze, buffers, format json) {query('window', FIGURES)}"
            read = []
            for store in (long, short):
                top = (await store._one(text, **bounds, **key))["QUERY PLAN"][0]["Plan"]
                read.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
            print(f"{f'  {width} s: buffers read':46} {read[0]:9} | {read[1]}")


async def compressed(url: str) -> None:
    """Print how much smaller a session's rows are by column, where TimescaleDB can."""
    for sentence in await migrate(url, "live", compress_after=30):
        print(sentence)
    session = year.LAST
    async with Store.open(url, "live") as store:
        for symbol in SEVERAL:
            await store.write(await year.session_of(symbol, session))
    bare = ("settled", "detail")
    chosen = ", ".join(f"'{{}}'::jsonb as {c}" if c in bare else c for c in COLUMNS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum full live.rows")
        connection.execute(f"create table live.headlines as select {chosen} from live.rows")
        connection.execute(
            "select create_hypertable('live.headlines', 'slot', chunk_time_interval =>"
            " interval '1 day', migrate_data => true)"
        )
        connection.execute(
            "alter table live.headlines set (timescaledb.enable_columnstore = true,"
            " timescaledb.segmentby = 'symbol', timescaledb.orderby = 'expiration, slot')"
        )
        loose = unpacked(connection)
        for table in ("rows", "headlines", "profiles", "chains"):
            name = f"live.{table}"
            chunks = connection.execute("select show_chunks(%s)", [name]).fetchall()
            for (chunk,) in chunks:
                connection.execute("select compress_chunk(%s, if_not_compressed => true)", [chunk])
            before, heap, after = connection.execute(
                "select sum(before_compression_total_bytes), sum(before_compression_table_bytes"
                " + before_compression_toast_bytes), sum(after_compression_total_bytes)"
                " from chunk_compression_stats(%s)",
                [name],
            ).fetchone()
            (count,) = connection.execute(f"select count(*) from {name}").fetchone()
            print(
                f"{f'{table}: bytes each, heap, with index, compressed':50}"
                f" {heap / count:9.0f} {before / count:9.0f} {after / count:9.0f}"
                f"   ({after / heap:.2f} × heap)"
            )
            if table == "rows":
                print(
                    f"{'rows: in a heap without compression of its own':50} {loose / count:9.0f}"
                    f" {'':19}   ({after / loose:.2f} × that)"
                )


def unpacked(connection: psycopg.Connection[Any]) -> int:
    """Bytes of the rows in a heap that compresses nothing: PostgreSQL packs their JSON by itself."""
    connection.execute("create table live.loose (like live.rows) with (toast_tuple_target = 8160)")
    values = list(COLUMNS)
    for name in ("settled", "detail"):
        connection.execute(f"alter table live.loose alter {name} set storage external")
        # As text and back: a packed value would be copied as it is.
        values[values.index(name)] = f"{name}::text::jsonb"
    connection.execute(
        f"insert into live.loose ({', '.join(COLUMNS)}, revision, backfilled)"
        f" select {', '.join(values)}, revision, backfilled from live.rows"
    )
    (size,) = connection.execute("select pg_table_size('live.loose')").fetchone() or (0,)
    return int(size)


def has_columnstore(url: str) -> bool:
    """Whether this server has TimescaleDB with compression."""
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute("select count(*) from timescaledb_information.hypertables")
            license_row = connection.execute("show timescaledb.license").fetchone()
        except psycopg.Error:
            return False
    return license_row == ("timescale",)


async def main() -> None:
    """Print all of it."""
    async with server() as url, scratch(url) as database_url:
        await write(database_url)
    async with server() as url, scratch(url) as database_url:
        await migrate(database_url, "live")
        if has_columnstore(database_url):
            print("\nby column")
            await compressed(database_url)
    async with year.server() as url:
        if stored := year.there(url):
            await window(stored)
        else:
            print("\nno year of data for the window: make bench-year")


if __name__ == "__main__":
    asyncio.run(main())
