"""Contracts that stand twice in a frame: which one counts does not depend on their order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from chains import TEN_FOURTEEN, frame

from sampler.chain import Frame, select_chain
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.record.row import SlotRecord
from tests import real_chains

TODAY = TEN_FOURTEEN.date()
TOMORROW = TODAY + timedelta(days=1)
COLUMNS = (
    *("expiry", "root", "strike", "right", "bid", "ask", "last", "last_at"),
    *("open_interest", "volume", "source_iv", "signed_volume"),
)
STRIKES = [7500.0 + 25 * i for i in range(17)]
N = 2 * len(STRIKES)
DEAD = {"bid": 0.0, "ask": 0.0, "last": 0.0, "volume": 0.0, "open_interest": 9999.0}
#: A stock, a fund, an index without and one with AM-settled roots.
SYMBOLS = ("TSLA", "SPY", "XSP", "SPX")


def contracts(symbol: str, day=TODAY, root: str = "", **columns: object) -> Frame:
    """One expiry of a symbol: open interest and volume differ from contract to contract."""
    defaults = {
        "expiry": np.full(N, np.datetime64(day)),
        "root": [root] * N,
        "open_interest": [100.0 + 7 * i for i in range(N)],
        "volume": [50.0 + 3 * i for i in range(N)],
    }
    return frame(symbol=symbol, strikes=STRIKES, **(defaults | columns))


def rebuilt(original: Frame, **columns: object) -> Frame:
    """The same contracts with some columns replaced, each by an array or by one number."""
    n = len(columns.get("strike", original.strike))
    values = {name: getattr(original, name) for name in COLUMNS}
    values |= {name: np.broadcast_to(column, n) for name, column in columns.items()}
    return Frame.of(
        symbol=original.symbol,
        source="test",
        delay_seconds=0,
        quoted_at=original.quoted_at,
        fetched_at=original.fetched_at,
        spot=original.spot,
        columns=values,
    )


def joined(*frames: Frame) -> Frame:
    """All contracts of some frames as one frame, in their order."""
    parts = {name: np.concatenate([getattr(whole, name) for whole in frames]) for name in COLUMNS}
    return rebuilt(frames[0], **parts)


def shuffled(original: Frame, order: np.ndarray) -> Frame:
    """The same contracts in another order."""
    return rebuilt(original, **{name: getattr(original, name)[order] for name in COLUMNS})


def measured(whole: Frame) -> SlotRecord:
    """The record of a frame, with its other expiries."""
    session = session_on(market_day(whole.quoted_at))
    chain = select_chain(whole, session)
    return measure_slot(
        chain,
        None,
        oi_confidence=0.43,
        other_expiries=lambda market: measure_other_expiries(
            whole, session, spot=market.spot, atm=market.atm, years=chain.years
        ),
    )


def figures(record: SlotRecord, *, but: tuple[str, ...] = ()) -> dict[str, object]:
    """Everything that a record says, to the bit."""
    row = {name: value for name, value in record.row.as_json().items() if name not in but}
    return row | {name: array.tobytes() for name, array in record.profile.items()}


@pytest.mark.parametrize("dead_first", [True, False])
@pytest.mark.parametrize("day", [TODAY, TOMORROW], ids=["today", "tomorrow"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_dead_twin_changes_no_figure(symbol, day, dead_first):
    """The living twin counts alone, whichever comes first, and the dead one is counted as dropped."""
    today, tomorrow = contracts(symbol), contracts(symbol, TOMORROW, sigma=0.2)
    dead = rebuilt(today if day == TODAY else tomorrow, **DEAD)
    parts = (dead, today, tomorrow) if dead_first else (today, tomorrow, dead)
    record, clean = measured(joined(*parts)), measured(joined(today, tomorrow))
    assert figures(record, but=("dropped",)) == figures(clean, but=("dropped",))
    why = "am_settled" if symbol == "SPX" else "duplicate"
    assert record.row.dropped == ({why: N} if day == TODAY else {})


def test_recorded_stock_with_dead_twins_first(shared: Path):
    """The worked example's chain under a stock's name, after 22 dead twins: its row, by the docs."""
    row = measured(read_chain(shared / "faults/dup_dead_first_stock.json")).row
    assert row.dropped == {"duplicate": 22}
    assert row.net_gex == pytest.approx(447_140_386, abs=1)
    assert (row.total_oi, row.max_pain, row.pin_score) == (24_570, 6005, 74)


#: What the better twin has more of, from the most important: the worse one has less of it, and more
#: of everything that is less important.
LIFE = [
    ({"bid": 5.0, "ask": 6.0}, {"bid": 0.0, "ask": 6.0, "volume": 1e4, "open_interest": 1e6}),
    ({"bid": 0.0, "ask": 6.0}, {"bid": 0.0, "ask": 0.0, "volume": 1e4, "open_interest": 1e6}),
    ({"bid": 0.0, "ask": 0.0, "volume": 1.0}, {"bid": 0.0, "ask": 0.0, "volume": 0.0}),
    ({"bid": 5.0, "ask": 6.0, "volume": 51.0}, {"bid": 5.5, "ask": 5.6, "open_interest": 1e6}),
    ({"bid": 5.0, "ask": 6.0, "volume": 1.0}, {"bid": 5.5, "ask": 5.6, "volume": float("nan")}),
    (
        {"bid": 5.5, "ask": 5.6, "open_interest": 9.0},
        {"bid": 5.5, "ask": 5.6, "open_interest": 8.0},
    ),
    ({"bid": 5.5, "ask": 5.6}, {"bid": 5.0, "ask": 6.0}),
    ({"bid": 5.0, "ask": 6.0}, {"bid": 6.0, "ask": 5.0, "volume": 1e4}),
]


@pytest.mark.parametrize("better_first", [True, False])
@pytest.mark.parametrize(("better", "worse"), LIFE)
def test_the_twin_with_the_most_life_counts(better, worse, better_first):
    """Two living twins of a stock: the better quoted one, then the more traded, then the larger."""
    common = {"volume": 50.0, "open_interest": 100.0}
    original = contracts("TSLA")
    twins = [rebuilt(original, **(common | better)), rebuilt(original, **(common | worse))]
    chain = select_chain(joined(*(twins if better_first else twins[::-1])), session_on(TODAY))
    assert chain.dropped == {"duplicate": N}
    for name, value in (common | better).items():
        assert (getattr(chain, name) == value).all(), name


def test_two_living_twins_of_an_index_tomorrow():
    """Tomorrow's AM- and PM-settled twins both hold gamma; the dearer quote, the PM one's, counts."""
    today, evening = contracts("SPX"), contracts("SPX", TOMORROW, sigma=0.2)
    morning = rebuilt(
        evening,
        bid=evening.bid * 0.9,
        ask=evening.ask * 0.9,
        volume=1e5,
        open_interest=1000.0,
    )
    together = rebuilt(evening, open_interest=evening.open_interest + 1000.0)
    expected = measured(joined(today, together)).row.detail
    for parts in ((today, evening, morning), (morning, today, evening)):
        assert measured(joined(*parts)).row.detail == expected


def test_two_living_twins_of_a_stock_tomorrow():
    """A stock has no AM-settled contracts: the same contract twice counts once."""
    today, tomorrow = contracts("TSLA"), contracts("TSLA", TOMORROW)
    twice = measured(joined(today, tomorrow, tomorrow)).row.detail
    assert twice == measured(joined(today, tomorrow)).row.detail


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_adjusted_roots_never_count(symbol):
    """Contracts of an adjusted root deliver something else: out, today and later, in any order."""
    days = (TODAY, TOMORROW)
    plain = [contracts(symbol, day, symbol + "W") for day in days]
    adjusted = [
        rebuilt(contracts(symbol, day, symbol + "W1"), volume=1e6, open_interest=1e6)
        for day in days
    ]
    clean = figures(measured(joined(*plain)), but=("dropped",))
    for parts in ((*plain, *adjusted), (*adjusted, *plain)):
        record = measured(joined(*parts))
        assert figures(record, but=("dropped",)) == clean
        assert record.row.dropped == {"adjusted": N}


@pytest.mark.parametrize(
    ("written", "strike"),
    [
        (607.5, 607.5),
        (607.4999999999999, 607.5),
        (607.5000000001, 607.5),
        (96.458, 96.458),
        (96.4580001, 96.458),
        (33.3333333, 33.333),
        (0.5, 0.5),
    ],
)
def test_strikes_are_exact_to_the_thousandth(written, strike):
    """What a vendor's arithmetic adds to a strike does not make it another one."""
    chain = select_chain(frame(strikes=[written]), session_on(TODAY))
    assert chain.strike.tolist() == [strike]


