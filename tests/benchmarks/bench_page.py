"""The page's speed in headless Chromium: a full day drawn, a drag, a bar's way to the screen, a day's stream.

    python -m tests.benchmarks.bench_page          # all but the eight hours
    python -m tests.benchmarks.bench_page hours    # eight hours of a market day, 60 times as fast

The day has 780 slots of 250 strikes, shown as 30-second bars with every panel and the heatmap.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Browser, Page, async_playwright

from storage.embedded import attach as embedded
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.row import PROFILE, SlotRecord
from storage.redis.channel import RedisChannel
from tests.page import market
from tests.page.browser import launch
from tests.page.conftest import DESKTOP, Site
from tests.page.market import TUESDAY, slot_time

STRIKES = np.arange(5380.0, 6630.0, 5.0)
#: The symbols of the further charts, with the price that their day is about.
OTHERS = {"SPY": 600.0, "QQQ": 500.0, "NDX": 21000.0}
#: Notes when the headline first has numbers, when the heatmap is drawn, and every later change,
#: each in the frame after the one that painted it.
WATCH = """
window.seen = {spots: []};
const painted = (call) => requestAnimationFrame(() => requestAnimationFrame(() => call(performance.now(), Date.now())));
new MutationObserver(() => {
  const spot = document.querySelector('.tile[data-field=spot] b')?.textContent ?? '';
  const heat = document.getElementById('heat-high')?.textContent ?? '';
  if (/\\d/.test(spot) && !seen.drawn) { seen.drawn = -1; painted((t) => { seen.drawn = t; }); }
  if (/\\d/.test(heat) && !seen.heat) { seen.heat = -1; painted((t) => { seen.heat = t; }); }
  const others = [...document.querySelectorAll('.other figcaption p')];
  if (others.length === 3 && others.every((one) => /gamma/.test(one.textContent)) && !seen.four) {
    seen.four = -1;
    painted((t) => { seen.four = t; });
  }
  if (spot !== seen.spot) { seen.spot = spot; painted((_, now) => seen.spots.push([spot, now])); }
}).observe(document, {subtree: true, childList: true, characterData: true});
"""


#: Drags the price chart, one step a frame, and gives the time of each frame and the script's part of it.
DRAG = """async (frames) => {
  const over = document.querySelector("#plot-price .u-over"), box = over.getBoundingClientRect();
  const send = (name, x, y, to) => to.dispatchEvent(new PointerEvent(name, {
    pointerId: 1, pointerType: "mouse", button: 0, clientX: x, clientY: y, bubbles: true, isPrimary: true }));
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  send("pointerdown", x, y, over);
  const times = [], work = [];
  for (let k = 0; k < frames; k++) {
    const begun = await new Promise((done) => requestAnimationFrame(done));
    // What the page draws in this frame runs after this callback and before the channel's message.
    const channel = new MessageChannel(), called = performance.now();
    send("pointermove", x + 180 * Math.sin(k / 25), y + 60 * Math.sin(k / 17), window);
    await new Promise((done) => { channel.port1.onmessage = done; channel.port2.postMessage(0); });
    times.push(begun);
    work.push(performance.now() - called);
  }
  send("pointerup", x, y, window);
  return [times, work];
}"""


def wide(records: list[SlotRecord]) -> list[SlotRecord]:
    """The same with as many strikes as an index has."""
    for k, record in enumerate(records):
        near = np.exp(-(((STRIKES - record.row.spot) / 60) ** 2))
        record.profile = {name: np.zeros(len(STRIKES)) for name in ("strike", *PROFILE)} | {
            "strike": STRIKES,
            "call_gex": 6e8 * near * (1 + np.sin(STRIKES / 11)),
            "put_gex": -6e8 * near * (1 + np.cos(STRIKES / 17 + k / 200)),
        }
    return records


async def seen_after(page: Page, condition: str, seconds: float = 30) -> Any:
    """What was noted, once it holds."""
    ends = time.monotonic() + seconds
    while not await page.evaluate(condition):
        assert time.monotonic() < ends, condition
        await asyncio.sleep(0.02)
    return await page.evaluate("seen")


async def fresh(browser: Browser, site: Site, view: str) -> Page:
    page = await browser.new_page(viewport=DESKTOP)
    await page.add_init_script(WATCH)
    await page.goto(f"{site.url}/#{view}")
    return page


async def heap(page: Page) -> tuple[float, int, int]:
    """Megabytes in use, nodes and listeners of the document, after a collection."""
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    await session.send("Performance.enable")
    metrics_list = (await session.send("Performance.getMetrics"))["metrics"]
    await session.detach()
    metrics = {metric["name"]: metric["value"] for metric in metrics_list}
    return metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"]), int(metrics["JSEventListeners"])


async def drawn(browser: Browser, site: Site) -> None:
    """From the click on a link to everything being on the screen."""
    for bar in ("30s", "1m"):
        times = []
        for _ in range(7):
            page = await fresh(browser, site, f"bar={bar}&day={TUESDAY}")
            times.append(await seen_after(page, "seen.drawn > 0 && seen.heat > 0"))
            await page.close()
        charts = statistics.median(t["drawn"] for t in times)
        heat = statistics.median(t["heat"] for t in times)
        worst = max(max(t["heat"], t["drawn"]) for t in times)
        print(f"full day, {bar:3} bars: headline and charts {charts:5.0f} ms, "
              f"with the heatmap {heat:5.0f} ms, slowest of 7 {worst:5.0f} ms")  # fmt: skip


async def four_drawn(browser: Browser, site: Site) -> None:
    """From the click on a link to four price charts, each with its day, and all panels."""
    for symbol, base in OTHERS.items():
        await site.put(market.day(TUESDAY, symbol=symbol, base=base))
    times = []
    for _ in range(7):
        view = f"bar=30s&day={TUESDAY}&charts=4&others={','.join(OTHERS)}"
        page = await fresh(browser, site, view)
        noted = await seen_after(page, "seen.drawn > 0 && seen.heat > 0 && seen.four > 0")
        times.append(max(noted["drawn"], noted["heat"], noted["four"]))
        await page.close()
    print(
        f"four charts of a full day, 30s bars: {statistics.median(times):5.0f} ms, slowest of 7 {max(times):5.0f} ms"
    )


async def dragged(browser: Browser, site: Site) -> None:
    """The price chart over a heatmap of 780 bars and 250 strikes, dragged for five seconds."""
    for metric in ("gex", "none"):
        page = await fresh(browser, site, f"bar=30s&day={TUESDAY}&metric={metric}&window=180")
        await seen_after(page, "seen.drawn > 0")
        await asyncio.sleep(2)
        rates = []
        for _ in range(5):
            times, _ = await page.evaluate(DRAG, 300)
            steps = sorted(np.diff(times))
            rates.append(
                (
                    1000 * len(steps) / (times[-1] - times[0]),
                    steps[len(steps) // 2],
                    steps[int(len(steps) * 0.95)],
                )
            )
            await asyncio.sleep(0.5)
        best = max(rates)
        print(f"dragged, {metric:4} under the price: {best[0]:4.1f} frames a second at best of 5 runs "
              f"(median {sorted(rates)[2][0]:4.1f}); a frame {best[1]:4.1f} ms, 95 % within {best[2]:4.1f} ms")  # fmt: skip
        await page.close()


async def streamed(browser: Browser, site: Site, rows: list[SlotRecord]) -> None:
    """A day slot by slot into a page that is open."""
    page = await fresh(browser, site, "bar=30s")
    await seen_after(page, "seen.drawn > 0")
    waits: list[float] = []
    sizes = []
    for k, row in enumerate(rows):
        changes = (await site.store.write([row])).changes
        sent = time.time() * 1e3
        await site.channel.publish(changes)
        shown = f"{row.row.spot:,.2f}"
        noted = await seen_after(page, f"seen.spots.at(-1)?.[0] === '{shown}'", 5)
        waits.append(noted["spots"][-1][1] - sent)
        # Nobody sees two bars in a fiftieth of a second.
        await asyncio.sleep(0.03)
        if k % 195 == 194:
            sizes.append((k + 1, *await heap(page)))
    for name, waits_part in (("first 100", waits[:100]), ("last 100", waits[-100:])):
        ordered = sorted(waits_part)
        print(f"new bar on screen, {name:9}: median {statistics.median(ordered):4.0f} ms, "
              f"p99 {ordered[98]:4.0f} ms after it was published")  # fmt: skip
    for count, size, nodes, listeners in sizes:
        print(
            f"after {count:3} streamed bars: heap {size:5.1f} MB, {nodes} nodes, {listeners} listeners"
        )
    await page.close()
    page = await fresh(browser, site, "bar=30s")
    await seen_after(page, "seen.drawn > 0 && seen.heat > 0")
    size, nodes, listeners = await heap(page)
    print(
        f"a page that was opened on it: heap {size:5.1f} MB, {nodes} nodes, {listeners} listeners"
    )
    await page.close()


async def hours(browser: Browser, site: Site, rows: list[SlotRecord]) -> None:
    """From half an hour before the open to an hour after the close, 60 times as fast, on one page."""
    monday = TUESDAY - timedelta(days=1)
    await site.empty()
    await site.put([r for r in wide(market.day(monday)) if math.isfinite(r.row.spot)])
    begins = slot_time(TUESDAY, -60)
    await site.start(begins, 60)
    started = time.monotonic()
    page = await fresh(browser, site, "bar=30s")
    await seen_after(page, "seen.drawn > 0 && seen.heat > 0")
    # Garbage that is young at one time is old at another: the first measurement comes after a while.
    marks = [begins + timedelta(minutes=m) for m in range(20, 481, 46)]
    waiting = list(rows)
    while marks:
        now = begins + timedelta(seconds=60 * (time.monotonic() - started))
        due = [r for r in waiting if r.row.slot + timedelta(seconds=5) <= now]
        if due:
            waiting = waiting[len(due) :]
            await site.channel.publish((await site.store.write(due)).changes)
        if marks[0] <= now:
            size, nodes, listeners = await heap(page)
            print(f"{now:%H:%M} UTC, {len(rows) - len(waiting):3} bars of the day: heap {size:5.1f} MB, "
                  f"{nodes} nodes, {listeners} listeners", flush=True)  # fmt: skip
            marks.pop(0)
        await asyncio.sleep(0.1)
    shown = await page.locator(".tile[data-field=spot] b").inner_text()
    print(f"it shows {shown}, the last sample is {rows[-1].row.spot:,.2f}")
    await page.close()
    page = await fresh(browser, site, "bar=30s")
    await seen_after(page, "seen.drawn > 0 && seen.heat > 0")
    await asyncio.sleep(5)
    size, nodes, listeners = await heap(page)
    print(f"a page that is opened then: heap {size:5.1f} MB, {nodes} nodes, {listeners} listeners")
    await page.close()
    await site.stop()


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="flow-page-"))
    folder.chmod(0o755)
    rows = [r for r in wide(market.day(TUESDAY)) if math.isfinite(r.row.spot)]
    with embedded.attach(folder, wait=True) as servers:
        await migrate(servers.database_url, "live")
        async with (
            Store.open(servers.database_url, "live", size=2) as store,
            RedisChannel.open(servers.redis_url, "flow:live", store.identity) as channel,
            async_playwright() as play,
        ):
            site = Site(servers.database_url, servers.redis_url, store, channel)
            browser = await launch(play)
            if "hours" in sys.argv[1:]:
                await hours(browser, site, rows)
                await browser.close()
                return
            await site.put(rows)
            await site.start(slot_time(TUESDAY, 779))
            await drawn(browser, site)
            await four_drawn(browser, site)
            await dragged(browser, site)
            await site.stop()
            await site.empty()
            await site.put(rows[:1])
            await site.start(slot_time(TUESDAY, 779))
            await streamed(browser, site, rows[1:])
            await browser.close()
            await site.stop()


if __name__ == "__main__":
    asyncio.run(main())
