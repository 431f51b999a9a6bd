"""Cboe's delayed quotes: the format, every refusal, and manners towards the vendor."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest
from cboe_server import Answer, CboeServer, cboe_json, contract, from_frame, from_recorded

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused, NoHistory
from sampler.sources import cboe, http, open_source
from sampler.sources.cboe import Cboe
from sampler.sources.cboe_json import parse_chain
from storage.errors import UsageError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests.real_chains import schwab, volkit

NOW = datetime(2026, 8, 19, 14, 30, 22, tzinfo=UTC)
DAY = date(2026, 8, 19)
QUOTED = "2026-08-19T10:14:21"
NEW_YORK = ZoneInfo("America/New_York")


def option(strike: float = 7700, right: str = "C", **fields: Any) -> dict[str, Any]:
    return contract("SPXW", DAY, right, strike, **{"bid": 10.0, "ask": 10.4} | fields)


def spx(*options: Any, quoted_at: str = QUOTED, spot: float | None = 7710.15) -> dict[str, Any]:
    return cboe_json("SPX", spot, quoted_at, list(options) or [option(), option(right="P")])


def read(answer: Any, symbol: str = "SPX") -> Frame:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return parse_chain(body, symbol=symbol, now=NOW, delay_seconds=900)


def source(server: CboeServer, options: str = "") -> Cboe:
    return Cboe.open(f"{server.url}?pace=0&{options}")


async def refusal(feed: Cboe, symbol: str = "SPX") -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        await feed.live(symbol, NOW)
    return caught.value


@pytest.fixture
async def server() -> AsyncIterator[CboeServer]:
    async with CboeServer() as server:
        server.frames["SPX"] = spx()
        yield server


# The format


def test_every_field_lands_in_its_column() -> None:
    """Each column holds the field of the same meaning, and both clocks are kept."""
    frame = read(
        spx(
            option(
                7702.5,
                "P",
                bid=1.1,
                ask=1.3,
                last_trade_price=1.2,
                last_trade_time="2026-08-19T10:13:59",
                open_interest=345.0,
                volume=67.0,
                iv=0.1432,
            )
        )
    )
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPX", "cboe", 900)
    assert frame.quoted_at == datetime(2026, 8, 19, 14, 14, 21, tzinfo=UTC)
    assert frame.fetched_at == NOW
    assert frame.spot == 7710.15
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("SPXW", 7702.5, -1)
    assert frame.expirations == [DAY]
    assert (frame.bid[0], frame.ask[0], frame.last[0]) == (1.1, 1.3, 1.2)
    assert (frame.open_interest[0], frame.volume[0], frame.source_iv[0]) == (345, 67, 0.1432)
    assert frame.last_at[0] == datetime(2026, 8, 19, 14, 13, 59, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("root", ["SPX", "SPXW", "F", "AAPL1", "GOOGLE"])
def test_occ_symbols_are_read_with_and_without_padding(root: str, padded: bool) -> None:
    """Blanks between root and day do not change what a symbol says."""
    options = [contract(root, DAY, right, 0.5, padded=padded) for right in "CP"]
    options[1]["option"] = f" {options[1]['option']}  "
    frame = read(spx(*options, contract(root, date(2027, 12, 17), "C", 12345.678, padded=padded)))
    assert frame.root.tolist() == [root] * 3
    assert frame.right.tolist() == [1, -1, 1]
    assert frame.strike.tolist() == [0.5, 0.5, 12345.678]
    assert frame.expiry.tolist() == [DAY, DAY, date(2027, 12, 17)]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-08-19T10:14:21", datetime(2026, 8, 19, 14, 14, 21, tzinfo=UTC)),
        ("2026-08-19 10:14:21", datetime(2026, 8, 19, 14, 14, 21, tzinfo=UTC)),
        ("2026-01-14T10:14:21", datetime(2026, 1, 14, 15, 14, 21, tzinfo=UTC)),
        ("2026-08-19T14:14:21+00:00", datetime(2026, 8, 19, 14, 14, 21, tzinfo=UTC)),
    ],
)
def test_times_are_new_york_wall_clock_in_summer_and_winter(text: str, utc: datetime) -> None:
    """The quote time is New York's with the day's own offset, unless the text has one."""
    assert read(spx(quoted_at=text)).quoted_at == utc


def test_trade_times_take_each_days_own_offset_and_bad_ones_are_unknown() -> None:
    """Last trades of summer, winter and the change days are UTC seconds; what is no time is NaN."""
    texts = {
        "2026-08-19T10:14:21": datetime(2026, 8, 19, 14, 14, 21, tzinfo=UTC),
        "2026-01-14 10:14:21": datetime(2026, 1, 14, 15, 14, 21, tzinfo=UTC),
        "2026-03-08T20:15:00": datetime(2026, 3, 9, 0, 15, tzinfo=UTC),
        "2026-11-01T20:15:00.250": datetime(2026, 11, 2, 1, 15, tzinfo=UTC),
        **dict.fromkeys(
            [
                None,
                "",
                "now",
                17,
                "1969-12-31T19:00:00",
                "2026-13-40T99:00:00",
                "0000-01-01T00:00:00",
            ]
        ),
    }
    frame = read(spx(*[option(last_trade_time=text) for text in texts]))
    expected = [np.nan if utc is None else utc.timestamp() for utc in texts.values()]
    np.testing.assert_array_equal(frame.last_at, expected)


@pytest.mark.parametrize(
    "bad", [None, "abc", [], {}, True, "NaN", 10**400], ids=lambda bad: str(bad)[:8]
)
def test_a_number_that_is_none_is_nan_and_harms_no_other(bad: Any) -> None:
    """One odd value costs one contract one number, never the frame."""
    fields = ["bid", "ask", "last_trade_price", "open_interest", "volume", "iv"]
    others: dict[str, Any] = dict.fromkeys(fields, 2.0)
    frame = read(spx(*[option(**others | {name: bad}) for name in fields], option(**others)))
    table = np.column_stack(
        [frame.bid, frame.ask, frame.last, frame.open_interest, frame.volume, frame.source_iv]
    )
    expected = np.full((7, 6), 2.0)
    np.fill_diagonal(expected, 1.0 if bad is True else np.nan)
    np.testing.assert_array_equal(table, expected)


def test_missing_fields_are_nan() -> None:
    """A contract with nothing but its symbol is there, its numbers unknown."""
    frame = read(spx(option(bid=3.0), {"option": "SPXW260819P07700000"}))
    assert frame.right.tolist() == [1, -1]
    np.testing.assert_array_equal(frame.bid, [3.0, np.nan])
    assert np.isnan(frame.last_at).all()


def test_nan_literals_are_read() -> None:
    """A NaN or Infinity that JSON does not allow makes that number NaN, not the answer bad."""
    body = json.dumps(spx(option(bid=float("nan"), ask=float("inf"), volume=5.0))).encode()
    assert b"NaN" in body
    frame = read(body)
    assert np.isnan([frame.bid[0], frame.ask[0]]).all()
    assert frame.volume[0] == 5


@pytest.mark.parametrize("price", [None, 0, -1.5, "n/a", float("nan")])
def test_a_spot_that_is_none_is_nan(price: Any) -> None:
    """Without a price of the underlying the frame stands, so that parity can give one."""
    frame = read(spx(spot=price))
    assert np.isnan(frame.spot)
    assert len(frame.strike) == 2


def test_unreadable_contracts_are_counted_by_the_chain() -> None:
    """A bad OCC symbol is dropped from today's chain by reason, and its neighbours are not."""
    fields: dict[str, Any] = {"open_interest": 1.0}
    bad = [
        "SPXW260819X07700000",  # no such right
        "SPXW269999C07700000",  # no such day
        "SPXW2608é9C07700000",
        "SPXW260819C077000A0",  # no such strike
        "NOT-A-SYMBOL",
        "",
        None,
        5,
    ]
    options = [option(**fields) | {"option": text} for text in bad]
    frame = read(spx(option(**fields), *options, "no object", option(right="P", **fields)))
    chain = select_chain(frame, session_on(DAY))
    assert chain.listed.sum() == 2
    assert chain.dropped == {"bad_strike": 6, "bad_right": 3}
    assert frame.expirations == [DAY]


