"""What the rows of a past session would have had frozen: forecasts made afterwards. Pure.

They are made of the rows as they are stored now, so whoever makes them may know the outcome. They
never count as frozen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from storage.market.calendar import Session
from storage.scorecard.forecast import (
    FLOW_SPAN,
    FREEZE_REACH,
    FrozenForecast,
    freeze,
    freeze_moments,
)

#: In a session of recorded frames with no more rows than this, each row forecasts at its own time
#: instead of the set times.
FEW_ROWS = 40


def forecasts_of_rows(
    rows: Sequence[Mapping[str, Any]],
    session: Session,
    *,
    now: datetime,
    simulated: bool,
    own_times: bool,
    without: Collection[datetime] = (),
) -> list[FrozenForecast]:
    """Make a session's forecasts from its rows, by the rule of a freeze.

    Parameters
    ----------
    rows : its rows, ascending, with ``FORECAST_COLUMNS`` and ``flow_since``.
    session : the session.
    now : the time, UTC.
    simulated : whether the market is made up.
    own_times : take each row at its own time, if there are few; else the set times.
    without : times that need none.

    Returns
    -------
    list of FrozenForecast
        One a time that has a row.
    """
    slots = [row["slot"] for row in rows]
    moments = slots if own_times and len(rows) <= FEW_ROWS else freeze_moments(session)

    def row_before(moment: datetime) -> Mapping[str, Any] | None:
        index = bisect_right(slots, moment) - 1
        if index < 0 or moment - slots[index] > FREEZE_REACH:
            return None
        return rows[index]

    forecasts = []
    for moment in moments:
        row = row_before(moment)
        if row is None or moment in without:
            continue
        then = row["slot"] - FLOW_SPAN
        earlier = row_before(then) if then >= row["flow_since"] else None
        forecasts.append(
            freeze(
                row,
                moment,
                frozen_at=now,
                simulated=simulated,
                flow_before=None if earlier is None else earlier["hedge_flow_cumulative_all"],
            )
        )
    return forecasts
