"""Slots without a sample, and why a window has no bars: one rule for every answer. Pure.

The series has a session in memory and the other windows read theirs from the store; both count,
group and explain what is missing here. Slots are in whole seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from api.series.epoch import epoch_seconds, epoch_text
from api.series.params import Window
from storage.market.calendar import Session
from storage.market.constants import GRID_SECONDS
from storage.record.row import Reason

#: Why a slot that waits in a sampler's spool has no row yet; no gap is stored for it.
SPOOLED = "spooled"


class MissingSlots(NamedTuple):
    """Consecutive slots without a sample, for one reason; ``until`` is exclusive."""

    first: int
    until: int
    reason: str


def missing_slots(
    session: Session | None,
    sampled: Container[int],
    reasons: Mapping[int, str],
    due: int,
    waiting: tuple[int, int] | None = None,
) -> tuple[list[MissingSlots], int]:
    """Find the slots of a session that have no sample.

    Parameters
    ----------
    session
        The session; None on a day without one, which has no slots.
    sampled
        Slots that have a sample.
    reasons
        Reasons of the stored gaps, by slot. A slot that has a sample is not missing, whatever its
        reason.
    due
        Slots up to this one have passed. One of them with neither sample nor reason is
        ``not_sampled``, for example after the sampler died.
    waiting
        The first and the last slot that wait in a sampler's spool: one of them with neither sample
        nor reason is ``spooled``. None if none waits.

    Returns
    -------
    missing, unexplained
        The missing slots in order, and how many of them were added as ``not_sampled`` or
        ``spooled``.
    """
    missing: list[MissingSlots] = []
    unexplained = 0
    if session is None:
        return missing, unexplained
    for slot in range(epoch_seconds(session.open), epoch_seconds(session.close), GRID_SECONDS):
        if slot in sampled:
            continue
        reason = reasons.get(slot)
        if reason is None:
            if slot > due:
                continue
            unexplained += 1
            is_waiting = waiting is not None and waiting[0] <= slot <= waiting[1]
            reason = SPOOLED if is_waiting else str(Reason.NOT_SAMPLED)
        first = slot
        if missing and missing[-1].until == slot and missing[-1].reason == reason:
            first = missing.pop().first
        missing.append(MissingSlots(first, slot + GRID_SECONDS, reason))
    return missing, unexplained


def gap_intervals(missing: Sequence[MissingSlots], window: Window) -> list[dict[str, str]]:
    """Return the missing slots that lie in a window, as an answer writes them.

    Parameters
    ----------
    missing : missing slots of the whole session, ascending.
    window : the window.

    Returns
    -------
    list of dict
        ``from``, ``to`` (exclusive) and ``reason`` of each stretch of slots.
    """
    return [
        {
            "from": epoch_text(max(slots.first, window.first_slot)),
            "to": epoch_text(min(slots.until, window.until_slot)),
            "reason": slots.reason,
        }
        for slots in missing
        if slots.first < window.until_slot and slots.until > window.first_slot
    ]


def why_empty(
    session: Session | None,
    day: date,
    *,
    known: bool,
    now: datetime,
    delay: timedelta,
    gap_reasons: Sequence[str],
    spooled: bool = False,
) -> str:
    """Return the reason why a window has no bars.

    Parameters
    ----------
    session, day
        The session of the window, None if the market is closed all day, and its day.
    known
        Whether the symbol was ever sampled, or tried.
    now, delay
        The server's time, and the declared delay of the feed.
    gap_reasons
        Reasons of the session's stored gaps, in order of their slots.
    spooled
        Whether slots of the window wait in a sampler's spool.

    Returns
    -------
    str
        A gap's reason, ``spooled``, or ``unknown_symbol``, ``closed`` or ``holiday``.
    """
    if not known:
        return "unknown_symbol"
    if session is None:
        return "closed" if day.weekday() >= 5 else "holiday"
    if now - delay < session.open:
        return str(Reason.BEFORE_OPEN)
    if spooled:
        return SPOOLED
    if gap_reasons and set(gap_reasons) == {Reason.NO_ZERO_DTE}:
        return str(Reason.NO_ZERO_DTE)
    if gap_reasons and gap_reasons[-1] == Reason.STALE:
        return str(Reason.STALE)
    if now >= session.close:
        return "closed"
    return str(Reason.NOT_SAMPLED)
