"""Which slots are gaps and why: clocks that jump, sessions that a daemon owned, doors without a database."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from factories import record
from proxy import Proxy
from rig import STEP, FailingStore, gaps, open_store, rig, rows

from sampler.live.daemon import Daemon
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.market.clock import Clock
from storage.postgres.lease import Lease
from storage.record.wire import Batch
from storage.spool.spool import Spool
from tests import forked

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
SOURCE = Synthetic(seed=3)


def slot(step: int):
    return SESSION.open + (20 + step) * STEP


def now(step: int):
    return slot(step) + timedelta(seconds=1)


class Punctual:
    """A source whose quotes are of the true time, whatever the sampler's clock says."""

    name, delay_seconds, synthetic, remote = "synthetic", 0, True, False

    def __init__(self) -> None:
        self.now = now(0)

    async def live(self, symbol, _):
        return await SOURCE.live(symbol, self.now)


def on_the(day: date, step: int):
    return session_on(day).open + step * STEP


async def test_clock_ninety_seconds_ahead(database, tmp_path):
    """Slots that are not due yet are late until their rows come, each under its own time; then
    the clock is put right, and nothing is lost or told twice."""
    source = Punctual()
    async with open_store(database) as store, rig(source, store, tmp_path) as rigged:
        for step in range(12):
            source.now = now(step)
            wrong = 3 if 3 <= step < 8 else 0
            await rigged.step(["SPX"], now(step + wrong))
    stored = rows(database)
    assert sorted(key[1] for key in stored) == [slot(i) for i in range(12)]
    assert [key for key in gaps(database) if key[1] >= slot(0)] == []
    assert not [key for key, row in stored.items() if "after_gap" in row["flags"]]


async def test_clock_ninety_seconds_behind(database, tmp_path):
    """Quotes from the future, by that clock: rows of their own time all the same."""
    source = Punctual()
    async with open_store(database) as store, rig(source, store, tmp_path) as rigged:
        for step in range(12):
            source.now = now(step)
            wrong = -3 if 4 <= step < 8 else 0
            await rigged.step(["SPX"], now(step + wrong))
    stored = rows(database)
    assert sorted(key[1] for key in stored) == [slot(i) for i in range(12)]
    assert [key for key in gaps(database) if key[1] >= slot(0)] == []


async def test_clock_that_jumps_back_is_heeded(database, tmp_path):
    """The daemon's grid is computed anew: it does not wait for the clock to catch up."""
    begin = datetime.now(UTC)

    class Jumpy(Clock):
        def now(self):
            return self.market_time(datetime.now(UTC))

        def market_time(self, wall):
            return super().market_time(wall) - (timedelta(seconds=90) if jumped else timedelta(0))

        def wall_time(self, moment):
            return super().wall_time(moment + (timedelta(seconds=90) if jumped else timedelta(0)))

    jumped = False
    clock = Jumpy(slot(0), 30.0, begin)
    async with open_store(database) as store, rig(SOURCE, store, tmp_path) as rigged:
        lease = Lease(database, "synthetic", ["SPX"])
        daemon = Daemon(
            rigged.tracker, rigged.tick, rigged.writer, lease, symbols=["SPX"], clock=clock,
            delay=timedelta(0),
        )  # fmt: skip
        stepped: list[datetime] = []
        step = rigged.tracker.step

        async def spy(symbol, moment):
            stepped.append(moment)
            return await step(symbol, moment)

        rigged.tracker.step = spy
        running = asyncio.create_task(daemon.run())
        await asyncio.sleep(2.6)
        jumped, steps_before = True, len(stepped)
        await asyncio.sleep(2.4)
        daemon.stop()
        await asyncio.wait_for(running, 20)
    # 90 seconds of this market are three of ours; the beat notices within one.
    assert len(stepped) > steps_before
    assert min(stepped[steps_before:]) < max(stepped[:steps_before])


