"""GET /v1/flow/zero-dte/series/{symbol} over a real store; expected answers are listed by hand.

2026-06-05 is a Friday with a full session, 13:30 to 20:00 UTC. A row's spot is 600 plus the
minutes since 13:30: 14:00:00 has 630.0, 14:00:30 has 630.5.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from factories import rows_of

from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Reason, Row
from tests.api.conftest import SERIES, Caller
from tests.api.oracle import DEFINITIONS, FIGURES
from tests.api.rows import every, gap, record, utc

BAR = {"t", *FIGURES, "sampled_at"}
NULLABLE = {f.name for f in dataclasses.fields(Row) if str(f.type).endswith("| None")} & BAR


def shown(body: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Each bar's start, the slot it shows, and its spot."""
    return [(b["t"][11:19], b["sampled_at"][11:19], b["spot"]) for b in body["bars"]]


def gaps(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Each gap's first slot, the slot after it, and its reason."""
    return [(g["from"][11:19], g["to"][11:19], g["reason"]) for g in body["gap_intervals"]]


async def test_whole_answer(store: Store, caller: Caller) -> None:
    """Every field of an answer, to the letter."""
    stored = rows_of(await store.write([record(utc("14:29"), flags=("stale_spot",))]))
    caller.clock.moment = utc("14:29:40")
    body = await caller.series(minutes=1)
    node = body["data_as_of"].pop("node")
    assert isinstance(node, str)
    # The session's only sample is its first one.
    assert body.pop("opening") == body["bars"][0]
    assert body == {
        "symbol": "SPY",
        "expiration": "2026-06-05",
        "as_of": "2026-06-05T14:29:40Z",
        "bar_size": "30s",
        "bars": [
            # A figure that may be null is null unless ``record`` gives it.
            dict.fromkeys(NULLABLE)
            | {
                "t": "2026-06-05T14:29:00Z",
                "spot": 659.0,
                "net_gex": -7250000000.0,
                "net_dex": 0.0,
                "gamma_flip": 605.5,
                "gamma_flip_status": "available",
                "call_wall": 610.0,
                "put_wall": 595.0,
                "magnet": 600.0,
                "pin_score": 82,
                "pin_probability_pct": 12.5,
                "regime": "negative_gamma",
                "atm_iv": 0.14735,
                "charm_dollars_per_hour": -150000000.0,
                "hedge_flow_call_cumulative": 59014.75,
                "hedge_flow_put_cumulative": -23614.75,
                "hedge_flow_cumulative_all": 35400.0,
                "flags": ["stale_spot"],
                "sampled_at": "2026-06-05T14:29:00Z",
            }
        ],
        "session": {"open": "2026-06-05T13:30:00Z", "close": "2026-06-05T20:00:00Z"},
        "gap_intervals": [],
        "cursor": stored[0].revision,
        "feed": "cboe",
        "source": "cboe",
        "delay_seconds": 0,
        "newest": "2026-06-05T14:29:02Z",
        "flow_since": "2026-06-05T13:30:00Z",
        "classified_share": 0.93,
        "definitions": "1",
        "oi_confidence": 0.43,
        "endpoint_version": "1",
        "data_as_of": {
            "equity_feed": "2026-06-05T14:29:02Z",
            "equity_options_feed": "2026-06-05T14:29:02Z",
            "index_feed": None,
            "index_options_feed": None,
            "futures_feed": None,
            "futures_options_feed": None,
            "flow_feed": "2026-06-05T14:29:02Z",
            "oi_feed": "2026-06-05T14:29:02Z",
            "macro_feed": None,
        },
    }


@pytest.mark.parametrize("symbol", ["SPX", "OEX", "MRUT"])
async def test_feeds_of_an_index(store: Store, caller: Caller, symbol: str) -> None:
    """An index rests on the index feeds, whichever index it is."""
    await store.write([record(utc("14:29"), symbol=symbol)])
    feeds = (await caller.series(symbol))["data_as_of"]
    delivered = {name for name, value in feeds.items() if value == "2026-06-05T14:29:02Z"}
    assert delivered == {"index_feed", "index_options_feed", "flow_feed", "oi_feed"}


async def test_numbers_on_the_wire(store: Store, caller: Caller) -> None:
    """Integers print as integers; nulls stand only where the contract has a question mark."""
    bare = dict.fromkeys(NULLABLE)
    bare["gamma_flip_status"] = "no_boundary"
    await store.write([record(utc("14:29"), **bare)])
    text = (await caller.get(f"{SERIES}SPY")).text
    assert '"pin_score":82,' in text
    assert '"delay_seconds":0,' in text
    assert "NaN" not in text
    assert "Infinity" not in text
    [bar] = json.loads(text)["bars"]
    assert set(bar) == BAR
    assert {name for name, value in bar.items() if value is None} == NULLABLE


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        (
            "30s",
            [
                ("14:13:00", "14:13:00", 643.0),
                ("14:13:30", "14:13:30", 643.5),
                ("14:14:00", "14:14:00", 644.0),
                ("14:14:30", "14:14:30", 644.5),
                ("14:15:00", "14:15:00", 645.0),
                ("14:15:30", "14:15:30", 645.5),
                ("14:16:00", "14:16:00", 646.0),
            ],
        ),
        (
            "1m",
            [
                ("14:13:00", "14:13:30", 643.5),
                ("14:14:00", "14:14:30", 644.5),
                ("14:15:00", "14:15:30", 645.5),
                ("14:16:00", "14:16:00", 646.0),
            ],
        ),
        ("5m", [("14:10:00", "14:14:30", 644.5), ("14:15:00", "14:16:00", 646.0)]),
        ("15m", [("14:00:00", "14:14:30", 644.5), ("14:15:00", "14:16:00", 646.0)]),
    ],
)
async def test_buckets(
    store: Store, caller: Caller, bar: str, expected: list[tuple[str, str, float]]
) -> None:
    """Buckets align to the clock, show their last sample, and the running one is among them."""
    await store.write(every("14:13", "14:16"))
    caller.clock.moment = utc("14:16:20")
    assert shown(await caller.series(bar=bar)) == expected


