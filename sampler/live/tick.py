"""One step: fetch a chain, measure it, store the record, tell the live channel.

Whatever goes wrong stays here: it becomes the slot's gap, with its reason, and the step's one log
line. A row and the gap of the slot that is owed are written together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog

from sampler.chain import Chain, Frame, select
from sampler.errors import Refused
from sampler.live.commit import RecordStore
from sampler.live.outcome import Outcome, StageTimer, log_outcome
from sampler.measure.other_expiries import survey
from sampler.measure.snapshot import measure
from sampler.sources import Source
from storage.errors import FlowError, LiveError, StoreError
from storage.fault import Fault, no_fault
from storage.market.calendar import Session, market_day, session_on
from storage.record.mode import WriteMode
from storage.record.row import Change, Gap, Reason, SlotRecord
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: Quotes further behind than the declared delay by this much are stale. [s]
STALE_AFTER = 120
#: Quotes further ahead than this say that one of the clocks is wrong. [s]
MAX_AHEAD = 120
#: A symbol without 0DTE today is asked again after so many slots.
IDLE_SLOTS = 60


class DryRunStore:
    """A store that keeps nothing: a dry run's."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> list[Change]:
        """Nothing is stored; the next step goes on as if it were."""
        return [
            Change(symbol=record.row.symbol, after=0, revision=0, rows=((0, record.row),))
            for record in records
        ]

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """There is no earlier state."""
        return None


