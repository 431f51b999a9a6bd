"""What is a jump, and when a spike has come back, by arithmetic on paper."""

from __future__ import annotations

import math

import pytest

from sampler.measure.spikes import RecentSample, came_back, spot_jump, volatility_jump

YEAR = 365 * 24 * 3600
#: 1.4826 times the median move of a normal variable is its standard deviation.
SCALE = 1.4826


def steady(moves: list[float], *, start: float = 100.0, atm: float = 1e-6) -> list[RecentSample]:
    """Samples of every 30 s, of which spot makes these moves. The implied σ is next to nothing."""
    spots = [start]
    for move in moves:
        spots.append(spots[-1] + move)
    return [RecentSample(30.0 * i, spot, atm) for i, spot in enumerate(spots)]


def volatile(ratios: list[float]) -> list[RecentSample]:
    """Samples of every 30 s, of which the volatility moves by these factors."""
    atms = [0.2]
    for ratio in ratios:
        atms.append(atms[-1] * ratio)
    return [RecentSample(30.0 * i, 100.0, atm) for i, atm in enumerate(atms)]


def test_spot_against_its_recent_moves():
    """Four moves of $1 in 30 s make a σ of $1.4826; more than eight of it are a jump."""
    recent = steady([1, -1, 1, -1])
    assert spot_jump(recent, 100.0 + 8 * SCALE - 0.001, 150.0) is None
    jump = spot_jump(recent, 100.0 - 8 * SCALE - 0.001, 150.0)
    assert jump is not None
    assert (jump.size, jump.sigmas) == pytest.approx((-11.8618, 11.8618 / SCALE))
    assert jump.as_detail() == {"jump": -11.8618, "sigmas": 8.0}
    # Four times the interval is twice the σ.
    assert spot_jump(recent, 100.0 + 16 * SCALE - 0.001, 240.0) is None
    assert spot_jump(recent, 100.0 + 16 * SCALE + 0.001, 240.0) is not None


def test_spot_against_its_volatility():
    """Without enough moves, σ is spot·volatility·√interval; the larger σ counts."""
    interval = 30.0
    few = steady([1, -1, 1], atm=0.16)
    spot = few[-1].spot
    sigma = spot * 0.16 * math.sqrt(interval / YEAR)
    assert spot_jump(few, spot + 8.001 * sigma, 120.0) is not None
    assert spot_jump(few, spot + 7.999 * sigma, 120.0) is None
    # Four moves of $1 say more.
    assert spot_jump(steady([1, -1, 1, -1], atm=0.16), 100.0 + 8.001 * sigma, 150.0) is None


def test_what_has_no_interval_is_no_jump():
    """No earlier sample, none earlier than now, or a spot that never moves: nothing to say."""
    recent = steady([1, -1, 1, -1])
    assert spot_jump([], 200.0, 150.0) is None
    assert spot_jump(recent, 200.0, 120.0) is None
    assert spot_jump(recent, 200.0, 119.0) is None
    # In one second σ is √(1/30) of that in 30.
    assert spot_jump(recent, 100.0 + 8.1 * SCALE / math.sqrt(30), 121.0) is not None
    assert spot_jump(steady([0, 0, 0, 0], atm=0.0), 200.0, 150.0) is None
    assert volatility_jump(volatile([1.1, 1 / 1.1] * 2), 0.9, 120.0) is None
    assert volatility_jump(volatile([1.1, 1 / 1.1] * 2), 0.9, 120.5) is not None


