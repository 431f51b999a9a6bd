"""What dies while rows are stored and followed: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from factories import DAY, at, gap, record
from supervised_servers import SupervisedServers, socket_proxy, supervised_servers

from storage import changefeed as following
from storage.changefeed import follow_changes
from storage.errors import LiveError, StoreError, StoreFull, StoreUnavailable
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.row import Change
from storage.redis.channel import RedisChannel

PATIENCE = 60


@pytest.fixture(scope="module")
def own() -> Iterator[SupervisedServers]:
    """Servers that may be killed."""
    with supervised_servers() as servers:
        yield servers


@pytest.fixture
async def url(own) -> str:
    """A fresh live dataset on them."""
    await until(lambda: migrate(own.database_url, "live"))
    with psycopg.connect(own.database_url, autocommit=True) as connection:
        connection.execute("drop schema live cascade")
    await migrate(own.database_url, "live")
    return own.database_url


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(following, "_POLL", 0.05)
    monkeypatch.setattr(following, "_RECONCILE", 0.5)
    monkeypatch.setattr("storage.redis.channel._QUIET", 0.3)


async def until(work: Callable[[], Any]) -> Any:
    """Try until the servers are back."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreError, LiveError, psycopg.OperationalError):
                return await work()
            await asyncio.sleep(0.05)


class Follower:
    """What a follower has got, in order."""

    def __init__(self, store: Store, live: RedisChannel) -> None:
        self.got: list[Change] = []
        self.task = asyncio.create_task(self._run(store, live))

    async def _run(self, store: Store, live: RedisChannel) -> None:
        async with aclosing(follow_changes(store, live, {})) as changes:
            async for change in changes:
                self.got.append(change)

    async def has(self, store: Store, symbols: list[str], steps: int) -> None:
        """Wait for the end; every row came once, in the store's order, none is missing."""
        heads = await until(store.heads)
        async with asyncio.timeout(PATIENCE):
            while {c.symbol: c.revision for c in self.got} != heads:
                assert not self.task.done(), self.task
                await asyncio.sleep(0.05)
        self.task.cancel()
        await asyncio.wait([self.task])
        for symbol in symbols:
            mine = [change for change in self.got if change.symbol == symbol]
            assert [c.after for c in mine] == [0, *(c.revision for c in mine[:-1])]
            assert [r.slot for c in mine for _, r in c.rows] == [at(i) for i in range(steps)]
            (whole,) = await store.changes({symbol: 0})
            assert [r for c in mine for r in c.rows] == list(whole.rows)
            assert [g for c in mine for g in c.gaps] == list(whole.gaps)


async def sample(
    store: Store, live: RedisChannel, symbols: list[str], steps: int, faults: dict[int, Any]
) -> None:
    """Store and publish a session's beginning; a write that fails is tried until it succeeds."""
    for step in range(steps):
        batch = [record(symbol=symbol, slot=at(step), spot=1.0 + step) for symbol in symbols]
        fault = faults.get(step)
        strikes = asyncio.create_task(_soon(fault)) if fault else None
        written = await until(lambda: store.write(batch, [gap(500 + step)]))  # noqa: B023
        with suppress(LiveError):
            await live.publish(written.changes)
        if strikes:
            await strikes
        await asyncio.sleep(0.01)


async def _soon(fault: Callable[[], None]) -> None:
    await asyncio.sleep(0.002)
    fault()


async def test_database_killed(own, url):
    """kill -9 in the middle of writing, three times: rows land once, and are followed once."""
    symbols = ["SPX", "SPY", "QQQ"]
    async with (
        Store.open(url, "live") as store,
        RedisChannel.open(own.redis_url, "flow:killed") as live,
    ):
        follower = Follower(store, live)
        await sample(store, live, symbols, 24, {6: own.kill_database, 14: own.kill_database})
        await follower.has(store, symbols, 24)


