"""The flow of one ordinary slot, in which no volume fell: all loops over contracts in one call.

What the loops calculate is at their own modules: ``flow``, ``hedge`` and ``ledger``. All tables are
(2, n), calls first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.exposure import ONE_PERCENT
from sampler.metrics.flow import Quote, quote_loop, sign_loop, silent_loop
from sampler.metrics.hedge import HedgeSums, hedge_loop
from sampler.metrics.ledger import (
    ContractsRead,
    Counted,
    contracts_loop,
    count_loop,
    rise_loop,
)
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_FLAGS,
    READ_TABLE,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
)
from storage.market.constants import GRID_SECONDS, MULTIPLIER

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Rows of the loop's table: four columns of ``Counted``, three of ``HedgeSums``, 17 of
#: ``remember_rises``, the volume of ``ContractsRead`` and the signed volume; two rows each.
_HEDGED, _REMEMBERED, _VOLUME, _SIGNED, _ROWS = 8, 14, 48, 50, 52
#: Its sums: three counts of ``Counted``, five sums of ``HedgeSums``, four counts of
#: ``ContractsRead``, then how many contracts have a later and an earlier rise.
_SUMS = 14


class SlotFlow(NamedTuple):
    """What a slot's volumes mean, and what they make dealers hedge; moments are ages. [s]"""

    #: ``read_at`` is an age here.
    counted: Counted
    hedged: HedgeSums
    #: What ``remember_rises`` returns; the times of rises are ages.
    remembered: list[Floats]
    covered: ContractsRead
    #: The source's signed volume, of contracts that were counted; else the earlier one. [contracts]
    signed_volume: Floats
    #: Whether any contract remembers a rise after its largest one, and any a rise before it.
    later: bool
    earlier: bool


def flow_of_slot(
    ledger: Sequence[Floats],
    *,
    reported: Floats,
    sent: Floats,
    listed: tuple[Bools, Bools],
    last: Floats,
    last_at: Floats,
    bid_before: Floats,
    ask_before: Floats,
    quote: Quote,
    sigma_before: Floats,
    signed_volume: tuple[Floats, Floats],
    strike: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    spot: float,
    forward: float,
    years: float,
    before_at: float,
    now: float,
    interval: float,
    remembered_seconds: float,
    price_steps: tuple[float, float],
    coarser_from: float,
) -> SlotFlow | None:
    """Count, sign and hedge the volumes of a slot in which none fell.

    It gives the figures of the functions for the single steps, to the bit. For 260 strikes
    ``update_flow`` takes 119 µs with it, and 183 µs step by step: each call and each of NumPy's
    operations in between costs as much as a loop.

    Parameters
    ----------
    ledger : as the previous slot's evidence has it: volume, signed, dollars, gamma dollars,
        counted, Σ ΔV², 15 columns of rises as ``remember_rises`` has them, and when the volume was
        counted. Times are ages at ``before_at``. (2, n) each
    reported : volumes of today, NaN where unreadable. (2, n) [contracts]
    sent : the same as they were sent. (2, n) [contracts]
    listed : contracts of this frame, and those that an earlier slot listed. (2, n) each
    last, last_at : last trade. (2, n) [$, unix s]
    bid_before, ask_before : the previous slot's. (2, n) [$]
    quote : this slot's. (2, n) [$]
    sigma_before : volatility of the previous slot. (2, n) [decimal]
    signed_volume : the source's own, in the previous slot and now; NaN without. (2, n) [contracts]
    strike, call_delta, put_delta, gamma : of this slot. (n,)
    spot, forward : of this slot. [$]
    years : time to expiry. [years]
    before_at, now : times of both slots' quotes. [unix s]
    interval : between the two, without their rounding. [s]
    remembered_seconds : older rises are forgotten. [s]
    price_steps, coarser_from : a contract's fine and coarse price step, and the price from which
        the coarse one holds. [$]

    Returns
    -------
    SlotFlow or None
        None where a volume fell, or can be read for the first time: that is no ordinary slot.
    """
    n = len(strike)
    out, sums = np.empty((_ROWS, n)), np.zeros(_SUMS)
    tables = (
        *ledger,
        reported,
        sent,
        last,
        last_at,
        bid_before,
        ask_before,
        *quote,
        sigma_before,
        *signed_volume,
        *listed,
    )
    _loops()[0](
        spot,
        forward,
        years,
        before_at,
        now,
        interval,
        remembered_seconds,
        *price_steps,
        coarser_from,
        strike,
        call_delta,
        put_delta,
        gamma,
        *map(np.ascontiguousarray, tables),
        out,
        sums,
    )
    total = sums.tolist()
    if total[0] or total[1]:
        return None
    added, mark, read_at, elapsed, signed, dollars, gamma_dollars, *rest = out.reshape(-1, 2, n)
    call, put, traded, classified, variance = total[3:8]
    unread, unknown, missing, held = [int(count) for count in total[8:12]]
    return SlotFlow(
        Counted(added, mark, read_at, elapsed, fallen=0, first=0, unknown=int(total[2])),
        HedgeSums(signed, dollars, gamma_dollars, call, put, traded, classified, variance),
        remembered=rest[:17],
        covered=ContractsRead(rest[17], unread, unknown, missing, held),
        signed_volume=rest[18],
        later=total[12] > 0,
        earlier=total[13] > 0,
    )


