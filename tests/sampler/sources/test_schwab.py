"""Schwab's chains: the format, the login and its renewal, and every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import lzma
import math
import random
import stat
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused, NoHistory
from sampler.sources import http
from sampler.sources.schwab.parse import parse_schwab_chain
from sampler.sources.schwab.source import Schwab
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests.chains import frame
from tests.real_chains import DATA
from tests.vendors.same_row import measured_rows, real_sessions, through_cboe
from tests.vendors.schwab import (
    APP_KEY,
    APP_SECRET,
    SchwabVendor,
    schwab_answer,
    schwab_contract,
    schwab_json,
    write_token_file,
)
from tests.vendors.server import (
    FIREWALL,
    Answer,
    Fault,
    cut,
    empty,
    html,
    slow,
    status,
    unpacked,
)
from tests.vendors.session import PATIENCE_IN_TROUBLE, play_session

#: 10:14:30 New York.
AT = datetime(2026, 8, 19, 14, 14, 30, tzinfo=UTC)
NOW = AT + timedelta(seconds=1)
MS = int(AT.timestamp() * 1000)
DAY = date(2026, 8, 19)
RECORDED = DATA / "schwab/chains_SPX_0dte_2024-10-15.json.xz"


def contract(strike: float = 7700, right: int = 1, root: str = "SPXW", **fields: Any) -> dict:
    quote = {"bid": 10.0, "ask": 10.4, "openInterest": 5, "totalVolume": 7}
    return schwab_contract(root, DAY.isoformat(), right, strike, quoted_at=MS, **quote | fields)


def answer(*contracts: Any, spot: float | None = 7710.15, **fields: Any) -> dict[str, Any]:
    listed = list(contracts) or [contract(), contract(right=-1)]
    return schwab_json("$SPX", spot, listed, **fields)


def read(document: Any, symbol: str = "SPX", now: datetime = NOW) -> Frame:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_schwab_chain(body, symbol=symbol, now=now)


def refused(document: Any, symbol: str = "SPX") -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        read(document, symbol)
    assert str(caught.value).startswith(f"{symbol}: schwab ")
    return caught.value


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SchwabVendor]:
    async with SchwabVendor() as server:
        server.put(frame(quoted_at=AT))
        yield server


@pytest.fixture(autouse=True)
def _no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """``http`` tries again; its own tests show that. Here the first answer is the last."""
    monkeypatch.setattr(http, "BACK_OFF", 60.0)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A login of two days ago; its access token lasts for 25 minutes more."""
    path = tmp_path / "token.json"
    path.write_bytes(b"")
    path.chmod(0o644)
    return login(path)


def login(path: Path, *, days: float = 2.0, left: float = 1500.0, **tokens: str) -> Path:
    """Write the token file of a login of some days ago."""
    now = NOW.timestamp()
    return write_token_file(path, login_at=now - days * 86_400, ends_at=now + left, **tokens)


def keys(path: Path, secret: str = APP_SECRET) -> VendorKeys:
    return VendorKeys.read(
        {
            "FLOW_SCHWAB_TOKEN_FILE": str(path),
            "FLOW_SCHWAB_APP_KEY": APP_KEY,
            "FLOW_SCHWAB_APP_SECRET": secret,
        }
    )


@pytest.fixture
async def source(server: SchwabVendor, tokens: Path) -> AsyncIterator[Schwab]:
    source = Schwab.open(f"{server.url}?pace=0&timeout=10&budget=10", keys(tokens))
    yield source
    await source.close()


async def live_refusal(source: Schwab, symbol: str = "SPX", now: datetime = NOW) -> str:
    with pytest.raises(ChainRefused) as caught:
        await source.live(symbol, now)
    assert caught.value.reason is Reason.SOURCE_DOWN
    words = str(caught.value)
    assert words.startswith(f"{symbol}: schwab ")
    for secret in ("access-", "refresh-", APP_SECRET):
        assert secret not in words
    return words


# The format


