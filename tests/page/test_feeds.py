"""A session that is stored of two feeds: the page offers the choice, and shows the chosen one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import of_feed, settled
from tests.page.test_sessions import headline, tiles

pytestmark = pytest.mark.asyncio(loop_scope="module")

MONDAY = TUESDAY - timedelta(days=1)
THETA, CBOE = of_feed("theta", 64, 7000.0), of_feed("cboe", 64, 6000.0)
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True}


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(site: Site) -> AsyncIterator[Site]:
    """Sixty slots of two feeds on the Tuesday; the Monday is of one."""
    await site.empty()
    await site.store.own({"SPX": "theta"}, TUESDAY)
    await site.store.own({"SPX": "cboe"}, TUESDAY, fallback=True)
    await site.put([*THETA[:60], *CBOE[:60], *market.day(MONDAY, until=60, base=5000.0)])
    await site.start(slot_time(TUESDAY, 63))
    yield site
    await site.stop()


def feeds_of(requested: list[str]) -> set[tuple[str, str]]:
    """What was asked of sessions, and ``feed`` of each; "" without one."""
    urls = [urlsplit(url) for url in requested if "/v1/flow/zero-dte/" in url]
    return {
        (
            "stream" if url.path.endswith("/stream") else url.path.split("/")[4],
            parse_qs(url.query).get("feed", [""])[0],
        )
        for url in urls
    }


async def test_a_feed_is_chosen(fresh: Site, tab: Tab, tabs: Callable[..., Any]) -> None:
    """It is named, stands in the link and in every request, and its rows come by the stream."""
    await tab.open("bar=30s")
    await tab.shows("#source", "Feed theta (also stored: cboe)")
    await settled(tab, THETA[59].row.as_json())
    assert await tab.page.locator("#feed option").all_inner_texts() == [
        "Auto (theta)", "cboe", "theta",
    ]  # fmt: skip
    kinds = ("series", "heatmap", "sessions", "stream")
    # These are asked for when the page has time.
    late = {(kind, "") for kind in ("snapshot", "pressure", "held-levels")}
    assert feeds_of(tab.requested) - late == {(kind, "") for kind in kinds}
    tab.requested.clear()
    await tab.page.locator("#feed").select_option("cboe")
    await settled(tab, CBOE[59].row.as_json())
    await tab.shows("#source", "Feed cboe (also stored: theta)")
    await tab.shows("#link", "Live")
    assert await tab.page.locator("#notice").is_hidden()
    requests = feeds_of(tab.requested) - late
    assert requests - {(kind, "cboe") for kind, _ in late} == {(kind, "cboe") for kind in kinds}
    # A row of the other feed changes nothing; one of this feed comes by the stream.
    await fresh.put([THETA[60]])
    await fresh.put([CBOE[61]])
    await settled(tab, CBOE[61].row.as_json())
    await tab.page.locator("#bars summary").click()
    await tab.shows("#rows td", re.compile(r"\d"))
    shown = await tab.page.locator("#rows td:first-child").all_inner_texts()
    assert shown[:2] == ["10:00:30", "09:59:30"]
    await tab.page.locator("#open-export").click()
    link = await tab.page.locator("#export-link").input_value()
    assert "feed=cboe" in link
    assert "UTC), feed cboe\n" in await tab.page.locator("#export-plain").input_value()
    async with tab.page.expect_download() as waited:
        await tab.page.locator("#export-csv").click()
    saved = await waited.value
    assert saved.suggested_filename == f"SPX_{TUESDAY}_30s_cboe.csv"
    assert len((await saved.path()).read_text().splitlines()) == 1 + 61
    await tab.page.locator("#export [data-close]").click()
    other = await tabs()
    await other.open(link.partition("#")[2])
    await settled(other, CBOE[61].row.as_json())
    await other.chooses("feed", "cboe")
    await other.page.locator("#feed").select_option("")
    await settled(other, THETA[60].row.as_json())
    assert "feed" not in await other.page.evaluate("location.hash")


async def test_there_is_no_choice_of_one_feed(fresh: Site, tab: Tab) -> None:
    """The picker is hidden; a link to a feed that was never there says so, and can be undone."""
    await tab.open(f"day={MONDAY}")
    await tab.shows("#source", "Feed test")
    assert await tab.page.locator("#feeds").is_hidden()
    tab.away = True  # the browser complains of status 400
    await tab.page.evaluate(f"location.hash = 'symbol=SPX&feed=tradier&day={MONDAY}'")
    await tab.shows(
        "#notice",
        f"SPX, {MONDAY}, bars of 1m, feed tradier cannot be shown: SPX has no rows of the feed"
        " tradier; it has cboe, test, theta",
    )
    assert (await tab.text("#notice")).count("has no rows") == 1
    await tab.page.locator("#feed").select_option("")
    await tab.page.locator("#notice").wait_for(state="hidden")
    assert headline((await fresh.bars(date=MONDAY))[-1]) == await tiles(tab)
    tab.errors = [error for error in tab.errors if "status of 400" not in error]


async def test_the_choice_on_a_phone(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Six pickers fill two rows, and nothing hangs over the edge."""
    tab = await tabs(**PHONE)
    await tab.open("feed=cboe")
    await tab.shows("#source", "Feed cboe")
    assert await tab.page.evaluate("document.scrollingElement.scrollWidth") == 390
    boxes = [
        await tab.page.locator(f"#{name}").bounding_box()
        for name in ("symbol", "feed", "day", "bar", "window", "compare")
    ]
    assert len({round(box["y"]) for box in boxes}) == 2
    assert len({round(box["width"]) for box in boxes}) == 1