def test_volatility_against_its_recent_moves():
    """Moves are of the logarithm; at least 1 % in 30 s is σ."""
    recent = volatile([math.exp(0.02), math.exp(-0.02)] * 2)
    for moved, is_jump in ((8 * SCALE * 0.02 + 1e-6, True), (8 * SCALE * 0.02 - 1e-6, False)):
        jump = volatility_jump(recent, 0.2 * math.exp(-moved), 150.0)
        assert (jump is not None) == is_jump
    assert volatility_jump(recent, 0.2 * math.exp(0.5), 150.0).size == pytest.approx(0.5)
    quiet = volatile([1.0] * 4)
    for moved, is_jump in ((0.080001, True), (0.079999, False)):
        assert (volatility_jump(quiet, 0.2 * math.exp(moved), 150.0) is not None) == is_jump
        # Twice that in 120 s.
        assert (volatility_jump(quiet, 0.2 * math.exp(2 * moved), 240.0) is not None) == is_jump


def test_volatility_that_is_not_known():
    """Fewer than four moves, or no volatility at one end: no jump."""
    assert volatility_jump(volatile([1.0] * 3), 0.9, 120.0) is None
    quiet = volatile([1.0] * 5)
    assert volatility_jump(quiet, 0.0, 180.0) is None
    assert volatility_jump([*quiet, RecentSample(180.0, 100.0, 0.0)], 0.9, 210.0) is None
    # A sample without one in between is left out.
    gap = [*quiet[:2], RecentSample(60.0, 100.0, 0.0), *quiet[3:]]
    assert volatility_jump(gap, 0.9, 180.0) is not None


@pytest.mark.parametrize(
    ("left", "seconds", "is_spike"),
    # A quarter of the jump may be left, and three intervals may pass.
    [(0.0, 30, True), (0.2499, 30, True), (-0.2499, 30, True), (0.2501, 30, False), (0.0, 90, True),
     (0.0, 90.5, False), (1.0, 30, False)],
)  # fmt: skip
def test_a_spike_that_comes_back(left, seconds, is_spike):
    """Spot and volatility jump and come back: the jumps are those of the sample before."""
    recent = [
        RecentSample(30.0 * i, 100.0 + (i % 2), 0.2 * math.exp(0.001 * (i % 2))) for i in range(5)
    ]
    recent.append(RecentSample(150.0, 164.0, 0.2 * math.exp(0.64)))
    now = RecentSample(150.0 + seconds, 100.0 + 64 * left, 0.2 * math.exp(0.64 * left))
    spot, volatility = came_back(recent, now)
    assert (spot is not None, volatility is not None) == (is_spike, is_spike)
    if is_spike:
        assert (spot.size, volatility.size) == pytest.approx((64.0, 0.64))
    # Each by itself.
    spot, volatility = came_back(recent, now._replace(atm=recent[-1].atm))
    assert (spot is not None, volatility is not None) == (is_spike, False)
    spot, volatility = came_back(recent, now._replace(spot=recent[-1].spot))
    assert (spot is not None, volatility is not None) == (False, is_spike)


def test_what_has_no_volatility_now_has_not_come_back():
    """Without a volatility now, spot alone can have come back; two samples are needed before."""
    recent = [RecentSample(30.0 * i, 100.0 + (i % 2), 0.2) for i in range(5)]
    recent.append(RecentSample(150.0, 164.0, 0.4))
    spot, volatility = came_back(recent, RecentSample(180.0, 100.0, 0.0))
    assert (spot is not None, volatility) == (True, None)
    assert came_back(recent[-1:], RecentSample(180.0, 100.0, 0.2)) == (None, None)
    # Exactly a quarter of the jump may be left.
    assert came_back(recent, RecentSample(180.0, 116.0, 0.0))[0] is not None
    # The same of the volatility, whose jumps are differences of logarithms: 16 times, then twice.
    jumped = [*recent[:5], RecentSample(150.0, 100.0, 3.2)]
    for twice, is_spike in ((0.4, True), (0.4000001, False)):
        now = RecentSample(180.0, 100.0, twice)
        assert (came_back(jumped, now)[1] is not None) == is_spike
    # Of two samples, spot's volatility is enough.
    two = [RecentSample(120.0, 100.0, 0.2), RecentSample(150.0, 164.0, 0.2)]
    assert came_back(two, RecentSample(180.0, 100.0, 0.2))[0] is not None
