"""From the fault to the message: a dead, a stopped and a hung sampler, a dead feed, no database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import requests

from api import watch
from api.watch import WATCH, Watch, send_heartbeats
from storage.embedded.attach import Servers
from storage.errors import StoreUnavailable
from storage.market.clock import Clock
from storage.notify.messenger import Messenger
from storage.notify.notice import Notice
from storage.notify.target import WebHook
from storage.postgres.lease import Lease
from storage.postgres.store import Store
from storage.record.row import Reason
from tests import forked
from tests.api.rows import gap, record, utc
from tests.api.site import Still
from tests.api.test_serve import Served
from tests.web_hook import web_hook


class Mailbox:
    """A messenger that keeps what it is handed."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def tell(self, notice: Notice, *, sent: bool = True) -> bool:
        self.notices.append(notice)
        return True

    async def flush(self) -> None:
        pass


async def looks(watch: Watch, clock: Still, seconds: int, *, start: int = 0) -> None:
    """Look each five seconds of market time and of the monotonic clock."""
    for second in range(start, start + seconds, 5):
        await watch.look(float(second))
        clock.moment += timedelta(seconds=5)


@pytest.fixture
async def watched(store: Store, database: str):
    """SPX and SPY are sampled and held; the newest row is that of 14:29:30; it is 14:30:00."""
    clock, mailbox = Still(utc("14:30")), Mailbox()
    lease = Lease(database, "live", ["SPX", "SPY"])
    await lease.beat()
    await store.own({"SPX": "cboe", "SPY": "cboe"}, utc("14:30").date())
    rows = [record(utc("14:29:30"), symbol=symbol) for symbol in ("SPX", "SPY")]
    await store.write(rows)
    watch = Watch(store, clock, mailbox, dataset="live", node="desk")  # type: ignore[arg-type]
    yield watch, clock, mailbox, lease
    await lease.close()


async def test_nothing_is_wrong(watched: Any) -> None:
    """Rows that are as new as their feed allows make no message."""
    watch, clock, mailbox, _ = watched
    await looks(watch, clock, 60)
    assert mailbox.notices == []


async def test_nobody_samples(watched: Any) -> None:
    """A sampler whose locks are gone is told within 20 s, once, for all its symbols; and its return."""
    watch, clock, mailbox, lease = watched
    await looks(watch, clock, 10)
    await lease.close()
    await looks(watch, clock, 25, start=10)
    (notice,) = mailbox.notices
    assert (notice.kind, notice.symbols, notice.ended) == ("no_sampler", ("SPX", "SPY"), None)
    assert "SPX, SPY" in notice.sentence
    await lease.beat()
    await looks(watch, clock, 30, start=35)
    assert [n.kind for n in mailbox.notices if n.ended] == ["no_sampler"]


async def test_a_market_that_waits(watched: Any) -> None:
    """A simulated market that waits for its sampler loses no slot, so nobody is told of one."""
    watch, clock, mailbox, lease = watched
    clock.waits = True
    await lease.close()
    await looks(watch, clock, 60)
    assert mailbox.notices == []


async def test_a_sampler_that_spools(store: Store, database: str) -> None:
    """It has lost its locks and samples on: the sentence does not say that its slots are lost."""
    clock, mailbox = Still(utc("14:30")), Mailbox()
    newest = int(utc("14:30").timestamp())
    await store.own({"SPX": "cboe", "SPY": "cboe"}, utc("14:30").date())
    await store.write([record(utc("14:29:30"), symbol=symbol) for symbol in ("SPX", "SPY")])
    waiting = {"SPX": (newest - 30, newest), "SPY": (newest - 600, newest - 300)}
    watch = Watch(
        store, clock, mailbox, dataset="live", node="desk",
        waiting=lambda symbol, day: waiting[symbol],
    )  # type: ignore[arg-type]  # fmt: skip
    await looks(watch, clock, 25)
    (notice,) = mailbox.notices
    assert (notice.kind, notice.symbols) == ("no_sampler", ("SPX", "SPY"))
    # SPY's spool has had nothing new for five minutes: nobody knows whether its sampler lives.
    assert notice.sentence.endswith(" Rows of SPX wait in a sampler's spool.")


