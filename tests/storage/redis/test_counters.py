"""Daily counts: exact over several processes' worth of clients, and what happens without Redis."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import date
from typing import Any

import fakeredis
import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

from storage.embedded.attach import Servers
from storage.errors import LiveError
from storage.redis import counters as module
from storage.redis.counters import Counters, RequestCount

#: Counters of days that are over by this machine's clock end at once.
DAY, NEXT = date(2099, 6, 5), date(2099, 6, 6)


@pytest.fixture(params=["valkey", "fakeredis"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A client of the real server, and of its stand-in; keys of this test are its own."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield fake
        return
    servers: Servers = request.getfixturevalue("servers")
    async with redis.Redis.from_url(servers.redis_url) as real:
        yield real
        async for key in real.scan_iter(f"{prefix()}:*"):
            await real.delete(key)


def prefix() -> str:
    return f"test-{os.getpid()}"


async def test_counts_up_to_the_limit(client: Any) -> None:
    """Each request counts one; at the limit no more are granted, and those do not count."""
    counters = Counters(client, prefix())
    taken = [await counters.take("a", DAY, 2) for _ in range(4)]
    assert taken == [
        RequestCount(1, True),
        RequestCount(2, True),
        RequestCount(2, False),
        RequestCount(2, False),
    ]
    assert await counters.used("a", DAY) == 2
    # A plan that was raised in the middle of the day is not charged for what was refused.
    assert await counters.take("a", DAY, 3) == RequestCount(3, True)
    assert await counters.take("a", DAY, None) == RequestCount(4, True)
    assert await counters.take("a", DAY, 0) == RequestCount(4, False)


async def test_callers_and_days_are_apart(client: Any) -> None:
    """Another caller has a count of its own, and so has another day."""
    counters = Counters(client, prefix())
    assert await counters.take("a", DAY, 1) == RequestCount(1, True)
    assert await counters.take("b", DAY, 1) == RequestCount(1, True)
    assert await counters.take("a", NEXT, 1) == RequestCount(1, True)
    assert [await counters.used(n, d) for n, d in (("a", DAY), ("a", NEXT), ("c", DAY))] == [
        1,
        1,
        0,
    ]


async def test_no_limit_waits_for_nothing(client: Any) -> None:
    """What has no limit is granted at once, and counted all the same."""
    counters = Counters(client, prefix())
    for _ in range(5):
        taking = counters.take("a", DAY, None)
        with pytest.raises(StopIteration) as done:
            taking.send(None)
        assert done.value.value.granted
    assert await counters.used("a", DAY) == 5


async def test_counts_end_by_themselves(client: Any) -> None:
    """A day's counter is gone an hour after the day."""
    await Counters(client, prefix()).take("a", DAY, 5)
    [key] = [key async for key in client.scan_iter(f"{prefix()}:*")]
    assert key.decode() == f"{prefix()}:used:2099-06-05:a"
    assert await client.expiretime(key) == 4084390800


@pytest.mark.clocked
async def test_exact_over_many_processes(servers: Servers) -> None:
    """300 requests at once through three sets of connections: the limit to the request."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(Counters.open(servers.redis_url, f"{prefix()}-many"))
            for _ in range(3)
        ]
        requests = [opened[i % 3].take("a", date(2099, 1, 1), 120) for i in range(300)]
        taken = await asyncio.gather(*requests)
        assert sorted(t.used for t in taken if t.granted) == list(range(1, 121))
        assert {t.used for t in taken if not t.granted} == {120}
    async with redis.Redis.from_url(servers.redis_url) as client:
        await client.delete(f"{prefix()}-many:used:2099-01-01:a")


class Switched:
    """A server that can be away, or silent; asked tells how often it was tried."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.state = "there"
        self.commands = 0

    def pipeline(self, *, transaction: bool) -> Any:
        pipe = self._client.pipeline(transaction=transaction)
        really = pipe.execute

        async def execute() -> Any:
            self.commands += 1
            if self.state == "away":
                raise redis.ConnectionError("refused")
            if self.state == "silent":
                await asyncio.sleep(60)
            return await really()

        pipe.execute = execute
        return pipe


