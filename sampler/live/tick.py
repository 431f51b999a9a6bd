"""One step: fetch a chain, measure it, store the record, publish the change.

A step never raises for a source or a store. What goes wrong becomes the reason of the slot's gap,
and stands in the step's one log line. If the chain belongs to another slot than the one that is
due, its row and the gap of the due slot are written in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime

import structlog

from sampler.chain import REPORTED_VOLUME, Chain, Floats, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.live.commit import RecordStore, revise_earlier
from sampler.live.outcome import Outcome, StageTimer, log_outcome
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.snapshot import measure_slot
from sampler.sources import Source
from sampler.sources.by_symbol import source_for
from storage.errors import FlowError, LiveError, StoreError
from storage.fault import Fault, no_fault
from storage.market.calendar import Session, market_day, session_on
from storage.market.constants import SLOT_WIDTH
from storage.market.zero_dte import surely_expires
from storage.record.mode import WriteMode
from storage.record.result import WriteResult
from storage.record.row import Change, Gap, Reason, SlotRecord
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: Quotes that are older than the feed's declared delay by more than this are stale. [s]
STALE_AFTER = 120
#: Quotes that lie further in the future than this are refused: one of the clocks is wrong. [s]
MAX_AHEAD = 120
#: A symbol without an expiry today is not fetched again for so many slots.
IDLE_SLOTS = 60


class DryRunStore:
    """The store of a dry run: it keeps nothing, and answers as if every record were new."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> WriteResult:
        """Store nothing; return the changes that the records would have been.

        Parameters
        ----------
        records : what a step has measured.
        gaps, mode : ignored.

        Returns
        -------
        WriteResult
            One change a record, as if its slot had had no row.
        """
        return WriteResult(
            tuple(
                Change(symbol=record.row.symbol, after=0, revision=0, rows=((0, record.row),))
                for record in records
            )
        )

    async def before(
        self, symbol: str, expiration: date, slot: datetime, feed: str
    ) -> SlotRecord | None:
        """Return None: there is no earlier record.

        Parameters
        ----------
        symbol, expiration, slot, feed : ignored.

        Returns
        -------
        SlotRecord or None
            Always None.
        """
        return None


