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


async def test_an_event_is_muted_and_explained(fresh: Site, tab: Tab, tmp_path: Path) -> None:
    """One press mutes the rule of an event for an hour, another one ends that; its words explain it."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"kind": "wall"}, {"kind": "pin_score", "above": 70}]}))
    messenger = Messenger(fresh.store.alerts, [])
    moved = event(50, "the put wall has moved from 5975 to 5980.", kind="wall")
    figures = {"rule": "wall", "level": "put_wall", "from": 5975.0, "to": 5980.0, "lead": 1.5}
    assert await messenger.tell(dataclasses.replace(moved, figures=figures))
    assert await messenger.tell(event(40, "an event of a fault.", kind="late_quotes"))
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60), FLOW_ALERT_RULES=str(rules))
    await tab.open("bar=30s")
    await tab.shows("#alert-list li", "an event of a fault.")
    # What no rule has found can neither be muted by a rule nor explained by a figure.
    assert await tab.page.locator("#alert-list button").count() == 2
    await tab.page.locator("#alert-list .plain").click()
    await tab.shows("#explain h2", "put wall")
    await tab.shows("#explain .muted", "sample of 09:55:00 ET")
    await tab.shows("#explain", "The rule “wall” judged by: from 5,975, to 5,980, lead 1.5.")
    await tab.page.keyboard.press("Escape")
    await tab.page.locator("#alert-list .mute").click()
    await tab.shows("#alerts-note", "The rule “wall” is muted until 11:00 ET")
    wall, pin = json.loads(rules.read_text())["rules"]
    assert wall["muted_until"].startswith("2026-11-24T16:00:")
    assert "muted_until" not in pin
    await tab.shows("#alert-list .mute", "Unmute")
    await tab.page.locator("#alert-list .mute").click()
    await tab.shows("#alerts-note", "is muted no longer")
    assert all("muted_until" not in rule for rule in json.loads(rules.read_text())["rules"])


async def test_a_rule_that_cannot_be_muted(fresh: Site, tab: Tab) -> None:
    """Built-in rules are no file of the server: the page says what the server says."""
    messenger = Messenger(fresh.store.alerts, [])
    happened = dataclasses.replace(event(50, "the pin score has risen.", kind="pin_score"), figures={"rule": "pin_score"})  # fmt: skip
    assert await messenger.tell(happened)
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open("bar=30s")
    await tab.page.locator("#alert-list .mute").click()
    await tab.shows("#alerts-note", "FLOW_ALERT_RULES")
    tab.errors.clear()


async def test_rules_are_edited(fresh: Site, tab: Tab, tmp_path: Path) -> None:
    """A form a rule with the server's bounds; the server checks them, and its file changes."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"kind": "pin_score", "above": 70}]}))
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60), FLOW_ALERT_RULES=str(rules))
    tab.away = True
    await tab.open()
    await tab.page.locator("#open-rules").click()
    above = tab.page.locator(".rule[data-kind=pin_score] [name=above]")
    await above.wait_for()
    assert await above.input_value() == "70"
    assert [await above.get_attribute(name) for name in ("min", "max")] == ["1", "100"]
    await above.fill("101")
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "above")
    assert json.loads(rules.read_text())["rules"][0]["above"] == 70
    # What the form allows and the server refuses: 85 is not below 80.
    await above.fill("80")
    await tab.page.locator(".rule [name=band]").fill("85")
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "band: not below above")
    tab.errors.clear()
    await tab.page.locator(".rule [name=band]").fill("")
    await tab.page.locator("#rules-kind").select_option("wall")
    await tab.page.locator("#rules-add").click()
    wall = tab.page.locator(".rule[data-kind=wall]")
    await wall.locator("[name=symbols]").fill("spx, SPY")
    await wall.locator("[name=put_wall]").uncheck()
    await wall.locator("[name=lead_share]").fill("0.5")
    await wall.locator("[name=muted_until]").select_option(label="for an hour")
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "Saved")
    pin, added = json.loads(rules.read_text())["rules"]
    assert (pin["kind"], pin["above"], "band" in pin) == ("pin_score", 80, False)
    assert added["symbols"] == ["SPX", "SPY"]
    assert (added["levels"], added["lead_share"]) == (["call_wall"], 0.5)
    # An hour from the server's 10:00 in New York.
    assert added["muted_until"].startswith("2026-11-24T16:00:")
    assert "muted_until" not in pin
    await tab.until(
        "document.querySelector('.rule[data-kind=wall] [name=muted_until]')"
        ".selectedOptions[0].textContent === 'until 11:00 ET'"
    )
    # As text, and back.
    await tab.page.locator("#rules-as-text summary").click()
    await tab.page.locator("#rules-text").fill('{"rules": [{"kind": "pin_score", "above": 85}]}')
    await tab.page.locator("#rules-as-text summary").click()
    await tab.until("document.querySelectorAll('.rule').length === 1")
    assert await above.input_value() == "85"
    await tab.page.locator(".rule button").click()
    await tab.shows("#rules-none", "market events are off")
    await tab.page.locator("#rules-save").click()
    await tab.shows("#rules-note", "Saved")
    assert json.loads(rules.read_text()) == {"rules": []}


async def test_alerts_of_a_feed(fresh: Site, tab: Tab) -> None:
    """A chosen feed has its own events; without a choice those of another feed are named."""
    messenger = Messenger(fresh.store.alerts, [])
    for k, feed in ((100, "test"), (200, "spare")):
        notice = event(k, f"the regime has turned by {feed}.")
        assert await messenger.tell(dataclasses.replace(notice, figures={"feed": feed}))
    await fresh.put(market.day(TUESDAY, until=300))
    await fresh.start(NEXT_DAY)
    await tab.open(f"day={TUESDAY}")
    await tab.shows("#alert-list li", "by spare. (feed spare)")
    assert await tab.text("#alert-count") == "2 in this session"
    await tab.page.evaluate("location.hash += '&feed=test'")
    await tab.until("document.getElementById('alert-count').textContent === '1 in this session'")
    assert "(feed" not in await tab.text("#alert-list")
