"""Numbers that more than one package counts with. Each stands here and nowhere else."""

from __future__ import annotations

from datetime import timedelta

#: Seconds from one slot to the next. A session's open is the first point of the grid.
GRID_SECONDS = 30
#: The same as a span.
SLOT_WIDTH = timedelta(seconds=GRID_SECONDS)
#: A session has a cadence, the median time from row to row, from so many rows on. Two cadences are
#: one if neither is more than so many times the other.
CADENCE_ROWS, CADENCE_RATIO = 3, 1.5
#: A regular session lasts this many minutes; the widest window that a client may ask for.
SESSION_MINUTES = 390
#: The overnight session of index options begins so long before the open: at 20:00 New York. What
#: traded earlier belongs to another day.
BEFORE_OPEN = timedelta(hours=13, minutes=30)
#: A year of ACT/365, in which every time to expiry is counted. [s]
YEAR_SECONDS = 31_536_000
#: The same. [days]
YEAR_DAYS = 365

#: Shares that one contract delivers.
MULTIPLIER = 100.0
#: Moves of spot that hedges are given for, by the names of ``storage.record.figures.HedgeShares``;
#: as parts of spot.
MOVES: dict[str, float] = {
    "spot_up_10bp": 0.001,
    "spot_down_10bp": -0.001,
    "spot_up_25bp": 0.0025,
    "spot_down_25bp": -0.0025,
    "spot_up_half_pct": 0.005,
    "spot_down_half_pct": -0.005,
    "spot_up_1pct": 0.01,
    "spot_down_1pct": -0.01,
}
#: What each part of the pin score counts; together 1.
PIN_WEIGHTS: dict[str, float] = {"oi": 0.30, "proximity": 0.25, "time": 0.25, "gamma": 0.20}

#: The two scores of how a chain is quoted look at strikes within this part of spot.
QUALITY_REACH = 0.03
#: A strike's volatility counts as smooth within this much of its neighbours' line. [decimal]
SMOOTH_WITHIN = 0.02
