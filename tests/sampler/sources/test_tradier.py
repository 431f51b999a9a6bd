"""Tradier: the format's shapes and times, one request for all prices, limits, refusals."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused, NoHistory
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.tradier.parse import (
    UnderlyingQuote,
    parse_expirations,
    parse_tradier_chain,
    parse_tradier_quotes,
)
from sampler.sources.tradier.source import Tradier, allowance_pause
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from tests.vendors.fuzz import mutated_json
from tests.vendors.same_row import (
    measured_rows,
    only_today,
    real_sessions,
    through_cboe,
    whole_seconds,
)
from tests.vendors.server import VendorServer, cut, empty, html, slow, status
from tests.vendors.session import PATIENCE_IN_TROUBLE, play_session
from tests.vendors.tradier import (
    TOKEN,
    TradierVendor,
    tradier_chain,
    tradier_list,
    tradier_quote,
)

DAY = date(2026, 8, 19)
NOW = datetime(2026, 8, 19, 14, 30, 0, tzinfo=UTC)
MS = round(NOW.timestamp() * 1000)
SPOT = UnderlyingQuote(7710.15, NOW)
KEYS = VendorKeys.read({"FLOW_TRADIER_TOKEN": TOKEN})


def contract(strike: float = 7700.0, right: str = "call", **fields: Any) -> dict[str, Any]:
    return {
        "root_symbol": "SPXW", "strike": strike, "option_type": right,
        "expiration_date": "2026-08-19", "bid": 7.1, "ask": 7.3, "bid_date": MS - 2000,
        "ask_date": MS - 1000, "last": 7.2, "trade_date": MS - 5123, "volume": 5120,
        "open_interest": 310, "contract_size": 100, "underlying": "SPX",
    } | fields  # fmt: skip


def read(*contracts: Any, body: bytes | None = None, symbol: str = "SPX") -> Frame | None:
    answer = json.dumps(tradier_list("options", "option", list(contracts))).encode()
    return parse_tradier_chain(
        answer if body is None else body, symbol=symbol, now=NOW, delay_seconds=0, spot=SPOT
    )


def first_changed(**fields: Any) -> Frame:
    frame = read(contract(**fields), contract(7710.0))
    assert frame is not None
    return frame


@pytest.fixture
async def server() -> AsyncIterator[TradierVendor]:
    async with TradierVendor() as server:
        yield server


def source(server: TradierVendor, options: str = "pace=0&budget=2", rest: str = "") -> Tradier:
    return Tradier.open(f"{rest or server.url}?{options}", KEYS)


async def synthetic_frame(symbol: str = "SPX", now: datetime = NOW) -> Frame:
    return await Synthetic(seed=7).live(symbol, now)


async def refusal(feed: Tradier, symbol: str = "SPX", now: datetime = NOW) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        await feed.live(symbol, now)
    assert TOKEN not in str(caught.value)
    return caught.value


# The format


def test_every_field_lands_in_its_column() -> None:
    """Each column holds the field of the same meaning; the quotes' time is their newest."""
    frame = first_changed(strike=7702.5, right="put", greeks={"mid_iv": 10.0})
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPX", "tradier", 0)
    assert frame.quoted_at == NOW - timedelta(seconds=1)
    assert frame.fetched_at == frame.underlying_at == NOW
    assert frame.spot == 7710.15
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("SPXW", 7702.5, -1)
    assert frame.expirations == [DAY]
    assert (frame.bid[0], frame.ask[0], frame.last[0]) == (7.1, 7.3, 7.2)
    assert (frame.open_interest[0], frame.volume[0]) == (310, 5120)
    assert frame.last_at[0] == NOW.timestamp() - 5.123
    assert np.isnan(frame.source_iv).all()
    assert np.isnan(frame.signed_volume).all()


def test_one_contract_is_an_object_and_none_is_null() -> None:
    """What XML makes of lists of one and of none is read as such lists."""
    assert isinstance(tradier_list("options", "option", [1])["options"]["option"], int)
    frame = read(contract())
    assert frame is not None
    assert len(frame.strike) == 1
    for nothing in (b'{"options":null}', b'{"options":"null"}', b'{"options":{"option":null}}'):
        assert read(body=nothing) is None


