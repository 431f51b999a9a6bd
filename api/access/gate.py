"""Access control: who may call which route, and how a refusal is worded.

``OpenAccess`` admits every caller; such a server listens on loopback only. ``KeyedAccess`` (in
``keys.py``) checks keys, plans and quotas. Both implement ``Access``. Every route calls ``admit``
before it answers, and its answer carries the headers that ``admit`` returns.
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
    """The caller of a request, as its key identifies it."""

    plan: str
    #: The public part of the key; empty on an open server.
    id: str = ""
    email: str = ""
    #: When the key's present secret was made. UTC. None on an open server.
    issued_at: datetime | None = None
    #: What the key may do beside what its plan includes; see ``RIGHTS``.
    rights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise ValueError(f"{self.plan!r} is not a plan")

    def may(self, plan: str) -> bool:
        """Say whether the caller's plan is a given one or a higher one.

        Parameters
        ----------
        plan : the plan.

        Returns
        -------
        bool
            True if it is.
        """
        return PLANS.index(self.plan) >= PLANS.index(plan)

    def has_right(self, right: str) -> bool:
        """Say whether the caller has a right. Without keys on the server everybody has every right.

        Parameters
        ----------
        right : one of ``RIGHTS``.

        Returns
        -------
        bool
            True if it has.
        """
        return not self.id or right in self.rights


@dataclass(frozen=True, slots=True)
class Usage:
    """A caller's use of today's quota."""

    #: Requests a day; None for a plan without a limit.
    limit: int | None
    #: Requests granted so far today, including the present one if it counts.
    used: int
    #: When the count starts again at zero: the next 00:00 UTC.
    resets_at: datetime

    @property
    def remaining(self) -> int | None:
        """Requests that are left today; None for a plan without a limit."""
        return None if self.limit is None else max(self.limit - self.used, 0)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The ``X-RateLimit-*`` headers, as ASGI sends them."""
        limit, remaining = (
            b"unlimited" if number is None else str(number).encode()
            for number in (self.limit, self.remaining)
        )
        return (
            (b"x-ratelimit-limit", limit),
            (b"x-ratelimit-remaining", remaining),
            (b"x-ratelimit-reset", str(int(self.resets_at.timestamp())).encode()),
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """An admitted caller, and the headers that every answer to it carries."""

    caller: Caller
    #: None on an open server, which does not count requests.
    usage: Usage | None = None
    #: Lower-case names and values as ASGI sends them; empty on an open server.
    headers: tuple[tuple[bytes, bytes], ...] = ()


class AccessError(Exception):
    """A refused caller.

    Parameters
    ----------
    status
        Status of the answer: 401, 403 or 429.
    body
        The answer's JSON, in the form that the published clients read.
    headers
        As in ``Admission``; a 429 has ``retry-after`` too.
    caller
        The caller, if the key is known.
    """

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
        self.headers = headers
        self.caller = caller


class Access(Protocol):
    """What decides whether a caller is admitted."""

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """Admit a caller whose plan is the required one or a higher one.

        Parameters
        ----------
        key
            The key that the request carries; None without one.
        plan
            The lowest plan that includes the route.
        count
            Whether the request counts against the day's quota.

        Returns
        -------
        Admission
            The caller, its remaining requests of today, and the response headers that report them.

        Raises
        ------
        AccessError
            401 without a valid key, 403 for a lower plan, 429 when the day's quota is used up.
        """
        ...

    def knows(self, caller: Caller) -> bool:
        """Say whether an admitted caller's key is still valid. Streams, which stay open, ask this.

        Parameters
        ----------
        caller : the caller, as ``admit`` returned it.

        Returns
        -------
        bool
            True if the key is valid and unchanged.
        """
        ...


def next_midnight(now: datetime) -> datetime:
    """Return the next 00:00 UTC, when the day's counts start again at zero.

    Parameters
    ----------
    now : the time, aware of its time zone.

    Returns
    -------
    datetime
        The moment, UTC.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


class OpenAccess:
    """Access without keys: every caller is admitted, on the highest plan and without a quota."""

    _EVERYBODY = Admission(Caller(PLANS[-1]))

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """Admit every caller, without a quota.

        Parameters
        ----------
        key : ignored.
        plan : ignored.
        count : ignored.

        Returns
        -------
        Admission
            The same for everybody.
        """
        return self._EVERYBODY

    def knows(self, caller: Caller) -> bool:
        """Return True: no key can become invalid.

        Parameters
        ----------
        caller : ignored.

        Returns
        -------
        bool
            Always True.
        """
        return True


def unauthorized() -> AccessError:
    """The refusal of a request whose key is missing or not valid (401)."""
    return AccessError(401, {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."})


def tier_restricted(caller: Caller, plan: str, usage: Usage) -> AccessError:
    """Return the refusal of a caller whose plan does not include the route (403).

    Parameters
    ----------
    caller : the caller.
    plan : the lowest plan that includes the route.
    usage : what is left of the caller's quota.

    Returns
    -------
    AccessError
        The error; the caller of this function raises it.
    """
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
    """Return the refusal of a caller whose quota of today is used up (429).

    Parameters
    ----------
    caller : the caller.
    usage : the caller's count and limit.
    quotas : requests a day by plan; None for any number.
    now : the time, UTC.

    Returns
    -------
    AccessError
        The error; the caller of this function raises it.
    """
    # FLOW_QUOTAS may give the next plan no more than this one: offer the first that allows more.
    higher = PLANS[PLANS.index(caller.plan) + 1 :]
    larger = [p for p in higher if (n := quotas[p]) is None or n > (usage.limit or 0)]
    reset = utc_text(usage.resets_at)
    # Rounded up to whole seconds, so that a caller who waits exactly that long is admitted.
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
            "upgrade_to": larger[0] if larger else None,
            "reset_at": reset,
        },
        (*usage.headers, (b"retry-after", str(wait).encode())),
        caller,
    )


def request_key(scope: Scope) -> str | None:
    """Return the key of a request: its ``X-Api-Key`` header, else ``?apiKey=``.

    Parameters
    ----------
    scope : the request, as ASGI passes it.

    Returns
    -------
    str or None
        The key; None without one.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == b"x-api-key" and (key := value.decode("latin-1").strip()):
            return key
    query: bytes = scope["query_string"]
    if b"apiKey" not in query:
        return None
    # parse_qs refuses a query with more fields than this; such a request has no key.
    try:
        keys = parse_qs(query.decode("latin-1"), max_num_fields=200).get("apiKey", [])
    except ValueError:
        return None
    return next((key.strip() for key in keys if key.strip()), None)
