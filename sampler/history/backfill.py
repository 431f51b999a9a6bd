"""Past slots of one symbol and session from a source's history; a second run changes nothing.

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
from sampler.history.diff import Shifts
from sampler.measure.other_expiries import survey
from sampler.measure.snapshot import measure
from sampler.sources import Source
from storage.errors import LiveError
from storage.market.calendar import Session
from storage.postgres.store import FILL, REWRITE, Store
from storage.record.row import Gap, Reason, SlotRecord
from storage.redis.channel import Live, Nobody

log = structlog.get_logger()

#: Records a transaction: a fraction of a second's work, and what an interruption can lose.
BATCH = 130


@dataclass(slots=True, kw_only=True)
class Filled:
    """What was done for one symbol and session."""

    symbol: str
    day: date
    written: int = 0
    there_already: int = 0
    #: Rows that were there and are differenced or measured anew.
    rewritten: int = 0
    #: Frames that made no row, by reason; and each with its sentence.
    refused: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    #: What a recomputation changed, or would change.
    shifts: Shifts = field(default_factory=Shifts)

    @property
    def frames(self) -> int:
        """How many frames there were."""
        return self.written + self.there_already + self.rewritten + self.refused.total()

    def refuse(self, refusal: Refused) -> None:
        """Count a frame that makes no row."""
        self.refused[str(refusal.reason)] += 1
        self.details.append(str(refusal))


class Outbox:
    """Records and gaps on their way to the store and the live channel, some at a time."""

    def __init__(self, store: Store, live: Live, *, mixed: bool = False) -> None:
        """``mixed`` lets a session have rows of several feeds."""
        self._store = store
        self._live: Live = live
        self._mixed = mixed
        self._records: list[SlotRecord] = []
        self._gaps: list[Gap] = []
        self._mode = FILL
        #: How many rows the store took.
        self.written = 0

    async def add(self, record: SlotRecord, mode: str = FILL) -> None:
        """Hand a record on. Records of one slot or of two modes never go together."""
        if self._records and (mode != self._mode or record.row.slot == self._records[-1].row.slot):
            await self.flush()
        self._mode = mode
        if mode != REWRITE:
            # It is going to be stored. Packed here, it is not packed while others wait for the
            # dataset's lock.
            _ = record.evidence
        self._records.append(record)
        if len(self._records) >= BATCH:
            await self.flush()

    def mark(self, gap: Gap) -> None:
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
        changes = await self._store.write(records, gaps, mode=self._mode, mixed=self._mixed)
        self.written += sum(len(change.rows) for change in changes)
        try:
            await self._live.publish(changes)
        except LiveError as error:
            # Followers read the store. One that hangs is not waited for again.
            log.warning("not published", error=str(error))
            self._live = Nobody()


class Past:
    """What a session has so far: stored records, and those made since, in order of their slots."""

    def __init__(self) -> None:
        self._order: list[datetime] = []
        self._records: dict[datetime, SlotRecord] = {}
        self._feeds: set[str] = set()

    @classmethod
    async def read(cls, store: Store, symbol: str, session: Session) -> Past:
        """The records of a session that the store has."""
        past = cls()
        async with aclosing(store.records(symbol, session.day, profiles=False)) as records:
            async for record in records:
                past.add(record)
        return past

    def add(self, record: SlotRecord) -> None:
        """One more record, or another one of its slot."""
        slot = record.row.slot
        if slot not in self._records:
            bisect.insort(self._order, slot)
        # Nothing by strike is looked back at.
        record = SlotRecord(row=record.row, profile={}, state=record.state)
        self._records[slot] = record
        self._feeds.add(record.row.source)

    def at(self, slot: datetime) -> SlotRecord | None:
        """The record of a slot."""
        return self._records.get(slot)

    def before(self, slot: datetime) -> SlotRecord | None:
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
class Wishes:
    """How a backfill treats what is there."""

    #: κ, the part of signed volume taken to have opened positions. [0-1]
    oi_confidence: float
    #: Only slots without a row.
    missing: bool = False
    #: The source's rows instead of those that are there.
    rewrite: bool = False
    #: Any feed, also into a session of another one.
    mix_feeds: bool = False


async def backfill(
    source: Source, store: Store, live: Live, *, symbol: str, session: Session, wishes: Wishes
) -> tuple[Filled, datetime | None]:
    """Fill a session, oldest first; what was done, and the first slot that got another record.

    Raises
    ------
    NoHistory
        If the source keeps no history.
    StoreError
        If the store goes away; what was written stays, a second run goes on from there.
    """
    filled = Filled(symbol=symbol, day=session.day)
    out = Outbox(store, live, mixed=wishes.mix_feeds)
    past = await Past.read(store, symbol, session)
    first: datetime | None = None
    offered = 0
    async for frame in source.history(symbol, session):
        slot = None
        try:
            if isinstance(frame, Refused):
                raise frame
            slot = place(frame, session)
            mode = _mode(frame, past.at(slot), session, wishes)
            if mode is None:
                filled.there_already += 1
                continue
            if not wishes.mix_feeds:
                past.require_feed(frame)
            record = _measure(frame, past.before(slot), session, wishes.oi_confidence)
        except Refused as refusal:
            filled.refuse(refusal)
            # A slot that another feed could fill is still only missing.
            other = refusal.reason is Reason.OTHER_FEED
            if slot is not None and past.at(slot) is None and not other:
                out.mark(_gap(refusal, symbol, session, slot))
            continue
        past.add(record)
        first = first or slot
        offered += 1
        await out.add(record, mode)
    await out.flush()
    filled.written = out.written
    # Equal to what is there, or somebody else was quicker.
    filled.there_already += offered - out.written
    return filled, first


def _mode(frame: Frame, there: SlotRecord | None, session: Session, wishes: Wishes) -> str | None:
    """How a frame goes to the store; None if its slot is done."""
    if there is None:
        return FILL
    if wishes.missing:
        return None
    if wishes.rewrite:
        return REWRITE
    last = there.row.slot == session.last_slot
    return FILL if last and frame.quoted_at > there.row.quoted_at else None


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