@pytest.mark.parametrize("bar", ["30s", "1m", "5m", "15m"])
async def test_first_bucket(store: Store, caller: Caller, bar: str) -> None:
    """The open starts a bucket of every size."""
    await store.write(every("13:30", "13:30:30"))
    caller.clock.moment = utc("13:31")
    body = await caller.series(bar=bar)
    assert body["bar_size"] == bar
    assert shown(body)[0][0] == "13:30:00"
    assert shown(body)[-1][1:] == ("13:30:30", 600.5)


async def test_opening(store: Store, caller: Caller) -> None:
    """The first 30 s sample stands beside the bars of every size and window, also if it comes late."""
    assert (await caller.series())["opening"] is None
    await store.write(every("14:00:30", "14:29:30"))
    for query in ({"bar": "30s"}, {"bar": "15m"}, {"bar": "5m", "minutes": 1}):
        opening = (await caller.series(**query))["opening"]
        assert set(opening) == BAR
        assert [opening[name] for name in ("t", "sampled_at", "spot")] == [
            "2026-06-05T14:00:30Z", "2026-06-05T14:00:30Z", 630.5
        ]  # fmt: skip
    await store.write([record(utc("14:00"))])
    opening = (await caller.series(bar="15m"))["opening"]
    assert [opening["t"], opening["spot"]] == ["2026-06-05T14:00:00Z", 630.0]


async def test_window_is_half_open(store: Store, caller: Caller) -> None:
    """The slot at the window's start is in, the one at its end is not: 2 minutes are 4 bars."""
    await store.write(every("14:20", "14:29:30"))
    starts = [bar[0] for bar in shown(await caller.series(minutes=2))]
    assert starts == ["14:28:00", "14:28:30", "14:29:00", "14:29:30"]


async def test_window_cuts_a_bucket(store: Store, caller: Caller) -> None:
    """A bucket that the window cuts still shows its last sample under its own start."""
    await store.write(every("14:20", "14:29:30"))
    assert shown(await caller.series(minutes=7, bar="5m")) == [
        ("14:20:00", "14:24:30", 654.5),
        ("14:25:00", "14:29:30", 659.5),
    ]


@pytest.mark.parametrize(
    ("minutes", "bars"), [("-5", 2), ("0", 2), ("3", 6), ("99999", 120), ("9" * 50_000, 120)]
)
async def test_clamps(store: Store, caller: Caller, minutes: str, bars: int) -> None:
    """Minutes are clamped to 1 and 390, silently."""
    await store.write(every("13:30", "14:29:30"))
    assert len((await caller.series(minutes=minutes))["bars"]) == bars


@pytest.mark.parametrize("minutes", ["abc", "1.5", ""])
async def test_minutes_refused(stranger: Caller, minutes: str) -> None:
    """What is no whole number is refused."""
    body = await stranger.series(status=400, minutes=minutes)
    assert body == {
        "error": "invalid_minutes",
        "message": "minutes must be a whole number, 1 to 390",
    }


