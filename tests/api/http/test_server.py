"""Bad input over raw sockets: refused in words or cut off, never a 5xx, a hang or a forged line."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.http.server import LimitedProtocol, choose_protocol
from tests.api.site import SERIES, Site

LINE = f"GET {SERIES}SPY HTTP/1.1\r\n".encode()
HOST = b"Host: flow\r\n"


async def say(site: Site, *pieces: bytes, pause: float = 0, seconds: float = 10) -> bytes:
    """Send pieces on one connection; all that comes back until the server hangs up or is quiet."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        answer = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
            while got := await reader.read(65_536):
                answer += got
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    return answer


async def status(site: Site, *pieces: bytes, **how: Any) -> int:
    """The status of the answer; 0 where the server hung up without a word."""
    answer = await say(site, *pieces, **how)
    if not answer:
        return 0
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    if body and b"application/json" in head:
        json.loads(body)
    return int(head.split()[1])


def close(path: str, headers: bytes = b"") -> bytes:
    sent = path.encode("latin-1")
    return b"GET %s HTTP/1.1\r\n%s%sConnection: close\r\n\r\n" % (sent, HOST, headers)


async def test_head_that_never_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that trickles in is given up, and its connection closed."""
    monkeypatch.setattr("api.http.server.REQUEST_SECONDS", 0.2)
    trickle = [b"X-A: b\r\n"] * 20
    loop = asyncio.get_running_loop()
    for pieces in ([LINE, *trickle], [b""], [LINE[:9]], [LINE + HOST, b"X: ", *[b"y"] * 20]):
        since = loop.time()
        assert await status(site, *pieces, pause=0.05) in (0, 408)
        assert loop.time() - since < 3
    # The same on a connection that has had an answer, and in a body that nobody wants.
    whole = LINE + HOST + b"\r\n"
    assert b"408" in await say(site, whole, whole[:20], pause=0.1)
    body = LINE + HOST + b"Content-Length: 100000\r\n\r\n"
    assert await status(site, body, *[b"x"] * 20, pause=0.05) in (0, 200)


async def test_head_too_large(site: Site) -> None:
    """Ten megabytes of headers are refused as they come, one or many; 60 kB are read."""
    ten = [b"X-%d: %s\r\n" % (i, b"a" * 10_000) for i in range(1_000)]
    assert await status(site, LINE, *ten) in (0, 431)
    assert await status(site, LINE, b"X: ", *[b"a" * 100_000] * 100) in (0, 431)
    assert await status(site, b"GET /", *[b"a" * 100_000] * 100) in (0, 431)
    assert await status(site, LINE + b"X: " + b"a" * 200_000 + b"\r\n\r\n") in (0, 431)
    assert await status(site, close(f"{SERIES}SPY", b"X: " + b"a" * 60_000 + b"\r\n")) == 200
    assert await status(site, close(f"{SERIES}SPY?minutes={'9' * 60_000}")) == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\xff\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"SPY / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nA\x00B: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: f\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: f\r\n\r\n",
        b"GET //// HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n",
        b"CONNECT flow:80 HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n",
    ],
)
async def test_no_request_at_all(site: Site, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no request is refused, or hung up on."""
    monkeypatch.setattr("api.http.server.REQUEST_SECONDS", 0.3)
    assert await status(site, sent) in (0, 400, 404, 405, 408)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("S%00Y", 400),
        ("%00", 400),
        ("SPY%0d%0aX-Evil:%201", 404),
        ("%E2%82%AC", 400),
        ("%F0%9F%92%A9", 400),
        ("SPY%", 400),
        ("%C0%AF", 400),
        ("SPY%25", 400),
        ("%ef%bc%b3PY", 400),
        ("ſpy", 400),
        ("spy%20", 200),
        ("SPY?bar=1m&bar=2m", 400),
        ("SPY?bar=2m&bar=1m", 200),
        ("SPY?minutes=5&minutes=%00", 400),
        ("SPY?" + "&".join(f"a{i}={i}" for i in range(2_000)), 200),
        ("SPY?bar=1m&apiKey=%ff%fe&apiKey=x", 200),
        ("SPY?since=1e9", 400),
        ("SPY?date=2026-02-29", 400),
        ("SPY?date=0000-00-00", 400),
        ("SPY?date=2099-12-31", 200),
        ("SPY?%", 200),
        ("SPY?=&&&==&bar", 400),
        ("SPY?bar=30s#fragment", 200),
        ("SPY;bar=1m", 400),
    ],
)
async def test_awkward_addresses(site: Site, path: str, expected: int) -> None:
    """Escapes, unicode, NUL and parameters given twice are read or refused, never looked up."""
    sent = f"{SERIES}{path}".encode()
    whole = b"GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (sent, HOST)
    assert await status(site, whole) == expected


