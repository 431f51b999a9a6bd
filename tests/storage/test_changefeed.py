"""Following the store over the live channel: no hole, no double, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Self

import fakeredis
import pytest
from factories import at, gap, record, row

from storage import changefeed as following
from storage.changefeed import follow_changes
from storage.errors import LiveError, StoreUnavailable
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Change
from storage.redis.channel import ChannelMessage, NoChannel, RedisChannel

#: Long enough for any machine; nothing waits for it that succeeds.
PATIENCE = 30


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """Nobody waits a second for a poll."""
    monkeypatch.setattr(following, "_POLL", 0.05)


@pytest.fixture(params=["valkey", "fakeredis"])
async def channel(request) -> AsyncIterator[RedisChannel]:
    """A channel of an empty server."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield RedisChannel(fake, "flow:follow")
        return
    url = request.getfixturevalue("servers").redis_url
    async with RedisChannel.open(url, "flow:follow") as opened:
        await opened._client.flushall()
        yield opened


class Reader:
    """Somebody who follows in the background, and what it has got."""

    def __init__(self, store: Any, live: Any, heads: dict[str, int], symbols=None) -> None:
        self.got: list[Change] = []
        self._task = asyncio.create_task(self._run(store, live, heads, symbols))

    async def _run(self, *arguments: Any) -> None:
        async with aclosing(follow_changes(*arguments)) as changes:
            async for change in changes:
                self.got.append(change)

    def rows(self, symbol: str = "SPX") -> list[int]:
        """Revisions of a symbol's rows and gaps, as they came; each must go on from the last."""
        revisions, cursor = [], None
        for change in self.got:
            if change.symbol == symbol:
                assert cursor in (None, change.after)
                cursor = change.revision
                revisions += sorted(n for n, _ in (*change.rows, *change.gaps))
        return revisions

    async def until(self, revision: int, symbol: str = "SPX") -> None:
        """Wait for a revision."""
        async with asyncio.timeout(PATIENCE):
            while revision not in self.rows(symbol):
                assert not self._task.done(), self._task
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled(), self._task


class Stepper:
    """Writes a row a step, and publishes it if it is told to."""

    def __init__(self, store: Store, live: Any) -> None:
        self.store, self.live, self.revisions = store, live, []

    async def __call__(self, *, publish: bool = True, symbol: str = "SPX", **changes: Any) -> int:
        step = len(self.revisions)
        mode = changes.pop("mode", WriteMode.KEEP)
        changes = {"slot": at(step)} | changes
        written = (await self.store.write([record(symbol=symbol, **changes)], mode=mode)).changes
        if publish:
            await self.live.publish(written)
        self.revisions.append(written[0].revision)
        return written[0].revision


async def test_published_changes(store, channel):
    """Each change comes over the channel as it was stored, rows and gaps, old and new symbols."""
    step = Stepper(store, channel)
    await step()
    async with Reader(store, channel, await store.heads()) as reader:
        await step()
        changes = (await store.write([record(symbol="NEW", slot=at(9))], [gap(8)])).changes
        await channel.publish(changes)
        last = await step(slot=at(0), mode=WriteMode.REWRITE, spot=1.0)
        await reader.until(last)
        await reader.until(changes[0].revision, "NEW")
        assert [*step.revisions[1:2], changes[1].revision, last] == reader.rows()
        assert [row.spot for c in reader.got for _, row in c.rows][-1] == 1.0
        assert changes[1] in reader.got


async def test_from_an_earlier_cursor(store, channel):
    """What was stored before one follows comes first, beyond the cursor and no further back."""
    step = Stepper(store, channel)
    steps = [await step(publish=False) for _ in range(5)]
    async with Reader(store, channel, {"SPX": steps[1]}) as reader:
        await reader.until(steps[-1])
        steps.append(await step())
        await reader.until(steps[-1])
        assert steps[2:] == reader.rows()


async def test_some_symbols(store, channel):
    """Only the symbols that are named."""
    step = Stepper(store, channel)
    async with Reader(store, channel, {}, ["SPY"]) as reader:
        await step()
        await step(symbol="SPY")
        await step()
        last = await step(symbol="SPY")
        await reader.until(last, "SPY")
        assert {c.symbol for c in reader.got} == {"SPY"}
        assert [step.revisions[1], last] == reader.rows("SPY")


async def test_holes_are_filled(store, channel):
    """A change that was never published comes with the next one that is, in order."""
    step = Stepper(store, channel)
    async with Reader(store, channel, {}) as reader:
        await reader.until(await step())
        for _ in range(3):
            await step(publish=False)
        await reader.until(await step())
        assert step.revisions == reader.rows()


async def test_doubles_are_dropped(store, channel):
    """A change that is published twice, late or out of order comes once."""
    async with Reader(store, channel, {}) as reader:
        written = [(await store.write([record(slot=at(i))])).changes for i in range(4)]
        for i in (0, 0, 2, 1, 3, 2, 3):
            await channel.publish(written[i])
        await reader.until(written[-1][0].revision)
        await channel.publish(written[0])
        await asyncio.sleep(0.1)
        assert [change.revision for (change,) in written] == reader.rows()


