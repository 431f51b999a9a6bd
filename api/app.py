"""FastAPI: routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from api import errors, page
from api import prometheus as metrics
from api.access.gate import Access, AccessError, OpenAccess
from api.access_log import AccessLog
from api.http import cors
from api.http.compression import CompressedBodies
from api.openapi import catalogue, reference
from api.routes import account, server
from api.routes import documents as routes
from api.routes import series as flow
from api.routes.series_fast_path import SeriesFastPath
from api.series.params import QueryError
from api.series.sessions import Sessions
from api.series.stream import Hub
from storage.errors import StoreError
from storage.market.clock import Clock
from storage.postgres.store import Store
from storage.redis.channel import Live


class Application(FastAPI):
    """FastAPI behind what is answered faster, and an example that has its nulls."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or let the framework see to it."""
        if not await self.state.fast.answer(scope, receive, send):
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """See FastAPI."""
        return catalogue.completed(reference.completed(super().openapi()))


def create_app(
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
        version=page.installed_version(),
        docs_url=None,
        redoc_url=None,
        # A redirect is no success to the published clients.
        redirect_slashes=False,
    )
    app.state.store, app.state.live, app.state.clock = store, live, clock
    app.state.dataset, app.state.access = dataset, access or OpenAccess()
    app.state.node = socket.gethostname()
    app.state.metrics = metrics.ApiMetrics(dataset, page.installed_version())
    app.state.bodies, app.state.documents = CompressedBodies(), CompressedBodies()
    app.state.sessions = Sessions(store, live, clock)
    app.state.fast = SeriesFastPath(app.state, tuple(origins))
    app.state.hub = app.state.sessions.watcher = Hub(app.state.sessions, app.state.access, clock)
    app.state.metrics.readers.set_function(app.state.hub.count)
    app.add_exception_handler(QueryError, errors.query_error_response)
    app.add_exception_handler(AccessError, errors.access_error_response)
    app.add_exception_handler(StoreError, errors.store_error_response)
    app.add_exception_handler(HTTPException, errors.http_error_response)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=cors.METHODS,
        allow_headers=cors.REQUEST_HEADERS,
        expose_headers=cors.EXPOSED_HEADERS,
        max_age=cors.MAX_AGE,
    )
    app.add_middleware(AccessLog, metrics=app.state.metrics)
    flow.add_series_routes(app)
    server.add_server_routes(app)
    app.get("/v1/account", **account.DOCUMENTED)(account.get_account)
    app.get("/metrics", **metrics.DOCUMENTED)(metrics.get_metrics)
    routes.add_document_routes(app)
    page.add_page(app)
    return app


async def keep_current(app: FastAPI) -> None:
    """Keep today's sessions in memory and streams alive, until it is cancelled."""
    await asyncio.gather(app.state.sessions.run(), app.state.hub.run())
