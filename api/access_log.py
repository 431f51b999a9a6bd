"""Each request's one line in the log, and what nobody foresaw as a 500 with an id."""

from __future__ import annotations

import time
import uuid
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.gate import Admission, Caller
from api.http.json import json_response
from api.prometheus import ApiMetrics, route_of

log = structlog.get_logger()

#: As much of a path as is logged.
_PATH = 200


class AccessLog:
    """Around the whole application, and whatever stands in front of it.

    A handler that has let a caller in leaves the ``Admitted`` in ``scope["state"]["admitted"]``:
    its headers go out with the answer, whatever that is, and the log names the key's public part.
    One that stands in front of the framework leaves its route's path under ``"route"`` too.
    """

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        since, status, size = time.perf_counter(), 0, 0
        # The server leaves a HEAD's body away by itself.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        state: dict[str, Any] = asked.setdefault("state", {})

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                admitted: Admission | None = state.get("admitted")
                if admitted is not None and admitted.headers:
                    message["headers"] = [*message.get("headers", ()), *admitted.headers]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(asked, receive, counted)
        except Exception:
            known_as = uuid.uuid4().hex[:12]
            log.exception("request failed", id=known_as, path=scope["path"][:_PATH])
            if status:
                raise
            message = "Something went wrong on our side; the log has the trace under this id."
            body = {"error": "internal_error", "message": message, "id": known_as}
            sent = json_response(body, 500, {"Access-Control-Allow-Origin": "*"})
            await sent(scope, receive, counted)
        finally:
            told = {**asked, "method": scope["method"]}
            log_request(told, self._metrics, since, status or 499, size)


def log_request(scope: Scope, metrics: ApiMetrics, since: float, status: int, size: int) -> None:
    """Count a request and write its one line; ``since`` is by ``time.perf_counter``."""
    took = time.perf_counter() - since
    metrics.count(route_of(scope), status, took)
    log.info(
        "request",
        method=scope["method"],
        path=scope["path"][:_PATH],
        status=status,
        ms=round(took * 1e3, 1),
        bytes=size,
        **_key(scope["state"]),
    )


def _key(state: dict[str, Any]) -> dict[str, str]:
    """The public part of the caller's key, where there is one."""
    admitted: Admission | None = state.get("admitted")
    caller: Caller | None = admitted.caller if admitted else state.get("caller")
    return {"key": caller.id} if caller and caller.id else {}
