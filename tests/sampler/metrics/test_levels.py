"""Flip, walls, max pain, pin and the moves of a small book, worked by hand or by properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampler.metrics.book_figures import book_figures
from sampler.metrics.exposure import (
    DEALER_SIGN,
    BookExposures,
    GreeksByMove,
    charm_curve,
    charm_horizon,
    greeks_by_move,
)
from sampler.metrics.flip import FlipStatus, find_flips, has_coverage
from sampler.metrics.levels import (
    StrikeLevels,
    excess,
    levels_loop,
    levels_of,
    max_pain,
    strongest,
)
from sampler.metrics.pin import pin_probability, pin_score
from storage.market.constants import MOVES

STRIKE = np.arange(90.0, 111.0)
HOURS = 1 / 8760
TERMS = {"spot": 100.0, "forward": 100.0, "strike": STRIKE, "years": 4 * HOURS}
SIGMA = np.full(len(STRIKE), 0.4)
REMAINING = 100 * 0.4 * math.sqrt(4 * HOURS)
QUOTED = np.ones(len(STRIKE), np.bool_)


def net(**positions: float) -> np.ndarray:
    """Net dealer contracts by strike, e.g. k98=-10."""
    position = np.zeros(len(STRIKE))
    for name, value in positions.items():
        position[float(name[1:]) == STRIKE] = value
    return position


def flip_of(position, **changes):
    terms = TERMS | {"sigma": SIGMA} | changes
    moneyness = np.log(terms.pop("forward") / terms.pop("strike"))
    (flip,) = find_flips(position[None], moneyness=moneyness, **terms)
    return flip


def strike_levels(strike, gex, open_interest, spot) -> StrikeLevels:
    """Levels of a book, all of whose strikes are near spot."""
    values = np.empty(6)
    levels_loop(spot, 0.0, float(len(strike)), strike, gex, open_interest, values)
    return levels_of(values.tolist())


def book_exposures(position: np.ndarray, scene: GreeksByMove) -> BookExposures:
    """Exposures of dealers who sold each contract that they are short of today."""
    nothing, listed = np.zeros(position.shape), np.ones(position.shape, np.bool_)
    (_, live), _ = book_figures(
        nothing, -position, listed, oi_confidence=1.0, scene=scene, strike=STRIKE, near=(0, 21)
    )
    return live.exposures


def test_equal_and_opposite_strikes_cross_between_them():
    """−1 at 98 and +1 at 102: by symmetry gamma vanishes near their geometric mean."""
    level, status, crossings = flip_of(net(k98=-1000, k102=1000))
    assert status is FlipStatus.AVAILABLE
    assert len(crossings) == 1
    # x·n(d1(98)) = x·n(d1(102)) where both d1 are opposite: ln x = mean of ln K − σ²T/2.
    total = 0.4 * math.sqrt(4 * HOURS)
    assert level == pytest.approx(math.sqrt(98 * 102) * math.exp(-total * total / 2), rel=1e-8)


def test_the_nearest_of_several_crossings_is_the_flip():
    """Signs −, +, − at 94, 97, 108 turn near 95.5 and 102.4; the latter is nearer to 100."""
    level, _, crossings = flip_of(net(k94=-1000, k97=1000, k108=-1000))
    np.testing.assert_allclose(crossings, [95.5, 102.4], atol=0.2)
    assert level == crossings[1]


def test_a_faint_crossing_does_not_count():
    """A contrary sign below 1 % of the largest gamma is no boundary."""
    assert flip_of(net(k100=1000, k105=-1)).status is FlipStatus.NO_BOUNDARY


def test_a_crossing_counts_from_one_percent_of_the_largest_gamma():
    """The largest x²Γ(x) of a strike's bell is proportional to q·K, exactly.

    So 1 % of 1000 contracts at 100 is 9.52 at 105. The grid may miss a maximum by 1.4 %.
    """
    one_percent = 0.01 * 1000 * 100 / 105
    assert flip_of(net(k100=1000, k105=-0.97 * one_percent)).status is FlipStatus.NO_BOUNDARY
    assert flip_of(net(k100=1000, k105=-1.03 * one_percent)).status is FlipStatus.AVAILABLE


def test_strikes_far_apart_turn_where_their_tails_meet():
    """−1 at 94, +1 at 106, half a minute left: 300 widths between them, and still one level."""
    level, _, crossings = flip_of(net(k94=-1000, k106=1000), years=30 / 31_536_000)
    total = 0.4 * math.sqrt(30 / 31_536_000)
    assert len(crossings) == 1
    assert level == pytest.approx(math.sqrt(94 * 106) * math.exp(-total * total / 2), rel=1e-8)


def test_one_sign_has_no_boundary():
    """All long, or no book at all: no flip, and it says why."""
    assert flip_of(net(k100=10))[:2] == (None, FlipStatus.NO_BOUNDARY)
    assert flip_of(net())[:2] == (None, FlipStatus.NO_BOUNDARY)


def test_too_few_quotes_or_too_little_time():
    """Four two-sided strikes near spot, or one sd below half a strike step: no telling."""
    assert has_coverage(STRIKE, QUOTED, spot=100.0, remaining=REMAINING)
    # Five on each side of 100 are near: those beyond 95 to 105 do not help.
    five = np.isin(STRIKE, [95.0, 97.0, 100.0, 103.0, 105.0])
    assert has_coverage(STRIKE, five, spot=100.0, remaining=REMAINING)
    four = (five & (STRIKE != 105.0)) | (STRIKE < 95.0) | (STRIKE > 105.0)
    assert not has_coverage(STRIKE, four, spot=100.0, remaining=REMAINING)
    assert not has_coverage(STRIKE, QUOTED, spot=100.0, remaining=0.49)
    assert not has_coverage(np.empty(0), np.empty(0, np.bool_), spot=100.0, remaining=1.0)


@settings(max_examples=60, deadline=None)
@given(
    positions=st.lists(st.integers(-1000, 1000), min_size=21, max_size=21),
    hours=st.sampled_from([2.0, 4.0, 6.5]),
)
def test_gamma_is_zero_at_every_crossing(positions, hours):
    """By the textbook formula the book has no gamma at any crossing."""
    book = np.array(positions, float)
    result = flip_of(book, years=hours * HOURS)
    total = 0.4 * math.sqrt(hours * HOURS)

    def gamma(x: float) -> float:
        d1 = [math.log(x / k) / total + total / 2 for k in STRIKE]
        return math.fsum(n * math.exp(-d * d / 2) for n, d in zip(book, d1, strict=True))

    largest = max(abs(gamma(x)) for x in np.linspace(90, 110, 201))
    for x in result.crossings:
        assert abs(gamma(x)) < 1e-9 * largest


def test_ties_go_to_the_strike_nearest_spot():
    """Equal sizes: the nearer strike; nothing positive: none."""
    strike = np.array([90.0, 99.0, 110.0])
    assert strongest(strike, np.array([5.0, 5.0, 5.0]), 100.0) == 1
    assert strongest(strike, np.array([5.0, 4.0, 5.0]), 100.0) == 0
    assert strongest(strike, np.array([5.0, 4.0, 5.0]), 100.1) == 2
    assert strongest(strike, np.array([0.0, 0.0, 0.0]), 100.0) == -1
    assert strongest(strike, np.array([-1.0, -2.0, 0.0]), 100.0) == -1


def test_levels_of_a_small_book():
    """Walls by each side's gex, the magnet by their sum, ties to spot; none where all is 0."""
    strike = np.array([90.0, 99.0, 110.0])
    gex = np.array([[5.0, 5.0, 1.0], [-1.0, -5.0, -9.0]])
    levels = strike_levels(strike, gex, np.zeros((2, 3)), 100.0)
    assert levels[:4] == (1, 2, 2, None)
    assert levels.total_gex == 4 + 0 + 8
    assert strike_levels(strike, 0 * gex, np.zeros((2, 3)), 100.0)[:4] == (None,) * 4


