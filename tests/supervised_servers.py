"""Servers of a test's own, to be killed; a proxy whose connections can be cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import redis

from storage.embedded import attach as embedded


class SupervisedServers:
    """An embedded PostgreSQL and Valkey; whoever is killed is brought back by their keeper."""

    def __init__(self, folder: Path, servers: embedded.Servers) -> None:
        self.folder = folder
        self.database_url, self.redis_url = servers.database_url, servers.redis_url
        self.sockets = Path(servers.redis_url.removeprefix("unix://")).parent

    def kill_database(self) -> None:
        """kill -9, as a machine without memory does it."""
        pid = int((self.folder / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def kill_redis(self) -> None:
        """kill -9; it comes back empty, for nothing of it is on disk."""
        with redis.Redis.from_url(self.redis_url) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)


@contextmanager
def supervised_servers() -> Iterator[SupervisedServers]:
    """Servers of one's own."""
    folder = Path(tempfile.mkdtemp(prefix="flow-supervised_servers-"))
    folder.chmod(0o755)
    try:
        with embedded.attach(folder, wait=True) as servers:
            yield SupervisedServers(folder, servers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Proxy:
    """TCP on loopback in front of a socket; connections are cut at will."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.port = 0
        self._open: set[asyncio.Transport] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.target))
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer.transport, far_writer.transport}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            sink.transport.abort()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    def cut(self) -> None:
        """End every connection without a word."""
        for transport in self._open:
            transport.abort()
        self._open.clear()


@asynccontextmanager
async def proxy(target: Path) -> AsyncIterator[Proxy]:
    """A proxy that listens."""
    made = Proxy(target)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.sleep(0.05)
