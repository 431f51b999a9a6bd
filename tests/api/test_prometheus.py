"""What Prometheus is told, read by the published parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage import installed_version
from storage.errors import StoreUnavailable
from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api.conftest import SERIES, Caller
from tests.api.rows import gap, record, utc
from tests.api.test_app import Asleep, Awake, Broken


@pytest.fixture(autouse=True)
def every_scrape_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scrape reads the state of the data, as if a minute had passed."""
    monkeypatch.setattr("api.prometheus._STATE_SECONDS", 0)
    monkeypatch.setattr("api.prometheus._SLOW_SECONDS", 0)


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
    assert ("flow_build_info", ("live", installed_version())) in metrics


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


async def test_rows_that_are_overdue(store: Store, open_app: Callable[..., Any]) -> None:
    """A symbol that a daemon samples is overdue from the end of its newest row's slot on.

    At 14:30:00 UTC, on a feed without delay, the row of 14:28:00 covers the time to 14:28:30: 90 s
    have passed since. QQQ has no row, so it is overdue since the open at 13:30. IWM is sampled by
    nobody, NFLX has no expiry today.
    """
    app = await open_app(store, live=Awake())
    day = utc("14:30").date()
    await store.own(dict.fromkeys(["SPY", "QQQ", "NFLX"], "test"), day)
    await store.write(
        [record(utc("14:28")), record(utc("14:00"), symbol="IWM")],
        [gap("14:29:30", Reason.NO_ZERO_DTE, symbol="NFLX")],
    )
    metrics = await look(app)
    overdue = {labels[0]: n for (name, labels), n in metrics.items() if "overdue" in name}
    assert overdue == {"SPY": 90.0, "QQQ": 3600.0}
    app.clock.moment = utc("20:00:30")
    assert (await look(app))["flow_row_overdue_seconds", ("SPY",)] == 0


async def test_size_clock_and_coverage(store: Store, open_app: Callable[..., Any]) -> None:
    """The database's size and clock; how much of the last ended session has rows: 2 of 780."""
    app = await open_app(store, live=Awake())
    await store.own({"SPY": "cboe"}, utc("14:30").date())
    await store.write([record(utc("14:28")), record(utc("14:28:30"))])
    app.clock.moment = utc("20:30")
    metrics = await look(app)
    assert metrics["flow_session_coverage_ratio", ("SPY",)] == pytest.approx(2 / 780, abs=1e-4)
    assert metrics["flow_database_bytes", ()] > 1e6
    assert abs(metrics["flow_clock_difference_seconds", ()]) < 1


async def test_scrapes_share_one_reading(
    store: Store, open_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many scrape at once, the database is asked once."""
    monkeypatch.setattr("api.prometheus._STATE_SECONDS", 60)
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(store, name)

    app = await open_app(Counting(), live=Awake())
    calls.clear()
    await asyncio.gather(*(look(app) for _ in range(8)))
    assert calls.count("symbols") == 1
    assert not [name for name, _ in await look(app) if name.endswith("_created")]
