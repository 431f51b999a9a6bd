"""The market calendar's one home: sessions, early closes, the 30-second grid, New York time.

Everything outside this module is UTC. The calendar is NYSE: the package's CBOE calendars
miss early closes (24 December), and the two exchanges share their holidays and hours.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from storage.market.constants import GRID_SECONDS, SLOT_WIDTH
from storage.market.instruments import instrument_of

NEW_YORK = ZoneInfo("America/New_York")


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
        """The grid point nearest to a quote's time; None outside the session.

        Halfway goes to the later point; the last 15 seconds belong to the last slot.
        """
        if not self.open <= quoted_at < self.close:
            return None
        steps = int((quoted_at - self.open).total_seconds() + GRID_SECONDS / 2) // GRID_SECONDS
        return min(self.open + steps * SLOT_WIDTH, self.last_slot)

    def elapsed(self, moment: datetime) -> float:
        """The part of the session that has passed, 0 to 1."""
        whole = (self.close - self.open).total_seconds()
        return min(max((moment - self.open).total_seconds() / whole, 0.0), 1.0)


def to_new_york(moment: datetime) -> datetime:
    """The same moment on a New York clock."""
    return moment.astimezone(NEW_YORK)


def from_new_york(wall: datetime) -> datetime:
    """UTC of a New York wall time without offset.

    An hour that the autumn change repeats is read as its first pass; one that the spring change
    skips is read with the offset before it. Neither ever falls into a session.
    """
    return wall.replace(tzinfo=NEW_YORK).astimezone(UTC)


def market_day(moment: datetime) -> date:
    """The calendar day in New York."""
    return to_new_york(moment).date()


@cache
def _year(year: int) -> tuple[Session, ...]:
    # Half a second to import: only the commands that need a calendar pay it.
    import pandas_market_calendars as calendars

    schedule = calendars.get_calendar("NYSE").schedule(f"{year}-01-01", f"{year}-12-31")
    return tuple(
        Session(
            day=row.Index.date(),
            open=row.market_open.to_pydatetime().astimezone(UTC),
            close=row.market_close.to_pydatetime().astimezone(UTC),
        )
        for row in schedule.itertuples()
    )


def session_on(day: date) -> Session | None:
    """The session of a New York day; None when the market is closed all day."""
    sessions = _year(day.year)
    at = bisect.bisect_left(sessions, day, key=lambda s: s.day)
    return sessions[at] if at < len(sessions) and sessions[at].day == day else None


def sessions_between(first: date, last: date) -> list[Session]:
    """All sessions from one day to another, both included."""
    years = range(first.year, last.year + 1)
    return [s for year in years for s in _year(year) if first <= s.day <= last]


def next_session(day: date) -> Session:
    """The first session after a day."""
    return sessions_between(day + timedelta(days=1), day + timedelta(days=15))[0]


def last_session(moment: datetime) -> Session:
    """The newest session that has opened by a moment."""
    day = market_day(moment)
    return [s for s in sessions_between(day - timedelta(days=15), day) if s.open <= moment][-1]


def expiry_moment(symbol: str, session: Session) -> datetime:
    """Return when a symbol's options of a session stop trading, UTC: what time to expiry counts to.

    That is the session's close, early or not; a quarter of an hour later for the funds whose
    expiring options trade on.
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
    """
    if morning:
        return new_york_time(day, 9, 30)
    session = session_on(day)
    if session is not None:
        return expiry_moment(symbol, session)
    return new_york_time(day, 16) + instrument_of(symbol).late_close


def closed_day_kind(day: date) -> str:
    """Why a day without a session has none, in words."""
    return "weekend" if day.weekday() >= 5 else "market holiday"


def new_york_time(day: date, hour: int, minute: int = 0) -> datetime:
    """UTC of a time of day in New York."""
    return from_new_york(datetime.combine(day, time(hour, minute)))
