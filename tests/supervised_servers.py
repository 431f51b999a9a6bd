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
    """An embedded PostgreSQL and Valkey; their supervisor restarts the one that is killed."""

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
    """Start servers for one test module, and remove them afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="flow-supervised_servers-"))
    folder.chmod(0o755)
    try:
        with embedded.attach(folder, wait=True) as servers:
            yield SupervisedServers(folder, servers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class SocketProxy:
    """A TCP port on loopback in front of a Unix socket; a test can cut its connections."""

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
        """Abort every connection."""
        for transport in self._open:
            transport.abort()
        self._open.clear()


@asynccontextmanager
async def socket_proxy(target: Path) -> AsyncIterator[SocketProxy]:
    """A listening proxy."""
    listening = SocketProxy(target)
    server = await asyncio.start_server(listening._serve, "127.0.0.1", 0)
    listening.port = server.sockets[0].getsockname()[1]
    try:
        yield listening
    finally:
        server.close()
        listening.cut()
        await asyncio.sleep(0.05)
