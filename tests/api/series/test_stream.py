"""The stream, read from a real socket: each revision once, in order, whatever happens between."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.access.gate import AccessError, Admission, unauthorized
from api.access.gate import Caller as Person
from api.series import stream
from api.series.bars import SessionBars
from api.series.stream import DirectReader, QueuedReader, StreamHub, StreamResponse
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Reason
from storage.redis.channel import NoChannel
from tests.api.rows import FRIDAY, every, gap, record, utc
from tests.api.series.test_sessions import BARS, THURSDAY, slot_at, some_record
from tests.api.site import SERIES, Events, Fed, Site, Wire


@pytest.fixture(params=["direct", "through ASGI"])
async def site(open_site: Callable[..., Any], request: Any, monkeypatch: Any) -> Site:
    """A listening server with our protocol, and with uvicorn's own, which gives no connection."""
    if request.param != "direct":
        monkeypatch.setattr("api.http.server.choose_protocol", lambda: HttpToolsProtocol)
    return await open_site()


async def test_same_bytes(site: Site) -> None:
    """An event's data is the bar as the series has it, its id the cursor."""
    streams = {bar: await site.open(query=f"?bar={bar}") for bar in BARS}
    await site.readers(4)
    [change] = await site.fed.land(record(utc("14:30")))
    for bar, events in streams.items():
        assert (events.status, events.headers["content-type"]) == (200, "text/event-stream")
        event = await events.next()
        text = (await site.fed.get(f"{SERIES}SPY?bar={bar}")).text
        last = text[: text.index('],"session"')].rpartition('{"t"')
        assert event == {"id": str(change.revision), "data": last[1] + last[2]}
        await events.none()


async def test_gap_events(site: Site) -> None:
    """A slot without a sample is an event of its own kind; a row that fills it late is a bar."""
    events = await site.open()
    await site.readers(1)
    [change] = await site.fed.land(gaps=[gap("14:30", Reason.LATE)])
    assert await events.next() == {
        "id": str(change.revision),
        "event": "gap",
        "data": '{"from":"2026-06-05T14:30:00Z","to":"2026-06-05T14:30:30Z","reason":"late"}',
    }
    [change] = await site.fed.land(record(utc("14:30")))
    event = await events.next()
    assert event is not None
    assert (event["id"], "event" in event) == (str(change.revision), False)
    assert orjson.loads(event["data"])["t"] == "2026-06-05T14:30:00Z"


async def test_resume(site: Site) -> None:
    """Last-Event-ID, or since, brings what changed after it; the header counts before it."""
    cursor = (await site.fed.series())["cursor"]
    await site.fed.land(
        record(utc("14:10")), record(utc("14:29"), spot=1.0), mode=WriteMode.REWRITE
    )
    await site.fed.land(gaps=[gap("14:30", Reason.STALE)])
    await site.fed.land(record(utc("2026-06-04 19:59")))
    for query, headers in (
        (f"?since={cursor}", ""),
        ("", f"Last-Event-ID: {cursor}\r\n"),
        ("?since=0", f"Last-Event-ID: {cursor}\r\n"),
    ):
        events = await site.open(query=query, headers=headers)
        resumed = [await events.next() for _ in range(4)]
        await events.none()
        ids = [int(t["id"]) for t in resumed if t]
        assert cursor < ids[0]
        assert ids == sorted(set(ids))
        shown = [orjson.loads(t["data"]) for t in resumed if t]
        assert [bar.get("t", bar.get("from")) for bar in shown] == [
            "2026-06-05T14:10:00Z",
            "2026-06-05T14:29:00Z",
            "2026-06-05T14:30:00Z",
            "2026-06-04T19:59:00Z",
        ]
        events.close()
    events = await site.open(query=f"?since={ids[-1]}")
    await events.none()


