"""What was fetched is kept, exactly once: the writer, its backlog, and the store behind them."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from datetime import date, datetime, timedelta

import pytest
from factories import at, record
from proxy import Proxy
from rig import STEP, FailingStore, SamplerRig, gaps, open_store, rig, rows
from structlog.testing import capture_logs

from sampler.errors import ChainRefused
from sampler.live import backlog as backlog_module
from sampler.live.backlog import Backlog
from sampler.sources import open_source
from sampler.sources.synthetic.source import Synthetic
from storage.errors import SpoolError, StoreUnavailable
from storage.market.calendar import session_on, sessions_between
from storage.record.row import Reason
from storage.record.wire import Batch, decode_batch
from storage.redis.channel import NoChannel
from storage.spool.spool import Spool

DAY = datetime(2026, 8, 19).date()
SESSION = session_on(DAY)
SYMBOLS = ("SPX", "SPY", "QQQ")
SOURCE = Synthetic(seed=3)


def slot(step: int) -> datetime:
    return SESSION.open + (20 + step) * STEP


def now(step: int) -> datetime:
    return slot(step) + timedelta(seconds=1)


class Crooked:
    """A source with trouble of the test's choosing, by symbol."""

    name, delay_seconds, synthetic, remote = "synthetic", 0, True, False

    def __init__(self) -> None:
        self.trouble: dict[str, object] = {}

    async def live(self, symbol, now):
        trouble = self.trouble.get(symbol)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is not None:
            await asyncio.sleep(trouble)
        return await SOURCE.live(symbol, now)


class Heard(NoChannel):
    """A live channel that remembers what it was told."""

    def __init__(self) -> None:
        self.changes: list = []

    async def publish(self, changes):
        self.changes += changes


@pytest.fixture
def url(database) -> str:
    return database


async def straight(url: str, steps: range, symbols=SYMBOLS) -> dict:
    """Rows of a run in which nothing failed, in a dataset of its own; and it is empty again."""
    from sampler.live.outcome import Outcome
    from sampler.live.tick import Tick

    async with open_store(url, "live") as store:
        tick = Tick(SOURCE, store, NoChannel(), oi_confidence=0.43, budget=5)
        for symbol in symbols:
            for step in steps:
                await tick.store_frame(await SOURCE.live(symbol, now(step)), Outcome(symbol=symbol))
    return rows(url, "live")


