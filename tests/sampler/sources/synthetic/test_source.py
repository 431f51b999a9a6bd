"""Synthetic sessions: the same for everyone, consistent with themselves, refused when closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sampler.chain import QUOTES, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.sources import open_source
from sampler.sources.synthetic import day as market
from sampler.sources.synthetic import trading
from sampler.sources.synthetic.source import DAYS, Synthetic
from storage.errors import UsageError
from storage.market.calendar import Session, session_on, sessions_between
from storage.record.row import Reason

ROOT = Path(__file__).resolve().parents[4]
DAY = date(2026, 8, 19)
SHORT = date(2026, 11, 27)
ARRAYS = ("expiry", "root", "strike", "right", *QUOTES)


def session(day: date = DAY) -> Session:
    trading_session = session_on(day)
    assert trading_session is not None
    return trading_session


def digest(frame: Frame) -> str:
    """All that a frame says, in one word."""
    head = (frame.symbol, frame.source, frame.delay_seconds, frame.quoted_at, frame.spot)
    whole = repr(head).encode() + b"".join(getattr(frame, name).tobytes() for name in ARRAYS)
    return sha256(whole).hexdigest()


def at_slot(slot: int, symbol: str = "SPX", *, url: str = "?seed=7", day: date = DAY) -> Frame:
    """A frame from a source that has delivered nothing before."""
    moment = session(day).open + timedelta(seconds=30 * slot)
    return asyncio.run(Synthetic.open(url).live(symbol, moment))


def collect(source: Synthetic, symbol: str, day: Session) -> list[Frame]:
    """All of a session's frames."""

    async def gather() -> list[Frame]:
        return [f async for f in source.history(symbol, day) if isinstance(f, Frame)]

    return asyncio.run(gather())


def today(frame: Frame) -> Any:
    return frame.expiry == frame.expiry.min()


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return collect(Synthetic.open("?seed=7"), "SPX", session())


@pytest.fixture(scope="module")
def day() -> market.SyntheticDay:
    return market.build_day("SPX", session(), 7)


# -- the same for everyone ------------------------------------------------------------------------


def test_same_bytes_in_another_process() -> None:
    """Another process, with another hash seed, makes the same frames, byte for byte."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "import test_source as t\n"
        "print(*[t.digest(t.at_slot(k, s)) for s, k in (('SPX', 300), ('SPY', 0), ('ABC', 779))])"
    )
    hashing = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    theirs = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hashing},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert theirs == [digest(at_slot(k, s)) for s, k in (("SPX", 300), ("SPY", 0), ("ABC", 779))]


def test_seed_day_and_symbol_differ() -> None:
    """Another seed, day or symbol is another path, not the same one rescaled."""

    def returns(symbol: str = "SPX", on: date = DAY, seed: int = 7) -> Any:
        tape, _ = market.simulate_prices(symbol, session(on), seed)
        return np.diff(np.log(tape.spot[::30]))[:400]

    base = returns()
    for other in (returns(seed=8), returns(on=date(2026, 8, 20)), returns("XYZ"), returns("SPY")):
        assert not np.allclose(base, other)
    assert abs(np.corrcoef(base, returns(seed=8))[0, 1]) < 0.3
    assert np.corrcoef(base, returns("SPY"))[0, 1] > 0.95  # one market moves both


def test_slot_alone_equals_slot_after_others(frames: list[Frame]) -> None:
    """A slot asked for first is the slot that comes after all those before it."""
    assert [digest(at_slot(k)) for k in (0, 1, 400, 779)] == [
        digest(frames[k]) for k in (0, 1, 400, 779)
    ]


def test_history_is_every_slot_in_order(frames: list[Frame]) -> None:
    """History quotes each of the session's slots once, in order."""
    assert [f.quoted_at for f in frames] == session().slots
    assert all(f.fetched_at == f.quoted_at for f in frames)


