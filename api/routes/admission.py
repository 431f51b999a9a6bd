"""Routes with their plan: a caller's key, plan and quota are checked before a route answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import APIKeyHeader, APIKeyQuery
from starlette.responses import Response

from api.access.gate import Caller, request_key
from api.context import app_context, request_context
from api.openapi.catalogue import Route

_HEADER = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="The caller's key. An open server ignores it."
)
_QUERY = APIKeyQuery(
    name="apiKey",
    auto_error=False,
    description="The caller's key, for callers that cannot send a header.",
)
#: Route → the lowest plan that includes it, None for everybody without a key, and its handler.
Handlers = Mapping[str, tuple[str | None, Callable[..., Awaitable[Response]]]]


def add_routes(app: FastAPI, described: Mapping[str, Route], handlers: Handlers) -> None:
    """Add routes that are read (GET) to an application.

    Parameters
    ----------
    app
        The application.
    described
        Path, words and answers of each route.
    handlers
        The plan and the handler of each route. A caller is admitted before the handler is called.
    """
    for name, (plan, handler) in handlers.items():
        path, words = described[name]
        admission = [] if plan is None else [Depends(require(plan))]
        app.get(path, dependencies=admission, **words)(handler)


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
