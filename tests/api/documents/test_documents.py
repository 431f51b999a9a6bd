"""Figures of the documents: real chains beside a slow program of others, by hand, by the database.

``reference/snapshots.jsonl`` holds what an independent program gets for each recorded chain on
settled open interest; arrays by strike are read from the tables here, as the lists that they are.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from api.documents.direction import direction_label, flow_shift
from tests import independent
from tests.api.conftest import FLOWING, LICENSED, Caller
from tests.api.rows import utc
from tests.real_chains import RealChain, schwab, volkit

ZERO = "/v1/flow/zero-dte/"


async def ask(caller: Caller, path: str) -> dict[str, Any]:
    sent = await caller.get(path)
    assert sent.status_code == 200, sent.text
    return sent.json()


def references(shared: Path) -> list[dict[str, Any]]:
    lines = (shared / "reference/snapshots.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if entry["at"].startswith("2026-08-1")]


def exposure_figures(body: dict[str, Any]) -> dict[str, Any]:
    """Figures of an exposure document by the names of the independent programs."""
    return {
        "spot": body["underlying_price"],
        "net_gex": body["exposures"]["net_gex"],
        "gross_gex": body["exposures"]["gross_gex"],
        "net_dex": body["exposures"]["net_dex"],
        "net_vex": body["exposures"]["net_vex"],
        "dealer_delta": body["exposures"]["dealer_delta"],
        "atm_iv": body["expected_move"]["atm_iv"],
        "call_wall": body["levels"]["call_wall"],
        "put_wall": body["levels"]["put_wall"],
        "magnet": body["pin_risk"]["magnet_strike"],
        "magnet_gex": body["pin_risk"]["magnet_gex"],
        "max_pain": body["pin_risk"]["max_pain"],
        "pin_score": body["pin_risk"]["pin_score"],
        "contracts": body["metadata"]["chain_contract_count"],
        "total_oi": body["flow"]["total_oi"],
    }


@pytest.mark.parametrize("chain", [volkit(), schwab()], ids=lambda chain: chain.name)
async def test_exposure_of_licensed_chains(licensed: Caller, chain: RealChain) -> None:
    """Settled figures of the licensed chains are those of the independent program."""
    expected = independent.answer(chain.sample)
    figures = expected.figures | expected.settled | {"spot": expected.figures["spot"]}
    moment = f"{chain.quoted_at:%Y-%m-%dT%H:%M:%S}"
    body = await ask(licensed, f"/v1/exposure/zero-dte/SPX?at={moment}")
    answered = exposure_figures(body) | {
        "net_chex": body["exposures"]["net_chex"],
        "charm_dollars_per_hour": body["decay"]["charm_dollars_per_hour"],
    }
    for name, value in answered.items():
        assert value == pytest.approx(figures[name], rel=1e-8), name
    assert body["regime"]["gamma_flip"] == figures["gamma_flip"]
    assert body["regime"]["gamma_flip_status"] == figures["gamma_flip_status"]
    strikes = {strike: i for i, strike in enumerate(expected.profile["strike"])}
    assert len(body["strikes"]) >= 10
    for row in body["strikes"]:
        i = strikes[row["strike"]]
        for name in ("call_oi", "put_oi", "call_volume", "put_volume"):
            assert row[name] == expected.profile[name][i], (row["strike"], name)
        for name in ("call_gex", "put_gex"):
            assert row[name] == pytest.approx(expected.profile[f"settled_{name}"][i], abs=0.01)


@pytest.mark.parametrize("day", LICENSED)
async def test_scores_of_any_range_of_licensed_chains(licensed: Caller, day: str) -> None:
    """The two scores within ±3 % are those that were stored; counted here, they come out the same."""
    await scores_are_those_stored(licensed, "SPX", day)


async def test_exposure_is_what_another_program_gets(recorded: Caller, shared: Path) -> None:
    """Settled figures of every recorded chain of two days, asked by the moment of its quotes."""
    entries = references(shared)
    assert len(entries) == 12
    for entry in entries:
        symbol = entry["file"].partition("_")[0]
        body = await ask(recorded, f"/v1/exposure/zero-dte/{symbol}?at={entry['at'][:19]}")
        for name, value in exposure_figures(body).items():
            # The program takes gamma per $ of forward, we per $ of spot.
            gamma = entry["forward"] / entry["spot"] if name.endswith("gex") else 1
            assert value == pytest.approx(entry[name] * gamma, rel=1e-8), (entry["file"], name)
        if entry["gamma_flip"] is None:
            assert body["regime"]["gamma_flip"] is None
        else:
            assert body["regime"]["gamma_flip"] == pytest.approx(entry["gamma_flip"], rel=1e-5)
        left = body["expected_move"]["remaining_1sd_dollars"]
        assert left == pytest.approx(entry["remaining_1sd"], abs=1e-3)
        parts = body["pin_risk"]["components"]
        expected = {f"{k}_score": math.floor(v + 0.5) for k, v in entry["pin_parts"].items()}
        assert parts == expected


async def test_exposure_of_the_archive(recorded: Caller, shared: Path) -> None:
    """By strike, open interest and volume of a published archive of the same frame."""
    file = shared / "spx-gex-archive/profile/2026-08-19_1030.csv"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    head = lines[0].split(",")
    theirs = {
        float(row["strike"]): row
        for row in (dict(zip(head, line.split(","), strict=True)) for line in lines[1:])
    }
    body = await ask(recorded, "/v1/exposure/zero-dte/SPX?at=2026-08-19T10:15&strike_range=0.01")
    strikes = {row["strike"]: row for row in body["strikes"]}
    common = strikes.keys() & theirs.keys()
    assert len(common) >= 25
    for strike in common:
        ours, other = strikes[strike], theirs[strike]
        assert ours["call_oi"] == float(other["coi"])
        assert ours["put_oi"] == float(other["poi"])
        assert ours["call_volume"] == float(other["cvol"])
        assert ours["put_volume"] == float(other["pvol"])


async def test_strikes_add_up(flowing: Caller) -> None:
    """The table by strike adds up to the headline, shares to 100, and stays within its range."""
    body = await ask(flowing, "/v1/exposure/zero-dte/SPX?at=2026-11-27T16:00:00Z&strike_range=0.1")
    spot, rows = body["underlying_price"], body["strikes"]
    gex = {
        row["strike"]: row
        for row in (await ask(flowing, "/v1/flow/gex/SPX?at=2026-11-27T16:00:00Z"))["strikes"]
    }
    assert [row["strike"] for row in rows] == [k for k in gex if abs(k - spot) <= 0.1 * spot]
    for row in rows:
        assert row["net_gex"] == pytest.approx(row["call_gex"] + row["put_gex"], abs=0.02)
        assert row["call_gex"] >= 0 >= row["put_gex"]
        assert row["call_delta"] - row["put_delta"] == pytest.approx(1)
        assert row["distance_from_spot_pct"] == pytest.approx(
            100 * (row["strike"] / spot - 1), abs=1e-4
        )
        assert row["call_symbol"] == f"SPX-261127-C-{row['strike']:g}"
        if row["call_spread_pct"] is not None:
            # Theta and gamma belong together: Θ = −½σ²S²Γ a year, to the forward's own level.
            per_day = -0.5 * row["call_iv"] ** 2 * spot**2 * row["call_gamma"] / 365
            assert row["call_theta"] == pytest.approx(per_day, rel=2e-3, abs=2e-3)
    inside = [row for row in rows if row["call_symbol"]]
    if len(inside) == len(gex):
        assert sum(row["gex_share_pct"] for row in rows) == pytest.approx(100, abs=0.01)
        assert sum(row["oi_share_pct"] for row in rows) == pytest.approx(100, abs=0.01)
    narrow = await ask(
        flowing, "/v1/exposure/zero-dte/SPX?at=2026-11-27T16:00:00Z&strike_range=0.002"
    )
    assert 1 <= len(narrow["strikes"]) < len(rows)
    assert narrow["exposures"] == body["exposures"]
    # Clamped, silently.
    for text, bound in (("0", "0.001"), ("-3", "0.001"), ("7", "0.1"), ("1e300", "0.1")):
        path = "/v1/exposure/zero-dte/SPX?at=2026-11-27T16:00:00Z&strike_range="
        clamped, plain = await ask(flowing, path + text), await ask(flowing, path + bound)
        assert clamped["strikes"] == plain["strikes"]


async def test_scores_of_any_range(recorded: Caller) -> None:
    """The two scores within ±3 % are those that were stored; counted here, they come out the same."""
    for symbol in ("SPX", "SPY", "QQQ"):
        await scores_are_those_stored(recorded, symbol, "2026-08-19")


async def scores_are_those_stored(caller: Caller, symbol: str, day: str) -> None:
    path = f"/v1/exposure/zero-dte/{symbol}?date={day}&strike_range="
    stored, counted = await ask(caller, f"{path}0.03"), await ask(caller, f"{path}0.0300001")
    assert stored["strikes"] == counted["strikes"]
    for score in ("data_quality_score", "greek_smoothness_score"):
        assert stored["metadata"][score] == counted["metadata"][score]


async def test_snapshot_by_hand(flowing: Caller) -> None:
    """What a document divides, counted again from its own parts."""
    body = await ask(flowing, f"{ZERO}snapshot/SPX?at=2026-11-27T16:30:00Z")
    spot, levels, flow = body["underlying_price"], body["levels"], body["flow"]
    assert body["time_to_close_hours"] == pytest.approx(1.5, abs=0.01)
    assert body["time_to_close_pct"] == pytest.approx(100 * 2 / 3.5, abs=0.2)
    regime, pin = body["regime"], body["pin_risk"]
    if regime["gamma_flip"] is not None:
        away = spot - regime["gamma_flip"]
        assert regime["spot_to_flip_pct"] == pytest.approx(100 * away / spot, abs=1e-4)
        assert regime["spot_vs_flip"] == ("above" if away >= 0 else "below")
        sigma = body["expected_move"]["remaining_1sd_dollars"]
        assert regime["distance_to_flip_sigmas"] == pytest.approx(abs(away) / sigma, rel=1e-3)
    assert pin["distance_to_magnet_pct"] == pytest.approx(
        100 * (pin["magnet_strike"] - spot) / spot, abs=1e-4
    )
    rows = (await ask(flowing, "/v1/flow/gex/SPX?at=2026-11-27T16:30:00Z"))["strikes"]
    wall = max(rows, key=lambda row: row["call_gex"])
    assert (levels["call_wall"], levels["call_wall_gex"]) == (wall["strike"], wall["call_gex"])
    side = sum(abs(row["call_gex"]) for row in rows)
    assert levels["call_wall_strength"] == pytest.approx(abs(wall["call_gex"]) / side, abs=1e-6)
    most = max(rows, key=lambda row: (row["call_oi"] + row["put_oi"], -abs(row["strike"] - spot)))
    assert levels["highest_oi_strike"] == most["strike"]
    assert levels["highest_oi_total"] == most["call_oi"] + most["put_oi"]
    assert levels["max_positive_gamma"] == max(rows, key=lambda row: row["net_gex"])["strike"]
    assert levels["max_negative_gamma"] == min(rows, key=lambda row: row["net_gex"])["strike"]
    near = sorted(r["call_oi"] + r["put_oi"] for r in rows if abs(r["strike"] - spot) <= spot / 100)
    assert pin["oi_concentration_top3_pct"] == pytest.approx(
        100 * sum(near[-3:]) / sum(near), abs=1e-4
    )
    traded = [row["call_volume"] + row["put_volume"] for row in rows]
    assert sum(traded) == flow["total_volume"]
    assert flow["top3_strike_volume_pct"] == pytest.approx(
        100 * sum(sorted(traded)[-3:]) / sum(traded), abs=1e-4
    )
    assert flow["pc_ratio_volume"] == pytest.approx(
        flow["put_volume"] / flow["call_volume"], abs=1e-6
    )
    for hedge in (v for v in body["hedging"].values() if isinstance(v, dict)):
        assert hedge["direction"] == ("buy" if hedge["dealer_shares_to_trade"] >= 0 else "sell")
        assert hedge["notional_usd"] == pytest.approx(
            hedge["dealer_shares_to_trade"] * spot, abs=0.01
        )
    now, week = body["vol_context"]["zero_dte_atm_iv"], body["expected_move"]["atm_iv"]
    assert now == pytest.approx(100 * week, abs=1e-4)
    assert "warnings" not in body


async def test_last_minutes_warn(flowing: Caller) -> None:
    """In the last five minutes an answer warns, and still has every number."""
    body = await ask(flowing, f"{ZERO}snapshot/SPX?at=2026-11-27T17:54:59Z")
    assert "warnings" not in body
    body = await ask(flowing, f"{ZERO}snapshot/SPX?at=2026-11-27T17:55:00Z")
    assert len(body["warnings"]) == 1
    body = await ask(flowing, f"{ZERO}snapshot/SPX?date={FLOWING}")
    assert len(body["warnings"]) == 2
    assert body["expected_move"]["atm_iv"] > 0
    assert body["expected_move"]["remaining_1sd_dollars"] > 0


@pytest.mark.parametrize(
    ("settled", "live", "contracts", "expected"),
    [
        (-1.2e9, -1.45e9, 412, ("amplifying", pytest.approx(0.208333))),
        (1e9, 1.04e9, 1, ("neutral", pytest.approx(0.04))),
        (1e9, 0.9e9, 1, ("dampening", pytest.approx(-0.1))),
        (1e9, -1e7, 1, ("regime_flip", pytest.approx(-1.01))),
        (1e9, 1e9, 0, ("no_flow", 0.0)),
        (0.0, 5.0, 1, ("regime_flip", None)),
        (0.0, 0.0, 1, ("neutral", 0.0)),
        (0.0, 0.0, 0, ("no_flow", 0.0)),
    ],
)
def test_direction(settled: float, live: float, contracts: int, expected: tuple[str, Any]) -> None:
    """The contract's five words, and the signed fraction behind them."""
    assert (direction_label(settled, live, contracts), flow_shift(settled, live)) == expected


