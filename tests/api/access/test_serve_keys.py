"""Servers that ask for keys, as processes: the command makes them, real clients use them."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis
import requests
from flashalpha import (
    AuthenticationError,
    FlashAlpha,
    RateLimitError,
    TierRestrictedError,
)

from api.access.keys import REFRESH
from storage.embedded.attach import Servers
from tests import forked
from tests.api.conftest import SERIES
from tests.api.test_serve import ROOT, Served, closed

QUOTA = 50


def keys(database: str, *arguments: str) -> str:
    """Runs flow-api keys as a user does; what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    done = forked.run(
        [sys.executable, "-m", "api", "keys", *arguments],
        cwd=ROOT,
        env=environment | {"FLOW_DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def create(database: str, name: str, plan: str) -> str:
    return keys(database, "create", "--name", name, "--plan", plan, "--email", "a@example.com")


@pytest.fixture(scope="module")
def enterprise(own_database: str) -> str:
    """A key that is there before the servers are; no other is."""
    with psycopg.connect(own_database, autocommit=True) as admin:
        admin.execute("delete from live.keys")
    return create(own_database, "enterprise", "Enterprise")


@pytest.fixture(scope="module")
def pair(
    servers: Servers,
    own_database: str,
    enterprise: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Served, Served]]:
    """Two processes of one dataset: one on another loopback address, one behind a proxy's."""
    folder = tmp_path_factory.mktemp("keys")

    def start(host: str) -> Served:
        return Served(
            own_database,
            servers.redis_url,
            folder / host,
            FLOW_HOST=host,
            FLOW_ACCESS="keys",
            FLOW_QUOTAS=f"Growth={QUOTA}",
            FLOW_LOG="json" if host == "127.0.0.2" else "console",
        )

    with ThreadPoolExecutor() as at_once:
        started = tuple(at_once.map(start, ("127.0.0.2", "127.0.0.1")))
    yield started
    for server in started:
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text("utf-8", "replace")
    with redis.Redis.from_url(servers.redis_url) as client:
        for key in client.scan_iter("flow:live:used:*"):
            client.delete(key)


def until(url: str, key: str, status: int, patience: float = 15.0) -> float:
    """Seconds until a key is answered so."""
    since = time.monotonic()
    while requests.get(url, headers={"X-Api-Key": key}, timeout=10).status_code != status:
        assert time.monotonic() - since < patience
        time.sleep(0.05)
    return time.monotonic() - since


def test_life_of_a_key(pair: tuple[Served, Served], own_database: str) -> None:
    """Made, rotated and revoked while servers run: each hears of it."""
    urls = [f"{server.url}{SERIES}SPY" for server in pair]
    first = create(own_database, "alice", "Enterprise")
    for url in urls:
        until(url, first, 200)
    second = keys(own_database, "rotate", "alice")
    for url in urls:
        until(url, first, 401)
        until(url, second, 200)
    keys(own_database, "revoke", "alice")
    for url in urls:
        until(url, second, 401)
    states = {line["name"]: line for line in json.loads(keys(own_database, "list", "--json"))}
    assert states["alice"]["state"] == "revoked"


def test_published_client(pair: tuple[Served, Served], own_database: str) -> None:
    """The published client's exceptions have what its users look into."""
    url = pair[0].url
    with pytest.raises(AuthenticationError, match=r"Invalid API key\.") as unknown:
        FlashAlpha("stolen", base_url=url).flow_zero_dte_series("SPY")
    assert unknown.value.status_code == 401

    basic = FlashAlpha(create(own_database, "basic", "Basic"), base_url=url)
    until(f"{url}/v1/market", basic.api_key, 200)
    with pytest.raises(TierRestrictedError) as restricted:
        basic.flow_zero_dte_series("SPY")
    assert restricted.value.status_code == 403
    assert (restricted.value.current_plan, restricted.value.required_plan) == ("Basic", "Growth")
    account = basic.account()
    assert (account["plan"], account["daily_limit"], account["email"]) == (
        "Basic",
        "250",
        "a@example.com",
    )
    assert isinstance(account["usage_today"], int)
    assert account["remaining"] == str(250 - account["usage_today"])
    assert account["resets_at"].endswith("T00:00:00Z")
    assert {"endpoint_version", "data_as_of"} <= set(account)


def test_quota_over_two_servers(pair: tuple[Served, Served], own_database: str) -> None:
    """200 requests at once, half to each server, on a limit of 50: 50 are answered."""
    key = create(own_database, "growth", "Growth")
    for server in pair:
        # Asking for the account does not count.
        until(f"{server.url}/v1/account", key, 200)

    def ask(number: int) -> requests.Response:
        url = f"{pair[number % 2].url}{SERIES}SPY"
        return requests.get(url, headers={"X-Api-Key": key}, timeout=20)

    with ThreadPoolExecutor(20) as at_once:
        sent = list(at_once.map(ask, range(200)))
    codes = [server.status_code for server in sent]
    assert (codes.count(200), codes.count(429)) == (QUOTA, 200 - QUOTA)
    left = sorted(int(s.headers["X-RateLimit-Remaining"]) for s in sent if s.status_code == 200)
    assert left == list(range(QUOTA))

    client = FlashAlpha(key, base_url=pair[1].url)
    with pytest.raises(RateLimitError) as exceeded:
        client.flow_zero_dte_series("SPY")
    assert exceeded.value.status_code == 429
    assert exceeded.value.retry_after in range(1, 86_401)
    body = exceeded.value.response
    assert body is not None
    assert {k: body[k] for k in ("status", "error", "current_plan", "limit", "upgrade_to")} == {
        "status": "ERROR",
        "error": "Quota exceeded",
        "current_plan": "Growth",
        "limit": QUOTA,
        "upgrade_to": "Alpha",
    }
    account = client.account()
    assert (account["usage_today"], account["remaining"]) == (QUOTA, "0")


def test_database_is_away(pair: tuple[Served, Served], servers: Servers, own_database: str) -> None:
    """Who has a key is known all the same, by what was read before; who has none is not let in."""
    key = create(own_database, "alpha", "Alpha")
    account = f"{pair[0].url}/v1/account"
    series = f"{pair[0].url}/v1/symbols"
    until(account, key, 200)
    with closed(servers, own_database):
        # Longer than keys are held without being read anew.
        time.sleep(2 * REFRESH)
        headers = {"X-Api-Key": key}
        assert requests.get(account, headers=headers, timeout=10).status_code == 200
        # The series is in memory; this is not.
        sent = requests.get(f"{pair[0].url}/v1/symbols", headers=headers, timeout=20)
        assert (sent.status_code, sent.headers["Retry-After"]) == (503, "5")
        assert sent.headers["X-RateLimit-Remaining"] == "unlimited"
        assert requests.get(account, timeout=10).status_code == 401
    until(series, key, 200)


def test_key_in_the_query(pair: tuple[Served, Served], enterprise: str) -> None:
    """A key works as a parameter, and no line of the log has it, whatever becomes of the request."""
    server = pair[0]
    for path in (f"{SERIES}SPY", f"{SERIES}SPY/stream/no", "/v1/nothing", "/v1/account"):
        requests.get(f"{server.url}{path}?apiKey={enterprise}", timeout=10)
    requests.get(f"{server.url}{SERIES}SPY", headers={"X-Api-Key": enterprise}, timeout=10)
    sent = requests.get(f"{server.url}{SERIES}SPY?apiKey={enterprise}", timeout=10)
    assert (sent.status_code, sent.headers["X-RateLimit-Remaining"]) == (200, "unlimited")
    log = server.log.read_text()
    assert enterprise not in log
    assert enterprise[-43:] not in log
    last = [json.loads(line) for line in log.splitlines()][-1]
    assert (last["event"], last["key"]) == ("request", enterprise.split("_")[1])


def test_without_a_key(pair: tuple[Served, Served]) -> None:
    """What tells nothing of the data needs none; the rest is refused."""
    for path in ("/health", "/ready", "/", "/static/main.js", "/docs", "/openapi.json"):
        assert requests.get(f"{pair[0].url}{path}", timeout=10).status_code == 200, path
    for path in (f"{SERIES}SPY", "/v1/symbols", "/v1/market", "/v1/account"):
        sent = requests.get(f"{pair[0].url}{path}", timeout=10)
        assert sent.status_code == 401, path
        assert sent.json() == {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."}


FORGED = (
    b"GET /v1/market%0a2026-01-01T00:00:00Z%20[info]%20request%20status=200 HTTP/1.1",
    b"GET /%0d%0a%7b%22event%22:%22request%22%7d HTTP/1.1",
    b"GET /%1b[2J%1b]0;x%07%00%7f%c2%85%e2%80%a8%e2%80%ae%ff HTTP/1.1",
    b"GET /v1/flow/zero-dte/series/SPY%0aX?apiKey=%0aforged HTTP/1.1",
    b"GET /health?%0aforged HTTP/1.1\r\nX-Api-Key: \x80\xff forged",
    b"GET /health HTTP/1.1\r\nUser-Agent: a\r\n forged: folded",
    b"GET /health HTTP/1.1\r\nX-A: a\x00\x1b[2J",
    b"FORGED /health HTTP/1.1",
    b"GET /" + b"forged" * 2_000 + b" HTTP/1.1",
    b"forged\n\nforged\n",
)


def test_no_request_forges_a_line(pair: tuple[Served, Served]) -> None:
    """Whatever is sent, in either form of the log, each line is one that we wrote."""
    for server in pair:
        address = server.url.removeprefix("http://").split(":")
        before = server.log.stat().st_size
        for request in FORGED:
            with socket.create_connection((address[0], int(address[1])), timeout=10) as sent:
                sent.sendall(request + b"\r\nHost: flow\r\nConnection: close\r\n\r\n")
                assert sent.makefile("rb").readline().startswith(b"HTTP/1.1 ")
        requests.get(f"{server.url}/health", timeout=10)
        lines = server.log.read_bytes()[before:].decode().splitlines()
        assert 5 <= len(lines) <= len(FORGED) + 2
        assert all(line.isprintable() for line in lines)
        if server is pair[0]:
            read = [json.loads(line) for line in lines]
            assert all({"event", "level", "timestamp"} <= set(line) for line in read)
        else:
            form = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+Z \[(info|warning) +\] \S.*")
            assert [line for line in lines if not form.fullmatch(line)] == []
            assert not any(re.match(r"2026-01-01T", line) for line in lines)
