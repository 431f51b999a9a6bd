"""Labels of the levels, and tags on the axes: what stands where, and nothing over another."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from storage.record.row import SlotRecord
from tests.page import market
from tests.page.conftest import Site
from tests.page.market import STRIKES, TUESDAY, slot_time
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

LABELS = "[...document.querySelectorAll('.tags li')].map((item) => item.textContent)"


def change(records: list[SlotRecord]) -> None:
    """Give some samples levels of their own."""
    for sample in records:
        sample.row = dataclasses.replace(
            sample.row, spot=6001.0, gamma_flip=6006.5, call_wall=6005.0, magnet=6005.0,
            put_wall=5900.0, remaining_1sd=2.5,
        )  # fmt: skip
        gex = np.where(STRIKES == 6005.0, 6.92e9, 0.0)
        assert sample.profile is not None
        sample.profile |= {"call_gex": gex, "put_gex": np.where(STRIKES == 5900.0, -3e7, 0.0)}


async def test_labels_of_levels(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Coincident levels have one label, close ones stand below each other, far ones have an arrow."""
    records = market.day(TUESDAY)
    # For two minutes and a slot: the server's held levels have moved too.
    change(records[-6:])
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows(".tags li", "bn")
    # (6005 − 6001)/2.5 = 1.6, (5900 − 6001)/2.5 = −40.4, (6006.5 − 6001)/2.5 = 2.2
    assert await tab.page.evaluate(LABELS) == [
        "Gamma flip 6,006.50 · +2.2 σ",
        "Call wall = magnet 6,005 · +$6.92 bn · +1.6 σ",
        # One unit: 30 mm beside 6.92 bn.
        "↓ Put wall 5,900 · −$0.03 bn · −40 σ",
    ]
    boxes = await tab.page.evaluate(
        "[...document.querySelectorAll('.tags li')].map((item) => item.getBoundingClientRect()).map((b) => [b.top, b.bottom])"
    )
    assert all(below[0] >= above[1] - 1.1 for above, below in itertools.pairwise(boxes))
    # The price stands at its height on the axis.
    assert await tab.text("#plot-price .tag.spot") == "6,001.00"
    narrow = await tabs(viewport={"width": 390, "height": 844})
    await narrow.open("bar=30s")
    await narrow.until(
        f"({LABELS}).join() === 'Flip 6,006.50 · +2.2 σ,Call = magnet 6,005 · +1.6 σ,↓ Put 5,900 · −40 σ'"
    )


