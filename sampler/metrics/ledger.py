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
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
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
    rises: Sequence[Floats],
    counted: Floats,
    volume_squares: Floats,
    now: float,
    oldest: float,
) -> list[Floats]:
    """Keep the largest recent rises of each contract, and add up what it has traded.

    Parameters
    ----------
    added : what has traded in the slot. (2, n) [contracts]
    sign : its s. (2, n) [-1, 1]
    hedge, gamma : what it makes dealers hedge if all of it was bought. (2, n) [$, $ per 1 %]
    rises : five columns of the largest rise so far, the last of them its time, then five of the
        largest one after it, then five of the largest one before it. (2, n) each
    counted, volume_squares : Σ ΔV and Σ ΔV². (2, n) [contracts, contracts²]
    now : the quotes' time. [unix s]
    oldest : rises before this time are forgotten. [unix s]

    Returns
    -------
    list
        The columns of ``rises``, ``counted`` and ``volume_squares`` after the slot. New arrays,
        (2, n) each.
    """
    out = np.empty((34, added.shape[1]))
    columns = (added, sign, hedge, gamma, *rises, counted, volume_squares)
    _loops()[1](now, oldest, *map(np.ascontiguousarray, columns), out)
    return [out[i : i + 2] for i in range(0, 34, 2)]


class ContractsRead(NamedTuple):
    """Which contracts a frame brings, and which volumes can be read."""

    #: Volume of the day of listed contracts, 0 where it is not known. (2, n) [contracts]
    volume: Floats
    #: Listed contracts whose volume was known before and cannot be read now.
    unread: int
    #: Listed contracts whose volume has never been readable.
    unknown: int
    #: Contracts that an earlier slot listed and this one does not.
    missing: int
    #: Contracts whose reported volume is not their mark.
    held: int


def read_contracts(listed: Bools, before: Bools, reported: Floats, mark: Floats) -> ContractsRead:
    """Tell which contracts a frame brings, and which of their volumes can be read.

    Parameters
    ----------
    listed : contracts of this frame. (2, n)
    before : contracts that an earlier slot listed. (2, n)
    reported : volumes as they were sent, NaN where unreadable or not listed. (2, n) [contracts]
    mark : volumes that count, NaN where none was ever readable. (2, n) [contracts]

    Returns
    -------
    ContractsRead
        A new array (2, n), and counts of contracts.
    """
    volume, counts = np.empty(reported.shape), np.zeros(4)
    columns = (listed, before, reported, mark)
    _loops()[2](*map(np.ascontiguousarray, columns), volume, counts)
    unread, unknown, missing, held = counts.tolist()
    return ContractsRead(volume, int(unread), int(unknown), int(missing), int(held))


@load_once
def _loops() -> tuple[Callable[..., None], ...]:
    return (
        compiled(count_loop, LEVEL, *[READ_TABLE] * 3, READ_FLAGS, WRITE_TABLE, WRITE),
        compiled(rise_loop, *[LEVEL] * 2, *[READ_TABLE] * 21, WRITE_TABLE),
        compiled(contracts_loop, *[READ_FLAGS] * 2, *[READ_TABLE] * 2, WRITE_TABLE, WRITE),
    )


@scalar
def count_loop(
    now: float,
    reported: Floats,
    mark: Floats,
    read_at: Floats,
    left_out: Bools,
    out: Floats,
    counts: Floats,
) -> None:
    """Fill the first four fields of ``Counted``, two rows each, and the counts.

    Parameters
    ----------
    now, reported, mark, read_at, left_out : as ``count_volumes`` has them.
    out, counts : the fields (8, n), and three counts of contracts.
    """
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


