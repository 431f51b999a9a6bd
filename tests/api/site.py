"""A server for the tests: its clock, whoever feeds it, and clients of requests and streams."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from storage.errors import StoreUnavailable
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Change
from storage.redis.channel import ChannelMessage, NoChannel

SERIES = "/v1/flow/zero-dte/series/"


@dataclass
class Still:
    """A clock that a test sets."""

    moment: datetime
    speed: float = 1.0
    waits: bool = False

    def now(self) -> datetime:
        return self.moment


class Caller(httpx.AsyncClient):
    """A client of the application; ``clock`` is what it reads the time from."""

    clock: Still

    async def series(self, symbol: str = "SPY", status: int = 200, **query: Any) -> dict[str, Any]:
        """An answer of the series."""
        sent = await self.get(SERIES + symbol, params=query)
        assert sent.status_code == status, sent.text
        return sent.json()


class Wire(NoChannel):
    """A live channel within the process."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[list[ChannelMessage]] = asyncio.Queue()

    async def publish(self, changes: Any) -> None:
        self.sent.put_nowait(
            [ChannelMessage(symbol=c.symbol, revision=c.revision, changes=(c,)) for c in changes]
        )

    async def listen(self, symbols: Any) -> AsyncIterator[list[ChannelMessage]]:  # type: ignore[override]
        yield []
        while True:
            yield await self.sent.get()

    async def ping(self) -> None:
        pass


class Away:
    """A store that goes away when told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False

    def of_feed(self, name: str | None) -> Away:
        view = Away(self._store.of_feed(name))
        view.away = self.away
        return view

    @property
    def forecasts(self) -> Away:
        """The record, which goes away with the store."""
        view = Away(self._store.forecasts)  # type: ignore[arg-type]
        view.away = self.away
        return view

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def ask(*arguments: Any, **named: Any) -> Any:
            if self.away:
                raise StoreUnavailable("gone")
            return await method(*arguments, **named)

        return ask


class Fed(Caller):
    """A client of an application that keeps sessions in memory."""

    sessions: Any
    store: Away
    wire: Wire

    async def land(
        self, *records: Any, gaps: Any = (), mode: WriteMode = WriteMode.KEEP
    ) -> list[Change]:
        """Store and publish, and wait until it is taken in."""
        changes = (await self.store.write(list(records), list(gaps), mode=mode)).changes
        await self.wire.publish(changes)
        await self.reached({change.symbol: change.revision for change in changes})
        return changes

    async def reached(self, heads: dict[str, int]) -> None:
        async with asyncio.timeout(10):
            while any((self.sessions.head(s) or 0) < head for s, head in heads.items()):
                await asyncio.sleep(0.001)


class Events:
    """One connection to a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self._text = b""
        self.comments = 0

    async def head(self) -> None:
        first = await self.reader.readline()
        self.status = int(first.split()[1])
        while (line := (await self.reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(": ")
            self.headers[name] = value

    async def next(self, seconds: float = 5) -> dict[str, str] | None:
        """The next event's fields; None when the server has hung up."""
        async with asyncio.timeout(seconds):
            while (block := await self._block()) is not None:
                fields: dict[str, str] = {}
                for line in block.split("\n"):
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                # How long to wait after a cut: it stands in front of the first event.
                fields.pop("retry", None)
                if "data" in fields:
                    return fields
        return None

    async def _block(self) -> str | None:
        while b"\n\n" not in self._text:
            size = await self.reader.readline()
            if not size.strip(b"\r\n0"):
                return None  # hung up, or the answer's last chunk
            self._text += await self.reader.readexactly(int(size, 16))
            # A chunk ends with a whole line.
            self._text, comments = re.subn(rb"(?m)^:.*\n", b"", self._text)
            self.comments += comments
            await self.reader.readexactly(2)
        block, _, self._text = self._text.partition(b"\n\n")
        return block.decode()

    async def none(self) -> None:
        """Nothing comes for a moment."""
        with pytest.raises(TimeoutError):
            await self.next(0.1)

    def close(self) -> None:
        self.writer.close()


class Site:
    """A server that listens, and the client that feeds it."""

    def __init__(self, fed: Fed, port: int) -> None:
        self.fed = fed
        self.port = port
        self.server: Any = None
        self.opened: list[Events] = []

    @property
    def hub(self) -> Any:
        return self.fed._transport.app.context.hub  # type: ignore[attr-defined]

    async def open(
        self, symbol: str = "SPY", query: str = "", *, headers: str = "", buffer: int = 0
    ) -> Events:
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        events = Events(*await asyncio.open_connection(sock=sock))
        self.opened.append(events)
        path = f"{SERIES}{symbol}/stream{query}"
        events.writer.write(f"GET {path} HTTP/1.1\r\nHost: flow\r\n{headers}\r\n".encode())
        await events.head()
        return events

    async def readers(self, count: int) -> None:
        """Wait until so many readers are there."""
        async with asyncio.timeout(5):
            while sum(len(group) for _, _, group in self.hub._all()) != count:
                await asyncio.sleep(0.005)