@pytest.mark.parametrize(
    ("traded", "volume", "last_known", "counted"),
    [
        (NOW - timedelta(seconds=5), 12, True, 12),
        (datetime(2026, 8, 19, 4, 0, tzinfo=UTC), 12, True, 12),  # midnight
        (datetime(2026, 8, 19, 3, 59, 59, tzinfo=UTC), 12, False, 12),  # overnight session
        (datetime(2026, 8, 19, 0, 0, tzinfo=UTC), 12, False, 12),  # it begins at 20:00
        (datetime(2026, 8, 18, 23, 59, 59, tzinfo=UTC), 12, False, 0),
        (NOW - timedelta(days=10), 0, False, 0),
        (datetime(2026, 8, 20, 3, 59, 59, tzinfo=UTC), 12, True, 12),
        (datetime(2026, 8, 20, 4, 0, tzinfo=UTC), 12, False, 12),
    ],
)
def test_trades_of_another_day(
    traded: datetime, volume: int, last_known: bool, counted: int
) -> None:
    """A last trade of another New York day is none, and nothing was traded since."""
    frame = first_changed(trade_date=round(traded.timestamp() * 1000), volume=volume)
    assert np.isfinite(frame.last[0]) == np.isfinite(frame.last_at[0]) == last_known
    assert frame.volume[0] == counted


def test_a_trade_without_a_time_has_none() -> None:
    """A time of 0 or none at all is unknown, and no other day's."""
    for time in (0, None, "soon"):
        frame = first_changed(trade_date=time)
        assert (frame.last[0], frame.volume[0]) == (7.2, 5120)
        assert np.isnan(frame.last_at[0])


def test_what_is_no_number_is_unknown() -> None:
    """Null, absent and worded numbers are NaN, and harm no other contract."""
    frame = first_changed(bid=None, ask="x", volume=None, open_interest=[], last=None)
    assert np.isnan([frame.bid[0], frame.ask[0], frame.volume[0], frame.open_interest[0]]).all()
    assert frame.bid[1] == 7.1
    lean = read({k: v for k, v in contract().items() if k not in ("volume", "contract_size")})
    assert lean is not None
    assert np.isnan(lean.volume[0])


def test_adjusted_contracts_are_left_out_and_counted() -> None:
    """A contract of any other size than 100 shares is none of the chain's."""
    frame = first_changed(contract_size=150)
    assert frame.dropped == {"adjusted": 1}
    assert frame.strike.tolist() == [7710.0]


def test_unreadable_contracts_are_counted_by_the_chain() -> None:
    """A side, day or strike that cannot be read costs its contract alone."""
    frame = read(
        contract(), contract(option_type="x"), contract(expiration_date="soon"),
        contract(strike=None), contract(right="put"),
    )  # fmt: skip
    assert frame is not None
    chain = select_chain(frame, session_on(DAY))
    assert chain.dropped == {"bad_strike": 1, "bad_right": 2}
    assert chain.listed.sum() == 2


def test_the_quotes_time_is_that_of_two_sided_quotes_and_not_of_the_future() -> None:
    """A quote without a bid does not make the chain newer, nor does one an hour ahead."""
    frame = read(
        contract(bid_date=MS - 9000, ask_date=MS - 8000),
        contract(7705.0, bid=0.0),
        contract(7710.0, bid_date=MS + 3_600_000),
    )
    assert frame is not None
    assert frame.quoted_at == NOW - timedelta(seconds=8)
    ahead = first_changed(bid_date=MS + 3_600_000)
    both = read(contract(bid_date=MS + 3_600_000), contract(ask_date=MS + 3_600_000))
    assert ahead.quoted_at == NOW - timedelta(seconds=1)
    assert both is not None
    assert both.quoted_at == NOW + timedelta(hours=1)  # all of them: one of the clocks is wrong


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "nothing"),
        (b"<?xml version='1.0'?><options/>", "XML"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"Invalid Access Token", "neither JSON nor XML"),
        (b"[" * 100_000, "neither"),
        (b"[]", "JSON without options"),
        (b'{"fault":{"faultstring":"Rate limit"}}', "an error in place of data"),
        (b'{"errors":{"error":"x"}}', "an error in place of data"),
        (b'{"options":7}', "JSON without options.option"),
        (b'{"options":{"option":[7]}}', "no objects"),
        (b'{"options":{"option":{"strike":5}}}', "no quote has a time"),
        (json.dumps(tradier_list("options", "option", [contract(underlying="SPY")])).encode(),
         "another symbol"),
    ],
)  # fmt: skip
def test_what_is_no_chain_is_refused(body: bytes, says: str) -> None:
    """A body that is no chain is ``bad_answer`` with a sentence that says what it is."""
    with pytest.raises(ChainRefused, match="SPX: tradier answered") as caught:
        read(body=body)
    assert caught.value.reason is Reason.BAD_ANSWER
    assert says in str(caught.value)


