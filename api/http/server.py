"""The HTTP server: uvicorn with limits on what comes in, and its connection for the stream.

A whole request must arrive within seconds, and its head must be short. The limits and the
connection reach into the inside of uvicorn's protocol. Where that inside is not the known one, the
server runs on uvicorn's own protocol: without our limits, and the stream writes through ASGI.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.transport import TRANSPORT

log = structlog.get_logger()

#: What of uvicorn's protocol ours calls and reads.
_PARENT_METHODS = frozenset({
    "connection_made", "connection_lost", "data_received", "on_message_begin",
    "on_headers_complete", "on_body", "on_message_complete", "timeout_keep_alive_handler",
    "send_400_response",
})  # fmt: skip
_PARENT_FIELDS = ("url", "headers", "scope", "parser", "cycle", "transport", "loop")
#: Seconds from a request's first byte, or a connection's beginning, to the request's last byte.
REQUEST_SECONDS = 10.0
#: Bytes of a request's head: its first line and headers.
HEAD_BYTES = 65_536
#: Seconds that a reader may take to fetch an answer when nothing else is left to do for it.
FETCH_SECONDS = 60.0
#: Seconds that requests in hand may take when the server is told to stop.
SHUTDOWN_SECONDS = 5


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on a request's time and head.

    A GET finds its connection in ``scope["extensions"][TRANSPORT]``.
    """

    _size = 0
    #: Whether a request was completed by what came last.
    _ended = False
    #: Whether a request's head is being read.
    _heading = True
    #: Whether a request has begun that has not ended.
    _begun = False
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is too much."""
        self._ended = False
        super().data_received(data)
        # Most requests come whole: only what has not ended has to be waited for.
        if self._begun or not self._ended:
            self._wait()
        # What belonged to requests that are complete does not count.
        if self._heading and not self._ended:
            self._size += len(data)
            if self._size > HEAD_BYTES:
                self._refuse(431, "head_too_large", f"a request's head may have {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._heading, self._begun, self._size = True, True, 0

    def on_headers_complete(self) -> None:
        """The head is there: pass it on, with the connection."""
        self._heading = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES:
            self._refuse(431, "head_too_large", f"a request's head may have {HEAD_BYTES} bytes")
            return
        # A HEAD has no body: nothing may be written past its answer.
        if self.parser.get_method() == b"GET":
            self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Nothing here takes a body; a refused request has nobody to take it."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._stop()
        self._heading, self._begun, self._size, self._ended = True, False, 0, True
        if self.cycle is not None:
            super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one that never fetches its answer is cut."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(FETCH_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in our own words."""
        self._refuse(400, "invalid_request", "this is not a request of HTTP/1.1")

    def _wait(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(REQUEST_SECONDS, self._late)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _late(self) -> None:
        self._limit = None
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(
                408, "request_timeout", f"a request must be there within {REQUEST_SECONDS:g} s"
            )
        else:
            self.transport.abort()

    def _refuse(self, status: int, error: str, message: str) -> None:
        if self.transport.is_closing():
            return
        body = orjson.dumps({"error": error, "message": message})
        line = {400: b"Bad Request", 408: b"Request Timeout"}.get(status, b"Headers Too Large")
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, line, len(body), body)
        )
        self.transport.close()
        self.loop.call_later(1.0, self.transport.abort)


def choose_protocol(known: type[HttpToolsProtocol] = LimitedProtocol) -> type[Any] | str:
    """Our protocol where uvicorn's inside is the known one, else uvicorn's own choice.

    Everything that ``LimitedProtocol`` calls or reads must be there. A release of uvicorn that has
    moved any of it gets a line in the log, and a server without our limits.
    """
    parent = known.__mro__[1]
    methods = [name for name in vars(LimitedProtocol) if callable(getattr(LimitedProtocol, name))]
    missing = [name for name in methods if name in _PARENT_METHODS and not hasattr(parent, name)]
    written = inspect.getsource(parent)
    missing += [name for name in _PARENT_FIELDS if f"self.{name}" not in written]
    if not missing:
        return known
    log.warning(
        "uvicorn has changed inside: requests have no limits, the stream is slower",
        missing=missing,
        uvicorn=uvicorn.__version__,
    )
    return "auto"


class Server(uvicorn.Server):
    """uvicorn under our signals: its own handling ends the process by the signal, not with 0."""

    def __init__(self, app: Any, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=choose_protocol(),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                # Nobody here asks who the caller's caller was.
                proxy_headers=False,
                backlog=4096,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._started = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the door."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._started()
