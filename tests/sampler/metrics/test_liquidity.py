"""Spreads and quality scores of a chain, by hand, and from what a row stores."""

from __future__ import annotations

import numpy as np
import pytest
from chains import chain

from sampler.measure.snapshot import measure_slot
from sampler.metrics.black import greeks
from sampler.metrics.chain_sums import ChainSums, chain_sums
from sampler.metrics.liquidity import QuoteQuality

STRIKE = np.array([95.0, 98.0, 100.0, 102.0, 103.0])
NAN = float("nan")


def sums(strike: np.ndarray = STRIKE, **changes) -> ChainSums:
    """Of five strikes with calls and puts at 0.9 to 1.1, unless changed."""
    chain_of = {
        "listed": np.ones((2, 5), np.bool_),
        "bid": np.full((2, 5), 0.9),
        "ask": np.full((2, 5), 1.1),
        "open_interest": np.zeros((2, len(strike))),
        "volume": np.ones((2, 5)),
        "signed": np.zeros((2, len(strike))),
        "volume_squares": np.zeros((2, len(strike))),
        "own": np.full(5, 0.2),
        "greeks": greeks(100.0, 100.5, strike, 0.001, 0.2),
    }
    return chain_sums(strike, **(chain_of | changes), spot=100.0, forward=100.5)


def measured(**changes) -> tuple[QuoteQuality, dict[str, int]]:
    quality, unused, *_ = sums(**changes)
    return quality, unused


def test_counts_and_sums_by_hand():
    """Of strikes 95 to 103: one call is not listed, 102 has no volatility, 100 is nearest 100.5."""
    listed, own = np.ones((2, 5), np.bool_), np.full(5, 0.2)
    listed[0, 0], own[3] = False, NAN
    gamma = np.array([0.0, 0.0, 0.25, 0.5, 0.0])
    delta = np.array([0.875, 0.75, 0.5, 0.25, 0.125])
    by_strike = greeks(100.0, 100.5, STRIKE, 0.001, 0.2)._replace(
        gamma=gamma, call_delta=delta, put_delta=delta - 1.0
    )
    table = np.arange(10.0).reshape(2, 5)
    signed = np.array([[0.0, -2.0, 0.0, 4.0, 0.0], [0.0, 0.0, 8.0, 0.0, 0.0]])
    total = sums(
        listed=listed,
        own=own,
        greeks=by_strike,
        open_interest=table,
        volume=10.0 * table,
        signed=signed,
        volume_squares=np.ones((2, 5)),
    )
    assert (total.money, total.contracts, total.strikes_with_iv, total.with_flow) == (2, 9, 4, 3)
    assert (total.open_interest, total.volume) == ((10.0, 35.0), (100.0, 350.0))
    # Puts traded 50 more than calls at each strike.
    assert total.volume_gamma == -50.0 * 0.75
    assert total.gamma_variance == 2.0 * (0.25**2 + 0.5**2)
    assert total.absolute_delta == 2.0 * 0.75 + 4.0 * 0.25 + 8.0 * 0.5
    # The variance leaves out what is not listed.
    listed[:, 2] = False
    assert (
        sums(listed=listed, greeks=by_strike, volume_squares=np.ones((2, 5))).gamma_variance == 0.5
    )


def test_spreads_by_hand():
    """0.2 around 1 is 20 %, at the money and by volume; a fifth of the price scores 0."""
    quality, unused = measured()
    assert quality.atm_spread_pct == pytest.approx(20.0)
    assert quality.weighted_spread_pct == pytest.approx(20.0)
    # 0.9 of 1.1 is 81.8 %.
    assert (quality.execution_score, quality.data_quality_score) == (0, 82)
    assert quality.median_spread_pct == pytest.approx(20.0)
    assert quality.greek_smoothness_score == 100
    assert unused == {}


def test_what_trades_weighs_and_what_is_far_does_not():
    """Three contracts at 5 %, one at 20 %; the strike 5 % off spot counts nowhere."""
    ask, bid = np.full((2, 5), 1.1), np.full((2, 5), 0.9)
    bid[0, 2], ask[0, 2] = 0.975, 1.025
    volume = np.zeros((2, 5))
    volume[0, 2], volume[1, 3], volume[0, 0] = 3, 1, 1000
    quality, _ = measured(bid=bid, ask=ask, volume=volume)
    assert quality.atm_spread_pct == pytest.approx((5 + 20) / 2)
    assert quality.weighted_spread_pct == pytest.approx((3 * 5 + 20) / 4)
    # 1 − 8.75/20 = 0.5625, half up.
    assert quality.execution_score == 56


