"""Account for every slot of the symbols that this sampler holds: each becomes a row or a gap.

A slot that passed while a step was still running is a gap ``late``. A slot that no step was taken
for is a gap ``not_running``. The database notes which sessions a sampler was responsible for, so
that a successor marks the slots that its predecessor left open. A session that only holds rows of
a backfill was no sampler's responsibility and gets no such gaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

import structlog

from sampler.live.grid import due_slot
from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.live.writer import BatchWriter
from storage.errors import StoreError, StoreUnavailable
from storage.market.calendar import Session, market_day, session_on
from storage.market.constants import SLOT_WIDTH
from storage.record.row import Gap, Reason

log = structlog.get_logger()

#: How far back earlier sessions are searched for slots that are neither a row nor a gap.
_LOOK_BACK = timedelta(days=14)


class SlotAccounts(Protocol):
    """The part of the store that knows which slots are a row or a gap."""

    async def accounted(self, symbol: str, expiration: date, feed: str) -> set[datetime]:
        """Return the slots of a session that are a row or a gap.

        Parameters
        ----------
        symbol, expiration, feed : the session.

        Returns
        -------
        set of datetime
            The slots, UTC.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...

    async def unaccounted(
        self, symbols: Sequence[str], first: date, last: date
    ) -> list[tuple[str, str, date]]:
        """Return the noted sessions from ``first`` to ``last`` that have slots left open.

        Parameters
        ----------
        symbols : whose sessions.
        first, last : the first and the last day.

        Returns
        -------
        list of (str, str, date)
            Symbol, feed and day of each session.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...

    async def own(
        self, feeds: Mapping[str, str], expiration: date, *, fallback: bool = False
    ) -> None:
        """Note that a sampler is responsible for a session of these symbols.

        Parameters
        ----------
        feeds : the feed that each symbol is sampled from.
        expiration : the session's day.
        fallback : whether these feeds stand in for others.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...


