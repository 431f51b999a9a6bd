"""The market's clock: real, or simulated and shared by all processes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.market.calendar import market_day, session_on
from storage.market.clock import Clock, parse_clock

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
FORM = (
    "expected real, or simulated:<start>@<speed>[@<wall anchor, or a file that will have it>],"
    " times in ISO 8601 with an offset"
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def clock(start: datetime, speed: float = 60.0) -> Clock:
    return Clock(start, speed, ANCHOR)


def test_real_is_the_machine():
    """The real clock is the identity, and now is now."""
    real = parse_clock("real")
    before = datetime.now(UTC)
    now = real.now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)
    assert (
        utc(2026, 8, 22, 3)
        == real.market_time(utc(2026, 8, 22, 3))
        == real.wall_time(utc(2026, 8, 22, 3))
    )
    assert not real.simulated
    assert str(real) == "real"


def test_simulated_runs_at_its_speed():
    """Sixty times as fast: ten seconds are ten minutes, and back."""
    simulated = clock(utc(2026, 8, 19, 13, 30))
    assert simulated.simulated
    assert utc(2026, 8, 19, 13, 30) == simulated.market_time(ANCHOR)
    assert utc(2026, 8, 19, 13, 40) == simulated.market_time(ANCHOR + timedelta(seconds=10))
    assert ANCHOR + timedelta(seconds=10) == simulated.wall_time(utc(2026, 8, 19, 13, 40))


def test_a_clock_that_waits_stands_until_a_file_says_when_it_began(tmp_path):
    """Each process with the same value begins at the same moment, whenever it looks."""
    start, file = utc(2026, 8, 19, 13, 30), tmp_path / "began"
    text = f"simulated:{start.isoformat()}@60@{file}"
    waiting = parse_clock(text)
    assert (waiting.waits, waiting.simulated, str(waiting)) == (True, True, text)
    assert waiting.now() == waiting.market_time(ANCHOR + timedelta(days=9)) == start
    with pytest.raises(ValueError, match="waits"):
        waiting.wall_time(start)
    file.write_text(ANCHOR.isoformat())
    for begun in (waiting, parse_clock(text)):
        assert not begun.waits
        assert begun.market_time(ANCHOR + timedelta(seconds=10)) == utc(2026, 8, 19, 13, 40)
        assert begun.wall_time(utc(2026, 8, 19, 13, 40)) == ANCHOR + timedelta(seconds=10)
        assert parse_clock(str(begun)).market_time(ANCHOR) == start
    file.unlink()
    assert not waiting.waits
    assert not Clock().waits


def test_now_is_the_machine_mapped():
    """What a simulated clock shows now is what it maps the machine's time to."""
    start = utc(2026, 8, 19, 13, 30)
    simulated = Clock(start, 1.0, datetime.now(UTC))
    before = simulated.market_time(datetime.now(UTC))
    now = simulated.now()
    assert start <= before <= now <= simulated.market_time(datetime.now(UTC))


@pytest.mark.parametrize(
    ("start", "last", "then"),
    [
        # A night.
        (utc(2026, 8, 19, 20), utc(2026, 8, 19, 20, 20), utc(2026, 8, 20, 13, 29)),
        # A weekend.
        (utc(2026, 8, 21, 20), utc(2026, 8, 21, 20, 20), utc(2026, 8, 24, 13, 29)),
        # Independence Day, observed on Friday, and a weekend.
        (utc(2026, 7, 2, 20), utc(2026, 7, 2, 20, 20), utc(2026, 7, 6, 13, 29)),
        # Thanksgiving, and the 13:00 close of the day after.
        (utc(2026, 11, 25, 21), utc(2026, 11, 25, 21, 20), utc(2026, 11, 27, 14, 29)),
        (utc(2026, 11, 27, 18), utc(2026, 11, 27, 18, 20), utc(2026, 11, 30, 14, 29)),
        # Clocks are put forward, and back.
        (utc(2026, 3, 6, 21), utc(2026, 3, 6, 21, 20), utc(2026, 3, 9, 13, 29)),
        (utc(2026, 10, 30, 20), utc(2026, 10, 30, 20, 20), utc(2026, 11, 2, 14, 29)),
    ],
)
def test_jumps_from_twenty_after_the_close_to_one_before_the_open(start, last, then):
    """From 20 minutes after a close the clock goes on a minute before the next open."""
    simulated = clock(start)
    close_to_jump = ANCHOR + timedelta(seconds=20)
    assert last == simulated.market_time(close_to_jump)
    assert then + timedelta(minutes=1) == simulated.market_time(
        close_to_jump + timedelta(seconds=1)
    )
    assert then + timedelta(microseconds=60) == simulated.market_time(
        close_to_jump + timedelta(microseconds=1)
    )
    assert close_to_jump + timedelta(seconds=1) == simulated.wall_time(then + timedelta(minutes=1))


