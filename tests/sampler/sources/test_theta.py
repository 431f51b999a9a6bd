"""Theta: what its recorded and documented answers say, and what a terminal on loopback answers."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from chains import TEN_FOURTEEN, frame

from sampler.chain import QUOTES, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta import past
from sampler.sources.theta.answers import contracts_of, read_answer, read_days
from sampler.sources.theta.frames import BAR, INTEREST, PRICE, PRINT, QUOTE
from sampler.sources.theta.source import Theta
from storage.errors import UsageError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests.vendors.server import status
from tests.vendors.theta import Print, ThetaVendor, paths, wall

DAY = TEN_FOURTEEN.date()
SESSION = session_on(DAY)
NOW = TEN_FOURTEEN + timedelta(seconds=1)
#: The third Friday of August 2026: SPX and SPXW both expire.
FRIDAY = datetime(2026, 8, 21, 14, 0, tzinfo=UTC)
EXAMPLES = "vendors/theta/spec-examples"


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def example(shared: Path, name: str, names: tuple[str, ...], root: str | None, expiry: str = ""):
    """One of the answers in Theta's own reference."""
    return read_answer(
        (shared / EXAMPLES / f"{name}.csv").read_bytes(),
        names,
        path=name,
        symbol=root or "SPX",
        root=root,
        expiration=date.fromisoformat(expiry) if expiry else None,
    )


# What the vendor's reference and its servers have answered.


def test_quotes_of_the_reference(shared):
    """The first row is no quote: 0 at 0. The second one is 4.55 at 4.70 at 09:31 New York."""
    answer = example(shared, "option_history_quote", QUOTE, "AAPL", "2024-11-08")
    assert len(answer) == 5
    assert [column.tolist() for column in contracts_of(answer.key[:1])] == [[220.0], [1]]
    assert (answer["bid"][0], answer["ask"][0], answer["ask_size"][0]) == (0, 0, 0)
    assert (answer["bid"][1], answer["ask"][1], answer["bid_size"][1]) == (4.55, 4.70, 598)
    # On 2024-11-04 New York is five hours behind Greenwich; on 2025-08-20 four.
    assert answer["timestamp"][1] == utc("2024-11-04T14:31:00")
    at_time = example(shared, "option_at_time_quote", QUOTE, "AAPL", "2024-11-08")
    assert at_time["timestamp"].tolist() == [utc("2024-11-04T14:30:00.91")]
    live = example(shared, "option_snapshot_quote", QUOTE, "AAPL", "2026-01-16")
    assert live["timestamp"].tolist() == [utc("2025-08-20T19:59:59.805")]
    assert (live["bid"][0], live["ask"][0]) == (1.47, 1.50)


def test_other_answers_of_the_reference(shared):
    """Bars, open interest, prints, the index's price, expiries: each value as it stands there."""
    bar = example(shared, "option_snapshot_ohlc", BAR, "AAPL", "2026-01-16")
    assert bar["timestamp"].tolist() == [utc("2025-08-20T19:25:31.03")]
    assert (bar["close"][0], bar["volume"][0]) == (1.51, 202)
    bars = example(shared, "option_history_ohlc", BAR, "AAPL", "2023-11-03")
    assert bars["volume"].tolist() == [147, 39, 45, 142, 29]
    interest = example(shared, "option_history_open_interest", INTEREST, "AAPL", "2024-11-08")
    assert interest["open_interest"].tolist() == [2732]
    prints = example(shared, "option_history_trade_quote", PRINT, "AAPL", "2024-11-08")
    assert prints["condition"].tolist() == [130, 130, 130, 18, 18]
    assert (prints["price"][1], prints["bid"][1], prints["ask"][1]) == (4.25, 4.15, 4.30)
    price = example(shared, "index_snapshot_price", PRICE, None)
    assert (price["price"][0], price["timestamp"][0]) == (6395.78, utc("2025-08-20T20:02:06"))
    assert example(shared, "index_history_price", PRICE, None)["price"][:2].tolist() == [0, 5728.56]
    body = (shared / EXAMPLES / "option_list_expirations.csv").read_bytes()
    days = read_days(body, path="x", symbol="AAPL")
    assert (len(days), days[0]) == (5, date(2012, 6, 1))


def test_recorded_prints(shared):
    """98 prints of 2024-06-14: the first at 09:55:03.122 New York, 10 at 41.71, 41.20 at 42.09."""
    body = (shared / "vendors/theta/csv/option_history_trade_quote.csv").read_bytes()
    answer = read_answer(
        body, PRINT, path="x", symbol="SPY", root="SPY", expiration=date(2024, 6, 21)
    )
    assert len(answer) == 98
    assert answer["trade_timestamp"][0] == utc("2024-06-14T13:55:03.122")
    first = [answer[name][0] for name in ("size", "price", "bid", "ask", "condition")]
    assert first == [10, 41.71, 41.2, 42.09, 130]
    # Compact days are days too.
    body = (shared / "vendors/theta/csv/option_history_greeks_eod.csv").read_bytes()
    answer = read_answer(
        body, ("bid",), path="x", symbol="SPY", root="SPY", expiration=date(2024, 6, 21)
    )
    assert answer["bid"].tolist() == [42.39]


