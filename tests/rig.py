"""A sampler's parts wired as its door wires them, stepped by the test at times of its choosing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sampler.live.backlog import Backlog
from sampler.live.outcome import Outcome
from sampler.live.slots import SlotTracker
from sampler.live.tick import Tick
from sampler.live.writer import BatchWriter
from storage.errors import StoreUnavailable
from storage.fault import Fault, no_fault
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.redis.channel import NoChannel
from storage.spool.spool import Spool

STEP = timedelta(seconds=30)


class FailingStore:
    """A store that can be away, and counts what is written to it."""

    def __init__(self, store: Any) -> None:
        self.store, self.away = store, False
        self.writes: list[tuple[int, int]] = []

    async def write(self, records=(), gaps=(), *, mode=WriteMode.KEEP):
        if self.away:
            raise StoreUnavailable("away")
        done = await self.store.write(records, gaps, mode=mode)
        self.writes.append((len(records), len(gaps)))
        return done

    def __getattr__(self, name):
        async def call(*args, **named):
            if self.away:
                raise StoreUnavailable("away")
            return await getattr(self.store, name)(*args, **named)

        return call


class SamplerRig:
    """Spool, backlog, writer, tick and watch over a store."""

    def __init__(
        self,
        source: Any,
        store: Any,
        folder: Path,
        *,
        live: Any = None,
        limit: int = 10**9,
        batch_seconds: float = 0.2,
        budget: float = 5,
        may_write: Any = lambda: True,
        counts: Any = None,
        fault: Fault = no_fault,
        delay: timedelta = timedelta(0),
    ) -> None:
        self.spool = Spool.open(folder, limit, fault)
        self.writer = BatchWriter(
            store,
            live or NoChannel(),
            Backlog(self.spool),
            batch_seconds=batch_seconds,
            may_write=may_write,
            counts=counts,
            fault=fault,
        )
        self.tick = Tick(
            source,
            self.writer,
            NoChannel(),
            oi_confidence=0.43,
            budget=budget,
            quiet=True,
            provisional=True,
            fault=fault,
        )
        self.tracker = SlotTracker(self.tick, store, self.writer, delay=delay)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SamplerRig]:
        async with AsyncExitStack() as stack:
            stack.callback(self.spool.close)
            await stack.enter_async_context(self.writer.running())
            yield self

    async def step(self, symbols: Iterable[str], now: datetime) -> dict[str, Outcome]:
        """One tick of some symbols, together; ours from now on."""
        symbols = list(symbols)
        self.tracker.symbols |= set(symbols)
        outcomes = await asyncio.gather(*(self.tracker.step(s, now) for s in symbols))
        return {s: o for s, o in zip(symbols, outcomes, strict=True) if o is not None}


@asynccontextmanager
async def rig(source: Any, store: Any, folder: Path, **options: Any) -> AsyncIterator[SamplerRig]:
    async with SamplerRig(source, store, folder, **options).running() as started:
        yield started


@asynccontextmanager
async def open_store(url: str, dataset: str = "synthetic", **options: Any) -> AsyncIterator[Store]:
    async with Store.open(url, dataset, size=4, **options) as store:
        yield store


#: What depends on when a row was fetched or stored.
PASSING = ("revision", "fetched_at", "quote_age_seconds")


def rows(url: str, dataset: str = "synthetic") -> dict[tuple[str, datetime], dict]:
    """All rows by symbol and slot, and each one's evidence, without what passes."""
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(f"set search_path to {dataset}")
        connection.execute("set timezone to 'UTC'")
        stored = connection.execute("select * from rows").fetchall()
        profiles = connection.execute("select * from profiles").fetchall()
    # NaN is not equal to itself: text is.
    arrays = {(p["symbol"], p["slot"]): repr(p) for p in profiles}
    return {
        (r["symbol"], r["slot"]): {k: v for k, v in r.items() if k not in PASSING}
        | {"profile": arrays[r["symbol"], r["slot"]]}
        for r in stored
    }


def gaps(url: str, dataset: str = "synthetic") -> dict[tuple[str, datetime], str]:
    """All gaps by symbol and slot: their reasons."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("set timezone to 'UTC'")
        stored = connection.execute(f"select symbol, slot, reason from {dataset}.gaps").fetchall()
    return {(symbol, slot): reason for symbol, slot, reason in stored}
