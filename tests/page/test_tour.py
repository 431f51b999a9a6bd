"""The tour: each panel once, by keyboard, on a phone and a desktop, and only for who wants it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_accessible import AXE, RUN_AXE
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Headings of the panels and boxes, without what stands behind a name: counts, the sample's time.
HEADINGS = """() => [...document.querySelectorAll("figure.panel h2, .box > h2, details.box > summary")]
  .map((node) => node.firstChild.textContent.split(":")[0].trim())"""
#: What else has a step: the page's parts that have no heading of their own.
OTHERS = ["What you see", "Verdict", "Watchlist", "Headline figures", "Export", "Replay"]
#: Where the marked element and the card lie, and the size of the window.
PLACES = """() => {
  const box = (node) => { const { top, left, bottom, right } = node.getBoundingClientRect(); return { top, left, bottom, right }; };
  const target = document.querySelector(".toured");
  return { target: target && box(target), card: box(document.getElementById("tour")), width: innerWidth, height: innerHeight, wide: document.documentElement.scrollWidth }; }"""


async def open_day(site: Site, records: Any = None, **settings: Any) -> None:
    await site.put(market.day(TUESDAY, until=120) if records is None else records)
    await site.start(slot_time(TUESDAY, 120) + timedelta(seconds=10), **settings)


async def title(tab: Tab) -> str:
    return await tab.text("#tour-title")


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1440, 900, "dark"), (390, 844, "light"), (1440, 900, "light"), (390, 844, "dark")],
)
async def test_each_panel_once(
    fresh: Site, tabs: Callable[..., Any], width: int, height: int, scheme: str
) -> None:
    """Every heading of the page has one step; its panel is on the screen, and the card beside it."""
    tab = await tabs(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    await open_day(fresh)
    await tab.open("bar=30s")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.page.evaluate(AXE)
    await tab.page.locator("#tour-offer a").click()
    names, words = [], ""
    folder = os.environ.get("SCREENSHOTS")
    while True:
        names.append(await title(tab))
        text = await tab.text("#tour-words")
        words += f"{names[-1]} {text} "
        assert "Hidden now" not in text, names[-1]
        place = await tab.page.evaluate(PLACES)
        target, card = place["target"], place["card"]
        assert place["wide"] <= width
        assert 0 <= card["left"] < card["right"] <= width
        assert 0 <= card["top"] < card["bottom"] <= height
        assert target["bottom"] > 0, names[-1]
        # At least its heading and 60 pixels of it are free of the card, or all of it.
        low = min(target["bottom"], target["top"] + 60)
        free = (
            card["top"] >= low or card["left"] >= target["right"] or card["bottom"] <= target["top"]
        )
        assert target["top"] >= -1, names[-1]
        assert free, (names[-1], place)
        if folder:
            picture = f"tour-{width}-{scheme}-{len(names):02}.png"
            await tab.page.screenshot(path=Path(folder) / picture)
        if len(names) in (1, 5, 13):
            assert await tab.page.evaluate(RUN_AXE) == [], names[-1]
        if await tab.text("#tour-next") == "Finish":
            break
        await tab.page.keyboard.press("ArrowRight")
    headings = await tab.page.evaluate(HEADINGS)
    assert len(headings) == 14
    assert sorted(names) == sorted([*headings, *OTHERS])
    # Two minutes at 240 words a minute.
    assert 200 < len(words.split()) <= 480
    await tab.page.locator("#tour-next").click()
    assert not await tab.page.locator("#tour").is_visible()
    assert await tab.page.locator(".toured").count() == 0


async def test_by_keyboard_and_only_once(fresh: Site, tab: Tab) -> None:
    """It is offered and not begun; Esc ends it, and from then on only help and footer lead to it."""
    await open_day(fresh)
    await tab.open("bar=30s")
    page = tab.page
    assert not await page.locator("#tour").is_visible()
    await page.locator("#tour-offer a").focus()
    await page.keyboard.press("Enter")
    focused = "document.activeElement.id"
    assert await page.evaluate(focused) == "tour-next"
    address = page.url
    await page.keyboard.press("Enter")
    assert await title(tab) == "Verdict"
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    assert await title(tab) == "What you see"
    # The page's own keys rest: E would open the export, and space the replay.
    await page.keyboard.press("e")
    assert not await page.locator("#export").is_visible()
    await page.keyboard.press("Escape")
    assert not await page.locator("#tour").is_visible()
    assert await page.evaluate(focused) == "open-help"
    assert page.url == address
    await page.reload()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert not await page.locator("#tour-offer").is_visible()
    await page.locator("#open-help").click()
    await page.locator("#help a[href=tour]").click()
    assert await title(tab) == "What you see"
    assert not await page.locator("#help").is_visible()
    await page.locator("#tour-skip").click()
    await page.locator("footer a[href=tour]").click()
    assert await title(tab) == "What you see"


async def test_who_declines_is_not_asked_again(fresh: Site, tab: Tab) -> None:
    await open_day(fresh)
    await tab.open("bar=30s")
    await tab.page.locator("#tour-no").click()
    assert not await tab.page.locator("#tour-offer").is_visible()
    await tab.page.reload()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert not await tab.page.locator("#tour-offer").is_visible()


async def test_its_own_address(fresh: Site, tab: Tab) -> None:
    """/tour begins it on what is shown; the end leaves the page's address with the same view."""
    await open_day(fresh)
    await tab.page.goto(f"{fresh.url}/tour#symbol=SPX&bar=5m")
    await tab.shows("#tour-title", "What you see")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.page.keyboard.press("ArrowRight")
    await tab.page.keyboard.press("ArrowLeft")
    assert re.match(
        r"SPX on Tue, \w+ \d+, as this server sampled it from the feed",
        await tab.text("#tour-words"),
    )
    await tab.page.keyboard.press("Escape")
    assert re.fullmatch(rf"{fresh.url}/#.*bar=5m.*", tab.page.url)
    assert await tab.chosen("bar") == "5m"