def test_quotes_lie_on_the_newest_slot_behind_the_delay() -> None:
    """Quotes are of the newest slot not younger than the delay, to the microsecond."""
    source, opening = Synthetic.open("?delay=900"), session().open
    assert source.delay_seconds == 900
    for after, slot in ((900, 0), (929.999999, 0), (930, 1), (900 + 23_399.9, 779)):
        frame = asyncio.run(source.live("SPX", opening + timedelta(seconds=after)))
        assert frame.quoted_at == opening + timedelta(seconds=30 * slot)
        assert frame.fetched_at == opening + timedelta(seconds=after)
    assert digest(frame) != digest(at_slot(779))  # it says its delay
    assert [f.fetched_at for f in collect(source, "SPX", session())][:2] == [
        opening + timedelta(seconds=900),
        opening + timedelta(seconds=930),
    ]


# -- chains ---------------------------------------------------------------------------------------


def test_volume_grows_in_whole_contracts(frames: list[Frame]) -> None:
    """No contract's volume ever goes down, and it is whole and starts at 0."""
    volume = np.stack([f.volume for f in frames])
    assert (np.diff(volume, axis=0) >= 0).all()
    assert (volume == np.floor(volume)).all()
    assert volume[0].sum() == 0
    assert 1e6 < volume[-1].sum() < 5e6


def test_open_interest_is_the_mornings(frames: list[Frame]) -> None:
    """OI is whole, constant, heavier in puts below and calls above, and lumpy at round strikes."""
    first = frames[0]
    assert all(np.array_equal(first.open_interest, f.open_interest) for f in frames)
    assert (first.open_interest == np.floor(first.open_interest)).all()
    assert first.open_interest.min() >= 0
    mine = today(first)
    below = mine & (first.strike < first.spot)
    above = mine & (first.strike > first.spot)
    held = first.open_interest
    assert held[below & (first.right < 0)].sum() > held[below & (first.right > 0)].sum()
    assert held[above & (first.right > 0)].sum() > held[above & (first.right < 0)].sum()
    near = mine & (np.abs(first.strike / first.spot - 1) < 0.03)
    assert held[near & (first.strike % 50 == 0)].mean() > 2 * held[near].mean()


@pytest.mark.parametrize("symbol", ["SPX", "SPY", "QQQ", "NDX", "AAPL", "TSLA", "F"])
def test_quotes_are_sound(symbol: str) -> None:
    """ask > 0, ask ≥ bid ≥ 0, on the symbol's ticks, and a positive volatility, all day."""
    fine, coarse = market.traits(symbol).ticks
    built = market.build_day(symbol, session(), 7)
    for slot in (0, 1, 200, 500, 700, 779):
        quoted = built.columns(slot)
        bid, ask = np.rint(100 * quoted["bid"]), np.rint(100 * quoted["ask"])
        assert ((bid >= 0) & (ask >= bid) & (ask > 0)).all()
        for side in (bid, ask):
            assert (side % np.where(side > 300, coarse, fine) == 0).all()
        assert (np.isfinite(quoted["source_iv"]) & (quoted["source_iv"] > 0)).all()


def test_spreads_widen_and_deep_wings_have_no_bid(frames: list[Frame]) -> None:
    """A tick near $1, more with the price, and bid 0 far out of the money."""
    frame = frames[120]
    out = today(frame) & (frame.right * (frame.strike / frame.spot - 1) > 0.06)
    assert ((frame.bid == 0) & (frame.ask == 0.05))[out].all()
    width = np.rint(100 * (frame.ask - frame.bid))
    cheap = (frame.bid > 0.5) & (frame.ask < 2)
    dear = frame.bid > 300
    assert np.median(width[cheap]) == 5
    assert width[dear].min() > 100


@pytest.mark.parametrize("symbol", ["SPX", "SPY", "AAPL"])
def test_parity_holds_within_spreads(symbol: str) -> None:
    """Call mid less put mid is F - K within the two half-spreads; F is spot to 0.3 bp."""
    source = Synthetic.open("")
    for slot in (0, 333, 779):
        now = session().open + timedelta(seconds=30 * slot)
        chain = select_chain(asyncio.run(source.live(symbol, now)), session())
        assert chain.listed.all()
        assert chain.dropped == {}
        mid = (chain.bid + chain.ask) / 2
        slack = (chain.ask - chain.bid).sum(axis=0) / 2 + 3e-5 * chain.spot + 1e-9
        assert (np.abs(mid[0] - mid[1] - (chain.spot - chain.strike)) <= slack).all()


