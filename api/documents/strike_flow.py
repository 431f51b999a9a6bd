"""Signed flow by strike and bar: dollars of delta, of gamma, and contracts, increments per bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from api.documents.rounding import Floats, dollars, nearest_ints
from api.documents.strike_grid import increments, strike_grid
from storage.postgres.windows import ProfileRow

#: The arrays to ask the store for.
COLUMNS = ("strike", "call_flow", "put_flow", "gamma_flow", "call_volume", "put_volume")


def _delta(profile: ProfileRow) -> Floats:
    return profile.arrays["call_flow"] + profile.arrays["put_flow"]


def _gamma(profile: ProfileRow) -> Floats:
    return profile.arrays["gamma_flow"]


def _volume(profile: ProfileRow) -> Floats:
    return profile.arrays["call_volume"] + profile.arrays["put_volume"]


def strike_flow(profiles: Sequence[ProfileRow], before: ProfileRow | None) -> dict[str, Any]:
    """Lay signed flow out by bar and strike.

    What was traded until the baseline is no flow and no contract of any bar. Contracts are those
    traded, both sides; where a feed takes volume back, none.

    Parameters
    ----------
    profiles : the last sample of each bar, oldest first.
    before : the newest sample before the first bar, or the session's first; None without one.

    Returns
    -------
    dict
        ``strikes_grid``, and bars of three arrays aligned with it: delta [$], gamma [$ per 1 %],
        contracts.
    """
    grid = strike_grid(profiles)
    baseline = before is None or (bool(profiles) and before.slot >= profiles[0].bucket)
    since = None if baseline else before
    delta = dollars(increments(since, profiles, grid, _delta))
    gamma = dollars(increments(since, profiles, grid, _gamma))
    traded = nearest_ints(np.maximum(increments(before, profiles, grid, _volume), 0.0))
    return {
        "strikes_grid": grid,
        "bars": [
            {
                "t": profile.bucket,
                "spot": profile.spot,
                "signed_delta_dollars": delta[bar],
                "signed_gamma_dollars": gamma[bar],
                "contracts": traded[bar],
                "sampled_at": profile.slot,
            }
            for bar, profile in enumerate(profiles)
        ],
    }