def test_a_week_takes_five_days():
    """Five sessions of 411 minutes, the first without the minute before its open."""
    simulated = clock(utc(2026, 8, 17, 13, 30))
    assert utc(2026, 8, 24, 13, 30) == simulated.market_time(
        ANCHOR + timedelta(seconds=410 + 4 * 411 + 1)
    )


def test_moments_left_out_come_with_the_next_day():
    """A moment of the night is on the wall when the next day begins."""
    simulated = clock(utc(2026, 8, 19, 20))
    assert ANCHOR + timedelta(seconds=20) == simulated.wall_time(utc(2026, 8, 19, 23))
    assert ANCHOR + timedelta(seconds=20) == simulated.wall_time(utc(2026, 8, 20, 13, 29))


def test_before_its_anchor():
    """Before its anchor the clock runs the same way; what lies before its start is past."""
    simulated = clock(utc(2026, 8, 19, 15))
    assert utc(2026, 8, 19, 14, 30) == simulated.market_time(ANCHOR - timedelta(seconds=30))
    assert simulated.wall_time(utc(2026, 8, 19, 14, 30)) == ANCHOR


SPEEDS = st.sampled_from([1.0, 7.5, 12.345678, 60.0, 3600.0])
STARTS = st.datetimes(datetime(2026, 2, 1), datetime(2026, 12, 1)).map(
    lambda d: d.replace(tzinfo=UTC)
)
#: Market time since the start, in microseconds: up to eight trading days.
PASSED = st.integers(0, 8 * 411 * 60_000_000)


@settings(deadline=None)
@given(STARTS, SPEEDS, PASSED)
def test_wall_is_the_inverse(start, speed, passed):
    """From the wall to the market and back is where one began, to the microsecond."""
    simulated = clock(start, speed)
    wall = ANCHOR + timedelta(microseconds=passed) / speed
    assert abs(simulated.wall_time(simulated.market_time(wall)) - wall) <= timedelta(microseconds=2)


@settings(deadline=None)
@given(STARTS, SPEEDS, PASSED, PASSED)
def test_never_goes_back(start, speed, first, other):
    """A later wall never shows an earlier market time."""
    simulated = clock(start, speed)
    walls = sorted(ANCHOR + timedelta(microseconds=p) / speed for p in (first, other))
    assert simulated.market_time(walls[0]) <= simulated.market_time(walls[1])