async def test_last_of_a_parameter_wins(store: Store, caller: Caller) -> None:
    """Of a parameter given twice the last one counts; unknown ones are ignored."""
    await store.write(every("14:20", "14:29:30"))
    sent = await caller.get(f"{SERIES}SPY?bar=nonsense&minutes=5&bar=1m&minutes=2&colour=red")
    assert sent.status_code == 200
    assert [bar[0] for bar in shown(sent.json())] == ["14:28:00", "14:29:00"]


async def test_delayed_feed(store: Store, caller: Caller) -> None:
    """On a feed 15 minutes late a short window ends 15 minutes ago, and nothing is missing."""
    await store.write(every("14:00", "14:14:30", delay_seconds=900))
    body = await caller.series(minutes=5)
    assert body["delay_seconds"] == 900
    assert [shown(body)[0][0], shown(body)[-1][0]] == ["14:10:00", "14:14:30"]
    assert gaps(body) == []


async def test_window_after_the_close(store: Store, caller: Caller) -> None:
    """In the evening the last hour is the session's."""
    await store.write(every("19:00", "19:59:30", step=900))
    await store.write([record(utc("19:59:30"))])
    caller.clock.moment = utc("23:00")
    body = await caller.series(bar="15m")
    assert [bar[0] for bar in shown(body)] == ["19:00:00", "19:15:00", "19:30:00", "19:45:00"]
    assert body["bars"][-1]["sampled_at"] == "2026-06-05T19:59:30Z"


async def test_early_close(store: Store, caller: Caller) -> None:
    """The day after Thanksgiving ends at 18:00 UTC, in its window and in its gaps."""
    day = "2026-11-27 "
    await store.write([record(utc(day + "17:58")), record(utc(day + "17:59:30"))])
    caller.clock.moment = utc("2026-11-27 21:30")
    body = await caller.series(minutes=2)
    assert shown(body)[-1][0] == "17:59:30"
    assert gaps(body) == [("17:58:30", "17:59:30", "not_sampled")]
    body = await caller.series(date="2026-11-27")
    assert gaps(body)[0] == ("14:30:00", "17:58:00", "not_sampled")
    assert gaps(body)[-1] == ("17:58:30", "17:59:30", "not_sampled")


async def test_earlier_session(store: Store, caller: Caller) -> None:
    """A date answers that session in full shape, the whole of it unless told otherwise."""
    await store.write(every("2026-06-04 13:30", "2026-06-04 19:59:30", step=1170))
    await store.write([record(utc("14:29:30"))])
    body = await caller.series(date="2026-06-04", bar="15m")
    assert body["expiration"] == "2026-06-04"
    assert body["as_of"] == "2026-06-05T14:30:00Z"
    assert [bar["t"][:16] for bar in body["bars"]][:2] == ["2026-06-04T13:30", "2026-06-04T13:45"]
    assert len(body["bars"]) == 20
    assert body["newest"] == "2026-06-04T19:40:32Z"
    assert len((await caller.series(date="2026-06-04", minutes=20))["bars"]) == 1


async def test_date_of_today(store: Store, caller: Caller) -> None:
    """Today by its date is today, running bucket and all."""
    await store.write(every("14:28", "14:29:30"))
    body = await caller.series(date="2026-06-05")
    assert [bar[0] for bar in shown(body)] == ["14:28:00", "14:28:30", "14:29:00", "14:29:30"]
    assert gaps(body) == [("13:30:00", "14:28:00", "not_sampled")]


async def test_bad_date(stranger: Caller) -> None:
    """Garbage is refused with the documented body."""
    body = await stranger.series(status=400, date="yesterday")
    assert body == {"error": "invalid_date", "message": "date must be YYYY-MM-DD"}


async def test_since(store: Store, caller: Caller) -> None:
    """A cursor brings what changed after it: new bars, the running bucket, slots filled late."""
    await store.write(every("14:20", "14:22"))
    first = await caller.series(bar="5m", minutes=30)
    assert shown(first) == [("14:20:00", "14:22:00", 652.0)]
    again = await caller.series(bar="5m", minutes=30, since=first["cursor"])
    assert again["bars"] == []
    assert "reason" not in again
    await store.write([record(utc("14:23"))])
    second = await caller.series(bar="5m", minutes=30, since=first["cursor"])
    assert shown(second) == [("14:20:00", "14:23:00", 653.0)]
    await store.write([record(utc("14:26"))])
    third = await caller.series(bar="5m", minutes=30, since=second["cursor"])
    assert shown(third) == [("14:25:00", "14:26:00", 656.0)]
    await store.write([record(utc("14:05"))])
    late = await caller.series(bar="5m", minutes=30, since=third["cursor"])
    assert shown(late) == [("14:05:00", "14:05:00", 635.0)]
    assert first["cursor"] < second["cursor"] < third["cursor"] < late["cursor"]


