"""Routes of the alerts: what has happened, and who was told."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.access.gate import Caller
from api.context import app_context
from api.documents.alerts import alerts_document, read_alert_query
from api.documents.stamp import stamp
from api.http.json import json_response
from api.openapi.catalogue import ALERTS
from api.routes.admission import require


def add_alert_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    path, described = ALERTS["alerts"]
    app.get(path, **described)(get_alerts)


async def get_alerts(
    request: Request, caller: Annotated[Caller, Depends(require("Growth"))]
) -> Response:
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
    body = alerts_document(rows, query.limit, context.clock.now(), deliveries=not caller.id)
    return json_response(body | stamp(context.node))
