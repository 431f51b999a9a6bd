"""MCP over Streamable HTTP: the official client, keys and quotas, hosts and origins, sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client

from api.access.keys import KeyedAccess, KeyRing, key_digest, make_key
from storage.config.plans import parse_quotas
from storage.postgres.store import Store
from storage.record.row import Reason
from storage.redis.counters import Counters
from tests.api.conftest import FLOWING, Caller, Site
from tests.api.mcp.clients import assistant, call, refusal
from tests.api.rows import FRIDAY, every, gap, utc

#: Names and arguments of the published server of this family, as its directory lists them.
PUBLISHED = {
    "get_zero_dte_flow": {"view", "symbol", "bar", "side", "minutes", "metric", "mode"},
    "get_zero_dte": {"symbol", "expiry", "strike_range"},
    "get_flow_live": {"symbol", "view"},
    "get_flow_levels": {"symbol"},
    "get_flow_pin_risk": {"symbol"},
    "get_flow_summary": {"symbol"},
    "get_flow_dealer_risk": {"symbol"},
    "get_account": set(),
    "get_symbols": set(),
}
OURS = {
    *("get_market", "get_sessions", "get_gaps", "get_alerts", "explain", "scorecard"),
    *("get_levels", "get_history", "get_leaderboard"),
}
#: Tool → the endpoints whose parameters it must have, word for word.
ENDPOINTS = {
    "get_zero_dte_flow": [
        f"/v1/flow/zero-dte/{name}/{{symbol}}"
        for name in (
            *("series", "hedge-flow", "snapshot", "heatmap", "strike-flow"),
            *("pressure", "held-levels", "projection"),
        )
    ],
    "get_zero_dte": ["/v1/exposure/zero-dte/{symbol}"],
    "get_flow_live": [f"/v1/flow/{name}/{{symbol}}" for name in ("live", "gex", "dex", "oi")],
    "get_flow_levels": ["/v1/flow/levels/{symbol}"],
    "get_flow_pin_risk": ["/v1/flow/pin-risk/{symbol}"],
    "get_flow_summary": ["/v1/flow/summary/{symbol}"],
    "get_flow_dealer_risk": ["/v1/flow/dealer-risk/{symbol}"],
    "get_levels": ["/v1/levels/{symbol}"],
    "explain": ["/v1/explain/{symbol}"],
    "scorecard": ["/v1/scorecard/{symbol}"],
    "get_sessions": ["/v1/flow/zero-dte/sessions/{symbol}"],
    "get_history": ["/v1/flow/zero-dte/history/{symbol}"],
    "get_leaderboard": ["/v1/flow/zero-dte/leaderboard"],
    "get_alerts": ["/v1/alerts"],
    "get_account": ["/v1/account"],
    "get_symbols": ["/v1/symbols"],
    "get_market": ["/v1/market"],
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
JSON = {"Accept": "application/json, text/event-stream"}


async def test_the_tools_are_those_of_the_family_and_only_read(flowing: Caller) -> None:
    """Published names with at least their arguments; every tool is read-only."""
    async with assistant(flowing) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == set(PUBLISHED) | OURS
    for name, arguments in PUBLISHED.items():
        assert arguments <= set(tools[name].input_schema["properties"])
        assert "ctx" not in tools[name].input_schema["properties"]
    for tool in tools.values():
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.description


async def test_every_parameter_of_an_endpoint_is_an_argument(flowing: Caller) -> None:
    """As the reference spells it, with its choices; the form of the answer alone is no argument."""
    paths = (await flowing.get("/openapi.json")).json()["paths"]
    async with assistant(flowing) as client:
        tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
    for name, endpoints in ENDPOINTS.items():
        properties = tools[name]["properties"]
        parameters = [
            each
            for path in endpoints
            for each in paths[path]["get"].get("parameters", ())
            if each["in"] == "query" and each["name"] not in ("format", "apiKey")
        ]
        assert {each["name"] for each in parameters} <= set(properties), name
        for each in parameters:
            if each["name"] != "kind" and (words := each["schema"].get("enum")):
                schema = properties[each["name"]]
                allowed = [schema, *schema.get("anyOf", ())]
                assert any(choice.get("enum") == words for choice in allowed) or set(words) == {
                    *next(choice["enum"] for choice in allowed if "enum" in choice)
                }, (name, each["name"])
    # All routes with figures have a tool; the several symbols at once and the stream are series.
    covered = {path for endpoints in ENDPOINTS.values() for path in endpoints}
    assert {path for path in paths if path.startswith("/v1/")} - covered == {
        "/v1/flow/zero-dte/series",
        "/v1/flow/zero-dte/series/{symbol}/stream",
        "/v1/alerts/rules",
    }


async def test_arguments_reach_the_endpoint(flowing: Caller) -> None:
    """A book, a moment, a feed and a mapping change the answer as they do there."""
    cases = [
        (
            "get_zero_dte_flow",
            {"view": "heatmap", "symbol": "SPX", "book": "settled", "minutes": 30, "max_kb": 500},
            "/v1/flow/zero-dte/heatmap/SPX?book=settled&bar=1m&minutes=30",
        ),
        (
            "get_zero_dte_flow",
            {"view": "snapshot", "symbol": "SPX", "at": "2026-11-27T16:00:10Z", "max_kb": 500},
            "/v1/flow/zero-dte/snapshot/SPX?at=2026-11-27T16:00:10Z",
        ),
        (
            "get_flow_pin_risk",
            {"symbol": "SPX", "at": "2026-11-27T16:00:10Z", "feed": "synthetic"},
            "/v1/flow/pin-risk/SPX?at=2026-11-27T16:00:10Z&feed=synthetic",
        ),
        (
            "get_levels",
            {"symbol": "SPX", "to": "ES", "basis": 38.25},
            "/v1/levels/SPX?to=ES&basis=38.25",
        ),
        (
            "scorecard",
            {"symbol": "SPX", "from": "2026-11-27", "to": "2026-11-27"},
            "/v1/scorecard/SPX?from=2026-11-27&to=2026-11-27",
        ),
    ]
    async with assistant(flowing) as client:
        for tool, arguments, path in cases:
            endpoint = (await flowing.get(path)).json()
            answer = await call(client, tool, **arguments)
            assert {n: v for n, v in answer.items() if n != "status"} == {
                n: v for n, v in endpoint.items() if n != "data_as_of"
            }, path
        with_side = await call(
            client, "get_zero_dte_flow", view="pressure", symbol="SPX", side="calls"
        )
        assert with_side["status"]["notes"][-1] == "pressure has no side; it was not used."
        assert "invalid_feed" in await refusal(client, "get_sessions", symbol="SPX", feed="?")


async def test_every_answer_fits_and_says_what_it_rests_on(flowing: Caller) -> None:
    """16 kB at most, and the status has each of its keys; those of a sample are not null."""
    status = {"simulated", "as_of", "age_seconds", "feed", "feed_delay_seconds", "flags", "session"}
    async with assistant(flowing) as client:
        tools = (await client.list_tools()).tools
        views = tools[0].input_schema["properties"]["view"]["enum"]
        calls = [("get_zero_dte_flow", {"view": view, "bar": "30s"}) for view in views]
        calls += [(tool.name, {}) for tool in tools[1:]]
        for tool, own in calls:
            arguments: dict[str, Any] = dict(own)
            schema = next(each for each in tools if each.name == tool).input_schema
            if "symbol" in schema["properties"]:
                arguments["symbol"] = "SPX"
            if "date" in schema["properties"]:
                arguments["date"] = FLOWING
            answer = await client.call_tool(tool, arguments)
            text = answer.content[0].text
            assert len(text.encode()) <= 16_000, (tool, arguments)
            body = json.loads(text)
            assert status | {"notes"} == set(body["status"]), tool
            if "underlying_price" in body or "bars" in body:
                assert body["status"]["simulated"] is True
                assert body["status"]["age_seconds"] is not None, (tool, arguments)
                assert body["status"]["feed_delay_seconds"] == 0
                assert body["status"]["session"]["slots"] == 420


async def test_the_scorecard(flowing: Caller) -> None:
    """The tool is the endpoint's document without the texts; what has no record says null."""
    async with assistant(flowing) as client:
        body = await call(client, "scorecard", symbol="SPX", kind="frozen")
        assert "No data for XYZ" in await refusal(client, "scorecard", symbol="XYZ")
    assert body["kinds"] == {"frozen": None, "backfilled": None, "recorded": None}
    assert body["enough_sessions"] == 30
    # By its dataset: this application says that it serves live rows.
    assert body["status"]["simulated"] is False


