"""The market calendar's one home: sessions, early closes, the 30-second grid, New York time.

Everything outside this module is UTC. The calendar is NYSE: the package's CBOE calendars
miss early closes (24 December), and the two exchanges share their holidays and hours.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from storage.errors import UsageError
from storage.market.constants import GRID_SECONDS, SLOT_WIDTH
from storage.market.instruments import instrument_of

NEW_YORK = ZoneInfo("America/New_York")

#: Days that differ from the package's calendar: the close in New York, or None for no session.
CalendarOverrides = dict[date, time | None]

_OPEN, _CLOSE = time(9, 30), time(16)
#: Those of this process.
_overrides: CalendarOverrides = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One trading day.

    A slot is a point of the grid from ``open`` to 30 seconds before ``close``: 780 on a full
    day, 420 on a 13:00 close.
    """

    #: The day in New York.
    day: date
    #: First moment of regular trading, UTC.
    open: datetime
    #: First moment after regular trading, UTC.
    close: datetime

    @property
    def slots(self) -> list[datetime]:
        """Every grid point of the session, in order."""
        return [self.open + i * SLOT_WIDTH for i in range(self.slot_count)]

    @property
    def slot_count(self) -> int:
        """How many grid points the session has."""
        return int((self.close - self.open).total_seconds()) // GRID_SECONDS

    @property
    def last_slot(self) -> datetime:
        """The grid point of the session's last 45 seconds."""
        return self.close - SLOT_WIDTH

    def slot_of(self, quoted_at: datetime) -> datetime | None:
        """Return the grid point nearest to a quote's time; None outside the session.

        Halfway goes to the later point; the last 15 seconds belong to the last slot.

        Parameters
        ----------
        quoted_at : when the quotes were made.

        Returns
        -------
        datetime or None
            The slot, UTC.
        """
        if not self.open <= quoted_at < self.close:
            return None
        steps = int((quoted_at - self.open).total_seconds() + GRID_SECONDS / 2) // GRID_SECONDS
        return min(self.open + steps * SLOT_WIDTH, self.last_slot)

    def elapsed(self, moment: datetime) -> float:
        """Return the part of the session that has passed.

        Parameters
        ----------
        moment : a moment.

        Returns
        -------
        float
            0 before the open, 1 from the close on. [0-1]
        """
        whole = (self.close - self.open).total_seconds()
        return min(max((moment - self.open).total_seconds() / whole, 0.0), 1.0)


def to_new_york(moment: datetime) -> datetime:
    """Return the same moment on a New York clock.

    Parameters
    ----------
    moment : with any offset.

    Returns
    -------
    datetime
        The moment, with New York's offset.
    """
    return moment.astimezone(NEW_YORK)


def from_new_york(wall: datetime) -> datetime:
    """Return the moment of a New York wall time without offset.

    An hour that the autumn change repeats is read as its first pass; one that the spring change
    skips is read with the offset before it. Neither ever falls into a session.

    Parameters
    ----------
    wall : date and time in New York, without offset.

    Returns
    -------
    datetime
        The moment, UTC.
    """
    return wall.replace(tzinfo=NEW_YORK).astimezone(UTC)


def market_day(moment: datetime) -> date:
    """Return the calendar day in New York.

    Parameters
    ----------
    moment : with any offset.

    Returns
    -------
    date
        The day there.
    """
    return to_new_york(moment).date()


def parse_overrides(text: str) -> CalendarOverrides:
    """Read days that differ from the calendar, from ``FLOW_CALENDAR_OVERRIDES``.

    Parameters
    ----------
    text : ``day=closed`` or ``day=HH:MM``, the close in New York; comma-separated.

    Returns
    -------
    dict of date to time or None
        The close in New York by day; None for a day without a session.

    Raises
    ------
    UsageError
        If the text has another form, a day stands there twice, a close is not a minute after 09:30
        and up to 16:00, or a weekend is given a close.
    """
    overrides: CalendarOverrides = {}
    for item in filter(None, (word.strip() for word in text.split(","))):
        shown, _, value = item.partition("=")
        try:
            day = date.fromisoformat(shown.strip())
            close = None if value.strip() == "closed" else time.fromisoformat(value.strip())
        except ValueError:
            raise UsageError(
                f"{item[:80]!r} is not of the form 2027-02-11=closed or 2027-02-11=13:00"
            ) from None
        if day in overrides:
            raise UsageError(f"{day} stands there twice")
        if close is not None:
            if not _OPEN < close.replace(tzinfo=None) <= _CLOSE or close != time(
                close.hour, close.minute
            ):
                raise UsageError(
                    f"{item[:80]!r}: a close is a minute after 09:30 and up to 16:00, New York"
                )
            if day.weekday() >= 5:
                raise UsageError(f"{day} is a weekend: it has no session that could close early")
        overrides[day] = close
    return overrides