async def test_no_rows_come(watched: Any, store: Store) -> None:
    """A held symbol without a row for a minute beyond its feed's delay is told within 90 s, with the
    newest gap's reason; one whose rows go on is not."""
    watch, clock, mailbox, _ = watched
    for second in range(0, 120, 30):
        slot = clock.moment
        await store.write(
            [record(slot, symbol="SPY")], [gap(slot.isoformat()[11:19], Reason.SOURCE_DOWN, "SPX")]
        )
        await looks(watch, clock, 30, start=second)
        if second == 30:
            assert mailbox.notices == []
    (notice,) = mailbox.notices
    assert (notice.kind, notice.symbols) == ("no_rows", ("SPX",))
    assert "source_down" in notice.sentence


async def test_the_database_is_away(watched: Any) -> None:
    """A database that has been away for 50 s is told, and that it is back."""
    watch, clock, mailbox, _ = watched
    there = watch._store

    class Away:
        def __getattr__(self, name: str) -> Any:
            if name == "alerts":
                return self

            async def fail(*_: Any, **__: Any) -> None:
                raise StoreUnavailable("gone")

            return fail

    watch._store = Away()
    await looks(watch, clock, 50)
    assert mailbox.notices == []
    await looks(watch, clock, 10, start=50)
    assert [notice.kind for notice in mailbox.notices] == ["database_away"]
    watch._store = there
    await looks(watch, clock, 25, start=60)
    assert mailbox.notices[1].ended is not None


async def test_a_role_that_may_not_write(watched: Any, database: str) -> None:
    """Events are sent from memory, once each; that the log is closed is no database that is away."""
    _, clock, _, lease = watched
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop role if exists watch_reader")
        admin.execute("create role watch_reader login")
        admin.execute("grant usage on schema live to watch_reader")
        admin.execute("grant select on all tables in schema live to watch_reader")
        admin.execute("revoke select on live.alerts from watch_reader")
    try:
        url = database.replace("postgres@", "watch_reader@")
        with web_hook() as hook:
            async with (
                Store.open(url, "live", size=2) as store,
                Messenger(store.alerts, [WebHook(hook.url, "")]).running() as messenger,
            ):
                watch = Watch(store, clock, messenger, dataset="live", node="desk")
                await lease.close()
                await looks(watch, clock, 70)
                async with asyncio.timeout(10):
                    while not hook.requests:
                        await asyncio.sleep(0.02)
                await looks(watch, clock, 5, start=70)
                await asyncio.sleep(0.2)
        assert [json.loads(body)["kind"] for _, body in hook.requests] == ["no_sampler"]
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("drop owned by watch_reader")
            admin.execute("drop role watch_reader")


async def test_another_process_takes_the_watch(watched: Any, store: Store) -> None:
    """It goes on from the log: what lasts is not told again, its end is, and the quiet time holds."""
    first, clock, _, lease = watched
    messenger = Messenger(store.alerts, [])
    first._messenger = messenger
    await lease.close()
    await looks(first, clock, 25)
    assert [a["kind"] for a in await store.alerts.page(limit=9)] == ["no_sampler"]
    second = Watch(store, clock, messenger, dataset="live", node="other")
    await looks(second, clock, 60, start=1000)
    [alert] = await store.alerts.page(limit=9)
    assert (alert["closed_at"], alert["node"]) == (None, "desk")
    await lease.beat()
    await store.write([record(clock.moment, symbol=symbol) for symbol in ("SPX", "SPY")])
    third = Watch(store, clock, messenger, dataset="live", node="other")
    await looks(third, clock, 30, start=50)
    [alert] = await store.alerts.page(limit=9)
    assert alert["closed_at"] is not None
    await lease.close()
    fourth = Watch(store, clock, messenger, dataset="live", node="other")
    await looks(fourth, clock, 60)
    assert len(await store.alerts.page(limit=9)) == 1


