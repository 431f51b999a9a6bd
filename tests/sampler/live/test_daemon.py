"""The daemon as a process, on a simulated clock: every slot is a row or a gap with a reason."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cboe_server import CboeServer, from_recorded
from psycopg.rows import dict_row

from sampler.live.grid import due_slot, next_tick
from storage.embedded.attach import Servers
from storage.market.calendar import session_on
from storage.market.clock import Clock
from tests import forked
from tests.real_chains import volkit

DAY = date(2026, 8, 19)
STEP = timedelta(seconds=30)
EXPIRIES = {
    "SPX": "2019-06-28",
    "SPY": "2019-07-01",
    "QQQ": "2019-07-03",
}


@contextmanager
def sampler(
    servers: Servers, database: str, clock: Clock, log: Path, **settings: str
) -> Iterator[subprocess.Popen]:
    """``flow-sampler run`` as a process of its own; stopped at the end if it still runs."""
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": str(clock),
        "FLOW_LOG": "json",
        **settings,
    }
    with log.open("a") as out:
        process = forked.Popen(
            [sys.executable, "-m", "sampler", "run"], env=environment, stderr=out
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


def log_text(folder: Path) -> str:
    """What the daemon said, without its good ticks."""
    lines = (folder / "log").read_text().splitlines()
    return "\n".join(line for line in lines if '"stored"' not in line)[-5000:]


def until(clock: Clock, moment: datetime) -> float:
    """Wall seconds until the market's time."""
    return max((clock.wall_time(moment) - datetime.now(UTC)).total_seconds(), 0.0)


def table(database: str, query: str, dataset: str = "live") -> list[dict]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        connection.execute(f"set search_path to {dataset}")
        connection.execute("set timezone to 'UTC'")
        return connection.execute(query).fetchall()


