"""Query to window, without a server."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from api.series.params import QueryError, read_query, resolve_window
from storage.market.calendar import Session
from tests.api.rows import FRIDAY, utc

SESSION = Session(day=FRIDAY, open=utc("13:30"), close=utc("20:00"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("60", 60),
        ("1", 1),
        ("390", 390),
        ("0", 1),
        ("-5", 1),
        ("+5", 5),
        (" 5 ", 5),
        ("007", 7),
        ("391", 390),
        ("99999", 390),
        ("9" * 10**6, 390),
        ("0" * 10**6 + "7", 7),
        ("-" + "9" * 10**6, 1),
    ],
    ids=lambda value: str(value)[:8],
)
def test_minutes_are_clamped(text: str, minutes: int) -> None:
    """Any whole number is an answer, however long it is."""
    assert read_query("SPY", {"minutes": text}).minutes == minutes


@pytest.mark.parametrize(
    "text",
    ["abc", "1.5", "", " ", "5e1", "0x5", "1_0", "٥", "५", "５", "−5", "--5", "5\x00", "NaN"],
)
def test_minutes_that_are_no_number(text: str) -> None:
    """Anything else is refused by name; other scripts' digits are no digits."""
    with pytest.raises(QueryError) as caught:
        read_query("SPY", {"minutes": text})
    assert caught.value.error == "invalid_minutes"


def test_defaults() -> None:
    """An empty query is the last hour in 30-second bars; a day asked for is wholly meant."""
    query = read_query("SPY", {})
    assert (query.bar, query.minutes, query.day, query.since) == ("30s", 60, None, None)
    query = read_query("SPY", {"date": "2026-06-05"})
    assert (query.minutes, query.day) == (390, FRIDAY)
    assert read_query("SPY", {"date": "2026-06-05", "minutes": "5"}).minutes == 5


@pytest.mark.parametrize("bar", ["", "2m", "1M", "60s", "1m ", "1h", "30", "null"])
def test_bad_bars(bar: str) -> None:
    """A bar is one of four words, letter for letter."""
    with pytest.raises(QueryError) as caught:
        read_query("SPY", {"bar": bar})
    assert (caught.value.error, caught.value.message) == (
        "invalid_bar",
        "bar must be 30s|1m|5m|15m",
    )


@pytest.mark.parametrize(("bar", "seconds"), [("30s", 30), ("1m", 60), ("5m", 300), ("15m", 900)])
def test_bars(bar: str, seconds: int) -> None:
    """The four widths."""
    assert read_query("SPY", {"bar": bar}).width == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2026-6-5",
        "20260605",
        "2026-02-30",
        "2026-13-01",
        "2026-06-05T00:00",
        "２026-06-05",
    ],
)
def test_bad_dates(text: str) -> None:
    """A date is YYYY-MM-DD and exists."""
    with pytest.raises(QueryError) as caught:
        read_query("SPY", {"date": text})
    assert (caught.value.error, caught.value.message) == (
        "invalid_date",
        "date must be YYYY-MM-DD",
    )


@pytest.mark.parametrize("text", ["0001-01-01", "1999-12-31", "2100-01-01", "9999-12-31"])
def test_dates_without_a_calendar(text: str) -> None:
    """Nobody's calendar reaches there."""
    with pytest.raises(QueryError, match=r"^date must lie between 2000-01-01 and 2099-12-31$"):
        read_query("SPY", {"date": text})


@pytest.mark.parametrize(("text", "since"), [("0", 0), ("184213", 184213), (" 7 ", 7)])
def test_since(text: str, since: int) -> None:
    """A cursor is a whole number of 0 or more."""
    assert read_query("SPY", {"since": text}).since == since


def test_since_beyond_every_cursor() -> None:
    """A cursor of a million digits is beyond every revision, and no trouble."""
    since = read_query("SPY", {"since": "9" * 10**6}).since
    assert since is not None
    assert since > 2**50


@pytest.mark.parametrize("text", ["-1", "+1", "1.0", "abc", "", "W/1", "٥"])
def test_bad_since(text: str) -> None:
    """Anything else is refused by name."""
    with pytest.raises(QueryError) as caught:
        read_query("SPY", {"since": text})
    assert caught.value.error == "invalid_since"


@pytest.mark.parametrize(
    ("sent", "symbol"), [("spy", "SPY"), (" SPY ", "SPY"), ("ES=F", "ES=F"), ("brk/b", "BRK/B")]
)
def test_symbols(sent: str, symbol: str) -> None:
    """Symbols are trimmed and upper-cased."""
    assert read_query(sent, {}).symbol == symbol


@pytest.mark.parametrize(
    "sent",
    ["", " ", "S P Y", "A" * 500, "../", "..", "\x00", "SPY\x00", "S\nY", "<b>", "😀", "'--"],
)
def test_bad_symbols(sent: str) -> None:
    """What no exchange lists is refused by name, in a line that can be printed."""
    with pytest.raises(QueryError) as caught:
        read_query(sent, {})
    assert caught.value.error == "invalid_symbol"
    assert len(caught.value.message) < 150
    assert caught.value.message.isprintable()


def bounds(now: str, minutes: int = 60, delay: int = 0, newest: str | None = None) -> list[str]:
    """Start and end of a window of the Friday, as times of the day."""
    window = resolve_window(
        read_query("SPY", {"minutes": str(minutes)}),
        day=FRIDAY,
        session=SESSION,
        now=utc(now),
        delay=timedelta(seconds=delay),
        newest=utc(newest) if newest else None,
    )
    return [f"{moment:%H:%M:%S}" for moment in (window.start, window.end)]


def test_windows() -> None:
    """A window ends at the feed's present, at the newest slot, or at the close."""
    assert bounds("15:00") == ["14:00:00", "15:00:00"]
    assert bounds("15:00:10", 5) == ["14:55:10", "15:00:10"]
    assert bounds("15:00", 5, delay=900) == ["14:40:00", "14:45:00"]
    assert bounds("15:00", 5, delay=900, newest="14:44") == ["14:40:00", "14:45:00"]
    assert bounds("15:00", 5, delay=900, newest="14:50") == ["14:45:30", "14:50:30"]
    assert bounds("13:40") == ["13:30:00", "13:40:00"]
    assert bounds("19:59:59") == ["18:59:59", "19:59:59"]
    assert bounds("20:00") == ["19:00:00", "20:00:00"]
    assert bounds("20:00", delay=900) == ["19:00:00", "20:00:00"]
    assert bounds("23:59", 390, delay=900) == ["13:30:00", "20:00:00"]
    assert bounds("2026-06-08 12:00", 1) == ["19:59:00", "20:00:00"]


def test_window_before_the_open() -> None:
    """Nothing is meant before there is anything."""
    start, end = bounds("13:00")
    assert start == end


def test_day_without_session() -> None:
    """A day on which the market is closed has an empty window."""
    window = resolve_window(
        read_query("SPY", {}),
        day=date(2026, 6, 6),
        session=None,
        now=utc("2026-06-06 15:00"),
        delay=timedelta(),
        newest=None,
    )
    assert window.start == window.end
