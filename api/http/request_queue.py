"""How many requests are answered at once, so that a flood does not hold up everything else.

A server that begins every request as it comes is late with each of them, its own looks at the
database among them. So requests beyond a limit wait in a queue. One that has waited too long, or
finds no room in the queue, is refused with 503 and ``Retry-After``. The limit follows from how late
the event loop is: it is low where answers take its time, and high where they wait for the database.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.json import json_response

log = structlog.get_logger()

#: Begins a request with what answers it; False if its caller has left.
Begin = Callable[[ASGIApp], bool]

#: Highest and lowest limit of the requests that are answered at the same time.
MOST, LEAST = 1024, 32
#: How many requests may wait at the same time, and for how long each. [s]
QUEUE, QUEUE_SECONDS = 8192, 10.0
#: Time between two measurements ("looks") of how late the event loop is. [s]
_LOOK_SECONDS = 0.05
#: The server is overloaded when its event loop comes to a look this much later than planned. [s]
_LATE_SECONDS = 0.1
#: How much the limit rises after each look at which the event loop was not late.
_MORE = 4
#: Time between two log lines about refused requests. [s]
_REPORT_SECONDS = 10.0
#: Paths that operators ask for: they never wait and are never refused.
_ALWAYS = (b"/health", b"/ready", b"/metrics")
_OVERLOADED = json_response(
    {"error": "overloaded", "message": "The server has too many requests; ask again in a second."},
    503,
    {"Retry-After": "1", "Cache-Control": "no-store"},
)


class RequestQueue:
    """Decides for each request whether it is answered now, waits its turn, or is refused."""

    def __init__(self, refused: Callable[[], None] = lambda: None) -> None:
        """Prepare; before ``start`` the limit stays the highest.

        Parameters
        ----------
        refused : called for each request that is refused.
        """
        self.limit = MOST
        #: Requests that have begun, and whose answer has not.
        self._running = 0
        self._queue: deque[tuple[float, Begin, ASGIApp]] = deque()
        self._refused = refused
        self._count = 0
        self._reported = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure from now on, every ``_LOOK_SECONDS``, how late the running event loop is."""
        self._look(asyncio.get_running_loop().time())

    def stop(self) -> None:
        """Stop measuring the event loop, and refuse the requests that still wait."""
        if self._timer is not None:
            self._timer.cancel()
        while self._queue:
            self._refuse(self._queue.popleft()[1])

    def begin(self, begin: Begin, app: ASGIApp, path: bytes) -> None:
        """Begin a request now or later, with the application or with a refusal.

        Parameters
        ----------
        begin : begins the request with what answers it; False if its caller has left.
        app : the application.
        path : the request's path, without its query.
        """
        if path.endswith(_ALWAYS):
            begin(app)
        elif self._running < self.limit and not self._queue:
            self._begin(begin, app)
        elif len(self._queue) < QUEUE:
            self._queue.append((time.monotonic(), begin, app))
        else:
            self._refuse(begin)

    def note_lateness(self, seconds: float) -> None:
        """Lower the limit if the event loop is late, and raise it if it is not.

        Parameters
        ----------
        seconds : how much later than planned the loop came to a look. [s]
        """
        if seconds > _LATE_SECONDS:
            self.limit = max(LEAST, self.limit // 2)
        else:
            self.limit = min(MOST, self.limit + _MORE)
        self._take_next()

    def _begin(self, begin: Begin, app: ASGIApp) -> None:
        self._running += 1

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            runs = True

            async def note_beginning(message: Message) -> None:
                nonlocal runs
                if runs:
                    runs = False
                    self._end()
                await send(message)

            try:
                await app(scope, receive, note_beginning)
            finally:
                if runs:
                    self._end()

        if not begin(counted):
            self._running -= 1

    def _end(self) -> None:
        self._running -= 1
        if self._queue:
            self._take_next()

    def _take_next(self) -> None:
        late = time.monotonic() - QUEUE_SECONDS
        while self._queue and (self._running < self.limit or self._queue[0][0] < late):
            since, begin, app = self._queue.popleft()
            if since < late:
                self._refuse(begin)
            else:
                self._begin(begin, app)

    def _refuse(self, begin: Begin) -> None:
        self._count += 1
        self._refused()
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            log.warning("overloaded", refused=self._count, waiting=len(self._queue))
            self._reported, self._count = now, 0
        begin(_OVERLOADED)

    def _look(self, planned: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.note_lateness(now - planned)
        self._timer = loop.call_at(now + _LOOK_SECONDS, self._look, now + _LOOK_SECONDS)
