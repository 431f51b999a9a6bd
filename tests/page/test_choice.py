"""What is wanted and what is shown: no symbol's figures ever stand under another one's name."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from typing import Any

import pytest
from playwright.async_api import Error

from tests.page import market
from tests.page.conftest import SERIES, Site, Tab
from tests.page.market import FRIDAY, TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = "document.body.classList.contains('pending')"


async def two_symbols(site: Site) -> tuple[str, str]:
    """Stores a morning of SPX and one of SPY; returns their newest spots as the page has them."""
    await site.empty()
    spx = market.day(TUESDAY, until=60)
    spy = [market.sample(slot_time(TUESDAY, k), k, symbol="SPY", base=600.0) for k in range(60)]
    await site.put([*spx, *spy])
    return tuple(f"{rows[-1].row.spot:,.2f}" for rows in (spx, spy))  # type: ignore[return-value]


async def test_a_server_that_is_away_while_a_symbol_is_chosen(site: Site, tab: Tab) -> None:
    """SPX's figures stay, dimmed and named, until SPY's are there: by themselves, once it is back."""
    spx, spy = await two_symbols(site)
    await site.start(slot_time(TUESDAY, 60))
    tab.away = True
    await tab.open("symbol=SPX")
    await tab.shows(".tile[data-field=spot] b", spx)
    assert not await tab.page.evaluate(SHOWN)
    await site.stop()
    await tab.page.locator("#symbol").select_option("SPY")
    await tab.until(SHOWN)
    await tab.shows(
        "#notice", "SPY, the newest session, bars of 1m cannot be shown: The server does"
    )
    await tab.shows("#notice", "The figures below are still those of SPX, 2026-11-24, bars of 1m.")
    assert await tab.tile("spot") == spx
    # The notice stays as long as that is so.
    await asyncio.sleep(3)
    assert await tab.page.evaluate(SHOWN)
    assert "still those of SPX" in await tab.text("#notice")
    assert (await tab.page.title()).startswith("SPX ")
    await site.start(slot_time(TUESDAY, 60))
    await tab.shows(".tile[data-field=spot] b", spy, seconds=30)
    assert not await tab.page.evaluate(SHOWN)
    await tab.page.locator("#notice").wait_for(state="hidden")
    assert (await tab.page.title()).startswith("SPY ")
    await site.stop()


async def test_a_slow_server(site: Site, tab: Tab) -> None:
    """While SPY's answer takes its time, the page says whose figures it shows."""
    spx, spy = await two_symbols(site)
    await site.start(slot_time(TUESDAY, 60))
    tab.away = True
    await tab.open("symbol=SPX")
    await tab.shows(".tile[data-field=spot] b", spx)

    async def late(route: Any) -> None:
        await asyncio.sleep(3)
        await route.continue_()

    await tab.page.route(f"**{SERIES}SPY?*", late)
    await tab.page.locator("#symbol").select_option("SPY")
    await tab.until(SHOWN, 2)
    await tab.shows("#notice", "Loading SPY, the newest session, bars of 1m. The figures below")
    assert await tab.tile("spot") == spx
    assert await tab.text("#link") != "Live"
    await tab.shows(".tile[data-field=spot] b", spy)
    assert not await tab.page.evaluate(SHOWN)
    # Back at once: the answer to a choice that was given up changes nothing.
    await tab.page.unroute(f"**{SERIES}SPY?*")
    await tab.page.route(f"**{SERIES}SPX?*", late)
    await tab.page.locator("#symbol").select_option("SPX")
    await tab.until(SHOWN, 2)
    await tab.page.locator("#symbol").select_option("SPY")
    await asyncio.sleep(4)
    assert await tab.tile("spot") == spy
    assert not await tab.page.evaluate(SHOWN)
    await site.stop()


