"""The access of a server that asks for keys, and what it says to those who may not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from api.access import AccessError, Admitted, Caller, Usage, next_midnight
from api.keys import Ring
from storage.counters import Counters
from storage.plans import PLANS, Quotas
from storage.row import utc_text


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


def unauthorized() -> AccessError:
    """No key, or one that is not known."""
    return AccessError(401, {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."})


def tier_restricted(caller: Caller, plan: str, usage: Usage) -> AccessError:
    """A key whose plan does not include the route."""
    return AccessError(
        403,
        {
            "status": "ERROR",
            "error": "tier_restricted",
            "message": f"This endpoint requires the {plan} plan or higher.",
            "current_plan": caller.plan,
            "required_plan": plan,
        },
        usage.headers,
        caller,
    )


def quota_exceeded(caller: Caller, usage: Usage, quotas: Quotas, now: datetime) -> AccessError:
    """A key that has used its day's quota up."""
    # The next plan that gives more; with quotas of one's own that need not be the next plan.
    above = PLANS[PLANS.index(caller.plan) + 1 :]
    more = [p for p in above if (n := quotas[p]) is None or n > (usage.limit or 0)]
    reset = utc_text(usage.resets_at)
    # Whole seconds, and never so early that it is refused again.
    wait = max(-int((now - usage.resets_at).total_seconds() // 1), 1)
    return AccessError(
        429,
        {
            "status": "ERROR",
            "error": "Quota exceeded",
            "message": f"The {caller.plan} plan's {usage.limit} requests of today are used up;"
            f" ask again after {reset}.",
            "current_plan": caller.plan,
            "limit": usage.limit,
            "upgrade_to": more[0] if more else None,
            "reset_at": reset,
        },
        (*usage.headers, (b"retry-after", str(wait).encode())),
        caller,
    )
