"""One step over a scripted source and a real store: rows, gaps with reasons, nothing lost."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import psycopg
import pytest
from chains import DAY, TEN_FOURTEEN, frame
from structlog.testing import capture_logs

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.live.tick import DryRunStore, Tick
from sampler.sources.synthetic.source import Synthetic
from storage.errors import StoreUnavailable
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Reason
from storage.redis.channel import NoChannel

STEP = timedelta(seconds=30)
N = 21


class Script:
    """A source that answers what the test says."""

    name, delay_seconds, synthetic, remote = "test", 0, False, False

    def __init__(self, **answers: Callable[[], Frame] | Frame | Exception) -> None:
        self.answers = answers
        self.fetched: list[str] = []

    async def live(self, symbol, now):
        self.fetched.append(symbol)
        answer = self.answers[symbol]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def newest(self, symbol):
        return None

    async def close(self):
        pass


def tick_of(source, store, **changes) -> Tick:
    return Tick(source, store, NoChannel(), **({"oi_confidence": 0.43, "budget": 0.3} | changes))


def frame_at(slot: int, **changes) -> Frame:
    return frame(quoted_at=TEN_FOURTEEN + slot * STEP, **changes)


def now(slot: int):
    return TEN_FOURTEEN + slot * STEP + timedelta(seconds=1)


async def step(tick: Tick, slot: int, symbol: str = "SPX"):
    return await tick.sample(symbol, now=now(slot), target=TEN_FOURTEEN + slot * STEP)


async def reasons(store: Store, symbol: str = "SPX") -> dict:
    return {g["slot"]: g["reason"] for g in await store.gaps(symbol, DAY)}


async def test_a_good_answer_is_a_row(store):
    """Fetched, measured, stored, under its slot; one canonical line with the figures."""
    with capture_logs() as lines:
        outcome = await step(tick_of(Script(SPX=frame_at(0)), store), 0)
    assert outcome.stored
    assert await store.slots("SPX", DAY) == [TEN_FOURTEEN]
    (line,) = [entry for entry in lines if entry["event"] == "tick"]
    assert (line["symbol"], line["outcome"], line["contracts"]) == ("SPX", "stored", 2 * N)
    assert {"spot", "net_gex", "dropped", "quote_age_seconds"} <= set(line)
    assert {"fetch", "measure", "store", "publish"} <= set(line["ms"])


async def slow() -> Frame:
    await asyncio.sleep(5)
    raise AssertionError("nobody waits so long")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ChainRefused(Reason.SOURCE_DOWN, "connection refused"), "source_down"),
        (ChainRefused(Reason.BAD_ANSWER, "not JSON"), "bad_answer"),
        (slow, "source_down"),
        (RuntimeError("a defect"), "failed"),
        (frame_at(-10), "stale"),
        (frame_at(10), "bad_answer"),
        (frame_at(0, strikes=[]), "bad_answer"),
        (frame_at(0, right=[0] * 2 * N), "bad_answer"),
        (frame_at(0, bid=[0.0] * 2 * N), "no_iv"),
    ],
    ids=["down", "bad", "slow", "defect", "old", "future", "empty", "unusable", "no-iv"],
)
async def test_trouble_is_a_gap_with_its_reason(store, answer, reason):
    """The slot and symbol that it hit are a gap; another symbol of the same moment is a row."""
    tick = tick_of(Script(SPX=answer, SPY=frame_at(0, symbol="SPY")), store)
    await asyncio.gather(step(tick, 0), step(tick, 0, "SPY"))
    (gap,) = await store.gaps("SPX", DAY)
    assert (gap["slot"], gap["reason"]) == (TEN_FOURTEEN, reason)
    assert gap["detail"]
    assert await store.slots("SPX", DAY) == []
    assert await store.slots("SPY", DAY) == [TEN_FOURTEEN]


async def test_the_same_frame_twice_is_no_second_row(store):
    """Unchanged: the slot that it was asked for is a gap, the row stays."""
    tick = tick_of(Script(SPX=frame_at(0)), store)
    await step(tick, 0)
    outcome = await step(tick, 1)
    assert outcome.reason is Reason.UNCHANGED
    assert await reasons(store) == {TEN_FOURTEEN + STEP: "unchanged"}


async def test_a_frozen_clock_whose_volume_moves_is_stale(store):
    """The same quote time with other volumes is said at once."""
    source = Script(SPX=frame_at(0))
    tick = tick_of(source, store)
    await step(tick, 0)
    source.answers["SPX"] = frame_at(0, volume=[60.0] * 2 * N)
    assert (await step(tick, 1)).reason is Reason.STALE


async def test_nothing_newer_for_too_long_is_stale(store):
    """A source that keeps saying "unchanged" two minutes beyond its delay is a dead one."""
    source = Script(SPX=frame_at(0))
    tick = tick_of(source, store)
    await step(tick, 0)
    source.answers["SPX"] = ChainRefused(Reason.UNCHANGED, "304")
    assert (await step(tick, 1)).reason is Reason.UNCHANGED
    assert (await step(tick, 5)).reason is Reason.STALE


async def test_a_row_that_comes_late_takes_its_gap_away(store):
    """Quotes of an earlier slot fill it; the slot that is owed now waits as late."""
    source = Script(SPX=ChainRefused(Reason.SOURCE_DOWN, "down"))
    tick = tick_of(source, store)
    await step(tick, 0)
    source.answers["SPX"] = frame_at(0)
    await step(tick, 1)
    assert await store.slots("SPX", DAY) == [TEN_FOURTEEN]
    assert await reasons(store) == {TEN_FOURTEEN + STEP: "late"}


async def test_the_last_slot_is_brought_up_to_date(store):
    """Quotes of the last seconds replace the last slot's row, differenced as the first one was."""
    close = TEN_FOURTEEN.replace(hour=20, minute=0, second=0)
    source = Script()
    tick = tick_of(source, store)
    for seconds in (60, 30, 4):
        quoted = close - timedelta(seconds=seconds)
        source.answers["SPX"] = frame(
            quoted_at=quoted, strikes=[7690.0 + i for i in range(21)], half_spread=0.01
        )
        await tick.sample("SPX", now=quoted, target=None)
    newest = await store.before("SPX", DAY, close)
    assert newest.row.quoted_at == close - timedelta(seconds=4)
    assert newest.row.slot == close - STEP
    assert newest.row.differenced_from == close - 2 * STEP
    assert len(await store.slots("SPX", DAY)) == 2


