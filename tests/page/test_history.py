"""Stored days: their shapes, one over the other, and what followed on days that opened alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from typing import Any

import pytest
import pytest_asyncio

from storage.market.calendar import session_on, sessions_between
from tests.api.rows import record
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Earlier days: each opens at 6,000 and closes 6 points a day's number higher or lower.
EARLIER = [s.day for s in sessions_between(TUESDAY - timedelta(days=40), TUESDAY)][-15:-1]
CHANGES = [-42, -36, -30, -24, -18, -12, -6, 6, 12, 18, 24, 30, 36, 42]


def course(day: date, change: float, *, iv: float = 0.2, gex: float = -1e9) -> list[Any]:
    """A day of a sample each five minutes, whose price goes straight; long gamma from noon on."""
    session = session_on(day)
    assert session is not None
    slots = session.slots[::10]
    return [
        record(
            slot,
            symbol="SPX",
            source="test",
            quoted_at=slot,
            spot=6000.0 + change * k / (len(slots) - 1),
            net_gex=gex if k < 30 else 1e9,
            regime="negative_gamma" if k < 30 and gex < 0 else "positive_gamma",
            atm_iv=iv,
            remaining_1sd=30.0,
        )
        for k, slot in enumerate(slots)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(site: Site) -> AsyncIterator[Site]:
    """Fourteen earlier days, of which one opened in long gamma and one with twice the volatility."""
    for n, (day, change) in enumerate(zip(EARLIER, CHANGES, strict=True)):
        changes = {0: {"gex": 1e9}, 1: {"iv": 0.4}}.get(n, {})
        await site.put(course(day, change, **changes))
    await site.put(course(TUESDAY, 15))
    await site.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    yield site
    await site.stop()


ROWS = "[...document.querySelectorAll('#history-days .day')].map((day) => [...day.querySelectorAll('b, span')].map((part) => part.textContent))"


async def test_days_and_what_followed(stored: Site, tabs: Callable[..., Any]) -> None:
    """Twelve of fourteen days opened alike: −30 to +42 points of 6,000; of them seven rose."""
    tab = await tabs()
    await tab.open("bar=5m")
    assert not [url for url in tab.requested if "/history/" in url]
    await tab.page.locator("#history").scroll_into_view_if_needed()
    await tab.shows("#history-like", "12 of 14 earlier sessions")
    text = await tab.text("#history-like")
    # Moves in %: −0.5, −0.4 ... −0.1, 0.1 ... 0.7. Quartiles at 2.75 and 8.25 of 0 to 11.
    for words in (
        "opened in short gamma with an ATM IV within a fifth of 20.00 %",
        "the middle half of them went −0.2",
        ", the median +0.15 %; 7 closed higher",
        # 0.1 to 0.5 % twice and 0.6, 0.7 once, of 0.5 % expected: the median of 20 ... 140 is 70 %.
        "The median size was 0.70 σ",
        "High to low: 0.35 % in the median",
    ):
        assert words in text
    rows = await tab.page.evaluate(ROWS)
    assert len(rows) == 15
    assert rows[0] == [
        "Tue, Nov 24", "+0.25 %, range 0.25 %", "opened short gamma, IV 20.00 %, 10 % stored",
    ]  # fmt: skip
    assert rows[14][2].startswith("opened long gamma")
    assert rows[13][2].startswith("opened short gamma, IV 40.00 %")
    # The ribbon: ten quarters of an hour short, sixteen long.
    kinds = "[...document.querySelectorAll('#history-days .day')[0].querySelectorAll('rect')].map((part) => part.getAttribute('class')).join()"
    assert await tab.page.evaluate(kinds) == ",".join(["short"] * 10 + ["long"] * 16)
    assert await tab.text("#history-key") == "10 earlier days, thin; Tue, Nov 24, bold"
    await tab.page.locator("#history-count").select_option("like")
    await tab.shows("#history-key", "12 earlier days")
    assert len([url for url in tab.requested if "/history/" in url]) == 1
    # A click shows the day, and its own past.
    await tab.page.locator("#history-days .day").nth(5).click()
    await tab.shows("#heading", "Nov")
    await tab.shows("#history-like", "fewer than 10, which says nothing yet")
    assert f"day={EARLIER[9]}" in tab.page.url
    assert len([url for url in tab.requested if "/history/" in url]) == 1


async def test_a_replay_knows_no_later_day(stored: Site, tabs: Callable[..., Any]) -> None:
    """Later days are not listed, and the shown one has its course up to the moment."""
    tab = await tabs()
    await tab.open(f"bar=5m&day={EARLIER[10]}")
    await tab.page.locator("#history").scroll_into_view_if_needed()
    await tab.shows("#history-days .day", "Tue, Nov 24")
    day = slot_time(EARLIER[10], 0)
    await tab.page.locator("#scrub").fill(
        str(int((day + timedelta(hours=1, minutes=1)).timestamp()))
    )
    await tab.until("document.querySelectorAll('#history-days .day').length === 11")
    rows = await tab.page.evaluate(ROWS)
    # The eleventh sample of 78, at 10:25: 24 points · 11/77 of 6,000.
    assert rows[0][1:] == ["+0.06 % so far, range 0.06 %", "opened short gamma, IV 20.00 %"]
    await tab.page.locator("#leave").click()
    await tab.until("document.querySelectorAll('#history-days .day').length === 15")
