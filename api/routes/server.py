"""Routes about the server itself: symbols, market hours, health, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api.context import AppContext, app_context
from api.documents.stamp import stamp
from api.errors import RETRY_AFTER
from api.http.json import json_response
from api.market_hours import market_status
from api.openapi.catalogue import SERVER
from api.routes.admission import Handlers, add_routes
from storage.market.instruments import instrument_of


def add_server_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: Handlers = {
        "symbols": ("Free", _symbols),
        "market": ("Free", _market),
        "health": (None, _health),
        "metrics": (None, _metrics),
        "ready": (None, _ready),
    }
    add_routes(app, SERVER, handlers)


async def symbols_body(context: AppContext) -> dict[str, Any]:
    """Return every symbol that was ever sampled, and the slot of the newest sample of all.

    They stand in the order of ``FLOW_SYMBOLS``, and the others behind them by name.

    Parameters
    ----------
    context : the parts of the application.

    Returns
    -------
    dict
        The answer of ``/v1/symbols``.

    Raises
    ------
    StoreError
        If the database is away.
    """
    newest_slots = await context.store.symbols()
    order = {symbol: place for place, symbol in enumerate(context.symbols)}
    body = {
        "symbols": sorted(newest_slots, key=lambda name: (order.get(name, len(order)), name)),
        "indices": sorted(name for name in newest_slots if instrument_of(name).index),
        "count": len(newest_slots),
        "last_updated": max(newest_slots.values(), default=None),
        "dataset": context.dataset,
    }
    return body | stamp(context.node, newest_slots.items())


def market_body(context: AppContext) -> dict[str, Any]:
    """Return the market's hours, the server's time, and what a start still waits for.

    Parameters
    ----------
    context : the parts of the application.

    Returns
    -------
    dict
        The answer of ``/v1/market``.
    """
    # Before the time, which stands while the clock waits.
    starting = {"waiting": context.clock.waits, "formulas": context.formulas()}
    return market_status(context.clock.now()) | starting | stamp(context.node)


async def _symbols(request: Request) -> Response:
    """Answer with the symbols. See ``symbols_body``."""
    return json_response(await symbols_body(app_context(request)))


async def _market(request: Request) -> Response:
    """Answer with the market's hours. See ``market_body``."""
    return json_response(market_body(app_context(request)))


async def _health() -> Response:
    """Answer that the process is alive."""
    return json_response({"status": "Healthy"})


async def _metrics(request: Request) -> Response:
    """Answer with the metrics of this process and its data, for Prometheus. No key is needed."""
    context = app_context(request)
    body = await context.metrics.render(context.store, context.live, context.clock.now())
    return Response(body, media_type=CONTENT_TYPE_LATEST)


async def _ready(request: Request) -> Response:
    """Answer with whether requests can be answered, and with rows of now.

    Status 503 while the database is away, or no symbol that is due gets rows. Without the live
    channel requests are answered, but new data reach the server later: it polls the database.
    """
    state = await app_context(request).readiness.look()
    if state["status"] in ("Unavailable", "Stale"):
        return json_response(state, 503, {"Retry-After": str(RETRY_AFTER)})
    return json_response(state)