@pytest.mark.clocked
async def test_forty_slots_of_three_symbols(servers, database, tmp_path):
    """Rows everywhere but in the three slots without a server; volumes that begin anew in the day are no flow."""
    delay = timedelta(seconds=900)
    first = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)
    clock = Clock(first + delay - STEP, 30.0, datetime.now(UTC) + timedelta(seconds=8))
    roll = first + 20 * STEP
    chains = {}
    expiry = int(session_on(DAY).close.timestamp())
    for symbol, day in EXPIRIES.items():
        chain = volkit().retold(day, 10).compact()
        listed = [option | {"e": expiry} for option in chain["o"]]
        chains[symbol] = chain | {"sym": symbol, "o": listed}

    async def feed() -> None:
        for slot in [first + i * STEP for i in range(-1, 42)]:
            # A little before the daemon asks for it, and after it asked for the one before.
            await asyncio.sleep(until(clock, slot + delay - timedelta(seconds=4)))
            passed = (slot - first) // STEP
            # The feed's volume starts anew at the roll.
            scale = 1 + passed / 100 if slot < roll else (slot - roll) / STEP / 100
            for symbol, chain in chains.items():
                server.frames[symbol] = from_recorded(chain, quoted_at=slot, volume_scale=scale)

    async with CboeServer() as server:
        source = f"cboe:{server.url}?delay=900&pace=0&timeout=0.7&budget=0.7"
        feeding = asyncio.create_task(feed())
        with sampler(servers, database, clock, tmp_path / "log", FLOW_SOURCE=source) as process:
            away = first + 10 * STEP
            await asyncio.sleep(until(clock, away + delay - timedelta(seconds=6)))
            server.stop()
            await asyncio.sleep(until(clock, away + delay + 2 * STEP + timedelta(seconds=24)))
            server.start()
            await asyncio.sleep(until(clock, first + delay + 39 * STEP + timedelta(seconds=20)))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (tmp_path / "log").read_text()[-3000:]
        feeding.cancel()

    slots = [first + i * STEP for i in range(40)]
    out = slots[10:13]
    for symbol in EXPIRIES:
        rows = table(database, f"select * from rows where symbol = '{symbol}' order by slot")
        gaps = table(database, f"select * from gaps where symbol = '{symbol}' order by slot")
        mine = [g for g in gaps if first <= g["slot"] <= slots[-1]]
        assert [s for s in slots if s not in out] == [
            r["slot"] for r in rows if first <= r["slot"] <= slots[-1]
        ], log_text(tmp_path)
        assert [(s, "source_down") for s in out] == [(g["slot"], g["reason"]) for g in mine]
        # What lies before was sampled by nobody, and is told too.
        before = [s for s in session_on(DAY).slots if s < first]
        accounted = {g["slot"] for g in gaps} | {r["slot"] for r in rows}
        assert set(before) <= accounted
        assert "not_running" in {g["reason"] for g in gaps if g["slot"] < first}
        assert all(g["detail"] for g in mine)
        by_slot = {r["slot"]: r for r in rows}
        before, during = by_slot[roll - STEP], by_slot[roll]
        assert "volume_held" in during["flags"]
        assert during["hedge_flow_cumulative_all"] == before["hedge_flow_cumulative_all"]
        assert "after_gap" in by_slot[slots[13]]["flags"]
        assert {r["quote_age_seconds"] // 1 for r in rows} <= set(range(900, 921))


def rows_of(database: str) -> dict[datetime, dict]:
    """SPX rows by slot, without what depends on when they were stored or fetched."""
    rows = table(database, "select * from rows where symbol = 'SPX'", "synthetic")
    passing = ("revision", "fetched_at", "quote_age_seconds")
    return {r["slot"]: {k: v for k, v in r.items() if k not in passing} for r in rows}


@pytest.mark.clocked
async def test_a_market_that_has_not_begun(servers, database, tmp_path):
    """Slots before the start of a simulated market, 3 s ahead, are not late; the first one after it is sampled."""
    start = session_on(DAY).open + 6 * STEP
    clock = Clock(start - timedelta(seconds=1), 10.0, datetime.now(UTC) + timedelta(seconds=6))
    settings = {
        "FLOW_SOURCE": "synthetic:?seed=7",
        "FLOW_SYMBOLS": "SPX",
        "FLOW_DATASET": "synthetic",
    }
    with sampler(servers, database, clock, tmp_path / "log", **settings):
        await asyncio.sleep(until(clock, start + 2 * STEP))
    rows = table(database, "select min(slot) slot from rows", "synthetic")
    assert [row["slot"] for row in rows] == [start], log_text(tmp_path)
    gaps = table(database, "select slot, reason from gaps where reason = 'late'", "synthetic")
    assert gaps == [], log_text(tmp_path)


@pytest.mark.clocked
async def test_kill_9_and_restart(servers, database, tmp_path):
    """Back before the next slot: rows to the cent as if nothing had happened. Back later: the
    missed slots are gaps, the next row carries their volume, and none of it is lost."""
    session = session_on(DAY)
    clock = Clock(
        session.open + timedelta(minutes=30), 4.0, datetime.now(UTC) + timedelta(seconds=4)
    )
    start = clock.start
    settings = {"FLOW_SOURCE": "synthetic:?seed=3", "FLOW_SYMBOLS": "SPX"}
    log = tmp_path / "log"
    with sampler(servers, database, clock, log, **settings) as process:
        await asyncio.sleep(until(clock, start + 2 * STEP + timedelta(seconds=4)))
        process.kill()
        process.wait(10)
    with sampler(servers, database, clock, log, **settings) as process:
        await asyncio.sleep(until(clock, start + 3 * STEP + timedelta(seconds=4)))
        process.kill()
        process.wait(10)
    # Two slots pass; the third is still to come when the daemon is there again.
    await asyncio.sleep(until(clock, start + 6 * STEP - timedelta(seconds=26)))
    with sampler(servers, database, clock, log, **settings):
        await asyncio.sleep(until(clock, start + 7 * STEP + timedelta(seconds=10)))
    live = rows_of(database)
    gaps = table(database, f"select slot, reason from gaps where slot > '{start}'", "synthetic")

    missed = {gap["slot"] for gap in gaps}
    due = {start + i * STEP for i in range(1, 8)}
    assert due <= set(live) | missed, log_text(tmp_path)
    assert not set(live) & missed
    assert {gap["reason"] for gap in gaps} == {"not_running"}
    # The first restart was in time, the second one too late for this slot at least.
    assert start + 3 * STEP in live, log_text(tmp_path)
    assert start + 4 * STEP in missed

    # The same day taken in one go, by the same steps, into a schema of its own.
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "truncate synthetic.rows, synthetic.profiles, synthetic.chains, synthetic.gaps"
        )
    begin = min(live)
    await replay(servers, database, begin, max(live))
    whole = rows_of(database)
    unbroken = [slot for slot in live if slot < min(missed)]
    assert len(unbroken) >= 3
    assert {slot: whole[slot] for slot in unbroken} == {slot: live[slot] for slot in unbroken}
    last = max(live)
    back = min(slot for slot in live if slot > max(missed))
    assert "after_gap" in live[back]["flags"]
    assert whole[last]["total_volume"] == live[last]["total_volume"]
    assert whole[last]["hedge_flow_se"] != live[last]["hedge_flow_se"]


