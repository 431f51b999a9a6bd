"""What a row tells of a whole chain by counting and adding up, in one compiled call.

NumPy takes a µs for each of its operations, and there would be twenty of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.black import Greeks
from sampler.metrics.liquidity import QuoteQuality, liquidity_loop, quality_of
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_FLAGS,
    READ_TABLE,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Numbers of the loop: eight of ``liquidity_loop``, and the eight after them in ``ChainSums``.
_QUALITY, _VALUES = 8, 16


class ChainSums(NamedTuple):
    """Counts and sums of a chain."""

    quality: QuoteQuality
    #: Quotes that give no volatility, by reason; reasons left out count 0.
    unused: dict[str, int]
    #: Index of the strike nearest the forward.
    money: int
    #: Open interest and volume of calls and of puts. [contracts]
    open_interest: tuple[float, float]
    volume: tuple[float, float]
    #: Listed contracts.
    contracts: int
    #: Strikes with a volatility of their own.
    strikes_with_iv: int
    #: Contracts that customers bought more of than they sold, or less.
    with_flow: int
    #: Σ V·Γ, calls less puts. [contracts·delta per $]
    volume_gamma: float
    #: Σ ΔV²·Γ² of listed contracts. [(contracts·delta per $)²]
    gamma_variance: float
    #: Σ |B|·|Δ|. [contracts]
    absolute_delta: float


def chain_sums(
    strike: Floats,
    listed: Bools,
    bid: Floats,
    ask: Floats,
    open_interest: Floats,
    volume: Floats,
    signed: Floats,
    volume_squares: Floats,
    own: Floats,
    greeks: Greeks,
    *,
    spot: float,
    forward: float,
) -> ChainSums:
    """Count and add up what a chain has.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    listed : whether the contract is listed, calls first. (2, n)
    bid, ask : calls first, NaN where unreadable. (2, n) [$]
    open_interest, volume : of the day, calls first. (2, n) [contracts]
    signed : B, contracts that customers bought, less those that they sold. (2, n)
    volume_squares : Σ ΔV² of each contract. (2, n) [contracts²]
    own : the strikes' own volatilities, NaN without one. (n,) [decimal]
    greeks : of each strike.
    spot, forward : of the chain. [$]

    Returns
    -------
    ChainSums
        Counts and sums; units are at its fields.
    """
    out, values = np.empty((5, len(strike))), np.zeros(_VALUES)
    tables = (listed, bid, ask, open_interest, volume, signed, volume_squares)
    _loops()[0](
        spot,
        forward,
        strike,
        *map(np.ascontiguousarray, tables),
        own,
        greeks.gamma,
        out,
        values,
    )
    figures = values.tolist()
    net, squares, gamma_squares, call_size, put_size = out
    money, contracts, strikes_with_iv, with_flow = map(int, figures[_QUALITY : _QUALITY + 4])
    quality, unused = quality_of(figures[:_QUALITY])
    return ChainSums(
        quality,
        unused,
        money,
        (figures[12], figures[13]),
        (figures[14], figures[15]),
        contracts,
        strikes_with_iv,
        with_flow,
        float(net @ greeks.gamma),
        float(squares @ gamma_squares),
        float(call_size @ greeks.call_delta - put_size @ greeks.put_delta),
    )


@load_once
def _loops() -> tuple[Callable[..., None]]:
    types = (*[LEVEL] * 2, READ, READ_FLAGS, *[READ_TABLE] * 6, *[READ] * 2, WRITE_TABLE, WRITE)
    return (compiled(_sums_loop, *types),)


def _sums_loop(
    spot: float,
    forward: float,
    strike: Floats,
    listed: Bools,
    bid: Floats,
    ask: Floats,
    open_interest: Floats,
    volume: Floats,
    signed: Floats,
    volume_squares: Floats,
    own: Floats,
    gamma: Floats,
    out: Floats,
    values: Floats,
) -> None:
    """Fill the columns whose products are summed, and the numbers, which begin at 0."""
    money = 0
    for k in range(strike.size):
        if abs(strike[k] - forward) < abs(strike[money] - forward):
            money = k
    liquidity_loop(spot, money, strike, listed, bid, ask, volume, own, values[:_QUALITY])
    values[8] = money
    for k in range(strike.size):
        out[0, k], out[1, k], out[2, k] = volume[0, k] - volume[1, k], 0.0, gamma[k] * gamma[k]
        values[10] += 1.0 if np.isfinite(own[k]) else 0.0
        for side in range(2):
            if listed[side, k]:
                values[9] += 1.0
                out[1, k] += volume_squares[side, k]
            values[11] += 1.0 if signed[side, k] != 0.0 else 0.0
            values[12 + side] += open_interest[side, k]
            values[14 + side] += volume[side, k]
            out[3 + side, k] = abs(signed[side, k])
