"""Score the forecasts of stored rows, pin probability and 1σ range, against each session's close.

The close is the spot of a session's last row, if that row lies in the last five minutes. Rows of
one session share one close and are not independent: the sample size is the number of sessions.
The live book knows more of a session that was sampled more often, so sessions of one cadence are
scored together, and others left out.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from storage.market.calendar import Session
from storage.market.constants import CADENCE_RATIO, CADENCE_ROWS
from storage.record.figures import DetailFigures

#: The last row of a session gives its close if it lies within this time before the end.
CLOSE_WINDOW = timedelta(minutes=5)


def cadence_of(slots: Sequence[datetime]) -> float | None:
    """Return the median time from row to row, None below three rows. [s]"""
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
    """

    def alike(one: float | None, other: float) -> bool:
        return one is None or max(one, other) <= CADENCE_RATIO * min(one, other)

    known = sorted({one for one in cadences if one is not None})
    if not known:
        return [True] * len(cadences)
    best = max(known, key=lambda value: (sum(alike(one, value) for one in cadences), -value))
    return [alike(one, best) for one in cadences]


#: Edges of the reliability table's intervals of predicted probability. [%]
BIN_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 100)


@dataclass(slots=True)
class ReliabilityBin:
    """The rows whose predicted probability lies in one interval."""

    rows: int = 0
    #: Sum of their predicted probabilities. [%]
    predicted: float = 0.0
    #: How many of the predictions came true.
    happened: int = 0


@dataclass(slots=True)
class CalibrationScore:
    """How the forecasts of one symbol's sessions came out."""

    #: Sessions with a known close.
    sessions: int = 0
    #: Rows with a pin probability.
    rows: int = 0
    #: Sum of their squared errors; divided by ``rows`` it is the Brier score.
    squared: float = 0.0
    #: How often the close lay between the strikes next to the magnet.
    happened: int = 0
    #: The reliability table, by ``BIN_EDGES``.
    bins: list[ReliabilityBin] = field(
        default_factory=lambda: [ReliabilityBin() for _ in BIN_EDGES[1:]]
    )
    #: Rows with a 1σ range.
    ranged: int = 0
    #: How often the close lay within it.
    within: int = 0
    #: Sessions that were left out because their cadence is another one.
    other_cadence: int = 0

    def add(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Score one session.

        Parameters
        ----------
        session : the session.
        rows : its rows, oldest first, with ``slot``, ``spot``, ``pin_probability_pct``,
            ``remaining_1sd`` and ``detail``.

        Returns
        -------
        bool
            False if the session has no known close; it does not count then.
        """
        rows = list(rows)
        if not rows or rows[-1]["slot"] < session.close - CLOSE_WINDOW:
            return False
        close = rows[-1]["spot"]
        self.sessions += 1
        for row in rows[:-1]:
            self._score_pin(row, close)
            if row["remaining_1sd"] is not None:
                self.ranged += 1
                self.within += abs(close - row["spot"]) <= row["remaining_1sd"]
        return True

    def _score_pin(self, row: Mapping[str, Any], close: float) -> None:
        probability = row["pin_probability_pct"]
        if probability is None:
            return
        detail = DetailFigures.from_json(row["detail"])
        low, high = detail.pin_lower, detail.pin_upper
        hit = (low is None or close > low) and (high is None or close <= high)
        self.rows += 1
        self.happened += hit
        self.squared += (probability / 100 - hit) ** 2
        index = next(i for i, edge in enumerate(BIN_EDGES[1:]) if probability <= edge)
        self.bins[index].rows += 1
        self.bins[index].predicted += probability
        self.bins[index].happened += hit

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values. Rates are in %; a rate over no rows is None."""
        base = self.happened / self.rows if self.rows else None
        return {
            "sessions": self.sessions,
            "sessions_of_other_cadence": self.other_cadence,
            "pin_probability": {
                "rows": self.rows,
                "brier": _ratio(self.squared, self.rows),
                # The score of a forecast that always gives the overall rate.
                "brier_of_base_rate": None if base is None else base * (1 - base),
                "mean_foretold_pct": _ratio(sum(b.predicted for b in self.bins), self.rows),
                "happened_pct": None if base is None else 100 * base,
                "reliability": [
                    {
                        "from_pct": low,
                        "to_pct": high,
                        "rows": interval.rows,
                        "foretold_pct": _ratio(interval.predicted, interval.rows),
                        "happened_pct": _ratio(100 * interval.happened, interval.rows),
                    }
                    for low, high, interval in zip(
                        BIN_EDGES, BIN_EDGES[1:], self.bins, strict=False
                    )
                    if interval.rows
                ],
            },
            "one_sigma": {
                "rows": self.ranged,
                "within_pct": _ratio(100 * self.within, self.ranged),
                "expected_pct": 100 * math.erf(1 / math.sqrt(2)),
            },
        }


def _ratio(total: float, count: int) -> float | None:
    return total / count if count else None


def format_calibration(symbol: str, result: dict[str, Any]) -> str:
    """Lay the result of ``CalibrationScore.as_json`` out as text."""
    pin, sigma = result["pin_probability"], result["one_sigma"]
    if not result["sessions"]:
        return f"{symbol}: no stored session with a row in its last five minutes, so no known close"
    lines = [f"{symbol}: {result['sessions']} sessions, {pin['rows']} rows with a pin probability"]
    if pin["rows"]:
        lines.append(
            f"  pin probability: predicted {pin['mean_foretold_pct']:.1f} % on average, came true"
            f" {pin['happened_pct']:.1f} % of the time"
        )
        lines.append(
            f"  Brier score: {pin['brier']:.4f} (0 is perfect; always predicting the overall rate"
            f" gives {pin['brier_of_base_rate']:.4f})"
        )
        lines.append("    predicted, %      rows   mean, %   came true, %")
        for b in pin["reliability"]:
            edges = f"{b['from_pct']:3}-{b['to_pct']:<3}"
            rates = f"{b['foretold_pct']:7.1f}   {b['happened_pct']:12.1f}"
            lines.append(f"    {edges}       {b['rows']:8}   {rates}")
    if sigma["rows"]:
        lines.append(
            f"  1σ range: {sigma['within_pct']:.1f} % of {sigma['rows']} rows had the close within"
            f" it ({sigma['expected_pct']:.1f} % for a normal distribution)"
        )
    if result["sessions_of_other_cadence"]:
        lines.append(
            f"  {result['sessions_of_other_cadence']} more were sampled at another cadence, and do"
            " not compare: left out."
        )
    lines.append(
        "  The rows of a session share one close: the sample size is the number of sessions."
    )
    return "\n".join(lines)
