"""Positions of a chain's books, their exposures and levels, in one compiled call.

What the loops calculate is at their own modules: ``exposure`` and ``levels``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_FLAGS,
    READ_TABLE,
    WRITE_TABLE,
    compiled,
    load_once,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class BookFigures(NamedTuple):
    """What follows from one dealer position."""

    #: Dealers' contracts of each strike, calls and puts together; positive: long. (n,)
    net: Floats
    exposures: BookExposures
    levels: StrikeLevels
    #: Contracts with open interest, or with a position.
    held: int


#: Numbers of a book: its sums, six of its levels, and the contracts that are held.
_ROW = SUMS + 7


def book_figures(
    open_interest: Floats,
    signed: Floats | None,
    listed: Bools,
    *,
    oi_confidence: float,
    scene: GreeksByMove,
    strike: Floats,
    near: tuple[int, int],
) -> tuple[list[BookFigures], Floats]:
    """Exposures and levels of the settled book, and of the live one where there is flow.

    Dealers are long the calls that customers hold, and short their puts. What customers bought is
    taken from that, by the part that opens positions. For 260 strikes both books take 27 µs.

    Parameters
    ----------
    open_interest : settled, held by customers, calls first. (2, n) [contracts]
    signed : contracts that customers bought, less those that they sold; None: no flow. (2, n)
    listed : a contract that is not listed has no open interest to be moved either. (2, n)
    oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]
    scene : what the books of the chain share, from ``greeks_by_move``.
    strike : ascending. (n,) [$]
    near : of ``strikes_for_concentration``.

    Returns
    -------
    list of BookFigures
        The settled book, then the live one.
    ndarray
        Their ``net``, a row each. (books, n) [contracts]
    """
    n, books = len(strike), 1 if signed is None else 2
    net, by_strike, values = np.empty((books, n)), np.empty((6 * books, n)), np.empty((books, _ROW))
    now = scene.now
    settled = np.ascontiguousarray(open_interest)
    _loops()[0](
        scene.spot,
        *near,
        oi_confidence,
        strike,
        settled,
        settled if signed is None else np.ascontiguousarray(signed),
        listed,
        now.call_delta,
        now.put_delta,
        now.gamma,
        now.vanna,
        scene.ahead,
        net,
        by_strike,
        values,
    )
    figures = [
        BookFigures(
            net[b],
            exposures_of(by_strike[6 * b : 6 * b + 6], row[:SUMS], scene.years),
            levels_of(row[SUMS:-1]),
            int(row[-1]),
        )
        for b, row in enumerate(values.tolist())
    ]
    return figures, net


@load_once
def _loops() -> tuple[Callable[..., None]]:
    tables = (READ_TABLE, READ_TABLE, READ_FLAGS)
    types = (*[LEVEL] * 4, READ, *tables, *[READ] * 4, READ_TABLE, *[WRITE_TABLE] * 3)
    return (compiled(_figures_loop, *types),)


def _figures_loop(
    spot: float,
    low: float,
    high: float,
    oi_confidence: float,
    strike: Floats,
    settled: Floats,
    signed: Floats,
    listed: Bools,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    vanna: Floats,
    ahead: Floats,
    net: Floats,
    by_strike: Floats,
    values: Floats,
) -> None:
    """Fill of each book the net position, and the rows of ``book_loop``.

    A row of ``values`` is the sums of ``book_loop``, the numbers of ``levels_loop``, and the count
    of contracts that are held.
    """
    shape = settled.shape
    position, open_interest = np.empty(shape), np.empty(shape)
    values[:] = 0.0
    for b in range(net.shape[0]):
        for side in range(2):
            for k in range(strike.size):
                contracts = settled[side, k]
                # Long calls, short puts.
                dealers = -contracts if side else contracts
                if b:
                    moved = oi_confidence * (signed[side, k] if listed[side, k] else 0.0)
                    dealers, contracts = dealers - moved, max(contracts + moved, 0.0)
                position[side, k], open_interest[side, k] = dealers, contracts
                if dealers != 0.0 or contracts != 0.0:
                    values[b, _ROW - 1] += 1.0
        for k in range(strike.size):
            net[b, k] = position[0, k] + position[1, k]
        rows = by_strike[6 * b : 6 * b + 6]
        book_loop(
            spot,
            position,
            open_interest,
            call_delta,
            put_delta,
            gamma,
            vanna,
            ahead,
            rows,
            values[b, :SUMS],
        )
        levels_loop(spot, low, high, strike, rows[:2], open_interest, values[b, SUMS : _ROW - 1])