class TestOwned:
    """Sessions that a daemon owned are accounted for to the last slot."""

    async def test_at_the_close(self, database, tmp_path):
        """What was never told of in a session that ends is told then."""
        close = SESSION.close
        async with open_store(database) as store, rig(SOURCE, store, tmp_path) as rigged:
            rigged.tracker.symbols.add("SPX")
            await rigged.step(["SPX"], close - 4 * STEP + timedelta(seconds=1))
            await rigged.tracker.account_sessions(close - 4 * STEP)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("delete from synthetic.gaps")
            await rigged.step(["SPX"], close - 3 * STEP + timedelta(seconds=1))
            await rigged.step(["SPX"], close + timedelta(seconds=5))
            await rigged.tracker.account_sessions(close + timedelta(seconds=6))
        accounted = {key[1] for key in [*rows(database), *gaps(database)]}
        assert accounted == set(SESSION.slots)
        assert set(gaps(database).values()) == {"not_running", "late", "after_close"}

    async def test_at_the_next_start(self, database, tmp_path):
        """A daemon that died in mid-session: its successor of the next days tells the rest."""
        async with open_store(database) as store:
            async with rig(SOURCE, store, tmp_path) as rigged:
                await rigged.tracker.add_symbols(["SPX"], now(0))
                await rigged.step(["SPX"], now(0))
                await rigged.tracker.account_sessions(now(0))
            later = on_the(date(2026, 8, 21), -100)
            async with rig(SOURCE, store, tmp_path) as rigged:
                await rigged.tracker.add_symbols(["SPX"], later)
        accounted = {key[1] for key in [*rows(database), *gaps(database)]}
        # The day between was nobody's.
        assert accounted == set(SESSION.slots)
        assert set(gaps(database).values()) == {"not_running"}

    async def test_a_few_recorded_frames_are_nobodys(self, database, tmp_path):
        """Rows that a backfill wrote make no session of a daemon's."""
        async with open_store(database) as store:
            await store.write([record(symbol="SPX", slot=slot(i)) for i in (0, 50)])
            async with rig(SOURCE, store, tmp_path) as rigged:
                await rigged.tracker.add_symbols(["SPX"], on_the(date(2026, 8, 20), -100))
        assert gaps(database) == {}

    async def test_a_told_reason_stays(self, database, tmp_path):
        """Two that account for the same slots: what one knows, the other does not overwrite."""
        async with open_store(database) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path) as rigged:
                await rigged.step(["SPX"], now(0))
                before = gaps(database)
                await rigged.tracker._mark_missed("SPX", SESSION, slot(0))
                known = {s for s in SESSION.slots if s < slot(0)}
                from storage.record.row import Gap, Reason

                await store.write(
                    gaps=[
                        Gap(symbol="SPX", expiration=DAY, slot=s, reason=Reason.NOT_RUNNING)
                        for s in known
                    ]
                )
        assert gaps(database) == before
        assert set(before.values()) == {"late"}


def start(database: str, redis_url: str, folder, log, **settings: str) -> subprocess.Popen:
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": redis_url,
        "FLOW_SOURCE": "synthetic:?seed=3",
        "FLOW_SYMBOLS": "SPX",
        "FLOW_SPOOL_DIR": str(folder),
        "FLOW_LOG": "json",
        **settings,
    }
    with log.open("a") as out:
        return forked.Popen([sys.executable, "-m", "sampler", "run"], env=environment, stderr=out)


