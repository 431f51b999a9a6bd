"""The route ``/v1/account``: the caller's plan, and what is left of today's quota."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api import errors
from api.access.gate import Admission, Caller, next_midnight
from api.context import app_context, request_context
from api.http.json import json_response
from api.openapi.envelope import DataAsOf
from api.routes.admission import require
from api.series import window as series
from storage.config.plans import PLANS, UNLIMITED


class Account(BaseModel):
    """A caller's plan, and what is left of today's quota."""

    user_id: str = Field(description="The public part of the key; `local` on an open server.")
    email: str = Field(description="Empty where none is known.")
    plan: str = Field(json_schema_extra={"enum": list(PLANS)})
    daily_limit: str = Field(description="Requests a day, or `unlimited`.")
    usage_today: int = Field(description="Requests that were granted since 00:00 UTC.")
    remaining: str = Field(description="Requests that are left today, or `unlimited`.")
    resets_at: datetime = Field(description="The next 00:00 UTC.")
    endpoint_version: str
    data_as_of: DataAsOf


_EXAMPLE = {
    "user_id": "3f9c1a60be24",
    "email": "alice@example.com",
    "plan": "Growth",
    "daily_limit": "2500",
    "usage_today": 17,
    "remaining": "2483",
    "resets_at": "2026-06-06T00:00:00Z",
    "endpoint_version": series.ENDPOINT_VERSION,
    "data_as_of": series.data_as_of("", None, "flow-1"),
}
_DOCUMENTED: dict[str, Any] = {
    "tags": ["Server"],
    "summary": "Account",
    "responses": {
        200: errors.documented_response(
            Account, _EXAMPLE, "The caller's plan and quota. This request does not count."
        ),
        401: errors.UNAUTHORIZED,
    },
}


def add_account_route(app: FastAPI) -> None:
    """Add the route to an application."""
    app.get("/v1/account", **_DOCUMENTED)(get_account)


async def get_account(
    request: Request, caller: Annotated[Caller, Depends(require(PLANS[0], count=False))]
) -> Response:
    """The caller's plan, and what is left of today's quota. This request does not count."""
    context, admission = app_context(request), request_context(request.scope).admission
    assert admission is not None
    return json_response(account_document(admission, context.clock.now(), context.node))


def account_document(admission: Admission, now: datetime, node: str) -> dict[str, Any]:
    """The answer's JSON. Some numbers are strings, as the published clients expect them.

    Parameters
    ----------
    admission
        The admitted caller and its usage.
    now
        The present, aware of its time zone.
    node
        Name of this machine, for ``data_as_of``.
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