def test_a_recorded_answer_is_read() -> None:
    """Figures read by eye from the answer of 2024-10-15, 11:15:56 New York."""
    now = datetime(2024, 10, 15, 15, 15, 58, tzinfo=UTC)
    got = read(lzma.decompress(RECORDED.read_bytes()), now=now)
    assert (got.symbol, got.source, got.delay_seconds) == ("SPX", "schwab", 0)
    assert got.quoted_at == datetime(2024, 10, 15, 15, 15, 56, 560_000, tzinfo=UTC)
    assert (got.spot, got.underlying_at, got.fetched_at) == (5843.81, None, now)
    assert got.expirations == [date(2024, 10, 15)]
    assert got.strike.tolist() == [5820.0 + 5 * i for i in range(10)] * 2
    assert got.right.tolist() == [1] * 10 + [-1] * 10
    assert set(got.root) == {"SPXW"}
    assert (got.bid[0], got.ask[0], got.last[0]) == (25.3, 27.2, 25.5)
    assert (got.volume[0], got.open_interest[0], got.last_at[0]) == (835, 445, 1729005339.933)
    assert got.source_iv[0] == pytest.approx(0.15237)
    assert (got.bid[19], got.ask[19], got.last[19]) == (21.7, 23.7, 23.53)
    assert (got.volume[19], got.open_interest[19]) == (7545, 1661)
    assert np.isnan(got.signed_volume).all()
    chain = select_chain(got, session_on(date(2024, 10, 15)))
    assert (chain.strike.size, chain.dropped) == (10, {})


def test_missing_numbers_are_unknown() -> None:
    """Schwab's -999, null and texts become NaN; a zero bid beside an ask is a price."""
    odd = contract(bid=-999.0, ask=-999.0, last=-999.0, openInterest=-999, totalVolume=None)
    got = read(answer(contract(), odd | {"volatility": -999.0}, contract(7800, bid=0, ask=0.05)))
    for name in ("bid", "ask", "last", "open_interest", "volume", "source_iv"):
        assert math.isnan(getattr(got, name)[1]), name
    assert (got.bid[2], got.ask[2]) == (0.0, 0.05)


def test_a_contract_that_nobody_quotes_has_no_quote() -> None:
    """A bid and an ask of 0 are no prices."""
    got = read(answer(contract(), contract(7800, bid=0, ask=0)))
    assert np.isnan([got.bid[1], got.ask[1]]).all()


@pytest.mark.parametrize(
    ("wall", "last", "volume"),
    [
        ("2026-08-19T14:14:00+00:00", 10.2, 7),  # today
        ("2026-08-19T04:00:00+00:00", 10.2, 7),  # midnight in New York
        ("2026-08-19T03:59:59+00:00", None, 7),  # the evening before, in the session of today
        ("2026-08-18T20:00:00+00:00", None, 0),  # yesterday's close
        ("2026-08-05T15:00:00+00:00", None, 0),
    ],
)
def test_a_trade_of_an_earlier_session_is_none_of_today(
    wall: str, last: float | None, volume: float
) -> None:
    """What last traded before the evening that begins this session has traded nothing in it."""
    traded = int(datetime.fromisoformat(wall).timestamp() * 1000)
    got = read(answer(contract(last=10.2, tradeTimeInLong=traded)))
    assert got.volume[0] == volume
    if last is None:
        assert math.isnan(got.last[0])
        assert math.isnan(got.last_at[0])
    else:
        assert (got.last[0], got.last_at[0]) == (last, traded / 1000)


def test_a_trade_in_the_future_has_no_time() -> None:
    """A time over a minute ahead of the request is none; the price and the volume stay."""
    got = read(answer(contract(last=10.2, tradeTimeInLong=MS + 3_600_000)))
    assert math.isnan(got.last_at[0])
    assert (got.last[0], got.volume[0]) == (10.2, 7)


def test_two_roots_in_one_strike_stay_apart() -> None:
    """On a third Friday a strike lists SPX, settled in the morning, and SPXW; the former is dropped."""
    got = read(answer(*(contract(right=r, root=root) for r in (1, -1) for root in ("SPX", "SPXW"))))
    assert got.root.tolist() == ["SPX", "SPXW"] * 2
    chain = select_chain(got, session_on(DAY))
    assert (chain.listed.sum(), chain.dropped) == (2, {"am_settled": 2})


