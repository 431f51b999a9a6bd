"""Loops over the ledger of volumes, counted by hand."""

from __future__ import annotations

import math

import numpy as np
from numpy.testing import assert_array_equal

from sampler.metrics.ledger import count_volumes, read_contracts, remember_rises

NAN = math.nan


def pairs(calls: list[float], puts: list[float]) -> np.ndarray:
    return np.array([calls, puts], np.float64)


def test_volumes_are_counted_above_their_marks() -> None:
    """Risen, unchanged, fallen, unreadable, first readable, never readable, left out, fallen too."""
    reported = pairs([15, 10, 4, NAN], [7, NAN, 15, 4])
    mark = pairs([10, 10, 10, 10], [NAN, NAN, 10, 10])
    read_at = pairs([70, 40, 70, 70], [NAN, NAN, 70, 70])
    left_out = np.array([[False] * 4, [False, False, True, True]])
    after = count_volumes(reported, mark, read_at, left_out, now=100.0)
    assert_array_equal(after.added, pairs([5, 0, 0, 0], [0, 0, 0, 0]))
    assert_array_equal(after.mark, pairs([15, 10, 10, 10], [7, NAN, 10, 10]))
    assert_array_equal(after.read_at, pairs([100, 100, 70, 70], [100, NAN, 70, 70]))
    assert_array_equal(after.elapsed, pairs([30, 60, 30, 30], [0, 0, 30, 30]))
    assert (after.fallen, after.first, after.unknown) == (2, 1, 1)
    assert_array_equal(mark, pairs([10, 10, 10, 10], [NAN, NAN, 10, 10]))


def test_three_recent_rises_are_remembered() -> None:
    """A slot's trade replaces a remembered rise by its size and age; each line is one contract."""
    none = (NAN, NAN)
    contracts = [
        # rise at, later at, earlier at, added; the same after it
        # The largest so far: nothing came after it, and the largest until now before it.
        ((5, 60), (3, 70), none, 9, (9, 90), none, (5, 60)),
        ((5, 60), (3, 70), (4, 50), 5, (5, 90), none, (5, 60)),  # as large
        ((5, 60), (3, 70), (4, 50), 4, (5, 60), (4, 90), (4, 50)),  # the largest after it
        ((5, 60), (3, 70), (4, 50), 2, (5, 60), (3, 70), (4, 50)),  # too small
        ((5, 60), none, none, 1, (5, 60), (1, 90), none),  # the first after it
        ((5, 60), (3, 70), none, 0, (5, 60), (3, 70), none),  # nothing traded
        # What was left of the largest one is smaller than the one before it.
        ((2, 60), none, (4, 50), 3, (3, 90), none, (4, 50)),
        ((5, 10), (3, 70), none, 0, (3, 70), none, none),  # too old: the later takes its place
        ((5, 10), (3, 70), (4, 9), 2, (3, 70), (2, 90), none),  # what trades then comes after it
        ((5, 10), (3, 70), none, 4, (4, 90), none, (3, 70)),
        ((5, 10), (3, 15), (4, 9), 0, none, none, none),  # all too old
        ((5, 10), (3, 15), none, 1, (1, 90), none, none),
        ((5, 21), none, (4, 20), 4, (5, 21), (4, 90), (4, 20)),  # just young enough
        ((5, 21), none, (4, 19), 4, (5, 21), (4, 90), none),  # just too old
        (none, none, none, 1, (1, 90), none, none),  # nothing remembered
    ]

    def column(which: int, column_number: int) -> np.ndarray:
        values = [float(contract[which][column_number]) for contract in contracts]  # type: ignore[index]
        return np.array([values, values])

    sizes, moments = [column(k, 0) for k in (0, 1, 2)], [column(k, 1) for k in (0, 1, 2)]
    added = np.array([[float(contract[3]) for contract in contracts]] * 2)  # type: ignore[arg-type]
    after = remember_rises(
        added,
        np.full_like(added, -1.0),
        added * 10.0,
        added * 2.0,
        rises=[
            table
            for size, risen in zip(sizes, moments, strict=True)
            for table in (size, np.sign(size), size * 10.0, size * 2.0, risen)
        ],
        counted=np.full_like(added, 100.0),
        volume_squares=np.full_like(added, 1000.0),
        now=90.0,
        oldest=20.0,
    )
    for first, which in ((0, 4), (5, 5), (10, 6)):
        size, moment = column(which, 0), column(which, 1)
        assert_array_equal(after[first], size)
        # What was remembered was bought, what trades now is sold.
        sides = np.where(np.isnan(size), NAN, np.where(moment == 90.0, -1.0, 1.0))
        assert_array_equal(after[first + 1], sides)
        assert_array_equal(after[first + 2], size * 10.0)
        assert_array_equal(after[first + 3], size * 2.0)
        assert_array_equal(after[first + 4], moment)
    assert_array_equal(after[15], 100.0 + added)
    assert_array_equal(after[16], 1000.0 + added**2)


def test_what_a_frame_brings() -> None:
    """Unreadable, never readable, missing and held contracts are counted apart.

    Calls: readable; unreadable now; never readable; not listed any more. Puts: no trade yet;
    reported below its mark; not listed any more; listed for the first time.
    """
    listed = np.array([[True, True, True, False], [True, True, False, True]])
    before = np.array([[True, True, False, True], [False, True, True, False]])
    reported = pairs([8, NAN, NAN, NAN], [0, 3, NAN, 0])
    mark = pairs([8, 8, NAN, 8], [0, 5, NAN, 0])
    after = read_contracts(listed, before, reported, mark)
    assert_array_equal(after.volume, pairs([8, 8, 0, 0], [0, 5, 0, 0]))
    assert (after.unread, after.unknown, after.missing) == (1, 1, 2)
    # The second and the fourth call, and the second put.
    assert after.held == 3
