"""Fill past slots of one symbol and session from a source's history. A second run changes nothing.

What a slot is differenced against stays in memory, and records go to the store some at a time, so
that no slot waits for a round trip. The rows are the ones that the daemon would have made of the
same chains in the same order, to the byte.
"""

from __future__ import annotations

import bisect
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime

import structlog

from sampler.chain import Frame, place, select
from sampler.errors import Refused
from sampler.history.diff import DiffSummary
from sampler.measure.other_expiries import survey
from sampler.measure.snapshot import measure
from sampler.sources import Source
from storage.errors import LiveError
from storage.market.calendar import Session
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Gap, Reason, SlotRecord
from storage.redis.channel import LiveChannel, NoChannel

log = structlog.get_logger()

#: Records a transaction: a fraction of a second's work, and what an interruption can lose.
BATCH_RECORDS = 130


@dataclass(slots=True, kw_only=True)
class BackfillResult:
    """What was done for one symbol and session."""

    symbol: str
    day: date
    written: int = 0
    already_there: int = 0
    #: Rows that were there and are differenced or measured anew.
    rewritten: int = 0
    #: Frames that made no row, by reason; and each with its sentence.
    refused: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    #: What a recomputation changed, or would change.
    diff: DiffSummary = field(default_factory=DiffSummary)

    @property
    def frames(self) -> int:
        """How many frames there were."""
        return self.written + self.already_there + self.rewritten + self.refused.total()

    def count_refusal(self, refusal: Refused) -> None:
        """Count a frame that makes no row."""
        self.refused[str(refusal.reason)] += 1
        self.details.append(str(refusal))


class HistoryWriter:
    """Records and gaps on their way to the store and the live channel, some at a time."""

    def __init__(self, store: Store, live: LiveChannel, *, mix_feeds: bool = False) -> None:
        """``mix_feeds`` lets a session have rows of several feeds."""
        self._store = store
        self._live: LiveChannel = live
        self._mix_feeds = mix_feeds
        self._records: list[SlotRecord] = []
        self._gaps: list[Gap] = []
        self._mode = WriteMode.FILL
        #: How many rows the store took.
        self.written = 0

    async def add(self, record: SlotRecord, mode: WriteMode = WriteMode.FILL) -> None:
        """Hand a record on. Records of one slot or of two modes never go together."""
        if self._records and (mode != self._mode or record.row.slot == self._records[-1].row.slot):
            await self.flush()
        self._mode = mode
        if mode != WriteMode.REWRITE:
            # It is going to be stored. Packed here, it is not packed while others wait for the
            # dataset's lock.
            _ = record.evidence
        self._records.append(record)
        if len(self._records) >= BATCH_RECORDS:
            await self.flush()

    def add_gap(self, gap: Gap) -> None:
        """Hand a gap on, with the next records."""
        self._gaps.append(gap)

    async def flush(self) -> None:
        """Write what has gathered.

        Raises
        ------
        StoreError
            Then nothing of it was written; what went before stays.
        """
        records, gaps = self._records, self._gaps
        self._records, self._gaps = [], []
        if not records and not gaps:
            return
        changes = await self._store.write(records, gaps, mode=self._mode, mixed=self._mix_feeds)
        self.written += sum(len(change.rows) for change in changes)
        try:
            await self._live.publish(changes)
        except LiveError as error:
            # Followers read the store. One that hangs is not waited for again.
            log.warning("not published", error=str(error))
            self._live = NoChannel()


