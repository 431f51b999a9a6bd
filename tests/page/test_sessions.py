"""What the page shows of sessions: none, a half one with gaps, a full one, a holiday."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from storage.record.row import Reason
from tests.page import market
from tests.page.conftest import SERIES, Site, Tab
from tests.page.market import FRIDAY, THURSDAY, TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Slots of the half day that are missing: half an hour of a dead source, and one late sample.
HOLE = range(120, 180)
LATE = 250

#: Counts what is drawn in the colour of a line, in a stretch of a panel between two times.
INKED = """([id, colour, from, to, open, close]) => {
  const canvas = document.querySelector(`#plot-${id} canvas`);
  const over = document.querySelector(`#plot-${id} .u-over`);
  const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect();
  const ratio = canvas.width / box.width, x = (t) => (inner.left - box.left + inner.width * (t - open) / (close - open)) * ratio;
  const [left, right] = [Math.ceil(x(from)) + 2, Math.floor(x(to)) - 2];
  const top = (inner.top - box.top) * ratio;
  const image = canvas.getContext('2d').getImageData(left, top, right - left, inner.height * ratio).data;
  const style = getComputedStyle(document.documentElement).getPropertyValue('--' + colour).trim();
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(style.slice(k, k + 2), 16));
  let found = 0;
  for (let k = 0; k < image.length; k += 4)
    if (Math.abs(image[k] - r) + Math.abs(image[k + 1] - g) + Math.abs(image[k + 2] - b) < 40) found++;
  return found; }"""


#: Counts pixels of a panel between two times that are no shade of grey, nor all but clear.
COLOURED = """([id, from, to, open, close]) => {
  const canvas = document.querySelector(`#plot-${id} canvas`);
  const over = document.querySelector(`#plot-${id} .u-over`);
  const box = canvas.getBoundingClientRect(), inner = over.getBoundingClientRect();
  const ratio = canvas.width / box.width, x = (t) => (inner.left - box.left + inner.width * (t - open) / (close - open)) * ratio;
  const [left, right] = [Math.ceil(x(from)) + 2, Math.floor(x(to)) - 2];
  const image = canvas.getContext('2d').getImageData(left, (inner.top - box.top) * ratio, right - left, inner.height * ratio).data;
  let coloured = 0;
  for (let k = 0; k < image.length; k += 4)
    if (image[k + 3] > 64 && Math.max(image[k], image[k + 1], image[k + 2]) - Math.min(image[k], image[k + 1], image[k + 2]) > 60) coloured++;
  return coloured; }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """A full Tuesday, and a half Friday with gaps."""
    half = market.day(FRIDAY, missing=[*HOLE, LATE], base=6010.0)
    await site.put(
        [*market.day(TUESDAY), *half],
        [
            *market.gaps(FRIDAY, HOLE, Reason.SOURCE_DOWN),
            *market.gaps(FRIDAY, [LATE], Reason.LATE),
        ],
    )
    yield site
    await site.stop()


@pytest.fixture
def serve(stored: Site) -> Callable[..., Any]:
    """Serves the stored sessions at some time; the clock all but stands still."""

    async def start(now: datetime) -> None:
        if stored.process is None or stored.now != now:
            await stored.stop()
            await stored.start(now)

    return start


def money(value: float) -> str:
    """Dollars as the page says them."""
    sizes = ((999.95e6, 1e9, 2, "bn"), (0.05e6, 1e6, 1, "mm"), (500.0, 1e3, 0, "k"))
    for least, size, digits, unit in sizes:
        if abs(value) >= least:
            return f"{'−' if value < 0 else '+'}${abs(value) / size:,.{digits}f} {unit}"
    return "$0"


def headline(bar: dict[str, Any]) -> dict[str, str]:
    """A bar's numbers as the tiles say them."""
    return {
        "spot": f"{bar['spot']:,.2f}",
        "net_gex": money(bar["net_gex"]),
        "gamma_flip": f"{bar['gamma_flip']:,.2f}",
        "call_wall": f"{bar['call_wall']:,.0f}",
        "put_wall": f"{bar['put_wall']:,.0f}",
        "magnet": f"{bar['magnet']:,.0f}",
        "pin_score": f"{bar['pin_score']}",
        "atm_iv": f"{bar['atm_iv'] * 100:.2f} %",
        "charm_dollars_per_hour": money(bar["charm_dollars_per_hour"]),
        "hedge_flow_cumulative_all": money(bar["hedge_flow_cumulative_all"]),
    }