class TestTogether:
    """What has arrived by the deadline is one transaction."""

    async def test_one_transaction(self, url, tmp_path):
        """All symbols of a tick: one write, one transaction, each told of its own change."""
        live = Heard()
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path, live=live) as rigged:
                outcomes = await rigged.step(SYMBOLS, now(0))
        # The slots before had their time, too.
        assert broken.writes == [(3, 60)]
        assert {o.label for o in outcomes.values()} == {"stored"}
        assert sorted(change.symbol for change in live.changes) == sorted(SYMBOLS)
        assert set(rows(url)) == {(symbol, slot(0)) for symbol in SYMBOLS}

    async def test_a_slow_symbol_holds_up_none(self, url, tmp_path):
        """Two are written at the deadline, the third by itself when it comes; and a row each."""
        source = Crooked()
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(source, broken, tmp_path, batch_seconds=0.15) as rigged:
                await rigged.step(SYMBOLS, now(0))
                source.trouble = {"QQQ": 1.5}
                began = time.monotonic()
                slow = asyncio.create_task(rigged.step(["QQQ"], now(1)))
                await asyncio.sleep(0)
                fast = await rigged.step(["SPX", "SPY"], now(1))
                assert {o.label for o in fast.values()} == {"stored"}
                assert not slow.done()
                assert time.monotonic() - began < 1.4
                assert (await slow)["QQQ"].label == "stored"
        assert broken.writes[1:] == [(2, 0), (1, 0)]
        assert len(rows(url)) == 6

    async def test_row_and_gap_of_a_tick(self, url, tmp_path):
        """A refused symbol's gap goes with the others' rows."""
        source = Crooked()
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(source, broken, tmp_path) as rigged:
                await rigged.step(SYMBOLS, now(0))
                source.trouble = {"SPY": ChainRefused(Reason.SOURCE_DOWN, "no")}
                await rigged.step(SYMBOLS, now(1))
        assert broken.writes[1] == (2, 1)
        assert gaps(url)["SPY", slot(1)] == "source_down"

    async def test_a_poisoned_row(self, url, tmp_path, monkeypatch):
        """A value that the database refuses costs its own slot; it is told, and put aside."""
        from sampler.live import tick as module

        real = module.measure_slot

        def poison(chain, *args, **options):
            rigged = real(chain, *args, **options)
            if chain.symbol == "SPY" and chain.slot == slot(1):
                object.__setattr__(rigged.row, "source", "nul\0byte")
            return rigged

        monkeypatch.setattr(module, "measure_slot", poison)
        async with open_store(url) as store, rig(SOURCE, store, tmp_path) as rigged:
            for step in range(3):
                outcomes = await rigged.step(SYMBOLS, now(step))
                if step == 1:
                    assert outcomes["SPY"].reason is Reason.FAILED
                    assert {outcomes[s].label for s in ("SPX", "QQQ")} == {"stored"}
        stored = rows(url)
        assert len(stored) == 8
        assert gaps(url)["SPY", slot(1)] == "failed"
        assert "after_gap" in stored["SPY", slot(2)]["flags"]
        (path,) = tmp_path.iterdir()
        assert decode_batch(path.read_bytes()[12:]).records[0].row.slot == slot(1)


async def test_six_hundred_symbols_beside_a_backfill(url, tmp_path):
    """A tick of 600 symbols is one transaction while another process fills a month; all of both
    is there, and no row of either was held up until the other was done."""
    names = [f"T{n}" for n in range(600)]
    days = [session.day for session in sessions_between(date(2026, 7, 1), date(2026, 7, 31))]
    ticks: list[int] = []

    async def month(store) -> None:
        for day in days:
            opens = session_on(day).open
            frames = [record(expiration=day, slot=opens + i * STEP) for i in range(60)]
            for begin in range(0, 60, 20):
                await store.write(frames[begin : begin + 20])
        ticks.append(-1)

    async with open_store(url) as store, open_store(url) as other:
        broken = FailingStore(store)
        async with rig(SOURCE, broken, tmp_path) as rigged:
            filling = asyncio.create_task(month(other))
            published = [
                rigged.writer.write([record(symbol=n, expiration=DAY, slot=slot(0))]) for n in names
            ]
            results = await asyncio.gather(*published)
            assert [len(result.changes) for result in results] == [1] * 600
            ticks.append(0)
            await filling
    assert broken.writes == [(600, 0)]
    stored = rows(url)
    assert len(stored) == 600 + 60 * len(days)
    assert ticks == [0, -1]


