"""Levels as prices of futures and funds, by a basis that is given or sampled; exports in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storage.record.figures import DetailFigures
from storage.record.row import SlotRecord
from tests.page import market
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")


def with_forward(sample: SlotRecord) -> SlotRecord:
    """The same with a forward of December 52.25 points above today's, of quotes a minute older."""
    figures = {
        "future_forward": sample.row.forward + 52.25,
        "future_forward_scatter": 0.25,
        "other_expiries_age_seconds": 60.0,
    }
    sample.row = replace(sample.row, detail=DetailFigures.from_json(figures))
    return sample


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """Half a day of SPX and of SPY, which has a tenth of its price; served at 12:45."""
    await site.put(market.day(TUESDAY, until=391))
    await site.put(market.day(TUESDAY, until=391, symbol="SPY", base=600.0))
    await site.put(
        [with_forward(record) for record in market.day(TUESDAY, until=391, symbol="NDX")]
    )
    await site.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    yield site
    await site.stop()


TABLE = """[...document.querySelectorAll('#futures-table tr')].map((row) => [...row.children].map((cell) => cell.textContent))"""


async def test_a_fund_without_a_sample_of_the_moment(site: Site, tabs: Callable[..., Any]) -> None:
    """A related symbol that was not sampled then has dashes and a reason, no level of another time."""
    # XSP follows the same index; its samples end two hours before the index's newest one.
    await site.put(market.day(TUESDAY, until=150, symbol="XSP", base=600.0))
    await site.put(market.day(TUESDAY, until=391))
    await site.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-columns", "in XSP")
    _, *rows = await tab.page.evaluate(TABLE)
    table = {row[0]: row[1:] for row in rows}
    spot = (await site.bars(bar="30s"))[-1]["spot"]
    assert table["Spot"][0] == f"{spot:,.2f}"
    assert {tuple(row[1:]) for row in table.values()} == {("—", "—")}
    notes = await tab.text("#futures-notes")
    assert "in XSP: The two are not quoted within a minute of each other at this moment." in notes
    # Its own levels of two hours before are no levels of now.
    assert "XSP's own, in SPX: its newest sample of then is of 10:44:30" in notes
    # A moment at which both were sampled has both.
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 100).timestamp())))
    await tab.until(
        "document.querySelector('#futures-rows td:nth-child(3)')?.textContent !== '—'"
        " && document.getElementById('futures-notes').textContent.includes('in XSP: times ')"
    )
    tab.away = True
    await site.stop()
    await site.empty()


async def test_a_given_basis(stored: Site, tabs: Callable[..., Any]) -> None:
    """The future's price now gives the basis, which is kept with its age; levels move by it."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    assert not [url for url in tab.requested if "/v1/levels/" in url]
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    # The simulated chain has no options of December: the line says so, and no number stands there.
    await tab.shows("#futures-age", "ES: ES settles on 2026-12-18, and this sample has no forward")
    await tab.shows("#futures-columns", "in SPY")
    assert "in ES" not in await tab.text("#futures-columns")
    spot = (await stored.bars(bar="30s"))[-1]["spot"]
    await tab.page.locator("#futures-price").fill(f"{spot + 38.25:.2f}")
    await tab.page.get_by_role("button", name="Use", exact=True).click()
    await tab.shows("#futures-age", "ES: +38.25 points, given")
    await tab.shows("#futures-columns", "in ES")
    head, *rows = await tab.page.evaluate(TABLE)
    assert head == ["Level", "SPX", "in ES", "in SPY", "SPY's own, in SPX"]
    table = {row[0]: row[1:] for row in rows}
    # 6,025 in the index and 38.25 points more in the future; steps of a quarter.
    assert table["Call wall"][:2] == ["6,025.00", "6,063.25"]
    assert table["Spot"][0] == f"{spot:,.2f}"
    other = (await stored.bars(symbol="SPY", bar="30s"))[-1]["spot"]
    ratio = other / spot
    assert table["Call wall"][2] == f"{6025 * ratio:,.2f}"
    # SPY's own call wall at 625, over the same ratio.
    assert float(table["Call wall"][3].replace(",", "")) == pytest.approx(625 / ratio, abs=0.006)
    assert "in SPY: times " in await tab.text("#futures-notes")
    # It is kept, and forgotten.
    await tab.page.reload()
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-age", "ES: +38.25 points, given")
    await tab.page.locator("#futures-forget").click()
    await tab.shows("#futures-age", "ES: ES settles on 2026-12-18")


async def test_exports_in_the_future(stored: Site, tabs: Callable[..., Any]) -> None:
    """Text and script have the chosen instrument's prices, and say by which basis."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.page.locator("#futures-points").fill("40")
    await tab.page.get_by_role("button", name="Use", exact=True).click()
    await tab.shows("#futures-age", "ES: +40.00 points")
    await tab.page.keyboard.press("Escape")
    await tab.page.locator("#open-export").click()
    plain = "document.getElementById('export-plain').value"
    assert "Call wall" in await tab.page.evaluate(plain)
    await tab.page.locator("#export-in").select_option("ES")
    await tab.until(f"{plain}.includes('in ES prices (+40.00 points, given')")
    lines = (await tab.page.evaluate(plain)).splitlines()
    assert next(line for line in lines if line.startswith("Call wall")).split() == ["Call", "wall", "6,065.00"]  # fmt: skip
    pine = await tab.page.locator("#export-pine").input_value()
    assert 'hline(6065, "Call wall"' in pine
    await tab.page.locator("#export-in").select_option("SPX")
    await tab.until(f"!{plain}.includes('in ES prices') && {plain}.includes('6,025.00')")


