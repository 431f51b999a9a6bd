"""The log of alerts: each event once, whoever writes it, and each message once to each target."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from storage.errors import StoreUnavailable
from storage.notify.messenger import Messenger, shown_names
from storage.notify.notice import Notice
from storage.notify.target import WebHook
from storage.postgres import retention
from storage.postgres.alerts import AlertTable
from storage.postgres.store import Store
from tests.web_hook import WebHookServer, web_hook

BEGAN = datetime(2026, 6, 5, 14, 0, tzinfo=UTC)
DAY = date(2026, 6, 5)
EVENT = Notice(kind="no_rows", symbols=("SPX",), began=BEGAN, sentence="SPX: no row.", node="desk")


def over(event: Notice) -> Notice:
    return Notice(
        kind=event.kind, symbols=event.symbols, began=event.began, sentence=f"Over: {event.sentence}",
        ended=BEGAN + timedelta(minutes=3),
    )  # fmt: skip


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.02)


def bodies(hook: WebHookServer) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in hook.requests]


async def settled(table: AlertTable, count: int) -> list[dict[str, Any]]:
    """All alerts, once so many deliveries have arrived."""
    async with asyncio.timeout(20):
        while True:
            alerts = await table.page(limit=100)
            arrived = [d for a in alerts for d in a["deliveries"] if d["delivered_at"]]
            if len(arrived) >= count:
                return alerts
            await asyncio.sleep(0.02)


async def test_two_processes_send_one_message(store: Store) -> None:
    """Both notice the event and its end, both have the target: it gets each message once, in order."""
    with web_hook() as hook:
        async with AsyncExitStack() as stack:
            both = [
                await stack.enter_async_context(
                    Messenger(store.alerts, [WebHook(hook.url, "")], dataset="live").running()
                )
                for _ in range(2)
            ]
            assert [await messenger.tell(EVENT) for messenger in both] == [True, False]
            assert [await messenger.tell(over(EVENT)) for messenger in both] == [True, False]
            [alert] = await settled(store.alerts, 2)
            await asyncio.sleep(0.3)
    assert [(b["id"], b["state"]) for b in bodies(hook)] == [
        (EVENT.id, "began"),
        (EVENT.id, "ended"),
    ]
    assert bodies(hook)[1]["message"] == "Over: SPX: no row."
    assert [(d["state"], d["attempts"]) for d in alert["deliveries"]] == [
        ("began", 1),
        ("ended", 1),
    ]
    assert (alert["session"], alert["closed_at"] > alert["created_at"]) == (DAY, True)


async def test_tried_again_after_a_restart(store: Store) -> None:
    """A target that answers 500 gets the message from the next process, once, with the same id."""
    with web_hook(500, 503) as hook:
        target = WebHook(hook.url, "")
        async with Messenger(store.alerts, [target], pauses=(0.2,)).running() as messenger:
            await messenger.tell(EVENT)
            await until(lambda: len(hook.requests) == 1)
        # The process has ended. The next one sees the event too, and must not send it as a new one.
        async with Messenger(store.alerts, [target], pauses=(0.2,)).running() as messenger:
            assert not await messenger.tell(EVENT)
            [alert] = await settled(store.alerts, 1)
            await asyncio.sleep(0.5)
        async with Messenger(store.alerts, [target], pauses=(0.2,)).running():
            await asyncio.sleep(0.5)
    assert [b["id"] for b in bodies(hook)] == [EVENT.id] * 3
    [delivery] = alert["deliveries"]
    assert (delivery["attempts"], delivery["failure"]) == (3, None)


async def test_each_target_has_its_own(store: Store) -> None:
    """A target that fails holds up no other; a failure is in the log, without anything of the URL."""
    with web_hook(*[500] * 100) as bad, web_hook() as good:
        targets = [WebHook(f"{bad.url}?token=hunter2", ""), WebHook(good.url, "")]
        async with Messenger(store.alerts, targets, pauses=(0.1,)).running() as messenger:
            await messenger.tell(EVENT)
            [alert] = await settled(store.alerts, 1)
            await until(lambda: len(bad.requests) > 2)
    by_target = {d["target"]: d for d in alert["deliveries"]}
    assert set(by_target) == {"http://127.0.0.1", "http://127.0.0.1 (2)"}
    assert by_target["http://127.0.0.1 (2)"]["delivered_at"]
    assert by_target["http://127.0.0.1"]["failure"] in ("status 500", None)
    assert "hunter2" not in str(await store.alerts.page(limit=10))
    assert len(good.requests) == 1


async def test_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last attempt a message is given up, the log has when and why, and the next follows."""
    monkeypatch.setattr("storage.notify.messenger.MOST_ATTEMPTS", 2)
    with web_hook(500, 404) as hook:
        async with Messenger(
            store.alerts, [WebHook(hook.url, "")], pauses=(0.01,)
        ).running() as messenger:
            await messenger.tell(EVENT)
            later = Notice(kind="test", began=BEGAN, sentence="next", lasting=False)
            await messenger.tell(later)
            newest, oldest = await settled(store.alerts, 1)
    assert [b["message"] for b in bodies(hook)] == ["SPX: no row.", "SPX: no row.", "next"]
    [delivery] = oldest["deliveries"]
    assert (delivery["failure"], delivery["given_up_at"] > 0) == ("status 404", True)
    assert newest["deliveries"][0]["attempts"] == 1


