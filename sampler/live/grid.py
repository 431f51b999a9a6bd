"""When a sample is due, and which slot it owes: the session's grid, shifted by the feed's delay."""

from __future__ import annotations

from datetime import datetime, timedelta

from storage.market.calendar import GRID, Session, market_day, next_session, session_on

#: The last slot is brought up to date this long after the close.
AFTER_CLOSE = timedelta(seconds=5)
#: Two clocks that map to each other by rounding: less than this is the same moment.
CLOCK_TOLERANCE = timedelta(milliseconds=5)
SLOT_WIDTH = timedelta(seconds=GRID)


def next_tick(after: datetime, delay: timedelta) -> datetime:
    """The first moment after ``after`` at which a sample is due.

    Quotes lie ``delay`` behind, so the whole day is shifted by it: from ``delay`` past the open to
    a little more than ``delay`` past the close.
    """
    quoted = after - delay
    session = session_on(market_day(quoted))
    if session is None or quoted >= session.close + AFTER_CLOSE:
        return next_session(market_day(quoted)).open + delay
    if quoted < session.open:
        return session.open + delay
    step = session.open + ((quoted - session.open) // SLOT_WIDTH + 1) * SLOT_WIDTH
    return (step if step < session.close else session.close + AFTER_CLOSE) + delay


def due_slot(now: datetime, delay: timedelta) -> tuple[Session, datetime] | None:
    """The session, and the newest slot of it that should have been sampled by ``now``."""
    quoted = now - delay + CLOCK_TOLERANCE
    session = session_on(market_day(quoted))
    if session is None or quoted < session.open:
        return None
    slot = session.open + ((quoted - session.open) // SLOT_WIDTH) * SLOT_WIDTH
    return session, min(slot, session.last_slot)