async def test_a_future_by_parity(stored: Site, tabs: Callable[..., Any]) -> None:
    """A future's prices come from parity, with day and age; levels are held ones, the own beside."""
    tab = await tabs()
    # Half a minute after the magnet of the samples has moved from 6,000 to 6,010: it is held still.
    moment = int(slot_time(TUESDAY, 301).timestamp())
    await tab.open(f"bar=30s&symbol=NDX&day={TUESDAY}&at={moment}")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-columns", "in NQ")
    await tab.shows(
        "#futures-age", "NQ: +52.25 points, by put-call parity of the options of Fri, Dec 18"
    )
    # The quotes of another expiration are a minute older than the sample's own.
    assert "within 0.25), quotes 74 s old" in await tab.text("#futures-age")
    await tab.shows("#futures-rows", "6,052.25 · now 6,062.25")
    table = {row[0]: row[1:] for row in await tab.page.evaluate(TABLE)}
    assert table["Magnet"] == ["6,000.00 · now 6,010.00", "6,052.25 · now 6,062.25"]
    assert table["Call wall"] == ["6,025.00", "6,077.25"]
    await tab.page.locator("#open-export").click()
    plain = "document.getElementById('export-plain').value"
    own = (await tab.page.evaluate(plain)).splitlines()
    assert next(line for line in own if line.startswith("Magnet")).split()[1:] == ["6,000.00", "now", "6,010.00"]  # fmt: skip
    assert any(line.startswith("Flip, walls and magnet as held") for line in own)
    await tab.page.locator("#export-in").select_option("NQ")
    await tab.until(f"{plain}.includes('in NQ prices (+52.25 points, by put-call parity')")
    lines = (await tab.page.evaluate(plain)).splitlines()
    assert next(line for line in lines if line.startswith("Magnet")).split()[1:] == ["6,052.25", "now", "6,062.25"]  # fmt: skip
    pine = await tab.page.locator("#export-pine").input_value()
    assert 'hline(6052.25, "Magnet"' in pine
    assert "// now 6062.25" in pine


async def test_an_earlier_moment(stored: Site, tabs: Callable[..., Any]) -> None:
    """A price of now is no basis beside an earlier moment's; points may still be given."""
    tab = await tabs()
    await tab.open("bar=30s&symbol=SPX")
    await tab.page.locator("#futures").scroll_into_view_if_needed()
    await tab.shows("#futures-columns", "in SPY")
    assert await tab.page.locator("#futures-price").is_enabled()
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 100).timestamp())))
    await tab.until("document.getElementById('futures-price').disabled")
    bars = await stored.bars(bar="30s")
    await tab.shows("#futures-rows", f"{bars[100]['spot']:,.2f}")
    # SPY's price is of that moment too: one of the minute after it would be the replay's future.
    ratio = (await stored.bars(symbol="SPY", bar="30s"))[100]["spot"] / bars[100]["spot"]
    table = {row[0]: row[1:] for row in await tab.page.evaluate(TABLE)}
    assert table["Call wall"][1] == f"{6025 * ratio:,.2f}"
