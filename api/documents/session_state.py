"""What an answer says around its bars: why there are none, what is missing, what it rests on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from api.series.params import Window
from api.series.window import tag
from storage.market.calendar import Session
from storage.market.constants import SLOT_WIDTH
from storage.record.row import DEFINITIONS, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
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
    there: frozenset[datetime]

    def filled(self, span: Window) -> bool:
        """Whether a window has a row."""
        return any(span.start <= slot < span.end for slot in self.there)

    def tag(self, span: Window) -> str:
        """The weak ETag of an answer about the session: its cursor.

        Slots that nobody accounts for change an answer as time passes while its cursor stands
        still: their number is part of it.
        """
        slots = self.session.slots if self.session else []
        known = self.there | self.gaps.keys()
        missing = sum(1 for slot in slots if slot <= span.due and slot not in known)
        return tag(self.newest.get("cursor") or 0, missing)


def surrounding_fields(
    kept: SessionState, span: Window, *, known: bool, filled: bool, now: datetime
) -> dict[str, Any]:
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


def gap_intervals(
    window: Window, reasons: Mapping[datetime, str], there: Collection[datetime]
) -> list[dict[str, Any]]:
    """Stretches of the window without rows, each with its reason; ``to`` is exclusive.

    Slots that nobody accounted for, such as those after a sampler died, are ``not_sampled``.
    """
    found: list[dict[str, Any]] = []
    for slot in window.session.slots if window.session else []:
        if not window.start <= slot < window.end or slot in there:
            continue
        if slot not in reasons and slot > window.due:
            continue
        reason = reasons.get(slot, str(Reason.NOT_SAMPLED))
        if found and found[-1]["to"] == slot and found[-1]["reason"] == reason:
            found[-1]["to"] = slot + SLOT_WIDTH
        else:
            found.append({"from": slot, "to": slot + SLOT_WIDTH, "reason": reason})
    return found


def why_empty(
    window: Window, *, known: bool, now: datetime, delay: timedelta, gaps: Sequence[str]
) -> str:
    """Why a window has no bars. ``gaps`` are the reasons of the session's gaps, in order."""
    if not known:
        return "unknown_symbol"
    if window.session is None:
        return "closed" if window.day.weekday() >= 5 else "holiday"
    if now - delay < window.session.open:
        return str(Reason.BEFORE_OPEN)
    if gaps and set(gaps) == {Reason.NO_ZERO_DTE}:
        return str(Reason.NO_ZERO_DTE)
    if gaps and gaps[-1] == Reason.STALE:
        return str(Reason.STALE)
    if now >= window.session.close:
        return "closed"
    return str(Reason.NOT_SAMPLED)
