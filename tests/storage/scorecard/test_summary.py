"""The scorecard of forecasts whose truth is known: a right forecast comes out right, a wrong one
wrong; each figure of a small record by hand."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from storage.market.calendar import sessions_between
from storage.scorecard.forecast import freeze_moments
from storage.scorecard.statistics import (
    Forecast,
    agreement_p_value,
    brier_scores,
    clustered_se,
    coefficient,
    correlation,
)
from storage.scorecard.summary import (
    ENOUGH_SESSIONS,
    ScoredForecast,
    count_missing,
    scorecard,
    summarise,
)
from storage.scorecard.text import format_scorecard

SESSIONS = sessions_between(date(2026, 1, 5), date(2026, 12, 18))
DAY = SESSIONS[0].day


def scored(day: date, moment: datetime, content: dict[str, Any], outcome: dict[str, Any]):
    return ScoredForecast(
        day=day,
        freeze_time=moment,
        content={
            "pin_probability_pct": 50.0,
            "pin_lower": None,
            "pin_upper": None,
            "atm_iv": 0.15,
            "regime": "positive_gamma",
            "hedge_flow_30m": None,
            "simulated": True,
        }
        | content,
        outcome={
            "pin_hit": None,
            "within_1sigma": None,
            "within_2sigma": None,
            "walls": [],
            "realised_vol": None,
            "autocorrelation": None,
            "return_bp": {"5": None, "15": None, "30": None},
        }
        | outcome,
    )


def walk(count: int, seed: int, *, foretold=lambda p: p, width=1.0) -> list[ScoredForecast]:
    """Sessions of a Gaussian walk, with forecasts that know its law, bent on the way.

    Five forecasts a session share its close: what is left at the k-th is the sum of the increments
    after it. A pin of half width 0.8 lies at a random distance.
    """
    rng = np.random.default_rng(seed)
    lines = []
    for session in SESSIONS[:count]:
        moments = freeze_moments(session)
        left = np.array([(session.close - m).total_seconds() / 3600 for m in moments])
        gaps = -np.diff([*left, 0.0])
        moves = rng.standard_normal(len(moments)) * np.sqrt(gaps)
        levels = np.r_[0.0, np.cumsum(moves)]
        for k, moment in enumerate(moments):
            sd, now, close = math.sqrt(left[k]), levels[k], levels[-1]
            low = now + rng.uniform(-2, 2) * sd - 0.8
            cdf = [0.5 * math.erfc(-(x - now) / sd / math.sqrt(2)) for x in (low, low + 1.6)]
            truth = cdf[1] - cdf[0]
            lines.append(
                scored(
                    session.day,
                    moment,
                    {
                        "pin_probability_pct": 100 * min(max(foretold(truth), 0.0), 1.0),
                        "pin_lower": low,
                        "pin_upper": low + 1.6,
                    },
                    {
                        "pin_hit": bool(low < close <= low + 1.6),
                        "within_1sigma": bool(abs(close - now) <= width * sd),
                        "within_2sigma": bool(abs(close - now) <= 2 * width * sd),
                    },
                )
            )
    return lines


def test_a_right_forecast_comes_out_right() -> None:
    """Of 40 records of 60 sessions, nearly all agree: pins at the level of 1 %, ranges of 5 %."""
    cards = [summarise(walk(60, seed)) for seed in range(40)]
    agreed = {
        name: sum(card[name]["verdict"] == "agrees" for card in cards)
        for name in ("pin", "range_1sigma", "range_2sigma")
    }
    assert agreed["pin"] >= 38
    assert agreed["range_1sigma"] >= 36
    assert agreed["range_2sigma"] >= 36
    means = [card["pin"]["predicted_pct"] - card["pin"]["happened_pct"] for card in cards]
    assert abs(np.mean(means)) < 1.5
    within = np.mean([card["range_1sigma"]["within_pct"] for card in cards])
    assert within == pytest.approx(68.27, abs=1.5)


@pytest.mark.parametrize("moves", [0.0, 0.3, 1.0])
def test_a_right_pin_is_refused_no_oftener_than_the_level_says(moves: float) -> None:
    """Narrow pins that stay over a session's five times, move at some, or at each.

    Of 300 records of 60 sessions at most 3 % are refused at the level of 1 %: 9, where 3 are
    expected. Forecasts of the same strikes share their outcome, and the law is known exactly.
    """
    rng = np.random.default_rng(7)
    left = np.array([6.0, 4.0, 2.0, 1.0, 0.5])
    refused = 0
    for _ in range(300):
        pins = []
        steps = rng.standard_normal((60, 5)) * np.sqrt(-np.diff([*left, 0.0]))
        for day, moves_of_day in enumerate(steps):
            levels = np.r_[0.0, np.cumsum(moves_of_day)]
            for k, now in enumerate(levels[:5]):
                if k == 0 or rng.random() < moves:
                    middle = round((now + rng.normal() * 0.7) / 0.7) * 0.7
                ends = middle - 0.35, middle + 0.35
                cdf = [0.5 * math.erfc((now - end) / math.sqrt(2 * left[k])) for end in ends]
                hit = bool(ends[0] < levels[-1] <= ends[1])
                moment = DAY + timedelta(days=day)
                pins.append(Forecast(moment, 100 * (cdf[1] - cdf[0]), None, hit, middle))
        refused += agreement_p_value(pins) < 0.01
    assert refused <= 9


@pytest.mark.parametrize(
    ("foretold", "width", "wrong"),
    [
        (lambda p: 2 * p, 1.0, "pin"),
        (lambda p: p / 3, 1.0, "pin"),
        # Right on average, and no wiser than a coin where it is sure.
        (lambda p: 0.31 + 2.5 * (p - 0.31), 1.0, "pin"),
        (lambda p: p, 0.5, "range_1sigma"),
        (lambda p: p, 2.0, "range_1sigma"),
        (lambda p: p, 0.6, "range_2sigma"),
    ],
)
def test_a_wrong_forecast_comes_out_wrong(foretold, width, wrong) -> None:
    """Doubled, a third, too sure of itself; too narrow, too wide: in at least 19 of 20 records."""
    cards = [summarise(walk(60, seed, foretold=foretold, width=width)) for seed in range(20)]
    assert sum(card[wrong]["verdict"] == "disagrees" for card in cards) >= 19
    if wrong == "pin":
        right = [summarise(walk(60, seed)) for seed in range(20)]
        assert np.mean([card["pin"]["brier"] for card in cards]) > np.mean(
            [card["pin"]["brier"] for card in right]
        )


def test_few_sessions_say_nothing() -> None:
    """29 sessions say nothing yet, however wrong they look; 30 do. The figures stand there."""
    for count, says in ((ENOUGH_SESSIONS - 1, "says_nothing_yet"), (ENOUGH_SESSIONS, "disagrees")):
        card = summarise(walk(count, 1, foretold=lambda p: p / 4, width=0.3))
        assert card["pin"]["verdict"] == card["range_1sigma"]["verdict"] == says
        assert card["pin"]["sessions"] == card["range_1sigma"]["sessions"] == count
        assert card["pin"]["brier"] is not None
    empty = summarise([])
    assert {empty[name]["verdict"] for name in ("pin", "range_1sigma")} == {"says_nothing_yet"}
    assert empty["pin"]["n"] == 0
    assert empty["regime"]["volatility_difference_pct"]["raw"]["value"] is None


def pin_of(day: int, probability: float, happened: bool) -> Forecast:
    return Forecast(DAY + timedelta(days=day), probability, None, happened)


def test_brier_by_hand() -> None:
    """Squares 0.16, 0.01, 0.36; the first two are of one day. Their mean is 0.53/3."""
    pins = [pin_of(0, 60, True), pin_of(0, 10, False), pin_of(1, 60, False)]
    scores = brier_scores(pins)
    mean = 0.53 / 3
    assert scores["brier"] == pytest.approx(mean)
    expected = math.hypot(0.17 - 2 * mean, 0.36 - mean) / 3
    assert scores["brier_se"] == pytest.approx(expected)
    assert clustered_se([1.0, 3.0], [0, 1]) == pytest.approx(math.sqrt(2) / 2)


def test_the_test_by_hand() -> None:
    """Ten sessions of 50 %, eight hits: sums 3 of squares 2.5, so z² = 3.6 and p = 5.78 %."""
    pins = [pin_of(day, 50.0, day < 8) for day in range(10)]
    assert agreement_p_value(pins) == pytest.approx(0.0577796, abs=1e-6)
    assert agreement_p_value([]) is None
    assert agreement_p_value([pin_of(0, 0.0, False), pin_of(1, 100.0, True)]) is None
    assert agreement_p_value([pin_of(0, 0.0, False), pin_of(1, 0.0, True)]) == 0.0
    # Two probabilities: sums 1 and 0.06 of the misses .6, -.4, .4, .4 and levers ±.1; each row
    # spreads by 0.24, so a = 0.96, b = 0, c = 0.0096.
    pins = [pin_of(0, 40, True), pin_of(1, 40, False), pin_of(2, 60, True), pin_of(3, 60, True)]
    statistic = 1.0 / 0.96 + 0.06**2 / 0.0096
    assert agreement_p_value(pins) == pytest.approx(math.exp(-statistic / 2))
    # Rows of one session that say the same are no further evidence.
    twice = [pin_of(day, 50.0, day < 8) for day in range(10) for _ in range(4)]
    assert agreement_p_value(twice) == pytest.approx(0.0577796, abs=1e-6)


def test_one_event_twice_a_session() -> None:
    """20 % and later 80 % for the same pin, in five sessions of which four hit: they miss together.

    Sums 3 and -0.9. The first spreads by 5·(0.16 + 0.16 + 2·0.16) = 3.2, the second by 0.144.
    """
    pins = [
        Forecast(DAY + timedelta(days=day), chance, None, day < 4, "the pin")
        for day in range(5)
        for chance in (20.0, 80.0)
    ]
    assert agreement_p_value(pins) == pytest.approx(math.exp(-(9 / 3.2 + 0.81 / 0.144) / 2))


def test_the_test_is_one() -> None:
    """Under its own hypothesis it rejects as often as it says: 5 % of 2,000 records of 40 days."""
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(2000):
        chances = rng.uniform(5, 60, 40)
        hits = rng.uniform(0, 100, 40) < chances
        pins = [pin_of(day, chances[day], bool(hits[day])) for day in range(40)]
        rejected += agreement_p_value(pins) < 0.05
    assert 0.03 <= rejected / 2000 <= 0.07


def test_least_squares_against_scipy() -> None:
    """The coefficient is scipy's; with one row a session its error is White's, for few rows."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    x = rng.standard_normal(50)
    y = 0.7 * x + rng.standard_normal(50)
    answer = coefficient(y, [np.ones(50), x], list(range(50)))
    slope = stats.linregress(x, y)
    assert answer["value"] == pytest.approx(slope.slope)
    off = y - slope.intercept - slope.slope * x
    white = math.sqrt(((x - x.mean()) ** 2 * off**2).sum()) / ((x - x.mean()) ** 2).sum()
    white *= math.sqrt(50 / 49 * 49 / 48)
    assert (answer["high"] - answer["low"]) / 2 == pytest.approx(1.959963985 * white)
    linked = correlation(x, y, 50)
    published = stats.pearsonr(x, y)
    assert linked["value"] == pytest.approx(published.statistic)
    ends = published.confidence_interval(0.95)
    assert (linked["low"], linked["high"]) == pytest.approx((ends.low, ends.high))