async def test_since_sees_inside_a_bucket(store: Store, caller: Caller) -> None:
    """A slot filled late in the middle of a bucket brings the bucket again."""
    await store.write([record(utc("14:20")), record(utc("14:24:30"))])
    before = await caller.series(bar="5m")
    await store.write([record(utc("14:22"))])
    after = await caller.series(bar="5m", since=before["cursor"])
    assert shown(after) == [("14:20:00", "14:24:30", 654.5)]


async def test_since_keeps_the_gaps(store: Store, caller: Caller) -> None:
    """Gaps are always the whole window's: a client that holds them replaces them."""
    await store.write([record(utc("14:28")), record(utc("14:29:30"))])
    cursor = (await caller.series(minutes=2))["cursor"]
    await store.write([record(utc("14:29"))])
    body = await caller.series(minutes=2, since=cursor)
    assert [bar[0] for bar in shown(body)] == ["14:29:00"]
    assert gaps(body) == [("14:28:30", "14:29:00", "not_sampled")]


async def test_since_sees_a_rewrite(store: Store, caller: Caller) -> None:
    """A row that is measured anew comes again."""
    await store.write(every("14:28", "14:29:30"))
    cursor = (await caller.series(minutes=2))["cursor"]
    await store.write([record(utc("14:28:30"), spot=999.0)], mode=WriteMode.REWRITE)
    body = await caller.series(minutes=2, since=cursor)
    assert shown(body) == [("14:28:30", "14:28:30", 999.0)]


async def test_since_of_another_world(store: Store, caller: Caller) -> None:
    """A cursor beyond every revision brings nothing, and no error."""
    await store.write(every("14:28", "14:29:30"))
    assert (await caller.series(since="9" * 400))["bars"] == []
    assert (await caller.series(status=400, since="-1"))["error"] == "invalid_since"


async def test_etag(store: Store, caller: Caller) -> None:
    """The ETag is the cursor; 304 goes only to a caller who has it."""
    await store.write(every("13:30", "14:29:30"))
    sent = await caller.get(f"{SERIES}SPY")
    assert sent.headers["ETag"] == f'W/"{sent.json()["cursor"]}"'
    etag = sent.headers["ETag"]
    assert (await caller.get(f"{SERIES}SPY")).status_code == 200
    for offered in (etag, etag.removeprefix("W/"), f'W/"1", {etag}', "*"):
        unchanged = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": offered})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["ETag"] == etag
    other = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": 'W/"1"'})
    assert other.status_code == 200
    await store.write([record(utc("14:30"))])
    fresh = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": etag})
    assert fresh.status_code == 200
    assert fresh.headers["ETag"] != etag


async def test_etag_of_a_dead_sampler(store: Store, caller: Caller) -> None:
    """Whoever polls hears of slots that no sampler accounts for, though nothing is stored."""
    await store.write(every("13:30", "14:29:30"))
    etag = (await caller.get(f"{SERIES}SPY")).headers["ETag"]
    caller.clock.moment = utc("14:33:10")
    sent = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": etag})
    assert sent.status_code == 200
    assert gaps(sent.json()) == [("14:30:00", "14:33:00", "not_sampled")]
    again = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": sent.headers["ETag"]})
    assert again.status_code == 304


async def test_etag_of_nothing(store: Store, caller: Caller) -> None:
    """An answer without samples is never 304: its reason changes while nothing is stored."""
    sent = await caller.get(f"{SERIES}SPY")
    again = await caller.get(f"{SERIES}SPY", headers={"If-None-Match": sent.headers["ETag"]})
    assert again.status_code == 200


