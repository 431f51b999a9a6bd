"""Score the forecasts of stored rows, pin probability and 1σ range, against each session's close.

The close of an index is its value in a frame quoted after the close, where a source has one. Else
it is the spot of a session's last row, if that row lies in the last five minutes and was fetched
soon after. Rows of one session share one close and are not independent: the sample size is the
number of sessions, and intervals are as wide as if each session had given one answer.
The live book knows more of a session that was sampled more often, so sessions of one cadence are
scored together, and others left out.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from sampler.scoring import FETCHED_LATE, closing_frame
from sampler.sources import Source
from storage.market.calendar import Session
from storage.market.constants import CADENCE_RATIO, CADENCE_ROWS
from storage.record.figures import DetailFigures
from storage.scorecard.outcome import pin_hit, within_range
from storage.scorecard.statistics import (
    Forecast,
    brier_scores,
    mean_of,
    rate_with_interval,
    reliability,
)

#: The last row of a session gives its close if it lies within this time before the end.
CLOSE_WINDOW = timedelta(minutes=5)
NO_CLOSE = (
    "It takes a row of the last five minutes, fetched soon after its quotes, or for an index a"
    " frame after the close (--closes names a source that has some)."
)


async def index_close(source: Source, symbol: str, session: Session) -> float | None:
    """Return an index's value after the close, None where the source does not know it.

    A share or fund trades on after the close, so its price then is no close.

    Parameters
    ----------
    source : a source with frames of the session.
    symbol : the underlying.
    session : the session.

    Returns
    -------
    float or None
        The spot of the last frame quoted within 20 minutes after the close. [$]
    """
    frame = await closing_frame(source, symbol, session)
    return None if frame is None else frame.spot


def cadence_of(slots: Sequence[datetime]) -> float | None:
    """Return the median time from row to row of a session.

    Parameters
    ----------
    slots : the slots that have a row, ascending.

    Returns
    -------
    float or None
        The median; None below three rows. [s]
    """
    if len(slots) < CADENCE_ROWS:
        return None
    return statistics.median_low(
        (after - before).total_seconds() for before, after in itertools.pairwise(slots)
    )


def of_one_cadence(cadences: Sequence[float | None]) -> list[bool]:
    """Return which sessions have the cadence that most have; of several the shortest.

    Parameters
    ----------
    cadences : of each session. [s] None, of a session with too few rows to have one, goes with any.

    Returns
    -------
    list of bool
        True for each session that counts, in the same order.
    """

    def alike(cadence: float | None, other: float) -> bool:
        return cadence is None or max(cadence, other) <= CADENCE_RATIO * min(cadence, other)

    known = sorted({cadence for cadence in cadences if cadence is not None})
    if not known:
        return [True] * len(cadences)
    best = max(
        known, key=lambda value: (sum(alike(cadence, value) for cadence in cadences), -value)
    )
    return [alike(cadence, best) for cadence in cadences]


#: Edges of the reliability table's intervals of predicted probability. [%]
BIN_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 100)


@dataclass(slots=True)
class CalibrationScore:
    """How the forecasts of one symbol's sessions, or of several symbols', came out."""

    #: Days with a known close.
    days: set[date] = field(default_factory=set)
    #: Rows with a pin probability.
    pins: list[Forecast] = field(default_factory=list)
    #: Rows with a 1σ range: the day, and whether the close lay within it.
    ranges: list[tuple[date, bool]] = field(default_factory=list)
    #: Sessions whose close came from a frame after it.
    settled: int = 0
    #: Sessions without a known close, and those left out because their cadence is another one.
    without_close: int = 0
    other_cadence: int = 0

    def add(
        self, session: Session, rows: Iterable[Mapping[str, Any]], *, close: float | None = None
    ) -> bool:
        """Score one session.

        Parameters
        ----------
        session : the session.
        rows : its rows, oldest first, with ``slot``, ``spot``, ``quote_age_seconds``,
            ``pin_probability_pct``, ``pin_score``, ``remaining_1sd`` and ``detail``.
        close : the settlement, where it is known. None: the last row gives it, if it can. [$]

        Returns
        -------
        bool
            False if the session has no known close; it does not count then.
        """
        rows = list(rows)
        if close is not None:
            self.settled += bool(rows)
        elif rows and _gives_close(rows[-1], session):
            close = rows.pop()["spot"]
        if close is None or not rows:
            self.without_close += 1
            return False
        self.days.add(session.day)
        for row in rows:
            self._score_pin(session.day, row, close)
            if row["remaining_1sd"] is not None:
                within = within_range(close, row["spot"], row["remaining_1sd"])
                self.ranges.append((session.day, within))
        return True

    def _score_pin(self, day: date, row: Mapping[str, Any], close: float) -> None:
        probability = row["pin_probability_pct"]
        if probability is None:
            return
        detail = DetailFigures.from_json(row["detail"])
        low, high = detail.pin_lower, detail.pin_upper
        hit = pin_hit(close, low, high)
        self.pins.append(Forecast(day, probability, row["pin_score"], hit))

    def merge(self, other: CalibrationScore) -> None:
        """Take in the sessions of another symbol; those of one day stay one session.

        Parameters
        ----------
        other : another symbol's score; it stays as it is.
        """
        self.days |= other.days
        self.pins += other.pins
        self.ranges += other.ranges
        self.settled += other.settled
        self.without_close += other.without_close
        self.other_cadence += other.other_cadence

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values. Rates are in %; a rate over no rows is None."""
        return {
            "sessions": len(self.days),
            "closes_of_later_frames": self.settled,
            "sessions_without_close": self.without_close,
            "sessions_of_other_cadence": self.other_cadence,
            "pin_probability": {
                "rows": len(self.pins),
                **_brier(self.pins),
                "mean_foretold_pct": mean_of([pin.probability for pin in self.pins]),
                **_happened([(pin.day, pin.happened) for pin in self.pins]),
                "pin_score_correlation": _beyond_probability(self.pins),
                "reliability": [
                    {
                        "from_pct": low,
                        "to_pct": high,
                        "rows": len(inside),
                        "foretold_pct": mean_of([pin.probability for pin in inside]),
                        **_happened([(pin.day, pin.happened) for pin in inside]),
                    }
                    for low, high, inside in reliability(self.pins, BIN_EDGES)
                    if inside
                ],
            },
            "one_sigma": {
                "rows": len(self.ranges),
                **{
                    name.replace("happened", "within"): value
                    for name, value in _happened(self.ranges).items()
                },
                "expected_pct": 100 * math.erf(1 / math.sqrt(2)),
            },
        }


