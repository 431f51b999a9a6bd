"""The stream: bars as they land, to a thousand readers of one process.

A change is encoded once for all readers of a symbol and bar size. Where the server lets us, it is
written to their connections in the same turn of the loop (``DirectReader``): at 1,000 readers that
takes 0.5 of the processor's time and 0.6 of the delay of waking a task for each of them. Elsewhere
each reader has a queue and sends through ASGI (``QueuedReader``), with the same bytes. A reader who
does not keep up is cut off; it comes back with its Last-Event-ID.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.access.gate import Access, Caller
from api.http.transport import TRANSPORT
from api.series.bars import Event, SessionBars
from api.series.sessions import SessionCache, previous_session_day
from storage.errors import StoreUnavailable
from storage.market.calendar import market_day
from storage.market.clock import Clock

log = structlog.get_logger()


#: Seconds between two comment lines; proxies close a connection that is silent for a minute.
HEARTBEAT_SECONDS = 15.0
#: Bytes that may wait for a reader; the kernel holds some more.
MAX_WAITING_BYTES = 262_144
#: As much of what a reader has missed is sent in one piece.
_PIECE = 65_536
#: Seconds that a reader may take for such a piece ...
_PATIENCE = 30.0
#: ... and that following may take to reach what is in memory already.
_BEHIND = 10.0
#: Without the blank line that ends an event: some readers take an event without data for one.
_ALIVE = b":\n"
_RETRY = b"retry: 1000\n"
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # nginx would hold events back.
    (b"x-accel-buffering", b"no"),
]


class StreamReader(Protocol):
    """One reader of a stream."""

    caller: Caller

    def write(self, events: bytes) -> bool:
        """Hand events over without waiting.

        Parameters
        ----------
        events : events in the stream's format.

        Returns
        -------
        bool
            False if the reader is gone or was cut off.
        """
        ...

    async def send(self, events: bytes) -> None:
        """Hand over what the reader has missed, as fast as the reader takes it.

        Parameters
        ----------
        events : events in the stream's format.
        """
        ...

    def cut(self) -> None:
        """End the answer at once; the reader will come back."""
        ...

    def close(self) -> None:
        """End the answer once what was written has gone out."""
        ...


class DirectReader:
    """A reader whose connection is written to directly, framed as HTTP/1.1 chunks."""

    __slots__ = ("_send", "caller", "transport")

    def __init__(self, transport: asyncio.Transport, send: Send, caller: Caller) -> None:
        self.transport = transport
        self._send = send
        self.caller = caller

    def write(self, events: bytes) -> bool:
        """Write to the connection without waiting; cut off a reader who does not keep up.

        Parameters
        ----------
        events : events in the stream's format.

        Returns
        -------
        bool
            False if the reader is gone or was cut off.
        """
        if self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            self.transport.abort()
            log.info("slow reader cut off", bytes=MAX_WAITING_BYTES)
            return False
        self.transport.write(_chunk(events))
        return True

    async def send(self, events: bytes) -> None:
        """Send through ASGI; the server waits here while the connection is full.

        Parameters
        ----------
        events : events in the stream's format.
        """
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    def cut(self) -> None:
        """Close the connection at once; the reader will come back."""
        self.transport.abort()

    def close(self) -> None:
        """Close the connection once what was written has gone out."""
        self.transport.close()


class QueuedReader:
    """A reader that is sent to through ASGI, by a task of its own."""

    def __init__(self, send: Send, caller: Caller) -> None:
        self._send = send
        self.caller = caller
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._ended = False
        #: Set when the answer is to end at once, however full the connection is.
        self.is_cut = asyncio.Event()

    def write(self, events: bytes) -> bool:
        """Put events into the queue; cut off a reader who does not keep up.

        Parameters
        ----------
        events : events in the stream's format.

        Returns
        -------
        bool
            False if the reader is gone or was cut off.
        """
        if self._ended:
            return False
        if self._size > MAX_WAITING_BYTES:
            self.cut()
            log.info("slow reader cut off", bytes=MAX_WAITING_BYTES)
            return False
        self._waiting.append(events)
        self._size += len(events)
        self._filled.set()
        return True

    async def send(self, events: bytes) -> None:
        """Send through ASGI; the server waits here while the connection is full.

        Parameters
        ----------
        events : events in the stream's format.
        """
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    def cut(self) -> None:
        """End the answer at once; the reader will come back."""
        self.is_cut.set()
        self.close()

    def close(self) -> None:
        """End the answer once the queue is empty."""
        self._ended = True
        self._filled.set()

    async def run(self) -> None:
        """Send what is written until the answer ends."""
        while self._waiting or not self._ended:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                events = self._waiting.popleft()
                self._size -= len(events)
                await self.send(events)
        await self._send({"type": "http.response.body", "body": b""})


Group = set[StreamReader]


class StreamHub:
    """All readers, by symbol, feed and bar size; told of changes by ``SessionCache``."""

    def __init__(self, sessions: SessionCache, access: Access, clock: Clock) -> None:
        self.sessions = sessions
        self._access = access
        self._clock = clock
        #: A reader who named no feed is among those of None, the feed that is shown.
        self._groups: dict[tuple[str, str | None], dict[int, Group]] = {}
        self._closed = False

    async def run(self) -> NoReturn:
        """Send every reader a comment line each ``HEARTBEAT_SECONDS``. Cancel it to end it."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for key, width, group in self._all():
                for reader in [r for r in group if not self._access.knows(r.caller)]:
                    reader.cut()
                self._write(key, width, group, _ALIVE)

    def close(self) -> None:
        """End every reader's answer: the server stops."""
        self._closed = True
        for _, _, group in self._all():
            for reader in group:
                reader.close()

    def count(self) -> int:
        """Return how many readers there are."""
        return sum(len(group) for _, _, group in self._all())

    def wants(self, symbol: str, feed: str | None) -> bool:
        """Say whether a symbol's feed has readers.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed that the readers named; None for the one that is shown.

        Returns
        -------
        bool
            True if it has.
        """
        return (symbol, feed) in self._groups

    def changed(
        self, symbol: str, feed: str | None, days: Sequence[SessionBars], after: int
    ) -> None:
        """Write what has changed to its readers, encoded once for each bar size.

        Parameters
        ----------
        symbol : the symbol.
        feed : whose sessions they are; None for the shown ones.
        days : the sessions that have changed.
        after : the symbol's newest revision before the change.
        """
        key = (symbol, feed)
        for width, group in list(self._groups.get(key, {}).items()):
            events = sorted(event for day in days for event in day.events(width, after))
            if events:
                self._write(key, width, group, encode_events(events))

    def lost(self, symbol: str, feed: str | None) -> None:
        """Cut off the readers who have missed changes; they come back and get what they missed.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed that they named; None for the readers of the shown one.
        """
        for group in self._groups.get((symbol, feed), {}).values():
            for reader in group:
                reader.cut()

    def lost_all(self) -> None:
        """End every stream, since changes were lost: the readers connect anew and get them."""
        for _, _, group in self._all():
            for reader in group:
                reader.cut()

    async def days(self, symbol: str, feed: str | None, since: int | None) -> list[SessionBars]:
        """Return the sessions that a reader follows, once following has reached what they have.

        The reader's next event is then the next change. Nothing may be awaited before it joins.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed that the reader named; None for the one that is shown.
        since : the reader's cursor; None for a reader who only wants what comes.

        Returns
        -------
        list of SessionBars
            Today's session; with a cursor, the previous one before it.

        Raises
        ------
        StoreError
            If the store is away, or following does not reach them within 10 s.
        """
        try:
            async with asyncio.timeout(_BEHIND):
                while True:
                    today = market_day(self._clock.now())
                    days = [await self.sessions.get(symbol, today, feed)]
                    if since is not None:
                        previous = previous_session_day(today)
                        days.insert(0, await self.sessions.get(symbol, previous, feed))
                    head = self.sessions.head(symbol)
                    if head is not None and all(day.cursor <= head for day in days):
                        return days
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StoreUnavailable("what is stored cannot be followed just now") from None

    def join(self, symbol: str, feed: str | None, width: int, reader: StreamReader) -> None:
        """Send a reader the events that come from now on.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed that the reader named; None for the one that is shown.
        width : the bar size. [s]
        reader : the reader.
        """
        if self._closed:
            reader.close()
            return
        self._groups.setdefault((symbol, feed), {}).setdefault(width, set()).add(reader)

    def leave(self, symbol: str, feed: str | None, width: int, reader: StreamReader) -> None:
        """Send a reader no more events: it is gone.

        Parameters
        ----------
        symbol : the symbol.
        feed : the feed that the reader named; None for the one that is shown.
        width : the bar size. [s]
        reader : the reader.
        """
        key = (symbol, feed)
        groups = self._groups.get(key, {})
        group = groups.get(width, set())
        group.discard(reader)
        if not group:
            groups.pop(width, None)
        if not groups:
            self._groups.pop(key, None)

    def _all(self) -> list[tuple[tuple[str, str | None], int, Group]]:
        return [
            (key, width, group)
            for key, groups in self._groups.items()
            for width, group in groups.items()
        ]

    def _write(self, key: tuple[str, str | None], width: int, group: Group, events: bytes) -> None:
        for gone in [reader for reader in group if not reader.write(events)]:
            self.leave(*key, width, gone)