def test_a_frame_survives_the_format() -> None:
    """A frame made into an answer and read again has the same columns."""
    frame = read(
        spx(option(last_trade_time=QUOTED, iv=0.2, volume=4.0), option(right="P", bid=None))
    )
    again = read(from_frame(frame))
    for name in ("root", "expiry", "strike", "right", "bid", "ask", "last", "last_at", "volume"):
        np.testing.assert_array_equal(getattr(again, name), getattr(frame, name))
    assert (again.quoted_at, again.spot) == (frame.quoted_at, frame.spot)


def test_real_chains_keep_their_values() -> None:
    """A real chain in Cboe's format parses to the numbers of the recording, each of them."""
    for chain in (volkit(), schwab()):
        keeps_its_values(chain.compact())


@pytest.mark.parametrize("name", ["SPX", "SPY", "QQQ"])
def test_recorded_chains_keep_their_values(name: str, shared: Path) -> None:
    """An extra: the same of Cboe's own chains."""
    for path in sorted((shared / "chains" / name).iterdir())[::2]:
        keeps_its_values(json.loads(path.read_bytes()))


def keeps_its_values(chain: dict[str, Any]) -> None:
    """Assert that each number of a compact chain comes through Cboe's format."""
    frame = read(orjson.dumps(from_recorded(chain)), chain["sym"])
    assert frame.spot == chain["spot"]
    wall = datetime.fromisoformat(chain["asof"]).replace(tzinfo=NEW_YORK)
    assert frame.quoted_at == wall
    columns = {
        "strike": "k", "bid": "b", "ask": "a", "last": "l",
        "open_interest": "oi", "volume": "v", "source_iv": "iv",
    }  # fmt: skip
    for column, key in columns.items():
        expected = [float(o[key]) for o in chain["o"]]
        np.testing.assert_array_equal(getattr(frame, column), expected)
    assert frame.right.tolist() == [1 if o["t"] == "C" else -1 for o in chain["o"]]
    seconds = frame.expiry.astype("datetime64[s]").astype(int) + 20 * 3600
    assert seconds.tolist() == [o["e"] for o in chain["o"]]


