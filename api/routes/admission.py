"""The FastAPI dependency that checks a caller's key, plan and quota before a route answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, APIKeyQuery

from api.access.gate import Caller, request_key
from api.context import app_context, request_context

_HEADER = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="The caller's key. An open server ignores it."
)
_QUERY = APIKeyQuery(
    name="apiKey",
    auto_error=False,
    description="The caller's key, for callers that cannot send a header.",
)


def require(plan: str, *, count: bool = True) -> Callable[..., Awaitable[Caller]]:
    """Make a dependency that admits callers of a plan and of those above it.

    Parameters
    ----------
    plan
        The lowest plan that includes the route.
    count
        Whether the request counts against the day's quota.

    Returns
    -------
    Callable
        The dependency. It returns the caller, and raises ``AccessError`` as ``Access.admit`` does.
    """

    async def admit(
        request: Request,
        _header: Annotated[str | None, Security(_HEADER)],
        _query: Annotated[str | None, Security(_QUERY)],
    ) -> Caller:
        context = request_context(request.scope)
        # The fast path may have admitted and counted the request before handing it on.
        if context.admission is None:
            access = app_context(request).access
            context.admission = await access.admit(request_key(request.scope), plan, count=count)
        return context.admission.caller

    return admit
