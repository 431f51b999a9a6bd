"""Market events from stored rows to the target: once, over processes, restarts and changed rules."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.market_watch import MarketWatch
from api.watch import Watch
from storage.embedded.attach import Servers
from storage.errors import StoreUnavailable
from storage.notify.messenger import Messenger
from storage.notify.rules_file import RulesFile
from storage.notify.target import WebHook
from storage.postgres.store import Store
from tests import forked
from tests.api.rows import FRIDAY, record, utc
from tests.api.site import Still
from tests.api.test_serve import Served
from tests.storage.test_messenger import bodies, settled
from tests.web_hook import web_hook

REGIME = {
    "kind": "regime", "hold_seconds": 30, "quiet_seconds": 600, "after_open_seconds": 0, "min_share": 0.1,
}  # fmt: skip
BULL = {"regime": "positive_gamma", "net_gex": 5e9, "gross_gex": 1e10}
BEAR = {"regime": "negative_gamma", "net_gex": -5e9, "gross_gex": 1e10}


def write_rules(path: Path, *rules: dict[str, Any]) -> RulesFile:
    path.write_text(json.dumps({"rules": rules}))
    return RulesFile(path)


async def sample(store: Store, clock: Still, *states: dict[str, Any], symbol: str = "SPY") -> None:
    """Store a row a slot from the clock on, and let its time pass."""
    for state in states:
        await store.write([record(clock.moment, symbol=symbol, **state)])
        clock.moment += timedelta(seconds=30)


async def log_of(store: Store) -> list[tuple[str, str, bool]]:
    """Time, kind and whether it is sent, the oldest first."""
    alerts = await store.alerts.page(limit=100)
    return [(f"{a['began_at']:%H:%M:%S}", a["kind"], a["sent"]) for a in reversed(alerts)]


@pytest.fixture
def clock() -> Still:
    return Still(utc("14:30"))


def make(
    store: Any, clock: Still, rules: RulesFile, messenger: Messenger | None = None
) -> MarketWatch:
    return MarketWatch(
        store, clock, messenger or Messenger(store.alerts, []), rules, dataset="live", node="desk"  # type: ignore[arg-type]
    )  # fmt: skip


async def test_from_the_row_to_the_target(store: Store, clock: Still, tmp_path: Path) -> None:
    """The regime turns at 14:32 and stands at 14:32:30: a target that answers 500 gets one event."""
    rules = write_rules(tmp_path / "rules.json", REGIME)
    with web_hook(500) as hook:
        async with Messenger(
            store.alerts, [WebHook(hook.url, "")], dataset="live", pauses=(0.05,)
        ).running() as messenger:
            watch = make(store, clock, rules, messenger)
            for state in [BULL] * 4 + [BEAR] * 3:
                await sample(store, clock, state)
                await watch.look()
            [alert] = await settled(store.alerts, 1)
            await asyncio.sleep(0.2)
    first, second = bodies(hook)
    assert first == second
    assert (first["category"], first["kind"], first["state"]) == ("market", "regime", "began")
    assert (first["slot"], first["session"]) == ("2026-06-05T14:32:30+00:00", "2026-06-05")
    assert (first["figures"]["to"], first["figures"]["rule"]) == ("negative_gamma", "regime")
    assert first["message"].startswith("SPY: the regime is now negative gamma")
    assert alert["id"] == first["id"]


async def test_two_processes_and_a_restart(store: Store, clock: Still, tmp_path: Path) -> None:
    """Two look at once, and a third one begins in the middle: the log has the event once."""
    rules = [write_rules(tmp_path / "rules.json", REGIME) for _ in range(3)]
    first, second, third = (make(store, clock, each) for each in rules)
    for number, state in enumerate([BULL] * 4 + [BEAR] * 4):
        await sample(store, clock, state)
        await asyncio.gather(first.look(), second.look())
        if number == 6:
            await third.look()
    await third.look()
    assert await log_of(store) == [("14:32:30", "regime", True)]


async def test_a_restart_after_late_rows(store: Store, clock: Still, tmp_path: Path) -> None:
    """Rows that were filled late move the event by a slot; within its quiet time it is the same one."""
    rules = write_rules(tmp_path / "rules.json", REGIME)
    watch = make(store, clock, rules)
    await sample(store, clock, BULL, BULL)
    clock.moment += timedelta(seconds=30)
    await sample(store, clock, BEAR, BEAR)
    await watch.look()
    assert await log_of(store) == [("14:32:00", "regime", True)]
    await store.write([record(utc("14:31"), **BEAR)])
    again = make(store, clock, write_rules(tmp_path / "other.json", REGIME))
    await again.look()
    assert await log_of(store) == [("14:32:00", "regime", True)]


async def test_noticed_late(store: Store, clock: Still, tmp_path: Path) -> None:
    """An event that nobody watched for is in the log, and is not sent an hour later."""
    rules = write_rules(tmp_path / "rules.json", REGIME)
    await sample(store, clock, BULL, BULL, BEAR, BEAR)
    clock.moment += timedelta(hours=1)
    await make(store, clock, rules).look()
    assert await log_of(store) == [("14:31:30", "regime", False)]


async def test_the_delay_of_a_feed(store: Store, clock: Still, tmp_path: Path) -> None:
    """A feed that lies 20 minutes behind brings its events 20 minutes later: they are sent."""
    rules = write_rules(tmp_path / "rules.json", REGIME)
    for state in (BULL, BULL, BEAR, BEAR):
        await sample(store, clock, state | {"delay_seconds": 1200})
    clock.moment += timedelta(minutes=21)
    await make(store, clock, rules).look()
    assert await log_of(store) == [("14:31:30", "regime", True)]


async def test_other_rules(store: Store, clock: Still, tmp_path: Path) -> None:
    """Rules that change in the session are in force from then on: what was before is not sent."""
    path = tmp_path / "rules.json"
    watch = make(store, clock, write_rules(path))
    await sample(store, clock, BULL, BULL, BEAR, BEAR)
    await watch.look()
    write_rules(path, REGIME, {"kind": "gap", "seconds": 120, "quiet_seconds": 0})
    await watch.look()
    assert await log_of(store) == [("14:31:30", "regime", False)]
    await sample(store, clock, BEAR)
    await watch.look()
    clock.moment += timedelta(minutes=3)
    await watch.look()
    await watch.look()
    assert await log_of(store) == [("14:31:30", "regime", False), ("14:34:00", "gap", True)]


async def test_a_muted_rule(store: Store, clock: Still, tmp_path: Path) -> None:
    """Its events are in the log and sent to nobody until the mute ends; hold times go on through it."""
    path = tmp_path / "rules.json"
    watch = make(store, clock, write_rules(path, REGIME | {"hold_seconds": 60}))
    await sample(store, clock, BULL, BULL, BULL, BEAR, BEAR)
    await watch.look()
    # Muted until 14:35, half a minute before the event.
    write_rules(path, REGIME | {"hold_seconds": 60, "muted_until": "2026-06-05T14:35:00Z"})
    await watch.look()
    await sample(store, clock, BEAR)
    await watch.look()
    await sample(store, clock, *[BEAR] * 20)
    await watch.look()
    await sample(store, clock, *[BULL] * 3)
    await watch.look()
    assert await log_of(store) == [("14:32:30", "regime", False), ("14:44:00", "regime", True)]
    newest, muted = await store.alerts.page(limit=9)
    assert (muted["figures"]["muted"], "muted" in newest["figures"]) == (True, False)


async def test_broken_rules(store: Store, clock: Still, tmp_path: Path) -> None:
    """A file that breaks leaves the rules of before in force, and is an event until it is mended."""
    path = tmp_path / "rules.json"
    market = make(store, clock, write_rules(path, REGIME))
    messenger = Messenger(store.alerts, [])
    watch = Watch(store, clock, messenger, dataset="live", node="desk", market=market)  # type: ignore[arg-type]
    await sample(store, clock, BULL, BULL)
    await market.look()
    path.write_text('{"rules": [{"kind": "regime", "hold": 1}]}')
    for second in range(0, 30, 5):
        await market.look()
        await watch.look(float(second))
    [alert] = await store.alerts.page(limit=9, kind="rules_broken")
    assert "rules[0]: 'hold' is no key of regime; did you mean hold_seconds?" in alert["sentence"]
    await sample(store, clock, BEAR, BEAR)
    await market.look()
    assert ("14:31:30", "regime", True) in await log_of(store)
    path.write_text(json.dumps({"rules": [REGIME]}))
    for second in range(30, 60, 5):
        await market.look()
        await watch.look(float(second))
    [alert] = await store.alerts.page(limit=9, kind="rules_broken")
    assert alert["closed_at"] is not None


async def test_the_database_goes_away(store: Store, clock: Still, tmp_path: Path) -> None:
    """A look that fails loses nothing: the next one reads the same samples."""
    rules = write_rules(tmp_path / "rules.json", REGIME)

    class Failing:
        away = False

        def __getattr__(self, name: str) -> Any:
            if self.away and name == "samples":
                raise StoreUnavailable("gone")
            return getattr(store, name)

    failing = Failing()
    watch = make(failing, clock, rules)
    await sample(store, clock, BULL, BULL, BEAR)
    await watch.look()
    await sample(store, clock, BEAR)
    failing.away = True
    with pytest.raises(StoreUnavailable):
        await watch.look()
    failing.away = False
    await watch.look()
    assert await log_of(store) == [("14:31:30", "regime", True)]


async def test_every_symbol_by_its_rules(store: Store, clock: Still, tmp_path: Path) -> None:
    """A rule that names symbols is for those; a day without a session has no events."""
    rules = write_rules(tmp_path / "rules.json", REGIME | {"symbols": ["SPX", "QQQ"]})
    watch = make(store, clock, rules)
    for symbol in ("SPX", "SPY", "QQQ"):
        clock.moment = utc("14:30")
        await sample(store, clock, BULL, BULL, BEAR, BEAR, symbol=symbol)
    await watch.look()
    alerts = await store.alerts.page(limit=9)
    assert sorted(a["symbols"] for a in alerts) == [["QQQ"], ["SPX"]]
    clock.moment += timedelta(days=1)
    await watch.look()
    assert len(await store.alerts.page(limit=9)) == 2


async def test_flow_against_stored_sessions(store: Store, clock: Still, tmp_path: Path) -> None:
    """Five earlier sessions with 1 to 5 M$ at 14:30: their median is 3 M$. What is flagged, of another
    feed, of other definitions or of a later day is not among them."""
    days = ["2026-05-28", "2026-05-29", "2026-06-01", "2026-06-02", "2026-06-03"]
    for number, day in enumerate(days):
        flow = {"hedge_flow_cumulative_all": (number + 1) * 1e6}
        await store.write([record(utc(f"{day} 14:30"), **flow)])
        await store.write([record(utc(f"{day} 14:31"), hedge_flow_cumulative_all=9e9)])
    huge = {"hedge_flow_cumulative_all": 9e9}
    await store.write([record(utc("2026-06-04 14:30"), flags=("after_gap",), **huge)])
    await store.write([record(utc("2026-05-27 14:30"), source="other", **huge)])
    await store.write([record(utc("2026-05-26 14:30"), definitions="0", **huge)])
    await store.write([record(utc("2026-06-08 14:30"), **huge)])
    rule = {
        "kind": "hedge_flow", "percentile": 50, "ready_percentile": 0, "sessions": 8, "min_sessions": 5,
        "hold_seconds": 0, "after_open_seconds": 0,
    }  # fmt: skip
    rules = write_rules(tmp_path / "rules.json", rule)
    await sample(store, clock, {"hedge_flow_cumulative_all": -3.1e6})
    await make(store, clock, rules).look()
    [alert] = await store.alerts.page(limit=9)
    assert alert["figures"] == {
        "rule": "hedge_flow", "hedge_flow_cumulative_all": -3.1e6, "threshold": 3e6, "sessions": 5,
        "feed": "cboe",
    }  # fmt: skip
    assert "dealers have sold $3.1m since the open" in alert["sentence"]


@pytest.mark.clocked
async def test_processes_that_come_and_go(
    store: Store, servers: Servers, database: str, clock: Still, tmp_path: Path
) -> None:
    """Two API processes and one that takes a killed one's place: a target hears of each event once."""
    write_rules(tmp_path / "rules.json", REGIME | {"quiet_seconds": 60})
    start = f"simulated:2026-06-05T14:30:00Z@1@{datetime.now(UTC).isoformat()}"
    with web_hook(500) as hook:

        def serve(name: str) -> Served:
            return Served(
                database,
                servers.redis_url,
                tmp_path / name,
                FLOW_CLOCK=start,
                FLOW_NOTIFY=hook.url,
                FLOW_ALERT_RULES=f"{tmp_path / 'rules.json'}",
            )

        async def requests(count: int) -> None:
            async with asyncio.timeout(90):
                while len(hook.requests) < count:
                    await asyncio.sleep(0.1)

        first, second = [await asyncio.to_thread(serve, name) for name in ("a", "b")]
        try:
            await sample(store, clock, *[BULL] * 4, *[BEAR] * 3)
            await requests(2)
            first.stop(signal.SIGKILL)
            third = await asyncio.to_thread(serve, "c")
            await sample(store, clock, *[BULL] * 3)
            await requests(3)
            assert second.stop() == 0
            await sample(store, clock, *[BEAR] * 3)
            await requests(4)
            await asyncio.sleep(3)
            assert third.stop() == 0
        finally:
            for served in (first, second):
                served.process.kill()
    slots = [body["slot"][11:19] for body in bodies(hook)]
    assert slots == ["14:32:30", "14:32:30", "14:34:00", "14:35:30"]
    assert len({body["id"] for body in bodies(hook)}) == 3
    alerts = await store.alerts.page(limit=9)
    assert [[d["attempts"] for d in a["deliveries"]] for a in alerts] == [[1], [1], [2]]


