"""Hedge flow as pressure: by bar, its rate, and where both stand among stored sessions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.series.earlier import EarlierFlow, flow_rates
from storage.market.calendar import Session
from storage.market.constants import GRID_SECONDS

#: With fewer sessions to compare with, a percentile says nothing yet.
LEAST_SESSIONS = 10


def pressure_bars(
    samples: Sequence[Mapping[str, Any]],
    earlier: EarlierFlow,
    session: Session,
    *,
    start: datetime,
    width: int,
) -> list[dict[str, Any]]:
    """Return pressure by bar: each bar says what its last sample knew.

    Parameters
    ----------
    samples : the session's samples up to the end of the window, ascending, each with the columns
        of the store's query ``pressure``.
    earlier : the stored sessions before the day, of the same feed and cadence.
    session : the session.
    start : bars of samples before it are left out.
    width : the length of a bar. [s]

    Returns
    -------
    list of dict
        One a bar. Amounts are positive where dealers buy. [$]
    """
    if not samples:
        return []
    slots = np.array([sample["slot"].timestamp() for sample in samples])
    numbers = ((slots - session.open.timestamp()) // GRID_SECONDS).astype(np.int64)
    cents = [round(sample["hedge_flow_cumulative_all"] * 100) for sample in samples]
    flow = np.array(cents) / 100
    rates = flow_rates(numbers, flow)
    legs = _multi_leg_shares(samples)
    buckets = (slots // width).astype(np.int64)
    lasts = [k for k, (bucket, then) in enumerate(pairwise([*buckets, None])) if bucket != then]
    bars = []
    for place, k in enumerate(lasts):
        sample, before = samples[k], lasts[place - 1] if place else None
        if sample["slot"] < start:
            continue
        since = None if before is None else samples[before]["slot"]
        rank, sessions = _percentile(earlier.flow, int(numbers[k]), float(flow[k]))
        rate = None if np.isnan(rates[k]) else round(float(rates[k]), 2)
        rate_rank, rate_sessions = _percentile(earlier.rate, int(numbers[k]), float(rates[k]))
        bars.append(
            {
                "t": datetime.fromtimestamp(int(buckets[k]) * width, sample["slot"].tzinfo),
                "since": since,
                "bar": (cents[k] - (0 if before is None else cents[before])) / 100,
                "cumulative": cents[k] / 100,
                "hedge_flow_se": sample["hedge_flow_se"],
                "percentile": rank,
                "sessions": sessions,
                "rate_per_minute": rate,
                "rate_percentile": rate_rank,
                "rate_sessions": rate_sessions,
                "classified_share": sample["classified_share"],
                "multi_leg_share": legs[k],
                "sampled_at": sample["slot"],
            }
        )
    return bars


def _percentile(grid: NDArray[np.float64], number: int, value: float) -> tuple[float | None, int]:
    """Where a value stands among the sessions at a time of day, and how many these are.

    The part of the sessions below it, and half of those that equal it; None if there are too few.
    """
    if np.isnan(value) or not 0 <= number < grid.shape[1]:
        return None, 0
    others = grid[:, number]
    others = others[np.isfinite(others)]
    if len(others) < LEAST_SESSIONS:
        return None, len(others)
    place = np.mean(others < value) + np.mean(others == value) / 2
    return round(100 * float(place), 1), len(others)


def _multi_leg_shares(samples: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return, at each sample, the part of the volume so far that traded as legs of spreads.

    Each sample's part counts by what the day's volume has risen by since the sample before; samples
    whose source does not tell it do not count.
    """
    legs = volume = 0.0
    before: int | None = None
    shares = []
    for sample in samples:
        share, total = sample["multi_leg_share"], sample["total_volume"]
        added = 0 if before is None else max(total - before, 0)
        if share is not None:
            legs, volume = legs + share * added, volume + added
        before = total
        shares.append(round(legs / volume, 6) if volume else None)
    return shares