class Tick:
    """Takes steps: from one source into one store.

    Steps of different symbols may run at the same time; those of one symbol follow each other.
    """

    def __init__(
        self,
        source: Source,
        store: RecordStore,
        live: LiveChannel,
        *,
        oi_confidence: float,
        budget: float,
        quiet: bool = False,
        provisional: bool = False,
        fault: Fault = no_fault,
    ) -> None:
        """Prepare to take steps; nothing is fetched yet.

        Parameters
        ----------
        source : where chains come from.
        store : where records are read and written.
        live : the channel that changes are published to. Pass one that does nothing if ``store``
            publishes by itself, as ``BatchWriter`` does.
        oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]
        budget : how long the source may take for a chain. [s]
        quiet : whether steps without trouble are logged at level debug instead of info.
        provisional : whether a chain is also measured while its predecessor cannot be read. It is
            then taken for its session's baseline, and ``store`` must rebase it before it writes
            it, as ``BatchWriter`` does.
        fault : called at each named point of a step; tests let it fail there.
        """
        self._quiet = quiet
        self._provisional = provisional
        self._source = source
        self._store = store
        self._live = live
        self._oi_confidence = oi_confidence
        self._budget = budget
        self._fault = fault
        #: Each symbol's two newest records, oldest first. The older one is the predecessor when
        #: the session's last slot is measured a second time.
        self._recent: dict[str, list[SlotRecord]] = {}
        #: The first slot that was due for each symbol since this sampler tracks it.
        self._first_due: dict[str, datetime] = {}
        #: Symbols without an expiry today: until when they are not fetched, and why.
        self._idle: dict[str, tuple[datetime, ChainRefused]] = {}

    async def sample(
        self,
        symbol: str,
        *,
        now: datetime,
        target: datetime | None,
        late: Sequence[Gap] = (),
    ) -> Outcome:
        """Take a symbol's newest sample. Never raises for what the source or the store does.

        Parameters
        ----------
        symbol : whose chain to fetch.
        now : the time of the clock.
        target : the slot that is due; it becomes a gap if its row does not come. None if no slot
            is due.
        late : gaps of slots that passed while the symbol's last step was running.

        Returns
        -------
        Outcome
            The record, or the reason why there is none.
        """
        outcome = Outcome(symbol=symbol)
        mode = WriteMode.KEEP
        if target is not None:
            self._first_due.setdefault(symbol, target)
        try:
            frame = await self._fetch(outcome, now, target)
            mode = await self._measure(frame, outcome, WriteMode.KEEP)
        except ChainRefused as refused:
            outcome.reason, outcome.detail = refused.reason, str(refused)
            outcome.next_expiry = refused.next_expiry
            if refused.reason is Reason.UNCHANGED and self._frozen(symbol, now):
                outcome.reason = Reason.STALE
            # An idle symbol repeats its refusal without asking the source.
            if refused.reason is Reason.NO_ZERO_DTE and symbol not in self._idle:
                await self._note_no_expiry(outcome, refused, now, target)
        except StoreError as error:
            outcome.reason, outcome.detail = Reason.NO_STATE, str(error)
        except Exception as error:
            log.exception("tick failed", symbol=symbol)
            outcome.reason, outcome.detail = Reason.FAILED, f"{type(error).__name__}: {error}"
        try:
            gap = _gap_of_target(outcome, target, self.feed(symbol))
            await self._store_outcome(outcome, mode, [*late, *gap])
        except FlowError as error:
            outcome.detail = str(error)
        except Exception as error:
            log.exception("not kept", symbol=symbol)
            outcome.detail = f"{type(error).__name__}: {error}"
        log_outcome(outcome, now, target, quiet=self._quiet)
        return outcome

    async def store_frame(
        self, frame: Frame, outcome: Outcome, mode: WriteMode = WriteMode.KEEP
    ) -> None:
        """Measure a frame and store its record.

        Parameters
        ----------
        frame : what a source answered.
        outcome : filled with the record and the timings.
        mode : what happens to a row that the slot has already.

        Raises
        ------
        ChainRefused
            If the frame makes no row.
        StoreError
            If the store is away. Nothing was written then.
        """
        await self._store_outcome(outcome, await self._measure(frame, outcome, mode), [])

    def feed(self, symbol: str) -> str:
        """Return the name of the feed that a symbol is sampled from.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        str
            The name of its source.
        """
        return source_for(self._source, symbol).name

    async def mark_gaps(
        self,
        symbol: str,
        session: Session,
        slots: Sequence[datetime],
        reason: Reason,
        feed: str | None = None,
    ) -> None:
        """Store gaps for slots without a step. Never raises for what the store does.

        Parameters
        ----------
        symbol, session : whose slots.
        slots : the slots, UTC.
        reason : why none of them has a row.
        feed : the feed that has no row; None for the one that the symbol is sampled from.
        """
        source = self.feed(symbol) if feed is None else feed
        gaps = [
            Gap(symbol=symbol, expiration=session.day, slot=slot, reason=reason, source=source)
            for slot in slots
        ]
        try:
            result = await self._store.write(gaps=gaps)
            await self._publish(result.changes if result else ())
        except FlowError as error:
            log.error("gaps not stored", symbol=symbol, gaps=len(gaps), error=str(error))

    def forget(self, symbol: str) -> None:
        """Forget a symbol's records, so that its next step reads the newest one from the store.

        Another sampler may have written newer ones meanwhile.

        Parameters
        ----------
        symbol : the symbol.
        """
        self._recent.pop(symbol, None)
        self._first_due.pop(symbol, None)

    async def _fetch(self, outcome: Outcome, now: datetime, target: datetime | None) -> Frame:
        """Fetch a frame within the budget; refuse one that is too old or from the future."""
        symbol = outcome.symbol
        until, refused = self._idle.get(symbol, (None, None))
        if until and refused and target and target < until and until.date() == target.date():
            raise ChainRefused(refused.reason, str(refused), next_expiry=refused.next_expiry)
        self._idle.pop(symbol, None)
        self._fault("fetching")
        with StageTimer(outcome, "fetch"):
            try:
                async with asyncio.timeout(self._budget):
                    frame = await self._source.live(symbol, now)
            except TimeoutError:
                raise ChainRefused(
                    Reason.SOURCE_DOWN, f"{symbol}: no answer within {self._budget:g} s"
                ) from None
        self._fault("fetched")
        _require_fresh(frame, now)
        return frame

    async def _measure(self, frame: Frame, outcome: Outcome, mode: WriteMode) -> WriteMode:
        """Measure a frame into the outcome's record; return the mode to write it in."""
        with StageTimer(outcome, "select"):
            chain = select_chain(frame, session_on(market_day(frame.quoted_at)))
        unreadable: StoreError | None = None
        with StageTimer(outcome, "recall"):
            try:
                predecessor, stored = await self._predecessor(chain)
            except StoreError as error:
                if not self._provisional:
                    raise
                # Measured as a baseline. The store rebases it when it can read the predecessor.
                predecessor, stored, unreadable = None, self._newest(chain), error
        if stored is not None and mode == WriteMode.KEEP:
            _require_newer(chain, stored)
            mode = WriteMode.NEWER
        with StageTimer(outcome, "measure"):
            try:
                outcome.record = measure_slot(
                    chain,
                    predecessor,
                    oi_confidence=self._oi_confidence,
                    other_expiries=lambda market: measure_other_expiries(
                        frame, chain.session, spot=market.spot, atm=market.atm, years=chain.years
                    ),
                )
            except ChainRefused as refused:
                # The record that could not be read may show that the market has opened. So the gap
                # says that it was unreadable, and not that the market is not open yet.
                if (
                    unreadable
                    and refused.reason is Reason.NOT_OPEN
                    and not self._tracked_since_open(chain)
                ):
                    raise unreadable from refused
                raise
        self._fault("measured")
        return mode

    async def _store_outcome(self, outcome: Outcome, mode: WriteMode, gaps: Sequence[Gap]) -> None:
        """Write and publish the outcome's record and the gaps.

        The record is remembered as the next step's predecessor only if the store holds it as it was
        measured, or has spooled it.
        """
        record = outcome.record
        with StageTimer(outcome, "store"):
            # A store that rebases records revises earlier rows too.
            revised = (
                await revise_earlier(self._store, [record])
                if record and not self._provisional
                else ()
            )
            result = await self._store.write([record] if record else [], gaps, mode=mode)
        changes = (*revised, *(result.changes if result else ()))
        self._fault("kept")
        outcome.spooled = result is None
        if record is not None:
            rows = [row for change in changes for _, row in change.rows]
            key = record.row.slot, record.row.source
            outcome.stored = any((row.slot, row.source) == key for row in rows)
            self._remember(record)
            if result is not None and not any(row is record.row for row in rows):
                # Another sampler's row was there first, or the database refused this one, or it was
                # rebased. The next step reads the store.
                self.forget(outcome.symbol)
                _note_refusal(outcome, result)
        with StageTimer(outcome, "publish"):
            await self._publish(changes)

    async def _predecessor(self, chain: Chain) -> tuple[SlotRecord | None, SlotRecord | None]:
        """Return the record to difference a chain against, and the one its slot has already."""
        newest = self._newest(chain)
        if newest is None:
            newest = await self._store.before(
                chain.symbol, chain.expiration, chain.session.close, chain.source
            )
            if newest is None:
                return None, None
            self._recent[chain.symbol] = [newest]
        if newest.row.slot < chain.slot:
            return newest, None
        first = self._recent[chain.symbol][0].row
        if first.expiration == chain.expiration and first.slot < chain.slot:
            return self._recent[chain.symbol][0], newest
        earlier = await self._store.before(chain.symbol, chain.expiration, chain.slot, chain.source)
        return earlier, newest

    async def _note_no_expiry(
        self, outcome: Outcome, refused: ChainRefused, now: datetime, target: datetime | None
    ) -> None:
        """Idle a symbol without today's expiry, unless it must have one.

        It must if the session has a record, or if the exchanges list one for every session.
        One answer without today's expiry says nothing against the earlier ones: the slot is a bad
        answer, and the source is asked again at the next. Where the store cannot say whether there
        is a record, the source is asked again too.
        """
        symbol, session = outcome.symbol, session_on(market_day(now))
        sampled = session is not None and any(
            record.row.expiration == session.day for record in self._recent.get(symbol, [])
        )
        if session is not None and not sampled:
            try:
                record = await self._store.before(
                    symbol, session.day, session.close, self.feed(symbol)
                )
            except StoreError:
                return
            sampled = record is not None
        if sampled:
            outcome.reason, outcome.next_expiry = Reason.BAD_ANSWER, None
            outcome.detail += "; earlier slots of this session had it"
        elif session is not None and surely_expires(symbol, session.day):
            outcome.reason, outcome.next_expiry = Reason.BAD_ANSWER, None
            outcome.detail += "; the exchanges list an expiry for every session"
        elif target is not None:
            self._idle[symbol] = (target + IDLE_SLOTS * SLOT_WIDTH, refused)

    def _newest(self, chain: Chain) -> SlotRecord | None:
        """Return the newest remembered record of the chain's session."""
        for record in reversed(self._recent.get(chain.symbol, [])):
            if record.row.expiration == chain.expiration:
                return record
        return None

    def _tracked_since_open(self, chain: Chain) -> bool:
        """Whether this sampler took all steps of the session, so that it knows all its rows."""
        first_due = self._first_due.get(chain.symbol)
        return first_due is not None and first_due <= chain.session.open

    def _frozen(self, symbol: str, now: datetime) -> bool:
        """Whether the newest record is so old that "nothing newer" means that the feed is dead."""
        records = self._recent.get(symbol)
        if not records:
            return False
        row = records[-1].row
        age = (now - row.quoted_at).total_seconds()
        return age > row.delay_seconds + STALE_AFTER

    def _remember(self, record: SlotRecord) -> None:
        records = self._recent.get(record.row.symbol, [])
        earlier = [r for r in records if r.row.slot < record.row.slot]
        self._recent[record.row.symbol] = [*earlier[-1:], record]

    async def _publish(self, changes: Sequence[Change]) -> None:
        try:
            await self._live.publish(changes)
        except LiveError as error:
            log.warning("not published", error=str(error))


