"""The live book on the way to the close, every few minutes: which levels and which times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.measure.market import MarketState
from sampler.metrics.exposure import GreeksByMove
from sampler.metrics.flip import has_coverage
from sampler.metrics.projection import project_book
from storage.market.constants import YEAR_SECONDS

Floats = NDArray[np.float64]

#: The first sample of each five minutes has a projection. [s]
EVERY = 300
#: Levels, from spot. [standard deviations of what is left]
LEVELS = np.linspace(-3.0, 3.0, 25)
#: The last time is so long before the last trade. [s]
UNTIL = 300
#: Steps of the grid of times, by the time that is left at least. [s]
_STEPS = ((10_800, 1800), (3600, 900), (0, 300))
#: Digits of the surfaces: they are drawn.
_DIGITS = 6


def projection_due(slot: datetime, differenced_from: datetime | None) -> bool:
    """Say whether a slot has a projection: the first sample of each five minutes has one.

    Parameters
    ----------
    slot : the slot.
    differenced_from : the slot before it; None on a baseline.

    Returns
    -------
    bool
        True if the slot before it is in another five minutes.
    """
    if differenced_from is None:
        return True
    return slot.timestamp() // EVERY != differenced_from.timestamp() // EVERY


def projection_times(quoted_at: datetime, seconds_left: float) -> list[float]:
    """Return the times that a projection has, from now on.

    Now; then every half an hour of the clock, every quarter where three hours or less are left, and
    every five minutes of the last hour; until five minutes before the last trade.

    Parameters
    ----------
    quoted_at : the quotes' time, UTC.
    seconds_left : until the last trade. [s]

    Returns
    -------
    list of float
        Seconds from the quotes' time, ascending; the first is 0. Empty in the last five minutes.
    """
    end = seconds_left - UNTIL
    if end <= 0:
        return []
    step = next(step for least, step in _STEPS if seconds_left > least)
    begun = quoted_at.timestamp()
    first = (begun // step + 1) * step - begun
    times = [0.0, *(float(t) for t in np.arange(first, end, step))]
    return [*times, end] if end - times[-1] > 1 else [*times[:-1], end]


def measure_projection(
    chain: Chain, market: MarketState, scene: GreeksByMove, net: Floats
) -> dict[str, Any] | None:
    """Project a book from now until five minutes before the last trade.

    Parameters
    ----------
    chain, market, scene : of the slot.
    net : dealers' contracts of each strike, calls and puts together, positive long. (n,)

    Returns
    -------
    dict or None
        ``seconds`` from the quotes' time (t,), ``levels`` of spot [$] (m,), ``gamma`` [$ per 1 %]
        and ``charm`` [$] by time and level, and ``flip`` [$] (t,); None in the last five minutes.
    """
    years_left = chain.years * YEAR_SECONDS
    seconds = projection_times(chain.quoted_at, years_left)
    levels = market.spot + market.remaining * LEVELS
    if not seconds or not levels[0] > 0:
        return None
    left = chain.years - np.array(seconds) / YEAR_SECONDS
    shrunk = market.remaining * np.sqrt(left / chain.years)
    covered = [
        market.covered
        and has_coverage(chain.strike, market.smile.quoted, spot=market.spot, remaining=remaining)
        for remaining in shrunk.tolist()
    ]
    surface = project_book(
        net,
        scene,
        forward=market.forward.level,
        strike=chain.strike,
        sigma=market.smile.filled,
        levels=levels,
        left=left,
        covered=covered,
    )
    return {
        "seconds": [round(second, 3) for second in seconds],
        "levels": [float(f"{level:.12g}") for level in levels.tolist()],
        "gamma": _rounded(surface.gamma),
        "charm": _rounded(surface.charm),
        "flip": [None if flip is None else float(f"{flip:.12g}") for flip in surface.flips],
    }


def _rounded(surface: Floats) -> list[list[float]]:
    """Six digits of each value: whole numbers and powers of ten, so that they print as short."""
    with np.errstate(divide="ignore"):
        digits = _DIGITS - 1 - np.floor(np.log10(np.abs(surface)))
    # Dollars: what is below 1e-300 of one is nothing, and its power of ten would overflow.
    digits[~np.isfinite(digits) | (digits > 300.0)] = 0.0
    up, down = 10.0 ** np.maximum(digits, 0.0), 10.0 ** np.maximum(-digits, 0.0)
    rounded: list[list[float]] = (np.rint(surface * up / down) / up * down).tolist()
    return rounded
