"""The symbols that are ours: their steps, and every slot that had none.

A slot without a row is a gap with a reason: late if a step ran over it, not running if there was
none. Which sessions are a daemon's to account for is kept with the rows; a session that holds a few
recorded frames is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

import structlog

from sampler.live.grid import SLOT_WIDTH, due_slot
from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.live.writer import BatchWriter
from storage.errors import StoreError
from storage.market.calendar import Session, market_day, session_on
from storage.record.row import Gap, Reason

log = structlog.get_logger()

#: Sessions further back are left as they are.
_LOOK_BACK = timedelta(days=14)


class SlotAccounts(Protocol):
    """The part of the store that knows what is accounted for."""

    async def accounted(self, symbol: str, expiration: date) -> set[datetime]:
        """See ``Reader.accounted``."""
        ...

    async def unaccounted(
        self, symbols: Sequence[str], first: date, last: date
    ) -> list[tuple[str, date]]:
        """See ``Reader.unaccounted``."""
        ...

    async def own(self, symbols: Sequence[str], expiration: date) -> None:
        """See ``Store.own``."""
        ...


class SlotTracker:
    """Steps symbols, and accounts for the slots of their sessions. Time is an argument."""

    def __init__(
        self, tick: Tick, store: SlotAccounts, writer: BatchWriter, *, delay: timedelta
    ) -> None:
        self._tick = tick
        self._store = store
        self._writer = writer
        self._delay = delay
        #: The symbols that are ours.
        self.symbols: set[str] = set()
        self._stepping: set[str] = set()
        #: The newest slot of each symbol that is a row or a gap.
        self._accounted: dict[str, datetime] = {}
        #: Symbols and days that the store knows to be ours.
        self._owned: set[tuple[str, date]] = set()
        #: Sessions that have ended and were not looked through yet.
        self._ended: set[tuple[str, date]] = set()

    async def add_symbols(self, symbols: Iterable[str], now: datetime) -> list[str]:
        """Take symbols on and mark what nobody sampled; those for which a step is just due."""
        symbols = list(symbols)
        await self._mark_missed_sessions(symbols, market_day(now - self._delay))
        due = due_slot(now, self._delay)
        if due is None:
            self.symbols |= set(symbols)
            return []
        session, slot = due
        fresh = now - self._delay - slot <= SLOT_WIDTH / 2
        until = slot if fresh else slot + SLOT_WIDTH
        for symbol in symbols:
            await self._mark_missed(symbol, session, until)
            self._accounted[symbol] = until - SLOT_WIDTH
            self.symbols.add(symbol)
        return symbols if fresh else []

    def drop_symbol(self, symbol: str) -> None:
        """Let a symbol go: another sampler has it."""
        self.symbols.discard(symbol)
        self._tick.forget(symbol)
        self._accounted.pop(symbol, None)

    async def step(self, symbol: str, now: datetime) -> Outcome | None:
        """Sample a symbol for the slot that is owed; None if there is none, or it is not ours."""
        due = due_slot(now, self._delay)
        if due is None or symbol not in self.symbols or symbol in self._stepping:
            return None
        self._stepping.add(symbol)
        self._writer.begin_step(symbol)
        try:
            session, slot = due
            newest = self._accounted.get(symbol)
            late = _late_gaps(symbol, session, newest, slot)
            # A clock that was put back: the slot has been told of already.
            news = newest is None or newest < slot
            self._accounted[symbol] = slot if newest is None else max(slot, newest)
            target = slot if news else None
            outcome = await self._tick.sample(symbol, now=now, target=target, late=late)
            if now - self._delay >= session.close:
                self._ended.add((symbol, session.day))
            return outcome
        finally:
            self._writer.end_step(symbol)
            self._stepping.discard(symbol)

    async def account_sessions(self, now: datetime) -> None:
        """Note which sessions are ours, and look through those that have ended."""
        session = session_on(market_day(now - self._delay))
        if self._writer.database_away or session is None:
            return
        try:
            new = [s for s in self.symbols if (s, session.day) not in self._owned]
            if new and now - self._delay >= session.open:
                await self._store.own(sorted(new), session.day)
                self._owned |= {(symbol, session.day) for symbol in new}
        except StoreError as error:
            log.warning("sessions not noted yet", error=str(error))
            return
        ended, self._ended = self._ended, set()
        for symbol, day in sorted(ended):
            if over := session_on(day):
                await self._mark_missed(symbol, over, over.close)

    async def _mark_missed_sessions(self, symbols: Sequence[str], today: date) -> None:
        """Mark what is missing in earlier sessions that were ours."""
        yesterday = today - timedelta(days=1)
        try:
            found = await self._store.unaccounted(symbols, today - _LOOK_BACK, yesterday)
        except StoreError as error:
            log.warning("cannot look back", error=str(error))
            return
        for symbol, day in found:
            if session := session_on(day):
                await self._mark_missed(symbol, session, session.close)

    async def _mark_missed(self, symbol: str, session: Session, until: datetime) -> None:
        """Mark the slots before a moment that are neither a row nor a gap."""
        try:
            known = await self._store.accounted(symbol, session.day)
        except StoreError as error:
            newest = self._writer.backlog.accounted.get(symbol)
            if newest is None or newest < session.open:
                log.error("cannot tell what was missed", symbol=symbol, error=str(error))
                return
            # What came before it is in the database, or will be.
            known = {slot for slot in session.slots if slot <= newest}
        missed = [slot for slot in session.slots if slot < until and slot not in known]
        if missed:
            log.warning("missed", symbol=symbol, slots=len(missed), first=missed[0])
            await self._tick.mark_gaps(symbol, session, missed, Reason.NOT_RUNNING)


def _late_gaps(symbol: str, session: Session, newest: datetime | None, slot: datetime) -> list[Gap]:
    """Slots between the last step's and this one's: they had their time while it ran."""
    if newest is None or newest < session.open:
        newest = session.open - SLOT_WIDTH
    count = int((slot - newest) / SLOT_WIDTH) - 1
    return [
        Gap(
            symbol=symbol,
            expiration=session.day,
            slot=newest + (i + 1) * SLOT_WIDTH,
            reason=Reason.LATE,
        )
        for i in range(count)
    ]