def test_max_pain_by_hand():
    """Calls at 90 (10 contracts), puts at 110 (30): settling at 110 costs 200, at 100 400, at 90 600."""
    strike = np.array([90.0, 100.0, 110.0])
    oi = np.array([[10.0, 0.0, 0.0], [0.0, 0.0, 30.0]])
    assert max_pain(strike, oi[0], oi[1], 100.0) == 2
    assert max_pain(strike, np.zeros(3), np.zeros(3), 100.0) == -1
    # At 90 and 100 nothing is paid by puts of 90: the nearer to spot.
    assert max_pain(strike, np.zeros(3), np.array([7.0, 0.0, 0.0]), 99.0) == 1


def score(**changes):
    terms = {
        "spot": 100.0,
        "magnet": 100.0,
        "magnet_gex": 45.0,
        "remaining": 1.0,
        "elapsed": 0.5,
    }
    strike = np.array([99.0, 99.5, 100.0, 100.5, 101.0])
    oi = changes.pop("oi", np.array([1.0, 1.0, 1.0, 1.0, 1.0]))
    gex = changes.pop("gex", np.array([0.0, 55.0, 45.0, 0.0, 0.0]))
    levels = strike_levels(strike, np.array([gex, 0 * gex]), np.array([oi, 0 * oi]), terms["spot"])
    return pin_score(levels, **(terms | changes))


