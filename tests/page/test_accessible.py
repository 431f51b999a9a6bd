"""The page for everybody: axe's rules, numbers on canvases that can be read, narrow phones, no hue alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_colours import contrast
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.target.join(" ")).join(", ")}`)"""

#: For each panel and side the colours in the strip of the axis's numbers, as hexadecimal: the
#: background, and every other one. Letters are blurred at their edges: the inkiest pixel counts.
AXES = """() => [...document.querySelectorAll(".plot")].filter((plot) => plot.clientWidth).flatMap((plot) => {
  const canvas = plot.querySelector("canvas"), over = plot.querySelector(".u-over");
  const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  const hex = (data, k) => "#" + [0, 1, 2].map((c) => data[k + c].toString(16).padStart(2, "0")).join("");
  const strip = (side, left, width) => {
    if (width < 12) return [];
    const data = canvas.getContext("2d").getImageData(left * ratio, (inner.top - box.top) * ratio, width * ratio, inner.height * ratio).data;
    const inks = new Set();
    for (let k = 0; k < data.length; k += 4) if (data[k + 3] > 250) inks.add(hex(data, k));
    return [[`${plot.id} ${side}`, [...inks]]];
  };
  return [...strip("left", 0, inner.left - box.left - 2), ...strip("right", inner.right - box.left + 2, box.right - inner.right - 2)];
})"""


async def show(site: Site, tab: Tab, records: Any = None, view: str = "bar=30s") -> None:
    """The page of a full day after its close."""
    await site.put(market.day(TUESDAY) if records is None else records)
    await site.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open(view)
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_axe(fresh: Site, tabs: Callable[..., Any], scheme: str) -> None:
    """No rule of axe is broken on the page, with its dialogs and lists, in both themes."""
    tab = await tabs(color_scheme=scheme)
    await show(fresh, tab)
    await tab.shows("#heat-high", "dampens")
    await tab.page.evaluate(AXE)
    assert await tab.page.evaluate(RUN_AXE) == []
    for opener in ("#open-export", "#open-help", "#open-key"):
        await tab.page.locator(opener).click()
        assert await tab.page.evaluate(RUN_AXE) == [], opener
        await tab.page.keyboard.press("Escape")
    await tab.page.locator("#bars summary").click()
    await tab.page.locator("#panels summary").click()
    assert await tab.page.evaluate(RUN_AXE) == []
    await tab.page.locator(".tile[data-field=net_gex]").click()
    await tab.shows("#explain .value", re.compile(r"\d"))
    assert await tab.page.evaluate(RUN_AXE) == []
    await tab.page.goto(f"{fresh.url}/definitions")
    await tab.page.evaluate(AXE)
    assert await tab.page.evaluate(RUN_AXE) == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_numbers_of_the_axes_are_readable(
    fresh: Site, tabs: Callable[..., Any], scheme: str
) -> None:
    """Each axis has numbers of a colour that reaches 4.5 to 1 on the panel, as it is drawn."""
    # Twice as sharp as the screen: strokes of letters have whole pixels in their middle.
    tab = await tabs(color_scheme=scheme, device_scale_factor=3)
    await show(fresh, tab)
    await tab.shows("#heat-high", "dampens")
    panel = "#111928" if scheme == "dark" else "#ffffff"
    strips = [(name, inks) for name, inks in await tab.page.evaluate(AXES) if inks]
    sides = {name for name, _ in strips}
    assert {"plot-price left", "plot-flow left", "plot-exposure left", "plot-vol left"} <= sides
    assert {f"plot-{name} right" for name in ("price", "flow", "pin")} <= sides
    for name, inks in strips:
        assert max(contrast(ink, panel) for ink in inks) >= 4.5, name


