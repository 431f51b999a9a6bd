"""Sessions in memory: the same answers as by SQL, whatever lands in whatever order."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from typing import Any

import brotli
import orjson
import pytest
import zstandard

from api.access.gate import Admission, OpenAccess
from api.series import reply
from api.series.sessions import MAX_EARLIER_SESSIONS
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Change, Reason
from storage.redis.channel import NoChannel
from tests.api import oracle
from tests.api.conftest import SERIES, Caller, Fed, Wire
from tests.api.rows import FRIDAY, every, gap, record, utc

THURSDAY = date(2026, 6, 4)
BARS = ("30s", "1m", "5m", "15m")


def some_record(dice: random.Random, symbol: str, slot: Any, **changes: Any) -> Any:
    """Figures at random, nulls and awkward numbers among them."""
    number = dice.choice([0.1 + 0.2, 1e22, -7.25e9, 1 / 3, 12345678.12, 5e-324])
    return record(
        slot,
        symbol=symbol,
        spot=dice.choice([number, 600.0]),
        gamma_flip=dice.choice([None, 605.5]),
        atm_iv=dice.choice([None, 0.147]),
        flip_out_of_reach=dice.choice([None, True, False]),
        distance_to_flip_sigmas=dice.choice([None, 4.25]),
        regime_confidence=dice.choice([None, 0.97]),
        remaining_1sd=dice.choice([None, 28.63]),
        pin_score=dice.randint(0, 100),
        flags=dice.choice([(), ("after_gap",), ("baseline", "stale_spot")]),
        delay_seconds=dice.choice([0, 0, 900]),
        quoted_at=slot + timedelta(seconds=dice.randint(0, 14), microseconds=dice.randint(0, 9)),
        classified_share=dice.choice([None, 0.93]),
        **changes,
    )


def slot_at(dice: random.Random, day: date, around: Any) -> Any:
    session = session_on(day)
    assert session is not None
    slots = [s for s in session.slots if s <= around] or session.slots[:3]
    return dice.choice([slots[-1], slots[-1], dice.choice(slots[-30:]), dice.choice(slots)])


@pytest.mark.parametrize("seed", range(6))
async def test_memory_equals_sql(
    store: Store, feed: Callable[..., Any], open_app: Callable[..., Any], seed: int
) -> None:
    """Rows, gaps, late fills and rewrites at random: memory, store and SQL say the same bytes."""
    dice = random.Random(seed)
    await store.write(every("2026-06-04 19:00", "2026-06-04 19:20", delay_seconds=900))
    if seed % 2:
        await store.write(every("13:30", "13:50"))
    fed: Fed = await feed(store, "13:29")
    plain: Caller = await open_app(store)
    cursors = [0]
    for _ in range(25):
        # Within a second, and across its first moment, too: answers of a second are kept.
        fed.clock.moment += timedelta(seconds=dice.choice([0, 0, 0.5, 7, 31, 333, 2000]))
        now = plain.clock.moment = fed.clock.moment
        for _ in range(dice.randint(0, 3)):
            symbol = dice.choice(["SPY", "SPY", "QQQ"])
            day = dice.choice([FRIDAY, FRIDAY, FRIDAY, THURSDAY])
            slots = {slot_at(dice, day, now) for _ in range(dice.randint(1, 6))}
            if dice.random() < 0.3:
                reason = dice.choice([Reason.STALE, Reason.LATE, Reason.NO_ZERO_DTE])
                marks = [gap(f"{s:%Y-%m-%d %H:%M:%S}", reason, symbol) for s in slots]
                await fed.land(gaps=marks)
                continue
            records = [some_record(dice, symbol, s) for s in sorted(slots)]
            await fed.land(
                *records, mode=dice.choice([WriteMode.KEEP, WriteMode.NEWER, WriteMode.REWRITE])
            )
        for number in range(6):
            query: dict[str, str] = {"bar": "30s" if number == 0 else dice.choice(BARS)}
            if number == 0:
                query["minutes"] = "1"
            elif dice.random() < 0.7:
                query["minutes"] = str(dice.choice([1, 3, 7, 60, 390]))
            if number and dice.random() < 0.3:
                query["date"] = str(dice.choice([THURSDAY, FRIDAY, date(2026, 6, 8)]))
            if number and dice.random() < 0.5:
                query["since"] = str(dice.choice(cursors))
            symbol = dice.choice(["SPY", "SPY", "QQQ", "XYZ"])
            node = fed._transport.app.context.node  # type: ignore[attr-defined]
            body, tag = await oracle.answer(store, symbol, query, now, node)
            for caller in (fed, fed, plain):
                sent = await caller.get(SERIES + symbol, params=query)
                assert (sent.status_code, sent.headers["ETag"]) == (200, tag)
                assert sent.content == body
            cursors.append(orjson.loads(body)["cursor"])


@pytest.mark.parametrize("first", [0, 500_000])
async def test_a_second_has_a_first_moment(
    store: Store, feed: Callable[..., Any], first: int
) -> None:
    """A minute that ends on a slot begins on one, and has it; half a second later it has not."""
    await store.write(every("14:28", "14:29:30"))
    fed: Fed = await feed(store)
    expected = {0: ["14:29:00Z", "14:29:30Z"], 500_000: ["14:29:30Z"]}
    for microsecond in (first, 500_000 - first, first):
        fed.clock.moment = utc("14:30").replace(microsecond=microsecond)
        bars = (await fed.series(bar="30s", minutes=1))["bars"]
        assert [bar["t"][-9:] for bar in bars] == expected[microsecond]


async def test_what_lands_while_a_body_is_compressed(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was cut before a change is not given to whoever asks after it."""
    await store.write(every("14:00", "14:29"))
    fed: Fed = await feed(store)
    path, packed = {"Accept-Encoding": "gzip"}, reply.compressed_reply
    landing: list[Change] = []

    async def slowly(*arguments: Any) -> Any:
        if not landing:
            landing.extend(await fed.land(record(utc("14:29:30"), spot=1.0)))
        return await packed(*arguments)

    monkeypatch.setattr("api.series.reply.compressed_reply", slowly)
    before = (await fed.get(f"{SERIES}SPY", headers=path)).json()
    after = (await fed.get(f"{SERIES}SPY", headers=path)).json()
    assert (before["bars"][-1]["t"], after["bars"][-1]["t"]) == (
        "2026-06-05T14:29:00Z",
        "2026-06-05T14:29:30Z",
    )
    assert after["cursor"] == landing[0].revision


