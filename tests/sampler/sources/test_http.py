"""The client of all polling sources: pauses, blocks, limits, and what errors may say."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from cboe_server import Answer, CboeServer

from sampler.errors import ChainRefused
from sampler.sources import http
from sampler.sources.cboe import Cboe
from sampler.sources.http import HttpClient, Status, base_of, retry_after
from storage.errors import UsageError
from storage.record.row import Reason
from tests.vendors import server as vendor
from tests.vendors.server import Request, VendorServer

NOW = datetime(2026, 6, 10, 18, 0, 0, tzinfo=UTC)
CANARY = "canary-7f3a9c"
#: As Cboe's file store answers for what it does not have.
ACCESS_DENIED = Answer(
    403,
    {"Content-Type": "application/xml"},
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    b"<Message>Access Denied</Message></Error>",
)
#: The first lines of a firewall's page in Cloudflare's and in Akamai's form.
CLOUDFLARE = (
    b'<!DOCTYPE html>\n<!--[if lt IE 7]> <html class="no-js ie6 oldie" lang="en-US"> <![endif]-->'
    b"<head><title>Attention Required! | Cloudflare</title>"
)
AKAMAI = (
    b"<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\n<H1>Access Denied</H1>\n"
    b"AccessDenied: you don't have permission. Reference&#32;&#35;18.2d351ab8.1557333295</BODY>"
)


@pytest.fixture
async def server() -> AsyncIterator[CboeServer]:
    async with CboeServer() as server:
        for symbol in ("SPY", "QQQ", "IWM"):
            server.frames[symbol] = {"symbol": symbol}
        yield server


def client(server: CboeServer, *, budget: float = 2.0, pace: float = 0.0) -> HttpClient:
    return HttpClient(
        "vendor",
        server.url,
        pace=pace,
        timeout=1.0,
        budget=budget,
        headers={"Authorization": f"Bearer {CANARY}"},
        unknown_symbol=lambda body: b"AccessDenied" in body,
    )


async def body(web: HttpClient, symbol: str, now: datetime = NOW) -> bytes:
    answer = await web.get(f"/{symbol}.json", symbol=symbol, now=now)
    assert answer.body is not None
    return answer.body


async def refusal(web: HttpClient, symbol: str, now: datetime = NOW) -> str:
    with pytest.raises(ChainRefused) as caught:
        await body(web, symbol, now)
    assert caught.value.reason is Reason.SOURCE_DOWN
    return str(caught.value)


# Pauses


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        (
            {
                "Retry-After": "Wed, 10 Jun 2026 18:00:30 GMT",
                "Date": "Wed, 10 Jun 2026 18:00:10 GMT",
            },
            20.0,
        ),
        ({"Retry-After": "Wed, 10 Jun 2026 18:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 10 Jun 2026 18:00:30 -0000"}, 30.0),
        ({"Retry-After": "Wed, 10 Jun 2026 18:00:30 GMT", "Date": "today"}, 30.0),
        ({"Retry-After": "Wed, 10 Jun 2026 17:59:30 GMT"}, 0.0),
        ({"Retry-After": "Wed, 10 Jun 99999 18:00:30 GMT"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "\u0663"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], seconds: float) -> None:
    """A number of seconds, or a date against the server's own clock, else against ours."""
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_pause_holds_for_every_symbol_and_slot(
    server: CboeServer, status: int, form: str
) -> None:
    """One symbol is told to wait: no symbol is asked again, and each says why and until when."""
    # The server's own clock is the machine's: it sends a Date with every answer.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    text = "120" if form == "seconds" else date
    server.answer = lambda symbol: Answer(status, {"Retry-After": text})
    web = client(server)
    first = await refusal(web, "SPY")
    others = await asyncio.gather(refusal(web, "QQQ"), refusal(web, "IWM"))
    later = await refusal(web, "SPY", NOW + timedelta(seconds=30))
    await web.close()
    assert [r.symbol for r in server.requests] == ["SPY"]
    for symbol, words in zip(("SPY", "QQQ", "IWM"), (first, *others), strict=True):
        assert words.startswith(f"{symbol}: vendor has asked for a pause (answer {status})")
        assert re.search(r"not asked again before 18:0[12]:[05]\d UTC, 1(1\d|20) s from now", words)
    # 30 s later on the caller's clock, and no second later on the machine's.
    assert re.search(r"before 18:02:[23]\d UTC, 1(1\d|20) s from now", later)


