"""The page in every state that a reader meets, at each width and in both themes: pictures to be looked at.

python -m tests.page.states screenshots [a part of a name]
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
from playwright.async_api import Browser, Error, async_playwright

from storage.embedded import attach as embedded
from storage.postgres.store import Store
from storage.record.row import Gap, Reason
from storage.redis.channel import RedisChannel
from tests.page.browser import launch
from tests.page.conftest import ROOT, Site, Tab
from tests.page.market import FRIDAY, TUESDAY, slot_time

FIRST = date(2026, 11, 18)
SYMBOLS = ("SPX", "SPY", "QQQ", "XSP")
WIDTHS = {1440: 900, 2560: 1440, 3440: 1440, 390: 844}
SCHEMES = ("light", "dark")


async def delete_after(site: Site, moment: datetime) -> None:
    """What comes after a moment has not happened yet."""
    async with await psycopg.AsyncConnection.connect(site.database_url, autocommit=True) as admin:
        for table in ("rows", "profiles", "chains", "gaps"):
            statement = f"delete from synthetic.{table} where slot > %s"
            await admin.execute(statement, [moment])  # type: ignore[arg-type]
        later = [moment.date()]
        await admin.execute("delete from synthetic.sessions where expiration > %s", later)
        await admin.execute("delete from synthetic.alerts")


async def leave_gaps(site: Site) -> None:
    """A long and a short gap this morning, and one that has no end yet."""
    gaps = [
        *((k, Reason.SOURCE_DOWN) for k in range(90, 130)),
        *((k, Reason.STALE) for k in range(200, 203)),
        *((k, Reason.STALE) for k in range(280, 301)),
    ]
    slots = [slot_time(TUESDAY, k) for k, _ in gaps]
    async with await psycopg.AsyncConnection.connect(site.database_url, autocommit=True) as admin:
        for table in ("rows", "profiles", "chains"):
            statement = f"delete from synthetic.{table} where symbol = 'SPX' and slot = any(%s)"
            await admin.execute(statement, [slots])  # type: ignore[arg-type]
    await site.put(
        gaps=[
            Gap(symbol="SPX", expiration=TUESDAY, slot=slot_time(TUESDAY, k), reason=reason)
            for k, reason in gaps
        ]
    )


async def raise_flags(site: Site) -> None:
    """The newest samples have flags, and no flip was measured."""
    async with await psycopg.AsyncConnection.connect(site.database_url, autocommit=True) as admin:
        await admin.execute(
            "update synthetic.rows set flags = %s, gamma_flip = null, regime_confidence = 0.61,"
            " gamma_flip_status = 'insufficient_local_coverage' where slot > %s",
            [["stale_spot", "wide_quotes", "volatility_spike"], slot_time(TUESDAY, 261)],
        )


async def nothing(site: Site) -> None:
    """The samples are as they were."""


#: State, the moment that it is, and what happens to the store before it: the latest moment first, since
#: each deletes what comes after it.
STATES: tuple[tuple[str, datetime, Callable[[Site], Awaitable[None]]], ...] = (
    ("after-the-close", slot_time(FRIDAY, 420) + timedelta(minutes=40), nothing),
    ("half-day", slot_time(FRIDAY, 405), nothing),
    ("last-ten-minutes", slot_time(TUESDAY, 767), nothing),
    ("noon", slot_time(TUESDAY, 300), nothing),
    ("gaps", slot_time(TUESDAY, 300), leave_gaps),
    ("flags", slot_time(TUESDAY, 270), raise_flags),
    ("open", slot_time(TUESDAY, 3), nothing),
)
#: Views of the noon beside the usual one.
VIEWS = {
    "": "",
    "-four": "watch=1&charts=4",
    "-replay": f"bar=30s&at={int(slot_time(TUESDAY, 200).timestamp())}",
    "-stored": "day=2026-11-20&compare=2026-11-19&metric=volume&tone=log&beside=volume",
}


async def picture(
    browser: Browser, site: Site, path: Path, view: str, width: int, scheme: str
) -> None:
    """One picture of the whole page, once everything on it has come."""
    size = {"width": width, "height": WIDTHS[width]}
    page = await browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    tab = Tab(page, site)
    await tab.open(view)
    # Parts further down ask for their answers once they are in sight.
    tall = await page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, tall, size["height"] // 2):
        await page.evaluate(f"scrollTo(0, {top})")
        await asyncio.sleep(0.1)
    await page.evaluate("scrollTo(0, 0)")
    try:
        await page.wait_for_load_state("networkidle", timeout=3000)
    except Error:
        # A stream is never idle.
        await asyncio.sleep(0.5)
    await page.screenshot(path=path, full_page=True)
    for error in tab.errors:
        print(f"{path.name}: {error}", file=sys.stderr)
    await page.close()


async def fill(folder: Path) -> None:
    """The simulated market's sessions, as a user fills them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    command = ["backfill", "--source", "synthetic:?seed=11", "--symbols", ",".join(SYMBOLS)]
    days = ["--from", str(FIRST), "--to", str(FRIDAY), "--data-dir", str(folder)]
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sampler", *command, *days],
        check=True,
        cwd=ROOT,
        env=environment,
    )


async def main(target: Path, fragment: str = "", data: str = "") -> None:
    """Picture every state into a folder; ``data`` is a folder of sessions that are filled already."""
    folder = Path(data or tempfile.mkdtemp(prefix="flow-states-"))
    folder.chmod(0o755)
    target.mkdir(exist_ok=True)
    with embedded.attach(folder, wait=True) as servers:
        if not data:
            await fill(folder)
        async with (
            Store.open(servers.database_url, "synthetic", size=1) as store,
            RedisChannel.open(servers.redis_url, "flow:synthetic", store.identity) as channel,
            async_playwright() as play,
        ):
            site = Site(servers.database_url, servers.redis_url, store, channel)
            browser = await launch(play)
            for state, now, change in STATES:
                await delete_after(site, now)
                await change(site)
                names = [
                    (f"{state}{name}-{width}-{scheme}", view, width, scheme)
                    for name, view in (VIEWS if state == "noon" else {"": ""}).items()
                    for width in WIDTHS
                    for scheme in SCHEMES
                ]
                chosen = [each for each in names if fragment in each[0]]
                if not chosen:
                    continue
                await site.start(now, dataset="synthetic", FLOW_SYMBOLS=",".join(SYMBOLS))
                for name, view, width, scheme in chosen:
                    await picture(browser, site, target / f"{name}.png", view, width, scheme)
                await site.stop()
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
