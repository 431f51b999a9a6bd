"""The price over a heatmap, and the profile beside it: what stands where, and how it is moved."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from storage.record.row import Reason
from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import STRIKES, TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEATMAP = "/v1/flow/zero-dte/heatmap/SPX"
#: Slots without a sample: from the middle of one bar of 15 minutes to the middle of the next.
HOLE = range(315, 345)
#: The lightness of each pixel of the price's plot between two shares of its width and height.
LIGHT = """([left, right, top, bottom]) => {
  const canvas = document.querySelector('#plot-price canvas'), over = document.querySelector('#plot-price .u-over');
  const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect(), ratio = canvas.width / box.width;
  const x = (inner.left - box.left + left * inner.width) * ratio, y = (inner.top - box.top + top * inner.height) * ratio;
  const [wide, tall] = [Math.round((right - left) * inner.width * ratio), Math.round((bottom - top) * inner.height * ratio)];
  const data = canvas.getContext('2d').getImageData(x, y, wide, tall).data, lights = [];
  for (let k = 0; k < data.length; k += 4) lights.push(Math.round(0.2126 * data[k] + 0.7152 * data[k + 1] + 0.0722 * data[k + 2]));
  return lights; }"""


async def address(tab: Tab) -> Any:
    """The parts of the page's address, once it has stood still for half a second."""
    parts = "Object.fromEntries(new URLSearchParams(location.hash.slice(1)))"
    readings: list[Any] = []
    while len(readings) < 6 or any(each != readings[-1] for each in readings[-6:]):
        readings.append(await tab.page.evaluate(parts))
        await asyncio.sleep(0.1)
    return readings[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(site: Site) -> AsyncIterator[Site]:
    """A Tuesday with a hole, after its close; one strike in one slot has a thousand times the rest."""
    records = market.day(TUESDAY, missing=HOLE)
    for k, record in enumerate(records):
        slot = k if k < HOLE[0] else k + len(HOLE)
        record.profile |= {
            "call_volume": np.full(len(STRIKES), 10.0 * slot),
            "put_volume": np.arange(len(STRIKES), dtype=float),
            "settled_call_gex": np.full(len(STRIKES), 3e8),
        }
    outlier = records[100].profile["call_gex"].copy()
    outlier[20] = 9e12
    records[100].profile |= {"call_gex": outlier}
    await site.put(records, market.gaps(TUESDAY, HOLE, Reason.SOURCE_DOWN))
    await site.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    yield site
    await site.stop()


async def opened(tab: Tab, view: str) -> Any:
    """The page, and where the chart lies in it."""
    await tab.open(view)
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.until("document.getElementById('profile-of').textContent !== ''")
    await tab.page.locator("#plot-price").scroll_into_view_if_needed()
    return await tab.settled_box("#plot-price .u-over")


async def test_what_stands_beside_the_price(closed: Site, tab: Tab) -> None:
    """Each profile is the API's, at the crosshair's bar; the change counts from the first 30 s sample."""
    box = await opened(tab, "bar=15m&beside=settled")

    async def point(share: float) -> tuple[str, float]:
        await tab.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        # 0.6 of the session is 13:24; the bar that was sampled nearest is 13:15's, at 13:29:30.
        await tab.shows("#profile-of", "13:29:30")
        strike = await tab.text("#heat-cell")
        return await tab.text("#profile-of"), float(strike.split(":")[0].replace(",", ""))

    title, strike = await point(0.6)
    assert title == "GEX, settled book, 13:29:30"
    row = int(np.argmin(np.abs(STRIKES - strike)))
    label = """() => { const { fillText } = CanvasRenderingContext2D.prototype; window.written = [];
      CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        if (this.canvas.id === 'profile') window.written.push(text);
        return fillText.call(this, text, ...rest); }; }"""
    await tab.page.evaluate(label)

    async def written(beside: str, title: str, text: str) -> None:
        await tab.page.locator("#beside").select_option(beside)
        await tab.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2 + 1)
        await tab.shows("#profile-of", title)
        await tab.page.evaluate("window.written = []")
        await tab.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
        await tab.until(f"window.written.join(' ').includes('{text}')")

    await written("settled", "GEX, settled book, 13:29:30", "+$300.0 mm")
    # 13:29:30 is slot 479: ten calls a slot and strike, and as many puts as the strike's row.
    await written("volume", "Volume, 13:29:30", f"{10 * 479 + row:,}")
    answer = await closed.get(
        HEATMAP, metric="gex", mode="since_open", bar="15m", date=TUESDAY, minutes=390
    )
    risen = next(b for b in answer["bars"] if b["sampled_at"].endswith("18:29:30Z"))["values"][row]
    sign = "−" if risen < 0 else "+"
    await written(
        "since_open", "GEX since the open, 13:29:30", f"{sign}${abs(risen) / 1e6:,.1f} mm"
    )


