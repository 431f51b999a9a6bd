"""For how long a symbol has had no row that should have come, by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from storage.market.calendar import session_on
from storage.postgres.overdue import SampledSymbol, is_due, overdue_seconds
from storage.record.row import Reason

DAY = date(2026, 6, 5)
SESSION = session_on(DAY)


def utc(text: str) -> datetime:
    """A time of the session's day, which is open from 13:30 to 20:00."""
    return datetime.fromisoformat(f"{DAY}T{text}").replace(tzinfo=UTC)


def overdue(now: str, *others: SampledSymbol, **state: Any) -> dict[str, float]:
    """Of SPX, sampled today by a feed without delay unless ``state`` says otherwise."""
    return overdue_seconds([sampled(**state), *others], SESSION, utc(now))


def sampled(**state: Any) -> SampledSymbol:
    fields = {
        "symbol": "SPX",
        "noted": DAY,
        "row": None,
        "delay": timedelta(),
        "gap": None,
        "reason": None,
    }
    return SampledSymbol(**fields | state)


@pytest.mark.parametrize(
    ("now", "state", "seconds"),
    [
        # From the end of the newest row's slot; from the open without a row.
        ("14:05:00", {"row": utc("14:00")}, 270.0),
        ("14:00:30", {"row": utc("14:00")}, 0.0),
        ("14:00:10", {"row": utc("14:00")}, 0.0),
        ("14:00:00", {}, 1_800.0),
        # A feed that is late by a quarter of an hour cannot have the last one's quotes.
        ("14:20:00", {"row": utc("14:00"), "delay": timedelta(minutes=15)}, 270.0),
        ("13:40:00", {"delay": timedelta(minutes=15)}, 0.0),
        # Nothing is due before the open, nor once the quotes are half a minute past the close.
        ("13:29:59", {}, 0.0),
        ("13:30:00", {}, 0.0),
        ("13:30:01", {}, 1.0),
        ("20:00:29", {"row": utc("19:59")}, 59.0),
        ("20:00:30", {"row": utc("19:59")}, 0.0),
        # A market that has not opened yet is no fault in the first quarter of an hour.
        ("13:44:59", {"gap": utc("13:44"), "reason": Reason.NOT_OPEN}, 0.0),
        ("13:45:00", {"gap": utc("13:44"), "reason": Reason.NOT_OPEN}, 900.0),
        ("13:44:59", {"gap": utc("13:44"), "reason": Reason.SOURCE_DOWN}, 899.0),
    ],
)
def test_seconds_since_a_row_should_have_come(now, state, seconds):
    """Seconds of market time, 0 while nothing is due."""
    assert overdue(now, **state) == {"SPX": seconds}


def test_symbols_that_nobody_samples():
    """Yesterday's symbols count only while nobody samples today, and if something expires."""
    yesterday = date(2026, 6, 4)
    assert overdue("14:00", noted=yesterday) == {"SPX": 1_800.0}
    assert overdue("14:00", sampled(symbol="QQQ"), noted=yesterday) == {"QQQ": 1_800.0}
    assert overdue("14:00", noted=yesterday, symbol="XYZ") == {}


def test_a_symbol_of_which_nothing_expires():
    """It is left out if it has no row today; with a row, its expiry was there."""
    state = {"gap": utc("13:30"), "reason": Reason.NO_ZERO_DTE}
    assert overdue("14:00", **state) == {}
    assert overdue("14:00", row=utc("13:45"), **state) == {"SPX": 870.0}


@pytest.mark.parametrize(
    ("now", "minutes", "due"),
    [
        ("13:29:59", 0, False),
        ("13:30:00", 0, True),
        # The last slot's quotes come within half a minute of the close.
        ("20:00:29", 0, True),
        ("20:00:30", 0, False),
        ("13:44:59", 15, False),
        ("13:45:00", 15, True),
        ("20:15:29", 15, True),
        ("20:15:30", 15, False),
    ],
)
def test_a_feed_is_within_the_session(now, minutes, due):
    """From the open to the close, later by the feed's delay."""
    assert is_due(sampled(delay=timedelta(minutes=minutes)), SESSION, utc(now)) == due