def test_the_root_stands_in_the_occ_symbol_too() -> None:
    """A contract without ``optionRoot`` has its root in its symbol."""
    assert read(answer(contract() | {"optionRoot": None})).root.tolist() == ["SPXW"]


@pytest.mark.parametrize(
    "fields", [{"nonStandard": True}, {"multiplier": 10}, {"multiplier": 105.0}]
)
def test_contracts_of_other_shares_are_dropped_and_counted(fields: dict[str, Any]) -> None:
    """An adjusted or mini contract would count with a wrong number of shares."""
    got = read(answer(contract(), contract(7800, **fields)))
    assert (got.strike.tolist(), got.dropped) == ([7700.0], {"adjusted": 1})


def test_a_delayed_answer_says_so() -> None:
    """``isDelayed`` is a delay of 15 minutes, of this frame alone."""
    assert read(answer(isDelayed=True)).delay_seconds == 900
    assert read(answer()).delay_seconds == 0


def test_the_quotes_time_is_the_newest_two_sided_quotes() -> None:
    """A quote with one side, a time of 0 and a time far ahead do not count."""
    got = read(
        answer(
            contract(quoteTimeInLong=MS - 5000),
            contract(7705, quoteTimeInLong=MS - 2000),
            contract(7710, quoteTimeInLong=MS, ask=0),
            contract(7712, quoteTimeInLong=MS, bid=0),
            contract(7715, quoteTimeInLong=0),
            contract(7720, quoteTimeInLong=MS + 90_000),
        )
    )
    assert got.quoted_at == AT - timedelta(seconds=2)


def test_an_underlyings_quote_has_price_and_time() -> None:
    """``underlyingPrice`` is the price; the quote beside it has the time, and a price if need be."""
    quote = {
        "symbol": "$SPX",
        "mark": 7711.0,
        "last": 7712.0,
        "quoteTime": MS - 700,
        "tradeTime": 1,
    }
    got = read(answer(underlying=quote))
    assert (got.spot, got.underlying_at) == (7710.15, AT - timedelta(milliseconds=700))
    assert read(answer(underlying=quote, underlyingPrice=-999.0)).spot == 7711.0
    assert math.isnan(read(answer(spot=None)).spot)


def test_a_contract_in_the_wrong_map_has_no_right() -> None:
    """A put among the calls is counted as unreadable, not guessed."""
    document = answer()
    document["callExpDateMap"][f"{DAY}:0"]["7700.0"][0]["putCall"] = "PUT"
    chain = select_chain(read(document), session_on(DAY))
    assert chain.dropped == {"bad_right": 1}


def test_a_contract_of_an_unreadable_day_is_counted() -> None:
    """The key of its expiry is the only day there is."""
    document = answer()
    document["putExpDateMap"] = {"soon": document["putExpDateMap"][f"{DAY}:0"]}
    assert select_chain(read(document), session_on(DAY)).dropped == {"bad_right": 1}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "answered nothing"),
        (b"<html>Access Denied", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        ([], "without callExpDateMap"),
        ({"symbol": "$SPX", "status": "SUCCESS"}, "without callExpDateMap"),
        (answer() | {"symbol": "$NDX"}, "for '$NDX'"),
        (answer(status="FAILED"), "status 'FAILED'"),
        (answer(isChainTruncated=True), "a truncated chain"),
        (answer(contract(ask=0)), "no contract with a bid"),
        (answer(contract(quoteTimeInLong=0)), "no contract with a bid"),
    ],
)
def test_an_answer_that_makes_no_frame_says_why(document: Any, words: str) -> None:
    """Each is ``bad_answer`` with what is wrong."""
    refusal = refused(document)
    assert refusal.reason is Reason.BAD_ANSWER
    assert words in str(refusal)


