"""Days that differ from the published calendar: closed ones, early closes, and who follows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from api.market_hours import market_status
from sampler.history.backfill import BackfillOptions
from sampler.history.jobs import JobOptions, SessionJob, run_in_worker
from sampler.live.grid import due_slot, next_tick
from storage.errors import FlowError, UsageError
from storage.market.calendar import (
    last_session,
    next_session,
    parse_overrides,
    session_on,
    sessions_between,
    use_overrides,
)
from storage.market.clock import Clock
from storage.postgres.coverage import assess_coverage
from storage.postgres.overdue import SampledSymbol, overdue_seconds


@pytest.fixture(autouse=True)
def published() -> Iterator[None]:
    """Each test begins and ends with the published calendar."""
    use_overrides({})
    yield
    use_overrides({})


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_the_day_of_mourning_of_2025() -> None:
    """Announced ten days before: closed all day, between an ordinary Wednesday and Friday."""
    assert session_on(date(2025, 1, 9)) is None
    assert next_session(date(2025, 1, 8)).day == date(2025, 1, 10)
    # Until the package knows such a day, the setting says so; afterwards it changes nothing.
    before = sessions_between(date(2025, 1, 1), date(2025, 12, 31))
    use_overrides(parse_overrides("2025-01-09=closed"))
    assert sessions_between(date(2025, 1, 1), date(2025, 12, 31)) == before


def test_a_day_that_is_closed() -> None:
    """A day of mourning on Wednesday 9 December 2026: no session, and the days around stay."""
    before = len(sessions_between(date(2026, 1, 1), date(2026, 12, 31)))
    assert session_on(date(2026, 12, 9)) is not None
    use_overrides(parse_overrides("2026-12-09=closed"))
    assert session_on(date(2026, 12, 9)) is None
    assert len(sessions_between(date(2026, 1, 1), date(2026, 12, 31))) == before - 1
    assert next_session(date(2026, 12, 8)).day == date(2026, 12, 10)
    assert last_session(utc(2026, 12, 9, 18)).day == date(2026, 12, 8)
    use_overrides({})
    assert session_on(date(2026, 12, 9)) is not None


@pytest.mark.parametrize(
    ("text", "opens", "closes", "slots"),
    [
        # The clock is put forward on Sunday 8 March 2026 and back on Sunday 1 November 2026.
        ("2026-03-06=13:00", utc(2026, 3, 6, 14, 30), utc(2026, 3, 6, 18), 420),
        ("2026-03-09=13:00", utc(2026, 3, 9, 13, 30), utc(2026, 3, 9, 17), 420),
        ("2026-10-30=13:00", utc(2026, 10, 30, 13, 30), utc(2026, 10, 30, 17), 420),
        ("2026-11-02=13:00", utc(2026, 11, 2, 14, 30), utc(2026, 11, 2, 18), 420),
        # A halt for the rest of the day, at any minute.
        ("2026-08-19=11:07", utc(2026, 8, 19, 13, 30), utc(2026, 8, 19, 15, 7), 194),
        # A short day that the package has and that is not to be.
        ("2026-12-24=16:00", utc(2026, 12, 24, 14, 30), utc(2026, 12, 24, 21), 780),
    ],
)
def test_a_close(text: str, opens: datetime, closes: datetime, slots: int) -> None:
    """The close is New York's, around both changes of its clock; the grid ends with it."""
    (day,) = overrides = parse_overrides(text)
    use_overrides(overrides)
    session = session_on(day)
    assert session is not None
    assert (session.open, session.close, session.slot_count) == (opens, closes, slots)
    # No other day changes.
    other = next_session(day)
    use_overrides({})
    assert other == next_session(day)