class StreamResponse(Response):
    """One reader's answer; ``prepare`` it first, so that a refusal can still be one."""

    def __init__(
        self,
        hub: StreamHub,
        symbol: str,
        feed: str | None,
        width: int,
        since: int | None,
        caller: Caller,
        *,
        wants_body: bool = True,
    ) -> None:
        super().__init__()
        self._wants_body = wants_body
        self._hub = hub
        self._symbol = symbol
        self._feed = feed
        self._width = width
        self._since = since
        self._caller = caller
        self.raw_headers = list(HEADERS)

    async def prepare(self) -> None:
        """Make sure that there is something to follow.

        Raises
        ------
        StoreError
        """
        await self._hub.days(self._symbol, self._feed, self._since)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the bars that the reader missed, then each new bar, until the reader disconnects."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if not self._wants_body:
            await send({"type": "http.response.body", "body": b""})
            return
        transport = scope.get("extensions", {}).get(TRANSPORT)
        if transport is not None:
            await self._serve(DirectReader(transport, send, self._caller), receive)
            return
        queued = QueuedReader(send, self._caller)
        sending = asyncio.create_task(queued.run())
        serving = asyncio.create_task(self._serve(queued, receive))
        cut = asyncio.create_task(queued.is_cut.wait())
        tasks = (sending, serving, cut)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, receive: Receive) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                await self._catch_up(reader, limit)
            while (await receive())["type"] != "http.disconnect":
                pass
        except (TimeoutError, StoreUnavailable):
            reader.cut()
        finally:
            self._hub.leave(self._symbol, self._feed, self._width, reader)

    async def _catch_up(self, reader: StreamReader, limit: asyncio.Timeout) -> None:
        """Send what changed after the reader's cursor in pieces, and join without a hole."""
        since = self._since
        body = _RETRY
        while True:
            days = await self._hub.days(self._symbol, self._feed, since)
            events = sorted(
                event
                for day in days
                for event in (day.events(self._width, since) if since is not None else ())
            )
            piece = _first(events)
            if len(piece) == len(events):
                reader.write(body + encode_events(piece))
                self._hub.join(self._symbol, self._feed, self._width, reader)
                return
            limit.reschedule(asyncio.get_running_loop().time() + _PATIENCE)
            await reader.send(body + encode_events(piece))
            limit.reschedule(None)
            since, body = piece[-1].revision, b""


def encode_events(events: Iterable[Event]) -> bytes:
    """Write events in the stream's format, Server-Sent Events.

    Parameters
    ----------
    events : ascending by revision.

    Returns
    -------
    bytes
        The events, each with its revision as id.
    """
    return b"".join(
        b"id: %d\n%sdata: %s\n\n" % (event.revision, b"event: gap\n" * event.gap, event.body)
        for event in events
    )


def _chunk(body: bytes) -> bytes:
    """A piece of an answer of unknown length, as HTTP/1.1 frames it."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def _first(events: Sequence[Event]) -> Sequence[Event]:
    """As many as make a piece."""
    size = 0
    for i, event in enumerate(events):
        size += len(event.body) + 32
        if size > _PIECE:
            return events[: i + 1]
    return events
