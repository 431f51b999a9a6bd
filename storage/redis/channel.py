"""The live channel: changes travel to readers as they are stored, over Redis or Valkey streams.

Each symbol has a stream with its changes, and one stream more names the symbols that have changed.
Every change is stored before it is published. So a lost channel costs freshness for a moment and
never a sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from storage.errors import LiveError, StoreError
from storage.record.row import Change
from storage.record.wire import decode_change, encode_change

#: How many changes a stream keeps, about an hour's. A reader further behind reads the store.
LENGTH = 128
#: A change with more rows and gaps, such as a backfill's, is not sent; only its revision is, and
#: readers get the change from the store.
_MAX_ITEMS = 32
#: How long publishing may take, so that a channel that hangs does not hold up a tick. [s]
_PATIENCE = 1.0
#: A stream that is not written to is deleted after this time. [s]
_EXPIRES = 3 * 86_400
#: How many streams are read in one request.
_STREAMS_PER_READ = 10
#: After so long without a message a listener yields an empty item. [s]
_QUIET = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage:
    """The news of one symbol: how far it is, and the changes that the channel has."""

    symbol: str
    #: The newest revision of the symbol.
    revision: int
    #: In order; there may be a hole before the first one, and it may be empty.
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """The state of a channel's server: version, memory, keys, and whether it takes writes."""

    version: str
    #: Memory in use, and the most that it may use, 0 without a limit. [bytes]
    used: int
    limit: int
    #: What it deletes when its memory is full, such as ``noeviction``.
    policy: str
    #: How many keys the channel has there, and how many channels of other databases there are.
    keys: int
    others: int
    #: Why it takes no writes; empty if it does.
    refusal: str


