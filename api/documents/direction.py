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
_SENTENCES = {
    "no_flow": "No contract has sample flow since the baseline.",
    "neutral": "Flow has moved dealer gamma by {pct} % of the settled book, less than 5 %.",
    "amplifying": "Flow has made dealer gamma {pct} % larger than this morning's.",
    "dampening": "Flow has made dealer gamma {pct} % smaller than this morning's.",
    "regime_flip": "Flow has turned the sign of dealer gamma since this morning.",
}


def flow_shift(settled: float | None, live: float | None) -> float | None:
    """Return by how much flow has shifted a figure, as a fraction of its settled value.

    Parameters
    ----------
    settled : the figure of the settled book; None if it was not stored.
    live : the figure of the live book; None if it was not stored.

    Returns
    -------
    float or None
        (live − settled) / settled; None if settled is 0 and live is not.
    """
    if settled is None or live is None:
        return None
    if settled == 0:
        return 0.0 if live == 0 else None
    return rounded((live - settled) / settled, _FRACTION)


def direction_label(settled: float, live: float, contracts_with_flow: int) -> str:
    """Return the name of what flow has made of this morning's gamma.

    A book that flow has made from nothing, or to nothing, counts as a change of sign.

    Parameters
    ----------
    settled : net GEX of the settled book. [$ per 1 %]
    live : net GEX of the live book. [$ per 1 %]
    contracts_with_flow : contracts whose position flow has moved.

    Returns
    -------
    str
        ``no_flow``, ``neutral``, ``amplifying``, ``dampening`` or ``regime_flip``.
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
    """Return one exposure of both books, and its shift.

    Parameters
    ----------
    name : ``gex`` or ``dex``.
    settled, live : the two books of one slot.

    Returns
    -------
    dict
        Such as ``settled_net_gex``, ``live_net_gex``, ``flow_gex_adjustment`` [$] and
        ``flow_gex_pct_shift`` [fraction].
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
    """Return how many contracts flow has moved, and how far.

    Parameters
    ----------
    row : the row.

    Returns
    -------
    dict
        ``contracts_with_flow``, and ``total_abs_delta_contracts``: Σ |B·Δ| in whole contracts.
    """
    return {
        "contracts_with_flow": figure_or_zero(row.detail.contracts_with_flow),
        "total_abs_delta_contracts": nearest_int(
            figure_or_zero(row.detail.total_abs_delta_contracts)
        ),
    }


def describe_direction(row: Row) -> tuple[str, str]:
    """Return the flow direction of a row, as a name and as a sentence.

    Parameters
    ----------
    row : the row.

    Returns
    -------
    tuple of str
        The name, as ``direction_label`` gives it, and the sentence.
    """
    settled, live = figure_or_zero(row.settled.net_gex), row.net_gex
    moved = flow_totals(row)
    name = direction_label(settled, live, moved["contracts_with_flow"])
    sentence = _SENTENCES[name].format(
        pct=f"{100 * abs(figure_or_zero(flow_shift(settled, live))):.1f}"
    )
    if name != "no_flow":
        sentence += (
            f" {moved['contracts_with_flow']:,} contracts saw flow of"
            f" {moved['total_abs_delta_contracts']:,} delta-weighted contracts."
        )
    return name, sentence


def flow_direction(settled: PositionBook, live: PositionBook) -> dict[str, Any]:
    """Return the block ``flow_direction`` of a snapshot.

    Parameters
    ----------
    settled, live : the two books of one slot.

    Returns
    -------
    dict
        The fields by name.
    """
    name, sentence = describe_direction(live.row)
    return {
        "label": name,
        **flow_adjustment("gex", settled, live),
        **flow_totals(live.row),
        "description": sentence,
    }