HEAD = b"timestamp,symbol,expiration,strike,right,bid,ask\n"
ROW = b"2026-08-19T10:14:30,SPXW,2026-08-19,7700.000,CALL,1.00,1.20\n"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "with nothing"),
        (b" \n", "with nothing"),
        (b"<html><body>", "without the column 'symbol'; it starts '<html><body>'"),
        (HEAD.replace(b"ask", b"offer") + ROW, "without the column 'ask'"),
        (HEAD + b"2026-08-19T10:14:30,SPXW\n", "no CSV"),
        (HEAD + ROW[:30], "no CSV"),
        (HEAD + ROW.replace(b"SPXW", b"NDXP"), "for 'NDXP' in place of SPXW"),
        (HEAD + ROW.replace(b"08-19,", b"08-20,"), "for an expiry of '2026-08-20'"),
    ],
)
def test_what_is_no_answer(body, sentence):
    """A sentence that names what was asked for and what came."""
    with pytest.raises(ChainRefused, match="SPX: theta answered option/x") as error:
        read_answer(
            body, ("bid", "ask"), path="option/x", symbol="SPX", root="SPXW", expiration=DAY
        )
    assert sentence in str(error.value)
    assert error.value.reason is Reason.BAD_ANSWER


@pytest.mark.parametrize("cell", [b"", b"x", b"inf", b"-", b"1e999"])
def test_a_cell_that_is_no_number_is_unknown(cell):
    """And costs no other cell; whatever Arrow thinks of the column."""
    body = HEAD + ROW + ROW.replace(b"CALL", b"put").replace(b"1.20", cell)
    answer = read_answer(body, ("bid", "ask"), path="x", symbol="SPX", root="SPXW", expiration=DAY)
    assert answer["ask"][0] == 1.20
    assert math.isnan(answer["ask"][1])
    assert contracts_of(answer.key)[1].tolist() == [1, -1]


@pytest.mark.parametrize(
    "text", ["", "x", "2026-08-19T10:14:30Z", "2026-08-19T10:14:30-04:00", "0001-01-01T00:00:00"]
)
def test_a_time_that_cannot_be_read_is_unknown(text):
    """A time with an offset is none of this format."""
    body = HEAD + ROW + ROW.replace(b"2026-08-19T10:14:30", text.encode())
    answer = read_answer(body, ("timestamp",), path="x", symbol="SPX", root="SPXW")
    assert answer["timestamp"][0] == TEN_FOURTEEN.timestamp()
    assert math.isnan(answer["timestamp"][1])


def test_unreadable_contracts_are_counted():
    """A strike or a right that cannot be read; the others count."""
    rows = [ROW, ROW.replace(b"7700.000", b"-1"), ROW.replace(b"CALL", b"X"), ROW]
    answer = read_answer(HEAD + b"".join(rows), ("bid",), path="x", symbol="SPX", root="SPXW")
    assert (len(answer), answer.dropped) == (2, {"bad_strike": 1, "bad_right": 1})


def test_every_hour_of_a_year_is_placed():
    """Wall times through both clock changes, against Python's own zone."""
    for month, day, hours in ((3, 8, 4), (7, 1, 4), (11, 1, 5), (12, 24, 5)):
        moment = datetime(2026, month, day, 14, 0, 0, 250_000, tzinfo=UTC)
        body = f"timestamp,price\n{wall(moment)},1\n".encode()
        answer = read_answer(body, PRICE, path="x", symbol="SPX")
        assert answer["timestamp"][0] == moment.timestamp()
        assert wall(moment).endswith(f"T{14 - hours:02}:00:00.25")


# Live.


async def live(server: ThetaVendor, symbol: str = "SPX", now: datetime = NOW, **options) -> Frame:
    source = open_theta(server, **options)
    try:
        return await source.live(symbol, now)
    finally:
        await source.close()


def open_theta(server: ThetaVendor, **options: object) -> Theta:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    source = open_source(f"theta:{server.url}?{query}")
    assert isinstance(source, Theta)
    return source


