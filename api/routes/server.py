"""Routes about the server itself: symbols, market hours, health, readiness and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api.access.gate import Caller
from api.context import app_context
from api.documents.stamp import stamp
from api.http.json import json_response
from api.market_hours import market_status
from api.openapi.catalogue import SERVER
from api.routes.admission import require
from storage.market.instruments import instrument_of


def add_server_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: dict[str, Callable[..., Awaitable[Response]]] = {
        "symbols": get_symbols,
        "market": get_market,
        "health": get_health,
        "metrics": get_metrics,
        "ready": get_ready,
    }
    for name, handler in handlers.items():
        path, described = SERVER[name]
        app.get(path, **described)(handler)


async def get_symbols(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Answer with every symbol that was ever sampled, and the slot of the newest sample of all.

    They stand in the order of ``FLOW_SYMBOLS``, and the others behind them by name.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    context = app_context(request)
    newest_slots = await context.store.symbols()
    order = {symbol: place for place, symbol in enumerate(context.symbols)}
    body = {
        "symbols": sorted(newest_slots, key=lambda name: (order.get(name, len(order)), name)),
        "indices": sorted(name for name in newest_slots if instrument_of(name).index),
        "count": len(newest_slots),
        "last_updated": max(newest_slots.values(), default=None),
        "dataset": context.dataset,
    }
    return json_response(body | stamp(context.node, newest_slots.items()))


async def get_market(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Answer with whether the market is open, the newest session, and the server's time.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    context = app_context(request)
    return json_response(market_status(context.clock.now()) | stamp(context.node))


async def get_health() -> Response:
    """The process is alive."""
    return json_response({"status": "Healthy"})


async def get_metrics(request: Request) -> Response:
    """Answer with the metrics of this process and its data, for Prometheus. No key is needed.

    Parameters
    ----------
    request : the request.

    Returns
    -------
    Response
        Status 200.
    """
    context = app_context(request)
    body = await context.metrics.render(context.store, context.live, context.clock.now())
    return Response(body, media_type=CONTENT_TYPE_LATEST)


async def get_ready(request: Request) -> Response:
    """Answer with whether requests can be answered, and with rows of now.

    Without the live channel they can, but new data reach the server later: it polls the database.

    Parameters
    ----------
    request : the request.

    Returns
    -------
    Response
        Status 200; 503 while the database is away, or no symbol that is due gets rows.
    """
    state = await app_context(request).readiness.look()
    refused = state["status"] in ("Unavailable", "Stale")
    return json_response(state, 503 if refused else 200)
