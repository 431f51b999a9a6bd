"""Two feeds of one day: an answer has one of them, and another where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api.conftest import Caller, Fed
from tests.api.rows import FRIDAY, gap, record, utc

#: Spot at 13:30, 13:30:30 ... of each feed; theta has no sample at 13:31.
CBOE, THETA = [600.0, 601.0, 602.0], [700.0, 701.0]


async def _fill(store: Store) -> None:
    slots = [utc("13:30"), utc("13:30:30"), utc("13:31")]
    await store.own({"SPY": "theta"}, FRIDAY)
    await store.own({"SPY": "cboe"}, FRIDAY, fallback=True)
    await store.write(
        [record(s, spot=p) for s, p in zip(slots, CBOE, strict=True)]
        + [record(s, spot=p, source="theta") for s, p in zip(slots, THETA, strict=False)],
        [gap("13:31", Reason.SOURCE_DOWN, source="theta")],
    )


@pytest.mark.parametrize("in_memory", [False, True])
async def test_an_answer_has_one_feed(
    store: Store, feed: Callable[..., Any], open_app: Callable[..., Any], in_memory: bool
) -> None:
    """The configured one without a word, the fallback by its name; never rows of both."""
    await _fill(store)
    caller: Caller = await (feed if in_memory else open_app)(store, "13:40")
    answers = []
    for query in ({}, {"feed": "theta"}, {"feed": "cboe"}):
        answer = await caller.series(**query)
        assert answer["feed"] == answer["source"]
        answers.append((answer["feed"], [bar["spot"] for bar in answer["bars"]]))
        reasons = {i["from"]: i["reason"] for i in answer["gap_intervals"]}
        assert ("2026-06-05T13:31:00Z" in reasons) is (answer["source"] == "theta")
    assert answers == [("theta", THETA), ("theta", THETA), ("cboe", CBOE)]
    cursors = {name: (await caller.series(feed=name))["cursor"] for name in ("theta", "cboe")}
    assert len(set(cursors.values())) == 2
    listed = (await caller.get("/v1/flow/zero-dte/sessions/SPY")).json()["sessions"]
    assert [(d["feed"], d["source"], d["rows"], d["feeds"], d["first_feed"]) for d in listed] == [
        ("theta", "theta", 2, ["cboe", "theta"], "theta")
    ]
    listed = (await caller.get("/v1/flow/zero-dte/sessions/SPY?feed=cboe")).json()["sessions"]
    assert [(d["feed"], d["rows"], d["first_feed"]) for d in listed] == [("cboe", 3, "theta")]
    for name, spot in (("cboe", 602.0), ("theta", 701.0)):
        shown = (await caller.get(f"/v1/flow/zero-dte/snapshot/SPY?feed={name}")).json()
        assert (shown["underlying_price"], shown["source"], shown["feed"]) == (spot, name, name)
        for path in ("hedge-flow/SPY", "heatmap/SPY", "strike-flow/SPY"):
            window = (await caller.get(f"/v1/flow/zero-dte/{path}?bar=30s&feed={name}")).json()
            assert (window["feed"], len(window["bars"])) == (name, {"cboe": 3, "theta": 2}[name])
        for path in ("levels", "gex", "live"):
            document = (await caller.get(f"/v1/flow/{path}/SPY?feed={name}")).json()
            assert (document["underlying_price"], document["feed"]) == (spot, name), path
    (entry,) = (await caller.get("/v1/flow/zero-dte/leaderboard")).json()["entries"]
    assert (entry["symbol"], entry["feed"]) == ("SPY", "theta")


@pytest.mark.parametrize("in_memory", [False, True])
async def test_the_feed_of_a_session_without_samples(
    store: Store, feed: Callable[..., Any], open_app: Callable[..., Any], in_memory: bool
) -> None:
    """Gaps have a feed, and the answer names it; a day with nothing stored has none."""
    await store.own({"SPY": "theta"}, FRIDAY)
    await store.write([], [gap("13:30", Reason.SOURCE_DOWN, source="theta")])
    caller: Caller = await (feed if in_memory else open_app)(store, "13:40")
    for path in ("series/SPY", "hedge-flow/SPY"):
        answer = (await caller.get(f"/v1/flow/zero-dte/{path}")).json()
        assert (answer["feed"], answer["source"], answer["bars"]) == ("theta", None, []), path
        answer = (await caller.get(f"/v1/flow/zero-dte/{path}?date=2026-06-04")).json()
        assert (answer["feed"], answer["source"]) == (None, None), path
    (day,) = (await caller.get("/v1/flow/zero-dte/sessions/SPY")).json()["sessions"]
    assert [day[k] for k in ("feed", "source", "feeds", "first_feed")] == [
        "theta",
        None,
        [],
        "theta",
    ]


async def test_the_first_feed_of_a_day(store: Store, open_app: Callable[..., Any]) -> None:
    """A fallback that is shown names the feed it stands in for; a filled day had no sampler."""
    await store.own({"SPY": "theta"}, FRIDAY)
    await store.own({"SPY": "cboe"}, FRIDAY, fallback=True)
    await store.write(
        [record(utc("13:30")), record(utc("2026-06-04 13:30"))],
        [gap("13:30", Reason.SOURCE_DOWN, source="theta")],
    )
    caller: Caller = await open_app(store, "13:40")
    listed = (await caller.get("/v1/flow/zero-dte/sessions/SPY")).json()["sessions"]
    assert [(d["date"], d["feed"], d["first_feed"]) for d in listed] == [
        ("2026-06-04", "cboe", None),
        ("2026-06-05", "cboe", "theta"),
    ]


async def test_a_feed_that_is_not_there(store: Store, open_app: Callable[..., Any]) -> None:
    """It is refused with the names of those that are."""
    await _fill(store)
    caller: Caller = await open_app(store, "13:40")
    for path in ("series/SPY", "snapshot/SPY", "hedge-flow/SPY", "sessions/SPY"):
        sent = await caller.get(f"/v1/flow/zero-dte/{path}?feed=tradier")
        assert sent.status_code == 400, path
        assert sent.json() == {
            "error": "invalid_feed",
            "message": "SPY has no rows of the feed tradier; it has cboe, theta",
        }
        assert (await caller.get(f"/v1/flow/zero-dte/{path}?feed=No!")).status_code == 400


async def test_another_feed_is_shown(store: Store, feed: Callable[..., Any]) -> None:
    """Sessions in memory follow: the first row of the configured feed takes the fallback's place."""
    await store.own({"SPY": "theta"}, FRIDAY)
    await store.own({"SPY": "cboe"}, FRIDAY, fallback=True)
    fed: Fed = await feed(store, "13:40")
    await fed.land(record(utc("13:30"), spot=600.0))
    assert (await fed.series())["source"] == "cboe"
    await fed.land(gaps=[gap("13:30", Reason.SOURCE_DOWN, source="theta")])
    assert (await fed.series())["source"] == "cboe"
    await fed.land(record(utc("13:30:30"), spot=700.0, source="theta"))
    answer = await fed.series()
    assert (answer["source"], [bar["spot"] for bar in answer["bars"]]) == ("theta", [700.0])
    await fed.land(record(utc("13:31"), spot=601.0))
    again = await fed.series()
    assert (again["bars"], again["cursor"]) == (answer["bars"], answer["cursor"])