async def test_gaps(store: Store, caller: Caller) -> None:
    """Neighbouring slots of one reason are one interval; the dead sampler's tail is one too."""
    await store.write(every("14:00", "14:05"))
    await store.write([record(utc("14:08:30"))])
    await store.write(
        gaps=[
            gap("14:05:30", Reason.SOURCE_DOWN),
            gap("14:06:00", Reason.SOURCE_DOWN),
            gap("14:06:30", Reason.STALE),
            gap("14:07:00", Reason.SOURCE_DOWN),
        ]
    )
    caller.clock.moment = utc("14:10:20")
    body = await caller.series(minutes=10)
    assert gaps(body) == [
        ("14:05:30", "14:06:30", "source_down"),
        ("14:06:30", "14:07:00", "stale"),
        ("14:07:00", "14:07:30", "source_down"),
        ("14:07:30", "14:08:30", "not_sampled"),
        ("14:09:00", "14:10:00", "not_sampled"),
    ]


async def test_gaps_before_the_first_row(store: Store, caller: Caller) -> None:
    """Before anything is stored today, what was due is missing."""
    await store.write([record(utc("2026-06-04 14:00"))])
    caller.clock.moment = utc("13:32:10")
    body = await caller.series()
    assert (body["bars"], body["reason"]) == ([], "not_sampled")
    assert gaps(body) == [("13:30:00", "13:32:00", "not_sampled")]


async def test_running_slot_is_no_gap(store: Store, caller: Caller) -> None:
    """The slot whose 30 seconds still run may yet be sampled."""
    await store.write(every("14:28", "14:29:30"))
    caller.clock.moment = utc("14:30:29")
    assert gaps(await caller.series(minutes=2)) == []
    caller.clock.moment = utc("14:30:31")
    assert gaps(await caller.series(minutes=2)) == [("14:30:00", "14:30:30", "not_sampled")]


async def test_close_of_a_delayed_feed(store: Store, caller: Caller) -> None:
    """Just after the close a late feed's last quarter of an hour is not missing yet."""
    await store.write(every("19:44", "19:49:30", delay_seconds=900))
    caller.clock.moment = utc("20:05")
    body = await caller.series(minutes=16)
    assert gaps(body) == []
    caller.clock.moment = utc("20:15")
    assert gaps(await caller.series(minutes=16)) == [("19:50:00", "20:00:00", "not_sampled")]


async def test_filled_gap(store: Store, caller: Caller) -> None:
    """A gap that a row closes later is gone, and its bar comes with the next cursor."""
    await store.write(every("14:28", "14:29"))
    await store.write(gaps=[gap("14:29:30", Reason.LATE)])
    before = await caller.series(minutes=2)
    assert gaps(before) == [("14:29:30", "14:30:00", "late")]
    await store.write([record(utc("14:29:30"))])
    after = await caller.series(minutes=2, since=before["cursor"])
    assert gaps(after) == []
    assert shown(after) == [("14:29:30", "14:29:30", 659.5)]


EMPTY: list[tuple[str, str, dict[str, str], list[Any], str]] = [
    ("before the open", "12:00", {}, [], "before_open"),
    ("the evening without rows", "21:00", {}, [], "closed"),
    ("a Saturday", "2026-06-06 15:00", {}, [], "closed"),
    ("a Sunday by date", "15:00", {"date": "2026-05-31"}, [], "closed"),
    ("a holiday", "2026-06-19 15:00", {}, [], "holiday"),
    ("a holiday by date", "15:00", {"date": "2026-05-25"}, [], "holiday"),
    ("an earlier day", "15:00", {"date": "2026-06-03"}, [], "closed"),
    ("a day to come", "15:00", {"date": "2026-06-08"}, [], "before_open"),
    ("a holiday to come", "15:00", {"date": "2026-12-25"}, [], "holiday"),
    ("nothing sampled", "15:00", {}, [], "not_sampled"),
    (
        "nothing expires",
        "15:00",
        {},
        [gap("14:00", Reason.NO_ZERO_DTE), gap("14:30", Reason.NO_ZERO_DTE)],
        "no_zero_dte",
    ),
    (
        "nothing expires, in the evening",
        "21:00",
        {},
        [gap("14:00", Reason.NO_ZERO_DTE)],
        "no_zero_dte",
    ),
    (
        "stale of late",
        "15:00",
        {},
        [gap("14:00", Reason.SOURCE_DOWN), gap("14:30", Reason.STALE)],
        "stale",
    ),
    (
        "stale once",
        "15:00",
        {},
        [gap("14:00", Reason.STALE), gap("14:30", Reason.SOURCE_DOWN)],
        "not_sampled",
    ),
    (
        "one slot of many",
        "15:00",
        {},
        [gap("14:00", Reason.NO_ZERO_DTE), gap("14:30", Reason.FAILED)],
        "not_sampled",
    ),
]