async def tiles(tab: Tab) -> dict[str, str]:
    """The tiles' numbers."""
    texts = await tab.page.evaluate(
        "[...document.querySelectorAll('.tile')].map((t) => [t.dataset.field, t.querySelector('b').textContent])"
    )
    return dict(texts)


async def test_full_day(serve: Callable[..., Any], tab: Tab) -> None:
    """After the close: every headline number is the newest bar's, as the API has it."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open()
    await tab.shows(".tile b", re.compile(r"\d"))
    bar = (await tab.site.bars(date=TUESDAY))[-1]
    assert headline(bar) == await tiles(tab)
    assert re.fullmatch("Closed, opens in (17:00:0|16:59:5).", await tab.text("#market"))
    assert await tab.chosen("day") == "Newest"
    assert await tab.page.locator("#notice").is_hidden()


@pytest.mark.parametrize("size", ["30s", "15m"])
async def test_changes_since_the_open(serve: Callable[..., Any], tab: Tab, size: str) -> None:
    """They count from the first 30 s sample, whatever the bar size; in a replay too."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open(f"bar={size}")
    await tab.shows(".tile b", re.compile(r"\d"))
    samples = await tab.site.bars(bar="30s", date=TUESDAY)

    async def check(first: dict[str, Any], last: dict[str, Any]) -> None:
        for field, write in (("spot", _signed), ("net_gex", money), ("gamma_flip", _signed)):
            text = await tab.text(f".tile[data-field={field}] .change")
            assert text == write(last[field] - first[field]), field
        share = (last["spot"] / first["spot"] - 1) * 100
        assert await tab.text(".tile[data-field=spot] .note") == f"{_signed(share)} %"

    await check(samples[0], samples[-1])
    # The bar of 15 minutes that ends at 11:59:30 is complete.
    moment = int(slot_time(TUESDAY, 299).timestamp())
    await tab.page.locator("#scrub").fill(str(moment))
    await tab.shows("#stands", "11:59:30")
    await check(samples[0], samples[299])


def _signed(value: float) -> str:
    return f"{value:+,.2f}".replace("-", "−")


async def test_crosshair_tells_the_apis_numbers(serve: Callable[..., Any], tab: Tab) -> None:
    """Every panel tells the bar under the crosshair, and the moment in New York and UTC."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open("bar=5m")
    await tab.shows("#legend-flow dd", re.compile("bn|mm"))
    await tab.page.locator("#plot-flow").scroll_into_view_if_needed()
    box = await tab.settled_box("#plot-flow .u-over")
    await tab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    # Half-way is 12:45; the 5-minute bar that was sampled nearest is 12:40's, at 12:44:30.
    await tab.shows("#moment", "12:44:30 ET · 17:44:30 UTC")
    bars = await tab.site.bars(bar="5m", date=TUESDAY)
    bar = next(b for b in bars if b["sampled_at"] == "2026-11-24T17:44:30Z")
    shown = {
        field: await tab.text(f".legend dd[data-field={field}]")
        for field in (
            "hedge_flow_call_cumulative",
            "hedge_flow_put_cumulative",
            "net_gex",
            "net_dex",
        )
    }
    assert {field: money(bar[field]) for field in shown} == shown
    assert f"{bar['pin_score']}" == await tab.text(".legend dd[data-field=pin_score]")
    assert f"{bar['spot']:,.2f}" == await tab.text("#legend-price dd[data-field=spot]")


async def test_heatmap_tells_the_apis_numbers(serve: Callable[..., Any], tab: Tab) -> None:
    """The cell under the pointer is the API's value of that strike and bar, whatever is chosen."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open("bar=15m")
    await tab.shows("#heat-high", "dampens")
    await tab.page.locator("#metric").select_option("oi")
    await tab.shows("#heat-high", "contracts")
    await tab.page.locator("#plot-price .u-over").scroll_into_view_if_needed()
    box = await tab.settled_box("#plot-price .u-over")
    await tab.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    await tab.shows("#heat-cell", re.compile(r"\d: [\d,]+$"))
    strike, value = (await tab.text("#heat-cell")).split(": ")
    moment = (await tab.text("#moment")).split(" ET")[0]
    answer = await tab.site.get(
        "/v1/flow/zero-dte/heatmap/SPX", metric="oi", bar="15m", date=TUESDAY
    )
    row = answer["strikes_grid"].index(float(strike.replace(",", "")))
    hours, minutes, _ = (int(piece) for piece in moment.split(":"))
    start = f"T{hours + 5}:{minutes // 15 * 15:02}:00Z"
    bar = next(b for b in answer["bars"] if b["t"].endswith(start))
    assert f"{bar['values'][row]:,.0f}" == value


