"""The verdict line: what the stored figures say, and nothing of what is not stored."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from storage.record.figures import HedgeShares
from storage.record.row import SlotRecord
from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

#: A sample at 12:45:00, and what must be said of it: worked out on paper.
SHORT = {
    "spot": 7490.0, "net_gex": -19.7e9, "regime": "negative_gamma", "regime_confidence": 0.9724,
    "gamma_flip": 7741.0, "gamma_flip_status": "available", "distance_to_flip_sigmas": 8.04,
    "flip_out_of_reach": True, "charm_dollars_per_hour": 0.8e9, "charm_horizon_seconds": 2700.0,
}  # fmt: skip
#: −1,308,411 shares at 7,490 $ are −9.80 bn $; +1,361,816 are 10.20 bn $.
SHARES = {"spot_down_half_pct": -1308411.0, "spot_up_half_pct": 1361816.0}
SHORT_SAYS = (
    "Short gamma −$19.70 bn per 1 %. A fall of 0.5 % makes dealers sell $9.80 bn, a rise buy"
    " $10.20 bn. Long gamma above 7,741.00, 8.0 σ away: out of reach today. Time alone makes them"
    " buy $0.80 bn by 13:30. Confidence of the sign 97 %."
)
LONG = SHORT | {
    "net_gex": 4.66e9, "regime": "positive_gamma", "regime_confidence": 0.99996, "gamma_flip": 7450.5,
    "distance_to_flip_sigmas": 12.3, "flip_out_of_reach": False, "charm_dollars_per_hour": -64e6,
}  # fmt: skip
LONG_SAYS = (
    "Long gamma +$4.66 bn per 1 %. A fall of 0.5 % makes dealers sell $9.80 bn, a rise buy"
    " $10.20 bn. Short gamma below 7,450.50, 12 σ away. Time alone makes them sell $64.0 mm by"
    " 13:30. Confidence of the sign >99 %."
)
#: What is null says so, and what a book never stored of its moves vanishes or says so.
BARE = SHORT | {
    "regime": "unknown", "regime_confidence": None, "gamma_flip": None, "distance_to_flip_sigmas": None,
    "gamma_flip_status": "insufficient_local_coverage", "flip_out_of_reach": None,
    "charm_dollars_per_hour": None, "charm_horizon_seconds": None, "flags": ("stale_spot",),
}  # fmt: skip
BARE_SAYS = (
    "The sign of dealers' gamma is not known. What a move makes them trade is not stored for this"
    " sample. Too few quotes to say where gamma changes sign. What time alone makes them trade is not"
    " measured for this sample. How sure the sign is was not measured. Flagged: stale spot."
)

#: A guess of a sign, no flip near, one side of a move that is nothing, and a flip that is reached.
GUESSED = SHORT | {
    "net_gex": 2.1e9, "regime": "positive_gamma", "regime_confidence": 0.604, "gamma_flip": None,
    "gamma_flip_status": "no_boundary", "distance_to_flip_sigmas": None, "flip_out_of_reach": None,
    "charm_dollars_per_hour": 120.0, "charm_horizon_seconds": 45.0,
}  # fmt: skip
GUESSED_SAYS = (
    "Long gamma +$2.10 bn per 1 %. A fall of 0.5 % makes dealers sell $9.80 bn, a rise trade next to"
    " nothing. Gamma keeps its sign at every level within 10 %. Time alone makes them trade next to"
    " nothing by 12:45:45. Confidence of the sign only 60 %, little better than a guess."
)
NO_RISE = SHARES | {"spot_up_half_pct": 0.01}
REACHED = SHORT | {
    "gamma_flip": 7490.5, "distance_to_flip_sigmas": 0.02, "flip_out_of_reach": False,
    "regime_confidence": 0.7,
}  # fmt: skip
REACHED_SAYS = SHORT_SAYS.replace(
    "7,741.00, 8.0 σ away: out of reach today", "7,490.50, less than 0.1 σ away"
).replace("sign 97 %", "sign 70 %")


def half_a_day(figures: dict[str, Any], shares: dict[str, float] | None) -> list[SlotRecord]:
    """Half a day of which the last sample, 12:45:00, has these figures."""
    records = market.day(TUESDAY, until=391)
    # A flip is shown once it has led for two minutes.
    near = {name: figures[name] for name in ("spot", "gamma_flip")}
    for record in records[-6:-1]:
        record.row = dataclasses.replace(record.row, **near)
    row = dataclasses.replace(records[-1].row, **figures)
    if shares is not None:
        hedging = HedgeShares.from_json(dict.fromkeys(dataclasses.asdict(EMPTY), 1.0) | shares)
        row = dataclasses.replace(row, detail=dataclasses.replace(row.detail, hedging=hedging))
    records[-1].row = row
    return records


EMPTY = HedgeShares.from_json({})
LINE = "[...document.querySelectorAll('#clauses .clause')].map((c) => c.textContent).join(' ')"


@pytest.mark.parametrize(
    ("figures", "shares", "says"),
    [
        (SHORT, SHARES, SHORT_SAYS),
        (LONG, SHARES, LONG_SAYS),
        (BARE, None, BARE_SAYS),
        (GUESSED, NO_RISE, GUESSED_SAYS),
        (REACHED, SHARES, REACHED_SAYS),
    ],
    ids=["short", "long", "bare", "guessed", "reached"],
)
async def test_what_it_says(
    fresh: Site, tabs: Callable[..., Any], figures: Any, shares: Any, says: str
) -> None:
    """Each clause is a stored figure; one that is missing says so. A phone shows it first."""
    await fresh.put(half_a_day(figures, shares))
    await fresh.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    tab = await tabs(viewport={"width": 390, "height": 844}, has_touch=True)
    await tab.open("bar=5m")
    await tab.until(f"({LINE}).replaceAll('\"', '') === {says!r}")
    assert await tab.text("#verdict-of") == "SPX 12:45:00"
    box = await tab.page.locator("#verdict").bounding_box()
    tiles = await tab.page.locator("#tiles").bounding_box()
    assert box is not None
    assert tiles is not None
    assert box["y"] + box["height"] <= min(tiles["y"], 844)


@pytest.mark.parametrize(
    ("minutes", "heading", "says"),
    [
        (1, "SPX 12:45:00", "Short gamma"),
        (47, "SPX 12:45:00", "No newer sample for 47 min; at 12:45:00 it was: Short gamma"),
        (200, "SPX 12:45:00", "Today's session is over; by its last sample: Short gamma"),
        (
            1440,
            "SPX Tue, Nov 24, 12:45:00",
            "This session is over; by its last sample: Short gamma",
        ),
    ],
    ids=["live", "stale", "closed", "next-day"],
)
async def test_what_is_past_is_said_to_be(
    fresh: Site, tab: Tab, minutes: int, heading: str, says: str
) -> None:
    """An old sample, and one of a session that is over, are not told as if they were of now."""
    await fresh.put(half_a_day(SHORT, SHARES))
    await fresh.start(slot_time(TUESDAY, 390) + timedelta(minutes=minutes))
    await tab.open("bar=30s" if minutes < 1000 else f"bar=30s&day={TUESDAY}")
    await tab.until(f"({LINE}).startsWith({says!r})")
    assert await tab.text("#verdict-of") == heading
    # In a replay of that moment it was the present.
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 389).timestamp())))
    await tab.until(f"({LINE}).startsWith('Short gamma')")


async def test_replay_and_links(fresh: Site, tabs: Callable[..., Any]) -> None:
    """A clause leads to its panel and explains itself; a replay says what was known then."""
    records = half_a_day(SHORT, SHARES)
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows("[data-clause=move]", "a rise buy $10.20 bn")
    assert "every contract priced anew" in (
        await tab.page.locator("[data-clause=move]").get_attribute("title") or ""
    )
    await tab.page.locator("[data-clause=charm]").focus()
    await tab.page.keyboard.press("Enter")
    await tab.until(
        "(() => { const b = document.getElementById('plot-vol').getBoundingClientRect();"
        " return b.top >= 0 && b.bottom <= innerHeight; })()"
    )
    await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, 389).timestamp())))
    await tab.shows("#verdict-of", "SPX 12:44:30")
    gex = records[389].row.net_gex
    await tab.shows("[data-clause=gamma]", re.compile(f"^Short gamma −\\${-gex / 1e9:.2f} bn"))
    # The later sample's moves were not known then, and this one has none.
    await tab.shows("[data-clause=move]", "is not stored for this sample")


async def test_the_ladder(fresh: Site, tabs: Callable[..., Any]) -> None:
    """Each move's dollars, shares and futures; contracts of ES are the dollars over 50 $ a point."""
    await fresh.put(half_a_day(SHORT, SHARES | {"spot_up_1pct": 2.5e6, "spot_down_1pct": -2.5e6}))
    await fresh.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows("#ladder-of", "at 12:45:00")
    head = await tab.page.locator("#ladder-columns th").all_inner_texts()
    assert head == ["Move", "Price", "Dealers", "Dollars", "Shares", "ES"]
    rows = [
        await row.locator("td").all_inner_texts()
        for row in await tab.page.locator("#ladder-rows tr").all()
    ]
    assert len(rows) == 8
    # 2,500,000 · 7,490 = 18.725 bn $; over 50 · 7,490 $ that is 50,000 contracts.
    assert rows[0] == ["+1 %", "7,564.90", "buy", "$18.73 bn", "2,500,000", "50,000"]
    assert rows[6] == ["−0.5 %", "7,452.55", "sell", "$9.80 bn", "1,308,411", "26,168"]
    assert rows[7] == ["−1 %", "7,415.10", "sell", "$18.73 bn", "2,500,000", "50,000"]