async def test_a_pause_is_capped(server: CboeServer) -> None:
    """A host that names a year is asked again after the limit: 600 s, set by hand here."""
    server.answer = lambda symbol: Answer(429, {"Retry-After": "9" * 400})
    web = client(server)
    assert "before 18:10:00 UTC, 600 s from now" in await refusal(web, "SPY")
    await web.close()


async def test_a_short_pause_is_waited_for_by_all(server: CboeServer) -> None:
    """A pause that ends within the budget costs time, not slots; nobody asks before its end."""
    server.answer = lambda symbol: (
        Answer(429, {"Retry-After": "1"}) if len(server.requests) == 1 else None
    )
    web = client(server, budget=5.0)
    first = asyncio.create_task(body(web, "SPY"))
    while not server.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    bodies = await asyncio.gather(first, body(web, "QQQ"), body(web, "IWM"))
    await web.close()
    assert [b"SPY" in bodies[0], b"QQQ" in bodies[1], b"IWM" in bodies[2]] == [True] * 3
    assert len(server.requests) == 4
    assert min(r.arrived for r in server.requests[1:]) - server.requests[0].arrived >= 1.0


async def test_a_pause_reaches_those_who_wait_for_their_turn(server: CboeServer) -> None:
    """A symbol that waits for the pace when another is told to wait does not ask either."""
    server.answer = lambda symbol: Answer(429, {"Retry-After": "60"})
    web = client(server, pace=0.4)
    await asyncio.gather(*(refusal(web, symbol) for symbol in ("SPY", "QQQ", "IWM")))
    await web.close()
    assert len(server.requests) == 1


