"""Chains of later expirations: asked for beside the slots, and never at a slot's cost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import structlog

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.live.tick import DryRunStore, Tick
from sampler.measure.other_expiries import OtherExpiries, measure_other_expiries
from sampler.sources import Source, later_expiries
from sampler.sources.later_expiries import LaterExpiries, LaterExpiry
from sampler.sources.polling import Polling
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from storage.redis.channel import NoChannel
from tests import real_chains
from tests.vendors import server as faults
from tests.vendors.feeds import FEEDS, PATIENT, SLOTS_ALONE
from tests.vendors.server import Request, VendorServer

#: Vendors that answer one expiration at a time.
NAMES = ["massive", "schwab", "theta", "tradier"]
TODAY = date(2026, 8, 19)
NOW = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
STEP = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later_expiries, "AFTER", 0.0)


# With a vendor


def whole_chain() -> Frame:
    """A real chain of SPX, all expirations of it; the price of the underlying in cents."""
    frame = real_chains.volkit().frame
    return dataclasses.replace(frame, spot=round(frame.spot, 2), last_at=np.floor(frame.last_at))


def figures(frame: Frame, spot: float) -> OtherExpiries:
    """What the other expirations of a frame add, with today's market of 12 % and four hours."""
    session = session_on(market_day(frame.quoted_at))
    return measure_other_expiries(frame, session, spot=spot, atm=0.12, years=4 / 8760)


async def slots(source: Source, server: VendorServer, frame: Frame, count: int) -> list[Frame]:
    """A frame a slot from a vendor that shows the same chain, only later; runs end between."""
    came = []
    for _ in range(count):
        frame = dataclasses.replace(frame, quoted_at=frame.quoted_at + STEP)
        server.put(frame)
        came.append(await source.live(frame.symbol, frame.quoted_at))
        await source._later._run
    return came