async def test_a_chain_of_now():
    """Every contract and every number of the frame that the terminal has."""
    sent = frame(spot=7701.25)
    async with ThetaVendor() as server:
        server.put(sent)
        got = await live(server)
    assert (got.symbol, got.source, got.delay_seconds) == ("SPX", "theta", 0)
    assert (got.quoted_at, got.fetched_at) == (TEN_FOURTEEN, NOW)
    assert (got.spot, got.underlying_at) == (7701.25, TEN_FOURTEEN)
    assert set(got.root.tolist()) == {"SPXW"}
    order = np.lexsort((-sent.right, sent.strike))
    for name in ("strike", "right", "bid", "ask", "last", "last_at", "open_interest", "volume"):
        assert getattr(got, name).tolist() == getattr(sent, name)[order].tolist(), name
    assert np.isnan(got.source_iv).all()
    assert np.isnan(got.signed_volume).all()


async def test_what_is_no_quote_and_no_trade():
    """0 at 0 of size 0 is unknown, a true bid of 0 stays; without a bar nothing has traded."""
    sent = frame(strikes=[7600.0, 7700.0])
    bid, ask, volume = sent.bid.copy(), sent.ask.copy(), sent.volume.copy()
    bid[0] = ask[0] = np.nan
    bid[1], ask[1] = 0.0, 0.05
    volume[0] = 0.0
    async with ThetaVendor() as server:
        server.put(dataclasses.replace(sent, bid=bid, ask=ask, volume=volume))
        got = await live(server)
    call = got.right > 0
    assert np.isnan([got.bid[call][0], got.ask[call][0], got.last[call][0]]).all()
    assert (got.bid[call][1], got.ask[call][1]) == (0.0, 0.05)
    assert got.volume[call].tolist() == [0.0, 50.0]


def edit(server: ThetaVendor, path: str, change) -> None:
    """Answer a path with changed text."""
    server.inject(
        lambda answer: dataclasses.replace(
            answer, headers={}, body=change(answer.body.decode()).encode()
        ),
        when=lambda request: request.path.endswith(path),
    )


async def test_rows_of_another_day():
    """Yesterday's quote is none, yesterday's bar means untraded, a report of yesterday is none."""
    async with ThetaVendor() as server:
        server.packed = False
        server.put(frame(strikes=[7600.0, 7700.0]))
        for path in ("quote", "ohlc"):
            edit(
                server,
                path,
                lambda text: text.replace(
                    "2026-08-19T10:14:30,SPXW,2026-08-19,7600.000,CALL",
                    "2026-08-18T15:59:59.8,SPXW,2026-08-19,7600.000,CALL",
                ),
            )
        edit(server, "open_interest", lambda text: text.replace("2026-08-19T06", "2026-08-18T06"))
        got = await live(server)
    assert np.isnan([got.bid[0], got.ask[0], got.last[0], got.last_at[0]]).all()
    assert got.volume.tolist() == [0.0, 50.0, 50.0, 50.0]
    assert np.isnan(got.open_interest).all()


async def test_the_newest_quote_tells_the_time():
    """Not a quote of 0 at 0, whose time is when it was asked for."""
    async with ThetaVendor() as server:
        server.packed = False
        server.put(frame(strikes=[7600.0, 7700.0]))
        edit(
            server,
            "quote",
            lambda text: text.replace(
                "2026-08-19T10:14:30,SPXW,2026-08-19,7600.000,CALL",
                "2026-08-19T10:14:31.04,SPXW,2026-08-19,7600.000,CALL",
            ),
        )
        got = await live(server)
        assert got.quoted_at == TEN_FOURTEEN + timedelta(seconds=1.04)
        zero = frame(strikes=[7600.0, 7700.0], bid=[np.nan] * 4, ask=[np.nan] * 4)
        server.frames.clear()
        server.put(zero)
        with pytest.raises(ChainRefused, match="no quote of 2026-08-19") as error:
            await live(server)
    assert error.value.reason is Reason.STALE


async def test_open_interest_is_asked_for_once_a_day():
    """Once there, not again; while it is not there, at each slot; on the next day anew."""
    async with ThetaVendor() as server:
        server.put(frame())
        source = open_theta(server)
        with_none = status(472)
        server.inject(with_none, when=lambda r: r.path.endswith("open_interest"), times=1)
        unknown = await source.live("SPX", NOW)
        assert np.isnan(unknown.open_interest).all()
        for seconds in (30, 60):
            server.put(frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds)))
            got = await source.live("SPX", NOW + timedelta(seconds=seconds))
            assert (got.open_interest == 100).all()
        assert len(server.asked("open_interest")) == 2
        server.frames.clear()
        server.put(frame(quoted_at=TEN_FOURTEEN + timedelta(days=1)))
        await source.live("SPX", NOW + timedelta(days=1))
        assert len(server.asked("open_interest")) == 3
        await source.close()


async def test_a_contract_outside_the_days_report_has_no_open_interest():
    """The report is of the morning: what was listed since then has 0."""
    async with ThetaVendor() as server:
        server.packed = False
        server.put(frame(strikes=[7600.0, 7700.0]))
        edit(
            server,
            "open_interest",
            lambda text: "".join(x for x in text.splitlines(True) if "7700.000,PUT" not in x),
        )
        got = await live(server)
    assert got.open_interest.tolist() == [100.0, 100.0, 100.0, 0.0]


