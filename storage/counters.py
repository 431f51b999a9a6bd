"""redis's other home: how often each caller has asked today.

Counts are exact over any number of processes: one script reads, decides and counts. While Redis
is away each process counts by itself, from the last count that it knows, and nobody is locked
out; what it counted is the least that Redis is told when it is back. So a Redis that has lost its
memory goes on where the process that knows most was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from storage.errors import LiveError

log = structlog.get_logger()

#: Counts are asked for in the middle of a request: it waits no longer. [s]
_PATIENCE = 0.5
#: After a failure Redis is left alone for so long. [s]
_PAUSE = 2.0
_CONNECTIONS = 32
#: A day's counts outlive it by so much: the clocks of two machines may differ.
_MARGIN = timedelta(hours=1)
#: KEYS: the counter. ARGV: limit (-1 for none), least count, 1 to count or 0 to look, expiry.
_TAKE = """
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[2]))
local limit, step = tonumber(ARGV[1]), tonumber(ARGV[3])
local granted = limit < 0 or used + step <= limit
if granted and step > 0 then
  used = used + step
  redis.call('SET', KEYS[1], string.format('%.0f', used))
  redis.call('EXPIREAT', KEYS[1], ARGV[4])
end
return {used, granted and 1 or 0}
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to one more request."""

    #: Requests that were granted today, this one included if it was.
    used: int
    granted: bool


@dataclass(slots=True)
class _Day:
    """What one process knows of a day's counts."""

    day: date = date.min
    used: dict[str, int] = field(default_factory=dict)


class Counters:
    """Daily counts on Redis or Valkey, under the dataset's prefix. Never raises."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._script = client.register_script(_TAKE)
        self._prefix = prefix
        self._seen = _Day()
        #: Redis is not asked before this reading of the monotonic clock; 0 while all is well.
        self._again = 0.0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncIterator[Counters]:
        """Counters by URL. The server may be away: it is asked when it is needed."""
        try:
            pool: Any = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_PATIENCE,
                socket_connect_timeout=_PATIENCE,
                socket_timeout=_PATIENCE,
                # Asked twice, a request would be counted twice.
                retry=Retry(NoBackoff(), 0),
            )
            pool.make_connection()
        except (ValueError, TypeError, RedisError):
            # The reason may repeat the password.
            raise LiveError("FLOW_REDIS_URL: not a URL that Redis can read") from None
        client: Any = redis.Redis.from_pool(pool)
        try:
            yield cls(client, prefix)
        finally:
            await client.aclose()

    async def take(self, name: str, day: date, limit: int | None) -> Taken:
        """Count one request of ``name`` on a day, unless the limit is reached; None is no limit."""
        return await self._ask(name, day, -1 if limit is None else limit, 1)

    async def used(self, name: str, day: date) -> int:
        """Requests of ``name`` that were granted on a day."""
        return (await self._ask(name, day, -1, 0)).used

    async def _ask(self, name: str, day: date, limit: int, step: int) -> Taken:
        if day > self._seen.day:
            self._seen = _Day(day)
        # A request that began just before midnight finds its day over: nothing is known of it.
        known = self._seen.used if day == self._seen.day else {}
        least = known.get(name, 0)
        now = time.monotonic()
        if now < self._again:
            return _here(known, name, limit, step)
        away = self._again > 0
        if away:
            # One request finds out whether it is back; the others do not wait for that.
            self._again = now + _PAUSE
        expires = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) + _MARGIN
        try:
            async with asyncio.timeout(_PATIENCE):
                used, granted = await self._script(
                    keys=[f"{self._prefix}:used:{day}:{name}"],
                    args=[limit, least, step, int(expires.timestamp())],
                )
        except (RedisError, OSError, TimeoutError) as error:
            if not self._again:
                said = str(error) or f"no answer within {_PATIENCE:g} s"
                log.warning("counters are away, each process counts by itself", error=said)
            self._again = time.monotonic() + _PAUSE
            return _here(known, name, limit, step)
        if away:
            log.info("counters are back")
            self._again = 0.0
        known[name] = max(known.get(name, 0), used)
        return Taken(used, bool(granted))


def _here(known: dict[str, int], name: str, limit: int, step: int) -> Taken:
    """What the script does, in this process."""
    used = known.get(name, 0)
    if limit >= 0 and used + step > limit:
        return Taken(used, granted=False)
    known[name] = used + step
    return Taken(used + step, granted=True)
