"""A sampler as a process that does what a test tells it, at times that the test names, and dies.

``python -m tests.sampler_process`` reads commands, a JSON line each, and answers each with a line. It imports
everything once and forks a sampler for each ``start``, so that one that was killed is back in
milliseconds. The sampler is wired as its door wires it, but for the clock, and for APScheduler, whose
part the commands take.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# The sampler.


@dataclass
class FixedClock:
    """A clock that is told what time it is."""

    moment: datetime
    simulated = False
    speed = 1.0
    start = None

    def now(self) -> datetime:
        return self.moment


class FaultPlan:
    """What is to fail, by the name of its point: killed, or an error, at the n-th time."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def __call__(self, point: str) -> None:
        self.counts[point] = self.counts.get(point, 0) + 1
        if self.plan.get("kill") == [point, self.counts[point]]:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.plan.get("full") and point == "half spooled":
            raise OSError(28, os.strerror(28))


async def _sampler(order: dict[str, Any], answer: Any) -> None:
    from sampler.live.backlog import Backlog
    from sampler.live.daemon import Daemon
    from sampler.live.slots import SlotTracker
    from sampler.live.tick import Tick
    from sampler.live.writer import BatchWriter
    from sampler.sources import open_source
    from storage.config.vendor_keys import NO_KEYS
    from storage.postgres import store as store_module
    from storage.postgres.lease import Lease
    from storage.postgres.store import Store
    from storage.redis.channel import NoChannel, RedisChannel
    from storage.spool.spool import Spool

    faults = FaultPlan()
    faults.plan = order

    def committing(write: Any) -> Any:
        async def written(*arguments: Any, **named: Any) -> Any:
            done = await write(*arguments, **named)
            # Everything is sent, nothing is committed.
            faults("committing")
            return done

        return written

    store_module.write_batch = committing(store_module.write_batch)

    symbols = order["symbols"]
    clock = FixedClock(datetime.fromisoformat(order["now"]))
    async with AsyncExitStack() as stack:
        dataset, delay = order.get("dataset", "synthetic"), timedelta(seconds=order.get("delay", 0))
        opened = Store.open(order["database"], dataset, size=4, patience=2, later=True)
        store = await stack.enter_async_context(opened)
        live: Any = NoChannel()
        if order.get("redis"):
            live = await stack.enter_async_context(
                RedisChannel.open(order["redis"], f"flow:{dataset}", store.identity)
            )
        spool = Spool.open(Path(order["spool"]), order.get("limit", 10**9), faults)
        stack.callback(spool.close)
        lease = Lease(order["database"], dataset, symbols, order.get("most", 0))
        writer = BatchWriter(
            store,
            live,
            Backlog(spool),
            batch_seconds=0.5,
            may_write=lambda: lease.connected,
            fault=faults,
        )
        # A vendor by its URL, or the synthetic market with trouble.
        url = order.get("source")
        source: Any = open_source(url, NO_KEYS) if url else _TroubledSource(order["seed"])
        tick = Tick(
            source,
            writer,
            NoChannel(),
            oi_confidence=0.43,
            budget=5,
            quiet=True,
            provisional=True,
            fault=faults,
        )
        tracker = SlotTracker(tick, store, writer, delay=delay)
        daemon = Daemon(tracker, tick, writer, lease, symbols=symbols, clock=clock, delay=delay)
        await stack.enter_async_context(writer.running())
        await _lease(daemon, lease, writer, symbols, first=True)
        answer({"started": True, "symbols": sorted(tracker.symbols)})
        while (order := await asyncio.to_thread(_hear)) is not None:
            clock.moment = datetime.fromisoformat(order["now"])
            faults.plan, faults.counts = order, {}
            faults("beginning")
            if not url:
                source.trouble = order.get("trouble", {})
            await _lease(daemon, lease, writer, symbols)
            if order.get("settle"):
                with suppress(TimeoutError):
                    await asyncio.wait_for(writer.drained(), order["settle"])
            outcomes = await asyncio.gather(*(tracker.step(s, clock.moment) for s in symbols))
            await tracker.account_sessions(clock.moment)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            words = {s: o.label for s, o in zip(symbols, outcomes, strict=True) if o is not None}
            answer(
                {
                    "words": words,
                    "waiting": writer.backlog.waiting,
                    "rss": pages * os.sysconf("SC_PAGESIZE"),
                }
            )
        await lease.close()