@pytest.mark.parametrize("dead_first", [True, False])
async def test_of_a_contract_that_stands_twice_the_living_row_counts(dead_first):
    """A twin without a bid, and one without volume: they change no number, and are counted."""
    sent = frame(strikes=[7600.0, 7700.0])
    dead = dataclasses.replace(sent, bid=sent.bid * 0, ask=sent.ask * 2, volume=sent.volume / 2)
    order = [dead, sent] if dead_first else [sent, dead]
    names = ("expiry", "root", "strike", "right", *QUOTES)
    both = {name: np.concatenate([getattr(x, name) for x in order]) for name in names}
    async with ThetaVendor() as server:
        server.put(dataclasses.replace(sent, **both))
        got = await live(server)
    assert got.dropped == {"duplicate": 4}
    rows = np.lexsort((-sent.right, sent.strike))
    for name in ("bid", "ask", "volume"):
        assert getattr(got, name).tolist() == getattr(sent, name)[rows].tolist(), name


async def test_roots_stay_apart():
    """On a third Friday SPX has contracts beside SPXW's: each has its root; they settle at 09:30."""
    closing = frame(quoted_at=FRIDAY, strikes=[7600.0, 7700.0])
    both = Frame.of(
        symbol="SPX",
        source="test",
        delay_seconds=0,
        quoted_at=FRIDAY,
        fetched_at=FRIDAY,
        spot=7700.0,
        columns={
            name: np.concatenate([getattr(closing, name), getattr(closing, name)])
            for name in ("expiry", "strike", "right", "bid", "ask", "last", "last_at")
        }
        | {"root": ["SPXW"] * 4 + ["SPX"] * 4, "volume": [5.0] * 8, "open_interest": [7.0] * 8},
    )
    async with ThetaVendor() as server:
        server.put(both)
        got = await live(server, now=FRIDAY + timedelta(seconds=1))
        assert sorted(got.root.tolist()) == ["SPX"] * 4 + ["SPXW"] * 4
        server.requests.clear()
        server.frames.clear()
        server.put(closing)
        source = open_theta(server)
        await source.live("SPX", FRIDAY + timedelta(seconds=1))
        server.put(frame(quoted_at=FRIDAY + timedelta(seconds=30), strikes=[7600.0, 7700.0]))
        await source.live("SPX", FRIDAY + timedelta(seconds=31))
        roots = [r.query["symbol"] for r in server.asked("snapshot/quote")]
        assert sorted(roots) == ["SPX", "SPXW", "SPXW"]
        await source.close()


async def spy(seconds: float = 0.0, **more: object) -> Frame:
    """SPY of the simulated market, with a price that traded three seconds before."""
    moment = TEN_FOURTEEN + timedelta(seconds=seconds)
    plain = await Synthetic(seed=7).live("SPY", moment)
    return dataclasses.replace(plain, underlying_at=plain.quoted_at - timedelta(seconds=3), **more)


async def test_the_price_of_a_fund_is_its_last_trade():
    """With a plan for stocks; SPX is asked for as an index, SPY as a stock."""
    async with ThetaVendor() as server:
        sent = await spy(spot=512.34)
        server.put(sent, frame())
        source = open_theta(server)
        got = await source.live("SPY", NOW)
        assert (got.spot, got.underlying_at) == (512.34, sent.underlying_at)
        await source.live("SPX", NOW)
        assert [r.query["symbol"] for r in server.asked("stock/snapshot/trade")] == ["SPY"]
        assert [r.query["symbol"] for r in server.asked("index/snapshot/price")] == ["SPX"]
        await source.close()


@pytest.mark.parametrize("code", [470, 471])
async def test_a_fund_without_a_plan_for_stocks(code):
    """Its price is parity's, and on that day it is not asked for again."""
    async with ThetaVendor() as server:
        server.inject(status(code), when=lambda r: r.path.startswith("/stock"))
        source = open_theta(server)
        for seconds in (0, 60):
            server.put(await spy(seconds))
            got = await source.live("SPY", NOW + timedelta(seconds=seconds))
            assert math.isnan(got.spot)
        assert len(server.asked("stock/snapshot/trade")) == 1
        chain = select_chain(got, session_on(TEN_FOURTEEN.date()))
        assert "spot_from_parity" in measure_slot(chain, None, oi_confidence=0.43).row.flags
        await source.close()


