"""The market calendar: hand-listed days and times, and the 30-second grid."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.market.calendar import (
    Session,
    closed_day_kind,
    expiry_moment,
    expiry_moment_on,
    from_new_york,
    last_session,
    market_day,
    new_york_time,
    next_session,
    session_on,
    sessions_between,
    to_new_york,
)

HOLIDAYS = {
    2025: [(1, 1), (1, 9), (1, 20), (2, 17), (4, 18), (5, 26), (6, 19), (7, 4), (9, 1), (11, 27), (12, 25)],
    2026: [(1, 1), (1, 19), (2, 16), (4, 3), (5, 25), (6, 19), (7, 3), (9, 7), (11, 26), (12, 25)],
}  # fmt: skip
EARLY = {2025: [(7, 3), (11, 28), (12, 24)], 2026: [(11, 27), (12, 24)]}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def on(*parts: int) -> Session:
    """A session that must be there."""
    session = session_on(date(*parts))
    assert session is not None
    return session


@pytest.fixture
def wednesday() -> Session:
    """19 August 2026, a full day in summer: 13:30 to 20:00 UTC."""
    return on(2026, 8, 19)


def days_of(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(days=i) for i in range(365)]


@pytest.mark.parametrize("year", [2025, 2026])
def test_holidays(year):
    """The weekdays without a session are the exchange's published holidays, and no others."""
    quiet = [d for d in days_of(year) if d.weekday() < 5 and session_on(d) is None]
    assert [date(year, *day) for day in HOLIDAYS[year]] == quiet


@pytest.mark.parametrize("year", [2025, 2026])
def test_no_session_on_a_weekend(year):
    """Saturdays and Sundays have none."""
    assert [d for d in days_of(year) if d.weekday() >= 5 and session_on(d) is not None] == []


@pytest.mark.parametrize("year", [2025, 2026])
def test_hours(year):
    """Every session begins 09:30 New York and ends 16:00, the published short days 13:00."""
    early = [date(year, *day) for day in EARLY[year]]
    for session in sessions_between(date(year, 1, 1), date(year, 12, 31)):
        begin, end = to_new_york(session.open), to_new_york(session.close)
        assert (session.day, 9, 30) == (begin.date(), begin.hour, begin.minute)
        assert (session.day, 13 if session.day in early else 16, 0) == (
            end.date(),
            end.hour,
            end.minute,
        )


@pytest.mark.parametrize(("year", "count"), [(2025, 250), (2026, 251)])
def test_number_of_sessions(year, count):
    """The two years have as many sessions as their weekdays less their holidays."""
    assert count == len(sessions_between(date(year, 1, 1), date(year, 12, 31)))


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        # The clock is put forward on Sunday 8 March 2026 and back on Sunday 1 November 2026.
        ((2026, 3, 6), utc(2026, 3, 6, 14, 30), utc(2026, 3, 6, 21)),
        ((2026, 3, 9), utc(2026, 3, 9, 13, 30), utc(2026, 3, 9, 20)),
        ((2026, 10, 30), utc(2026, 10, 30, 13, 30), utc(2026, 10, 30, 20)),
        ((2026, 11, 2), utc(2026, 11, 2, 14, 30), utc(2026, 11, 2, 21)),
        ((2026, 11, 27), utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 18)),
        ((2026, 12, 24), utc(2026, 12, 24, 14, 30), utc(2026, 12, 24, 18)),
        ((2025, 7, 3), utc(2025, 7, 3, 13, 30), utc(2025, 7, 3, 17)),
    ],
)
def test_hours_in_utc(day, opens, closes):
    """Open and close in UTC, around both daylight-saving changes and on short days."""
    assert (opens, closes) == (on(*day).open, on(*day).close)


def test_full_day_has_780_slots(wednesday):
    """From the open to 30 s before the close."""
    assert (wednesday.slot_count, len(wednesday.slots)) == (780, 780)
    assert utc(2026, 8, 19, 13, 30) == wednesday.slots[0]
    assert utc(2026, 8, 19, 13, 30, 30) == wednesday.slots[1]
    assert utc(2026, 8, 19, 19, 59, 30) == wednesday.slots[-1] == wednesday.last_slot


def test_short_day_has_420_slots():
    """A day that ends 13:00 ends its grid 12:59:30."""
    session = on(2026, 11, 27)
    assert (session.slot_count, len(session.slots)) == (420, 420)
    assert utc(2026, 11, 27, 17, 59, 30) == session.slots[-1] == session.last_slot