@pytest.mark.parametrize("seed", range(3))
async def test_no_hole_and_no_double(site: Site, monkeypatch: Any, seed: int) -> None:
    """Readers who come and go at random end up with what the series has, each id once."""
    monkeypatch.setattr("api.series.stream._PIECE", 2_000)
    dice = random.Random(seed)
    held: dict[str, dict[str, Any]] = {bar: {} for bar in BARS}
    cursors = dict.fromkeys(BARS, 0)
    open_: dict[str, Events] = {}
    revisions: list[int] = []
    steady = await site.open(query="?bar=30s")
    await site.readers(1)

    async def read_all(bar: str, until: int) -> None:
        while cursors[bar] < until:
            event = await open_[bar].next()
            assert event is not None
            assert int(event["id"]) > cursors[bar]
            cursors[bar] = int(event["id"])
            if "event" not in event:
                shown = orjson.loads(event["data"])
                held[bar][shown["t"]] = shown

    for _ in range(30):
        for bar in BARS:
            if bar not in open_ and dice.random() < 0.5:
                open_[bar] = await site.open(query=f"?bar={bar}&since={cursors[bar]}")
            elif bar in open_ and dice.random() < 0.2:
                open_.pop(bar).close()
        slots = {slot_at(dice, dice.choice([FRIDAY, THURSDAY]), utc("15:30")) for _ in range(4)}
        if dice.random() < 0.3:
            marks = [gap(f"{s:%Y-%m-%d %H:%M:%S}", Reason.LATE) for s in slots]
            changes = await site.fed.land(gaps=marks)
        else:
            records = [some_record(dice, "SPY", slot) for slot in sorted(slots)]
            changes = await site.fed.land(
                *records, mode=dice.choice([WriteMode.KEEP, WriteMode.NEWER, WriteMode.REWRITE])
            )
        for change in changes:
            revisions += sorted(n for n, _ in (*change.rows, *change.gaps))
            for bar in open_:
                last = change.revision if bar == "30s" else change.rows[-1:] and change.revision
                await read_all(bar, last or cursors[bar])
    received = []
    while len(received) < len(revisions):
        event = await steady.next()
        assert event is not None
        received.append(int(event["id"]))
    assert received == revisions
    for bar in BARS:
        if bar not in open_:
            open_[bar] = await site.open(query=f"?bar={bar}&since={cursors[bar]}")
    for bar in BARS:
        spot = float(BARS.index(bar))
        [change] = await site.fed.land(record(utc("15:31"), spot=spot), mode=WriteMode.REWRITE)
        await read_all(bar, change.revision)
        for day in (THURSDAY, FRIDAY):
            site.fed.clock.moment = utc("15:32")
            whole = await site.fed.series(bar=bar, date=str(day), minutes=390)
            ours = [b for t, b in sorted(held[bar].items()) if t.startswith(str(day))]
            assert ours == whole["bars"]


async def test_signs_of_life(site: Site, monkeypatch: Any) -> None:
    """A comment now and then, which is no event."""
    monkeypatch.setattr("api.series.stream.HEARTBEAT_SECONDS", 0.02)
    hub = site.hub
    beating = asyncio.create_task(hub.run())
    events = await site.open()
    await events.none()
    assert events.comments > 1
    beating.cancel()


async def test_slow_reader_is_cut_off(site: Site, monkeypatch: Any) -> None:
    """Who does not read is cut off, nothing piles up for him, and the others notice nothing."""
    monkeypatch.setattr("api.series.stream.MAX_WAITING_BYTES", 20_000)
    slow = await site.open(buffer=4_096)
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    quick = await site.open()
    await site.readers(2)
    port = slow.writer.get_extra_info("sockname")[1]
    [sending] = [
        connection.transport
        for connection in site.server.server_state.connections
        if connection.transport.get_extra_info("peername")[1] == port
    ]
    sending.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    spots = []
    for i in range(60):
        slots = [utc("13:30") + timedelta(seconds=30 * n) for n in range(10)]
        await site.fed.land(*(record(s, spot=float(i)) for s in slots), mode=WriteMode.REWRITE)
        for _ in slots:
            event = await quick.next()
            assert event is not None
            spots.append(orjson.loads(event["data"])["spot"])
    assert spots == [float(i) for i in range(60) for _ in range(10)]
    await site.readers(1)


