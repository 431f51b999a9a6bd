"""What a close is, and which forecasts it judges; both commands, and the sampler after the close."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories import DAY, at, record

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.live.settler import Settler
from sampler.scoring import fixed_before, score_session, settle_session
from sampler.sources.synthetic.source import Synthetic
from storage.embedded.attach import Servers
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.record.row import Reason
from storage.scorecard.forecast import FORECAST_COLUMNS, freeze
from tests import forked

SESSION = session_on(DAY)
HALF_PAST = datetime(2026, 8, 19, 19, 30, tzinfo=UTC)
#: The slot of 15:30.
STEP = 720
NOW = datetime(2026, 8, 19, 20, 30, tzinfo=UTC)


def frame(symbol: str, quoted_at: datetime, spot: float) -> Frame:
    return Frame.of(
        symbol=symbol,
        source="test",
        delay_seconds=0,
        quoted_at=quoted_at,
        fetched_at=quoted_at,
        spot=spot,
        columns={
            "expiry": np.array([1787169600.0]),
            "root": np.array(["SPXW"]),
            "strike": np.array([100.0]),
            "right": np.array([1]),
        },
    )


class Feed:
    """A source of a few frames, past and now."""

    name = "test"
    synthetic = False

    def __init__(self, *frames: Frame) -> None:
        self.frames = frames

    async def history(self, symbol, session):
        for each in self.frames:
            yield each

    async def live(self, symbol, now):
        if not self.frames:
            raise ChainRefused(Reason.SOURCE_DOWN, "away")
        return self.frames[-1]


def minutes_after(count: float) -> datetime:
    return SESSION.close + timedelta(minutes=count)


async def close_of(store: Store, symbol: str = "SPX") -> tuple[Any, ...] | None:
    closes = await store.forecasts.settlements(symbol, DAY, DAY)
    return (closes[DAY]["price"], closes[DAY]["origin"]) if DAY in closes else None


async def half_hour(store: Store, **changes: Any) -> None:
    """Rows from 15:28 to the close; spot rises from 7700 by a cent a slot."""
    await store.write(
        [
            record(
                slot=at(step),
                quoted_at=at(step),
                spot=7700 + (step - STEP) / 100,
                **{"remaining_1sd": 0.5, "quote_age_seconds": 2.0} | changes,
            )
            for step in range(STEP - 4, 780)
        ]
    )


async def freeze_at_half_past(store: Store, written_at: datetime) -> None:
    row = record(slot=at(STEP), spot=7700.0, remaining_1sd=0.5).row
    values = {name: getattr(row, name) for name in FORECAST_COLUMNS}
    values["detail"] = row.detail.as_json()
    forecast = freeze(values, HALF_PAST, frozen_at=HALF_PAST, simulated=True, flow_before=1.0)
    await store.forecasts.freeze(forecast, written_at)


async def test_an_index_settles_at_its_frame_after_the_close(store: Store) -> None:
    """Not before, not later than 20 minutes; of several the last one. Without one there is none."""
    early, late = frame("SPX", minutes_after(-0.1), 1.0), frame("SPX", minutes_after(21), 2.0)
    assert not await settle_session(store, "SPX", SESSION, Feed(early, late))
    assert not await settle_session(store, "SPX", SESSION, None)
    frames = [frame("SPX", minutes_after(k), 7700.0 + k) for k in (1, 14)]
    assert await settle_session(store, "SPX", SESSION, Feed(early, *frames, late))
    assert await close_of(store) == (7714.0, "closing_frame")
    # What is noted stays.
    assert await settle_session(store, "SPX", SESSION, Feed(frames[0]))
    assert await close_of(store) == (7714.0, "closing_frame")


async def test_a_fund_settles_at_its_last_row(store: Store) -> None:
    """One of the session's last seconds that was fetched soon; its price at night is no close."""
    night = Feed(frame("SPY", minutes_after(14), 1.0))
    assert not await settle_session(store, "SPY", SESSION, night)
    quoted = {"symbol": "SPY", "quoted_at": SESSION.close - timedelta(seconds=46)}
    await store.write([record(slot=at(778), spot=770.5, quote_age_seconds=2.0, **quoted)])
    assert not await settle_session(store, "SPY", SESSION, night)
    quoted["quoted_at"] = SESSION.close - timedelta(seconds=1)
    await store.write([record(slot=at(779), spot=770.75, quote_age_seconds=2.0, **quoted)])
    assert await settle_session(store, "SPY", SESSION, night)
    assert await close_of(store, "SPY") == (770.75, "last_row")


async def test_a_fund_that_was_fetched_at_night_has_no_close(store: Store) -> None:
    """Quotes of 15:59:59 with the spot of the next morning."""
    quoted = {"symbol": "SPY", "quoted_at": SESSION.close - timedelta(seconds=1)}
    await store.write([record(slot=at(779), quote_age_seconds=60_000.0, **quoted)])
    assert not await settle_session(store, "SPY", SESSION, None)


async def test_the_simulated_market_knows_its_close(store: Store) -> None:
    """The price of the day's last second, of funds too."""
    source = Synthetic(seed=3)
    for symbol in ("SPX", "SPY"):
        assert await settle_session(store, symbol, SESSION, source)
        price = float(source.day(symbol, SESSION).tape.spot[23_400])
        assert await close_of(store, symbol) == (price, "simulated")


