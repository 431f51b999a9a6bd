"""Quotes that contradict each other, against books of the independent program and sums on paper."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sampler.chain import select_chain
from sampler.measure.snapshot import measure_slot
from sampler.metrics.contradiction import Contradiction, contradiction
from sampler.metrics.width import quoted_range
from storage.market.calendar import market_day, session_on
from storage.record.flag_figures import figures_in_doubt
from tests import real_chains
from tests.independent import CALL, PUT, YEAR, Contract, Sample, contradictions, time_value

DAY = 1 / 365
STRIKE = np.arange(90.0, 111.0)


def book(forward: float = 100.0, half: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Bids and asks of a skewed smile, calls first: Black's value and ``half`` on each side."""
    values = []
    for right in (1, -1):
        values.append(
            [
                max(right * (forward - k), 0.0)
                + time_value(forward, k, DAY, 0.40 - 0.004 * (k - 90))
                for k in STRIKE
            ]
        )
    mids = np.array(values)
    return np.maximum(mids - half, 0.0), mids + half


def look(bid: np.ndarray, ask: np.ndarray, forward: float = 100.0) -> Contradiction | None:
    ranged = quoted_range(STRIKE, bid, ask, forward=forward, years=DAY)
    return contradiction(
        STRIKE, bid, ask, ranged.at_bid, ranged.at_ask, forward=forward, atm=0.36, years=DAY
    )


def test_a_sound_book_has_none():
    assert look(*book()) is None
    assert look(*book(half=1.0)) is None


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("strike", [97.0, 99.0, 100.0, 101.0, 103.0])
def test_one_quote_at_ten_times_its_price(strike: float, right: int):
    bid, ask = book()
    column = int(strike - 90)
    bid[right, column] *= 10
    ask[right, column] *= 10
    contradicting = look(bid, ask)
    assert contradicting is not None
    assert contradicting.worst_strike == strike


def test_a_quote_may_be_off_within_the_spreads():
    """0.03 $ with quotes 0.04 $ wide: somebody's price lies within all of them."""
    bid, ask = book()
    bid[:, 8] += 0.03
    ask[:, 8] += 0.03
    assert look(bid, ask) is None


@pytest.mark.parametrize("spreads", [-4, 4])
def test_both_quotes_of_a_strike_off_by_four_spreads(spreads: int):
    """Parity holds at that strike: its neighbours' volatilities contradict it."""
    bid, ask = book()
    bid[:, 10] += spreads * 0.04
    ask[:, 10] += spreads * 0.04
    contradicting = look(bid, ask)
    assert contradicting is not None
    assert abs(contradicting.worst_strike - 100.0) <= 2.0


def test_calls_that_stand_while_the_underlying_moves():
    """At first the difference is within the spreads; at 0.50 $ it is not."""
    old, now = book(100.0), book(100.02)
    assert look(*(np.stack([o[0], n[1]]) for o, n in zip(old, now, strict=True))) is None
    now = book(100.5)
    mixed = (np.stack([o[0], n[1]]) for o, n in zip(old, now, strict=True))
    assert look(*mixed, forward=100.25) is not None


def test_ranges_of_the_forward_on_paper():
    """K + C − P: 99.95 to 100.05 at two strikes, and x to x + 0.10 at the third.

    Two moves of a second, 2·100·0.36/√31,536,000 = 0.0128 $, and 0.02 $ may lie between them.
    """
    for level, miss in ((100.08, 0.03), (100.09, 0.04)):
        bid, ask = np.full((2, 21), math.nan), np.full((2, 21), math.nan)
        for place, low, put in ((5, 99.95, 0.50), (10, 99.95, 2.0), (15, level, 6.0)):
            # A put quoted 0.05 $ wide leaves this for the call.
            bid[1, place], ask[1, place] = put, put + 0.05
            bid[0, place], ask[0, place] = (
                low - STRIKE[place] + put + 0.05,
                low - STRIKE[place] + put + 0.10,
            )
        contradicting = look(bid, ask)
        assert (contradicting is None) == (miss < 0.0328)
    assert contradicting is not None
    assert contradicting.worst_strike == 105.0
    assert contradicting.worst_dollars == pytest.approx(0.09)