@pytest.mark.parametrize("code", [470, 471])
async def test_an_index_without_a_subscription(code):
    """Its price is unknown, and on that day it is not asked for again."""
    async with ThetaVendor() as server:
        server.inject(status(code), when=lambda r: r.path.startswith("/index"))
        source = open_theta(server)
        for seconds in (0, 30):
            server.put(frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds)))
            got = await source.live("SPX", NOW + timedelta(seconds=seconds))
            assert math.isnan(got.spot)
            assert got.underlying_at is None
        assert len(server.asked("index/snapshot/price")) == 1
        await source.close()


async def test_volumes_that_were_there_do_not_end():
    """Bars that fail to come: no trade yet at the open, and unknown volumes later."""
    async with ThetaVendor() as server:
        source = open_theta(server)
        none = status(472)
        for seconds, there, expected in ((0, False, 0.0), (30, True, 50.0), (60, False, np.nan)):
            server.heal()
            if not there:
                server.inject(none, when=lambda r: r.path.endswith("ohlc"))
            server.put(frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds)))
            got = await source.live("SPX", NOW + timedelta(seconds=seconds))
            assert np.array_equal(got.volume, np.full(42, expected), equal_nan=True)
        await source.close()


async def test_nothing_newer_is_said_so():
    """The same quotes and volumes; a volume that goes on is a frame that the sampler judges."""
    async with ThetaVendor() as server:
        server.put(frame())
        source = open_theta(server)
        await source.live("SPX", NOW)
        with pytest.raises(ChainRefused, match="no newer quote") as error:
            await source.live("SPX", NOW)
        assert error.value.reason is Reason.UNCHANGED
        server.put(frame(volume=[51.0] * 42))
        assert (await source.live("SPX", NOW)).volume.sum() == 51 * 42
        await source.close()


async def test_nothing_expires_today():
    """The terminal's list tells the next expiry; a list with today in it contradicts its quotes."""
    async with ThetaVendor() as server:
        server.listed = [date(2026, 8, 14), date(2026, 8, 21), date(2026, 8, 28)]
        with pytest.raises(ChainRefused, match="next expiry 2026-08-21") as error:
            await live(server, "NVDA")
        assert error.value.reason is Reason.NO_ZERO_DTE
        assert error.value.next_expiry == date(2026, 8, 21)
        server.listed = [DAY]
        with pytest.raises(ChainRefused, match="quotes none of them") as error:
            await live(server, "NVDA")
        assert error.value.reason is Reason.SOURCE_DOWN


async def test_a_closed_day_is_not_asked_for():
    """A Saturday: no request."""
    async with ThetaVendor() as server:
        with pytest.raises(ChainRefused, match="weekend") as error:
            await live(server, now=datetime(2026, 8, 22, 15, 0, tzinfo=UTC))
        assert error.value.reason is Reason.MARKET_CLOSED
        assert server.requests == []


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (470, "plan is without option/snapshot/quote (answer 470); it needs Options Value"),
        (471, "plan is without option/snapshot/quote (answer 471); it needs Options Value"),
        (473, "finds option/snapshot/quote wrong (answer 473): 'no such symbol'"),
        (476, "127.0.0.1 or localhost (answer 476)"),
        (410, "FLOW_SOURCE must end in /v3 (answer 410)"),
        (404, "must be of version 3 (answer 404)"),
        (429, "(answer 429"),
        (474, "lost its connection to Theta Data (answer 474)"),
        (571, "still starting (answer 571)"),
        (570, "too large to send (answer 570)"),
        (500, "answered 500"),
    ],
)
async def test_every_status_has_its_sentence(code, sentence):
    """A gap with the vendor's reason, which names the plan or the setting."""
    async with ThetaVendor() as server:
        server.put(frame())
        server.inject(
            status(code, body=b" no\nsuch  symbol "), when=lambda r: r.path.endswith("quote")
        )
        with pytest.raises(ChainRefused) as error:
            await live(server, budget=1.5)
        assert sentence in str(error.value)
        assert str(error.value).startswith("SPX: theta ")
        assert error.value.reason is Reason.SOURCE_DOWN
        requests = [r for r in server.asked("snapshot/quote") if r.query["symbol"] == "SPXW"]
        # An error that stays is not asked about again.
        assert len(requests) <= 1 or code in (429, 474, 571, 500)


@pytest.mark.parametrize("code", [429, 474, 571])
async def test_what_passes_is_tried_again(code):
    """A full queue, a lost connection, a start: the second attempt makes the row."""
    async with ThetaVendor() as server:
        server.put(frame())
        server.inject(status(code), when=lambda r: r.path.endswith("quote"), times=1)
        assert len((await live(server)).strike) == 42


async def test_no_terminal():
    """Nothing listens: a sentence, no exception."""
    server = ThetaVendor()
    server.start()
    server.stop()
    with pytest.raises(ChainRefused, match="SPX: theta cannot be reached"):
        await live(server, budget=0.2)


