"""Which strikes lie near spot: by hand, and beside a slow rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.market.strikes import (
    strikes_for_concentration,
    strikes_near_spot,
    strikes_on_each_side,
)

DENSE = np.arange(7000.0, 8000.0, 5.0)
#: Of a share at 181: its strikes are 2.50 apart, which is 1.4 % of it.
SINGLE = np.arange(150.0, 215.0, 2.5)


@pytest.mark.parametrize(
    ("strike", "spot", "reach", "first", "last"),
    [
        # Many strikes within the part of spot: the part decides, both ends included.
        (DENSE, 7500.0, 0.02, 7350.0, 7650.0),
        # 1 % of 181 holds 180 alone: five on each side do.
        (SINGLE, 181.0, 0.01, 170.0, 192.5),
        # A strike at spot is on neither side.
        (SINGLE, 180.0, 0.01, 167.5, 192.5),
        # Near an end of the list there are fewer.
        (SINGLE, 153.0, 0.01, 150.0, 165.0),
    ],
)
def test_by_hand(strike, spot, reach, first, last):
    """First and last strike that are near."""
    low, high = strikes_on_each_side(strike, spot, reach)
    assert (strike[low], strike[high - 1]) == (first, last)


@given(
    st.lists(st.integers(1, 400), unique=True, max_size=40).map(sorted),
    st.floats(0.5, 420),
    st.sampled_from([0.0, 0.01, 0.02, 0.5]),
)
def test_beside_a_slow_rule(strikes, spot, reach):
    """A strike is near if it is within the part, or one of the five next to spot on its side."""
    low, high = strikes_on_each_side(np.array(strikes, np.float64), spot, reach)
    below, above = [k for k in strikes if k < spot], [k for k in strikes if k > spot]
    near = {k for k in strikes if spot - reach * spot <= k <= spot + reach * spot}
    near |= {*below[-5:], *above[:5], *(k for k in strikes if k == spot)}
    assert strikes[low:high] == sorted(near)


def test_five_on_each_side_only_where_there_is_no_rest():
    """Of a share that lists 181 ± 1 % at one strike eleven count; of a fund that lists four, four."""
    low, high = strikes_for_concentration(SINGLE, 181.0, 0.01)
    assert (low, high) == strikes_on_each_side(SINGLE, 181.0, 0.01)
    fund = np.arange(200.0, 260.0, 1.0)
    low, high = strikes_for_concentration(fund, 221.5, 0.01)
    assert fund[low:high].tolist() == [220.0, 221.0, 222.0, 223.0]
    assert (low, high) == strikes_near_spot(fund, 221.5, 0.01)
