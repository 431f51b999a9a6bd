"""Errors as JSON, access, and one log line a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.access.gate import Admission, Usage, quota_exceeded, tier_restricted, unauthorized
from api.access.gate import Caller as Person
from storage.config.plans import PLANS, parse_quotas
from storage.errors import LiveError, SchemaMissing, StoreUnavailable
from storage.postgres.store import Store
from tests.api.conftest import SERIES, Caller
from tests.api.rows import record, utc


class Broken:
    """A store that fails at every call."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def of_feed(self, name: str | None) -> Broken:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def fail(*_: Any, **__: Any) -> None:
            raise self._error

        return fail


class Awake:
    """A part that is there."""

    async def ping(self) -> None:
        pass

    async def sampled_symbols(self, previous: Any, session: Any) -> list[Any]:
        return []


class Asleep:
    """A part that never answers."""

    async def ping(self) -> None:
        await asyncio.sleep(60)

    async def sampled_symbols(self, previous: Any, session: Any) -> list[Any]:
        await asyncio.sleep(60)
        return []


class Table:
    """Keys by their plans, each with a count of its own; the day has five seconds left."""

    def __init__(self, quotas: str = "") -> None:
        self.quotas = parse_quotas(quotas)
        self.used = dict.fromkeys(PLANS, 0)

    def knows(self, caller: Person) -> bool:
        return True

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        name = (key or "").removeprefix("key-")
        if name not in PLANS or key != f"key-{name}":
            raise unauthorized()
        caller, limit = Person(name, name.lower()), self.quotas[name]
        usage = Usage(limit, self.used[name], utc("2026-06-06 00:00"))
        if not caller.may(plan):
            raise tier_restricted(caller, plan, usage)
        if usage.remaining == 0:
            raise quota_exceeded(caller, usage, self.quotas, utc("2026-06-05 23:59:55"))
        self.used[name] += count
        usage = Usage(limit, self.used[name], usage.resets_at)
        return Admission(caller, usage, usage.headers)


async def test_unknown_route(stranger: Caller) -> None:
    """Whatever is not there is a JSON 404."""
    for path in (
        "/nothing",
        "/v1",
        "/static/",
        "/static/../app.py",
        "/redoc",
        "/docs/assets/no.js",
    ):
        sent = await stranger.get(path)
        assert (sent.status_code, sent.json()["error"]) == (404, "not_found"), path
        assert sent.headers["Content-Type"] == "application/json"


async def test_wrong_method(stranger: Caller) -> None:
    """What is only read cannot be written."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        sent = await stranger.request(method, f"{SERIES}SPY")
        assert (sent.status_code, sent.json()["error"]) == (405, "method_not_allowed")
        assert "GET" in sent.headers["Allow"]


async def test_head(stranger: Caller) -> None:
    """A HEAD is answered as the GET would be."""
    sent = await stranger.head("/health")
    assert sent.status_code == 200
    assert sent.headers["Content-Length"] == "20"


@pytest.mark.parametrize(
    "error", [StoreUnavailable("host=db user=flow"), SchemaMissing("relation live.rows")]
)
async def test_store_is_away(open_app: Callable[..., Any], error: Exception) -> None:
    """Without the store the answer is 503 and when to ask again, in whole seconds."""
    app = await open_app(Broken(error))
    for path in (f"{SERIES}SPY", "/v1/symbols"):
        sent = await app.get(path)
        assert sent.status_code == 503
        assert sent.headers["Retry-After"] == "5"
        assert sent.json() == {
            "error": "store_unavailable",
            "message": "The store cannot be reached just now; ask again in 5 seconds.",
        }


async def test_defect(open_app: Callable[..., Any]) -> None:
    """What nobody foresaw is a 500 without internals, whose id finds the trace in the log."""
    app = await open_app(Broken(RuntimeError("password=hunter2")))
    with capture_logs() as lines:
        sent = await app.get(f"{SERIES}SPY", headers={"Origin": "https://somewhere.else"})
    assert sent.status_code == 500
    body = sent.json()
    assert set(body) == {"error", "message", "id"}
    assert body["error"] == "internal_error"
    assert "hunter2" not in sent.text
    assert sent.headers["Access-Control-Allow-Origin"] == "*"
    [failed, request] = lines
    assert (failed["event"], failed["id"], failed["exc_info"]) == (
        "request failed",
        body["id"],
        True,
    )
    assert (request["event"], request["status"]) == ("request", 500)


async def test_log_line(stranger: Caller) -> None:
    """A request is one line with its figures, and a key is never in it."""
    with capture_logs() as lines:
        sent = await stranger.get(
            f"{SERIES}S%20Y?apiKey=secret-1&bar=1m", headers={"X-Api-Key": "secret-2"}
        )
    [line] = lines
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "client": "127.0.0.1",
        "path": f"{SERIES}S Y",
        "status": 400,
        "bytes": len(sent.content),
    }


async def test_health_and_ready(
    open_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alive is one thing, ready another; without the live channel it is ready but degraded."""
    monkeypatch.setattr("api.readiness._PATIENCE", 0.1)
    away = Broken(StoreUnavailable("gone"))
    cases = [
        (Awake(), Awake(), 200, ("Ready", "ok", "ok")),
        (Awake(), Broken(LiveError("gone")), 200, ("Degraded", "ok", "away")),
        (away, Awake(), 503, ("Unavailable", "away", "ok")),
        (Asleep(), Broken(LiveError("gone")), 503, ("Unavailable", "away", "away")),
    ]
    for store, live, status, words in cases:
        app = await open_app(store, live=live)
        sent = await app.get("/ready")
        assert sent.status_code == status
        assert tuple(sent.json()[k] for k in ("status", "database", "live_channel")) == words
        assert (await app.get("/health")).json() == {"status": "Healthy"}


