"""What systemd hears of the sampler: that it is ready, that it is alive, and when it is not."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from sampler.live import daemon as module
from sampler.live.daemon import Daemon
from sampler.live.outcome import Outcome
from storage.config.systemd import Systemd
from storage.market.clock import Clock
from storage.postgres.lease import LeaseChange
from tests.sampler.live.test_daemon import DAY, sampler
from tests.supervision import NotifySocket, notify_socket


class HeldLease:
    """A lease that holds one symbol at once and for ever."""

    connected = True
    held = frozenset({"SPX"})

    def __init__(self) -> None:
        self.first = True

    async def beat(self) -> LeaseChange:
        gained = ("SPX",) if self.first else ()
        self.first = False
        return LeaseChange(gained=gained)

    async def close(self) -> None:
        pass


class HangingTracker:
    """Steps that end at once, until ``hang`` is set: then they never end."""

    def __init__(self) -> None:
        self.symbols: set[str] = set()
        self.hang = False
        self.steps = 0

    async def add_symbols(self, symbols, now):
        self.symbols |= set(symbols)
        return list(symbols)

    async def step(self, symbol, now):
        self.steps += 1
        if self.hang:
            await asyncio.sleep(3600)
        return Outcome(symbol=symbol)

    async def account_sessions(self, now):
        pass

    def drop_symbol(self, symbol):
        self.symbols.discard(symbol)


class NoWriter:
    """A writer with nothing to write."""

    def running(self):
        return asyncio.timeout(None)

    async def adopt(self):
        pass

    async def drained(self):
        pass


class NoTick:
    """Nothing to forget."""

    def forget(self, symbol):
        pass


@pytest.fixture
def systemd(tmp_path):
    with notify_socket(tmp_path) as channel:
        yield channel


def make_daemon(channel: NotifySocket, tracker: HangingTracker, stuck_after: float) -> Daemon:
    # A slot lasts 0.3 s of real time.
    clock = Clock(datetime(2026, 8, 19, 15, 0, tzinfo=UTC), 100.0, datetime.now(UTC))
    return Daemon(
        tracker,
        NoTick(),
        NoWriter(),
        HeldLease(),
        symbols=["SPX"],
        clock=clock,
        delay=timedelta(0),
        stuck_after=stuck_after,
        systemd=Systemd(channel.path),
    )


async def messages(channel: NotifySocket, seconds: float) -> list[str]:
    """What comes within some time."""
    channel.drain()
    await asyncio.sleep(seconds)
    heard = []
    while message := channel.receive(0.001):
        heard.append(message)
    return heard


async def test_a_step_that_never_ends(systemd, monkeypatch):
    """While steps end the sampler is alive; once one has not ended for too long, it is not."""
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.05)
    tracker = HangingTracker()
    daemon = make_daemon(systemd, tracker, stuck_after=0.5)
    running = asyncio.create_task(daemon.run())
    heard = await messages(systemd, 1.0)
    assert heard[0] == "READY=1"
    assert heard.count("WATCHDOG=1") > 5
    assert tracker.steps >= 2
    tracker.hang = True
    # systemd need not wait for the silence: it is asked to end the process, once.
    await asyncio.to_thread(systemd.wait_for, "WATCHDOG=trigger", 10)
    assert await messages(systemd, 0.5) == []
    for step in daemon._running:
        step.cancel()
    tracker.hang = False
    assert "WATCHDOG=1" in await messages(systemd, 0.5)
    daemon.stop()
    await asyncio.wait_for(running, 5)
    assert systemd.wait_for("STOPPING", 1)


async def test_a_grid_that_stands(systemd, monkeypatch):
    """A scheduler that no longer starts steps is a fault too, though the event loop runs."""
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.05)
    daemon = make_daemon(systemd, HangingTracker(), stuck_after=0.5)
    running = asyncio.create_task(daemon.run())
    assert "WATCHDOG=1" in await messages(systemd, 0.5)
    daemon._scheduler.pause()
    await asyncio.to_thread(systemd.wait_for, "WATCHDOG=trigger", 10)
    assert await messages(systemd, 0.5) == []
    daemon._scheduler.resume()
    assert "WATCHDOG=1" in await messages(systemd, 1.0)
    daemon.stop()
    await asyncio.wait_for(running, 5)


async def test_a_loop_that_is_blocked(systemd, monkeypatch):
    """The message comes from the event loop itself: a loop that is blocked sends none."""
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.05)
    daemon = make_daemon(systemd, HangingTracker(), stuck_after=5)
    running = asyncio.create_task(daemon.run())
    assert "WATCHDOG=1" in await messages(systemd, 0.5)
    systemd.drain()
    time.sleep(0.4)
    assert systemd.receive(0.001) == ""
    daemon.stop()
    await asyncio.wait_for(running, 5)


def test_the_process(servers, database, tmp_path):
    """``flow-sampler run`` says READY, its newest slot, and that it lives; stopped, it is silent."""
    clock = Clock(
        datetime(2026, 8, 19, 15, 0, tzinfo=UTC), 30.0, datetime.now(UTC) + timedelta(seconds=1)
    )
    assert clock.start.date() == DAY
    with (
        notify_socket(tmp_path) as channel,
        sampler(
            servers,
            database,
            clock,
            tmp_path / "log",
            FLOW_SOURCE="synthetic:?seed=3",
            FLOW_SYMBOLS="SPX",
            NOTIFY_SOCKET=channel.path,
        ) as process,
    ):
        channel.wait_for("READY=1", 60)
        channel.wait_for("STATUS=sampling 1 symbols; newest SPX 2026-08-19 11:0", 30)
        channel.wait_for("WATCHDOG=1", 3)
        process.send_signal(signal.SIGSTOP)
        try:
            channel.drain()
            assert channel.receive(2.5) == ""
        finally:
            process.send_signal(signal.SIGCONT)
        channel.wait_for("WATCHDOG=1", 10)
        process.terminate()
        channel.wait_for("STOPPING=1", 10)
        assert process.wait(30) == 0