def test_pin_score_by_hand():
    """Even open interest scores 0, at the magnet 100, half the day 50, 45 % of gamma 100."""
    parts = score()
    assert parts[1:] == (0.0, 100.0, 50.0, 100.0)
    # 0.25·100 + 0.25·50 + 0.20·100 = 57.5, half up.
    assert parts.score == 58


def test_open_interest_in_three_strikes_is_full_concentration():
    """All of it in three of five strikes: excess (1 − 0.6)/0.4 = 1, clipped to 100."""
    assert score(oi=np.array([0.0, 5.0, 5.0, 5.0, 0.0])).oi == 100.0
    # Three of five hold 70 %: (0.7 − 0.6)/0.4/0.277 = 90.25 %.
    assert score(oi=np.array([15.0, 20.0, 30.0, 20.0, 15.0])).oi == pytest.approx(25 / 0.277)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50).map(float), min_size=21, max_size=21))
def test_excess_is_by_the_top_three(held):
    """Against sorting, over the strikes that are near."""
    near = sorted(held[7:16])
    share = sum(near[-3:]) / sum(near) if len(near) > 3 and sum(near) else None
    even = 3 / len(near)
    expected = 0.0 if share is None else (share - even) / (1 - even)
    assert excess(np.array(held), np.zeros(21), 7.0, 16.0) == pytest.approx(expected, abs=1e-12)


def test_a_magnet_of_negative_gamma_pulls_nothing():
    """An accelerator adds no gamma part; without a magnet proximity is 0 too."""
    assert score(magnet_gex=-45.0).gamma == 0.0
    gone = score(magnet=None, magnet_gex=None)
    assert (gone.proximity, gone.gamma) == (0.0, 0.0)


def test_one_sd_away_from_the_magnet():
    """Proximity falls as the bell does: exp(−½) at one standard deviation."""
    assert score(magnet=101.0).proximity == pytest.approx(100 * math.exp(-0.5))


def probability(own, magnet=10):
    return pin_probability(
        magnet,
        strike=STRIKE,
        own=own,
        uncertainty=np.zeros(21),
        atm=0.4,
        atm_uncertainty=0.0,
        forward=100.0,
        years=4 * HOURS,
    ).percent


def test_a_flat_smile_gives_the_lognormal_probability():
    """N(d2(99)) − N(d2(101)) by the error function."""
    total = 0.4 * math.sqrt(4 * HOURS)

    def over(k):
        d2 = math.log(100 / k) / total - total / 2
        return math.erfc(-d2 / math.sqrt(2)) / 2

    assert probability(SIGMA) == pytest.approx(100 * (over(99) - over(101)), rel=1e-12)


def test_a_missing_neighbour_means_lognormal():
    """A strike that the slope needs has no volatility of its own: the flat answer."""
    holed = SIGMA.copy() + np.linspace(0.05, 0, 21)
    holed[STRIKE == 98.0] = np.nan
    assert probability(holed) == pytest.approx(probability(SIGMA))