async def test_after_the_pause_the_host_is_asked_again(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the pause is over the next slot has its row."""
    monkeypatch.setattr(http, "PAUSE_LIMIT", 0.6)
    server.answer = lambda symbol: Answer(503, {"Retry-After": "60"})
    web = client(server, budget=0.3)
    await refusal(web, "SPY")
    server.answer = lambda symbol: None
    await asyncio.sleep(0.65)
    assert b"SPY" in await body(web, "SPY")
    await web.close()


async def test_hosts_do_not_share_a_pause(server: CboeServer) -> None:
    """What one host asks for holds no other up."""
    async with CboeServer() as other:
        other.frames["SPY"] = {"symbol": "SPY"}
        server.answer = lambda symbol: Answer(429, {"Retry-After": "60"})
        first, second = client(server), client(other)
        await refusal(first, "SPY")
        assert b"SPY" in await body(second, "SPY")
        await first.close()
        await second.close()


async def test_too_many_symbols_for_the_pace_say_so(server: CboeServer) -> None:
    """A symbol that gets no turn within its budget blames the pace, not the vendor's server."""
    web = client(server, budget=0.5, pace=0.4)
    outcomes = await asyncio.gather(
        *(body(web, symbol) for symbol in ("SPY", "QQQ", "IWM")), return_exceptions=True
    )
    await web.close()
    assert [isinstance(outcome, bytes) for outcome in outcomes] == [True, True, False]
    assert "too many symbols for a pace of 0.4 s" in str(outcomes[2])


# 403


@pytest.mark.parametrize("page", [CLOUDFLARE, AKAMAI], ids=["cloudflare", "akamai"])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_firewalls_page_is_told_from_an_unknown_symbol(
    server: CboeServer, page: bytes, packed: bool
) -> None:
    """HTML is a firewall, the file store's XML is an unknown symbol; neither is asked for twice."""
    headers = {"Content-Type": "text/html"} | ({"Content-Encoding": "gzip"} if packed else {})
    server.frames["SPY"] = Answer(403, headers, gzip.compress(page) if packed else page)
    server.frames["XYZ"] = ACCESS_DENIED
    web = client(server)
    assert b"QQQ" in await body(web, "QQQ")
    assert "blocked this address: a firewall's page" in await refusal(web, "SPY")
    unknown = await refusal(web, "XYZ")
    await web.close()
    assert unknown == "XYZ: vendor has no such symbol (answer 403)"
    assert len(server.requests) == 3


async def test_every_symbol_forbidden_at_once_is_a_block(server: CboeServer) -> None:
    """Symbols that were served cannot be unknown; when the last of them is forbidden, it is said."""
    web = client(server)
    for symbol in ("SPY", "QQQ"):
        await body(web, symbol)
    server.answer = lambda symbol: ACCESS_DENIED
    assert "forbids a symbol that it has served before" in await refusal(web, "SPY")
    for symbol in ("QQQ", "SPY"):
        words = await refusal(web, symbol)
        assert "forbids all 2 symbols: it has blocked this address, or has moved (" in words
    server.answer = lambda symbol: None
    await body(web, "SPY")
    server.answer = lambda symbol: ACCESS_DENIED if symbol == "XYZ" else None
    assert "no such symbol" in await refusal(web, "XYZ")
    await web.close()


async def test_two_unknown_symbols_may_be_just_that(server: CboeServer) -> None:
    """Where nothing was ever served, a block is not asserted."""
    server.answer = lambda symbol: ACCESS_DENIED
    web = client(server)
    assert "no such symbol" in await refusal(web, "AAAX")
    assert "blocked this address, or has moved, or has none of them" in await refusal(web, "BBBX")
    await web.close()


async def test_cboe_tells_its_own_unknown_symbols() -> None:
    """The source of Cboe's quotes knows what its file store answers."""
    async with CboeServer() as server:
        server.frames["XYZ"] = ACCESS_DENIED
        feed = Cboe.open(f"{server.url}?pace=0")
        with pytest.raises(ChainRefused, match="XYZ: cboe has no such symbol"):
            await feed.live("XYZ", NOW)
        await feed.close()


# What errors say


async def test_no_error_contains_the_key(
    server: CboeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in the headers is sent, and is in no error of any kind."""
    monkeypatch.setattr(http, "BACK_OFF", 0.05)
    kinds = [
        *(Answer(status) for status in (301, 400, 401, 402, 403, 404, 429, 500, 503)),
        Answer(200, {"Content-Encoding": "br"}, b"x"),
        Answer(200, {"Content-Encoding": "gzip"}, b"x"),
        Answer(200, {"Content-Length": "10"}, b"x", delay=0.0),
        Answer(200, {f"bad header\x00{CANARY}": "x"}, b"x"),
    ]
    words = []
    for answer in kinds:
        server.answer = lambda symbol, answer=answer: answer  # type: ignore[misc]
        web = client(server, budget=0.3)
        with pytest.raises(ChainRefused) as caught:
            await body(web, "SPY")
        words += [str(caught.value), str(caught.value.__cause__)]
        await web.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert CANARY not in " ".join(words)
    assert server.url not in " ".join(words)
    bad_key = HttpClient(
        "vendor", server.url, pace=0, timeout=1, budget=0.2, headers={"X-Key": f"{CANARY}\n"}
    )
    assert CANARY not in await refusal(bad_key, "SPY")
    await bad_key.close()


async def test_an_endless_error_page_is_cut(server: CboeServer) -> None:
    """16 kB of an error's body are enough to tell what it is, packed or not."""
    page = CLOUDFLARE + b" " * 50_000_000
    server.frames["SPY"] = Answer(403, {"Content-Encoding": "gzip"}, gzip.compress(page))
    web = client(server)
    assert "firewall" in await refusal(web, "SPY")
    await web.close()


# What a vendor passes


class Plain(VendorServer):
    """Answers each path with itself, or with what was posted."""

    def respond(self, request: Request) -> vendor.Answer:
        return vendor.Answer(200, {}, request.body or request.path.encode())


@pytest.fixture
async def plain() -> AsyncIterator[Plain]:
    async with Plain() as plain:
        yield plain


STATUSES = {
    472: Status(Reason.NO_ZERO_DTE, "has no data for this day"),
    571: Status(Reason.BAD_ANSWER, "is starting", again=True),
    503: Status(Reason.SOURCE_DOWN, "is closed for good"),
}


@pytest.mark.parametrize(
    ("status", "reason", "words", "requests"),
    [
        (472, Reason.NO_ZERO_DTE, r"SPY: vendor has no data for this day \(answer 472\)", 1),
        (571, Reason.BAD_ANSWER, r"SPY: vendor is starting \(answer 571\) \(attempt \d", 2),
        (503, Reason.SOURCE_DOWN, r"SPY: vendor is closed for good \(answer 503\)", 1),
        (404, Reason.SOURCE_DOWN, r"SPY: vendor has no such symbol \(answer 404\)", 1),
        (499, Reason.SOURCE_DOWN, r"SPY: vendor refused \(answer 499\)", 1),
    ],
)
async def test_a_vendors_own_statuses(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, status: int, reason: Reason, words: str,
    requests: int,
) -> None:  # fmt: skip
    """A status of the table has its reason, its sentence, and is tried again only if it says so."""
    monkeypatch.setattr(http, "BACK_OFF", 0.2)
    plain.inject(vendor.status(status))
    web = HttpClient("vendor", plain.url, pace=0, timeout=1, budget=0.5, statuses=STATUSES)
    with pytest.raises(ChainRefused, match=words) as caught:
        await body(web, "SPY")
    await web.close()
    assert caught.value.reason is reason
    assert min(len(plain.requests), 2) == requests


async def test_the_end_of_the_budget_hides_no_reason(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt hangs until the budget ends: the first one's answer says what is wrong."""
    monkeypatch.setattr(http, "BACK_OFF", 0.1)
    plain.inject(vendor.slow(3.0))
    plain.inject(vendor.status(571), times=1)
    web = HttpClient("vendor", plain.url, pace=0, timeout=5, budget=0.8, statuses=STATUSES)
    with pytest.raises(ChainRefused, match=r"SPY: vendor is starting \(answer 571\)") as caught:
        await body(web, "SPY")
    await web.close()
    assert caught.value.reason is Reason.BAD_ANSWER


async def test_an_accepted_status_is_the_sources_to_read(plain: Plain) -> None:
    """An answer whose status the source knows comes back with its body."""
    plain.inject(vendor.status(472, body=b"No data"), times=1)
    web = HttpClient("vendor", plain.url, pace=0, timeout=1, budget=1)
    answer = await web.get("/x", symbol="SPY", now=NOW, accept=frozenset({472}))
    assert (answer.status, answer.body) == (472, b"No data")
    answer = await web.get("/x", symbol="SPY", now=NOW, accept=frozenset({472}))
    assert (answer.status, answer.body) == (200, b"/x")
    await web.close()


async def test_a_good_answer_may_ask_for_a_pause(plain: Plain) -> None:
    """A vendor's own rate header is obeyed by the requests that follow."""
    plain.headers = {"X-Left": "0"}
    web = HttpClient(
        "vendor",
        plain.url,
        pace=0,
        timeout=1,
        budget=1,
        pause_asked=lambda headers, now: 60.0 if headers.get("X-Left") == "0" else 0.0,
    )
    assert await body(web, "SPY") == b"/SPY.json"
    assert "has asked for a pause (answer 200)" in await refusal(web, "QQQ")
    assert len(plain.requests) == 1
    await web.close()


async def test_headers_and_forms_of_one_request(plain: Plain) -> None:
    """A request's own headers win over the client's, and a form is posted."""
    web = HttpClient("vendor", plain.url, pace=0, timeout=1, budget=1, headers={"X-Key": "old"})
    answer = await web.get("/t", symbol="SPY", now=NOW, headers={"X-Key": "new"}, form={"a": "b c"})
    await web.close()
    assert answer.body == b"a=b+c"
    assert (plain.requests[0].method, plain.requests[0].headers["x-key"]) == ("POST", "new")


async def test_no_more_connections_than_the_plan_allows(plain: Plain) -> None:
    """With one connection, requests follow each other."""
    plain.inject(vendor.slow(0.2))
    web = HttpClient("vendor", plain.url, pace=0, timeout=2, budget=3, connections=1)
    await asyncio.gather(*(body(web, symbol) for symbol in ("SPY", "QQQ", "IWM")))
    await web.close()
    starts = [request.arrived for request in plain.requests]
    assert min(b - a for a, b in pairwise(starts)) >= 0.2
    assert len({request.port for request in plain.requests}) == 1


@pytest.mark.parametrize(
    ("address", "keyed", "base"),
    [
        ("", True, "https://vendor.example/v1"),
        ("http://127.0.0.1:8001/v1/", True, "http://127.0.0.1:8001/v1"),
        ("http://[::1]:8001", True, "http://[::1]:8001"),
        ("https://other.example/v1", True, "https://other.example/v1"),
        ("http://other.example/v1", False, "http://other.example/v1"),
    ],
)
def test_the_base_behind_a_scheme(address: str, keyed: bool, base: str) -> None:
    """The vendor's own, or the one that is given, without the slash at its end."""
    assert base_of("vendor", address, "https://vendor.example/v1", keyed=keyed) == base


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://other.example/v1", "http:// would show the key to the network"),
        (CANARY, "expected http"),
        ("ftp://127.0.0.1", "expected http"),
        ("http://127.0.0.1/?a=b", "expected http"),
        ("http://127.0.0.1/#a", "expected http"),
        ("http://127.0.0.1:65536/x", "expected http"),
        ("http://[::1/x", "vendor: InvalidURL"),
    ],
)
def test_a_bad_base_is_refused(address: str, words: str) -> None:
    """What a source with a key is given is never repeated: it may be a key."""
    with pytest.raises(UsageError) as caught:
        base_of("vendor", address, "https://vendor.example/v1", keyed=True)
    assert str(caught.value).startswith("vendor: ")
    assert words in str(caught.value)
    assert address not in str(caught.value)