def test_the_third_fridays_morning_twins_are_told_apart(shared: Path) -> None:
    """On a third Friday the answer has SPX and SPXW roots, and the chain drops the former."""
    path = shared / "chains/SPX/SPX_2026-07-17T103256.json"
    frame = read(from_recorded(json.loads(path.read_bytes())))
    chain = select_chain(frame, session_on(date(2026, 7, 17)))
    assert chain.dropped["am_settled"] > 400
    assert chain.open_interest.sum() < 1_000_000


# Answers that are no chain


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (orjson.dumps(spx())[:400], "no JSON"),
        (b"", "nothing"),
        (b"<!DOCTYPE html><html><body>Just a moment...</body></html>", "<!DOCTYPE html>"),
        (b"\xff\xfe\x00\x01", "no JSON"),
        (b"[" * 100_000 + b"NaN", "no JSON"),
        (b"[]", "data.options"),
        (b"null", "data.options"),
        (b'"text"', "data.options"),
        (b"{}", "data.options"),
        (b'{"data": null}', "data.options"),
        (b'{"data": {"options": null}}', "data.options"),
        (b'{"data": {"options": {"a": 1}}}', "data.options"),
        (b'{"data": {"options": []}}', "no option"),
        (b'{"data": {"options": [1, null, "x"]}}', "no option"),
    ],
    ids=str,
)
def test_what_is_no_chain_is_refused(body: bytes, says: str) -> None:
    """Whatever is not an answer of this format is a bad answer, in words."""
    with pytest.raises(ChainRefused, match=says) as caught:
        read(body)
    assert caught.value.reason is Reason.BAD_ANSWER