async def test_a_restarted_sampler_goes_on_as_if_nothing_had_happened(store, database):
    """A new step over the stored state gives the same rows as one that never stopped."""
    volumes = [[50.0 + 7 * i + k % (i + 1) for k in range(2 * N)] for i in range(6)]
    frames = [frame_at(i, volume=v) for i, v in enumerate(volumes)]
    source = Script()
    tick = tick_of(source, store)
    rows = []
    for i, frame_now in enumerate(frames):
        source.answers["SPX"] = frame_now
        rows.append((await step(tick, i)).record.row)
    await store._pool.close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("truncate live.rows, live.profiles, live.chains")
    async with Store.open(database, "live", size=2) as fresh:
        for i, frame_now in enumerate(frames):
            source.answers["SPX"] = frame_now
            # Another process each time: all it knows is in the store.
            again = await step(tick_of(source, fresh), i)
            assert rows[i] == again.record.row


async def test_a_symbol_without_zero_dte_is_not_asked_every_time(store):
    """Nothing expires today: each slot is a gap that says so, the source is asked now and then."""
    friday = [np.datetime64("2026-08-21")] * 2
    source = Script(TSLA=frame_at(0, symbol="TSLA", strikes=[7700.0], expiry=friday))
    tick = tick_of(source, store)
    for i in range(5):
        await step(tick, i, "TSLA")
    assert source.fetched == ["TSLA"]
    assert set((await reasons(store, "TSLA")).values()) == {"no_zero_dte"}
    assert len(await reasons(store, "TSLA")) == 5
    gaps = await store.gaps("TSLA", DAY)
    assert {gap["next_expiry"] for gap in gaps} == {date(2026, 8, 21)}


async def test_an_expiry_that_must_be_there_is_asked_for_at_every_slot(store):
    """SPX has an expiry on every session: an answer without it is bad, before the first row too."""
    friday = [np.datetime64("2026-08-21")] * 2
    source = Script(SPX=frame_at(0, strikes=[7700.0], expiry=friday))
    tick = tick_of(source, store)
    for i in range(3):
        await step(tick, i)
    assert source.fetched == ["SPX"] * 3
    assert set((await reasons(store, "SPX")).values()) == {"bad_answer"}


