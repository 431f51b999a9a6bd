"""Fill past slots of one symbol and session from a source's history. A second run changes nothing.

The session's records stay in memory, so that each chain finds its predecessor without a query, and
records are written in batches. The rows have the same bytes as if the daemon had sampled the same
chains in the same order.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import structlog

from sampler.chain import Frame, select_chain, slot_of_frame
from sampler.errors import ChainRefused
from sampler.history.diff import DiffSummary
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.revision import doubts_of
from sampler.measure.snapshot import measure_slot
from sampler.revising import revised_by
from sampler.sources import Source
from sampler.sources.by_symbol import source_for
from storage.errors import LiveError
from storage.market.calendar import Session
from storage.market.clock import Clock
from storage.market.zero_dte import surely_expires
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Change, Gap, Reason, SlotRecord
from storage.redis.channel import LiveChannel, NoChannel

log = structlog.get_logger()

#: How many records one transaction writes. An interruption loses less than this.
BATCH_RECORDS = 130
#: This long after a session's close every feed has delivered its last slot.
_FEEDS_END = timedelta(minutes=20)


@dataclass(slots=True, kw_only=True)
class BackfillResult:
    """What a backfill or recomputation did to one symbol's session."""

    symbol: str
    day: date
    #: The feed whose session it is.
    feed: str = ""
    #: Rows that were stored.
    written: int = 0
    #: Frames whose slot kept the row that it had.
    already_there: int = 0
    #: Stored rows that were measured again and came out differently.
    rewritten: int = 0
    #: Frames that made no row, by reason.
    refused: Counter[str] = field(default_factory=Counter)
    #: Why each of them made no row, in a sentence.
    details: list[str] = field(default_factory=list)
    #: What a recomputation changes, field by field.
    diff: DiffSummary = field(default_factory=DiffSummary)

    @property
    def frames(self) -> int:
        """How many frames or stored chains were looked at."""
        return self.written + self.already_there + self.rewritten + self.refused.total()

    def count_refusal(self, refusal: ChainRefused) -> None:
        """Count a frame that makes no row.

        Parameters
        ----------
        refusal : why the frame makes no row.
        """
        self.refused[str(refusal.reason)] += 1
        self.details.append(str(refusal))


class HistoryWriter:
    """Writes records and gaps in batches, and publishes what changed."""

    def __init__(self, store: Store, live: LiveChannel) -> None:
        self._store = store
        self._live: LiveChannel = live
        self._records: list[SlotRecord] = []
        self._gaps: list[Gap] = []
        self._mode = WriteMode.FILL
        #: How many rows the store wrote.
        self.written = 0

    async def add(self, record: SlotRecord, mode: WriteMode = WriteMode.FILL) -> None:
        """Add a record to the batch; write the batch when it is full.

        Two records of one slot, or of two modes, never share a transaction.

        Parameters
        ----------
        record : the record.
        mode : what happens to a row that its slot has already.

        Raises
        ------
        StoreError
            If the store is away. What was written before stays.
        """
        if self._records and (mode != self._mode or record.row.slot == self._records[-1].row.slot):
            await self.flush()
        self._mode = mode
        if mode != WriteMode.REWRITE:
            # Packs the evidence now, before the transaction holds the dataset's lock.
            _ = record.evidence
        self._records.append(record)
        if len(self._records) >= BATCH_RECORDS:
            await self.flush()

    async def revise_earlier(self, record: SlotRecord) -> None:
        """Add flags to the stored rows that a record puts in doubt; call it before ``add``.

        Parameters
        ----------
        record : a new record, not yet stored.

        Raises
        ------
        StoreError
            If the store is away.
        """
        if not doubts_of(record):
            return
        await self.flush()
        if revised := await revised_by(self._store, record):
            result = await self._store.write(revised, mode=WriteMode.REWRITE)
            await self._publish(result.changes)

    def add_gap(self, gap: Gap) -> None:
        """Add a gap, to be written with the next batch.

        Parameters
        ----------
        gap : the gap.
        """
        self._gaps.append(gap)

    async def flush(self) -> None:
        """Write the batch and publish what changed.

        Raises
        ------
        StoreError
            If the store is away. Nothing of the batch was written then; earlier batches stay.
        """
        records, gaps = self._records, self._gaps
        self._records, self._gaps = [], []
        if not records and not gaps:
            return
        result = await self._store.write(records, gaps, mode=self._mode)
        changes = result.changes
        self.written += sum(len(change.rows) for change in changes)
        await self._publish(changes)

    async def _publish(self, changes: Sequence[Change]) -> None:
        try:
            await self._live.publish(changes)
        except LiveError as error:
            # Followers find the rows in the store. The channel may hang, so it is not used again.
            log.warning("not published", error=str(error))
            self._live = NoChannel()


