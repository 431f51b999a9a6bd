"""Theta's rows beside other formats' and beside its own history: whole sessions, with faults."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import open_source
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta.source import Theta
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.record.row import Reason
from tests import forked
from tests.rig import rig, rows
from tests.vendors.same_row import (
    measured_rows,
    only_today,
    real_sessions,
    through_cboe,
    without,
)
from tests.vendors.server import VendorServer, cut, empty, garbage, html, slow, status
from tests.vendors.session import play_session
from tests.vendors.theta import ThetaVendor, prints_of

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
SLOTS = 40


def open_theta(server: ThetaVendor, options: str = "") -> Theta:
    source = open_source(f"theta:{server.url}?{options}")
    assert isinstance(source, Theta)
    return source


async def simulated(slots: int = SLOTS, symbol: str = "SPX") -> list[Frame]:
    """The first frames of a simulated day, today's contracts alone."""
    frames = []
    async for frame in Synthetic(seed=7).history(symbol, SESSION):
        assert isinstance(frame, Frame)
        frames.append(only_today(frame))
        if len(frames) == slots:
            break
    return frames


async def live_frames(server: ThetaVendor, frames: list[Frame], options: str = "") -> list[Frame]:
    """Each frame as a live source had it at its time."""
    source = open_theta(server, options)
    got = []
    for frame in frames:
        server.now = frame.quoted_at
        got.append(await source.live(frame.symbol, frame.fetched_at))
    await source.close()
    return got


async def past_frames(server: ThetaVendor, symbol: str, options: str = "") -> list[Frame]:
    source = open_theta(server, options)
    got = []
    async for frame in source.history(symbol, SESSION):
        assert isinstance(frame, Frame), frame
        got.append(frame)
    await source.close()
    return got


# One chain, every format.


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
async def test_real_chains_make_the_rows_that_they_make_through_cboe(name):
    """Every figure, to the last digit: with the index's price, and without it as without a spot."""
    frames = [
        # Where nobody knows when a contract last traded, a bar still has a time.
        dataclasses.replace(
            frame,
            last_at=np.where(np.isnan(frame.last_at), frame.quoted_at.timestamp(), frame.last_at),
        )
        for frame in real_sessions()[name]
    ]
    async with ThetaVendor() as server:
        server.put(*frames)
        ours = measured_rows(await live_frames(server, frames))
        assert ours == measured_rows(through_cboe(frames))
        if name == "lean":
            return  # two strikes are too few for parity
        server.refused = {"index/snapshot/price"}
        ours = measured_rows(await live_frames(server, frames))
        assert ours == measured_rows(through_cboe([without(frame, "spot") for frame in frames]))
        assert "spot_from_parity" in ours[0]["flags"]


# The same data, live and past.


async def test_history_makes_the_rows_of_live_sampling():
    """Past frames are the live ones, but for the times of last trades, which bars do not have."""
    frames = await simulated()
    async with ThetaVendor() as server:
        server.put(*frames)
        live = await live_frames(server, frames)
        past = await past_frames(server, "SPX")
        assert [frame.quoted_at for frame in past] == [frame.quoted_at for frame in frames]
        # Before 09:30:30 nothing is quoted and the index has no price.
        expected = measured_rows(without(frame, "last_at") for frame in live[1:])
        assert measured_rows(past[1:]) == expected
        server.minutes_only = True
        minutes = await past_frames(server, "SPX")
        expected = measured_rows(without(frame, "last_at") for frame in live[2::2])
        assert measured_rows(minutes[1:]) == expected


async def test_history_with_trades_knows_the_sides():
    """Rows with each print's side are those of frames that had told volume, sides and legs."""
    frames = await simulated()
    prints, expected = prints_of(frames)
    assert len(prints) > 3000
    async with ThetaVendor() as server:
        server.put(*frames)
        server.now = frames[-1].quoted_at
        server.prints["SPX"] = prints
        past = await past_frames(server, "SPX", "plan=standard")
    ours = measured_rows(past[1:])
    theirs = measured_rows(expected[1:])
    assert ours == theirs
    assert ours[-1]["detail"]["multi_leg_share"] > 0.1


class Untimed:
    """A source whose last trades have no times, as a history's have none."""

    def __init__(self, source: Theta) -> None:
        self.source = source

    async def live(self, symbol: str, now: datetime) -> Frame:
        return without(await self.source.live(symbol, now), "last_at")

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)


