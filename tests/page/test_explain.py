"""A number opens its formula, its inputs, and what it is not."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import timedelta

import pytest

from storage.record.row import Reason
from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_number_explained(fresh: Site, tab: Tab) -> None:
    """Tile, clause and table open the explanation of their own sample; the definition is a page."""
    records = market.day(TUESDAY, until=60)
    last = records[-1]
    last.row = dataclasses.replace(
        last.row, net_gex=-3.1e9, call_gex=1.4e9, put_gex=-4.5e9, flags=("stale_spot",)
    )
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open("bar=30s")
    await tab.page.locator(".tile[data-field=net_gex]").click()
    await tab.shows("#explain .value", "−$3.10 bn")
    shown = await tab.text("#explain")
    for text in (
        "call_gex + put_gex",
        "= −$3.10 bn",
        "$1.40 bn",
        "−$4.50 bn",
        "sample of 09:59:30 ET",
        "no measured position",
    ):
        assert text in shown
    assert "stale spot: the source's spot contradicts parity" in shown
    assert "Do not rely on this figure" in shown
    # Escape closes the box and leaves the zoom alone.
    await tab.page.keyboard.press("Escape")
    await tab.until("document.getElementById('explain').hidden")
    # By keyboard, and back to where the reader was.
    await tab.page.locator(".tile[data-field=gamma_flip]").focus()
    await tab.page.keyboard.press("Enter")
    await tab.shows("#explain h2", "gamma flip")
    await tab.until("document.activeElement.id === 'explain'")
    await tab.page.keyboard.press("Escape")
    await tab.until("document.activeElement.dataset.field === 'gamma_flip'")
    # A clause leads to its panel and explains its figure.
    await tab.page.locator("[data-clause=sure]").click()
    await tab.shows("#explain h2", "regime confidence")
    await tab.page.locator("#explain button").click()
    # A cell of the table is of its own sample.
    await tab.page.locator("#bars summary").click()
    await tab.page.locator("#rows tr:nth-child(4) td[data-figure=spot]").click()
    await tab.shows("#explain .muted", "sample of 09:58:00 ET")
    assert await tab.text("#explain .value") == f"{records[56].row.spot:,.2f} $"
    # One strike's part, and a strike that is not listed.
    await tab.page.locator("#explain-figure").select_option("net_gex")
    await tab.page.locator("#explain-strike").fill("6000")
    await tab.page.locator("#explain-strike").press("Tab")
    await tab.shows("#explain h2", "at 6,000")
    await tab.page.locator("#explain-strike").fill("6001")
    await tab.page.locator("#explain-strike").press("Tab")
    await tab.shows("#explain-body", "the nearest is 6000")
    # The browser itself notes the refusal.
    assert ["400" in error for error in tab.errors] == [True]
    tab.errors.clear()
    assert await tab.page.locator("#explain-body a").count() == 0
    await tab.page.locator("#explain-strike").fill("")
    await tab.page.locator("#explain-strike").press("Tab")
    await tab.shows("#explain-body a", "Definition")
    address = await tab.page.locator("#explain-body a").get_attribute("href")
    await tab.page.goto(f"{fresh.url}/{address}")
    row = tab.page.locator("#figure-net_gex")
    assert await row.is_visible()
    assert await row.evaluate("(row) => row.matches(':target')")
    assert await tab.page.evaluate("document.fonts.size + document.images.length") == 0


async def test_numbers_of_lists(fresh: Site, tab: Tab) -> None:
    """Leaderboard, stored days, what followed, gaps and the flip's way open their own explanations."""
    await fresh.put(
        market.day(TUESDAY, until=60, missing={3}), market.gaps(TUESDAY, [3], Reason.LATE)
    )
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open("bar=30s&symbol=SPX&watch=1")
    await tab.page.locator("#board").select_option("pin_risk")
    await tab.page.locator("#board-list button").click()
    await tab.shows("#explain h2", "pin score")
    await tab.shows("#explain", "The ranking is by this: 24.")
    await tab.shows("#explain .muted", "sample of 09:59:30 ET")
    await tab.page.keyboard.press("Escape")
    await tab.page.locator("#history").scroll_into_view_if_needed()
    for selector, title, text in (
        ("#gap-count", "gaps", "never drawn across a gap"),
        ("#history .why", "a stored day", "range = (highest price − lowest price) / first price"),
        (
            "#history-like",
            "days like this one",
            "it forecasts nothing|it is what followed on those days",
        ),
    ):
        place = tab.page.locator(selector).first
        await place.scroll_into_view_if_needed()
        await place.focus()
        await tab.page.keyboard.press("Enter")
        await tab.shows("#explain h2", title)
        await tab.shows("#explain", re.compile(text.replace("(", "[(]").replace(")", "[)]")))
        await tab.page.keyboard.press("Escape")
        await tab.until("document.getElementById('explain').hidden")
    # A stored day's own numbers stand beside the formula; its opening sample is explained from there.
    await tab.page.locator("#history .why").click()
    first = (await fresh.bars(bar="30s"))[0]
    await tab.shows("#explain table", f"first price {first['spot']:,.2f}".split("price ")[1])
    await tab.page.locator("#explain-figure").select_option("atm_iv")
    await tab.shows("#explain .muted", "sample of 09:30:00 ET")