def test_an_empty_chain_is_no_zero_dte() -> None:
    """The request names the day: an answer without a contract means that nothing expires."""
    empty = answer() | {"callExpDateMap": {}, "putExpDateMap": {}}
    assert refused(empty).reason is Reason.NO_ZERO_DTE


# Requests


async def test_a_chain_of_one_day_is_asked_for(source: Schwab, server: SchwabVendor) -> None:
    """The day twice, the index with its $, the token in a header and nowhere else."""
    got = await source.live("SPX", NOW)
    assert (got.symbol, got.source, len(got.strike)) == ("SPX", "schwab", 42)
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/chains")
    assert request.query == {
        "symbol": "$SPX",
        "contractType": "ALL",
        "includeUnderlyingQuote": "true",
        "fromDate": "2026-08-19",
        "toDate": "2026-08-19",
    }
    assert request.headers["authorization"] == "Bearer access-1"


async def test_a_share_has_no_dollar(source: Schwab, server: SchwabVendor) -> None:
    """Only indices are named with a $."""
    server.put(frame(symbol="SPY", root=["SPY"] * 42, quoted_at=AT))
    assert (await source.live("SPY", NOW)).symbol == "SPY"
    assert server.requests[-1].query["symbol"] == "SPY"


async def test_the_day_is_new_yorks(source: Schwab, server: SchwabVendor) -> None:
    """Late in the evening in New York it is the next day in UTC."""
    evening = datetime(2026, 8, 20, 1, 0, tzinfo=UTC)
    await source.live("SPX", evening)
    assert server.requests[-1].query["fromDate"] == "2026-08-19"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (400, "may not know the symbol (answer 400)"),
        (403, "needs its product Market Data (answer 403)"),
        (429, "has asked for a pause (answer 429)"),
        (502, "too big a body"),
        (503, "answered 503"),
    ],
)
async def test_a_status_has_a_meaning(
    source: Schwab, server: SchwabVendor, code: int, words: str
) -> None:
    """Each is a sentence about what the vendor means by it."""
    server.inject(status(code, {"Retry-After": "60"} if code == 429 else None))
    assert words in await live_refusal(source)


async def test_a_symbol_that_schwab_does_not_have(source: Schwab) -> None:
    """It answers 400."""
    assert "may not know the symbol" in await live_refusal(source, "XYZQ")


async def test_schwab_has_no_history(source: Schwab) -> None:
    """A backfill from it is refused before it asks for anything."""
    with pytest.raises(NoHistory, match="keeps no history"):
        source.history("SPX", session_on(DAY))
    assert source.newest("SPX") is None


# The login


