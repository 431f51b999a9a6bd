"""Forecasts are frozen at set times, from rows of then, or missed; and never later."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import DAY, at, record

from sampler.live.freezer import AWAY, NO_ROW, NOT_RUNNING, Freezer
from sampler.live.outcome import Outcome
from storage.embedded.attach import Servers
from storage.errors import StoreUnavailable
from storage.market.clock import Clock
from storage.postgres.store import Store
from storage.record.row import Reason, SlotRecord
from storage.scorecard.forecast import FrozenForecast
from storage.spool.forecasts import WaitingForecasts

TEN = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)
#: The slot of 10:00.
STEP = 60
SECOND = timedelta(seconds=1)
DELAY = timedelta(minutes=15)


class HandClock:
    """A clock that the test moves."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


class Table:
    """The record of forecasts in memory, which may be away."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, datetime], tuple[FrozenForecast, datetime]] = {}
        self.away = False

    async def freeze(self, forecast: FrozenForecast, written_at: datetime) -> bool:
        if self.away:
            raise StoreUnavailable("away")
        key = forecast.symbol, forecast.freeze_time
        if forecast.source == "second":
            key = f"{forecast.symbol} second", forecast.freeze_time
        if key in self.lines:
            return False
        self.lines[key] = forecast, written_at
        return True

    async def frozen(self, symbol, first, last):
        if self.away:
            raise StoreUnavailable("away")
        return [
            {"content": forecast.content, "freeze_time": forecast.freeze_time}
            for forecast, _ in self.lines.values()
        ]


class Rig:
    """A freezer of SPX whose parts the test holds. It is on the store and the spool of nobody."""

    def __init__(self, folder: Path, delay: timedelta = timedelta(0)) -> None:
        self.clock = HandClock(TEN)
        self.table = Table()
        self.records: dict[datetime, SlotRecord] = {}
        self.flows: dict[datetime, float] = {}
        self.away = False
        self.waiting = WaitingForecasts(folder / "forecasts")
        self.delay = delay
        self.freezer = self.start()

    def start(self) -> Freezer:
        """Another sampler on the same parts."""
        return Freezer(
            self,
            lambda _: self,
            self.table,
            self.waiting,
            clock=self.clock,
            symbols=lambda: {"SPX"},
            feed=lambda _: "test",
            delay=lambda _: self.delay,
            simulated=False,
        )

    def start_second(self, first: Freezer, delay: timedelta) -> Freezer:
        """The freezer of a fallback feed, whose rows are noted by hand."""
        return Freezer(
            self,
            lambda _: self,
            self.table,
            self.waiting,
            clock=self.clock,
            symbols=lambda: {"SPX"},
            feed=lambda _: "second",
            delay=lambda _: delay,
            simulated=False,
            first=first,
        )

    async def before(self, symbol, expiration, slot, feed):
        if self.away:
            raise StoreUnavailable("away")
        assert (symbol, expiration) == ("SPX", DAY)
        if feed == "second":
            return None
        slots = [earlier for earlier in self.records if earlier < slot]
        return self.records[max(slots)] if slots else None

    async def figures_before(self, symbol, expiration, before, *, columns):
        if self.away:
            raise StoreUnavailable("away")
        slots = [slot for slot in self.flows if slot < before]
        return {
            "slot": max(slots),
            "hedge_flow_cumulative_all": self.flows[max(slots)],
        } if slots else None  # fmt: skip

    def note(self, step: int, **changes: Any) -> None:
        """A step has measured a slot."""
        measured = record(slot=at(step), **changes)
        self.records[at(step)] = measured
        self.freezer.note(Outcome(symbol="SPX", record=measured))

    async def look(self, moment: datetime) -> None:
        self.clock.moment = moment
        await self.freezer.freeze_due(moment)

    def frozen(self, moment: datetime = TEN) -> FrozenForecast:
        return self.table.lines["SPX", moment][0]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_the_row_of_the_time(rig: Rig) -> None:
    """It is frozen as soon as it is there; later rows change nothing."""
    rig.note(STEP - 1, spot=1.0)
    await rig.look(TEN - SECOND)
    assert rig.table.lines == {}
    await rig.look(TEN + SECOND)
    assert rig.table.lines == {}
    rig.note(STEP, spot=7700.0)
    await rig.look(TEN + 2 * SECOND)
    rig.note(STEP + 1, spot=2.0)
    await rig.look(TEN + 35 * SECOND)
    forecast = rig.frozen()
    assert (forecast.slot, forecast.frozen_at) == (TEN, TEN + 2 * SECOND)
    assert json.loads(forecast.content)["spot"] == 7700.0
    assert list(rig.table.lines) == [("SPX", TEN)]


@pytest.mark.parametrize(("step", "there"), [(STEP - 1, True), (STEP - 4, True), (STEP - 5, False)])
async def test_two_minutes_back_at_most(rig: Rig, step: int, there: bool) -> None:
    """9:58:00 will do, 9:57:30 will not; both only once the time's own slot is over."""
    rig.note(step)
    await rig.look(TEN + 44 * SECOND)
    assert rig.table.lines == {}
    await rig.look(TEN + 46 * SECOND)
    forecast = rig.frozen()
    assert (forecast.slot, forecast.missed) == ((at(step), None) if there else (None, NO_ROW))