def regimes(count: int, effect: float, seed: int) -> list[ScoredForecast]:
    """Volatility follows ATM IV alone, times ``effect`` under positive gamma; quiet days, with a
    low ATM IV, are mostly days of positive gamma."""
    rng = np.random.default_rng(seed)
    lines = []
    for session in SESSIONS[:count]:
        quiet = rng.random() < 0.5
        iv = 0.10 * math.exp(0.1 * rng.standard_normal()) * (1 if quiet else 2.2)
        positive = rng.random() < (0.8 if quiet else 0.2)
        for moment in freeze_moments(session):
            noise = math.exp(0.2 * rng.standard_normal())
            lines.append(
                scored(
                    session.day,
                    moment,
                    {
                        "atm_iv": iv,
                        "regime": "positive_gamma" if positive else "negative_gamma",
                    },
                    {
                        "realised_vol": iv * noise * (effect if positive else 1.0),
                        "autocorrelation": 0.1 * rng.standard_normal(),
                    },
                )
            )
    return lines


def test_a_regime_that_does_nothing() -> None:
    """Volatility is lower after positive gamma only because ATM IV was: conditioned, nothing is
    left."""
    figure = summarise(regimes(200, 1.0, 3))["regime"]["volatility_difference_pct"]
    assert figure["raw"]["verdict"] == "difference"
    assert figure["raw"]["high"] < -20
    assert figure["conditioned"]["verdict"] == "no_difference"
    assert abs(figure["conditioned"]["value"]) < 5
    few = summarise(regimes(40, 1.0, 3))["regime"]["volatility_difference_pct"]
    assert few["raw"]["verdict"] == "says_nothing_yet"