@pytest.mark.parametrize(
    "quoted", [None, "", "yesterday", "2026-08-19", 20260819, [], "9999-12-31T23:59:59"]
)
def test_an_answer_without_quote_time_is_refused(quoted: Any) -> None:
    """The time of the quotes is never guessed."""
    answer = spx()
    answer["data"]["last_trade_time"] = quoted
    with pytest.raises(ChainRefused, match="last_trade_time") as caught:
        read(answer)
    assert caught.value.reason is Reason.BAD_ANSWER
    del answer["data"]["last_trade_time"]
    with pytest.raises(ChainRefused, match="last_trade_time"):
        read(answer)


def test_another_symbols_answer_is_refused() -> None:
    """An answer is taken for the symbol it names only, however that is spelled."""
    with pytest.raises(ChainRefused, match="'_SPX'") as caught:
        read(spx(), "NDX")
    assert caught.value.reason is Reason.BAD_ANSWER
    named = cboe_json("BRK/B", 500.0, QUOTED, [contract("BRKB", DAY, "C", 500)])
    assert read(named, "BRK.B").spot == 500


# Over the network


async def test_indexes_are_asked_for_under_an_underscore(server: CboeServer) -> None:
    """SPX is _SPX.json and SPY is SPY.json."""
    server.frames["SPY"] = cboe_json("SPY", 768.0, QUOTED, [contract("SPY", DAY, "C", 768)])
    feed = source(server)
    assert (await feed.live("SPX", NOW)).spot == 7710.15
    assert (await feed.live("SPY", NOW)).spot == 768
    await feed.close()
    assert [r.path for r in server.requests] == ["/options/_SPX.json", "/options/SPY.json"]


async def test_requests_say_who_asks_over_one_connection(server: CboeServer) -> None:
    """User-Agent names the project, gzip is accepted, and the connection is used again."""
    feed = source(server)
    for bid in range(3):
        server.frames["SPX"] = spx(option(bid=float(bid)))
        assert (await feed.live("SPX", NOW)).bid[0] == bid
    server.frames["SPX"] = spx(option(bid=2.0))
    assert (await refusal(feed)).reason is Reason.UNCHANGED
    server.frames["SPX"] = spx(option(bid=4.0))
    await feed.live("SPX", NOW)
    await feed.close()
    agent = server.requests[0].headers["user-agent"]
    assert agent.startswith("zerodte-flow/")
    assert "self-hosted sampler" in agent
    assert server.requests[0].headers["accept-encoding"] == "gzip"
    assert len({r.port for r in server.requests}) == 1
    assert len(server.requests) == 5