def _gap_of_target(outcome: Outcome, target: datetime | None, feed: str) -> list[Gap]:
    """Return the gap of the due slot; an empty list if its row came or no slot was due."""
    if target is None or (outcome.record is not None and outcome.record.row.slot == target):
        return []
    # Without a reason, a row of an earlier slot came: the due slot's row is late.
    return [
        Gap(
            symbol=outcome.symbol,
            expiration=market_day(target),
            slot=target,
            reason=outcome.reason or Reason.LATE,
            detail=outcome.detail,
            next_expiry=outcome.next_expiry,
            source=feed,
        )
    ]


def _note_refusal(outcome: Outcome, result: WriteResult) -> None:
    """Set the outcome's reason if the store refused its record."""
    assert outcome.record is not None
    for refusal in result.refused:
        row = refusal.item.row if isinstance(refusal.item, SlotRecord) else refusal.item
        if (row.slot, row.source) == (outcome.record.row.slot, outcome.record.row.source):
            outcome.reason, outcome.detail = Reason.FAILED, refusal.reason


def _require_fresh(frame: Frame, now: datetime) -> None:
    """Refuse quotes that are older than the feed's delay allows, or lie in the future."""
    age = (now - frame.quoted_at).total_seconds()
    if age > frame.delay_seconds + STALE_AFTER:
        raise ChainRefused(
            Reason.STALE,
            f"{frame.symbol}: quotes are {age:.0f} s old,"
            f" the feed declares a delay of {frame.delay_seconds} s",
        )
    if age < -MAX_AHEAD:
        raise ChainRefused(
            Reason.BAD_ANSWER,
            f"{frame.symbol}: quotes lie {-age:.0f} s in the future; is this clock right?",
        )


def _total(volume: Floats) -> int:
    """The sum of the volumes that can be read. [contracts]"""
    return int(volume[volume > 0].sum())


def _require_newer(chain: Chain, newest: SlotRecord) -> None:
    """Refuse a chain that adds nothing to its slot's row.

    Only the session's last slot is measured again, with newer quotes.
    """
    row = newest.row
    if chain.quoted_at == row.quoted_at:
        # As it was sent: the row's own volume may be one that is held.
        columns = newest.state[0]
        before = _total(columns.get(REPORTED_VOLUME, columns["volume"]))
        if (volume := _total(chain.volume)) != before:
            raise ChainRefused(
                Reason.STALE,
                f"{chain.symbol}: quote time stands still while volume changes"
                f" ({before} to {volume})",
            )
        raise ChainRefused(Reason.UNCHANGED, f"{chain.symbol}: nothing newer than what is stored")
    if chain.quoted_at < row.quoted_at or chain.slot != chain.session.last_slot:
        raise ChainRefused(Reason.UNCHANGED, f"{chain.symbol}: its slot is sampled already")
