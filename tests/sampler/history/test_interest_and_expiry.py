"""Open interest and missing expiries through a store: backfill, restart, recomputation."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from chains import TEN_FOURTEEN, frame

from sampler.history.backfill import BackfillOptions, backfill_session
from sampler.history.recompute import recompute_session
from sampler.live.tick import Tick
from storage.market.calendar import market_day, session_on
from storage.postgres.store import Store
from storage.redis.channel import NoChannel

SESSION = session_on(market_day(TEN_FOURTEEN))
STRIKES = [7680.0, 7690.0, 7700.0, 7710.0, 7720.0]
N = 10
TODAY = [10.0, 20.0, 30.0, 40.0, 50.0, 15.0, 25.0, 35.0, 45.0, 55.0]
OTHER = [value + 7.0 for value in TODAY]
FRIDAY = [np.datetime64("2026-08-21")] * N


def sample(i, symbol="SPX", **columns):
    when = TEN_FOURTEEN + timedelta(seconds=30 * i)
    values = {"open_interest": TODAY, "volume": [50.0 + 10 * i] * N} | columns
    return frame(symbol=symbol, strikes=STRIKES, quoted_at=when, **values)


class Feed:
    name, synthetic, remote, delay_seconds = "test", False, False, 0

    def __init__(self, frames):
        self.frames = frames
        self.next = 0

    async def history(self, symbol, session):
        for each in self.frames:
            yield each

    async def live(self, symbol, now):
        self.next += 1
        return self.frames[self.next - 1]


async def fill(store, frames, symbol, **options):
    return await backfill_session(
        Feed(frames),
        store,
        NoChannel(),
        symbol=symbol,
        session=SESSION,
        options=BackfillOptions(oi_confidence=0.43, **options),
    )


@pytest.mark.parametrize(
    ("symbol", "bad", "reasons"),
    [
        ("SPX", {1}, ["bad_answer"]),
        ("SPX", {0, 1}, ["bad_answer"] * 2),
        ("NVDA", {1}, ["bad_answer"]),
        ("NVDA", {0}, ["no_zero_dte"]),
    ],
)
async def test_a_frame_without_its_expiry(database, symbol, bad, reasons):
    """It is a bad answer once there is a row, or where the exchanges list an expiry every session."""
    frames = [sample(i, symbol, **({"expiry": FRIDAY} if i in bad else {})) for i in range(3)]
    async with Store.open(database, "live") as store:
        result, _ = await fill(store, frames, symbol)
        assert result.written == 3 - len(bad)
        assert [g["reason"] for g in await store.gaps(symbol, SESSION.day)] == reasons
        # The slots that are missing are filled by better frames; no other row changes.
        good = [sample(i, symbol) for i in range(3)]
        again, _ = await fill(store, good, symbol, missing=True)
        assert (again.written, again.already_there) == (len(bad), 3 - len(bad))
        assert await store.gaps(symbol, SESSION.day) == []


async def test_every_contract_dropped(database):
    """The same of a frame none of whose contracts of today can be read."""
    frames = [sample(0), sample(1, right=[0] * N), sample(2)]
    async with Store.open(database, "live") as store:
        await fill(store, frames, "SPX")
        assert [g["reason"] for g in await store.gaps("SPX", SESSION.day)] == ["bad_answer"]


async def test_restart_and_recompute(database):
    """A new process with a new connection each slot goes on with the standing set."""
    sets = [TODAY, OTHER, [0.0] * N, [math.nan] * 2 + OTHER[2:], OTHER, TODAY]
    frames = [sample(i, open_interest=sent) for i, sent in enumerate(sets)]
    for each in frames:
        async with Store.open(database, "live") as store:
            tick = Tick(Feed([each]), store, NoChannel(), oi_confidence=0.43, budget=5, quiet=True)
            moment = each.quoted_at
            step = timedelta(seconds=30)
            target = SESSION.open + (moment - SESSION.open) // step * step
            out = await tick.sample("SPX", now=each.fetched_at, target=target)
            assert out.stored, out.detail
    async with Store.open(database, "live") as store:
        records = [r async for r in store.records("SPX", SESSION.day)]
        assert [r.row.total_oi for r in records] == [325] * 6
        names = {"no_open_interest", "oi_partial", "oi_changed", "oi_recovered"}
        assert [names & set(r.row.flags) for r in records] == [
            set(),
            {"oi_changed"},
            {"oi_partial"},
            {"oi_partial"},
            {"oi_changed", "oi_recovered"},
            set(),
        ]
        again = await recompute_session(store, NoChannel(), symbol="SPX", session=SESSION)
        assert (again.rewritten, again.diff.fields) == (0, {})
