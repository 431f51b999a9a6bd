"""Milliseconds per stage of a tick on a chain of 520 contracts. ``make bench``

The chain is a real one where the recorded chains lie beside the checkout, else a synthetic slot.
Medians of many repeats; nothing is asserted, machines are noisy.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from sampler.chain import Chain, Frame, select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source, recorded
from storage.embedded import attach as embedded
from storage.market.calendar import market_day, session_on
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record import packing
from storage.record.row import SlotRecord
from storage.redis.channel import RedisChannel

CHAIN = (
    Path(__file__).resolve().parents[2].parent / "shared/data/chains/SPX/SPX_2026-08-19T101421.json"
)


async def frame() -> tuple[Frame, str]:
    """A chain of 520 contracts, and what it is."""
    if CHAIN.is_file():
        return recorded.read_chain(CHAIN), CHAIN.name
    source = open_source("synthetic:?seed=7")
    session = session_on(date(2026, 8, 19))
    return await source.live("SPX", session.open + timedelta(minutes=45)), "a synthetic slot"


def timed(name: str, work: Callable[[], object], repeats: int = 50) -> None:
    """Print the median of some repeats."""
    work()
    took = []
    for _ in range(repeats):
        since = time.perf_counter()
        work()
        took.append((time.perf_counter() - since) * 1e3)
    print(f"{name:46} {statistics.median(took):9.3f} ms   (best {min(took):.3f})")


async def main() -> None:
    """Print the table."""
    read, what = await frame()
    session = session_on(market_day(read.quoted_at))
    chain = select_chain(read, session)
    print(f"{what}: {len(read.strike)} contracts, {chain.listed.sum()} of them today's\n")
    if CHAIN.is_file():
        timed("parse (compact JSON, all expiries)", lambda: recorded.read_chain(CHAIN))
    timed("select (validate, by strike)", lambda: select_chain(read, session))
    first = measure_slot(chain, None, oi_confidence=0.43)
    timed("measure, baseline", lambda: measure_slot(chain, None, oi_confidence=0.43))
    later = select_chain(read, session)
    object.__setattr__(later, "slot", chain.slot + timedelta(seconds=30))
    object.__setattr__(later, "quoted_at", chain.quoted_at + timedelta(seconds=30))
    object.__setattr__(later, "volume", chain.volume + np.arange(len(chain.strike)) % 7)
    timed("measure, with the previous slot", lambda: measure_slot(later, first, oi_confidence=0.43))
    timed("unpack the previous slot's evidence", lambda: packing.unpack(first.evidence))
    print(f"{'evidence':46} {len(first.evidence) / 1e3:9.1f} kB")
    folder = Path(tempfile.mkdtemp(prefix="flow-bench-"))
    folder.chmod(0o755)
    try:
        await stored(folder, first, later)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def stored(folder: Path, first: SlotRecord, later: Chain) -> None:
    """Print what storing and publishing take, on embedded servers of their own."""
    with embedded.attach(folder, wait=True) as servers:
        await migrate(servers.database_url, "live")
        async with (
            Store.open(servers.database_url, "live") as store,
            RedisChannel.open(servers.redis_url, "bench") as live,
        ):
            record = measure_slot(later, first, oi_confidence=0.43)
            changes = (await store.write([first])).changes
            took: dict[str, list[float]] = {"store": [], "store, unchanged": [], "publish": []}
            for i in range(50):
                row = record.row
                object.__setattr__(row, "slot", later.slot + timedelta(seconds=30 * i))
                for name in ("store", "store, unchanged"):
                    since = time.perf_counter()
                    changes = (await store.write([record])).changes or changes
                    took[name].append((time.perf_counter() - since) * 1e3)
                since = time.perf_counter()
                await live.publish(changes)
                took["publish"].append((time.perf_counter() - since) * 1e3)
            for name, times in took.items():
                print(f"{name:46} {statistics.median(times):9.3f} ms   (best {min(times):.3f})")


if __name__ == "__main__":
    asyncio.run(main())