async def test_held_levels(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Labels stand at the levels that the server holds, and name the sample's own beside them."""
    records = market.day(TUESDAY)
    change(records[-1:])
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    await tab.open("bar=30s")
    path = "/v1/flow/zero-dte/held-levels/SPX"
    held = (await fresh.get(path, bar="30s", minutes=390, date=str(TUESDAY)))["bars"][-1]
    assert 6005.0 not in held.values()
    await tab.shows(".tags li", "now 5,900")
    labels = " | ".join(await tab.page.evaluate(LABELS))
    # (6030 − 6001)/2.5 = 11.6 and so on.
    sigmas = (held["put_wall"] - 6001.0) / 2.5
    written = f"{sigmas:+.{1 if abs(sigmas) < 10 else 0}f}".replace("-", "−")
    assert f"Put wall {held['put_wall']:,.0f} · $0 · {written} σ · now 5,900" in labels
    # The tile has the held one with the sample's own beside it, and so has the card of the watchlist.
    assert await tab.tile("put_wall") == f"{held['put_wall']:,.0f}"
    note = f"{held['put_wall'] - 6001.0:+,.2f}".replace("-", "−")
    assert await tab.text(".tile[data-field=put_wall] .note") == f"{note} points · now 5,900"
    # The legend has both: the sample's own, and the held one where it differs.
    legend = "#legend-price dd[data-field={}]"
    assert await tab.text(legend.format("call_wall")) == "6,005"
    assert (await tab.text(legend.format("held_call_wall"))).startswith(f"{held['call_wall']:,.0f}")
    await tab.page.locator("#open-watch").click()
    await tab.shows(".card .levels", f"Put {held['put_wall']:,.0f} {written} σ (now 5,900)")


async def test_a_flip_that_leaps(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Tile, verdict, labels and watchlist have the held flip, and the sample's own beside it."""
    records = market.day(TUESDAY, until=391)
    for sample in records[-3:]:
        # 40 below a price of 6,100; the flips before are near 6,006.
        sample.row = dataclasses.replace(
            sample.row, spot=6100.0, gamma_flip=6060.0, remaining_1sd=50.0
        )
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 392) + timedelta(seconds=20))
    tab = await tabs()
    await tab.open("bar=30s&watch=1")
    held = records[-4].row.gamma_flip
    assert held is not None
    await tab.shows(".tile[data-field=gamma_flip] b", f"{held:,.2f}")
    # (6,006 − 6,100)/50 is −1.9.
    sigmas = f"{abs(held - 6100) / 50:.1f} σ"
    assert await tab.text(".tile[data-field=gamma_flip] .note") == (
        f"−{6100 - held:.2f} points · now 6,060.00"
    )
    verdict = (
        f"Gamma turns at {held:,.2f}, {sigmas} away; by this sample alone at 6,060.00, 0.8 σ away."
    )
    assert await tab.text("[data-clause=flip]") == verdict
    await tab.shows(".card .flip", verdict)
    await tab.shows(".tags li", f"Gamma flip {held:,.2f} · −{sigmas} · now 6,060.00")
    # Two minutes of it, in every sample: it is the flip.
    later = market.day(TUESDAY, until=393)[-2:]
    for sample in later:
        sample.row = dataclasses.replace(
            sample.row, spot=6100.0, gamma_flip=6060.0, remaining_1sd=50.0
        )
    await fresh.put(later)
    await tab.page.reload()
    await tab.shows(".tile[data-field=gamma_flip] .note", re.compile("^−40.00 points · −0.8 σ$"))


async def test_the_height_of_the_crosshair(fresh: Site, tabs: Callable[..., Any]) -> None:
    """The tag on the axis tells the value under the pointer, in the panel that it points at."""
    await fresh.put(market.day(TUESDAY))
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    box = await tab.settled_box("#plot-price .u-over")
    await tab.page.mouse.move(box["x"] + 300, box["y"] + 20)
    tag = "document.querySelector('#plot-price .tag:not(.spot)')"
    await tab.until(f"!{tag}.hidden")
    high = float((await tab.page.evaluate(f"{tag}.textContent")).replace(",", ""))
    await tab.page.mouse.move(box["x"] + 300, box["y"] + box["height"] / 2)
    await tab.until(f"parseFloat({tag}.textContent.replace(',', '')) < {high}")
    await tab.page.mouse.move(5, 5)
    await tab.until(f"{tag}.hidden")


@pytest.mark.parametrize("width", [1440, 390])
async def test_no_label_over_the_newest_price(
    fresh: Site, tabs: Callable[..., Any], width: int
) -> None:
    """Ten minutes before the close the newest price still stands left of every label."""
    records = market.day(TUESDAY, until=761)
    change(records[-6:])
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 761) + timedelta(seconds=10))
    tab = await tabs(viewport={"width": width, "height": 900})
    await tab.open("bar=30s")
    await tab.shows(".tags li", "bn" if width > 1000 else "Call")
    await tab.page.evaluate(
        "document.getElementById('plot-price').scrollIntoView({block: 'center'})"
    )
    box = await tab.settled_box("#plot-price .u-over")
    left = await tab.page.evaluate(
        "Math.min(...[...document.querySelectorAll('.tags li')].map((li) => li.getBoundingClientRect().left))"
    )
    assert left > box["x"] + box["width"] * 0.5
    # What is nearest to a place left of all labels is the newest sample, 15:50:00.
    await tab.page.mouse.move(left - 3, box["y"] + 5)
    await tab.shows("#moment", "15:50:00 ET")
    # A bar before it is farther left: the place is not beyond all samples by chance.
    await tab.page.mouse.move(left - 60, box["y"] + 5)
    await tab.until("!document.getElementById('moment').textContent.startsWith('15:50:00')")
