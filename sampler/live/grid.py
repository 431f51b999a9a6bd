"""When a sample is due and for which slot: the session's grid, shifted by the feed's delay."""

from __future__ import annotations

from datetime import datetime, timedelta

from storage.market.calendar import Session, market_day, next_session, session_on
from storage.market.constants import SLOT_WIDTH

#: The last slot is sampled once more this long after the close, for the quotes of its last seconds.
AFTER_CLOSE = timedelta(seconds=5)
#: Moments that lie closer than this are the same one: a simulated clock and the machine's map to
#: each other with rounding.
CLOCK_TOLERANCE = timedelta(milliseconds=5)


def next_tick(after: datetime, delay: timedelta) -> datetime:
    """Return the first moment after ``after`` at which a sample is due.

    Parameters
    ----------
    after : a moment of the clock.
    delay : how far the feed's quotes lie behind the clock. The whole day is shifted by it: samples
        are due from ``delay`` after the open to ``delay + AFTER_CLOSE`` after the close.

    Returns
    -------
    datetime
        The moment, UTC; on the next session if this one is over.
    """
    quoted = after - delay
    session = session_on(market_day(quoted))
    if session is None or quoted >= session.close + AFTER_CLOSE:
        return next_session(market_day(quoted)).open + delay
    if quoted < session.open:
        return session.open + delay
    slot = session.open + ((quoted - session.open) // SLOT_WIDTH + 1) * SLOT_WIDTH
    return (slot if slot < session.close else session.close + AFTER_CLOSE) + delay


def due_slot(now: datetime, delay: timedelta) -> tuple[Session, datetime] | None:
    """Return the newest slot that should have been sampled by ``now``, and its session.

    Parameters
    ----------
    now : a moment of the clock.
    delay : how far the feed's quotes lie behind the clock.

    Returns
    -------
    tuple of Session and datetime, or None
        None before the day's first slot and on days without a session. After the close it is the
        session's last slot.
    """
    quoted = now - delay + CLOCK_TOLERANCE
    session = session_on(market_day(quoted))
    if session is None or quoted < session.open:
        return None
    slot = session.open + ((quoted - session.open) // SLOT_WIDTH) * SLOT_WIDTH
    return session, min(slot, session.last_slot)