async def test_no_ladder(fresh: Site, tabs: Callable[..., Any]) -> None:
    """A sample without stored moves has no table of zeros."""
    await fresh.put(half_a_day(BARE, None))
    await fresh.start(slot_time(TUESDAY, 390) + timedelta(seconds=20))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows("#ladder-of", "at 12:45:00")
    await tab.shows("#ladder-none", "No moves are stored for this sample.")
    assert await tab.page.locator("#ladder-table").is_hidden()


#: Where each clause of the verdict ends that is in sight: above the fold and above the replay's bar.
IN_SIGHT = """() => {
  const edge = document.querySelector(".replay")?.getBoundingClientRect().top ?? 0;
  return [...document.querySelectorAll("#clauses .clause")]
    .filter((clause) => clause.getBoundingClientRect().bottom <= edge && !clause.closest("[hidden]"))
    .map((clause) => clause.textContent);
}"""


#: How many cold pages may be tried on a busy machine.
COLD_PAGES = 6


@pytest.mark.clocked
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desktop", "phone"])
async def test_the_four_answers_within_five_seconds(
    fresh: Site, tabs: Callable[..., Any], size: tuple[int, int]
) -> None:
    """From a cold page, without scrolling: which regime, which way at −0.5 %, how far, how sure.

    Other work on the machine only adds to the time, so the fastest of some cold pages counts.
    """
    await fresh.put(half_a_day(SHORT, SHARES))
    await fresh.start(slot_time(TUESDAY, 391))
    answers = ("Short gamma", "A fall of 0.5 % makes dealers sell", "8.0 σ away", "sign 97 %")
    missing: list[list[str]] = []
    for _ in range(COLD_PAGES):
        # Each has a browser's profile of its own: nothing is cached.
        tab = await tabs(viewport={"width": size[0], "height": size[1]})
        began = time.monotonic()
        await tab.page.goto(fresh.url, wait_until="commit")
        lacking = list(answers)
        while lacking and time.monotonic() - began < 5:
            shown = " ".join(await tab.page.evaluate(IN_SIGHT))
            lacking = [answer for answer in answers if answer not in shown]
        if not lacking and time.monotonic() - began < 5:
            return
        missing.append(lacking)
    pytest.fail(f"no page had all answers within five seconds; missing by page: {missing}")


async def test_age_in_a_replay(fresh: Site, tabs: Callable[..., Any]) -> None:
    """A replay says how old the data were at its moment; live it is the age of the newest."""
    missing = range(200, 220)
    await fresh.put(market.day(TUESDAY, until=391, missing=missing))
    await fresh.start(slot_time(TUESDAY, 391))
    tab = await tabs()
    await tab.open("bar=30s")
    await tab.shows("#age", "Data 3")
    for k, text in ((100, "Data 0 s old at 10:20:00"), (215, "Data 8 min old at 11:17:30")):
        await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, k).timestamp())))
        await tab.shows("#age", text)
    assert "warn" in str(await tab.page.locator("#age").get_attribute("class"))
    await tab.page.locator("#leave").click()
    await tab.shows("#age", re.compile(r"^Data \d+ s old$"))