async def test_an_access_token_is_renewed_before_it_ends(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """Two minutes before; the file has the new one, the login's time, and one reader."""
    login(tokens, left=121)
    await source.live("SPX", NOW)
    assert server.renewals == 0
    login(tokens, left=119)
    before = json.loads(tokens.read_bytes())
    await source.live("SPX", NOW)
    assert (server.renewals, server.requests[-1].headers["authorization"]) == (1, "Bearer access-2")
    after = json.loads(tokens.read_bytes())
    assert after["creation_timestamp"] == before["creation_timestamp"]
    token = after["token"]
    assert (token["access_token"], token["refresh_token"]) == ("access-2", "refresh-1")
    assert token["expires_at"] == int(NOW.timestamp()) + 1800
    assert set(token) == set(before["token"])
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    assert [path.name for path in tokens.parent.iterdir()] == ["token.json"]


async def test_many_symbols_renew_once(source: Schwab, server: SchwabVendor, tokens: Path) -> None:
    """All of them wait for the same renewal."""
    login(tokens, left=-10)
    await asyncio.gather(*(source.live("SPX", NOW) for _ in range(8)))
    assert server.renewals == 1
    assert len(server.asked("/chains")) == 8


async def test_what_the_login_tool_writes_counts_at_once(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """A new login needs no restart."""
    await source.live("SPX", NOW)
    server.access, server.refresh = "access-9", "refresh-9"
    login(tokens, access="access-9", refresh="refresh-9")
    await source.live("SPX", NOW)
    assert (server.renewals, server.requests[-1].headers["authorization"]) == (0, "Bearer access-9")


async def test_a_file_that_is_being_written_does_no_harm(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """The usual tool empties the file before it fills it; what it said before still counts."""
    for content in (b"", b'{"creation_timestamp": 1, "tok'):
        tokens.write_bytes(content)
        assert (await source.live("SPX", NOW)).symbol == "SPX"
    tokens.unlink()
    assert (await source.live("SPX", NOW)).symbol == "SPX"
    assert server.renewals == 0


async def test_a_file_that_cannot_be_written_does_no_harm(
    source: Schwab, server: SchwabVendor, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewed token then lives in memory, and is used until it ends."""
    login(tokens, left=-10)
    content = tokens.read_bytes()

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    for _ in range(2):
        await source.live("SPX", NOW)
    assert (server.renewals, tokens.read_bytes()) == (1, content)


async def test_a_withdrawn_access_token_is_renewed_once(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """A 401 before its time: one renewal, one more try, then a sentence."""
    server.access = "another"
    assert (await source.live("SPX", NOW)).symbol == "SPX"
    assert (server.renewals, len(server.asked("/chains"))) == (1, 2)
    server.inject(status(401), when=lambda request: request.path == "/chains")
    assert "refuses the login" in await live_refusal(source)
    assert server.renewals == 2


async def test_a_login_that_has_ended_says_log_in_again(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """It is asked once, not at every slot; a new login works at once."""
    login(tokens, days=7.5, left=-10)
    server.login_ended = True
    for symbol in ("SPX", "SPY", "SPX"):
        words = await live_refusal(source, symbol)
        assert "has ended the login of 7.5 days ago (answer 400): log in again" in words
    assert (server.renewals, len(server.asked("/chains"))) == (1, 0)
    server.login_ended, server.refresh, server.access = False, "refresh-7", "access-7"
    login(tokens, access="access-7", refresh="refresh-7", left=-10)
    assert (await source.live("SPX", NOW)).symbol == "SPX"
    assert server.renewals == 2


async def test_an_access_token_outlives_its_login(
    source: Schwab, server: SchwabVendor, tokens: Path
) -> None:
    """Whatever the login's age: a token that Schwab takes is used."""
    login(tokens, days=7.01, left=600)
    server.login_ended = True
    assert (await source.live("SPX", NOW)).symbol == "SPX"


async def test_a_wrong_app_is_told_from_an_ended_login(server: SchwabVendor, tokens: Path) -> None:
    """``invalid_client`` is about key and secret."""
    login(tokens, left=-10)
    source = Schwab.open(f"{server.url}?pace=0", keys(tokens, "wrong-1"))
    assert "check FLOW_SCHWAB_APP_KEY" in await live_refusal(source)
    await source.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(503), "answered 503"),
        (html(), "an answer that has no token"),
        (status(200, body=b'{"access_token": 5}'), "an answer that has no token"),
        (status(200, body=b'{"access_token": "a\\nb"}'), "an answer that has no token"),
        (status(403, body=FIREWALL), "a firewall's page"),
    ],
)
async def test_a_renewal_that_fails_is_said_to_all(
    source: Schwab, server: SchwabVendor, tokens: Path, fault: Fault, words: str
) -> None:
    """All symbols get the same refusal, and only one of them asks."""
    login(tokens, left=-10)
    content = tokens.read_bytes()
    server.inject(fault)
    first = await live_refusal(source, "SPX")
    renewals = server.renewals
    assert words in first
    assert await live_refusal(source, "SPY") == first.replace("SPX", "SPY")
    assert (server.renewals, tokens.read_bytes()) == (renewals, content)


@pytest.mark.parametrize(
    ("days", "detail"),
    [
        (5.99, None),
        (6.01, "the login at Schwab ends in 24 h: log in again"),
        (6.9, "the login at Schwab ends in 2 h: log in again"),
        (7.1, "the login at Schwab should have ended: log in again"),
    ],
)
async def test_a_login_that_ends_is_warned_of(
    source: Schwab, tokens: Path, days: float, detail: str | None
) -> None:
    """From the sixth day on, once a day."""
    login(tokens, days=days)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await source.live("SPX", NOW)
    assert len(lines) == (detail is not None)
    if detail is not None:
        assert (lines[0]["event"], lines[0]["log_level"]) == ("login ends", "warning")
        assert lines[0]["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the token file"),
        (b"", "no token and creation_timestamp"),
        (b"not json", "no token and creation_timestamp"),
        (b'{"access_token": "canary-1"}', "no token and creation_timestamp"),
        (b'{"creation_timestamp": 1, "token": {"access_token": "canary-1"}}', "no access_token and"),
        (b'{"creation_timestamp": null, "token": {"access_token": "canary-1", "refresh_token": "b"}}',
         "creation_timestamp that is no time"),
        (b" " * 70_000, "over 65,536 bytes"),
    ],
)  # fmt: skip
def test_a_token_file_that_is_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The error of an unusable token file names the setting, the file and the fault, never a token."""
    path = tmp_path / "token.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^FLOW_SCHWAB_TOKEN_FILE: ") as caught:
        Schwab.open("", keys(path))
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["TOKEN_FILE", "APP_KEY", "APP_SECRET"])
def test_a_setting_that_is_missing_is_named(tokens: Path, name: str) -> None:
    """Each of the three is needed."""
    environment = {
        "FLOW_SCHWAB_TOKEN_FILE": str(tokens),
        "FLOW_SCHWAB_APP_KEY": APP_KEY,
        "FLOW_SCHWAB_APP_SECRET": APP_SECRET,
    }
    del environment[f"FLOW_SCHWAB_{name}"]
    with pytest.raises(UsageError, match=f"FLOW_SCHWAB_{name}"):
        Schwab.open("", VendorKeys.read(environment))


def test_no_secret_stands_in_a_repr(tokens: Path) -> None:
    """What a debugger or a log shows of the login."""
    source = Schwab.open("", keys(tokens))
    shown = f"{source!r} {source.login!r} {source.login._token!r} {vars(source)!r}"
    for secret in ("access-1", "refresh-1", APP_SECRET):
        assert secret not in shown


def test_plain_http_beyond_this_machine_is_refused(tokens: Path) -> None:
    """Schwab's source refuses an unencrypted address that is not on this machine."""
    with pytest.raises(UsageError, match="https"):
        Schwab.open("http://example.com/marketdata/v1", keys(tokens))


