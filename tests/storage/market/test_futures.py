"""Index futures: the day on which each settles."""

from __future__ import annotations

from datetime import date

import pytest

from storage.market.futures import FUTURES, FUTURES_INDEXES, settlement_after

#: By hand, from a calendar: a day, and the settlement of the contract that lives through it.
SETTLEMENTS = [
    ("2026-11-20", "2026-12-18"),
    ("2026-12-17", "2026-12-18"),
    # On its own day it is over at the open.
    ("2026-12-18", "2027-03-19"),
    ("2026-12-31", "2027-03-19"),
    ("2026-01-02", "2026-03-20"),
    # The third Friday is Juneteenth, and once it was Good Friday.
    ("2026-05-01", "2026-06-18"),
    ("2026-06-18", "2026-09-18"),
    ("2008-03-03", "2008-03-20"),
]


@pytest.mark.parametrize(("day", "settles"), SETTLEMENTS)
def test_settlement(day: str, settles: str) -> None:
    """The third Friday of the quarter's month, or the session before it, and always later."""
    assert settlement_after(date.fromisoformat(day)) == date.fromisoformat(settles)


def test_futures_follow_an_index() -> None:
    """The Dow's options quote a hundredth of it; every other future is of the index's size."""
    assert {"SPX", "NDX", "RUT", "DJX"} == FUTURES_INDEXES
    assert {name for name, future in FUTURES.items() if future.multiple == 100.0} == {"YM", "MYM"}
