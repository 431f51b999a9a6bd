"""Who may ask what: the seam between keys and routes.

A server on loopback is open: whoever reaches it is its owner. Plans, refusals and their bodies
are in force all the same, for the day on which ``Keys`` reads a table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, APIKeyQuery

#: From the least to the most; each may do what those before it may.
PLANS = ("Free", "Basic", "Growth", "Alpha", "Enterprise")
_HEADER = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="An open server takes any key, or none."
)
_QUERY = APIKeyQuery(
    name="apiKey", auto_error=False, description="For callers that cannot send a header."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    plan: str

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise ValueError(f"{self.plan!r} is no plan")

    def may(self, plan: str) -> bool:
        """Whether the caller's plan includes another one."""
        return PLANS.index(self.plan) >= PLANS.index(plan)


class Keys(Protocol):
    """The keys that a server knows."""

    async def caller(self, key: str | None) -> Caller | None:
        """Whose key this is; None for a key that is not known, and for none where one is due."""
        ...


class Open:
    """No keys: everybody is welcome, with a key or without."""

    async def caller(self, key: str | None) -> Caller | None:
        """Always the highest plan."""
        return Caller(PLANS[-1])


class AccessError(Exception):
    """A caller who may not; ``body`` is what the published clients look into."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body.get("message") or body.get("detail"))
        self.status = status
        self.body = body


def unauthorized() -> AccessError:
    """No key, or one that is not known."""
    return AccessError(401, {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."})


def tier_restricted(caller: Caller, plan: str) -> AccessError:
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
    )


def require(plan: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that admits callers of a plan and above.

    Raises
    ------
    AccessError
        401 without a valid key, 403 for a lower plan.
    """

    async def admit(
        request: Request,
        header: Annotated[str | None, Security(_HEADER)],
        query: Annotated[str | None, Security(_QUERY)],
    ) -> Caller:
        keys: Keys = request.app.state.keys
        caller = await keys.caller(header or query)
        if caller is None:
            raise unauthorized()
        if not caller.may(plan):
            raise tier_restricted(caller, plan)
        return caller

    return admit
