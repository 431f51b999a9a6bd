"""A metric by strike and bar, as it stands at the last sample of each bar, or as it changed.

Open interest and exposures are the live book's, or those of this morning's open interest alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from api.documents.book import effective_oi
from api.documents.rounding import Floats, dollars, nearest_ints
from api.documents.strike_grid import Values, increments, lay_on_grid, strike_grid
from storage.postgres.windows import ProfileRow


def _sum(*names: str) -> Values:
    def values(profile: ProfileRow) -> Floats:
        arrays = [profile.arrays[name] for name in names]
        return arrays[0] if len(arrays) == 1 else np.add(arrays[0], arrays[1])

    return values


def _oi(profile: ProfileRow) -> Floats:
    arrays, kappa = profile.arrays, profile.oi_confidence
    calls = effective_oi(arrays["call_oi"], arrays["call_signed"], kappa)
    return (calls + effective_oi(arrays["put_oi"], arrays["put_signed"], kappa)).astype(np.float64)


#: By metric: the arrays that it needs, and its value by strike. Exposures are the live book's, open
#: interest is the effective one; flow counts from the baseline, volume from the start of the day.
METRICS: dict[str, tuple[tuple[str, ...], Values]] = {
    "gex": (("call_gex", "put_gex"), _sum("call_gex", "put_gex")),
    "dex": (("call_dex", "put_dex"), _sum("call_dex", "put_dex")),
    "vex": (("vex",), _sum("vex")),
    "chex": (("chex",), _sum("chex")),
    "oi": (("call_oi", "put_oi", "call_signed", "put_signed"), _oi),
    "signed_flow": (("call_flow", "put_flow"), _sum("call_flow", "put_flow")),
    "volume": (("call_volume", "put_volume"), _sum("call_volume", "put_volume")),
}
#: The same of the settled book. Flow and volume are of no book.
SETTLED: dict[str, tuple[tuple[str, ...], Values]] = METRICS | {
    "gex": (
        ("settled_call_gex", "settled_put_gex"),
        _sum("settled_call_gex", "settled_put_gex"),
    ),
    "dex": (
        ("settled_call_dex", "settled_put_dex"),
        _sum("settled_call_dex", "settled_put_dex"),
    ),
    "vex": (("settled_vex",), _sum("settled_vex")),
    "chex": (("settled_chex",), _sum("settled_chex")),
    "oi": (("call_oi", "put_oi"), _sum("call_oi", "put_oi")),
}
BY_BOOK = {"live": METRICS, "settled": SETTLED}


def baseline_of(metric: str, mode: str) -> str:
    """Return which sample before the window a metric needs beside the window's own.

    Parameters
    ----------
    metric : a key of ``METRICS``.
    mode : ``raw``, ``delta`` or ``since_open``.

    Returns
    -------
    str
        ``first``: the session's first sample. ``before``: the newest one before the window, or the
        first. Empty: none.
    """
    if mode == "since_open":
        return "" if metric == "signed_flow" else "first"
    return "before" if metric == "signed_flow" or (metric, mode) == ("volume", "delta") else ""


def metric_columns(metric: str, book: str) -> tuple[str, ...]:
    """Return the arrays that a metric is made of.

    Parameters
    ----------
    metric : a key of ``METRICS``.
    book : ``live`` or ``settled``.

    Returns
    -------
    tuple of str
        Names of arrays of the profile, with ``strike`` first.
    """
    return ("strike", *BY_BOOK[book][metric][0])


def heatmap(
    profiles: Sequence[ProfileRow],
    before: ProfileRow | None,
    *,
    metric: str,
    mode: str,
    book: str = "live",
) -> dict[str, Any]:
    """Lay one metric out by bar and strike.

    Parameters
    ----------
    profiles : the last sample of each bar, oldest first.
    before : the sample that ``baseline_of`` names; None where it names none.
    metric : a key of ``METRICS``.
    mode : ``raw``; ``delta``: a bar has its change from the bar before it, and the first is raw; or
        ``since_open``: its change from the session's first sample. Signed flow of a bar is a change
        already; since the open it is the sum. The volume of a bar never falls below 0.
    book : ``live``, or ``settled``: of this morning's open interest alone.

    Returns
    -------
    dict
        ``strikes_grid``, and ``bars`` whose ``values`` are aligned with it; 0 where a bar has no
        such strike.
    """
    grid, values = strike_grid(profiles), BY_BOOK[book][metric][1]
    if baseline_of(metric, mode) == "before":
        table = increments(before, profiles, grid, values)
        if metric == "volume":
            table = np.maximum(table, 0.0)
    else:
        table = np.nan_to_num(lay_on_grid(profiles, grid, values))
        if mode == "delta" and len(table):
            table[1:] = np.diff(table, axis=0)
        if mode == "since_open" and before is not None:
            known = np.isin(before.arrays["strike"], grid)
            places = np.searchsorted(grid, before.arrays["strike"][known])
            table[:, places] -= np.nan_to_num(values(before)[known])
    numbers = nearest_ints(table) if metric in ("oi", "volume") else dollars(table)
    return {
        "strikes_grid": grid,
        "bars": [
            {"t": p.bucket, "spot": p.spot, "values": row, "sampled_at": p.slot}
            for p, row in zip(profiles, numbers, strict=True)
        ],
    }
