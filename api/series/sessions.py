"""Sessions in memory: today's session of every symbol, kept up to date, and recent other ones.

These are earlier sessions, and sessions of feeds that a caller named. A session that is not in
memory is read from the store.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import NoReturn, Protocol

import structlog

from api.series.bars import FIGURES, PROVENANCE, SessionBars
from api.series.epoch import epoch_seconds
from storage.changefeed import follow_changes
from storage.errors import LiveError, StoreError
from storage.market.calendar import (
    Session,
    last_session,
    market_day,
    new_york_time,
    session_on,
)
from storage.market.clock import Clock
from storage.postgres.store import Store
from storage.record.row import Change, Gap, Row
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: How many earlier sessions are kept; each takes about a megabyte.
MAX_EARLIER_SESSIONS = 64
#: How many sessions of feeds that a caller named are kept. One beyond them that has a reader of the
#: stream is read again when it changes.
MAX_NAMED_SESSIONS = 64
#: How many sessions are read at once when the server starts, or a day begins.
_AT_ONCE = 4
#: Time between two checks whether a day has begun, and whether the store is back. [s]
_LOOK = 1.0

#: Years whose calendar is loaded.
_LOADED_YEARS: set[int] = set()

#: A session in memory: symbol, day, and the feed that a caller named; None for the shown one.
Key = tuple[str, date, str | None]


class ChangeListener(Protocol):
    """Receives each change before the next one is applied. Its methods must not wait."""

    def wants(self, symbol: str, feed: str | None) -> bool:
        """Say whether a symbol's sessions must be brought into memory when they change.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed by its name; None for the one that is shown.

        Returns
        -------
        bool
            True if somebody listens to them.
        """
        ...

    def changed(
        self, symbol: str, feed: str | None, days: Sequence[SessionBars], after: int
    ) -> None:
        """Receive sessions that have changed.

        Parameters
        ----------
        symbol : the symbol.
        feed : whose sessions they are; None for the shown ones.
        days : the sessions that have changed.
        after : the symbol's newest revision before the change.
        """
        ...

    def lost(self, symbol: str, feed: str | None) -> None:
        """Learn that changes of a symbol could not be passed on.

        Parameters
        ----------
        symbol : the symbol.
        feed : whose changes they are; None for the shown feed's.
        """
        ...

    def lost_all(self) -> None:
        """Learn that changes of any symbol may be missing."""
        ...


class SessionCache:
    """The sessions of all symbols. ``run`` loads them and keeps them up to date."""

    def __init__(
        self,
        store: Store,
        live: LiveChannel,
        clock: Clock,
        configured: frozenset[str] = frozenset(),
    ) -> None:
        #: Symbols that a sampler is to sample: known before anything of them is stored.
        self.configured = configured
        self._store = store
        self._live = live
        self._clock = clock
        self._today: dict[str, SessionBars] = {}
        self._earlier: OrderedDict[tuple[str, date], SessionBars] = OrderedDict()
        self._named: OrderedDict[Key, SessionBars] = OrderedDict()
        self._day = market_day(clock.now())
        #: How far each symbol has been followed; None while nothing is.
        self._heads: dict[str, int] | None = None
        self._loading: dict[Key, asyncio.Task[SessionBars]] = {}
        #: What arrives for a session while it is being read.
        self._arrived: dict[Key, list[Change]] = {}
        self._delays: dict[tuple[str, date], timedelta | None] = {}
        self.listener: ChangeListener | None = None
        #: When the store was last compared with, in market time, and whether it is away since.
        self._contact = clock.now()
        #: What waits in the spools of samplers: first and last slot by symbol.
        self._waiting: dict[str, tuple[datetime, datetime]] = {}
        self._away = False

    @property
    def known_at(self) -> datetime | None:
        """Up to when it is known what the store has; None while the store answers.

        What is in memory is as it was then. Later slots may have samples that have not come here.
        """
        return self._contact if self._away else None

    def waiting(self, symbol: str, day: date) -> tuple[int, int] | None:
        """Return the slots of a session that wait in a sampler's spool.

        Parameters
        ----------
        symbol, day : the session.

        Returns
        -------
        tuple of int or None
            The first and the last one; None if none waits. [s since 1970]
        """
        slots = self._waiting.get(symbol)
        if slots is None or not market_day(slots[0]) <= day <= market_day(slots[1]):
            return None
        return epoch_seconds(slots[0]), epoch_seconds(slots[1])

    def waiting_days(self, symbol: str) -> list[date]:
        """Return the days whose slots may wait in a sampler's spool.

        Parameters
        ----------
        symbol : the symbol.

        Returns
        -------
        list of date
            New York's days from the first waiting slot's to the last one's; empty if none waits.
        """
        slots = self._waiting.get(symbol)
        if slots is None:
            return []
        first, last = map(market_day, slots)
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    async def _watch_spools(self) -> NoReturn:
        """Learn every second what waits in the spools of samplers, as far as the channel tells."""
        while True:
            # While the channel is away, what it said last stands: the rows have not come since.
            with suppress(LiveError, TimeoutError):
                async with asyncio.timeout(_LOOK):
                    self._waiting = await self._live.waiting()
            for sessions in (self._today, self._earlier, self._named):
                for session in sessions.values():
                    session.waiting = self.waiting(session.symbol, session.day)
            await asyncio.sleep(_LOOK)

    async def run(self) -> NoReturn:
        """Read today's sessions, then follow whatever is stored. Cancel it to end it."""
        while True:
            try:
                await self._follow()
            except StoreError as error:
                log.warning("sessions cannot be read yet", error=str(error))
            except Exception:
                log.exception("following failed: sessions are read anew")
            self._heads = None
            self._today.clear()
            self._earlier.clear()
            self._named.clear()
            if self.listener:
                self.listener.lost_all()
            await asyncio.sleep(_LOOK)

    def peek(self, symbol: str, day: date, feed: str | None = None) -> SessionBars | None:
        """Return a session if it is in memory.

        Parameters
        ----------
        symbol, day : the session.
        feed : the feed by its name; None for the one that is shown.

        Returns
        -------
        SessionBars or None
            The session; None if it is not in memory.
        """
        if self._heads is None:
            return None
        if feed is not None:
            named = self._named.get((symbol, day, feed))
            if named is not None:
                self._named.move_to_end((symbol, day, feed))
            return named
        if day == self._day:
            return self._today.get(symbol)
        session = self._earlier.get((symbol, day))
        if session is not None:
            self._earlier.move_to_end((symbol, day))
        return session

    async def get(self, symbol: str, day: date, feed: str | None = None) -> SessionBars:
        """Return a session from memory, else from the store.

        Parameters
        ----------
        symbol, day : the session.
        feed : the feed by its name; None for the one that is shown.

        Returns
        -------
        SessionBars
            The session; empty where nothing is stored.

        Raises
        ------
        StoreError
            If the session is not in memory and the database is away.
        """
        session = self.peek(symbol, day, feed)
        if session is not None:
            return session
        key = (symbol, day, feed)
        if self._heads is None:
            return await self._read(key)
        if symbol not in self._heads:
            return await _blank(key)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda done: self._loaded(key, done))
        # A caller who disconnects must not cancel the load for the others who wait.
        return await asyncio.shield(task)

    async def known(self, symbol: str) -> bool:
        """Say whether a symbol was ever sampled or tried, or is configured.

        Parameters
        ----------
        symbol : the symbol.

        Returns
        -------
        bool
            True if it has a row or a gap, or a sampler is to sample it.

        Raises
        ------
        StoreError
            If that is not in memory and the database is away.
        """
        if symbol in self.configured:
            return True
        if self._heads is not None:
            return symbol in self._heads
        return await self._store.known(symbol)

    async def delay(self, day: SessionBars) -> timedelta | None:
        """Return how far the feed of a session lies behind; yesterday's while today has no row.

        Parameters
        ----------
        day : the session.

        Returns
        -------
        timedelta or None
            The declared delay; None if nobody has sampled the symbol lately.

        Raises
        ------
        StoreError
            If that is not in memory and the database is away.
        """
        if day.delay is not None:
            return day.delay
        if day.session is None or day.day != market_day(self._clock.now()):
            return None
        if self._heads is not None and day.symbol not in self._heads:
            return None
        key = (day.symbol, previous_session_day(day.day))
        if self._heads is None or key not in self._delays:
            seconds = (await self._store.newest(*key)).get("delay_seconds")
            self._delays[key] = None if seconds is None else timedelta(seconds=seconds)
        return self._delays[key]

    def head(self, symbol: str) -> int | None:
        """Return the revision up to which a symbol has been followed.

        Parameters
        ----------
        symbol : the symbol.

        Returns
        -------
        int or None
            The revision, 0 for an unknown symbol; None while nothing is followed.
        """
        return None if self._heads is None else self._heads.get(symbol, 0)

    async def _follow(self) -> None:
        heads = await self._store.heads()
        self._note_contact(answered=True)
        # From here on callers are answered from memory, or wait until the session is loaded.
        self._heads = dict(heads)
        self._day = market_day(self._clock.now())
        await self._fill()
        turning = asyncio.create_task(self._turn())
        watching = asyncio.create_task(self._watch_spools())
        try:
            following = follow_changes(
                self._store, self._live, heads, on_contact=self._note_contact
            )
            async for change in following:
                await self._take(change)
                # Many symbols land at once: requests are answered in between.
                await asyncio.sleep(0)
        finally:
            turning.cancel()
            watching.cancel()

    def _note_contact(self, *, answered: bool) -> None:
        self._away = not answered
        if answered:
            self._contact = self._clock.now()

    async def _fill(self) -> None:
        """Read today's session of every symbol, and yesterday's delay where it has no row."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def load_delay(symbol: str) -> None:
            async with room:
                await self.delay(await self.get(symbol, self._day))

        await asyncio.gather(*(load_delay(symbol) for symbol in self._heads or ()))

    async def _turn(self) -> NoReturn:
        """When a day begins, yesterday's sessions become earlier ones."""
        while True:
            await asyncio.sleep(_LOOK)
            day = market_day(self._clock.now())
            if day == self._day:
                continue
            old, self._today, self._day = self._today, {}, day
            for key in [key for key in self._earlier if key[1] == day]:
                self._today[key[0]] = self._earlier.pop(key)
            self._earlier |= {(symbol, session.day): session for symbol, session in old.items()}
            self._delays.clear()
            self._shrink()
            try:
                await self._fill()
            except StoreError as error:
                # The next request for one of them reads it from the store.
                log.warning("a day's sessions cannot be read yet", error=str(error))

    async def _take(self, change: Change) -> None:
        """Take a change into the sessions that are in memory, and tell the listener."""
        assert self._heads is not None
        symbol = change.symbol
        self._heads.setdefault(symbol, 0)
        feeds = {row.source for _, row in change.rows} | {gap.source for _, gap in change.gaps}
        changed: list[tuple[str | None, list[SessionBars]]] = []
        for feed in (None, *feeds):
            days = [
                await self._changed(change, (symbol, day, feed))
                for day in sorted(_days(change, feed))
            ]
            changed.append((feed, [day for day in days if day is not None]))
        self._heads[symbol] = change.revision
        for feed, sessions in changed:
            if self.listener and sessions:
                self.listener.changed(symbol, feed, sessions, change.after)

    async def _changed(self, change: Change, key: Key) -> SessionBars | None:
        """Return a session with a change of it; None if it is not in memory and nobody wants it."""
        symbol, day, feed = key
        if feed is None:
            self._delays.pop((symbol, day), None)
        if key in self._arrived:
            self._arrived[key].append(change)
        session = self.peek(*key)
        if session is not None:
            _apply(session, change)
            if feed is None and _is_of_another_feed(session, change):
                session = await self._reconsider(session)
            return session
        if not self._wanted(key):
            return None
        try:
            return await self.get(*key)
        except StoreError as error:
            log.warning("a session cannot be read yet", symbol=symbol, error=str(error))
            if self.listener:
                self.listener.lost(symbol, feed)
            return None

    async def _reconsider(self, day: SessionBars) -> SessionBars:
        """Return the session of the feed that is shown now; another one replaces it in memory."""
        try:
            feeds = await self._store.feeds(day.symbol, day.day)
            if feeds.get(day.feed or "", not feeds):
                return day
            again = await self._read((day.symbol, day.day, None))
        except StoreError as error:
            log.warning("a session cannot be read yet", symbol=day.symbol, error=str(error))
            return day
        log.info("another feed is shown", symbol=day.symbol, day=str(day.day), feed=again.feed)
        if day.day == self._day:
            self._today[day.symbol] = again
        else:
            self._earlier[day.symbol, day.day] = again
        if self.listener:
            # A reader's bars are of the other feed: the reader comes back for the new one's.
            self.listener.lost(day.symbol, None)
        return again

    def _wanted(self, key: Key) -> bool:
        symbol, day, feed = key
        if feed is None and day >= self._day:
            return True
        return bool(
            self.listener
            and self.listener.wants(symbol, feed)
            and day >= previous_session_day(self._day)
        )

    async def _load(self, key: Key) -> SessionBars:
        arrived: list[Change] = []
        self._arrived[key] = arrived
        try:
            day = await self._read(key)
        finally:
            del self._arrived[key]
        for change in arrived:
            _apply(day, change)
        day.waiting = self.waiting(day.symbol, day.day)
        if key[2] is not None:
            self._named[key] = day
        elif day.day == self._day:
            self._today[day.symbol] = day
        else:
            self._earlier[day.symbol, day.day] = day
        self._shrink()
        return day

    def _loaded(self, key: Key, done: asyncio.Task[SessionBars]) -> None:
        self._loading.pop(key, None)
        if not done.cancelled():
            # Retrieve the error, even if no caller waits any more.
            done.exception()

    async def _read(self, key: Key) -> SessionBars:
        symbol, day, feed = key
        session = await _blank(key)
        store = self._store.of_feed(feed)
        session.fill(*await store.session(symbol, day, FIGURES, PROVENANCE))
        return session

    def _shrink(self) -> None:
        while len(self._earlier) > MAX_EARLIER_SESSIONS:
            self._earlier.popitem(last=False)
        while len(self._named) > MAX_NAMED_SESSIONS:
            self._named.popitem(last=False)


