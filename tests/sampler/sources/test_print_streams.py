"""Streams of trades beside polled chains, ``tradier:`` and ``theta:``: sides, cuts, garbage, refusals."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
import structlog

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import Source, open_source, websocket
from sampler.sources.print_stream import MOST_WAITING, PrintStream, StreamedTable
from sampler.sources.sides import StreamedSides
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta import source as theta_source
from sampler.sources.theta.stream import ThetaStream, stream_url
from sampler.sources.tradier import source as tradier_source
from sampler.sources.tradier.source import Tradier
from sampler.sources.tradier.stream import TradierStream
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import session_on
from tests.vendors.fuzz import mutated_json
from tests.vendors.same_row import only_today
from tests.vendors.tape import Print
from tests.vendors.theta import ThetaVendor, prints_of, theta_events
from tests.vendors.tradier import SESSION as STREAM_SESSION
from tests.vendors.tradier import TOKEN, TradierVendor, timesale
from tests.vendors.websocket import StreamingVendor

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
KEYS = VendorKeys.read({"FLOW_TRADIER_TOKEN": TOKEN})


@dataclass(frozen=True)
class Kind:
    """A source with a stream, and its vendor."""

    vendor: Callable[[], StreamingVendor]
    url: Callable[[StreamingVendor], str]
    tells_legs: bool


KINDS = {
    "tradier": Kind(
        TradierVendor, lambda s: f"tradier:{s.url}?pace=0&expiries=0&stream=yes", False
    ),
    "theta": Kind(
        ThetaVendor,
        lambda s: (
            f"theta:{s.url}?plan=pro&expiries=0&stream={s.url.replace('http', 'ws').removesuffix('/v3')}/v1/events"
        ),
        True,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
async def server(kind: Kind) -> AsyncIterator[StreamingVendor]:
    async with kind.vendor() as server:
        yield server


@pytest.fixture
async def source(kind: Kind, server: StreamingVendor) -> AsyncIterator[Source]:
    source = open_source(kind.url(server), KEYS)
    yield source
    await source.close()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def stream_of(source: Any) -> PrintStream:
    return source._stream


async def simulated(slots: int) -> list[Frame]:
    frames = []
    async for frame in Synthetic(seed=7).history("SPX", SESSION):
        frames.append(only_today(frame))
        if len(frames) == slots:
            break
    return frames


async def play(server: StreamingVendor, frames: list[Frame]) -> tuple[list[Print], list[Frame]]:
    """Give the frames and the trades between them to a server; return both, sides told."""
    prints, expected = prints_of(frames)
    server.put(*frames)
    server.tape.put("SPX", prints)
    return prints, expected


async def frame_after(source: Source, server: StreamingVendor, frame: Frame) -> Frame:
    server.now = frame.quoted_at
    return await source.live("SPX", frame.quoted_at)


async def subscribed(source: Any) -> None:
    """Wait until all contracts stream: the terminal grants each by an answer of its own."""
    for _ in range(200):
        tables = stream_of(source)._tables.values()
        if tables and all(table.sides._streams.all() for table in tables):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("contracts that do not stream")


def signed_in(came: Frame, like: Frame, name: str = "signed_volume") -> np.ndarray:
    """A column of a frame in the order of another frame's contracts."""
    place = {(k, r): i for i, (k, r) in enumerate(zip(came.strike, came.right, strict=True))}
    order = [place[k, r] for k, r in zip(like.strike, like.right, strict=True)]
    return getattr(came, name)[order]


# Sides


async def test_each_trade_is_signed_against_its_own_quote(
    kind: Kind, server: StreamingVendor, source: Source
) -> None:
    """Sampled from the open on: signed volume, and legs where they are told, as they were traded."""
    frames = await simulated(12)
    _, expected = await play(server, frames)
    came = [await frame_after(source, server, frames[0])]
    await subscribed(source)
    came += [await frame_after(source, server, frame) for frame in frames[1:]]
    total = 0.0
    for ours, theirs in zip(came[1:], expected[1:], strict=True):
        np.testing.assert_allclose(signed_in(ours, theirs), theirs.signed_volume, rtol=0, atol=1e-6)
        total += np.abs(theirs.signed_volume).sum()
        if kind.tells_legs:
            legs = signed_in(ours, theirs, "multi_leg_volume")
            np.testing.assert_array_equal(legs, theirs.multi_leg_volume)
        else:
            assert ours.multi_leg_volume is None
        np.testing.assert_array_equal(signed_in(ours, theirs, "volume"), theirs.volume)
    assert total > 1000
    assert server.streams == 1


