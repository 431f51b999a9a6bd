"""Levels as prices of futures and funds, by a basis that is given or sampled; exports in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.page import market
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """Half a day of SPX and of SPY, which has a tenth of its price; served at 12:45."""
    await site.put(market.day(TUESDAY, until=391))
    await site.put(market.day(TUESDAY, until=391, symbol="SPY", base=600.0))
    await site.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    yield site
    await site.stop()


TABLE = """[...document.querySelectorAll('#futures-table tr')].map((row) => [...row.children].map((cell) => cell.textContent))"""


async def test_a_given_basis(stored: Site, tabs: Callable[..., Any]) -> None:
    """The future's price now gives the basis, which is kept with its age; levels move by it."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    assert not [url for url in tab.requested if "/v1/levels/" in url]
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-age", "No basis of ES is known")
    await tab.shows("#futures-columns", "in SPY")
    spot = (await stored.bars(bar="30s"))[-1]["spot"]
    await tab.page.locator("#futures-price").fill(f"{spot + 38.25:.2f}")
    await tab.page.get_by_role("button", name="Use", exact=True).click()
    await tab.shows("#futures-age", "ES: +38.25 points, given")
    await tab.shows("#futures-columns", "in ES")
    head, *rows = await tab.page.evaluate(TABLE)
    assert head == ["Level", "SPX", "in ES", "in SPY", "SPY's own, in SPX"]
    table = {row[0]: row[1:] for row in rows}
    # 6,025 in the index and 38.25 points more in the future; steps of a quarter.
    assert table["Call wall"][:2] == ["6,025.00", "6,063.25"]
    assert table["Spot"][0] == f"{spot:,.2f}"
    other = (await stored.bars(symbol="SPY", bar="30s"))[-1]["spot"]
    ratio = other / spot
    assert table["Call wall"][2] == f"{6025 * ratio:,.2f}"
    # SPY's own call wall at 625, over the same ratio.
    assert float(table["Call wall"][3].replace(",", "")) == pytest.approx(625 / ratio, abs=0.006)
    assert "in SPY: times " in await tab.text("#futures-notes")
    # It is kept, and forgotten.
    await tab.page.reload()
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-age", "ES: +38.25 points, given")
    await tab.page.locator("#futures-forget").click()
    await tab.shows("#futures-age", "No basis of ES is known")


async def test_exports_in_the_future(stored: Site, tabs: Callable[..., Any]) -> None:
    """Text and script have the chosen instrument's prices, and say by which basis."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.page.locator("#futures-points").fill("40")
    await tab.page.get_by_role("button", name="Use", exact=True).click()
    await tab.shows("#futures-age", "ES: +40.00 points")
    await tab.page.keyboard.press("Escape")
    await tab.page.locator("#open-export").click()
    plain = "document.getElementById('export-plain').value"
    assert "Call wall" in await tab.page.evaluate(plain)
    await tab.page.locator("#export-in").select_option("ES")
    await tab.until(f"{plain}.includes('in ES prices (+40.00 points, given')")
    lines = (await tab.page.evaluate(plain)).splitlines()
    assert next(line for line in lines if line.startswith("Call wall")).split() == ["Call", "wall", "6,065.00"]  # fmt: skip
    pine = await tab.page.locator("#export-pine").input_value()
    assert 'hline(6065, "Call wall"' in pine
    await tab.page.locator("#export-in").select_option("SPX")
    await tab.until(f"!{plain}.includes('in ES prices') && {plain}.includes('6,025.00')")


async def test_an_earlier_moment(stored: Site, tabs: Callable[..., Any]) -> None:
    """A price of now is no basis beside an earlier moment's; points may still be given."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-columns", "in SPY")
    assert await tab.page.locator("#futures-price").is_enabled()
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 100).timestamp())))
    await tab.until("document.getElementById('futures-price').disabled")
    bars = await stored.bars(bar="30s")
    await tab.shows("#futures-rows", f"{bars[100]['spot']:,.2f}")