@pytest.mark.parametrize("symbol", ["SPX", "SPY", "QQQ", "RUT", "AAPL", "ZZZ"])
def test_strikes_cover_ten_percent_and_two_expiries(symbol: str) -> None:
    """Today's strikes reach from -10 % to +10 % of the open; the next session's are few."""
    frame = at_slot(0, symbol)
    strikes = np.unique(frame.strike[today(frame)])
    assert strikes[0] <= 0.9 * frame.spot < 1.1 * frame.spot <= strikes[-1]
    assert len(strikes) < 300
    assert frame.expirations == [DAY, date(2026, 8, 20)]
    assert 0 < (~today(frame)).sum() <= 30


def test_spx_strikes_step_five_then_twenty_five(frames: list[Frame]) -> None:
    """SPX lists every 5 points within 3 % of the open, every 25 beyond, all as SPXW."""
    first = frames[0]
    strikes = np.unique(first.strike[today(first)])
    near = np.abs(strikes / first.spot - 1) < 0.029
    assert set(np.diff(strikes[near])) == {5.0}
    assert (strikes[np.abs(strikes / first.spot - 1) > 0.031] % 25 == 0).all()
    assert set(first.root) == {"SPXW"}
    assert set(at_slot(0, "SPY").root) == {"SPY"}


def test_puts_cost_more_volatility_than_calls(frames: list[Frame]) -> None:
    """The smile is skewed: its put wing lies above its call wing, both above the middle."""
    frame = frames[90]
    mine = today(frame) & (frame.right > 0)
    low, middle, high = (
        np.interp(level * frame.spot, frame.strike[mine], frame.source_iv[mine])
        for level in (0.97, 1.0, 1.03)
    )
    assert low > high > middle
    assert 0.08 < middle < 0.35


def test_no_arbitrage_between_strikes(day: market.SyntheticDay) -> None:
    """Calls of a fine strike grid fall with the strike and are convex in it, at any hour."""
    tape = day.tape
    for second in (0, 6000, 18_000, 23_370):
        forward, atm = tape.spot[second], np.sqrt(tape.variance[second])
        strike = forward * np.exp(np.linspace(-0.1, 0.1, 2001))
        x = np.log(strike / forward) / atm
        bend = np.sqrt(x * x + trading.ROUND**2) - trading.ROUND
        sd = atm * np.sqrt(1 + trading.TILT * x + trading.BEND * bend)
        slope = np.diff(trading.black_price(forward, strike, 1.0, sd)) / np.diff(strike)
        assert slope.max() < 1e-9
        assert np.diff(slope).min() > -1e-9


# -- trades ---------------------------------------------------------------------------------------


def test_last_trades_are_quotes_of_their_second(
    day: market.SyntheticDay, frames: list[Frame]
) -> None:
    """A new last lies on bid, ask or mid as quoted at its second, in (previous slot, slot]."""
    start, before = session().open.timestamp(), frames[0]
    kinds = set()
    for frame in frames[1:]:
        new = np.flatnonzero(frame.volume > before.volume)
        second = frame.last_at[new] - start
        assert (frame.last_at[new] > before.quoted_at.timestamp()).all()
        assert (frame.last_at[new] <= frame.quoted_at.timestamp()).all()
        bid, ask, _ = day.tape.quotes(second.astype(int), new)
        last = np.rint(100 * frame.last[new])
        assert np.all((last == bid) | (last == ask) | (2 * last == bid + ask))
        assert (last > 0).all()
        kinds |= {k for k, m in (("bid", last == bid), ("ask", last == ask)) if m.any()}
        kinds |= {"mid"} if (2 * last == bid + ask).any() else set()
        old = np.setdiff1d(np.arange(len(frame.last)), new)
        assert np.array_equal(frame.last[old], before.last[old], equal_nan=True)
        before = frame
    assert kinds == {"bid", "ask", "mid"}


def test_lasts_lie_in_the_days_range(frames: list[Frame]) -> None:
    """No trade printed outside the day's lowest bid and highest ask, save what moved in 30 s."""
    bid = np.stack([f.bid for f in frames])
    ask = np.stack([f.ask for f in frames])
    last = np.stack([f.last for f in frames])
    slack = np.abs(np.diff([f.spot for f in frames])).max()
    some = np.isfinite(last[-1])
    assert (last[-1] >= bid.min(axis=0) - slack)[some].all()
    assert (last[-1] <= ask.max(axis=0) + slack)[some].all()
    assert np.isnan(last[0]).all()
    assert np.isnan(frames[0].last_at).all()


