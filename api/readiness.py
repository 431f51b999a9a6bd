"""Whether requests can be answered with data of now: database, live channel and samplers.

However many ask, each part is looked at once a second at most.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import timedelta
from itertools import islice
from typing import Any

import structlog

from storage.errors import LiveError, StoreError
from storage.market.calendar import last_session, market_day, session_on
from storage.market.clock import Clock
from storage.postgres.overdue import OVERDUE_SECONDS, is_due, overdue_seconds, symbols_of_today
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: Seconds that the database or the live channel may take to answer.
_PATIENCE = 2.0
#: How old an answer may be. [s]
_FRESH_SECONDS = 1.0
#: A fast simulated market may be late by this much of the machine's time. [s]
_MACHINE_SECONDS = 3.0
#: As many late symbols are named.
_MAX_NAMED = 50


class Readiness:
    """Looks at the parts of one application."""

    def __init__(self, store: Store, live: LiveChannel, clock: Clock) -> None:
        """Prepare; nothing is looked at before somebody asks.

        Parameters
        ----------
        store, live, clock : the parts, and the time of the market.
        """
        self._store, self._live, self._clock = store, live, clock
        self._looking = asyncio.Lock()
        self._looked_at = -math.inf
        self._state: dict[str, Any] = {}

    async def look(self) -> dict[str, Any]:
        """Return the state of all parts, at most a second old.

        Returns
        -------
        dict
            ``status``; ``database``, ``live_channel`` and ``samples``; ``reason``, a sentence
            where the status is not ``Ready``, else None; ``late``, the seconds of market time
            for which each late symbol has had no row that was due.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
                self._state = await self._look()
                self._looked_at = time.monotonic()
        return self._state

    async def _look(self) -> dict[str, Any]:
        sampled, live = await asyncio.gather(self._samples(), self._channel())
        late: dict[str, float] = {}
        reason: str | None
        if sampled is None:
            status, samples, reason = "Unavailable", "unknown", "the database is away"
        else:
            due, late = sampled
            samples = "late" if late else "ok" if due else "none due"
            names = ", ".join([*islice(late, 8), *(["…"] * (len(late) > 8))])
            if late and len(late) == due:
                status = "Stale"
                reason = f"no symbol that is due has had a row for more than a minute: {names}"
            elif late:
                status = "Degraded"
                reason = f"symbols without a row for more than a minute: {names}"
            elif not live:
                status = "Degraded"
                reason = "the live channel is away; new rows are polled from the database"
            else:
                status, reason = "Ready", None
        return {
            "status": status,
            "database": "away" if sampled is None else "ok",
            "live_channel": "ok" if live else "away",
            "samples": samples,
            "reason": reason,
            "late": dict(islice(late.items(), _MAX_NAMED)),
        }

    async def _samples(self) -> tuple[int, dict[str, float]] | None:
        """How many symbols are due, and the late ones with their seconds; None without a store."""
        now = self._clock.now()
        try:
            async with asyncio.timeout(_PATIENCE):
                session = session_on(market_day(now))
                if session is None or self._clock.waits:
                    await self._store.ping()
                    return 0, {}
                before = last_session(session.open - timedelta(seconds=1))
                states = await self._store.sampled_symbols(before, session)
        except (StoreError, TimeoutError) as error:
            log.warning("part is away", part="database", error=str(error))
            return None
        limit = max(OVERDUE_SECONDS, _MACHINE_SECONDS * self._clock.speed)
        overdue = overdue_seconds(states, session, now)
        due = sum(is_due(state, session, now) for state in symbols_of_today(states, session))
        return due, {s: seconds for s, seconds in sorted(overdue.items()) if seconds > limit}

    async def _channel(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._live.ping()
        except (LiveError, TimeoutError) as error:
            log.warning("part is away", part="live channel", error=str(error))
            return False
        return True