async def test_no_forged_line(site: Site) -> None:
    """Nothing that a caller sends begins a line of the log, or adds a field to one."""
    evil = '%0a{"event":"request","status":200,"key":"root"}%0d%1b[2K%e2%80%a8'
    with capture_logs() as lines:
        for path in (f"{SERIES}{evil}", f"/{evil}", f"{SERIES}SPY?since={evil}"):
            await status(site, close(path, b"X-Api-Key: a\tb\r\nUser-Agent: \xff\xfe\r\n"))
    assert [line["event"] for line in lines] == ["request"] * 3
    allowed = {"event", "log_level", "method", "client", "path", "status", "ms", "bytes"}
    assert all(set(line) <= allowed for line in lines)
    for line in lines:
        assert "\n" not in json.dumps(line)


async def test_pipelined(site: Site) -> None:
    """Requests sent at once are answered in order, fast ones and slow ones alike."""
    paths = [f"{SERIES}SPY", "/health", f"{SERIES}SPY?bar=5m", f"{SERIES}SPY?format=csv"]
    once = [f"GET {path} HTTP/1.1\r\nHost: f\r\n\r\n".encode() for path in paths]
    answer = await say(site, b"".join(once[:3]) + close(paths[3]))
    assert answer.count(b"HTTP/1.1 200") == 4
    kinds = [b'"bar_size":"30s"', b'"Healthy"', b'"bar_size":"5m"', b"symbol,t,spot"]
    positions = [answer.index(kind) for kind in kinds]
    assert positions == sorted(positions)


async def test_random_bytes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with a few bytes changed: no 5xx, no hang, and the server is well afterwards."""
    monkeypatch.setattr("api.http.server.REQUEST_SECONDS", 0.3)
    site.server.config.timeout_keep_alive = 0.2
    dice = random.Random(7)
    model = close(f"{SERIES}SPY?bar=1m&minutes=60&since=0", b'If-None-Match: W/"1"\r\n')

    async def send_garbage() -> None:
        sent = bytearray(model)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(sent))
            sent[place : place + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 3))
        assert await status(site, bytes(sent)) < 500

    for _ in range(20):
        await asyncio.gather(*(send_garbage() for _ in range(20)))
    assert await status(site, close(f"{SERIES}SPY")) == 200


async def test_reader_who_does_not_read(site: Site) -> None:
    """Many answers asked for and none read: the server holds one of them, not all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    ask = f"GET {SERIES}SPY?minutes=390 HTTP/1.1\r\nHost: f\r\n\r\n".encode()
    writer.write(ask * 2_000)
    await asyncio.sleep(0.3)
    waiting = [c.transport.get_write_buffer_size() for c in site.server.server_state.connections]
    assert max(waiting) < 1_000_000
    assert (await site.fed.get("/health")).status_code == 200
    writer.transport.abort()  # type: ignore[attr-defined]
    del reader


def test_another_inside_of_uvicorn() -> None:
    """A uvicorn without what ours builds upon gets its own protocol, and one line says so."""
    assert choose_protocol() is LimitedProtocol

    class Parent:
        """A protocol of another release."""

        def data_received(self, data: bytes) -> None:
            self.buffer = data

    class Known(Parent):
        """Ours, on that release."""

    with capture_logs() as lines:
        assert choose_protocol(Known) == "auto"  # type: ignore[arg-type]
    [line] = lines
    assert line["log_level"] == "warning"
    assert {"on_message_complete", "cycle", "transport"} <= set(line["missing"])


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Host: flow\r\nHost: flow\r\n",
        b"Host: flow\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_head_that_a_proxy_may_read_otherwise(site: Site, headers: bytes) -> None:
    """No Host, two of them, or two lengths of one body: 400, and the connection is closed."""
    request = b"GET /health HTTP/1.1\r\n%s\r\n" % headers
    answer = await say(site, request)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 400") == 1
    assert b"connection: close" in answer.lower()