def test_the_command(store_url: str, tmp_path: Path) -> None:
    """The command prints what the rules make of a stored session, sends nothing, and refuses bad rules."""
    path = tmp_path / "rules.json"
    write_rules(path, REGIME)

    def run(*options: str, status: int = 0) -> str:
        environment = os.environ | {"FLOW_DATABASE_URL": store_url, "FLOW_DATASET": "live"}
        command = [sys.executable, "-m", "storage", "notify", *options]
        done = forked.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    day = ["--session", f"{FRIDAY}"]
    shown = run("--rules", f"{path}", *day, "--symbol", "spy").splitlines()
    assert len(shown) == 2
    assert shown[0].startswith("10:31:30 regime     SPY: the regime is now negative gamma")
    assert shown[1] == "1 events of 1 symbols on 2026-06-05; nothing was sent"
    [line] = run("--rules", f"{path}", *day, "--json").splitlines()
    assert json.loads(line)["figures"]["to"] == "negative_gamma"
    # By the built-in rules the rest of the session is a gap, from five minutes after 10:31:30 on.
    assert run(*day).splitlines()[0].startswith("10:36:30 gap        SPY: no sample has come since")
    assert "1 rules: regime" in run("--rules", f"{path}")
    assert "nothing stored of SPX" in run(*day, "--symbol", "SPX", status=1)
    assert "no session" in run("--session", "2026-06-06", status=2)
    path.write_text('{"rules": [{"kind": "nothing"}]}')
    assert "rules[0]: 'nothing' is no kind" in run("--rules", f"{path}", *day, status=2)


@pytest.fixture
async def store_url(store: Store, clock: Still, database: str) -> str:
    """URL of a database with a regime that turns at 14:31 and stands at 14:31:30."""
    await sample(store, clock, BULL, BULL, BEAR, BEAR)
    return database