@pytest.mark.parametrize(
    ("quoted", "slot"),
    [
        ((9, 30, 0), (9, 30, 0)),
        ((9, 30, 14), (9, 30, 0)),
        ((9, 30, 15), (9, 30, 30)),
        ((10, 14, 0), (10, 14, 0)),
        ((10, 14, 14), (10, 14, 0)),
        ((10, 14, 15), (10, 14, 30)),
        ((10, 14, 21), (10, 14, 30)),
        ((10, 14, 44), (10, 14, 30)),
        ((10, 14, 45), (10, 15, 0)),
        ((15, 59, 14), (15, 59, 0)),
        ((15, 59, 15), (15, 59, 30)),
        ((15, 59, 45), (15, 59, 30)),
        ((15, 59, 59), (15, 59, 30)),
        ((16, 0, 0), None),
        ((16, 0, 1), None),
        ((9, 29, 59), None),
        ((0, 0, 0), None),
    ],
)
def test_slot_of(wednesday, quoted, slot):
    """The nearest grid point, halfway the later, the end's the last slot, none outside."""
    moment = datetime(2026, 8, 19, *quoted) + timedelta(hours=4)
    expected = slot and (datetime(2026, 8, 19, *slot) + timedelta(hours=4)).replace(tzinfo=UTC)
    assert expected == wednesday.slot_of(moment.replace(tzinfo=UTC))


def test_slot_of_a_microsecond(wednesday):
    """A microsecond before halfway goes back; one before the close is inside, before the open not."""
    tiny = timedelta(microseconds=1)
    assert utc(2026, 8, 19, 14, 14) == wednesday.slot_of(utc(2026, 8, 19, 14, 14, 15) - tiny)
    assert utc(2026, 8, 19, 19, 59, 30) == wednesday.slot_of(utc(2026, 8, 19, 20) - tiny)
    assert wednesday.slot_of(utc(2026, 8, 19, 13, 30) - tiny) is None


def test_slot_of_another_zone(wednesday):
    """A moment is the same whatever clock it is read from."""
    moment = to_new_york(utc(2026, 8, 19, 14, 14, 21))
    assert utc(2026, 8, 19, 14, 14, 30) == wednesday.slot_of(moment)


def test_slot_of_a_short_day():
    """After a 13:00 close there is no slot; its last quotes belong to 12:59:30."""
    session = on(2026, 12, 24)
    assert utc(2026, 12, 24, 17, 59, 30) == session.slot_of(utc(2026, 12, 24, 17, 59, 59))
    assert session.slot_of(utc(2026, 12, 24, 18)) is None


SESSIONS = st.sampled_from([(2026, 3, 9), (2026, 8, 19), (2026, 11, 2), (2026, 11, 27)])


@settings(deadline=None)
@given(SESSIONS, st.floats(0, 1, exclude_max=True))
def test_slots_are_near(day, fraction):
    """Every moment of a session has a slot at most 15 s away, 30 s at the end, on :00 or :30."""
    session = on(*day)
    length = (session.close - session.open) // timedelta(microseconds=1)
    moment = session.open + timedelta(microseconds=int(fraction * length))
    slot = session.slot_of(moment)
    assert slot is not None
    near = 15 if moment < session.close - timedelta(seconds=30) else 30
    assert abs(moment - slot) <= timedelta(seconds=near)
    assert (slot.second, slot.microsecond) in {(0, 0), (30, 0)}
    assert session.open <= slot < session.close


@settings(deadline=None)
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda d: d.replace(tzinfo=UTC))
)
def test_slot_exists_inside_only(moment):
    """A moment has a slot exactly if it is from the open to before the close, and it is listed."""
    session = session_on(market_day(moment))
    if session is None:
        return
    slot = session.slot_of(moment)
    assert (session.open <= moment < session.close) == (slot is not None)
    assert slot is None or slot in session.slots


@pytest.mark.parametrize(
    ("moment", "share"),
    [
        (utc(2026, 8, 19, 13), 0.0),
        (utc(2026, 8, 19, 13, 30), 0.0),
        (utc(2026, 8, 19, 16, 45), 0.5),
        (utc(2026, 8, 19, 20), 1.0),
        (utc(2026, 8, 19, 21), 1.0),
    ],
)
def test_elapsed(wednesday, moment, share):
    """The part of the session that has passed, within 0 and 1."""
    assert share == wednesday.elapsed(moment)


@pytest.mark.parametrize(
    ("wall", "moment"),
    [
        (datetime(2026, 1, 15, 10, 14, 21), utc(2026, 1, 15, 15, 14, 21)),
        (datetime(2026, 7, 15, 10, 14, 21), utc(2026, 7, 15, 14, 14, 21)),
        # 02:30 is skipped on 8 March: read with the offset before it, -5 h.
        (datetime(2026, 3, 8, 1, 59), utc(2026, 3, 8, 6, 59)),
        (datetime(2026, 3, 8, 2, 30), utc(2026, 3, 8, 7, 30)),
        (datetime(2026, 3, 8, 3, 0), utc(2026, 3, 8, 7)),
        # 01:30 comes twice on 1 November: read as the first, -4 h.
        (datetime(2026, 11, 1, 0, 59), utc(2026, 11, 1, 4, 59)),
        (datetime(2026, 11, 1, 1, 30), utc(2026, 11, 1, 5, 30)),
        (datetime(2026, 11, 1, 2, 0), utc(2026, 11, 1, 7)),
    ],
)
def test_from_new_york(wall, moment):
    """Wall times as UTC, those skipped and those repeated too."""
    converted = from_new_york(wall)
    assert (moment, timedelta(0)) == (converted, converted.utcoffset())


