"""The scorecard on the page: asked for when it is opened, with n beside each figure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage.market.calendar import sessions_between
from storage.scorecard.forecast import FORECAST_COLUMNS, freeze, freeze_moments
from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTHING = {
    "walls": [],
    "realised_vol": None,
    "autocorrelation": None,
    "return_bp": {"5": None, "15": None, "30": None},
}


async def score(site: Site, count: int) -> None:
    """A forecast of each of some earlier sessions, made afterwards; every second pin came true."""
    table = site.store.forecasts
    row = market.day(TUESDAY, until=60)[-1].row
    values = {name: getattr(row, name) for name in FORECAST_COLUMNS}
    values |= {"detail": row.detail.as_json(), "pin_probability_pct": 50.0}
    sessions = sessions_between(TUESDAY - timedelta(days=90), TUESDAY - timedelta(days=1))
    for number, session in enumerate(sessions[-count:]):
        moment = freeze_moments(session)[0]
        own = values | {"expiration": session.day, "slot": moment}
        forecast = freeze(own, moment, frozen_at=moment, simulated=True, flow_before=None)
        await table.settle(
            "SPX", session.day, 1.0, origin="entered", quoted_at=session.close, correct=True
        )
        settled = await table.settlements("SPX", session.day, session.day)
        line = {
            name: getattr(forecast, name)
            for name in ("symbol", "expiration", "source", "freeze_time", "content", "digest")
        }
        outcome = {"pin_hit": number % 2 == 0, "within_1sigma": True, "within_2sigma": True}
        await table.score(
            [
                line
                | {
                    "kind": "backfilled",
                    "definitions": forecast.definitions,
                    "settlement": settled[session.day]["sequence"],
                    "outcome": outcome | NOTHING,
                    "method": 1,
                }
            ]
        )


async def test_the_scorecard(fresh: Site, tab: Tab) -> None:
    """Closed it asks for nothing; opened it says what is scored, of which kind, and how sure."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open()
    assert not [url for url in tab.requested if "v1/scorecard" in url]
    await tab.page.locator("#scorecard summary").click()
    await tab.shows("#scorecard-note", "nothing is scored yet")
    await tab.shows("#scorecard-note", "10:00, 12:00, 14:00, 15:00, 15:30 New York")
    await score(fresh, 40)
    await tab.page.locator("#scorecard summary").click()
    await tab.page.locator("#scorecard summary").click()
    await tab.shows("#scorecard caption", "Made afterwards from stored rows: no record")
    await tab.shows("#scorecard caption", "40 forecasts of 40 sessions, simulated market")
    rows = await tab.page.locator("#scorecard tbody tr").all_inner_texts()
    cells = {row.split("\t")[0]: row.split("\t")[1:] for row in rows}
    assert cells["Pin"][0].startswith("predicted 50.0 %, came true 50.0 % (35.")
    assert cells["Pin"][1:] == ["40", "40", "agrees"]
    # 40 of 40 where 68.3 % are expected.
    assert cells["1σ range"][0].startswith("held 100.0 % (91.")
    assert cells["1σ range"][3] == "disagrees"
    assert cells["Brier score"][0].startswith("0.2500 (0.2500 to 0.2500), base rate 0.2500")
