"""A book's exposures and levels in one compiled call; see ``exposure`` and ``levels``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import (
    SUMS,
    BookExposures,
    GreeksByMove,
    book_loop,
    exposures_of,
)
from sampler.metrics.levels import StrikeLevels, levels_loop, levels_of
from sampler.metrics.special import LEVEL, READ, READ_TABLE, WRITE, WRITE_TABLE, compiled, load_once

Floats = NDArray[np.float64]


def book_figures(
    position: Floats,
    open_interest: Floats,
    scene: GreeksByMove,
    strike: Floats,
    near: tuple[int, int],
) -> tuple[BookExposures, StrikeLevels]:
    """Exposures of a dealer position, and its levels.

    It gives the figures of ``book_exposures`` and ``strike_levels``, to the bit. For 260 strikes
    it takes 16 µs, and the two of them 22 µs.

    Parameters
    ----------
    position : the dealers' contracts, calls first, positive long. (2, n)
    open_interest : held by customers, calls first. (2, n) [contracts]
    scene : what the books of the chain share, from ``greeks_by_move``.
    strike : ascending. (n,) [$]
    near : of ``strikes_for_concentration``.

    Returns
    -------
    tuple
        Exposures [$], and indices into ``strike``.
    """
    by_strike, values, now = np.empty((6, len(strike))), np.zeros(SUMS + 6), scene.now
    _loops()[0](
        scene.spot,
        *near,
        strike,
        np.ascontiguousarray(position),
        np.ascontiguousarray(open_interest),
        now.call_delta,
        now.put_delta,
        now.gamma,
        now.vanna,
        scene.ahead,
        by_strike,
        values,
    )
    figures = values.tolist()
    return exposures_of(by_strike, figures[:SUMS], scene.years), levels_of(figures[SUMS:])


@load_once
def _loops() -> tuple[Callable[..., None]]:
    types = (*[LEVEL] * 3, READ, *[READ_TABLE] * 2, *[READ] * 4, READ_TABLE, WRITE_TABLE, WRITE)
    return (compiled(_figures_loop, *types),)


def _figures_loop(
    spot: float,
    low: float,
    high: float,
    strike: Floats,
    position: Floats,
    open_interest: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    vanna: Floats,
    ahead: Floats,
    by_strike: Floats,
    values: Floats,
) -> None:
    """Fill the rows and sums of ``book_loop``, then the numbers of ``levels_loop``."""
    book_loop(
        spot,
        position,
        open_interest,
        call_delta,
        put_delta,
        gamma,
        vanna,
        ahead,
        by_strike,
        values[:SUMS],
    )
    levels_loop(spot, low, high, strike, by_strike[:2], open_interest, values[SUMS:])