def test_unused_quotes_are_counted_by_reason():
    """No bid, crossed, unreadable; what is not listed is none of them, and not quoted either."""
    bid, ask = np.full((2, 5), 0.9), np.full((2, 5), 1.1)
    bid[0, 1], bid[1, 1], ask[0, 2], listed = 0.0, 1.2, NAN, np.ones((2, 5), np.bool_)
    listed[1, 4], bid[1, 4], ask[1, 4] = False, NAN, NAN
    quality, unused = measured(bid=bid, ask=ask, listed=listed)
    assert unused == {"unreadable": 1, "crossed": 1, "one_sided": 1}
    # Of the eight at the four strikes within ±3 %, four are two-sided, each 0.9 of 1.1.
    assert quality.data_quality_score == 41
    assert quality.median_spread_pct == pytest.approx(20.0)


def test_the_median_spread_is_of_two_sided_quotes_near_spot():
    """Spreads of 1 %, 2 %, 4 %, 8 % and 20 % near the money: 4 %; with four of them: 3 %."""
    mid = np.full((2, 5), NAN)
    spread = np.full((2, 5), NAN)
    mid[0, 1:4] = mid[1, 1:3] = 1.0
    spread[0, 1:4], spread[1, 1:3] = (0.08, 0.01, 0.20), (0.04, 0.02)
    quality, _ = measured(bid=mid - spread / 2, ask=mid + spread / 2)
    assert quality.median_spread_pct == pytest.approx(4.0)
    mid[0, 3] = NAN
    quality, _ = measured(bid=mid - spread / 2, ask=mid + spread / 2)
    assert quality.median_spread_pct == pytest.approx(3.0)
    mid[:] = NAN
    assert measured(bid=mid, ask=mid)[0].median_spread_pct is None


@pytest.mark.parametrize("seed", range(5))
def test_a_wider_quote_never_scores_higher(seed):
    """Take any quote and lower its bid or raise its ask: quality falls or stays, and in the end is 0."""
    dice = np.random.default_rng(seed)
    bid = dice.uniform(0.05, 5.0, (2, 5))
    ask = bid + dice.uniform(0.0, 0.5, (2, 5))
    scores = [measured(bid=bid, ask=ask)[0].data_quality_score]
    for _ in range(200):
        bid, ask = bid.copy(), ask.copy()
        cell = dice.integers(2), dice.integers(5)
        bid[cell] *= dice.choice([1.0, 0.5, 0.0], p=[0.5, 0.4, 0.1])
        ask[cell] *= dice.choice([1.0, 2.0])
        scores.append(measured(bid=bid, ask=ask)[0].data_quality_score)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 50 > 10 > scores[-1]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([0.9, 0.20, 0.21, 0.22, 0.225], 100),
        # 98–100–102 bends by 0.03, 100–102–103 by 0.02 (102 stands at two thirds).
        ([0.9, 0.20, 0.23, 0.20, 0.185], 50),
        ([0.9, 0.20, NAN, 0.20, 0.20], 100),
        ([0.9, NAN, NAN, 0.20, 0.20], None),
        ([NAN] * 5, None),
    ],
)
def test_smoothness_by_hand(own, expected):
    """The inner strikes within ±3 % that lie within 0.02 of their neighbours' line."""
    assert measured(own=np.array(own))[0].greek_smoothness_score == expected


def test_nothing_to_tell():
    """No volume, no quotes near spot, no strikes at all: null, never an error."""
    assert measured(volume=np.zeros((2, 5)))[0].execution_score is None
    empty = np.empty((2, 0))
    nothing, unused = measured(
        strike=np.empty(0), listed=empty > 0, bid=empty, ask=empty, volume=empty, own=np.empty(0)
    )
    assert set(nothing) == {None}
    assert unused == {}


def test_stored_scores_follow_from_the_stored_profile():
    """For any reach the formula of the docs needs the profile alone; for 3 % it gives the row's."""
    rough = np.random.default_rng(3).normal(0, 0.02, 42)
    frame = chain(bid=(np.resize([0.0, 1.0, 2.0], 42)).tolist(), ask=(3 + rough).tolist())
    record = measure_slot(frame, None, oi_confidence=0.43)
    profile, spot = record.profile, record.row.spot
    near = np.abs(profile["strike"] - spot) <= 0.03 * spot
    sides = [(profile[f"{s}_bid"][near], profile[f"{s}_ask"][near]) for s in ("call", "put")]
    quoted = np.concatenate(
        [np.where((bid > 0) & (ask >= bid), bid / ask, 0) for bid, ask in sides]
    )
    k, own = (profile[name][near & np.isfinite(profile["own_iv"])] for name in ("strike", "own_iv"))
    off = [
        abs(own[i] - np.interp(k[i], k[[i - 1, i + 1]], own[[i - 1, i + 1]]))
        for i in range(1, len(k) - 1)
    ]
    expected = [np.floor(100 * np.mean(share) + 0.5) for share in (quoted, np.array(off) <= 0.02)]
    detail = record.row.detail
    assert expected == [detail.data_quality_score, detail.greek_smoothness_score]
    assert all(0 < score < 100 for score in expected)
