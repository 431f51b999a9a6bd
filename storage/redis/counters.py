"""Count the requests of each caller and day, over any number of processes, in Redis or Valkey.

One script reads the count, decides and counts, so the limit is exact. While Redis is away, each
process counts by itself from the last count that it knows, and nobody is locked out. When Redis is
back, it takes the highest count that a process brings, also if it has lost its own.
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

#: How long a request waits for Redis to count it; long enough that a busy process does not take
#: Redis for unreachable. [s]
_PATIENCE = 2.0
#: After a failure Redis is not asked for so long. [s]
_PAUSE = 5.0
#: Counts stay this long after the end of their day, because clocks of machines differ.
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
class RequestCount:
    """How many requests a caller has used on a day, and whether this one is granted."""

    #: Requests granted on the day; with this one, if it is granted.
    used: int
    granted: bool


@dataclass(slots=True)
class _Day:
    """The counts of one day that this process knows."""

    day: date = date.min
    used: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _PendingCount:
    """One request that waits for its count."""

    name: str
    day: date
    limit: int
    step: int
    known: dict[str, int]
    answer: asyncio.Future[RequestCount]


class Counters:
    """Daily counts on Redis or Valkey, under the dataset's prefix.

    Counting never raises. Requests that wait at the same time are counted in one round trip, in
    order.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._today = _Day()
        self._waiting: list[_PendingCount] = []
        self._exchanging: asyncio.Task[None] | None = None
        #: Redis is not asked before this time of the monotonic clock; 0 while it answers. [s]
        self._retry_at = 0.0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncIterator[Counters]:
        """Open counters by URL. No connection is made yet, so the server may be away.

        Parameters
        ----------
        url : of the server.
        prefix : what its keys begin with.

        Yields
        ------
        Counters
            The counters; the connection closes with the block.

        Raises
        ------
        LiveError
            If the URL cannot be read.
        """
        try:
            # No retry: it could count a request twice.
            client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=_PATIENCE,
                socket_timeout=_PATIENCE,
                retry=Retry(NoBackoff(), 0),
            )
            client.connection_pool.make_connection()
        except (ValueError, TypeError, RedisError):
            # The library's message may repeat the password.
            raise LiveError("FLOW_REDIS_URL: not a URL that Redis can read") from None
        counters = cls(client, prefix)
        try:
            yield counters
        finally:
            if counters._exchanging:
                await counters._exchanging
            await client.aclose()

    async def take(self, name: str, day: date, limit: int | None) -> RequestCount:
        """Count one request, unless the limit is reached.

        Parameters
        ----------
        name : the caller.
        day : the day on which it is counted.
        limit : how many requests are granted a day; None for any number. Without a limit the call
            does not wait for Redis, and ``used`` is what this process knows.

        Returns
        -------
        RequestCount
            How many requests the caller has made that day, and whether this one is granted.
        """
        if limit is not None:
            return await self._enqueue(name, day, limit, 1)
        answer = self._enqueue(name, day, -1, 1)
        if answer.done():
            return answer.result()
        known = self._today.used if day == self._today.day else {}
        return RequestCount(known.get(name, 0) + 1, granted=True)

    async def used(self, name: str, day: date) -> int:
        """Return how many requests of a caller were granted on a day.

        Parameters
        ----------
        name : the caller.
        day : the day on which they are counted.

        Returns
        -------
        int
            The number of requests.
        """
        return (await self._enqueue(name, day, -1, 0)).used

    def _enqueue(self, name: str, day: date, limit: int, step: int) -> asyncio.Future[RequestCount]:
        if day > self._today.day:
            self._today = _Day(day)
        # A request that began just before midnight may come when the counts of its day are gone.
        known = self._today.used if day == self._today.day else {}
        loop = asyncio.get_running_loop()
        question = _PendingCount(name, day, limit, step, known, loop.create_future())
        # One round trip finds out whether Redis is back. The other requests do not wait for it.
        if time.monotonic() < self._retry_at or (self._retry_at and self._exchanging):
            question.answer.set_result(_count_here(known, name, limit, step))
            return question.answer
        self._waiting.append(question)
        if self._exchanging is None:
            self._exchanging = loop.create_task(self._exchange())
        return question.answer

    async def _exchange(self) -> None:
        """Count what waits, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                async with asyncio.timeout(_PATIENCE):
                    answers = await self._count_in_redis(batch)
                if self._retry_at:
                    log.info("counters are back")
                self._retry_at = 0.0
            except Exception as error:  # Whatever goes wrong, each request must get an answer.
                if not self._retry_at:
                    reason = str(error) or f"no answer within {_PATIENCE:g} s"
                    log.warning("counters are away, each process counts by itself", error=reason)
                self._retry_at = time.monotonic() + _PAUSE
                answers = [_count_here(q.known, q.name, q.limit, q.step) for q in batch]
            for question, taken in zip(batch, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(taken)
        self._exchanging = None

    async def _count_in_redis(self, questions: list[_PendingCount]) -> list[RequestCount]:
        async with self._client.pipeline(transaction=False) as pipe:
            for q in questions:
                midnight = datetime(q.day.year, q.day.month, q.day.day, tzinfo=UTC)
                expires = int((midnight + timedelta(days=1) + _MARGIN).timestamp())
                key, least = f"{self._prefix}:used:{q.day}:{q.name}", q.known.get(q.name, 0)
                pipe.eval(_TAKE, 1, key, q.limit, least, q.step, expires)
            results = await pipe.execute()
        answers = [RequestCount(used, bool(granted)) for used, granted in results]
        for q, taken in zip(questions, answers, strict=True):
            q.known[q.name] = max(q.known.get(q.name, 0), taken.used)
        return answers


def _count_here(known: dict[str, int], name: str, limit: int, step: int) -> RequestCount:
    """Count in this process, as the script does in Redis."""
    used = known.get(name, 0)
    if limit >= 0 and used + step > limit:
        return RequestCount(used, granted=False)
    known[name] = used + step
    return RequestCount(used + step, granted=True)
