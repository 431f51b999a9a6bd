"""Pressure: flow by bar, its rate, and where both stand among earlier sessions of the same kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from api.documents.pressure import pressure_bars
from api.series.earlier import earlier_flow, flow_rates, sample_cadence
from storage.market.calendar import session_on, sessions_between
from storage.postgres.store import Store
from tests.api.conftest import Caller
from tests.api.rows import record, utc

DAY = date(2026, 6, 5)
PATH = "/v1/flow/zero-dte/pressure/SPY"


def test_rates() -> None:
    """Flow of ten minutes, or of a little more where the sample of ten minutes ago is missing."""
    numbers = np.array([0, 10, 20, 21, 45, 90])
    flow = np.array([0.0, 50.0, 30.0, 44.0, 71.0, 99.0])
    # At 20: 30 in 10 minutes. At 21: from slot 0, 44 in 10.5. At 45: from 21, 27 in 12. Slot 90 is
    # 22.5 minutes after the newest sample that is old enough, so that nothing is known.
    expected = [np.nan, np.nan, 3.0, 44 / 10.5, 27 / 12, np.nan]
    np.testing.assert_allclose(flow_rates(numbers, flow), expected)


def test_cadence() -> None:
    """The median step; two samples have none."""
    assert sample_cadence(np.array([0.0, 30.0, 60.0, 600.0])) == 30.0
    assert sample_cadence(np.array([0.0, 30.0])) is None


def test_sessions_of_another_cadence_do_not_count() -> None:
    """A session counts at a time of day within two minutes after a sample, and until its close."""
    whole, half = session_on(date(2026, 11, 24)), session_on(date(2026, 11, 27))
    assert whole is not None
    assert half is not None
    begins = whole.open.timestamp()
    stored = {
        whole.day: (begins + 30.0 * np.array([0, 1, 2, 10]), np.array([1.0, 2.0, 3.0, 4.0])),
        half.day: (half.open.timestamp() + 30.0 * np.arange(420), np.arange(420.0)),
        date(2026, 11, 25): (begins + 86400 + 300.0 * np.arange(78), np.arange(78.0)),
    }
    calendar = {s.day: s for s in sessions_between(whole.day, half.day)}
    earlier = earlier_flow(stored, calendar, 30.0)
    assert earlier.days == (whole.day, half.day)
    assert earlier.flow[0, :12].tolist()[:7] == [1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert np.isnan(earlier.flow[0, 7:10]).all()
    assert earlier.flow[0, 10:15].tolist() == [4.0] * 5
    assert np.isnan(earlier.flow[0, 15:]).all()
    assert earlier.flow[1, 419] == 419.0
    assert np.isnan(earlier.flow[1, 420:]).all()
    assert earlier.rate[1, 20] == 2.0
    assert earlier_flow(stored, calendar, 300.0).days == (date(2026, 11, 25),)
    assert earlier_flow(stored, calendar, None).days == ()


def sampled(k: int, flow: float, *, legs: float | None = None, volume: int = 0) -> dict[str, Any]:
    """A sample of the Friday's k-th slot."""
    return {
        "slot": utc("13:30") + timedelta(seconds=30 * k),
        "hedge_flow_cumulative_all": flow,
        "hedge_flow_se": 7.5,
        "classified_share": 0.9,
        "total_volume": volume,
        "multi_leg_share": legs,
    }


def test_bars() -> None:
    """A bar counts from the bar before, over a hole too; shares are of the volume so far."""
    session = session_on(DAY)
    assert session is not None
    samples = [
        sampled(1, 10.01, volume=100, legs=0.5),
        sampled(2, 30.02, volume=200, legs=0.2),
        sampled(3, 25.0, volume=500),
        sampled(9, 65.0, volume=600, legs=0.4),
    ]
    earlier = earlier_flow({}, {}, 30.0)
    bars = pressure_bars(samples, earlier, session, start=session.open, width=60)
    assert [(b["t"], b["since"], b["bar"], b["cumulative"]) for b in bars] == [
        (utc("13:30"), None, 10.01, 10.01),
        (utc("13:31"), utc("13:30:30"), 14.99, 25.0),
        (utc("13:34"), utc("13:31:30"), 40.0, 65.0),
    ]
    # 20 of 100 by the second sample; the third does not tell; then 40 of another 100.
    assert [b["multi_leg_share"] for b in bars] == [None, 0.2, 0.3]
    assert {(b["percentile"], b["sessions"]) for b in bars} == {(None, 0)}
    late = pressure_bars(samples, earlier, session, start=utc("13:32"), width=60)
    assert late == bars[2:]
    assert pressure_bars([], earlier, session, start=session.open, width=60) == []


