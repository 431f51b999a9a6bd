"""Watchlist, several charts, wide and narrow screens; the layout is kept in browser and link."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh, settled

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

BASES = {"SPX": 6000, "SPY": 600, "QQQ": 500, "NDX": 21000}
CARDS = "[...document.querySelectorAll('#watch-list .card')].map((card) => card.dataset.symbol)"
CHARTS = "[...document.querySelectorAll('.other select')].map((picker) => picker.value)"


async def stored(site: Site, until: int = 120) -> None:
    """Four symbols of one session, each with prices of its own."""
    for symbol, base in BASES.items():
        await site.put(market.day(TUESDAY, until=until, symbol=symbol, base=base))


async def test_watchlist(fresh: Site, tab: Tab) -> None:
    """Every symbol in the order of FLOW_SYMBOLS, with the API's figures; a click chooses it."""
    await stored(fresh)
    await fresh.start(slot_time(TUESDAY, 120), FLOW_SYMBOLS="SPX,SPY,QQQ")
    await tab.open("bar=30s")
    assert await tab.page.locator("#watch").is_hidden()
    await tab.page.locator("#open-watch").click()
    await tab.shows(".card[data-symbol=QQQ] .spot", re.compile(r"\d"))
    assert await tab.page.evaluate(CARDS) == ["SPX", "SPY", "QQQ", "NDX"]
    for symbol in BASES:
        bar = (await fresh.bars(symbol, bar="30s"))[-1]
        card = f".card[data-symbol={symbol}]"
        assert await tab.text(f"{card} .spot") == f"{bar['spot']:,.2f}"
        side = "Long" if bar["regime"] == "positive_gamma" else "Short"
        assert (await tab.text(f"{card} .verdict-of")).startswith(f"{side} gamma ")
        sigmas = (bar["call_wall"] - bar["spot"]) / bar["remaining_1sd"]
        written = f"{sigmas:+.1f}".replace("-", "−")
        assert f"Call {bar['call_wall']:,.0f} {written} σ" in await tab.text(f"{card} .levels")
        assert await tab.page.locator(f"{card} path").get_attribute("d")
    # The leaderboard is asked for when it is wanted.
    assert not [url for url in tab.requested if "leaderboard" in url]
    await tab.page.locator("#board").select_option("pin_risk")
    entries = (await fresh.get("/v1/flow/zero-dte/leaderboard", metric="pin_risk"))["entries"]
    await tab.shows("#board-list", f"1. {entries[0]['symbol']} {entries[0]['value']}")
    await tab.page.locator(".card[data-symbol=QQQ]").click()
    await settled(tab, (await fresh.bars("QQQ", bar="30s"))[-1])
    await tab.until("document.querySelector('.card.chosen').dataset.symbol === 'QQQ'")
    # A replay shows the samples of its moment.
    await tab.page.evaluate("location.hash += '&at=' + (Date.parse('2026-11-24T15:00:05Z') / 1000)")
    await tab.shows(".card[data-symbol=SPX] .when", "09:59:30")


async def test_four_charts_kept(fresh: Site, tab: Tab) -> None:
    """Charts of other symbols, chosen one by one; a link and the browser bring them back."""
    await stored(fresh)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30), FLOW_SYMBOLS="SPX,SPY,QQQ")
    await tab.open("bar=30s")
    await tab.page.locator("#panels summary").click()
    await tab.page.locator("#charts").select_option("4")
    await tab.shows(".other:nth-of-type(4) figcaption p", "gamma")
    assert await tab.page.evaluate(CHARTS) == ["SPY", "QQQ", "NDX"]
    await tab.page.locator("#other-0").select_option("NDX")
    await tab.until(f"({CHARTS}).join() === 'NDX,QQQ,SPY'")
    # Each chart has the levels of its own symbol.
    flip = (await fresh.bars("NDX", bar="30s", date=str(TUESDAY)))[-1]["gamma_flip"]
    await tab.shows(".other:has(#other-0) .tags li", f"{flip:,.2f}")
    address = await tab.page.evaluate("location.hash")
    assert "charts=4" in address
    assert "others=NDX%2CQQQ" in address
    # The browser keeps it where the address says nothing.
    await tab.page.goto("about:blank")
    await tab.open("bar=30s")
    await tab.until(f"({CHARTS}).join() === 'NDX,QQQ,SPY'")
    # The link goes first.
    await tab.page.goto("about:blank")
    await tab.open("charts=2&others=QQQ")
    await tab.until(f"({CHARTS}).join() === 'QQQ'")
    await tab.page.locator("#panels summary").click()
    await tab.page.locator("#charts").select_option("")
    await tab.until("document.querySelectorAll('.other').length === 0")
    await tab.page.goto("about:blank")
    await tab.open("bar=30s")
    assert await tab.page.evaluate("document.querySelectorAll('.other').length") == 0


