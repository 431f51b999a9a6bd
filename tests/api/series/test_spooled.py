"""Slots that wait in a sampler's spool: what answers say of them, and what samplers announce."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app, keep_current
from api.series.gaps import SPOOLED, MissingSlots, missing_slots
from sampler.sources.synthetic.source import Synthetic
from storage.embedded.attach import Servers
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.api.conftest import SERIES, Caller
from tests.api.site import Still
from tests.rig import FailingStore, rig

SESSION = session_on(date(2026, 8, 19))
STEP, SECOND = timedelta(seconds=30), timedelta(seconds=1)


def slot_at(number: int) -> Any:
    assert SESSION is not None
    return SESSION.open + (20 + number) * STEP


def test_slots_that_wait() -> None:
    """Between the first and the last waiting slot; a row, a stored reason and the future beat it."""
    assert SESSION is not None
    first = int(SESSION.open.timestamp())
    missing, unexplained = missing_slots(
        SESSION, {first + 60}, {first + 90: "late"}, first + 180, (first + 30, first + 120)
    )
    assert missing == [
        MissingSlots(first, first + 30, "not_sampled"),
        MissingSlots(first + 30, first + 60, SPOOLED),
        MissingSlots(first + 90, first + 120, "late"),
        MissingSlots(first + 120, first + 150, SPOOLED),
        MissingSlots(first + 150, first + 210, "not_sampled"),
    ]
    assert unexplained == 5


async def test_a_sampler_that_cannot_reach_the_database(
    store: Store, servers: Servers, tmp_path: Path
) -> None:
    """The API can: it says ``spooled``, not ``not_sampled``, until the rows are there."""
    clock = Still(slot_at(0))
    broken = FailingStore(store)

    async def reasons(app: Caller, wanted: set[str]) -> str:
        """The ETag, once the answer's reasons of the slots from 0 on are these."""
        async with asyncio.timeout(30):
            while True:
                sent = await app.get(f"{SERIES}SPX?minutes=390&date=2026-08-19&bar=30s")
                begin = slot_at(0).isoformat().replace("+00:00", "Z")
                if {
                    gap["reason"] for gap in sent.json()["gap_intervals"] if gap["to"] > begin
                } == wanted:
                    return sent.headers["ETag"]
                await asyncio.sleep(0.1)

    async with (
        RedisChannel.open(servers.redis_url, "flow:live", store.identity) as live,
        rig(Synthetic(seed=3), broken, tmp_path, live=live) as rigged,
    ):
        app = create_app(store, live, clock, dataset="live")  # type: ignore[arg-type]
        following = asyncio.create_task(keep_current(app))
        try:
            async with Caller(
                transport=httpx.ASGITransport(app=app), base_url="http://flow"
            ) as caller:
                await rigged.step(["SPX"], slot_at(0) + SECOND)
                clock.moment = slot_at(1)
                await reasons(caller, set())
                broken.away = True
                for number in (1, 2):
                    await rigged.step(["SPX"], slot_at(number) + SECOND)
                clock.moment = slot_at(3)
                tag = await reasons(caller, {SPOOLED})
                # The slot after them was never sampled: that is known to nobody else.
                clock.moment = slot_at(4)
                other = await reasons(caller, {SPOOLED, "not_sampled"})
                assert tag != other
                heatmap = await caller.get(
                    "/v1/flow/zero-dte/heatmap/SPX?minutes=390&date=2026-08-19&bar=30s"
                )
                shown = {gap["reason"] for gap in heatmap.json()["gap_intervals"]}
                assert {SPOOLED, "not_sampled"} <= shown
                # Of 24 slots 20 were over at the first step; 1 and 2 wait, nobody sampled 3.
                lost = {"late": 20, "not_sampled": 1}
                assert await day_of_sessions(caller) == (24, 1, lost | {SPOOLED: 2})
                broken.away = False
                await rigged.writer.drained()
                await reasons(caller, {"not_sampled"})
                assert await day_of_sessions(caller) == (24, 3, lost)
                assert await live.waiting() == {}
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def day_of_sessions(app: Caller) -> tuple[int, int, dict[str, int]]:
    """Slots that have passed, rows, and the reasons of the others, of the one stored day."""
    sent = await app.get("/v1/flow/zero-dte/sessions/SPX")
    (day,) = sent.json()["sessions"]
    return day["slots"], day["rows"], day["reasons"]


async def test_announcements(servers: Servers, store: Store) -> None:
    """Two spools are one answer, by symbol; each takes its own back."""
    async with RedisChannel.open(servers.redis_url, "flow:live", store.identity) as live:
        await live.announce_waiting("", {})
        await live.announce_waiting(
            "a", {"SPX": (slot_at(1), slot_at(2)), "SPY": (slot_at(0), slot_at(0))}
        )
        await live.announce_waiting("b", {"SPX": (slot_at(2), slot_at(5))})
        assert await live.waiting() == {
            "SPX": (slot_at(1), slot_at(5)),
            "SPY": (slot_at(0), slot_at(0)),
        }
        await live.announce_waiting("a", {})
        assert await live.waiting() == {"SPX": (slot_at(2), slot_at(5))}
        await live.announce_waiting("b", {})
        assert await live.waiting() == {}