async def test_half_day_with_gaps(serve: Callable[..., Any], tab: Tab) -> None:
    """A session that closes at 13:00, its gaps listed with their reasons, and no line over one."""
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    await tab.open()
    await tab.shows("#gap-list li", "source down")
    gaps = await tab.page.locator("#gap-list li").all_inner_texts()
    assert [t.replace("\n\n", "\n").replace("\t", "\n") for t in gaps] == [
        "11:35:00 to 11:35:30\nlate",
        "10:30:00 to 11:00:00\nsource down",
    ]
    assert await tab.text("#gap-count") == "61 slots of 30 s"
    span = [int(slot_time(FRIDAY, k).timestamp()) for k in (0, 420)]
    inside = [int(slot_time(FRIDAY, k).timestamp()) for k in (HOLE[0], HOLE[-1] + 1)]
    beside = [int(slot_time(FRIDAY, k).timestamp()) for k in (HOLE[0] - 60, HOLE[0])]
    panels = (("price", "text"), ("flow", "text"), ("pin", "magnet"))
    for panel, colour in panels:
        assert await tab.page.evaluate(INKED, [panel, colour, *beside, *span]) > 0, panel
        assert await tab.page.evaluate(INKED, [panel, colour, *inside, *span]) == 0, panel
    # Nor where another session has points in between.
    await tab.page.locator("#bar").select_option("5m")
    await tab.page.locator("#compare").select_option(str(TUESDAY))
    await tab.shows("#legend-pin dt", "Score (compared)")
    for panel, colour in panels:
        assert await tab.page.evaluate(INKED, [panel, colour, *inside, *span]) == 0, panel


async def test_holiday(serve: Callable[..., Any], tab: Tab) -> None:
    """On Thanksgiving: the day says so, and the newest stored session is shown."""
    await serve(slot_time(TUESDAY, 0) + timedelta(days=2, hours=2))
    await tab.open(f"day={THURSDAY}")
    await tab.shows("#notice", "a holiday")
    # Its countdown goes on by real time while the page loads.
    assert re.match(r"Holiday, opens in (22:00:0|21:59:)", await tab.text("#market"))
    assert await tab.tile("spot") == "—"
    await tab.page.locator("#day").select_option("")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))


async def test_unknown_symbol(serve: Callable[..., Any], tab: Tab) -> None:
    """A symbol that nobody samples is named, and another can be chosen."""
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    await tab.open("symbol=XYZ")
    await tab.shows("#notice", "XYZ, 2026-11-27: this symbol was never sampled.")
    await tab.page.locator("#symbol").select_option("SPX")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert await tab.page.locator("#notice").is_hidden()


async def test_two_sessions_compared(serve: Callable[..., Any], tab: Tab) -> None:
    """The other session's numbers stand beside, at the same time of day."""
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    await tab.open(f"bar=5m&compare={TUESDAY}")
    await tab.shows("#legend-pin dt", "Score (compared)")
    box = await tab.page.locator("#plot-pin .u-over").bounding_box()
    assert box is not None
    await tab.page.locator("#plot-pin").scroll_into_view_if_needed()
    box = await tab.page.locator("#plot-pin .u-over").bounding_box()
    assert box is not None
    await tab.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
    await tab.shows("#moment", re.compile("^12:[0-9:]+ ET"))
    moment = (await tab.text("#moment")).split(" ET")[0]
    utc = f"T{int(moment[:2]) + 5}{moment[2:]}Z"
    tuesday = await tab.site.bars(bar="5m", date=TUESDAY)
    then = next(b for b in tuesday if b["sampled_at"].endswith(utc))
    assert f"{then['pin_score']}" == await tab.text("#legend-pin .row:last-child dd")
    opened = [(await tab.site.bars(bar="30s", date=day))[0] for day in (FRIDAY, TUESDAY)]
    scaled = next(b for b in tuesday if b["sampled_at"].endswith(utc))["spot"]
    scaled *= opened[0]["spot"] / opened[1]["spot"]
    assert f"{scaled:,.2f}" == await tab.text("#legend-price .row:last-child dd")


