"""Stored chains measured again, in order: after a definition has changed, or a gap was result."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

from sampler.errors import Refused
from sampler.history.backfill import BackfillResult, BackfillSession, HistoryWriter
from sampler.measure.remeasure import remeasure
from storage.errors import FlowError
from storage.market.calendar import Session
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import SlotRecord, utc_text
from storage.redis.channel import LiveChannel


async def recompute_session(
    store: Store,
    live: LiveChannel,
    *,
    symbol: str,
    session: Session,
    oi_confidence: float | None = None,
    dry_run: bool = False,
    since: datetime | None = None,
) -> BackfillResult:
    """Measure a session's stored chains again and rewrite the rows that come out otherwise.

    Each is differenced against the slot that its row names, as it was; with ``since`` each after
    that slot against the one before it, as if all had been there from the start.

    Parameters
    ----------
    oi_confidence : κ to use; None for each row's own. [0-1]
    dry_run : whether nothing is stored, and what would change is told field by field.

    Raises
    ------
    FlowError
        If a stored chain cannot be read.
    StoreError
        If the store goes away; what was written stays, a second run goes on from there.
    """
    result = BackfillResult(symbol=symbol, day=session.day)
    # Rows are of the feed that they are of.
    writer = HistoryWriter(store, live, mix_feeds=True)
    session_so_far = BackfillSession()
    async with aclosing(store.records(symbol, session.day)) as records:
        async for record in records:
            if since is not None and record.row.slot <= since:
                session_so_far.add(record)
                continue
            try:
                previous = _previous(record, session_so_far, anew=since is not None)
                again = _measure(record, previous, session, oi_confidence)
            except Refused as refusal:
                # It was a row when it was stored, and stays one.
                result.count_refusal(refusal)
                session_so_far.add(record)
                continue
            session_so_far.add(again)
            if not result.diff.compare(record, again, by_field=dry_run):
                result.already_there += 1
                continue
            result.rewritten += 1
            if not dry_run:
                await writer.add(again, WriteMode.REPLACE)
    await writer.flush()
    return result


def _measure(
    record: SlotRecord,
    previous: SlotRecord | None,
    session: Session,
    oi_confidence: float | None,
) -> SlotRecord:
    try:
        return remeasure(record, previous, session, oi_confidence)
    except ValueError as error:
        raise FlowError(f"{record.row.symbol} {utc_text(record.row.slot)}: {error}") from error


def _previous(
    record: SlotRecord, session_so_far: BackfillSession, *, anew: bool
) -> SlotRecord | None:
    row = record.row
    if anew:
        return session_so_far.record_before(row.slot)
    if row.differenced_from is None:
        return None
    found = session_so_far.record_at(row.differenced_from)
    if found is None:
        raise FlowError(
            f"{row.symbol} {utc_text(row.slot)}: the slot that it was differenced against,"
            f" {utc_text(row.differenced_from)}, is not stored"
        )
    return found
