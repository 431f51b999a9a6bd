"""The scorecard: how a symbol's forecasts came out, kind by kind. Pure.

Beside each figure stands how many forecasts and sessions it is made of. Below ``ENOUGH_SESSIONS``
sessions its verdict is that it says nothing yet, whatever it is.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson

from storage.market.calendar import session_on, to_new_york
from storage.scorecard.forecast import freeze_moments
from storage.scorecard.outcome import HORIZONS
from storage.scorecard.statistics import (
    Z_95,
    Forecast,
    agreement_p_value,
    brier_scores,
    clustered_se,
    coefficient,
    correlation,
    mean_of,
    rate_with_interval,
    reliability,
)

#: A figure of fewer sessions says nothing yet.
ENOUGH_SESSIONS = 30
#: Probabilities disagree with what happened if chance alone would do so less often. [0-1]
LEVEL = 0.01
#: The intervals of predicted probability. [%]
DECILES = tuple(range(0, 101, 10))
#: Parts of a normal distribution within one and two standard deviations. [%]
WITHIN = {1: 100 * math.erf(1 / math.sqrt(2)), 2: 100 * math.erf(2 / math.sqrt(2))}

FROZEN, BACKFILLED, RECORDED = "frozen", "backfilled", "recorded"
#: Where forecasts come from: frozen before the outcome, or made from rows afterwards.
KINDS = (FROZEN, BACKFILLED, RECORDED)

SAYS_NOTHING, AGREES, DISAGREES = "says_nothing_yet", "agrees", "disagrees"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredForecast:
    """A forecast and how it came out."""

    day: date
    freeze_time: datetime
    #: The content of the frozen forecast, and its outcome.
    content: Mapping[str, Any]
    outcome: Mapping[str, Any]

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> ScoredForecast:
        """Read a line of the table of scores.

        Parameters
        ----------
        columns : ``expiration``, ``freeze_time``, ``content`` (text) and ``outcome``.

        Returns
        -------
        ScoredForecast
            The forecast.
        """
        return cls(
            day=columns["expiration"],
            freeze_time=columns["freeze_time"],
            content=orjson.loads(columns["content"]),
            outcome=columns["outcome"],
        )

    @property
    def time_of_day(self) -> str:
        """The set time, New York, such as 15:30."""
        return to_new_york(self.freeze_time).strftime("%H:%M")


def summarise(scored: Sequence[ScoredForecast]) -> dict[str, Any]:
    """Sum up forecasts of one symbol and one kind.

    Parameters
    ----------
    scored : the forecasts.

    Returns
    -------
    dict
        ``pin``, ``range_1sigma``, ``range_2sigma``, ``walls``, ``regime`` and ``flow``.
    """
    return {
        "pin": _pin(scored),
        "range_1sigma": _range(scored, 1),
        "range_2sigma": _range(scored, 2),
        "walls": _walls(scored),
        "regime": _regime(scored),
        "flow": {f"{minutes}m": _flow(scored, minutes) for minutes in HORIZONS},
    }


def count_missing(
    days: Sequence[date], lines: Sequence[Mapping[str, Any]], *, now: datetime
) -> dict[str, int]:
    """Count the set times of some sessions that have no frozen forecast of any feed, by reason.

    Parameters
    ----------
    days : the sessions.
    lines : the lines of the table of forecasts of these sessions.
    now : the market's time, UTC; a session that is not over may still get its lines.

    Returns
    -------
    dict
        How many, by reason; ``no line`` where not even a reason is written.
    """
    frozen = {(line["expiration"], line["freeze_time"]) for line in lines if not line["missed"]}
    counts: Counter[str] = Counter(
        line["missed"]
        for line in lines
        if line["missed"] and (line["expiration"], line["freeze_time"]) not in frozen
    )
    there = {(line["expiration"], line["freeze_time"]) for line in lines}
    for day in days:
        session = session_on(day)
        over = session is not None and session.close <= now
        moments = freeze_moments(session) if session and over else []
        counts["no line"] += sum((day, moment) not in there for moment in moments)
    return {reason: count for reason, count in counts.items() if count}


def verdict(sessions: int, *, agrees: bool | None) -> str:
    """Return what a figure says in a word.

    Parameters
    ----------
    sessions : how many it is made of.
    agrees : whether it agrees with the forecast; None if it cannot be judged.

    Returns
    -------
    str
        ``says_nothing_yet``, ``agrees`` or ``disagrees``.
    """
    if sessions < ENOUGH_SESSIONS or agrees is None:
        return SAYS_NOTHING
    return AGREES if agrees else DISAGREES


def _counts(days: Sequence[Hashable]) -> dict[str, int]:
    return {"n": len(days), "sessions": len(set(days))}


def _rate(name: str, answers: Sequence[tuple[Hashable, bool]]) -> dict[str, float | None]:
    """A rate with its interval, by names. [%]"""
    ends = (f"{name}_pct", f"{name}_low_pct", f"{name}_high_pct")
    return dict(zip(ends, rate_with_interval(answers), strict=True))


def _pin(scored: Sequence[ScoredForecast]) -> dict[str, Any]:
    pins = [
        Forecast(
            each.day,
            each.content["pin_probability_pct"],
            None,
            bool(each.outcome["pin_hit"]),
            # Later forecasts of the same strikes come true, or not, together with it.
            (each.content["pin_lower"], each.content["pin_upper"]),
        )
        for each in scored
        if each.outcome["pin_hit"] is not None
    ]
    counts = _counts([pin.day for pin in pins])
    scores = brier_scores(pins)
    brier = scores["brier"]
    # One session alone says nothing of the spread between sessions.
    half = None if counts["sessions"] < 2 else Z_95 * (scores["brier_se"] or 0.0)
    chance = agreement_p_value(pins)
    return {
        **counts,
        "verdict": verdict(counts["sessions"], agrees=None if chance is None else chance >= LEVEL),
        "predicted_pct": mean_of([pin.probability for pin in pins]),
        **_rate("happened", [(pin.day, pin.happened) for pin in pins]),
        "brier": brier,
        "brier_low": None if brier is None or half is None else max(brier - half, 0.0),
        "brier_high": None if brier is None or half is None else brier + half,
        "brier_of_base_rate": scores["brier_of_base_rate"],
        "brier_difference_se": scores["brier_difference_se"],
        "agreement_p_value": chance,
        "deciles": [
            {
                "from_pct": low,
                "to_pct": high,
                **_counts([pin.day for pin in inside]),
                "predicted_pct": mean_of([pin.probability for pin in inside]),
                **_rate("happened", [(pin.day, pin.happened) for pin in inside]),
            }
            for low, high, inside in reliability(pins, DECILES)
            if inside
        ],
    }


def _range(scored: Sequence[ScoredForecast], times: int) -> dict[str, Any]:
    answers = [
        (each.day, bool(held))
        for each in scored
        if (held := each.outcome[f"within_{times}sigma"]) is not None
    ]
    counts = _counts([day for day, _ in answers])
    rates = _rate("within", answers)
    low, high = rates["within_low_pct"], rates["within_high_pct"]
    expected = WITHIN[times]
    agrees = None if low is None or high is None else low <= expected <= high
    return {
        **counts,
        "verdict": verdict(counts["sessions"], agrees=agrees),
        "expected_pct": expected,
        **rates,
    }


def _walls(scored: Sequence[ScoredForecast]) -> dict[str, Any]:
    """Compare each wall with its control: the level as far from spot on the side without it."""
    pairs = [
        (each.day, wall, wall["control"])
        for each in scored
        for wall in each.outcome["walls"]
        if wall["control"] is not None
    ]
    counts = _counts([day for day, _, _ in pairs])
    touched = [
        [(day, bool(level["touched"])) for day, level in levels]
        for levels in (
            [(day, wall) for day, wall, _ in pairs],
            [(day, control) for day, _, control in pairs],
        )
    ]
    broken = [
        [(day, bool(level["broken"])) for day, level in levels if level["touched"]]
        for levels in (
            [(day, wall) for day, wall, _ in pairs],
            [(day, control) for day, _, control in pairs],
        )
    ]
    return {
        **counts,
        "without_control": sum(len(each.outcome["walls"]) for each in scored) - len(pairs),
        "touched": _compared(touched[0], touched[1]),
        "broken_once_touched": _compared(broken[0], broken[1]),
        # A touched wall has held if the close lies on the side from which price reached it.
        "held": sum(not hit for _, hit in broken[0]),
        "broken": sum(hit for _, hit in broken[0]),
    }


def _compared(
    walls: Sequence[tuple[Hashable, bool]], controls: Sequence[tuple[Hashable, bool]]
) -> dict[str, Any]:
    """How often something happened at walls and at other levels, and the difference."""
    days = [day for day, _ in (*walls, *controls)]
    sessions = min(len({day for day, _ in side}) for side in (walls, controls))
    difference = coefficient(
        [float(hit) for _, hit in (*walls, *controls)],
        [[1.0] * len(days), [1.0] * len(walls) + [0.0] * len(controls)],
        days,
    )
    ends = ("value", "low", "high")
    names = ("difference_points", "difference_low_points", "difference_high_points")
    same = None if difference is None else difference["low"] <= 0 <= difference["high"]
    return {
        "walls": {**_counts([day for day, _ in walls]), **_rate("rate", walls)},
        "other_levels": {**_counts([day for day, _ in controls]), **_rate("rate", controls)},
        **{
            name: None if difference is None else 100 * difference[end]
            for name, end in zip(names, ends, strict=True)
        },
        "verdict": _difference_verdict(sessions, same=same),
    }


def _difference_verdict(sessions: int, *, same: bool | None) -> str:
    if sessions < ENOUGH_SESSIONS or same is None:
        return SAYS_NOTHING
    return "no_difference" if same else "difference"


def _regime(scored: Sequence[ScoredForecast]) -> dict[str, Any]:
    """What followed positive gamma, less what followed negative gamma."""
    cases = [
        each
        for each in scored
        if each.outcome["realised_vol"]
        and each.content["atm_iv"]
        and each.content["regime"] in ("positive_gamma", "negative_gamma")
    ]
    days = [each.day for each in cases]
    counts = _counts(days)
    positive = [float(each.content["regime"] == "positive_gamma") for each in cases]
    by_sign = Counter(each.content["regime"] for each in cases)
    times = sorted({each.time_of_day for each in cases})
    constant = [1.0] * len(cases)
    # A constant for each time of day, the logarithm of ATM IV, and the regime.
    conditioned = [
        *([float(each.time_of_day == time) for each in cases] for time in times),
        [math.log(each.content["atm_iv"]) for each in cases],
        positive,
    ]
    least = min(_sessions_of(cases, sign) for sign in ("positive_gamma", "negative_gamma"))

    def difference(
        outcome: Callable[[ScoredForecast], float], scale: Callable[[float], float]
    ) -> dict[str, Any]:
        values = [outcome(each) for each in cases]
        answers = {}
        for name, regressors in (("raw", [constant, positive]), ("conditioned", conditioned)):
            estimate = coefficient(values, regressors, days) if cases else None
            same = None if estimate is None else estimate["low"] <= 0 <= estimate["high"]
            answers[name] = {
                **{
                    end: None if estimate is None else scale(estimate[end])
                    for end in ("value", "low", "high")
                },
                "verdict": _difference_verdict(least, same=same),
            }
        return answers

    return {
        **counts,
        "positive_gamma": by_sign["positive_gamma"],
        "negative_gamma": by_sign["negative_gamma"],
        "realised_over_implied": {
            sign: _median(
                [
                    each.outcome["realised_vol"] / each.content["atm_iv"]
                    for each in cases
                    if each.content["regime"] == sign
                ]
            )
            for sign in ("positive_gamma", "negative_gamma")
        },
        # In % of the volatility after negative gamma.
        "volatility_difference_pct": difference(
            lambda each: math.log(each.outcome["realised_vol"]), lambda x: 100 * math.expm1(x)
        ),
        # Negative: returns undo each other more after positive gamma.
        "autocorrelation_difference": difference(
            lambda each: float(each.outcome["autocorrelation"]), lambda x: x
        ),
    }


def _sessions_of(cases: Sequence[ScoredForecast], sign: str) -> int:
    return len({each.day for each in cases if each.content["regime"] == sign})


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _flow(scored: Sequence[ScoredForecast], minutes: int) -> dict[str, Any]:
    """The hedge flow of the last half hour, and the return after it."""
    cases = [
        (each.day, each.content["hedge_flow_30m"], after)
        for each in scored
        if each.content["hedge_flow_30m"]
        and (after := each.outcome["return_bp"][str(minutes)]) is not None
    ]
    days = [day for day, _, _ in cases]
    counts = _counts(days)
    along = [math.copysign(1.0, flow) * after for _, flow, after in cases]
    mean = mean_of(along)
    half = Z_95 * clustered_se(along, days) if counts["sessions"] > 1 else None
    linked = correlation(
        [flow for _, flow, _ in cases], [after for _, _, after in cases], counts["sessions"]
    )
    signs = [(day, move > 0) for day, move in zip(days, along, strict=True) if move]
    low, high = (None, None) if mean is None or half is None else (mean - half, mean + half)
    same = None if low is None or high is None else low <= 0 <= high
    return {
        **counts,
        "verdict": _difference_verdict(counts["sessions"], same=same),
        **_rate("same_sign", signs),
        "mean_bp": mean,
        "mean_low_bp": low,
        "mean_high_bp": high,
        **{
            name: None if linked is None else linked[end]
            for name, end in zip(
                ("correlation", "correlation_low", "correlation_high"),
                ("value", "low", "high"),
                strict=True,
            )
        },
    }


def scorecard(
    lines: Sequence[Mapping[str, Any]],
    frozen: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
    kinds: Sequence[str] = KINDS,
) -> dict[str, Any]:
    """Sum up a symbol's record, each kind apart.

    Parameters
    ----------
    lines : lines of the table of scores, with ``origin`` of the close.
    frozen : lines of the table of forecasts of the same days.
    now : the market's time, UTC.
    kinds : which kinds.

    Returns
    -------
    dict
        By kind: None where nothing is scored, else first and last day, counts, and what
        ``summarise`` returns. For frozen ones also which times are missing or not scored.
    """
    answers: dict[str, Any] = {}
    for kind in kinds:
        own = [line for line in lines if line["kind"] == kind]
        scored = [ScoredForecast.from_columns(line) for line in own]
        answer: dict[str, Any] | None = None
        if own or (kind == FROZEN and frozen):
            days = [each.day for each in scored]
            closes = {line["expiration"]: line["origin"] for line in own}
            answer = {
                "first": min(days, default=None),
                "last": max(days, default=None),
                **_counts(days),
                "simulated": any(each.content["simulated"] for each in scored),
                "definitions": dict(Counter(line["definitions"] for line in own)),
                "closes": dict(Counter(closes.values())),
                "feeds": dict(Counter(line["source"] for line in own)),
            }
            if kind == FROZEN:
                there = {(line["expiration"], line["freeze_time"]) for line in own}
                fixed = [line for line in frozen if line["content"] is not None]
                answer["missed"] = count_missing(
                    sorted({line["expiration"] for line in frozen}), frozen, now=now
                )
                answer["not_scored"] = sum(
                    (line["expiration"], line["freeze_time"]) not in there for line in fixed
                )
            answer |= summarise(scored)
        answers[kind] = answer
    return answers
