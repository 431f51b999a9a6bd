"""A symbol's stored days, and how much of each is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from api.documents.rounding import share_pct
from api.series.gaps import SPOOLED
from storage.market.calendar import Session
from storage.market.constants import CADENCE_ROWS, GRID_SECONDS
from storage.record.row import Reason


def stored_sessions(
    rows: Sequence[Mapping[str, Any]],
    calendar: Mapping[Any, Session],
    now: datetime,
    *,
    delay: timedelta,
    spooled: Mapping[Any, int],
) -> list[dict[str, Any]]:
    """Return each stored day of a symbol and how much of it is there, oldest first.

    ``slots`` counts the slots of the session that have passed by the feed's time; each is a row or
    a gap. A slot with neither stored counts as a gap: ``spooled`` if it waits in a sampler's spool,
    else ``not_sampled``. ``cadence_seconds`` is the median time from
    sample to sample: flow and the live book of two sessions can be compared only if it is equal.

    Parameters
    ----------
    rows : the store's line of each day, oldest first.
    calendar : the session of each day.
    now : the server's time, UTC.
    delay : how far the feed lies behind.
    spooled : how many slots of a day wait in a sampler's spool; a day that is left out has none.

    Returns
    -------
    list[dict[str, Any]]
        One entry a day.
    """
    days = []
    for row in rows:
        session = calendar.get(row["expiration"])
        if session is None:
            continue
        due = min(session.slot_count, _passed(session, now - delay))
        slots = max(due, row["rows"] + row["gaps"])
        unmarked = slots - row["rows"] - row["gaps"]
        reasons = dict(row["reasons"] or {})
        waiting = min(spooled.get(session.day, 0), unmarked)
        for key, count in ((SPOOLED, waiting), (str(Reason.NOT_SAMPLED), unmarked - waiting)):
            if count:
                reasons[key] = reasons.get(key, 0) + count
        days.append(
            {
                "date": session.day,
                "open": session.open,
                "close": session.close,
                "slots": slots,
                "rows": row["rows"],
                "gaps": slots - row["rows"],
                "coverage_pct": share_pct(row["rows"], slots),
                "reasons": reasons,
                "cadence_seconds": (
                    row["step"].total_seconds() if row["rows"] >= CADENCE_ROWS else None
                ),
                "first": row["first"],
                "last": row["last"],
                "feed": row["feed"] or None,
                "source": row["source"],
                "feeds": row["feeds"] or [],
                "first_feed": row["first_feed"],
            }
        )
    return days


def _passed(session: Session, now: datetime) -> int:
    """How many slots have passed: the one whose 30 seconds are still running has not."""
    return max(int((now - session.open).total_seconds()) // GRID_SECONDS, 0)