class SlotTracker:
    """Steps the symbols of this sampler and accounts for the slots of their sessions.

    Every method is told the time; nothing here reads a clock.
    """

    def __init__(
        self,
        tick: Tick,
        store: SlotAccounts,
        writer: BatchWriter,
        *,
        delay: timedelta | Callable[[str], timedelta],
        fallback: bool = False,
    ) -> None:
        """Track nothing yet.

        Parameters
        ----------
        tick, store, writer : take the steps, know the slots, and write.
        delay : how far the source's quotes lie behind the clock; or by symbol.
        fallback : whether the feed stands in for another, whose tracker looks back at earlier
            sessions.
        """
        self._fallback = fallback
        self._tick = tick
        self._store = store
        self._writer = writer
        self._delay = delay if callable(delay) else lambda _: delay
        #: The symbols that this sampler steps.
        self.symbols: set[str] = set()
        self._stepping: set[str] = set()
        #: Each symbol's newest slot that is a row or a gap.
        self._newest_slot: dict[str, datetime] = {}
        #: Symbols and days that are noted in the store as this sampler's responsibility.
        self._noted: set[tuple[str, date]] = set()
        #: Symbols and days with a step, or with a slot in the spool, that have not ended yet.
        self._current: set[tuple[str, date]] = set()
        #: Symbols and days of ended sessions that are not searched for open slots yet.
        self._ended: set[tuple[str, date]] = set()
        #: Symbols whose earlier sessions could not be searched yet.
        self._unsearched: set[str] = set()

    def feed(self, symbol: str) -> str:
        """Return the name of the feed that a symbol is sampled from.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        str
            The feed.
        """
        return self._tick.feed(symbol)

    async def has_begun(self, symbol: str, session: Session) -> bool:
        """Return whether any slot of a session is a row or a gap of this feed.

        Parameters
        ----------
        symbol, session : the session.

        Returns
        -------
        bool
            False if nothing is stored, or the store is away.
        """
        try:
            return bool(await self._store.accounted(symbol, session.day, self.feed(symbol)))
        except StoreError:
            return False

    async def add_symbols(
        self, symbols: Iterable[str], now: datetime, *, missed: Reason = Reason.NOT_RUNNING
    ) -> list[str]:
        """Start to track symbols, and mark the earlier slots that no sampler sampled.

        Parameters
        ----------
        symbols : the symbols to add.
        now : the time of the clock.
        missed : why today's slots before now have no row.

        Returns
        -------
        list of str
            The symbols to step at once: all of them while less than half of the current slot has
            passed, else none, and then the current slot is marked too.
        """
        step_at_once: list[str] = []
        # A database that hangs is asked once, not for each symbol.
        answers = True
        for delay, group in self._by_delay(symbols):
            if not self._fallback:
                today = market_day(now - delay)
                answers = answers and await self._mark_missed_sessions(group, today)
                if not answers:
                    self._unsearched |= set(group)
            due = due_slot(now, delay)
            if due is None:
                self.symbols |= set(group)
                continue
            session, slot = due
            step_now = now - delay - slot <= SLOT_WIDTH / 2
            first_slot = slot if step_now else slot + SLOT_WIDTH
            for symbol in group:
                answers = await self._mark_missed(
                    symbol, session, first_slot, ask=answers, reason=missed
                )
                self._newest_slot[symbol] = first_slot - SLOT_WIDTH
                self.symbols.add(symbol)
            step_at_once += group if step_now else []
        return step_at_once

    def note_spooled(self, symbols: Container[str]) -> None:
        """Take sessions with slots in the spool for ours: a sampler had begun them.

        The database may know nothing of them. Call it before the spool is emptied.

        Parameters
        ----------
        symbols : the symbols that this sampler is about to track.
        """
        for (symbol, feed), slot in self._writer.backlog.accounted.items():
            if symbol in symbols and feed == self.feed(symbol):
                self._current.add((symbol, market_day(slot)))

    def _by_delay(self, symbols: Iterable[str]) -> list[tuple[timedelta, list[str]]]:
        """Symbols whose sources lie equally far behind, together."""
        groups: defaultdict[timedelta, list[str]] = defaultdict(list)
        for symbol in symbols:
            groups[self._delay(symbol)].append(symbol)
        return list(groups.items())

    def drop_symbol(self, symbol: str) -> None:
        """Stop tracking a symbol: another sampler has it.

        Parameters
        ----------
        symbol : the symbol.
        """
        self.symbols.discard(symbol)
        self._unsearched.discard(symbol)
        self._current = {(other, day) for other, day in self._current if other != symbol}
        self._tick.forget(symbol)
        self._newest_slot.pop(symbol, None)

    async def step(self, symbol: str, now: datetime, *, standby: bool = False) -> Outcome | None:
        """Sample a symbol for the slot that is due.

        Parameters
        ----------
        symbol : the symbol.
        now : the time of the clock, UTC.
        standby : mark the slot ``standby`` instead of sampling it.

        Returns
        -------
        Outcome or None
            The outcome of the step. None if no slot is due, the symbol is not tracked, its last
            step still runs, or nothing is sampled.
        """
        due = due_slot(now, self._delay(symbol))
        if due is None or symbol not in self.symbols or symbol in self._stepping:
            return None
        self._stepping.add(symbol)
        self._writer.begin_step(symbol)
        try:
            session, slot = due
            self._current.add((symbol, session.day))
            newest = self._newest_slot.get(symbol)
            late = _late_gaps(symbol, self._tick.feed(symbol), session, newest, slot)
            if late:
                first, last = late[0].slot, late[-1].slot
                log.warning("late", symbol=symbol, slots=len(late), first=first, last=last)
            # After the clock was put back, the due slot is a row or a gap already.
            target = slot if newest is None or newest < slot else None
            self._newest_slot[symbol] = slot if newest is None else max(slot, newest)
            outcome = None
            if standby:
                slots = [*(gap.slot for gap in late), *([] if target is None else [target])]
                await self._tick.mark_gaps(symbol, session, slots, Reason.STANDBY)
            else:
                outcome = await self._tick.sample(symbol, now=now, target=target, late=late)
            if now - self._delay(symbol) >= session.close:
                self._ended.add((symbol, session.day))
            return outcome
        finally:
            self._writer.end_step(symbol)
            self._stepping.discard(symbol)

    async def account_sessions(self, now: datetime) -> None:
        """Note the current session as ours, and mark the open slots of sessions that have ended.

        Does nothing while the database is away; call it again later.

        Parameters
        ----------
        now : the time of the clock, UTC.
        """
        today = [
            (session, now - delay, symbols)
            for delay, symbols in self._by_delay(self.symbols)
            if (session := session_on(market_day(now - delay))) is not None
        ]
        # A session ends even if no step was taken at its close: the last one may still have run.
        self._ended |= {
            (symbol, day)
            for symbol, day in self._current
            if symbol in self.symbols and symbol not in self._stepping
            if (ours := session_on(day)) is None
            or now - self._delay(symbol) >= ours.close + SLOT_WIDTH
        }
        self._current -= self._ended
        if self._writer.database_away or not (today or self._ended or self._unsearched):
            return
        try:
            for session, quoted, symbols in today:
                to_note = [s for s in symbols if (s, session.day) not in self._noted]
                if to_note and quoted >= session.open:
                    feeds = {symbol: self._tick.feed(symbol) for symbol in sorted(to_note)}
                    await self._store.own(feeds, session.day, fallback=self._fallback)
                    self._noted |= {(symbol, session.day) for symbol in to_note}
            for symbol, day in sorted(self._ended - self._noted):
                await self._store.own({symbol: self.feed(symbol)}, day, fallback=self._fallback)
                self._noted.add((symbol, day))
        except StoreError as error:
            log.warning("sessions not noted yet", error=str(error))
            return
        ended, self._ended = self._ended, set()
        for symbol, day in sorted(ended):
            if (ended_session := session_on(day)) and not await self._mark_missed(
                symbol, ended_session, ended_session.close
            ):
                self._ended.add((symbol, day))
        for delay, group in self._by_delay(self._unsearched & self.symbols):
            if await self._mark_missed_sessions(group, market_day(now - delay)):
                self._unsearched -= set(group)

    async def _mark_missed_sessions(self, symbols: Sequence[str], today: date) -> bool:
        """Mark the open slots of earlier sessions that a sampler was responsible for.

        Returns whether the store answered.
        """
        yesterday = today - timedelta(days=1)
        try:
            open_sessions = await self._store.unaccounted(symbols, today - _LOOK_BACK, yesterday)
        except StoreError as error:
            log.warning("cannot look back", error=str(error))
            return False
        for symbol, feed, day in open_sessions:
            if session := session_on(day):
                await self._mark_missed(symbol, session, session.close, feed)
        return True

    async def _mark_missed(
        self,
        symbol: str,
        session: Session,
        until: datetime,
        feed: str | None = None,
        *,
        ask: bool = True,
        reason: Reason = Reason.NOT_RUNNING,
    ) -> bool:
        """Mark the slots of a session before ``until`` that are neither a row nor a gap.

        ``feed`` is None for the one that the symbol is sampled from. Returns whether the store
        answered; without ``ask`` the store is not asked, as if it were away.
        """
        answered = True
        feed = self._tick.feed(symbol) if feed is None else feed
        try:
            if not ask:
                raise StoreUnavailable("the database is away")
            accounted = await self._store.accounted(symbol, session.day, feed)
        except StoreError as error:
            answered = False
            newest = self._writer.backlog.accounted.get((symbol, feed))
            if newest is None or newest < session.open:
                log.error("cannot tell what was missed", symbol=symbol, error=str(error))
                return answered
            # Earlier slots were accounted for before the newest one was spooled.
            accounted = {slot for slot in session.slots if slot <= newest}
        missed = [slot for slot in session.slots if slot < until and slot not in accounted]
        if missed:
            first, last = missed[0], missed[-1]
            log.warning("missed", symbol=symbol, slots=len(missed), first=first, last=last)
            await self._tick.mark_gaps(symbol, session, missed, reason, feed)
        return answered


def _late_gaps(
    symbol: str, feed: str, session: Session, newest: datetime | None, slot: datetime
) -> list[Gap]:
    """Return gaps for the slots between the last step's slot and this one's.

    They passed while the last step was still running.
    """
    if newest is None or newest < session.open:
        newest = session.open - SLOT_WIDTH
    count = int((slot - newest) / SLOT_WIDTH) - 1
    return [
        Gap(
            symbol=symbol,
            expiration=session.day,
            slot=newest + (i + 1) * SLOT_WIDTH,
            reason=Reason.LATE,
            source=feed,
        )
        for i in range(count)
    ]
