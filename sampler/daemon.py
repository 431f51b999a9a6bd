"""APScheduler's one home: the session's grid, deadlines and signals.

Each symbol is a job of its own on the same grid, so that a slow one holds up none. A step that
overruns its slot is not doubled: the slots it ran over are marked late and the grid goes on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from sampler.outcome import Outcome
from sampler.tick import Tick
from storage.clock import Clock
from storage.errors import StoreError
from storage.row import Reason
from storage.session import GRID, Session, market_day, new_york, next_session, session_on
from storage.store import Store

log = structlog.get_logger()

#: The last slot is brought up to date this long after the close.
SETTLE = timedelta(seconds=5)
#: Two clocks that map to each other by rounding: less than this is the same moment.
_SAME = timedelta(milliseconds=5)
_STEP = timedelta(seconds=GRID)
#: Seconds of wall time between two lines of a simulated market, whose ticks are too many to read.
_BEAT = 10


def next_tick(after: datetime, delay: timedelta) -> datetime:
    """The first moment after ``after`` at which a sample is due.

    Quotes lie ``delay`` behind, so the whole day is shifted by it: from ``delay`` past the open to
    a little more than ``delay`` past the close.
    """
    quoted = after - delay
    session = session_on(market_day(quoted))
    if session is None or quoted >= session.close + SETTLE:
        return next_session(market_day(quoted)).open + delay
    if quoted < session.open:
        return session.open + delay
    step = session.open + ((quoted - session.open) // _STEP + 1) * _STEP
    return (step if step < session.close else session.close + SETTLE) + delay


def owed(now: datetime, delay: timedelta) -> tuple[Session, datetime] | None:
    """The session, and the newest slot of it that should have been sampled by ``now``."""
    quoted = now - delay + _SAME
    session = session_on(market_day(quoted))
    if session is None or quoted < session.open:
        return None
    slot = session.open + ((quoted - session.open) // _STEP) * _STEP
    return session, min(slot, session.last_slot)


class GridTrigger(BaseTrigger):  # type: ignore[misc]
    """The sampling grid on the machine's clock, which is the one that APScheduler reads."""

    def __init__(self, clock: Clock, delay: timedelta) -> None:
        self._clock = clock
        self._delay = delay

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """See APScheduler. Computed from the grid, never from when the last step ended."""
        after = self._clock.at(now)
        if previous_fire_time is not None:
            after = max(after, self._clock.at(previous_fire_time) + _SAME)
        return self._clock.wall(next_tick(after, self._delay))


class Daemon:
    """Steps all symbols on the grid until it is told to stop."""

    def __init__(
        self,
        tick: Tick,
        store: Store,
        *,
        symbols: Sequence[str],
        clock: Clock,
        delay: timedelta,
        heard: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._tick = tick
        self._store = store
        self._symbols = symbols
        self._clock = clock
        self._delay = delay
        #: Told of each step that is over.
        self._heard = heard
        #: The newest slot of each symbol that is a row or a gap.
        self._accounted: dict[str, datetime] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """Sample until SIGTERM or SIGINT; the steps in hand are finished first."""
        # Its notes about skipped runs are told by our own lines and gaps.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, stop.set)
        await self._catch_up()
        scheduler = AsyncIOScheduler(event_loop=loop, timezone="UTC")
        for symbol in self._symbols:
            scheduler.add_job(
                self._step,
                GridTrigger(self._clock, self._delay),
                args=[symbol],
                id=symbol,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        if self._clock.simulated:
            scheduler.add_job(self._beat, "interval", seconds=_BEAT)
        scheduler.start()
        due = next_tick(self._clock.now(), self._delay)
        log.info("sampling", symbols=self._symbols, next_tick=due, clock=str(self._clock))
        await stop.wait()
        scheduler.pause()
        log.info("stopping", steps_in_hand=len(self._running))
        await asyncio.gather(*self._running, return_exceptions=True)
        scheduler.shutdown(wait=False)

    async def _catch_up(self) -> None:
        """Slots of today that nobody sampled are gaps; one that is only just due is sampled."""
        now = self._clock.now()
        due = owed(now, self._delay)
        if due is None:
            return
        session, slot = due
        fresh = now - self._delay - slot <= _STEP / 2
        until = slot if fresh else slot + _STEP
        for symbol in self._symbols:
            try:
                known = set(await self._store.slots(symbol, session.day))
                known |= {gap["slot"] for gap in await self._store.gaps(symbol, session.day)}
            except StoreError as error:
                log.error("cannot tell what was missed", symbol=symbol, error=str(error))
                continue
            missed = [s for s in session.slots if s < until and s not in known]
            if missed:
                log.warning("missed", symbol=symbol, slots=len(missed), first=missed[0])
                await self._tick.owe(symbol, session, missed, Reason.NOT_RUNNING)
            self._accounted[symbol] = until - _STEP
        if fresh:
            await asyncio.gather(*(self._step(symbol) for symbol in self._symbols))

    async def _step(self, symbol: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            now = self._clock.now()
            due = owed(now, self._delay)
            if due is None:
                return
            session, slot = due
            await self._run_over(symbol, session, slot)
            self._accounted[symbol] = slot
            outcome = await self._tick.sample(symbol, now=now, target=slot)
            self._outcomes[outcome.word] += 1
            self._heard(outcome)
        finally:
            self._running.discard(task)

    async def _beat(self) -> None:
        """One line for all steps since the last one."""
        done, self._outcomes = self._outcomes, Counter()
        now = new_york(self._clock.now()).strftime("%Y-%m-%d %H:%M:%S")
        log.info("simulated market", new_york=now, steps=dict(done))

    async def _run_over(self, symbol: str, session: Session, slot: datetime) -> None:
        """Slots between the last step's and this one's had their time while it ran."""
        last = self._accounted.get(symbol)
        if last is None or last < session.open:
            last = session.open - _STEP
        count = int((slot - last) / _STEP) - 1
        missed = [last + (i + 1) * _STEP for i in range(count)]
        if missed:
            await self._tick.owe(symbol, session, missed, Reason.LATE)
