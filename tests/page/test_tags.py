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

from tests.page import market
from tests.page.conftest import Site
from tests.page.market import STRIKES, TUESDAY, slot_time
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

LABELS = "[...document.querySelectorAll('.tags li')].map((item) => item.textContent)"


async def test_labels_of_levels(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Coincident levels have one label, close ones stand below each other, far ones have an arrow."""
    records = market.day(TUESDAY)
    last = records[-1]
    last.row = dataclasses.replace(
        last.row, spot=6001.0, gamma_flip=6006.5, call_wall=6005.0, magnet=6005.0, put_wall=5900.0,
        remaining_1sd=2.5,
    )  # fmt: skip
    gex = np.where(STRIKES == 6005.0, 6.92e9, 0.0)
    assert last.profile is not None
    last.profile |= {"call_gex": gex, "put_gex": np.where(STRIKES == 5900.0, -3e7, 0.0)}
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows(".tags li", "bn")
    # (6005 − 6001)/2.5 = 1.6, (5900 − 6001)/2.5 = −40.4, (6006.5 − 6001)/2.5 = 2.2
    assert await tab.page.evaluate(LABELS) == [
        "Gamma flip 6,006.50 · +2.2 σ",
        "Call wall = magnet 6,005 · +$6.92 bn · +1.6 σ",
        "↓ Put wall 5,900 · −$30.0 mm · −40 σ",
    ]
    boxes = await tab.page.evaluate(
        "[...document.querySelectorAll('.tags li')].map((item) => item.getBoundingClientRect()).map((b) => [b.top, b.bottom])"
    )
    assert all(below[0] >= above[1] - 1.1 for above, below in itertools.pairwise(boxes))
    # The price stands at its height on the axis.
    assert await tab.text("#plot-price .tag.spot") == "6,001.00"
    narrow = await tabs(viewport={"width": 390, "height": 844})
    await narrow.open("bar=30s")
    await narrow.until(f"({LABELS}).join() === 'Flip 6,006.50,Call = magnet 6,005,↓ Put 5,900'")


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
