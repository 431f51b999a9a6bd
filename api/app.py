"""FastAPI: routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import errors, page
from api import prometheus as metrics
from api.access.gate import Access, AccessError, Caller, Open, require
from api.access_log import Record
from api.documents.stamp import stamp
from api.errors import answer
from api.http import cors
from api.http.compression import Bodies
from api.openapi import catalogue, reference
from api.routes import account
from api.routes import documents as routes
from api.routes import series as flow
from api.routes.series_fast_path import Fast
from api.series.params import QueryError
from api.series.sessions import Sessions
from api.series.stream import Hub
from storage.errors import LiveError, StoreError
from storage.market.clock import Clock
from storage.postgres.store import Store
from storage.redis.channel import Live

log = structlog.get_logger()

#: Seconds a part may take to give a sign of life.
_SIGN_OF_LIFE = 2.0


class Application(FastAPI):
    """FastAPI behind what is answered faster, and an example that has its nulls."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or let the framework see to it."""
        if not await self.state.fast.answer(scope, receive, send):
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """See FastAPI."""
        return catalogue.completed(reference.completed(super().openapi()))


def create(
    store: Store,
    live: Live,
    clock: Clock,
    *,
    dataset: str,
    access: Access | None = None,
    origins: Sequence[str] = ("*",),
) -> FastAPI:
    """The application on open parts; whoever opened them closes them, and runs ``keep``."""
    app = Application(
        title="Zero-DTE Flow",
        description=page.DESCRIPTION,
        version=page.version(),
        docs_url=None,
        redoc_url=None,
        # A redirect is no success to the published clients.
        redirect_slashes=False,
    )
    app.state.store, app.state.live, app.state.clock = store, live, clock
    app.state.dataset, app.state.access = dataset, access or Open()
    app.state.node = socket.gethostname()
    app.state.metrics = metrics.Metrics(dataset, page.version())
    app.state.bodies, app.state.documents = Bodies(), Bodies()
    app.state.sessions = Sessions(store, live, clock)
    app.state.fast = Fast(app.state, tuple(origins))
    app.state.hub = app.state.sessions.watcher = Hub(app.state.sessions, app.state.access, clock)
    app.state.metrics.readers.set_function(app.state.hub.count)
    app.add_exception_handler(QueryError, errors.invalid)
    app.add_exception_handler(AccessError, errors.denied)
    app.add_exception_handler(StoreError, errors.unavailable)
    app.add_exception_handler(HTTPException, errors.refused)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=cors.METHODS,
        allow_headers=cors.SENT,
        expose_headers=cors.EXPOSED,
        max_age=cors.AGE,
    )
    app.add_middleware(Record, metrics=app.state.metrics)
    documented = reference.DOCUMENTED
    flow.serve(app)
    app.get("/v1/symbols", **documented["symbols"])(get_symbols)
    app.get("/v1/account", **account.DOCUMENTED)(account.get_account)
    app.get("/v1/market", **documented["market"])(get_market)
    app.get("/health", **documented["health"])(get_health)
    app.get("/metrics", **metrics.DOCUMENTED)(metrics.get_metrics)
    app.get("/ready", **documented["ready"])(get_ready)
    routes.serve(app)
    page.serve(app)
    return app


async def keep(app: FastAPI) -> None:
    """Keep today's sessions in memory and streams alive, until it is cancelled."""
    await asyncio.gather(app.state.sessions.run(), app.state.hub.run())


async def get_symbols(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Symbols that were ever sampled, and the slot of the newest sample of any."""
    store: Store = request.app.state.store
    found = await store.symbols()
    newest = max(found.values(), default=None)
    body = {"symbols": list(found), "count": len(found), "last_updated": newest}
    body |= {"dataset": request.app.state.dataset}
    return answer(body | stamp(request.app.state.node, found.items()))


async def get_market(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Whether the market is open, the newest session, and the server's time."""
    body = page.market(request.app.state.clock.now())
    return answer(body | stamp(request.app.state.node))


async def get_health() -> Response:
    """The process is alive."""
    return answer({"status": "Healthy"})


async def get_ready(request: Request) -> Response:
    """Whether requests can be answered; without the live channel they can, a little later."""
    database, live = await asyncio.gather(
        _state(request.app.state.store), _state(request.app.state.live)
    )
    word = "Unavailable" if database == "away" else "Ready" if live == "ok" else "Degraded"
    body = {"status": word, "database": database, "live_channel": live}
    return answer(body, 503 if database == "away" else 200)


async def _state(part: Store | Live) -> str:
    try:
        async with asyncio.timeout(_SIGN_OF_LIFE):
            await part.ping()
    except (StoreError, LiveError, TimeoutError) as error:
        log.warning("part is away", part=type(part).__name__, error=str(error))
        return "away"
    return "ok"
