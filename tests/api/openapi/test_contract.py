"""Every endpoint to the field, on real chains and on a session with flow in every slot."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api import contract
from tests.api.conftest import FLOWING, LICENSED, Caller

ZERO = contract.ZERO
ALIKE = ("endpoint_version", "data_as_of")


async def ask(caller: Caller, path: str, status: int = 200) -> dict[str, Any]:
    sent = await caller.get(path)
    assert sent.status_code == status, sent.text
    return sent.json()


@pytest.mark.parametrize("path", contract.ROUTES)
async def test_a_session_of_flow_is_to_the_field(flowing: Caller, path: str) -> None:
    """While the session runs, at its close and after it, every answer has the contract's types."""
    kind = contract.ROUTES[path]
    for moment, query in (
        (datetime(2026, 11, 27, 16, 0, 5, tzinfo=UTC), ""),
        (datetime(2026, 11, 27, 16, 0, 5, tzinfo=UTC), "?at=2026-11-27T14:40:00Z"),
        (datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC), f"?date={FLOWING}&at=2026-11-27T17:50:00Z"),
    ):
        flowing.clock.moment = moment
        sent = await flowing.get(path.format("spx") + query)
        assert sent.status_code == 200, sent.text
        contract.read(kind, sent.content)
        body = sent.json()
        assert body["symbol"] == "SPX"
        assert body.get("expiration", body.get("expiry", FLOWING)) == FLOWING
        feeds = body["data_as_of"]
        assert {k for k, v in feeds.items() if v} == {
            "node",
            "index_feed",
            "index_options_feed",
            "flow_feed",
            "oi_feed",
        }


@pytest.mark.parametrize("symbol", ["SPX", "SPY", "QQQ"])
@pytest.mark.parametrize("path", contract.ROUTES)
async def test_recorded_chains_are_to_the_field(recorded: Caller, path: str, symbol: str) -> None:
    """Real chains give every answer in full, days after they were recorded."""
    for day in ("2026-08-18", "2026-08-19"):
        sent = await recorded.get(path.format(symbol), params={"date": day})
        assert sent.status_code == 200, sent.text
        contract.read(contract.ROUTES[path], sent.content)


@pytest.mark.parametrize("day", LICENSED)
@pytest.mark.parametrize("path", contract.ROUTES)
async def test_licensed_chains_are_to_the_field(licensed: Caller, path: str, day: str) -> None:
    """Real chains with a licence give every answer in full, years after they were recorded."""
    sent = await licensed.get(path.format("SPX"), params={"date": day})
    assert sent.status_code == 200, sent.text
    contract.read(contract.ROUTES[path], sent.content)


async def test_nothing_is_no_number(flowing: Caller) -> None:
    """No NaN, no infinity, no integer with a point, in any answer."""

    def whole(text: str) -> float:
        number = float(text)
        assert number == number
        return number

    def refuse(text: str) -> float:
        raise AssertionError(text)

    for path in contract.ROUTES:
        sent = await flowing.get(path.format("SPX"), params={"date": FLOWING})
        assert b"NaN" not in sent.content
        assert b"Infinity" not in sent.content
        json.loads(sent.content, parse_float=whole, parse_constant=refuse)


async def test_leaderboard(flowing: Caller) -> None:
    """Entries descend, by each metric's own figure of the newest sample."""
    series = await ask(flowing, f"{ZERO}series/SPX?minutes=1")
    newest = series["bars"][-1]
    expected = {
        "heat": newest["hedge_flow_cumulative_all"] / abs(newest["net_gex"]),
        "pin_risk": newest["pin_score"],
        "abs_flow": abs(newest["hedge_flow_cumulative_all"]),
    }
    # The newest sample is of the last minute, which has no charm: the symbol is left out.
    assert newest["charm_dollars_per_hour"] is None
    assert (await ask(flowing, f"{ZERO}leaderboard?metric=charm_intensity"))["entries"] == []
    for metric, value in expected.items():
        sent = await flowing.get(f"{ZERO}leaderboard", params={"metric": metric, "n": 5})
        contract.read(contract.Leaderboard, sent.content)
        body = sent.json()
        assert (body["metric"], body["n"], body["market_open"]) == (metric, 5, False)
        [entry] = body["entries"]
        assert (entry["rank"], entry["symbol"]) == (1, "SPX")
        assert entry["value"] == pytest.approx(value, abs=1e-6)
    assert (await ask(flowing, f"{ZERO}leaderboard"))["n"] == 20


async def test_leaderboard_of_a_day(recorded: Caller) -> None:
    """An earlier session is ranked by its own last samples; a day without rows has no entries."""
    body = await ask(recorded, f"{ZERO}leaderboard?metric=pin_risk&date=2026-08-18")
    scores = {}
    for symbol in ("SPX", "SPY", "QQQ"):
        series = await ask(recorded, f"{ZERO}series/{symbol}?date=2026-08-18")
        scores[symbol] = series["bars"][-1]["pin_score"]
    expected = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    assert [(e["symbol"], e["value"]) for e in body["entries"]] == expected
    assert [e["rank"] for e in body["entries"]] == [1, 2, 3]
    assert len((await ask(recorded, f"{ZERO}leaderboard?n=2"))["entries"]) == 2
    assert (await ask(recorded, f"{ZERO}leaderboard?date=2026-08-17"))["entries"] == []


