"""After each close: note what the session settled at, and score its forecasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog

from sampler.scoring import (
    SETTLED_WITHIN,
    Close,
    find_close,
    is_settled,
    note_close,
    score_session,
)
from sampler.sources import Source
from sampler.sources.by_symbol import source_for
from storage.errors import FlowError, StoreError
from storage.market.calendar import Session, market_day, session_on
from storage.market.clock import Clock
from storage.postgres.store import Store

log = structlog.get_logger()

#: The feed's quotes of so long after the close have the official close of an index.
SETTLE_AFTER = timedelta(minutes=14)
#: How often sessions are looked at. The pause after an attempt that failed: while a feed's quotes
#: are still those of a close, and later, when it can only be one that keeps its last quotes. [s]
_BEAT, _RETRY, _LATE_RETRY = 1.0, 30.0, 600.0


class Settler:
    """Settles and scores the sessions of the symbols that this sampler holds.

    The first feed's close counts. The fallback's is noted where the first feed has none, under the
    fallback's name.
    """

    def __init__(
        self,
        store: Store,
        source: Source,
        *,
        clock: Clock,
        symbols: Callable[[], Collection[str]],
        delay: Callable[[str], timedelta],
        budget: float,
        fallback: Source | None = None,
        fallback_symbols: Collection[str] = (),
    ) -> None:
        """Settle nothing yet; ``running`` does.

        Parameters
        ----------
        store, source : the record, and who may know a close.
        clock : the time of the market, real or simulated.
        symbols : returns the symbols that are sampled here now.
        delay : how far a symbol's quotes lie behind the clock.
        budget : how long a source may take for a frame. [s]
        fallback, fallback_symbols : the feed that is asked for a close where the first one has
            none, and of which symbols.
        """
        self._store, self._source = store, source
        self._clock, self._symbols, self._delay = clock, symbols, delay
        self._budget = budget
        self._fallback, self._fallback_symbols = fallback, frozenset(fallback_symbols)
        #: The last session of each symbol that is done.
        self._scored: dict[str, Session] = {}
        #: The fallback's close, while the first feed may still have one. By symbol.
        self._fallback_closes: dict[str, tuple[Session, Close]] = {}
        #: When a symbol may be tried again, by a monotonic clock. [s]
        self._again: dict[str, float] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Settle in the background while this is open."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            try:
                await self.settle_ended(self._clock.now())
            except Exception:
                log.exception("sessions not settled")

    async def settle_ended(self, now: datetime) -> None:
        """Settle and score the sessions that have ended.

        Parameters
        ----------
        now : the market's time, UTC.
        """
        for symbol in sorted(self._symbols()):
            session = _ended(now - self._delay(symbol))
            if session is not None and self._scored.get(symbol) == session:
                continue
            if time.monotonic() < self._again.get(symbol, 0.0):
                continue
            done = True
            try:
                if session is not None:
                    done = await self._settle(symbol, session, now)
                elif self._ends_early(symbol, now):
                    # Its quotes are those of the close now, and not later.
                    done = await self._fallback_close(symbol, now) is not None
            except (FlowError, TimeoutError) as error:
                log.debug("not settled", symbol=symbol, error=str(error))
                done = False
            if not done:
                late = session is not None and self._are_late(symbol, session, now)
                self._again[symbol] = time.monotonic() + (_LATE_RETRY if late else _RETRY)
            elif session is not None:
                self._scored[symbol] = session
                self._fallback_closes.pop(symbol, None)

    async def _settle(self, symbol: str, session: Session, now: datetime) -> bool:
        """Settle and score one session; whether there is nothing left to do."""
        if not await self._store.slots(symbol, session.day):
            return True
        if not await is_settled(self._store, symbol, session):
            close = await self._ask(self._source, symbol, session, now)
            close = close or await self._fallback_close(symbol, now)
            if close is None:
                return False
            await note_close(self._store, symbol, session, close)
        counts = await score_session(
            self._store,
            symbol,
            session,
            now=now,
            simulated=self._source.synthetic or self._clock.simulated,
        )
        log.info("scored", symbol=symbol, session=session.day, forecasts=dict(counts or {}))
        return True

    def _fallback_delay(self, symbol: str) -> timedelta | None:
        """How far the fallback's quotes lie behind the clock; None where a symbol has none."""
        if self._fallback is None or symbol not in self._fallback_symbols:
            return None
        return timedelta(seconds=source_for(self._fallback, symbol).delay_seconds)

    def _ends_early(self, symbol: str, now: datetime) -> bool:
        """Whether a session has ended by the fallback's quotes that nothing is known of yet."""
        delay = self._fallback_delay(symbol)
        session = None if delay is None else _ended(now - delay)
        return session is not None and self._fallback_closes.get(symbol, (None,))[0] != session

    def _are_late(self, symbol: str, session: Session, now: datetime) -> bool:
        """Whether all feeds' quotes are too late for a close, unless a feed keeps its last ones."""
        delays = (self._delay(symbol), self._fallback_delay(symbol) or timedelta(0))
        return now - max(delays) > session.close + SETTLED_WITHIN

    async def _fallback_close(self, symbol: str, now: datetime) -> Close | None:
        """The fallback's close of the session that has ended by its quotes; None without one."""
        delay = self._fallback_delay(symbol)
        session = None if delay is None else _ended(now - delay)
        if self._fallback is None or session is None:
            return None
        earlier = self._fallback_closes.get(symbol)
        if earlier is not None and earlier[0] == session:
            return earlier[1]
        close = await self._ask(self._fallback, symbol, session, now)
        if close is not None:
            self._fallback_closes[symbol] = (session, close)
        return close

    async def _ask(
        self, source: Source, symbol: str, session: Session, now: datetime
    ) -> Close | None:
        """A feed's close; None if it has none, or does not answer."""
        try:
            async with asyncio.timeout(self._budget):
                return await find_close(self._store, symbol, session, source, live_at=now)
        except StoreError:
            raise
        except (FlowError, TimeoutError) as error:
            log.debug("no close", symbol=symbol, session=session.day, why=str(error))
            return None


def _ended(quoted: datetime) -> Session | None:
    """The session that has its close, where quotes are of this time, UTC."""
    session = session_on(market_day(quoted))
    return session if session is not None and quoted >= session.close + SETTLE_AFTER else None