def test_strikes_a_thousandth_apart_are_two():
    """96.458 and 96.459 are two strikes of an adjusted series; noise joins a call with its put."""
    whole = frame(strikes=[96.458, 96.459, 607.5], strike=[96.458, 96.459, 607.5] * 2)
    assert select_chain(whole, session_on(TODAY)).strike.tolist() == [96.458, 96.459, 607.5]
    whole = frame(strikes=[607.5], strike=[607.5, 607.4999999999])
    chain = select_chain(whole, session_on(TODAY))
    assert (chain.strike.tolist(), chain.dropped) == ([607.5], {})
    assert chain.listed.all()


def messy(symbol: str) -> Frame:
    """Every kind at once: dead and living twins, today and tomorrow, copies, noise in strikes."""
    dice = np.random.default_rng(11)
    today, tomorrow = contracts(symbol), contracts(symbol, TOMORROW, sigma=0.2)
    again = rebuilt(
        today,
        strike=today.strike + dice.uniform(-1e-9, 1e-9, N),
        volume=np.where(dice.random(N) < 0.5, np.nan, today.volume),
        bid=np.where(dice.random(N) < 0.5, 0.0, today.bid),
    )
    living = rebuilt(tomorrow, volume=51.0, open_interest=300.0)
    return joined(today, again, rebuilt(today, **DEAD), tomorrow, living, rebuilt(tomorrow, **DEAD))