def test_signed_volume_is_a_part_of_volume(day: market.SyntheticDay) -> None:
    """Buys less sells never exceed what traded, are odd or even as it is, and start at 0."""
    assert day.signed_volume(0).sum() == 0
    for slot in (1, 100, 779):
        signed, volume = day.signed_volume(slot), day.trades.volume[slot]
        assert signed.shape == volume.shape == day.columns(slot)["strike"].shape
        assert (np.abs(signed) <= volume).all()
        assert ((signed - volume) % 2 == 0).all()


def test_customers_lean_for_a_while(day: market.SyntheticDay) -> None:
    """The side of calls' flow persists from ten minutes to the next ten: flow has trends."""
    shares = []
    for seed in range(6):
        built = market.build_day("SPY", session(), seed)
        calls = built.tape.contracts.right > 0
        flow = np.diff(built.trades.signed[::20, calls].sum(axis=1, dtype=np.int64))
        volume = np.diff(built.trades.volume[::20, calls].sum(axis=1, dtype=np.int64))
        lean = flow / volume
        shares.append(np.corrcoef(lean[:-1], lean[1:])[0, 1])
    assert np.mean(shares) > 0.3


def test_trading_is_busiest_near_spot_and_at_both_ends(frames: list[Frame]) -> None:
    """Most volume lies within 1 % of spot; first and last half hour beat the middle."""
    final = frames[-1]
    near = today(final) & (np.abs(final.strike / final.spot - 1) < 0.01)
    assert final.volume[near].sum() > 0.7 * final.volume.sum()
    total = np.array([f.volume.sum() for f in frames])
    middle = total[420] - total[360]
    assert total[60] - total[0] > 1.3 * middle
    assert total[779] - total[719] > 1.1 * middle


# -- volatility -----------------------------------------------------------------------------------


def test_remaining_deviation_shrinks_to_nothing(day: market.SyntheticDay) -> None:
    """What is left of the day's standard deviation falls to (nearly) 0 at the last trade."""
    left = np.array([day.remaining_sd(slot) for slot in range(780)])
    assert 0.002 < left[0] < 0.009
    # Volatility may rise for half an hour on one day, but time passes.
    assert (left[180::60] < left[:-180:60]).all()
    assert left[-1] < 0.08 * left[0]
    assert day.tape.variance[-1] == 0


def test_the_day_is_u_shaped() -> None:
    """Over 20 seeds the first and the last half hour move more than half an hour at midday."""
    parts = []
    for seed in range(20):
        tape, _ = market.simulate_prices("QQQ", session(), seed)
        moves = np.diff(np.log(tape.spot[::30])) ** 2
        parts.append([moves[:60].sum(), moves[360:420].sum(), moves[-60:].sum()])
    first, middle, last = np.mean(parts, axis=0)
    assert first > 1.6 * middle
    assert last > 1.2 * middle


def test_realized_variance_is_what_was_implied() -> None:
    """Over 50 days, realized variance is 0.6 to 1.6 of what options implied at the open."""
    realized, implied, levels, volatility = [], [], [], []
    for trading_session in sessions_between(date(2026, 6, 1), date(2026, 8, 31))[:50]:
        tape, _ = market.simulate_prices("SPX", trading_session, 7)
        realized.append((np.diff(np.log(tape.spot[::30])) ** 2).sum())
        implied.append(tape.variance[0])
        levels.append((tape.spot[0], tape.spot[-1]))
        volatility.append((tape.variance[0] * 31_536_000 / tape.life) ** 0.5)
    assert 0.6 < np.mean(np.divide(realized, implied)) < 1.6
    assert 0.0999 < min(volatility) < max(volatility) < 0.3001
    opens, closes = np.array(levels).T
    assert (np.abs(opens / 7700 - 1) < 0.08).all()
    assert np.abs(np.log(opens[1:] / closes[:-1])).max() < 0.025  # nights leave no cliffs


# -- calendar and options -------------------------------------------------------------------------