class BackfillSession:
    """The records of a session by slot: the stored ones, and those measured since."""

    def __init__(self) -> None:
        self._order: list[datetime] = []
        self._records: dict[datetime, SlotRecord] = {}

    @classmethod
    async def load(cls, store: Store, symbol: str, session: Session, feed: str) -> BackfillSession:
        """Load the stored records of a session.

        Parameters
        ----------
        store : where they are stored.
        symbol, session, feed : the session.

        Returns
        -------
        BackfillSession
            The session with its records, without their profiles.

        Raises
        ------
        StoreError
            If the store is away.
        """
        session_so_far = cls()
        records_of_feed = store.of_feed(feed).records(symbol, session.day, profiles=False)
        async with aclosing(records_of_feed) as records:
            async for record in records:
                session_so_far.add(record)
        return session_so_far

    def add(self, record: SlotRecord) -> None:
        """Add a record, or replace the one of its slot.

        Parameters
        ----------
        record : the record; its profile is not kept.
        """
        slot = record.row.slot
        if slot not in self._records:
            bisect.insort(self._order, slot)
        # The profile is left out: the next record needs only the row and the flow's state.
        record = SlotRecord(row=record.row, profile={}, state=record.state)
        self._records[slot] = record

    @property
    def has_records(self) -> bool:
        """Whether the session has any record."""
        return bool(self._order)

    def record_at(self, slot: datetime) -> SlotRecord | None:
        """Return the record of a slot.

        Parameters
        ----------
        slot : the slot, UTC.

        Returns
        -------
        SlotRecord or None
            The record; None if the slot has none.
        """
        return self._records.get(slot)

    def record_before(self, slot: datetime) -> SlotRecord | None:
        """Return the newest record of an earlier slot.

        Parameters
        ----------
        slot : the slot, UTC.

        Returns
        -------
        SlotRecord or None
            The record; None if no earlier slot has one.
        """
        index = bisect.bisect_left(self._order, slot)
        return self._records[self._order[index - 1]] if index else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """How a backfill treats the slots that have a row."""

    #: κ, the part of signed volume taken to have opened positions. [0-1]
    oi_confidence: float
    #: Fill only slots without a row.
    missing: bool = False
    #: Replace stored rows by the source's.
    rewrite: bool = False


async def backfill_session(
    source: Source,
    store: Store,
    live: LiveChannel,
    *,
    symbol: str,
    session: Session,
    options: BackfillOptions,
) -> tuple[BackfillResult, datetime | None]:
    """Fill a session from a source's history, oldest frame first.

    Parameters
    ----------
    source : where the frames come from.
    store, live : where records are written, and where changes are published.
    symbol, session : what to fill.
    options : how slots that have a row are treated.

    Returns
    -------
    tuple of BackfillResult and datetime or None
        What was done, and the first slot whose record was measured anew.

    Raises
    ------
    NoHistory
        If the source keeps no history.
    StoreError
        If the store goes away. What was written stays, and a second run continues there.
    """
    result = BackfillResult(symbol=symbol, day=session.day)
    writer = HistoryWriter(store, live)
    session_so_far: BackfillSession | None = None
    early: list[ChainRefused] = []
    first_slot: datetime | None = None
    added = 0

    def refuse(error: ChainRefused, slot: datetime | None, so_far: BackfillSession) -> None:
        refusal = _reconsidered(error, symbol, session, so_far)
        result.count_refusal(refusal)
        if slot is None and error.quoted_at is not None:
            slot = session.slot_of(error.quoted_at)
        # The filled feed may still fill the slot, so quotes of another make no gap of it.
        other_feed = refusal.reason is Reason.OTHER_FEED
        if slot is not None and so_far.record_at(slot) is None and not other_feed:
            writer.add_gap(_gap(refusal, symbol, session, slot, result.feed))

    async for frame in source.history(symbol, session):
        if session_so_far is None:
            if isinstance(frame, ChainRefused):
                # Exported chains carry their feed's own name: the first one tells it.
                early.append(frame)
                continue
            result.feed = frame.source
            session_so_far = await BackfillSession.load(store, symbol, session, result.feed)
            for refused in early:
                refuse(refused, None, session_so_far)
        slot = None
        try:
            if isinstance(frame, ChainRefused):
                raise frame
            _require_feed(frame, result.feed)
            slot = slot_of_frame(frame, session)
            mode = _write_mode(frame, session_so_far.record_at(slot), session, options)
            if mode is None:
                result.already_there += 1
                continue
            record = _measure(
                frame, session_so_far.record_before(slot), session, options.oi_confidence
            )
        except ChainRefused as error:
            refuse(error, slot, session_so_far)
            continue
        session_so_far.add(record)
        first_slot = first_slot or slot
        await writer.revise_earlier(record)
        added += 1
        await writer.add(record, mode)
    if session_so_far is None and early:
        result.feed = source_for(source, symbol).name
        session_so_far = await BackfillSession.load(store, symbol, session, result.feed)
        for refused in early:
            refuse(refused, None, session_so_far)
    await writer.flush()
    result.written = writer.written
    await _mark_open_slots(store, writer, symbol, session)
    # A record that was not written was equal to the stored one, or came after another writer's.
    result.already_there += added - writer.written
    return result, first_slot


