"""How a forecast came out: compared with the session's close and with the later path of spot.

Pure. A part that cannot be judged, because rows are missing, is None and enters no rate.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from storage.market.calendar import Session
from storage.market.constants import SLOT_WIDTH, YEAR_SECONDS

#: The version of how forecasts are judged; an outcome of another one is judged again.
METHOD = 1
#: A level nearer to spot than this many standard deviations of what is left is not judged.
NEAREST_WALL = 0.1
#: A path is judged if it has this much of its slots, and of its returns.
COMPLETE = 0.9
#: The length of the returns that realised volatility and autocorrelation are made of.
RETURN_SPAN = timedelta(minutes=5)
#: The fewest returns of a path.
FEWEST_RETURNS = 4
#: The price at a moment is that of the newest row at or before it; a row that is older than this
#: does not count.
PRICE_REACH = timedelta(minutes=1)
#: The horizons of flow. [min]
HORIZONS = (5, 15, 30)


def pin_hit(close: float, lower: float | None, upper: float | None) -> bool:
    """Return whether a close lies between the strikes next to a magnet.

    Parameters
    ----------
    close : the close. [$]
    lower, upper : the strikes next to the magnet; None where there is none. [$]

    Returns
    -------
    bool
        True above ``lower`` and up to ``upper``.
    """
    return (lower is None or close > lower) and (upper is None or close <= upper)


def within_range(close: float, spot: float, deviation: float) -> bool:
    """Return whether a close lies within a distance of spot.

    Parameters
    ----------
    close, spot : the close, and spot when the forecast was made. [$]
    deviation : the distance. [$]

    Returns
    -------
    bool
        True also at the distance itself.
    """
    return abs(close - spot) <= deviation


def judge(
    forecast: Mapping[str, Any],
    *,
    close: float,
    path: Sequence[tuple[datetime, float]],
    session: Session,
) -> dict[str, Any]:
    """Judge a forecast.

    Parameters
    ----------
    forecast : the content of a frozen forecast.
    close : the session's close. [$]
    path : slot and spot of each row of the session, ascending. [UTC, $]
    session : the session.

    Returns
    -------
    dict
        ``pin_hit``, ``within_1sigma``, ``within_2sigma``; ``walls``, one object a wall;
        ``realised_vol`` [decimal], ``autocorrelation``, ``returns``; ``return_bp`` by horizon.
    """
    slot = datetime.fromisoformat(forecast["slot"])
    spot, deviation = forecast["spot"], forecast["remaining_1sd"]
    later = _Path([point for point in path if point[0] > slot], slot, spot, close, session)
    probability = forecast["pin_probability_pct"]
    return {
        "pin_hit": None
        if probability is None
        else pin_hit(close, forecast["pin_lower"], forecast["pin_upper"]),
        "within_1sigma": None if deviation is None else within_range(close, spot, deviation),
        "within_2sigma": None if deviation is None else within_range(close, spot, 2 * deviation),
        "walls": _judge_walls(forecast, later),
        **_movement(later),
        "return_bp": {str(minutes): later.return_bp(minutes) for minutes in HORIZONS},
    }


class _Path:
    """The prices after a forecast: rows, and the close at the session's end."""

    def __init__(
        self,
        points: Sequence[tuple[datetime, float]],
        slot: datetime,
        spot: float,
        close: float,
        session: Session,
    ) -> None:
        self.slot, self.spot, self.close, self.end = slot, spot, close, session.close
        self.times = [slot, *(moment for moment, _ in points), session.close]
        self.prices = [spot, *(price for _, price in points), close]
        expected = (session.close - slot) / SLOT_WIDTH - 1
        self.complete = expected >= 1 and len(points) >= COMPLETE * expected

    def price(self, moment: datetime) -> float | None:
        """The price of a moment; None without a row shortly before it."""
        if moment > self.end:
            return None
        index = bisect_right(self.times, moment) - 1
        return self.prices[index] if moment - self.times[index] <= PRICE_REACH else None

    def return_bp(self, minutes: int) -> float | None:
        """The logarithmic return from the forecast on. [bp]"""
        price = self.price(self.slot + timedelta(minutes=minutes))
        return None if price is None else 1e4 * math.log(price / self.spot)


def _judge_walls(forecast: Mapping[str, Any], path: _Path) -> list[dict[str, Any]]:
    """Each wall, and beside it the level as far away on the other side of spot."""
    deviation = forecast["remaining_1sd"]
    if not path.complete or not deviation:
        return []
    levels = {name: forecast[f"{name}_wall"] for name in ("call", "put")}
    walls = {name: level for name, level in levels.items() if level is not None}
    if len(walls) == 2 and walls["call"] == walls["put"]:
        walls = {"both": walls["call"]}
    judged = []
    for name, level in walls.items():
        distance = (level - path.spot) / deviation
        if abs(distance) < NEAREST_WALL:
            continue
        opposite = 2 * path.spot - level
        others = [other for other in walls.values() if other != level]
        taken = any(abs(opposite - other) <= NEAREST_WALL * deviation for other in others)
        judged.append(
            {
                "wall": name,
                "distance_sigmas": round(distance, 6),
                **_reached(path, level),
                "control": None if taken else _reached(path, opposite),
            }
        )
    return judged


def _reached(path: _Path, level: float) -> dict[str, bool]:
    """Whether a level was touched, and whether the close lies beyond it."""
    if level > path.spot:
        touched, beyond = max(path.prices) >= level, path.close > level
    else:
        touched, beyond = min(path.prices) <= level, path.close < level
    return {"touched": touched, "broken": beyond}


def _movement(path: _Path) -> dict[str, Any]:
    """Realised volatility, and how far a return undoes the one before it."""
    count = int((path.end - path.slot) / RETURN_SPAN)
    prices = [path.price(path.slot + step * RETURN_SPAN) for step in range(count + 1)]
    returns = [
        None if before is None or after is None else math.log(after / before)
        for before, after in itertools.pairwise(prices)
    ]
    known = [value for value in returns if value is not None]
    nothing = {"realised_vol": None, "autocorrelation": None, "returns": len(known)}
    if len(known) < max(FEWEST_RETURNS, COMPLETE * count):
        return nothing
    squares = math.fsum(value * value for value in known)
    if squares == 0:
        return nothing
    products = math.fsum(
        before * after
        for before, after in itertools.pairwise(returns)
        if before is not None and after is not None
    )
    years = len(known) * RETURN_SPAN.total_seconds() / YEAR_SECONDS
    return {
        "realised_vol": math.sqrt(squares / years),
        "autocorrelation": products / squares,
        "returns": len(known),
    }
