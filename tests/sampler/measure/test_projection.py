"""The book until the close: times on paper, and surfaces by the slow program on a real chain."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from sampler.measure.projection import LEVELS, projection_due, projection_times
from sampler.measure.snapshot import measure_slot
from tests import independent
from tests.chains import TEN_FOURTEEN, chain
from tests.independent import SHARES, YEAR, call_delta, gamma, net
from tests.sampler.measure.test_reference import both


def minutes(quoted: str, left: float) -> list[float]:
    moment = datetime.fromisoformat(f"2026-06-05T{quoted}+00:00")
    return [round(second / 60, 2) for second in projection_times(moment, left * 60)]


def test_times_of_a_morning() -> None:
    """13:31 UTC, 389 minutes left: each half an hour from 14:00 to 19:30, then 19:55."""
    assert minutes("13:31:00", 389) == [0, *range(29, 360, 30), 384]


def test_times_of_an_afternoon() -> None:
    """With three hours or less each quarter of an hour, in the last hour each five minutes."""
    assert minutes("17:10:00", 170) == [0, *range(5, 165, 15), 165]
    assert minutes("19:40:30", 19.5) == [0, 4.5, 9.5, 14.5]
    assert minutes("19:54:00", 6) == [0, 1]
    assert minutes("19:55:00", 5) == []


def test_a_time_beside_the_last_one_is_left_out() -> None:
    """Two times a second apart are one: the last one, five minutes before the last trade."""
    assert minutes("19:40:30", 19.51) == [0, 4.5, 9.5, 14.51]


@pytest.mark.parametrize(
    ("slot", "before", "due"),
    [("14:05:00", "14:04:30", True), ("14:05:30", "14:05:00", False), ("14:09:30", None, True),
     ("14:11:00", "14:03:00", True), ("14:09:30", "14:05:00", False)],
)  # fmt: skip
def test_the_first_sample_of_five_minutes(slot: str, before: str | None, due: bool) -> None:
    """Whatever its place in them, and on a baseline."""
    moments = [
        None if text is None else datetime.fromisoformat(f"2026-06-05T{text}").replace(tzinfo=UTC)
        for text in (slot, before)
    ]
    assert projection_due(moments[0], moments[1]) is due  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def projected() -> tuple[Any, Any, Any]:
    """A real chain's projection, the slow program's market of it, and its settled position."""
    answer, record = both("two_days")
    position = independent.settled_position(answer.market.sample)
    return record.row.detail.projection, answer.market, position


def total(position: Any, market: Any, figure: Any, x: float, years: float) -> float:
    """Σ q·figure with spot at x."""
    level = market.level * x / market.spot
    return math.fsum(
        net(position, k) * figure(level, x, k, years, sigma)
        for k, sigma in zip(market.strikes, market.sigma, strict=True)
        if net(position, k)
    )


def delta_at(level: float, x: float, k: float, years: float, sigma: float) -> float:
    return call_delta(level, k, years, sigma)


def gamma_at(level: float, x: float, k: float, years: float, sigma: float) -> float:
    return gamma(level, k, years, sigma, x)


def test_levels_and_now(projected: Any) -> None:
    """25 levels within three deviations; at once no charm, and the row's own flip."""
    surface, market, _ = projected
    expected = market.spot + market.remaining * np.arange(-12, 13) / 4
    np.testing.assert_allclose(surface["levels"], expected, rtol=1e-9)
    assert len(LEVELS) == 25
    assert set(surface["charm"][0]) == {0.0}
    _, record = both("two_days")
    assert surface["flip"][0] == record.row.gamma_flip
    shape = (len(surface["seconds"]), 25)
    assert np.shape(surface["gamma"]) == np.shape(surface["charm"]) == shape


@pytest.mark.parametrize("place", [0, 6, -1])
def test_surfaces(projected: Any, place: int) -> None:
    """Gamma is the mean over the cell, by quadrature of gammas; charm the difference of deltas."""
    surface, market, position = projected
    years = market.years - surface["seconds"][place] / YEAR
    levels = surface["levels"]
    width = levels[1] - levels[0]
    largest = [max(map(abs, surface[name][place])) or 1.0 for name in ("gamma", "charm")]
    for j in range(0, 25, 4):
        x = levels[j]
        steps = 60
        points = [x + width * (i / steps - 0.5) for i in range(steps + 1)]
        values = [total(position, market, gamma_at, p, years) for p in points]
        simpson = values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])
        mean = simpson / (3 * steps)
        expected = mean * SHARES * x * x * 0.01
        assert surface["gamma"][place][j] == pytest.approx(expected, abs=2e-5 * largest[0])
        before = total(position, market, delta_at, x, market.years)
        after = total(position, market, delta_at, x, years)
        expected = SHARES * x * (before - after)
        assert surface["charm"][place][j] == pytest.approx(expected, abs=2e-5 * largest[1])


def test_the_way_of_the_flip(projected: Any) -> None:
    """Later, too, repriced gamma changes its sign there, and nowhere between there and spot."""
    surface, market, position = projected
    for place in (3, 8, -1):
        years = market.years - surface["seconds"][place] / YEAR
        flip = surface["flip"][place]

        def g(x: float, years: float = years) -> float:
            return total(position, market, gamma_at, x, years)

        side = g(market.spot)
        ways = np.linspace(market.spot, flip, 60)[:-1]
        assert all(g(float(x)) * side > 0 for x in ways)
        beyond = flip + math.copysign(1e-6 * flip, flip - market.spot)
        assert g(beyond) * side < 0


def test_one_in_five_minutes() -> None:
    """The first sample of each five minutes has one, and none of the last five has."""
    previous, due = None, []
    for minute in (54, 55, 57, 59, 60, 61):
        quoted = TEN_FOURTEEN.replace(hour=19, minute=0) + timedelta(minutes=minute - 10)
        previous = measure_slot(chain(quoted_at=quoted), previous, oi_confidence=0.43)
        if previous.row.detail.projection is not None:
            due.append(previous.row.slot.minute)
    assert due == [44, 45, 50]
    late = chain(quoted_at=TEN_FOURTEEN.replace(hour=19, minute=55))
    assert measure_slot(late, None, oi_confidence=0.43).row.detail.projection is None
