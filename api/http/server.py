"""The HTTP server: uvicorn with limits on what comes in, and its connection for the stream.

A request must arrive within seconds, and its head must be short. Both the limits and the stream's
direct use of the connection depend on the internals of uvicorn's protocol. If a release of uvicorn
has changed them, the server uses uvicorn's own protocol: then requests have no limits, and the
stream writes through ASGI.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.accepting import Acceptor
from api.http.request_queue import RequestQueue
from api.http.transport import TRANSPORT

log = structlog.get_logger()

#: Methods of uvicorn's protocol that ``LimitedProtocol`` overrides or calls, and fields it reads.
_PARENT_METHODS = frozenset({
    "connection_made", "connection_lost", "data_received", "on_message_begin",
    "on_headers_complete", "on_body", "on_message_complete", "timeout_keep_alive_handler",
    "send_400_response", "_start_asgi_task",
})  # fmt: skip
_PARENT_FIELDS = ("url", "headers", "scope", "parser", "cycle", "transport", "loop")
#: Time limit from a request's first byte, or from the connection, to the request's last byte. [s]
REQUEST_SECONDS = 10.0
#: Largest head of a request: its first line and headers. [bytes]
HEAD_BYTES = 65_536
#: Time limit for a client to read an answer from an otherwise idle connection. [s]
FETCH_SECONDS = 60.0
#: Time limit for running requests when the server stops. [s]
SHUTDOWN_SECONDS = 5
_REASON_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Headers Too Large",
    503: b"Service Unavailable",
}
#: Open files that connections leave to the rest of the process: the store, the log, its sockets.
_RESERVED_FILES = 128
#: Time between two log lines about connections that were cut to make room. [s]
_REPORT_SECONDS = 10.0


class ConnectionLimit:
    """Keeps the connections of a server below the number of files that the process may open.

    Without it, connections that never send a request use up the files, and nobody else gets in.
    At the limit, the connection that has waited longest without a complete request is cut.
    """

    def __init__(self, most: int) -> None:
        """Prepare.

        Parameters
        ----------
        most : how many connections may be open.
        """
        self.most = most
        #: Connections that have not sent a complete request yet, the oldest first.
        self._idle: dict[LimitedProtocol, None] = {}
        self._open: set[LimitedProtocol] = set()
        self._cut = 0
        self._reported = -math.inf

    def opened(self, connection: LimitedProtocol) -> bool:
        """Note a new connection, and make room for it.

        Parameters
        ----------
        connection : the new connection.

        Returns
        -------
        bool
            False if there is no room, because every other connection has sent a request.
        """
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) <= self.most:
            return True
        oldest = next(iter(self._idle))
        self._cut += 1
        self._report()
        self.closed(oldest)
        if oldest is connection:
            return False
        oldest.transport.abort()
        return True

    def used(self, connection: LimitedProtocol) -> None:
        """Note that a connection has sent a complete request.

        Parameters
        ----------
        connection : the connection.
        """
        self._idle.pop(connection, None)

    def closed(self, connection: LimitedProtocol) -> None:
        """Forget a connection.

        Parameters
        ----------
        connection : the connection.
        """
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            log.warning("too many connections", limit=self.most, cut=self._cut)
            self._reported, self._cut = now, 0


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on the time and the head of a request.

    The class protects the server from clients that send slowly or without end; it gains no speed.
    A GET finds its connection in ``scope["extensions"][TRANSPORT]``.
    """

    #: Bytes of the present request's head so far.
    _size = 0
    #: Whether the data received last completed a request.
    _ended = False
    #: Whether a request's head is being read.
    _heading = True
    #: Whether a request has begun and not ended.
    _begun = False
    _limit: asyncio.TimerHandle | None = None
    #: Counts the open connections. ``Server`` sets its own; this one has no limit.
    connection_limit = ConnectionLimit(sys.maxsize)
    #: Where requests wait while too many are being answered. ``Server`` sets its own; this one
    #: lets all requests through at once, up to the highest limit.
    request_queue = RequestQueue()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request; refuse the connection if there are too many.

        Parameters
        ----------
        transport : the connection.
        """
        super().connection_made(transport)
        self._start_limit()
        if not self.connection_limit.opened(self):
            self._refuse(503, "too_many_connections", "the server has no room for a connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limit.

        Parameters
        ----------
        exc : why the connection ended; None if it was closed.
        """
        self._cancel_limit()
        self.connection_limit.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse a head that is too long.

        Parameters
        ----------
        data : what came in.
        """
        self._ended = False
        super().data_received(data)
        # Most requests arrive in one piece and need no time limit.
        if self._begun or not self._ended:
            self._start_limit()
        # Data of complete requests do not count.
        if self._heading and not self._ended:
            self._size += len(data)
            if self._size > HEAD_BYTES:
                self._refuse(
                    431, "head_too_large", f"a request's head may have at most {HEAD_BYTES} bytes"
                )

    def on_message_begin(self) -> None:
        """Start to count the head of a new request."""
        super().on_message_begin()
        self._heading, self._begun, self._size = True, True, 0

    def on_headers_complete(self) -> None:
        """Check the length of the head, and hand the request on with its connection."""
        self._heading = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES:
            self._refuse(
                431, "head_too_large", f"a request's head may have at most {HEAD_BYTES} bytes"
            )
            return
        hosts = sum(name.lower() == b"host" for name, _ in self.headers)
        if hosts != 1 and self.parser.get_http_version() == "1.1":
            self._refuse(400, "invalid_request", "a request must have one Host header")
            return
        # A HEAD's answer has no body, so its handler must not write to the connection.
        if self.parser.get_method() == b"GET":
            self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin a request, or let it wait where too many have begun."""
        begin = super()._start_asgi_task

        def begin_unless_gone(answering: Any) -> bool:
            if cycle.disconnected:
                return False
            begin(cycle, answering)
            return True

        self.request_queue.begin(begin_unless_gone, app, cycle.scope["raw_path"])

    def on_body(self, body: bytes) -> None:
        """Drop the body of a refused request, which has no handler.

        Parameters
        ----------
        body : a piece of the request's body.
        """
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Cancel the time limit of a complete request."""
        self._cancel_limit()
        self.connection_limit.used(self)
        self._heading, self._begun, self._size, self._ended = True, False, 0, True
        if self.cycle is not None:
            super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and cut it if the client does not read its answer in time."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(FETCH_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Refuse data that are not HTTP with an error in this API's form.

        Parameters
        ----------
        msg : what the parser says; it is not passed on.
        """
        self._refuse(400, "invalid_request", "this is not an HTTP/1.1 request")

    def _start_limit(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(REQUEST_SECONDS, self._on_limit)

    def _cancel_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _on_limit(self) -> None:
        self._limit = None
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(
                408, "request_timeout", f"a request must arrive within {REQUEST_SECONDS:g} s"
            )
        else:
            self.transport.abort()

    def _refuse(self, status: int, error: str, message: str) -> None:
        if self.transport.is_closing():
            return
        body = orjson.dumps({"error": error, "message": message})
        line = _REASON_PHRASES[status]
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, line, len(body), body)
        )
        self.transport.close()
        self.loop.call_later(1.0, self.transport.abort)


