"""``/v1/alerts``: the log, page by page, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.openapi import alerts as models
from storage.notify.messenger import Messenger
from storage.notify.notice import Notice
from storage.postgres.store import Store
from tests.api.site import Caller
from tests.api.test_app import Table

BEGAN = datetime(2026, 6, 5, 14, 0, tzinfo=UTC)


async def fill(store: Store) -> list[Notice]:
    """Four events: SPX and SPY without rows, the database away, no sampler; the last a day later."""
    events = [
        Notice(kind="no_rows", symbols=("SPX",), began=BEGAN, sentence="a", node="desk"),
        Notice(kind="no_rows", symbols=("SPX", "SPY"), began=BEGAN, sentence="b"),
        Notice(kind="database_away", began=BEGAN, sentence="c"),
        Notice(
            kind="no_sampler", symbols=("SPY",), began=BEGAN + timedelta(days=3), sentence="d",
            category="market", slot=BEGAN, figures={"spot": 7500.25}, lasting=False,
        ),
    ]  # fmt: skip
    messenger = Messenger(store.alerts, [])
    for event in events:
        assert await messenger.tell(event)
    return events


async def words(caller: Caller, query: str) -> str:
    sent = await caller.get(f"/v1/alerts?{query}")
    assert sent.status_code == 200, sent.text
    return "".join(alert["message"] for alert in sent.json()["alerts"])


async def test_filters(store: Store, caller: Caller) -> None:
    """By symbol, session, kind and category, the newest first; each filter narrows."""
    await fill(store)
    for query, expected in {
        "": "dcba",
        "symbol=spx": "ba",
        "symbol=QQQ": "",
        "date=2026-06-05": "cba",
        "date=2026-06-08": "d",
        "kind=no_rows": "ba",
        "kind=operational": "cba",
        "kind=market": "d",
        "symbol=SPY&date=2026-06-05&kind=no_rows": "b",
        "unknown=1": "dcba",
    }.items():
        assert await words(caller, query) == expected, query


async def test_pages(store: Store, caller: Caller) -> None:
    """The cursor continues with older alerts, also while newer ones come; the last page has none."""
    await fill(store)
    first = (await caller.get("/v1/alerts?limit=3")).json()
    assert (first["count"], [a["message"] for a in first["alerts"]]) == (3, ["d", "c", "b"])
    await Messenger(store.alerts, []).tell(Notice(kind="no_rows", began=BEGAN, sentence="e"))
    last = (await caller.get(f"/v1/alerts?limit=3&cursor={first['cursor']}")).json()
    assert ([a["message"] for a in last["alerts"]], last["cursor"]) == (["a"], None)
    assert await words(caller, "limit=0") == "e"
    assert await words(caller, "limit=9999") == "edcba"
    assert await words(caller, "cursor=999999999999999999") == "edcba"
    assert await words(caller, "cursor=0") == ""


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("symbol=" + "X" * 99, "invalid_symbol"),
        ("symbol=", "invalid_symbol"),
        ("date=2026-02-30", "invalid_date"),
        ("date=today", "invalid_date"),
        ("kind=", "invalid_kind"),
        ("kind=nothing", "invalid_kind"),
        ("limit=-1", "invalid_limit"),
        ("limit=1.5", "invalid_limit"),
        ("limit=" + "9" * 40, "invalid_limit"),
        ("limit=%D9%A3", "invalid_limit"),
        ("cursor=", "invalid_cursor"),
        ("cursor=a", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
    ],
)
async def test_refused(caller: Caller, query: str, error: str) -> None:
    """A parameter that cannot be read is refused by its name."""
    sent = await caller.get(f"/v1/alerts?{query}")
    assert (sent.status_code, sent.json()["error"]) == (400, error)


async def test_each_field(store: Store, caller: Caller) -> None:
    """An alert to the field, and no field that the reference does not describe."""
    events = await fill(store)
    await store.alerts.close(events[0].id, BEGAN + timedelta(minutes=4))
    await store.alerts.note_delivery(events[0].id, "began", "https://hooks.example.org", 2)
    body = (await caller.get("/v1/alerts")).json()
    read = models.Alerts.model_validate(body).model_dump(exclude_unset=True)
    assert set(read["alerts"][0]) == set(body["alerts"][0])
    alert = body["alerts"][3]
    written = {alert.pop("created_at"), alert.pop("closed_at")}
    assert len(written) <= 2
    assert alert.pop("deliveries")[0] | {"delivered_at": ""} == {
        "target": "https://hooks.example.org", "state": "began", "attempts": 2, "failure": None,
        "delivered_at": "", "given_up_at": None,
    }  # fmt: skip
    assert alert == {
        "id": events[0].id, "category": "operational", "kind": "no_rows", "symbols": ["SPX"],
        "session": "2026-06-05", "slot": None, "message": "a", "figures": {},
        "began": "2026-06-05T14:00:00Z", "ended": "2026-06-05T14:04:00Z", "node": "desk",
        "sent": True,
    }  # fmt: skip
    market = body["alerts"][0]
    assert (market["slot"], market["figures"]) == ("2026-06-05T14:00:00Z", {"spot": 7500.25})


async def test_who_may(store: Store, open_app: Callable[..., Any]) -> None:
    """The plan Growth reads the log, without the targets; no key and a lower plan do not."""
    events = await fill(store)
    await store.alerts.note_delivery(events[0].id, "began", "https://hooks.example.org", 2)
    app = await open_app(store, access=Table())
    assert (await app.get("/v1/alerts")).status_code == 401
    assert (await app.get("/v1/alerts", headers={"X-Api-Key": "key-Basic"})).status_code == 403
    sent = await app.get("/v1/alerts", headers={"X-Api-Key": "key-Growth"})
    assert {str(a["deliveries"]) for a in sent.json()["alerts"]} == {"None"}
    assert "hooks.example.org" not in sent.text