async def test_siblings_and_snapshot_agree(flowing: Caller) -> None:
    """What several answers say of one moment is the same in each."""
    snapshot = await ask(flowing, f"{ZERO}snapshot/SPX?at=2026-11-27T17:00:00Z")
    exposure = await ask(flowing, "/v1/exposure/zero-dte/SPX?at=2026-11-27T17:00:00Z")
    answers = {
        name: await ask(flowing, f"/v1/flow/{name}/SPX?at=2026-11-27T17:00:00Z")
        for name in ("levels", "pin-risk", "gex", "dex", "summary", "dealer-risk", "oi", "live")
    }
    series = await ask(flowing, f"{ZERO}series/SPX?date={FLOWING}")
    [bar] = [b for b in series["bars"] if b["t"] == "2026-11-27T17:00:00Z"]
    live = answers["live"]
    assert snapshot["exposures"]["net_gex"] == bar["net_gex"] == live["live_gex"]
    assert snapshot["exposures"]["net_dex"] == bar["net_dex"] == live["live_gex_delta"]
    assert snapshot["regime"]["gamma_flip"] == bar["gamma_flip"]
    assert answers["levels"]["live_gamma_flip"] == bar["gamma_flip"]
    assert answers["levels"]["live_call_wall"] == snapshot["levels"]["call_wall"]
    assert answers["pin-risk"]["live_pin_risk"] == bar["pin_score"]
    assert answers["pin-risk"]["breakdown"] == snapshot["pin_risk"]["components"]
    assert answers["gex"]["live_net_gex"] == bar["net_gex"]
    assert answers["dex"]["live_net_dex"] == bar["net_dex"]
    direction = snapshot["flow_direction"]
    assert direction["label"] == answers["summary"]["flow_direction"] != "no_flow"
    assert direction["settled_net_gex"] == exposure["exposures"]["net_gex"]
    assert answers["dealer-risk"]["flow_gex_pct_shift"] == direction["flow_gex_pct_shift"]
    nested = live["flow_adjusted_dealer_risk"]
    assert nested == {key: answers["dealer-risk"][key] for key in nested}
    oi = answers["oi"]
    assert oi["simulated_oi"] - oi["official_oi"] == oi["intraday_oi_delta"]
    assert oi["effective_oi"] == snapshot["flow"]["total_oi"]
    assert oi["official_oi"] == exposure["flow"]["total_oi"]
    gex = answers["gex"]["strikes"]
    assert sum(s["net_gex"] for s in gex) == pytest.approx(bar["net_gex"], rel=1e-9)
    assert sum(s["call_oi"] + s["put_oi"] for s in gex) == oi["effective_oi"]
    dex = answers["dex"]["strikes"]
    assert sum(s["net_dex"] for s in dex) == pytest.approx(bar["net_dex"], rel=1e-9)


async def test_sessions(recorded: Caller, flowing: Caller) -> None:
    """Stored days with their coverage; every slot of a session is a row or a gap."""
    body = await ask(recorded, f"{ZERO}sessions/SPX")
    counts = [(s["date"], s["rows"], s["gaps"], s["slots"]) for s in body["sessions"]]
    earlier = [(day, 1, 779, 780) for day in LICENSED]
    assert counts == [*earlier, ("2026-08-18", 2, 778, 780), ("2026-08-19", 2, 778, 780)]
    assert body["sessions"][2]["first"] == "2026-08-18T14:18:30Z"
    [day] = (await ask(flowing, f"{ZERO}sessions/SPX"))["sessions"]
    assert (day["date"], day["rows"], day["slots"]) == (FLOWING, 419, 420)
    assert day["reasons"] == {"not_open": 1}
    flowing.clock.moment = datetime(2026, 11, 27, 15, 0, 5, tzinfo=UTC)
    body = await ask(flowing, f"{ZERO}sessions/SPX")
    assert body["sessions"][0]["slots"] == 420, "a row that is there has had its time"
    assert (await ask(flowing, f"{ZERO}sessions/XYZ", 404))["error"] == "symbol_not_found"


@pytest.mark.parametrize("path", contract.ROUTES)
async def test_a_closed_market_is_to_the_field(flowing: Caller, path: str) -> None:
    """At the close, in the evening, at the weekend and before the next open: the last measure.

    `session_closed` is the snapshot's alone.
    """
    flowing.clock.moment = datetime(2026, 11, 27, 17, 59, 50, tzinfo=UTC)
    open_until = (await flowing.get(path.format("SPX"))).json()
    kind = contract.SessionClosed if "snapshot" in path else contract.ROUTES[path]
    for moment in (
        datetime(2026, 11, 27, 18, 0, 0, tzinfo=UTC),
        datetime(2026, 11, 27, 23, 0, 5, tzinfo=UTC),
        datetime(2026, 11, 28, 15, 0, 0, tzinfo=UTC),
        datetime(2026, 11, 30, 14, 29, 59, tzinfo=UTC),
    ):
        flowing.clock.moment = moment
        sent = await flowing.get(path.format("SPX"))
        assert sent.status_code == 200, sent.text
        contract.read(kind, sent.content)
        body = sent.json()
        assert ("session_closed" in body) == ("snapshot" in path)
        if "exposure" in path:
            assert (open_until["market_open"], body["market_open"]) == (True, False)
            changes = (
                "market_open",
                "as_of",
                "time_to_close_hours",
                "time_to_close_pct",
                "metadata",
            )
            for name in set(open_until) - set(changes):
                assert body[name] == open_until[name], name
