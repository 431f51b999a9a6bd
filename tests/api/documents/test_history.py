"""Stored sessions in a few numbers each: opening, range, coverage and course."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from api.documents.history import session_summary
from storage.market.calendar import session_on, sessions_between
from storage.postgres.store import Store
from tests.api.conftest import Caller
from tests.api.rows import record, utc

PATH = "/v1/flow/zero-dte/history/SPY"
HALF = date(2026, 11, 27)


def course(minutes: list[float], **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Samples so many minutes after the half day's open; spot counts them."""
    session = session_on(HALF)
    assert session is not None
    passed = np.array(minutes)
    figures = {
        "slot": session.open.timestamp() + 60 * passed,
        "spot": 100 + passed,
        "net_gex": np.full(len(passed), -1.0),
        "hedge_flow": passed * 1000.25,
        "atm_iv": np.full(len(passed), 0.2),
        "remaining_1sd": np.full(len(passed), np.nan),
    }
    return figures | changes


def summary(figures: Any) -> dict[str, Any]:
    session = session_on(HALF)
    assert session is not None
    return session_summary(figures, session, "cboe")


def test_course() -> None:
    """Each quarter of an hour has its last sample; one without any is null. A half day has 14."""
    body = summary(course([0.5, 14.5, 15.0, 40.0, 209.5]))
    assert body["course"]["spot"] == [114.5, 115, 140, *[None] * 10, 309.5]
    assert body["course"]["hedge_flow"][:3] == [14503.6, 15003.8, 40010.0]
    assert (body["open"], body["high"], body["low"], body["close"]) == (100.5, 309.5, 100.5, 309.5)
    assert (body["rows"], body["coverage_pct"]) == (5, pytest.approx(100 * 5 / 420, abs=0.01))
    assert body["complete"] is True
    assert body["opening"]["regime"] == "negative_gamma"
    assert body["opening"]["remaining_1sd"] is None
    assert body["opening"]["sampled_at"] == utc("2026-11-27 14:30:30")


@pytest.mark.parametrize(
    ("minutes", "complete"), [([15, 209], False), ([1, 194], False), ([14, 195], True)]
)
def test_complete(minutes: list[float], complete: bool) -> None:
    """A session that began late or ended early is not compared with."""
    assert summary(course(minutes))["complete"] is complete


def test_regime_of_the_first_sample() -> None:
    """It is the sign of net gamma: none if that is 0."""
    figures = course([1.0, 2.0], net_gex=np.array([3.0, -1.0]))
    assert summary(figures)["opening"]["regime"] == "positive_gamma"
    figures = course([1.0, 2.0], net_gex=np.array([0.0, -1.0]))
    assert summary(figures)["opening"]["regime"] == "unknown"


async def store_session(
    store: Store, day: date, *, source: str = "cboe", spot: float = 600.0
) -> None:
    session = session_on(day)
    assert session is not None
    slots = session.slots[:120]
    await store.write([record(s, source=source, spot=spot + k) for k, s in enumerate(slots)], [])


async def test_stored_sessions(store: Store, caller: Caller) -> None:
    """The newest n up to a day, oldest first, of the shown feed or a named one."""
    days = [s.day for s in sessions_between(date(2026, 5, 27), date(2026, 6, 5))]
    for n, day in enumerate(days):
        await store_session(store, day, spot=600.0 + n)
    await store_session(store, days[2], source="theta", spot=1.0)
    body = (await caller.get(PATH)).json()
    assert [s["date"] for s in body["sessions"]] == [str(day) for day in days]
    assert [s["open"] for s in body["sessions"]] == [600.0 + n for n in range(len(days))]
    # 30 samples in each of the first four quarters of an hour; the last day begins at 607.
    assert body["sessions"][-1]["course"]["spot"][:5] == [636.0, 666.0, 696.0, 726.0, None]
    assert body["sessions"][0]["cadence_seconds"] == 30.0
    newest = (await caller.get(PATH, params={"n": "2"})).json()["sessions"]
    assert [s["date"] for s in newest] == [str(day) for day in days[-2:]]
    until = (await caller.get(PATH, params={"n": "2", "date": str(days[3])})).json()["sessions"]
    assert [s["date"] for s in until] == [str(day) for day in days[2:4]]
    (other,) = (await caller.get(PATH, params={"feed": "theta"})).json()["sessions"]
    assert (other["date"], other["open"], other["feed"]) == (str(days[2]), 1.0, "theta")
    assert (await caller.get(PATH, params={"date": "2026-05-01"})).json()["sessions"] == []
    assert (await caller.get(PATH.replace("SPY", "XYZ"))).status_code == 404


async def test_past_sessions_are_read_once(
    store: Store, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what has changed since is read again."""
    days = [s.day for s in sessions_between(date(2026, 6, 1), date(2026, 6, 5))]
    for day in days:
        await store_session(store, day)
    reads: list[list[date]] = []
    courses = Store.courses

    async def counted(self: Store, symbol: str, heads: Any) -> Any:
        reads.append([head["expiration"] for head in heads])
        return await courses(self, symbol, heads)

    monkeypatch.setattr(Store, "courses", counted)
    for _ in range(2):
        assert (await caller.get(PATH)).json()["count"] == 5
    session = session_on(days[-1])
    assert session is not None
    late = session.open + timedelta(hours=2)
    await store.write([record(late, spot=777.0)], [])
    body = (await caller.get(PATH)).json()
    assert [len(days) for days in reads] == [5, 0, 1]
    assert reads[2] == [days[-1]]
    assert body["sessions"][-1]["close"] == 777.0