def test_new_year() -> None:
    """From the last session of a year to the first of the next; also where that one is closed."""
    assert next_session(date(2026, 12, 31)).day == date(2027, 1, 4)
    assert last_session(utc(2027, 1, 3, 12)).day == date(2026, 12, 31)
    # A simulated clock jumps from the one's evening to the other's morning.
    clock = Clock(utc(2026, 12, 31, 20, 59), 60.0, utc(2026, 1, 1))
    assert clock.market_time(utc(2026, 1, 1) + timedelta(seconds=30)).date() == date(2027, 1, 4)
    use_overrides(parse_overrides("2026-12-31=closed, 2027-01-04=closed"))
    assert next_session(date(2026, 12, 30)).day == date(2027, 1, 5)
    assert last_session(utc(2027, 1, 4, 18)).day == date(2026, 12, 30)


def test_a_holiday_has_no_close_to_move() -> None:
    """A day without a session cannot close early; closing it once more changes nothing."""
    with pytest.raises(UsageError, match="2026-11-26 is a market holiday"):
        use_overrides(parse_overrides("2026-11-26=13:00"))
    use_overrides(parse_overrides("2026-11-26=closed, 2026-11-28=closed"))
    assert session_on(date(2026, 11, 26)) is None


NONE_SINCE_THE_OPEN = SampledSymbol(
    symbol="SPX", noted=date(2026, 8, 19), row=None, delay=timedelta(), gap=None, reason=None
)


def test_everybody_follows_an_early_close() -> None:
    """After 13:00 (17:00 UTC) no sample is due, nothing is overdue, and the API says closed."""
    noon, after = utc(2026, 8, 19, 16, 30), utc(2026, 8, 19, 18)
    for text, state, overdue in [("", "open", 16200.0), ("2026-08-19=13:00", "closed", 0.0)]:
        use_overrides(parse_overrides(text))
        session = session_on(date(2026, 8, 19))
        assert session is not None
        assert overdue_seconds([NONE_SINCE_THE_OPEN], session, noon) == {"SPX": 10800.0}
        assert overdue_seconds([NONE_SINCE_THE_OPEN], session, after) == {"SPX": overdue}
        assert market_status(after)["state"] == state
    assert next_tick(after, timedelta()) == utc(2026, 8, 20, 13, 30)
    assert due_slot(after, timedelta()) == (session, utc(2026, 8, 19, 16, 59, 30))
    counts = [
        {"symbol": "SPX", "expiration": date(2026, 8, 19), "source": "x", "rows": 420, "gaps": 0,
         "reasons": {}, "owned": True, "delay": 0.0}
    ]  # fmt: skip
    day = {"first": date(2026, 8, 19), "last": date(2026, 8, 19)}
    (line,) = assess_coverage(counts, now=after, symbols=("SPX",), least=0.9, **day)
    assert (line.slots, line.coverage) == (420, 1.0)


def test_everybody_follows_a_closed_day() -> None:
    """No sample is due all day, the API says holiday, and no session is missing."""
    use_overrides(parse_overrides("2026-08-19=closed"))
    noon = utc(2026, 8, 19, 16)
    assert due_slot(noon, timedelta()) is None
    assert next_tick(noon, timedelta()) == utc(2026, 8, 20, 13, 30)
    assert market_status(noon)["state"] == "holiday"
    day = {"first": date(2026, 8, 19), "last": date(2026, 8, 19)}
    assert assess_coverage([], now=noon, symbols=("SPX",), least=0.9, **day) == []
    use_overrides({})
    assert assess_coverage([], now=noon, symbols=("SPX",), least=0.9, **day) != []


def test_a_worker_of_a_backfill_follows_the_run() -> None:
    """A worker has no settings of its own: the days come with its job, before anything is read."""
    overrides = parse_overrides("2026-08-19=closed")
    options = JobOptions(
        database_url="", redis_url="", dataset="live", source="", definitions="of another release",
        backfill=BackfillOptions(oi_confidence=0.43), calendar=overrides,
    )  # fmt: skip
    job = SessionJob(options=options, symbol="SPX", day=date(2026, 8, 18), slots=780)
    # It refuses the job of another release, and has taken the calendar over by then.
    with pytest.raises(FlowError, match="of another release"):
        run_in_worker(job)
    assert session_on(date(2026, 8, 19)) is None