async def test_the_chain_is_the_polled_one(
    kind: Kind, server: StreamingVendor, source: Source
) -> None:
    """But for the sides, a frame is what it is without a stream."""
    frame = (await simulated(3))[-1]
    await play(server, [frame, frame])
    ours = await frame_after(source, server, frame)
    plain = open_source(kind.url(server).replace("stream=", "stream=no&x=").split("&x=")[0], KEYS)
    theirs = await frame_after(plain, server, frame)
    await plain.close()
    for name in ("strike", "right", "bid", "ask", "last", "last_at", "volume", "open_interest"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert np.isnan(theirs.signed_volume).all()


async def test_after_a_cut_one_frame_tells_no_sides_and_the_next_ones_go_on(
    server: StreamingVendor, source: Source
) -> None:
    """What traded while nobody listened is in no count; later changes are those of the prints."""
    frames = await simulated(9)
    _, expected = await play(server, frames)
    await frame_after(source, server, frames[0])
    await subscribed(source)
    for frame in frames[1:4]:
        await frame_after(source, server, frame)
    server.cuts += 1
    await asyncio.sleep(0.2)
    cut = await frame_after(source, server, frames[4])
    await subscribed(source)
    after = [await frame_after(source, server, frame) for frame in frames[5:]]
    assert np.isnan(cut.signed_volume).all()
    assert np.isfinite(cut.bid).any()
    for i in range(1, len(after)):
        change = expected[5 + i].signed_volume - expected[5 + i - 1].signed_volume
        ours = signed_in(after[i], frames[0]) - signed_in(after[i - 1], frames[0])
        np.testing.assert_allclose(ours, change, rtol=0, atol=1e-6)
    assert server.streams == 2


async def test_a_stream_that_is_down_costs_no_slot_and_is_said_once(
    server: StreamingVendor, source: Source, logged: list[Any]
) -> None:
    """Three frames without sides, one line in the log; when it is back, another."""
    frames = await simulated(8)
    await play(server, frames)
    server.no_stream = True
    for frame in frames[:3]:
        came = await frame_after(source, server, frame)
        assert np.isnan(came.signed_volume).all()
        assert np.isfinite(came.bid).any()
        await asyncio.sleep(0.3)
    downs = [entry for entry in logged if entry["event"] == "stream is down"]
    assert len(downs) == 1
    assert downs[0]["detail"].endswith("; sides come from the last print of each slot")
    server.no_stream = False
    for _ in range(100):
        if server.streams:
            break
        await asyncio.sleep(0.05)
    await frame_after(source, server, frames[3])
    await subscribed(source)
    for frame in frames[4:6]:
        came = await frame_after(source, server, frame)
    assert np.isfinite(came.signed_volume).all()
    assert sum(entry["event"] == "stream is back" for entry in logged) == 1


GARBAGE = {
    "no json": b"\x7b\x00",
    "list": b"[]",
    "number": b"7",
    "nested": b"[" * 100_000,
    "oversized": b'{"type":"x","y":"' + b"z" * 70_000 + b'"}',
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
async def test_a_message_that_cannot_be_read_ends_the_connection(
    server: StreamingVendor, source: Source, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is lost: a new connection, a frame without sides, then sides again."""
    monkeypatch.setattr(websocket, "MESSAGE_LIMIT", 1 << 16)
    frames = await simulated(6)
    await play(server, frames)
    await frame_after(source, server, frames[0])
    await subscribed(source)
    assert np.isfinite((await frame_after(source, server, frames[1])).signed_volume).all()
    server.raw = [raw]
    for _ in range(100):
        await asyncio.sleep(0.02)
        if server.streams == 2:
            break
    assert np.isnan((await frame_after(source, server, frames[2])).signed_volume).all()
    await subscribed(source)
    await frame_after(source, server, frames[3])
    assert np.isfinite((await frame_after(source, server, frames[4])).signed_volume).all()
    assert server.streams == 2


async def test_a_ping_without_an_answer_costs_the_sides_and_a_second(
    kind: Kind, server: StreamingVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is open and says nothing: the frame comes in time, and a new one is made."""
    for module in (tradier_source, theta_source):
        monkeypatch.setattr(module, "STREAM_TIMEOUT", 0.5)
    source = open_source(kind.url(server), KEYS)
    frames = await simulated(6)
    await play(server, frames)
    await frame_after(source, server, frames[0])
    await subscribed(source)
    server.silent = True
    began = asyncio.get_running_loop().time()
    assert np.isnan((await frame_after(source, server, frames[1])).signed_volume).all()
    assert asyncio.get_running_loop().time() - began < 3.0
    server.silent = False
    for _ in range(200):
        await asyncio.sleep(0.02)
        if server.streams >= 2 and stream_of(source)._socket is not None:
            break
    await frame_after(source, server, frames[2])
    await subscribed(source)
    await frame_after(source, server, frames[3])
    assert np.isfinite((await frame_after(source, server, frames[4])).signed_volume).all()
    await source.close()


async def test_strikes_that_are_listed_later_are_subscribed_to(
    server: StreamingVendor, source: Source
) -> None:
    """Half of the strikes first: the others have sides from their second frame on."""
    frames = await simulated(6)
    half = frames[0].strike < np.median(frames[0].strike)
    names = ("expiry", "root", "strike", "right", "bid", "ask", "last", "last_at", "volume",
             "open_interest", "source_iv", "signed_volume")  # fmt: skip
    fewer = [
        dataclasses.replace(f, **{name: getattr(f, name)[half] for name in names})
        for f in frames[:2]
    ]
    prints, _ = prints_of(frames)
    server.put(*fewer, *frames[2:])
    server.tape.put("SPX", prints)
    await frame_after(source, server, fewer[0])
    await subscribed(source)
    assert len((await frame_after(source, server, fewer[1])).strike) == half.sum()
    first = await frame_after(source, server, frames[2])
    await subscribed(source)
    second, third = [await frame_after(source, server, frame) for frame in frames[3:5]]
    assert np.isnan(signed_in(first, frames[0])[~half]).all()
    assert np.isfinite(signed_in(first, frames[0])[half]).all()
    assert np.isfinite(third.signed_volume).all()
    assert np.isfinite(second.signed_volume).sum() >= half.sum()


async def test_another_day_begins_anew(server: StreamingVendor, source: Source) -> None:
    """The next day's contracts take the place of the last one's, on the same connection."""
    frames = await simulated(2)
    server.put(*frames)
    later = await Synthetic(seed=7).live("SPX", frames[1].quoted_at + timedelta(days=1))
    server.put(later)
    await frame_after(source, server, frames[1])
    await subscribed(source)
    came = await frame_after(source, server, later)
    await subscribed(source)
    stream = stream_of(source)
    assert stream._tables["SPX"].session.day == date(2026, 8, 20)
    assert set(stream.places) == set(stream._tables["SPX"].names)
    assert len(stream.places) == len(only_today(later).strike)
    assert np.isfinite(came.bid).any()
    assert server.streams == 1


async def test_memory_is_bounded(source: Source) -> None:
    """Reports that no frame asks for are counted when there are many; none waits for ever."""
    table = StreamedTable("SPX", SESSION, StreamedSides("SPX", SESSION))
    table.sides.widen(1)
    stream = stream_of(source)
    table.index["X"] = 0
    stream.places["X"] = (table, 0)
    moment = SESSION.open.timestamp() + 60
    report = {
        "type": "timesale", "symbol": "X", "last": 7.2, "bid": 7.0, "ask": 7.2, "size": 1,
        "date": moment * 1000, "session": "normal",
    }  # fmt: skip
    other = TradierStream(_http(), production="", timeout=1.0)
    other.places["X"] = (table, 0)
    for _ in range(MOST_WAITING + 10):
        other._add(report)
    assert len(table.waiting) == 10
    table.count()
    assert table.sides.tally.signed_volume[0] == MOST_WAITING + 10


def _http() -> Any:
    return Tradier.open("http://127.0.0.1:1/v1", KEYS).http


# Tradier alone


@pytest.fixture
async def tradier() -> AsyncIterator[tuple[Tradier, TradierVendor]]:
    async with TradierVendor() as server:
        source = open_source(KINDS["tradier"].url(server), KEYS)
        assert isinstance(source, Tradier)
        yield source, server
        await source.close()


def sale(frame: Frame, i: int, seconds: float, number: int, **more: Any) -> dict[str, Any]:
    """A trade of 10 on the ask, some seconds after a frame."""
    trade = Print(
        float(frame.strike[i]), int(frame.right[i]), frame.quoted_at + timedelta(seconds=seconds),
        10, 7.2, 7.0, 7.2,
    )  # fmt: skip
    return timesale("SPX", trade, number) | more


async def test_cancels_and_corrections(tradier: tuple[Tradier, TradierVendor]) -> None:
    """By number, or by price and size; a correction of an unknown trade is none of ours."""
    source, server = tradier
    frames = await simulated(2)
    still = [dataclasses.replace(frames[i], volume=frames[0].volume) for i in range(2)]
    server.put(*still)
    await frame_after(source, server, still[0])
    server.events += [
        *(sale(frames[0], 3, 1.0, n) for n in (1, 2, 3)),
        sale(frames[0], 3, 2.0, 4, size="4", last="7.0"),
        # The second is undone by its number, the fourth by price and size.
        sale(frames[0], 3, 3.0, 2, cancel=True),
        sale(frames[0], 3, 3.0, 99, cancel=True, size="4", last="7.0"),
        # The third was a sale of 5, says a correction.
        sale(frames[0], 3, 3.0, 3, correction=True, size="5", last="7.0"),
        sale(frames[0], 3, 3.0, 98, correction=True, size="500"),
        # Outside regular hours, on another day, of nothing, twice, and of an unknown contract.
        sale(frames[0], 3, 4.0, 5, session="post"),
        sale(frames[0], 3, 86_400.0, 6),
        sale(frames[0], 3, 4.0, 7, size="0"),
        sale(frames[0], 3, 1.0, 1),
        sale(frames[0], 3, 1.0, 8) | {"symbol": "SPXW260819C09999000"},
    ]
    came = await frame_after(source, server, still[1])
    assert came.signed_volume[3] == 10 - 5
    tally = stream_of(source)._tables["SPX"].sides.tally
    assert tally.volume[3] == 10 + 5 + 10
    assert (tally.cancelled, tally.unmatched) == (3, 1)


async def test_a_contract_that_does_not_stream_has_no_sides(
    tradier: tuple[Tradier, TradierVendor],
) -> None:
    """Its volume rises and no print comes: the last print answers for it, and only for it."""
    source, server = tradier
    frames = await simulated(4)
    _, expected = await play(server, frames)
    rises = [b.volume - a.volume for a, b in pairwise(frames)]
    busy = int(np.argmax(np.minimum.reduce(rises)))
    names = stream_of(source).names_of(frames[0])
    server.mute = {names[busy]}
    await frame_after(source, server, frames[0])
    for frame, theirs in zip(frames[1:], expected[1:], strict=True):
        came = await frame_after(source, server, frame)
        known = np.isfinite(came.signed_volume)
        assert not known[busy]
        assert known.sum() == len(known) - 1
        np.testing.assert_allclose(came.signed_volume[known], theirs.signed_volume[known])


async def test_the_session_and_the_list_are_tradiers(
    tradier: tuple[Tradier, TradierVendor],
) -> None:
    """One session by POST; all contracts in one list of trades alone; once more after the open."""
    source, server = tradier
    frame = (await simulated(1))[0]
    early = dataclasses.replace(frame, quoted_at=SESSION.open - timedelta(minutes=1))
    server.put(early, frame)
    await frame_after(source, server, early)
    assert [request.method for request in server.asked("/session")] == ["POST"]
    assert len(server.messages) == 1
    sent = server.messages[0]
    assert sent == {
        "symbols": stream_of(source).names_of(frame), "sessionid": STREAM_SESSION,
        "filter": ["timesale"], "linebreak": True, "validOnly": True,
    }  # fmt: skip
    assert sent["symbols"][0].startswith("SPXW260819")
    await frame_after(source, server, frame)
    await frame_after(source, server, frame)
    assert server.messages == [sent, sent]


async def test_a_session_that_is_refused(
    tradier: tuple[Tradier, TradierVendor], logged: list[Any]
) -> None:
    """Another program has the user's only session: frames without sides, and no key in the log."""
    source, server = tradier
    frames = await simulated(2)
    server.put(*frames)
    server.refuses_session = True
    for frame in frames:
        assert np.isnan((await frame_after(source, server, frame)).signed_volume).all()
        await asyncio.sleep(0.2)
    downs = [entry for entry in logged if entry["event"] == "stream is down"]
    assert (
        "refuses its session: it has ended, or another program has opened one" in downs[0]["detail"]
    )
    assert STREAM_SESSION not in str(logged)
    assert TOKEN not in str(logged)


async def test_a_token_that_is_refused(logged: list[Any]) -> None:
    """The chain's refusal says so; the stream does not ask again and again."""
    async with TradierVendor() as server:
        keys = VendorKeys.read({"FLOW_TRADIER_TOKEN": "another"})
        source = open_source(KINDS["tradier"].url(server), keys)
        frame = (await simulated(1))[0]
        server.put(frame)
        with pytest.raises(ChainRefused, match="refuses the token"):
            await frame_after(source, server, frame)
        await asyncio.sleep(2.0)
        assert len(list(server.asked("/session"))) <= 3
        await source.close()


# Theta alone


@pytest.fixture
async def theta() -> AsyncIterator[tuple[Any, ThetaVendor]]:
    async with ThetaVendor() as server:
        source = open_source(KINDS["theta"].url(server))
        yield source, server
        await source.close()


async def test_a_plan_without_streams_is_said_and_not_tried_again(
    theta: tuple[Any, ThetaVendor], logged: list[Any]
) -> None:
    """One connection on that day; the sentence names the plan."""
    source, server = theta
    frames = await simulated(4)
    server.put(*frames)
    server.streams_in_plan = False
    for frame in frames:
        assert np.isnan((await frame_after(source, server, frame)).signed_volume).all()
        await asyncio.sleep(0.1)
    assert server.streams == 1
    downs = [entry["detail"] for entry in logged if entry["event"] == "stream is down"]
    assert len(downs) == 1
    assert "Options Standard is the least" in downs[0]


async def test_contracts_beyond_the_plans_streams_have_no_sides(
    theta: tuple[Any, ThetaVendor],
) -> None:
    """Of all contracts 100 may be streamed; the others stay with the last print."""
    source, server = theta
    frames = await simulated(4)
    await play(server, frames)
    server.most_streams = 100
    for frame in frames:
        came = await frame_after(source, server, frame)
        await asyncio.sleep(0.3)
    assert np.isfinite(came.signed_volume).sum() == 100


async def test_a_terminal_that_loses_its_connection(
    theta: tuple[Any, ThetaVendor], logged: list[Any]
) -> None:
    """It says so in each message: what it misses meanwhile is missing."""
    source, server = theta
    frames = await simulated(4)
    await play(server, frames)
    await frame_after(source, server, frames[0])
    await subscribed(source)
    server.connected = False
    await asyncio.sleep(0.5)
    assert np.isnan((await frame_after(source, server, frames[1])).signed_volume).all()
    assert "has lost its connection to Theta Data" in str(logged)


async def test_a_terminal_that_says_nothing_is_gone(
    theta: tuple[Any, ThetaVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells its state every second; without it the connection is made anew."""
    source, server = theta
    monkeypatch.setattr(ThetaStream, "silence", 0.5)
    frames = await simulated(1)
    server.put(*frames)
    await frame_after(source, server, frames[0])
    server.silent = True
    await asyncio.sleep(1.5)
    assert server.streams > 1


def test_what_a_trade_is_signed_against() -> None:
    """The newest quote before it; a quote of 0 at 0 is none, and takes the side away."""
    frame = asyncio.run(simulated(1))[0]
    stream = ThetaStream("ws://127.0.0.1:1", timeout=1.0)
    table = StreamedTable("SPX", SESSION, StreamedSides("SPX", SESSION))
    stream._tables["SPX"] = table
    stream._list(table, frame)
    name = table.names[3]
    stream._asked = {0: name, 1: name}
    root, day, strike, right = name.split("|")
    contract = {"root": root, "expiration": int(day), "strike": int(strike), "right": right}

    def take(kind: str, **body: Any) -> None:
        header = {"type": kind, "status": "CONNECTED"}
        message = {"header": header, "contract": contract, kind.lower(): body}
        stream.take(orjson.dumps(message))

    def granted(number: int) -> None:
        header = {"type": "REQ_RESPONSE", "response": "SUBSCRIBED", "req_id": number}
        stream.take(orjson.dumps({"header": header}))

    granted(0)
    # Without its trades a contract does not stream, and neither without its quotes.
    assert not table.sides._streams.any()
    granted(1)
    assert np.flatnonzero(table.sides._streams).tolist() == [3]
    trade = {"ms_of_day": 36_000_000, "size": 10, "condition": 18, "price": 7.2, "date": 20260819}
    take("QUOTE", bid=7.0, ask=7.2)
    take("TRADE", **trade)
    take("QUOTE", bid=7.2, ask=7.4)
    take("TRADE", **trade | {"size": 4})
    take("QUOTE", bid=0.0, ask=0.0)
    take("TRADE", **trade | {"size": 100})
    take("TRADE", **trade | {"date": 20260818})
    table.count()
    assert table.sides.tally.signed_volume[3] == 10 - 4
    assert table.sides.tally.volume[3] == 114


async def test_the_requests_are_thetas(theta: tuple[Any, ThetaVendor]) -> None:
    """Strikes in tenths of a cent, a number of its own for each request, quotes before trades."""
    source, server = theta
    frame = (await simulated(1))[0]
    server.put(frame)
    await frame_after(source, server, frame)
    await subscribed(source)
    assert [message["id"] for message in server.messages] == list(range(2 * len(frame.strike)))
    requested = {
        (m["req_type"], m["contract"]["strike"], m["contract"]["right"]) for m in server.messages
    }
    assert requested == {
        (kind, round(k * 1000), "C" if r > 0 else "P")
        for kind in ("QUOTE", "TRADE")
        for k, r in zip(frame.strike.tolist(), frame.right.tolist(), strict=True)
    }
    assert server.messages[0] == {
        "msg_type": "STREAM", "sec_type": "OPTION", "req_type": "QUOTE", "add": True, "id": 0,
        "contract": server.messages[1]["contract"],
    }  # fmt: skip
    assert server.messages[1]["contract"]["root"] == "SPXW"
    assert server.messages[1]["contract"]["expiration"] == 20260819


# Bytes at random


def fuzz(cases: int, seed: int) -> dict[str, dict[str, int]]:
    """Take mutated messages of both streams; count what came of them."""
    rng = random.Random(seed)
    frame = asyncio.run(simulated(1))[0]
    trade = Print(float(frame.strike[0]), int(frame.right[0]), frame.quoted_at, 3, 7.1, 7.0, 7.2)
    cancel = timesale("SPX", trade, 4) | {"cancel": True}
    quote, sold = theta_events(trade, 20260819)
    contract = {
        "security_type": "OPTION", "root": "SPXW", "expiration": 20260819,
        "strike": round(trade.strike * 1000), "right": "C" if trade.right > 0 else "P",
    }  # fmt: skip
    bodies = {
        "tradier": [
            b"\n".join(orjson.dumps(timesale("SPX", trade, n)) for n in range(3)),
            orjson.dumps(timesale("SPX", trade, 4)), orjson.dumps(cancel),
            b'{"error":"1234 is not a valid symbol"}',
        ],
        "theta": [
            orjson.dumps({"header": {"type": kind, "status": "CONNECTED"}, "contract": contract,
                          kind.lower(): body})
            for kind, body in (("QUOTE", quote), ("TRADE", sold), ("TRADE", sold | {"condition": 40}))
        ] + [b'{"header":{"type":"REQ_RESPONSE","status":"CONNECTED","response":"SUBSCRIBED","req_id":0}}'],
    }  # fmt: skip
    outcomes: dict[str, dict[str, int]] = {name: {} for name in bodies}
    streams: dict[str, PrintStream] = {}
    for number in range(cases):
        for name, some in bodies.items():
            if number % 200 == 0:
                fresh = (
                    TradierStream(_http(), production="", timeout=1.0)
                    if name == "tradier"
                    else ThetaStream("ws://127.0.0.1:1", timeout=1.0)
                )
                fresh._now = frame.quoted_at.timestamp()
                table = StreamedTable("SPX", SESSION, StreamedSides("SPX", SESSION))
                fresh._tables["SPX"] = table
                fresh._list(table, frame)
                table.sides.begin(slice(None), SESSION.open.timestamp())
                streams[name] = fresh
            stream = streams[name]
            body = rng.choice(some)
            # Lines are mutated one by one: what is wrong in one is wrong in the message.
            lines = body.split(b"\n")
            which = rng.randrange(len(lines))
            lines[which] = mutated_json(lines[which], rng)
            message: str | bytes = b"\n".join(lines)
            if rng.random() < 0.5:
                message = message.decode(errors="replace")
            try:
                stream.take(message)
                outcome = "read"
            except ChainRefused as refused:
                outcome = str(refused.reason)
            if number % 20 == 0:
                table = stream._tables["SPX"]
                table.count()
                signed, _ = table.sides.sample(frame.volume)
                assert np.abs(np.nan_to_num(signed)).max() <= table.sides.tally.volume.max(
                    initial=0
                )
            outcomes[name][outcome] = outcomes[name].get(outcome, 0) + 1
    return outcomes


def test_bytes_at_random_are_refused_or_read() -> None:
    """400 mutated messages a stream: read or refused, never another exception."""
    for outcomes in fuzz(400, seed=1).values():
        assert outcomes["read"] > 40
        assert outcomes["bad_answer"] > 40


# Opening


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tradier:sandbox?stream=yes", "delayed chains have no event stream"),
        ("tradier:?stream=yes&delay=900", "delayed chains have no event stream"),
        ("tradier:?stream=maybe", "stream='maybe' is neither yes nor no"),
        ("theta:?stream=yes", "needs plan=standard or pro, not plan=value"),
        ("theta:?plan=pro&stream=http://x/y", "is no address ws://host/path"),
        ("theta:?plan=pro&stream=maybe", "is no address ws://host/path"),
    ],
)
def test_a_url_that_makes_no_sense_is_a_usage_error(url: str, words: str) -> None:
    """Before anything is asked."""
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        open_source(url, KEYS)


@pytest.mark.parametrize("url", ["tradier:?stream=yes", "theta:?plan=pro&stream=yes"])
def test_the_missing_package_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the WebSocket library the sentence says what to install."""
    monkeypatch.setattr(websocket, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install zerodte-flow\[dxlink\]"):
        open_source(url, KEYS)


def test_addresses_of_streams() -> None:
    """Production has hosts of its own; every other base streams under itself."""
    own = Tradier.open("?stream=yes", KEYS)
    assert stream_of(own)._url == "wss://ws.tradier.com/v1/markets/events"
    other = Tradier.open("https://example.com/v1?stream=yes", KEYS)
    assert stream_of(other)._url == "wss://example.com/v1/markets/events"
    assert stream_url("yes", "http://127.0.0.1:25503/v3") == "ws://127.0.0.1:25520/v1/events"
    assert stream_url("yes", "http://[::1]:25503/v3") == "ws://[::1]:25520/v1/events"
    assert stream_url("no", "http://127.0.0.1:25503/v3") is None


def test_closed_days_open_no_stream() -> None:
    """On a Saturday nothing is asked."""

    async def run() -> None:
        async with TradierVendor() as server:
            source = open_source(KINDS["tradier"].url(server), KEYS)
            with pytest.raises(ChainRefused):
                await source.live("SPX", datetime(2026, 8, 22, 17, tzinfo=UTC))
            await source.close()
            assert (server.streams, server.requests) == (0, [])

    asyncio.run(run())