async def test_no_value_over_a_gap(closed: Site, tab: Tab) -> None:
    """A hole is blank in the heatmap, within a bar too; its moments have no profile."""
    box = await opened(tab, "bar=15m")
    session = 780
    inside = [(HOLE[0] + 2) / session, (HOLE[-1] - 1) / session]
    for low, high in ((0.3, 0.7),):
        lights = await tab.page.evaluate(LIGHT, [*inside, low, high])
        # The band of the gap, one colour: no line, no cell.
        assert len(set(lights)) == 1
        beside = await tab.page.evaluate(LIGHT, [0.3, 0.35, low, high])
        assert len(set(beside)) > 10
    await tab.page.locator("#bar").select_option("30s")
    await tab.until("document.getElementById('bar').value === '30s'")
    await tab.page.mouse.move(box["x"] + box["width"] * sum(inside) / 2, box["y"] + 80)
    await tab.shows("#moment", "no sample")
    await tab.shows("#profile-of", "No sample")


async def test_moved_by_wheel_and_drag(closed: Site, tab: Tab) -> None:
    """The wheel zooms time at the pointer, with shift the strikes; a drag moves; a double click resets."""
    box = await opened(tab, "bar=1m")
    opens, closes = (int(slot_time(TUESDAY, k).timestamp()) for k in (0, 780))
    x, y = box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2
    await tab.page.mouse.move(x, y)
    await tab.page.mouse.wheel(0, -400)
    await tab.until("location.hash.includes('from=')")
    first = await address(tab)
    # 400 pixels shorten the session by exp(−0.64); its quarter stays under the pointer.
    width = (closes - opens) * np.exp(-0.64)
    assert int(first["to"]) - int(first["from"]) == pytest.approx(width, abs=2)
    quarter = opens + (closes - opens) * 0.25
    assert int(first["from"]) == pytest.approx(quarter - width * 0.25, abs=20)
    assert "low" not in first
    await tab.page.mouse.down()
    await tab.page.mouse.move(x - 100, y + 60, steps=5)
    await tab.page.mouse.up()
    await tab.until("location.hash.includes('low=')")
    moved = await address(tab)
    later = 100 / box["width"] * width
    assert int(moved["from"]) == pytest.approx(int(first["from"]) + later, abs=2)
    assert int(moved["to"]) - int(moved["from"]) == pytest.approx(width, abs=2)
    await tab.page.keyboard.down("Shift")
    await tab.page.mouse.wheel(0, -300)
    await tab.page.keyboard.up("Shift")
    tall = float(moved["high"]) - float(moved["low"])
    await tab.until(
        f"location.hash.includes('low=') && !location.hash.includes('low={moved['low']}&')"
    )
    narrow = await address(tab)
    assert float(narrow["high"]) - float(narrow["low"]) == pytest.approx(
        tall * np.exp(-0.48), abs=0.05
    )
    assert (narrow["from"], narrow["to"]) == (moved["from"], moved["to"])
    # A link shows the same window, and all panels have its times.
    await tab.page.reload()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.page.locator("#plot-price").scroll_into_view_if_needed()
    assert await address(tab) == narrow
    assert await tab.chosen("window") == "Zoomed"
    box = await tab.settled_box("#plot-price .u-over")
    await tab.page.mouse.move(box["x"] + 100, box["y"] + 3)
    high = "parseFloat(document.querySelector('#plot-price .tag:not(.spot)').textContent.replace(',', ''))"
    await tab.until(f"{high} > {narrow['low']} && {high} < {narrow['high']} + 1")
    await tab.page.mouse.dblclick(box["x"] + 200, box["y"] + 50)
    await tab.until("!location.hash.includes('from=') && !location.hash.includes('low=')")
    # All the way out the wheel scrolls the page.
    await tab.page.mouse.wheel(0, 300)
    await tab.until("scrollY > 100")
    assert "from" not in await address(tab)


