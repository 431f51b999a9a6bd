"""Loops over the ledger of volumes: what a slot adds to each contract's day volume.

``sampler.measure.volume`` says what the columns mean. All of them are (2, n), calls first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.special import (
    LEVEL,
    READ_FLAGS,
    READ_TABLE,
    WRITE,
    WRITE_FLAGS,
    WRITE_TABLE,
    compiled,
    load_once,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Counted(NamedTuple):
    """Reported volumes counted against their marks."""

    #: Volume above the mark; 0 where there is none or the contract is left out. [contracts]
    added: Floats
    #: The marks after it; a first readable volume is one. [contracts]
    mark: Floats
    #: When each contract was last counted. [unix s]
    read_at: Floats
    #: Seconds since it was counted before; 0 where it never was.
    elapsed: Floats
    #: Contracts that are reported below their mark.
    fallen: int
    #: Contracts whose volume is readable for the first time.
    first: int
    #: Contracts whose volume has never been readable.
    unknown: int


def count_volumes(
    reported: Floats, mark: Floats, read_at: Floats, left_out: Bools, *, now: float
) -> Counted:
    """Count reported volumes against their marks. A mark never falls here.

    Parameters
    ----------
    reported : cumulative volumes, NaN where unreadable or not listed. (2, n) [contracts]
    mark : the highest volume so far; NaN: none. (2, n) [contracts]
    read_at : when each contract was last counted; NaN: never. (2, n) [unix s]
    left_out : contracts whose mark stays. (2, n)
    now : the quotes' time. [unix s]

    Returns
    -------
    Counted
        New arrays (2, n), and counts of contracts.
    """
    n = reported.shape[1]
    out, counts = np.empty((8, n)), np.zeros(3)
    _loops()[0](now, *map(np.ascontiguousarray, (reported, mark, read_at)), left_out, out, counts)
    fallen, first, unknown = counts.tolist()
    return Counted(out[:2], out[2:4], out[4:6], out[6:], int(fallen), int(first), int(unknown))


def remember_rises(
    added: Floats,
    sign: Floats,
    hedge: Floats,
    gamma: Floats,
    *,
    rise: Sequence[Floats],
    counted: Floats,
    volume_squares: Floats,
    now: float,
    oldest: float,
) -> list[Floats]:
    """Keep the largest recent rise of each contract, and add up what it has traded.

    Parameters
    ----------
    added : what has traded in the slot. (2, n) [contracts]
    sign : its s. (2, n) [-1, 1]
    hedge, gamma : what it makes dealers hedge if all of it was bought. (2, n) [$, $ per 1 %]
    rise : five columns of the largest rise so far, the last of them its time. (2, n) each
    counted, volume_squares : Σ ΔV and Σ ΔV². (2, n) [contracts, contracts²]
    now : the quotes' time. [unix s]
    oldest : rises of before are forgotten. [unix s]

    Returns
    -------
    list
        The five columns of ``rise``, ``counted`` and ``volume_squares`` after the slot. New arrays,
        (2, n) each.
    """
    out = np.empty((14, added.shape[1]))
    columns = (added, sign, hedge, gamma, *rise, counted, volume_squares)
    _loops()[1](now, oldest, *map(np.ascontiguousarray, columns), out)
    return [out[i : i + 2] for i in range(0, 14, 2)]


class ContractsRead(NamedTuple):
    """Which contracts a frame brings, and which volumes can be read."""

    #: Listed contracts with open interest or volume, and those that an earlier slot had. (2, n)
    mattered: Bools
    #: Volume of the day of listed contracts, 0 where it is not known. (2, n) [contracts]
    volume: Floats
    #: Listed contracts whose volume was known before and cannot be read now.
    unread: int
    #: Listed contracts whose volume has never been readable.
    unknown: int
    #: Contracts that mattered in an earlier slot and are not listed now.
    missing: int
    #: Contracts whose reported volume is not their mark.
    held: int


def read_contracts(
    listed: Bools, before: Bools, reported: Floats, mark: Floats, open_interest: Floats
) -> ContractsRead:
    """Tell which contracts a frame brings, and which of their volumes can be read.

    Parameters
    ----------
    listed : contracts of this frame. (2, n)
    before : contracts that mattered in an earlier slot. (2, n)
    reported : volumes as they were sent, NaN where unreadable or not listed. (2, n) [contracts]
    mark : volumes that count, NaN where none was ever readable. (2, n) [contracts]
    open_interest : as it was sent, NaN where unreadable. (2, n) [contracts]

    Returns
    -------
    ContractsRead
        Two new arrays (2, n), and counts of contracts.
    """
    shape = reported.shape
    mattered, volume, counts = np.empty(shape, np.bool_), np.empty(shape), np.zeros(4)
    columns = (listed, before, reported, mark, open_interest)
    _loops()[2](*map(np.ascontiguousarray, columns), mattered, volume, counts)
    unread, unknown, missing, held = counts.tolist()
    return ContractsRead(mattered, volume, int(unread), int(unknown), int(missing), int(held))


@load_once
def _loops() -> tuple[Callable[..., None], ...]:
    return (
        compiled(_count_loop, LEVEL, *[READ_TABLE] * 3, READ_FLAGS, WRITE_TABLE, WRITE),
        compiled(_rise_loop, *[LEVEL] * 2, *[READ_TABLE] * 11, WRITE_TABLE),
        compiled(
            _contracts_loop, *[READ_FLAGS] * 2, *[READ_TABLE] * 3, WRITE_FLAGS, WRITE_TABLE, WRITE
        ),
    )


def _count_loop(
    now: float,
    reported: Floats,
    mark: Floats,
    read_at: Floats,
    left_out: Bools,
    out: Floats,
    counts: Floats,
) -> None:
    """Fill the first four fields of ``Counted``, two rows each, and the counts."""
    for side in range(2):
        for k in range(reported.shape[1]):
            volume, highest, read = reported[side, k], mark[side, k], read_at[side, k]
            out[6 + side, k] = 0.0 if math.isnan(read) else now - read
            added = 0.0
            if volume < highest:
                counts[0] += 1.0
            elif not math.isnan(volume):
                if math.isnan(highest):
                    counts[1] += 1.0
                    highest = volume
                if not left_out[side, k]:
                    added, highest, read = volume - highest, volume, now
            elif math.isnan(highest):
                counts[2] += 1.0
            out[side, k], out[2 + side, k], out[4 + side, k] = added, highest, read


def _rise_loop(
    now: float,
    oldest: float,
    added: Floats,
    sign: Floats,
    hedge: Floats,
    gamma: Floats,
    rise: Floats,
    rise_sign: Floats,
    rise_hedge: Floats,
    rise_gamma: Floats,
    rise_at: Floats,
    counted: Floats,
    squares: Floats,
    out: Floats,
) -> None:
    """Fill the seven columns that ``remember_rises`` returns, two rows each."""
    for side in range(2):
        for k in range(added.shape[1]):
            volume = added[side, k]
            forgotten = rise_at[side, k] < oldest
            if volume > 0.0 and (forgotten or not volume < rise[side, k]):
                out[side, k], out[2 + side, k] = volume, sign[side, k]
                out[4 + side, k], out[6 + side, k] = hedge[side, k], gamma[side, k]
                out[8 + side, k] = now
            elif forgotten:
                for row in range(0, 10, 2):
                    out[row + side, k] = math.nan
            else:
                out[side, k], out[2 + side, k] = rise[side, k], rise_sign[side, k]
                out[4 + side, k], out[6 + side, k] = rise_hedge[side, k], rise_gamma[side, k]
                out[8 + side, k] = rise_at[side, k]
            out[10 + side, k] = counted[side, k] + volume
            out[12 + side, k] = squares[side, k] + volume * volume


def _contracts_loop(
    listed: Bools,
    before: Bools,
    reported: Floats,
    mark: Floats,
    open_interest: Floats,
    mattered: Bools,
    volume: Floats,
    counts: Floats,
) -> None:
    """Fill the fields of ``ContractsRead``."""
    for side in range(2):
        for k in range(reported.shape[1]):
            here, highest, sent = listed[side, k], mark[side, k], reported[side, k]
            readable, known = not math.isnan(sent), not math.isnan(highest)
            counts[0] += 1.0 if here and known and not readable else 0.0
            counts[1] += 1.0 if here and not known else 0.0
            counts[2] += 1.0 if before[side, k] and not here else 0.0
            counts[3] += 1.0 if readable != known or (known and sent != highest) else 0.0
            matters = here and (open_interest[side, k] > 0.0 or highest > 0.0)
            mattered[side, k] = matters or before[side, k]
            volume[side, k] = highest if here and known else 0.0
