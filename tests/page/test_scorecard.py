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

    # Each figure says how it is made and what it is not, by click and by keyboard.
    for name, title in (
        ("Pin", "how often pins came true"),
        ("Brier score", "Brier score of the pins"),
        ("1σ range", "how often the ranges held"),
    ):
        cell = tab.page.locator(f"#scorecard tbody tr:has(th:text-is('{name}')) td").first
        await cell.press("Enter")
        await tab.shows("#explain-title", title)
        body = await tab.text("#explain-body")
        assert (
            f"Made afterwards from stored rows: no record. {name}: {cells[name][0]}; 40 forecasts of 40 sessions."
            in body
        )
        assert "Formula" in body
        assert "What it is not" in body
        await tab.page.keyboard.press("Escape")
        assert await tab.page.locator("#explain").is_hidden()


async def test_every_row_of_the_scorecard_has_its_formula(fresh: Site, tab: Tab) -> None:
    """Also rows that the stored sessions above do not have: walls, regime, flow."""
    await fresh.put(market.day(TUESDAY, until=3))
    await fresh.start(slot_time(TUESDAY, 5))
    await tab.open()
    missing = await tab.page.evaluate(
        """async () => {
        const { rowsOf } = await import("./static/scorecard.js");
        const { PAGE_FIGURES } = await import("./static/meanings.js");
        const rate = { n: 9, sessions: 9, verdict: "agrees", happened_pct: 50, within_pct: 50, rate_pct: 50, same_sign_pct: 50, expected_pct: 68.3, predicted_pct: 50, mean_bp: 1, brier: 0.2, brier_of_base_rate: 0.2 };
        const pair = { walls: rate, other_levels: rate, verdict: "difference" };
        const part = { raw: { value: 1 }, conditioned: { value: 1, low: 0, high: 2, verdict: "difference" } };
        const rows = rowsOf({ pin: { ...rate, deciles: [{ ...rate, from_pct: 40, to_pct: 50 }] }, range_1sigma: rate, range_2sigma: rate,
          walls: { touched: pair, broken_once_touched: pair },
          regime: { ...rate, volatility_difference_pct: part, autocorrelation_difference: part }, flow: { "5m": rate } });
        return [rows.length, rows.filter(({ figure }) => !PAGE_FIGURES[figure]).map(({ texts }) => texts[0])];
        }"""
    )
    assert missing == [10, []]