async def test_a_cut_reader_takes_no_more() -> None:
    """After a cut nothing more is queued, and the task that sends comes to its end."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    reader = QueuedReader(send, None)  # type: ignore[arg-type]
    assert reader.write(b"before")
    reader.cut()
    assert reader.is_cut.is_set()
    assert not reader.write(b"after")
    await asyncio.wait_for(reader.run(), 2)
    assert [message["body"] for message in sent] == [b"before", b""]


async def test_a_queue_is_as_long_as_its_bytes(monkeypatch: Any) -> None:
    """A reader is cut when more than the limit waits, not at the limit, nor for what went out."""
    monkeypatch.setattr("api.series.stream.MAX_WAITING_BYTES", 10)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    reader = QueuedReader(send, None)  # type: ignore[arg-type]
    running = asyncio.create_task(reader.run())
    for _ in range(3):
        assert reader.write(b"12345")
        assert reader.write(b"67890")
        await asyncio.sleep(0.01)
    assert reader.write(b"12345")
    assert reader.write(b"67890")
    assert reader.write(b"1"), "ten bytes wait, and ten may"
    assert not reader.write(b"2"), "eleven bytes wait"
    assert reader.is_cut.is_set()
    await asyncio.wait_for(running, 2)
    assert b"".join(message["body"] for message in sent) == b"1234567890" * 4 + b"1"


class Connection:
    """A transport that stands still."""

    def __init__(self) -> None:
        self.closing, self.waiting, self.written = False, 0, b""

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.closing = True


def test_a_connection_is_written_to_while_it_takes_it(monkeypatch: Any) -> None:
    """Up to the limit it is written to; beyond it is cut, and then nothing more is written."""
    monkeypatch.setattr("api.series.stream.MAX_WAITING_BYTES", 10)
    connection: Any = Connection()
    reader = DirectReader(connection, None, None)  # type: ignore[arg-type]
    connection.waiting = 10
    assert reader.write(b"events")
    assert (connection.written, connection.closing) == (b"6\r\nevents\r\n", False)
    connection.waiting = 11
    assert not reader.write(b"more")
    assert connection.closing
    connection.waiting = 0
    assert not reader.write(b"more")
    assert connection.written == b"6\r\nevents\r\n"


async def test_what_is_stored_of_the_previous_session_is_an_event(site: Site) -> None:
    """A late row of the previous session reaches readers; one of a session before it does not."""
    events = await site.open()
    await site.readers(1)
    await site.fed.land(record(utc("2026-06-03 19:59")))
    await events.none()
    [change] = await site.fed.land(record(utc("2026-06-04 19:59")))
    event = await events.next()
    assert event is not None
    assert event["id"] == str(change.revision)
    assert orjson.loads(event["data"])["t"] == "2026-06-04T19:59:00Z"


async def test_who_comes_as_the_server_stops_is_let_go() -> None:
    """A reader that joins after the end is closed at once and counts for nothing."""

    async def send(message: Any) -> None: ...

    hub = StreamHub(None, None, None)  # type: ignore[arg-type]
    hub.close()
    reader = QueuedReader(send, None)  # type: ignore[arg-type]
    hub.join("SPX", None, 60, reader)
    await asyncio.wait_for(reader.run(), 2)
    assert (hub.count(), hub.wants("SPX", None)) == (0, False)


async def test_the_answer_of_a_cut_reader_ends() -> None:
    """A cut ends the answer also while the client says nothing, and leaves no reader behind."""

    class Sessions:
        async def get(self, symbol: str, day: Any, feed: str | None) -> SessionBars:
            return SessionBars(symbol, day, None)

        def head(self, symbol: str) -> int:
            return 0

    class Clock:
        def now(self) -> datetime:
            return utc("14:30")

    async def send(message: Any) -> None: ...

    async def receive() -> Any:
        await asyncio.Event().wait()

    hub = StreamHub(Sessions(), None, Clock())  # type: ignore[arg-type]
    response = StreamResponse(hub, "SPX", None, 60, None, None)  # type: ignore[arg-type]
    answer = asyncio.create_task(response({"type": "http"}, receive, send))
    async with asyncio.timeout(2):
        while not hub.count():
            await asyncio.sleep(0.001)
    hub.lost("SPY", None)
    hub.lost("SPX", "cboe")
    await asyncio.sleep(0.01)
    assert (hub.count(), answer.done()) == (1, False)
    hub.lost("SPX", None)
    await asyncio.wait_for(answer, 2)
    assert hub.count() == 0


async def test_a_lot_missed(site: Site) -> None:
    """A whole session at once, in pieces, and then what lands."""
    await site.fed.land(*every("13:30", "14:19:30"))
    events = await site.open(query="?since=0")
    shown = [orjson.loads((await events.next())["data"])["t"] for _ in range(120)]  # type: ignore[index]
    assert len(set(shown)) == 120
    await site.fed.land(record(utc("14:30")))
    event = await events.next()
    assert event is not None
    assert orjson.loads(event["data"])["t"] == "2026-06-05T14:30:00Z"


@pytest.mark.parametrize("sent", ["abc", "-1", "1.5", "1, 2", "٣", "0x10", "1" + "0" * 400 + "x"])
async def test_bad_last_event_id(site: Site, sent: str) -> None:
    """What is no cursor is refused by name."""
    events = Events(*await asyncio.open_connection("127.0.0.1", site.port))
    site.opened.append(events)
    head = f"GET {SERIES}SPY/stream HTTP/1.1\r\nHost: f\r\nLast-Event-ID: {sent}\r\n\r\n"
    events.writer.write(head.encode())
    await events.head()
    assert events.status == 400
    body = await events.reader.readexactly(int(events.headers["content-length"]))
    assert orjson.loads(body)["error"] == "invalid_since"
    events.close()


async def test_cursor_beyond_every_revision(site: Site) -> None:
    """A cursor of another world brings what lands from now on."""
    events = await site.open(headers=f"Last-Event-ID: {'9' * 400}\r\n")
    await site.readers(1)
    await site.fed.land(record(utc("14:30")))
    assert await events.next() is not None


async def test_head_and_methods(site: Site) -> None:
    """A HEAD ends at once; a stream is only read."""
    for method, status in (("HEAD", 200), ("POST", 405)):
        sent = await site.fed.request(method, f"{SERIES}SPY/stream")
        assert sent.status_code == status
    for path in ("A/B/stream", "stream/stream/x", "/stream", "S%00/stream", "%20/stream"):
        assert (await site.fed.get(f"{SERIES}{path}")).status_code in (400, 404)


async def test_stream_of_nobody(site: Site) -> None:
    """A symbol that nobody samples yet is followed until somebody does."""
    events = await site.open("IWM", "?since=0")
    assert events.status == 200
    await site.readers(1)
    await site.fed.land(record(utc("14:30"), symbol="IWM"))
    assert await events.next() is not None
    events.close()
    await site.readers(0)
    assert site.hub._groups == {}


async def test_key_in_the_address(
    open_site: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers send no headers: a key may stand in the address; one that is revoked is cut off."""

    class Keyed:
        revoked = False

        async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
            if key != "good":
                raise unauthorized()
            return Admission(Person("Growth"))

        def knows(self, caller: Person) -> bool:
            return not self.revoked

    keyed = Keyed()
    site: Site = await open_site(access=keyed)
    with pytest.raises(AccessError):
        await keyed.admit(None, "Growth")
    assert (await site.open()).status == 401
    await site.open(query="?apiKey=good")
    await site.readers(1)
    monkeypatch.setattr("api.series.stream.HEARTBEAT_SECONDS", 0.02)
    beating = asyncio.create_task(site.hub.run())
    keyed.revoked = True
    await site.readers(0)
    beating.cancel()


