"""Requests, latencies and streams of a serving process, beside named peers in the same run.

``make bench-api``. The server, the database, the live channel, whoever stores and whoever asks are
processes of their own on loopback. Ratios count: machines are noisy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from api.series.bars import FIGURES
from sampler.chain import select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from storage.embedded import attach as embedded
from storage.market.calendar import session_on
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import SlotRecord
from storage.redis.channel import RedisChannel

ROOT = Path(__file__).resolve().parents[2]
SERIES = "/v1/flow/zero-dte/series/"
DAY, BEFORE = date(2026, 8, 19), date(2026, 8, 18)
SYMBOLS = [f"S{i:03}" for i in range(100)]
#: Seconds of a measurement, and how often each is repeated.
SECONDS, ROUNDS = 4.0, 5


async def sample() -> SlotRecord:
    """One slot as it is measured: some 60 figures, and detail of two books."""
    session = session_on(DAY)
    assert session is not None
    frame = await open_source("synthetic:?seed=7").live("SPX", session.open + timedelta(hours=1))
    return measure_slot(select_chain(frame, session), None, oi_confidence=0.43)


def like(first: SlotRecord, symbol: str, slot: datetime, step: int) -> SlotRecord:
    row = dataclasses.replace(
        first.row,
        symbol=symbol,
        expiration=slot.date(),
        slot=slot,
        quoted_at=slot + timedelta(seconds=1),
        spot=first.row.spot + step * 0.37,
        net_gex=first.row.net_gex * (1 + step / 997),
        hedge_flow_call_cumulative=step * 1234567.89,
    )
    profile = {name: np.zeros(1) for name in first.profile}
    return SlotRecord(row=row, profile=profile, evidence=b"")


class Bench:
    """What all measurements share."""

    def __init__(
        self, store: Store, live: RedisChannel, server: tuple[int, int], first: SlotRecord
    ) -> None:
        self.store = store
        self.live = live
        self.port, self.process = server
        self.first = first
        session = session_on(DAY)
        assert session is not None
        self.slots = session.slots
        self.slot = 720

    def used(self) -> float:
        """Seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def load(self, kind: str, path: str, **job: Any) -> dict[str, Any]:
        process = await self.start(kind, path, **job)
        output, _ = await process.communicate()
        return dict(json.loads(output.splitlines()[-1]))

    async def start(self, kind: str, path: str, **job: Any) -> asyncio.subprocess.Process:
        job_options = {"kind": kind, "path": path, "port": self.port, "seconds": SECONDS} | job
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.benchmarks.load",
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(job_options).encode() + b"\n")
        await process.stdin.drain()
        return process

    async def tick(self, symbols: list[str]) -> tuple[list[int], float]:
        """Store and publish a slot of some symbols: revisions, and when they were committed."""
        slot = self.slots[self.slot % len(self.slots)]
        self.slot += 1
        records = [like(self.first, symbol, slot, self.slot) for symbol in symbols]
        changes = (await self.store.write(records, mode=WriteMode.REWRITE)).changes
        committed = time.monotonic()
        await self.live.publish(changes)
        return [change.revision for change in changes], committed


async def throughput(bench: Bench) -> None:
    """Requests a second beside the framework's own least route and beside SQL.

    Short slices in turn: a slice is compared with the slices of its own round.
    """
    day, minutes = f"{SERIES}SPX?minutes=390", f"{SERIES}SPX?bar=1m&minutes=390"
    packed = {"Accept-Encoding": "gzip"}
    requests: dict[str, tuple[str, dict[str, str]]] = {
        "empty framework route": ("/health", {}),
        "60 min at 1m": (f"{SERIES}SPX?bar=1m&minutes=60", {}),
        "full day at 30s": (day, {}),
        "full day at 30s, gzip": (day, packed),
        "full day at 1m": (minutes, {}),
    }
    rates: dict[str, list[float]] = {name: [] for name in requests}
    costs: dict[str, list[float]] = {name: [] for name in requests}
    sql = []
    for _ in range(ROUNDS):
        for name, (path, headers) in requests.items():
            used = bench.used()
            job = {"headers": headers, "connections": 16, "seconds": SECONDS / 4}
            rates_found = await bench.load("flood", path, **job)
            rates[name].append(rates_found["rate"])
            costs[name].append((bench.used() - used) / rates_found["all"] * 1e6)
        sql.append(1 / await answered_by_sql(bench))
    empty = rates["empty framework route"]
    print(f"{'':34}{'requests/s':>12}{'x empty':>9}{'x SQL':>8}{'server us':>11}")
    for name, rates_found in [*rates.items(), ("full day at 1m by SQL and JSON", sql)]:
        beside = statistics.median(x / y for x, y in zip(rates_found, empty, strict=True))
        faster = statistics.median(x / y for x, y in zip(rates_found, sql, strict=True))
        cost = f"{statistics.median(costs[name]):11.0f}" if name in costs else ""
        rate = statistics.median(rates_found)
        print(f"{name:34}{rate:12,.0f}{beside:9.2f}{faster:8.1f}{cost}")


async def answered_by_sql(bench: Bench) -> float:
    """Seconds that the full day at 1m takes when each request asks the database."""
    took = []
    for _ in range(3):
        since = time.perf_counter()
        rows = await bench.store.window(
            "SPX",
            DAY,
            start=bench.slots[0],
            until=bench.slots[-1] + timedelta(seconds=30),
            width=timedelta(minutes=1),
            columns=("slot", *FIGURES),
        )
        bars = [{"t": r["bucket"], **{n: r[n] for n in FIGURES}, "s": r["slot"]} for r in rows]
        orjson.dumps({"bars": bars}, option=orjson.OPT_UTC_Z)
        took.append(time.perf_counter() - since)
    return min(took)