@pytest.mark.parametrize(("plan", "most"), [("free", 1), ("value", 2), ("standard", 4), ("pro", 8)])
async def test_as_many_requests_at_once_as_the_plan_allows(plan, most):
    """Six symbols, eighteen requests: never more than that under way, and more than half of it."""
    under_way, counts, lock = 0, [], threading.Lock()
    async with ThetaVendor() as server:
        for i in range(6):
            server.put(frame(symbol=f"S{i}", strikes=[7700.0]))
        respond = server.respond

        def watched(request):
            nonlocal under_way
            with lock:
                under_way += 1
                counts.append(under_way)
            time.sleep(0.05)
            with lock:
                under_way -= 1
            return respond(request)

        server.respond = watched
        source = open_theta(server, plan=plan)
        await asyncio.gather(*(source.live(f"S{i}", NOW) for i in range(6)))
        await source.close()
    assert len(counts) == 24
    assert most // 2 < max(counts) <= most


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ("?plan=gold", "is none of free, value, standard, pro"),
        ("?delay=1", "unknown source option 'delay'"),
        ("ftp://127.0.0.1/v3", "expected http"),
        ("?timeout=0", "timeout="),
    ],
)
def test_wrong_options(rest, sentence):
    """A sentence each."""
    with pytest.raises(UsageError, match=sentence):
        open_source(f"theta:{rest}")


def test_the_terminals_own_address_is_a_live_vendor():
    """A simulated clock must not drive it, though it is on loopback; another port is a test's."""
    assert open_source("theta:").remote
    assert not open_source("theta:http://127.0.0.1:1234/v3").remote
    assert open_source("theta:").newest("SPX") is None


# A past session.

FIRST = SESSION.open


def minutes(n: int, **changes: object) -> list[Frame]:
    """Frames every 30 s from the open, whose volumes and quotes go on."""
    frames = []
    for i in range(n):
        moment = FIRST + timedelta(seconds=30 * i)
        frames.append(
            frame(
                quoted_at=moment,
                spot=7700.0 + i,
                strikes=[7690.0, 7700.0, 7710.0],
                volume=[10.0 * i + j for j in range(6)] if i else [0.0] * 6,
                **changes,
            )
        )
    return frames


async def past_frames(server: ThetaVendor, symbol: str = "SPX", **options: object) -> list:
    source = open_theta(server, **options)
    try:
        return [outcome async for outcome in source.history(symbol, SESSION)]
    finally:
        await source.close()


async def test_a_past_session():
    """A frame every 30 s: the quotes of then, what had traded by then, the morning's interest."""
    async with ThetaVendor() as server:
        sent = minutes(8)
        server.put(*sent)
        # Nobody quotes after that.
        got = (await past_frames(server))[:8]
    assert [past_frame.quoted_at for past_frame in got] == [
        past_frame.quoted_at for past_frame in sent
    ]
    for past_frame, expected in zip(got, sent, strict=True):
        order = np.lexsort((-expected.right, expected.strike))
        for name in ("strike", "right", "bid", "ask", "open_interest", "volume"):
            column = getattr(expected, name)[order].tolist()
            assert getattr(past_frame, name).tolist() == column, name
        assert past_frame.fetched_at == past_frame.quoted_at
    # The index's first price of a day is 0.0: it had none yet.
    assert math.isnan(got[0].spot)
    assert [past_frame.spot for past_frame in got[1:]] == [7700.0 + i for i in range(1, 8)]
    # A last price is known once something has traded; when in the bar it traded, nobody knows.
    assert np.isnan(got[0].last).all()
    assert np.isfinite(got[1].last).all()
    assert np.isnan(got[3].last_at).all()
    assert np.isnan(got[3].signed_volume).all()


async def test_a_session_that_is_still_on_ends_with_its_last_quote():
    """No frame of a time that has not come."""
    async with ThetaVendor() as server:
        server.packed = False
        server.put(*minutes(3))
        edit(
            server,
            "history/quote",
            lambda text: "".join(
                line
                for line in text.splitlines(True)
                if not ("T09:3" in line and line.split(",")[4] > "2026-08-19T09:31:00")
                and "T1" not in line
                and "T09:4" not in line
                and "T09:5" not in line
            ),
        )
        got = await past_frames(server)
    assert [past_frame.quoted_at for past_frame in got] == [
        FIRST + timedelta(seconds=30 * i) for i in range(3)
    ]


async def test_a_plan_without_30_seconds_gets_minutes(capsys):
    """471 for 30 s: asked for every minute, once and for all, and the log says so."""
    async with ThetaVendor() as server:
        server.put(*minutes(8))
        server.minutes_only = True
        source = open_theta(server)
        for _ in range(2):
            got = [past_frame async for past_frame in source.history("SPX", SESSION)][:4]
            assert [past_frame.quoted_at for past_frame in got] == [
                FIRST + timedelta(minutes=i) for i in range(4)
            ]
            assert [past_frame.volume.sum() for past_frame in got] == [
                0.0,
                *(120 * i + 15 for i in (1, 2, 3)),
            ]
        intervals = [r.query["interval"] for r in server.asked("history/quote")]
        assert intervals == ["30s", "1m", "1m"]
        await source.close()


