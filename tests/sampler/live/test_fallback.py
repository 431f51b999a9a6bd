"""A second feed stands in while the first one fails; each feed's session is whole by itself."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from typing import Any

import psycopg
from rig import STEP, open_store, rig

from sampler.errors import ChainRefused
from sampler.live.fallback import Fallback
from sampler.live.slots import SlotTracker
from sampler.live.tick import Tick
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.record.row import Reason
from storage.redis.channel import NoChannel

SESSION = session_on(date(2026, 11, 27))
SLOTS = SESSION.slots[:60]
#: The slots at which the first feed gives nothing, and after how many the second one changes.
DOWN, AFTER = range(20, 35), 4


class Feed:
    """A simulated market under a name, which gives nothing at some slots."""

    synthetic, remote, delay_seconds = True, False, 0

    def __init__(self, name: str, seed: int, down: Any = ()) -> None:
        self.name, self.down, self.calls = name, down, 0
        self._market = Synthetic(seed=seed)

    async def live(self, symbol, now):
        self.calls += 1
        if (now - SESSION.open) // STEP in self.down:
            raise ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: the vendor does not answer")
        frame = await self._market.live(symbol, now - timedelta(seconds=self.delay_seconds))
        return dataclasses.replace(frame, source=self.name, delay_seconds=self.delay_seconds)


async def sampled(url: str, folder: Any, second: Feed | None, lag: timedelta) -> dict[str, Any]:
    """Sample ``SLOTS`` with or without a fallback; return what is stored, by feed and slot."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path to synthetic")
        connection.execute("truncate rows, profiles, chains, gaps, sessions, heads, watched")
    async with (
        open_store(url) as store,
        rig(Feed("first", 3, DOWN), store, folder, batch_seconds=0.001) as rigged,
    ):
        fallback = None
        if second is not None:
            second.delay_seconds = int(lag.total_seconds())
            tick = Tick(
                second, rigged.writer, NoChannel(), oi_confidence=0.43, budget=5, quiet=True
            )
            tracker = SlotTracker(tick, store, rigged.writer, delay=lag, fallback=True)
            fallback = Fallback(tracker, symbols=["SPX"], delay=lambda _: lag, after=AFTER)
        for slot in [*SLOTS, SLOTS[-1] + lag] if lag else SLOTS:
            now = slot + timedelta(seconds=1)
            if slot in SLOTS:
                outcome = (await rigged.step(["SPX"], now))["SPX"]
                await rigged.tracker.account_sessions(now)
                if fallback is not None:
                    fallback.note(outcome)
            if fallback is not None:
                await fallback.step("SPX", now, rigged.tracker.symbols)
                await fallback.tracker.account_sessions(now)
        stored: dict[str, Any] = {}
        for name in ("first", "second"):
            feed = store.of_feed(name)
            records = [record async for record in feed.records("SPX", SESSION.day)]
            stored[name] = (
                {r.row.slot: (r.row.as_json(), r.evidence) for r in records},
                {g["slot"]: g["reason"] for g in await feed.gaps("SPX", SESSION.day)},
            )
        stored["feeds"] = await store.feeds("SPX", SESSION.day)
    return stored


def without_passing(rows: dict[Any, Any]) -> dict[Any, Any]:
    return {
        slot: {k: v for k, v in row.items() if k not in ("fetched_at", "quote_age_seconds")}
        for slot, (row, _) in rows.items()
    }


async def test_each_feeds_session_is_whole(database, tmp_path):
    """Every slot of both is a row or a gap; the first feed's rows are those without a fallback."""
    alone = await sampled(database, tmp_path / "a", None, timedelta(0))
    second = Feed("second", 11)
    both = await sampled(database, tmp_path / "b", second, timedelta(0))
    rows, gaps = both["first"]
    assert without_passing(rows) == without_passing(alone["first"][0])
    assert gaps == {SLOTS[0]: "not_open"} | {SLOTS[i]: "source_down" for i in DOWN}
    # Begun after the fourth slot without a row, ended after the fourth with one again.
    sampled_slots = range(DOWN[0] + AFTER - 1, DOWN[-1] + AFTER)
    rows, gaps = both["second"]
    assert list(rows) == [SLOTS[i] for i in sampled_slots]
    assert gaps == {s: "standby" for i, s in enumerate(SLOTS) if i not in sampled_slots}
    assert second.calls == len(sampled_slots)
    # Its flow counts from its own first slot, never from a row of the first feed.
    assert {row["flow_since"] for row, _ in rows.values()} == {
        rows[SLOTS[sampled_slots[0]]][0]["slot"]
    }
    assert rows[SLOTS[sampled_slots[0]]][0]["differenced_from"] is None
    assert both["feeds"] == {"first": True, "second": False}
    assert alone["feeds"] == {"first": True}


async def test_a_fallback_that_lags(database, tmp_path):
    """It goes on until its quotes are of the time at which the first feed is back."""
    lag = 6 * STEP
    rows, gaps = (await sampled(database, tmp_path, Feed("second", 11), lag))["second"]
    begun, back = DOWN[0] + AFTER - 1 - 6, DOWN[-1] + 1
    assert list(rows) == [SLOTS[i] for i in range(begun, back)]
    assert set(gaps.values()) == {"standby"}
    assert [SLOTS.index(s) for s in gaps if s > SLOTS[begun]] == list(range(back, len(SLOTS)))


async def test_what_is_no_fault_of_the_feed(database, tmp_path):
    """A market that is not open yet, or nothing newer, begins no fallback."""
    second = Feed("second", 11)
    async with open_store(database) as store, rig(Feed("first", 3), store, tmp_path) as rigged:
        tracker = SlotTracker(rigged.tick, store, rigged.writer, delay=STEP, fallback=True)
        fallback = Fallback(tracker, symbols=["SPX"], delay=lambda _: STEP, after=1)
        (outcome,) = (await rigged.step(["SPX"], SLOTS[9])).values()
        for reason in set(Reason) - {"source_down", "bad_answer", "stale", "no_spot", "no_iv"}:
            fallback.note(dataclasses.replace(outcome, record=None, reason=reason))
            assert await fallback.step("SPX", SLOTS[10], ["SPX"]) is None
    assert second.calls == 0
