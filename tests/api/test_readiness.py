"""What ``/ready`` says of samplers that sample, are late, or have nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from storage.errors import StoreUnavailable
from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api.conftest import Caller
from tests.api.rows import gap, record, utc
from tests.api.test_app import Awake


@pytest.fixture(autouse=True)
def every_question_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question looks anew, as if a second had passed."""
    monkeypatch.setattr("api.readiness._FRESH_SECONDS", 0)


@pytest.fixture
async def desk(store: Store, open_app: Callable[..., Any]) -> Caller:
    """A daemon samples SPY and QQQ; the newest rows are of 14:29:30; IWM is a backfill's."""
    app = await open_app(store, live=Awake())
    await store.own({"SPY": "cboe", "QQQ": "cboe"}, utc("14:30").date())
    rows = [record(utc("14:29:30"), symbol=symbol) for symbol in ("SPY", "QQQ")]
    await store.write([*rows, record(utc("13:31"), symbol="IWM")])
    return app


async def state(app: Caller, moment: str) -> tuple[int, dict[str, Any]]:
    app.clock.moment = utc(moment)
    sent = await app.get("/ready")
    assert ("Retry-After" in sent.headers) == (sent.status_code == 503)
    return sent.status_code, sent.json()


async def test_rows_come(desk: Caller) -> None:
    """Rows as new as they can be: ready, also 60 s after the newest row's slot has ended."""
    fresh = {
        "status": "Ready",
        "database": "ok",
        "live_channel": "ok",
        "samples": "ok",
        "reason": None,
        "late": {},
    }
    assert await state(desk, "14:30") == (200, fresh)
    assert await state(desk, "14:31") == (200, fresh)


async def test_no_rows_come(desk: Caller, store: Store) -> None:
    """61 s after the slot's end both are late: stale. One that comes leaves the other degraded."""
    status, body = await state(desk, "14:31:01")
    assert (status, body["status"], body["samples"]) == (503, "Stale", "late")
    assert body["late"] == {"QQQ": 61.0, "SPY": 61.0}
    assert body["reason"] == (
        "no symbol that is due has had a row for more than a minute: QQQ, SPY"
    )
    await store.write([record(utc("14:30:30"))])
    status, body = await state(desk, "14:31:01")
    assert (status, body["status"], body["late"]) == (200, "Degraded", {"QQQ": 61.0})
    assert body["reason"] == "symbols without a row for more than a minute: QQQ"
    # A gap is no row, whatever its reason.
    await store.write(gaps=[gap("14:31", Reason.SOURCE_DOWN, symbol="QQQ")])
    assert (await state(desk, "14:31:30"))[1]["late"] == {"QQQ": 90.0}


async def test_nothing_is_due(desk: Caller) -> None:
    """Before the open, after the close and on a Saturday there is nothing to be late with."""
    for moment in ("13:00", "20:00:30", "23:00", "2026-06-06 15:00"):
        status, body = await state(desk, moment)
        assert (status, body["status"], body["samples"]) == (200, "Ready", "none due"), moment
    # On Monday, before a sampler has noted anything, Friday's symbols are taken to be wanted.
    status, body = await state(desk, "2026-06-08 13:31:30")
    assert (status, body["late"]) == (503, {"QQQ": 90.0, "SPY": 90.0})


async def test_a_delayed_feed_and_a_fast_market(store: Store, open_app: Callable[..., Any]) -> None:
    """A feed 15 minutes behind is not late; 60 times the speed may be late by 3 s of our time."""
    app = await open_app(store, live=Awake())
    await store.own({"SPY": "cboe"}, utc("14:30").date())
    await store.write([record(utc("14:14:30"), delay_seconds=900)])
    assert (await state(app, "14:31"))[1]["status"] == "Ready"
    assert (await state(app, "14:31:01"))[1]["status"] == "Stale"
    app.clock.speed = 60.0
    assert (await state(app, "14:33"))[1]["status"] == "Ready"
    assert (await state(app, "14:33:01"))[1]["status"] == "Stale"


async def test_those_who_ask_share_one_look(
    store: Store, open_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty at once make one question, also of a database that is away."""
    monkeypatch.setattr("api.readiness._FRESH_SECONDS", 60)
    calls: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            async def ask(*_: Any, **__: Any) -> Any:
                calls.append(name)
                await asyncio.sleep(0.05)
                raise StoreUnavailable("gone")

            return ask

    app = await open_app(Counting(), live=Awake())
    answers = await asyncio.gather(*(app.get("/ready") for _ in range(50)))
    assert {sent.status_code for sent in answers} == {503}
    assert answers[0].json()["reason"] == "the database is away"
    assert calls == ["sampled_symbols"]