@pytest.mark.parametrize("state", ["away", "silent"])
async def test_away(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis it counts on by itself and leaves Redis alone for a while; then it tells."""
    monkeypatch.setattr(module, "_PATIENCE", 0.02)
    monkeypatch.setattr(module, "_PAUSE", 0.1)
    async with fakeredis.FakeAsyncRedis() as fake:
        server = Switched(fake)
        counters = Counters(server, "t")
        assert await counters.take("a", DAY, 5) == RequestCount(1, True)
        server.state = state
        with capture_logs() as lines:
            taken = [await counters.take("a", DAY, 3) for _ in range(4)]
            assert taken == [
                RequestCount(2, True),
                RequestCount(3, True),
                RequestCount(3, False),
                RequestCount(3, False),
            ]
            assert server.commands == 2
            server.state = "there"
            await asyncio.sleep(0.11)
            # Redis knew of one; what was counted meanwhile is not forgotten.
            assert await counters.take("a", DAY, 5) == RequestCount(4, True)
        assert await Counters(fake, "t").used("a", DAY) == 4
        events = [line["event"] for line in lines]
        assert events == ["counters are away, each process counts by itself", "counters are back"]


async def test_many_at_once_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that find it gone at the same moment are counted each, and that is said once."""
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    async with fakeredis.FakeAsyncRedis() as fake:
        server = Switched(fake)
        server.state = "silent"
        counters = Counters(server, "t")
        with capture_logs() as lines:
            taken = await asyncio.gather(*(counters.take("a", DAY, 20) for _ in range(50)))
        assert sorted(t.used for t in taken if t.granted) == list(range(1, 21))
        assert len(lines) == 1


async def test_nothing_is_lost_at_the_end(servers: Servers) -> None:
    """Counts that nobody waited for are there when the counters are closed."""
    name = f"{prefix()}-end"
    async with Counters.open(servers.redis_url, name) as counters:
        for _ in range(7):
            await counters.take("a", DAY, None)
    async with redis.Redis.from_url(servers.redis_url) as client:
        assert await client.getdel(f"{name}:used:{DAY}:a") == b"7"


async def test_nobody_there() -> None:
    """Without a server at all, and with one that takes connections and says nothing, it counts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_PATIENCE", 0.2)
            async with Counters.open(f"redis://127.0.0.1:{port}/0", "t") as counters:
                assert await counters.take("a", DAY, 1) == RequestCount(1, True)
                assert await counters.take("a", DAY, 1) == RequestCount(1, False)
    async with Counters.open(f"redis://127.0.0.1:{port}/0", "t") as counters:
        assert await counters.take("a", DAY, 1) == RequestCount(1, True)
        assert await counters.take("a", DAY, 1) == RequestCount(1, False)


async def test_lost_memory() -> None:
    """A Redis that restarts empty goes on from the count that a process knows."""
    async with fakeredis.FakeAsyncRedis() as fake:
        counters = Counters(fake, "t")
        for _ in range(3):
            await counters.take("a", DAY, 5)
        await fake.flushall()
        assert await counters.used("a", DAY) == 3
        assert await counters.take("a", DAY, 5) == RequestCount(4, True)


async def test_the_day_before() -> None:
    """A request that began just before midnight is counted on its own day."""
    async with fakeredis.FakeAsyncRedis() as fake:
        counters = Counters(fake, "t")
        await counters.take("a", NEXT, 5)
        assert await counters.take("a", DAY, 5) == RequestCount(1, True)
        assert await counters.used("a", NEXT) == 1


@pytest.mark.parametrize("url", ["redis://:secret@[", "redis://x:port/0", "http://x"])
async def test_no_url(url: str) -> None:
    """What is no URL is said without repeating it: it may hold a password."""
    with pytest.raises(LiveError, match="FLOW_REDIS_URL: not a URL") as raised:
        async with Counters.open(url, "t"):
            pass
    assert "secret" not in str(raised.value)