async def test_large_answers_are_read_beside_the_loop(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large answer is read in a thread, a small one is not, and both give the same frame."""
    threads = []

    def noted(body: bytes, **facts: Any) -> Frame:
        threads.append(threading.current_thread() is threading.main_thread())
        return parse_chain(body, **facts)

    monkeypatch.setattr(cboe, "parse_chain", noted)
    feed = source(server)
    small = await feed.live("SPX", NOW)
    server.frames["SPX"] = orjson.dumps(spx()) + b" " * cboe.THREAD_FROM
    large = await feed.live("SPX", NOW)
    await feed.close()
    assert threads == [True, False]
    np.testing.assert_array_equal(large.strike, small.strike)
    assert large.quoted_at == small.quoted_at


async def test_an_unchanged_answer_is_told_by_a_304(server: CboeServer) -> None:
    """The ETag of the frame delivered goes out with the next request; a 304 means unchanged."""
    feed = source(server)
    await feed.live("SPX", NOW)
    assert (await refusal(feed)).reason is Reason.UNCHANGED
    await feed.close()
    assert "if-none-match" not in server.requests[0].headers
    assert server.requests[1].headers["if-none-match"].startswith('"')


async def test_last_modified_is_asked_with_where_there_is_no_etag(server: CboeServer) -> None:
    """If-Modified-Since carries the feed's own text back, and the same body again is a frame."""
    when = "Wed, 19 Aug 2026 14:30:22 GMT"
    server.frames["SPX"] = Answer(200, {"Last-Modified": when}, orjson.dumps(spx()))
    feed = source(server)
    first, second = await feed.live("SPX", NOW), await feed.live("SPX", NOW)
    await feed.close()
    assert server.requests[1].headers["if-modified-since"] == when
    assert "if-none-match" not in server.requests[1].headers
    np.testing.assert_array_equal(first.volume, second.volume)


async def test_a_304_nobody_asked_for_is_no_frame_withheld(server: CboeServer) -> None:
    """Before anything was delivered nothing can be unchanged: the source is down."""
    server.frames["SPX"] = Answer(304)
    feed = source(server)
    assert (await refusal(feed)).reason is Reason.SOURCE_DOWN
    await feed.close()


async def test_a_fresh_answer_is_not_asked_for_again(server: CboeServer) -> None:
    """Until max-age less Age has passed there is no request, for this symbol only."""
    server.frames["NDX"] = cboe_json("NDX", 1.0, QUOTED, [contract("NDXP", DAY, "C", 1)])
    server.headers = {"Cache-Control": "public, max-age=30", "Age": "10"}
    feed = source(server)
    await feed.live("SPX", NOW)
    refused = await refusal(feed)
    assert refused.reason is Reason.UNCHANGED
    assert "20 s" in str(refused)
    await feed.live("NDX", NOW)
    await feed.close()
    assert [r.symbol for r in server.requests] == ["SPX", "NDX"]


async def test_freshness_ends(server: CboeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old answer is asked for at once, one about to expire when it has, and none after 60 s."""
    server.headers = {"Cache-Control": "max-age=60", "Age": "75"}
    feed = source(server)
    await feed.live("SPX", NOW)
    server.headers = {"Cache-Control": "max-age=1"}
    server.frames["SPX"] = spx(option())
    await feed.live("SPX", NOW)
    server.headers = {"Cache-Control": "max-age=86400"}
    server.frames["SPX"] = spx(option(right="P"))
    await feed.live("SPX", NOW)
    assert server.requests[2].arrived - server.requests[1].arrived >= 0.95
    assert "60 s" in str(await refusal(feed))
    await feed.close()
    assert len(server.requests) == 3


async def test_a_304_renews_freshness(server: CboeServer) -> None:
    """The headers of a 304 count as those of an answer do."""
    feed = source(server)
    await feed.live("SPX", NOW)
    server.headers = {"Cache-Control": "max-age=30"}
    for _ in range(2):
        assert (await refusal(feed)).reason is Reason.UNCHANGED
    await feed.close()
    assert len(server.requests) == 2


async def test_an_answer_that_made_no_frame_is_asked_for_in_full(server: CboeServer) -> None:
    """A bad answer leaves no ETag and no max-age behind, and an older ETag is still used."""
    server.headers = {"Cache-Control": "max-age=30"}
    server.frames["SPX"] = b"<html>"
    feed = source(server)
    for _ in range(2):
        assert (await refusal(feed)).reason is Reason.BAD_ANSWER
    server.headers = {}
    server.frames["SPX"] = spx()
    await feed.live("SPX", NOW)
    server.answer = lambda symbol: Answer(404)
    assert (await refusal(feed)).reason is Reason.SOURCE_DOWN
    server.answer = lambda symbol: None
    assert (await refusal(feed)).reason is Reason.UNCHANGED
    await feed.close()
    assert len(server.requests) == 5
    assert "if-none-match" not in server.requests[2].headers


async def test_gzip_that_is_broken_is_a_bad_answer(server: CboeServer) -> None:
    """Garbage for gzip, and gzip cut short, are bad answers; neither is asked for twice."""
    packed = gzip.compress(orjson.dumps(spx(*[option(k) for k in range(5000, 9000, 5)])))
    feed = source(server)
    for body in (b"no gzip at all", packed[: len(packed) // 2]):
        server.frames["SPX"] = Answer(200, {"Content-Encoding": "gzip"}, body)
        assert (await refusal(feed)).reason is Reason.BAD_ANSWER
    server.frames["SPX"] = Answer(200, {"Content-Encoding": "gzip"}, packed)
    assert len((await feed.live("SPX", NOW)).strike) == 800
    await feed.close()
    assert len(server.requests) == 3


async def test_an_endless_answer_is_cut(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that unpacks beyond the limit is refused before it fills the memory."""
    monkeypatch.setattr(http, "BODY_LIMIT", 1_000_000)
    packed = gzip.compress(b" " * 5_000_000)
    server.frames["SPX"] = Answer(200, {"Content-Encoding": "gzip"}, packed)
    feed = source(server)
    refused = await refusal(feed)
    await feed.close()
    assert refused.reason is Reason.BAD_ANSWER
    assert "1,000,000 bytes" in str(refused)


async def test_an_encoding_that_was_not_asked_for(server: CboeServer) -> None:
    """Only gzip is asked for: 1 kB of brotli that unpacks to gigabytes is not unpacked at all."""
    server.frames["SPX"] = Answer(200, {"Content-Encoding": "br"}, b"\x1b\x00\x00")
    feed = source(server)
    refused = await refusal(feed)
    await feed.close()
    assert refused.reason is Reason.BAD_ANSWER
    assert "'br'" in str(refused)


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "forbids"), (404, "no such symbol"), (400, "refused"), (301, "refused")],
)
async def test_errors_that_stay_are_not_asked_for_again(
    server: CboeServer, status: int, says: str
) -> None:
    """A client error is final: one request, and the reason in words."""
    server.frames["SPX"] = Answer(status)
    feed = source(server)
    refused = await refusal(feed)
    await feed.close()
    assert refused.reason is Reason.SOURCE_DOWN
    assert says in str(refused)
    assert str(status) in str(refused)
    assert len(server.requests) == 1


