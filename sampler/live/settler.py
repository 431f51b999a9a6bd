"""After each close: note what the session settled at, and score its forecasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog

from sampler.errors import ChainRefused
from sampler.scoring import score_session, settle_session
from sampler.sources import Source
from storage.errors import FlowError
from storage.market.calendar import Session, market_day, session_on
from storage.market.clock import Clock
from storage.postgres.store import Store

log = structlog.get_logger()

#: The feed's quotes of so long after the close have the official close of an index.
SETTLE_AFTER = timedelta(minutes=14)
#: How often sessions are looked at, and the pause after an attempt that failed. [s]
_BEAT, _RETRY = 1.0, 30.0


class Settler:
    """Settles and scores the sessions of the symbols that this sampler holds."""

    def __init__(
        self,
        store: Store,
        source: Source,
        *,
        clock: Clock,
        symbols: Callable[[], Collection[str]],
        delay: Callable[[str], timedelta],
        budget: float,
    ) -> None:
        """Settle nothing yet; ``running`` does.

        Parameters
        ----------
        store, source : the record, and who may know a close.
        clock : the time of the market, real or simulated.
        symbols : returns the symbols that are sampled here now.
        delay : how far a symbol's quotes lie behind the clock.
        budget : how long the source may take for a frame. [s]
        """
        self._store, self._source = store, source
        self._clock, self._symbols, self._delay = clock, symbols, delay
        self._budget = budget
        #: The last session of each symbol that is done.
        self._scored: dict[str, Session] = {}
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
            quoted = now - self._delay(symbol)
            session = session_on(market_day(quoted))
            if session is None or quoted < session.close + SETTLE_AFTER:
                continue
            if self._scored.get(symbol) == session:
                continue
            if time.monotonic() < self._again.get(symbol, 0.0):
                continue
            if await self._settle(symbol, session, now):
                self._scored[symbol] = session
            else:
                self._again[symbol] = time.monotonic() + _RETRY

    async def _settle(self, symbol: str, session: Session, now: datetime) -> bool:
        """Whether there is nothing left to do."""
        try:
            if not await self._store.slots(symbol, session.day):
                return True
            async with asyncio.timeout(self._budget):
                settled = await settle_session(
                    self._store, symbol, session, self._source, live_at=now
                )
            if not settled:
                log.debug("no close", symbol=symbol, session=session.day)
                return False
            counts = await score_session(
                self._store,
                symbol,
                session,
                now=now,
                simulated=self._source.synthetic or self._clock.simulated,
            )
        except (ChainRefused, FlowError, TimeoutError) as error:
            log.debug("not settled", symbol=symbol, session=session.day, error=str(error))
            return False
        log.info("scored", symbol=symbol, session=session.day, forecasts=dict(counts or {}))
        return True
