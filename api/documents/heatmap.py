"""A metric by strike and bar, as it stands at the last sample of each bar, or as it changed."""

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
#: interest is the effective one; flow counts from the baseline and is shown by its increments.
METRICS: dict[str, tuple[tuple[str, ...], Values]] = {
    "gex": (("call_gex", "put_gex"), _sum("call_gex", "put_gex")),
    "dex": (("call_dex", "put_dex"), _sum("call_dex", "put_dex")),
    "vex": (("vex",), _sum("vex")),
    "chex": (("chex",), _sum("chex")),
    "oi": (("call_oi", "put_oi", "call_signed", "put_signed"), _oi),
    "signed_flow": (("call_flow", "put_flow"), _sum("call_flow", "put_flow")),
}


def metric_columns(metric: str) -> tuple[str, ...]:
    """Return the arrays that a metric is made of.

    Parameters
    ----------
    metric : a key of ``METRICS``.

    Returns
    -------
    tuple of str
        Names of arrays of the profile, with ``strike`` first.
    """
    return ("strike", *METRICS[metric][0])


def heatmap(
    profiles: Sequence[ProfileRow], before: ProfileRow | None, *, metric: str, mode: str
) -> dict[str, Any]:
    """Lay one metric out by bar and strike.

    Parameters
    ----------
    profiles : the last sample of each bar, oldest first.
    before : the newest sample before the first bar; only signed flow needs it.
    metric : a key of ``METRICS``.
    mode : ``raw``, or ``delta``: a bar has its change from the bar before it, and the first is raw.
        Signed flow is a change already.

    Returns
    -------
    dict
        ``strikes_grid``, and ``bars`` whose ``values`` are aligned with it; 0 where a bar has no
        such strike.
    """
    grid, values = strike_grid(profiles), METRICS[metric][1]
    if metric == "signed_flow":
        table = increments(before, profiles, grid, values)
    else:
        table = np.nan_to_num(lay_on_grid(profiles, grid, values))
        if mode == "delta" and len(table):
            table[1:] = np.diff(table, axis=0)
    numbers = nearest_ints(table) if metric == "oi" else dollars(table)
    return {
        "strikes_grid": grid,
        "bars": [
            {"t": p.bucket, "spot": p.spot, "values": row, "sampled_at": p.slot}
            for p, row in zip(profiles, numbers, strict=True)
        ],
    }