async def session_of(store: Store, day: date, flows: list[float], **changes: Any) -> None:
    """Store a session of which each 30 s sample has a flow."""
    session = session_on(day)
    assert session is not None
    records = [
        record(slot, hedge_flow_cumulative_all=flow, hedge_flow_se=9.5, **changes)
        for slot, flow in zip(session.slots, flows, strict=False)
    ]
    await store.write(records, [])


async def test_among_stored_sessions(store: Store, caller: Caller) -> None:
    """Only earlier sessions of the same feed, formulas and cadence count; below ten: nothing yet."""
    days = [s.day for s in sessions_between(date(2026, 5, 1), DAY)][:-1]
    flows = [float(k) for k in range(31)]
    for n, day in enumerate(days[:9]):
        await session_of(store, day, [f + 10.0 * n for f in flows])
    await session_of(store, days[9], flows, source="theta")
    await session_of(store, days[10], flows, definitions="0")
    await session_of(store, days[11], flows, flags=("volume_corrected",))
    await session_of(store, DAY, [f * 3 for f in flows])
    after = date(2026, 6, 8)
    await session_of(store, after, flows)
    caller.clock.moment = utc("14:30")
    body = (await caller.get(PATH, params={"minutes": "390"})).json()
    assert body["compared_days"] == [str(day) for day in days[:9]]
    assert (body["least_sessions"], body["cadence_seconds"]) == (10, 30.0)
    assert {(b["percentile"], b["sessions"]) for b in body["bars"]} == {(None, 9)}
    await session_of(store, days[12], flows)
    body = (await caller.get(PATH, params={"minutes": "390", "bar": "30s"})).json()
    assert body["compared_days"] == [str(day) for day in (*days[:9], days[12])]
    bars = body["bars"]
    assert [b["cumulative"] for b in bars] == [f * 3 for f in flows]
    # At slot 30 the flow is 90, the ten others are 30, 40 ... 110 and 30: seven are below, and one
    # equals it. Its rate, 6 a minute, is above all.
    assert (bars[30]["percentile"], bars[30]["sessions"]) == (75.0, 10)
    assert (bars[30]["rate_per_minute"], bars[30]["rate_percentile"]) == (6.0, 100.0)
    # At the open the flow is 0; the ten others are 0, 10 ... 80 and 0: none is below, two equal it,
    # and an equal one counts half.
    assert bars[0]["percentile"] == 10.0
    assert bars[0]["rate_per_minute"] is None
    assert (bars[0]["rate_percentile"], bars[0]["rate_sessions"]) == (None, 0)
    assert {b["hedge_flow_se"] for b in bars} == {9.5}
    # An answer about a past day says what was known then.
    past = (await caller.get(PATH, params={"date": str(days[8])})).json()
    assert past["compared_days"] == [str(day) for day in days[:8]]


async def test_it_is_read_again_after_a_change(
    store: Store, open_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored sessions are read once, and again when one of them has changed."""
    caller = await open_app(store, "14:30")
    await session_of(store, date(2026, 6, 4), [1.0, 2.0, 3.0])
    await session_of(store, DAY, [1.0, 2.0, 3.0])
    reads: list[Any] = []
    history = Store.flow_history

    async def counted(self: Store, *arguments: Any, **named: Any) -> Any:
        reads.append(arguments)
        return await history(self, *arguments, **named)

    monkeypatch.setattr(Store, "flow_history", counted)
    for _ in range(3):
        assert (await caller.get(PATH)).json()["compared_days"] == ["2026-06-04"]
    assert len(reads) == 1
    await session_of(store, date(2026, 6, 3), [1.0, 2.0, 3.0])
    assert (await caller.get(PATH)).json()["compared_days"] == ["2026-06-03", "2026-06-04"]
    assert len(reads) == 2


async def test_legs_of_spreads(store: Store, caller: Caller) -> None:
    """They are read from the stored detail."""
    first, second = (
        record(utc("13:30"), total_volume=100),
        record(utc("13:30:30"), total_volume=300),
    )
    detail = dataclasses.replace(second.row.detail, multi_leg_share=0.25)
    second.row = dataclasses.replace(second.row, detail=detail)
    await store.write([first, second], [])
    body = (await caller.get(PATH, params={"bar": "30s", "minutes": "390"})).json()
    assert [b["multi_leg_share"] for b in body["bars"]] == [None, 0.25]
    assert [b["classified_share"] for b in body["bars"]] == [0.93, 0.93]