# By strike and bar.


def stored(url: str, columns: str) -> dict[datetime, dict[str, Any]]:
    """Rows and profiles of the synthetic day, as the tables have them."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute(
            f"select p.slot, r.spot, p.strike, {columns} from synthetic.profiles p"  # type: ignore[arg-type]
            " join synthetic.rows r using (symbol, expiration, slot) order by 1"
        ).fetchall()
    return {row["slot"].astimezone(UTC): row for row in rows}


def last_of(rows: dict[datetime, dict[str, Any]], minutes: int) -> dict[datetime, dict[str, Any]]:
    """The last row of each bucket of the clock."""
    width = timedelta(minutes=minutes).total_seconds()
    last = {}
    for slot, row in rows.items():
        last[datetime.fromtimestamp(slot.timestamp() // width * width, UTC)] = row
    return last


@pytest.mark.parametrize("metric", ["gex", "dex", "vex", "chex", "oi", "signed_flow", "volume"])
@pytest.mark.parametrize(("bar", "minutes"), [("1m", 1), ("5m", 5), ("15m", 15), ("30s", 0.5)])
async def test_heatmap(
    flowing: Caller, sessions_database: str, metric: str, bar: str, minutes: float
) -> None:
    """Every metric, mode and bar size is what the tables have at the last sample of each bar."""
    sums = {
        "gex": "p.call_gex, p.put_gex",
        "dex": "p.call_dex, p.put_dex",
        "vex": "p.vex",
        "chex": "p.chex",
        "oi": "p.call_oi, p.put_oi, p.call_signed, p.put_signed",
        "signed_flow": "p.call_flow, p.put_flow",
        "volume": "p.call_volume, p.put_volume",
    }[metric]
    rows = last_of(stored(sessions_database, sums), minutes)
    expected = {}
    for bucket, row in rows.items():
        parts = [np.array(v) for k, v in row.items() if k not in ("slot", "spot", "strike")]
        if metric == "oi":
            calls = np.floor(np.maximum(parts[0] + 0.43 * parts[2], 0) + 0.5)
            expected[bucket] = calls + np.floor(np.maximum(parts[1] + 0.43 * parts[3], 0) + 0.5)
        else:
            expected[bucket] = sum(parts)
    body = await ask(flowing, f"{ZERO}heatmap/SPX?metric={metric}&bar={bar}&minutes=390")
    assert (body["metric"], body["mode"], body["bar_size"]) == (metric, "raw", bar)
    assert body["strikes_grid"] == next(iter(rows.values()))["strike"]
    bars = {datetime.fromisoformat(b["t"]): b for b in body["bars"]}
    assert list(bars) == list(expected)
    table = np.array([expected[t] for t in bars])
    if metric == "signed_flow":
        table = np.diff(table, axis=0, prepend=0)
    values = np.array([b["values"] for b in bars.values()])
    np.testing.assert_allclose(values, table, atol=0.006, rtol=1e-12)
    assert [b["spot"] for b in bars.values()] == [row["spot"] for row in rows.values()]
    change = await ask(
        flowing, f"{ZERO}heatmap/SPX?metric={metric}&mode=delta&bar={bar}&minutes=390"
    )
    moved = np.array([b["values"] for b in change["bars"]])
    if metric == "signed_flow":
        np.testing.assert_array_equal(moved, values)
    elif metric == "volume":
        row = next(iter(stored(sessions_database, sums).values()))
        first = np.array(row["call_volume"]) + np.array(row["put_volume"])
        traded = np.maximum(np.diff(table, axis=0, prepend=[first]), 0)
        np.testing.assert_array_equal(moved, traded)
    else:
        np.testing.assert_allclose(moved, np.diff(table, axis=0, prepend=0), atol=0.006, rtol=1e-12)
    if metric in ("oi", "volume"):
        assert all(isinstance(v, int) for b in body["bars"] for v in b["values"])


@pytest.mark.parametrize("metric", ["gex", "dex", "vex", "chex", "oi", "signed_flow", "volume"])
@pytest.mark.parametrize("book", ["live", "settled"])
async def test_heatmap_since_the_open(
    flowing: Caller, sessions_database: str, metric: str, book: str
) -> None:
    """The change counts from the first 30 s sample in bars of every size; the settled book is apart."""
    settled = "settled_" if book == "settled" else ""
    sums = {
        "gex": f"p.{settled}call_gex, p.{settled}put_gex",
        "dex": f"p.{settled}call_dex, p.{settled}put_dex",
        "vex": f"p.{settled}vex",
        "chex": f"p.{settled}chex",
        "oi": "p.call_oi, p.put_oi" + ("" if settled else ", p.call_signed, p.put_signed"),
        "signed_flow": "p.call_flow, p.put_flow",
        "volume": "p.call_volume, p.put_volume",
    }[metric]

    def figure(row: dict[str, Any]) -> Any:
        parts = [np.array(v) for k, v in row.items() if k not in ("slot", "spot", "strike")]
        if metric == "oi" and not settled:
            calls = np.floor(np.maximum(parts[0] + 0.43 * parts[2], 0) + 0.5)
            return calls + np.floor(np.maximum(parts[1] + 0.43 * parts[3], 0) + 0.5)
        return sum(parts)

    slots = stored(sessions_database, sums)
    first = figure(next(iter(slots.values()))) if metric != "signed_flow" else 0.0
    for bar, minutes in (("30s", 0.5), ("15m", 15)):
        path = f"{ZERO}heatmap/SPX?metric={metric}&book={book}&bar={bar}&minutes=390"
        body = await ask(flowing, f"{path}&mode=since_open")
        assert (body["mode"], body["book"]) == ("since_open", book)
        rows = last_of(slots, minutes)
        values = np.array([b["values"] for b in body["bars"]])
        expected = np.array([figure(row) - first for row in rows.values()])
        np.testing.assert_allclose(values, expected, atol=0.011, rtol=1e-12)
        if metric != "signed_flow":
            raw = await ask(flowing, path)
            standing = np.array([figure(row) for row in rows.values()])
            values = np.array([b["values"] for b in raw["bars"]])
            np.testing.assert_allclose(values, standing, atol=0.006, rtol=1e-12)
    # A partial window counts from the same sample.
    short = await ask(flowing, path.replace("390", "20") + "&mode=since_open")
    assert [b["values"] for b in short["bars"]] == [b["values"] for b in body["bars"][-2:]]


async def test_windows_of_flow_agree(flowing: Caller) -> None:
    """A bar is the same in every window that has it, wherever the window begins."""
    for path in (
        "heatmap/SPX?metric=signed_flow&bar=5m",
        "strike-flow/SPX?bar=5m",
        "hedge-flow/SPX?bar=5m",
    ):
        whole = {b["t"]: b for b in (await ask(flowing, f"{ZERO}{path}&minutes=390"))["bars"]}
        for minutes in (1, 7, 33, 120):
            window = (await ask(flowing, f"{ZERO}{path}&minutes={minutes}"))["bars"]
            assert window == [whole[b["t"]] for b in window], (path, minutes)
            assert len(window) == math.ceil(minutes / 5)


@pytest.mark.parametrize("bar", ["30s", "1m", "5m", "15m"])
async def test_hedge_flow(flowing: Caller, bar: str) -> None:
    """all = calls + puts to the cent in every bar, and the bars from the open add up."""
    sides = {}
    for side in ("all", "calls", "puts"):
        body = await ask(flowing, f"{ZERO}hedge-flow/SPX?side={side}&bar={bar}&minutes=390")
        assert (body["side"], body["bar_size"]) == (side, bar)
        sides[side] = body["bars"]
    series = (await ask(flowing, f"{ZERO}series/SPX?bar={bar}&minutes=390"))["bars"]
    names = {"all": "cumulative_all", "calls": "call_cumulative", "puts": "put_cumulative"}
    for side, bars in sides.items():
        assert [b["t"] for b in bars] == [b["t"] for b in series]
        assert [b["cumulative"] for b in bars] == [b[f"hedge_flow_{names[side]}"] for b in series]
        so_far = 0
        for entry in bars:
            so_far += round(entry["bar"] * 100)
            assert so_far == round(entry["cumulative"] * 100)
    for every, calls, puts in zip(*sides.values(), strict=True):
        for name in ("bar", "cumulative"):
            cents = [round(entry[name] * 100) for entry in (every, calls, puts)]
            assert cents[0] == cents[1] + cents[2]
            # Whole cents: nothing that a sum of floats left behind.
            assert all(entry[name] == round(entry[name], 2) for entry in (every, calls, puts))
    assert any(entry["bar"] < 0 for entry in sides["all"])


async def test_strike_flow(flowing: Caller, sessions_database: str) -> None:
    """Increments by strike add up to the headline's flow, and contracts to what was traded."""
    body = await ask(flowing, f"{ZERO}strike-flow/SPX?bar=1m&minutes=390")
    hedge = await ask(flowing, f"{ZERO}hedge-flow/SPX?bar=1m&minutes=390")
    grid = body["strikes_grid"]
    for bar, flow in zip(body["bars"], hedge["bars"], strict=True):
        assert bar["t"] == flow["t"]
        assert len(bar["signed_delta_dollars"]) == len(grid)
        # Each strike is rounded to a cent by itself.
        assert sum(bar["signed_delta_dollars"]) == pytest.approx(flow["bar"], abs=0.02 * len(grid))
        assert all(isinstance(n, int) and n >= 0 for n in bar["contracts"])
    rows = stored(sessions_database, "p.call_volume, p.put_volume, p.gamma_flow")
    first, *_, last = rows.values()
    traded = np.array(last["call_volume"]) + np.array(last["put_volume"])
    traded -= np.array(first["call_volume"]) + np.array(first["put_volume"])
    contracts = np.array([bar["contracts"] for bar in body["bars"]])
    np.testing.assert_array_equal(contracts.sum(axis=0), traded)
    gamma = np.array([bar["signed_gamma_dollars"] for bar in body["bars"]])
    np.testing.assert_allclose(gamma.sum(axis=0), last["gamma_flow"], atol=5)


