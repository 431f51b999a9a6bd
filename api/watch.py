"""Look every few seconds whether the product is well, and tell somebody when it is not.

The API does this because it outlives the sampler. What it cannot tell is its own death; for that
``FLOW_HEARTBEAT_URL`` is called each minute, and a watcher outside notices when the calls stop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, NoReturn

import structlog

from api.market_watch import MarketWatch
from api.upkeep import UPKEEP_HOLD, Upkeep
from storage.errors import StoreError, StoreUnavailable
from storage.market.calendar import market_day, session_on, sessions_between
from storage.market.clock import Clock
from storage.notify.conditions import Conditions, Trouble
from storage.notify.messenger import Messenger, message_of
from storage.notify.notice import Notice
from storage.notify.target import call
from storage.postgres.lease import Lease
from storage.postgres.overdue import (
    OVERDUE_SECONDS,
    SampledSymbol,
    is_due,
    overdue_seconds,
    symbols_of_today,
)
from storage.postgres.store import Store
from storage.record.row import Reason

log = structlog.get_logger()

#: Time between two looks. [s]
LOOK_SECONDS = 5.0
#: Time between two signs of life of the process that has the watch. [s]
_BEAT_SECONDS = 2.0
#: How long the database may take for a look. [s]
_PATIENCE = 4.0
#: How long each kind of problem must last before it is told. [s]
HOLD = {"no_sampler": 15.0, "no_rows": 20.0, "database_away": 50.0, "rules_broken": 10.0}
#: Time between two calls of the heartbeat's URL. [s]
_HEARTBEAT_SECONDS = 60.0
_RECENT = timedelta(days=10)
#: A sampler is taken to spool if the newest slot in its spool is no older than this. [market s]
_SPOOLS_WITHIN = 120.0
#: The same event is not sent again within this time.
QUIET = timedelta(minutes=15)
#: What the lease of the watch locks; no symbol has lower-case letters.
WATCH = "watch"


class Watch:
    """Looks at one dataset, and hands events to a notifier."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        messenger: Messenger,
        *,
        dataset: str,
        node: str,
        lease: Lease | None = None,
        market: MarketWatch | None = None,
        upkeep: Upkeep | None = None,
        waiting: Callable[[str, date], tuple[int, int] | None] | None = None,
    ) -> None:
        """Prepare; nothing is looked at before ``run``.

        Parameters
        ----------
        store, clock : the dataset, and the time of its market.
        messenger : writes the events to the log, and delivers them.
        dataset, node : which dataset, and which machine looks; every event says so.
        lease : gives the watch to one of several processes; None: there is no other.
        market : follows the market by the rules of a file; None: nobody does.
        upkeep : looks at feeds, takeovers, coverage, disks and keys; None: nobody does.
        waiting : the first and the last slot of a session that wait in a sampler's spool, as far as
            the live channel says [s since 1970]; None: nobody knows.
        """
        self._store = store
        self._clock = clock
        self._messenger = messenger
        self._dataset, self._node = dataset, node
        self._lease = lease
        self._market = market
        self._upkeep = upkeep
        self._waiting = waiting
        #: Symbols whose newest slots wait in a sampler's spool, for the sentence.
        self._spooled: set[str] = set()
        self._conditions = Conditions(self._word, quiet=QUIET.total_seconds())
        #: A database that is away is judged apart: every process that looks remembers it itself.
        self._away = Conditions(self._word, quiet=QUIET.total_seconds())
        #: Whether the conditions are those that the log has: not before the first look.
        self._current = False
        #: The reason of each symbol's newest gap, for the sentence.
        self._reasons: dict[str, Reason | None] = {}

    async def run(self) -> NoReturn:
        """Look until cancelled, while this process has the watch."""
        async with AsyncExitStack() as stack:
            if self._lease is not None:
                # Without a database nobody can tell who has the watch: each process takes it.
                self._lease.credit(())
                await self._lease.beat()
                stack.push_async_callback(self._lease.close)
                beating = asyncio.create_task(self._beat(self._lease))
                stack.callback(beating.cancel)
            following = asyncio.create_task(self._follow_market())
            stack.callback(following.cancel)
            while True:
                try:
                    await self.turn(time.monotonic())
                except Exception:
                    log.exception("not looked")
                await asyncio.sleep(LOOK_SECONDS)

    async def _follow_market(self) -> NoReturn:
        """Follow the market in a task of its own: the first reading of a session takes a while."""
        away = False
        while True:
            try:
                if self._market is not None and (self._lease is None or self._lease.held):
                    await self._market.look()
                elif self._market is not None:
                    self._market.forget()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("the market is not followed", why=str(error))
                away = True
            except Exception:
                log.exception("the market is not followed")
            await asyncio.sleep(LOOK_SECONDS)

    async def _beat(self, lease: Lease) -> NoReturn:
        """Show the database that this process lives, so that it keeps the watch."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                await lease.beat()
            except Exception:
                log.exception("the watch is not held")

    async def turn(self, monotonic: float) -> None:
        """Look, if this process has the watch; else finish what it has begun to tell.

        Parameters
        ----------
        monotonic : the time of a monotonic clock. [s]
        """
        if self._lease is None or self._lease.held:
            await self.look(monotonic)
            return
        self._current = False
        # The database is back, and another process was quicker: it does not know that it was away.
        for event in self._away.look([], monotonic=monotonic, now=self._clock.now()):
            await self._messenger.tell(replace(event, dataset=self._dataset, node=self._node))
        with suppress(StoreError):
            await self._messenger.flush()

    async def look(self, monotonic: float) -> None:
        """Look once, and hand over what is to be told.

        Parameters
        ----------
        monotonic : the time of a monotonic clock. [s]
        """
        now = self._clock.now()
        away: list[Trouble] = []
        events: list[Notice] = []
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._take_over(monotonic)
                await self._messenger.flush()
                problems, events = await self._problems(monotonic)
            events += self._conditions.look(problems, monotonic=monotonic, now=now)
        except (StoreError, TimeoutError):
            events = []
            away = [Trouble("database_away", "", HOLD["database_away"])]
        events += self._away.look(away, monotonic=monotonic, now=now)
        for event in events:
            await self._messenger.tell(replace(event, dataset=self._dataset, node=self._node))

    async def _take_over(self, monotonic: float) -> None:
        """Begin with what the log says: another process may have watched until now."""
        if self._current:
            return
        conditions = Conditions(self._word, quiet=QUIET.total_seconds())
        rows: Sequence[Mapping[str, Any]] = []
        try:
            rows = await self._store.alerts.lasting(QUIET)
        except StoreUnavailable:
            raise
        except StoreError as error:
            log.error("the log of alerts cannot be read", why=str(error))
        for columns in rows:
            if columns["kind"] in HOLD | UPKEEP_HOLD:
                event = message_of(columns, self._dataset)
                if columns["closed_at"] is not None:
                    event = replace(event, ended=columns["ended_at"])
                conditions.adopt(event, age=columns["age"], monotonic=monotonic)
        self._conditions, self._current = conditions, True

    async def _problems(self, monotonic: float) -> tuple[list[Trouble], list[Notice]]:
        now = self._clock.now()
        # A simulated market that waits for its sampler has no session: no slot of it is lost.
        session = None if self._clock.waits else session_on(market_day(now))
        problems = []
        if self._market is not None and self._market.problem:
            problems.append(Trouble("rules_broken", "", HOLD["rules_broken"]))
        events: list[Notice] = []
        if session is None:
            await self._store.ping()
            if self._upkeep is not None:
                more, events = await self._upkeep.look(
                    None, [], timedelta(0), now=now, monotonic=monotonic
                )
                problems += more
            return problems, events
        before = sessions_between(session.day - _RECENT, session.day - timedelta(days=1))[-1]
        sampled = await self._store.sampled_symbols(before, session)
        today = symbols_of_today(sampled, session)
        self._reasons = {state.symbol: state.reason for state in today}
        self._spooled = {state.symbol for state in today if self._spools(state, session.day, now)}
        due = [state.symbol for state in today if is_due(state, session, now)]
        unheld = await self._store.unheld_symbols(due) if due else []
        overdue = overdue_seconds(sampled, session, now)
        problems += [Trouble("no_sampler", symbol, HOLD["no_sampler"]) for symbol in unheld]
        problems += [
            Trouble("no_rows", symbol, HOLD["no_rows"])
            for symbol in due
            if overdue.get(symbol, 0.0) > OVERDUE_SECONDS and symbol not in unheld
        ]
        if self._upkeep is not None:
            delay = max((state.delay for state in today), default=timedelta(0))
            fresh = [symbol for symbol in due if overdue.get(symbol, 0.0) <= OVERDUE_SECONDS]
            more, events = await self._upkeep.look(
                session, fresh, delay, now=now, monotonic=monotonic
            )
            problems += more
        return problems, events

    def _spools(self, state: SampledSymbol, day: date, now: datetime) -> bool:
        """Whether a sampler keeps a symbol's newest slots in its spool."""
        slots = None if self._waiting is None else self._waiting(state.symbol, day)
        if slots is None:
            return False
        return (now - state.delay).timestamp() - slots[1] <= _SPOOLS_WITHIN

    def _word(self, kind: str, symbols: Sequence[str]) -> str:
        names = ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" * (len(symbols) > 8))
        spooled = sorted(self._spooled.intersection(symbols))
        waits = f" Rows of {', '.join(spooled[:8])} wait in a sampler's spool." * bool(spooled)
        if kind == "no_sampler":
            return (
                f"No sampler holds {names}: each slot from now on is lost, but for those that a"
                f" sampler without a database keeps in its spool.{waits}"
            )
        if kind == "no_rows":
            reasons = {str(r) for s in symbols if (r := self._reasons.get(s)) is not None}
            newest = f" The newest gaps say {', '.join(sorted(reasons))}." if reasons else ""
            return (
                f"{names}: no row has come for more than a minute beyond the feed's delay."
                f"{newest}{waits}"
            )
        if kind in UPKEEP_HOLD and self._upkeep is not None:
            return self._upkeep.word(kind, names, symbols)
        if kind == "rules_broken" and self._market is not None:
            meanwhile = (
                "those of before stay in force"
                if self._market.has_rules
                else "so no event of the market is told"
            )
            problem = self._market.problem
            return f"The rules of alerts cannot be read, {meanwhile}. {problem}"
        return (
            "The database cannot be reached. Samplers keep their rows in the spool, and the API"
            " answers only what it has in memory."
        )


async def send_heartbeats(url: str) -> NoReturn:
    """Call a URL each minute, for a watcher outside, until cancelled.

    Parameters
    ----------
    url : the watcher's address; it may hold a token, so it is never logged.

    Returns
    -------
    NoReturn
        It runs until it is cancelled.
    """
    failed_at = -math.inf
    while True:
        begun = time.monotonic()
        failure = await call("GET", url)
        # Once an hour is enough for a log.
        if failure and begun - failed_at > 3600:
            failed_at = begun
            log.warning("heartbeat not taken", why=failure)
        # A watcher that answers late is called each minute all the same.
        await asyncio.sleep(_HEARTBEAT_SECONDS - (time.monotonic() - begun))