@load_once
def _loops() -> tuple[Callable[..., None]]:
    types = (*[LEVEL] * 10, *[READ] * 4, *[READ_TABLE] * 33, *[READ_FLAGS] * 2, WRITE_TABLE, WRITE)
    return (compiled(_slot_loop, *types),)


def _slot_loop(
    spot: float,
    forward: float,
    years: float,
    before_at: float,
    now: float,
    interval: float,
    remembered_seconds: float,
    fine: float,
    coarse: float,
    coarser_from: float,
    strike: Floats,
    call_delta: Floats,
    put_delta: Floats,
    gamma: Floats,
    mark: Floats,
    signed: Floats,
    dollars: Floats,
    gamma_dollars: Floats,
    counted: Floats,
    squares: Floats,
    rise: Floats,
    rise_sign: Floats,
    rise_hedge: Floats,
    rise_gamma: Floats,
    rise_age: Floats,
    later: Floats,
    later_sign: Floats,
    later_hedge: Floats,
    later_gamma: Floats,
    later_age: Floats,
    earlier: Floats,
    earlier_sign: Floats,
    earlier_hedge: Floats,
    earlier_gamma: Floats,
    earlier_age: Floats,
    read_age: Floats,
    reported: Floats,
    sent: Floats,
    last: Floats,
    last_at: Floats,
    bid_before: Floats,
    ask_before: Floats,
    mid: Floats,
    half: Floats,
    sigma_before: Floats,
    signed_before: Floats,
    signed_now: Floats,
    listed: Bools,
    listed_before: Bools,
    out: Floats,
    sums: Floats,
) -> None:
    """Fill the table and the sums; only the counts where the slot is not an ordinary one."""
    shape = reported.shape
    count_loop(
        now,
        reported,
        mark,
        before_at - read_age,
        np.zeros(shape, np.bool_),
        out[:_HEDGED],
        sums[:3],
    )
    if sums[0] > 0.0 or sums[1] > 0.0:
        return
    added, marked, read_at, elapsed = out[:2], out[2:4], out[4:6], out[6:8]
    mid_before, half_before, modelled = np.empty(shape), np.empty(shape), np.empty(shape)
    tick, sign, hedge, hedge_gamma = (
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
    )
    quote_loop(bid_before, ask_before, mid_before, half_before)
    silent_loop(forward, years, strike, added, last, sigma_before, modelled)
    for side in range(2):
        for k in range(strike.size):
            # A contract without a price has the finer step.
            tick[side, k] = coarse if mid[side, k] >= coarser_from else fine
    sign_loop(
        before_at,
        now,
        added.ravel(),
        last.ravel(),
        last_at.ravel(),
        mid_before.ravel(),
        half_before.ravel(),
        mid.ravel(),
        half.ravel(),
        tick.ravel(),
        modelled.ravel(),
        sign.ravel(),
    )
    _weigh_signs(interval, added, elapsed, signed_before, signed_now, sign)
    hedge_loop(
        spot,
        added,
        sign,
        call_delta,
        put_delta,
        gamma,
        signed,
        dollars,
        gamma_dollars,
        out[_HEDGED:_REMEMBERED],
        sums[3:8],
    )
    for side in range(2):
        for k in range(strike.size):
            per_delta = added[side, k] * MULTIPLIER * spot
            hedge[side, k] = (put_delta[k] if side else call_delta[k]) * per_delta
            hedge_gamma[side, k] = gamma[k] * per_delta * spot * ONE_PERCENT
    rise_loop(
        now,
        now - remembered_seconds,
        added,
        sign,
        hedge,
        hedge_gamma,
        rise,
        rise_sign,
        rise_hedge,
        rise_gamma,
        before_at - rise_age,
        later,
        later_sign,
        later_hedge,
        later_gamma,
        before_at - later_age,
        earlier,
        earlier_sign,
        earlier_hedge,
        earlier_gamma,
        before_at - earlier_age,
        counted,
        squares,
        out[_REMEMBERED:_VOLUME],
    )
    contracts_loop(listed, listed_before, sent, marked, out[_VOLUME:_SIGNED], sums[8:12])
    for side in range(2):
        for k in range(strike.size):
            is_counted = read_at[side, k] == now
            out[_SIGNED + side, k] = signed_now[side, k] if is_counted else signed_before[side, k]
            for row in (4, _REMEMBERED + 8, _REMEMBERED + 18, _REMEMBERED + 28):
                out[row + side, k] = now - out[row + side, k]
            sums[12] += 0.0 if math.isnan(out[_REMEMBERED + 10 + side, k]) else 1.0
            sums[13] += 0.0 if math.isnan(out[_REMEMBERED + 20 + side, k]) else 1.0


@scalar
def _weigh_signs(
    interval: float,
    added: Floats,
    elapsed: Floats,
    signed_before: Floats,
    signed_now: Floats,
    sign: Floats,
) -> None:
    """Make the signs of last prints those that count: ``LastPrint`` and ``EachTrade`` in one."""
    between = max(np.rint(interval / GRID_SECONDS), 1.0)
    for side in range(2):
        for k in range(added.shape[1]):
            volume = added[side, k]
            slots = max(np.rint(elapsed[side, k] / GRID_SECONDS) - 1.0, between)
            bought = signed_now[side, k] - signed_before[side, k]
            if math.isnan(bought):
                sign[side, k] /= math.sqrt(slots)
            else:
                share = min(max(bought, -volume), volume)
                sign[side, k] = share / volume if volume > 0.0 else 0.0