def use_overrides(overrides: CalendarOverrides) -> None:
    """Let days of this process's calendar differ from the package's, from now on.

    The calendar is a fact about the world that every part of a process shares. Therefore it is
    changed in place, once, before anything reads it.

    Parameters
    ----------
    overrides : the close in New York by day; None for a day without a session. Empty: the
        package's calendar as it is.

    Raises
    ------
    UsageError
        If a day has no session that could close early.
    """
    _overrides.clear()
    _overrides.update(overrides)
    _year.cache_clear()
    for day, close in overrides.items():
        if close is not None and session_on(day) is None:
            raise UsageError(
                f"FLOW_CALENDAR_OVERRIDES: {day} is a market holiday: it has no session that could"
                " close early"
            )


def _overridden(session: Session) -> Session | None:
    """The session as the overrides have it; None if it is not held."""
    if session.day not in _overrides:
        return session
    close = _overrides[session.day]
    if close is None:
        return None
    return replace(session, close=from_new_york(datetime.combine(session.day, close)))


@cache
def _year(year: int) -> tuple[Session, ...]:
    # Half a second to import: only the commands that need a calendar pay it.
    import pandas_market_calendars as calendars

    schedule = calendars.get_calendar("NYSE").schedule(f"{year}-01-01", f"{year}-12-31")
    published = (
        Session(
            day=row.Index.date(),
            open=row.market_open.to_pydatetime().astimezone(UTC),
            close=row.market_close.to_pydatetime().astimezone(UTC),
        )
        for row in schedule.itertuples()
    )
    return tuple(s for session in published if (s := _overridden(session)) is not None)


def session_on(day: date) -> Session | None:
    """Return the session of a New York day; None when the market is closed all day.

    Parameters
    ----------
    day : the day.

    Returns
    -------
    Session or None
        Its hours.
    """
    sessions = _year(day.year)
    index = bisect.bisect_left(sessions, day, key=lambda s: s.day)
    return sessions[index] if index < len(sessions) and sessions[index].day == day else None


def sessions_between(first: date, last: date) -> list[Session]:
    """Return all sessions from one day to another, both included.

    Parameters
    ----------
    first, last : the first and the last day.

    Returns
    -------
    list of Session
        The sessions, ascending.
    """
    years = range(first.year, last.year + 1)
    return [s for year in years for s in _year(year) if first <= s.day <= last]


def next_session(day: date) -> Session:
    """Return the first session after a day.

    Parameters
    ----------
    day : the day; its own session does not count.

    Returns
    -------
    Session
        The session.
    """
    return sessions_between(day + timedelta(days=1), day + timedelta(days=15))[0]


def last_session(moment: datetime) -> Session:
    """Return the newest session that has opened by a moment.

    Parameters
    ----------
    moment : with any offset.

    Returns
    -------
    Session
        The session; it may be over.
    """
    day = market_day(moment)
    return [s for s in sessions_between(day - timedelta(days=15), day) if s.open <= moment][-1]


def expiry_moment(symbol: str, session: Session) -> datetime:
    """Return when a symbol's options of a session stop trading, UTC: what time to expiry counts to.

    That is the session's close, early or not; a quarter of an hour later for the funds whose
    expiring options trade on.

    Parameters
    ----------
    symbol : the underlying.
    session : the session on which they expire.

    Returns
    -------
    datetime
        The moment, UTC.
    """
    return session.close + instrument_of(symbol).late_close


def expiry_moment_on(symbol: str, day: date, *, morning: bool = False) -> datetime:
    """Return when a symbol's options of any day expire, UTC.

    Parameters
    ----------
    symbol : the underlying.
    day : the day of expiry, New York. On a day without a session options are taken to expire at
        the regular hours.
    morning : whether the contracts settle on the morning's opening prices.

    Returns
    -------
    datetime
        The moment, UTC.
    """
    if morning:
        return new_york_time(day, 9, 30)
    session = session_on(day)
    if session is not None:
        return expiry_moment(symbol, session)
    return new_york_time(day, 16) + instrument_of(symbol).late_close


def closed_day_kind(day: date) -> str:
    """Say why a day without a session has none.

    Parameters
    ----------
    day : the day.

    Returns
    -------
    str
        ``weekend`` or ``market holiday``.
    """
    return "weekend" if day.weekday() >= 5 else "market holiday"


def new_york_time(day: date, hour: int, minute: int = 0) -> datetime:
    """Return the moment of a time of day in New York.

    Parameters
    ----------
    day : the day.
    hour, minute : the time of day there.

    Returns
    -------
    datetime
        The moment, UTC.
    """
    return from_new_york(datetime.combine(day, time(hour, minute)))
