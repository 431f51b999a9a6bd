"""What today's flow has made of this morning's book: the shift, its name, and a sentence."""

from __future__ import annotations

from typing import Any

from api.documents.book import PositionBook, figure_or_zero
from api.documents.rounding import nearest_int, rounded
from storage.record.row import Row

#: A smaller shift than this part of the settled figure is neutral.
NEUTRAL = 0.05
#: Decimals of a shift, which is a fraction.
_FRACTION = 6
_SAID = {
    "no_flow": "No contract has sample flow since the baseline.",
    "neutral": "Flow has moved dealer gamma by {pct} % of the settled book, less than 5 %.",
    "amplifying": "Flow has made dealer gamma {pct} % larger than this morning's.",
    "dampening": "Flow has made dealer gamma {pct} % smaller than this morning's.",
    "regime_flip": "Flow has turned the sign of dealer gamma since this morning.",
}


def flow_shift(settled: float | None, live: float | None) -> float | None:
    """(live − settled) / settled, a fraction; None if settled is 0 and live is not."""
    if settled is None or live is None:
        return None
    if settled == 0:
        return 0.0 if live == 0 else None
    return rounded((live - settled) / settled, _FRACTION)


def direction_label(settled: float, live: float, contracts_with_flow: int) -> str:
    """no_flow, neutral, amplifying, dampening or regime_flip.

    A book that flow has made from nothing, or to nothing, counts as a change of sign.
    """
    if contracts_with_flow == 0:
        return "no_flow"
    if (settled > 0) != (live > 0) or (settled < 0) != (live < 0):
        return "regime_flip"
    moved = figure_or_zero(flow_shift(settled, live))
    if abs(moved) < NEUTRAL:
        return "neutral"
    return "amplifying" if moved > 0 else "dampening"


def flow_adjustment(name: str, settled: PositionBook, live: PositionBook) -> dict[str, Any]:
    """``settled_net_gex``, ``live_net_gex``, ``flow_gex_adjustment`` and ``flow_gex_pct_shift``.

    ``name`` is gex or dex.
    """
    before, now = settled.figure(f"net_{name}"), live.figure(f"net_{name}")
    moved = None if before is None or now is None else rounded(now - before)
    return {
        f"settled_net_{name}": before,
        f"live_net_{name}": now,
        f"flow_{name}_adjustment": moved,
        f"flow_{name}_pct_shift": flow_shift(before, now),
    }


def flow_totals(row: Row) -> dict[str, int]:
    """How many contracts flow has moved, and Σ |B·Δ| in whole contracts."""
    return {
        "contracts_with_flow": figure_or_zero(row.detail.contracts_with_flow),
        "total_abs_delta_contracts": nearest_int(
            figure_or_zero(row.detail.total_abs_delta_contracts)
        ),
    }


def describe_direction(row: Row) -> tuple[str, str]:
    """The direction's name and its sentence."""
    settled, live = figure_or_zero(row.settled.net_gex), row.net_gex
    moved = flow_totals(row)
    name = direction_label(settled, live, moved["contracts_with_flow"])
    said = _SAID[name].format(pct=f"{100 * abs(figure_or_zero(flow_shift(settled, live))):.1f}")
    if name != "no_flow":
        said += (
            f" {moved['contracts_with_flow']:,} contracts saw flow of"
            f" {moved['total_abs_delta_contracts']:,} delta-weighted contracts."
        )
    return name, said


def flow_direction(settled: PositionBook, live: PositionBook) -> dict[str, Any]:
    """A snapshot's block."""
    name, said = describe_direction(live.row)
    return {
        "label": name,
        **flow_adjustment("gex", settled, live),
        **flow_totals(live.row),
        "description": said,
    }