async def test_replay(serve: Callable[..., Any], tab: Tab) -> None:
    """Any moment of a session as it was known then; played to its end, and back to now."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open("bar=30s")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    bars = await tab.site.bars(bar="30s", date=TUESDAY)
    scrub = tab.page.locator("#scrub")
    await scrub.fill(str(int(slot_time(TUESDAY, 390).timestamp())))
    await tab.shows("#stands", "12:45:00")
    assert headline(bars[390]) == await tiles(tab)
    await tab.page.locator("#on").click()
    await tab.shows("#stands", "12:45:30")
    assert headline(bars[391]) == await tiles(tab)
    await tab.page.locator("#back").click()
    await tab.page.locator("#back").click()
    await tab.shows("#stands", "12:44:30")
    assert headline(bars[389]) == await tiles(tab)
    assert await tab.text("#link") == "Replay"
    await scrub.fill(str(int(slot_time(TUESDAY, 760).timestamp())))
    await tab.page.locator("#speed").select_option("600")
    await tab.page.locator("#play").click()
    await tab.shows("#stands", "15:59:30", seconds=8)
    await tab.until("document.getElementById('play').textContent === '▶'")
    await tab.page.locator("#leave").click()
    await tab.page.locator("#leave").wait_for(state="hidden")
    assert headline(bars[-1]) == await tiles(tab)


async def test_replay_knows_no_future(serve: Callable[..., Any], tab: Tab) -> None:
    """Gaps, the colours' scale and the unfinished bucket are those of the moment, not of the day."""
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    await tab.open("bar=15m")
    await tab.shows("#heat-high", "dampens")
    assert "of volume with known side" in await tab.text("#source")
    whole = await tab.text("#heat-high")
    scrub = tab.page.locator("#scrub")
    # 10:25: five minutes before the hole, and in the middle of a bucket.
    await scrub.fill(str(int(slot_time(FRIDAY, 110).timestamp())))
    await tab.shows("#stands", "10:25:00")
    await tab.shows("#gap-list li", "None: every slot so far has a sample.")
    assert await tab.text("#gap-count") == ""
    # The share of known sides is the one of that moment; tests/page/test_pressure.py has two.
    await tab.shows("#source", "of volume with known side")
    heat = await tab.site.get(
        "/v1/flow/zero-dte/heatmap/SPX", metric="gex", bar="15m", date=FRIDAY, minutes=390
    )
    # The bars of 9:30, 9:45 and 10:00 are complete; 10:15's is not.
    # The colours end at the 98.5th percentile of what lies within 1 % of the price.
    sizes = sorted(
        abs(v)
        for bar in heat["bars"][:3]
        for strike, v in zip(heat["strikes_grid"], bar["values"], strict=True)
        if v and abs(strike - bar["spot"]) <= 0.01 * bar["spot"]
    )
    await tab.shows("#heat-high", money(sizes[int((len(sizes) - 1) * 0.985)]))
    assert whole != await tab.text("#heat-high")
    span = [int(slot_time(FRIDAY, k).timestamp()) for k in (0, 420)]
    # A mark at the newest bar is some pixels wide.
    for k, drawn in ((60, True), (95, False), (120, False), (300, False)):
        ends = [int(slot_time(FRIDAY, k + more).timestamp()) for more in (0, 15)]
        assert drawn == bool(await tab.page.evaluate(COLOURED, ["price", *ends, *span])), k
        # A band of a gap is grey; the cone begins at the last bar.
        assert not await tab.page.evaluate(INKED, ["flow", "text", *ends, *span]) or drawn, k
    # In the hole, what is missing so far is listed.
    await scrub.fill(str(int(slot_time(FRIDAY, 139).timestamp())))
    await tab.shows("#gap-list time", "10:30:00 to 10:40:00")
    assert await tab.text("#gap-count") == "20 slots of 30 s"