async def replay(servers: Servers, database: str, first: datetime, last: datetime) -> None:
    """Steps over the synthetic session's slots from one to another, without a break."""
    from sampler.live.outcome import Outcome
    from sampler.live.tick import Tick
    from sampler.sources import open_source
    from storage.postgres.store import Store
    from storage.redis.channel import NoChannel

    source = open_source("synthetic:?seed=3")
    async with Store.open(database, "synthetic", size=2) as store:
        tick = Tick(source, store, NoChannel(), oi_confidence=0.43, budget=5)
        async for frame in source.history("SPX", session_on(DAY)):
            if first <= frame.quoted_at <= last:
                await tick.store_frame(frame, Outcome(symbol="SPX"))


DELAY = timedelta(seconds=900)


@pytest.mark.parametrize(
    ("after", "due"),
    [
        # Feed 15 minutes behind: from 9:45 to a little past 16:15 New York (UTC-4).
        ("2026-08-19T12:00:00Z", "2026-08-19T13:45:00Z"),
        ("2026-08-19T13:45:00Z", "2026-08-19T13:45:30Z"),
        ("2026-08-19T13:45:29.9Z", "2026-08-19T13:45:30Z"),
        ("2026-08-19T20:14:00Z", "2026-08-19T20:14:30Z"),
        ("2026-08-19T20:14:30Z", "2026-08-19T20:15:05Z"),
        ("2026-08-19T20:15:05Z", "2026-08-20T13:45:00Z"),
        # Over a weekend, a holiday, and both daylight-saving changes.
        ("2026-08-21T23:00:00Z", "2026-08-24T13:45:00Z"),
        ("2026-09-04T23:00:00Z", "2026-09-08T13:45:00Z"),
        ("2026-03-06T23:00:00Z", "2026-03-09T13:45:00Z"),
        ("2026-10-30T23:00:00Z", "2026-11-02T14:45:00Z"),
        # 13:00 on the day after Thanksgiving.
        ("2026-11-27T18:14:30Z", "2026-11-27T18:15:05Z"),
        ("2026-11-27T18:15:05Z", "2026-11-30T14:45:00Z"),
    ],
)
def test_when_the_next_sample_is_due(after, due):
    """The grid of New York's session, shifted by the feed's delay; hand-listed."""
    assert next_tick(datetime.fromisoformat(after), DELAY) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2026-08-19T13:44:59Z", None),
        ("2026-08-19T13:45:00Z", "2026-08-19T13:30:00Z"),
        ("2026-08-19T13:45:29Z", "2026-08-19T13:30:00Z"),
        ("2026-08-19T20:15:05Z", "2026-08-19T19:59:30Z"),
        ("2026-08-22T15:00:00Z", None),
    ],
)
def test_which_slot_is_owed(now, slot):
    """The newest slot whose quotes the feed should have by now; hand-listed."""
    due = due_slot(datetime.fromisoformat(now), DELAY)
    assert (due and due[1]) == (slot and datetime.fromisoformat(slot))