REAL = {
    "volkit": lambda: real_chains.volkit().frame,
    "schwab": lambda: real_chains.schwab().frame,
    **{symbol: lambda symbol=symbol: messy(symbol) for symbol in SYMBOLS},
}


@pytest.mark.parametrize("name", REAL)
def test_the_order_of_contracts_changes_nothing(name):
    """Shuffle a frame's contracts: every figure, count and array stays what it was, to the bit."""
    original = REAL[name]()
    expected = figures(measured(original))
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(original.strike))
        assert figures(measured(shuffled(original, order))) == expected, seed
    assert figures(measured(shuffled(original, np.arange(len(original.strike))[::-1]))) == expected


def test_of_two_expiries_as_far_from_a_week_the_earlier_one_counts():
    """Five and nine days away: the earlier one, whichever has the lower volatility."""
    days = [TODAY + timedelta(days=n) for n in (5, 9)]
    for five, nine in ((0.15, 0.25), (0.25, 0.15)):
        parts = [
            contracts("TSLA", day, sigma=sigma)
            for day, sigma in zip((TODAY, *days), (0.2, five, nine), strict=True)
        ]
        alone = measured(joined(parts[0], parts[1])).row.detail
        both = measured(joined(parts[0], parts[2], parts[1])).row.detail
        assert both.seven_dte_atm_iv == alone.seven_dte_atm_iv is not None
        assert both.iv_ratio_0dte_7dte == alone.iv_ratio_0dte_7dte
