"""What no database could store is refused before it is sent; bounds of a period enclose its days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import at, gap, record

from storage.postgres.pool import period_bounds
from storage.postgres.validate import validate_batch
from storage.record.mode import WriteMode
from storage.record.row import SlotRecord


def refusals(*items: Any) -> list[str]:
    """Why each of some records and gaps is refused."""
    records = [item for item in items if isinstance(item, SlotRecord)]
    gaps = [item for item in items if not isinstance(item, SlotRecord)]
    records_left, marks, refused = validate_batch(records, gaps, WriteMode.KEEP)
    assert len(records_left) + len(marks) + len(refused) == len(items)
    return [refusal.reason for refusal in refused]


@pytest.mark.parametrize("code", [0, 0xD800, 0xDBFF, 0xDC00, 0xDFFF], ids=hex)
def test_symbols_that_utf_8_has_not(code):
    """NUL and every half of a surrogate pair, the first and the last too."""
    symbol = f"A{chr(code)}"
    assert refusals(record(symbol=symbol), gap(1, symbol=symbol)) == [f"symbol is {symbol!r}"] * 2


@pytest.mark.parametrize("code", [1, 0xD7FF, 0xE000, 0x10FFFF], ids=hex)
def test_symbols_that_utf_8_has(code):
    """Their neighbours can be stored."""
    symbol = f"A{chr(code)}"
    assert refusals(record(symbol=symbol), gap(1, symbol=symbol)) == []


#: A column of integer, 32 bits, and one of bigint, 64 bits.
WIDTHS = [("contracts", 2**31), ("total_volume", 2**63)]


@pytest.mark.parametrize(("name", "beyond"), WIDTHS)
def test_integers_to_the_last_one(name, beyond):
    """The largest and the smallest integer of a column can be stored, their neighbours cannot."""
    for value in (beyond - 1, -beyond):
        assert refusals(spoiled(name, value)) == []
    for value in (beyond, -beyond - 1):
        assert refusals(spoiled(name, value)) == [f"{name} is {value}"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(value):
    """A figure that is not finite is refused by name."""
    assert refusals(spoiled("spot", value)) == [f"spot is {value}"]


def spoiled(name: str, value: Any) -> SlotRecord:
    """A record whose row has what no row takes at birth."""
    whole = record(slot=at(1))
    object.__setattr__(whole.row, name, value)
    return whole


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 6, 5), date(2026, 6, 5)),
        (date(2026, 1, 2), date(2026, 11, 27)),
        (date(1, 1, 1), date(2026, 6, 5)),
        (date(2026, 6, 5), date(9999, 12, 31)),
    ],
)
def test_bounds_enclose_the_days(first, last):
    """Every moment of New York's days lies between the bounds, as far as the calendar goes."""
    bounds = period_bounds(first, last)
    assert (bounds["first"], bounds["last"]) == (first, last)
    new_york = ZoneInfo("America/New_York")
    if first > date(1, 1, 1):
        assert bounds["since"] <= datetime(first.year, first.month, first.day, tzinfo=new_york)
    else:
        assert bounds["since"] == datetime(1, 1, 1, tzinfo=UTC)
    if last < date(9999, 12, 31):
        end = datetime(last.year, last.month, last.day, 23, 59, 59, tzinfo=new_york)
        assert end < bounds["until"] <= end + timedelta(days=2)
    else:
        assert bounds["until"] == datetime(9999, 12, 31, tzinfo=UTC)