def _gives_close(row: Mapping[str, Any], session: Session) -> bool:
    """Whether a session's last row has the close for its spot."""
    age = timedelta(seconds=row["quote_age_seconds"])
    return bool(row["slot"] >= session.close - CLOSE_WINDOW and age <= FETCHED_LATE)


def _happened(answers: Sequence[tuple[date, bool]]) -> dict[str, Any]:
    """How often the forecasts came true, with the 95 % interval between sessions. [%]"""
    names = ("happened_pct", "happened_low_pct", "happened_high_pct")
    return dict(zip(names, rate_with_interval(answers), strict=True))


def _brier(pins: Sequence[Forecast]) -> dict[str, float | None]:
    return {name: value for name, value in brier_scores(pins).items() if name != "brier_se"}


def _beyond_probability(pins: Sequence[Forecast]) -> float | None:
    """Correlation of the pin score with outcome minus probability; None where it has no value."""
    known = [pin for pin in pins if pin.score is not None]
    score = np.array([pin.score for pin in known])
    missed = np.array([pin.happened - pin.probability / 100 for pin in known])
    if len(known) < 3 or not np.ptp(score) or not np.ptp(missed):
        return None
    return float(np.corrcoef(score, missed)[0, 1])


def _percent(rates: Mapping[str, Any], name: str) -> str:
    """A rate with its interval."""
    rate, low, high = (rates[f"{name}{end}_pct"] for end in ("", "_low", "_high"))
    return f"{rate:5.1f} % ({low:.1f} to {high:.1f})"


def format_calibration(symbol: str, result: dict[str, Any]) -> str:
    """Lay the result of ``CalibrationScore.as_json`` out as text.

    Parameters
    ----------
    symbol : the symbol, or a name for several together.
    result : the score as ``as_json`` returns it.

    Returns
    -------
    str
        Lines of text, without a newline at the end.
    """
    pin, sigma = result["pin_probability"], result["one_sigma"]
    lines = [f"{symbol}: {result['sessions']} sessions, {pin['rows']} rows with a pin probability"]
    if not result["sessions"]:
        lines = [f"{symbol}: no stored session with a known close. {NO_CLOSE}"]
    if pin["rows"]:
        lines.append(
            f"  pin probability: predicted {pin['mean_foretold_pct']:.1f} % on average, came true"
            f" {_percent(pin, 'happened').lstrip()} of the time"
        )
        lines.append(
            f"  Brier score: {pin['brier']:.4f} (0 is perfect; always predicting the overall rate"
            f" gives {pin['brier_of_base_rate']:.4f}, standard error of the difference"
            f" {pin['brier_difference_se']:.4f})"
        )
        if (score := pin["pin_score_correlation"]) is not None:
            lines.append(
                f"  pin score: correlation {score:+.2f} with what the probability missed (chance"
                f" alone: ±{1 / math.sqrt(result['sessions']):.2f})"
            )
        lines.append("    predicted, %      rows   mean, %   came true")
        for b in pin["reliability"]:
            edges = f"{b['from_pct']:3}-{b['to_pct']:<3}"
            rates = f"{b['foretold_pct']:7.1f}   {_percent(b, 'happened')}"
            lines.append(f"    {edges}       {b['rows']:8}   {rates}")
    if sigma["rows"]:
        lines.append(
            f"  1σ range: {_percent(sigma, 'within').lstrip()} of {sigma['rows']} rows had the"
            f" close within it ({sigma['expected_pct']:.1f} % for a normal distribution)"
        )
    if result["sessions_without_close"] and result["sessions"]:
        lines.append(f"  {result['sessions_without_close']} more have no known close: left out.")
    if result["sessions_of_other_cadence"]:
        lines.append(
            f"  {result['sessions_of_other_cadence']} more were sampled at another cadence, and do"
            " not compare: left out."
        )
    if result["sessions"]:
        lines.append(
            "  The rows of a session share one close: intervals (95 %) are as wide as if each"
            " session had given one answer."
        )
    return "\n".join(lines)