async def test_killed_within_a_transaction(own, url):
    """What a transaction had written when the server died is not there; the next one is whole."""
    async with Store.open(url, "live") as store:
        await store.write([record(slot=at(0))])
        # The lock's own connection dies with the server.
        with suppress(psycopg.OperationalError), psycopg.connect(url) as other:
            other.execute("lock table live.chains in access exclusive mode")
            writing = asyncio.create_task(store.write([record(slot=at(i)) for i in (1, 2)]))
            query = (
                "select count(*) from pg_stat_activity"
                " where wait_event_type = 'Lock' and query like '%chains%'"
            )
            with psycopg.connect(url, autocommit=True) as watch:
                while watch.execute(query).fetchone() == (0,):
                    assert not writing.done()
                    await asyncio.sleep(0.02)
            own.kill_database()
            with pytest.raises(StoreUnavailable):
                await writing
        assert await until(lambda: store.slots("SPX", DAY)) == [at(0)]
        assert (await store.heads())["SPX"] == 1
        (change,) = (await store.write([record(slot=at(i)) for i in (1, 2)])).changes
        assert (change.after, len(change.rows)) == (1, 2)
        for table in ("rows", "profiles", "chains"):
            with psycopg.connect(url) as connection:
                assert connection.execute(f"select count(*) from live.{table}").fetchone() == (3,)


async def test_redis_killed_and_emptied(own, url):
    """kill -9, and an emptied server: samples are stored all the same, and followed once."""
    symbols = ["SPX", "SPY"]

    def emptied() -> None:
        import redis
        from redis.backoff import ConstantBackoff
        from redis.retry import Retry

        # It may be on its way back from the kill before.
        patient = Retry(ConstantBackoff(0.05), 400)
        with redis.Redis.from_url(own.redis_url, retry=patient) as client:
            client.flushall()

    async with (
        Store.open(url, "live") as store,
        RedisChannel.open(own.redis_url, "flow:redis") as live,
    ):
        follower = Follower(store, live)
        faults = {5: own.kill_redis, 15: emptied, 16: emptied, 25: own.kill_redis, 29: emptied}
        await sample(store, live, symbols, 30, faults)
        await follower.has(store, symbols, 30)


async def test_connections_cut(own, url):
    """A network that cuts everything now and then costs tries, no row and no double."""
    symbols = ["SPX", "SPY"]
    async with (
        socket_proxy(own.sockets / ".s.PGSQL.5432") as to_database,
        socket_proxy(own.sockets / "valkey.sock") as to_redis,
        Store.open(f"postgresql://postgres@127.0.0.1:{to_database.port}/flow", "live") as store,
        RedisChannel.open(f"redis://127.0.0.1:{to_redis.port}", "flow:cut") as live,
    ):
        follower = Follower(store, live)
        faults: dict[int, Any] = dict.fromkeys(range(3, 30, 6), to_database.cut)
        faults |= dict.fromkeys(range(5, 30, 6), to_redis.cut)
        await sample(store, live, symbols, 30, faults)
        await follower.has(store, symbols, 30)


@pytest.fixture
def small_disk(own, url) -> Iterator[Path]:
    """The chains' table on a disk of its own, of 8 MB."""
    folder = Path(tempfile.mkdtemp(prefix="flow-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        shutil.rmtree(folder)
        pytest.skip("a small disk cannot be mounted here: that takes root")
    space = folder / "space"
    space.mkdir()
    owner = (own.folder / "pgdata").stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    space.chmod(0o700)
    try:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"create tablespace small location '{space}'")
            admin.execute("alter table live.chains set tablespace small")
        yield folder
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("drop schema live cascade")
            admin.execute("checkpoint")
            admin.execute("drop tablespace small")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder)


async def test_disk_full(small_disk, url):
    """A disk that is really full: said so, nothing of the batch is there, and then all of it."""
    async with Store.open(url, "live") as store:
        await store.write([record(slot=at(0))])
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 7_000_000)
        batch = [record(slot=at(i), evidence=os.urandom(200_000)) for i in range(1, 9)]
        with pytest.raises(StoreFull, match="no room left"):
            await store.write(batch)
        assert await store.slots("SPX", DAY) == [at(0)]
        assert (await store.write([record(slot=at(0))])).changes == ()
        ballast.unlink()
        (change,) = (await store.write(batch)).changes
        assert len(change.rows) == 8
        newest = await store.before("SPX", DAY, at(9))
        assert newest.evidence == batch[-1].evidence
