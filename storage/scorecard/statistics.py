"""Rates, scores and differences, with intervals that count sessions and not rows.

The forecasts of a session share one close and are not independent. So intervals of rates are as
wide as if each session had given one answer, and standard errors are computed between sessions.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Two-sided 95 % of a normal distribution, in standard deviations.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Forecast:
    """A probability, and what happened."""

    day: date
    #: Of the event, as predicted. [%]
    probability: float
    #: The row's pin score. [0-100]
    score: float | None
    happened: bool
    #: What was predicted, such as the two strikes: later forecasts of the same stand for it again.
    event: Hashable = None


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean of some values.

    Parameters
    ----------
    values : the values.

    Returns
    -------
    float or None
        Their mean; None without values.
    """
    return math.fsum(values) / len(values) if values else None


def wilson(rate: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate, by Wilson's formula.

    Parameters
    ----------
    rate : how often it happened. [0-1]
    count : out of how many independent trials.

    Returns
    -------
    tuple of float
        Its ends. [0-1]
    """
    weight = Z_95 * Z_95 / count
    middle = (rate + weight / 2) / (1 + weight)
    half = Z_95 * math.sqrt(rate * (1 - rate) / count + weight / (4 * count)) / (1 + weight)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def rate_with_interval(
    answers: Sequence[tuple[Hashable, bool]],
) -> tuple[float | None, float | None, float | None]:
    """Return how often something happened, with the interval that the number of sessions allows.

    Parameters
    ----------
    answers : the session of each answer, and whether it happened.

    Returns
    -------
    tuple of float
        The rate and the ends of its interval; None three times without answers. [%]
    """
    rate = mean_of([hit for _, hit in answers])
    if rate is None:
        return None, None, None
    low, high = wilson(rate, len({day for day, _ in answers}))
    return 100 * rate, 100 * low, 100 * high


def brier_scores(pins: Sequence[Forecast]) -> dict[str, float | None]:
    """Score probabilities: 0 is perfect.

    Parameters
    ----------
    pins : the forecasts.

    Returns
    -------
    dict
        ``brier``, that of a forecast that always gives the overall rate, and the standard errors of
        the score and of the difference between the two.
    """
    base = mean_of([pin.happened for pin in pins])
    names = ("brier", "brier_of_base_rate", "brier_difference_se", "brier_se")
    if base is None:
        return dict.fromkeys(names)
    days = [pin.day for pin in pins]
    squared = [(pin.probability / 100 - pin.happened) ** 2 for pin in pins]
    better = [score - (base - pin.happened) ** 2 for score, pin in zip(squared, pins, strict=True)]
    return {
        "brier": math.fsum(squared) / len(pins),
        "brier_of_base_rate": base * (1 - base),
        "brier_difference_se": clustered_se(better, days),
        "brier_se": clustered_se(squared, days),
    }


def clustered_se(values: Sequence[float], days: Sequence[Hashable]) -> float:
    """Return the standard error of a mean whose values of one session go together.

    Parameters
    ----------
    values : the values.
    days : the session of each.

    Returns
    -------
    float
        The standard error, in the values' unit.
    """
    mean = math.fsum(values) / len(values)
    by_day: dict[Hashable, float] = {}
    for value, day in zip(values, days, strict=True):
        by_day[day] = by_day.get(day, 0.0) + value - mean
    return math.sqrt(math.fsum(v * v for v in by_day.values())) / len(values)


def reliability(
    pins: Sequence[Forecast], edges: Sequence[float]
) -> list[tuple[float, float, list[Forecast]]]:
    """Group forecasts by what they predicted.

    Parameters
    ----------
    pins : the forecasts.
    edges : ascending, from 0 to 100; one belongs to the interval below it. [%]

    Returns
    -------
    list of tuple
        The ends of each interval, and its forecasts.
    """
    inside: list[list[Forecast]] = [[] for _ in edges[1:]]
    for pin in pins:
        inside[next(i for i, edge in enumerate(edges[1:]) if pin.probability <= edge)] += [pin]
    return list(zip(edges, edges[1:], inside, strict=False))


def agreement_p_value(pins: Sequence[Forecast]) -> float | None:
    """Test whether what happened agrees with the probabilities.

    A calibrated forecast misses nothing on average, at low probabilities as at high ones: the sums
    of (outcome − probability) and of the same times the probability are 0 but for chance. Chance
    is what the probabilities say of their own spread. Two forecasts of one event in one session
    miss together: what the earlier one's probability becomes is no surprise on average, so their
    covariance is p·(1 − p) of the later one. Where the sums of sessions spread even more than that,
    their own spread counts. Two degrees of freedom; one where all probabilities are equal.

    Parameters
    ----------
    pins : the forecasts; those of a session in the order of their times.

    Returns
    -------
    float or None
        How probable such a distance is for a calibrated forecast; None where it cannot be tested.
        [0-1]
    """
    if not pins:
        return None
    chances = np.array([pin.probability for pin in pins]) / 100
    missed = np.array([pin.happened for pin in pins]) - chances
    levers = np.column_stack([np.ones(len(pins)), chances - chances.mean()])
    terms = missed[:, None] * levers
    sums: dict[date, NDArray[np.float64]] = {}
    for pin, term in zip(pins, terms, strict=True):
        sums[pin.day] = sums.get(pin.day, np.zeros(2)) + term
    by_day = np.array(list(sums.values()))
    alone = (terms**2).sum(axis=0)
    alone[alone == 0] = np.inf
    measured = (by_day**2).sum(axis=0) / alone
    own = chances * (1 - chances)
    spread = levers.T @ (levers * own[:, None])
    expected = np.diag(spread).copy()
    groups: dict[tuple[date, Hashable], NDArray[np.float64]] = {}
    for index, pin in enumerate(pins):
        if pin.event is not None:
            earlier = groups.setdefault((pin.day, pin.event), np.zeros(2))
            expected += 2 * own[index] * earlier * levers[index]
            earlier += levers[index]
    expected = np.divide(expected, np.diag(spread), out=np.ones(2), where=np.diag(spread) > 0)
    widened = np.sqrt(np.maximum(np.maximum(measured, expected), 1.0))
    spread = spread * np.outer(widened, widened)
    total = terms.sum(axis=0)
    if spread[0, 0] <= 0:
        # All were predicted to be certain: one that came out otherwise is enough.
        return 0.0 if missed.any() else None
    if np.ptp(chances) == 0 or np.linalg.cond(spread) > 1e12:
        return math.erfc(math.sqrt(total[0] ** 2 / spread[0, 0] / 2))
    return math.exp(-float(total @ np.linalg.solve(spread, total)) / 2)


def coefficient(
    outcome: Sequence[float],
    regressors: Sequence[Sequence[float]],
    days: Sequence[Hashable],
) -> dict[str, float] | None:
    """Return the last regressor's coefficient by least squares.

    Parameters
    ----------
    outcome : n values.
    regressors : columns of n values each, with a constant among them.
    days : the session of each value; the standard error is between sessions.

    Returns
    -------
    dict or None
        ``value``, ``low`` and ``high`` (95 %), in the outcome's unit. None where the values do not
        determine it.
    """
    matrix = np.column_stack(regressors).astype(float)
    count, width = matrix.shape
    labels = {day: index for index, day in enumerate(dict.fromkeys(days))}
    if count <= width + 2 or len(labels) < 3 or np.linalg.matrix_rank(matrix) < width:
        return None
    values = np.asarray(outcome, dtype=float)
    fitted, *_ = np.linalg.lstsq(matrix, values, rcond=None)
    scores = matrix * (values - matrix @ fitted)[:, None]
    by_day = np.zeros((len(labels), width))
    np.add.at(by_day, [labels[day] for day in days], scores)
    inverse = np.linalg.inv(matrix.T @ matrix)
    # The usual correction for few sessions.
    scale = len(labels) / (len(labels) - 1) * (count - 1) / (count - width)
    variance = scale * (inverse @ (by_day.T @ by_day) @ inverse)[-1, -1]
    value, half = float(fitted[-1]), Z_95 * math.sqrt(max(float(variance), 0.0))
    return {"value": value, "low": value - half, "high": value + half}


def correlation(
    first: Sequence[float], second: Sequence[float], sessions: int
) -> dict[str, Any] | None:
    """Return how two series go together, with an interval as of so many sessions.

    Parameters
    ----------
    first, second : values, pair by pair.
    sessions : how many independent pairs they count as.

    Returns
    -------
    dict or None
        ``value``, ``low`` and ``high`` by Fisher's transformation; None where it is undefined.
    """
    if sessions < 5 or not np.ptp(first) or not np.ptp(second):
        return None
    value = float(np.corrcoef(first, second)[0, 1])
    if abs(value) >= 1:
        return {"value": value, "low": value, "high": value}
    middle, half = math.atanh(value), Z_95 / math.sqrt(sessions - 3)
    return {"value": value, "low": math.tanh(middle - half), "high": math.tanh(middle + half)}