@pytest.mark.parametrize(
    ("now", "query", "marks", "reason"), [e[1:] for e in EMPTY], ids=[e[0] for e in EMPTY]
)
async def test_reasons(
    store: Store, caller: Caller, now: str, query: dict[str, str], marks: list[Any], reason: str
) -> None:
    """An answer without bars has the same shape, and says why."""
    await store.write([record(utc("2026-05-29 14:00"))])
    await store.write(gaps=marks)
    caller.clock.moment = utc(now)
    body = await caller.series(**query)
    assert (body["bars"], body["reason"]) == ([], reason)
    assert body["symbol"] == "SPY"
    assert body["source"] is None
    assert body["newest"] is None
    assert set(body["data_as_of"].values()) == {None, body["data_as_of"]["node"]}
    assert body["definitions"] == DEFINITIONS


async def test_unknown_symbol(store: Store, caller: Caller) -> None:
    """A symbol that was never tried is known to nobody, on any day; nothing of it is missing."""
    for now in ("15:00", "2026-06-06 15:00", "12:00"):
        caller.clock.moment = utc(now)
        body = await caller.series("XYZ")
        assert (body["bars"], body["reason"]) == ([], "unknown_symbol")
        assert body["gap_intervals"] == []
    await store.write(gaps=[gap("14:00", Reason.SOURCE_DOWN, symbol="XYZ")])
    caller.clock.moment = utc("15:00")
    assert (await caller.series("XYZ"))["reason"] == "not_sampled"


async def test_delayed_feed_before_its_open(store: Store, caller: Caller) -> None:
    """On a late feed the day opens later too; yesterday's rows say how late."""
    await store.write([record(utc("2026-06-04 19:59:30"), delay_seconds=900)])
    caller.clock.moment = utc("13:40")
    body = await caller.series()
    assert (body["reason"], body["gap_intervals"]) == ("before_open", [])
    caller.clock.moment = utc("13:46")
    body = await caller.series()
    assert (body["reason"], gaps(body)) == (
        "not_sampled",
        [("13:30:00", "13:31:00", "not_sampled")],
    )


@pytest.mark.parametrize("sent", ["spy", "%20SPY%20", "SPY", "%53%50%59"])
async def test_symbol_is_trimmed(store: Store, caller: Caller, sent: str) -> None:
    """Case, blanks around it and percent-escapes make no difference."""
    await store.write([record(utc("14:29:30"))])
    body = await caller.series(sent)
    assert (body["symbol"], len(body["bars"])) == ("SPY", 1)


@pytest.mark.parametrize(("sent", "symbol"), [("ES%3DF", "ES=F"), ("brk%2Fb", "BRK/B")])
async def test_symbol_is_decoded(store: Store, caller: Caller, sent: str, symbol: str) -> None:
    """Escapes in the segment are decoded, also that of a slash."""
    await store.write([record(utc("14:29:30"), symbol=symbol)])
    body = await caller.series(sent)
    assert (body["symbol"], len(body["bars"])) == (symbol, 1)


@pytest.mark.parametrize(
    "sent",
    ["S%20P%20Y", "A" * 500, "%2e%2e%2f", "%2E%2E", "%00", "SPY%00", "%ff", "%20", "%20%20", ""],
)
async def test_no_symbol_at_all(stranger: Caller, sent: str) -> None:
    """What no exchange lists is refused, not looked up."""
    body = await stranger.series(sent, status=400)
    assert body["error"] == "invalid_symbol"


@pytest.mark.parametrize("path", ["SPY/", "SPY/stream/x", "A/B", "S%0aY", "../series/SPY/x"])
async def test_more_than_a_symbol(stranger: Caller, path: str) -> None:
    """A path that is longer than the route is another path; nothing is redirected."""
    sent = await stranger.get(SERIES + path)
    assert sent.status_code == 404
    assert sent.json()["error"] == "not_found"


async def test_datasets_never_meet(
    database: str, store: Store, caller: Caller, open_app: Callable[..., Any]
) -> None:
    """A made-up row is nowhere to be seen among real ones, nor the other way round."""
    async with Store.open(database, "synthetic") as other:
        await other.write([record(utc("14:29:30"), source="synthetic", spot=1.0)])
        await store.write([record(utc("14:29"), spot=2.0)])
        real = await caller.series()
        assert [(bar["spot"], real["source"]) for bar in real["bars"]] == [(2.0, "cboe")]
        made_up = await (await open_app(other)).series()
        spots = [(bar["spot"], made_up["source"]) for bar in made_up["bars"]]
        assert spots == [(1.0, "synthetic")]
