"""Market hours: whether the market is open, and when it opens and closes next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from storage.market.calendar import last_session, market_day, next_session, session_on


def market_status(now: datetime) -> dict[str, Any]:
    """Return whether the market is open, the newest session, and the next open and close.

    Parameters
    ----------
    now : the time, UTC.

    Returns
    -------
    dict
        The fields by name; times in UTC.
    """
    day = market_day(now)
    today = session_on(day)
    if today is None:
        state = "closed" if day.weekday() >= 5 else "holiday"
    elif now < today.open:
        state = "pre"
    else:
        state = "open" if now < today.close else "closed"
    newest, upcoming = last_session(now), next_session(day)
    return {
        "state": state,
        "session": {"date": newest.day, "open": newest.open, "close": newest.close},
        "next_open": today.open if today and now < today.open else upcoming.open,
        "next_close": today.close if today and now < today.close else upcoming.close,
        "server_time": now,
    }