async def _lease(daemon, lease, writer, symbols, *, first: bool = False) -> None:
    """A beat of the leases, as the daemon does it; what it takes over is taken over at once."""
    turn = await lease.beat()
    if first and not lease.connected:
        await daemon._start_sampling(
            lease.credit({symbol for symbol, _ in writer.backlog.accounted})
        )
    daemon._apply_leases(turn)
    # Bounded: a database that has gone again is taken over from later.
    for task in list(daemon._takeovers):
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 20)
    # The steps that it finds due are finished before the next tick.
    if daemon._running:
        await asyncio.gather(*daemon._running)


class _TroubledSource:
    """The synthetic source, with trouble: seconds of delay, or a reason to refuse."""

    name, delay_seconds, synthetic, remote = "synthetic", 0, True, False

    def __init__(self, seed: int) -> None:
        from sampler.sources.synthetic.source import Synthetic

        self.inner = Synthetic(seed=seed)
        self.trouble: dict[str, Any] = {}

    async def live(self, symbol, now):
        from sampler.errors import ChainRefused
        from storage.record.row import Reason

        trouble = self.trouble.get(symbol)
        if isinstance(trouble, str):
            raise ChainRefused(Reason(trouble), "a fault of the test's")
        if trouble:
            await asyncio.sleep(trouble)
        return await self.inner.live(symbol, now)


# Its process.


def _hear() -> dict[str, Any] | None:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return None
        line += piece
    order = json.loads(line)
    return None if order.get("stop") else order


def _answer(reply: dict[str, Any]) -> None:
    os.write(1, json.dumps(reply).encode() + b"\n")


def main() -> None:
    """Fork samplers until standard input ends."""
    import apscheduler.schedulers.asyncio  # noqa: F401

    from sampler import metrics
    from storage.config import log
    from storage.market.calendar import session_on

    metrics.load_compiled()
    log.configure("json", "info")
    while (order := _hear()) is not None:
        session_on(datetime.fromisoformat(order["now"]).date())
        process = os.fork()
        if process == 0:
            try:
                asyncio.run(_sampler(order, _answer))
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(process, 0)
        _answer({"dead": os.waitstatus_to_exitcode(status)})


# The test's end of it.


class SamplerProcess:
    """Tells a sampler process what to do."""

    def __init__(self, log: Path) -> None:
        #: What every start is told: database, spool, symbols, seed or source, delay, dataset, redis, most.
        self.settings: dict[str, Any] = {}
        with log.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.sampler_process"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
            )
        self.lives = False

    def start(self, now: datetime, **order: Any) -> dict[str, Any]:
        """Begin a sampler; what it said. ``kill`` as for ``tick``."""
        assert not self.lives
        if "kill" in order:
            order["kill"] = list(order["kill"])
        reply = self._ask(self.settings | order | {"now": now.isoformat()})
        self.lives = reply.get("started", False)
        return reply

    def tick(self, now: datetime, **order: Any) -> dict[str, Any]:
        """One tick of all its symbols; ``kill=(point, n)`` makes it die on the way."""
        if "kill" in order:
            order["kill"] = list(order["kill"])
        return self._ask(order | {"now": now.isoformat()})

    def stop(self) -> None:
        """End the sampler as SIGTERM does."""
        if self.lives:
            assert self._ask({"stop": True})["dead"] == 0
            self.lives = False

    def drop(self) -> None:
        """Kill the sampler, if one lives; the process may begin others."""
        if self.lives:
            self._ask({"now": "2026-08-19T13:30:00Z", "kill": ["beginning", 1]})

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the sampler's process has ended"
        reply = json.loads(line)
        if "dead" in reply:
            self.lives = False
        return reply


if __name__ == "__main__":
    main()
