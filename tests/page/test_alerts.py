"""The page's list of alerts is the server's log; its rules judge 30 s samples, whatever is shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from storage.notify.messenger import Messenger
from storage.notify.notice import Notice
from storage.record.row import SlotRecord
from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The server's rules judge the session of the day alone: on the next morning it finds nothing.
NEXT_DAY = slot_time(TUESDAY, 780) + timedelta(hours=12)

#: A browser of a phone: the permission is given, and each notification refused.
PHONE = """globalThis.tried = 0;
globalThis.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor() { globalThis.tried++; throw new TypeError("Illegal constructor"); }
};
localStorage.setItem("flow.alerts", JSON.stringify({ notify: true }));"""


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(site: Site) -> AsyncIterator[Site]:
    """An empty store; the test starts the server."""
    await site.empty()
    yield site
    await site.stop()


def event(k: int, sentence: str, symbol: str = "SPX", kind: str = "regime") -> Notice:
    """A market event of a slot."""
    return Notice(
        kind=kind, category="market", symbols=(symbol,), began=slot_time(TUESDAY, k), lasting=False,
        session=TUESDAY, slot=slot_time(TUESDAY, k), sentence=f"{symbol}: {sentence}",
    )  # fmt: skip


async def test_the_log_is_listed(fresh: Site, tab: Tab) -> None:
    """The session's events with their times, the newest first; in a replay those of before."""
    messenger = Messenger(fresh.store.alerts, [])
    for notice in (
        event(100, "the regime has turned."),
        event(400, "the pin score has risen.", kind="pin_score"),
        event(200, "another symbol's event.", symbol="SPY"),
    ):
        assert await messenger.tell(notice)
    await fresh.put(market.day(TUESDAY))
    await fresh.start(NEXT_DAY)
    await tab.open(f"bar=15m&day={TUESDAY}")
    await tab.shows("#alert-list li", "the pin score has risen.")
    items = [text.split() for text in await tab.page.locator("#alert-list li").all_inner_texts()]
    assert [" ".join(words) for words in items] == [
        "12:50:00 the pin score has risen.",
        "10:20:00 the regime has turned.",
    ]
    assert await tab.text("#alert-count") == "2 in this session"
    for k, count in ((399, "1 in this session"), (99, ""), (400, "2 in this session")):
        await tab.page.locator("#scrub").fill(str(int(slot_time(TUESDAY, k).timestamp())))
        await tab.until(f"document.getElementById('alert-count').textContent === '{count}'")


async def test_an_empty_log_says_so(fresh: Site, tab: Tab) -> None:
    """A session that was filled in later has no events, which does not mean that nothing happened."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(NEXT_DAY)
    await tab.open()
    await tab.shows("#alert-list li", "No alert of this session in the server's log.")


async def test_a_rule_of_the_server(fresh: Site, tab: Tab, tmp_path: Path) -> None:
    """An event that the server finds is listed, and announced once; a phone refuses to show it."""
    numbers = {"above": 70, "hold_seconds": 0, "after_open_seconds": 0}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"kind": "pin_score"} | numbers]}))
    await tab.page.add_init_script(PHONE)
    rows = market.day(TUESDAY, until=70)
    await fresh.put(rows[:60])
    # At ten times the speed the page looks every three seconds.
    await fresh.start(slot_time(TUESDAY, 60), speed=10, FLOW_ALERT_RULES=str(rules))
    await tab.open("bar=15m")
    await tab.shows("#link", "Live")
    await tab.shows("#alert-list li", "No alert")
    for k in (60, 61, 62, 63):
        # The pin score rises in slot 61, and stays there; the bar of 15 minutes goes on until 10:14:30.
        row = dataclasses.replace(rows[k].row, pin_score=80 if k > 60 else 20)
        await fresh.put([SlotRecord(row=row, profile=rows[k].profile, evidence=rows[k].evidence)])
    await tab.shows("#alert-list li.pin_score", "the pin score has risen to 80", seconds=30)
    assert (await tab.text("#alert-list li time")) == "10:00:30"
    await tab.shows("#alerts-note", "This browser shows no notifications of pages.")
    assert await tab.page.evaluate("globalThis.tried") == 1
    await tab.page.locator("#alert-choices button").click()
    assert await tab.page.evaluate("globalThis.tried") == 2
    await tab.page.locator("#alert-choices input[name=mute]").check()
    await tab.page.locator("#alert-choices button").click()
    assert await tab.page.evaluate("globalThis.tried") == 2


async def test_rules_are_edited(fresh: Site, tab: Tab, tmp_path: Path) -> None:
    """The server's rules are shown, checked by the server, and changed in its file."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"kind": "pin_score", "above": 70}]}))
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60), FLOW_ALERT_RULES=str(rules))
    tab.away = True
    await tab.open()
    await tab.page.locator("#open-rules").click()
    text = tab.page.locator("#rules-text")
    await tab.until("document.getElementById('rules-text').value.includes('\"above\": 70')")
    await text.fill('{"rules": [{"kind": "pin_score", "above": 101}]}')
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "101 is not between")
    tab.errors.clear()
    await text.fill('{"rules": [{"kind": "pin_score", "above": 85}]}')
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "Saved")
    assert json.loads(rules.read_text()) == {"rules": [{"kind": "pin_score", "above": 85}]}
