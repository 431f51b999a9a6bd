"""Two installations on one Redis: neither hears the other, whatever their datasets are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import psycopg
import pytest
import redis

from storage.changefeed import follow_changes
from storage.errors import LiveError, StoreUnavailable
from storage.postgres.store import Store
from storage.record.row import Change
from storage.redis.channel import RedisChannel
from tests.api.rows import record, utc
from tests.storage.redis.test_channel import redis_server

__all__ = ["redis_server"]


@pytest.fixture(params=["valkey", "redis-server"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of an empty server."""
    if request.param == "valkey":
        server = request.getfixturevalue("servers").redis_url
    else:
        server = request.getfixturevalue("redis_server")
    with closing(redis.Redis.from_url(server)) as client:
        client.flushall()
    return server


@asynccontextmanager
async def installation(database: str, url: str) -> AsyncIterator[tuple[Store, RedisChannel]]:
    async with (
        Store.open(database, "live", size=2) as store,
        RedisChannel.open(url, "flow:live", store.identity) as channel,
    ):
        yield store, channel


async def test_neither_hears_the_other(url: str, database: str, second_database: str) -> None:
    """SPY of both: each follower gets its own rows alone, by its channel and not by a poll."""
    heard: dict[str, list[Change]] = {"a": [], "b": []}

    async def follow(name: str, store: Store, channel: RedisChannel) -> None:
        async for change in follow_changes(store, channel, {}):
            heard[name].append(change)

    async with (
        installation(database, url) as a,
        installation(second_database, url) as b,
        asyncio.timeout(30),
    ):
        following = [asyncio.create_task(follow(n, *i)) for n, i in (("a", a), ("b", b))]
        await asyncio.sleep(0.5)
        # Three rows of one, one of the other: with one channel for both, b would jump to a's cursor.
        for minute in (0, 1, 2):
            changes = (await a[0].write([record(utc(f"14:0{minute}"))])).changes
            await a[1].publish(changes)
        await b[1].publish((await b[0].write([record(utc("15:00"))])).changes)
        while len(heard["a"]) < 3 or not heard["b"]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        for task in following:
            task.cancel()
        with closing(redis.Redis.from_url(url)) as client:
            names = {name.decode().rsplit(":", 2)[0] for name in client.keys("flow:*:SPY")}
        identities = {await i[0].identity() for i in (a, b)}
    slots = {name: [row.slot for c in got for _, row in c.rows] for name, got in heard.items()}
    assert slots == {"a": [utc("14:00"), utc("14:01"), utc("14:02")], "b": [utc("15:00")]}
    assert names == {f"flow:live:{identity}" for identity in identities}
    assert len(identities) == 2


async def test_an_identity_is_the_databases(database: str, second_database: str) -> None:
    """Each process reads the same one, with any role; a copy has another."""
    async with Store.open(database, "live") as live, Store.open(database, "synthetic") as same:
        identity = await live.identity()
        assert await same.identity() == identity
        assert len(identity) == 12
    async with Store.open(second_database, "live") as other:
        assert await other.identity() != identity
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop role if exists identity_reader")
        admin.execute("create role identity_reader login")
        admin.execute("grant usage on schema live to identity_reader")
        admin.execute("grant select on all tables in schema live to identity_reader")
    as_reader = database.replace("postgres@", "identity_reader@")
    assert as_reader != database
    async with Store.open(as_reader, "live", size=1) as reader:
        assert await reader.identity() == identity
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop owned by identity_reader; drop role identity_reader")


async def test_a_database_that_is_away(url: str) -> None:
    """As long as nobody can say whose channel it is, nothing is read from it or written to it."""

    async def away() -> str:
        raise StoreUnavailable("gone")

    async with RedisChannel.open(url, "flow:live", away) as channel:
        with pytest.raises(LiveError, match="whose channel"):
            await anext(channel.listen(None))
    with closing(redis.Redis.from_url(url)) as client:
        assert client.keys("*") == []
