"""How a forecast came out: by a path that is drawn by hand."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime, timedelta

import pytest

from storage.market.calendar import session_on
from storage.scorecard.outcome import judge, pin_hit, within_range

SESSION = session_on(date(2026, 8, 19))
#: 15:30 New York.
HALF_PAST = datetime(2026, 8, 19, 19, 30, tzinfo=UTC)
STEP = timedelta(seconds=30)


def forecast(**changes):
    """At 15:30: spot 100, one standard deviation is 1."""
    return {
        "slot": "2026-08-19T19:30:00Z",
        "spot": 100.0,
        "remaining_1sd": 1.0,
        "pin_probability_pct": 30.0,
        "pin_lower": 99.0,
        "pin_upper": 101.0,
        "call_wall": 102.0,
        "put_wall": 97.0,
    } | changes


def path(*turns: tuple[int, float]):
    """A row every 30 s from 15:30 on, linear between turns of (slot, price), 60 slots in all."""
    points = []
    for (first, start), (last, end) in itertools.pairwise(turns):
        points += [
            (HALF_PAST + n * STEP, start + (end - start) * (n - first) / (last - first))
            for n in range(first, last)
        ]
    return points


FLAT = path((0, 100.0), (60, 100.0))


@pytest.mark.parametrize(
    ("close", "lower", "upper", "hit"),
    [
        (100.0, 99.0, 101.0, True),
        (99.0, 99.0, 101.0, False),
        (101.0, 99.0, 101.0, True),
        (101.01, 99.0, 101.0, False),
        (5.0, None, 101.0, True),
        (500.0, 99.0, None, True),
    ],
)
def test_pin(close, lower, upper, hit) -> None:
    """Above the lower strike, up to the upper one; without a strike on that side no bound."""
    assert pin_hit(close, lower, upper) is hit


def test_ranges() -> None:
    """One and two standard deviations around spot, the ends included."""
    assert within_range(101.0, 100.0, 1.0)
    assert not within_range(101.01, 100.0, 1.0)
    answers = [
        judge(forecast(), close=close, path=FLAT, session=SESSION) for close in (99, 98.5, 97.9)
    ]
    assert [(a["within_1sigma"], a["within_2sigma"]) for a in answers] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    unknown = judge(
        forecast(remaining_1sd=None, pin_probability_pct=None),
        close=99.0,
        path=FLAT,
        session=SESSION,
    )
    assert unknown["pin_hit"] is unknown["within_1sigma"] is unknown["within_2sigma"] is None
    assert unknown["walls"] == []


def walls(turns, close, **changes):
    answer = judge(forecast(**changes), close=close, path=path(*turns), session=SESSION)
    return {wall.pop("wall"): wall for wall in answer["walls"]}


def test_a_wall_that_holds() -> None:
    """Price rises to 102.2, and closes at 101: touched, not broken. Down there nothing happened."""
    up = walls([(0, 100.0), (20, 102.2), (60, 101.0)], 101.0)
    assert up["call"] == {
        "distance_sigmas": 2.0,
        "touched": True,
        "broken": False,
        "control": {"touched": False, "broken": False},
    }
    assert up["put"] == {
        "distance_sigmas": -3.0,
        "touched": False,
        "broken": False,
        "control": {"touched": False, "broken": False},
    }


def test_a_wall_that_breaks() -> None:
    """Price falls to 96 and stays: the put wall is broken, and so is the level 2 below spot."""
    down = walls([(0, 100.0), (30, 96.0), (60, 96.0)], 96.0)
    assert (down["put"]["touched"], down["put"]["broken"]) == (True, True)
    assert down["call"]["control"] == {"touched": True, "broken": True}
    assert not down["call"]["touched"]


def test_levels_that_are_not_compared() -> None:
    """A wall at spot is not judged; one whose mirror is the other wall has no control."""
    flat = [(0, 100.0), (60, 100.0)]
    assert set(walls(flat, 100.0, call_wall=100.05)) == {"put"}
    mirrored = walls(flat, 100.0, call_wall=103.0)
    assert mirrored["call"]["control"] is mirrored["put"]["control"] is None
    both = walls(flat, 100.0, call_wall=97.0)
    assert set(both) == {"both"}
    assert both["both"]["control"] == {"touched": False, "broken": False}


def test_half_a_path_judges_no_wall() -> None:
    """With half of the rows missing nobody knows what was touched; the close is known."""
    answer = judge(forecast(), close=100.0, path=FLAT[:28], session=SESSION)
    assert answer["walls"] == []
    assert (answer["realised_vol"], answer["autocorrelation"]) == (None, None)
    assert answer["pin_hit"] is True
    assert answer["return_bp"]["15"] is None
    assert answer["return_bp"]["5"] == 0.0


def test_realised_volatility() -> None:
    """Six returns of 5 minutes, up and down by 0.1 %: volatility by hand, autocorrelation -5/6."""
    turns = [(10 * k, 100.0 * math.exp(0.001 * (k % 2))) for k in range(7)]
    answer = judge(forecast(), close=100.0, path=path(*turns), session=SESSION)
    # 6 · 0.001² in half an hour; a year of 365 days has 17,520 half hours.
    assert answer["realised_vol"] == pytest.approx(math.sqrt(6e-6 * 17_520))
    assert answer["autocorrelation"] == pytest.approx(-5 / 6)
    assert answer["returns"] == 6


def test_returns_by_horizon() -> None:
    """5, 15 and 30 minutes later; the last one is the close."""
    turns = [(0, 100.0), (10, 101.0), (30, 99.0), (60, 99.5)]
    answer = judge(forecast(), close=98.0, path=path(*turns), session=SESSION)
    assert answer["return_bp"] == pytest.approx(
        {"5": 1e4 * math.log(1.01), "15": 1e4 * math.log(0.99), "30": 1e4 * math.log(0.98)}
    )
