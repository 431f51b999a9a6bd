"""Each request's one line in the log, and unforeseen errors as a 500 with an id."""

from __future__ import annotations

import time
import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.context import RequestContext, request_context
from api.http.json import json_response
from api.prometheus import ApiMetrics

log = structlog.get_logger()

#: As many characters of a path are logged.
_PATH_LENGTH = 200
#: The metrics' label of every request that no route took: callers could invent any path.
_NO_ROUTE = "none"


class AccessLog:
    """Middleware around the whole application.

    A handler that admits a caller leaves its ``Admission`` in the request's context. Its headers go
    out with the answer, whatever the answer is, and the log names the public part of the key.
    """

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it when its answer has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 0, 0
        context = request_context(scope)
        context.wants_body = scope["method"] != "HEAD"
        # Handlers answer a HEAD as they answer a GET; the server leaves the body out.
        passed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def send_and_count(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                if context.admission is not None:
                    headers += context.admission.headers
                # A browser must not take an answer for a page or a script, whatever stands in it.
                if all(name != b"x-content-type-options" for name, _ in headers):
                    headers.append((b"x-content-type-options", b"nosniff"))
                message["headers"] = headers
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(passed, receive, send_and_count)
        except Exception:
            error_id = uuid.uuid4().hex[:12]
            log.exception("request failed", id=error_id, path=scope["path"][:_PATH_LENGTH])
            if status:
                raise
            message = "Something went wrong on our side; the log has the trace under this id."
            body = {"error": "internal_error", "message": message, "id": error_id}
            response = json_response(body, 500, {"Access-Control-Allow-Origin": "*"})
            await response(scope, receive, send_and_count)
        finally:
            context.route = context.route or getattr(passed.get("route"), "path", None)
            log_request(scope, self._metrics, started, status or 499, size)


def log_request(scope: Scope, metrics: ApiMetrics, started: float, status: int, size: int) -> None:
    """Count a request and write its line.

    Parameters
    ----------
    scope
        The request; its context has the route and the caller.
    metrics
        Where the request is counted.
    started
        When the request began, by ``time.perf_counter``. [s]
    status
        Status of the answer; 499 for a caller who left before there was one.
    size
        Bytes of the answer's body.
    """
    context = request_context(scope)
    seconds = time.perf_counter() - started
    metrics.count(route_label(context), status, seconds)
    log.info(
        "request",
        method=scope["method"],
        client=client[0] if (client := scope.get("client")) else None,
        path=scope["path"][:_PATH_LENGTH],
        status=status,
        ms=round(seconds * 1e3, 1),
        bytes=size,
        **_key_field(context),
    )


def route_label(context: RequestContext) -> str:
    """Return the path of the route that answered, as the metrics name it.

    Parameters
    ----------
    context : what is known of the request.

    Returns
    -------
    str
        Such as ``/v1/flow/zero-dte/series/{symbol}``; ``none`` without a route.
    """
    return (context.route or _NO_ROUTE).replace(":path}", "}")


def _key_field(context: RequestContext) -> dict[str, str]:
    caller = context.admission.caller if context.admission else context.refused
    return {"key": caller.id} if caller and caller.id else {}