async def test_scores(store: Store) -> None:
    """A frozen forecast and those of the rows, each of its kind; a corrected close judges anew."""
    await half_hour(store)
    await freeze_at_half_past(store, HALF_PAST)
    scored = {"now": NOW, "simulated": False}
    assert await score_session(store, "SPX", SESSION, **scored) is None
    await store.forecasts.settle("SPX", DAY, 7700.4, origin="entered", quoted_at=SESSION.close)
    assert await score_session(store, "SPX", SESSION, **scored) == {"frozen": 1}
    (line,) = await store.forecasts.scores("SPX", DAY, DAY)
    assert (line["kind"], line["freeze_time"], line["price"]) == ("frozen", HALF_PAST, 7700.4)
    assert line["outcome"]["within_1sigma"] is True
    assert line["outcome"]["return_bp"]["5"] == pytest.approx(0.1 / 7700 * 1e4, rel=1e-4)
    assert line["digest"] == (await store.forecasts.frozen("SPX", DAY, DAY))[0]["digest"]
    await store.forecasts.settle(
        "SPX", DAY, 7701.0, origin="entered", quoted_at=SESSION.close, correct=True
    )
    assert await score_session(store, "SPX", SESSION, **scored) == {"frozen": 1}
    (line,) = await store.forecasts.scores("SPX", DAY, DAY)
    assert (line["price"], line["outcome"]["within_1sigma"]) == (7701.0, False)


async def test_what_was_written_too_late_is_not_frozen(store: Store) -> None:
    """One that reached the database after the close is no forecast; its time is judged as hindsight."""
    await half_hour(store)
    await freeze_at_half_past(store, minutes_after(1))
    await store.forecasts.settle("SPX", DAY, 7700.0, origin="entered", quoted_at=SESSION.close)
    counts = await score_session(store, "SPX", SESSION, now=NOW, simulated=False)
    assert counts == {"backfilled": 1}
    (line,) = await store.forecasts.scores("SPX", DAY, DAY)
    assert line["kind"] == "backfilled"
    assert json.loads(line["content"])["simulated"] is False


def test_whose_clock() -> None:
    """In a real market the database's clock decides, not what the sampler says."""
    early, late = minutes_after(-10), minutes_after(10)
    for simulated, fixed in ((True, True), (False, False)):
        content = json.dumps({"simulated": simulated})
        line = {"content": content, "written_at": early, "stored_at": late}
        assert fixed_before(line, SESSION.close) is fixed


async def test_recorded_frames_have_their_own_times(store: Store) -> None:
    """Two rows of a recording at 10:14 and 15:28: both are forecasts, of the kind recorded."""
    for step in (88, 716):
        await store.write([record(slot=at(step), source="recorded", spot=7700.0)])
    await store.forecasts.settle("SPX", DAY, 7701.0, origin="entered", quoted_at=SESSION.close)
    counts = await score_session(store, "SPX", SESSION, now=NOW, simulated=False)
    assert counts == {"recorded": 2}
    lines = await store.forecasts.scores("SPX", DAY, DAY)
    assert [line["freeze_time"] for line in lines] == [at(88), at(716)]
    assert lines[0]["outcome"]["walls"] == []


async def test_after_the_close(store: Store) -> None:
    """From 14 minutes after the close the sampler settles and scores, once; a refusal is tried
    again later."""
    await half_hour(store)
    feed = Feed()
    clock = SimpleNamespace(simulated=False)
    settler = Settler(
        store,
        feed,
        clock=clock,
        symbols=lambda: {"SPX"},
        delay=lambda _: timedelta(minutes=15),
        budget=10.0,
    )
    await settler.settle_ended(minutes_after(28.9))
    await settler.settle_ended(minutes_after(29.1))
    assert await close_of(store) is None
    feed.frames = (frame("SPX", minutes_after(14), 7700.6),)
    await settler.settle_ended(minutes_after(29.2))
    assert await close_of(store) is None
    settler._again.clear()
    await settler.settle_ended(minutes_after(29.8))
    assert await close_of(store) == (7700.6, "closing_frame")
    assert len(await store.forecasts.scores("SPX", DAY, DAY)) == 1


@pytest.fixture
def run(servers: Servers, database: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        settings = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
        return forked.run(
            [sys.executable, "-m", *words, "--dataset", "live"],
            env=os.environ | settings, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return command


async def test_the_commands(store: Store, run: Callable[..., Any]) -> None:
    """A close that is entered, once, and corrected; the scorecard as text and as JSON."""
    await half_hour(store)
    unsettled = run("sampler", "score", "--symbols", "SPX")
    assert unsettled.returncode == 0, unsettled.stderr
    assert "SPX: nothing is scored." in unsettled.stdout
    assert "1 sessions have no close" in unsettled.stdout
    settle = ("storage", "settle", "--symbol", "SPX", "--day", str(DAY), "--close")
    assert run(*settle, "7701").returncode == 0
    again = run(*settle, "7700.4")
    assert (again.returncode, "--correct" in again.stdout) == (1, True)
    assert run(*settle, "7700.4", "--correct", "--note", "the exchange's page").returncode == 0
    for wrong in ("nan", "-1"):
        assert run(*settle, wrong).returncode == 2
    assert run(*settle[:4], "--day", "2026-08-22", "--close", "1").returncode == 2
    text = run("sampler", "score", "--symbols", "SPX").stdout
    assert "SPX, made afterwards from stored rows: 1 forecasts of 1 sessions" in text
    card = json.loads(run("sampler", "score", "--symbols", "SPX", "--json").stdout)["SPX"]
    assert card["backfilled"]["closes"] == {"entered": 1}
    assert card["backfilled"]["range_1sigma"]["within_pct"] == 100.0
    assert card["frozen"] is None