@pytest.mark.parametrize(
    ("view", "path"),
    [
        ("snapshot", "/v1/flow/zero-dte/snapshot/SPX?"),
        ("series", "/v1/flow/zero-dte/series/SPX?bar=15m&minutes=390"),
        ("hedge_flow", "/v1/flow/zero-dte/hedge-flow/SPX?bar=15m&minutes=390"),
        ("hedge-flow", "/v1/flow/zero-dte/hedge-flow/SPX?bar=15m&minutes=390"),
        ("heatmap", "/v1/flow/zero-dte/heatmap/SPX?bar=15m&minutes=390"),
        ("strike-flow", "/v1/flow/zero-dte/strike-flow/SPX?bar=15m&minutes=390"),
        ("strike_flow", "/v1/flow/zero-dte/strike-flow/SPX?bar=15m&minutes=390"),
    ],
)
async def test_a_day_is_the_endpoints_document_within_16_kb(
    flowing: Caller, view: str, path: str
) -> None:
    """Each figure is that of the endpoint; what is missing is named; asked for more, all comes."""
    endpoint = (await flowing.get(f"{path}&date={FLOWING}")).json()
    wanted = {"view": view, "symbol": "SPX", "date": FLOWING}
    async with assistant(flowing) as client:
        answer = await client.call_tool("get_zero_dte_flow", wanted)
        text = answer.content[0].text
        whole = await call(client, "get_zero_dte_flow", **wanted, max_kb=2000, figures="all")
    assert len(text.encode()) <= 16_000
    brief = json.loads(text)
    assert brief["status"]["simulated"] is True
    assert brief["status"]["session"]["slots"] == 420
    assert any("simulated" in note for note in brief["status"]["notes"])
    shortened = brief != {"status": brief["status"]} | {
        name: value for name, value in endpoint.items() if name != "data_as_of"
    }
    assert shortened == ("left_out" in brief)
    for bar in brief.get("bars", ()):
        counterpart = next(b for b in endpoint["bars"] if b["t"] == bar["t"])
        if "strikes_grid" not in brief:
            assert bar.items() <= counterpart.items()
            continue
        places = [endpoint["strikes_grid"].index(strike) for strike in brief["strikes_grid"]]
        for name, value in bar.items():
            full = counterpart[name]
            assert value == ([full[i] for i in places] if isinstance(value, list) else full)
    for strike in brief.get("strikes", ()):
        assert strike in endpoint["strikes"]
    assert {n: v for n, v in whole.items() if n != "status"} == {
        n: v for n, v in endpoint.items() if n != "data_as_of"
    }


