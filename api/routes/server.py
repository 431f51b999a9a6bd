"""The routes that tell of the server itself: symbols, market hours, signs of life."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.access.gate import Caller, require
from api.documents.stamp import stamp
from api.http.json import json_response
from api.market_hours import market_status
from api.openapi import reference
from storage.errors import LiveError, StoreError
from storage.postgres.store import Store
from storage.redis.channel import Live

log = structlog.get_logger()

#: Seconds that the database or the live channel may take to answer a ping.
_PING_SECONDS = 2.0


def add_server_routes(app: FastAPI) -> None:
    """Add the routes to an application."""
    documented = reference.DOCUMENTED
    app.get("/v1/symbols", **documented["symbols"])(get_symbols)
    app.get("/v1/market", **documented["market"])(get_market)
    app.get("/health", **documented["health"])(get_health)
    app.get("/ready", **documented["ready"])(get_ready)


async def get_symbols(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Symbols that were ever sampled, and the slot of the newest sample of any."""
    store: Store = request.app.state.store
    found = await store.symbols()
    newest = max(found.values(), default=None)
    body = {"symbols": list(found), "count": len(found), "last_updated": newest}
    body |= {"dataset": request.app.state.dataset}
    return json_response(body | stamp(request.app.state.node, found.items()))


async def get_market(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Whether the market is open, the newest session, and the server's time."""
    body = market_status(request.app.state.clock.now())
    return json_response(body | stamp(request.app.state.node))


async def get_health() -> Response:
    """The process is alive."""
    return json_response({"status": "Healthy"})


async def get_ready(request: Request) -> Response:
    """Whether requests can be answered; without the live channel they can, a little later."""
    database, live = await asyncio.gather(
        _state(request.app.state.store), _state(request.app.state.live)
    )
    word = "Unavailable" if database == "away" else "Ready" if live == "ok" else "Degraded"
    body = {"status": word, "database": database, "live_channel": live}
    return json_response(body, 503 if database == "away" else 200)


async def _state(part: Store | Live) -> str:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await part.ping()
    except (StoreError, LiveError, TimeoutError) as error:
        log.warning("part is away", part=type(part).__name__, error=str(error))
        return "away"
    return "ok"