class LiveChannel(Protocol):
    """What a live channel does. Its failures raise ``LiveError``; nothing stored is affected."""

    async def publish(self, changes: Sequence[Change]) -> None:
        """Send changes, which are stored already, to all listeners.

        Parameters
        ----------
        changes : what was stored.

        Raises
        ------
        LiveError
            If the channel is away.
        """
        ...

    def listen(self, symbols: Sequence[str] | None) -> AsyncGenerator[list[ChannelMessage], None]:
        """Iterate over the messages of some symbols, or of all, published from now on.

        The first item is empty; whatever is published after it is received. Further empty items
        come while nothing is published.

        Parameters
        ----------
        symbols : the symbols; None for all.

        Yields
        ------
        list[ChannelMessage]
            Messages that came together; empty at the start and while nothing is published.

        Raises
        ------
        LiveError
            If the channel is away.
        """
        ...

    async def announce_waiting(
        self, owner: str, slots: Mapping[str, tuple[datetime, datetime]]
    ) -> None:
        """Say which slots wait in a sampler's spool, until it says otherwise.

        Parameters
        ----------
        owner : whose spool it is.
        slots : the first and the last waiting slot by symbol; empty if none waits.

        Raises
        ------
        LiveError
            If the channel is away.
        """
        ...

    async def waiting(self) -> dict[str, tuple[datetime, datetime]]:
        """Return the first and the last slot by symbol that wait in the spools of all samplers.

        Raises
        ------
        LiveError
            If the channel is away.
        """
        ...

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel does not answer."""
        ...


class NoChannel:
    """Stands for the live channel where there is none: publishing does nothing."""

    async def publish(self, changes: Sequence[Change]) -> None:
        """Do nothing: nobody listens.

        Parameters
        ----------
        changes : ignored.
        """

    def listen(self, symbols: Sequence[str] | None) -> AsyncGenerator[list[ChannelMessage], None]:
        """Refuse: there is no channel to listen to.

        Parameters
        ----------
        symbols : ignored.

        Returns
        -------
        AsyncGenerator
            Never; the call raises.

        Raises
        ------
        LiveError
            Always.
        """
        raise LiveError("there is no live channel")

    async def announce_waiting(
        self, owner: str, slots: Mapping[str, tuple[datetime, datetime]]
    ) -> None:
        """Do nothing: nobody listens.

        Parameters
        ----------
        owner, slots : ignored.
        """

    async def waiting(self) -> dict[str, tuple[datetime, datetime]]:
        """Return an empty dictionary: nobody announces anything."""
        return {}

    async def ping(self) -> None:
        """Raise ``LiveError`` always: this server runs without a live channel."""
        raise LiveError("there is no live channel")


class RedisChannel:
    """The live channel on Redis or Valkey, under the prefix of the dataset and its database."""

    def __init__(
        self, client: Any, prefix: str, identify: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        self._client = client
        self._dataset_prefix = self._prefix = prefix
        #: Asks for the database's identity; None once it is in the prefix, or where there is none.
        self._identify = identify

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, prefix: str, identify: Callable[[], Awaitable[str]] | None = None
    ) -> AsyncGenerator[RedisChannel, None]:
        """Open a channel by URL. No connection is made yet, so the server may be away.

        Parameters
        ----------
        url : of the server.
        prefix : what its keys begin with, such as ``flow:live``.
        identify : returns the identity of the database, which follows the prefix: the channels of
            two databases on one server do not mix. It is asked once, when the channel is first
            used; nothing follows if left out.

        Yields
        ------
        RedisChannel
            The channel; it closes with the block.

        Raises
        ------
        LiveError
            If the URL cannot be read.
        """
        try:
            # The library's types depend on the protocol version, hence Any.
            client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=2,
                socket_timeout=10,
                # One retry, for a connection that has died while it was idle.
                retry=Retry(NoBackoff(), 1),
            )
            # Only a connection object reads the options. This one is not connected.
            client.connection_pool.make_connection()
        except (ValueError, TypeError, RedisError):
            # The library's message may repeat the password.
            raise LiveError("FLOW_REDIS_URL: not a URL that Redis can read") from None
        try:
            yield cls(client, prefix, identify)
        finally:
            await client.aclose()

    @property
    def _index(self) -> str:
        """The stream that names the symbols that have changed."""
        return f"{self._prefix}:changes"

    def _stream(self, symbol: str) -> str:
        return f"{self._prefix}:changes:{symbol}"

    async def _find_prefix(self) -> None:
        """Learn whose channel this is, before anything is read or written."""
        if self._identify is not None:
            try:
                identity = await self._identify()
            except StoreError as error:
                raise LiveError(f"whose channel this is cannot be read yet: {error}") from error
            self._prefix = f"{self._dataset_prefix}:{identity}"
            self._identify = None

    async def publish(self, changes: Sequence[Change]) -> None:
        """Send changes to all listeners in one transaction.

        Parameters
        ----------
        changes : what was stored.

        Raises
        ------
        LiveError
            If the server is away or too slow.
        """
        if not changes:
            return
        revisions = orjson.dumps({change.symbol: change.revision for change in changes})
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                self._client.pipeline(transaction=True) as pipe,
            ):
                await self._find_prefix()
                for change in changes:
                    if len(change.rows) + len(change.gaps) <= _MAX_ITEMS:
                        stream = self._stream(change.symbol)
                        pipe.xadd(stream, {"change": encode_change(change)}, maxlen=LENGTH)
                        pipe.expire(stream, _EXPIRES)
                pipe.xadd(self._index, {"symbols": revisions}, maxlen=LENGTH)
                pipe.expire(self._index, _EXPIRES)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_PATIENCE:g} s"
            raise LiveError(f"FLOW_REDIS_URL: cannot publish: {reason}") from error

    async def listen(
        self, symbols: Sequence[str] | None
    ) -> AsyncGenerator[list[ChannelMessage], None]:
        """Iterate over messages as ``LiveChannel.listen`` promises.

        Parameters
        ----------
        symbols : the symbols; None for all.

        Yields
        ------
        list[ChannelMessage]
            Messages that came together; empty at the start and while nothing is published.

        Raises
        ------
        LiveError
            If the server is away.
        """
        selection = None if symbols is None else set(symbols)
        await self._find_prefix()
        try:
            # Not "$": each call would start at the newest entry and lose those since the last call.
            newest = await self._client.xrevrange(self._index, count=1)
            cursor = newest[0][0] if newest else b"0-0"
            places: dict[str, bytes] = {}
            start = _just_before(cursor)
            yield []
            while True:
                # The block must be shorter than the socket's timeout, which closes the connection.
                answer = await self._client.xread({self._index: cursor}, block=int(_QUIET * 1e3))
                if (task := asyncio.current_task()) and task.cancelling():
                    # Before Python 3.12, wait_for in the client may swallow the cancellation.
                    raise asyncio.CancelledError
                revisions: dict[str, int] = {}
                for _, entries in _pairs(answer):
                    cursor = entries[-1][0]
                    for _, fields in entries:
                        revisions |= orjson.loads(fields[b"symbols"])
                if selection is not None:
                    revisions = {
                        symbol: n for symbol, n in revisions.items() if symbol in selection
                    }
                yield await self._read(revisions, places, start)
        except (RedisError, OSError, ValueError, KeyError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error

    async def _read(
        self, revisions: dict[str, int], places: dict[str, bytes], start: bytes
    ) -> list[ChannelMessage]:
        """Read the streams of some symbols from their places on, and move the places."""
        if not revisions:
            return []
        names = {self._stream(symbol).encode(): symbol for symbol in revisions}
        changes: dict[str, tuple[Change, ...]] = {}
        # A tick may change hundreds of symbols. Other tasks get their turn between the requests.
        symbols = list(revisions)
        for start_index in range(0, len(symbols), _STREAMS_PER_READ):
            batch = symbols[start_index : start_index + _STREAMS_PER_READ]
            places_of_batch = {self._stream(symbol): places.get(symbol, start) for symbol in batch}
            for stream, entries in _pairs(await self._client.xread(places_of_batch)):
                places[names[stream]] = entries[-1][0]
                changes[names[stream]] = tuple(
                    decode_change(fields[b"change"]) for _, fields in entries
                )
                await asyncio.sleep(0)
        return [
            ChannelMessage(symbol=symbol, revision=revision, changes=changes.get(symbol, ()))
            for symbol, revision in revisions.items()
        ]

    async def announce_waiting(
        self, owner: str, slots: Mapping[str, tuple[datetime, datetime]]
    ) -> None:
        """Say which slots wait in a sampler's spool, as ``LiveChannel.announce_waiting`` promises.

        Parameters
        ----------
        owner : whose spool it is.
        slots : the first and the last waiting slot by symbol; empty if none waits.

        Raises
        ------
        LiveError
            If the server is away or too slow.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._find_prefix()
                name = f"{self._prefix}:spooled"
                if slots:
                    await self._client.hset(name, owner, orjson.dumps(slots))
                    await self._client.expire(name, _EXPIRES)
                else:
                    await self._client.hdel(name, owner)
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveError(f"FLOW_REDIS_URL: cannot announce: {error}") from error

    async def waiting(self) -> dict[str, tuple[datetime, datetime]]:
        """Return the waiting slots by symbol, as ``LiveChannel.waiting`` promises.

        Raises
        ------
        LiveError
            If the server is away or too slow.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._find_prefix()
                spools = await self._client.hvals(f"{self._prefix}:spooled")
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error
        slots: dict[str, tuple[datetime, datetime]] = {}
        for spool in spools:
            for symbol, (first, last) in orjson.loads(spool).items():
                span = datetime.fromisoformat(first), datetime.fromisoformat(last)
                known = slots.get(symbol, span)
                slots[symbol] = min(known[0], span[0]), max(known[1], span[1])
        return slots

    async def require_usable(self) -> None:
        """Refuse a server that waiting will not make usable; one that is away may come back.

        Raises
        ------
        LiveError
            If the server wants another user or password, lacks the database, or is no Redis.
        """
        try:
            async with asyncio.timeout(2 * _PATIENCE):
                await self._client.xlen(f"{self._dataset_prefix}:changes")
        except (RedisError, OSError, TimeoutError) as error:
            # The library reports an error during the handshake as a lost connection, with a cause.
            cause = error.__cause__ or error
            if isinstance(cause, AuthenticationError):
                reason = f"the server wants another user or password: {error}"
            elif isinstance(cause, ResponseError):
                reason = f"the server cannot be used: {error}"
            elif foreign_word := await self._foreign_word():
                reason = f"what answers there is no Redis: {foreign_word!r}"
            else:
                return
            raise LiveError(f"FLOW_REDIS_URL: {reason}") from None

    async def _foreign_word(self) -> str:
        """Return how a server answers that does not speak the Redis protocol; "" if it does."""
        place = self._client.connection_pool.connection_kwargs
        if "host" not in place:
            return ""
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(place["host"], place["port"])
                try:
                    writer.write(b"PING\r\n")
                    foreign_word = await reader.read(40)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return ""
        speaks_redis = foreign_word.startswith((b"+", b"-"))
        return "" if speaks_redis else foreign_word.decode("ascii", "replace")

    async def ping(self) -> None:
        """Raise ``LiveError`` if the channel does not answer."""
        try:
            await self._client.ping()
        except (RedisError, OSError) as error:
            raise LiveError(f"FLOW_REDIS_URL: the live channel is away: {error}") from error

    async def health(self) -> ChannelHealth:
        """Return how the server is; a key is written and deleted to find out.

        Raises
        ------
        LiveError
            If the server does not answer.
        """
        await self._find_prefix()
        probe = f"{self._prefix}:probe"
        refusal = ""
        try:
            memory = await self._client.info("memory")
            server = await self._client.info("server")
            try:
                await self._client.set(probe, b"1", px=5_000)
                await self._client.delete(probe)
            except ResponseError as error:
                refusal = str(error)
            pattern = f"{self._dataset_prefix}:*"
            names = [name.decode() async for name in self._client.scan_iter(pattern, count=500)]
        except (RedisError, OSError) as error:
            raise LiveError(f"FLOW_REDIS_URL: {error}") from error
        return ChannelHealth(
            version=str(server.get("redis_version", "?")),
            used=int(memory["used_memory"]),
            limit=int(memory.get("maxmemory", 0)),
            policy=str(memory.get("maxmemory_policy", "noeviction")),
            keys=sum(name.startswith(f"{self._prefix}:") for name in names),
            others=len(
                {name.removesuffix(":changes") for name in names if name.endswith(":changes")}
                - {self._prefix}
            ),
            refusal=refusal,
        )


def _pairs(answer: Any) -> list[Any]:
    """Return streams with their entries; by protocol version they come as a list or as a map."""
    if isinstance(answer, dict):
        return [(stream, [e for batch in parts for e in batch]) for stream, parts in answer.items()]
    return list(answer or [])


def _just_before(entry: bytes) -> bytes:
    """Return the stream id before all entries of the same millisecond as an entry."""
    millisecond = int(entry.split(b"-")[0])
    return b"%d-%d" % (millisecond - 1, 2**64 - 1) if millisecond else b"0-0"