async def test_numbers_of_the_charts(fresh: Site, tab: Tab) -> None:
    """A cell, a strike's bar, a column, a label, the ladder and a card open their own explanation."""
    records = market.day(TUESDAY, until=60)
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open("bar=30s&symbol=SPX")
    await tab.shows("#heat-high", "dampens")
    await tab.shows(".tags li", "Call wall")
    box = await tab.settled_box("#plot-price .u-over")
    # Of 60 slots in a day of 780: the cell of a slot before the newest.
    x = box["x"] + box["width"] * 30 / 780
    await tab.page.mouse.move(x, box["y"] + box["height"] / 2)
    await tab.until("/^[0-9,]+: /.test(document.getElementById('heat-cell').textContent)")
    strike = (await tab.text("#heat-cell")).split(":")[0]
    moment = (await tab.text("#moment"))[:8]
    await tab.page.mouse.click(x, box["y"] + box["height"] / 2)
    await tab.shows("#explain h2", f"net GEX at {strike}")
    await tab.shows("#explain .muted", f"sample of {moment} ET")
    # A drag explains nothing.
    await tab.page.locator("#explain button").click()
    await tab.page.mouse.move(x, box["y"] + 60)
    await tab.page.mouse.down()
    await tab.page.mouse.move(x + 40, box["y"] + 60, steps=4)
    await tab.page.mouse.up()
    await tab.page.mouse.dblclick(x, box["y"] + 60)
    await asyncio.sleep(0.5)
    assert await tab.page.locator("#explain").is_hidden()
    # The profile's bar of the settled book is this morning's.
    await tab.page.mouse.move(5, 5)
    await tab.page.locator("#beside").select_option("settled")
    await tab.shows("#profile-of", "settled book")
    await tab.page.locator("#profile").click()
    await tab.shows("#explain h2", re.compile(r"settled (call|put) GEX at [0-9,]+"))
    await tab.shows("#explain", "calls and puts together")
    await tab.page.locator("#explain button").click()
    await tab.page.locator("#open-watch").click()
    await tab.shows(".card .verdict-of", "gamma")
    # By keyboard: each is reached, opened by Enter, closed by Escape, and has the focus again.
    last = "sample of 09:59:30 ET"
    for selector, title in (
        ("#plot-price", "net GEX at 6,0"),
        ("#plot-pressure", "hedge flow cumulative all"),
        (".tags li", " "),
        ("#legend-pressure dd[data-field=flow_rate]", "hedge flow cumulative all"),
        (".slot .why", "net GEX"),
    ):
        await tab.page.keyboard.press("Escape")
        await tab.until("document.getElementById('explain').hidden")
        await tab.page.locator(selector).first.focus()
        await tab.page.keyboard.press("Enter")
        await tab.shows("#explain h2", title)
        await tab.shows("#explain .muted", last)
        await tab.until("document.activeElement.id === 'explain'")
        await tab.page.keyboard.press("Escape")
        await tab.until(f"document.activeElement === document.querySelector({selector!r})")
    numbers = "[...document.querySelectorAll('[data-figure]')].filter((n) => n.tabIndex < 0).map((n) => n.id)"
    assert await tab.page.evaluate(numbers) == ["heat-cell"]