async def test_a_figure_explained(flowing: Caller) -> None:
    """The tool gives the endpoint's explanation of a figure and of a strike's part of it."""
    for query in ({}, {"figure": "gamma_flip"}, {"figure": "net_gex", "strike": 7500.0}):
        moment = "2026-11-27T16:00:10Z"
        endpoint = (await flowing.get("/v1/explain/SPX", params=query | {"at": moment})).json()
        wanted = {"symbol": "SPX", "at": moment} | query
        async with assistant(flowing) as client:
            answer = await call(client, "explain", **wanted)
        assert answer["status"]["simulated"] is True
        assert {n: v for n, v in answer.items() if n != "status"} == {
            n: v for n, v in endpoint.items() if n != "data_as_of"
        }


async def test_the_status_says_how_old_and_what_is_missing(
    store: Store, open_app: Callable[..., Any]
) -> None:
    """Quotes of 14:29:32 at 14:35, and 20 slots that nobody sampled from 14:10 to 14:20."""
    down = [f"14:{minute}:{second}" for minute in range(10, 20) for second in ("00", "30")]
    await store.write(
        [*every("13:30", "14:09:30"), *every("14:20", "14:29:30")],
        [gap(slot, Reason.SOURCE_DOWN) for slot in down],
    )
    app = await open_app(store, "14:35")
    async with assistant(app) as client:
        levels = await call(client, "get_flow_levels", symbol="SPY")
        gaps = await call(client, "get_gaps", symbol="SPY")
    assert levels["status"]["simulated"] is False
    assert levels["status"]["age_seconds"] == 328
    assert "The newest quotes are 328 s old" in levels["status"]["notes"][0]
    reasons = levels["status"]["session"]["reasons"]
    assert reasons["source_down"] == 20
    assert f"{reasons['source_down']} source_down" in levels["status"]["notes"][1]
    assert [(gap["from"], gap["reason"]) for gap in gaps["gaps"]][:1] == [
        ("2026-06-05T14:10:00Z", "source_down")
    ]


async def test_what_cannot_be_answered_is_a_sentence(flowing: Caller) -> None:
    """Unknown symbols, days without rows, and arguments that are none."""
    async with assistant(flowing) as client:
        assert "No data for NOPE" in await refusal(client, "get_flow_levels", symbol="NOPE")
        sentence = await refusal(
            client, "get_zero_dte_flow", view="series", symbol="SPX", date="2026-13-01"
        )
        assert "invalid_date" in sentence
        assert "view" in await refusal(client, "get_zero_dte_flow", view="x", symbol="SPX")
        for path in ("../../health", "SPX/stream", "SPX?date=1", "%2e%2e"):
            assert await refusal(client, "get_flow_levels", symbol=path)


