"""Errors as JSON: their models, their entries in the reference, and the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import structlog
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.access.gate import AccessError
from api.context import app_context, request_context
from api.documents.lookup import NoData
from api.http.json import json_response
from api.series.params import QueryError

log = structlog.get_logger()

#: ``Retry-After`` while the database cannot be reached. [s]
RETRY_AFTER = 5
_CODES = {404: "not_found", 405: "method_not_allowed"}


class Problem(BaseModel):
    """The form of every error but 401, 403 and 429."""

    error: str
    message: str


class NotFound(Problem):
    """Nothing is stored of what was asked for."""

    reason: Literal["not_sampled"] | None = Field(
        None,
        description="Only there for a symbol that is configured and has no sample so far.",
    )


class InternalError(Problem):
    """An unexpected error; the server's log has the traceback under the ``id``."""

    id: str


class Unauthorized(BaseModel):
    """The key is missing or not valid."""

    title: Literal["Unauthorized"]
    status: Literal[401]
    detail: str


class TierRestricted(BaseModel):
    """The key's plan does not include this route."""

    status: Literal["ERROR"]
    error: Literal["tier_restricted"]
    message: str
    current_plan: str
    required_plan: str


class QuotaExceeded(BaseModel):
    """The day's quota is used up; `Retry-After` says when to ask again, in whole seconds."""

    status: Literal["ERROR"]
    error: Literal["Quota exceeded"]
    message: str
    current_plan: str
    limit: int
    upgrade_to: str | None
    reset_at: datetime


def documented_response(
    model: type[BaseModel], example: Any, description: str = ""
) -> dict[str, Any]:
    """Describe an answer for the reference.

    Parameters
    ----------
    model
        The model of the answer's JSON.
    example
        One such JSON.
    description
        When the answer is given; the model's docstring if left out.

    Returns
    -------
    dict
        FastAPI's entry of a response.
    """
    content = {"application/json": {"example": example}}
    return {"model": model, "description": description or model.__doc__, "content": content}


def problem(description: str, error: str, message: str) -> dict[str, Any]:
    """Describe a refusal for the reference.

    Parameters
    ----------
    description : when it is given.
    error, message : an example of the two.

    Returns
    -------
    dict
        FastAPI's entry of a response.
    """
    return documented_response(Problem, {"error": error, "message": message}, description)


UNAUTHORIZED = documented_response(
    Unauthorized,
    {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."},
)
EXCEEDED = documented_response(
    QuotaExceeded,
    {
        "status": "ERROR",
        "error": "Quota exceeded",
        "message": "The Free plan's 5 requests of today are used up;"
        " ask again after 2026-03-01T00:00:00Z.",
        "current_plan": "Free",
        "limit": 5,
        "upgrade_to": "Basic",
        "reset_at": "2026-03-01T00:00:00Z",
    },
)
#: Refusals that every route of a server with keys may answer with.
DENIED: dict[int | str, dict[str, Any]] = {401: UNAUTHORIZED, 429: EXCEEDED}
UNAVAILABLE = problem(
    "The database cannot be reached; `Retry-After` says when to ask again.",
    "store_unavailable",
    "The store cannot be reached just now; ask again in 5 seconds.",
)
MISDIRECTED = problem(
    "The request's `Host` is none of this open server's names.",
    "misdirected_request",
    "This open server answers requests to localhost and to FLOW_ALLOWED_HOSTS only.",
)
UNFORESEEN = documented_response(
    InternalError,
    {
        "error": "internal_error",
        "message": "Something went wrong on our side; the log has the trace under this id.",
        "id": "9f3b2c5d7e1a",
    },
)


async def query_error_response(_: Request, error: Exception) -> Response:
    """Answer a request with a parameter that is not valid (400).

    Parameters
    ----------
    error : the ``QueryError``.
    _ : the request; it does not count.

    Returns
    -------
    Response
        The error's code and its sentence as JSON.
    """
    assert isinstance(error, QueryError)
    return json_response({"error": error.error, "message": error.message}, 400)


async def no_data_response(request: Request, error: Exception) -> Response:
    """Answer a request about a symbol, or a moment, of which nothing is stored (404).

    Parameters
    ----------
    request : the request.
    error : the ``NoData``.

    Returns
    -------
    Response
        The error as JSON; with a reason where the symbol is configured, and no other moment and no
        feed were asked for.
    """
    assert isinstance(error, NoData)
    symbol, query = error.symbol, error.query
    expiring = f" expiring {query.expiry}" if query and query.expiry else ""
    body = {"error": "symbol_not_found", "message": f"No data for {symbol}{expiring}."}
    anything = query is None or (query.session_day, query.moment, query.feed) == (None, None, None)
    if anything and symbol in app_context(request).sessions.configured:
        # Nobody has mistyped it: its sampler has not stored anything of it yet.
        body["message"] = f"No data for {symbol} yet: it is configured, and was not sampled so far."
        body["reason"] = "not_sampled"
    return json_response(body, 404)


async def access_error_response(request: Request, error: Exception) -> Response:
    """Answer a refused caller (401, 403 or 429).

    Parameters
    ----------
    request : the request.
    error : the ``AccessError``.

    Returns
    -------
    Response
        The refusal as JSON, with the headers about the quota.
    """
    assert isinstance(error, AccessError)
    request_context(request.scope).refused = error.caller
    response = json_response(error.body, error.status)
    response.raw_headers.extend(error.headers)
    return response


async def store_error_response(_: Request, error: Exception) -> Response:
    """Answer while the database cannot be reached (503), with ``Retry-After``.

    Parameters
    ----------
    _ : the request; it does not count.
    error : the ``StoreError``; it goes to the log only.

    Returns
    -------
    Response
        The error as JSON.
    """
    # The error names the database's host and user, so it goes to the log only.
    log.warning("store unavailable", error=str(error))
    body = {
        "error": "store_unavailable",
        "message": f"The store cannot be reached just now; ask again in {RETRY_AFTER} seconds.",
    }
    return json_response(body, 503, {"Retry-After": str(RETRY_AFTER)})


async def http_error_response(request: Request, error: Exception) -> Response:
    """Answer where no route has the path (404) or the method (405).

    Parameters
    ----------
    request : the request.
    error : the framework's ``HTTPException``.

    Returns
    -------
    Response
        The error as JSON.
    """
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    message = {
        404: f"There is nothing at {request.url.path[:100]}; /docs lists what there is.",
        405: f"{request.method} is not answered here.",
    }.get(error.status_code, error.detail)
    response = json_response({"error": code, "message": message}, error.status_code)
    response.headers.update(error.headers or {})
    return response
