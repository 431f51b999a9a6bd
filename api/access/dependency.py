"""FastAPI's dependency that admits a caller before a route answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, APIKeyQuery

from api.access.gate import Caller, key_of
from api.context import app_context, request_context

_HEADER = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="An open server takes any key, or none."
)
_QUERY = APIKeyQuery(
    name="apiKey", auto_error=False, description="For callers that cannot send a header."
)


def require(plan: str, *, count: bool = True) -> Callable[..., Awaitable[Caller]]:
    """Make a dependency that admits callers of a plan and of those above it.

    Parameters
    ----------
    plan
        The lowest plan that includes the route.
    count
        Whether the request counts against the day's quota.

    Raises
    ------
    AccessError
        From the dependency, as ``Access.admit`` raises it.
    """

    async def admit(
        request: Request,
        _header: Annotated[str | None, Security(_HEADER)],
        _query: Annotated[str | None, Security(_QUERY)],
    ) -> Caller:
        known = request_context(request.scope)
        # The fast path may have admitted, and counted, the request before it left it to us.
        if known.admission is None:
            access = app_context(request).access
            known.admission = await access.admit(key_of(request.scope), plan, count=count)
        return known.admission.caller

    return admit
