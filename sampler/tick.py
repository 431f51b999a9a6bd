"""One step: fetch a chain, measure it, store the record, tell the live channel.

Whatever goes wrong stays here: it becomes the slot's gap, with its reason, and the step's one log
line. What the store could not take is kept, in order, and goes with the next step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

import structlog

from sampler.chain import Chain, Frame, select
from sampler.errors import Refused
from sampler.outcome import Outcome, Timed, tell
from sampler.snapshot import measure
from sampler.sources import Source
from sampler.surface import survey
from storage.errors import LiveError, StoreError
from storage.live import Live
from storage.row import Change, Gap, Reason, SlotRecord
from storage.session import Session, market_day, session_on
from storage.store import KEEP, NEWER

log = structlog.get_logger()

#: Quotes further behind than the declared delay by this much are stale. [s]
STALE_AFTER = 120
#: Quotes further ahead than this say that one of the clocks is wrong. [s]
AHEAD = 120
#: A symbol without 0DTE today is asked again after so many slots.
ASK_AGAIN = 60


class Keeper(Protocol):
    """The part of the store that a step needs."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: str = KEEP,
    ) -> list[Change]:
        """See ``Store.write``."""
        ...

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """See ``Store.before``."""
        ...


class Nowhere:
    """A store that keeps nothing: a dry run's."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: str = KEEP,
    ) -> list[Change]:
        """Nothing is stored."""
        return []

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """There is no earlier state."""
        return None


class Tick:
    """Steps of one source into one store. Symbols may step at the same time, each in order."""

    def __init__(
        self,
        source: Source,
        store: Keeper,
        live: Live,
        *,
        oi_confidence: float,
        budget: float,
        quiet: bool = False,
    ) -> None:
        """``quiet`` leaves steps without trouble out of the log, below debug."""
        self._quiet = quiet
        self._source = source
        self._store = store
        self._live = live
        self._oi_confidence = oi_confidence
        self._budget = budget
        #: The two newest records of each symbol: the last one may be brought up to date.
        self._recent: dict[str, list[SlotRecord]] = {}
        self._unwritten: dict[str, list[SlotRecord]] = {}
        self._unmarked: list[Gap] = []
        self._idle: dict[str, tuple[datetime, Refused]] = {}

    async def sample(self, symbol: str, *, now: datetime, target: datetime | None) -> Outcome:
        """Take the newest sample there is; never raises for what a source or store does.

        ``target`` is the slot that this step owes; it becomes a gap when no row of it comes.
        """
        outcome = Outcome(symbol=symbol)
        try:
            await self._sample(outcome, now, target)
        except Refused as refused:
            outcome.reason, outcome.detail = refused.reason, str(refused)
            if refused.reason is Reason.UNCHANGED and self._frozen(symbol, now):
                outcome.reason = Reason.STALE
            if refused.reason is Reason.NO_ZERO_DTE and target and symbol not in self._idle:
                self._idle[symbol] = (target + timedelta(seconds=30 * ASK_AGAIN), refused)
        except StoreError as error:
            outcome.detail = str(error)
        except Exception as error:
            log.exception("tick failed", symbol=symbol)
            outcome.reason, outcome.detail = Reason.FAILED, f"{type(error).__name__}: {error}"
        if target is not None:
            self._owe(outcome, target)
        await self._settle(symbol)
        tell(outcome, now, target, quiet=self._quiet)
        return outcome

    async def _sample(self, outcome: Outcome, now: datetime, target: datetime | None) -> None:
        symbol = outcome.symbol
        until, refused = self._idle.get(symbol, (None, None))
        if until and refused and target and target < until and until.date() == target.date():
            raise Refused(refused.reason, str(refused))
        self._idle.pop(symbol, None)
        with Timed(outcome, "fetch"):
            try:
                async with asyncio.timeout(self._budget):
                    frame = await self._source.live(symbol, now)
            except TimeoutError:
                raise Refused(
                    Reason.SOURCE_DOWN, f"{symbol}: no answer within {self._budget:g} s"
                ) from None
        _require_fresh(frame, now)
        await self.take(frame, outcome)

    async def take(self, frame: Frame, outcome: Outcome, mode: str = KEEP) -> None:
        """Measure a frame and store its record.

        Raises
        ------
        Refused
            If the frame makes no row.
        StoreError
            If the store is away: the record is kept for the next step.
        """
        with Timed(outcome, "select"):
            chain = select(frame, session_on(market_day(frame.quoted_at)))
        with Timed(outcome, "recall"):
            previous, same = await self._earlier(chain)
        if same is not None and mode == KEEP:
            _require_news(chain, same)
            mode = NEWER
        with Timed(outcome, "measure"):
            outcome.record = measure(
                chain,
                previous,
                oi_confidence=self._oi_confidence,
                survey=lambda market: survey(
                    frame, chain.session, spot=market.spot, atm=market.atm, years=chain.years
                ),
            )
        self._remember(outcome.record)
        with Timed(outcome, "store"):
            changes = await self._write(outcome.record, mode)
        rows = [row for change in changes for _, row in change.rows]
        outcome.stored = any(row is outcome.record.row for row in rows)
        with Timed(outcome, "publish"):
            await self._publish(changes)

    async def owe(
        self, symbol: str, session: Session, slots: Sequence[datetime], reason: Reason
    ) -> None:
        """Mark slots that no step was taken for."""
        self._unmarked += [
            Gap(symbol=symbol, expiration=session.day, slot=slot, reason=reason) for slot in slots
        ]
        await self._mark()

    def _owe(self, outcome: Outcome, target: datetime) -> None:
        if outcome.record is not None and outcome.record.row.slot == target:
            return
        # A row of another slot came: this one's may still come, or never.
        reason = outcome.reason or Reason.LATE
        expiration = market_day(target)
        self._unmarked.append(
            Gap(
                symbol=outcome.symbol,
                expiration=expiration,
                slot=target,
                reason=reason,
                detail=outcome.detail,
            )
        )

    async def _settle(self, symbol: str) -> None:
        """Try again what the store could not take before, and mark the gaps."""
        if waiting := self._unwritten.pop(symbol, []):
            try:
                await self._publish(await self._store.write(waiting))
            except StoreError:
                self._unwritten[symbol] = waiting
        await self._mark()

    async def _mark(self) -> None:
        owed, self._unmarked = self._unmarked, []
        if not owed:
            return
        try:
            changes = await self._store.write(gaps=owed)
        except StoreError as error:
            self._unmarked = owed + self._unmarked
            log.error("gaps not stored yet", waiting=len(self._unmarked), error=str(error))
            return
        await self._publish(changes)

    async def _earlier(self, chain: Chain) -> tuple[SlotRecord | None, SlotRecord | None]:
        """The record to difference a chain against, and the one that its slot has already."""
        known = [
            r for r in self._recent.get(chain.symbol, []) if r.row.expiration == chain.expiration
        ]
        if not known:
            after = chain.session.close
            newest = await self._store.before(chain.symbol, chain.expiration, after)
            if newest is not None:
                known = [newest]
                self._recent[chain.symbol] = known
        if not known:
            return None, None
        newest = known[-1]
        if newest.row.slot < chain.slot:
            return newest, None
        same = newest
        if len(known) > 1 and known[0].row.slot < chain.slot:
            return known[0], same
        return await self._store.before(chain.symbol, chain.expiration, chain.slot), same

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

    async def _write(self, record: SlotRecord, mode: str) -> list[Change]:
        waiting = [*self._unwritten.pop(record.row.symbol, []), record]
        try:
            return await self._store.write(waiting, mode=mode)
        except StoreError:
            self._unwritten[record.row.symbol] = waiting
            raise

    async def _publish(self, changes: Sequence[Change]) -> None:
        try:
            await self._live.publish(changes)
        except LiveError as error:
            log.warning("not published", error=str(error))


def _require_fresh(frame: Frame, now: datetime) -> None:
    age = (now - frame.quoted_at).total_seconds()
    if age > frame.delay_seconds + STALE_AFTER:
        raise Refused(
            Reason.STALE,
            f"{frame.symbol}: quotes are {age:.0f} s old,"
            f" the feed declares a delay of {frame.delay_seconds} s",
        )
    if age < -AHEAD:
        raise Refused(
            Reason.BAD_ANSWER,
            f"{frame.symbol}: quotes lie {-age:.0f} s in the future; is this clock right?",
        )


def _require_news(chain: Chain, newest: SlotRecord) -> None:
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
