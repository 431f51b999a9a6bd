"""The market's time: the machine's clock, or a simulated one that several processes share.

A simulated clock skips nights and weekends: 20 minutes after a close it jumps to one minute before
the next open. Time-outs are always in the machine's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.errors import UsageError
from storage.market.calendar import market_day, next_session, session_on

#: A simulated day lasts this long beyond its close, in which a delayed feed still arrives.
AFTER_CLOSE = timedelta(minutes=20)
#: The next simulated day begins this long before its open.
BEFORE_OPEN = timedelta(minutes=1)
_FORM = "real, or simulated:<start>@<speed>[@<wall anchor>], times in ISO 8601 with an offset"


@dataclass(frozen=True, slots=True)
class Clock:
    """A mapping between the machine's time and market time; without ``start`` the two are the same.

    Two processes with the same value agree on the time to the microsecond.
    """

    start: datetime | None = None
    speed: float = 1.0
    anchor: datetime | None = None

    @property
    def simulated(self) -> bool:
        """Whether this is not the machine's own clock."""
        return self.start is not None

    def now(self) -> datetime:
        """Return the market's time at this moment, UTC."""
        return self.market_time(datetime.now(UTC))

    def market_time(self, wall: datetime) -> datetime:
        """Return the market's time when the machine's clock shows ``wall``.

        Parameters
        ----------
        wall : the machine's time, UTC.

        Returns
        -------
        datetime
            The market's time, UTC.
        """
        if self.start is None or self.anchor is None:
            return wall
        moment, left = self.start, (wall - self.anchor) * self.speed
        while moment + left > (end := _day_end(moment)):
            left -= end - moment
            moment = next_session(market_day(end)).open - BEFORE_OPEN
        return moment + left

    def wall_time(self, moment: datetime) -> datetime:
        """Return what the machine's clock shows when the market's time is ``moment``.

        A moment in hours that a simulated clock skips maps to the next open.

        Parameters
        ----------
        moment : the market's time, UTC.

        Returns
        -------
        datetime
            The machine's time, UTC.
        """
        if self.start is None or self.anchor is None:
            return moment
        begin, passed = self.start, timedelta()
        while moment > (end := _day_end(begin)):
            passed += end - begin
            begin = next_session(market_day(end)).open - BEFORE_OPEN
        return self.anchor + (passed + max(moment - begin, timedelta())) / self.speed

    def __str__(self) -> str:
        if self.start is None or self.anchor is None:
            return "real"
        # With all digits, so that a process that reads this agrees to the microsecond.
        speed = repr(self.speed).removesuffix(".0")
        return f"simulated:{self.start.isoformat()}@{speed}@{self.anchor.isoformat()}"


def _day_end(moment: datetime) -> datetime:
    """Return the moment after ``moment`` from which a simulated clock jumps."""
    day = session_on(market_day(moment))
    if day is not None and moment <= day.close + AFTER_CLOSE:
        return day.close + AFTER_CLOSE
    return next_session(market_day(moment)).close + AFTER_CLOSE


def parse_clock(text: str) -> Clock:
    """Read a clock from ``FLOW_CLOCK``.

    Parameters
    ----------
    text : ``real``, or ``simulated:START@SPEED`` with an optional anchor.

    Returns
    -------
    Clock
        The clock.

    Raises
    ------
    UsageError
        If the text is not of the documented form.
    """
    if text == "real":
        return Clock()
    kind, _, rest = text.partition(":")
    parts = rest.split("@")
    try:
        if kind != "simulated" or len(parts) not in (2, 3):
            raise ValueError("unknown form")
        start = _moment(parts[0])
        speed = float(parts[1].rstrip("x×"))
        anchor = _moment(parts[2]) if len(parts) == 3 else datetime.now(UTC)
        if not 0 < speed <= 3600:
            raise ValueError("speed must be above 0 and at most 3600")
    except (ValueError, OverflowError) as error:
        raise UsageError(f"FLOW_CLOCK: {text!r}: {error}; expected {_FORM}") from error
    return Clock(start, speed, anchor)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(UTC)