async def test_an_error_that_passes_is_got_over(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice 503 and then a frame, with waits that double, is a frame."""
    monkeypatch.setattr(http, "BACK_OFF", 0.2)
    server.answer = lambda symbol: Answer(503) if len(server.requests) < 3 else None
    feed = source(server)
    assert (await feed.live("SPX", NOW)).spot == 7710.15
    await feed.close()
    first, second = (b.arrived - a.arrived for a, b in pairwise(server.requests))
    assert first >= 0.1
    assert second >= 0.2
    assert first + second < 1.5


async def test_errors_end_with_the_budget(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers errors only is down once the budget is used up, and says why."""
    monkeypatch.setattr(http, "BACK_OFF", 0.05)
    server.frames["SPX"] = Answer(500)
    feed = source(server, "budget=0.5")
    begin = time.monotonic()
    refused = await refusal(feed)
    await feed.close()
    assert time.monotonic() - begin < 0.9
    assert refused.reason is Reason.SOURCE_DOWN
    assert "answered 500" in str(refused)
    assert len(server.requests) > 2


async def test_retry_after_is_kept(server: CboeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 is asked again after the time it names, and not at all if that is beyond the budget."""
    monkeypatch.setattr(http, "BACK_OFF", 0.01)
    busy = Answer(429, {"Retry-After": "1"})
    server.answer = lambda symbol: busy if len(server.requests) == 1 else None
    feed = source(server, "budget=3")
    await feed.live("SPX", NOW)
    assert server.requests[1].arrived - server.requests[0].arrived >= 1
    server.answer = lambda symbol: Answer(429, {"Retry-After": "3600"})
    begin = time.monotonic()
    refused = await refusal(feed)
    await feed.close()
    assert time.monotonic() - begin < 0.5
    assert refused.reason is Reason.SOURCE_DOWN
    assert "429" in str(refused)


async def test_a_slow_symbol_is_down_in_time_and_holds_up_no_other(server: CboeServer) -> None:
    """A server that hangs costs one symbol its budget, while another is answered at once."""
    server.frames["NDX"] = Answer(200, {}, orjson.dumps(spx()), delay=3.0)
    feed = source(server, "timeout=0.3&budget=0.8")
    begin = time.monotonic()

    async def other() -> float:
        await feed.live("SPX", NOW)
        return time.monotonic() - begin

    refused, taken = await asyncio.gather(refusal(feed, "NDX"), other())
    await feed.close()
    assert time.monotonic() - begin < 1.5
    assert refused.reason is Reason.SOURCE_DOWN
    assert "in time" in str(refused)
    assert taken < 0.6


async def test_a_body_that_never_ends_is_down_in_time(server: CboeServer) -> None:
    """Headers and then silence is a time-out too, not a wait for ever."""
    server.frames["SPX"] = Answer(200, {"Content-Length": "100000"}, b'{"timestamp"')
    feed = source(server, "timeout=5&budget=0.4")
    begin = time.monotonic()
    assert (await refusal(feed)).reason is Reason.SOURCE_DOWN
    await feed.close()
    assert time.monotonic() - begin < 1.0


async def test_a_server_that_is_gone_is_down_until_it_is_back(server: CboeServer) -> None:
    """Refused connections are source_down; when the server is back the next frame comes."""
    feed = source(server, "budget=0.4")
    await feed.live("SPX", NOW)
    server.stop()
    refused = await refusal(feed)
    assert refused.reason is Reason.SOURCE_DOWN
    assert "cannot be reached" in str(refused)
    server.start()
    server.frames["SPX"] = spx(option())
    assert len((await feed.live("SPX", NOW)).strike) == 1
    await feed.close()


async def test_a_server_that_is_back_within_the_budget_costs_nothing(server: CboeServer) -> None:
    """A connection refused at first is tried again, and the frame comes."""
    server.stop()
    asyncio.get_running_loop().call_later(0.2, server.start)
    feed = source(server, "budget=5")
    assert (await feed.live("SPX", NOW)).spot == 7710.15
    await feed.close()


async def test_a_loopback_base_is_reached_past_a_proxy(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment is for the vendor's server, not for this machine's own."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    feed = source(server, "budget=1")
    assert (await feed.live("SPX", NOW)).spot == 7710.15
    await feed.close()


@pytest.mark.clocked
async def test_requests_keep_their_distance(server: CboeServer) -> None:
    """However many symbols are asked for at once, requests start ``pace`` apart."""
    symbols = ["SPX", "NDX", "RUT", "VIX"]
    for symbol in symbols:
        server.frames[symbol] = cboe_json(symbol, 1.0, QUOTED, [contract(symbol, DAY, "C", 1)])
    feed = Cboe.open(f"{server.url}?pace=0.15")
    await asyncio.gather(*(feed.live(symbol, NOW) for symbol in symbols))
    await feed.close()
    assert server.requests[-1].arrived - server.requests[0].arrived > 0.4
    assert min(b.arrived - a.arrived for a, b in pairwise(server.requests)) > 0.05


# As a source


def test_a_source_is_opened_outside_a_loop() -> None:
    """Opening touches no network and no loop; the declared facts are there at once."""
    feed = open_source("cboe:")
    assert isinstance(feed, Cboe)
    assert (feed.name, feed.delay_seconds, feed.synthetic) == ("cboe", 900, False)
    assert (feed.remote, feed.http.pace, feed.http.timeout, feed.http.budget) == (True, 0.2, 8, 12)
    assert feed.http.base == "https://cdn.cboe.com/api/global/delayed_quotes/options"
    local = Cboe.open("http://127.0.0.1:8000/path/?delay=60&pace=1.5&timeout=3&budget=20")
    assert (local.http.base, local.remote) == ("http://127.0.0.1:8000/path", False)
    assert (local.delay_seconds, local.http.pace, local.http.timeout, local.http.budget) == (
        60,
        1.5,
        3,
        20,
    )


@pytest.mark.parametrize(
    ("base", "remote"),
    [("localhost:1", False), ("[::1]:1", False), ("10.0.0.7", True), ("127.0.0.1.example", True)],
)
def test_only_loopback_is_not_remote(base: str, remote: bool) -> None:
    """A base on this machine is what a simulated clock may be used with."""
    assert Cboe.open(f"http://{base}/x").remote is remote


@pytest.mark.parametrize(
    "rest",
    [
        "?speed=1",
        "?pace=-1",
        "?pace=nan",
        "?timeout=0",
        "?budget=soon",
        "?delay=-5",
        "ftp://127.0.0.1/x",
        "127.0.0.1:8000",
        "http://",
        "http://127.0.0.1:port/",
    ],
)
def test_a_url_that_makes_no_sense_is_a_usage_error(rest: str) -> None:
    """Unknown options, values out of bounds and bases that are no URL are told at the start."""
    with pytest.raises(UsageError):
        Cboe.open(rest)


def test_there_is_no_history() -> None:
    """A past session cannot be had, and that is said at once."""
    session = session_on(DAY)
    assert session is not None
    with pytest.raises(NoHistory, match="keeps no history"):
        Cboe.open("").history("SPX", session)
    assert Cboe.open("").newest("SPX") is None


async def test_closing_without_use_is_harmless() -> None:
    """A source that never fetched has nothing to close."""
    await Cboe.open("").close()


MIDDAY = datetime(2026, 8, 19, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prints", "answered", "quoted"),
    [
        # Prints a little ahead of the underlying's last trade are no freeze.
        ([10, 12, 15, 19], 0, 0),
        # The quotes move to the newest time that three contracts agree on; one wrong time is ignored.
        ([500, 5, 5, 5], 0, 0),
        ([500, 25, 26, 27], 0, 26),
        # Prints after the fetch are no evidence.
        ([5000, 5001, 5002, 5], 0, 0),
        # An answer of a living feed is up to a minute ahead; two minutes are a freeze.
        ([5, 5, 5], 119, 0),
        ([5, 5, 5], 120, 120),
        # Where prints show a freeze the answer's own time counts too, but none that lies ahead.
        ([30, 31, 32], 45, 45),
        ([30, 31, 32], 5000, 30),
        ([], 200, 200),
    ],
)
def test_quotes_are_as_new_as_their_newest_evidence(prints, answered, quoted):
    """Seconds after the index's own last trade at 12:00; fetched 1,200 seconds after it."""
    contracts = [contract("SPXW", MIDDAY.date(), "C", 8000.0)]
    for i, seconds in enumerate(prints):
        traded = datetime(2026, 8, 19, 12) + timedelta(seconds=seconds)
        contracts.append(
            contract("SPXW", MIDDAY.date(), "C", 7700.0 + i, last_trade_time=traded.isoformat())
        )
    body = cboe_json("SPX", 7700.0, "2026-08-19T12:00:00", contracts)
    sent = MIDDAY + timedelta(seconds=answered + 900)
    body["timestamp"] = sent.strftime("%Y-%m-%d %H:%M:%S")
    fetched = MIDDAY + timedelta(seconds=1200)
    parsed = parse_chain(orjson.dumps(body), symbol="SPX", now=fetched, delay_seconds=900)
    assert parsed.quoted_at == MIDDAY + timedelta(seconds=quoted)
    assert parsed.underlying_at == MIDDAY
