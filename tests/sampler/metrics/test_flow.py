"""Who started the trades: hand-worked cases of the aggressor sign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampler.metrics.flow import Quote, aggressor_sign, quote
from sampler.metrics.hedge import hedge_flow

NAN = float("nan")


def sign(
    *,
    last: float,
    added: float = 10.0,
    last_at: float = NAN,
    mid: tuple[float, float] = (2.0, 2.0),
    half: tuple[float, float] = (0.1, 0.1),
    seconds: float = 30.0,
    modelled: float = 2.0,
) -> float:
    """One contract; the quotes are at 0 s and at ``seconds``."""
    column = np.array
    return float(
        aggressor_sign(
            column([added]),
            column([last]),
            column([last_at]),
            before=Quote(column([mid[0]]), column([half[0]])),
            now=Quote(column([mid[1]]), column([half[1]])),
            before_at=0.0,
            now_at=seconds,
            tick=column([0.05]),
            modelled=column([modelled]),
        )[0]
    )


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # On the ask, the bid, the mid, half way, and through the ask.
        ({"last": 2.1}, 1.0),
        ({"last": 1.9}, -1.0),
        ({"last": 2.0}, 0.0),
        ({"last": 2.05}, 0.5),
        ({"last": 3.0}, 1.0),
        # The mid rose from 2 to 3. A print at 2.1 in the first second was a buy ...
        ({"last": 2.1, "mid": (2.0, 3.0), "last_at": 0.0}, 1.0),
        # ... in the last second a sale, and half way (mid 2.5) a sale too.
        ({"last": 2.1, "mid": (2.0, 3.0), "last_at": 30.0}, -1.0),
        ({"last": 2.5, "mid": (2.0, 3.0), "last_at": 15.0}, 0.0),
        # Unknown time: two contracts are one print, half way; 20 stand at 10/11.
        ({"last": 2.5, "mid": (2.0, 3.0), "added": 2.0}, 0.0),
        ({"last": 2.0 + 10 / 11, "mid": (2.0, 3.0), "added": 20.0}, 0.0),
        # A previous quote of 91 s ago says nothing about the way here.
        ({"last": 3.0, "mid": (2.0, 3.0), "last_at": 0.0, "seconds": 91.0}, 0.0),
        # Half-spreads of 0.1 and 0.3: the scale is 0.2.
        ({"last": 2.1, "half": (0.1, 0.3)}, 0.5),
        # A spread of a hundredth is judged by half a tick of 0.05.
        ({"last": 2.01, "half": (0.005, 0.005)}, 0.4),
        # Locked: the bare sign.
        ({"last": 2.01, "half": (0.0, 0.0)}, 1.0),
        ({"last": 2.0, "half": (0.0, 0.0)}, 0.0),
        # One quote missing: the other stands for both.
        ({"last": 2.1, "mid": (NAN, 2.0), "half": (NAN, 0.1)}, 1.0),
        ({"last": 1.9, "mid": (2.0, NAN), "half": (0.1, NAN)}, -1.0),
        ({"last": 2.1, "mid": (NAN, NAN), "half": (NAN, NAN)}, 0.0),
        # No print: the move beyond what the model says, if it is more than the half-spread.
        ({"last": 0.0, "modelled": 1.8}, 1.0),
        ({"last": NAN, "modelled": 2.2}, -1.0),
        ({"last": NAN, "modelled": 1.95}, 0.0),
        ({"last": NAN, "modelled": NAN}, 0.0),
        # Nothing traded.
        ({"last": 2.1, "added": 0.0}, 0.0),
    ],
)
def test_aggressor_sign(case, expected):
    """Worked by hand from the definition."""
    assert sign(**case) == pytest.approx(expected, abs=1e-12)


finite = st.floats(-1e6, 1e6)


@given(last=finite, low=finite, high=finite, half=st.floats(0, 1e3), added=st.floats(0, 1e9))
def test_the_sign_stays_within_one(last, low, high, half, added):
    """Whatever the quotes: −1 to 1, and 0 without volume."""
    value = sign(last=last, added=added, mid=(low, high), half=(half, half))
    assert -1 <= value <= 1
    assert added > 0 or value == 0


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        (1.9, 2.1, (2.0, 0.1)),
        # Without a bid there is still a middle; locked has no width.
        (0.0, 0.1, (0.05, 0.05)),
        (2.0, 2.0, (2.0, 0.0)),
        # None: no ask, crossed, below zero, unreadable.
        (0.0, 0.0, (NAN, NAN)),
        (2.1, 1.9, (NAN, NAN)),
        (-0.1, 0.1, (NAN, NAN)),
        (NAN, 2.1, (NAN, NAN)),
        (1.9, NAN, (NAN, NAN)),
    ],
)
def test_quote(bid, ask, expected):
    """Middle and half width of what is a quote; a crossed one has no width below zero."""
    quotes = quote(np.array([[bid], [bid]]), np.array([[ask], [ask]]))
    assert quotes.mid[:, 0] == pytest.approx([expected[0]] * 2, nan_ok=True)
    assert quotes.half[:, 0] == pytest.approx([expected[1]] * 2, nan_ok=True)


def test_hedge_by_hand():
    """Ten calls half bought, six puts sold, four puts of unknown side, at S = 50."""
    sums = hedge_flow(
        np.array([[10.0, 0.0], [6.0, 4.0]]),
        np.array([[0.5, 0.0], [-1.0, 0.0]]),
        call_delta=np.array([0.6, 0.3]),
        put_delta=np.array([-0.4, -0.7]),
        gamma=np.array([0.2, 0.1]),
        spot=50.0,
        so_far=(np.ones((2, 2)), np.full((2, 2), 7.0), np.zeros((2, 2))),
    )
    # 5 calls: 5·100·0.6·50; −6 puts: −6·100·(−0.4)·50: dealers buy for both.
    assert (sums.call, sums.put) == pytest.approx((15_000.0, 12_000.0))
    np.testing.assert_allclose(sums.signed, [[6, 1], [-5, 1]])
    np.testing.assert_allclose(sums.dollars, [[15_007, 7], [12_007, 7]])
    # Γ·M·S²·0.01 = 0.2·100·2500·0.01 = 500 a contract.
    np.testing.assert_allclose(sums.gamma_dollars, [[2_500, 0], [-3_000, 0]])
    assert (sums.traded, sums.classified) == (20.0, 16.0)
    assert sums.variance == pytest.approx(30_000**2 + 12_000**2 + 14_000**2)
