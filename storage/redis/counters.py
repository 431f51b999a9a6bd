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

#: Counts are asked for in the middle of a request: it waits no longer. A process that is short of
#: time itself must not take Redis for gone. [s]
_PATIENCE = 2.0
#: After a failure Redis is left alone for so long. [s]
_PAUSE = 5.0
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
class Usage:
    """The answer to one more request."""

    #: Requests that were granted today, this one included if it was.
    used: int
    granted: bool


@dataclass(slots=True)
class _Day:
    """What one process knows of a day's counts."""

    day: date = date.min
    used: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Question:
    """One request that waits for its count."""

    name: str
    day: date
    limit: int
    step: int
    known: dict[str, int]
    answer: asyncio.Future[Usage]


class Counters:
    """Daily counts on Redis or Valkey, under the dataset's prefix. Never raises.

    Requests that wait at the same time are counted in one exchange, in order.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._seen = _Day()
        self._waiting: list[_Question] = []
        self._asking: asyncio.Task[None] | None = None
        #: Redis is not asked before this reading of the monotonic clock; 0 while all is well.
        self._again = 0.0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncIterator[Counters]:
        """Counters by URL. The server may be away: it is asked when it is needed."""
        try:
            # Asked twice, a request would be counted twice: no retry.
            client: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=_PATIENCE,
                socket_timeout=_PATIENCE,
                retry=Retry(NoBackoff(), 0),
            )
            client.connection_pool.make_connection()
        except (ValueError, TypeError, RedisError):
            # The reason may repeat the password.
            raise LiveError("FLOW_REDIS_URL: not a URL that Redis can read") from None
        counters = cls(client, prefix)
        try:
            yield counters
        finally:
            if counters._asking:
                await counters._asking
            await client.aclose()

    async def take(self, name: str, day: date, limit: int | None) -> Usage:
        """Count one request of ``name`` on a day, unless the limit is reached; None is no limit.

        What has no limit waits for nothing: its ``used`` is what this process knows.
        """
        if limit is not None:
            return await self._ask(name, day, limit, 1)
        answer = self._ask(name, day, -1, 1)
        if answer.done():
            return answer.result()
        known = self._seen.used if day == self._seen.day else {}
        return Usage(known.get(name, 0) + 1, granted=True)

    async def used(self, name: str, day: date) -> int:
        """Requests of ``name`` that were granted on a day."""
        return (await self._ask(name, day, -1, 0)).used

    def _ask(self, name: str, day: date, limit: int, step: int) -> asyncio.Future[Usage]:
        if day > self._seen.day:
            self._seen = _Day(day)
        # A request that began just before midnight finds its day over: nothing is known of it.
        known = self._seen.used if day == self._seen.day else {}
        loop = asyncio.get_running_loop()
        question = _Question(name, day, limit, step, known, loop.create_future())
        # One exchange finds out whether Redis is back; the others do not wait for that.
        if time.monotonic() < self._again or (self._again and self._asking):
            question.answer.set_result(_here(known, name, limit, step))
            return question.answer
        self._waiting.append(question)
        if self._asking is None:
            self._asking = loop.create_task(self._exchange())
        return question.answer

    async def _exchange(self) -> None:
        """Ask for all that wait, until nobody does."""
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                async with asyncio.timeout(_PATIENCE):
                    answers = await self._asked(asked)
                if self._again:
                    log.info("counters are back")
                self._again = 0.0
            except Exception as error:  # Nobody may wait for ever.
                if not self._again:
                    said = str(error) or f"no answer within {_PATIENCE:g} s"
                    log.warning("counters are away, each process counts by itself", error=said)
                self._again = time.monotonic() + _PAUSE
                answers = [_here(q.known, q.name, q.limit, q.step) for q in asked]
            for question, taken in zip(asked, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(taken)
        self._asking = None

    async def _asked(self, questions: list[_Question]) -> list[Usage]:
        async with self._client.pipeline(transaction=False) as pipe:
            for q in questions:
                midnight = datetime(q.day.year, q.day.month, q.day.day, tzinfo=UTC)
                expires = int((midnight + timedelta(days=1) + _MARGIN).timestamp())
                key, least = f"{self._prefix}:used:{q.day}:{q.name}", q.known.get(q.name, 0)
                pipe.eval(_TAKE, 1, key, q.limit, least, q.step, expires)
            found = await pipe.execute()
        answers = [Usage(used, bool(granted)) for used, granted in found]
        for q, taken in zip(questions, answers, strict=True):
            q.known[q.name] = max(q.known.get(q.name, 0), taken.used)
        return answers


def _here(known: dict[str, int], name: str, limit: int, step: int) -> Usage:
    """What the script does, in this process."""
    used = known.get(name, 0)
    if limit >= 0 and used + step > limit:
        return Usage(used, granted=False)
    known[name] = used + step
    return Usage(used + step, granted=True)