def test_quotes_of_one_and_of_many_symbols() -> None:
    """A price that is 0 or absent is none; unknown symbols are absent."""
    quotes = [
        {"symbol": "BRK/B", "last": 5.5, "trade_date": MS},
        {"symbol": "SPX", "last": 0, "trade_date": 0},
    ]
    read_both = parse_tradier_quotes(
        json.dumps(tradier_list("quotes", "quote", quotes)).encode(), symbol="SPX"
    )
    assert read_both["BRKB"] == UnderlyingQuote(5.5, NOW)
    assert math.isnan(read_both["SPX"].price)
    assert read_both["SPX"].traded_at is None
    alone = json.dumps({"quotes": {"quote": quotes[0], "unmatched_symbols": {"symbol": "X"}}})
    assert list(parse_tradier_quotes(alone.encode(), symbol="SPX")) == ["BRKB"]
    assert parse_tradier_quotes(b'{"quotes":{"unmatched_symbols":{}}}', symbol="X") == {}


def test_expiries_in_every_shape() -> None:
    """A list, one day, and null."""
    assert parse_expirations(b'{"expirations":{"date":["2026-08-20","2026-08-19"]}}', symbol="S")[
        0
    ] == date(2026, 8, 19)
    assert parse_expirations(b'{"expirations":{"date":"2026-08-19"}}', symbol="S") == [DAY]
    assert parse_expirations(b'{"expirations":null}', symbol="S") == []


def test_the_recorded_answer(shared: Path) -> None:
    """472 contracts after a close: two have the volume of the day before, 54 its last trades."""
    path = shared / "tradier/SPXW_2026-02-09_tradier.json"
    now = datetime(2026, 2, 6, 22, 0, tzinfo=UTC)
    frame = parse_tradier_chain(
        path.read_bytes(), symbol="SPX", now=now, delay_seconds=0, spot=SPOT
    )
    assert frame is not None
    assert frame.quoted_at == datetime(2026, 2, 6, 21, 59, 59, tzinfo=UTC)
    assert (len(frame.strike), frame.dropped, set(frame.root)) == (472, {}, {"SPXW"})
    assert frame.expirations == [date(2026, 2, 9)]
    assert np.isfinite(frame.last).sum() == np.isfinite(frame.last_at).sum() == 309
    assert (frame.volume > 0).sum() == 309
    assert np.isfinite(frame.bid).all()
    assert np.isfinite(frame.open_interest).all()
    # The first contract, by eye: 2800 call, 4113.40 x 4138.60, last traded 2026-01-27.
    first = (frame.strike[0], frame.right[0], frame.bid[0], frame.ask[0], frame.open_interest[0])
    assert first == (2800.0, 1, 4113.4, 4138.6, 4)
    assert np.isnan(frame.last[0])


async def test_an_underlying_that_does_not_trade_is_not_believed() -> None:
    """A price that is a minute older than the quotes gives way to parity, and the row says so."""
    frame = only_today(await synthetic_frame())
    chain = orjson.dumps(tradier_chain(frame, DAY))
    for seconds, flagged in ((10, False), (120, True)):
        traded = UnderlyingQuote(frame.spot * 1.0002, NOW - timedelta(seconds=seconds))
        read_again = parse_tradier_chain(chain, symbol="SPX", now=NOW, delay_seconds=0, spot=traded)
        assert read_again is not None
        listed = select_chain(read_again, session_on(DAY))
        row = measure_slot(listed, None, oi_confidence=0.43).row
        assert ("spot_from_parity" in row.flags) is flagged


