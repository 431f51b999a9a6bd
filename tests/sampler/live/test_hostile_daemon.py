"""A vendor that lies, through the daemon's parts and a real store: see ``tests/hostile_daemon.py``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.market.clock import Clock
from storage.postgres.store import Store
from tests import forked, hostile_daemon
from tests.cboe_server import CboeServer
from tests.hostile_daemon import (
    DELAY,
    KINDS,
    PRICES,
    Clean,
    Corruption,
    Kind,
    Vendor,
    Verdict,
    clean_session,
    describe,
    draw,
    draw_kinds,
    judge,
    market_of,
    play,
    stored,
)
from tests.rig import STEP
from tests.sampler_process import SamplerProcess

#: Slots of a case.
LENGTH = 44


async def played(
    store: Store, folder: Path, clean: Clean, corruptions: list[Corruption]
) -> tuple[Verdict, set[str]]:
    """The verdict of a case, and the flags that the clean rows do not have."""
    await play(store, folder, clean, corruptions)
    in_store = await stored(store, clean)
    verdict = judge(clean, corruptions, in_store)
    assert not verdict.lies, describe(clean, corruptions, verdict)
    flags = {
        flag
        for slot, record in in_store.records.items()
        for flag in set(record.row.flags) - set(clean.records[slot].row.flags)
    }
    return verdict, flags


@pytest.mark.parametrize("symbol", ["NVDA", "SPX"])
@pytest.mark.parametrize("cadence", [1, 2, 10])
async def test_a_clean_vendor_gives_the_clean_rows(store, tmp_path, symbol, cadence) -> None:
    """Every row of the daemon is the one that a loop measures; between answers nothing is newer."""
    clean = clean_session(symbol, 30, LENGTH, cadence)
    verdict, flags = await played(store, tmp_path, clean, [])
    assert verdict.counts["equal"] == len(clean.records) == -(-LENGTH // cadence)
    # An answer of more than two minutes ago is older than the feed's delay allows.
    assert set(verdict.gaps) <= ({"unchanged", "stale"} if cadence == 10 else {"unchanged"})
    assert flags == set()


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_each_kind_is_equal_a_gap_or_flagged(store, tmp_path, kind) -> None:
    """No slot lies; and the corruption shows, in a gap or in a flag."""
    seed = sorted(KINDS).index(kind)
    clean = market_of(seed, LENGTH)
    corruptions = draw(seed, [kind], LENGTH)
    verdict, flags = await played(store, tmp_path, clean, corruptions)
    shows = flags or set(verdict.gaps) - {"unchanged"} or verdict.counts["gap"]
    assert shows or kind in PRICES, describe(clean, corruptions, verdict)


@pytest.mark.parametrize("seed", range(100, 112))
async def test_kinds_together(store, tmp_path, seed) -> None:
    """The same of up to three kinds at once, on feeds of 30 and of 60 seconds."""
    clean = market_of(seed, LENGTH)
    await played(store, tmp_path, clean, draw(seed, draw_kinds(seed), LENGTH))


async def test_a_lie_is_noticed(store, tmp_path, monkeypatch) -> None:
    """Without the figures that flags name, and with another volume, the same rows are lies."""
    clean = clean_session("NVDA", 30, LENGTH)
    corruptions = [Corruption("contracts_away", 10, 14, 3)]
    await play(store, tmp_path, clean, corruptions)
    in_store = await stored(store, clean)
    assert not judge(clean, corruptions, in_store).lies
    # Nobody may have lost sight of what traded then.
    assert judge(clean, [replace(corruptions[0], first=20, last=20)], in_store).lies
    monkeypatch.setattr(hostile_daemon, "FLAG_FIGURES", {})
    assert judge(clean, corruptions, in_store).lies


@pytest.mark.parametrize("kind", ["without_today", "today_unreadable", "no_options"])
async def test_a_minute_without_todays_expiry_is_two_slots(store, tmp_path, kind) -> None:
    """Two bad answers, of a symbol that has no expiry on most days too; asked again at once."""
    clean = clean_session("NVDA", 30, LENGTH)
    verdict, _ = await played(store, tmp_path, clean, [Corruption(kind, 20, 21, 1)])
    assert verdict.gaps == Counter({"bad_answer": 2})
    assert verdict.counts["equal"] + verdict.counts["within"] + verdict.counts["flagged"] == 42


async def test_open_interest_of_two_days_in_turn_for_25_minutes(store, tmp_path) -> None:
    """Every figure is the clean one in all 60 slots, and every second of 50 says what was sent."""
    clean = clean_session("SPX", 30, 60)
    corruptions = [Corruption("interest_alternates", 5, 54, 1)]
    await play(store, tmp_path, clean, corruptions)
    in_store = await stored(store, clean)
    assert judge(clean, corruptions, in_store).counts == Counter({"equal": 60})
    changed = [
        i for i, s in enumerate(clean.slots) if "oi_changed" in in_store.records[s].row.flags
    ]
    assert changed == list(range(5, 55, 2))


async def test_options_that_stand_for_ten_minutes(store, tmp_path) -> None:
    """Two rows that say so, then gaps; the first answer that moves makes a row again."""
    clean = clean_session("SPX", 30, LENGTH)
    verdict, flags = await played(store, tmp_path, clean, [Corruption("options_stand", 10, 29, 1)])
    assert "options_unchanged" in flags
    assert 18 <= verdict.gaps["stale"] <= 20
    assert verdict.counts["gap"] == verdict.gaps["stale"]


async def test_the_check_counts_what_a_bad_feed_lost(database, store, tmp_path) -> None:
    """Eight slots of 44 have a bad answer or none: they lower the coverage, and the check fails."""
    clean = clean_session("NVDA", 1, LENGTH)
    corruptions = [
        Corruption("without_today", 10, 11, 1),
        Corruption("today_unreadable", 15, 15, 2),
        Corruption("cut", 20, 21, 3),
        Corruption("blocked", 30, 32, 4),
    ]
    await store.own({"NVDA": "cboe"}, clean.session.day)
    await play(store, tmp_path, clean, corruptions)
    in_store = await stored(store, clean)
    assert not judge(clean, corruptions, in_store).lies
    # Half a minute after the last slot's quotes could be had: all 44 are due.
    now = clean.fetched(LENGTH - 1) + STEP
    done = forked.run(
        [sys.executable, "-m", "storage", "check", "--json", "--symbols", "NVDA", "--from",
         f"{clean.session.day}", "--to", f"{clean.session.day}",
         "--clock", f"simulated:{now.isoformat()}@0.0001"],
        env=os.environ | {"FLOW_DATABASE_URL": database},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    [line] = json.loads(done.stdout)
    # The open itself had passed when the first step was taken.
    assert (line["slots"], line["unaccounted"]) == (45, 0)
    assert line["gaps"] == {"bad_answer": 5, "source_down": 3, "late": 1}
    assert (line["rows"], line["coverage"]) == (36, 36 / 45)
    assert (line["state"], done.returncode) == ("thin", 1)


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[SamplerProcess]:
    """A process that samplers are forked from; starting one takes seconds."""
    sampler = SamplerProcess(tmp_path_factory.mktemp("sampler") / "log")
    yield sampler
    sampler.close()


@pytest.mark.clocked
@pytest.mark.parametrize(
    "kind",
    ["volume_zero", "volume_high_once", "volume_null", "interest_alternates", "options_stand",
     "index_stands", "price_stands", "contracts_away", "without_today", "dated_anew", "too_many"],
)  # fmt: skip
async def test_killed_in_the_middle_of_a_corruption(
    database, store, tmp_path, process, kind
) -> None:
    """kill -9 before, within and after it, each time at another point: the rows are those of a
    sampler that lived, and no slot is lost."""
    clean = clean_session("NVDA", 30, LENGTH)
    last = 12 if kind == "volume_high_once" else 18
    corruptions = [Corruption(kind, 12, last, 5)]
    kills = {
        8: "measured", 12: "written", 13: "committing", 14: "fetched", 16: "published",
        18: "fetching", 19: "kept", 20: "measured", 30: "writing",
    }  # fmt: skip
    process.settings = {
        "database": database,
        "dataset": "live",
        "spool": str(tmp_path / "spool"),
        "symbols": [clean.symbol],
        "delay": 900,
    }
    vendor = Vendor(clean, corruptions)
    async with CboeServer() as server:
        process.settings["source"] = f"cboe:{server.url}?delay=900&pace=0&timeout=0.5&budget=0.6"
        for index in range(LENGTH):
            server.frames[clean.symbol] = vendor.answer(index)
            now = clean.fetched(index)
            if not process.lives:
                process.start(now)
            orders = {"kill": (kills[index], 1)} if index in kills else {}
            if "dead" in process.tick(now, **orders):
                # Back within the slot: the step that is due is taken at the start.
                process.start(now)
        process.tick(clean.fetched(LENGTH - 1), settle=20)
        process.stop()
    killed = await stored(store, clean)
    verdict = judge(clean, corruptions, killed)
    assert not verdict.lies, describe(clean, corruptions, verdict)
    assert verdict.gaps["not_running"] == 0


@pytest.mark.clocked
async def test_the_command_itself(servers, database, store, tmp_path, monkeypatch) -> None:
    """``flow-sampler run`` on a clock ten times as fast: a minute without today's expiry, volumes
    of 0 in whose middle the process is killed with -9 and started again, a refusal."""
    clean = clean_session("NVDA", 60, 22)
    # Its slots are missed until the command is up again.
    killed = Kind(lambda vendor, c, i, answer: answer, frozenset({"not_running", "late"}))
    monkeypatch.setitem(KINDS, "killed", killed)
    corruptions = [
        Corruption("without_today", 3, 4, 1),
        Corruption("volume_zero", 7, 10, 2),
        Corruption("killed", 8, 15, 3),
        Corruption("blocked", 18, 18, 4),
    ]
    # The command has half a minute to start; before the first slot the vendor has no such symbol.
    clock = Clock(clean.slots[0] + DELAY - STEP, 10.0, datetime.now(UTC) + timedelta(seconds=30))
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": str(clock),
        "FLOW_SYMBOLS": "NVDA",
    }

    async def until(moment: datetime) -> None:
        await asyncio.sleep(max((clock.wall_time(moment) - datetime.now(UTC)).total_seconds(), 0))

    async def feed() -> None:
        for index, slot in enumerate(clean.slots):
            # A little before the command asks for it, and after it asked for the one before.
            await until(slot + DELAY - timedelta(seconds=5))
            server.frames["NVDA"] = Vendor(clean, corruptions).answer(index)

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("a") as log:
            command = [sys.executable, "-m", "sampler", "run"]
            return forked.Popen(command, env=environment, stderr=log)

    async with CboeServer() as server:
        environment["FLOW_SOURCE"] = f"cboe:{server.url}?delay=900&pace=0&timeout=1&budget=1"
        feeding = asyncio.create_task(feed())
        process = start()
        try:
            await until(clean.slots[8] + DELAY + timedelta(seconds=15))
            process.kill()
            process.wait()
            process = start()
            await until(clean.slots[-1] + DELAY + timedelta(seconds=25))
            process.terminate()
            assert process.wait(30) == 0, (tmp_path / "log").read_text()[-3000:]
        finally:
            process.kill()
            feeding.cancel()
    in_store = await stored(store, clean)
    verdict = judge(clean, corruptions, in_store)
    log_text = (tmp_path / "log").read_text()[-3000:]
    assert not verdict.lies, describe(clean, corruptions, verdict) + log_text
    assert (verdict.gaps["bad_answer"], verdict.gaps["source_down"]) == (2, 1), log_text
    assert len(in_store.records) == 22 - 3 - verdict.gaps["not_running"] - verdict.gaps["late"]
    held = [i for i, s in enumerate(clean.slots) if s in in_store.records
            and "volume_held" in in_store.records[s].row.flags]  # fmt: skip
    assert held[:2] == [7, 8]


async def test_a_slow_feed_that_stands_is_not_stale_for_its_held_volume(store, tmp_path) -> None:
    """An answer of 60 seconds whose volumes read 0 is sent twice: the second time nothing is newer."""
    clean = clean_session("SPX", 30, LENGTH, 2)
    corruptions = [Corruption("volume_zero", 10, 13, 1)]
    verdict, flags = await played(store, tmp_path, clean, corruptions)
    assert "volume_held" in flags
    assert verdict.gaps == Counter({"unchanged": LENGTH // 2})