# A session


def _inject(fault: Fault) -> Any:
    """Lay a fault over chains; renewals of the login are left alone."""
    return lambda server: server.inject(fault, when=lambda request: request.path == "/chains")


def _changed(**fields: Any) -> Any:
    """A valid chain answer in which random fields are replaced by other values."""

    def change(answer: Answer) -> Answer:
        body = json.dumps(json.loads(unpacked(answer)) | fields).encode()
        return Answer(200, {"Content-Type": "application/json"}, body)

    return _inject(change)


def _freeze(server: Any) -> None:
    server.frozen = True


def _end_the_login(server: Any) -> None:
    server.access, server.login_ended = "another", True


#: Slot → what the vendor does, and the reason and words of the gap.
TROUBLES: dict[int, tuple[Any, Reason, str]] = {
    5: (_inject(status(503)), Reason.SOURCE_DOWN, "schwab answered 503"),
    6: (_inject(status(401)), Reason.SOURCE_DOWN, "refuses the login"),
    8: (_inject(status(502)), Reason.SOURCE_DOWN, "too big a body"),
    10: (_inject(html(403)), Reason.SOURCE_DOWN, "schwab forbids this"),
    11: (_inject(html()), Reason.BAD_ANSWER, "no JSON"),
    15: (_inject(empty()), Reason.BAD_ANSWER, "schwab answered nothing"),
    16: (_inject(cut()), Reason.SOURCE_DOWN, "SPX: schwab "),
    20: (_inject(slow(PATIENCE_IN_TROUBLE + 1.0)), Reason.SOURCE_DOWN, "did not answer in time"),
    25: (_changed(status="FAILED"), Reason.BAD_ANSWER, "status 'FAILED'"),
    26: (_changed(isChainTruncated=True), Reason.BAD_ANSWER, "a truncated chain"),
    **dict.fromkeys(range(101, 105), (_freeze, Reason.UNCHANGED, "nothing newer")),
    **dict.fromkeys(range(105, 108), (_freeze, Reason.STALE, "quotes are")),
    **dict.fromkeys(range(200, 205), (_end_the_login, Reason.SOURCE_DOWN, "log in again")),
}


