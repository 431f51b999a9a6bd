"""Symbols ranked by one figure of their newest sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
#: The columns of a row that the leaderboard reads.
COLUMNS = (
    "symbol",
    "expiration",
    "slot",
    "quoted_at",
    "source",
    "net_gex",
    "pin_score",
    "charm_dollars_per_hour",
    "hedge_flow_cumulative_all",
)


def _heat(row: Figures) -> float | None:
    """Cumulative hedge flow over |net GEX|; None without gamma."""
    size = abs(row["net_gex"])
    return round(row["hedge_flow_cumulative_all"] / size, 6) if size else None


def _charm(row: Figures) -> float | None:
    hourly = row["charm_dollars_per_hour"]
    return None if hourly is None else abs(hourly)


METRICS: dict[str, Callable[[Figures], float | int | None]] = {
    "heat": _heat,
    "pin_risk": lambda row: int(row["pin_score"]),
    "abs_flow": lambda row: abs(float(row["hedge_flow_cumulative_all"])),
    "charm_intensity": _charm,
}


def ranked_entries(rows: Sequence[Figures], metric: str, n: int) -> list[dict[str, Any]]:
    """Rank symbols by one figure of their newest sample.

    Parameters
    ----------
    rows : figures of each symbol's newest sample.
    metric : a key of ``METRICS``.
    n : how many symbols at most.

    Returns
    -------
    list of dict
        Entries, the largest value first, ties by symbol; a symbol without the figure is left out.
    """
    figure = METRICS[metric]
    known = [(value, row) for row in rows if (value := figure(row)) is not None]
    ranked = sorted(known, key=lambda pair: (-pair[0], pair[1]["symbol"]))[:n]
    return [
        {
            "rank": rank,
            "symbol": row["symbol"],
            "value": value,
            "expiration": row["expiration"],
            "slot": row["slot"],
            "feed": row["source"],
        }
        for rank, (value, row) in enumerate(ranked, 1)
    ]
