"""redis's one home: the live channel.

A stream per symbol carries each row as it is stored. It is a messenger, never a memory: rows are
durable before they are published, and losing the channel loses freshness for a moment, no sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
import redis.asyncio as redis
from redis.exceptions import RedisError

from storage.errors import LiveError
from storage.row import Row

#: Two sessions' worth; a reader further behind reads the store.
_LENGTH = 1_600
#: A channel that hangs may not hold a tick up for longer. [s]
_PATIENCE = 1.0
#: A stream that nobody writes is gone after three days of wall time. [s]
_EXPIRES = 3 * 86_400


class Live(Protocol):
    """The live channel's promises. Failures raise ``LiveError`` and cost nothing durable."""

    async def publish(self, row: Row, revision: int) -> None:
        """Send a stored row to whoever follows."""
        ...

    def follow(self, symbols: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Rows as they are published from now on; each also has its ``revision``."""
        ...

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel is away."""
        ...


class Nobody:
    """No live channel: nothing is published, nothing can be followed."""

    async def publish(self, row: Row, revision: int) -> None:
        """Nothing happens."""

    def follow(self, symbols: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Raise ``LiveError``: there is nothing to follow."""
        raise LiveError("there is no live channel")

    async def ping(self) -> None:
        """Raise ``LiveError``."""
        raise LiveError("there is no live channel")


class Channel:
    """The live channel on Redis or Valkey, under the dataset's prefix."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncIterator[Channel]:
        """A channel by URL. The server may be away: it is asked when it is needed."""
        try:
            # The library's own types change with the protocol version: Any.
            client: Any = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=10)
            # Options are read no earlier than by a connection; this one is never opened.
            client.connection_pool.make_connection()
        except (ValueError, TypeError, RedisError):
            # The reason may repeat the password.
            raise LiveError("FLOW_REDIS_URL: not a URL that Redis can read") from None
        try:
            yield cls(client, prefix)
        finally:
            await client.aclose()

    def _stream(self, symbol: str) -> str:
        return f"{self._prefix}:rows:{symbol}"

    async def publish(self, row: Row, revision: int) -> None:
        """Send a stored row to whoever follows."""
        stream = self._stream(row.symbol)
        body = orjson.dumps(row.as_json() | {"revision": revision})
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                self._client.pipeline(transaction=False) as pipe,
            ):
                pipe.xadd(stream, {"row": body}, maxlen=_LENGTH, approximate=True)
                pipe.expire(stream, _EXPIRES)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            said = str(error) or f"no answer within {_PATIENCE:g} s"
            raise LiveError(f"FLOW_REDIS_URL: cannot publish: {said}") from error

    async def follow(self, symbols: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Rows as they are published from now on; each also has its ``revision``."""
        cursors: dict[Any, Any] = {}
        try:
            for stream in map(self._stream, symbols):
                # Not "$": it would be read anew by each call, and lose what came in between.
                newest = await self._client.xrevrange(stream, count=1)
                cursors[stream] = newest[0][0] if newest else "0"
            while True:
                # Shorter than the socket's own time-out, which would end the connection.
                found = await self._client.xread(cursors, block=5_000) or []
                if (task := asyncio.current_task()) and task.cancelling():
                    # Before Python 3.12, wait_for, which the client uses, may swallow it.
                    raise asyncio.CancelledError
                for stream, entries in found:
                    for cursor, fields in entries:
                        cursors[stream.decode()] = cursor
                        yield orjson.loads(fields[b"row"])
        except (RedisError, OSError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel is away."""
        try:
            await self._client.ping()
        except (RedisError, OSError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error