async def test_a_session_with_faults_is_rows_and_gaps_with_reasons(
    server: SchwabVendor, tokens: Path
) -> None:
    """A short session at 30 s: 420 slots, each a row on its own slot, or the vendor's reason.

    The access token is renewed every 28 minutes; the login ends, and a person logs in again.
    """
    session = session_on(date(2026, 11, 27))

    def log_in(server: Any) -> None:
        moment = session.slots[205].timestamp()
        server.access, server.refresh, server.login_ended = "access-20", "refresh-20", False
        new = {"access": "access-20", "refresh": "refresh-20"}
        write_token_file(tokens, login_at=moment, ends_at=moment + 1800, **new)

    opened = session.open.timestamp()
    write_token_file(tokens, login_at=opened - 6.9 * 86_400, ends_at=opened + 1800)
    feed = Schwab.open(f"{server.url}?pace=0&expiries=0", keys(tokens))
    troubles = {slot: trouble for slot, (trouble, _, _) in TROUBLES.items()} | {205: log_in}
    outcomes = await play_session(feed, server, "SPX", session, troubles)
    await feed.close()
    assert len(outcomes) == session.slot_count == 420
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        _, reason, words = TROUBLES.get(number, (None, None, ""))
        reason = Reason.NOT_OPEN if number == 0 else reason
        assert outcome.reason is reason, (number, outcome.reason, outcome.detail)
        assert words in outcome.detail
        assert outcome.record is None or outcome.record.row.slot == slot
    rows = [outcome.record.row for outcome in outcomes if outcome.record]
    assert len(rows) == 420 - 1 - len(TROUBLES)
    assert rows[-1].total_volume > rows[0].total_volume > 0
    # 3.5 hours, the 401 of slot 6, and the login that had ended, which was asked once.
    assert 7 <= server.renewals <= 10


# One chain, every format


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
def test_the_same_chain_makes_the_same_row_as_through_cboe(name: str) -> None:
    """Real chains in both formats agree in every figure, to the last bit."""
    frames = real_sessions()[name]
    ours = [read(schwab_answer(frame), now=frame.fetched_at) for frame in frames]
    assert measured_rows(ours) == measured_rows(through_cboe(frames))


def test_nonsense_is_refused_in_a_sentence() -> None:
    """Whatever is changed in an answer: a frame comes of it, or a refusal."""
    body = json.dumps(answer(*(contract(7700 + 5 * i, r) for i in range(3) for r in (1, -1))))
    for seed in range(400):
        mutated_frame(body, random.Random(seed))


ODD = [
    None,
    "",
    "x",
    [],
    {},
    -1,
    0,
    1e308,
    -999,
    True,
    float("nan"),
    10**400,
    "2026-13-01:0",
    "\ud800",
]


def mutated_frame(body: str, rng: random.Random) -> None:
    """Replace some values of an answer at random, or bytes of its text; read it."""
    document = json.loads(body)
    for _ in range(rng.randint(1, 6)):
        node: Any = document
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = rng.choice(list(keys))
            if rng.random() < 0.3 or not isinstance(node[key], dict | list):
                node[key] = rng.choice(ODD)
                break
            node = node[key]
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        cut = rng.randrange(len(text))
        text = (
            text[:cut]
            + bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
            + text[cut + 3 :]
        )
    with contextlib.suppress(ChainRefused):
        select_chain(parse_schwab_chain(text, symbol="SPX", now=NOW), session_on(DAY))