def test_a_regime_that_does_something() -> None:
    """A true effect of -20 % is found, on top of what ATM IV explains."""
    regime = summarise(regimes(200, 0.8, 4))["regime"]
    figure = regime["volatility_difference_pct"]["conditioned"]
    assert figure["verdict"] == "difference"
    assert figure["low"] < -20 < figure["high"]
    assert regime["autocorrelation_difference"]["conditioned"]["verdict"] == "no_difference"


def wall_lines(count: int, held: float) -> list[ScoredForecast]:
    """Every level is touched; walls break with a probability of 1 - ``held``, others with 50 %."""
    rng = np.random.default_rng(9)
    return [
        scored(
            session.day,
            freeze_moments(session)[0],
            {},
            {
                "walls": [
                    {
                        "wall": "call",
                        "distance_sigmas": 1.0,
                        "touched": True,
                        "broken": bool(rng.random() > held),
                        "control": {"touched": True, "broken": bool(rng.random() < 0.5)},
                    }
                ]
            },
        )
        for session in SESSIONS[:count]
    ]


def test_walls() -> None:
    """Walls that hold more often than other levels are told from those that do not."""
    card = summarise(wall_lines(120, 0.9))["walls"]
    assert card["broken_once_touched"]["verdict"] == "difference"
    assert card["broken_once_touched"]["difference_high_points"] < 0
    assert card["held"] + card["broken"] == card["n"] == 120
    assert card["touched"]["walls"]["rate_pct"] == 100.0
    assert summarise(wall_lines(120, 0.5))["walls"]["broken_once_touched"]["verdict"] == (
        "no_difference"
    )