@pytest.mark.clocked
class TestAway:
    """The database is away for a while."""

    async def test_fifty_slots(self, url, tmp_path):
        """Rows and gaps wait on disk and land in order, each once; rows as if nothing had been."""
        source, live = Crooked(), Heard()
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(source, broken, tmp_path, live=live) as rigged:
                await rigged.step(SYMBOLS, now(0))
                broken.away = True
                with capture_logs() as lines:
                    for step in range(1, 51):
                        source.trouble = {}
                        if step == 20:
                            source.trouble["SPY"] = ChainRefused(Reason.BAD_ANSWER, "no")
                        outcomes = await rigged.step(SYMBOLS, now(step))
                        assert outcomes["SPX"].label == "spooled"
                # Said once, not fifty times.
                assert [line["event"] for line in lines].count("database away: spooling") == 1
                assert rigged.spool.waiting == 50
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
                assert (await rigged.step(SYMBOLS, now(51)))["SPX"].label == "stored"
        assert list(tmp_path.iterdir()) == []
        stored = rows(url)
        assert len(stored) == 3 * 52 - 1
        assert gaps(url)["SPY", slot(20)] == "bad_answer"
        for symbol in SYMBOLS:
            published = [r.slot for c in live.changes for _, r in c.rows if r.symbol == symbol]
            assert published == sorted(set(published))
            assert len(published) == 52 - (symbol == "SPY")
        whole = await straight(url, range(52))
        complete = {key: row for key, row in stored.items() if key[0] != "SPY" or key[1] < slot(20)}
        assert complete == {key: whole[key] for key in complete}

    async def test_restarts_while_it_is_away(self, url, tmp_path):
        """Each slot by another process, all of them without a database but the first and last."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path) as rigged:
                await rigged.step(SYMBOLS, now(0))
                broken.away = True
                await rigged.step(SYMBOLS, now(1))
            for step in range(2, 6):
                async with rig(SOURCE, broken, tmp_path) as rigged:
                    rigged.tracker.symbols |= set(SYMBOLS)
                    assert await rigged.tracker.add_symbols(SYMBOLS, now(step)) == list(SYMBOLS)
                    words = {o.label for o in (await rigged.step(SYMBOLS, now(step))).values()}
                    assert words == {"spooled"}
            broken.away = False
            async with rig(SOURCE, broken, tmp_path) as rigged:
                await asyncio.wait_for(rigged.writer.drained(), 20)
                await rigged.tracker.add_symbols(SYMBOLS, now(6))
                await rigged.step(SYMBOLS, now(6))
        assert rows(url) == await straight(url, range(7))

    async def test_nothing_to_go_on_from(self, url, tmp_path):
        """A sampler that starts without database or spool keeps what it fetches; landed, that goes
        on from what is stored, as if nothing had been."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path) as rigged:
                await rigged.step(SYMBOLS, now(0))
                await rigged.step(SYMBOLS, now(1))
            broken.away = True
            async with rig(SOURCE, broken, tmp_path) as rigged:
                for step in (2, 3, 4):
                    words = {o.label for o in (await rigged.step(SYMBOLS, now(step))).values()}
                    assert words == {"spooled"}
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
                # What is in its memory counts from where it began.
                for step in (5, 6, 7):
                    words = {o.label for o in (await rigged.step(SYMBOLS, now(step))).values()}
                    assert words == {"stored"}
        assert rows(url) == await straight(url, range(8))

    async def test_no_row_before_it(self, url, tmp_path):
        """Where nothing is stored of the session, the first chain is its baseline, and stays it."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            broken.away = True
            async with rig(SOURCE, broken, tmp_path) as rigged:
                await rigged.step(["SPX"], now(0))
                await rigged.step(["SPX"], now(1))
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
                await rigged.step(["SPX"], now(2))
        assert rows(url) == await straight(url, range(3), ["SPX"])

    async def test_the_database_answers_writes_alone(self, url, tmp_path):
        """A baseline that was measured because one question failed is none where a row is."""

        class Silent(FailingStore):
            read_before = False

            async def before(self, *key):
                if not self.read_before:
                    self.read_before = True
                    raise StoreUnavailable("no answer")
                return await self.store.before(*key)

        async with open_store(url) as store:
            async with rig(SOURCE, store, tmp_path) as rigged:
                await rigged.step(["SPX"], now(0))
            async with rig(SOURCE, Silent(store), tmp_path) as rigged:
                for step in (1, 2, 3):
                    outcomes = await rigged.step(["SPX"], now(step))
                    assert outcomes["SPX"].label == "stored"
        assert rows(url) == await straight(url, range(4), ["SPX"])

    async def test_not_open_or_not_known(self, url, tmp_path):
        """A chain without the quotes of a beginning may have had them: nobody can say."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            for away, reason in ((False, Reason.NOT_OPEN), (True, Reason.NO_STATE)):
                broken.away = away
                async with rig(SOURCE, broken, tmp_path) as rigged:
                    outcomes = await rigged.step(["AMD"], now(int(away)))
                    assert outcomes["AMD"].reason is reason
                    broken.away = False
                    await asyncio.wait_for(rigged.writer.drained(), 20)
        assert gaps(url)["AMD", slot(1)] == "no_state"

    async def test_from_the_open_on(self, url, tmp_path):
        """A day that begins while it is away begins all the same: there is no earlier state."""
        begin = SESSION.open
        async with open_store(url) as store:
            broken = FailingStore(store)
            broken.away = True
            async with rig(SOURCE, broken, tmp_path) as rigged:
                for step in range(3):
                    await rigged.step(["SPX"], begin + step * STEP + timedelta(seconds=1))
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
        stored = rows(url)
        assert [stored[key]["flow_since"] for key in sorted(stored)] == [
            min(key[1] for key in stored)
        ] * len(stored)
        assert len(stored) >= 2

    async def test_a_network_that_swallows(self, url, tmp_path):
        """Connections that carry nothing cost their patience, no slot; all lands when it is back."""
        with Proxy(url) as proxy:
            async with (
                open_store(proxy.url, patience=0.5) as store,
                rig(SOURCE, store, tmp_path) as rigged,
            ):
                await rigged.step(SYMBOLS, now(0))
                proxy.stall()
                assert (await rigged.step(SYMBOLS, now(1)))["SPX"].label == "spooled"
                assert (await rigged.step(SYMBOLS, now(2)))["SPX"].label == "spooled"
                proxy.mend()
                await asyncio.wait_for(rigged.writer.drained(), 30)
                await rigged.step(SYMBOLS, now(3))
        assert rows(url) == await straight(url, range(4))

    async def test_connections_are_cut(self, url, tmp_path):
        """All connections end between, and in the midst of, transactions; nothing is lost."""
        with Proxy(url) as proxy:

            def fault(point: str) -> None:
                if point == "writing" and cutting:
                    proxy.cut()

            cutting = False
            async with (
                open_store(proxy.url, patience=5) as store,
                rig(SOURCE, store, tmp_path, fault=fault) as rigged,
            ):
                for step in range(8):
                    cutting = step in (2, 3, 6)
                    if step == 5:
                        proxy.refuse()
                    if step == 6:
                        proxy.mend()
                    await rigged.step(SYMBOLS, now(step))
                await asyncio.wait_for(rigged.writer.drained(), 30)
        assert rows(url) == await straight(url, range(8))

    async def test_another_may_have_it(self, url, tmp_path):
        """Without its leases it writes nothing, and keeps everything."""
        mine = True
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path, may_write=lambda: mine) as rigged:
                await rigged.step(SYMBOLS, now(0))
                mine = False
                with capture_logs() as lines:
                    await rigged.step(SYMBOLS, now(1))
                # One line says why rows wait.
                [line] = [line for line in lines if line["event"] == "database away: spooling"]
                assert "connection that holds its symbols is lost" in line["error"]
                assert len(broken.writes) == 1
                mine = True
                await asyncio.wait_for(rigged.writer.drained(), 20)
        assert rows(url) == await straight(url, range(2))