async def test_a_later_row_ends_the_waiting(rig: Rig) -> None:
    """Once a row of after the time is there, none of before it will come."""
    rig.note(STEP - 2)
    rig.note(STEP + 1)
    await rig.look(TEN + 31 * SECOND)
    assert rig.frozen().slot == at(STEP - 2)


async def test_a_delayed_feed(tmp_path: Path) -> None:
    """Its row of 10:00 comes at 10:15, and is frozen then."""
    rig = Rig(tmp_path, DELAY)
    rig.note(STEP - 1)
    await rig.look(TEN + DELAY - SECOND)
    rig.note(STEP)
    assert rig.table.lines == {}
    await rig.look(TEN + DELAY + SECOND)
    assert rig.frozen().slot == TEN


async def test_rows_of_the_sampler_before(rig: Rig) -> None:
    """One that has just begun takes the row from the store."""
    rig.records[at(STEP)] = record(slot=at(STEP), spot=7711.0)
    await rig.look(TEN + 46 * SECOND)
    assert json.loads(rig.frozen().content)["spot"] == 7711.0


async def test_never_later(rig: Rig) -> None:
    """What nobody froze in two minutes is missed, though its row is stored."""
    rig.records[at(STEP)] = record(slot=at(STEP))
    await rig.look(TEN + 121 * SECOND)
    assert rig.table.lines == {}
    await rig.look(TEN + timedelta(minutes=31))
    assert (rig.frozen().missed, rig.frozen().content) == (NOT_RUNNING, None)


async def test_flow_of_half_an_hour(rig: Rig) -> None:
    """The flow since the open less what it was half an hour ago, if a row of then is stored."""
    rig.flows = {at(0): 5.0, at(1): 9.0}
    rig.note(STEP, hedge_flow_cumulative_all=7.5)
    await rig.look(TEN)
    assert json.loads(rig.frozen().content)["hedge_flow_30m"] == 2.5
    rig.flows = {at(STEP * 3 - 6): 5.0}
    noon = TEN + timedelta(hours=2)
    rig.note(STEP * 5, hedge_flow_cumulative_all=7.5)
    await rig.look(noon)
    assert json.loads(rig.frozen(noon).content)["hedge_flow_30m"] is None


async def test_the_database_is_away(rig: Rig, tmp_path: Path) -> None:
    """A forecast waits on disk, and is written later with both times; a successor writes it too."""
    rig.table.away = True
    rig.note(STEP)
    await rig.look(TEN + SECOND)
    await rig.freezer.write_waiting()
    assert len(list((tmp_path / "forecasts").iterdir())) == 1
    rig.table.away = False
    rig.clock.moment = TEN + timedelta(minutes=50)
    await rig.start().write_waiting()
    forecast, written_at = rig.table.lines["SPX", TEN]
    assert (forecast.slot, forecast.frozen_at) == (TEN, TEN + SECOND)
    assert written_at == TEN + timedelta(minutes=50)
    assert list((tmp_path / "forecasts").iterdir()) == []


async def test_rows_that_cannot_be_read(rig: Rig) -> None:
    """While the database is away and no row is at hand, the time is missed, and says why."""
    rig.away = True
    await rig.look(TEN + 50 * SECOND)
    assert rig.table.lines == {}
    await rig.look(TEN + 100 * SECOND)
    assert rig.frozen().missed == AWAY


async def test_nothing_expires(rig: Rig) -> None:
    """A symbol without an expiry today has no forecasts, and misses none."""
    rig.freezer.note(Outcome(symbol="SPX", reason=Reason.NO_ZERO_DTE))
    await rig.look(TEN + timedelta(hours=2))
    assert rig.table.lines == {}