def test_early_close_is_a_short_day() -> None:
    """A 13:00 close has 420 slots, and its variance runs out by then."""
    short = session(SHORT)
    frames = collect(Synthetic.open(""), "SPX", short)
    assert [f.quoted_at for f in frames] == short.slots
    assert len(frames) == 420
    built = market.build_day("SPX", short, 7)
    assert built.tape.variance[-1] == 0
    assert built.remaining_sd(419) < 0.08 * built.remaining_sd(0)
    assert frames[-1].expirations == [SHORT, date(2026, 11, 30)]


def test_late_closing_funds_keep_time_value() -> None:
    """SPY trades to 16:15: at the last slot a quarter of an hour of variance is left."""
    spy, spx = (market.build_day(symbol, session(), 7) for symbol in ("SPY", "SPX"))
    assert spy.remaining_sd(779) > 2 * spx.remaining_sd(779)


@pytest.mark.parametrize(
    ("now", "url", "reason"),
    [
        (datetime(2026, 8, 22, 15, tzinfo=UTC), "", Reason.MARKET_CLOSED),
        (datetime(2026, 12, 25, 15, tzinfo=UTC), "", Reason.MARKET_CLOSED),
        (datetime(2026, 8, 19, 13, 29, 59, tzinfo=UTC), "", Reason.BEFORE_OPEN),
        (datetime(2026, 8, 19, 13, 44, 59, tzinfo=UTC), "?delay=900", Reason.BEFORE_OPEN),
        (datetime(2026, 8, 19, 20, 0, tzinfo=UTC), "", Reason.AFTER_CLOSE),
        (datetime(2026, 8, 19, 20, 15, tzinfo=UTC), "?delay=900", Reason.AFTER_CLOSE),
        (datetime(2026, 11, 27, 18, 0, tzinfo=UTC), "", Reason.AFTER_CLOSE),
    ],
)
def test_closed_is_refused_with_the_reason(now: datetime, url: str, reason: Reason) -> None:
    """Weekends, holidays, and the hours around the session are refused, each as what it is."""
    with pytest.raises(ChainRefused) as refused:
        asyncio.run(Synthetic.open(url).live("SPX", now))
    assert refused.value.reason is reason
    assert "SPX" in str(refused.value)


@pytest.mark.parametrize(
    "rest", ["?sede=7", "?seed=x", "?seed=-1", "?seed=1.5", "?delay=3601", "chains/", "x?seed=1"]
)
def test_wrong_options_are_usage_errors(rest: str) -> None:
    """A path, an unknown option or a value out of bounds is the user's to correct."""
    with pytest.raises(UsageError):
        Synthetic.open(rest)


def test_opened_by_url() -> None:
    """``synthetic:?seed=7`` names this source, its default seed is 7, and it says what it is."""
    source = open_source("synthetic:?seed=7")
    assert isinstance(source, Synthetic)
    assert (source.name, source.synthetic, source.remote) == ("synthetic", True, False)
    assert digest(at_slot(100, url="")) == digest(at_slot(100, url="?seed=7"))
    asyncio.run(source.close())


# -- cost -----------------------------------------------------------------------------------------


def test_cached_days_are_bounded_and_small(day: market.SyntheticDay) -> None:
    """A day of SPX holds less than 10 MB, and only so many days are kept."""
    parts = (day.trades, day.tape, day.tape.contracts)
    held = [getattr(piece, name) for piece in parts for name in piece.__dataclass_fields__]
    assert sum(a.nbytes for a in held if isinstance(a, np.ndarray)) < 10e6
    source = Synthetic.open("")
    for number in range(DAYS + 3):
        source.day(f"S{number}", session())
    assert source.day.cache_info().currsize == DAYS


def test_days_and_frames_are_cheap(day: market.SyntheticDay) -> None:
    """A day takes well below a second to build, a frame a few milliseconds, at their best."""
    builds, reads = [], []
    for slot in range(5):
        start = time.perf_counter()
        market.build_day("SPX", session(), 7)
        built = time.perf_counter()
        day.columns(100 + slot)
        builds.append(built - start)
        reads.append(time.perf_counter() - built)
    assert min(builds) < 0.5
    assert min(reads) < 0.01
