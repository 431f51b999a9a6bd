"""The page on a store that has only the session of the package, while the sampler compiles."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from storage.config.running import FormulasNote
from storage.market.calendar import session_on
from storage.parquet.example_day import read_example, store_example
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.page import market
from tests.page.conftest import Site, Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The simulated market's first session; of the one before it nothing is stored.
TODAY = market.TUESDAY


@pytest_asyncio.fixture(loop_scope="module")
async def starting(site: Site) -> AsyncIterator[Site]:
    """A new simulated dataset with the session of the package; the test starts the server."""
    await migrate(site.database_url, "synthetic")
    async with (
        Store.open(site.database_url, "synthetic", size=2) as store,
        RedisChannel.open(site.redis_url, "flow:synthetic", store.identity) as channel,
    ):
        await store_example(store, "synthetic")
        own = Site(site.database_url, site.redis_url, store, channel)
        yield own
        await own.stop()


async def open_waiting(site: Site, tab: Tab, start: datetime, begun: Path) -> None:
    """Open the page of a simulated market that stands at its start until the file has a time."""
    await site.start(
        start,
        dataset="synthetic",
        FLOW_CLOCK=f"simulated:{start.isoformat()}@60@{begun}",
        FLOW_DATA_DIR=str(begun.parent),
        FLOW_SYMBOLS="SPX,SPY,QQQ",
    )
    tab.site = site
    tab.home = site.url
    await tab.open()


async def test_from_the_first_figure_to_today_without_a_reload(
    starting: Site, tab: Tab, tmp_path: Path
) -> None:
    """The stored session, what is compiled and how far that is; then today's first sample."""
    session = session_on(TODAY)
    start = session.open - timedelta(seconds=1)
    begun = tmp_path / "begun"
    note = FormulasNote(tmp_path)
    note.say(done=7, total=15, seconds=14.4, expected=31.0)
    await open_waiting(starting, tab, start, begun)
    newest = read_example()[0][-1].row
    assert await tab.tile("spot") == f"{newest.spot:,.2f}"
    words = await tab.text("#starting")
    assert "You see a simulated session of Tue, Nov 10, 2026." in words
    assert "The formulas are being compiled, once on this machine" in words
    assert "today's simulated session begins then, on this page" in words
    assert "7 of 15 parts, 14 of about 31 s" in words
    assert await tab.page.evaluate("document.getElementById('starting-part').value") == 7
    assert await tab.text("#market") == "Today has not begun"
    assert await tab.text("#clock") == ""
    assert await tab.page.locator("#notice").is_hidden()
    assert await tab.page.locator("#simulated").is_visible()

    note.say(done=12, total=15, seconds=25.0, expected=31.0)
    await tab.shows("#starting-time", "12 of 15 parts, 25 of about 31 s", seconds=5)
    note.close()
    await tab.shows("#starting-words", "The sampler starts", seconds=5)

    await tab.page.evaluate("window.sameDocument = true")
    draft = tmp_path / "draft"
    draft.write_text(datetime.now(UTC).isoformat())
    os.replace(draft, begun)
    await tab.until("document.getElementById('starting').hidden", seconds=6)
    rows = [r for symbol in ("SPX", "SPY") for r in market.day(TODAY, until=4, symbol=symbol)]
    await starting.put(rows[1:4] + rows[5:])
    spot = rows[3].row.spot
    await tab.shows(".tile[data-field=spot] b", f"{spot:,.2f}", seconds=10)
    await tab.shows("#link", "Live")
    assert "Nov 24" in await tab.text("#heading")
    assert "open" in (await tab.text("#market")).lower()
    # What is sampled now can be chosen, without waiting for the next look at the symbols.
    await tab.until(
        "[...document.querySelectorAll('#symbol option')].map((o) => o.value).join() === 'SPX,SPY'"
    )
    assert await tab.page.evaluate("window.sameDocument") is True


async def test_a_real_market_without_a_sample_yet(site: Site, tab: Tab, tmp_path: Path) -> None:
    """No other session is shown in its place: the line says what it waits for."""
    await site.empty()
    note = FormulasNote(tmp_path)
    note.say(done=0, total=15, seconds=0.0, expected=31.0)
    await site.start(market.slot_time(TODAY, 60), FLOW_DATA_DIR=str(tmp_path))
    try:
        await tab.open()
        await tab.shows("#starting-words", "being compiled")
        assert "samples come then." in await tab.text("#starting-words")
        assert await tab.page.locator("#notice").is_hidden(), await tab.text("#notice")
        assert "Open" in await tab.text("#market")
        note.close()
        await tab.until("document.getElementById('starting').hidden", seconds=6)
        await tab.shows("#notice", "Nothing has been sampled yet")
    finally:
        note.close()
        await site.stop()


async def test_a_market_that_goes_on_after_a_wait(starting: Site, tab: Tab, tmp_path: Path) -> None:
    """A run that continues in the middle of a session: the page's clock runs as fast as the market's."""
    start = market.slot_time(TODAY, 120)
    begun = tmp_path / "begun"
    await starting.put(market.day(TODAY, until=120))
    await open_waiting(starting, tab, start, begun)
    await tab.shows("#starting-words", "The sampler starts")
    # As long as a page may stand before the market begins.
    await asyncio.sleep(4)
    draft = tmp_path / "draft"
    draft.write_text((datetime.now(UTC) + timedelta(seconds=3)).isoformat())
    os.replace(draft, begun)
    await tab.until(
        "document.getElementById('clock').title.includes('running 60 times')", seconds=15
    )
