"""A year of 50 symbols for ``bench_store``, by COPY from generated rows. ``make bench-year``

One session of the synthetic market is sampled in earnest; its rows, without the JSON beside the
headline figures, are repeated for each symbol and session under new keys. About 7 GB and some
minutes, once; ``BENCH_SYMBOLS`` and ``BENCH_DAYS`` make less of it, ``TEST_DATABASE_URL`` puts it
elsewhere than into an embedded PostgreSQL under ``BENCH_DIR``.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from sampler.chain import select_chain
from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from storage.embedded import attach as embedded
from storage.market.calendar import Session, last_session, sessions_between
from storage.postgres import binary
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.figures import DetailFigures, SettledFigures
from storage.record.row import COLUMNS, MOMENTS, SlotRecord

NAME = "flow_year"
LAST = last_session(datetime(2026, 11, 1, tzinfo=UTC))


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """URL of the server that has the year, or will have it."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    folder = Path(os.environ.get("BENCH_DIR") or "/var/tmp/zerodte-flow-bench")
    folder.mkdir(mode=0o755, exist_ok=True)
    with embedded.attach(folder, wait=True) as servers:
        yield servers.database_url


def there(server_url: str) -> str | None:
    """URL of the year's database, if it is complete."""
    url = make_conninfo(server_url, dbname=NAME)
    try:
        with psycopg.connect(url) as connection:
            connection.execute("select from complete")
    except psycopg.Error:
        return None
    return url


async def session_of(symbol: str, session: Session) -> list[SlotRecord]:
    """A session of the synthetic market as the sampler sees it."""
    source = open_source("synthetic:?seed=7")
    records: list[SlotRecord] = []
    async for frame in source.history(symbol, session):
        previous = records[-1] if records else None
        # The first seconds have too few quotes for a row.
        with suppress(ChainRefused):
            records.append(measure_slot(select_chain(frame, session), previous, oi_confidence=0.43))
    await source.close()
    return records


def encoded(records: list[SlotRecord], url: str) -> Iterator[tuple[bytearray, dict[str, int]]]:
    """Each row as COPY has it, and where each column's value begins in it."""
    names = ", ".join((*COLUMNS, "revision"))
    with psycopg.connect(url) as connection:
        query = (
            f"copy (select {names} from synthetic.rows where symbol = 'SPX' order by slot)"
            " to stdout (format binary)"
        )
        with connection.cursor().copy(query) as copy:
            whole = b"".join(bytes(block) for block in copy)
    offset = len(binary.COPY_HEADER)
    for _ in records:
        begin, places = offset, {}
        offset += 2
        for name in (*COLUMNS, "revision"):
            (length,) = struct.unpack_from(">i", whole, offset)
            offset += 4
            if length >= 0:
                places[name] = offset - begin
                offset += length
        yield bytearray(whole[begin:offset]), places


async def make(url: str, symbols: int, days: int) -> None:
    """A year in ``live``, its last day alone in ``synthetic``."""
    for dataset in ("live", "synthetic"):
        await migrate(url, dataset)
    bare = [
        SlotRecord(
            row=replace(
                r.row, settled=SettledFigures.from_json({}), detail=DetailFigures.from_json({})
            ),
            profile=r.profile,
            evidence=r.evidence,
        )
        for r in await session_of("SPX", LAST)
    ]
    async with Store.open(url, "synthetic") as store:
        await store.write(bare)
    rows = list(encoded(bare, url))
    sessions = [
        s for s in sessions_between(LAST.day - timedelta(days=400), LAST.day) if len(s.slots) == 780
    ][-days:]
    since, revision = time.perf_counter(), 0
    with psycopg.connect(url) as connection:
        connection.execute("truncate synthetic.rows, synthetic.profiles, synthetic.chains")
        for session in sessions:
            for dataset in ("live", "synthetic") if session.day == LAST.day else ("live",):
                copy_rows = f"copy {dataset}.rows ({', '.join((*COLUMNS, 'revision'))})"
                with connection.cursor().copy(f"{copy_rows} from stdin (format binary)") as copy:
                    copy.write(binary.COPY_HEADER)
                    for i in range(symbols):
                        copy.write(moved(rows, f"Y{i:02}", session.day, revision))
                        revision += len(rows)
                    copy.write(binary.COPY_TRAILER)
            connection.commit()
            print(f"\r{session.day}  {revision:,} rows", end="", flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        for dataset in ("live", "synthetic"):
            connection.execute(f"analyze {dataset}.rows")
        connection.execute("create table complete ()")
    print(f"\n{revision:,} rows by COPY in {time.perf_counter() - since:.0f} s")


def moved(
    rows: list[tuple[bytearray, dict[str, int]]], symbol: str, day: date, revision: int
) -> bytes:
    """The same rows under another symbol, on another day."""
    shift = (day - LAST.day).days
    ordinal = shift + (LAST.day - date(2000, 1, 1)).days
    out = bytearray()
    for number, (row, places) in enumerate(rows):
        copy = bytearray(row)
        copy[places["symbol"] : places["symbol"] + 3] = symbol.encode()
        struct.pack_into(">i", copy, places["expiration"], ordinal)
        struct.pack_into(">q", copy, places["revision"], revision + number + 1)
        for name in MOMENTS:
            if name in places:
                (moment,) = struct.unpack_from(">q", row, places[name])
                struct.pack_into(">q", copy, places[name], moment + shift * 86_400_000_000)
        out += copy
    return bytes(out)


async def main() -> None:
    """Make the year, unless it is there."""
    symbols, days = (
        int(os.environ.get("BENCH_SYMBOLS", "50")),
        int(os.environ.get("BENCH_DAYS", "252")),
    )
    async with server() as server_url:
        if there(server_url):
            print("the year is there already")
            return
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(f"drop database if exists {NAME} with (force)")
            admin.execute(f"create database {NAME}")
        await make(make_conninfo(server_url, dbname=NAME), symbols, days)


if __name__ == "__main__":
    asyncio.run(main())
