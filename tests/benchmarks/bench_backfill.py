"""Slots a second of backfills and recomputations from stored chains. ``make bench``

Sessions are simulated ones of SPX, in an embedded database of their own. "One job" is this process;
the ratios are of one run on one machine, whose servers work on the same cores; "one core" is one job
with the database on the same core. Processes are started beforehand: what is compared is the work.
CPU time is that of this process and of the database's per slot, with one job: what a core of its
own could do, however busy the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, contextmanager, suppress
from datetime import date
from itertools import cycle, repeat
from pathlib import Path

import psycopg

from sampler.history import executors, jobs
from sampler.history.backfill import BackfillOptions
from sampler.history.jobs import JobOptions, SessionJob
from storage.embedded import attach as embedded
from storage.market.calendar import sessions_between
from storage.parquet import archive
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.redis.channel import NoChannel

FIRST, LAST = date(2026, 8, 3), date(2026, 8, 31)
#: One job whose database has no core of its own.
CORE = "one core"
BACKFILL = BackfillOptions(oi_confidence=0.43)


async def run(
    store: Store, options: JobOptions, days: Sequence[date], pool: Executor | None = None
) -> float:
    """Rows a second, by this process or by a pool."""
    todo = [SessionJob(options=options, symbol="SPX", day=day, slots=780) for day in days]
    results = (
        executors.map_unordered(pool, jobs.run_in_worker, todo)
        if pool
        else jobs.run_jobs(todo, store, NoChannel())
    )
    since = time.perf_counter()
    rows = 0
    async with aclosing(results) as done:
        async for filled in done:
            rows += filled.written + filled.rewritten + filled.there_already
    return rows / (time.perf_counter() - since)


async def main(sessions: int, rounds: int) -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="flow-bench-"))
    folder.chmod(0o755)
    days = [session.day for session in sessions_between(FIRST, LAST)][:sessions]
    try:
        with embedded.attach(folder, wait=True) as servers:
            await compare(servers.database_url, folder / "exported", days, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def compare(url: str, exported: Path, days: Sequence[date], rounds: int) -> None:
    """Time each kind of work on one core, with one job and with two."""
    await migrate(url, "synthetic")
    base = {"database_url": url, "redis_url": "", "dataset": "synthetic", "backfill": BACKFILL}
    options = JobOptions(source="synthetic:?seed=7", **base)
    with executors.process_pool(2) as pool:
        async with Store.open(url, "synthetic") as store:
            # Also starts the processes: the first of them compiles or loads the formulas.
            await run(store, options, days[:2], pool)
            await run(store, options, days)
            arguments = {"first": days[0], "last": days[-1], "symbols": ["SPX"]}
            await archive.export_sessions(store, "synthetic", exported, **arguments)
            # Each run of the second kind takes the other κ: every row changes every time.
            changing = cycle([JobOptions(source="", oi_confidence=k, **base) for k in (0.5, 0.6)])
            kinds = {
                "recompute, nothing changes": repeat(JobOptions(source="", **base)),
                "recompute, every row changes": changing,
                "backfill from Parquet": repeat(JobOptions(source=f"parquet:{exported}", **base)),
            }
            print(f"{len(days)} sessions of SPX, {os.cpu_count()} cores, best of {rounds} rounds\n")
            print(
                f"{'':30}{'one core':>10}{'1 job':>10}{'2 jobs':>10}{'÷ core':>8}{'÷ 1 job':>9}"
                f"{'CPU, ours':>13}{'database':>12}"
            )
            for name, orders in kinds.items():
                times = [
                    [await timed(store, next(orders), days, how) for how in (CORE, None, pool)]
                    for _ in range(rounds)
                ]
                core, single, two = (
                    max(rate for rate, _, _ in way) for way in zip(*times, strict=True)
                )
                ours = min(way[1][1] for way in times)
                theirs = min(way[1][2] for way in times)
                print(
                    f"{name:30}{core:8.0f} /s{single:7.0f} /s{two:7.0f} /s{two / core:7.2f}×"
                    f"{two / single:8.2f}×{ours:10.2f} ms{theirs:9.2f} ms",
                    flush=True,
                )


async def timed(
    store: Store, options: JobOptions, days: Sequence[date], how: Executor | str | None
) -> tuple[float, float, float]:
    """Rows a second, and the CPU time per slot of this process and of the database. [ms]"""
    url = options.database_url
    if options.source:
        empty(url)
    before = time.process_time(), database_time(url)
    if how == CORE:
        with on_one_core(url):
            rate = await run(store, options, days)
    else:
        rate = await run(store, options, days, how)
    after = time.process_time(), database_time(url)
    spent = [(b - a) / len(days) / 779 * 1e3 for a, b in zip(before, after, strict=True)]
    return rate, *spent


@contextmanager
def on_one_core(url: str) -> Iterator[None]:
    """This process and the database's on one core."""
    every = os.sched_getaffinity(0)

    def stay(cores: set[int]) -> None:
        own = map(int, os.listdir("/proc/self/task"))
        for pid in [*own, *processes_of(url)]:
            with suppress(OSError):
                os.sched_setaffinity(pid, cores)

    stay({max(every)})
    try:
        yield
    finally:
        stay(every)


def processes_of(url: str) -> list[int]:
    """The database's processes, the one that starts the others first."""
    with psycopg.connect(url) as connection:
        parent = stat(connection.info.backend_pid)[1]
    processes = [parent]
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                processes += [int(name)] if stat(int(name))[1] == parent else []
    return processes


def database_time(url: str) -> float:
    """CPU seconds that the database's processes have used so far."""
    parent, *children = processes_of(url)
    # Its own and those of children that have ended.
    ticks = sum(stat(parent)[11:15])
    for pid in children:
        with suppress(OSError):
            ticks += sum(stat(pid)[11:13])
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
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.sessions, arguments.rounds))
