"""The route ``/v1/account``: the caller's plan, and what is left of today's quota."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.access.gate import Admission, Caller, next_midnight
from api.context import app_context, request_context
from api.http.json import json_response
from api.openapi.catalogue import SERVER
from api.routes.admission import require
from api.series import window as series
from storage.config.plans import PLANS, UNLIMITED


def add_account_route(app: FastAPI) -> None:
    """Add the route to an application.

    Parameters
    ----------
    app : the application.
    """
    path, described = SERVER["account"]
    app.get(path, **described)(get_account)


async def get_account(
    request: Request, caller: Annotated[Caller, Depends(require(PLANS[0], count=False))]
) -> Response:
    """Answer with the caller's plan, and what is left of today's quota; the request does not count.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    context, admission = app_context(request), request_context(request.scope).admission
    assert admission is not None
    return json_response(account_document(admission, context.clock.now(), context.node))


def account_document(admission: Admission, now: datetime, node: str) -> dict[str, Any]:
    """Make the answer. Some numbers are strings, as the published clients expect them.

    Parameters
    ----------
    admission
        The admitted caller and its usage.
    now
        The present, aware of its time zone.
    node
        Name of this machine, for ``data_as_of``.

    Returns
    -------
    dict
        The answer's JSON.
    """
    usage = admission.usage
    limit, remaining = (usage.limit, usage.remaining) if usage else (None, None)
    return {
        "user_id": admission.caller.id or "local",
        "email": admission.caller.email,
        "plan": admission.caller.plan,
        "daily_limit": UNLIMITED if limit is None else str(limit),
        "usage_today": usage.used if usage else 0,
        "remaining": UNLIMITED if remaining is None else str(remaining),
        "resets_at": usage.resets_at if usage else next_midnight(now),
        "endpoint_version": series.ENDPOINT_VERSION,
        "data_as_of": series.data_as_of("", None, node),
    }
