"""Coverage judged, without a database: what is nobody's fault, half days, today, silence."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from storage.postgres.coverage import Coverage, assess_coverage

DAY = date(2026, 8, 19)
#: A session that ends at 13:00: 420 slots.
HALF = date(2026, 11, 27)
AFTER = datetime(2026, 8, 20, 1, tzinfo=UTC)


def line_of(**changes: Any) -> dict[str, Any]:
    """What the store says of a session that a daemon owned."""
    columns = {
        "symbol": "SPX",
        "expiration": DAY,
        "rows": 780,
        "reasons": {},
        "source": "cboe",
        "owned": True,
        "delay": 0,
    }
    return columns | changes


def judged(
    *rows: dict[str, Any], now: datetime = AFTER, symbols: tuple[str, ...] | None = ("SPX",)
) -> list[Coverage]:
    """The judgement of a fortnight around these days."""
    days = [row["expiration"] for row in rows] or [DAY]
    options = {"now": now, "symbols": symbols, "least": 0.9}
    return assess_coverage(rows, first=min(days), last=max(days), **options)


@pytest.mark.parametrize(
    ("rows", "reasons", "coverage", "state"),
    [
        # A feed that changes once a minute.
        (390, {"unchanged": 390}, 1.0, "ok"),
        (778, {"not_open": 2}, 1.0, "ok"),
        # The exchanges list an expiry of SPX for every session: an answer without it is no excuse.
        (0, {"no_zero_dte": 780}, 0.0, "thin"),
        # A session that has rows has an expiry: an answer without it is no excuse.
        (664, {"no_zero_dte": 58, "late": 58}, 664 / 780, "thin"),
        (390, {"unchanged": 290, "source_down": 100}, 390 / 490, "thin"),
        (0, {"not_running": 780}, 0.0, "thin"),
        (702, {"late": 78}, 0.9, "ok"),
        (701, {"late": 79}, 701 / 780, "thin"),
        # The sampler died and nobody has said so yet.
        (60, {}, 60 / 780, "thin"),
    ],
)
def test_what_is_nobodys_fault(rows, reasons, coverage, state):
    """Coverage is of what could be sampled."""
    (line,) = judged(line_of(rows=rows, reasons=reasons))
    assert (line.coverage, line.state) == (pytest.approx(coverage), state)


def test_recorded_frames_are_partial():
    """A few frames, one of which made no row: nobody owned that session."""
    (line,) = judged(line_of(rows=3, reasons={"no_iv": 1}, owned=False))
    assert (line.state, line.rows, line.slots) == ("partial", 3, 780)


def test_filled_in_whole():
    """A session that no daemon owned but a backfill has filled in is as good as any."""
    lines = [judged(line_of(rows=n, owned=False)) for n in (780, 702, 701)]
    assert [line.state for (line,) in lines] == ["ok", "ok", "partial"]


def test_half_days():
    """A session that closes at 13:00 has 420 slots."""
    now = datetime(2026, 11, 28, 1, tzinfo=UTC)
    (line,) = judged(line_of(expiration=HALF, rows=420), now=now)
    assert (line.slots, line.coverage, line.state) == (420, 1.0, "ok")


def test_a_symbol_without_an_expiry():
    """Nothing of the symbol expires that day, and nobody says that something must."""
    (line,) = judged(
        line_of(symbol="NVDA", rows=0, reasons={"no_zero_dte": 780}), symbols=("NVDA",)
    )
    assert (line.coverage, line.state) == (1.0, "ok")


@pytest.mark.parametrize(
    ("now", "delay", "slots"),
    [
        ("13:30:00", 0, 0),
        ("13:30:29", 0, 0),
        ("13:30:30", 0, 1),
        ("14:00:30", 0, 61),
        # Quotes that lie a quarter of an hour behind make the day late by as much.
        ("13:45:00", 900, 0),
        ("14:15:30", 900, 61),
        ("23:59:00", 900, 780),
    ],
)
def test_today(now, delay, slots):
    """Only what is due by now counts."""
    moment = datetime.fromisoformat(f"2026-08-19T{now}+00:00")
    (line,) = judged(line_of(rows=slots, delay=delay), now=moment)
    assert (line.slots, line.coverage, line.state) == (slots, 1.0, "ok")


def test_silence():
    """A whole session without a trace after one that was sampled, and a symbol without any."""
    days = [date(2026, 8, 17), date(2026, 8, 19)]
    lines = judged(*(line_of(expiration=day) for day in days), symbols=("SPX", "QQQ"))
    assert [(line.symbol, line.session, line.state) for line in lines] == [
        ("QQQ", None, "nothing"),
        ("SPX", days[0], "ok"),
        ("SPX", date(2026, 8, 18), "missing"),
        ("SPX", days[1], "ok"),
    ]
    assert [line.coverage for line in lines] == [0.0, 1.0, 0.0, 1.0]
    # Whoever asks for whatever there is asks for no symbol.
    assert [line.state for line in judged(line_of(), symbols=None)] == ["ok"]


def test_before_recordings_and_between_them_nothing_is_missed():
    """Days that nobody owned leave no hole; weekends are no sessions."""
    days = [date(2026, 8, 13), date(2026, 8, 19)]
    rows = [line_of(expiration=day, rows=3, owned=False) for day in days]
    assert [line.state for line in judged(*rows)] == ["partial", "partial"]


def test_any_dates():
    """The first and the last day that there is are a period like any other."""
    options = {"now": AFTER, "symbols": ("SPX",), "least": 0.9}
    (line,) = assess_coverage([line_of()], first=date.min, last=date.max, **options)
    assert (line.session, line.state) == (DAY, "ok")


def test_a_day_without_a_session_is_left_out():
    """A Saturday cannot be complete or incomplete, whatever is stored of it."""
    saturday = line_of(expiration=date(2026, 8, 22), rows=3)
    assert judged(saturday, symbols=None) == []
    (line,) = judged(line_of(), saturday, symbols=None)
    assert (line.session, line.state) == (DAY, "ok")
