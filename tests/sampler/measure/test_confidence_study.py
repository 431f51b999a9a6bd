"""The study behind ``regime_confidence``: its truth, its tenths, and a small run of it."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
from benchmarks.study_confidence import (
    Scored,
    coin_spreads,
    deciles,
    score,
)

from sampler.chain import Frame
from sampler.sources.synthetic.day import SyntheticDay

#: Frames of ten minutes: 39 a session.
COARSE = 20


def frame_with_sides(symbol: str, day: SyntheticDay, slot: int, moment: datetime) -> Frame:
    """What a source shows that has counted each trade's side."""
    sides = {"signed_volume": day.signed_volume(slot)}
    return Frame.of(
        symbol=symbol,
        source="synthetic",
        delay_seconds=0,
        quoted_at=moment,
        fetched_at=moment,
        spot=day.spot(slot),
        columns=day.columns(slot) | sides,
    )


@pytest.fixture(scope="module")
def small() -> Scored:
    """Four coarse sessions, of seeds that the study has none of."""
    return score([("SPX", 941), ("QQQ", 941), ("SPX", 942), ("QQQ", 942)], every=COARSE)


def test_who_is_told_each_side_is_never_wrong() -> None:
    """With the true sides in the feed the measured book is the true one, to rounding."""
    scored = score([("QQQ", 941)], every=COARSE, frames=frame_with_sides)
    assert len(scored.right) == 38
    assert scored.right.all()
    assert np.abs(scored.error).max() < 1e-9


def test_a_small_run(small: Scored) -> None:
    """Errors are of the size that the row states, and who is surer is right more often."""
    assert len(small.right) == 4 * 38
    assert set(small.session) == {0, 1, 2, 3}
    assert small.confidence.min() >= 0.5
    assert small.confidence.max() <= 1.0
    assert 0.3 < float(np.sqrt(np.square(small.error).mean())) < 2.0
    unsure, sure = deciles(small, 2)
    assert sure.right > unsure.right
    assert sure.low >= unsure.high


def test_the_confidence_is_the_probability_of_that_many_sigmas(small: Scored) -> None:
    """Φ of the distance that the study orders rows by, by the error function of the library."""
    expected = [0.5 * (1 + math.erf(z / math.sqrt(2))) for z in small.sigmas]
    assert small.confidence == pytest.approx(expected, abs=1e-9)
    # The coin's spread is the larger one, so it is never surer.
    assert (small.coin <= small.confidence + 1e-12).all()


def test_tenths_on_paper() -> None:
    """Four rows of two sessions in two parts; the error counts sessions, not rows."""
    scored = Scored(
        session=np.array([0, 0, 1, 1]),
        confidence=np.array([0.9, 0.6, 0.7, 0.8]),
        coin=np.array([0.8, 0.6, 0.6, 0.7]),
        sigmas=np.array([1.3, 0.3, 0.5, 0.8]),
        error=np.zeros(4),
        right=np.array([True, False, True, True]),
    )
    low, high = deciles(scored, 2)
    assert (low.rows, low.low, low.high, low.mean) == (2, 60.0, 70.0, pytest.approx(65.0))
    # One of two right, each of a session of its own: √(0.5² + 0.5²) / 2.
    assert (low.right, low.error) == (50.0, pytest.approx(100 * math.sqrt(0.5) / 2))
    assert (high.right, high.error) == (100.0, 0.0)
    (both,) = deciles(scored, 1)
    # Session 0 has one right of two, session 1 two of two, mean 3/4: off by −1/2 and +1/2.
    assert both.error == pytest.approx(100 * math.sqrt(0.5) / 4)


def test_the_coin_on_recorded_frames(shared) -> None:
    """An extra: one toss for the day is the most, one each slot of even volume the least."""
    spreads = list(coin_spreads())
    # Counted by their names: frames of SPX before the close.
    assert len(spreads) == 41
    for frame in spreads:
        assert frame.tossed_evenly < frame.tossed <= frame.tossed_once * (1 + 1e-12)
    first = next(frame for frame in spreads if frame.frame == "08-03 10:15")
    assert round(first.tossed_evenly / first.settled, 2) == 0.07
