"""Measure stored chains again, in order: after a definition has changed, or a gap was filled."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

from sampler.errors import ChainRefused
from sampler.history.backfill import BackfillResult, BackfillSession, HistoryWriter
from sampler.measure.remeasure import remeasure
from storage.errors import FlowError
from storage.market.calendar import Session
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Reason, SlotRecord, utc_text
from storage.redis.channel import LiveChannel


async def recompute_session(
    store: Store,
    live: LiveChannel,
    *,
    symbol: str,
    session: Session,
    feed: str | None = None,
    oi_confidence: float | None = None,
    dry_run: bool = False,
    since: datetime | None = None,
) -> BackfillResult:
    """Measure a session's stored chains again, and rewrite the rows that come out differently.

    Parameters
    ----------
    store, live : where records are read and written, and where changes are published.
    symbol, session : which records.
    feed : whose; None for the feed that answers show of the session.
    oi_confidence : κ to use; None for each row's own. [0-1]
    dry_run : store nothing, and count what would change field by field.
    since : None to difference each record against the slot that its row names. With a slot, only
        later records are measured, each against the one before it: as if the slots that were
        filled since then had been there from the start.

    Returns
    -------
    BackfillResult
        How many rows were rewritten, or would be, and what changes in them.

    Raises
    ------
    FlowError
        If a stored chain cannot be read, or the slot that a row names is not stored.
    StoreError
        If the store goes away. What was written stays, and a second run continues there.
    """
    result = BackfillResult(symbol=symbol, day=session.day, feed=feed or "")
    writer = HistoryWriter(store, live)
    mixed = len(await store.feeds(symbol, session.day)) > 1
    session_so_far = BackfillSession()
    async with aclosing(store.of_feed(feed).records(symbol, session.day)) as records:
        async for record in records:
            if since is not None and record.row.slot <= since:
                session_so_far.add(record)
                continue
            try:
                previous = _predecessor(
                    record, session_so_far, newest=since is not None, mixed=mixed
                )
                remeasured = _remeasure(record, previous, session, oi_confidence)
            except ChainRefused as refusal:
                # The row was valid when it was stored, and stays.
                result.count_refusal(refusal)
                session_so_far.add(record)
                continue
            session_so_far.add(remeasured)
            if not dry_run:
                await writer.revise_earlier(remeasured)
            if not result.diff.compare(record, remeasured, by_field=dry_run):
                result.already_there += 1
                continue
            result.rewritten += 1
            if not dry_run:
                await writer.add(remeasured, WriteMode.REPLACE)
    await writer.flush()
    return result


def _remeasure(
    record: SlotRecord,
    previous: SlotRecord | None,
    session: Session,
    oi_confidence: float | None,
) -> SlotRecord:
    try:
        return remeasure(record, previous, session, oi_confidence)
    except ValueError as error:
        raise FlowError(f"{record.row.symbol} {utc_text(record.row.slot)}: {error}") from error


def _predecessor(
    record: SlotRecord, session_so_far: BackfillSession, *, newest: bool, mixed: bool
) -> SlotRecord | None:
    """Return the newest record before a slot, or the one that its row names as predecessor."""
    row = record.row
    if newest:
        return session_so_far.record_before(row.slot)
    if row.differenced_from is None:
        return None
    predecessor = session_so_far.record_at(row.differenced_from)
    if predecessor is None and mixed:
        raise ChainRefused(
            Reason.OTHER_FEED,
            f"{row.symbol} {utc_text(row.slot)}: an earlier release differenced it against a row of"
            " another feed; it stays as it is",
        )
    if predecessor is None:
        raise FlowError(
            f"{row.symbol} {utc_text(row.slot)}: the slot that it was differenced against,"
            f" {utc_text(row.differenced_from)}, is not stored"
        )
    return predecessor