@settings(deadline=None)
@given(STARTS, SPEEDS, PASSED)
def test_shows_market_hours_only(start, speed, passed):
    """After its first jump the clock only shows a minute before an open to 20 after the close."""
    simulated = clock(start, speed)
    moment = simulated.market_time(ANCHOR + timedelta(microseconds=passed) / speed)
    if market_day(moment) == market_day(start) or (moment - start) < timedelta(days=5):
        return
    session = session_on(market_day(moment))
    assert session is not None
    assert session.open - timedelta(minutes=1) <= moment <= session.close + timedelta(minutes=20)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unknown form"),
        ("Real", "unknown form"),
        ("simulated", "unknown form"),
        ("simulated:2026-08-19T13:30Z", "unknown form"),
        ("faked:2026-08-19T13:30Z@60", "unknown form"),
        ("simulated:2026-08-19T13:30Z@60@2026-01-01T00:00Z@1", "unknown form"),
        ("simulated:@60", "Invalid isoformat string: ''"),
        ("simulated:tomorrow@60", "Invalid isoformat string: 'tomorrow'"),
        ("simulated:2026-08-19T13:30@60", "'2026-08-19T13:30' has no offset"),
        ("simulated:2026-08-19@60", "'2026-08-19' has no offset"),
        ("simulated:2026-08-19T13:30Z@60@2026-01-01T00:00", "'2026-01-01T00:00' has no offset"),
        ("simulated:2026-08-19T13:30Z@", "could not convert string to float: ''"),
        ("simulated:2026-08-19T13:30Z@fast", "could not convert string to float: 'fast'"),
        ("simulated:2026-08-19T13:30Z@0", "speed must be above 0 and at most 3600"),
        ("simulated:2026-08-19T13:30Z@-60", "speed must be above 0 and at most 3600"),
        ("simulated:2026-08-19T13:30Z@3601", "speed must be above 0 and at most 3600"),
        ("simulated:2026-08-19T13:30Z@inf", "speed must be above 0 and at most 3600"),
        ("simulated:2026-08-19T13:30Z@nan", "speed must be above 0 and at most 3600"),
        ("simulated:0001-01-01T00:00+14:00@60", "date value out of range"),
    ],
)
def test_bad_texts(text, why):
    """Each says what is wrong with it, and how it should look."""
    with pytest.raises(UsageError) as raised:
        parse_clock(text)
    assert f"FLOW_CLOCK: {text!r}: {why}; {FORM}" == str(raised.value)


def test_parts_of_a_text():
    """Any offset will do, and an x behind the speed."""
    parsed = parse_clock("simulated:2026-08-19T09:30:00-04:00@60x@2026-01-01T01:00+01:00")
    assert clock(utc(2026, 8, 19, 13, 30)) == parsed
    assert str(parsed) == "simulated:2026-08-19T13:30:00+00:00@60@2026-01-01T00:00:00+00:00"


def test_without_an_anchor_it_starts_now():
    """Without a wall anchor, the clock starts when it is read."""
    before = datetime.now(UTC)
    parsed = parse_clock("simulated:2026-08-19T13:30Z@60")
    assert parsed.anchor is not None
    assert before <= parsed.anchor <= datetime.now(UTC)


@settings(deadline=None)
@given(
    STARTS,
    st.floats(0, 3600, exclude_min=True),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_text_round_trip(start, speed, anchor):
    """A clock's text gives the very same clock."""
    simulated = Clock(start, speed, anchor.replace(tzinfo=UTC))
    assert simulated == parse_clock(str(simulated))


def test_two_processes_agree():
    """Processes that are given one clock's text show the same time at the same moment."""
    text = str(Clock(utc(2026, 8, 21, 19), 123.456789, ANCHOR))
    program = (
        "import sys; from datetime import *; from storage.market.clock import parse_clock;"
        "c = parse_clock(sys.argv[1]);"
        "a = datetime(2026, 1, 1, tzinfo=timezone.utc);"
        "print([c.market_time(a + timedelta(seconds=s)).isoformat() for s in (0, 1, 30, 60)])"
    )
    command = [sys.executable, "-c", program, text]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in running]
    # 123.456789 s, then 3703.703670 s; 7407.407340 s are 2607.407340 s after the jump at 20:20.
    expected = [
        "2026-08-21T19:00:00+00:00",
        "2026-08-21T19:02:03.456789+00:00",
        "2026-08-21T20:01:43.703670+00:00",
        "2026-08-24T14:12:27.407340+00:00",
    ]
    assert [str(expected)] * 2 == outputs
