"""Whether spot or the volatility at the money jumps farther than it can have moved.

A jump is one of more than eight standard deviations of what the last few samples moved. A spot that
parity contradicts is flagged at once. What no other quote contradicts may be real: it is flagged
when the next slot comes back, and then the row before it is in doubt.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from storage.market.constants import GRID_SECONDS, YEAR_SECONDS

#: A jump is one of more than so many standard deviations.
SIGMAS = 8.0
#: So many samples are remembered; fewer than the second moves of them say nothing.
REMEMBERED, LEAST_MOVES = 7, 4
#: Volatilities of quiet feeds move by no less than this in 30 s, relatively: quotes have ticks.
LEAST_VOLATILITY_MOVE = 0.01
#: A spike comes back if no more than this part of its jump is left. [0-1]
LEFT = 0.25
#: It does so in the next slot: after no more than so many times the interval that it took.
NEXT = 3.0
#: The median absolute move of a normal variable is its standard deviation over this.
MEDIAN_TO_SIGMA = 1.4826


class RecentSample(NamedTuple):
    """A slot's spot and volatility, as they were used."""

    #: Since the session's open. [s]
    seconds: float
    spot: float
    #: At the money. [decimal]
    atm: float


class Jump(NamedTuple):
    """How far something jumped, and in how many of its own standard deviations."""

    size: float
    sigmas: float

    def as_detail(self) -> dict[str, float]:
        """Plain values for the row's flag details."""
        return {"jump": float(f"{self.size:.6g}"), "sigmas": round(self.sigmas, 1)}


def spot_jump(recent: Sequence[RecentSample], spot: float, seconds: float) -> Jump | None:
    """Return how far spot has jumped since the last sample; None if that is no jump.

    σ of the interval is the larger of what the last volatility at the money makes of it and of the
    recent moves. [$]

    Parameters
    ----------
    recent : the last samples, oldest first.
    spot : price of the underlying now. [$]
    seconds : when it was quoted, on the clock of ``recent``. [s]

    Returns
    -------
    Jump or None
        The jump's size and the σ that it is compared with. [$]
    """
    if not recent:
        return None
    last = recent[-1]
    interval = seconds - last.seconds
    if interval <= 0:
        return None
    implied = last.spot * last.atm * math.sqrt(interval / YEAR_SECONDS)
    rate = _rate([(s.seconds, s.spot) for s in recent])
    sigma = max(implied, (rate or 0.0) * math.sqrt(interval))
    return _jump(spot - last.spot, sigma)


def volatility_jump(recent: Sequence[RecentSample], atm: float, seconds: float) -> Jump | None:
    """Return how far the volatility at the money has jumped, relatively; None if that is no jump.

    σ is what it moved in the last samples, and at least 1 % in 30 s.

    Parameters
    ----------
    recent : the last samples, oldest first.
    atm : volatility at the money now, a year; 0.12 is 12 %.
    seconds : when it was quoted, on the clock of ``recent``. [s]

    Returns
    -------
    Jump or None
        The jump's size and the σ that it is compared with, as differences of ln(volatility).
    """
    rate = _rate([(s.seconds, math.log(s.atm)) for s in recent if s.atm > 0])
    if rate is None or not atm > 0 or not recent[-1].atm > 0:
        return None
    interval = seconds - recent[-1].seconds
    if interval <= 0:
        return None
    least = LEAST_VOLATILITY_MOVE * math.sqrt(interval / GRID_SECONDS)
    return _jump(math.log(atm / recent[-1].atm), max(rate * math.sqrt(interval), least))


def came_back(recent: Sequence[RecentSample], now: RecentSample) -> tuple[Jump | None, Jump | None]:
    """Return the jumps of the last sample, of spot and of volatility, that this sample undoes.

    Parameters
    ----------
    recent : the last samples, oldest first.
    now : this sample.

    Returns
    -------
    tuple of Jump or None
        Spot's jump and volatility's; None for what was no spike or has stayed.
    """
    if len(recent) < 2:
        return None, None
    before, last = recent[-2], recent[-1]
    if now.seconds - last.seconds > NEXT * (last.seconds - before.seconds):
        return None, None
    earlier = recent[:-1]
    spot = spot_jump(earlier, last.spot, last.seconds)
    if spot is not None and abs(now.spot - before.spot) > LEFT * abs(spot.size):
        spot = None
    volatility = volatility_jump(earlier, last.atm, last.seconds)
    if volatility is not None:
        left = abs(math.log(now.atm / before.atm)) if now.atm > 0 else math.inf
        if left > LEFT * abs(volatility.size):
            volatility = None
    return spot, volatility


def _rate(moves: Sequence[tuple[float, float]]) -> float | None:
    """The standard deviation of the moves per √second, hardly changed by one spike among them."""
    rates = [
        abs(now - before) / math.sqrt(later - earlier)
        for (earlier, before), (later, now) in itertools.pairwise(moves)
        if later > earlier
    ]
    if len(rates) < LEAST_MOVES:
        return None
    return MEDIAN_TO_SIGMA * statistics.median(rates)


def _jump(size: float, sigma: float) -> Jump | None:
    return Jump(size, abs(size) / sigma) if sigma > 0 and abs(size) > SIGMAS * sigma else None