async def test_a_publisher_that_dies(store, channel, monkeypatch):
    """What was stored by a sampler that died before it published comes all the same."""
    monkeypatch.setattr(following, "_RECONCILE", 0.1)
    monkeypatch.setattr("storage.redis.channel._QUIET", 0.1)
    step = Stepper(store, channel)
    async with Reader(store, channel, {}) as reader:
        await reader.until(await step())
        await reader.until(await step(publish=False))
        assert step.revisions == reader.rows()


async def test_a_large_change(store, channel):
    """A session that is filled at once is told of, and read from the store in parts."""
    async with Reader(store, channel, {}) as reader:
        changes = (await store.write([record(slot=at(i)) for i in range(450)])).changes
        await channel.publish(changes)
        await reader.until(changes[0].revision)
        assert [n for n, _ in changes[0].rows] == reader.rows()
        assert [len(change.rows) for change in reader.got] == [400, 50]


async def test_no_channel(store):
    """Without a channel the store is polled."""
    step = Stepper(store, NoChannel())
    async with Reader(store, NoChannel(), {}) as reader:
        for _ in range(3):
            await reader.until(await step())
        assert step.revisions == reader.rows()


class Shaky:
    """A channel that is away, back with nothing heard, away again: as the test says."""

    def __init__(self, *acts: Any) -> None:
        self.acts = list(acts)

    async def listen(self, symbols: Sequence[str] | None):
        act = self.acts.pop(0) if self.acts else None
        if act is None:
            raise LiveError("away")
        yield []
        for changes in await act():
            yield [
                ChannelMessage(symbol=c.symbol, revision=c.revision, changes=(c,)) for c in changes
            ]
        raise LiveError("away")


async def test_nothing_is_lost_on_the_way_back(store):
    """Rows stored while the channel was coming back come in order and once."""
    step = Stepper(store, NoChannel())

    slots = iter(range(50, 99))

    async def back() -> list[list[Change]]:
        await store.write([record(slot=at(next(slots)))])
        last = (await store.write([record(slot=at(next(slots)))])).changes
        await store.write([record(slot=at(next(slots)))])
        return [last, last]

    await step(publish=False)
    async with Reader(store, Shaky(None, back, None, back), await store.heads()) as reader:
        await asyncio.sleep(0.3)
        await reader.until(await step(publish=False))
        (change,) = await store.changes({"SPX": step.revisions[0]})
        assert [n for n, _ in change.rows] == reader.rows()


class Away:
    """A store that is away until it is mended."""

    def __init__(self, store: Store) -> None:
        self.store, self.away = store, False

    async def heads(self, symbols=None):
        if self.away:
            raise StoreUnavailable("away")
        return await self.store.heads(symbols)

    async def changes(self, after, limit=None):
        if self.away:
            raise StoreUnavailable("away")
        return await self.store.changes(after, limit)


async def test_store_away(store, channel):
    """While the store is away the channel's changes come; a hole waits until the store is back."""
    shaky, step = Away(store), Stepper(store, channel)
    async with Reader(shaky, channel, {}) as reader:
        await reader.until(await step())
        shaky.away = True
        await reader.until(await step())
        await step(publish=False)
        await step()
        await asyncio.sleep(0.1)
        assert step.revisions[:2] == reader.rows()
        shaky.away = False
        await reader.until(await step())
        assert step.revisions == reader.rows()


async def test_both_away(store):
    """With everything away it waits, and goes on once the store is back."""
    shaky, step = Away(store), Stepper(store, NoChannel())
    shaky.away = True
    async with Reader(shaky, NoChannel(), {}) as reader:
        await step()
        await asyncio.sleep(0.2)
        assert reader.got == []
        shaky.away = False
        await reader.until(step.revisions[0])


class Backlog:
    """A store with many changes a symbol, and a channel that says so once and is quiet then."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes

    async def heads(self, symbols=None):
        return dict.fromkeys(self.sizes, 0)

    async def changes(self, after, limit):
        changes = []
        for symbol, cursor in after.items():
            last = min(self.sizes[symbol], cursor + limit)
            rows = tuple((n, row(symbol=symbol)) for n in range(cursor + 1, last + 1))
            if rows:
                changes.append(Change(symbol=symbol, after=cursor, revision=last, rows=rows))
        return changes

    async def listen(self, symbols):
        yield []
        yield [ChannelMessage(symbol=symbol, revision=n) for symbol, n in self.sizes.items()]
        await asyncio.Event().wait()


@pytest.mark.clocked
async def test_behind_by_several_batches():
    """All that is behind is read at once: more rows than a batch has, and more symbols.

    Neither another message nor the next comparison with the store is needed for the rest.
    """
    sizes = {f"S{i:02}": 1 for i in range(40)} | {"SPX": 1_050, "SPY": 400, "QQQ": 401}
    backlog = Backlog(sizes)
    async with Reader(backlog, backlog, {}) as reader, asyncio.timeout(4):
        while sum(len(reader.rows(symbol)) for symbol in sizes) < sum(sizes.values()):
            await asyncio.sleep(0.01)
        for symbol, size in sizes.items():
            assert reader.rows(symbol) == list(range(1, size + 1))
