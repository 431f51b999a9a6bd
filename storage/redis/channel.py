"""redis's one home: the live channel.

A stream per symbol carries each change as it is stored, and one stream more names the symbols that
have news. It is a messenger, never a memory: what it carries is durable before it is published, and
losing the channel loses freshness for a moment, no sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from storage.errors import LiveError
from storage.record.row import Change
from storage.record.wire import decode_change, encode_change

#: Changes that a stream keeps, an hour's; a reader further behind reads the store.
LENGTH = 128
#: A change of more rows and gaps than this, a backfill's, is told of and read from the store.
_MOST = 32
#: A channel that hangs may not hold a tick up for longer. [s]
_PATIENCE = 1.0
#: A stream that nobody writes is gone after three days of wall time. [s]
_EXPIRES = 3 * 86_400
#: Streams that are read at once.
_AT_ONCE = 10
#: A listener that hears nothing says so after this long. [s]
_QUIET = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage:
    """That a symbol has changed, and the changes that the channel still has, in order."""

    symbol: str
    #: How far the symbol is now.
    revision: int
    changes: tuple[Change, ...] = ()


class LiveChannel(Protocol):
    """The live channel's promises. Failures raise ``LiveError`` and cost nothing durable."""

    async def publish(self, changes: Sequence[Change]) -> None:
        """Tell whoever follows what was stored."""
        ...

    def listen(self, symbols: Sequence[str] | None) -> AsyncGenerator[list[ChannelMessage], None]:
        """News of some symbols, or of all, as it is published from now on.

        The first item is empty: from then on nothing is missed. So is one after quiet seconds.
        """
        ...

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel is away."""
        ...


class NoChannel:
    """No live channel: nothing is published, nothing can be followed."""

    async def publish(self, changes: Sequence[Change]) -> None:
        """Nothing happens."""

    def listen(self, symbols: Sequence[str] | None) -> AsyncGenerator[list[ChannelMessage], None]:
        """Raise ``LiveError``: there is nothing to follow."""
        raise LiveError("there is no live channel")

    async def ping(self) -> None:
        """Raise ``LiveError``."""
        raise LiveError("there is no live channel")


class RedisChannel:
    """The live channel on Redis or Valkey, under the dataset's prefix."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        #: Which symbols have news; its own name is no symbol's.
        self._told = f"{prefix}:changes"

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncGenerator[RedisChannel, None]:
        """A channel by URL. The server may be away: it is asked when it is needed."""
        try:
            # The library's own types change with the protocol version: Any.
            client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=2,
                socket_timeout=10,
                # Once, for a connection that has died while it was idle: who waits longer is late.
                retry=Retry(NoBackoff(), 1),
            )
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
        return f"{self._prefix}:changes:{symbol}"

    async def publish(self, changes: Sequence[Change]) -> None:
        """Tell whoever follows what was stored: all of it at once, or nothing."""
        if not changes:
            return
        told = orjson.dumps({change.symbol: change.revision for change in changes})
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                self._client.pipeline(transaction=True) as pipe,
            ):
                for change in changes:
                    if len(change.rows) + len(change.gaps) <= _MOST:
                        stream = self._stream(change.symbol)
                        pipe.xadd(stream, {"change": encode_change(change)}, maxlen=LENGTH)
                        pipe.expire(stream, _EXPIRES)
                pipe.xadd(self._told, {"symbols": told}, maxlen=LENGTH)
                pipe.expire(self._told, _EXPIRES)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            said = str(error) or f"no answer within {_PATIENCE:g} s"
            raise LiveError(f"FLOW_REDIS_URL: cannot publish: {said}") from error

    async def listen(
        self, symbols: Sequence[str] | None
    ) -> AsyncGenerator[list[ChannelMessage], None]:
        """See ``LiveChannel``."""
        wanted = None if symbols is None else set(symbols)
        try:
            # Not "$": it would be read anew by each call, and lose what came in between.
            newest = await self._client.xrevrange(self._told, count=1)
            cursor = newest[0][0] if newest else b"0-0"
            places: dict[str, bytes] = {}
            start = _just_before(cursor)
            yield []
            while True:
                # Shorter than the socket's own time-out, which would end the connection.
                found = await self._client.xread({self._told: cursor}, block=int(_QUIET * 1e3))
                if (task := asyncio.current_task()) and task.cancelling():
                    # Before Python 3.12, wait_for, which the client uses, may swallow it.
                    raise asyncio.CancelledError
                told: dict[str, int] = {}
                for _, entries in _pairs(found):
                    cursor = entries[-1][0]
                    for _, fields in entries:
                        told |= orjson.loads(fields[b"symbols"])
                if wanted is not None:
                    told = {symbol: n for symbol, n in told.items() if symbol in wanted}
                yield await self._read(told, places, start)
        except (RedisError, OSError, ValueError, KeyError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error

    async def _read(
        self, told: dict[str, int], places: dict[str, bytes], start: bytes
    ) -> list[ChannelMessage]:
        """What the streams of some symbols have beyond each one's place, which moves on."""
        if not told:
            return []
        names = {self._stream(symbol).encode(): symbol for symbol in told}
        changes: dict[str, tuple[Change, ...]] = {}
        # A hundred symbols land at once: whoever else runs here is not held up by all of them.
        symbols = list(told)
        for at in range(0, len(symbols), _AT_ONCE):
            part = symbols[at : at + _AT_ONCE]
            asked = {self._stream(symbol): places.get(symbol, start) for symbol in part}
            for stream, entries in _pairs(await self._client.xread(asked)):
                places[names[stream]] = entries[-1][0]
                changes[names[stream]] = tuple(
                    decode_change(fields[b"change"]) for _, fields in entries
                )
                await asyncio.sleep(0)
        return [
            ChannelMessage(symbol=symbol, revision=revision, changes=changes.get(symbol, ()))
            for symbol, revision in told.items()
        ]

    async def require_usable(self) -> None:
        """Raise ``LiveError`` for what no waiting mends: a password, or something else there.

        A server that is away may come back; nothing is said of it.
        """
        try:
            async with asyncio.timeout(2 * _PATIENCE):
                await self._client.xlen(self._told)
        except (RedisError, OSError, TimeoutError) as error:
            # What a server says to the first words of a connection comes as a lost connection.
            cause = error.__cause__ or error
            if isinstance(cause, AuthenticationError):
                said = f"the server wants another user or password: {error}"
            elif isinstance(cause, ResponseError):
                said = f"the server cannot be used: {error}"
            elif word := await self._foreign_word():
                said = f"what answers there is no Redis: {word!r}"
            else:
                return
            raise LiveError(f"FLOW_REDIS_URL: {said}") from None

    async def _foreign_word(self) -> str:
        """The first word of a server that speaks something else; empty if none does."""
        place = self._client.connection_pool.connection_kwargs
        if "host" not in place:
            return ""
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(place["host"], place["port"])
                writer.write(b"PING\r\n")
                word = await reader.read(40)
                writer.close()
        except (OSError, TimeoutError):
            return ""
        return "" if word.startswith((b"+", b"-")) else word.decode("ascii", "replace")

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel is away."""
        try:
            await self._client.ping()
        except (RedisError, OSError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error


def _pairs(found: Any) -> list[Any]:
    """Streams and entries of an answer, which is a list or a map, by the protocol's version."""
    if isinstance(found, dict):
        return [(stream, [e for part in parts for e in part]) for stream, parts in found.items()]
    return list(found or [])


def _just_before(entry: bytes) -> bytes:
    """A place before everything that the server added in the same millisecond as an entry."""
    millisecond = int(entry.split(b"-")[0])
    return b"%d-%d" % (millisecond - 1, 2**64 - 1) if millisecond else b"0-0"