def lines(log) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.mark.clocked
class TestDoor:
    """``flow-sampler run`` itself."""

    def test_standby(self, servers, database, tmp_path):
        """kill -9 of one: the other has its symbols within the slot, and no slot is missed."""
        clock = Clock(slot(0), 6.0, datetime.now(UTC))
        variables = {"FLOW_CLOCK": str(clock)}
        both = [
            start(database, servers.redis_url, tmp_path / n, tmp_path / f"{n}.log", **variables)
            for n in "ab"
        ]
        try:
            until(lambda: any(key[1] > slot(0) for key in rows(database)))
            firsts = [
                process
                for process, n in zip(both, "ab", strict=True)
                if any(line.get("symbols") == ["SPX"] for line in lines(tmp_path / f"{n}.log"))
            ]
            assert len(firsts) == 1
            before = len(rows(database))
            (first,) = firsts
            second = both[1] if first is both[0] else both[0]
            first.kill()
            first.wait()
            until(lambda: len(rows(database)) >= before + 2)
            assert second.poll() is None
        finally:
            for sampler in both:
                sampler.terminate()
                sampler.wait(40)
        slots = sorted(key[1] for key in rows(database))
        missed = {key[1]: why for key, why in gaps(database).items() if key[1] > slots[0]}
        assert missed == {}
        assert [b - a for a, b in itertools.pairwise(slots)] == [STEP] * (len(slots) - 1)

    def test_started_without_a_database(self, servers, database, tmp_path):
        """With a spool it goes on sampling, and lands all of it; without one it says so and ends."""
        log = tmp_path / "log"
        nowhere = "postgresql://postgres@127.0.0.1:1/flow"
        empty = start(nowhere, servers.redis_url, tmp_path / "none", log)
        assert empty.wait(60) == 1
        assert "FLOW_DATABASE_URL: the database cannot be reached" in log.read_text()

        clock = Clock(slot(0), 6.0, datetime.now(UTC) + timedelta(seconds=6))
        with Proxy(database) as proxy:
            proxy.refuse()
            spool = Spool.open(tmp_path / "spool" / "synthetic", 10**8)
            measured = asyncio.run(_one(-1))
            spool.append(Batch(records=[measured]))
            spool.close()
            variables = {"FLOW_CLOCK": str(clock)}
            sampler = start(proxy.url, servers.redis_url, tmp_path / "spool", log, **variables)
            try:
                until(lambda: _size(tmp_path / "spool") > 50_000)
                proxy.mend()
                until(lambda: len(rows(database)) >= 3)
            finally:
                sampler.send_signal(signal.SIGTERM)
                assert sampler.wait(40) == 0
        stored = rows(database)
        assert min(key[1] for key in stored) == slot(-1)
        assert [row for row in stored.values() if "baseline" in row["flags"]] == [
            stored["SPX", slot(-1)]
        ]

    def test_started_before_its_database(self, servers, database, tmp_path):
        """A database that was reached from here before is away: it samples, and lands all of it; a
        database that never was may be a mistake in the URL."""
        log, folder = tmp_path / "log", tmp_path / "spool"
        clock = Clock(slot(0), 6.0, datetime.now(UTC) + timedelta(seconds=6))
        variables = {"FLOW_CLOCK": str(clock)}
        with Proxy(database) as proxy:
            first = start(proxy.url, servers.redis_url, folder, log, **variables)
            until(lambda: len(rows(database)) >= 2)
            first.kill()
            first.wait()
            proxy.refuse()
            other = start("postgresql://postgres@127.0.0.1:1/flow", servers.redis_url, folder, log)
            assert other.wait(60) == 1
            assert _size(folder) == 0
            second = start(proxy.url, servers.redis_url, folder, log, **variables)
            try:
                until(lambda: _size(folder) > 50_000)
                proxy.mend()
                before = len(rows(database))
                until(lambda: len(rows(database)) >= before + 3)
            finally:
                second.send_signal(signal.SIGTERM)
                assert second.wait(40) == 0
        stored = [row for _, row in sorted(rows(database).items())]
        assert [row["slot"] for row in stored if "baseline" in row["flags"]] == [stored[0]["slot"]]
        assert {row["flow_since"] for row in stored} == {stored[0]["slot"]}
        assert "password" not in (folder / "synthetic" / "database").read_text()

    def test_a_spool_of_another_release(self, servers, database, tmp_path):
        """Refused before the first slot, in a sentence that names the setting; nothing is touched."""
        folder = tmp_path / "spool" / "synthetic"
        folder.mkdir(parents=True)
        (folder / "00000001.spool").write_bytes(b"zerodte-flow spool 9 00000000\nbody")
        log = tmp_path / "log"
        sampler = start(database, servers.redis_url, tmp_path / "spool", log)
        assert sampler.wait(60) == 1
        (line,) = [x for x in log.read_text().splitlines() if x.startswith("flow-sampler:")]
        assert "FLOW_SPOOL_DIR" in line
        assert "left by another release (spool version 9" in line
        assert (folder / "00000001.spool").read_bytes().endswith(b"body")


def _size(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.spool"))


async def _one(step: int):
    from sampler.live.outcome import Outcome
    from sampler.live.tick import DryRunStore, Tick
    from storage.redis.channel import NoChannel

    tick = Tick(SOURCE, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=5)
    outcome = Outcome(symbol="SPX")
    await tick.store_frame(await SOURCE.live("SPX", now(step)), outcome)
    return outcome.record


@pytest.mark.parametrize("steps", [1])
def test_slots_of_the_test(steps):
    """The test's own grid is the session's."""
    assert slot(steps) in SESSION.slots


async def test_a_database_that_hangs_is_asked_once(store, tmp_path):
    """However many symbols start, the store is asked what it has once, not once a symbol."""
    calls = []

    class Hanging(FailingStore):
        def __getattr__(self, name):
            calls.append(name)
            return super().__getattr__(name)

    away = Hanging(store)
    away.away = True
    symbols = [f"S{i}" for i in range(20)]
    start = session_on(date(2026, 8, 19)).open + 10 * STEP
    async with rig(Synthetic(seed=3), away, tmp_path) as parts:
        await parts.tracker.add_symbols(symbols, start)
    assert parts.tracker.symbols == set(symbols)
    assert calls == ["unaccounted"]