# One chain, every format


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
def test_a_real_chain_makes_the_same_row_as_through_cboe(name: str) -> None:
    """Real chains in both formats agree in every figure, to the last bit."""
    frames = real_sessions()[name]
    assert measured_rows(map(_through_tradier, frames)) == measured_rows(through_cboe(frames))


async def test_a_simulated_session_makes_the_same_rows_as_through_cboe() -> None:
    """Rows with flow, after each other: what both formats determine is the same to the last bit."""
    times = [NOW + timedelta(seconds=30 * i) for i in range(4)]
    frames = [whole_seconds(only_today(await synthetic_frame(now=now))) for now in times]
    ours, theirs = measured_rows(map(_through_tradier, frames)), measured_rows(through_cboe(frames))
    assert ours == theirs
    assert ours[-1]["total_volume"] > ours[0]["total_volume"] > 0
    assert 0 < ours[-1]["classified_share"] <= 1


def _through_tradier(frame: Frame) -> Frame:
    body = orjson.dumps(tradier_chain(frame, market_day(frame.quoted_at)))
    quotes = orjson.dumps(tradier_list("quotes", "quote", [tradier_quote(frame)]))
    listed = parse_tradier_chain(
        body,
        symbol=frame.symbol,
        now=frame.fetched_at,
        delay_seconds=0,
        spot=parse_tradier_quotes(quotes, symbol=frame.symbol)[frame.symbol],
    )
    assert listed is not None
    return listed


# A session, and answers at random


def _inject(fault: Any, path: str = "") -> Any:
    def trouble(server: VendorServer) -> None:
        server.inject(fault, when=lambda request: request.path.endswith(path))

    return trouble


def _freeze(server: VendorServer) -> None:
    server.frozen = True


def _body(body: bytes) -> Any:
    return lambda answer: replace(answer, headers={}, body=body)


#: Slot → what the vendor does, and the reason and words of the gap; no words: a row.
TROUBLES: dict[int, tuple[Any, Reason | None, str]] = {
    5: (_inject(status(503)), Reason.SOURCE_DOWN, "tradier answered 503"),
    6: (_inject(status(401)), Reason.SOURCE_DOWN, "tradier refuses the token"),
    10: (_inject(html(403)), Reason.SOURCE_DOWN, "a firewall answers"),
    11: (_inject(html()), Reason.BAD_ANSWER, "tradier answered an HTML page"),
    15: (_inject(_body(b"<options/>")), Reason.BAD_ANSWER, "tradier answered XML"),
    16: (_inject(empty()), Reason.BAD_ANSWER, "tradier answered nothing"),
    20: (_inject(cut(), "chains"), Reason.SOURCE_DOWN, "SPX: tradier "),
    21: (
        _inject(slow(PATIENCE_IN_TROUBLE + 1.0), "chains"),
        Reason.SOURCE_DOWN,
        "did not answer in time",
    ),
    25: (_inject(_body(b'{"options":null}'), "chains"), Reason.BAD_ANSWER, "lists as an expiry"),
    30: (_inject(status(500), "quotes"), None, "spot_from_parity"),
    31: (_inject(empty(), "quotes"), None, "spot_from_parity"),
    35: (_freeze, Reason.UNCHANGED, "nothing newer"),
    **dict.fromkeys(range(105, 110), (_freeze, Reason.STALE, "quotes are")),
    **dict.fromkeys(range(101, 105), (_freeze, Reason.UNCHANGED, "nothing newer")),
}