async def test_a_stored_session_is_not_open(site: Site, tab: Tab) -> None:
    """On an open Friday the page of Tuesday says that it is stored, and of today that it is open."""
    await site.empty()
    await site.put([*market.day(TUESDAY), *market.day(FRIDAY, until=60)])
    await site.start(slot_time(FRIDAY, 60))
    tab.away = True
    await tab.open("symbol=SPX&day=2026-11-24")
    await tab.shows("#market", re.compile("^Stored session of Tue, Nov 24$"))
    await tab.page.locator("#day").select_option("")
    await tab.shows("#market", re.compile("^Open, closes in "))
    await site.stop()


async def test_a_key_can_be_changed(site: Site, tab: Tab) -> None:
    """The dialog of the key is a button's, whatever the server has said."""
    await two_symbols(site)
    await site.start(slot_time(TUESDAY, 60))
    tab.away = True
    await tab.open("symbol=SPX")
    await tab.page.locator("#open-key").click()
    await tab.page.locator("#key").fill("another")
    await tab.page.keyboard.press("Enter")
    await tab.page.locator("#key-dialog").wait_for(state="hidden")
    assert await tab.page.evaluate("localStorage.getItem('flow.key')") == "another"
    await tab.page.evaluate("localStorage.removeItem('flow.key')")
    await site.stop()


#: The page gives an answer 20 s; here four.
HASTY = "const patient = AbortSignal.timeout; AbortSignal.timeout = (ms) => patient.call(AbortSignal, ms / 5);"


async def test_a_server_that_hangs_while_a_symbol_is_chosen(site: Site, tab: Tab) -> None:
    """It takes connections and answers nothing: SPX's figures are never under SPY's name."""
    spx, spy = await two_symbols(site)
    await site.start(slot_time(TUESDAY, 60))
    tab.away = True
    await tab.page.add_init_script(HASTY)
    await tab.open("symbol=SPX")
    await tab.shows(".tile[data-field=spot] b", spx)
    await tab.shows("#link", "Live")
    assert site.process is not None
    site.process.send_signal(signal.SIGSTOP)
    try:
        await tab.page.locator("#symbol").select_option("SPY")
        await tab.until(SHOWN, 2)
        await tab.shows("#notice", "Loading SPY, the newest session, bars of 1m. The figures below")
        assert await tab.text("#link") != "Live"
        # Given up, said, and tried again.
        await tab.shows(
            "#notice", "SPY, the newest session, bars of 1m cannot be shown: The server"
        )
        assert "Trying again" in await tab.text("#notice")
        assert await tab.tile("spot") == spx
        assert "SPX" in await tab.text("#heading")
        assert (await tab.page.title()).startswith("SPX ")
    finally:
        site.process.send_signal(signal.SIGCONT)
    await tab.shows(".tile[data-field=spot] b", spy, seconds=30)
    await tab.until(f"!({SHOWN})")
    await tab.page.locator("#notice").wait_for(state="hidden")
    await tab.shows("#link", "Live")
    await site.stop()


async def test_a_session_that_comes_six_seconds_late(site: Site, tab: Tab) -> None:
    """Every answer about a session is six seconds late: the panels change together, and only then."""
    spx, spy = await two_symbols(site)
    await site.start(slot_time(TUESDAY, 60))
    tab.away = True
    await tab.open("symbol=SPX")
    await tab.shows(".tile[data-field=spot] b", spx)

    async def late(route: Any) -> None:
        await asyncio.sleep(6)
        # The page may have given the request up meanwhile.
        with contextlib.suppress(Error):
            await route.continue_()

    await tab.page.route("**/v1/**/SPY?*", late)
    await tab.page.locator("#symbol").select_option("SPY")
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        assert await tab.page.evaluate(SHOWN)
        texts = {name: await tab.text(name) for name in ("#heading", "#verdict-of")}
        assert {text.split()[0].strip(",") for text in texts.values() if text} == {"SPX"}
        assert await tab.tile("spot") == spx
        assert (await tab.page.title()).startswith("SPX ")
        await asyncio.sleep(0.3)
    await tab.shows(".tile[data-field=spot] b", spy)
    assert "SPY" in await tab.text("#heading")
    assert not await tab.page.evaluate(SHOWN)
    await tab.page.unroute_all(behavior="ignoreErrors")
    await site.stop()
