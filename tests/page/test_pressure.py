"""The panel of pressure: columns, the gauge among stored sessions, and what a replay knows."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storage.market.calendar import sessions_between
from tests.page import market
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time
from tests.page.test_sessions import COLOURED

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The earlier days: flow rises by a million a slot on the first of them, by two on the second ...
EARLIER = [s.day for s in sessions_between(TUESDAY - timedelta(days=30), TUESDAY)][-13:-1]
COUNT = 120


def flowing(day: Any, per_slot: float, *, legs: float | None = None, missing: Any = ()) -> Any:
    """The first hour of a day, whose flow rises by so much a slot."""
    records = market.day(day, until=COUNT, missing=missing)
    for record in records:
        k = round((record.row.slot - slot_time(day, 0)).total_seconds()) // 30
        row = dataclasses.replace(
            record.row,
            hedge_flow_cumulative_all=per_slot * k,
            hedge_flow_se=3e8 if day == EARLIER[0] else 2e7,
            total_volume=1000 * k,
            classified_share=0.9 if k < 60 else 0.8,
            definitions="3",
        )
        detail = dataclasses.replace(row.detail, multi_leg_share=legs)
        record.row = dataclasses.replace(row, detail=detail)
    return records


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """Twelve earlier hours, and the Tuesday's, served at 10:30."""
    for n, day in enumerate(EARLIER):
        await site.put(flowing(day, 1e6 * (n + 1)))
    await site.put(flowing(TUESDAY, 9.5e6, legs=0.25, missing=range(60, 70)))
    await site.start(slot_time(TUESDAY, COUNT) + timedelta(seconds=10))
    yield site
    await site.stop()


async def test_the_gauge(stored: Site, tabs: Callable[..., Any]) -> None:
    """Flow and rate among the stored sessions by this time, how noisy, and what was signed."""
    tab = await tabs()
    await tab.open("bar=1m")
    # Nine of twelve sessions had less by this time, and a lower rate: 19 million a minute.
    await tab.shows("#gauge-flow", "Since the open: more bought than on 75 % of 12 stored sessions")
    text = await tab.text("#gauge-rate")
    assert text == "+$19.0 mm a minute: faster buying than on 75 % of 12 stored sessions"
    # 119 · 9.5 million over 20 million.
    shares = "56.5 times its coin-toss size · 80 % with known side · 25 % legs of spreads"
    assert await tab.text("#gauge-shares") == shares
    left = await tab.page.evaluate("document.querySelector('#meter-flow i').style.left")
    assert left == "75%"
    # It follows the crosshair of every panel, and comes back.
    newest = await tab.text("#gauge-of")
    await tab.page.keyboard.press("Shift+ArrowLeft")
    await tab.until(f"document.getElementById('gauge-of').textContent !== {newest!r}")
    moment = (await tab.text("#moment"))[:8]
    assert await tab.text("#gauge-of") == f"At {moment}, by this time of day"
    await tab.page.keyboard.press("Escape")
    await tab.until(f"document.getElementById('gauge-of').textContent === {newest!r}")
    assert await tab.text("#legend-pressure dd[data-field=flow_bar]") == "+$19.0 mm"


async def test_a_replay_knows_no_more(stored: Site, tabs: Callable[..., Any]) -> None:
    """Percentile, rate and shares are those of the moment."""
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows("#gauge-flow", "75 %")
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 12).timestamp())))
    await tab.shows("#gauge-rate", "no rate in the first ten minutes")
    assert await tab.text("#gauge-of") == "At 09:36:00, by this time of day"
    await tab.shows("#source", "90.0 % of volume with known side")
    await tab.page.locator("#leave").click()
    await tab.shows("#source", "80.0 % of volume with known side")


async def test_columns(stored: Site, tabs: Callable[..., Any]) -> None:
    """A column has a colour; one that has the flow of missing bars too is an outline."""
    tab = await tabs()
    await tab.open("bar=5m")
    await tab.shows("#gauge-flow", "75 %")
    hours = [slot_time(TUESDAY, k).timestamp() for k in (0, 780)]

    async def drawn(last: int) -> int:
        """Coloured pixels around a column, which stands at its last sample."""
        around = [slot_time(TUESDAY, k).timestamp() for k in (last - 5, last + 5)]
        return int(await tab.page.evaluate(COLOURED, ["pressure", *around, *hours]))

    assert await drawn(69) == 0
    # The bar after the hole has twice the flow, and less ink.
    assert 0 < await drawn(79) < await drawn(89)


async def test_too_few_sessions(stored: Site, tabs: Callable[..., Any]) -> None:
    """Below ten sessions the gauge says so, and its needle is gone."""
    tab = await tabs()
    await tab.open(f"bar=1m&day={EARLIER[4]}")
    await tab.shows(
        "#gauge-flow", "4 stored sessions compare, fewer than 10: that says nothing yet"
    )
    assert await tab.page.locator("#meter-flow i").is_hidden()
    assert "legs of spreads not known" in await tab.text("#gauge-shares")


#: How much of a column of the panel's plot has the band's ground: from its height at 09:57.
BANDED = """() => {
  const canvas = document.querySelector('#plot-flow canvas'), over = document.querySelector('#plot-flow .u-over');
  const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect(), ratio = canvas.width / box.width;
  const x = Math.round((inner.left - box.left + inner.width * 0.07) * ratio), top = (inner.top - box.top) * ratio;
  const column = canvas.getContext('2d').getImageData(x, top, 1, inner.height * ratio).data;
  let banded = 0;
  for (let k = 3; k < column.length; k += 4) if (column[k] > 20 && column[k] < 40) banded++;
  return banded / (column.length / 4); }"""


@pytest.mark.parametrize(("day", "low", "high"), [(0, 0.25, 0.75), (1, 0.005, 0.05)])
async def test_the_coin_toss_band(
    stored: Site, tabs: Callable[..., Any], day: int, low: float, high: float
) -> None:
    """It reaches one deviation to either side of zero: 300 million on one day, 20 on another."""
    tab = await tabs()
    await tab.open(f"bar=30s&day={EARLIER[day]}&panels=flow,pressure")
    await tab.shows("#gauge-flow", "says nothing yet" if day else "no stored session compares")
    share = await tab.page.evaluate(BANDED)
    assert low < share < high