async def under_ticks(bench: Bench) -> None:
    """Latencies at half the maximum load while 100 symbols land every second."""
    path = f"{SERIES}SPX?bar=1m&minutes=60"
    print(f"\n{'at half the maximum load':34}{'p50 ms':>9}{'p99 ms':>9}{'p99/p50':>9}{'best':>9}")
    cases: dict[str, list[dict[str, float]]] = {"no ticks": [], "100 symbols every second": []}
    for _ in range(ROUNDS):
        most = (await bench.load("flood", path, connections=16, seconds=SECONDS / 4))["rate"]
        for name, runs in cases.items():
            job = {"rate": most / 2, "connections": 64, "seconds": SECONDS}
            process = await bench.start("pace", path, **job)
            loading = asyncio.create_task(process.communicate())
            while not loading.done():
                since = time.monotonic()
                if name != "no ticks":
                    await bench.tick(SYMBOLS)
                await asyncio.wait({loading}, timeout=max(1 - (time.monotonic() - since), 0.01))
            runs.append(json.loads(loading.result()[0]))
    for name, runs in cases.items():
        p50, p99 = (statistics.median(run[p] for run in runs) for p in ("p50", "p99"))
        ratios = [run["p99"] / run["p50"] for run in runs]
        middle = statistics.median(ratios)
        print(f"{name:34}{p50:9.2f}{p99:9.2f}{middle:9.1f}{min(ratios):9.1f}")


async def streams(bench: Bench) -> None:
    """From a committed row to the bar at the last reader."""
    print(f"\n{'committed -> last reader':34}{'p50 ms':>9}{'p99 ms':>9}{'best':>9}{'events':>8}")
    for count in (100, 1_000):
        seconds = SECONDS * 5 + 3
        job = {"connections": count, "seconds": seconds}
        process = await bench.start("listen", f"{SERIES}SPX/stream", **job)
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"ready"
        await asyncio.sleep(0.5)
        committed: dict[str, float] = {}
        until = time.monotonic() + seconds - 3
        while time.monotonic() < until:
            revisions, when = await bench.tick(["SPX"])
            committed[str(revisions[0])] = when
            await asyncio.sleep(0.1)
        received = json.loads((await process.communicate())[0].splitlines()[-1])["seen"]
        assert all(received[name][0] == count for name in committed)
        took = sorted((received[name][1] - when) * 1e3 for name, when in committed.items())
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"{f'{count:,} readers':34}{p50:9.1f}{p99:9.1f}{took[0]:9.1f}{len(took):8}")


async def earlier(bench: Bench) -> None:
    """A session that is in no memory, beside the query that has its rows."""
    raw, whole, again = [], [], []
    loop = asyncio.get_running_loop()
    for symbol in SYMBOLS[:30]:
        path = f"{SERIES}{symbol}?date={BEFORE}"
        for took in (whole, again):
            since = time.perf_counter()
            await loop.run_in_executor(None, ask, bench.port, path)
            took.append(time.perf_counter() - since)
        since = time.perf_counter()
        await bench.store.window(
            symbol,
            BEFORE,
            start=bench.slots[0] - timedelta(days=1),
            until=bench.slots[-1],
            width=timedelta(seconds=30),
            columns=("slot", *FIGURES),
        )
        raw.append(time.perf_counter() - since)
    unseen, cached, query = (statistics.median(t) * 1e3 for t in (whole, again, raw))
    print(f"\n{'earlier session, full day at 30s':34}{'ms':>9}{'x raw':>9}")
    print(f"{'raw query, fetched':34}{query:9.1f}{1:9.1f}")
    print(f"{'request, uncached':34}{unseen:9.1f}{unseen / query:9.2f}")
    print(f"{'request, kept':34}{cached:9.1f}{cached / query:9.2f}")


def ask(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n".encode())
        size = 0
        while got := len(sock.recv(1 << 20)):
            size += got
        assert size > 100_000


async def fill(store: Store, first: SlotRecord) -> None:
    session, before = session_on(DAY), session_on(BEFORE)
    assert session is not None
    assert before is not None
    for i in range(0, 720, 60):
        batch = [
            like(first, "SPX", slot, i + n) for n, slot in enumerate(session.slots[i : i + 60])
        ]
        await store.write(batch)
    for symbol in SYMBOLS:
        await store.write([like(first, symbol, s, n) for n, s in enumerate(session.slots[:5])])
    for symbol in SYMBOLS[:30]:
        await store.write([like(first, symbol, s, n) for n, s in enumerate(before.slots)])


@asynccontextmanager
async def serving(servers: embedded.Servers) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")} | {
        "FLOW_DATABASE_URL": servers.database_url,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": f"simulated:{DAY}T19:59:00+00:00@0.001",
        "FLOW_PORT": str(port),
    }
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api",
        "serve",
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await asyncio.sleep(3)
    try:
        yield port, process.pid
    finally:
        process.terminate()
        await process.wait()
        log.close()


async def main() -> None:
    """Print the tables."""
    wanted = set(sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="flow-bench-"))
    folder.chmod(0o755)
    try:
        with embedded.attach(folder, wait=True) as servers:
            await migrate(servers.database_url, "live")
            async with (
                Store.open(servers.database_url, "live") as store,
                RedisChannel.open(servers.redis_url, "flow:live", store.identity) as live,
            ):
                first = await sample()
                await fill(store, first)
                async with serving(servers) as server:
                    bench = Bench(store, live, server, first)
                    for measure in (throughput, under_ticks, streams, earlier):
                        if not wanted or measure.__name__ in wanted:
                            await measure(bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
