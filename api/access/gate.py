"""Who may ask what: the one seam between keys and whatever answers.

An open server admits everybody: it listens on loopback only. A server with keys (``KeyedAccess``)
knows keys, plans and quotas. Both implement ``Access``. Every handler calls ``admit`` before it
answers, and its answer carries the headers that ``admit`` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.types import Scope

from storage.config.plans import PLANS, Quotas
from storage.record.row import utc_text


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    plan: str
    #: The public part of the key; empty on an open server.
    id: str = ""
    email: str = ""
    #: When the key's secret was made; None on an open server.
    issued_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise ValueError(f"{self.plan!r} is no plan")

    def may(self, plan: str) -> bool:
        """Whether the caller's plan includes another one."""
        return PLANS.index(self.plan) >= PLANS.index(plan)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a caller has used of a day's quota."""

    #: Requests a day; None is without limit.
    limit: int | None
    #: Requests so far today, this one included if it counts.
    used: int
    #: When the count starts again: the next 00:00 UTC.
    resets_at: datetime

    @property
    def remaining(self) -> int | None:
        """Requests that are left; None is without limit."""
        return None if self.limit is None else max(self.limit - self.used, 0)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """X-RateLimit-*, as ASGI sends them."""
        limit, left = (
            b"unlimited" if number is None else str(number).encode()
            for number in (self.limit, self.remaining)
        )
        return (
            (b"x-ratelimit-limit", limit),
            (b"x-ratelimit-remaining", left),
            (b"x-ratelimit-reset", str(int(self.resets_at.timestamp())).encode()),
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """A caller who may, and what every answer to it carries."""

    caller: Caller
    #: None on an open server, which counts nothing.
    usage: Usage | None = None
    #: Lower-case names and values as ASGI sends them; empty on an open server.
    headers: tuple[tuple[bytes, bytes], ...] = ()


class AccessError(Exception):
    """A caller who may not; ``body`` is what the published clients look into."""

    def __init__(
        self,
        status: int,
        body: dict[str, Any],
        headers: tuple[tuple[bytes, bytes], ...] = (),
        caller: Caller | None = None,
    ) -> None:
        super().__init__(body.get("message") or body.get("detail"))
        self.status = status
        self.body = body
        #: As in ``Admission``; a 429 has ``retry-after`` too.
        self.headers = headers
        self.caller = caller


class Access(Protocol):
    """The door of a server."""

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """Let a caller in who has a plan or a higher one; the request counts unless told not to.

        Raises
        ------
        AccessError
            401 without a valid key, 403 for a lower plan, 429 when the day's quota is used up.
        """
        ...

    def knows(self, caller: Caller) -> bool:
        """Whether somebody who was let in still would be; asked by answers that stay open."""
        ...


def next_midnight(now: datetime) -> datetime:
    """When a day's counts start again: 00:00 UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


class OpenAccess:
    """No keys: everybody is welcome, with a key or without, as often as they like."""

    _EVERYBODY = Admission(Caller(PLANS[-1]))

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """Always."""
        return self._EVERYBODY

    def knows(self, caller: Caller) -> bool:
        """Always."""
        return True


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


def key_of(scope: Scope) -> str | None:
    """The key that a request brings: of the header, else of ``?apiKey=``; None without one."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == b"x-api-key" and (key := value.decode("latin-1").strip()):
            return key
    query: bytes = scope["query_string"]
    if b"apiKey" not in query:
        return None
    # A server that is asked for a thousand fields is asked for no key.
    try:
        keys = parse_qs(query.decode("latin-1"), max_num_fields=200).get("apiKey", [])
    except ValueError:
        return None
    return next((key.strip() for key in keys if key.strip()), None)
