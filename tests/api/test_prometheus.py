"""What Prometheus is told, read by the published parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from api import page
from storage.errors import StoreUnavailable
from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api.conftest import SERIES, Caller
from tests.api.rows import gap, record, utc
from tests.api.test_app import Asleep, Awake, Broken

ROUTE = "/v1/flow/zero-dte/series/{symbol}"
Samples = dict[tuple[str, tuple[str, ...]], float]


async def look(caller: Caller) -> Samples:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    sent = await caller.get("/metrics")
    assert sent.status_code == 200
    assert sent.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(sent.text)
        for sample in family.samples
    }


async def test_requests(caller: Caller) -> None:
    """Requests are counted by route and status; made-up paths share one label."""
    for path in (f"{SERIES}SPY?bar=x", f"{SERIES}QQQ?bar=x", "/a", "/b", f"{SERIES}SPY/no"):
        await caller.get(path)
    await caller.head("/health")
    await caller.post("/health")
    metrics = await look(caller)
    counted = {
        labels: n for (name, labels), n in metrics.items() if name == "flow_api_requests_total"
    }
    assert counted == {
        (ROUTE, "400"): 2,
        (ROUTE, "404"): 1,
        ("none", "404"): 2,
        ("/health", "200"): 1,
        ("/health", "405"): 1,
    }
    assert metrics["flow_api_request_seconds_count", (ROUTE,)] == 3
    assert metrics["flow_api_request_seconds_bucket", ("+Inf", ROUTE)] == 3
    assert metrics["flow_api_request_seconds_sum", (ROUTE,)] > 0
    assert metrics["process_resident_memory_bytes", ()] > 0
    assert ("flow_build_info", ("live", page.installed_version())) in metrics


async def test_state_of_the_data(store: Store, open_app: Callable[..., Any]) -> None:
    """Each symbol's age in market time and its cursor; whether the market is open."""
    app = await open_app(store, live=Awake())
    await store.write([record(utc("14:28")), record(utc("14:29:30"))])
    changes = (
        await store.write([record(utc("14:00"), symbol="QQQ")], [gap("14:29", Reason.STALE)])
    ).changes
    metrics = await look(app)
    assert metrics["flow_row_age_seconds", ("SPY",)] == 30
    assert metrics["flow_row_age_seconds", ("QQQ",)] == 1800
    heads = {change.symbol: change.revision for change in changes}
    assert {s: metrics["flow_cursor", (s,)] for s in ("SPY", "QQQ")} == heads
    assert metrics["flow_market_open", ()] == 1
    assert metrics["flow_part_up", ("database",)] == metrics["flow_part_up", ("live_channel",)] == 1
    assert metrics["flow_stream_readers", ()] == 0
    app.clock.moment = utc("20:00")
    assert (await look(app))["flow_market_open", ()] == 0


async def test_parts_that_are_away(
    store: Store, open_app: Callable[..., Any], monkeypatch: Any
) -> None:
    """What is away is told as away, soon, and what it knew is not told as if it were new."""
    monkeypatch.setattr("api.prometheus._TIMEOUT", 0.1)
    await store.write([record(utc("14:28"))])

    class Sometimes:
        away = False

        def __getattr__(self, name: str) -> Any:
            return getattr(Broken(StoreUnavailable("gone")) if self.away else store, name)

    ping = Sometimes()
    app = await open_app(ping, live=Asleep())
    assert ("flow_row_age_seconds", ("SPY",)) in await look(app)
    ping.away = True
    async with asyncio.timeout(5):
        metrics = await look(app)
    assert metrics["flow_part_up", ("database",)] == metrics["flow_part_up", ("live_channel",)] == 0
    assert not [name for name, _ in metrics if name in {"flow_row_age_seconds", "flow_cursor"}]
