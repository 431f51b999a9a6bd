"""A fallback through the daemon: two vendors on loopback, of which the first fails and comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.market.clock import Clock
from storage.postgres.store import Store
from tests import forked
from tests.vendors import server as faults
from tests.vendors.feeds import FEEDS
from tests.vendors.server import VendorServer

ROOT = Path(__file__).resolve().parents[3]
MOMENT = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
SESSION = session_on(MOMENT.date())
STEP = timedelta(seconds=30)
FIRST, SECOND, AFTER = "tradier", "schwab", 3
#: The two vendors' markets differ: no spot of one is a spot of the other.
SEEDS = {FIRST: 3, SECOND: 11}
#: How many slots the vendors have chains for, and how much faster than the market's the clock goes.
SLOTS, SPEED, EARLIER = 120, 10.0, 10


def stored(database: str) -> dict[str, dict[str, dict[datetime, Any]]]:
    """By feed: rows as spot and where flow counts from; gaps as reasons; by slot."""
    by_feed: dict[str, Any] = {name: {"rows": {}, "gaps": {}} for name in SEEDS}
    with psycopg.connect(database) as connection:
        connection.execute("set timezone to 'UTC'")
        rows = (
            "select source, slot, spot, flow_since, differenced_from from live.rows order by slot"
        )
        for name, slot, *values in connection.execute(rows):
            by_feed[name]["rows"][slot] = tuple(values)
        gaps = "select source, slot, reason from live.gaps order by slot"
        for name, slot, reason in connection.execute(gaps):
            by_feed[name]["gaps"][slot] = reason
    return by_feed


def run(log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("a") as out:
        command = [sys.executable, "-m", "sampler", "run"]
        return forked.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=out, stderr=out)


@pytest.mark.clocked
async def test_the_first_feed_fails_and_returns(servers, database, tmp_path) -> None:
    """Each slot of both feeds is a row of its own vendor or a gap with its reason."""
    log = tmp_path / "log"
    spots: dict[str, dict[datetime, float]] = {name: {} for name in SEEDS}
    async with AsyncExitStack() as running:
        vendors: dict[str, VendorServer] = {}
        environment, urls = {}, {}
        for name, seed in SEEDS.items():
            feed = FEEDS[name]
            vendors[name] = server = await running.enter_async_context(feed.server())
            market = Synthetic(seed=seed)
            # A sampler that starts quickly begins before the moment.
            for k in range(-EARLIER, SLOTS):
                frame = await market.live("SPX", MOMENT + k * STEP)
                spots[name][MOMENT + k * STEP] = frame.spot
                server.put(dataclasses.replace(frame, source=name))
            server.now = MOMENT - EARLIER * STEP
            environment |= feed.settings(tmp_path, MOMENT)
            urls[name] = f"{feed.scheme}:{server.url}?{feed.options}"
        clock = Clock(MOMENT, SPEED, datetime.now(UTC) + timedelta(seconds=10))
        environment |= {
            "FLOW_DATABASE_URL": database,
            "FLOW_REDIS_URL": servers.redis_url,
            "FLOW_SOURCE": urls[FIRST],
            "FLOW_FALLBACK": urls[SECOND],
            "FLOW_FALLBACK_AFTER": str(AFTER),
            "FLOW_SYMBOLS": "SPX",
            "FLOW_CLOCK": str(clock),
            "FLOW_LOG": "json",
            "FLOW_METRICS_PORT": "0",
        }
        process = run(log, environment)

        async def until(holds: Callable[[dict[str, Any]], bool]) -> None:
            while not holds(stored(database)):
                assert process.poll() is None, log.read_text()
                assert clock.now() < MOMENT + (SLOTS - 5) * STEP, log.read_text()
                for server in vendors.values():
                    server.now = clock.now()
                await asyncio.sleep(0.1)

        try:
            await until(lambda have: len(have[FIRST]["rows"]) >= 4)
            # Such an answer is not asked for again within its slot.
            vendors[FIRST].inject(faults.status(401))
            await until(lambda have: len(have[SECOND]["rows"]) >= 4)
            vendors[FIRST].heal()
            # The second feed is needed no more, and its session is accounted for all the same.
            await until(
                lambda have: (
                    have[SECOND]["rows"]
                    and sum(slot > max(have[SECOND]["rows"]) for slot in have[SECOND]["gaps"]) >= 2
                )
            )
        finally:
            process.terminate()
            assert process.wait(60) == 0
    have = stored(database)
    first, second = have[FIRST], have[SECOND]

    # The first feed: rows, then only what the vendor did, then rows again.
    down = [slot for slot, reason in first["gaps"].items() if reason == "source_down"]
    assert len(down) >= AFTER
    assert not [slot for slot in first["rows"] if down[0] <= slot <= down[-1]]
    assert min(first["rows"]) < down[0] < down[-1] < max(first["rows"])
    # The second one begins after so many, at its next step, and ends after as many answers. A slot
    # in which this machine or the vendor was too slow is a gap that says so.
    taken = sorted(second["rows"])
    assert AFTER <= sum(slot <= taken[0] for slot in down) <= AFTER + 2
    assert sum(down[-1] < slot < taken[-1] for slot in first["rows"]) <= AFTER + 1
    assert set(second["gaps"].values()) <= {"standby", "late", "unchanged"}
    # Every slot of both sessions up to their ends is there, once.
    for its_slots in (first, second):
        slots = sorted({**its_slots["rows"], **its_slots["gaps"]})
        assert len(slots) == len(its_slots["rows"]) + len(its_slots["gaps"])
        assert slots == [SESSION.open + k * STEP for k in range(len(slots))]
    # A row is its own vendor's, and so is what it goes on from: no flow leads from one to the other.
    for (name, its_slots), other in zip(have.items(), (SECOND, FIRST), strict=True):
        begun = min(its_slots["rows"])
        for slot, (spot, since, before) in its_slots["rows"].items():
            # By parity, where the vendor's price stood still; the two markets are far apart.
            assert abs(spot - spots[name][slot]) < 5, (name, slot)
            assert abs(spot - spots[other][slot]) > 50, (name, slot)
            assert since == begun, (name, slot)
            assert before is None if slot == begun else before in its_slots["rows"], (name, slot)
    words = log.read_text()
    assert words.count('"event":"fallback begins"') == words.count('"event":"fallback ends"') == 1
    async with Store.open(database, "live") as store:
        assert await store.feeds("SPX", SESSION.day) == {SECOND: False, FIRST: True}
        (day,) = await store.sessions("SPX")
        assert (day["feed"], day["first_feed"]) == (FIRST, FIRST)
        (day,) = await store.of_feed(SECOND).sessions("SPX")
        assert (day["feed"], day["first_feed"], day["rows"]) == (SECOND, FIRST, len(taken))