async def test_simulated_is_said_first(fresh: Site, tab: Tab) -> None:
    records = market.day(TUESDAY, until=60)
    for record in records:
        record.row = dataclasses.replace(record.row, source="synthetic")
    await open_day(fresh, records)
    await tab.open("bar=30s")
    await tab.shows("#simulated", "Simulated market")
    await tab.page.locator("#tour-offer a").click()
    assert "every price here is made up" in await tab.text("#tour-words")


async def test_nothing_sampled_and_panels_hidden(fresh: Site, tab: Tab) -> None:
    """Where a panel is not shown, its step says so, and how to have it."""
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.page.goto(f"{fresh.url}/tour#panels=price")
    await tab.shows("#tour-words", "Nothing has been sampled yet")
    texts = {}
    for _ in range(7):
        await tab.page.keyboard.press("ArrowRight")
        texts[await title(tab)] = await tab.text("#tour-words")
    assert texts["Verdict"].endswith("Shown once there is a sample.")
    assert texts["Pressure"].endswith("Hidden now: choose it under Panels.")
    assert "Hidden" not in texts["Price"]


@pytest.mark.parametrize(("motion", "behaviour"), [("reduce", "auto"), ("no-preference", "smooth")])
async def test_motion_as_the_system_asks(
    fresh: Site, tabs: Callable[..., Any], motion: str, behaviour: str
) -> None:
    tab = await tabs(reduced_motion=motion)
    await tab.page.add_init_script(
        "Element.prototype.scrollIntoView = function (how) { globalThis.moved = how.behavior; };"
    )
    await open_day(fresh)
    await tab.open("bar=30s")
    await tab.page.locator("#tour-offer a").click()
    await tab.page.keyboard.press("ArrowRight")
    assert await tab.page.evaluate("globalThis.moved") == behaviour
