"""The market's time: the machine's clock, or a simulated one that several processes share.

A simulated clock may stand at its start until a file says when it began. It skips nights and
weekends: 20 minutes after a close it jumps to one minute before the next open. Time-outs are always
in the machine's time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.errors import UsageError
from storage.market.calendar import market_day, next_session, session_on

#: A simulated day lasts this long beyond its close, in which a delayed feed still arrives.
AFTER_CLOSE = timedelta(minutes=20)
#: The next simulated day begins this long before its open.
BEFORE_OPEN = timedelta(minutes=1)
_FORM = (
    "real, or simulated:<start>@<speed>[@<wall anchor, or a file that will have it>], times in ISO"
    " 8601 with an offset"
)
#: Anchors that were read, by file.
_anchors: dict[Path, datetime] = {}


@dataclass(frozen=True, slots=True)
class Clock:
    """A mapping between the machine's time and market time; without ``start`` the two are the same.

    Two processes with the same value agree on the time to the microsecond.
    """

    start: datetime | None = None
    speed: float = 1.0
    anchor: datetime | None = None
    #: The file that has the anchor once the market begins; None where it is known from the start.
    anchor_file: Path | None = None

    @property
    def simulated(self) -> bool:
        """Whether this is not the machine's own clock."""
        return self.start is not None

    @property
    def waits(self) -> bool:
        """Whether this is a simulated clock that stands at its start, and has not begun."""
        return self.start is not None and self._anchor() is None

    def _anchor(self) -> datetime | None:
        """The machine's time at the start; None while it is not known."""
        if self.anchor is not None or self.anchor_file is None:
            return self.anchor
        if self.anchor_file not in _anchors:
            with suppress(FileNotFoundError):
                _anchors[self.anchor_file] = _moment(self.anchor_file.read_text())
        return _anchors.get(self.anchor_file)

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
        if self.start is None:
            return wall
        anchor = self._anchor()
        if anchor is None:
            return self.start
        moment, left = self.start, (wall - anchor) * self.speed
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

        Raises
        ------
        ValueError
            If the clock waits for its start.
        """
        if self.start is None:
            return moment
        anchor = self._anchor()
        if anchor is None:
            raise ValueError("the clock waits: nobody knows yet when it begins")
        begin, passed = self.start, timedelta()
        while moment > (end := _day_end(begin)):
            passed += end - begin
            begin = next_session(market_day(end)).open - BEFORE_OPEN
        return anchor + (passed + max(moment - begin, timedelta())) / self.speed

    def __str__(self) -> str:
        if self.start is None:
            return "real"
        anchor = self._anchor()
        begins = self.anchor_file if anchor is None else anchor.isoformat()
        # With all digits, so that a process that reads this agrees to the microsecond.
        speed = repr(self.speed).removesuffix(".0")
        return f"simulated:{self.start.isoformat()}@{speed}@{begins}"


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
    text : ``real``, or ``simulated:START@SPEED`` with an optional anchor: a time, or the whole path
        of a file that will have it. Without one the clock begins now.

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
        begins = parts[2] if len(parts) == 3 else datetime.now(UTC).isoformat()
        waits = begins.startswith("/")
        anchor = None if waits else _moment(begins)
        if not 0 < speed <= 3600:
            raise ValueError("speed must be above 0 and at most 3600")
    except (ValueError, OverflowError) as error:
        raise UsageError(f"FLOW_CLOCK: {text!r}: {error}; expected {_FORM}") from error
    return Clock(start, speed, anchor, Path(begins) if waits else None)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(UTC)
