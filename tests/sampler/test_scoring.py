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

    synthetic = False

    def __init__(self, *frames: Frame, name: str = "test", delay_seconds: float = 0.0) -> None:
        self.frames = frames
        self.name, self.delay_seconds = name, delay_seconds
        #: How often it was asked for a frame of now.
        self.requests = 0

    async def history(self, symbol, session):
        for each in self.frames:
            yield each

    async def live(self, symbol, now):
        self.requests += 1
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


def settler(store: Store, feed: Feed, fallback: Feed, symbol: str = "SPX") -> Settler:
    return Settler(
        store,
        feed,
        clock=SimpleNamespace(simulated=False),
        symbols=lambda: {symbol},
        delay=lambda _: timedelta(seconds=feed.delay_seconds),
        budget=10.0,
        fallback=fallback,
        fallback_symbols={symbol},
    )


async def noted(store: Store, symbol: str = "SPX") -> tuple[Any, ...] | None:
    """A close's price and feed."""
    closes = await store.forecasts.settlements(symbol, DAY, DAY)
    return (closes[DAY]["price"], closes[DAY]["detail"]) if DAY in closes else None


@pytest.mark.parametrize("failure", ["away", "quoted before the close", "without a spot"])
async def test_the_fallback_is_asked_for_a_close(store: Store, failure: str) -> None:
    """Where the first feed has none; it is noted under the fallback's name, and scored."""
    await half_hour(store)
    frames = {
        "away": (),
        "quoted before the close": (frame("SPX", minutes_after(-1), 1.0),),
        "without a spot": (frame("SPX", minutes_after(14), float("nan")),),
    }[failure]
    fallback = Feed(frame("SPX", minutes_after(14), 7700.6), name="second")
    await settler(store, Feed(*frames, name="first"), fallback).settle_ended(minutes_after(14.1))
    assert await noted(store) == (7700.6, "second")
    assert len(await store.forecasts.scores("SPX", DAY, DAY)) == 1


async def test_the_first_feeds_close_counts(store: Store) -> None:
    """The fallback is not asked where the first feed has one."""
    await half_hour(store)
    first = Feed(frame("SPX", minutes_after(14), 7700.6), name="first")
    fallback = Feed(frame("SPX", minutes_after(14), 1.0), name="second")
    await settler(store, first, fallback).settle_ended(minutes_after(14.1))
    assert await noted(store) == (7700.6, "first")
    assert fallback.requests == 0


@pytest.mark.parametrize("first_has_one", [True, False])
async def test_a_fallback_ahead_of_the_first_feed(store: Store, first_has_one: bool) -> None:
    """Its close is taken while it is quoted, and waits until the first feed had its time."""
    await half_hour(store)
    first = Feed(name="first", delay_seconds=900)
    fallback = Feed(frame("SPX", minutes_after(14), 7700.6), name="second")
    settling = settler(store, first, fallback)
    for minute in (13.9, 14.1, 14.2):
        await settling.settle_ended(minutes_after(minute))
    assert (first.requests, fallback.requests) == (0, 1)
    assert await noted(store) is None
    fallback.frames = (frame("SPX", minutes_after(29), 1.0),)
    if first_has_one:
        first.frames = (frame("SPX", minutes_after(14), 7700.7),)
    await settling.settle_ended(minutes_after(29.1))
    assert await noted(store) == ((7700.7, "first") if first_has_one else (7700.6, "second"))


async def test_a_fallback_behind_the_first_feed(store: Store) -> None:
    """It is asked when its own quotes are those of the close."""
    await half_hour(store)
    first, fallback = Feed(name="first"), Feed(name="second", delay_seconds=900)
    settling = settler(store, first, fallback)
    await settling.settle_ended(minutes_after(14.1))
    assert (first.requests, fallback.requests) == (1, 0)
    fallback.frames = (frame("SPX", minutes_after(14), 7700.6),)
    settling._again.clear()
    await settling.settle_ended(minutes_after(29.1))
    assert await noted(store) == (7700.6, "second")


async def test_a_fund_settles_at_the_fallbacks_last_row(store: Store) -> None:
    """Where the shown feed's rows end before the close, and another feed's do not."""
    early, last = (SESSION.close - timedelta(seconds=s) for s in (330, 1))
    both = {"symbol": "SPY", "quote_age_seconds": 2.0}
    await store.write([record(slot=at(768), quoted_at=early, spot=1.0, **both)])
    await store.own({"SPY": "cboe"}, DAY)
    await store.write([record(slot=at(779), quoted_at=last, spot=770.75, source="second", **both)])
    assert await settle_session(store, "SPY", SESSION, None)
    assert await noted(store, "SPY") == (770.75, "second")


async def test_when_a_feed_is_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 s while its quotes can be a close, then each ten minutes."""
    await half_hour(store)
    first, fallback = Feed(name="first"), Feed(name="second")
    settling, watch = settler(store, first, fallback), [0.0]
    module = SimpleNamespace(monotonic=lambda: watch[0])
    monkeypatch.setattr("sampler.live.settler.time", module)
    counts = []
    for seconds in range(0, 3600, 10):
        watch[0] = float(seconds)
        await settling.settle_ended(minutes_after(14) + timedelta(seconds=seconds))
        counts.append((first.requests, fallback.requests))
    # Six minutes at 30 s, then each ten minutes.
    assert counts[36] == (13, 13)
    assert counts[-1] == (19, 19)


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
