"""What must always hold of a row, over random books; and odd chains, each a row or a refusal."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import orjson
import pytest
from chains import TEN_FOURTEEN, chain
from hypothesis import given, settings
from hypothesis import strategies as st

from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot

STRIKES = [7600.0 + 10 * i for i in range(21)]
N = 2 * len(STRIKES)
COUNTS = st.lists(st.integers(0, 10_000).map(float), min_size=N, max_size=N)
SECONDS = st.sampled_from([0, 3600, 10_000, 20_000])


def pair(oi, traded, prices, seconds=0, confidence=0.43):
    """A baseline and a slot later in which ``traded`` contracts changed hands at shifted prices."""
    later = TEN_FOURTEEN + timedelta(seconds=seconds)
    before = measure_slot(chain(quoted_at=later, open_interest=oi), None, oi_confidence=confidence)
    quotes = chain(quoted_at=later + timedelta(seconds=30))
    last = (np.nan_to_num(quotes.last).reshape(-1) + np.resize(prices, N)).tolist()
    after = measure_slot(
        chain(
            quoted_at=later + timedelta(seconds=30),
            open_interest=oi,
            volume=[50.0 + n for n in traded],
            last=last,
        ),
        before,
        oi_confidence=confidence,
    )
    return before, after


books = settings(max_examples=40, deadline=None)
prices = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=9)


def test_effective_open_interest_is_never_below_zero():
    """Selling more than a contract's open interest leaves none of it, and not less.

    10 puts at 7750, 8 calls at 7720 and 5 calls at 7640 are open: between 7720 and 7750 holders
    gain 8 + 5 - 10 = 3 a dollar, so max pain is 7720. With the 5 sold off it is 8 - 10 = -2, and
    max pain is 7750. Counted below zero, they would move it to the highest strike.
    """
    n = len(STRIKES)
    held, sold = [0.0] * N, [0.0] * N
    held[n + STRIKES.index(7750.0)], held[STRIKES.index(7720.0)] = 10.0, 8.0
    held[STRIKES.index(7640.0)], sold[STRIKES.index(7640.0)] = 5.0, 1000.0
    before, after = pair(held, sold, [-0.2], confidence=0.5)
    assert (before.row.max_pain, after.row.max_pain) == (7720.0, 7750.0)
    assert after.row.pin_oi == 100.0
    assert after.row.net_gex > before.row.net_gex, "the trades were not taken for sales"


@pytest.mark.parametrize(("seconds", "known"), [(60.0, True), (59.999, False)])
def test_volatility_is_given_down_to_sixty_seconds(seconds, known):
    """At exactly 60 s to expiry the row still has a volatility; below that it has none."""
    close = TEN_FOURTEEN.replace(hour=20, minute=0, second=0)
    row = measure_slot(
        chain(
            quoted_at=close - timedelta(seconds=seconds),
            strikes=[7690.0 + i for i in range(21)],
            half_spread=0.001,
        ),
        None,
        oi_confidence=0.43,
    ).row
    if not known:
        assert (row.atm_iv, row.remaining_1sd) == (None, None)
        return
    assert row.atm_iv == pytest.approx(0.15, rel=1e-3)
    assert row.remaining_1sd == pytest.approx(7700 * 0.15 * math.sqrt(60 / 31_536_000), rel=1e-3)


@books
@given(COUNTS, COUNTS, prices, SECONDS)
def test_sums_and_bounds(oi, traded, shifts, seconds):
    """Net is calls plus puts, |net| ≤ gross, effective OI is never below 0, scores are percents."""
    _, after = pair(oi, traded, shifts, seconds)
    row = after.row
    for book in (row.as_json(), row.settled.as_json()):
        assert book["net_gex"] == pytest.approx(book["call_gex"] + book["put_gex"], rel=1e-9, abs=1)
        assert book["net_dex"] == pytest.approx(book["call_dex"] + book["put_dex"], rel=1e-9, abs=1)
        assert abs(book["net_gex"]) <= book["gross_gex"] * (1 + 1e-9)
        assert book["call_dex"] >= 0 >= book["put_dex"]
        assert 0 <= book["pin_score"] <= 100
        assert book["pin_probability_pct"] is None or 0 <= book["pin_probability_pct"] <= 100
    assert row.settled.call_gex >= 0 >= row.settled.put_gex
    assert row.classified_share is None or 0 <= row.classified_share <= 1
    assert after.profile["call_gex"].sum() == pytest.approx(row.call_gex, rel=1e-9, abs=1)
    # What flowed per strike is what flowed.
    flowed = after.profile["call_flow"].sum() + after.profile["put_flow"].sum()
    assert flowed == pytest.approx(row.hedge_flow_cumulative_all, abs=0.02)


@books
@given(COUNTS, COUNTS, prices, SECONDS)
def test_regime_is_the_sign_of_gamma_at_spot(oi, traded, shifts, seconds):
    """And between spot and the nearest crossing the sign does not change."""
    _, after = pair(oi, traded, shifts, seconds)
    row = after.row
    expected = {1: "positive_gamma", -1: "negative_gamma", 0: "unknown"}
    assert row.regime == expected[int(np.sign(row.net_gex))]
    # By the textbook's bells, from what is stored: G(S) of the live book.
    profile, kappa = after.profile, row.oi_confidence
    net = (
        profile["call_oi"]
        - profile["put_oi"]
        - kappa * (profile["call_signed"] + profile["put_signed"])
    )
    total = profile["iv"] * math.sqrt(row.years_to_expiry)
    d1 = np.log(row.forward / profile["strike"]) / total + total / 2
    bells = net * np.exp(-d1 * d1 / 2) / total
    gamma = math.fsum(bells) * 100 * row.spot * 0.01 / math.sqrt(2 * math.pi)
    assert row.net_gex == pytest.approx(gamma, rel=1e-9, abs=1e-9 * row.gross_gex + 1e-9)
    if row.gamma_flip is not None:
        assert row.gamma_flip == min(row.detail.crossings, key=lambda x: abs(x - row.spot))


@books
@given(COUNTS, COUNTS, prices)
def test_without_confidence_live_is_settled(oi, traded, shifts):
    """κ = 0: whatever was traded moves no position."""
    row = pair(oi, traded, shifts, confidence=0.0)[1].row
    live, settled = row.as_json(), row.settled.as_json()
    shared = settled.keys() & live.keys()
    assert len(shared) >= 25
    assert {n: settled[n] for n in shared} == {n: live[n] for n in shared}


@books
@given(COUNTS, COUNTS, prices, st.sampled_from([2, 10]))
def test_exposures_scale_with_the_book(oi, traded, shifts, factor):
    """Twice the contracts is twice the dollars; levels and probabilities stay."""
    small = pair(oi, traded, shifts)[1].row
    large = pair([factor * n for n in oi], [factor * n for n in traded], shifts)[1].row
    for name in ("settled",):
        single, many = getattr(small, name).as_json(), getattr(large, name).as_json()
        for figure in ("net_gex", "net_dex", "net_vex", "net_chex", "dealer_delta"):
            assert many[figure] == pytest.approx(factor * single[figure], rel=1e-9, abs=1)
        for level in ("call_wall", "put_wall", "magnet", "max_pain", "pin_score"):
            assert many[level] == single[level]


@books
@given(COUNTS, prices)
def test_cumulative_volume_never_falls(traded, shifts):
    """Traded and told volume only grow, and told is never more than traded."""
    before, after = pair([100.0] * N, traded, shifts)
    assert after.state[1]["traded"] == sum(traded)
    assert 0 <= after.state[1]["told"] <= after.state[1]["traded"]
    assert after.row.total_volume == before.row.total_volume + sum(traded)


@books
@given(COUNTS, COUNTS, st.lists(st.floats(0, 1), min_size=1, max_size=7), prices)
def test_splitting_an_interval_conserves_volume(oi, traded, parts, shifts):
    """A sample in between changes who is thought to have traded, never how much, by contract."""
    first, whole = pair(oi, traded, shifts)
    share = np.resize(parts, N)
    middle = [50.0 + math.floor(n * fraction) for n, fraction in zip(traded, share, strict=True)]
    between = measure_slot(
        chain(quoted_at=TEN_FOURTEEN + timedelta(seconds=15), open_interest=oi, volume=middle),
        first,
        oi_confidence=0.43,
    )
    quotes = chain(
        quoted_at=TEN_FOURTEEN + timedelta(seconds=30),
        open_interest=oi,
        volume=[50.0 + n for n in traded],
    )
    split = measure_slot(quotes, between, oi_confidence=0.43)
    assert split.state[1]["traded"] == whole.state[1]["traded"] == sum(traded)
    assert split.row.total_volume == whole.row.total_volume
    for side in ("call", "put"):
        bought = np.abs(split.profile[f"{side}_signed"])
        new = split.profile[f"{side}_volume"] - 50
        assert (bought <= new + 1e-9).all()
        assert (split.profile[f"{side}_volume"] == whole.profile[f"{side}_volume"]).all()


def some(**changes):
    """A row, or the reason why there is none; anything else fails the test."""
    baseline = measure_slot(chain(), None, oi_confidence=0.43)
    for past in (None, baseline):
        later = TEN_FOURTEEN + timedelta(seconds=3000)
        try:
            record = measure_slot(
                chain(**({"quoted_at": later} | changes)), past, oi_confidence=0.43
            )
        except ChainRefused:
            continue
        body = orjson.dumps(record.row.as_json())
        assert b"NaN" not in body
        for name, array in record.profile.items():
            if name not in ("own_iv", "call_bid", "call_ask", "put_bid", "put_ask"):
                assert np.isfinite(array).all(), name


ONE = {"bid": [1.0, 1.0], "ask": [1.1, 1.1], "last": [1.0, 1.0]}


@pytest.mark.parametrize(
    "changes",
    [
        {"strikes": []},
        {"strikes": [7700.0]},
        {"strikes": [7700.0, 7710.0]},
        {"right": [1] * N},
        {"right": [1] * (N // 2) + [0] * (N // 2)},
        {"bid": [0.0] * N},
        {"ask": [0.0] * N},
        {"bid": [float("nan")] * N, "ask": [float("nan")] * N},
        {"bid": [2.0] * N, "ask": [1.0] * N},
        {"spot": 0.0, "forward": 7700.0},
        {"spot": float("nan"), "forward": 7700.0},
        {"open_interest": [0.0] * N},
        {"open_interest": [2.0**53] * N},
        {"volume": [2.0**53] * N},
        {"strikes": [1e-3, *STRIKES, 1e6]},
        {"spot": 1e-3, "forward": 7700.0},
        {"sigma": 9.0},
        {"sigma": 1e-3},
        {"quoted_at": TEN_FOURTEEN.replace(hour=19, minute=59, second=59, microsecond=999_999)},
        {"quoted_at": TEN_FOURTEEN.replace(hour=19, minute=59, second=59)},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_odd_chains(changes):
    """A row that JSON can carry, or a refusal with a sentence; never an exception, never a NaN."""
    some(**changes)
