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


def test_the_largest_recent_rise_is_remembered() -> None:
    """Larger, as large, smaller, nothing traded; the put's rises are too old but for the last."""
    added = pairs([9, 5, 4, 0], [1, 0, 1, 4])
    rise = [
        pairs([5, 5, 5, 5], [5, 5, NAN, 5]),
        pairs([-1] * 4, [-1, -1, NAN, -1]),
        pairs([50] * 4, [50, 50, NAN, 50]),
        pairs([6] * 4, [6, 6, NAN, 6]),
        pairs([60] * 4, [10, 10, NAN, 20]),
    ]
    after = remember_rises(
        added,
        np.ones((2, 4)),
        added * 10.0,
        added * 2.0,
        rise=rise,
        counted=np.full((2, 4), 100.0),
        volume_squares=np.full((2, 4), 1000.0),
        now=90.0,
        oldest=20.0,
    )
    assert_array_equal(after[0], pairs([9, 5, 5, 5], [1, NAN, 1, 5]))
    assert_array_equal(after[1], pairs([1, 1, -1, -1], [1, NAN, 1, -1]))
    assert_array_equal(after[2], pairs([90, 50, 50, 50], [10, NAN, 10, 50]))
    assert_array_equal(after[3], pairs([18, 10, 6, 6], [2, NAN, 2, 6]))
    assert_array_equal(after[4], pairs([90, 90, 60, 60], [90, NAN, 90, 20]))
    assert_array_equal(after[5], pairs([109, 105, 104, 100], [101, 100, 101, 104]))
    assert_array_equal(after[6], pairs([1081, 1025, 1016, 1000], [1001, 1000, 1001, 1016]))


def test_what_a_frame_brings() -> None:
    """Calls: whole, without a volume now, never with one, gone. Puts: idle, held, gone, newly so."""
    listed = np.array([[True, True, True, False], [True, True, False, True]])
    before = np.array([[True, True, False, True], [False, True, True, False]])
    reported = pairs([8, NAN, NAN, NAN], [0, 3, NAN, 0])
    mark = pairs([8, 8, NAN, 8], [0, 5, NAN, 0])
    interest = pairs([0, 1, NAN, 0], [0, 0, 0, 2])
    after = read_contracts(listed, before, reported, mark, interest)
    assert_array_equal(after.mattered, [[True, True, False, True], [False, True, True, True]])
    assert_array_equal(after.volume, pairs([8, 8, 0, 0], [0, 5, 0, 0]))
    assert (after.unread, after.unknown, after.missing) == (1, 1, 2)
    # The second and the fourth call, and the second put.
    assert after.held == 3