async def test_a_new_target_gets_nothing_old(store: Store, database: str) -> None:
    """What was written an hour before a target was first named is not sent to it."""
    async with Messenger(store.alerts, []).running() as messenger:
        await messenger.tell(EVENT)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("update live.alerts set created_at = created_at - interval '1 hour'")
    with web_hook() as hook:
        async with Messenger(store.alerts, [WebHook(hook.url, "")]).running() as messenger:
            later = Notice(kind="test", began=BEGAN, sentence="new")
            await messenger.tell(later)
            await settled(store.alerts, 1)
            await asyncio.sleep(0.2)
    assert [b["message"] for b in bodies(hook)] == ["new"]


class Switched:
    """The log of a database that goes away when told to."""

    def __init__(self, table: AlertTable) -> None:
        self._table, self.away = table, True

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._table, name)

        async def ask(*arguments: Any, **named: Any) -> Any:
            if self.away:
                raise StoreUnavailable("gone")
            return await method(*arguments, **named)

        return ask


async def test_without_a_database(store: Store) -> None:
    """Begun and over are sent from memory, once each, and are in the log when the database is back."""
    table = Switched(store.alerts)
    with web_hook(500) as hook:
        targets = [WebHook(hook.url, "")]
        async with Messenger(table, targets, pauses=(0.05,)).running() as messenger:  # type: ignore[arg-type]
            await messenger.tell(EVENT)
            await until(lambda: len(hook.requests) == 2)
            table.away = False
            await messenger.tell(over(EVENT))
            await until(lambda: len(hook.requests) == 3)
            await messenger.flush()
            await messenger.flush()
            await asyncio.sleep(2.5)
            [alert] = await store.alerts.page(limit=10)
    assert [b["state"] for b in bodies(hook)] == ["began", "began", "ended"]
    assert [(d["state"], d["attempts"]) for d in alert["deliveries"]] == [
        ("began", 2),
        ("ended", 1),
    ]
    assert alert["ended_at"] == BEGAN + timedelta(minutes=3)


async def test_a_quiet_time(store: Store, database: str) -> None:
    """Events of one topic within its quiet time are one, before it and after it; other topics are not."""

    async def write(minute: int, topic: str = "SPX regime") -> bool:
        slot = BEGAN + timedelta(minutes=minute)
        return await store.alerts.insert(
            f"{topic} {minute}", category="market", kind="regime", symbols=["SPX"], session=DAY,
            sentence="", began=slot, slot=slot, topic=topic, quiet=timedelta(minutes=30),
        )  # fmt: skip

    assert [await write(m) for m in (0, 29, 30, 15, -29, -30)] == [
        True, False, True, False, False, True,
    ]  # fmt: skip
    assert await write(1, "SPX pin")
    with psycopg.connect(database) as admin:
        # Events that nobody says to be too late are to be sent.
        assert admin.execute("select distinct sent from live.alerts").fetchall() == [(True,)]


async def test_pruned(store: Store, database: str) -> None:
    """Alerts of sessions before the retention are deleted with their deliveries; 0 keeps all."""
    from tests.api.rows import record, utc

    await store.write([record(utc("2026-06-05 14:00"))])
    for day in (1, 4, 5):
        event = Notice(kind="test", began=datetime(2026, 6, day, 15, tzinfo=UTC), sentence="")
        await Messenger(store.alerts, []).tell(event)
        await store.alerts.note_delivery(event.id, "began", "x", 1)
    await retention.prune(database, "live", {"rows": 0, "alerts": 0})
    assert len(await store.alerts.page(limit=9)) == 3
    assert await retention.overdue_tables(database, "live", {"rows": 0, "alerts": 1}) == []
    reports = await retention.prune(database, "live", {"rows": 0, "alerts": 1})
    assert [(r.table, r.dropped) for r in reports] == [("rows", 0), ("alerts", 1)]
    assert [a["session"].day for a in await store.alerts.page(limit=9)] == [5, 4]
    with psycopg.connect(database) as admin:
        [count] = admin.execute("select count(*) from live.deliveries").fetchone() or ()
    assert count == 2


async def test_a_unit_that_failed(store: Store, database: str) -> None:
    """What systemd's notifier has sent is in the log with its delivery, and no process sends it again."""
    with web_hook() as hook:
        environment = os.environ | {
            "FLOW_DATABASE_URL": database,
            "FLOW_DATASET": "live",
            "FLOW_NOTIFY": hook.url,
            "SERVICE_RESULT": "watchdog",
        }
        command = [sys.executable, "-m", "storage", "notify", "--unit", "a.service"]
        await asyncio.to_thread(subprocess.run, command, env=environment, check=True)
        async with Messenger(store.alerts, [WebHook(hook.url, "")]).running():
            await asyncio.sleep(0.5)
    [alert] = await store.alerts.page(limit=9)
    assert (alert["kind"], alert["lasting"], alert["sent"]) == ("unit_failed", False, False)
    assert "a.service" in alert["sentence"]
    assert [(d["target"], d["attempts"]) for d in alert["deliveries"]] == [("http://127.0.0.1", 1)]
    assert len(hook.requests) == 1


def test_names_of_targets() -> None:
    """Targets of one host are told apart by a number."""
    urls = [
        "https://a.example/x",
        "https://b.example/x",
        "https://a.example/y",
        "https://a.example/z",
    ]
    assert shown_names([WebHook(url, "") for url in urls]) == [
        "https://a.example",
        "https://b.example",
        "https://a.example (2)",
        "https://a.example (3)",
    ]