async def test_resources_and_prompts(flowing: Caller) -> None:
    """The definitions as they stand in the docs, levels by symbol, and two prompts."""
    async with assistant(flowing) as client:
        (text,) = (await client.read_resource("flow://definitions")).contents
        assert text.text.startswith("# ")
        assert "hedge_flow" in text.text
        (levels,) = (await client.read_resource("flow://levels/SPX")).contents
        assert json.loads(levels.text)["status"]["simulated"] is True
        names = {prompt.name for prompt in (await client.list_prompts()).prompts}
        assert names == {"morning_brief", "what_changed"}
        prompt = await client.get_prompt("what_changed", {"symbol": "QQQ", "minutes": "45"})
        assert "QQQ" in prompt.messages[0].content.text
        assert "minutes=45" in prompt.messages[0].content.text


async def test_keys_plans_and_quotas_are_the_apis(
    store: Store, servers: Any, open_app: Callable[..., Any]
) -> None:
    """No key: 401. A Free key may list sessions and read no flow; a quota of 2 ends at the third."""
    await store.write(every("14:20", "14:29:30"))
    keys = {}
    for name, plan in (("free", "Free"), ("desk", "Growth")):
        key_id, key = make_key()
        keys[name] = key
        await store.keys.insert(
            key_id, key_digest(key), name=name, email="", plan=plan, expires_at=None
        )
    ring = KeyRing(store.keys, lambda: utc("14:30"))
    prefix = f"flow:mcp:{keys['desk'][-8:]}"
    async with ring.current(), Counters.open(servers.redis_url, prefix) as counters:
        access = KeyedAccess(ring, counters, parse_quotas("Growth=2"), lambda: utc("14:30"))
        app = await open_app(store, access=access)
        for headers in ({}, {"X-Api-Key": "wrong"}):
            sent = await app.post("/mcp", json=INITIALIZE, headers=JSON | headers)
            assert sent.status_code == 401
        async with assistant(app, X_Api_Key=keys["free"]) as client:
            assert (await call(client, "get_sessions", symbol="SPY"))["count"] == 1
            sentence = await refusal(client, "get_flow_levels", symbol="SPY")
            assert "requires the Growth plan" in sentence
        async with assistant(app, Authorization=f"Bearer {keys['desk']}") as client:
            for used in (1, 2):
                levels = await call(client, "get_flow_levels", symbol="SPY")
                # The second request for the session's coverage is not counted.
                assert levels["status"]["session"]["rows"] == 20
                assert (await call(client, "get_account"))["usage_today"] == used
            sentence = await refusal(client, "get_flow_levels", symbol="SPY")
            assert "2 requests of today are used up" in sentence


async def test_a_page_of_another_origin_is_refused(
    store: Store, open_app: Callable[..., Any]
) -> None:
    """A browser sends the page's origin; one that may not read the answers may not call tools."""
    app = await open_app(store, origins=("https://desk.example",))
    for origin, status in (
        ("https://evil.example", 403),
        ("https://desk.example", 200),
    ):
        sent = await app.post("/mcp", json=INITIALIZE, headers=JSON | {"Origin": origin})
        assert sent.status_code == status, sent.text


async def test_only_a_message_is_answered_and_without_a_redirect(flowing: Caller) -> None:
    """``POST /mcp`` answers itself; other methods are 405; what is no message is 400 or 413."""
    sent = await flowing.post("/mcp", json=INITIALIZE, headers=JSON)
    assert sent.status_code == 200
    assert sent.json()["result"]["serverInfo"]["name"] == "zerodte-flow"
    assert (await flowing.get("/mcp")).status_code == 405
    assert (await flowing.delete("/mcp")).status_code == 405
    headers = JSON | {"Content-Type": "application/json"}
    assert (await flowing.post("/mcp", content=b"{", headers=headers)).status_code == 400
    large = b" " * (256 * 1024 + 1)
    assert (await flowing.post("/mcp", content=large, headers=headers)).status_code == 413


async def test_over_a_socket(site: Site) -> None:
    """The same by a real connection, as the product serves it."""
    async with Client(f"http://127.0.0.1:{site.port}/mcp") as client:
        levels = await call(client, "get_flow_levels", symbol="SPY")
    assert levels["expiry"] == str(FRIDAY)