async def test_zoom_is_everybodys(serve: Callable[..., Any], tab: Tab) -> None:
    """A drag over one of the lower panels zooms all; a double click shows the whole session again."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.page.locator("#plot-exposure").scroll_into_view_if_needed()
    box = await tab.settled_box("#plot-exposure .u-over")
    y = box["y"] + 50
    await tab.page.mouse.move(box["x"] + box["width"] * 0.25, y)
    await tab.page.mouse.down()
    await tab.page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
    await tab.page.mouse.up()
    await tab.chooses("window", "Zoomed")
    view = dict(
        p.split("=") for p in (await tab.page.evaluate("location.hash.slice(1)")).split("&")
    )
    session = [slot_time(TUESDAY, k).timestamp() for k in (195, 390)]
    assert session == pytest.approx([int(view["from"]), int(view["to"])], abs=60)
    # The last point in sight is the crosshair's at the right edge, in every panel.
    await tab.page.mouse.move(box["x"] + box["width"] - 2, y)
    await tab.shows("#moment", re.compile("^12:4[45]"))
    await tab.page.mouse.dblclick(box["x"] + 200, y)
    assert "from" not in await tab.page.evaluate("location.hash")


async def test_export(serve: Callable[..., Any], tabs: Callable[..., Any]) -> None:
    """The link shows the same again; files are the API's; levels are the bar's."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    stands = int(slot_time(TUESDAY, 390).timestamp())
    await tab.open(f"day={TUESDAY}&bar=5m&metric=oi&at={stands}&window=120&panels=price,heat")
    await tab.shows("#stands", "12:45:00")
    await tab.page.locator("#open-export").click()
    link = await tab.page.locator("#export-link").input_value()
    other = await tabs()
    await other.open(link.partition("#")[2])
    await other.shows("#stands", "12:45:00")
    assert await tiles(tab) == await tiles(other)
    # The list of sessions may come after the session.
    await other.page.locator("#day option[value='2026-11-24']:checked").wait_for(state="attached")
    chosen = "['day', 'bar', 'metric', 'window'].map((id) => document.getElementById(id).value)"
    assert await other.page.evaluate(chosen) == ["2026-11-24", "5m", "oi", "120"]
    assert await other.page.locator("#plot-price").is_visible()
    assert await other.page.locator("#plot-flow").is_hidden()
    bars = await tab.site.bars(bar="5m", date=TUESDAY)
    bar = [b for b in bars if b["sampled_at"] <= "2026-11-24T17:45:00Z"][-1]
    plain = await tab.page.locator("#export-plain").input_value()
    assert f"{bar['gamma_flip']:,.2f}" in plain
    assert f"{bar['spot']:,.2f}" in plain
    pine = await tab.page.locator("#export-pine").input_value()
    assert pine.startswith("//@version=6\n")
    assert 'indicator("SPX 0DTE levels 2026-11-24", overlay' in pine
    # The indicator's name stands on the chart.
    script = "async (bar) => (await import('/static/levels.js')).pine({symbol: 'SPX', day: '2026-11-24'}, bar, true)"
    simulated = await tab.page.evaluate(script, bar)
    assert 'indicator("SPX 0DTE levels 2026-11-24 SIMULATED", overlay' in simulated
    assert f'hline({bar["call_wall"]:g}, "Call wall"' in pine
    assert f'hline({bar["gamma_flip"]:g}, "Gamma flip"' in pine
    async with tab.page.expect_download() as waited:
        await tab.page.locator("#export-csv").click()
    saved = await (await waited.value).path()
    lines = saved.read_text().splitlines()
    assert len(bars) == len(lines) - 1
    async with tab.page.expect_download() as waited:
        await tab.page.locator("#export-png").click()
    picture = (await (await waited.value).path()).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    link = await tab.page.locator("#export-parquet").get_attribute("href")
    assert f"{SERIES}SPX?bar=5m&date=2026-11-24&format=parquet" == link


