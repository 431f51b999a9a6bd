"""The surface until the close: what is stored is drawn and told, and a replay has its own."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.page import market
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEVELS = [5950.0 + 4 * k for k in range(25)]


def projected(k: int) -> dict[str, Any]:
    """Short gamma below a flip that rises by ten points an hour, long above it; none at the end."""
    seconds = [0.0, 3600.0, 7200.0, 9000.0]
    flips = [5990.0 + k / 12 + s / 360 for s in seconds]
    return {
        "seconds": seconds,
        "levels": LEVELS,
        "gamma": [[1e8 * (x - flip) for x in LEVELS] for flip in flips],
        "charm": [[-1e6 * s * (x - 6000) for x in LEVELS] for s in seconds],
        "flip": [*flips[:3], None],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """Half a day with a projection each five minutes, served at 12:45."""
    records = market.day(TUESDAY, until=391)
    for k, record in enumerate(records):
        if k % 10 == 0:
            detail = dataclasses.replace(record.row.detail, projection=projected(k))
            record.row = dataclasses.replace(record.row, detail=detail)
    await site.put(records)
    await site.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    yield site
    await site.stop()


#: The colour of the surface's pixel at a part of its width and height.
PIXEL = """([across, down]) => {
  const canvas = document.getElementById('projection-plot'), ratio = canvas.width / canvas.clientWidth;
  const at = [(canvas.clientWidth - 62) * across, 6 + (canvas.clientHeight - 26) * down].map((n) => Math.round(n * ratio));
  return [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3); }"""


async def test_the_surface(stored: Site, tabs: Callable[..., Any]) -> None:
    """The newest projection is asked for when it comes into sight, drawn and told in words."""
    tab = await tabs()
    await tab.open("bar=1m")
    assert not [url for url in tab.requested if "/projection/" in url]
    await tab.page.locator("#projection").scroll_into_view_if_needed()
    # By the sample of 12:45:00, k = 390: 5,990 + 32.5, and 20 points more in two hours.
    await tab.shows("#projection-of", "by the sample of 12:45:00")
    row = (await stored.bars(bar="30s"))[-1]
    says = f"The flip is 6,022.50 now; if spot stays near {row['spot']:,.2f}, it is at 6,042.50 by 14:45."
    assert await tab.text("#projection-way") == says
    items = await tab.page.locator("#projection-flips li").all_inner_texts()
    assert [item.split() for item in items] == [
        ["now", "6,022.50"], ["13:45", "6,032.50"], ["14:45", "6,042.50"], ["15:15", "no", "flip"],
    ]  # fmt: skip
    await tab.page.locator("#projection-flips li").nth(1).click()
    await tab.shows("#explain h2", "projection")
    await tab.shows("#explain", "At 13:45: the level nearest the price now")
    await tab.page.keyboard.press("Escape")
    # Below the flip dealers amplify, above it they dampen: orange and blue.
    red, _, blue = await tab.page.evaluate(PIXEL, [0.1, 0.9])
    assert red > blue
    red, _, blue = await tab.page.evaluate(PIXEL, [0.1, 0.02])
    assert blue > red
    # Clear of the bar of the replay, which lies over the foot of the window.
    await tab.page.locator("#projection-plot").evaluate(
        "(plot) => plot.scrollIntoView({block: 'center'})"
    )
    box = await tab.settled_box("#projection-plot")
    await tab.page.mouse.move(box["x"] + 3, box["y"] + box["height"] - 24)
    # −10⁸ · (6,022.5 − 5,950) $ at the lowest level.
    await tab.shows("#projection-cell", "12:45 at 5,950: −$7.25 bn per 1 %")
    await tab.page.locator("#projection-kind").select_option("charm")
    await tab.shows("#projection-high", "dealers buy")
    # Nothing has passed at the left edge.
    assert await tab.page.evaluate(PIXEL, [0.02, 0.9]) != await tab.page.evaluate(PIXEL, [0.8, 0.9])


async def test_a_replay_has_its_own(stored: Site, tabs: Callable[..., Any]) -> None:
    """A moment has the projection that was the newest then."""
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.page.locator("#projection").scroll_into_view_if_needed()
    await tab.shows("#projection-of", "12:45:00")
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 126).timestamp())))
    await tab.shows("#projection-of", "by the sample of 10:30:00")
    # 5,990 + 120/12.
    await tab.shows("#projection-way", "The flip is 6,000.00 at 10:30")


async def test_a_session_without(stored: Site, tabs: Callable[..., Any]) -> None:
    """Rows of an earlier release have none, and the page says so."""
    monday = TUESDAY - timedelta(days=1)
    await stored.put(market.day(monday, until=60))
    tab = await tabs()
    await tab.open(f"bar=1m&day={monday}")
    await tab.page.locator("#projection").scroll_into_view_if_needed()
    await tab.shows("#projection-none", "has a projection")
    assert await tab.page.locator("#projection-body").is_hidden()