async def test_another_process_is_quicker_after_an_outage(watched: Any) -> None:
    """Who has told that the database is away tells that it is back, though another one has the watch."""
    watch, clock, mailbox, _ = watched
    watch._lease = SimpleNamespace(held={WATCH})
    there, flushed = watch._store, []

    async def flush() -> None:
        flushed.append(clock.moment)

    class Away:
        def __getattr__(self, name: str) -> Any:
            raise StoreUnavailable("gone")

    watch._store = Away()
    for second in range(0, 60, 5):
        await watch.turn(float(second))
    assert [notice.kind for notice in mailbox.notices] == ["database_away"]
    watch._store, mailbox.flush = there, flush
    watch._lease.held = set()
    for second in range(60, 90, 5):
        await watch.turn(float(second))
    assert [notice.ended is None for notice in mailbox.notices] == [True, False]
    assert len(flushed) == 6


async def test_the_lease_of_the_watch(store: Store, database: str) -> None:
    """Of two processes one looks; when it ends, the other one does; without a database both do."""
    leases = [Lease(database, "live", [WATCH]) for _ in range(2)]
    for lease in leases:
        lease.credit(())
        assert lease.held
    for lease in leases:
        await lease.beat()
    assert [bool(lease.held) for lease in leases] == [True, False]
    await leases[0].close()
    await leases[1].beat()
    assert leases[1].held
    await leases[1].close()


async def test_out_of_hours(watched: Any) -> None:
    """After the close, without an expiry and without a sampler nothing is missed."""
    watch, clock, mailbox, lease = watched
    await lease.close()
    clock.moment = utc("20:01")
    await looks(watch, clock, 120)
    clock.moment = datetime(2026, 6, 6, 15, tzinfo=UTC)
    await looks(watch, clock, 120, start=120)
    assert mailbox.notices == []


@pytest.mark.clocked
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_from_the_fault_to_the_message(
    servers: Servers, database: str, tmp_path: Path, fault: signal.Signals
) -> None:
    """A sampler that is killed or stopped in the session: a web hook hears of it within 60 s."""
    clock = Clock(datetime(2026, 6, 5, 14, 30, tzinfo=UTC), 10.0, datetime.now(UTC))
    settings = {
        "FLOW_CLOCK": str(clock),
        "FLOW_SOURCE": "synthetic:?seed=3",
        "FLOW_SYMBOLS": "SPX",
        "FLOW_DATASET": "synthetic",
        "FLOW_METRICS_PORT": "0",
    }
    environment = os.environ | settings
    environment |= {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    with web_hook() as hook, (tmp_path / "sampler").open("wb") as log:
        sampler = forked.Popen(
            [sys.executable, "-m", "sampler", "run"], env=environment, stderr=log
        )
        served = Served(
            database, servers.redis_url, tmp_path / "api", **settings, FLOW_NOTIFY=hook.url
        )
        try:
            _wait_for_rows(served.url)
            began = time.monotonic()
            sampler.send_signal(fault)
            while not hook.requests:
                assert time.monotonic() - began < 60
                time.sleep(0.2)
            notice = json.loads(hook.requests[0][1])
            assert (notice["kind"], notice["symbols"]) == ("no_sampler", ["SPX"])
        finally:
            sampler.kill()
            sampler.wait()
            assert served.stop() == 0


def _wait_for_rows(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        body = requests.get(f"{url}/v1/flow/zero-dte/series/SPX?bar=30s", timeout=10).json()
        # A second row: the sampler has noted by then that the session is its own.
        if len(body.get("bars", [])) > 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.5)


async def test_heartbeats_go_on(monkeypatch) -> None:
    """A watcher whose answer never ends is called again a minute after the call before."""
    monkeypatch.setattr(watch, "_HEARTBEAT_SECONDS", 0.2)
    calls = 0
    ended = asyncio.Event()
    answering = set()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        answering.add(asyncio.current_task())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
        await ended.wait()
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/beat"
    calling = asyncio.create_task(send_heartbeats(url))
    async with asyncio.timeout(20):
        while calls < 3:
            await asyncio.sleep(0.02)
    calling.cancel()
    ended.set()
    server.close()
    await asyncio.gather(*answering)


async def test_a_heartbeat() -> None:
    """The address is called at once, and then each minute."""
    with web_hook(500) as hook:
        calling = asyncio.create_task(send_heartbeats(hook.url))
        async with asyncio.timeout(5):
            while not hook.requests:
                await asyncio.sleep(0.01)
        calling.cancel()
    assert len(hook.requests) == 1
