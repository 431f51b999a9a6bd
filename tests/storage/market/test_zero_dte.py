"""Which sessions surely have an expiry: days by hand."""

from __future__ import annotations

from datetime import date

import pytest

from storage.market.zero_dte import surely_expires


@pytest.mark.parametrize(
    ("symbol", "day", "known"),
    [
        # A Thursday before Thursdays were listed, the first day after, and today.
        ("SPX", date(2022, 5, 5), False),
        ("SPX", date(2022, 5, 12), True),
        ("SPX", date(2026, 8, 18), True),
        ("QQQ", date(2022, 10, 18), False),
        ("QQQ", date(2026, 8, 20), True),
        ("SPY", date(2023, 1, 3), True),
        # Nobody says so of these: the feed is believed.
        ("NVDA", date(2026, 8, 21), False),
        ("VIX", date(2026, 8, 19), False),
    ],
)
def test_days(symbol, day, known):
    """A symbol that is not in the table, or a day before it, is unknown."""
    assert surely_expires(symbol, day) is known


def test_recorded_sessions_had_one(shared):
    """An extra: each recorded day of a symbol of the table that it covers has contracts of that day."""
    days = {
        tuple(path.name.split("T")[0].split("_"))
        for folder in ("chains", "chains-more")
        for path in (shared / folder).rglob("*_20*")
    }
    covered = [
        (symbol, day) for symbol, day in days if surely_expires(symbol, date.fromisoformat(day))
    ]
    assert len(covered) > 100