async def test_a_link_to_the_newest_moment(
    serve: Callable[..., Any], tabs: Callable[..., Any]
) -> None:
    """A link made of the newest session names day, moment and bar: later it shows the same again."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    await tab.open()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.page.locator("#panels summary").click()
    await tab.page.locator("#panel-choices input[name=pin]").uncheck()
    await tab.page.locator("#plot-pin").wait_for(state="hidden")
    await tab.page.locator("#open-export").click()
    link = await tab.page.locator("#export-link").input_value()
    last = int(slot_time(TUESDAY, 779).timestamp())
    parts = dict(pair.split("=") for pair in link.partition("#")[2].split("&"))
    assert parts == {
        "symbol": "SPX", "day": str(TUESDAY), "bar": "1m", "metric": "gex", "mode": "raw",
        "tone": "linear", "beside": "live",
        "at": str(last), "panels": "price%2Cflow%2Cpressure%2Cexposure%2Cvol",
    }  # fmt: skip
    shown = await tiles(tab)
    await tab.page.close()
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    other = await tabs()
    await other.open(link.partition("#")[2])
    await other.shows("#stands", "15:59:30")
    assert await tiles(other) == shown
    assert await other.page.locator("#plot-pin").is_hidden()


async def test_keyboard_alone(serve: Callable[..., Any], tab: Tab) -> None:
    """Everything without a mouse."""
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=5))
    await tab.open()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    press = tab.page.keyboard.press
    await press("/")
    assert await tab.page.evaluate("document.activeElement.id") == "symbol"
    await press("Escape")
    await press("ArrowLeft")
    await press("ArrowLeft")
    await tab.shows("#moment", "12:58:30 ET")
    lines = "[...document.querySelectorAll('.u-cursor-x')].map((line) => line.style.transform)"
    stand = await tab.page.evaluate(lines)
    assert len(stand) == 6
    assert len(set(stand)) == 1
    assert "12:58:30: Spot" in await tab.page.evaluate(
        "document.getElementById('said').textContent"
    )
    await press("ArrowUp")
    await tab.until("document.getElementById('window').value === 'auto'")
    await press("[")
    await tab.until("document.getElementById('day').value === '2026-11-24'")
    await tab.shows("#stands", "15:59:30")
    await press(" ")
    await tab.shows("#link", "Replay")
    await press(" ")
    stood = await tab.text("#stands")
    await press("ArrowRight")
    await tab.until(f"document.getElementById('stands').textContent > '{stood}'")
    await press("l")
    await tab.until("document.getElementById('day').value === ''")
    await press("?")
    assert await tab.page.locator("#help").is_visible()
    await press("Escape")
    assert await tab.page.locator("#help").is_hidden()
    await press("t")
    assert await tab.page.evaluate("document.documentElement.dataset.theme") == "light"
    for _ in range(40):
        await press("Tab")
        if await tab.page.evaluate("document.activeElement.dataset.field ?? ''") == "net_gex":
            break
    assert await tab.page.locator("#tells-net_gex").is_visible()


async def test_phone(serve: Callable[..., Any], tabs: Callable[..., Any]) -> None:
    """On 390 × 844 nothing hangs over the edge, and everything is there."""
    await serve(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs(viewport={"width": 390, "height": 844}, color_scheme="light", has_touch=True)
    await tab.open()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert await tab.page.evaluate("document.scrollingElement.scrollWidth") == 390
    cut = await tab.page.evaluate(
        "[...document.querySelectorAll('.tile b, .tile .note, .tile .change, .pill, header select')]"
        ".filter((n) => n.scrollWidth > n.clientWidth + 1 && n.clientWidth > 0).map((n) => n.textContent)"
    )
    assert cut == []
    for panel in ("price", "flow", "exposure", "pin", "vol"):
        box = await tab.page.locator(f"#plot-{panel}").bounding_box()
        assert box is not None
        assert box["width"] > 330
    # There the strike profile stands in the price panel itself.
    price = await tab.page.locator("#plot-price").bounding_box()
    profile = await tab.page.locator("#profile").bounding_box()
    assert price is not None
    assert profile is not None
    assert (profile["y"], profile["height"]) == (price["y"], price["height"])
    assert profile["x"] + profile["width"] < price["x"] + price["width"]


async def test_sessions_of_different_cadence_are_not_compared(
    stored: Site, serve: Callable[..., Any], tab: Tab
) -> None:
    """A session sampled every 5 minutes knows less of its flow: the page says so, and draws none."""
    monday = TUESDAY - timedelta(days=1)
    await stored.put(market.day(monday, missing=[k for k in range(780) if k % 10]), [])
    await serve(slot_time(FRIDAY, 420) + timedelta(minutes=6))
    await tab.open(f"bar=5m&compare={monday}")
    await tab.shows(
        "#notice",
        "2026-11-27 was sampled every 30 s, 2026-11-23 every 300 s: only sessions of one cadence"
        " compare.",
    )
    assert await tab.page.locator("#legend-pin dt", has_text="compared").is_hidden()
    await tab.page.locator("#compare").select_option(str(TUESDAY))
    await tab.shows("#legend-pin dt", "Score (compared)")
    assert await tab.page.locator("#notice").is_hidden()
