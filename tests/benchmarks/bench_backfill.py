"""Slots a second of backfills and recomputations from stored chains. ``make bench``

Sessions are simulated ones of SPX, in an embedded database of their own. "One job" is this process;
the ratios are of one run on one machine, whose servers work on the same cores. Processes are
started beforehand: what is compared is the work. CPU time is that of this process and of the
database's per slot, with one job: what a core of its own could do, however busy the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from datetime import date
from pathlib import Path

import psycopg

from sampler import past, spread
from sampler.backfill import Wishes
from sampler.past import Order, Task
from storage import archive, database, embedded
from storage.live import Nobody
from storage.session import sessions_between
from storage.store import Store

FIRST, LAST = date(2026, 8, 3), date(2026, 8, 31)
WISHES = Wishes(oi_confidence=0.43)


async def run(
    store: Store, order: Order, days: Sequence[date], pool: Executor | None = None
) -> float:
    """Rows a second, by this process or by a pool."""
    todo = [Task(order=order, symbol="SPX", day=day, slots=780) for day in days]
    results = spread.each(pool, past.alone, todo) if pool else past.results(todo, store, Nobody())
    since = time.perf_counter()
    rows = 0
    async with aclosing(results) as done:
        async for filled in done:
            rows += filled.written + filled.rewritten + filled.there_already
    return rows / (time.perf_counter() - since)


async def main(sessions: int) -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="flow-bench-"))
    folder.chmod(0o755)
    days = [session.day for session in sessions_between(FIRST, LAST)][:sessions]
    try:
        with embedded.attach(folder, wait=True) as servers:
            await compare(servers.database_url, folder / "exported", days)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def compare(url: str, exported: Path, days: Sequence[date]) -> None:
    """Time each kind of work with one job and with two."""
    await database.migrate(url, "synthetic")
    base = {"database_url": url, "redis_url": "", "dataset": "synthetic", "wishes": WISHES}
    made = Order(source="synthetic:?seed=7", **base)
    with spread.processes(2) as pool:
        async with Store.open(url, "synthetic") as store:
            # Also starts the processes: the first of them compiles or loads the formulas.
            await run(store, made, days[:2], pool)
            await run(store, made, days)
            given = {"first": days[0], "last": days[-1], "symbols": ["SPX"]}
            await archive.export(store, "synthetic", exported, **given)
            kinds = {
                "recompute, nothing changes": [Order(source="", **base)] * 2,
                "recompute, every row changes": [
                    Order(source="", oi_confidence=k, **base) for k in (0.5, 0.6)
                ],
                "backfill from Parquet": [Order(source=f"parquet:{exported}", **base)] * 2,
            }
            print(f"{len(days)} sessions of SPX, {os.cpu_count()} cores\n")
            print(
                f"{'':32}{'1 job':>14}{'2 jobs':>14}{'ratio':>8}{'CPU, ours':>12}{'database':>10}"
            )
            for name, orders in kinds.items():
                rates, spent = [], []
                for order, workers in zip(orders, (None, pool), strict=True):
                    if order.source:
                        empty(url)
                    before = time.process_time(), database_time(url)
                    rates.append(await run(store, order, days, workers))
                    after = time.process_time(), database_time(url)
                    spent.append(
                        [
                            (b - a) / len(days) / 779 * 1e3
                            for a, b in zip(before, after, strict=True)
                        ]
                    )
                (one, two), (ours, theirs) = rates, spent[0]
                print(
                    f"{name:32}{one:10.0f} /s{two:11.0f} /s{two / one:7.2f}×"
                    f"{ours:9.2f} ms{theirs:7.2f} ms",
                    flush=True,
                )


def database_time(url: str) -> float:
    """CPU seconds that the database's processes have used so far."""
    with psycopg.connect(url) as connection:
        parent = stat(connection.info.backend_pid)[1]
    ticks = sum(stat(parent)[11:15])
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                found = stat(int(name))
                ticks += sum(found[11:13]) if found[1] == parent else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat from its state on, the state as 0."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [0, *map(int, words[1:])]


def empty(url: str) -> None:
    """Take all rows away."""
    with psycopg.connect(url) as connection:
        connection.execute("set search_path to synthetic")
        connection.execute("truncate rows, profiles, chains, gaps, heads, sessions")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=12)
    asyncio.run(main(parser.parse_args().sessions))