async def test_the_exposure_of_a_closed_market_is_the_last_measure(flowing: Caller) -> None:
    """In the evening, on Saturday and before the next open; while open without a sample it waits."""
    path = "/v1/exposure/zero-dte/SPX"
    flowing.clock.moment = utc("2026-11-27 17:59:40")
    last = (await flowing.get(path)).json()
    assert (last["market_open"], last["expiration"]) == (True, "2026-11-27")
    for moment in ("2026-11-27 18:00", "2026-11-28 15:00", "2026-11-30 14:29"):
        flowing.clock.moment = utc(moment)
        closed = (await flowing.get(path)).json()
        assert closed["market_open"] is False
        assert closed["as_of"] == "2026-11-27T18:00:00Z"
        for block in ("exposures", "levels", "strikes", "slot", "flags"):
            assert closed[block] == last[block]
        assert "session_closed" not in closed
    flowing.clock.moment = utc("2026-11-30 14:31")
    waiting = (await flowing.get(path)).json()
    assert (waiting["session_closed"], waiting["market_open"]) == (True, True)
    flowing.clock.moment = utc("2026-11-28 15:00")
    named = (await flowing.get(path, params={"date": "2026-11-28"})).json()
    assert (named["session_closed"], named["market_open"]) == (True, False)
    assert (await flowing.get("/v1/flow/zero-dte/snapshot/SPX")).json()["session_closed"] is True
    assert (await flowing.get("/v1/exposure/zero-dte/NOPE")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/flow/zero-dte/hedge-flow/SPX",
        "/v1/flow/zero-dte/heatmap/SPX",
        "/v1/flow/zero-dte/strike-flow/SPX",
        "/v1/flow/zero-dte/snapshot/SPX",
        "/v1/exposure/zero-dte/SPX",
        "/v1/flow/levels/SPX",
    ],
)
async def test_a_document_without_a_table_refuses_one(flowing: Caller, path: str) -> None:
    """CSV that is asked for is refused; JSON in silence would be read as one."""
    sent = await flowing.get(path, params={"format": "csv"})
    assert (sent.status_code, sent.json()["error"]) == (400, "invalid_format")
    assert "only the series comes as a table" in sent.json()["message"]
    assert (await flowing.get(path, params={"format": "json"})).status_code == 200
