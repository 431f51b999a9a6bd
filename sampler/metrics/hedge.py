"""What dealers hedged for the trades between two samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import ONE_PERCENT
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_TABLE,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
)
from storage.market.constants import MULTIPLIER

Floats = NDArray[np.float64]


class HedgeSums(NamedTuple):
    """Signed volume and what dealers hedged for it, by contract (2, n), and sums."""

    #: B: contracts that customers bought, less those that they sold, so far.
    signed: Floats
    #: Hedge flow so far, Σ s·ΔV·M·Δ·S; positive: dealers buy. [$]
    dollars: Floats
    #: The same of gamma, Σ s·ΔV·Γ·M·S²·0.01. [$ per 1 %]
    gamma_dollars: Floats
    #: This interval's hedge flow of calls and of puts. [$]
    call: float
    put: float
    #: This interval's volume, and the part of it that got a sign. [contracts]
    traded: float
    classified: float
    #: Σ (ΔV·M·Δ·S)² of this interval. [$²]
    variance: float


def hedge_flow(
    added: Floats,
    sign: Floats,
    *,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    spot: float,
    so_far: tuple[Floats, Floats, Floats],
) -> HedgeSums:
    """What customers bought in an interval makes dealers hedge, at the interval's end.

    Parameters
    ----------
    added : volume of the interval, calls first. (2, n) [contracts]
    sign : s of that volume, calls first. (2, n) [−1 to 1]
    call_delta, put_delta : at the interval's end. (n,)
    gamma : at the interval's end. (n,) [delta per $]
    spot : price of the underlying at the interval's end. [$]
    so_far : ``signed``, ``dollars`` and ``gamma_dollars`` of ``HedgeSums`` before the interval.
        (2, n) each. [contracts, $, $ per 1 %]

    Returns
    -------
    HedgeSums
        The three columns with this interval, and this interval's sums.
    """
    out, sums = np.empty((6, gamma.size)), np.zeros(5)
    _loops()[0](
        spot,
        added,
        sign,
        call_delta,
        put_delta,
        gamma,
        *map(np.ascontiguousarray, so_far),
        out,
        sums,
    )
    return HedgeSums(out[0:2], out[2:4], out[4:6], *sums.tolist())


@load_once
def _loops() -> tuple[Callable[..., None]]:
    tables = [READ_TABLE] * 3
    return (compiled(hedge_loop, LEVEL, *tables[:2], *[READ] * 3, *tables, WRITE_TABLE, WRITE),)


@scalar
def hedge_loop(
    spot: float,
    added: Floats,
    sign: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    signed: Floats,
    dollars: Floats,
    gamma_dollars: Floats,
    out: Floats,
    sums: Floats,
) -> None:
    """Fill the first three fields of ``HedgeSums``, two rows each, and add up the others.

    Parameters
    ----------
    spot, added, sign, call_delta, put_delta, gamma : as ``hedge_flow`` has them.
    signed, dollars, gamma_dollars : the sums so far. (2, n) each
    out, sums : the columns (6, n), and five sums that begin at 0.
    """
    per_share = MULTIPLIER * spot
    for side in range(2):
        for k in range(gamma.size):
            delta = put_delta[k] if side else call_delta[k]
            volume = added[side, k]
            bought = sign[side, k] * volume
            hedged = bought * delta * per_share
            out[side, k] = signed[side, k] + bought
            out[2 + side, k] = dollars[side, k] + hedged
            out[4 + side, k] = (
                gamma_dollars[side, k] + bought * gamma[k] * per_share * spot * ONE_PERCENT
            )
            sums[side] += hedged
            sums[2] += volume
            if sign[side, k] != 0.0:
                sums[3] += volume
            sums[4] += (volume * delta * per_share) ** 2