@pytest.mark.parametrize("name", NAMES)
async def test_all_expirations_give_the_whole_chain_s_figures(name: str, tmp_path: Path) -> None:
    """Thirty expirations at four a slot: after nine slots the figures are those of one answer.

    Today's chain is the same as without them, the first slot has none, and the week's volatility
    is there at the second, long before the sum.
    """
    chain, feed = whole_chain(), FEEDS[name]
    later = len(chain.expirations) - 1
    async with feed.server() as server:
        source = feed.open(server, feed.keys(tmp_path, chain.quoted_at), PATIENT)
        came = await slots(source, server, chain, 2 + -(-(later + 1) // 4))
        await source.close()
    spot = chain.spot
    whole = dataclasses.replace(chain, quoted_at=came[-1].quoted_at)
    expected, answer = figures(whole, spot), figures(came[-1], spot)
    assert came[-1].expirations == chain.expirations
    assert answer.total_chain_net_gex == pytest.approx(expected.total_chain_net_gex, rel=2e-5)
    assert answer.seven_dte_atm_iv == pytest.approx(expected.seven_dte_atm_iv, rel=1e-9)
    assert answer.iv_ratio_0dte_7dte == pytest.approx(expected.iv_ratio_0dte_7dte, rel=1e-9)
    # The oldest answer came in the first run, one slot after the other until the last.
    assert answer.other_expiries_age_seconds == 30.0 * (len(came) - 1)
    assert came[0].expirations == chain.expirations[:1]
    assert figures(came[0], spot)[:3] == (None, None, None)
    assert figures(came[1], spot).total_chain_net_gex is None
    assert figures(came[1], spot).seven_dte_atm_iv is not None
    session = session_on(market_day(chain.quoted_at))
    ours, theirs = select_chain(came[-1], session), select_chain(whole, session)
    for column in ("strike", "bid", "ask", "open_interest"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))


async def test_rows_get_the_figures(tmp_path: Path) -> None:
    """Through the sampler's own steps: null at first, then the week's, then all, with their age."""
    chain, feed = whole_chain(), FEEDS["tradier"]
    async with feed.server() as server:
        source = feed.open(server, feed.keys(tmp_path, chain.quoted_at), PATIENT)
        tick = Tick(source, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=20, quiet=True)
        details = []
        for step in range(1, 12):
            # Something trades in each slot.
            shown = dataclasses.replace(
                chain, quoted_at=chain.quoted_at + step * STEP, volume=chain.volume + step
            )
            server.put(shown)
            outcome = await tick.sample("SPX", now=shown.quoted_at, target=None)
            assert outcome.record is not None, outcome.detail
            details.append(outcome.record.row.detail)
            await source._later._run
        await source.close()
    known = [(d.seven_dte_atm_iv is not None, d.total_chain_net_gex is not None) for d in details]
    assert known[:2] == [(False, False), (True, False)]
    assert known[-1] == (True, True)
    assert [d.other_expiries_age_seconds for d in details[:4]] == [None, 30.0, 60.0, 90.0]


@pytest.mark.parametrize("name", NAMES)
async def test_what_fails_costs_no_slot(name: str, tmp_path: Path) -> None:
    """With every later request refused each slot has today's chain, and the log one line."""
    chain, feed = whole_chain(), FEEDS[name]
    today = market_day(chain.quoted_at)

    def of_later(request: Request) -> bool:
        named = [request.query.get(key) for key in ("expiration", "expiration_date", "fromDate")]
        return any(text and text > today.isoformat() for text in named)

    async with feed.server() as server:
        server.inject(faults.status(400), when=of_later)
        source = feed.open(server, feed.keys(tmp_path, chain.quoted_at), PATIENT)
        with structlog.testing.capture_logs() as logs:
            came = await slots(source, server, chain, 4)
        await source.close()
    for frame in came:
        assert frame.expirations == [today]
    assert set(came[-1].missing_expirations) == set(chain.expirations[1:])
    assert figures(came[-1], chain.spot)[:3] == (None, None, None)
    lines = [line for line in logs if line["event"] == "later expirations missing"]
    assert [(line["symbol"], line["source"]) for line in lines] == [("SPX", name)]
    assert "400" in lines[0]["error"]


@pytest.mark.parametrize("name", NAMES)
async def test_none_are_asked_for_with_expiries_0(name: str, tmp_path: Path) -> None:
    """The option turns it off: requests are those of today's chain."""
    chain, feed = whole_chain(), FEEDS[name]
    async with feed.server() as server:
        server.put(chain)
        source = feed.open(server, feed.keys(tmp_path, chain.quoted_at), SLOTS_ALONE)
        came = await source.live("SPX", chain.quoted_at)
        assert source._later._run is None
        await source.close()
    assert came.expirations == chain.expirations[:1]


# Alone: which are asked for, and when


def days(*away: int) -> list[LaterExpiry]:
    return [(TODAY + timedelta(days=n), "") for n in away]


def small(symbol: str, day: date, now: datetime) -> Frame:
    return Frame.of(
        symbol=symbol,
        source="test",
        delay_seconds=0,
        quoted_at=now,
        fetched_at=now,
        spot=float("nan"),
        columns={"expiry": [day], "strike": [100.0], "right": [1], "bid": [1.0], "ask": [1.1]},
    )


class Vendor:
    """Lists days, has a chain of each, and notes what it is asked for."""

    def __init__(self, *away: int, refuses: tuple[int, ...] = (), **options: object) -> None:
        self.away, self.refuses, self.now = away, refuses, NOW
        self.queries: list[tuple[str, int]] = []
        self.empty: set[int] = set()
        #: The days whose later expirations were asked for.
        self.days: list[date] = []
        self.later = LaterExpiries(
            "test", list_expiries=self.listed, fetch_expiry=self.fetch,
            **{"per_symbol": 2, "polling": None} | options,
        )  # fmt: skip

    async def listed(self, symbol: str, day: date, now: datetime) -> list[LaterExpiry]:
        self.days.append(day)
        self.queries.append((symbol, 0))
        return days(*self.away)

    async def fetch(self, symbol: str, expiry: LaterExpiry, now: datetime) -> Frame | None:
        away = (expiry[0] - TODAY).days
        self.queries.append((symbol, away))
        if away in self.refuses:
            raise ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: test is down")
        return None if away in self.empty else small(symbol, expiry[0], now)

    async def slot(self, *symbols: str, seconds: float = 30.0) -> dict[str, Frame]:
        """One slot of some symbols, and the requests after it."""
        self.queries.clear()
        self.now += timedelta(seconds=seconds)
        frames = {s: self.later.complete(small(s, TODAY, self.now)) for s in symbols or ("SPX",)}
        await self.later._run
        return frames


async def test_the_week_comes_first_and_near_ones_come_again_sooner() -> None:
    """By hand: 7, then 5, 1, 30 and 200 days; near ones again after 300 s, far ones after 1,200 s."""
    vendor = Vendor(1, 5, 7, 30, 200)
    assert vendor.later.complete(small("SPX", TODAY, NOW)).missing_expirations == ()
    await vendor.later._run
    assert vendor.queries == [("SPX", 0), ("SPX", 7)]
    order = []
    for _ in range(2):
        await vendor.slot()
        order += [away for _, away in vendor.queries]
    assert order == [5, 1, 30, 200]
    # 7 came at 0 s, 5 and 1 at 30 s, 30 and 200 at 60 s.
    second = {}
    for slot in range(3, 60):
        await vendor.slot()
        for _, away in vendor.queries:
            second.setdefault(away, 30 * slot)
    assert second == {7: 300, 5: 330, 1: 330, 30: 1260, 200: 1260}


async def test_an_answer_counts_for_half_an_hour() -> None:
    """One that is refused from then on is missing after 1,800 s, and is asked for each 300 s."""
    vendor = Vendor(7)
    await vendor.slot()
    vendor.refuses = (7,)
    requested, missing = [], []
    for slot in range(1, 80):
        frame = (await vendor.slot())["SPX"]
        requested += [30 * slot] if vendor.queries else []
        missing += [30 * slot] if frame.missing_expirations else []
    assert requested[:3] == [300, 600, 900]
    # It was fetched in the first slot.
    assert missing[0] == 1830
    assert frame.expirations == [TODAY]


async def test_what_is_listed_without_a_contract_is_not_waited_for() -> None:
    """Such a day is neither there nor missing."""
    vendor = Vendor(5, 7)
    vendor.empty = {5}
    for _ in range(3):
        frame = (await vendor.slot())["SPX"]
    assert frame.expirations == [TODAY, TODAY + timedelta(days=7)]
    assert frame.missing_expirations == ()


@pytest.mark.parametrize(
    ("polling", "symbols", "most"),
    [
        # 20 a slot, 3 for the chains: half of 17.
        (Polling(per_symbol=1, plan=40, pace=0, budget=12), 3, 6),
        # 8 a slot, 3 for the chains: half of 5.
        (Polling(per_symbol=1, plan=16, pace=0, budget=12), 3, 2),
        # All is taken.
        (Polling(per_symbol=1, plan=6, pace=0, budget=12), 3, 0),
        # 40 a slot at three a chain, 9 for the chains of today: 31 / 2 / 3.
        (Polling(per_symbol=3, pace=0.3, budget=12), 3, 5),
        (None, 3, 6),
    ],
)
async def test_they_take_half_of_what_is_left_over(polling, symbols: int, most: int) -> None:
    """Two a symbol at most, and never more than half of what plan and pace have left."""
    vendor = Vendor(*range(1, 9), polling=polling)
    for _ in range(3):
        await vendor.slot(*(f"S{n}" for n in range(symbols)))
        assert len(vendor.queries) == most


async def test_a_symbol_that_is_not_sampled_any_more_is_not_asked_for() -> None:
    """Two minutes after its last slot its requests end."""
    vendor = Vendor(*range(1, 60))
    await vendor.slot("SPX", "SPY")
    requested: list[set[str]] = []
    for _ in range(6):
        await vendor.slot("SPX")
        requested.append({symbol for symbol, _ in vendor.queries})
    assert requested[3] == {"SPX", "SPY"}
    assert requested[4:] == [{"SPX"}, {"SPX"}]


async def test_contracts_of_another_day_do_not_join() -> None:
    """An answer with today's contracts among a later day's adds only the later ones."""
    vendor = Vendor(7)
    fetch: Callable[..., object] = vendor.fetch

    async def mixed(symbol: str, expiry: LaterExpiry, now: datetime) -> Frame:
        frame = await fetch(symbol, expiry, now)
        both = {n: np.repeat(getattr(frame, n), 2) for n in later_expiries._COLUMNS}
        both["expiry"][0] = np.datetime64(TODAY)
        return dataclasses.replace(frame, **both)

    vendor.later._fetch = mixed
    await vendor.slot()
    frame = (await vendor.slot())["SPX"]
    assert frame.expiry.tolist() == [TODAY, TODAY + timedelta(days=7)]


async def test_close_ends_what_runs() -> None:
    """A request that hangs ends with the source."""
    vendor = Vendor(7)

    async def hangs(*_: object) -> list[LaterExpiry]:
        await asyncio.sleep(60)
        return []

    vendor.later._list = hangs
    vendor.later.complete(small("SPX", TODAY, NOW))
    run = vendor.later._run
    await asyncio.sleep(0.05)
    await vendor.later.close()
    assert run.cancelled()


async def test_where_time_is_short_the_week_is_kept_up() -> None:
    """Forty symbols of 25 expirations at nine requests a slot: each has its week, none the sum."""
    polling = Polling(per_symbol=1, shared=1, plan=120, pace=0, budget=12)
    vendor = Vendor(*range(1, 8), *range(20, 200, 10), polling=polling, per_symbol=4)
    symbols = [f"S{n}" for n in range(40)]
    for slot in range(240):
        frames = await vendor.slot(*symbols)
        assert len(vendor.queries) <= 9
        if slot >= 40:
            for frame in frames.values():
                assert TODAY + timedelta(days=7) in frame.expirations
    assert all(frame.missing_expirations for frame in frames.values())


async def test_a_refusal_ends_the_requests_of_its_slot() -> None:
    """Two of eight are refused: each costs its slot's requests, and the others come in later slots."""
    vendor = Vendor(*range(1, 9), refuses=(7, 6), per_symbol=8)
    requested = []
    for _ in range(4):
        await vendor.slot()
        requested.append([away for _, away in vendor.queries])
    assert requested == [[0, 7], [6], [8, 5, 4, 3, 2, 1], []]


async def test_a_new_day_begins_without_any() -> None:
    """What was known yesterday is listed and fetched anew."""
    vendor = Vendor(7)
    for _ in range(2):
        await vendor.slot()
    vendor.now += timedelta(days=1)
    frame = vendor.later.complete(small("SPX", TODAY + timedelta(days=1), vendor.now))
    assert frame.expirations == [TODAY + timedelta(days=1)]
    await vendor.later._run
    assert vendor.days == [TODAY, TODAY + timedelta(days=1)]
