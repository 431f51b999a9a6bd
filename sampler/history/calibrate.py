"""How pin probability and the 1σ range have done against what happened, over stored sessions.

A session counts when its closing spot is known: the last row within its last five minutes. Rows of
one session are not independent, so the number of sessions is what a result rests on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from storage.market.calendar import Session
from storage.record.figures import DetailFigures

#: A row this close to the end gives the closing spot.
CLOSE_WINDOW = timedelta(minutes=5)
#: Edges of the reliability table. [%]
BIN_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 100)


@dataclass(slots=True)
class ReliabilityBin:
    """Rows whose probability lay in one interval."""

    rows: int = 0
    foretold: float = 0.0
    happened: int = 0


@dataclass(slots=True)
class CalibrationScore:
    """What happened to what was foretold."""

    sessions: int = 0
    #: Pin probability: rows, Brier sum, how often it happened, and the reliability table.
    rows: int = 0
    squared: float = 0.0
    happened: int = 0
    bins: list[ReliabilityBin] = field(
        default_factory=lambda: [ReliabilityBin() for _ in BIN_EDGES[1:]]
    )
    #: The 1σ range: rows, and how often the close lay within it.
    ranged: int = 0
    within: int = 0

    def add(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> bool:
        """CalibrationScore one session's rows, in order; False if its closing spot is not known."""
        rows = list(rows)
        if not rows or rows[-1]["slot"] < session.close - CLOSE_WINDOW:
            return False
        close = rows[-1]["spot"]
        self.sessions += 1
        for row in rows[:-1]:
            self._pin(row, close)
            if row["remaining_1sd"] is not None:
                self.ranged += 1
                self.within += abs(close - row["spot"]) <= row["remaining_1sd"]
        return True

    def _pin(self, row: Mapping[str, Any], close: float) -> None:
        probability = row["pin_probability_pct"]
        if probability is None:
            return
        detail = DetailFigures.from_json(row["detail"])
        low, high = detail.pin_lower, detail.pin_upper
        hit = (low is None or close > low) and (high is None or close <= high)
        self.rows += 1
        self.happened += hit
        self.squared += (probability / 100 - hit) ** 2
        at = next(i for i, edge in enumerate(BIN_EDGES[1:]) if probability <= edge)
        self.bins[at].rows += 1
        self.bins[at].foretold += probability
        self.bins[at].happened += hit

    def as_json(self) -> dict[str, Any]:
        """The result as plain values; rates in %, None where there is nothing to divide by."""
        base = self.happened / self.rows if self.rows else None
        return {
            "sessions": self.sessions,
            "pin_probability": {
                "rows": self.rows,
                "brier": _ratio(self.squared, self.rows),
                # What always foretelling the overall rate would have scored.
                "brier_of_base_rate": None if base is None else base * (1 - base),
                "mean_foretold_pct": _ratio(sum(b.foretold for b in self.bins), self.rows),
                "happened_pct": None if base is None else 100 * base,
                "reliability": [
                    {
                        "from_pct": low,
                        "to_pct": high,
                        "rows": one.rows,
                        "foretold_pct": _ratio(one.foretold, one.rows),
                        "happened_pct": _ratio(100 * one.happened, one.rows),
                    }
                    for low, high, one in zip(BIN_EDGES, BIN_EDGES[1:], self.bins, strict=False)
                    if one.rows
                ],
            },
            "one_sigma": {
                "rows": self.ranged,
                "within_pct": _ratio(100 * self.within, self.ranged),
                "expected_pct": 100 * math.erf(1 / math.sqrt(2)),
            },
        }


def _ratio(of: float, count: int) -> float | None:
    return of / count if count else None


def format_calibration(name: str, result: dict[str, Any]) -> str:
    """Lay one result out for a person."""
    pin, sigma = result["pin_probability"], result["one_sigma"]
    lines = [f"{name}: {result['sessions']} sessions, {pin['rows']} rows"]
    if pin["rows"]:
        lines.append(
            f"  pin probability: foretold {pin['mean_foretold_pct']:.1f} %, happened"
            f" {pin['happened_pct']:.1f} %, Brier {pin['brier']:.4f}"
            f" (base rate alone {pin['brier_of_base_rate']:.4f})"
        )
        lines.append("    foretold, %        rows   mean   happened, %")
        for b in pin["reliability"]:
            edges = f"{b['from_pct']:3}-{b['to_pct']:<3}"
            rates = f"{b['foretold_pct']:5.1f}   {b['happened_pct']:8.1f}"
            lines.append(f"    {edges}          {b['rows']:8}  {rates}")
    if sigma["rows"]:
        lines.append(
            f"  1σ range: the close lay within it on {sigma['within_pct']:.1f} % of"
            f" {sigma['rows']} rows (a normal law: {sigma['expected_pct']:.1f} %)"
        )
    lines.append("  rows of one session share one close: the sample size is the number of sessions")
    return "\n".join(lines)
