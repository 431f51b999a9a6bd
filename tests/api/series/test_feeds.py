"""Two feeds of one day: an answer has one of them, and another where it is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Reason
from tests.api.conftest import Caller, Fed
from tests.api.rows import FRIDAY, gap, record, utc
from tests.api.series.test_sessions import THURSDAY, slot_at, some_record
from tests.api.site import Events, Site

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
    for path in (
        "series/SPY", "series/SPY/stream", "snapshot/SPY", "hedge-flow/SPY", "sessions/SPY",
    ):  # fmt: skip
        sent = await caller.get(f"/v1/flow/zero-dte/{path}?feed=tradier")
        assert sent.status_code == 400, path
        assert sent.json() == {
            "error": "invalid_feed",
            "message": "SPY has no rows of the feed tradier; it has cboe, theta",
        }
        assert (await caller.get(f"/v1/flow/zero-dte/{path}?feed=No!")).status_code == 400
    sent = await caller.get("/v1/flow/zero-dte/leaderboard?feed=tradier")
    assert (sent.status_code, sent.json()) == (
        400,
        {
            "error": "invalid_feed",
            "message": "no symbol has rows of the feed tradier; there are cboe, theta",
        },
    )
    sent = await caller.get("/v1/flow/zero-dte/leaderboard?feed=No!")
    assert (sent.status_code, sent.json()["error"]) == (400, "invalid_feed")


async def test_a_board_of_one_feed(store: Store, open_app: Callable[..., Any]) -> None:
    """Each symbol by its newest sample of the feed that is asked for; who has none is left out."""
    await _fill(store)
    await store.write([
        record(utc("13:30"), symbol="QQQ", pin_score=90),
        record(utc("13:31:30"), symbol="SPY", pin_score=70),
        record(utc("13:31:30"), symbol="SPY", pin_score=60, source="theta"),
        record(utc("2026-06-04 19:59:30"), symbol="IWM", source="theta"),
    ])  # fmt: skip
    caller: Caller = await open_app(store, "13:40")
    for query, expected in (
        ("", [("QQQ", 90, "cboe"), ("SPY", 60, "theta")]),
        ("&feed=cboe", [("QQQ", 90, "cboe"), ("SPY", 70, "cboe")]),
        ("&feed=theta", [("SPY", 60, "theta")]),
        ("&feed=theta&date=2026-06-04", [("IWM", 82, "theta")]),
        ("&feed=cboe&date=2026-06-04", []),
    ):
        path = f"/v1/flow/zero-dte/leaderboard?metric=pin_risk{query}"
        entries = (await caller.get(path)).json()["entries"]
        assert [(e["symbol"], e["value"], e["feed"]) for e in entries] == expected, query


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


# The stream


async def test_a_stream_has_the_bars_of_the_feed_that_is_asked_for(site: Site) -> None:
    """Its bars, its gaps and what was missed of it; the bytes are those of the series."""
    await site.fed.land(record(utc("14:29:30"), spot=700.0, source="theta"))
    streams = {name: await site.open(query=f"?feed={name}") for name in ("cboe", "theta")}
    await site.readers(2)
    for name, other in (("cboe", "theta"), ("theta", "cboe")):
        [change] = await site.fed.land(record(utc("14:30"), spot=601.0, source=name))
        event = await streams[name].next()
        whole = await site.fed.series(feed=name, bar="30s")
        assert event is not None
        assert (int(event["id"]), orjson.loads(event["data"])) == (
            change.revision,
            whole["bars"][-1],
        )
        assert whole["cursor"] == change.revision
        [change] = await site.fed.land(gaps=[gap("14:30:30", Reason.LATE, source=name)])
        event = await streams[name].next()
        assert event is not None
        assert (event["id"], event["event"]) == (str(change.revision), "gap")
        await streams[other].none()
    events = await site.open(query="?feed=theta&since=0")
    assert [(await events.next() or {}).get("event", "bar") for _ in range(3)] == [
        "bar", "bar", "gap",
    ]  # fmt: skip
    await events.none()
    for reader in (*streams.values(), events):
        reader.close()
    await site.readers(0)
    assert site.hub._groups == {}


async def test_a_stream_of_a_named_feed_outlives_a_change_of_the_shown_one(site: Site) -> None:
    """Who named no feed comes back for the other one; who named one goes on."""
    await site.fed.store.own({"SPY": "theta"}, FRIDAY)
    shown, named = await site.open(), await site.open(query="?feed=cboe")
    await site.readers(2)
    await site.fed.land(record(utc("14:30"), source="theta"))
    assert await shown.next() is None
    assert (await site.fed.series())["feed"] == "theta"
    await site.readers(1)
    await site.fed.land(record(utc("14:30"), spot=603.0))
    event = await named.next()
    assert event is not None
    assert orjson.loads(event["data"])["spot"] == 603.0


async def test_a_stream_of_a_named_feed_while_the_store_is_away(site: Site) -> None:
    """As long as its session is in memory it goes on."""
    assert (await site.open(query="?feed=cboe")).status == 200
    site.fed.store.away = True
    assert (await site.open(query="?feed=cboe")).status == 200
    assert (await site.open(query="?feed=theta")).status == 503
    site.fed.store.away = False
    assert (await site.open(query="?feed=theta")).status == 400


@pytest.mark.parametrize(("seed", "room"), [(0, 64), (1, 64), (2, 1)])
async def test_streams_of_two_feeds_have_no_hole_and_no_double(
    site: Site, monkeypatch: Any, seed: int, room: int
) -> None:
    """Readers of each feed, who come and go at random, hold what the series of it has."""
    monkeypatch.setattr("api.series.stream._PIECE", 2_000)
    monkeypatch.setattr("api.series.sessions.MAX_NAMED_SESSIONS", room)
    dice = random.Random(seed)
    feeds = ("cboe", "theta")
    await site.fed.land(record(utc("14:29:30"), source="theta"))
    held: dict[str, dict[str, Any]] = {name: {} for name in feeds}
    cursors = dict.fromkeys(feeds, 0)
    readers: dict[str, Events] = {}

    async def read_to(name: str, until: int) -> None:
        while cursors[name] < until:
            event = await readers[name].next()
            assert event is not None
            assert int(event["id"]) > cursors[name]
            cursors[name] = int(event["id"])
            if "event" not in event:
                bar = orjson.loads(event["data"])
                held[name][bar["t"]] = bar

    for turn in range(30):
        for name in feeds:
            if turn == 29 or (name not in readers and dice.random() < 0.5):
                if name not in readers:
                    query = f"?feed={name}&since={cursors[name]}"
                    readers[name] = await site.open(query=query)
            elif name in readers and dice.random() < 0.2:
                readers.pop(name).close()
        slots = {slot_at(dice, dice.choice([FRIDAY, THURSDAY]), utc("15:30")) for _ in range(4)}
        records = [
            some_record(dice, "SPY", slot, source=name)
            for slot in sorted(slots)
            for name in feeds
            if dice.random() < 0.6
        ]
        changes = await site.fed.land(*records, mode=dice.choice([WriteMode.KEEP, WriteMode.REWRITE]))  # fmt: skip
        for change in changes:
            for name in readers:
                ours = [revision for revision, row in change.rows if row.source == name]
                await read_to(name, max(ours, default=0))
    site.fed.clock.moment = utc("15:32")
    for name in feeds:
        for day in (THURSDAY, FRIDAY):
            whole = await site.fed.series(bar="30s", date=str(day), minutes=390, feed=name)
            ours = [bar for t, bar in sorted(held[name].items()) if t.startswith(str(day))]
            assert ours == whole["bars"], (name, day)