@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "restarted"])
@pytest.mark.parametrize(
    "broken",
    [
        {"strikes": [7700.0], "expiry": [np.datetime64("2026-08-21")] * 2},
        {"right": [0] * 2 * N},
    ],
    ids=["expiry missing", "all dropped"],
)
async def test_one_bad_answer_is_one_slot(store, broken, restarted):
    """An answer without today's contracts, once the session has a row: asked again each slot."""
    source = Script(SPX=frame_at(0))
    tick = tick_of(source, store)
    await step(tick, 0)
    if restarted:
        tick = tick_of(source, store)
    for i in (1, 2):
        source.answers["SPX"] = frame_at(i, **broken)
        assert (await step(tick, i)).reason is Reason.BAD_ANSWER
    source.answers["SPX"] = frame_at(3)
    assert (await step(tick, 3)).record is not None
    assert source.fetched == ["SPX"] * 4
    assert set((await reasons(store)).values()) == {"bad_answer"}
    assert {gap["next_expiry"] for gap in await store.gaps("SPX", DAY)} == {None}


async def test_a_symbol_without_zero_dte_is_asked_again(store):
    """After 60 slots, and then not for another 60."""
    source = Script(TSLA=frame_at(0, symbol="TSLA", strikes=[]))
    tick = tick_of(source, DryRunStore(), quiet=True)
    fetches = []
    for i in range(123):
        source.answers["TSLA"] = frame_at(i, symbol="TSLA", strikes=[])
        await step(tick, i, "TSLA")
        fetches.append(len(source.fetched))
    assert [i for i in range(1, 123) if fetches[i] > fetches[i - 1]] == [60, 120]


@pytest.mark.parametrize(("ahead", "reason"), [(119, None), (121, Reason.BAD_ANSWER)])
async def test_how_far_ahead_quotes_may_be(ahead, reason):
    """Two clocks may differ by two minutes; beyond that one of them is wrong."""
    tick = tick_of(Script(SPX=frame_at(0)), DryRunStore())
    moment = TEN_FOURTEEN - timedelta(seconds=ahead)
    assert (await tick.sample("SPX", now=moment, target=None)).reason is reason


@pytest.mark.parametrize(("age", "reason"), [(119, None), (121, Reason.STALE)])
async def test_how_old_quotes_may_be(age, reason):
    """Two minutes beyond the declared delay."""
    tick = tick_of(Script(SPX=frame_at(0)), DryRunStore())
    moment = TEN_FOURTEEN + timedelta(seconds=age)
    assert (await tick.sample("SPX", now=moment, target=None)).reason is reason


async def test_newer_quotes_of_a_slot_change_nothing(store):
    """Only the session's last slot is brought up to date; any other keeps its first row."""
    source = Script(SPX=frame(quoted_at=TEN_FOURTEEN - timedelta(seconds=10)))
    tick = tick_of(source, store)
    await step(tick, 0)
    newer = TEN_FOURTEEN + timedelta(seconds=1)
    source.answers["SPX"] = frame(quoted_at=newer, volume=[70.0] * 2 * N)
    outcome = await tick.sample("SPX", now=now(0), target=None)
    assert outcome.reason is Reason.UNCHANGED
    stored = await store.before("SPX", DAY, TEN_FOURTEEN + STEP)
    assert stored.row.quoted_at == TEN_FOURTEEN - timedelta(seconds=10)


class NoAnswers(DryRunStore):
    """A store that cannot be read, and spools what it is given."""

    async def write(self, records=(), gaps=(), *, mode=WriteMode.KEEP):
        return None

    async def before(self, symbol, expiration, slot, feed):
        raise StoreUnavailable("away")


@pytest.mark.parametrize(
    ("first", "reason"), [(0, Reason.NOT_OPEN), (1, Reason.NO_STATE)], ids=["whole", "late"]
)
async def test_not_open_without_a_database(first, reason):
    """A sampler that took every step since the open knows that there is no earlier row; one that
    began later does not."""
    session = session_on(DAY)
    # At its open too few of its strikes are quoted on both sides for a session to begin.
    tick = tick_of(Synthetic(seed=3), NoAnswers(), provisional=True)
    for number in range(first, 3):
        slot = session.open + number * STEP
        outcome = await tick.sample("AMD", now=slot + timedelta(seconds=2), target=slot)
    assert outcome.reason is reason


async def test_memory_stays_flat():
    """Of 200 steps none is kept but the newest two."""
    source = Script()
    # Log lines would be kept by the test runner.
    tick = tick_of(source, DryRunStore(), quiet=True)
    held = {}
    tracemalloc.start()
    for slot in range(250):
        source.answers["SPX"] = frame_at(slot, volume=[50.0 + slot] * 2 * N)
        assert (await step(tick, slot)).record is not None
        # The loop lets go of time-outs that are over.
        await asyncio.sleep(0)
        if slot in (50, 249):
            gc.collect()
            held[slot] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # 199 records of these 21 strikes would be 5 MB; timers that are done go by the hundred.
    assert held[249] - held[50] < 250_000
