"""A source of its own for each symbol: who is asked, what rows say, when each slot is due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sampler.errors import ChainRefused, NoHistory
from sampler.live.grid import next_tick
from sampler.live.slots import SlotTracker
from sampler.opening import open_configured_source
from sampler.sources import open_source
from sampler.sources.by_symbol import BySymbol
from sampler.sources.synthetic.source import Synthetic
from storage.config.settings import Settings
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import session_on
from tests.vendors.cboe import CboeVendor
from tests.vendors.server import status
from tests.vendors.tradier import TOKEN, TradierVendor

MOMENT = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
LATE = timedelta(seconds=900)
KEYS = VendorKeys.read({"FLOW_TRADIER_TOKEN": TOKEN})


async def test_each_symbol_has_its_own_source() -> None:
    """Rows carry the name of the source that was asked; one that fails costs the others nothing."""
    async with TradierVendor() as real_time, CboeVendor() as delayed:
        for symbol in ("SPX", "SPY", "QQQ"):
            frame = await Synthetic(seed=7).live(symbol, MOMENT)
            real_time.put(frame)
            delayed.put(frame)
        url = f"SPX=tradier:{real_time.url}?pace=0,*=cboe:{delayed.url}?pace=0"
        source = open_source(url, KEYS)
        assert isinstance(source, BySymbol)
        assert source.name == "tradier+cboe"
        assert (source.delay_seconds, source.synthetic, source.remote) == (900, False, False)
        frames = await asyncio.gather(
            source.live("SPX", MOMENT),
            source.live("SPY", MOMENT + LATE),
            source.live("QQQ", MOMENT + LATE),
        )
        assert [(f.symbol, f.source, f.delay_seconds) for f in frames] == [
            ("SPX", "tradier", 0),
            ("SPY", "cboe", 900),
            ("QQQ", "cboe", 900),
        ]
        # One client for both symbols of a source.
        assert len({request.port for request in delayed.requests}) <= 2
        assert not any("SPX" in request.path for request in delayed.requests)
        real_time.inject(status(403))
        with pytest.raises(ChainRefused, match="SPX: tradier"):
            await source.live("SPX", MOMENT)
        await source.close()


def test_one_url_is_opened_once() -> None:
    """Symbols that name the same URL share its pace and its connections."""
    source = open_source("SPX=cboe:,SPY=cboe:,QQQ=cboe:?pace=1")
    assert isinstance(source, BySymbol)
    assert source.source_of("SPX") is source.source_of("SPY")
    assert source.source_of("SPX") is not source.source_of("QQQ")


def test_every_symbol_needs_a_source() -> None:
    """A symbol that nothing is named for is an error before anything starts."""
    settings = Settings.read({"FLOW_SOURCE": "SPX=cboe:", "FLOW_SYMBOLS": "SPX,SPY"})
    with pytest.raises(UsageError, match="no source is named for SPY"):
        open_configured_source(settings)


def test_a_wrong_dataset_is_told_before_formulas_are_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiling takes minutes on a slow machine, and nothing could be sampled afterwards."""

    def compile_formulas(hear: object) -> None:
        raise AssertionError("the formulas were loaded")

    monkeypatch.setattr("sampler.opening.load_formulas", compile_formulas)
    settings = Settings.read({"FLOW_SOURCE": "synthetic:", "FLOW_DATASET": "live"})
    with pytest.raises(UsageError, match="belong to synthetic alone"):
        open_configured_source(settings)


def test_real_and_simulated_quotes_are_not_mixed() -> None:
    """They belong to two datasets."""
    with pytest.raises(UsageError, match="cannot be mixed"):
        open_source("SPX=synthetic:?seed=7,*=cboe:")
    assert open_source("SPX=synthetic:?seed=7,*=synthetic:?seed=8").synthetic


def test_a_missing_key_names_its_setting() -> None:
    """As with one source."""
    with pytest.raises(UsageError, match="FLOW_TRADIER_TOKEN"):
        open_source("SPX=tradier:,*=cboe:")


async def test_history_and_announcements_are_the_symbols_own() -> None:
    """Theta says what a session costs; Cboe has none, and says so."""
    source = open_source("SPX=theta:,*=cboe:")
    assert isinstance(source, BySymbol)
    session = session_on(MOMENT.date())
    assert "request" in await source.announce("SPX", [session])
    assert await source.announce("SPY", [session]) == ""
    with pytest.raises(NoHistory, match="cboe: keeps no history"):
        source.history("SPY", session)
    assert source.newest("SPX") is None
    await source.close()


class Accounts:
    """A store in which nothing is accounted for, and that notes who owns what."""

    def __init__(self) -> None:
        self.owned: list[tuple[list[str], str]] = []

    async def accounted(self, symbol, expiration, feed):
        return set()

    async def unaccounted(self, symbols, first, last):
        return []

    async def own(self, symbols, expiration, *, fallback=False):
        self.owned.append((list(symbols), expiration.isoformat()))


class Steps:
    """Stands for tick and writer: notes what is stepped and marked."""

    database_away = False

    def __init__(self) -> None:
        self.targets: dict[str, datetime] = {}
        self.marked: dict[str, list[datetime]] = {}

    def begin_step(self, symbol):
        pass

    end_step = begin_step

    async def sample(self, symbol, *, now, target, late):
        self.targets[symbol] = target

    def feed(self, symbol):
        return "test"

    async def mark_gaps(self, symbol, session, slots, reason, feed):
        self.marked[symbol] = slots


async def test_slots_are_due_by_each_symbols_own_delay() -> None:
    """At 09:40 the real-time symbol is at its slot of 09:40, the delayed one before its open."""
    steps, accounts = Steps(), Accounts()
    delays = {"SPX": timedelta(0), "SPY": LATE}
    tracker = SlotTracker(steps, accounts, steps, delay=delays.__getitem__)
    session = session_on(MOMENT.date())
    now = session.open + timedelta(minutes=10)
    assert await tracker.add_symbols(["SPX", "SPY"], now) == ["SPX"]
    assert tracker.symbols == {"SPX", "SPY"}
    assert len(steps.marked["SPX"]) == 20
    assert "SPY" not in steps.marked
    await tracker.account_sessions(now)
    assert accounts.owned == [(["SPX"], "2026-08-19")]
    await tracker.step("SPX", now)
    await tracker.step("SPY", now)
    assert steps.targets == {"SPX": now}
    later = now + timedelta(minutes=10)
    await tracker.account_sessions(later)
    await tracker.step("SPX", later)
    await tracker.step("SPY", later)
    assert steps.targets == {"SPX": later, "SPY": later - LATE}
    assert accounts.owned[1:] == [(["SPY"], "2026-08-19")]
    assert next_tick(now, delays["SPX"]) == now + timedelta(seconds=30)
    assert next_tick(now, delays["SPY"]) == session.open + LATE