async def test_store_and_channel_are_away(site: Site, monkeypatch: Any) -> None:
    """A stream goes on from memory; what it lacks is refused and asked for again."""
    site.fed.store.away = True
    assert (await site.open()).status == 200
    assert (await site.open(query="?since=1")).status == 503
    site.fed.store.away = False


async def test_channel_is_away(
    store: Store, feed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the live channel, streams are fed from the store."""
    monkeypatch.setattr("storage.changefeed._POLL", 0.02)
    monkeypatch.setattr(Wire, "listen", NoChannel.listen)
    fed: Fed = await feed(store)
    calls: list[Any] = []
    hub = fed._transport.app.context.hub  # type: ignore[attr-defined]
    monkeypatch.setattr(hub, "changed", lambda *arguments: calls.append(arguments))
    [change] = (await store.write([record(utc("14:29:30"))])).changes
    await fed.reached({"SPY": change.revision})
    [(symbol, name, [day], _)] = calls
    assert (symbol, name, day.cursor) == ("SPY", None, change.revision)


async def test_stopping_lets_readers_go(site: Site) -> None:
    """When the server stops, readers are told at once."""
    events = await site.open()
    await site.readers(1)
    site.hub.close()
    assert await events.next() is None


def test_readers_are_promised_a_line_every_fifteen_seconds() -> None:
    """The page on the stream and the API's description say so, and readers time out by it."""
    assert stream.HEARTBEAT_SECONDS == 15.0
    text = (Path(__file__).parents[3] / "docs" / "stream.md").read_text()
    assert "A line with only a colon every 15 seconds" in text
