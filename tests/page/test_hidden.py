"""Pages that are hidden keep no connection, and catch up once they are shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh, settled

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Headless pages are always in sight: this one is hidden, or shown, when the test says so.
TURNED = """
let hidden = false;
Object.defineProperty(document, "hidden", { get: () => hidden });
window.turn = (to) => { hidden = to; document.dispatchEvent(new Event("visibilitychange")); };
"""


async def test_a_hidden_page_catches_up(fresh: Site, tab: Tab) -> None:
    """While it is hidden it has no stream; what has landed meanwhile is there as soon as it is shown."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 89))
    await tab.page.add_init_script(TURNED)
    ended: list[str] = []
    tab.page.on("requestfailed", lambda request: ended.append(request.url))
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    # A short look at another page changes nothing.
    await tab.page.evaluate("turn(true), turn(false)")
    await asyncio.sleep(4)
    assert await tab.text("#link") == "Live"
    await tab.page.evaluate("turn(true)")
    await tab.shows("#link", "Resting while hidden")
    assert ["/stream?" in url for url in ended] == [True]
    before = len(tab.requested)
    await fresh.put([*rows[60:70], *rows[71:80]])
    await asyncio.sleep(2)
    assert await tab.tile("spot") == f"{rows[59].row.spot:,.2f}"
    await tab.until("document.title.endsWith(' at 09:59')")
    await tab.page.evaluate("turn(false)")
    await settled(tab, rows[79].row.as_json())
    await tab.shows("#link", "Live")
    assert not re.search(" at ", await tab.page.title())
    series = [url for url in tab.requested[before:] if "/series/" in url]
    assert len(series) <= 3
    assert all("since=" in url or "/stream?" in url for url in series)
    await tab.page.locator("#bars summary").click()
    await tab.shows("#rows td", re.compile(r"\d"))
    shown = await tab.page.locator("#rows td:first-child").all_inner_texts()
    assert shown[8:11] == ["10:05:30", "10:04:30", "10:04:00"]
    await tab.shows("#gap-list time", "10:05:00 to 10:05:30")


async def test_more_pages_than_connections(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Six hidden pages of one browser leave the seventh all that it needs."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    first = await tabs()
    pages = [first, *[Tab(await first.page.context.new_page(), fresh) for _ in range(6)]]
    for k, page in enumerate(pages):
        await page.page.add_init_script(TURNED)
        await page.open("bar=30s")
        await page.shows("#link", "Live")
        if k < 6:
            await page.page.evaluate("turn(true)")
            await page.shows("#link", "Resting while hidden")
        page.check()
    await fresh.put([market.sample(slot_time(TUESDAY, 60), 60)])
    await settled(pages[-1], (await fresh.bars(bar="30s"))[-1])
