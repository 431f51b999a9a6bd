"""The two pictures of the README, taken from the page on two days of the simulated market.

python -m tests.page.pictures
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from playwright.async_api import async_playwright

from storage.embedded import attach as embedded
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.page.browser import launch
from tests.page.conftest import DESKTOP, ROOT, Site, Tab
from tests.page.market import TUESDAY, slot_time

#: 14:05 on the Tuesday: what comes after it has not happened yet.
NOW = slot_time(TUESDAY, 550)
PICTURES = ROOT / "docs"


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="flow-pictures-"))
    folder.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    command = ["backfill", "--source", "synthetic:?seed=11", "--symbols", "SPX"]
    days = ["--from", "2026-11-23", "--to", str(TUESDAY), "--data-dir", str(folder)]
    with embedded.attach(folder, wait=True) as servers:
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "sampler", *command, *days],
            check=True,
            cwd=ROOT,
            env=environment,
        )
        with psycopg.connect(servers.database_url, autocommit=True) as admin:
            for table in ("rows", "profiles", "chains", "gaps"):
                admin.execute(f"delete from synthetic.{table} where slot > %s", [NOW])  # type: ignore[arg-type]
        async with (
            Store.open(servers.database_url, "synthetic", size=1) as store,
            RedisChannel.open(servers.redis_url, "flow:synthetic", store.identity) as channel,
            async_playwright() as play,
        ):
            site = Site(servers.database_url, servers.redis_url, store, channel)
            await site.start(NOW, dataset="synthetic")
            browser = await launch(play)
            for name, scheme, view, place in (
                ("page", "dark", "", ""),
                ("page-strikes", "light", "bar=30s", "#plot-price"),
            ):
                page = await browser.new_page(viewport=DESKTOP, color_scheme=scheme)  # type: ignore[arg-type]
                tab = Tab(page, site)
                await tab.open(view)
                await tab.shows("#heat-high", "dampens")
                await tab.shows("#link", "Live")
                if place:
                    await page.locator(place).scroll_into_view_if_needed()
                    await page.evaluate(
                        "scrollBy(0, document.querySelector('#plot-price').getBoundingClientRect().top - 90)"
                    )
                    box = await page.locator("#plot-price .u-over").bounding_box()
                    assert box is not None
                    await page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 90)
                await asyncio.sleep(0.5)
                await page.screenshot(path=PICTURES / f"{name}.png")
                tab.check()
            await browser.close()
            await site.stop()


if __name__ == "__main__":
    asyncio.run(main())
