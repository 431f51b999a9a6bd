"""A whole session at 30 s over each feed that is polled, with faults dealt out by a seed.

The streaming feed has a test of its own. What each vendor alone can do wrong stands in its tests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from sampler.sources import http
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests.vendors import server as faults
from tests.vendors.feeds import FEEDS
from tests.vendors.server import Fault, VendorServer
from tests.vendors.session import PATIENCE_IN_TROUBLE, play_session

POLLED = ["cboe", "massive", "schwab", "theta", "tradier"]
#: A full day.
DAY, SLOTS = date(2026, 8, 19), 780
DOWN, BAD = Reason.SOURCE_DOWN, Reason.BAD_ANSWER
#: What happens to a slot's answers, and what its gap must say: a reason, and one of some words.
KINDS: dict[str, tuple[Callable[[random.Random], Fault], Reason, tuple[str, ...]]] = {
    "500": (lambda dice: faults.status(500), DOWN, ("500",)),
    "503": (lambda dice: faults.status(503, {"Retry-After": "0"}), DOWN, ("503",)),
    "404": (lambda dice: faults.status(404), DOWN, ("404",)),
    "firewall": (lambda dice: faults.html(403), DOWN, ("403", "firewall", "blocked")),
    "page": (lambda dice: faults.html(), BAD, ("HTML", "JSON", "theta answered")),
    "nothing": (lambda dice: faults.empty(), BAD, ("nothing", "no JSON", "empty")),
    "noise": (lambda dice: faults.garbage(seed=dice.randrange(1000)), BAD, ("answered",)),
    "cut": (lambda dice: faults.cut(dice.uniform(0.1, 0.9)), DOWN, ("cannot be reached",)),
    "half": (lambda dice: faults.truncated(dice.uniform(0.2, 0.8)), BAD, ("answered",)),
    "gzip": (lambda dice: faults.broken_gzip(), BAD, ("broken gzip",)),
    "slow": (lambda dice: faults.slow(PATIENCE_IN_TROUBLE + 1.0), DOWN, ("in time",)),
}
#: How many slots in a row the vendor shows the same.
FROZEN = 3


@pytest.fixture(autouse=True)
def _no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again; its own tests show that. Here the first answer is the last."""
    monkeypatch.setattr(http, "BACK_OFF", 60.0)
    monkeypatch.setattr("sampler.sources.tradier.source.GATHER", 0.0)
    # In real time less than a slot; of this fast clock it would be hundreds.
    monkeypatch.setattr("sampler.sources.schwab.login.FAILED_PAUSE", 0.0)


def dealt(seed: int) -> dict[int, str]:
    """Slot → what happens: one slot in eight, alone or in runs, none in the first five minutes."""
    dice = random.Random(seed)
    troubles: dict[int, str] = {}
    slot = 10
    while slot < SLOTS:
        slot += dice.randrange(2, 16)
        kind = dice.choice([*KINDS, "frozen"])
        if kind == "slow" and sum(k == "slow" for k in troubles.values()) >= 2:
            continue
        for _ in range(FROZEN if kind == "frozen" else dice.choice([1, 1, 1, 2, 4])):
            if slot < SLOTS:
                troubles[slot] = kind
            slot += 1
        # What was frozen has to have been shown before.
        slot += 1
    return troubles


def trouble(kind: str, dice: random.Random) -> Callable[[VendorServer], None]:
    def happens(server: VendorServer) -> None:
        if kind == "frozen":
            server.frozen = True
        else:
            server.inject(KINDS[kind][0](dice))

    return happens


@pytest.mark.parametrize("name", POLLED)
async def test_every_slot_is_a_row_or_a_gap_with_the_vendor_s_reason(
    name: str, tmp_path: Path
) -> None:
    """780 slots: where nothing is wrong a row of that slot, else a gap that says what was wrong."""
    feed, session = FEEDS[name], session_on(DAY)
    assert session.slot_count == SLOTS
    kinds, dice = dealt(seed=2), random.Random(12)
    assert set(kinds.values()) == {*KINDS, "frozen"}
    assert 90 < len(kinds) < 200
    async with feed.server() as server:
        source = feed.open(server, feed.keys(tmp_path, session.open))
        outcomes = await play_session(
            source,
            server,
            "SPX",
            session,
            {slot: trouble(kind, dice) for slot, kind in kinds.items()},
            delay=timedelta(seconds=feed.delay),
        )
        await source.close()
    counts = Counter[str]()
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        kind = kinds.get(number)
        what = number, kind, outcome.reason, outcome.detail
        if number == 0:
            assert outcome.reason is Reason.NOT_OPEN, what
        elif kind is None:
            assert outcome.record is not None, what
            assert outcome.record.row.slot == slot, what
            assert outcome.record.row.source == name, what
            counts["row"] += 1
        elif kind == "frozen":
            assert outcome.reason is Reason.UNCHANGED, what
        else:
            _, reason, words = KINDS[kind]
            assert outcome.record is None, what
            assert outcome.reason is reason, what
            assert outcome.detail.startswith(f"SPX: {source.name} "), what
            assert any(word in outcome.detail for word in words), what
    assert counts["row"] == SLOTS - 1 - len(kinds)
    last = next(outcome.record.row for outcome in reversed(outcomes) if outcome.record)
    assert last.total_volume > 0
    assert last.hedge_flow_cumulative_all != 0