def previous_session_day(day: date) -> date:
    """Return the day of the session before a day.

    Parameters
    ----------
    day : the day; its own session does not count.

    Returns
    -------
    date
        The day, New York.
    """
    return last_session(new_york_time(day, 0)).day


def _apply(day: SessionBars, change: Change) -> None:
    rows = [(revision, row) for revision, row in change.rows if row.expiration == day.day]
    gaps = [(revision, gap) for revision, gap in change.gaps if gap.expiration == day.day]
    if day.feed is None:
        # Nothing was stored before: the session is that of the first feed that has a row, or a gap.
        items: list[Row | Gap] = [row for _, row in rows] + [gap for _, gap in gaps]
        day.feed = items[0].source if items else None
    day.apply_changes(
        [(revision, row) for revision, row in rows if row.source == day.feed],
        [(revision, gap) for revision, gap in gaps if gap.source == day.feed],
    )


def _days(change: Change, feed: str | None) -> set[date]:
    """The sessions of which a change has rows or gaps: of a feed, or of any where it is None."""
    items: list[Row | Gap] = [row for _, row in change.rows] + [gap for _, gap in change.gaps]
    return {item.expiration for item in items if feed in (None, item.source)}


def _is_of_another_feed(day: SessionBars, change: Change) -> bool:
    items: list[Row | Gap] = [row for _, row in change.rows] + [gap for _, gap in change.gaps]
    return any(i.expiration == day.day and i.source != day.feed for i in items)


async def session_on_day(day: date) -> Session | None:
    """Return the trading session of a day; None without one.

    The calendar of a year takes about a second to load. The first call for a year loads it in a
    thread, so that the event loop keeps answering.

    Parameters
    ----------
    day : the day.

    Returns
    -------
    Session or None
        Its hours.
    """
    if day.year not in _LOADED_YEARS:
        await asyncio.to_thread(session_on, day)
        _LOADED_YEARS.add(day.year)
    return session_on(day)


async def _blank(key: Key) -> SessionBars:
    symbol, day, feed = key
    session = SessionBars(symbol, day, await session_on_day(day))
    session.feed = feed
    return session