class BackfillSession:
    """What a session has so far: stored records, and those made since, in order of their slots."""

    def __init__(self) -> None:
        self._order: list[datetime] = []
        self._records: dict[datetime, SlotRecord] = {}
        self._feeds: set[str] = set()

    @classmethod
    async def load(cls, store: Store, symbol: str, session: Session) -> BackfillSession:
        """The records of a session that the store has."""
        session_so_far = cls()
        async with aclosing(store.records(symbol, session.day, profiles=False)) as records:
            async for record in records:
                session_so_far.add(record)
        return session_so_far

    def add(self, record: SlotRecord) -> None:
        """One more record, or another one of its slot."""
        slot = record.row.slot
        if slot not in self._records:
            bisect.insort(self._order, slot)
        # Nothing by strike is looked back at.
        record = SlotRecord(row=record.row, profile={}, state=record.state)
        self._records[slot] = record
        self._feeds.add(record.row.source)

    def record_at(self, slot: datetime) -> SlotRecord | None:
        """The record of a slot."""
        return self._records.get(slot)

    def record_before(self, slot: datetime) -> SlotRecord | None:
        """The newest record of an earlier slot."""
        at = bisect.bisect_left(self._order, slot)
        return self._records[self._order[at - 1]] if at else None

    def require_feed(self, frame: Frame) -> None:
        """Refuse the quotes of another feed than the session's."""
        if self._feeds and frame.source not in self._feeds:
            raise Refused(
                Reason.OTHER_FEED,
                f"{frame.symbol}: these quotes come from {frame.source}, the session's rows from"
                f" {', '.join(sorted(self._feeds))}; --mix-feeds takes them all the same",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """How a backfill treats what is there."""

    #: κ, the part of signed volume taken to have opened positions. [0-1]
    oi_confidence: float
    #: Only slots without a row.
    missing: bool = False
    #: The source's rows instead of those that are there.
    rewrite: bool = False
    #: Any feed, also into a session of another one.
    mix_feeds: bool = False


async def backfill_session(
    source: Source,
    store: Store,
    live: LiveChannel,
    *,
    symbol: str,
    session: Session,
    options: BackfillOptions,
) -> tuple[BackfillResult, datetime | None]:
    """Fill a session, oldest first; what was done, and the first slot that got another record.

    Raises
    ------
    NoHistory
        If the source keeps no history.
    StoreError
        If the store goes away; what was written stays, a second run goes on from there.
    """
    result = BackfillResult(symbol=symbol, day=session.day)
    writer = HistoryWriter(store, live, mix_feeds=options.mix_feeds)
    session_so_far = await BackfillSession.load(store, symbol, session)
    first: datetime | None = None
    offered = 0
    async for frame in source.history(symbol, session):
        slot = None
        try:
            if isinstance(frame, Refused):
                raise frame
            slot = place(frame, session)
            mode = _mode(frame, session_so_far.record_at(slot), session, options)
            if mode is None:
                result.already_there += 1
                continue
            if not options.mix_feeds:
                session_so_far.require_feed(frame)
            record = _measure(
                frame, session_so_far.record_before(slot), session, options.oi_confidence
            )
        except Refused as refusal:
            result.count_refusal(refusal)
            # A slot that another feed could fill is still only missing.
            other = refusal.reason is Reason.OTHER_FEED
            if slot is not None and session_so_far.record_at(slot) is None and not other:
                writer.add_gap(_gap(refusal, symbol, session, slot))
            continue
        session_so_far.add(record)
        first = first or slot
        offered += 1
        await writer.add(record, mode)
    await writer.flush()
    result.written = writer.written
    # Equal to what is there, or somebody else was quicker.
    result.already_there += offered - writer.written
    return result, first


def _mode(
    frame: Frame, there: SlotRecord | None, session: Session, options: BackfillOptions
) -> WriteMode | None:
    """How a frame goes to the store; None if its slot is done."""
    if there is None:
        return WriteMode.FILL
    if options.missing:
        return None
    if options.rewrite:
        return WriteMode.REWRITE
    last = there.row.slot == session.last_slot
    return WriteMode.FILL if last and frame.quoted_at > there.row.quoted_at else None


def _measure(
    frame: Frame, previous: SlotRecord | None, session: Session, oi_confidence: float
) -> SlotRecord:
    chain = select(frame, session)
    return measure(
        chain,
        previous,
        oi_confidence=oi_confidence,
        survey=lambda market: survey(
            frame, session, spot=market.spot, atm=market.atm, years=chain.years
        ),
    )


def _gap(refusal: Refused, symbol: str, session: Session, slot: datetime) -> Gap:
    return Gap(
        symbol=symbol,
        expiration=session.day,
        slot=slot,
        reason=refusal.reason,
        detail=str(refusal),
    )