def choose_protocol(known: type[HttpToolsProtocol] = LimitedProtocol) -> type[Any] | str:
    """Choose ``LimitedProtocol``, or uvicorn's own protocol if uvicorn's internals have changed.

    The fallback is logged with what is missing.

    Parameters
    ----------
    known
        The protocol to use if its parent has every method and field that it needs.

    Returns
    -------
    type or str
        The protocol, or ``auto`` for uvicorn's own.
    """
    parent = known.__mro__[1]
    methods = [name for name in vars(LimitedProtocol) if callable(getattr(LimitedProtocol, name))]
    missing = [name for name in methods if name in _PARENT_METHODS and not hasattr(parent, name)]
    source = inspect.getsource(parent)
    missing += [name for name in _PARENT_FIELDS if f"self.{name}" not in source]
    if not missing:
        return known
    log.warning(
        "uvicorn has changed inside: requests have no limits, the stream is slower",
        missing=missing,
        uvicorn=uvicorn.__version__,
    )
    return "auto"


class Server(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process by the signal instead of with 0.

    Parameters
    ----------
    app
        The ASGI application.
    started
        Called once the server listens.
    files
        How many files this process may open; connections stay below it.
    trusted_proxies
        Addresses and networks whose ``X-Forwarded-For`` is believed.
    refused
        Called for each request that is refused because too many wait.
    """

    def __init__(
        self,
        app: Any,
        started: Callable[[], None],
        *,
        files: int = 1024,
        trusted_proxies: Sequence[str] = (),
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.request_queue = RequestQueue(refused)
        protocol = choose_protocol()
        if isinstance(protocol, type):
            limit = ConnectionLimit(max(files - _RESERVED_FILES, files // 2))
            own = {"connection_limit": limit, "request_queue": self.request_queue}
            protocol = type(protocol.__name__, (protocol,), own)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                # The log has the client's address; nothing else depends on it.
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                backlog=4096,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._started = started
        self._acceptors: list[Acceptor] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``api.__main__``."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call ``started``.

        Parameters
        ----------
        sockets : sockets to listen on; None to open the configured address.
        """
        # uvicorn itself listens on none of the sockets.
        await super().startup(None if sockets is None else [])
        self._acceptors = [Acceptor(listener, self._protocol) for listener in sockets or ()]
        for acceptor in self._acceptors:
            acceptor.start(self.config.backlog)
        self.request_queue.start()
        self._started()

    async def main_loop(self) -> None:
        """Serve until the server is to stop, or its task is cancelled; then accept nothing more."""
        try:
            await super().main_loop()
        finally:
            self._stop_accepting()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does.

        Parameters
        ----------
        sockets : the sockets of ``startup``.
        """
        # If it was to stop before it listened, there was no main loop.
        self._stop_accepting()
        self.request_queue.stop()
        await super().shutdown(sockets)

    def _stop_accepting(self) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()

    def _protocol(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
