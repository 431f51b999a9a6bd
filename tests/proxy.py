"""A TCP proxy to a server's socket that a test can cut, stall and mend; it runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit


class Proxy:
    """Listens on loopback and forwards to where a PostgreSQL URL leads."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._folder = parse_qs(parts.query).get("host", [None])[0]
        self._target = (parts.hostname, parts.port or 5432)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._parts = parts

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The database's URL by way of the proxy."""
        user = self._parts.username or "postgres"
        login = user if self._parts.password is None else f"{user}:{self._parts.password}"
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self.port}", query=""))

    def cut(self) -> None:
        """End all connections; new ones are welcome."""
        self._do(self._cut())

    def refuse(self) -> None:
        """End all connections, and take no new ones."""
        self._do(self._refuse())

    def stall(self) -> None:
        """Keep connections open and carry nothing: a network that swallows packets."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def mend(self) -> None:
        """Carry everything again."""
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._do(self._open())

    def _do(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _open(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _shut(self) -> None:
        await self._refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._ends.add(writer)
        try:
            if self._folder:
                path = f"{self._folder}/.s.PGSQL.5432"
                there = await asyncio.open_unix_connection(path)
            else:
                there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._ends.discard(writer)
            self._tasks.discard(task)
            return
        self._ends.add(there[1])
        try:
            await asyncio.gather(self._carry(reader, there[1]), self._carry(there[0], writer))
        finally:
            for end in (writer, there[1]):
                end.transport.abort()
                self._ends.discard(end)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()
