"""Routes of the alerts: what has happened, and the rules of market events."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import orjson
from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.access.gate import Caller
from api.context import AppContext, app_context
from api.documents.alerts import alerts_document, read_alert_query
from api.documents.stamp import stamp
from api.http.json import json_response
from api.openapi.catalogue import ALERTS
from api.routes.admission import require
from storage.errors import UsageError
from storage.notify.rules import FILE_LIMIT, kinds_as_json, parse_rules, rules_as_json
from storage.notify.rules_file import RulesConflict

#: The right that a key needs to change the rules.
_RIGHT = "alerts"
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
Reader = Annotated[Caller, Depends(require("Growth"))]


def add_alert_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    path, described = ALERTS["alerts"]
    app.get(path, **described)(get_alerts)
    path, described = ALERTS["alert_rules"]
    app.get(path, **described)(get_rules)
    path, described = ALERTS["put_alert_rules"]
    app.put(path, **described)(put_rules)


async def get_alerts(request: Request, caller: Reader) -> Response:
    """Answer with the log of alerts, the newest first.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    context = app_context(request)
    query = read_alert_query(request.query_params)
    rows = await context.store.alerts.page(
        limit=query.limit + 1,
        symbol=query.symbol,
        day=query.day,
        kind=query.kind,
        before=query.before,
    )
    deliveries = caller.has_right(_RIGHT)
    body = alerts_document(rows, query.limit, context.clock.now(), deliveries=deliveries)
    return json_response(body | stamp(context.node))


async def get_rules(request: Request, caller: Reader) -> Response:
    """Answer with the rules of market events that are in force.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200, with the file's ``ETag``.
    """
    context = app_context(request)
    await context.rules.refresh()
    return _rules_response(context)


async def put_rules(request: Request, caller: Reader) -> Response:
    """Replace the file of rules; each API process follows within seconds.

    Parameters
    ----------
    request : the request, with the file as its body.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200 with the new rules, or a refusal.
    """
    context = app_context(request)
    if not _is_own_origin(request):
        message = "A page of another origin may not change the rules of alerts."
        return _refusal(403, "foreign_origin", message)
    if not caller.has_right(_RIGHT):
        message = (
            "This key may not change the rules of alerts: flow-api keys rights KEY --right alerts"
        )
        return _refusal(403, "right_missing", message)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _refusal(415, "not_json", "Send Content-Type: application/json.")
    text = b""
    async for piece in request.stream():
        text += piece
        if len(text) > FILE_LIMIT:
            return _refusal(413, "too_large", f"more than {FILE_LIMIT >> 10} KB of rules")
    try:
        parse_rules(text)
    except UsageError as error:
        return _refusal(400, "invalid_rules", str(error))
    pretty = orjson.dumps(
        orjson.loads(text), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    expected = request.headers.get("If-Match", "*").strip().removeprefix("W/").strip('"')
    try:
        await context.rules.replace(pretty, None if expected == "*" else expected)
    except RulesConflict:
        message = "The rules have changed meanwhile: read them again."
        return _refusal(412, "rules_changed", message)
    except UsageError as error:
        return _refusal(409, "rules_not_writable", str(error))
    return _rules_response(context)


def _rules_response(context: AppContext) -> Response:
    file = context.rules
    body = {
        "source": "built-in" if file.path is None else "file",
        "problem": file.problem or None,
        **rules_as_json(file.rules),
        "kinds": kinds_as_json(),
    }
    return json_response(body | stamp(context.node), headers={"ETag": f'"{file.tag}"'})


def _is_own_origin(request: Request) -> bool:
    """Whether no page of another origin sends this; a program that is no browser has no origin.

    A browser tells the origin of every PUT. The scheme may differ behind a proxy that does TLS.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower() != ""
    except ValueError:
        return False


def _refusal(status: int, error: str, message: str) -> Response:
    return json_response({"error": error, "message": message}, status)
