"""The access of a server that asks for keys: whose they are, their plans, what is left of today."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from api.access.gate import (
    Admitted,
    Caller,
    Usage,
    next_midnight,
    quota_exceeded,
    tier_restricted,
    unauthorized,
)
from api.access.keys import Ring
from storage.config.plans import Quotas
from storage.redis.counters import Counters


class Keyed:
    """The access of a server with keys."""

    def __init__(
        self, ring: Ring, counters: Counters, quotas: Quotas, now: Callable[[], datetime]
    ) -> None:
        self._ring = ring
        self._counters = counters
        self._quotas = quotas
        self._now = now

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admitted:
        """See ``Access``."""
        caller = self._ring.find(key)
        if caller is None:
            raise unauthorized()
        now = self._now().astimezone(UTC)
        day, reset, limit = now.date(), next_midnight(now), self._quotas[caller.plan]
        if not caller.may(plan):
            used = await self._counters.used(caller.id, day)
            raise tier_restricted(caller, plan, Usage(limit, used, reset))
        if not count:
            usage = Usage(limit, await self._counters.used(caller.id, day), reset)
            return Admitted(caller, usage, usage.headers)
        taken = await self._counters.take(caller.id, day, limit)
        usage = Usage(limit, taken.used, reset)
        if not taken.granted:
            raise quota_exceeded(caller, usage, self._quotas, now)
        return Admitted(caller, usage, usage.headers)

    def knows(self, caller: Caller) -> bool:
        """See ``Access``."""
        return self._ring.knows(caller)