def test_probabilities_of_all_intervals_sum_to_one():
    """With a skew, over alternate strikes: the pieces tile the line."""
    skew = 0.4 + 0.003 * (100 - STRIKE)
    total = sum(probability(skew, magnet) for magnet in range(0, 21, 2))
    assert total == pytest.approx(100, abs=1e-9)


def scenes(years=4 * HOURS):
    return greeks_by_move(100.0, 100.0, STRIKE, years, SIGMA)


def test_exposures_by_finite_differences_of_the_book():
    """dealer delta moves by net GEX per 1 %, by vex per vol point, and by charm over an hour."""
    rng = np.random.default_rng(5)
    q = DEALER_SIGN * rng.integers(0, 500, (2, 21))

    def delta(spot=100.0, sigma=0.4, years=4 * HOURS):
        total = 0
        for side in (0, 1):
            for k, n in zip(STRIKE, q[side], strict=True):
                s = sigma * math.sqrt(years)
                d1 = math.log(spot / k) / s + s / 2
                d = math.erfc(-d1 / math.sqrt(2)) / 2 - side
                total += n * d
        return total * 100 * 100.0

    exposures = book_exposures(q, scenes())
    h = 1e-4
    assert exposures.dealer_delta == pytest.approx(delta(), rel=1e-12)
    per_percent = (delta(spot=100 + h) - delta(spot=100 - h)) / (2 * h)
    assert exposures.gex.sum() == pytest.approx(per_percent, rel=1e-5)
    per_point = (delta(sigma=0.4 + h) - delta(sigma=0.4 - h)) / (2 * h) * 0.01
    assert exposures.vex.sum() == pytest.approx(per_point, rel=1e-5)
    assert exposures.charm == pytest.approx(delta() - delta(years=3 * HOURS), rel=1e-9)
    assert exposures.chex.sum() == pytest.approx(delta() - delta(years=2 * HOURS), rel=1e-9)
    # In the last two hours both look ahead half of what is left.
    late = book_exposures(q, scenes(years=HOURS))
    expected = delta(years=HOURS) - delta(years=HOURS / 2)
    assert late.charm == late.chex.sum() == pytest.approx(expected, rel=1e-9)
    assert [charm_horizon(hours * HOURS) for hours in (4, 2, 1)] == [3600.0, 3600.0, 1800.0]
    # The way to the close, where spot stays at 97.3 and 101: strikes by strikes by hand.
    levels = [97.3, 101.0]
    curve = charm_curve(q[0] + q[1], levels, scenes(), forward=100.0, strike=STRIKE, sigma=SIGMA)
    for level, dollars in curve:
        intrinsic = sum(
            (q[0, i] + q[1, i]) * (1.0 if level > k else 0.5 if level == k else 0.0) - q[1, i]
            for i, k in enumerate(STRIKE)
        )
        at_level = delta(spot=level) / 100.0 - intrinsic * 100
        assert dollars == pytest.approx(at_level * level, rel=1e-9)
    assert [level for level, _ in curve] == levels
    table = book_exposures(q, scenes()).hedging
    for name, move in MOVES.items():
        shares = -(delta(spot=100 * (1 + move)) - delta()) / 100
        assert table.shares[name] == pytest.approx(shares, rel=1e-9)
    per_dollar = (delta(spot=100 + h) - delta(spot=100 - h)) / (2 * h) / 100
    assert table.convexity == pytest.approx(per_dollar, rel=1e-5)


def test_all_that_decays_is_time_value():
    """A short straddle at 100 earns its whole price by expiry, spread over the hours left."""
    q = np.zeros((2, 21))
    q[:, 10] = -3.0
    table = book_exposures(q, scenes()).hedging
    total = 0.4 * math.sqrt(4 * HOURS)
    straddle = 2 * 100 * (math.erfc(-total / 2 / math.sqrt(2)) - 1)
    assert table.net_theta_dollars == pytest.approx(3 * 100 * straddle, rel=1e-12)
    assert table.theta_per_hour_remaining == pytest.approx(3 * 100 * straddle / 4, rel=1e-12)
    # At the money gamma goes with 1/√T (and a hair of σ²T/8): 4 h to 3 h.
    assert table.gamma_acceleration == pytest.approx(math.sqrt(4 / 3), rel=1e-4)
