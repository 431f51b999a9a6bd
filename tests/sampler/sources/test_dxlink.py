"""dxLink: one WebSocket, cut and silent and full of garbage; the same row as through Cboe."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from sampler.chain import Frame
from sampler.errors import ChainRefused, NoHistory
from sampler.measure.other_expiries import measure_other_expiries
from sampler.sources import websocket
from sampler.sources.assembler import ChainAssembler
from sampler.sources.dxlink import connection as connection_module
from sampler.sources.dxlink.parse import (
    event_fields,
    parse_access,
    parse_listed_day,
    parse_quote_token,
    read_message,
)
from sampler.sources.dxlink.source import Dxlink
from sampler.sources.synthetic.source import Synthetic
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests.hostile import columns_of
from tests.vendors import server as faults
from tests.vendors.dxlink import (
    FIELDS,
    REFRESH,
    SECRET,
    DxlinkVendor,
    compact,
    events_of,
    nested_chain,
    streamer_symbol,
)
from tests.vendors.formats import FORMATS
from tests.vendors.fuzz import mutated_json
from tests.vendors.same_row import (
    measured_rows,
    only_today,
    real_sessions,
    through_cboe,
    whole_seconds,
    without,
)

DAY = date(2026, 8, 19)
OPEN = datetime(2026, 8, 19, 13, 30, tzinfo=UTC)
NOW = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
KEYS = VendorKeys.read(
    {"FLOW_TASTYTRADE_CLIENT_SECRET": SECRET, "FLOW_TASTYTRADE_REFRESH_TOKEN": REFRESH}
)


@pytest.fixture
async def server() -> AsyncIterator[DxlinkVendor]:
    async with DxlinkVendor() as server:
        yield server


@pytest.fixture
async def feed(server: DxlinkVendor) -> AsyncIterator[Dxlink]:
    feed = Dxlink.open(f"{server.url}?pace=0&timeout=5&budget=5", KEYS)
    yield feed
    await feed.close()


async def market(now: datetime = NOW, symbol: str = "SPX") -> Frame:
    return whole_seconds(only_today(await Synthetic(seed=7).live(symbol, now)))


async def refusal(feed: Dxlink, now: datetime = NOW, symbol: str = "SPX") -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        await feed.live(symbol, now)
    assert str(caught.value).startswith(f"{symbol}: ")
    return caught.value


# The format


def through_dxlink(frame: Frame) -> Frame:
    """A frame as a listing and a stream's messages, read from their bytes, on a table of its own."""
    read = FORMATS["dxlink"].read(FORMATS["dxlink"].write(frame), frame)
    assert read is not None
    return read


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
def test_a_real_chain_makes_the_same_row_as_through_cboe(name: str) -> None:
    """Real chains in both formats agree in every figure, to the last bit."""
    frames = [without(frame, "source_iv", "signed_volume") for frame in real_sessions()[name]]
    assert measured_rows(map(through_dxlink, frames)) == measured_rows(through_cboe(frames))


async def test_a_simulated_session_makes_the_same_rows_as_through_cboe() -> None:
    """Rows with flow, after each other."""
    frames = [await market(NOW + timedelta(seconds=30 * i)) for i in range(4)]
    ours, theirs = measured_rows(map(through_dxlink, frames)), measured_rows(through_cboe(frames))
    assert ours == theirs
    assert ours[-1]["total_volume"] > ours[0]["total_volume"] > 0


async def test_adjusted_contracts_are_counted(server: DxlinkVendor, feed: Dxlink) -> None:
    """A root whose contracts deliver 10 shares is left out."""
    frame = await market()
    server.sizes = {str(root): 10 for root in set(frame.root)}
    server.put(frame)
    assert (await refusal(feed)).reason is Reason.NO_ZERO_DTE
    listed = parse_listed_day(orjson.dumps(nested_chain(frame, server.sizes)), DAY)
    assert (len(listed.contracts), listed.adjusted) == (0, len(frame.strike))


# The stream


async def test_the_messages_are_dxlinks(server: DxlinkVendor, feed: Dxlink) -> None:
    """Set-up in the protocol's order; each contract is subscribed to with four kinds of events."""
    frame = await market()
    server.put(frame)
    await feed.live("SPX", NOW)
    kinds = [message["type"] for message in server.messages]
    assert kinds[:4] == ["SETUP", "AUTH", "CHANNEL_REQUEST", "FEED_SETUP"]
    assert set(kinds[4:]) == {"FEED_SUBSCRIPTION"}
    assert server.messages[2] == {
        "type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED",
        "parameters": {"contract": "AUTO"},
    }  # fmt: skip
    assert server.messages[3]["acceptDataFormat"] == "COMPACT"
    wanted = {(e["type"], e["symbol"]) for m in server.messages[4:] for e in m["add"]}
    names = {streamer_symbol(frame, i) for i in range(len(frame.strike))}
    four = ("Quote", "Trade", "Summary", "TimeAndSale")
    assert wanted == {(kind, name) for kind in four for name in names} | {("Trade", "SPX")}
    for _ in range(3):
        await feed.live("SPX", NOW)
    assert server.streams == 1
    assert len(server.requests) == 4