class Tick:
    """Steps of one source into one store. Symbols may step at the same time, each in order."""

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
        """``quiet`` leaves steps without trouble out of the log, below debug.

        Pass no channel for ``live`` when the store publishes by itself, as ``BatchWriter`` does.
        ``provisional`` measures a chain also while its predecessor cannot be read, and takes it for
        the session's baseline; the store must then rebase such records, as ``BatchWriter`` does.
        """
        self._quiet = quiet
        self._provisional = provisional
        self._source = source
        self._store = store
        self._live = live
        self._oi_confidence = oi_confidence
        self._budget = budget
        self._fault = fault
        #: The two newest records of each symbol: the last one may be brought up to date.
        self._recent: dict[str, list[SlotRecord]] = {}
        #: The first slot that was owed since a symbol is ours alone.
        self._since: dict[str, datetime] = {}
        self._idle: dict[str, tuple[datetime, Refused]] = {}

    async def sample(
        self,
        symbol: str,
        *,
        now: datetime,
        target: datetime | None,
        late: Sequence[Gap] = (),
    ) -> Outcome:
        """Take the newest sample there is; never raises for what a source or store does.

        ``target`` is the slot that this step owes; it becomes a gap when no row of it comes.
        ``late`` are gaps of slots that the step before has run over.
        """
        outcome = Outcome(symbol=symbol)
        mode = WriteMode.KEEP
        if target is not None:
            self._since.setdefault(symbol, target)
        try:
            frame = await self._fetch(outcome, now, target)
            mode = await self._measure(frame, outcome, WriteMode.KEEP)
        except Refused as refused:
            outcome.reason, outcome.detail = refused.reason, str(refused)
            if refused.reason is Reason.UNCHANGED and self._frozen(symbol, now):
                outcome.reason = Reason.STALE
            if refused.reason is Reason.NO_ZERO_DTE and target and symbol not in self._idle:
                self._idle[symbol] = (target + timedelta(seconds=30 * IDLE_SLOTS), refused)
        except StoreError as error:
            outcome.reason, outcome.detail = Reason.NO_STATE, str(error)
        except Exception as error:
            log.exception("tick failed", symbol=symbol)
            outcome.reason, outcome.detail = Reason.FAILED, f"{type(error).__name__}: {error}"
        try:
            await self._store_outcome(outcome, mode, [*late, *_gap_of_target(outcome, target)])
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

        Raises
        ------
        Refused
            If the frame makes no row.
        StoreError
            If the store is away: nothing was written.
        """
        await self._store_outcome(outcome, await self._measure(frame, outcome, mode), [])

    async def mark_gaps(
        self, symbol: str, session: Session, slots: Sequence[datetime], reason: Reason
    ) -> None:
        """Mark slots that no step was taken for; never raises for what the store does."""
        gaps = [
            Gap(symbol=symbol, expiration=session.day, slot=slot, reason=reason) for slot in slots
        ]
        try:
            await self._publish(await self._store.write(gaps=gaps))
        except FlowError as error:
            log.error("gaps not stored", symbol=symbol, gaps=len(gaps), error=str(error))

    def forget(self, symbol: str) -> None:
        """Go on from what is stored: another sampler may have had the symbol meanwhile."""
        self._recent.pop(symbol, None)
        self._since.pop(symbol, None)

    async def _fetch(self, outcome: Outcome, now: datetime, target: datetime | None) -> Frame:
        symbol = outcome.symbol
        until, refused = self._idle.get(symbol, (None, None))
        if until and refused and target and target < until and until.date() == target.date():
            raise Refused(refused.reason, str(refused))
        self._idle.pop(symbol, None)
        self._fault("fetching")
        with StageTimer(outcome, "fetch"):
            try:
                async with asyncio.timeout(self._budget):
                    frame = await self._source.live(symbol, now)
            except TimeoutError:
                raise Refused(
                    Reason.SOURCE_DOWN, f"{symbol}: no answer within {self._budget:g} s"
                ) from None
        self._fault("fetched")
        _require_fresh(frame, now)
        return frame

    async def _measure(self, frame: Frame, outcome: Outcome, mode: WriteMode) -> WriteMode:
        """Make the outcome's record; the mode in which it is to be written."""
        with StageTimer(outcome, "select"):
            chain = select(frame, session_on(market_day(frame.quoted_at)))
        away: StoreError | None = None
        with StageTimer(outcome, "recall"):
            try:
                previous, same = await self._predecessor(chain)
            except StoreError as error:
                if not self._provisional:
                    raise
                # A baseline for now: who keeps it sees what it goes on from.
                previous, same, away = None, self._newest(chain), error
        if same is not None and mode == WriteMode.KEEP:
            _require_newer(chain, same)
            mode = WriteMode.NEWER
        with StageTimer(outcome, "measure"):
            try:
                outcome.record = measure(
                    chain,
                    previous,
                    oi_confidence=self._oi_confidence,
                    survey=lambda market: survey(
                        frame, chain.session, spot=market.spot, atm=market.atm, years=chain.years
                    ),
                )
            except Refused as refused:
                # Whether it has opened before, nobody can say.
                if away and refused.reason is Reason.NOT_OPEN and not self._from_open(chain):
                    raise away from refused
                raise
        self._fault("measured")
        return mode

    async def _store_outcome(self, outcome: Outcome, mode: WriteMode, gaps: Sequence[Gap]) -> None:
        """Write and publish; what the store holds then is what the next step goes on from."""
        record = outcome.record
        with StageTimer(outcome, "store"):
            changes = await self._store.write([record] if record else [], gaps, mode=mode)
        self._fault("kept")
        outcome.spooled = changes is None
        if record is not None:
            rows = [row for change in changes or () for _, row in change.rows]
            outcome.stored = any(row.slot == record.row.slot for row in rows)
            self._remember(record)
            if not outcome.spooled and not any(row is record.row for row in rows):
                # Another sampler was there first, the database refuses it, or it was based anew.
                self.forget(outcome.symbol)
                _note_refusal(outcome, changes or [])
        with StageTimer(outcome, "publish"):
            await self._publish(changes)

    async def _predecessor(self, chain: Chain) -> tuple[SlotRecord | None, SlotRecord | None]:
        """The record to difference a chain against, and the one that its slot has already."""
        newest = self._newest(chain)
        if newest is None:
            newest = await self._store.before(chain.symbol, chain.expiration, chain.session.close)
            if newest is None:
                return None, None
            self._recent[chain.symbol] = [newest]
        if newest.row.slot < chain.slot:
            return newest, None
        first = self._recent[chain.symbol][0].row
        if first.expiration == chain.expiration and first.slot < chain.slot:
            return self._recent[chain.symbol][0], newest
        return await self._store.before(chain.symbol, chain.expiration, chain.slot), newest

    def _newest(self, chain: Chain) -> SlotRecord | None:
        """The newest record of a chain's session that is remembered."""
        for record in reversed(self._recent.get(chain.symbol, [])):
            if record.row.expiration == chain.expiration:
                return record
        return None

    def _from_open(self, chain: Chain) -> bool:
        """Whether all of a session's steps were ours: what we do not know of was not there."""
        since = self._since.get(chain.symbol)
        return since is not None and since <= chain.session.open

    def _frozen(self, symbol: str, now: datetime) -> bool:
        """Whether the newest sample is so old that "nothing newer" means a dead feed."""
        known = self._recent.get(symbol)
        if not known:
            return False
        row = known[-1].row
        age = (now - row.quoted_at).total_seconds()
        return age > row.delay_seconds + STALE_AFTER

    def _remember(self, record: SlotRecord) -> None:
        kept = self._recent.get(record.row.symbol, [])
        earlier = [r for r in kept if r.row.slot < record.row.slot]
        self._recent[record.row.symbol] = [*earlier[-1:], record]

    async def _publish(self, changes: Sequence[Change] | None) -> None:
        try:
            await self._live.publish(changes or [])
        except LiveError as error:
            log.warning("not published", error=str(error))