async def test_a_request_that_is_too_large_is_split_by_right():
    """570: calls and puts apart, and the same frames."""
    async with ThetaVendor() as server:
        server.put(*minutes(4))
        whole = await past_frames(server)
        server.most_rows = 3 * 781 + 10
        server.requests.clear()
        parts = await past_frames(server)
        rights = [r.query.get("right") for r in server.asked("history/quote")]
        assert rights[0] is None
        assert sorted(rights[1:]) == ["call", "put"]
        assert len(parts) == len(whole)
        for joined, other in zip(parts, whole, strict=True):
            assert joined.bid.tobytes() == other.bid.tobytes()
            assert joined.volume.tobytes() == other.volume.tobytes()
        server.most_rows = 100
        [refusal] = await past_frames(server)
        assert "too large to send (answer 570)" in str(refusal)


async def test_many_contracts_are_asked_for_apart_at_once(monkeypatch):
    """Where the open interest shows that it would be too large: no request in vain."""
    monkeypatch.setattr(past, "SPLIT_ROWS", 6 * 780 - 1)
    async with ThetaVendor() as server:
        server.put(*minutes(2))
        await past_frames(server)
        assert sorted(r.query["right"] for r in server.asked("history/quote")) == ["call", "put"]


def traded(after: float, size: int, price: float, condition: int = 18, right: int = 1) -> Print:
    """A print of the 7700 contract so many seconds after the open, quoted 1.00 at 1.20."""
    moment = FIRST + timedelta(seconds=after)
    return Print(7700.0, right, moment, size, price, 1.0, 1.2, condition)


async def test_prints_tell_the_sides():
    """Standard: each against its own quote; legs, cancels, and what trades on a slot's edge."""
    async with ThetaVendor() as server:
        server.put(*minutes(63))
        server.prints["SPX"] = [
            traded(1, 5, 1.2),
            traded(29.9, 3, 1.0),
            traded(30, 7, 1.2),
            traded(40, 20, 1.2, 130),
            traded(70, 2, 1.2),
            traded(80, 2, 1.2, 40),
            traded(90.5, 4, 1.15, right=-1),
            # On the edge of two requests, which both include it.
            traded(1800, 11, 1.2),
            traded(1801, 100, 1.0, 19),
        ]
        got = await past_frames(server, plan="standard")
        assert len(server.asked("trade_quote")) == 13
    call = np.flatnonzero((got[0].strike == 7700) & (got[0].right > 0))[0]
    put = np.flatnonzero((got[0].strike == 7700) & (got[0].right < 0))[0]
    signed = [past_frame.signed_volume[call] for past_frame in got]
    # By hand: 5 − 3 before 09:30:30; 7 on it count to 09:31:00; a leg has none, 2 are cancelled.
    assert np.round(signed[:5], 9).tolist() == [0, 2, 9, 9, 9]
    assert (round(signed[60], 9), round(signed[61], 9), round(signed[-1], 9)) == (9, 20, 20)
    assert [round(past_frame.signed_volume[put], 9) for past_frame in got[3:5]] == [0, 2]
    assert (got[2].last[call], got[2].last_at[call]) == (1.2, FIRST.timestamp() + 40)
    # Without a print of its own a contract has the bars' last price.
    assert np.isfinite(got[2].last).all()
    other = got[0].strike != 7700
    assert (got[-1].signed_volume[other] == 0).all()


@pytest.mark.parametrize("plan", ["free", "value"])
async def test_without_the_plan_no_prints_are_asked_for(plan):
    """And sides stay unknown, not 0."""
    async with ThetaVendor() as server:
        server.put(*minutes(2))
        got = await past_frames(server, plan=plan)
        assert "option/history/trade_quote" not in paths(server)
        assert np.isnan(got[1].signed_volume).all()


@pytest.mark.parametrize("path", ["quote", "ohlc", "open_interest", "trade_quote"])
async def test_a_history_outside_the_plan_ends_the_run(path):
    """A sentence that names the plan: a second session would not go better."""
    async with ThetaVendor() as server:
        server.put(*minutes(2))
        server.refused = {f"option/history/{path}"}
        with pytest.raises(
            UsageError,
            match=f"theta answers that the plan is without option/history/{path}.*it needs Options",
        ):
            await past_frames(server, plan="pro")