async def test_pinched(closed: Site, tabs: Callable[..., Any]) -> None:
    """Two fingers that double their distance halve the time that is shown."""
    tab = await tabs(viewport={"width": 390, "height": 844}, has_touch=True)
    box = await opened(tab, "bar=5m")
    opens, closes = (int(slot_time(TUESDAY, k).timestamp()) for k in (0, 780))
    session = await tab.page.context.new_cdp_session(tab.page)
    middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    async def touch(kind: str, apart: float) -> None:
        points = [{"x": middle + side * apart, "y": y, "id": k} for k, side in enumerate((-1, 1))]
        await session.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [] if kind == "touchEnd" else points},
        )

    await touch("touchStart", 40)
    for apart in (50, 60, 70, 80):
        await touch("touchMove", apart)
    await touch("touchEnd", 0)
    await tab.until("location.hash.includes('from=')")
    view = await address(tab)
    width = (closes - opens) / 2
    assert int(view["to"]) - int(view["from"]) == pytest.approx(width, rel=0.02)
    assert (int(view["to"]) + int(view["from"])) / 2 == pytest.approx((opens + closes) / 2, abs=300)


async def test_outliers_fade_nothing(closed: Site, tab: Tab) -> None:
    """One cell of 30,000 times the rest leaves scale and heights; the logarithm shows small values."""
    await opened(tab, "bar=30s")
    await tab.shows("#heat-high", re.compile(r"mm dampens"))
    linear = await tab.page.evaluate(LIGHT, [0.6, 0.7, 0.05, 0.1])
    await tab.page.locator("#tone").select_option("log")
    await tab.until("location.hash.includes('tone=log')")
    await tab.page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    logarithmic = await tab.page.evaluate(LIGHT, [0.6, 0.7, 0.05, 0.1])
    # On a dark ground what is shown is lighter.
    assert np.mean(logarithmic) > np.mean(linear) + 5


async def test_a_spike_does_not_stretch_the_strikes(closed: Site, tab: Tab) -> None:
    """One sample of a price 5 % off, without a flag, lies outside; the rest uses the height."""
    records = market.day(TUESDAY, symbol="SPK")
    records[200].row = dataclasses.replace(records[200].row, spot=6300.0)
    await closed.put(records)
    box = await opened(tab, "symbol=SPK&bar=30s")
    await tab.page.mouse.move(box["x"] + 300, box["y"] + 4)
    tag = "document.querySelector('#plot-price .tag:not(.spot)')"
    await tab.until(f"!{tag}.hidden")
    # The price is 5,980 to 6,025 otherwise, the cone's widest 30.
    assert float((await tab.page.evaluate(f"{tag}.textContent")).replace(",", "")) < 6100


async def test_a_link_that_names_the_former_panel(closed: Site, tab: Tab) -> None:
    """A link to the heatmap's own panel, which older releases had, shows the price chart."""
    await opened(tab, "panels=heat,pin")
    assert await tab.page.locator("#plot-price").is_visible()
    assert await tab.page.locator("#plot-pin").is_visible()
    assert await tab.page.locator("#plot-flow").is_hidden()


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_signs_differ_without_hue(
    closed: Site, tabs: Callable[..., Any], scheme: str
) -> None:
    """Negative cells are hatched: in grey too their ground has two shades, that of positive ones one."""
    tall = {}
    for symbol, value in (("NEG", -5e8), ("POS", 5e8)):
        records = market.day(TUESDAY, until=400, symbol=symbol)
        for record in records:
            record.profile |= {
                "call_gex": np.full(len(STRIKES), value),
                "put_gex": np.zeros(len(STRIKES)),
            }
        await closed.put(records)
        tab = await tabs(color_scheme=scheme)
        await opened(tab, f"symbol={symbol}&bar=15m")
        await tab.shows("#heat-high", "dampens")
        # Near the upper edge no line stands; ten minutes of one cell.
        lights = await tab.page.evaluate(LIGHT, [0.1, 0.12, 0.03, 0.07])
        tall[symbol] = max(lights) - min(lights)
    assert tall["POS"] == 0
    assert tall["NEG"] > 20