def test_dear_wing_beside_quotes_without_a_bid():
    """No volatility is known beside it: only convexity can see it."""
    bid, ask = book()
    bid[0, 17:], ask[0, 17:] = 0.0, 0.05
    assert look(bid, ask) is None
    bid[0, 19], ask[0, 19] = 0.15, 0.20
    contradicting = look(bid, ask)
    # A call is worth no more than one of a lower strike, one of which is 0.02 $.
    assert contradicting is not None
    assert (contradicting.strikes, contradicting.worst_strike) == (1, 109.0)
    assert contradicting.worst_dollars == pytest.approx(0.13, abs=1e-3)


def independently(bid: np.ndarray, ask: np.ndarray, forward: float) -> dict[float, float]:
    """What the slow program finds, by strike, in dollars."""
    contracts = [
        Contract(strike, right, bid[row, k], ask[row, k])
        for row, right in enumerate((CALL, PUT))
        for k, strike in enumerate(STRIKE)
    ]
    sample = Sample(
        contracts=contracts,
        spot=forward,
        quoted_at=0.0,
        seconds_left=DAY * YEAR,
        seconds_gone=0.0,
        session_seconds=0.0,
    )
    return contradictions(sample, forward, 0.36)


@pytest.mark.parametrize("seed", range(150))
def test_the_independent_program_agrees(seed: int):
    """Books with some wrong quotes: as many strikes, the same one is worst, by the same dollars."""
    dice = np.random.default_rng(seed)
    bid, ask = book(half=dice.choice([0.005, 0.02, 0.06]))
    # Strikes that are not listed, or not quoted on one side: distances are not all one dollar.
    bid[:, dice.random(21) < dice.choice([0.0, 0.15])] = math.nan
    unquoted = dice.random((2, 21)) < dice.choice([0.0, 0.15])
    bid[unquoted], ask[unquoted] = dice.choice([0.0, math.nan]), dice.choice([0.0, math.nan])
    for _ in range(dice.integers(1, 4)):
        # Of one side alone, or of both: then parity holds, and the shape does not.
        right, column = dice.choice([0, 1, slice(None)]), dice.integers(21)
        off = dice.choice([-0.5, -0.2, -0.1, 0.05, 0.1, 0.2, 0.5, 1.0])
        bid[right, column] = np.maximum(bid[right, column] + off, 0.0)
        ask[right, column] = np.maximum(ask[right, column] + off, 0.01)
    forward = 100.0 + dice.choice([-0.1, -0.05, 0.0, 0.05, 0.1])
    expected = independently(bid, ask, forward)
    contradicting = look(bid, ask, forward)
    if not expected:
        assert contradicting is None
        return
    assert contradicting is not None
    assert contradicting.strikes == len(expected)
    assert contradicting.worst_dollars == pytest.approx(max(expected.values()), abs=1e-7)
    assert expected[contradicting.worst_strike] == pytest.approx(max(expected.values()), abs=1e-7)


def test_a_real_row_says_so():
    """One real frame, one put of which shows the quote of another."""
    frame = real_chains.volkit().frame
    session = session_on(market_day(frame.quoted_at))
    assert session is not None
    clean = measure_slot(select_chain(frame, session), None, oi_confidence=0.43)
    assert "quotes_contradict" not in clean.row.flags
    today = frame.expiry == np.datetime64(session.day)
    put = today & (frame.strike == 2915.0) & (frame.right == -1)
    other = today & (frame.strike == 2920.0) & (frame.right == -1)
    assert put.sum() == other.sum() == 1
    wrong = dataclasses.replace(
        frame,
        bid=np.where(put, frame.bid[other], frame.bid),
        ask=np.where(put, frame.ask[other], frame.ask),
    )
    row = measure_slot(select_chain(wrong, session), None, oi_confidence=0.43).row
    assert "quotes_contradict" in row.flags
    amounts = (row.detail.flag_amounts or {})["quotes_contradict"]
    assert amounts["strikes"] >= 1
    assert abs(amounts["worst_strike"] - 2915.0) <= 10.0
    assert amounts["worst_dollars"] > 0.1
    named = figures_in_doubt(row.flags)["quotes_contradict"]
    assert {"atm_iv", "forward", "net_gex", "settled", "pin_probability_pct"} <= set(named)