async def test_a_backfill_stores_what_live_sampling_stored(database, servers, tmp_path: Path):
    """By command: it says what it asks for; the rows are the live ones; again changes no byte."""
    frames = await simulated()
    async with ThetaVendor() as server:
        server.put(*frames)
        source = open_theta(server)
        async with (
            Store.open(database, "synthetic", size=4) as store,
            rig(Untimed(source), store, tmp_path) as rigged,
        ):
            for frame in frames:
                server.now = frame.quoted_at
                await rigged.step(["SPX"], frame.quoted_at)
        await source.close()

        def backfill() -> str:
            done = forked.run(
                [
                    *(sys.executable, "-m", "sampler", "backfill", "--symbols", "SPX"),
                    *("--from", f"{DAY}", "--to", f"{DAY}", "--source", f"theta:{server.url}"),
                ],
                env=os.environ
                | {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        output = backfill()
        assert output.startswith(
            "SPX: theta will be asked 5 requests for 1 sessions, about 781,280"
        )
        assert "39 rows written, 0 there already, 1 frames refused" in output
        past, live = rows(database, "live"), rows(database, "synthetic")
        assert len(past) == SLOTS - 1
        assert past.keys() == live.keys()
        for key, row in past.items():
            assert {name for name in row if row[name] != live[key][name]} == {"backfilled"}, key

        def stored() -> list[str]:
            with psycopg.connect(database) as connection:
                tables = ("rows", "profiles", "chains", "gaps")
                return [
                    str(line)
                    for table in tables
                    for line in connection.execute(f"select * from live.{table} order by slot")
                ]

        before = stored()
        assert "0 rows written, 39 there already" in backfill()
        assert stored() == before


# A session with faults.


def fault_on(fault: object, path: str = "") -> Callable[[VendorServer], None]:
    """A fault over all answers, or those of a path."""

    def trouble(server: VendorServer) -> None:
        server.inject(fault, when=lambda request: request.path.endswith(path))

    return trouble


def freeze(server: VendorServer) -> None:
    server.frozen = True


def body(text: bytes) -> object:
    return lambda answer: dataclasses.replace(answer, headers={}, body=text)


def halve(answer):
    import gzip

    text = gzip.decompress(answer.body)
    return dataclasses.replace(answer, headers={}, body=text[: len(text) // 2 - 3])


DOWN, BAD = Reason.SOURCE_DOWN, Reason.BAD_ANSWER
#: Slot → what the terminal does, and the reason and words of the gap; no reason: a row, with a
#: flag, or as any other.
TROUBLES: dict[int, tuple[Callable[[VendorServer], None], Reason | None, str]] = {
    5: (fault_on(status(571)), DOWN, "theta is still starting (answer 571)"),
    6: (fault_on(status(474), "quote"), DOWN, "has lost its connection to Theta Data"),
    7: (
        fault_on(status(471), "ohlc"),
        DOWN,
        "the plan is without option/snapshot/ohlc (answer 471)",
    ),
    8: (fault_on(status(429)), DOWN, "answer 429"),
    10: (fault_on(html()), BAD, "theta answered option/snapshot"),
    11: (fault_on(empty(), "quote"), BAD, "with nothing"),
    12: (fault_on(garbage(), "ohlc"), BAD, "theta answered option/snapshot/ohlc"),
    13: (fault_on(cut(), "quote"), DOWN, "theta cannot be reached"),
    14: (fault_on(slow(3), "quote"), DOWN, "did not answer in time"),
    15: (fault_on(halve, "quote"), BAD, "no CSV"),
    16: (fault_on(body(b"timestamp,symbol\n"), "quote"), BAD, "without the column"),
    17: (fault_on(status(472), "quote"), DOWN, "quotes none of them"),
    20: (fault_on(status(471), "price"), None, "spot_from_parity"),
    # From then on the price is not asked for on this day.
    **dict.fromkeys(range(21, 420), (lambda server: None, None, "spot_from_parity")),
    30: (fault_on(status(472), "ohlc"), None, "volume_held"),
    31: (lambda server: None, None, "volume_recovered"),
    35: (freeze, Reason.UNCHANGED, "no newer quote"),
    **dict.fromkeys(range(101, 105), (freeze, Reason.UNCHANGED, "no newer quote")),
    **dict.fromkeys(range(105, 110), (freeze, Reason.STALE, "no newer quote")),
}


async def test_a_session_with_faults_is_rows_and_gaps_with_reasons():
    """A short session at 30 s: 420 slots, each a row on its own slot, or the terminal's reason."""
    session = session_on(date(2026, 11, 27))
    async with ThetaVendor() as server:
        source = open_theta(server, "plan=pro&budget=2.2&timeout=2&expiries=0")
        outcomes = await play_session(
            source, server, "SPX", session, {slot: t[0] for slot, t in TROUBLES.items()}
        )
        await source.close()
    assert len(outcomes) == session.slot_count == 420
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        _, reason, words = TROUBLES.get(number, (None, None, ""))
        if number == 0:
            reason, words = Reason.NOT_OPEN, ""
        assert outcome.reason is reason, (number, outcome.reason, outcome.detail)
        if outcome.record is None:
            assert words in outcome.detail, (number, outcome.detail)
            continue
        row = outcome.record.row
        assert row.slot == slot
        assert not words or words in row.flags, (number, row.flags)
        assert number >= 20 or "spot_from_parity" not in row.flags
    measured = [outcome.record.row for outcome in outcomes if outcome.record]
    gaps = sum(reason is not None for _, reason, _ in TROUBLES.values())
    assert len(measured) == 420 - 1 - gaps
    assert measured[-1].total_volume > measured[0].total_volume > 0


async def test_a_past_session_with_faults_ends_with_a_reason():
    """Each kind of fault on each path: all frames, or a refusal in a sentence; never an exception."""
    frames = await simulated(4)
    async with ThetaVendor() as server:
        server.put(*frames)
        server.now = frames[-1].quoted_at
        server.prints["SPX"] = prints_of(frames)[0]
        paths = ("quote", "ohlc", "open_interest", "price", "trade_quote")
        faults = (html(), empty(), garbage(), cut(), halve, status(404), status(571), slow(0.6))
        for path in paths:
            for fault in faults:
                server.heal()
                server.inject(fault, when=lambda request, path=path: request.path.endswith(path))
                source = open_theta(server, "plan=pro&patience=0.25")
                got = [outcome async for outcome in source.history("SPX", SESSION)]
                await source.close()
                refused = [outcome for outcome in got if isinstance(outcome, ChainRefused)]
                assert len(refused) == 1, (path, got)
                assert str(refused[0]).startswith("SPX: theta "), refused
                assert refused[0].reason in (DOWN, BAD)