async def test_later_expirations_are_no_part_of_a_row(server: DxlinkVendor, feed: Dxlink) -> None:
    """They are listed, and not subscribed to: what rests on them is null, not today's alone."""
    frame = await market()
    two = {name: np.concatenate([getattr(frame, name)] * 2) for name in columns_of(frame)}
    two["expiry"] = np.concatenate([frame.expiry, frame.expiry + np.timedelta64(7, "D")])
    listed = dataclasses.replace(frame, **two)
    session = session_on(DAY)
    assert session is not None
    server.put(listed)
    sent = await feed.live("SPX", NOW)
    whole, ours = (
        measure_other_expiries(frame, session, spot=frame.spot, atm=0.15, years=5.5 / 8760)
        for frame in (listed, sent)
    )
    for name in ("total_chain_net_gex", "seven_dte_atm_iv", "iv_ratio_0dte_7dte"):
        assert getattr(whole, name) is not None, name
        assert getattr(ours, name) is None, name


async def test_trades_by_the_stream(server: DxlinkVendor, feed: Dxlink) -> None:
    """Bought 10 and sold 3; a leg of 20 has no side; of a cancelled 100 nothing is left."""
    server.put(await market(OPEN), await market(OPEN + timedelta(seconds=30)))
    server.now = OPEN
    before = await feed.live("SPX", OPEN)
    name = streamer_symbol(before, 0)
    ms = round(OPEN.timestamp() * 1000) + 5000
    plain = {
        "index": 1, "time": ms, "price": 7.1, "size": 10, "bidPrice": 7.0, "askPrice": 7.2,
        "aggressorSide": "BUY", "spreadLeg": False, "validTick": True, "type": "NEW",
    }  # fmt: skip
    server.prints += [
        (name, plain),
        (name, plain | {"index": 2, "size": 3, "aggressorSide": "SELL"}),
        (name, plain | {"index": 3, "size": 20, "spreadLeg": True}),
        (name, plain | {"index": 4, "size": 100}),
        (name, plain | {"index": 4, "size": 100, "type": "CANCEL"}),
    ]
    server.now = OPEN + timedelta(seconds=30)
    after = await feed.live("SPX", server.now)
    assert after.signed_volume[0] - before.signed_volume[0] == 7
    assert after.multi_leg_volume[0] - before.multi_leg_volume[0] == 20


async def test_a_cut_is_mended_within_the_slot(server: DxlinkVendor, feed: Dxlink) -> None:
    """The connection ends: the next slot has a new one, and the chain of now."""
    server.put(await market(), await market(NOW + timedelta(seconds=30)))
    server.now = NOW
    await feed.live("SPX", NOW)
    server.cuts += 1
    server.now = NOW + timedelta(seconds=30)
    assert (await feed.live("SPX", server.now)).quoted_at == server.now
    assert server.streams == 2


async def test_after_a_cut_a_contract_that_sends_nothing_is_unknown(
    server: DxlinkVendor, feed: Dxlink
) -> None:
    """Its old quote is not shown as if it were of now."""
    frame = await market()
    server.put(frame)
    first = await feed.live("SPX", NOW)
    quiet = int(np.flatnonzero(first.bid > 0)[0])
    server.mute = {streamer_symbol(first, quiet)}
    server.cuts += 1
    again = await feed.live("SPX", NOW)
    assert np.isnan([again.bid[quiet], again.ask[quiet], again.volume[quiet]]).all()
    assert np.isfinite(again.bid).sum() == np.isfinite(first.bid).sum() - 1


async def test_a_silent_connection_is_no_chain(server: DxlinkVendor) -> None:
    """It is open and nothing comes: the ping is not answered, and the slot is a gap."""
    server.put(await market())
    feed = Dxlink.open(f"{server.url}?pace=0&timeout=0.6&budget=1.5", KEYS)
    await feed.live("SPX", NOW)
    server.silent = True
    refused = await refusal(feed)
    assert refused.reason is Reason.SOURCE_DOWN
    assert "in time" in str(refused)
    server.silent = False
    await asyncio.sleep(0.6)
    assert (await feed.live("SPX", NOW)).quoted_at == NOW
    await feed.close()


