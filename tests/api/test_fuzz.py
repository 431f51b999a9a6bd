"""Ten thousand requests that nobody would send, always the same ones: never a 5xx, never a hang."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import structlog
from structlog.testing import capture_logs

from api.openapi.catalogue import DOCUMENTS
from storage.postgres.store import Store
from tests.api.conftest import Caller

REQUESTS = 10_000
NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
PREFIXES = [path.partition("{")[0] for path, _ in DOCUMENTS.values()]
PREFIXES += [
    "/v1/flow/zero-dte/series/",
    "/v1/symbols",
    "/v1/alerts",
    "/v1/alerts/rules",
    "/v1/market",
    "/",
    "/docs",
    "/openapi.json",
]
WORDS = ["", "SPX", "0", "-1", "1", "390", "null", "undefined", "NaN", "Infinity", "1e999", "true"]
WORDS += ["all", "calls", "gex", "oi", "signed_flow", "delta", "heat", "30s", "1m", "5m", "15m"]
WORDS += ["2026-11-27", "2026-11-26", "2026-02-30", "0000-00-00", "9999-12-31", "2099-12-31"]
WORDS += ["2026-11-27T16:00:00Z", "2026-11-27T16:00:00+99:99", "2026-11-27 11:00", "1-1-1T1:1"]
WORDS += [
    "9" * 400,
    "9" * 18,
    "-" * 40,
    "1.5",
    "0x10",
    "١٢",
    "٣",
    "½",
    "SPX,SPY," * 40,
    "' or 1=1 --",
]
WORDS += [
    "\x00",
    "a\r\nevent=request",
    "../../etc/passwd",
    "%s%n",
    "{}",
    "[]",
    "💥",
    "İ",
    "ß",
    "\ud7ff",
]
NAMES = [
    "limit",
    "kind",
    "cursor",
    "bar",
    "minutes",
    "date",
    "since",
    "side",
    "metric",
    "mode",
    "n",
    "at",
    "expiry",
]
NAMES += ["strike_range", "symbols", "format", "apiKey", "bar[]", "", "Bar", "\x00", "💥"]
SYMBOLS = ["SPX", "spx", " SPX ", "BRK/B", "ES=F", "^VIX", "..", ".", "A" * 17, "S P X", "XYZ"]
HEADERS = ["x-api-key", "if-none-match", "accept", "origin", "range", "accept-encoding", "cookie"]
HEADERS += ["x-forwarded-for", "content-type", "content-length", "last-event-id", "host", "expect"]


def junk(dice: random.Random) -> str:
    """A word that somebody may have meant, or none."""
    if dice.random() < 0.8:
        return dice.choice(WORDS)
    return "".join(chr(dice.randrange(0, 0x2FF)) for _ in range(dice.randrange(0, 30)))


def scope(dice: random.Random) -> dict[str, Any]:
    """A request as a server would hand it on."""
    path = dice.choice(PREFIXES)
    if dice.random() < 0.9:
        symbol = dice.choice(SYMBOLS) if dice.random() < 0.6 else junk(dice)
        path += quote(symbol, safe=dice.choice(["", "/"]))
    if dice.random() < 0.05:
        path = dice.choice(["/%", "/%zz", "//", "/%00", "/%ff%fe", "/v1/../v1", "/" + "x" * 5000])
    pairs = [(dice.choice(NAMES), junk(dice)) for _ in range(dice.randrange(0, 5))]
    if pairs and dice.random() < 0.2:
        pairs.append((pairs[0][0], junk(dice)))
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    if dice.random() < 0.03:
        query = dice.choice(["&&&", "=", "%", "a=%zz", "?" * 300, "bar=1m;minutes=3", "bar"])
    headers = [
        (dice.choice(HEADERS).encode(), junk(dice).encode("utf-8", "replace").replace(b"\n", b""))
        for _ in range(dice.randrange(0, 4))
    ]
    method = (
        "GET" if dice.random() < 0.85 else dice.choice(["HEAD", "POST", "OPTIONS", "PUT", "BREW"])
    )
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


async def ask(app: Any, request: dict[str, Any]) -> tuple[int, bytes, dict[bytes, bytes]]:
    """Status, body and headers of one request."""
    sent: list[dict[str, Any]] = []
    body = [{"type": "http.request", "body": b'{"a": "\xff"}', "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await app(request, receive, send)
    start, *rest = sent
    text = b"".join(message.get("body", b"") for message in rest)
    return start["status"], text, dict(start["headers"])


async def test_nothing_breaks(sessions_database: str, open_app: Callable[..., Any]) -> None:
    """Every answer is a success, a redirect of nobody, or a refusal in JSON; a log line for each."""
    dice = random.Random(20261127)
    counted: Counter[int] = Counter()
    async with Store.open(sessions_database, "synthetic", size=4) as store:
        caller: Caller = await open_app(store)
        caller.clock.moment = NOON
        app = caller._transport.app
        with capture_logs() as lines:
            for number in range(REQUESTS):
                request = scope(dice)
                status, text, headers = await ask(app, request)
                where = (number, request["method"], request["raw_path"], request["query_string"])
                assert status < 500, (where, text)
                refused = {403, 409, 412, 415} if request["method"] == "PUT" else set()
                assert status in {200, 304, 400, 404, 405} | refused, (where, status)
                counted[status] += 1
                if headers.get(b"content-type", b"").startswith(b"application/json") and text:
                    body = json.loads(text, parse_constant=where.__getitem__)
                    if status >= 400:
                        assert isinstance(body, dict), where
                        assert body.keys() >= {"error", "message"}, where
        structlog.reset_defaults()
    assert counted[200] > 1000
    assert counted[400] > 1000
    assert not [line for line in lines if line["event"] == "request failed"]