async def test_window_from_the_open(fresh: Site, tab: Tab) -> None:
    """The axis begins at the open and ends a little after the newest bar, half an hour at least."""
    rows = market.day(TUESDAY, until=200)
    await fresh.put(rows[:20])
    await fresh.start(slot_time(TUESDAY, 199))
    await tab.open("bar=30s&window=auto")
    span = f"import('{fresh.url}/static/page.js').then((page) => page.$state.spanOf(null).join())"
    opened = slot_time(TUESDAY, 0).timestamp()
    await tab.until(f"{span}.then((text) => text === '{opened:.0f},{opened + 1800:.0f}')")
    await fresh.put(rows[180:])
    await settled(tab, (await fresh.bars(bar="30s"))[-1])
    # 199 slots of 30 s have passed, and 15 % are added: 6,865.5 s.
    await tab.until(f"{span}.then((text) => text === '{opened:.0f},{opened + 6865.5:.1f}')")


PLACES = """() => Object.fromEntries(["verdict", "tiles", "price:.panel.price", "flow:.panel.flow", "below:.below"]
  .map((name) => name.split(":")).map(([name, selector]) => {
    const { left, top, right, width } = document.querySelector(selector ?? `#${name}`).getBoundingClientRect();
    return [name, { left, top: top + scrollY, right, width }];
  }))"""


@pytest.mark.parametrize("width", [390, 1440, 2000, 3440])
async def test_columns_by_width(fresh: Site, tabs: Callable[..., Any], width: int) -> None:
    """A phone has the chart before the numbers, a wide screen columns; nothing is cut off."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs(viewport={"width": width, "height": 1000})
    await tab.open("bar=30s")
    await tab.shows("#verdict", "gamma")
    places = await tab.page.evaluate(PLACES)
    assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    verdict, tiles, price = places["verdict"], places["tiles"], places["price"]
    flow, below = places["flow"], places["below"]
    assert verdict["top"] < min(tiles["top"], price["top"])
    assert (price["top"] < tiles["top"]) == (width < 760)
    # In columns two panels stand side by side below the price, which has the whole width.
    assert (flow["width"] < 0.6 * price["width"]) == (width >= 1900)

    assert (below["left"] >= price["right"]) == (width >= 2400)


async def test_two_scales_share_their_zero(fresh: Site, tab: Tab) -> None:
    """Zero stands at one height on both axes of a panel, whatever their values: worked out by hand."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open()
    ranges = f"(ranges) => import('{fresh.url}/static/page.js').then((page) => page.$range.alignedAtZero(ranges))"
    # Half of the second one lies below its zero, nine tenths of the first one above: both get both.
    assert await tab.page.evaluate(ranges, [[-1, 9], [-30, 30]]) == [[-5, 9], [-30, 54]]
    # One all above, one all below: each has half.
    assert await tab.page.evaluate(ranges, [[2, 10], [-40, -30]]) == [[-10, 10], [-40, 40]]
    # Both above zero: they begin there.
    assert await tab.page.evaluate(ranges, [[0, 4], [1, 2]]) == [[0, 4], [0, 2]]
