"""The tracker by itself, on a scripted tick: which slot a step is for, and which slots are gaps."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from sampler.live.outcome import Outcome
from sampler.live.slots import SlotTracker
from storage.market.calendar import session_on
from storage.record.row import Reason

WIDTH = timedelta(seconds=30)
SESSION = session_on(date(2026, 8, 19))
NEXT_SESSION = session_on(date(2026, 8, 20))


def slot(number: int):
    return SESSION.open + number * WIDTH


def a_second_after(moment):
    return moment + timedelta(seconds=1)


class ScriptedTick:
    """Remembers what each step was asked for."""

    def __init__(self) -> None:
        self.targets: list = []
        self.late: list = []
        self.missed: list = []
        self.forgotten: list[str] = []

    async def sample(self, symbol, *, now, target, late=()):
        self.targets.append(target)
        self.late.append([gap.slot for gap in late])
        assert {gap.reason for gap in late} <= {Reason.LATE}
        return Outcome(symbol=symbol)

    def feed(self, symbol):
        return "test"

    async def mark_gaps(self, symbol, session, slots, reason, feed):
        assert reason is Reason.NOT_RUNNING
        self.missed += slots

    def forget(self, symbol):
        self.forgotten.append(symbol)


class EmptyStore:
    """A database without a slot; it remembers what it was asked and told."""

    def __init__(self) -> None:
        self.periods: list = []
        self.noted: list = []

    async def accounted(self, symbol, expiration, feed):
        return set()

    async def unaccounted(self, symbols, first, last):
        self.periods.append((first, last))
        return []

    async def own(self, symbols, expiration, *, fallback=False):
        self.noted.append((tuple(symbols), expiration))


class IdleWriter:
    """A writer whose database is there."""

    database_away = False
    backlog = SimpleNamespace(accounted={})

    def begin_step(self, symbol):
        pass

    def end_step(self, symbol):
        pass


@pytest.fixture
def tick():
    return ScriptedTick()


@pytest.fixture
def store():
    return EmptyStore()


@pytest.fixture
def tracker(tick, store):
    slot_tracker = SlotTracker(tick, store, IdleWriter(), delay=timedelta(0))
    slot_tracker.symbols.add("SPX")
    return slot_tracker


async def test_slots_between_two_steps_are_late(tracker, tick):
    """A step that ran over two slots leaves a late gap for each, and none for its own."""
    await tracker.step("SPX", a_second_after(slot(0)))
    await tracker.step("SPX", a_second_after(slot(3)))
    assert tick.late == [[], [slot(1), slot(2)]]
    assert tick.targets == [slot(0), slot(3)]


async def test_a_slot_is_due_once(tracker, tick):
    """A second step within a slot owes nothing: its slot is a row or a gap already."""
    await tracker.step("SPX", a_second_after(slot(0)))
    await tracker.step("SPX", a_second_after(slot(0)))
    assert tick.targets == [slot(0), None]


async def test_a_clock_that_was_put_back(tracker, tick):
    """Slots that were accounted for before the clock jumped back are neither due nor late again."""
    for number in (0, 1, 2, 3, 1, 2, 4):
        await tracker.step("SPX", a_second_after(slot(number)))
    assert tick.targets == [slot(0), slot(1), slot(2), slot(3), None, None, slot(4)]
    assert tick.late == [[]] * 7


async def test_a_new_session_begins_at_its_open(tracker, tick):
    """The night is no gap: only today's slots before the first step are late."""
    await tracker.step("SPX", a_second_after(SESSION.last_slot))
    tick.late.clear()
    await tracker.step("SPX", a_second_after(NEXT_SESSION.open + 2 * WIDTH))
    assert tick.late == [[NEXT_SESSION.open, NEXT_SESSION.open + WIDTH]]


@pytest.mark.parametrize(
    ("seconds", "steps_now"), [(0, True), (15, True), (16, False), (29, False)]
)
async def test_starting_within_a_slot(seconds, steps_now, tracker, tick):
    """In its first half the slot is stepped at once; later it is missed. Neither makes it late."""
    started = slot(4) + timedelta(seconds=seconds)
    assert await tracker.add_symbols(["SPX"], started) == (["SPX"] if steps_now else [])
    assert tick.missed == [slot(n) for n in range(4 if steps_now else 5)]
    await tracker.step("SPX", started if steps_now else a_second_after(slot(5)))
    assert tick.late == [[]]
    assert tick.targets == [slot(4) if steps_now else slot(5)]


async def test_only_earlier_sessions_are_searched(tracker, store):
    """Two weeks back, up to yesterday: today's slots are accounted for by the steps."""
    await tracker.add_symbols(["SPX"], a_second_after(slot(4)))
    assert store.periods == [(SESSION.day - timedelta(days=14), SESSION.day - timedelta(days=1))]


async def test_a_session_is_ours_from_its_open(tracker, store):
    """Before the open nothing is noted; from then on once."""
    await tracker.account_sessions(SESSION.open - timedelta(seconds=1))
    assert store.noted == []
    for _ in range(2):
        await tracker.account_sessions(SESSION.open)
    assert store.noted == [(("SPX",), SESSION.day)]


async def test_a_dropped_symbol_is_forgotten(tracker, tick):
    """Another sampler writes its rows now: nothing of it is remembered, and no step is taken."""
    await tracker.step("SPX", a_second_after(slot(0)))
    tracker.drop_symbol("SPX")
    assert tick.forgotten == ["SPX"]
    assert await tracker.step("SPX", a_second_after(slot(1))) is None
    tracker.symbols.add("SPX")
    await tracker.step("SPX", a_second_after(slot(2)))
    assert tick.late[-1] == [slot(0), slot(1)]
