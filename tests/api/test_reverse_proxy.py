"""Behind nginx and Caddy, with TLS and under a path: page, reference, series, stream, the log."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.api.conftest import SERIES, Caller
from tests.api.rows import record, utc
from tests.api.site import Still
from tests.api.test_serve import Served
from tests.reverse_proxy import KINDS, reverse_proxy

SETTINGS = {
    "FLOW_ROOT_PATH": "/flow",
    "FLOW_TRUSTED_PROXIES": "127.0.0.1",
    "FLOW_LOG": "json",
    # What a public name would be; an open server answers to no other.
    "FLOW_ALLOWED_HOSTS": "localhost",
}


@pytest.fixture(params=KINDS)
def proxied(
    request: pytest.FixtureRequest, servers: Servers, database: str, tmp_path: Path
) -> Iterator[tuple[str, Served, Path]]:
    """The proxy's address, the API behind it, and the proxy's certificate."""
    served = Served(database, servers.redis_url, tmp_path / "log", **SETTINGS)
    folder = tmp_path / "proxy"
    folder.mkdir()
    try:
        port = urlsplit(served.url).port
        assert port is not None
        with reverse_proxy(request.param, folder, port) as url:
            yield url, served, folder / "fullchain.pem"
    finally:
        assert served.stop() == 0


def lines(served: Served) -> list[dict[str, Any]]:
    text = served.log.read_text().splitlines()
    return [json.loads(line) for line in text if line.startswith("{")]


async def test_under_a_path(
    proxied: tuple[str, Served, Path], database: str, servers: Servers
) -> None:
    """Every link of the page and the reference leads through the proxy; the stream is not held."""
    url, served, certificate = proxied
    session = requests.Session()
    # Settings of the machine must not bring another authority, or another proxy.
    session.trust_env = False
    session.verify = str(certificate)

    def get(address: str, **options: Any) -> requests.Response:
        sent = session.get(address, timeout=20, **options)
        assert sent.status_code == 200, (address, sent.status_code, sent.text[:200])
        return sent

    assert get(f"{url}/flow").url == f"{url}/flow/"
    for page in ("/flow/", "/flow/docs"):
        links = set(re.findall(r'(?:href|src)="([^"#]+)"', get(url + page).text))
        assert len(links) > 3
        for link in links:
            assert get(urljoin(url + page, link)).url.startswith(f"{url}/flow")
    # A module's own path tells it where the API is: ".." of static/.
    assert 'new URL("..", import.meta.url)' in get(f"{url}/flow/static/api.js").text
    [server] = get(f"{url}/flow/openapi.json").json()["servers"]
    assert server["url"] == "/flow"
    assert session.get(f"{url}/flow/metrics", timeout=20).status_code == 403
    series = f"{url}/flow{SERIES}SPY"
    async with (
        Store.open(database, "live", size=1) as store,
        RedisChannel.open(servers.redis_url, "flow:live", store.identity) as live,
    ):
        await live.publish((await store.write([record(utc("13:30"))])).changes)
        ends = time.monotonic() + 20
        while not (body := await asyncio.to_thread(lambda: get(f"{series}?minutes=390").json()))[
            "bars"
        ]:
            assert time.monotonic() < ends
        with session.get(
            f"{series}/stream", headers={"Last-Event-ID": "0"}, stream=True, timeout=30
        ) as stream:
            assert stream.status_code == 200
            received = stream.iter_lines(decode_unicode=True)

            def next_bar() -> dict[str, Any]:
                while not (line := next(received)).startswith("data: "):
                    assert re.fullmatch(r"|:|id: \d+|retry: \d+", line), line
                return json.loads(line.removeprefix("data: "))

            assert await asyncio.to_thread(next_bar) == body["bars"][0]
            await live.publish((await store.write([record(utc("13:31"))])).changes)
            begun = time.monotonic()
            bar = await asyncio.to_thread(next_bar)
            # Well before the next comment line, which would push a buffered event out.
            assert time.monotonic() - begun < 10
    assert bar["t"] == "2026-06-05T13:31:00Z"
    paths = {line["path"] for line in lines(served) if line["event"] == "request"}
    # The log has the API's own paths, and no path went by the proxy's.
    assert f"{SERIES}SPY" in paths
    assert not any(path.startswith("/flow") for path in paths)


def test_the_clients_address(proxied: tuple[str, Served, Path]) -> None:
    """The log has the address that connected to the proxy, whatever that client says of itself."""
    url, served, certificate = proxied
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(
            ("127.0.0.1", place.port or 0), timeout=10, source_address=("127.0.0.7", 0)
        ) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(
            b"GET /flow/health HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert secure.recv(100).startswith(b"HTTP/1.1 200")
    # Somebody who is no proxy is not believed.
    with socket.create_connection(
        ("127.0.0.1", urlsplit(served.url).port or 0), source_address=("127.0.0.8", 0)
    ) as direct:
        direct.sendall(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert direct.recv(100).startswith(b"HTTP/1.1 200")
    ends = time.monotonic() + 10
    while len(clients := [x["client"] for x in lines(served) if x.get("path") == "/health"]) < 2:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert clients == ["127.0.0.7", "127.0.0.8"]


async def test_with_and_without_the_prefix(store: Store) -> None:
    """A proxy may cut the path off or not; the bytes of the answer are the same."""
    import httpx

    from api.app import create_app
    from storage.redis.channel import NoChannel

    await store.write([record(utc("13:30"))])
    app = create_app(
        store,
        NoChannel(),
        Still(utc("14:00")),
        dataset="live",
        root_path="/flow",  # type: ignore[arg-type]
    )
    async with Caller(transport=httpx.ASGITransport(app=app), base_url="http://flow") as caller:
        for path in (f"{SERIES}SPY", "/", "/static/main.js", "/docs", "/health"):
            bodies = [await caller.get(prefix + path) for prefix in ("", "/flow")]
            assert [sent.status_code for sent in bodies] == [200, 200], path
            assert bodies[0].content == bodies[1].content
        assert (await caller.get("/flowers/health")).status_code == 404
        moved = await caller.get("/flow")
        assert (moved.status_code, moved.headers["Location"]) == (307, "/flow/")