def test_flow_by_hand() -> None:
    """Two of three returns go with the flow; 2, 1 and -3 bp along it on average give 0."""
    lines = [
        scored(
            SESSIONS[k].day,
            freeze_moments(SESSIONS[k])[0],
            {"hedge_flow_30m": flow},
            {"return_bp": {"5": after, "15": None, "30": 1.0}},
        )
        for k, (flow, after) in enumerate([(5e8, 2.0), (-1e8, -1.0), (2e8, -3.0)])
    ]
    flow = summarise(lines)["flow"]
    assert (flow["5m"]["n"], flow["15m"]["n"]) == (3, 0)
    assert flow["5m"]["same_sign_pct"] == pytest.approx(200 / 3)
    assert flow["5m"]["mean_bp"] == 0.0
    assert flow["5m"]["mean_high_bp"] == pytest.approx(1.959963985 * math.sqrt(14) / 3)
    assert flow["15m"]["mean_bp"] is None


def test_missing_times() -> None:
    """A session of five times with two lines, one of them missed, lacks three without a word."""
    moments, after = freeze_moments(SESSIONS[0]), SESSIONS[0].close
    lines = [
        {"expiration": DAY, "freeze_time": moments[0], "missed": None},
        {"expiration": DAY, "freeze_time": moments[1], "missed": "no row"},
    ]
    assert count_missing([DAY], lines, now=after) == {"no row": 1, "no line": 3}
    # Before the close they may still come.
    before = after - timedelta(seconds=1)
    assert count_missing([DAY], lines, now=before) == {"no row": 1}
    # A fallback feed has frozen what the first one missed: the time has a forecast.
    fallback = {"expiration": DAY, "freeze_time": moments[1], "missed": None}
    assert count_missing([DAY], [*lines, fallback], now=after) == {"no line": 3}


def test_kinds_are_apart() -> None:
    """What was made afterwards counts under its own name; nothing of it is in the frozen ones."""
    line = {
        "expiration": DAY,
        "freeze_time": freeze_moments(SESSIONS[0])[0],
        "definitions": "3",
        "origin": "entered",
        "source": "cboe",
        "content": '{"pin_probability_pct":80.0,"pin_lower":1.0,"pin_upper":2.0,'
        '"regime":"unknown","atm_iv":null,'
        '"hedge_flow_30m":null,"simulated":false}',
        "outcome": scored(DAY, SESSIONS[0].open, {}, {"pin_hit": True}).outcome,
    }
    lines = [line | {"kind": kind} for kind in ("frozen", "backfilled", "backfilled")]
    lines[2] = lines[2] | {"freeze_time": freeze_moments(SESSIONS[0])[1]}
    frozen = [
        {"expiration": DAY, "freeze_time": moment, "missed": None, "content": "{}"}
        for moment in freeze_moments(SESSIONS[0])[:2]
    ]
    card = scorecard(lines, frozen, now=SESSIONS[0].close)
    assert (card["frozen"]["n"], card["backfilled"]["n"], card["recorded"]) == (1, 2, None)
    assert (card["frozen"]["not_scored"], card["frozen"]["missed"]) == (1, {"no line": 3})
    assert card["backfilled"]["closes"] == {"entered": 1}
    assert card["backfilled"]["feeds"] == {"cboe": 2}
    assert card["frozen"]["pin"]["deciles"][0]["from_pct"] == 70
    text = format_scorecard("SPX", card)
    assert "SPX, frozen before the outcome: 1 forecasts of 1 sessions" in text
    assert "made afterwards from stored rows: 2 forecasts" in text
    assert "says nothing yet (n 1, 1 sessions)" in text
    assert (
        format_scorecard("SPX", scorecard([], [], now=SESSIONS[0].close))
        == "SPX: nothing is scored."
    )