async def test_a_session_with_faults_is_rows_and_gaps_with_reasons(
    server: TradierVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short session at 30 s: 420 slots, each a row on its own slot, or the vendor's reason."""
    monkeypatch.setattr("sampler.sources.tradier.source.GATHER", 0.0)
    feed = source(server, "pace=0&expiries=0")
    session = session_on(date(2026, 11, 27))
    assert session is not None
    outcomes = await play_session(
        feed, server, "SPX", session, {slot: t[0] for slot, t in TROUBLES.items()}
    )
    await feed.close()
    assert len(outcomes) == session.slot_count == 420
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        _, reason, words = TROUBLES.get(number, (None, None, ""))
        if number == 0:
            reason, words = Reason.NOT_OPEN, ""
        assert outcome.reason is reason, (number, outcome.reason, outcome.detail)
        assert words in outcome.detail or outcome.record is not None, (number, outcome.detail)
        if outcome.record is not None:
            row = outcome.record.row
            assert row.slot == slot
            assert (words in row.flags) == bool(words), (number, row.flags)
    rows = [outcome.record.row for outcome in outcomes if outcome.record]
    assert len(rows) == 420 - 1 - sum(reason is not None for _, reason, _ in TROUBLES.values())
    assert rows[-1].total_volume > rows[0].total_volume > 0


def fuzz(cases: int, seed: int) -> Counter[str]:
    """Parse mutated answers of all three kinds; count what came of them."""
    rng = random.Random(seed)
    contracts = [contract(7690.0 + 5 * i, right) for i in range(3) for right in ("call", "put")]
    bodies = {
        "chain": json.dumps(tradier_list("options", "option", contracts)).encode(),
        "quotes": b'{"quotes":{"quote":[{"symbol":"SPX","last":7700.5,"trade_date":1}]}}',
        "days": b'{"expirations":{"date":["2026-08-19","2026-08-20"]}}',
    }
    outcomes: Counter[str] = Counter()
    for _ in range(cases):
        kind = rng.choice(("chain", "chain", "chain", "quotes", "days"))
        body = mutated_json(bodies[kind], rng)
        try:
            if kind == "chain":
                frame = read(body=body)
                if frame is not None:
                    chain = select_chain(frame, session_on(DAY))
                    measure_slot(chain, None, oi_confidence=0.43)
                outcomes["none" if frame is None else "row"] += 1
            elif kind == "quotes":
                parse_tradier_quotes(body, symbol="SPX")
                outcomes["quotes"] += 1
            else:
                parse_expirations(body, symbol="SPX")
                outcomes["days"] += 1
        except ChainRefused as refused:
            outcomes[str(refused.reason)] += 1
    return outcomes


def test_answers_at_random_are_refused_or_read() -> None:
    """500 mutated answers: a row, nothing, or a refusal; never another exception."""
    outcomes = fuzz(500, seed=1)
    assert outcomes["row"] > 20
    assert outcomes["bad_answer"] > 50


# Over the network


async def test_a_slots_symbols_share_one_request_for_their_prices(server: TradierVendor) -> None:
    """Four symbols at 10:30: four chains and one request with all four names, each slot."""
    symbols = ["NVDA", "QQQ", "SPX", "SPY"]
    for symbol in symbols:
        server.put(await synthetic_frame(symbol))
    feed = source(server)
    for slot in range(3):
        frames = await asyncio.gather(*(feed.live(symbol, NOW) for symbol in symbols))
        assert [frame.symbol for frame in frames] == symbols
        assert all(frame.spot == server.newest(frame.symbol).spot for frame in frames)
        assert all(frame.underlying_at == NOW for frame in frames)
        assert len(server.requests) == 5 * (slot + 1)
    prices = server.asked("/quotes")
    assert [request.query["symbols"] for request in prices] == [",".join(symbols)] * 3
    assert len({request.port for request in server.requests}) <= 5
    await feed.close()


async def test_a_late_symbol_finds_its_price_in_the_slots_request(server: TradierVendor) -> None:
    """A symbol of the last slot is in the request before it comes; a new one has its own."""
    for symbol in ("SPX", "SPY", "QQQ"):
        server.put(await synthetic_frame(symbol))
    feed = source(server)
    await asyncio.gather(feed.live("SPX", NOW), feed.live("SPY", NOW))
    await feed.live("SPX", NOW)
    await feed.live("SPY", NOW)
    assert len(server.asked("/quotes")) == 2
    assert math.isfinite((await feed.live("QQQ", NOW)).spot)
    assert [r.query["symbols"] for r in server.asked("/quotes")][2:] == ["QQQ,SPX,SPY"]
    await feed.close()


async def test_the_request_is_tradiers(server: TradierVendor) -> None:
    """Token and Accept are headers; the day is New York's; greeks are not asked for."""
    server.put(await synthetic_frame())
    feed = source(server)
    await feed.live("SPX", NOW)
    (chain,) = server.asked("/chains")
    assert chain.query == {"symbol": "SPX", "expiration": "2026-08-19", "greeks": "false"}
    assert chain.headers["authorization"] == f"Bearer {TOKEN}"
    assert chain.headers["accept"] == "application/json"
    assert not any(TOKEN in str((request.path, request.query)) for request in server.requests)
    await feed.close()


async def test_a_price_that_cannot_be_had_costs_no_row(server: TradierVendor) -> None:
    """The chain comes with no spot, so that parity gives one, and the next slot has it again."""
    server.put(await synthetic_frame())
    feed = source(server, "pace=0&budget=0.6&timeout=0.5")
    for fault in (status(500), status(400), html(), empty(), cut(), slow(0.9)):
        server.inject(fault, when=lambda request: request.path == "/markets/quotes")
        frame = await feed.live("SPX", NOW)
        assert math.isnan(frame.spot), fault
        server.heal()
        assert math.isfinite((await feed.live("SPX", NOW)).spot)
    await feed.close()


async def test_the_sandbox_is_fifteen_minutes_late(server: TradierVendor) -> None:
    """``sandbox`` names its base and delay; a base of another server can declare one."""
    feed = Tradier.open("sandbox", KEYS)
    assert feed.http.base == "https://sandbox.tradier.com/v1"
    assert (feed.delay_seconds, feed.remote) == (900, True)
    live = open_source("tradier:", KEYS)
    assert isinstance(live, Tradier)
    assert (live.http.base, live.delay_seconds) == ("https://api.tradier.com/v1", 0)
    server.put(await synthetic_frame())
    late = source(server, "pace=0&delay=900")
    frame = await late.live("SPX", NOW + timedelta(minutes=15))
    assert (frame.delay_seconds, frame.quoted_at) == (900, NOW)
    after_midnight = datetime(2026, 8, 20, 4, 10, tzinfo=UTC)
    await late.live("SPX", after_midnight)
    assert list(server.asked("/chains"))[-1].query["expiration"] == "2026-08-19"
    await late.close()


async def test_on_a_day_without_a_session_nothing_is_asked(server: TradierVendor) -> None:
    """A Saturday and a holiday are said to be such, at no cost to the vendor."""
    server.put(await synthetic_frame())
    feed = source(server)
    for day, word in ((date(2026, 8, 22), "weekend"), (date(2026, 11, 26), "holiday")):
        noon = datetime(day.year, day.month, day.day, 17, tzinfo=UTC)
        refused = await refusal(feed, now=noon)
        assert refused.reason is Reason.MARKET_CLOSED
        assert word in str(refused)
    assert server.requests == []
    await feed.close()


async def test_a_symbol_without_todays_expiry(server: TradierVendor) -> None:
    """The next expiry comes with the refusal; a symbol without options is one sentence."""
    whole = await synthetic_frame()
    later = whole.expiry > np.datetime64(DAY)
    columns = {
        name: getattr(whole, name)[later]
        for name in ("expiry", "root", "strike", "right", "bid", "ask", "open_interest")
    }
    assert later.any()
    server.put(
        Frame.of(
            symbol="NVDA", source="x", delay_seconds=0, quoted_at=NOW, fetched_at=NOW,
            spot=100.0, columns=columns,
        )
    )  # fmt: skip
    feed = source(server)
    refused = await refusal(feed, "NVDA")
    assert refused.reason is Reason.NO_ZERO_DTE
    assert refused.next_expiry == min(whole.expiry[later]).item()
    nothing = await refusal(feed, "ZZZZ")
    assert (nothing.reason, str(nothing)) == (
        Reason.SOURCE_DOWN, "ZZZZ: tradier has no options of it",
    )  # fmt: skip
    server.put(whole)
    server.inject(
        lambda answer: replace(answer, headers={}, body=b'{"options":null}'),
        when=lambda request: request.path.endswith("/chains"),
    )
    assert (await refusal(feed)).reason is Reason.BAD_ANSWER
    await feed.close()


@pytest.mark.parametrize(
    ("fault", "reason", "says"),
    [
        (status(400), Reason.SOURCE_DOWN, "no such symbol (answer 400)"),
        (status(401, body=TOKEN.encode()), Reason.SOURCE_DOWN, "refuses the token"),
        (status(403), Reason.SOURCE_DOWN, "no market data, or a firewall"),
        (status(404), Reason.SOURCE_DOWN, "has no such symbol (answer 404)"),
        (status(503), Reason.SOURCE_DOWN, "answered 503"),
        (slow(1.0), Reason.SOURCE_DOWN, "did not answer in time"),
        (html(), Reason.BAD_ANSWER, "an HTML page"),
        (empty(), Reason.BAD_ANSWER, "answered nothing"),
    ],
)
async def test_a_fault_is_one_sentence(
    server: TradierVendor, fault: Any, reason: Reason, says: str
) -> None:
    """Each fault is a refusal with its reason; healed, the same source delivers again."""
    server.put(await synthetic_frame())
    feed = source(server, "pace=0&budget=0.8&timeout=0.6")
    server.inject(fault)
    refused = await refusal(feed)
    assert refused.reason is reason
    assert says in str(refused)
    server.heal()
    assert (await feed.live("SPX", NOW)).symbol == "SPX"
    await feed.close()


async def test_without_accept_the_answer_is_xml(server: TradierVendor) -> None:
    """A proxy that changes the header is named."""
    server.put(await synthetic_frame())
    feed = source(server)
    server.inject(
        lambda answer: replace(answer, headers={}, body=b"<?xml version='1.0'?><options/>")
    )
    assert "XML: something between here and Tradier" in str(await refusal(feed))
    await feed.close()


async def test_the_minutes_allowance_is_obeyed(server: TradierVendor) -> None:
    """Once an answer says that nothing is left, no symbol asks again before the minute's end."""
    for symbol in ("SPX", "SPY"):
        server.put(await synthetic_frame(symbol))
    server.allowed = 4
    feed = source(server)
    await feed.live("SPX", NOW)
    await feed.live("SPX", NOW)
    assert len(server.requests) == server.used == 4
    refused = await refusal(feed, "SPY")
    assert "asked for a pause (answer 200) and is not asked again before" in str(refused)
    assert len(server.requests) == 4
    await feed.close()


async def test_a_429_is_not_asked_again_before_its_time(server: TradierVendor) -> None:
    """Where the token's allowance is used up elsewhere, the first 429 ends the asking."""
    server.put(await synthetic_frame())
    server.allowed = 0
    feed = source(server)
    assert "pause (answer 429)" in str(await refusal(feed))
    count = len(server.requests)
    assert count <= 2
    await refusal(feed)
    assert len(server.requests) == count
    await feed.close()


@pytest.mark.parametrize(
    ("available", "expiry", "seconds"),
    [
        ("1", MS + 30_000, 0.0),
        ("0", MS + 30_000, 31.0),
        ("0", MS - 30_000, 0.0),
        ("-3", MS + 3_600_000, 60.0),
        ("0", "soon", 60.0),
        ("many", MS + 30_000, 0.0),
    ],
)
def test_how_long_an_allowance_lasts(available: str, expiry: Any, seconds: float) -> None:
    """No request is left until the expiry, to the next whole second, at most a minute."""
    headers = {"X-Ratelimit-Available": available, "X-Ratelimit-Expiry": str(expiry)}
    assert allowance_pause(headers, NOW) == seconds


def test_a_url_that_makes_no_sense_is_a_usage_error() -> None:
    """Without a token, with an unknown option, or over plain http: before anything is asked."""
    with pytest.raises(UsageError, match="FLOW_TRADIER_TOKEN"):
        Tradier.open("", VendorKeys())
    for rest in ("?x=1", "?delay=-1", "?pace=no", "ftp://host", "http://example.com/v1"):
        with pytest.raises(UsageError):
            Tradier.open(rest, KEYS)


def test_there_is_no_history() -> None:
    """Tradier keeps no quotes of options."""
    feed = Tradier.open("", KEYS)
    assert feed.newest("SPX") is None
    with pytest.raises(NoHistory, match="tradier: keeps no history"):
        feed.history("SPX", session_on(DAY))  # type: ignore[arg-type]


async def test_the_token_is_in_no_log(
    server: TradierVendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a good answer nor a refusal logs the token, at any level."""
    caplog.set_level(logging.DEBUG)
    server.put(await synthetic_frame())
    feed = source(server)
    await feed.live("SPX", NOW)
    server.inject(status(401, body=TOKEN.encode()))
    await refusal(feed)
    assert TOKEN not in caplog.text
    assert "httpx" in {record.name for record in caplog.records}
    await feed.close()