async def test_cross_origin(stranger: Caller) -> None:
    """A page of any origin may ask, with a key in the header."""
    sent = await stranger.get("/health", headers={"Origin": "https://somewhere.else"})
    assert sent.headers["Access-Control-Allow-Origin"] == "*"
    headers = {
        "Origin": "https://somewhere.else",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key,content-type,if-none-match",
    }
    sent = await stranger.options(f"{SERIES}SPY", headers=headers)
    assert sent.status_code == 200
    assert sent.headers["Access-Control-Allow-Origin"] == "*"
    assert {"X-Api-Key", "Content-Type"} <= set(
        sent.headers["Access-Control-Allow-Headers"].split(", ")
    )
    # So asks a browser for a page that reads a server on loopback or in a private network.
    headers["Access-Control-Request-Private-Network"] = "true"
    sent = await stranger.options(f"{SERIES}SPY", headers=headers)
    assert sent.status_code == 200
    assert sent.headers["Access-Control-Allow-Private-Network"] == "true"


async def test_open_server_takes_any_key(store: Store, caller: Caller) -> None:
    """Without keys everybody is welcome, with a key or without."""
    assert (await caller.get(f"{SERIES}SPY")).status_code == 200
    assert (await caller.get(f"{SERIES}SPY?apiKey=anything")).status_code == 200
    sent = await caller.get(f"{SERIES}SPY", headers={"X-Api-Key": "anything"})
    assert sent.status_code == 200


async def test_keys(store: Store, open_app: Callable[..., Any]) -> None:
    """With keys, the plan decides; the refusals have the documented bodies."""
    app = await open_app(store, access=Table())
    for headers in ({}, {"X-Api-Key": ""}, {"X-Api-Key": "stolen"}):
        sent = await app.get(f"{SERIES}SPY", headers=headers)
        assert sent.status_code == 401
        assert sent.json() == {
            "title": "Unauthorized",
            "status": 401,
            "detail": "Invalid API key.",
        }
        assert "X-RateLimit-Limit" not in sent.headers
    for plan in ("Free", "Basic"):
        sent = await app.get(f"{SERIES}SPY", headers={"X-Api-Key": f"key-{plan}"})
        assert sent.status_code == 403
        assert sent.json() == {
            "status": "ERROR",
            "error": "tier_restricted",
            "message": "This endpoint requires the Growth plan or higher.",
            "current_plan": plan,
            "required_plan": "Growth",
        }
        assert sent.headers["X-RateLimit-Remaining"] == {"Free": "5", "Basic": "250"}[plan]
    for plan in ("Growth", "Alpha", "Enterprise"):
        assert (await app.get(f"{SERIES}SPY?apiKey=key-{plan}")).status_code == 200
    for path in ("/v1/symbols", "/v1/market"):
        assert (await app.get(path)).status_code == 401
        assert (await app.get(path, headers={"X-Api-Key": "key-Free"})).status_code == 200
    for path in ("/health", "/ready", "/", "/static/main.js", "/docs", "/openapi.json"):
        assert (await app.get(path)).status_code == 200
    with pytest.raises(ValueError, match="not a plan"):
        Person("Platinum")


async def test_quota(store: Store, open_app: Callable[..., Any]) -> None:
    """Every answer to a key says what is left, whatever it is; then 429 and when to ask again."""
    app = await open_app(store, access=Table("Growth=3"))
    key = {"X-Api-Key": "key-Growth"}
    for path, status, left in (
        (f"{SERIES}SPY", 200, "2"),
        (f"{SERIES}SPY?bar=2s", 400, "1"),
        (f"{SERIES}SPY/no", 404, "0"),
    ):
        sent = await app.get(path, headers=key)
        assert (sent.status_code, sent.headers["X-RateLimit-Remaining"]) == (status, left)
        assert sent.headers["X-RateLimit-Limit"] == "3"
        assert sent.headers["X-RateLimit-Reset"] == "1780704000"
    with capture_logs() as lines:
        sent = await app.get(f"{SERIES}SPY", headers=key)
    assert sent.status_code == 429
    assert sent.json() == {
        "status": "ERROR",
        "error": "Quota exceeded",
        "message": "The Growth plan's 3 requests of today are used up;"
        " ask again after 2026-06-06T00:00:00Z.",
        "current_plan": "Growth",
        "limit": 3,
        "upgrade_to": "Alpha",
        "reset_at": "2026-06-06T00:00:00Z",
    }
    assert (sent.headers["Retry-After"], sent.headers["X-RateLimit-Remaining"]) == ("5", "0")
    assert [line["key"] for line in lines if line["event"] == "request"] == ["growth"]
    sent = await app.get(f"{SERIES}SPY", headers={"X-Api-Key": "key-Alpha"})
    assert sent.headers["X-RateLimit-Limit"] == sent.headers["X-RateLimit-Remaining"] == "unlimited"


