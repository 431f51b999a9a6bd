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

import numpy as np
import psycopg
from psycopg import sql as compose
from psycopg.types.json import Jsonb

from sampler.chain import select
from sampler.snapshot import measure
from sampler.sources import open_source
from storage import columns, database, embedded
from storage.reader import ARRAYS
from storage.row import COLUMNS, SlotRecord
from storage.session import market_day, session_on
from storage.store import REWRITE, Store
from tests.benchmarks import year

SYMBOLS, SLOTS = 600, 7
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
    return measure(select(frame, session), None, oi_confidence=0.43)


def tick(first: SlotRecord, slot: int, strikes: int) -> list[SlotRecord]:
    """A record for each of 600 symbols, no two alike."""
    dice = np.random.default_rng(slot)
    state, notes = first.state
    made = []
    for i in range(SYMBOLS):
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
        made.append(SlotRecord(row=row, profile=profile, evidence=columns.pack(chain, **notes)))
    return made


def weight(records: list[SlotRecord]) -> int:
    """Bytes of a tick as numbers, without the database's own."""
    return sum(
        len(str(r.row.settled))
        + len(str(r.row.detail))
        + 8 * len(COLUMNS)
        + len(r.evidence)
        + 8 * len(ARRAYS) * len(r.profile["strike"])
        for r in records
    )


class Peer:
    """The usual way: the same upserts by psycopg's executemany, which pipelines them."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection
        self.statements = [
            self._upsert("rows", COLUMNS),
            self._upsert("profiles", ("symbol", "expiration", "slot", *ARRAYS)),
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

    async def write(self, records: list[SlotRecord]) -> None:
        """One transaction."""
        async with self.connection.transaction(), self.connection.cursor() as cursor:
            rows, profiles, chains = [], [], []
            for record in records:
                values = {name: getattr(record.row, name) for name in COLUMNS}
                key = {n: values[n] for n in ("symbol", "expiration", "slot")}
                values["flags"] = list(record.row.flags)
                for name in ("dropped", "quotes_unused", "settled", "detail"):
                    values[name] = Jsonb(values[name])
                rows.append(values)
                profiles.append(key | {n: record.profile[n].tolist() for n in ARRAYS})
                chains.append(key | {"evidence": record.evidence})
            for statement, values in zip(self.statements, (rows, profiles, chains), strict=True):
                await cursor.executemany(statement, values)


async def write(url: str) -> None:
    """Print what a tick takes."""
    await database.migrate(url, "live")
    await database.migrate(url, "synthetic")
    first = await one_record()
    whole = len(first.profile["strike"])
    strikes = next(
        n
        for n in range(10, whole + 1)
        if weight(tick(first, 0, n)[:20]) * 30 >= WEIGHT or n == whole
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
            found = await (await connection.execute(f"show {name}")).fetchone()
            print(f"{name:46} {found[0]}")
        print(f"{'one tick':46} {SYMBOLS} symbols, {weight(ticks[0]) / 1e6:.1f} MB")
        peer = Peer(connection)
        for records in ticks:
            for who in (store, peer) if len(took.get("store", [])) % 2 else (peer, store):
                since = time.perf_counter()
                await who.write(records)
                note("store" if who is store else "pipelined executemany", since)
            since = time.perf_counter()
            await store.write(records)
            note("store, unchanged repeat", since)
        for i in range(50):
            record = tick(first, 100 + i, strikes)[:1]
            since = time.perf_counter()
            await store.write(record)
            note("store, one symbol", since)
            since = time.perf_counter()
            await peer.write(record)
            note("pipelined executemany, one symbol", since)
        since = time.perf_counter()
        changed = [
            SlotRecord(row=replace(r.row, pin_score=1), profile=r.profile, evidence=r.evidence)
            for r in ticks[0]
        ]
        since = time.perf_counter()
        await store.write(changed, mode=REWRITE)
        note("store, a tick rewritten", since)
    for name, times in took.items():
        kept = times[1:] or times  # The first warms caches up.
        print(f"{name:46} {statistics.median(kept) * 1e3:9.1f} ms   (best {min(kept) * 1e3:.1f})")
    ratio = statistics.median(took["pipelined executemany"][1:]) / statistics.median(
        took["store"][1:]
    )
    print(f"{'pipelined executemany ÷ store':46} {ratio:9.2f} ×")


async def main() -> None:
    """Print all of it."""
    async with server() as url, scratch(url) as database_url:
        await write(database_url)


if __name__ == "__main__":
    asyncio.run(main())