def _gap_of_target(outcome: Outcome, target: datetime | None) -> list[Gap]:
    """The gap of the slot that a step owes; none if its row came."""
    if target is None or (outcome.record is not None and outcome.record.row.slot == target):
        return []
    # A row of another slot came: this one's may still come, or never.
    return [
        Gap(
            symbol=outcome.symbol,
            expiration=market_day(target),
            slot=target,
            reason=outcome.reason or Reason.LATE,
            detail=outcome.detail,
        )
    ]


def _note_refusal(outcome: Outcome, changes: Sequence[Change]) -> None:
    """Say of a record that was not stored if its slot became a gap instead."""
    assert outcome.record is not None
    for change in changes:
        for _, gap in change.gaps:
            if gap.slot == outcome.record.row.slot and gap.reason is Reason.FAILED:
                outcome.reason, outcome.detail = gap.reason, gap.detail


def _require_fresh(frame: Frame, now: datetime) -> None:
    age = (now - frame.quoted_at).total_seconds()
    if age > frame.delay_seconds + STALE_AFTER:
        raise Refused(
            Reason.STALE,
            f"{frame.symbol}: quotes are {age:.0f} s old,"
            f" the feed declares a delay of {frame.delay_seconds} s",
        )
    if age < -MAX_AHEAD:
        raise Refused(
            Reason.BAD_ANSWER,
            f"{frame.symbol}: quotes lie {-age:.0f} s in the future; is this clock right?",
        )


def _require_newer(chain: Chain, newest: SlotRecord) -> None:
    """Refuse what the slot's row knows already; newer quotes of the last slot are welcome."""
    row = newest.row
    if chain.quoted_at == row.quoted_at:
        volume = int(chain.volume[chain.volume > 0].sum())
        if volume != row.total_volume:
            raise Refused(
                Reason.STALE,
                f"{chain.symbol}: quote time stands still while volume goes on"
                f" ({row.total_volume} to {volume})",
            )
        raise Refused(Reason.UNCHANGED, f"{chain.symbol}: nothing newer than what is stored")
    if chain.quoted_at < row.quoted_at or chain.slot != chain.session.last_slot:
        raise Refused(Reason.UNCHANGED, f"{chain.symbol}: its slot is sampled already")