async def test_symbols(store: Store, caller: Caller) -> None:
    """The symbols are those that have rows; what is newest among them is told."""
    body = (await caller.get("/v1/symbols")).json()
    assert body.pop("endpoint_version") == "1"
    assert set(body.pop("data_as_of").values()) - {socket.gethostname()} == {None}
    empty = {"symbols": [], "indices": [], "count": 0, "last_updated": None, "dataset": "live"}
    assert body == empty
    await store.write([record(utc("14:00")), record(utc("14:10"), symbol="QQQ")])
    body = (await caller.get("/v1/symbols")).json()
    assert body.pop("endpoint_version") == "1"
    assert body.pop("data_as_of")["equity_feed"] == "2026-06-05T14:10:00Z"
    assert body == {
        "symbols": ["QQQ", "SPY"],
        "indices": [],
        "count": 2,
        "last_updated": "2026-06-05T14:10:00Z",
        "dataset": "live",
    }


async def test_symbols_in_the_order_of_the_setting(
    store: Store, open_app: Callable[..., Any]
) -> None:
    """Those of FLOW_SYMBOLS come first, in its order; the others follow by name."""
    caller = await open_app(store, symbols=("SPX", "QQQ", "NVDA"))
    await store.write([record(utc("14:00"), symbol=name) for name in ("AAPL", "QQQ", "IWM", "SPX")])
    body = (await caller.get("/v1/symbols")).json()
    assert body["symbols"] == ["SPX", "QQQ", "AAPL", "IWM"]
    assert body["indices"] == ["SPX"]


@pytest.mark.parametrize(
    ("now", "state", "session", "next_open", "next_close"),
    [
        ("2026-06-05 13:00", "pre", "2026-06-04", "2026-06-05T13:30", "2026-06-05T20:00"),
        ("2026-06-05 13:30", "open", "2026-06-05", "2026-06-08T13:30", "2026-06-05T20:00"),
        ("2026-06-05 20:00", "closed", "2026-06-05", "2026-06-08T13:30", "2026-06-08T20:00"),
        ("2026-06-06 15:00", "closed", "2026-06-05", "2026-06-08T13:30", "2026-06-08T20:00"),
        ("2026-11-26 16:00", "holiday", "2026-11-25", "2026-11-27T14:30", "2026-11-27T18:00"),
    ],
)
async def test_market(
    stranger: Caller, now: str, state: str, session: str, next_open: str, next_close: str
) -> None:
    """The market's state, the newest session, and what comes next."""
    stranger.clock.moment = utc(now)
    body = (await stranger.get("/v1/market")).json()
    assert body["state"] == state
    assert body["session"]["date"] == session
    assert body["next_open"] == f"{next_open}:00Z"
    assert body["next_close"] == f"{next_close}:00Z"
    assert body["server_time"] == now.replace(" ", "T") + ":00Z"


async def test_what_a_start_waits_for(stranger: Caller, open_app: Callable[..., Any]) -> None:
    """Whether the simulated market has begun, and how far the formulas are."""
    body = (await stranger.get("/v1/market")).json()
    assert (body["waiting"], body["formulas"]) == (False, None)
    state = {"done": 7, "total": 15, "seconds": 14, "expected_seconds": 31}
    caller = await open_app(None, formulas=lambda: state)
    caller.clock.waits = True
    body = (await caller.get("/v1/market")).json()
    assert (body["waiting"], body["formulas"]) == (True, state)


async def test_no_answer_is_taken_for_a_page(caller: Caller, store: Store) -> None:
    """Each route's answer names its type for good, once: documents, errors, tables, metrics and the page."""
    await store.write([record(utc("13:30"))])
    paths = (await caller.get("/openapi.json")).json()["paths"]
    documents = [
        path.replace("{symbol}", "SPY") for path, methods in paths.items() if "get" in methods
    ]
    documents = [path for path in documents if "{" not in path and not path.endswith("/stream")]
    assert len(documents) > 30
    for path in [
        *documents,
        "/metrics",
        "/openapi.json",
        "/docs",
        "/",
        "/nothing",
        "/static/main.js",
    ]:
        headers = (await caller.get(path)).headers
        assert headers.get_list("X-Content-Type-Options") == ["nosniff"], path