def test_at_new_york():
    """A time of day in New York as UTC."""
    assert utc(2026, 11, 2, 14, 30) == new_york_time(date(2026, 11, 2), 9, 30)
    assert utc(2026, 10, 30, 13) == new_york_time(date(2026, 10, 30), 9)


def test_market_day():
    """The day changes at midnight in New York, not in UTC."""
    assert date(2026, 8, 18) == market_day(utc(2026, 8, 19, 3, 59, 59))
    assert date(2026, 8, 19) == market_day(utc(2026, 8, 19, 4))


@pytest.mark.parametrize(
    ("day", "then"),
    [
        ((2026, 8, 19), (2026, 8, 20)),
        ((2026, 8, 21), (2026, 8, 24)),
        ((2026, 4, 2), (2026, 4, 6)),  # Good Friday and a weekend
        ((2026, 7, 4), (2026, 7, 6)),
        ((2026, 12, 31), (2027, 1, 4)),  # New Year on a Friday
    ],
)
def test_next_session(day, then):
    """The first session after a day, over weekends, holidays and the turn of the year."""
    assert date(*then) == next_session(date(*day)).day


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (utc(2026, 8, 19, 13, 30), (2026, 8, 19)),
        (utc(2026, 8, 19, 13, 29, 59), (2026, 8, 18)),
        (utc(2026, 8, 23, 12), (2026, 8, 21)),
        (utc(2026, 9, 7, 18), (2026, 9, 4)),  # Labor Day
        (utc(2027, 1, 2, 18), (2026, 12, 31)),
    ],
)
def test_last_session(moment, day):
    """The newest session that has opened by a moment."""
    assert date(*day) == last_session(moment).day


def test_sessions_between():
    """Both ends are included, over a turn of the year too; an empty period has none."""
    sessions = sessions_between(date(2025, 12, 30), date(2026, 1, 5))
    assert [
        date(2025, 12, 30),
        date(2025, 12, 31),
        date(2026, 1, 2),
        date(2026, 1, 5),
    ] == [s.day for s in sessions]
    assert sessions_between(date(2026, 7, 4), date(2026, 7, 5)) == []
    assert sessions_between(date(2026, 7, 7), date(2026, 7, 6)) == []


@pytest.mark.parametrize(
    ("symbol", "day", "expires"),
    [
        ("SPX", (2026, 8, 19), utc(2026, 8, 19, 20)),
        ("SPY", (2026, 8, 19), utc(2026, 8, 19, 20, 15)),
        ("QQQ", (2026, 8, 19), utc(2026, 8, 19, 20, 15)),
        ("IWM", (2026, 8, 19), utc(2026, 8, 19, 20, 15)),
        ("DIA", (2026, 8, 19), utc(2026, 8, 19, 20, 15)),
        ("AAPL", (2026, 8, 19), utc(2026, 8, 19, 20)),
        ("SPX", (2026, 11, 27), utc(2026, 11, 27, 18)),
        ("SPY", (2026, 11, 27), utc(2026, 11, 27, 18, 15)),
        ("SPY", (2026, 12, 24), utc(2026, 12, 24, 18, 15)),
    ],
)
def test_expiry_of(symbol, day, expires):
    """Options of some funds trade a quarter of an hour longer, on short days too."""
    assert expires == expiry_moment(symbol, on(*day))


@pytest.mark.parametrize(
    ("symbol", "day", "morning", "expires"),
    [
        # The day after Thanksgiving and Christmas Eve close at 13:00 New York.
        ("SPX", (2026, 11, 27), False, utc(2026, 11, 27, 18)),
        ("XSP", (2026, 11, 27), False, utc(2026, 11, 27, 18)),
        ("AAPL", (2026, 12, 24), False, utc(2026, 12, 24, 18)),
        ("SPY", (2026, 11, 27), False, utc(2026, 11, 27, 18, 15)),
        ("DIA", (2026, 12, 24), False, utc(2026, 12, 24, 18, 15)),
        # Full days: 16:00, 16:15 for the late funds; summer and winter.
        ("SPX", (2026, 11, 25), False, utc(2026, 11, 25, 21)),
        ("QQQ", (2026, 8, 21), False, utc(2026, 8, 21, 20, 15)),
        # Morning settlement, on a short day too.
        ("SPX", (2026, 11, 20), True, utc(2026, 11, 20, 14, 30)),
        ("SPX", (2026, 11, 27), True, utc(2026, 11, 27, 14, 30)),
        # A day without a session counts to the regular hours.
        ("SPX", (2026, 11, 28), False, utc(2026, 11, 28, 21)),
        ("IWM", (2026, 11, 26), False, utc(2026, 11, 26, 21, 15)),
    ],
)
def test_expiry_on_any_day(symbol, day, morning, expires):
    """Each expiry counts to its own last moment: early closes, late funds, morning settlement."""
    assert expires == expiry_moment_on(symbol, date(*day), morning=morning)


def test_quiet_day():
    """Why a day has no session."""
    assert closed_day_kind(date(2026, 7, 4)) == "weekend"
    assert closed_day_kind(date(2026, 7, 3)) == "market holiday"