async def test_silence_between_slots_ends_a_connection(
    server: DxlinkVendor, feed: Dxlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a message for the time agreed on, the connection is given up and made anew."""
    monkeypatch.setattr(connection_module, "KEEPALIVE", 0.1)
    monkeypatch.setattr(connection_module, "GRACE", 0.1)
    server.put(await market())
    await feed.live("SPX", NOW)
    server.silent = True
    await asyncio.sleep(1.0)
    assert "silent" in str(feed._refused) or "in time" in str(feed._refused)
    assert server.streams > 1


@pytest.mark.parametrize("raw", [b"\xff\x00", b"[]", b"{}", b'{"type":"FEED_DATA","data":7}',
    b'{"type":"FEED_DATA","data":["Quote",[1,2,3]]}', b'{"type":"ERROR","error":"TIMEOUT"}',
    b'{"type":"CHANNEL_CLOSED","channel":1}', b'{"type":"X","y":"' + b"z" * (1 << 20) + b'"}'],
    ids=["no text", "list", "no type", "no data", "no events", "error", "closed", "oversized"],
)  # fmt: skip
async def test_a_message_that_cannot_be_read_ends_the_connection(
    server: DxlinkVendor, feed: Dxlink, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is lost, so the next connection sends everything anew."""
    monkeypatch.setattr(websocket, "MESSAGE_LIMIT", 1 << 20)
    server.put(await market())
    await feed.live("SPX", NOW)
    server.raw = [raw]
    for _ in range(100):
        await asyncio.sleep(0.02)
        if server.streams == 2 and feed._connection is not None:
            break
    assert (await feed.live("SPX", NOW)).quoted_at == NOW
    assert server.streams == 2


async def test_a_token_that_the_stream_refuses(server: DxlinkVendor, feed: Dxlink) -> None:
    """The sentence says so, without the token that the answer repeats."""
    server.put(await market())
    server.refuses_stream = True
    refused = await refusal(feed)
    assert (refused.reason, str(refused)) == (
        Reason.SOURCE_DOWN, "SPX: dxlink refuses the stream's token",
    )  # fmt: skip
    server.refuses_stream = False
    assert (await feed.live("SPX", NOW)).quoted_at == NOW


async def test_attempts_are_further_and_further_apart(server: DxlinkVendor) -> None:
    """A vendor that is down is asked after 0.5 s, 1 s, 2 s; a slot in between says when."""
    server.inject(faults.status(401))
    feed = Dxlink.open(f"{server.url}?pace=0&timeout=0.3&budget=0.3", KEYS)
    await refusal(feed)
    assert len(server.requests) == 1
    await asyncio.sleep(2.0)
    assert len(server.requests) == 3
    refused = await refusal(feed)
    assert "refuses the client secret" in str(refused)
    assert "the next attempt is in" in str(refused)
    assert len(server.requests) == 3
    await feed.close()


async def test_strikes_that_are_listed_later_are_subscribed_to(
    server: DxlinkVendor, feed: Dxlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampled before the open with half of the strikes; the first slot after it lists again."""
    whole, early = await market(), OPEN - timedelta(minutes=1)
    half = whole.strike < np.median(whole.strike)
    columns = {
        name: getattr(whole, name)[half]
        for name in ("expiry", "root", "strike", "right", "bid", "ask", "open_interest", "volume")
    }
    server.put(
        Frame.of(symbol="SPX", source="x", delay_seconds=0, quoted_at=early, fetched_at=early,
                 spot=whole.spot, columns=columns)
    )  # fmt: skip
    server.now = early
    assert len((await feed.live("SPX", early)).strike) == half.sum()
    server.put(whole)
    server.now = NOW
    await feed.live("SPX", NOW)
    await feed._symbols["SPX"].relisting
    frame = await feed.live("SPX", NOW)
    assert len(frame.strike) == len(whole.strike)
    assert np.isfinite(frame.bid).sum() == np.isfinite(whole.bid).sum()
    assert len(list(server.asked("/nested"))) == 2


async def test_another_day_begins_with_a_table_of_its_own(
    server: DxlinkVendor, feed: Dxlink
) -> None:
    """The next day's contracts take the place of the last one's."""
    later = NOW + timedelta(days=1)
    server.put(await market(), await market(later))
    server.now = NOW
    await feed.live("SPX", NOW)
    server.now = later
    frame = await feed.live("SPX", later)
    assert frame.expirations == [date(2026, 8, 20)]
    assert server.streams == 1
    assert set(feed._places) == set(feed._symbols["SPX"].table.names)
    assert any("remove" in message for message in server.messages)


async def test_quotes_without_a_time_are_of_their_arrival(
    server: DxlinkVendor, feed: Dxlink
) -> None:
    """By the caller's clock, to some seconds."""
    server.timed = False
    server.put(await market())
    frame = await feed.live("SPX", NOW)
    assert timedelta() <= frame.quoted_at - NOW < timedelta(seconds=5)


# Bytes at random


def fuzz(cases: int, seed: int) -> dict[str, int]:
    """Read mutated answers and messages; count what came of them."""
    rng = random.Random(seed)
    frame = asyncio.run(market())
    names = list(parse_listed_day(orjson.dumps(nested_chain(frame)), DAY).contracts)[:4]
    prints = {
        "index": 4, "time": 1787149800000, "price": 7.1, "size": 1, "bidPrice": 7.0,
        "askPrice": 7.2, "aggressorSide": "BUY", "spreadLeg": False, "validTick": True,
        "type": "CORRECTION",
    }  # fmt: skip
    events = [event for event in events_of(frame) if event[1] in names]
    events += [("TimeAndSale", name, prints) for name in names for _ in range(2)]
    bodies = {
        "data": orjson.dumps({"type": "FEED_DATA", "channel": 1, "data": compact(events)}),
        "config": orjson.dumps({"type": "FEED_CONFIG", "eventFields": FIELDS}),
        "nested": orjson.dumps({"data": {"items": [
            item | {"expirations": [e | {"strikes": e["strikes"][:3]} for e in item["expirations"]]}
            for item in nested_chain(frame)["data"]["items"]]}}),
        "access": b'{"access_token":"abc","expires_in":900}',
        "token": b'{"data":{"token":"abc","dxlink-url":"wss://host/x"}}',
    }  # fmt: skip
    outcomes: dict[str, int] = {}
    for _ in range(cases):
        kind = rng.choice(["data", "data", "data", *bodies])
        body = mutated_json(bodies[kind], rng)
        try:
            if kind == "nested":
                parse_listed_day(body, DAY)
            elif kind == "access":
                parse_access(body)
            elif kind == "token":
                parse_quote_token(body)
            else:
                feed = Dxlink.open("", KEYS)
                session = session_on(DAY)
                table = ChainAssembler("SPX", session, source="dxlink", delay_seconds=0)
                listed = parse_listed_day(bodies["nested"], DAY).contracts
                table.list_contracts(listed, adjusted=0)
                table.begin_connection(OPEN.timestamp())
                feed._by_number[1] = streamed = type("S", (), {"table": table})()
                feed._underlyings["SPX"] = streamed
                feed._places = {name: (1 << 16) | i for i, name in enumerate(table.names)}
                feed._now = NOW.timestamp()
                message = read_message(body if kind == "data" else bodies["data"])
                fields = FIELDS
                if kind == "config":
                    fields = FIELDS | event_fields(read_message(body))
                feed._take(message.get("data"), fields)
                table.frame(NOW)
            outcome = "read"
        except ChainRefused as refused:
            outcome = str(refused.reason)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_bytes_at_random_are_refused_or_read() -> None:
    """400 mutated answers and messages: read or refused, never another exception."""
    outcomes = fuzz(400, seed=1)
    assert outcomes["read"] > 40
    assert outcomes["bad_answer"] > 40


# Opening


def test_a_url_that_makes_no_sense_is_a_usage_error() -> None:
    """Before anything is asked, and without a key in the sentence."""
    for rest in ("?x=1", "?pace=no", "ftp://host", "http://example.com"):
        with pytest.raises(UsageError):
            Dxlink.open(rest, KEYS)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the WebSocket library the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "websockets", None)
    monkeypatch.setattr("sampler.sources.websocket.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install zerodte-flow\[dxlink\]"):
        Dxlink.open("", KEYS)


async def test_a_stream_elsewhere_without_encryption_is_refused(
    server: DxlinkVendor, feed: Dxlink, tmp_path: Path
) -> None:
    """An address that would show the token to the network is a gap."""
    body = b'{"data":{"token":"t","dxlink-url":"ws://example.com/x"}}'
    server.inject(
        lambda answer: faults.Answer(200, {}, body), when=lambda r: r.path == "/api-quote-tokens"
    )
    refused = await refusal(feed)
    assert (refused.reason, "not wss://" in str(refused)) == (Reason.BAD_ANSWER, True)


async def test_closed_days_and_history(server: DxlinkVendor, feed: Dxlink) -> None:
    """On a Saturday nothing is asked; there is no past."""
    refused = await refusal(feed, datetime(2026, 8, 22, 17, tzinfo=UTC))
    assert refused.reason is Reason.MARKET_CLOSED
    assert server.requests == []
    assert feed.newest("SPX") is None
    with pytest.raises(NoHistory, match="dxlink: keeps no history"):
        feed.history("SPX", session_on(DAY))
