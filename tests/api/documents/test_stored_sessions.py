"""Stored days: which slots have passed, and what the slots without a row or gap count as."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from api.documents.stored_sessions import stored_sessions
from storage.market.calendar import session_on

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)


def listed(passed: timedelta, *, delay: int = 0, spooled: int = 0, rows: int = 10) -> Any:
    """Slots, gaps and reasons of a day with some rows and 5 gaps, so long after the open."""
    assert SESSION is not None
    stored = {
        "expiration": DAY,
        "rows": rows,
        "gaps": 5,
        "reasons": {"late": 5},
        "step": timedelta(seconds=30),
        "first": SESSION.open,
        "last": SESSION.open,
        "feed": "cboe",
        "source": "cboe",
        "feeds": ["cboe"],
        "first_feed": None,
    }
    (day,) = stored_sessions(
        [stored],
        {DAY: SESSION},
        SESSION.open + passed,
        delay=timedelta(minutes=delay),
        spooled={DAY: spooled},
    )
    return day["slots"], day["gaps"], day["reasons"]


@pytest.mark.parametrize(
    ("seconds", "slots"), [(0, 15), (449, 15), (479, 15), (480, 16), (509, 16), (510, 17)]
)
def test_slots_that_have_passed(seconds: int, slots: int) -> None:
    """A slot has passed after its 30 seconds; 15 slots are stored and so have passed anyway."""
    shown = listed(timedelta(seconds=seconds))
    missing = {"not_sampled": slots - 15} if slots > 15 else {}
    assert shown == (slots, slots - 10, {"late": 5} | missing)


def test_a_delayed_feed() -> None:
    """Quotes of the last quarter of an hour are not there yet: those slots are not missing."""
    assert listed(timedelta(minutes=25), delay=15) == (20, 10, {"late": 5, "not_sampled": 5})
    assert listed(timedelta(minutes=10), delay=15) == (15, 5, {"late": 5})


def test_slots_that_wait() -> None:
    """What waits in a spool is no slot that nobody sampled, and never more than is missing."""
    reasons = {"late": 5, "spooled": 3, "not_sampled": 2}
    assert listed(timedelta(minutes=10), spooled=3) == (20, 10, reasons)
    assert listed(timedelta(minutes=10), spooled=9) == (20, 10, {"late": 5, "spooled": 5})
    assert listed(timedelta(minutes=10), spooled=9, rows=15) == (20, 5, {"late": 5})


def test_after_the_close() -> None:
    """All 780 slots, 13 hours later as well."""
    for hours in (6.5, 19.5):
        shown = listed(timedelta(hours=hours))
        assert shown == (780, 770, {"late": 5, "not_sampled": 765})