@scalar
def rise_loop(
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
    later: Floats,
    later_sign: Floats,
    later_hedge: Floats,
    later_gamma: Floats,
    later_at: Floats,
    earlier: Floats,
    earlier_sign: Floats,
    earlier_hedge: Floats,
    earlier_gamma: Floats,
    earlier_at: Floats,
    counted: Floats,
    squares: Floats,
    out: Floats,
) -> None:
    """Fill the columns that ``remember_rises`` returns, two rows each.

    Parameters
    ----------
    now, oldest, added, sign, hedge, gamma, counted, squares : as there.
    rise, rise_sign, rise_hedge, rise_gamma, rise_at : the largest rise. (2, n) each
    later, later_sign, later_hedge, later_gamma, later_at : the largest one after it.
    earlier, earlier_sign, earlier_hedge, earlier_gamma, earlier_at : the largest one before it.
    out : the columns. (34, n)
    """
    for side in range(2):
        for k in range(added.shape[1]):
            volume = added[side, k]
            stays = not later_at[side, k] < oldest
            forgotten = rise_at[side, k] < oldest
            # The later rise takes the place of a largest one that is forgotten.
            if forgotten and stays:
                largest = later[side, k]
                out[2 + side, k], out[4 + side, k] = later_sign[side, k], later_hedge[side, k]
                out[6 + side, k], out[8 + side, k] = later_gamma[side, k], later_at[side, k]
            elif forgotten:
                largest = math.nan
                for row in range(0, 10, 2):
                    out[row + side, k] = math.nan
            else:
                largest = rise[side, k]
                out[2 + side, k], out[4 + side, k] = rise_sign[side, k], rise_hedge[side, k]
                out[6 + side, k], out[8 + side, k] = rise_gamma[side, k], rise_at[side, k]
            out[side, k] = largest
            second = math.nan
            for row in range(10, 20, 2):
                out[row + side, k] = math.nan
            if stays and not forgotten:
                second = later[side, k]
                out[10 + side, k], out[12 + side, k] = second, later_sign[side, k]
                out[14 + side, k], out[16 + side, k] = later_hedge[side, k], later_gamma[side, k]
                out[18 + side, k] = later_at[side, k]
            before = math.nan
            for row in range(20, 30, 2):
                out[row + side, k] = math.nan
            if not earlier_at[side, k] < oldest:
                before = earlier[side, k]
                out[20 + side, k], out[22 + side, k] = before, earlier_sign[side, k]
                out[24 + side, k], out[26 + side, k] = (
                    earlier_hedge[side, k],
                    earlier_gamma[side, k],
                )
                out[28 + side, k] = earlier_at[side, k]
            if volume > 0.0 and not volume < largest:
                # The largest one until now is before the new one.
                if not largest < before and not math.isnan(largest):
                    for row in range(0, 10, 2):
                        out[20 + row + side, k] = out[row + side, k]
                out[side, k], out[2 + side, k] = volume, sign[side, k]
                out[4 + side, k], out[6 + side, k] = hedge[side, k], gamma[side, k]
                out[8 + side, k] = now
                for row in range(10, 20, 2):
                    out[row + side, k] = math.nan
            elif volume > 0.0 and not volume < second:
                out[10 + side, k], out[12 + side, k] = volume, sign[side, k]
                out[14 + side, k], out[16 + side, k] = hedge[side, k], gamma[side, k]
                out[18 + side, k] = now
            out[30 + side, k] = counted[side, k] + volume
            out[32 + side, k] = squares[side, k] + volume * volume


@scalar
def contracts_loop(
    listed: Bools,
    before: Bools,
    reported: Floats,
    mark: Floats,
    volume: Floats,
    counts: Floats,
) -> None:
    """Fill the fields of ``ContractsRead``.

    Parameters
    ----------
    listed, before, reported, mark : as ``read_contracts`` has them.
    volume, counts : the column (2, n), and four counts of contracts.
    """
    for side in range(2):
        for k in range(reported.shape[1]):
            here, highest, sent = listed[side, k], mark[side, k], reported[side, k]
            readable, known = not math.isnan(sent), not math.isnan(highest)
            counts[0] += 1.0 if here and known and not readable else 0.0
            counts[1] += 1.0 if here and not known else 0.0
            counts[2] += 1.0 if before[side, k] and not here else 0.0
            counts[3] += 1.0 if readable != known or (known and sent != highest) else 0.0
            volume[side, k] = highest if here and known else 0.0