async def test_in_the_store(store: Store, tmp_path: Path) -> None:
    """Rows and forecasts of a real store, by the background task."""
    await store.write([record(slot=at(0), source="test", hedge_flow_cumulative_all=1.5)])
    freezer = Freezer(
        store,
        store.of_feed,
        store.forecasts,
        WaitingForecasts(tmp_path),
        clock=HandClock(TEN + SECOND),
        symbols=lambda: {"SPX"},
        feed=lambda _: "test",
        delay=lambda _: timedelta(0),
        simulated=True,
    )
    measured = record(slot=at(STEP), hedge_flow_cumulative_all=4.0)
    async with freezer.running():
        freezer.note(Outcome(symbol="SPX", record=measured))
        for _ in range(200):
            lines = await store.forecasts.frozen("SPX", DAY, DAY)
            if lines:
                break
            await asyncio.sleep(0.05)
    content = json.loads(lines[0]["content"])
    assert (content["hedge_flow_30m"], content["simulated"]) == (2.5, True)
    assert lines[0]["missed"] is None


def test_a_file_that_is_not_whole(tmp_path: Path) -> None:
    """It is put aside, and holds up no other."""
    waiting = WaitingForecasts(tmp_path)
    forecast = FrozenForecast(
        symbol="SPX", expiration=DAY, source="test", freeze_time=TEN, frozen_at=TEN, missed="x"
    )
    waiting.add(forecast)
    waiting.add(forecast)
    (tmp_path / "a.forecast").write_bytes(b"{")
    assert [read for _, read in waiting.waiting()] == [forecast]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".forecast", ".unreadable"]


@pytest.mark.clocked
async def test_the_sampler_freezes(servers: Servers, database: str, tmp_path: Path) -> None:
    """``flow-sampler run`` over 10:00 of a simulated day: the row of 10:00 is frozen, on time."""
    clock = Clock(TEN - timedelta(seconds=75), 6.0, datetime.now(UTC))
    settings = {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": str(clock),
        "FLOW_SOURCE": "synthetic:?seed=3",
        "FLOW_SYMBOLS": "XSP",
        "FLOW_METRICS_PORT": "0",
        "FLOW_SPOOL_DIR": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sampler", "run"),
        env=os.environ | settings,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with Store.open(database, "synthetic") as synthetic:
            for _ in range(300):
                lines = await synthetic.forecasts.frozen("XSP", DAY, DAY)
                if lines:
                    break
                await asyncio.sleep(0.2)
            (line,) = lines
            assert (line["freeze_time"], line["slot"], line["missed"]) == (TEN, TEN, None)
            assert line["frozen_at"] - TEN < timedelta(minutes=2)
            content = json.loads(line["content"])
            assert (content["simulated"], content["source"]) == (True, "synthetic")
            row = (await synthetic.before("XSP", DAY, TEN + SECOND)).row
            assert (row.slot, row.spot) == (TEN, content["spot"])
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


@pytest.mark.parametrize("delay", [timedelta(0), DELAY])
async def test_a_fallback_freezes_what_the_first_feed_missed(rig: Rig, delay: timedelta) -> None:
    """Its row of the time, under its own name, beside the reason of the first feed."""
    second = rig.start_second(rig.freezer, delay)
    second.note(Outcome(symbol="SPX", record=record(slot=TEN, source="second", spot=7711.0)))
    await second.freeze_due(TEN + delay + 10 * SECOND)
    # The first feed's row may still come; a late fallback looks when that is decided.
    await rig.look(TEN + 10 * SECOND)
    assert rig.table.lines == {} or delay
    await rig.look(TEN + 50 * SECOND)
    assert rig.frozen().missed == NO_ROW
    await second.freeze_due(TEN + delay + 60 * SECOND)
    forecast, _ = rig.table.lines["SPX second", TEN]
    assert (forecast.source, forecast.slot) == ("second", TEN)
    assert json.loads(forecast.content)["spot"] == 7711.0
    assert len(rig.table.lines) == 2


async def test_a_fallback_freezes_nothing_else(rig: Rig) -> None:
    """Neither what the first feed has frozen, now or in an earlier run, nor that it missed itself."""
    second = rig.start_second(rig.freezer, DELAY)
    rig.note(STEP)
    await rig.look(TEN + SECOND)
    second.note(Outcome(symbol="SPX", record=record(slot=TEN, source="second")))
    await second.freeze_due(TEN + DELAY + SECOND)
    assert list(rig.table.lines) == [("SPX", TEN)]
    # Another run of the sampler knows of the first feed's forecast by the table alone.
    again = rig.start_second(rig.start(), DELAY)
    again.note(Outcome(symbol="SPX", record=record(slot=TEN, source="second")))
    rig.table.away = True
    await again.freeze_due(TEN + DELAY + SECOND)
    rig.table.away = False
    await again.freeze_due(TEN + DELAY + 2 * SECOND)
    assert list(rig.table.lines) == [("SPX", TEN)]
    # A time that neither has is missed once, by the first feed.
    rig.table.lines.clear()
    empty = rig.start_second(rig.start(), DELAY)
    await empty.freeze_due(TEN + DELAY + timedelta(minutes=40))
    assert rig.table.lines == {}
