"""What an answer says around its bars: why there are none, what is missing, what it rests on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from api.params import Window
from api.series import gap_intervals, why_empty
from storage.row import DEFINITIONS
from storage.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the store has of a symbol's session, but for its bars."""

    symbol: str
    day: date
    session: Session | None
    #: The newest row, nulls where there is none, and the session's ``cursor``.
    newest: Mapping[str, Any]
    #: How far the feed lies behind; None for a symbol that nobody has sampled lately.
    delay: timedelta | None
    #: Reasons by slot, in order.
    gaps: Mapping[datetime, str]
    #: Slots that have a row.
    there: Collection[datetime]

    def filled(self, span: Window) -> bool:
        """Whether a window has a row."""
        return any(span.start <= slot < span.end for slot in self.there)


def around(kept: Kept, span: Window, *, known: bool, filled: bool, now: datetime) -> dict[str, Any]:
    """The part of an answer that follows its bars.

    ``known`` says whether the symbol was ever sampled or tried; of one that was not, nothing is
    missing.
    """
    session, newest = span.session, kept.newest
    body: dict[str, Any] = {}
    if not filled:
        body["reason"] = why_empty(
            span,
            known=known,
            now=now,
            delay=kept.delay or timedelta(),
            gaps=list(kept.gaps.values()),
        )
    return body | {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gap_intervals(span, kept.gaps, kept.there) if known else [],
        "cursor": newest.get("cursor") or 0,
        "source": newest.get("source"),
        "delay_seconds": None if kept.delay is None else int(kept.delay.total_seconds()),
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
    }
