"""Windows side by side: one stream for those that show the same, and never all connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh, settled

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def windows(tabs: Callable[..., Any], site: Site, count: int) -> list[Tab]:
    """Some windows of one browser."""
    first = await tabs()
    return [first, *[Tab(await first.page.context.new_page(), site) for _ in range(count - 1)]]


def streams(tab: Tab) -> int:
    """How many streams a window has opened."""
    return sum("/stream?" in url for url in tab.requested)


async def test_six_windows_share_a_stream(fresh: Site, tabs: Callable[..., Any]) -> None:
    """One window holds the stream of six, and another goes on without a hole when it closes."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 89))
    pages = await windows(tabs, fresh, 6)
    for page in pages:
        await page.open("bar=30s")
        await page.shows("#link", "Live")
    assert sum(streams(page) for page in pages) == 1
    before = [len(page.requested) for page in pages]
    await fresh.put([rows[60]])
    for page in pages:
        await settled(page, (await fresh.bars(bar="30s"))[-1])
    # The bar came by the stream: nobody has asked the series for it.
    for page, known in zip(pages, before, strict=True):
        assert not [url for url in page.requested[known:] if "since=" in url]
    # The leader goes, and a row lands before anybody has taken its place.
    leader = next(page for page in pages if streams(page))
    followers = [page for page in pages if page is not leader]
    await leader.page.close()
    await fresh.put(rows[61:64])
    newest = (await fresh.bars(bar="30s"))[-1]
    for page in followers:
        await settled(page, newest)
        await page.page.locator("#bars summary").click()
        await page.until("document.querySelectorAll('#rows tr').length === 12")
        shown = await page.page.locator("#rows td:first-child").all_inner_texts()
        assert shown[:4] == ["10:01:30", "10:01:00", "10:00:30", "10:00:00"]
        page.check()
    assert sum(streams(page) for page in followers) == 1
    pages[0].errors.clear()


async def test_windows_of_six_kinds_leave_connections(
    fresh: Site, tabs: Callable[..., Any]
) -> None:
    """Of windows that show six different things three have a stream and three poll; none stalls."""
    symbols = ["SPX", "SPY", "QQQ"]
    for k, symbol in enumerate(symbols):
        await fresh.put(market.day(TUESDAY, until=60, symbol=symbol, base=6000 - 500 * k))
    await fresh.start(slot_time(TUESDAY, 61))
    pages = await windows(tabs, fresh, 6)
    for k, page in enumerate(pages):
        await page.open(f"symbol={symbols[k % 3]}&bar={'30s' if k < 3 else '1m'}")
    for _ in range(200):
        states = sorted([await page.text("#link") for page in pages])
        if states == ["Live"] * 3 + ["Polling"] * 3:
            break
        await asyncio.sleep(0.05)
    assert states == ["Live"] * 3 + ["Polling"] * 3
    for k, symbol in enumerate(symbols):
        await fresh.put(
            [market.sample(slot_time(TUESDAY, 60), 60, symbol=symbol, base=6000 - 500 * k)]
        )
    for k, page in enumerate(pages):
        await settled(page, (await fresh.bars(symbols[k % 3], bar="30s"))[-1])
    # A window that closes leaves its connection to one that waits.
    live = [page for page in pages if await page.text("#link") == "Live"]
    await live[0].page.close()
    rest = [page for page in pages if page is not live[0]]
    for _ in range(200):
        states = sorted([await page.text("#link") for page in rest])
        if states == ["Live"] * 3 + ["Polling"] * 2:
            break
        await asyncio.sleep(0.05)
    assert states.count("Live") == 3
    for page in rest:
        page.check()


STILL = """
// A window whose script stands still holds its lock: it hears and says nothing any more.
BroadcastChannel.prototype.postMessage = () => {};
"""


async def test_a_leader_that_stands_still_is_replaced(
    fresh: Site, tabs: Callable[..., Any]
) -> None:
    """A window that holds the lead and answers nobody loses it to the one that asks."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 89))
    still, page = await windows(tabs, fresh, 2)
    await still.page.add_init_script(STILL)
    await still.open("bar=30s")
    await still.shows("#link", "Live")
    await page.open("bar=30s")
    await page.shows("#link", "Live", seconds=20)
    assert streams(page) == 1
    await fresh.put([rows[60]])
    await settled(page, (await fresh.bars(bar="30s"))[-1])
    page.check()
