"""The daemon: steps the leased symbols on the session's grid until it gets a signal.

Each symbol is a job of its own, so that a slow symbol does not delay the others. A symbol's next
step waits for its last one to end; the slots that passed meanwhile become gaps ``late``. Once a
second the daemon renews its leases and compares the clock with a monotonic one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from sampler.live.fallback import Fallback
from sampler.live.grid import CLOCK_TOLERANCE, next_tick
from sampler.live.outcome import Outcome
from sampler.live.slots import SlotTracker
from sampler.live.tick import Tick
from sampler.live.writer import BatchWriter
from storage.config.systemd import Systemd
from storage.errors import SpoolError
from storage.market.calendar import to_new_york
from storage.market.clock import Clock
from storage.postgres.lease import Lease, LeaseChange

log = structlog.get_logger()

#: Seconds between two log lines of a simulated market; it has too many steps for a line each.
_SIMULATED_LOG_SECONDS = 10
#: Seconds between two renewals of the leases, and so the longest time a free symbol waits.
_BEAT_SECONDS = 1.0
#: The clock was put forward or back if it moved this much more or less than the time that
#: passed since the last beat. [s]
_CLOCK_JUMP_SECONDS = 5.0


class GridTrigger(BaseTrigger):  # type: ignore[misc]
    """The moments of the sampling grid, in the machine's time, which APScheduler uses."""

    def __init__(self, clock: Clock, delay: timedelta) -> None:
        self._clock = clock
        self._delay = delay

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the next moment of the grid, whenever the last step ended.

        Parameters
        ----------
        previous_fire_time : when the job ran last, in the machine's time; None before its first
            run.
        now : the machine's time.

        Returns
        -------
        datetime
            The moment, in the machine's time, later than both.
        """
        after = _begun(self._clock, self._clock.market_time(now))
        if previous_fire_time is not None:
            after = max(after, self._clock.market_time(previous_fire_time) + CLOCK_TOLERANCE)
        return self._clock.wall_time(next_tick(after, self._delay))


def _begun(clock: Clock, moment: datetime) -> datetime:
    """Return the moment, or the last one before a simulated market that has not begun by then.

    Slots before its start are no slots of this run: an earlier run may have stored them.
    A slot at its start is the first of this run, and not due before it.
    """
    return moment if clock.start is None else max(moment, clock.start - 2 * CLOCK_TOLERANCE)


class Daemon:
    """Steps the leased symbols on the grid until ``stop`` or a signal."""

    def __init__(
        self,
        tracker: SlotTracker,
        tick: Tick,
        writer: BatchWriter,
        lease: Lease,
        *,
        symbols: Sequence[str],
        clock: Clock,
        delay: timedelta | Callable[[str], timedelta],
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        on_leases: Callable[[int], None] = lambda _: None,
        stuck_after: float = 60.0,
        systemd: Systemd | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Parameters
        ----------
        tracker, tick, writer : the parts that take steps, account for slots and write.
        lease : decides which of ``symbols`` are ours.
        symbols : what to sample, as far as the lease allows.
        clock : the time of the market, real or simulated.
        delay : how far the source's quotes lie behind the clock; or by symbol.
        on_outcome : called after each step.
        on_leases : called once a second with the number of symbols that are sampled here.
        stuck_after : seconds after which a step that has not ended, or a due one that has not
            begun, is a fault: systemd is then no longer told that the sampler is alive.
        systemd : who is told; nobody if left out.
        fallback : samples a second feed while the first one fails.
        """
        self._fallback = fallback
        self._tracker = tracker
        self._tick = tick
        self._writer = writer
        self._lease = lease
        self._symbols = symbols
        self._clock = clock
        self._delay = delay if callable(delay) else lambda _: delay
        self._on_outcome = on_outcome
        self._on_leases = on_leases
        self._stuck_after = stuck_after
        self._systemd = systemd or Systemd("")
        #: When each running step began, by a monotonic clock. [s]
        self._step_began: dict[asyncio.Task[Any], float] = {}
        #: The newest slot that a step has ended for, and the outcome of the step.
        self._newest = ""
        self._stuck = False
        self._running: set[asyncio.Task[Any]] = set()
        self._takeovers: set[asyncio.Task[None]] = set()
        self._outcomes: Counter[str] = Counter()
        self._scheduler: AsyncIOScheduler | None = None
        self._stop = asyncio.Event()
        #: The clock's time and a monotonic one at the last beat.
        self._last_beat = (clock.now(), time.monotonic())

    def stop(self) -> None:
        """End ``run``; the steps that are running finish first."""
        self._stop.set()

    async def run(self) -> None:
        """Sample until SIGTERM, SIGINT or SIGHUP; the steps that are running finish first."""
        # APScheduler warns of skipped runs; our own log lines and gaps say the same.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        async with self._writer.running():
            self._scheduler = self._schedule(loop)
            background = [asyncio.create_task(self._beat_leases())]
            background += [asyncio.create_task(self._account_sessions())]
            await self._stop.wait()
            self._systemd.stopping()
            self._scheduler.pause()
            log.info("stopping", steps_in_hand=len(self._running))
            for task in (*background, *self._takeovers):
                task.cancel()
            await asyncio.gather(
                *background, *self._takeovers, *self._running, return_exceptions=True
            )
            self._scheduler.shutdown(wait=False)
        await self._lease.close()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(event_loop=loop, timezone="UTC")
        for symbol in self._symbols:
            scheduler.add_job(
                self._step,
                GridTrigger(self._clock, self._delay(symbol)),
                args=[symbol],
                id=symbol,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        fallback = self._fallback
        for symbol in fallback.symbols if fallback else ():
            assert fallback is not None
            scheduler.add_job(
                self._fallback_step,
                GridTrigger(self._clock, fallback.delay(symbol)),
                args=[symbol],
                id=f"{symbol} fallback",
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        if self._clock.simulated:
            scheduler.add_job(self._log_simulated_steps, "interval", seconds=_SIMULATED_LOG_SECONDS)
        scheduler.start()
        return scheduler

    async def _beat_leases(self) -> None:
        leases = await self._lease.beat()
        if not self._lease.connected:
            # Without a database no lock can be had. The symbols in our spool were ours before.
            await self._start_sampling(
                self._lease.credit({symbol for symbol, _ in self._writer.backlog.accounted})
            )
        self._systemd.ready()
        while True:
            try:
                self._apply_leases(leases)
                self._on_leases(len(self._tracker.symbols))
                self._check_clock()
                self._report_alive()
            except Exception:
                log.exception("leases not tended")
            await asyncio.sleep(_BEAT_SECONDS)
            leases = await self._lease.beat()

    async def _account_sessions(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                await self._tracker.account_sessions(self._clock.now())
                if self._fallback is not None:
                    await self._fallback.tracker.account_sessions(self._clock.now())
            except Exception:
                log.exception("sessions not accounted for")

    def _apply_leases(self, leases: LeaseChange) -> None:
        """Drop the symbols that were lost, and take over those that were gained."""
        for symbol in leases.lost:
            log.warning("another sampler has it now", symbol=symbol)
            self._tracker.drop_symbol(symbol)
        for symbol in leases.regained:
            self._tick.forget(symbol)
        if leases.gained:
            # In a task of its own, because the leases must be renewed meanwhile.
            task = asyncio.create_task(self._take_over(leases.gained))
            self._takeovers.add(task)
            task.add_done_callback(self._takeovers.discard)

    async def _take_over(self, symbols: Sequence[str]) -> None:
        """Continue symbols where another sampler, or an earlier run of this one, has stopped."""
        try:
            await self._writer.adopt()
        except SpoolError as error:
            log.error("a spool is left alone", error=str(error))
        self._tracker.note_spooled(symbols)
        await self._writer.drained()
        for symbol in symbols:
            self._tick.forget(symbol)
        await self._start_sampling([symbol for symbol in symbols if symbol in self._lease.held])

    async def _start_sampling(self, symbols: Sequence[str]) -> None:
        now = _begun(self._clock, self._clock.now())
        due = await self._tracker.add_symbols(symbols, now)
        for symbol in set(symbols) - self._lease.held:
            self._tracker.drop_symbol(symbol)
        log.info(
            "sampling",
            symbols=sorted(self._tracker.symbols),
            standby=sorted(set(self._symbols) - self._tracker.symbols),
            next_tick=str(min(next_tick(now, self._delay(s)) for s in self._symbols)),
            clock=str(self._clock),
        )
        for symbol in due:
            self._running.add(asyncio.create_task(self._step(symbol)))

    def _report_alive(self) -> None:
        """Tell systemd that the sampler is alive, unless a step is stuck or the grid stands."""
        late = time.monotonic() - min(self._step_began.values(), default=math.inf)
        what = "a step has not ended"
        if late <= self._stuck_after and self._scheduler is not None:
            due = min(job.next_run_time for job in self._scheduler.get_jobs())
            late = (Clock().now() - due).total_seconds()
            what = "a step that is due has not begun"
        if late > self._stuck_after:
            if not self._stuck:
                log.critical("stuck", what=what, seconds=round(late))
                # An older systemd ignores it, and ends the process for its silence.
                self._systemd.stuck()
            self._stuck = True
            return
        self._stuck = False
        self._systemd.alive()
        standby = len(self._symbols) - len(self._tracker.symbols)
        self._systemd.status(
            f"sampling {len(self._tracker.symbols)} symbols"
            + (f", {standby} on standby" if standby else "")
            + (f"; newest {self._newest}" if self._newest else "")
        )

    def _check_clock(self) -> None:
        """Compute the grid anew if the clock was put forward or back."""
        now, monotonic = self._clock.now(), time.monotonic()
        (last_now, last_monotonic), self._last_beat = self._last_beat, (now, monotonic)
        passed = (monotonic - last_monotonic) * self._clock.speed
        jump = (now - last_now).total_seconds() - passed
        if abs(jump) < _CLOCK_JUMP_SECONDS * self._clock.speed or self._scheduler is None:
            return
        if jump < 0 or not self._clock.simulated:
            # A simulated clock skips the nights: its jumps forward are no trouble.
            log.warning("the clock jumped", seconds=round(jump, 1))
        for symbol in self._symbols:
            trigger = GridTrigger(self._clock, self._delay(symbol))
            self._scheduler.reschedule_job(symbol, trigger=trigger)
        fallback = self._fallback
        for symbol in fallback.symbols if fallback else ():
            assert fallback is not None
            trigger = GridTrigger(self._clock, fallback.delay(symbol))
            self._scheduler.reschedule_job(f"{symbol} fallback", trigger=trigger)

    async def _step(self, symbol: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._step_began[task] = time.monotonic()
        try:
            outcome = await self._tracker.step(symbol, self._clock.now())
            if outcome is not None:
                self._outcomes[outcome.label] += 1
                self._on_outcome(outcome)
                if self._fallback is not None:
                    self._fallback.note(outcome)
                if outcome.record is not None:
                    slot = to_new_york(outcome.record.row.slot)
                    self._newest = f"{symbol} {slot:%Y-%m-%d %H:%M:%S} New York, {outcome.label}"
        finally:
            self._running.discard(task)
            self._step_began.pop(task, None)

    async def _fallback_step(self, symbol: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self._fallback is not None
        self._running.add(task)
        self._step_began[task] = time.monotonic()
        try:
            await self._fallback.step(symbol, self._clock.now(), self._tracker.symbols)
        finally:
            self._running.discard(task)
            self._step_began.pop(task, None)

    async def _log_simulated_steps(self) -> None:
        """Log the number of steps by outcome since the last such line."""
        outcomes, self._outcomes = self._outcomes, Counter()
        now = to_new_york(self._clock.now()).strftime("%Y-%m-%d %H:%M:%S")
        log.info("simulated market", new_york=now, steps=dict(outcomes))