async def test_short_gamma_is_hatched(fresh: Site, tab: Tab) -> None:
    """The ground of short gamma has lines, that of long gamma none: they differ without colours."""
    records = market.day(TUESDAY)
    for k, record in enumerate(records):
        regime = "negative_gamma" if k < 390 else "positive_gamma"
        record.row = dataclasses.replace(record.row, regime=regime)
    await show(fresh, tab, records)
    shades = """([from, to, open, close]) => {
      const canvas = document.querySelector("#plot-price canvas"), over = document.querySelector("#plot-price .u-over");
      const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect();
      const ratio = canvas.width / box.width, x = (t) => (inner.left - box.left + inner.width * (t - open) / (close - open)) * ratio;
      const data = canvas.getContext("2d").getImageData(x(from), (inner.bottom - box.top - 6) * ratio, x(to) - x(from), 1).data;
      const lights = new Set();
      for (let k = 0; k < data.length; k += 4) lights.add(Math.round((2 * data[k] + 5 * data[k + 1] + data[k + 2]) / 8 / 4));
      return lights.size; }"""
    span = [int(slot_time(TUESDAY, k).timestamp()) for k in (0, 780)]
    for first, hatched in ((65, True), (665, False)):
        ends = [int(slot_time(TUESDAY, k).timestamp()) for k in (first, first + 45)]
        assert (await tab.page.evaluate(shades, [*ends, *span]) > 1) == hatched


@pytest.mark.parametrize("width", [320, 390])
async def test_narrow_phones(fresh: Site, tabs: Callable[..., Any], width: int) -> None:
    """Nothing hangs over the edge, in a replay neither."""
    tab = await tabs(viewport={"width": width, "height": 700}, has_touch=True)
    await show(fresh, tab)
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 390).timestamp())))
    await tab.page.locator("#leave").wait_for(state="visible")
    over = await tab.page.evaluate(
        "[...document.querySelectorAll('body *')].filter((node) => !node.closest('.unseen, .scroll, .tells, dialog, .u-wrap')"
        " && node.getBoundingClientRect().width > 0 && node.getBoundingClientRect().right > innerWidth + 1)"
        ".map((node) => node.id || node.className)"
    )
    assert over == []
    assert await tab.page.evaluate("document.scrollingElement.scrollWidth") == width


async def test_outliers_do_not_flatten_axes(fresh: Site, tab: Tab) -> None:
    """Three samples of a thousandfold charm lie off the axis; the other ones use its height."""
    records = market.day(TUESDAY)
    for record in records[300:303]:
        record.row = dataclasses.replace(record.row, charm_dollars_per_hour=2e12)
    await show(fresh, tab, records)
    await tab.page.locator("#plot-vol").scroll_into_view_if_needed()
    over = await tab.settled_box("#plot-vol .u-over")
    await tab.page.mouse.move(over["x"] + over["width"] * 301 / 780, over["y"] + 40)
    await tab.shows("#legend-vol dd[data-field=charm_dollars_per_hour]", "+$2,000.00 bn")
    # The line's colour stands at many heights, not along one row.
    high = """() => { const canvas = document.querySelector("#plot-vol canvas");
      const { width, height } = canvas, data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
      const ink = getComputedStyle(document.documentElement).getPropertyValue("--up").trim();
      const [r, g, b] = [1, 3, 5].map((k) => parseInt(ink.slice(k, k + 2), 16));
      const rows = new Set();
      for (let k = 0; k < data.length; k += 4)
        if (Math.abs(data[k] - r) + Math.abs(data[k + 1] - g) + Math.abs(data[k + 2] - b) < 40) rows.add(Math.floor(k / 4 / width));
      return rows.size / height; }"""
    assert await tab.page.evaluate(high) > 0.5


async def test_axes_of_nothing_have_no_numbers(fresh: Site, tab: Tab) -> None:
    """A session without volatility has no percentages beside its empty panel."""
    records = market.day(TUESDAY, until=60)
    for record in records:
        none = {"atm_iv": None, "charm_dollars_per_hour": None, "remaining_1sd": None}
        record.row = dataclasses.replace(record.row, **none)
    await show(fresh, tab, records)
    strips = dict(await tab.page.evaluate(AXES))
    assert strips["plot-flow right"]
    assert strips["plot-vol right"] == []


async def test_legends_of_changes(fresh: Site, tab: Tab) -> None:
    """A change is said to have risen or fallen, never to be long or short."""
    await show(fresh, tab, view="bar=15m&metric=dex&mode=delta")
    await tab.shows("#heat-high", "risen in the bar")
    assert "fallen in the bar" in await tab.text("#heat-low")


async def test_lists_by_keyboard(fresh: Site, tab: Tab) -> None:
    """Lists that scroll can have the focus; the page has one heading of the first level."""
    await show(fresh, tab)
    assert await tab.page.locator("h1").all_inner_texts() == ["SPX, Tue, Nov 24"]
    for name in ("alert-list", "gap-list"):
        await tab.page.locator(f"#{name}").focus()
        assert await tab.page.evaluate("document.activeElement.id") == name