class TestFullDisk:
    """The spool cannot take more."""

    @pytest.fixture
    def full(self) -> dict:
        return {"disk": False}

    @pytest.fixture
    def fault(self, full):
        def fail(point: str) -> None:
            if point == "half spooled" and full["disk"]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return fail

    async def test_for_a_while(self, url, tmp_path, full, fault):
        """What the disk has no room for waits in memory, in order, and says so."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path, fault=fault) as rigged:
                await rigged.step(SYMBOLS, now(0))
                broken.away = True
                with capture_logs() as lines:
                    for step in range(1, 9):
                        full["disk"] = 3 <= step < 6
                        await rigged.step(SYMBOLS, now(step))
                warnings = [line for line in lines if line["event"] == "spool cannot take more"]
                assert [line["in_memory"] for line in warnings] == [1, 2, 3]
                assert "No space left on device" in warnings[0]["error"]
                assert {line["log_level"] for line in warnings} == {"error"}
                assert rigged.spool.waiting == 8
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
        assert rows(url) == await straight(url, range(9))

    async def test_until_the_database_is_back(self, url, tmp_path, full, fault):
        """Memory alone lands as well."""
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path, fault=fault) as rigged:
                await rigged.step(SYMBOLS, now(0))
                broken.away = full["disk"] = True
                for step in range(1, 5):
                    assert (await rigged.step(SYMBOLS, now(step)))["SPX"].label == "spooled"
                broken.away = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
        assert rows(url) == await straight(url, range(5))

    async def test_no_room_anywhere(self, url, tmp_path, full, fault, monkeypatch):
        """Beyond memory slots are lost: gaps say so, volume is in the next row, nothing crashes."""
        monkeypatch.setattr(backlog_module, "MEMORY_LIMIT", 400_000)
        async with open_store(url) as store:
            broken = FailingStore(store)
            async with rig(SOURCE, broken, tmp_path, fault=fault) as rigged:
                await rigged.step(["SPX"], now(0))
                broken.away = full["disk"] = True
                words = [(await rigged.step(["SPX"], now(i)))["SPX"].label for i in range(1, 12)]
                spooled = words.count("spooled")
                assert words == ["spooled"] * spooled + ["not_stored"] * (11 - spooled)
                assert 0 < spooled < 11
                broken.away = full["disk"] = False
                await asyncio.wait_for(rigged.writer.drained(), 20)
                await rigged.step(["SPX"], now(12))
        stored, missed = rows(url), gaps(url)
        assert [missed["SPX", slot(i)] for i in range(1 + spooled, 12)] == ["no_room"] * (
            11 - spooled
        )
        assert "after_gap" in stored["SPX", slot(12)]["flags"]
        whole = await straight(url, range(13), ["SPX"])
        assert stored["SPX", slot(12)]["total_volume"] == whole["SPX", slot(12)]["total_volume"]
        before = {("SPX", slot(i)) for i in range(1 + spooled)}
        assert {key: stored[key] for key in before} == {key: whole[key] for key in before}

    async def test_memory_tells_feeds_apart(self, tmp_path, full, fault):
        """In memory, too, a feed's newest record is its own, whatever a second feed has after it."""
        full["disk"] = True
        spool = Spool.open(tmp_path, 1 << 30, fault)
        waiting = Backlog(spool)
        try:
            for symbol, feed, step in (
                ("SPX", "first", 1),
                ("SPX", "second", 2),
                ("SPX", "first", 3),
                ("SPX", "second", 4),
                ("SPY", "first", 5),
            ):
                item = record(slot=at(step), symbol=symbol, source=feed, spot=float(step))
                await waiting.add(Batch(records=[item]))
            assert (waiting.waiting, spool.waiting) == (5, 0)

            def newest(symbol: str, before: int, feed: str) -> tuple[str, str, float] | None:
                item = waiting.newest_record(symbol, DAY, at(before), feed)
                return item and (item.row.symbol, item.row.source, item.row.spot)

            assert newest("SPX", 9, "first") == ("SPX", "first", 3.0)
            assert newest("SPX", 3, "first") == ("SPX", "first", 1.0)
            assert newest("SPX", 9, "second") == ("SPX", "second", 4.0)
            assert newest("SPX", 2, "second") is None
            assert newest("SPX", 9, "third") is None
            assert newest("SPY", 9, "first") == ("SPY", "first", 5.0)
            assert newest("SPY", 9, "second") is None
            assert waiting.newest_record("SPX", date(2026, 8, 20), at(9), "first") is None
        finally:
            spool.close()


def test_a_spool_that_cannot_be_had(tmp_path):
    """A folder that is none is a sentence, before the first slot."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="FLOW_SPOOL_DIR"):
        SamplerRig(open_source("synthetic:"), None, tmp_path / "file")
