"""How sure the sign of live gamma is: numbers by hand, and coins that are thrown."""

from __future__ import annotations

import numpy as np
import pytest

from sampler.metrics.confidence import sign_confidence

GAMMA = np.array([0.002, 0.001])
#: A call of the first strike traded 30 and 40, a put of the second one 100: Σ ΔV²·Γ².
VARIANCE = 0.002**2 * 2_500.0 + 0.001**2 * 10_000.0
GIVEN = {"spot": 100.0, "oi_confidence": 0.5}


def test_by_hand():
    """κ·M·S²·0.01·√(0.002²·2,500 + 0.001²·10,000) = 0.5·100·10,000·0.01·√0.02 $."""
    figures = sign_confidence(1000.0, VARIANCE, accuracy=0.68, **GIVEN)
    assert figures.coin == pytest.approx(5_000 * 0.02**0.5)
    assert figures.measured == pytest.approx(5_000 * 0.02**0.5 * 0.8704**0.5)
    # 1000/659.697 standard deviations: N(1.515847) = 0.935222, from a table.
    assert figures.confidence == pytest.approx(0.935222, abs=2e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_edges(sign):
    """Without flow the sign is sure; without exposure there is none; a coin is at least a half."""
    sure = sign_confidence(sign, 0.0, accuracy=None, **GIVEN)
    assert sure == (0.0, None, 1.0)
    nothing = sign_confidence(0.0, VARIANCE, accuracy=None, **GIVEN)
    assert nothing.confidence is None
    small = sign_confidence(sign * 1e-9, VARIANCE, accuracy=None, **GIVEN)
    assert small.confidence == pytest.approx(0.5)


def test_thrown_coins():
    """The spread of net gamma over 20,000 throws of every trade's side is the figure."""
    dice = np.random.default_rng(3)
    trades = np.array([[30.0, 0.0], [40.0, 0.0], [0.0, 100.0]])
    sides = dice.choice([-1.0, 1.0], (20_000, *trades.shape))
    position = (sides * trades).sum(axis=1)
    gex = 0.5 * position @ GAMMA * 100 * 100.0**2 * 0.01
    coin = sign_confidence(1.0, VARIANCE, accuracy=None, **GIVEN).coin
    assert gex.std() == pytest.approx(coin, rel=0.02)
