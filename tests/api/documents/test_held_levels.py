"""Levels with hysteresis: moves on paper, and the same levels whatever the bar size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from api.documents.held_levels import FlipHolder, LevelHolder
from storage.postgres.store import Store
from tests.api.rows import record, utc

OPEN = utc("13:30")
HELD = "/v1/flow/zero-dte/held-levels/SPX"


def held(samples: Sequence[tuple[int, float | None, dict[float, float]]]) -> list[float | None]:
    """The level after each sample: (slot, raw level, strike → size)."""
    holder = LevelHolder()
    return [holder.take(OPEN + timedelta(seconds=30 * k), raw, size) for k, raw, size in samples]


@pytest.mark.parametrize(
    ("samples", "levels"),
    [
        # The new one leads by 10.1 % from slot 1 on: it has held for two minutes at slot 5.
        (
            [(0, 100.0, {100.0: 10.0, 105.0: 9.0})]
            + [(k, 105.0, {100.0: 10.0, 105.0: 11.01}) for k in range(1, 7)],
            [100.0] * 5 + [105.0] * 2,
        ),
        # 10 % exactly is no lead, however long.
        ([(k, 105.0 if k else 100.0, {100.0: 10.0, 105.0: 11.0}) for k in range(9)], [100.0] * 9),
        # One sample in which it leads by less begins the two minutes anew.
        (
            [(0, 100.0, {100.0: 10.0, 105.0: 9.0})]
            + [(k, 105.0, {100.0: 10.0, 105.0: 10.5 if k == 4 else 12.0}) for k in range(1, 11)],
            [100.0] * 9 + [105.0] * 2,
        ),
        # Another rival begins them anew, and so does a hole of more than two minutes.
        (
            [(0, 100.0, {100.0: 10.0})]
            + [(k, 105.0, {100.0: 10.0, 105.0: 12.0}) for k in (1, 2, 3)]
            + [(k, 110.0, {100.0: 10.0, 110.0: 12.0}) for k in (4, 5, 10, 11, 12, 13, 14)],
            [100.0] * 10 + [110.0],
        ),
        # A strike that is not listed any more is left at once; no level is none.
        (
            [(0, 100.0, {100.0: 10.0}), (1, 105.0, {105.0: 1.0}), (2, None, {105.0: 0.0})],
            [100.0, 105.0, None],
        ),
        # A sample without figures by strike cannot be judged.
        ([(k, 105.0 if k else 100.0, {}) for k in range(7)], [100.0] * 7),
    ],
)
def test_a_level_on_paper(samples: Any, levels: Any) -> None:
    """A level moves after two minutes of a lead of more than 10 %, and not before."""
    assert held(samples) == levels


@pytest.mark.parametrize(
    ("samples", "flips"),
    [
        # It drifts by up to 30 of 6,000, half a percent, and is followed.
        ([(0, 6000.0, 6010.0), (1, 6029.0, 6010.0), (2, 6001.0, 6010.0)], [6000.0, 6029.0, 6001.0]),
        # Spot is 10 from the new one and 60 from the held one: it has led for two minutes at slot 5.
        (
            [(0, 6070.0, 6010.0)] + [(k, 6020.0 + k / 10, 6010.0) for k in range(1, 7)],
            [6070.0] * 5 + [6020.5, 6020.6],
        ),
        # 44 away against 40: nearer by exactly 10 % of its distance is no lead, however long.
        ([(k, 6050.0 if k else 5966.0, 6010.0) for k in range(9)], [5966.0] * 9),
        # 43.9 against 40 is none either; a flip that has come back is followed at once.
        (
            [(0, 5966.1, 6010.0)] + [(k, 6050.0, 6010.0) for k in range(1, 9)] + [(9, 5970.0, 6010.0)],
            [5966.1] * 9 + [5970.0],
        ),
        # The nearest crossing is farther than the held one was: that has gone, two minutes later
        # the new one counts; one sample with a third crossing begins the time anew.
        (
            [(0, 6000.0, 6010.0)]
            + [(k, 6200.0 if k == 3 else 6100.0, 6010.0) for k in range(1, 10)],
            [6000.0] * 8 + [6100.0] * 2,
        ),
        # More than two minutes without a sample begin it anew; no flip is none, and the next counts.
        (
            [(0, 6000.0, 6010.0)]
            + [(k, 6100.0, 6010.0) for k in (1, 2, 3, 8, 9, 10, 11)]
            + [(12, None, 6010.0), (13, 6100.0, 6010.0)],
            [6000.0] * 8 + [None, 6100.0],
        ),
    ],
)  # fmt: skip
def test_a_flip_on_paper(samples: Any, flips: Any) -> None:
    """The flip is followed as it drifts, and leaps after two minutes of a lead."""
    holder = FlipHolder()
    flips_held = [
        holder.take(OPEN + timedelta(seconds=30 * k), raw, spot) for k, raw, spot in samples
    ]
    assert flips_held == flips


async def test_the_bar_size_changes_nothing(store: Store, open_app: Callable[..., Any]) -> None:
    """Levels of 5 m bars, and of a late window, are those of the 30 s samples at their end."""
    records = []
    for k in range(60):
        slot = OPEN + timedelta(seconds=30 * k)
        lead = 12.0 if 10 <= k < 40 and k % 7 else 9.5
        # Spot is 602: the leap is 2 away, and the held flip 6.
        levels = {"gamma_flip": 600.0 if lead > 10 else 608.0, "spot": 602.0}
        wall = 605.0 if lead > 10 else 600.0
        sample = record(slot, symbol="SPX", call_wall=wall, magnet=600.0, **levels)
        sizes = np.array([10.0, lead])
        assert sample.profile is not None
        sample.profile = {name: np.zeros(2) for name in sample.profile} | {
            "strike": np.array([600.0, 605.0]), "call_gex": sizes, "put_gex": -sizes[::-1],
        }  # fmt: skip
        records.append(sample)
    await store.write(records)
    caller = await open_app(store, "14:00:05")
    fine = (await caller.get(HELD, params={"bar": "30s"})).json()
    assert (fine["lead_share"], fine["flip_leap_share"], fine["hold_seconds"]) == (0.1, 0.005, 120)
    by_slot = {bar["sampled_at"]: bar for bar in fine["bars"]}
    walls = [bar["call_wall"] for bar in fine["bars"]]
    # 12 leads 10 from slot 10 to 13 (90 s), then from 15 to 20: at slot 19 it has led for 120 s.
    assert walls[:20] == [600.0] * 19 + [605.0]
    # From slot 40 on the wall of each sample is 600, whose 10 is no 10 % above 9.5.
    assert walls[40:] == [605.0] * 20
    # The flip of each sample is back at 608, 6 away against 2: from slot 40 on 600 has gone.
    flips = [bar["gamma_flip"] for bar in fine["bars"]]
    assert flips[:20] == [608.0] * 19 + [600.0]
    assert flips[40:46] == [600.0] * 4 + [608.0] * 2
    coarse = (await caller.get(HELD, params={"bar": "5m", "minutes": 12})).json()
    assert len(coarse["bars"]) >= 2
    for bar in coarse["bars"]:
        same = by_slot[bar["sampled_at"]]
        assert bar == same | {"t": bar["t"]}