async def test_a_second_has_its_room(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many different things are asked for in a second, what is kept of it is bounded."""
    monkeypatch.setattr("api.routes.series_fast_path.AnswersOfOneSecond._ROOM", 20_000)
    await store.write(every("14:00", "14:29:30"))
    fed: Fed = await feed(store)
    cache = fed._transport.app.fast_path._answers  # type: ignore[attr-defined]
    for minutes in [*range(1, 31), *range(1, 31)]:
        body = await fed.series(bar="30s", minutes=minutes)
        assert len(body["bars"]) == 2 * minutes
        assert sum(len(b"".join(entry[2].parts)) for entry in cache._answers.values()) <= 20_000
    assert 0 < len(cache._answers) < 30


async def test_no_question_to_the_store(store: Store, feed: Callable[..., Any]) -> None:
    """Today is served from memory while the database is away, and goes on when it is back."""
    await store.write(every("14:00", "14:29"))
    fed: Fed = await feed(store)
    before = (await fed.series(bar="1m"))["bars"]
    fed.store.away = True
    assert (await fed.series(bar="1m"))["bars"] == before
    assert (await fed.series("XYZ"))["reason"] == "unknown_symbol"
    assert (await fed.series(date="2026-06-04", status=503))["error"] == "store_unavailable"
    fed.store.away = False
    await fed.land(record(utc("14:29:30")))
    assert (await fed.series(bar="1m"))["bars"][-1]["sampled_at"] == "2026-06-05T14:29:30Z"


async def test_earlier_sessions_are_kept(store: Store, feed: Callable[..., Any]) -> None:
    """One that was asked for is kept, a backfill reaches it, and old ones make room."""
    await store.write(every("2026-06-04 14:00", "2026-06-04 14:05"))
    fed: Fed = await feed(store)
    assert len((await fed.series(date="2026-06-04"))["bars"]) == 11
    await fed.land(record(utc("2026-06-04 14:06")))
    fed.store.away = True
    assert len((await fed.series(date="2026-06-04"))["bars"]) == 12
    fed.store.away = False
    for i in range(MAX_EARLIER_SESSIONS + 3):
        await fed.series(date=str(date(2026, 3, 1) + timedelta(days=i)))
    assert len(fed.sessions._earlier) == MAX_EARLIER_SESSIONS
    fed.store.away = True
    await fed.series(date="2026-06-04", status=503)


async def test_a_day_begins(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At midnight in New York today's sessions become earlier ones; the new day is in memory."""
    monkeypatch.setattr("api.series.sessions._LOOK", 0.01)
    await store.write(every("19:50", "19:59:30", delay_seconds=900))
    fed: Fed = await feed(store, "23:00")
    assert len((await fed.series())["bars"]) == 20
    # In memory before the day begins: an earlier session and the coming one.
    for day in ("2026-06-04", "2026-06-08"):
        assert (await fed.series(date=day))["bars"] == []
    fed.clock.moment = utc("2026-06-08 13:40")
    await asyncio.sleep(0.2)
    fed.store.away = True
    body = await fed.series()
    # Friday's feed was late by a quarter of an hour.
    assert (body["expiration"], body["reason"], body["delay_seconds"]) == (
        "2026-06-08",
        "before_open",
        900,
    )
    assert len((await fed.series(date="2026-06-05"))["bars"]) == 20
    fed.store.away = False
    await fed.land(record(utc("2026-06-08 13:30"), delay_seconds=900))
    assert len((await fed.series())["bars"]) == 1


async def test_new_symbol(store: Store, feed: Callable[..., Any]) -> None:
    """A symbol that appears later is served like the others."""
    fed: Fed = await feed(store)
    assert (await fed.series("IWM"))["reason"] == "unknown_symbol"
    await fed.land(record(utc("14:29"), symbol="IWM"))
    fed.store.away = True
    assert len((await fed.series("IWM"))["bars"]) == 1


async def test_new_symbol_while_its_session_loads(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbol's first change is followed once its session is in memory, and not before.

    A stream that began in between would send that change a second time.
    """
    fed: Fed = await feed(store)
    reading, go_on = asyncio.Event(), asyncio.Event()
    session = store.session

    async def slowly(*arguments: Any) -> Any:
        reading.set()
        await go_on.wait()
        return await session(*arguments)

    monkeypatch.setattr(store, "session", slowly)
    landing = asyncio.create_task(fed.land(record(utc("14:29"), symbol="IWM")))
    await asyncio.wait_for(reading.wait(), 10)
    assert fed.sessions.head("IWM") == 0
    go_on.set()
    [change] = await landing
    assert fed.sessions.head("IWM") == change.revision


async def test_sessions_that_load_are_of_a_store_that_answers(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first sessions are read nothing says that the store is away: it has answered."""
    await store.write(every("14:00", "14:05"))
    reading, go_on = asyncio.Event(), asyncio.Event()
    session = store.session

    async def slowly(*arguments: Any) -> Any:
        reading.set()
        await go_on.wait()
        return await session(*arguments)

    monkeypatch.setattr(store, "session", slowly)
    fed: Fed = await feed(store)
    await asyncio.wait_for(reading.wait(), 10)
    assert fed.sessions.known_at is None
    go_on.set()
    body = await fed.series()
    assert (len(body["bars"]), "as_known_at" in body) == (11, False)


async def test_channel_is_away(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the live channel the store is polled."""
    monkeypatch.setattr("storage.changefeed._POLL", 0.02)
    monkeypatch.setattr(Wire, "listen", NoChannel.listen)
    fed: Fed = await feed(store)
    [change] = (await store.write([record(utc("14:29:30"))])).changes
    await fed.reached({"SPY": change.revision})
    assert [bar["spot"] for bar in (await fed.series())["bars"]] == [659.5]


async def sent_bytes(
    caller: Caller, method: str, url: str, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an answer, the body as it was sent: not decompressed."""
    async with caller.stream(method, url, headers=headers) as answer:
        body = b"".join([piece async for piece in answer.aiter_raw()])
    # How Vary is written depends on the framework's release.
    names = sorted(pair for pair in answer.headers.items() if pair[0].lower() != "vary")
    return answer.status_code, names, body


#: Request headers, by whether the fast path answers a valid request that has them.
REQUEST_HEADERS: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Accept-Encoding": "identity"}, True),
    ({"Accept-Encoding": "gzip"}, True),
    ({"Accept-Encoding": "zstd, gzip;q=0.5"}, True),
    ({"Accept-Encoding": "br"}, True),
    ({"Accept-Encoding": "nonsense;q=x"}, True),
    ({"If-None-Match": "ETAG"}, True),
    ({"If-None-Match": "ETAG", "Accept-Encoding": "gzip"}, True),
    ({"If-None-Match": '"other", ETAG'}, True),
    ({"If-None-Match": "*"}, True),
    ({"If-None-Match": '"other"', "Accept-Encoding": "br"}, True),
    ({"Origin": "https://somewhere.else"}, True),
    ({"Accept": "text/csv"}, False),
]
#: Parts of the address after the route, by whether the fast path answers them.
ADDRESSES: list[tuple[str, bool]] = [
    ("SPY?minutes=60", True),
    ("spy?bar=1m&minutes=390", True),
    ("SPY?date=2026-06-05&bar=30s&minutes=390", True),
    ("SPY?since=3", True),
    ("SPY?format=csv", False),
    ("SPY?bar=nonsense", False),
    ("SPY?minutes=many", False),
    ("SPY?date=tomorrow", False),
    ("SPY?since=-1", False),
    ("S%20Y", False),
    ("XYZ", False),
    ("SPY/nothing", False),
]


@pytest.mark.parametrize("address", ADDRESSES, ids=[address for address, _ in ADDRESSES])
async def test_both_paths_send_the_same_bytes(
    store: Store,
    feed: Callable[..., Any],
    open_app: Any,
    monkeypatch: pytest.MonkeyPatch,
    address: tuple[str, bool],
) -> None:
    """The fast path and the framework's route agree in status, headers and compressed bytes."""
    await store.write(every("13:30", "14:29:30"))
    fed: Fed = await feed(store)
    plain: Caller = await open_app(store)
    url, is_common = SERIES + address[0], address[1]
    etag = (await plain.get(url)).headers.get("ETag", '"none"')
    answered: dict[str, list[bool]] = {"fast": [], "plain": []}
    for name, caller in (("fast", fed), ("plain", plain)):
        fast_path = caller._transport.app.fast_path  # type: ignore[attr-defined]

        async def answer(
            *request: Any, original: Any = fast_path.answer, into: Any = answered[name]
        ) -> bool:
            into.append(await original(*request))
            return into[-1]

        monkeypatch.setattr(fast_path, "answer", answer)
    for method in ("GET", "HEAD", "POST"):
        for template, allows in REQUEST_HEADERS:
            headers = {name: value.replace("ETAG", etag) for name, value in template.items()}
            fast = await sent_bytes(fed, method, url, headers)
            assert fast == await sent_bytes(plain, method, url, headers), (method, headers)
            # A comparison of the framework's route with itself would prove nothing.
            assert answered["fast"][-1] is (is_common and allows and method == "GET")
            assert answered["plain"][-1] is False


async def test_origins(store: Store, feed: Callable[..., Any]) -> None:
    """Only pages of the origins that are named may read, from memory as from the framework."""
    await store.write(every("14:28", "14:29:30"))
    fed: Fed = await feed(store, origins=("https://a.example", "http://localhost:3000"))
    for path in (f"{SERIES}SPY", f"{SERIES}SPY?format=csv"):
        for origin, allowed in (
            ("https://a.example", "https://a.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://b.example", None),
            ("null", None),
        ):
            sent = await fed.get(path, headers={"Origin": origin})
            assert sent.status_code == 200
            assert sent.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Origin" in sent.headers["Vary"]


async def test_a_cut_bucket(store: Store, feed: Callable[..., Any]) -> None:
    """A bucket that the window cuts is told again only for its part of the window."""
    await store.write(every("14:00", "14:29:30"))
    fed: Fed = await feed(store)
    cursor = (await fed.series())["cursor"]
    await fed.land(record(utc("14:20"), spot=1.0), mode=WriteMode.REWRITE)
    node = fed._transport.app.context.node  # type: ignore[attr-defined]
    for minutes, count in (("7", 0), ("10", 1)):
        query = {"bar": "5m", "minutes": minutes, "since": str(cursor)}
        body, _ = await oracle.answer(store, "SPY", query, utc("14:30"), node)
        sent = await fed.get(f"{SERIES}SPY", params=query)
        assert sent.content == body
        assert len(sent.json()["bars"]) == count


async def test_defect(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw is a 500 with an id in front of the framework too."""
    await store.write(every("14:28", "14:29:30"))
    fed: Fed = await feed(store)
    monkeypatch.setattr("api.series.bars.SessionBars.missing_slots", lambda *_: 1 / 0)
    body = await fed.series(status=500)
    assert (set(body), body["error"]) == ({"error", "message", "id"}, "internal_error")


async def test_documents_are_kept(store: Store, feed: Callable[..., Any]) -> None:
    """What is polled between two changes is made once, whatever coding it is asked for in."""
    await store.write(every("14:00", "14:29:30"))
    fed: Fed = await feed(store)
    path = "/v1/flow/zero-dte/hedge-flow/SPY"
    # Both seconds mean the same slots.
    fed.clock.moment = utc("14:30:01")
    plain = (await fed.get(path, headers={"Accept-Encoding": "identity"})).json()
    fed.store.away = True
    fed.clock.moment = utc("14:30:02")
    for coding in ("gzip", "zstd", "br"):
        sent = await fed.get(path, headers={"Accept-Encoding": coding})
        assert sent.headers["Content-Encoding"] == coding
        packed = {"gzip": gzip.decompress, "zstd": unpacked, "br": brotli.decompress}
        raw = b"".join([piece async for piece in raw_of(fed, path, coding)])
        assert orjson.loads(packed[coding](raw)) == plain | {"as_of": "2026-06-05T14:30:02Z"}
    tag = sent.headers["ETag"]
    assert (await fed.get(path, headers={"If-None-Match": tag})).status_code == 304
    fed.store.away = False
    [change] = await fed.land(record(utc("14:29"), spot=1.0), mode=WriteMode.REWRITE)
    changed = await fed.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["cursor"]) == (200, change.revision)


def unpacked(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


async def raw_of(fed: Fed, path: str, coding: str) -> AsyncIterator[bytes]:
    """An answer's bytes as they were sent."""
    async with fed.stream("GET", path, headers={"Accept-Encoding": coding}) as sent:
        async for piece in sent.aiter_raw():
            yield piece


async def test_earlier_sessions_count_once(store: Store, feed: Callable[..., Any]) -> None:
    """Whoever was let in in front of the framework is not counted again inside it."""
    await store.write(every("2026-06-04 14:00", "2026-06-04 14:05"))
    counted: list[str | None] = []

    class Counting(OpenAccess):
        async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
            counted.append(plan)
            return await super().admit(key, plan, count=count)

    fed: Fed = await feed(store, access=Counting())
    assert len((await fed.series(date="2026-06-04"))["bars"]) == 11
    assert counted == ["Growth"]
    assert (await fed.series(date="2026-06-03"))["bars"] == []
    fed.store.away = True
    assert (await fed.series(date="2026-06-02", status=503))["error"] == "store_unavailable"
    assert counted == ["Growth"] * 3


async def test_changes_that_land_while_a_session_loads(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is stored after a session was read, and before it is in memory, is in it."""
    await store.write(every("2026-06-04 14:00", "2026-06-04 14:05"))
    fed: Fed = await feed(store)
    read, changed = asyncio.Event(), asyncio.Event()
    session = store.session

    async def slowly(*arguments: Any) -> Any:
        stored = await session(*arguments)
        read.set()
        await changed.wait()
        return stored

    monkeypatch.setattr(store, "session", slowly)
    request = asyncio.create_task(fed.series(date="2026-06-04"))
    await asyncio.wait_for(read.wait(), 10)
    late = record(utc("2026-06-04 14:06"), spot=1.5)
    again = record(utc("2026-06-04 14:05"), spot=2.5)
    await fed.land(again, late, mode=WriteMode.REWRITE)
    changed.set()
    expected = {"2026-06-04T14:05:00Z": 2.5, "2026-06-04T14:06:00Z": 1.5}
    for body in (await request, await fed.series(date="2026-06-04")):
        spots = {bar["t"]: bar["spot"] for bar in body["bars"]}
        assert len(spots) == 12
        assert spots | expected == spots


async def test_a_window_is_kept_under_its_own_cursor(
    store: Store, feed: Callable[..., Any]
) -> None:
    """An answer from a store that is ahead of memory is not kept as that of memory's cursor."""
    await store.write(every("14:00", "14:29"))
    fed: Fed = await feed(store)
    path = "/v1/flow/zero-dte/hedge-flow/SPY"
    # The session is in memory from here on.
    assert (await fed.series())["bars"]
    for spot in (1.0, 2.0):
        # Stored, but not announced: memory does not know of it yet.
        rewritten = record(utc("14:29"), spot=spot)
        [change] = (await store.write([rewritten], mode=WriteMode.REWRITE)).changes
        assert (await fed.get(path)).json()["cursor"] == change.revision