async def _mark_open_slots(
    store: Store, writer: HistoryWriter, symbol: str, session: Session
) -> None:
    """Mark the slots of an ended session that a sampler was to take, and no backfill has filled."""
    if Clock().now() < session.close + _FEEDS_END:
        return
    for _, feed, day in await store.unaccounted([symbol], session.day, session.day):
        accounted = await store.accounted(symbol, day, feed)
        for slot in session.slots:
            if slot not in accounted:
                writer.add_gap(
                    Gap(
                        symbol=symbol,
                        expiration=day,
                        slot=slot,
                        reason=Reason.NOT_RUNNING,
                        source=feed,
                    )
                )
    await writer.flush()


def _require_feed(frame: Frame, feed: str) -> None:
    """Refuse a frame of another feed than the first one's: a session has one feed."""
    if frame.source != feed:
        raise ChainRefused(
            Reason.OTHER_FEED,
            f"{frame.symbol}: these quotes come from {frame.source}, the session that is filled is"
            f" {feed}'s",
        )


def _reconsidered(
    refusal: ChainRefused, symbol: str, session: Session, session_so_far: BackfillSession
) -> ChainRefused:
    """Turn a refusal for want of an expiry into a bad answer, where the session must have one."""
    if refusal.reason is not Reason.NO_ZERO_DTE:
        return refusal
    if session_so_far.has_records:
        return ChainRefused(Reason.BAD_ANSWER, f"{refusal}; other slots of this session had it")
    if surely_expires(symbol, session.day):
        return ChainRefused(
            Reason.BAD_ANSWER, f"{refusal}; the exchanges list an expiry for every session"
        )
    return refusal


def _write_mode(
    frame: Frame, stored: SlotRecord | None, session: Session, options: BackfillOptions
) -> WriteMode | None:
    """Return the mode to write a frame's record in; None if its slot keeps its row."""
    if stored is None:
        return WriteMode.FILL
    if options.missing:
        return None
    if options.rewrite:
        return WriteMode.REWRITE
    is_last_slot = stored.row.slot == session.last_slot
    return WriteMode.FILL if is_last_slot and frame.quoted_at > stored.row.quoted_at else None


def _measure(
    frame: Frame, previous: SlotRecord | None, session: Session, oi_confidence: float
) -> SlotRecord:
    chain = select_chain(frame, session)
    return measure_slot(
        chain,
        previous,
        oi_confidence=oi_confidence,
        other_expiries=lambda market: measure_other_expiries(
            frame, session, spot=market.spot, atm=market.atm, years=chain.years
        ),
    )


def _gap(refusal: ChainRefused, symbol: str, session: Session, slot: datetime, feed: str) -> Gap:
    return Gap(
        symbol=symbol,
        expiration=session.day,
        slot=slot,
        reason=refusal.reason,
        detail=str(refusal),
        next_expiry=refusal.next_expiry,
        source=feed,
    )