async def test_a_session_that_fails_is_refused_and_the_next_one_goes_on():
    """A refusal in place of frames; the prints' failure ends the frames where it happens."""
    async with ThetaVendor() as server:
        server.put(*minutes(63))
        server.inject(status(404), when=lambda r: r.path.endswith("ohlc"), times=1)
        [refusal] = await past_frames(server)
        assert isinstance(refusal, ChainRefused)
        late = lambda r: r.path.endswith("trade_quote") and r.query["start_time"] == "10:30:00"  # noqa: E731
        server.inject(status(404), when=late)
        *got, refusal = await past_frames(server, plan="pro")
        assert isinstance(refusal, ChainRefused)
        assert (len(got), got[-1].quoted_at) == (121, FIRST + timedelta(hours=1))


async def test_no_such_session():
    """472 throughout: no frame, no refusal."""
    async with ThetaVendor() as server:
        assert await past_frames(server) == []


async def test_what_a_backfill_asks_for_is_said_before():
    """Requests as they are then sent, and rows."""
    async with ThetaVendor() as server:
        server.put(*minutes(2))
        for plan, requests in (("value", 5), ("standard", 18)):
            source = open_theta(server, plan=plan)
            text = await source.announce("SPX", [SESSION])
            assert server.requests == []
            assert f"{requests} requests for 1 sessions" in text
            async for _ in source.history("SPX", SESSION):
                pass
            assert len(server.requests) == requests
            server.requests.clear()
            await source.close()


# Whatever comes.


def mutated(body: bytes, dice: random.Random) -> bytes:
    """An answer with bytes, cells or lines changed."""
    lines = body.split(b"\n")
    kind = dice.randrange(6)
    if kind == 0:
        index = dice.randrange(len(body))
        return body[:index] + bytes([dice.randrange(256)]) + body[index + dice.randrange(3) :]
    if kind == 1:
        return body[: dice.randrange(len(body))]
    if kind == 2:
        line = dice.randrange(len(lines))
        cells = lines[line].split(b",")
        odd = [b"", b"nan", b"inf", b"-1", b"1e400", b"9" * 40, b"\xff", b'"', b"0", b"2026-08-19"]
        cells[dice.randrange(len(cells))] = dice.choice(odd)
        lines[line] = b",".join(cells)
        return b"\n".join(lines)
    if kind == 3:
        dice.shuffle(lines)
        return b"\n".join(lines)
    if kind == 4:
        return b"\n".join(line for line in lines if dice.random() < 0.7)
    return b"\n".join(line for line in lines for _ in range(dice.randrange(3)))


class Replayed:
    """A terminal that answers mutations of what another one has answered."""

    remote = False

    def __init__(self, bodies: dict[str, bytes], dice: random.Random) -> None:
        self.bodies, self.dice = bodies, dice

    async def ask(self, path, params, *, symbol, now):
        body = self.bodies.get(f"{path} {params['symbol']}")
        if body is None or self.dice.random() < 0.03:
            return None
        return mutated(body, self.dice) if self.dice.random() < 0.5 else body

    async def close(self) -> None:
        pass


async def fuzz(cases: int, seed: int) -> dict[str, int]:
    """Live chains and past sessions of mutated answers: how many became what."""
    async with ThetaVendor() as server:
        server.put(*minutes(3))
        server.prints["SPX"] = [traded(1, 5, 1.2), traded(40, 3, 1.0, 130), traded(50, 3, 1.0, 40)]
        server.packed = False
        bodies = {}
        source = open_theta(server, plan="standard")
        real = source._terminal.ask

        async def noted(path, params, **more):
            body = await real(path, params, **more)
            if body is not None:
                bodies[f"{path} {params['symbol']}"] = b"\n".join(body.split(b"\n")[:60])
            return body

        source._terminal.ask = noted
        await source.live("SPX", FIRST + timedelta(seconds=61))
        async for _ in source.history("SPX", SESSION):
            pass
        await source.close()
    dice = random.Random(seed)
    counts = {"frame": 0, "refused": 0}
    for case in range(cases):
        fresh = Theta(Replayed(bodies, dice), prints=True)
        if case % 4:
            try:
                got: list[object] = [await fresh.live("SPX", FIRST + timedelta(seconds=61))]
            except ChainRefused as refusal:
                got = [refusal]
        else:
            got = []
            async for outcome in fresh.history("SPX", SESSION):
                got.append(outcome)
                if len(got) == 4:
                    break
        for outcome in got:
            if isinstance(outcome, ChainRefused):
                assert len(str(outcome)) < 300
                counts["refused"] += 1
            else:
                assert isinstance(outcome, Frame)
                assert (outcome.strike > 0).all()
                counts["frame"] += 1
    return counts


async def test_no_answer_is_an_exception():
    """Some hundred mutated answers: a frame or a refusal each."""
    counts = await fuzz(300, seed=1)
    assert counts["frame"] > 50
    assert counts["refused"] > 20
