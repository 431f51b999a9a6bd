"""The application: its parts, its routes, and what stands around them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import errors, page
from api.access.gate import Access, AccessError, OpenAccess
from api.access_log import AccessLog
from api.context import AppContext
from api.documents.lookup import NoData
from api.http import cors
from api.http.compression import CompressedBodies
from api.http.host import is_host_allowed
from api.http.json import json_response
from api.mcp.route import add_mcp_route
from api.openapi import catalogue
from api.prometheus import ApiMetrics
from api.readiness import Readiness
from api.routes import account, alerts, documents, openbb, platforms, series, server, udf
from api.routes.series_fast_path import SeriesFastPath
from api.series.earlier import EarlierSessions
from api.series.files import TableFiles
from api.series.frozen_scores import FrozenScores
from api.series.params import QueryError
from api.series.sessions import SessionCache
from api.series.stream import StreamHub
from storage import installed_version
from storage.errors import StoreError
from storage.market.clock import Clock
from storage.notify.rules_file import RulesFile
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel

#: The answer to a request whose ``Host`` is not this server's name.
_MISDIRECTED = json_response(
    {
        "error": "misdirected_request",
        "message": "This open server answers requests to localhost and to FLOW_ALLOWED_HOSTS only.",
    },
    421,
)


_METRICS = "/metrics"
#: What a listener of the metrics alone answers.
_OPERATIONS = frozenset({_METRICS, "/health", "/ready"})
#: Where a request says in its scope that it came by that listener.
_APART = "flow.operations"
_NO_METRICS = json_response(
    {"error": "not_found", "message": "The metrics are on FLOW_API_METRICS_PORT of loopback."}, 404
)
_OPERATIONS_ONLY = json_response(
    {"error": "not_found", "message": "This port has /metrics, /health and /ready alone."}, 404
)


class Application(FastAPI):
    """FastAPI with the series' fast path in front of it, and OpenAPI examples with their nulls."""

    def __init__(
        self, context: AppContext, root_path: str = "", *, metrics_apart: bool = False
    ) -> None:
        super().__init__(
            title="Zero-DTE Flow",
            description=page.DESCRIPTION,
            version=installed_version(),
            docs_url=None,
            redoc_url=None,
            # The published clients take a redirect for a failure.
            redirect_slashes=False,
            servers=[{"url": root_path or "/", "description": "This server."}],
            openapi_tags=catalogue.TAGS,
            license_info={"name": "MIT", "identifier": "MIT"},
            contact={"name": "The operator of this server"},
        )
        self._prefix = root_path
        self._metrics_apart = metrics_apart
        self.context = context
        self.fast_path = SeriesFastPath(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the fast path, or by the framework's route; refuse a foreign ``Host``."""
        if scope["type"] == "http" and self._prefix:
            if scope["path"] == self._prefix:
                # Relative links of the page need the slash.
                moved = Response(status_code=307, headers={"Location": f"{self._prefix}/"})
                await moved(scope, receive, send)
                return
            scope = self._without_prefix(scope)
        if scope["type"] == "http" and not self._is_for_us(scope):
            await _MISDIRECTED(scope, receive, send)
        elif self._metrics_apart and scope.get("path") == _METRICS and _APART not in scope:
            await _NO_METRICS(scope, receive, send)
        elif not await self.fast_path.answer(scope, receive, send):
            await super().__call__(scope, receive, send)

    def _without_prefix(self, scope: Scope) -> Scope:
        """Return a request as if it came to the root; not every proxy cuts the prefix off."""
        path, raw = scope["path"], scope.get("raw_path") or b""
        prefix = f"{self._prefix}/"
        if not path.startswith(prefix) or not raw.startswith(prefix.encode()):
            return scope
        cut = len(self._prefix)
        return {**scope, "path": path[cut:], "raw_path": raw[cut:]}

    def _is_for_us(self, scope: Scope) -> bool:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return is_host_allowed(host, self.context.hosts)

    def openapi(self) -> dict[str, Any]:
        """See FastAPI."""
        return catalogue.with_examples(super().openapi())


class OperationsOnly:
    """The same application on a listener of its own, which answers metrics and health alone."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what this listener answers; refuse the rest."""
        if scope["type"] == "http" and scope["path"] not in _OPERATIONS:
            await _OPERATIONS_ONLY(scope, receive, send)
        else:
            await self._app({**scope, _APART: True}, receive, send)


def create_app(
    store: Store,
    live: LiveChannel,
    clock: Clock,
    *,
    dataset: str,
    access: Access | None = None,
    origins: Sequence[str] = ("*",),
    hosts: frozenset[str] = frozenset({"*"}),
    rules: RulesFile | None = None,
    symbols: Sequence[str] = (),
    formulas: Callable[[], dict[str, int] | None] = lambda: None,
    root_path: str = "",
    metrics_apart: bool = False,
) -> Application:
    """Make the application on an open store and live channel, which the caller closes.

    Today's sessions are in memory, and streams are fed, while the caller runs ``keep_current``.

    Parameters
    ----------
    store, live
        Where rows come from, and where changes are announced.
    clock
        The time of every answer.
    dataset
        ``live`` or ``synthetic``.
    access
        Who may ask; everybody if left out.
    origins
        Origins whose pages may read the answers; ``*`` is any.
    hosts
        Names that a request's ``Host`` may have, without a port; ``*`` is any.
    rules
        The rules of market events; the built-in ones if left out.
    symbols
        The symbols that are sampled, in the order in which answers list them. None of them is
        unknown, also before its first sample.
    formulas
        Returns how far a sampler of this machine is with compiling the formulas; None if none
        compiles.
    root_path
        Path under which a proxy serves the application, such as ``/flow``; empty for the root.
        Requests may come with it or without.
    metrics_apart
        Whether ``/metrics`` is answered by ``OperationsOnly`` alone.

    Returns
    -------
    Application
        The application.
    """
    access = access or OpenAccess()
    sessions = SessionCache(store, live, clock, frozenset(symbols))
    hub = sessions.listener = StreamHub(sessions, access, clock)
    context = AppContext(
        store=store,
        live=live,
        clock=clock,
        dataset=dataset,
        node=socket.gethostname(),
        access=access,
        origins=tuple(origins),
        hosts=hosts,
        metrics=ApiMetrics(dataset, installed_version()),
        readiness=Readiness(store, live, clock),
        sessions=sessions,
        hub=hub,
        bodies=CompressedBodies(),
        documents=CompressedBodies(),
        earlier=EarlierSessions(),
        files=TableFiles(),
        symbols=tuple(symbols),
        frozen_scores=FrozenScores(),
        rules=rules or RulesFile(None),
        formulas=formulas,
    )
    context.metrics.readers.set_function(hub.count)
    app = Application(context, root_path, metrics_apart=metrics_apart)
    app.add_exception_handler(QueryError, errors.query_error_response)
    app.add_exception_handler(NoData, errors.no_data_response)
    app.add_exception_handler(AccessError, errors.access_error_response)
    app.add_exception_handler(StoreError, errors.store_error_response)
    app.add_exception_handler(HTTPException, errors.http_error_response)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=cors.METHODS,
        allow_headers=cors.REQUEST_HEADERS,
        expose_headers=cors.EXPOSED_HEADERS,
        # A public page that FLOW_CORS_ORIGINS names, such as a hosted terminal, may read a server
        # on loopback: some browsers ask for that in their preflight, and 400 would end the request.
        allow_private_network=True,
        max_age=cors.MAX_AGE,
    )
    app.add_middleware(AccessLog, metrics=context.metrics)
    series.add_series_routes(app)
    server.add_server_routes(app)
    account.add_account_route(app)
    documents.add_document_routes(app)
    alerts.add_alert_routes(app)
    platforms.add_platform_routes(app)
    openbb.add_openbb_routes(app)
    udf.add_udf_routes(app)
    add_mcp_route(app)
    page.add_page(app)
    return app


async def keep_current(app: Application) -> None:
    """Keep today's sessions in memory and feed the streams, until cancelled.

    Parameters
    ----------
    app : what ``create_app`` returned.
    """
    await asyncio.gather(app.context.sessions.run(), app.context.hub.run())
