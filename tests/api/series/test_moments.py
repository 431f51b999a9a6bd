"""Which moment an answer stands for, what is said where there is none, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.record.row import Gap, Reason
from tests.api import contract
from tests.api.conftest import Caller
from tests.api.rows import every, gap, record, utc

ZERO = "/v1/flow/zero-dte/"
SNAPSHOT, EXPOSURE = f"{ZERO}snapshot/", "/v1/exposure/zero-dte/"
SIBLINGS = ("levels", "pin-risk", "gex", "dex", "summary", "dealer-risk", "oi", "live")


async def ask(caller: Caller, path: str, status: int = 200) -> dict[str, Any]:
    sent = await caller.get(path)
    assert sent.status_code == status, (path, sent.text)
    return sent.json()


def unstamped(body: dict[str, Any]) -> dict[str, Any]:
    """Without what every success carries."""
    assert body["endpoint_version"] == "1"
    contract.DataAsOf.model_validate(body["data_as_of"])
    return {k: v for k, v in body.items() if k not in ("endpoint_version", "data_as_of")}


@pytest.mark.parametrize("path", [SNAPSHOT, EXPOSURE, *(f"/v1/flow/{n}/" for n in SIBLINGS)])
async def test_unknown_symbol(caller: Caller, path: str) -> None:
    """404 for a symbol that was never sampled, with its name as it is stored."""
    for query in ("", "?date=2026-06-04", "?at=2026-06-05T14:00:00Z"):
        assert await ask(caller, f"{path}xyz{query}", 404) == {
            "error": "symbol_not_found",
            "message": "No data for XYZ.",
        }


@pytest.mark.parametrize(
    "path", ["hedge-flow", "held-levels", "pressure", "heatmap", "strike-flow"]
)
async def test_unknown_symbol_has_no_bars(caller: Caller, path: str) -> None:
    """Windows answer it with the same wrapper, empty, and the reason."""
    body = await ask(caller, f"{ZERO}{path}/XYZ")
    assert (body["bars"], body["reason"], body["gap_intervals"]) == ([], "unknown_symbol", [])
    assert body.get("strikes_grid", []) == []
    contract.read(
        contract.ROUTES[f"{ZERO}{path}/{{}}"], (await caller.get(f"{ZERO}{path}/XYZ")).content
    )


async def test_no_expiry_today(store: Store, open_app: Callable[..., Any]) -> None:
    """The contract's own example: TSLA on a Wednesday, with the next expiry."""
    day = date(2026, 5, 27)
    await store.write([record(utc("2026-05-26 19:59:30"), symbol="TSLA", spot=412.5)])
    # The words of the detail are for people: nothing is read out of them.
    detail = "TSLA: nothing expires on 2026-05-27; next expiry 2026-06-01"
    slots = session_on(day).slots[:10]
    await store.write(
        gaps=[
            Gap(
                symbol="TSLA",
                expiration=day,
                slot=s,
                reason=Reason.NO_ZERO_DTE,
                detail=detail,
                next_expiry=date(2026, 5, 29),
            )
            for s in slots
        ]
    )
    app = await open_app(store, "2026-05-27 15:00")
    expected = {
        "symbol": "TSLA",
        "no_zero_dte": True,
        "next_zero_dte_expiry": "2026-05-29",
        "message": "No 0DTE expiry for TSLA today (Wednesday). Next expiry: 2026-05-29.",
    }
    assert unstamped(await ask(app, f"{SNAPSHOT}TSLA")) == expected
    body = await ask(app, f"{EXPOSURE}TSLA")
    assert unstamped(body) == expected | {
        "underlying_price": 412.5,
        "expiration": None,
        "as_of": "2026-05-27T15:00:00Z",
        "market_open": True,
    }
    contract.read(contract.ExposureNoZeroDte, (await app.get(f"{EXPOSURE}TSLA")).content)
    # Asked for later by its day.
    app.clock.moment = utc("2026-06-05 14:00")
    body = await ask(app, f"{SNAPSHOT}TSLA?date=2026-05-27")
    assert body["message"] == (
        "No 0DTE expiry for TSLA on 2026-05-27 (Wednesday). Next expiry: 2026-05-29."
    )
    body = await ask(app, f"{ZERO}heatmap/TSLA?date=2026-05-27")
    assert (body["bars"], body["reason"]) == ([], "no_zero_dte")
    # A source that says no more than that.
    await store.write(gaps=[gap("2026-06-04 13:30", Reason.NO_ZERO_DTE, "TSLA")])
    body = await ask(app, f"{SNAPSHOT}TSLA?date=2026-06-04")
    assert body["next_zero_dte_expiry"] is None
    assert body["message"] == "No 0DTE expiry for TSLA on 2026-06-04 (Thursday)."


@pytest.mark.parametrize(
    ("now", "last", "reason"),
    [
        ("2026-05-23 15:00", "2026-05-22", "closed"),  # a Saturday
        ("2026-05-25 15:00", "2026-05-22", "holiday"),  # Memorial Day
        ("2026-05-22 20:00", "2026-05-22", "closed"),
        ("2026-05-22 13:29", "2026-05-21", "before_open"),
    ],
)
async def test_closed(
    store: Store, open_app: Callable[..., Any], now: str, last: str, reason: str
) -> None:
    """Outside a session the snapshot says so; the exposure is the last measure before it."""
    await store.write([record(utc("2026-05-21 15:00")), record(utc("2026-05-22 15:00"))])
    app = await open_app(store, now)
    expected = {
        "symbol": "SPY",
        "session_closed": True,
        "last_session": last,
        "message": f"Market closed. Last session: {last}.",
        "reason": reason,
        "last_stored_session": "2026-05-22",
    }
    assert unstamped(await ask(app, f"{SNAPSHOT}SPY")) == expected
    contract.read(contract.SessionClosed, (await app.get(f"{SNAPSHOT}SPY")).content)
    body = await ask(app, f"{EXPOSURE}SPY")
    assert (body["market_open"], body["expiration"]) == (False, "2026-05-22")
    assert body["underlying_price"] == 690.0
    # Siblings answer for the nearest stored expiry.
    body = await ask(app, "/v1/flow/levels/SPY")
    assert body["expiry"] == ("2026-05-22" if now > "2026-05-22" else "2026-05-21")
    # By its day, the session is there in full.
    assert (await ask(app, f"{SNAPSHOT}SPY?date=2026-05-22"))["underlying_price"] == 690.0


async def test_open_without_a_sample(store: Store, open_app: Callable[..., Any]) -> None:
    """A feed that lies behind has nothing of today yet: no open session to show, and why."""
    await store.write([record(utc("2026-06-04 19:59:30"), delay_seconds=900)])
    app = await open_app(store, "13:40")
    body = await ask(app, f"{SNAPSHOT}SPY")
    assert (body["session_closed"], body["last_session"]) == (True, "2026-06-04")
    assert body["message"] == (
        "No sample of 2026-06-05 yet (not_sampled). Last session: 2026-06-04."
    )
    await store.write(gaps=[gap("13:30", Reason.STALE)])
    assert (await ask(app, f"{SNAPSHOT}SPY"))["reason"] == "stale"
    assert (await ask(app, "/v1/flow/oi/SPY"))["expiry"] == "2026-06-04"


async def test_at_knows_nothing_later(store: Store, open_app: Callable[..., Any]) -> None:
    """The sample of a moment is the newest that was quoted by then; what landed later is not seen."""
    await store.write(every("14:00", "14:10"))
    app = await open_app(store, "2026-06-08 14:00")
    for path in (SNAPSHOT, EXPOSURE):
        # Quotes are two seconds younger than their slots.
        for moment, slot in (
            ("2026-06-05T14:05:01Z", "14:04:30"),
            ("2026-06-05T14:05:02Z", "14:05:00"),
            ("2026-06-05T14:05:29Z", "14:05:00"),
            ("2026-06-05T10:05:29", "14:05:00"),
            ("2026-06-05T10:05:29-04:00", "14:05:00"),
            ("2026-06-05T16:05:29%2B02:00", "14:05:00"),
            ("2026-06-05T16:05:29+02:00", "14:05:00"),
            ("2026-06-05T10:05", "14:04:30"),
            ("2026-06-05T23:00:00Z", "14:10:00"),
        ):
            body = await ask(app, f"{path}SPY?at={moment}")
            assert body["slot"] == f"2026-06-05T{slot}Z", moment
        body = await ask(app, f"{path}SPY?date=2026-06-05&at=2026-06-05T14:05:30Z")
        assert body["as_of"] == "2026-06-05T14:05:30Z"
        assert body["metadata"]["snapshot_age_seconds"] == 28.0
        assert body["market_open"] is True
        # Before the first row, before the open, on a weekend, and long before anything.
        for moment, last, reason in (
            ("2026-06-05T14:00:01Z", "2026-06-04", "not_sampled"),
            ("2026-06-05T13:00:00Z", "2026-06-04", "before_open"),
            ("2026-06-06T15:00:00Z", "2026-06-05", "closed"),
            ("2001-01-02T15:00:00Z", "2000-12-29", "not_sampled"),
        ):
            body = await ask(app, f"{path}SPY?at={moment}")
            assert (body["session_closed"], body["last_session"]) == (True, last), moment
            assert body["reason"] == reason, moment
    # A moment that has not come is now.
    app.clock.moment = utc("14:10:30")
    assert (await ask(app, f"{SNAPSHOT}SPY?at=2026-06-05T19:00:00Z"))["as_of"] == (
        "2026-06-05T14:10:30Z"
    )


async def test_at_does_not_see_what_filled_a_gap(store: Store, caller: Caller) -> None:
    """A row that lands later is of its own time: it changes no answer about the time before it."""
    await store.write([record(utc("14:00")), record(utc("14:05"), spot=650.0)])
    before = await ask(caller, f"{SNAPSHOT}SPY?at=2026-06-05T14:04:00Z")
    await store.write([record(utc("14:10"), spot=700.0)])
    assert await ask(caller, f"{SNAPSHOT}SPY?at=2026-06-05T14:04:00Z") == before


async def test_expiry(store: Store, open_app: Callable[..., Any]) -> None:
    """An expiry is answered for by its own session; one that is not stored is not found."""
    await store.write([record(utc("2026-06-04 15:00")), record(utc("14:00"))])
    app = await open_app(store, "14:01")
    for path in (SNAPSHOT, EXPOSURE, "/v1/flow/summary/"):
        for day in ("2026-06-04", "2026-06-05"):
            body = await ask(app, f"{path}SPY?expiry={day}")
            assert body.get("expiration", body.get("expiry")) == day
        for query in ("expiry=2026-06-08", "expiry=2026-06-04&date=2026-06-05"):
            body = await ask(app, f"{path}SPY?{query}", 404)
            assert body["error"] == "symbol_not_found"
            assert body["message"].startswith("No data for SPY expiring 2026-06-0")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (f"{ZERO}hedge-flow/SPY?side=both", "invalid_side", "side must be all|calls|puts"),
        (f"{ZERO}hedge-flow/SPY?bar=2m", "invalid_bar", "bar must be 30s|1m|5m|15m"),
        (f"{ZERO}hedge-flow/SPY?minutes=x", "invalid_minutes", None),
        (f"{ZERO}hedge-flow/SPY?date=0000-00-00", "invalid_date", None),
        (f"{ZERO}hedge-flow/S%20P", "invalid_symbol", None),
        (
            f"{ZERO}heatmap/SPY?metric=gamma",
            "invalid_metric",
            "metric must be gex|dex|vex|chex|oi|signed_flow|volume",
        ),
        (f"{ZERO}heatmap/SPY?mode=change", "invalid_mode", "mode must be raw|delta|since_open"),
        (f"{ZERO}heatmap/SPY?bar=1h", "invalid_bar", "bar must be 30s|1m|5m|15m"),
        (f"{ZERO}strike-flow/SPY?bar=", "invalid_bar", "bar must be 30s|1m|5m|15m"),
        (f"{SNAPSHOT}SPY?expiry=tomorrow", "invalid_expiry", "expiry must be YYYY-MM-DD"),
        (f"{EXPOSURE}SPY?expiry=2026-02-30", "invalid_expiry", "expiry must be YYYY-MM-DD"),
        (f"{EXPOSURE}SPY?strike_range=wide", "invalid_strike_range", None),
        (f"{EXPOSURE}SPY?strike_range=nan", "invalid_strike_range", None),
        (f"{EXPOSURE}SPY?strike_range=%D9%A1", "invalid_strike_range", None),
        (f"{SNAPSHOT}SPY?at=noon", "invalid_at", None),
        (f"{SNAPSHOT}SPY?at=2026-06-05T25:00:00Z", "invalid_at", None),
        (f"{SNAPSHOT}SPY?at=0001-01-01T00:00:00Z", "invalid_at", None),
        (f"{SNAPSHOT}SPY?at=2026-06-05T14:00:00Z&date=2026-06-04", "invalid_at", None),
        *((f"/v1/flow/{n}/SPY?expiry=x", "invalid_expiry", None) for n in SIBLINGS),
        (
            f"{ZERO}leaderboard?metric=size",
            "invalid_metric",
            "metric must be heat|pin_risk|abs_flow|charm_intensity",
        ),
        (f"{ZERO}leaderboard?n=many", "invalid_n", None),
        (f"{ZERO}leaderboard?date=x", "invalid_date", None),
        (f"{ZERO}sessions/%00", "invalid_symbol", None),
    ],
)
async def test_refusals(stranger: Caller, path: str, error: str, message: str | None) -> None:
    """What cannot be read is refused by its word before anything is asked of the store."""
    body = await ask(stranger, path, 400)
    assert set(body) == {"error", "message"}
    assert body["error"] == error
    if message is not None:
        assert body["message"] == message


async def test_n_is_clamped(caller: Caller) -> None:
    """Like minutes: silently, to 1-100."""
    for text, used in (("0", 1), ("-7", 1), ("101", 100), ("9" * 50, 100), ("007", 7), ("+3", 3)):
        assert (await ask(caller, f"{ZERO}leaderboard?n={text}"))["n"] == used


async def test_rows_without_strikes(store: Store, caller: Caller) -> None:
    """Where samples were stored without figures by strike, windows by strike say so."""
    await store.write(every("14:20", "14:25"))
    async with store._pool.connection() as connection:
        await connection.execute("delete from profiles")
    for path in ("heatmap", "strike-flow"):
        body = await ask(caller, f"{ZERO}{path}/SPY", 400)
        assert body["error"] == "no_strike_data_for_window"
    body = await ask(caller, f"{SNAPSHOT}SPY")
    assert (body["strikes"], body["underlying_price"]) == ([], 655.0)
    assert (await ask(caller, "/v1/flow/gex/SPY"))["strikes"] == []
    await store.write([record(utc("14:29"))])
    assert len((await ask(caller, f"{ZERO}heatmap/SPY"))["bars"]) == 1


@pytest.mark.parametrize(
    "path", ["hedge-flow", "held-levels", "pressure", "heatmap", "strike-flow"]
)
async def test_gaps_are_told(store: Store, caller: Caller, path: str) -> None:
    """Every window says which of its slots are missing and why, the end included."""
    await store.write(every("14:00", "14:10"))
    await store.write(every("14:12", "14:20"), [gap("14:11", Reason.SOURCE_DOWN)])
    body = await ask(caller, f"{ZERO}{path}/SPY?minutes=30")
    assert body["gap_intervals"] == [
        {"from": "2026-06-05T14:10:30Z", "to": "2026-06-05T14:11:00Z", "reason": "not_sampled"},
        {"from": "2026-06-05T14:11:00Z", "to": "2026-06-05T14:11:30Z", "reason": "source_down"},
        {"from": "2026-06-05T14:11:30Z", "to": "2026-06-05T14:12:00Z", "reason": "not_sampled"},
        {"from": "2026-06-05T14:20:30Z", "to": "2026-06-05T14:30:00Z", "reason": "not_sampled"},
    ]
    assert body["cursor"] > 0
    assert "reason" not in body


@pytest.mark.parametrize(
    "path", ["hedge-flow", "held-levels", "pressure", "heatmap", "strike-flow"]
)
async def test_etag(store: Store, caller: Caller, path: str) -> None:
    """304 while nothing changed, for whoever asks; a dead sampler is a change."""
    await store.write(every("14:00", "14:29:30"))
    first = await caller.get(f"{ZERO}{path}/SPY")
    headers = {"If-None-Match": first.headers["ETag"]}
    again = await caller.get(f"{ZERO}{path}/SPY", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    caller.clock.moment = utc("14:31")
    assert (await caller.get(f"{ZERO}{path}/SPY", headers=headers)).status_code == 200
    caller.clock.moment = utc("14:30")
    await store.write([record(utc("14:30"))])
    later = await caller.get(f"{ZERO}{path}/SPY", headers=headers)
    assert later.status_code == 200
    assert later.headers["ETag"] != first.headers["ETag"]
    # An empty window has a reason that time changes.
    empty = await caller.get(f"{ZERO}{path}/QQQ")
    headers = {"If-None-Match": empty.headers["ETag"]}
    assert (await caller.get(f"{ZERO}{path}/QQQ", headers=headers)).status_code == 200


async def test_strikes_that_come_and_go(store: Store, caller: Caller) -> None:
    """The grid has every strike of the window; where a bar has none of them it is 0, never null.

    Flow that a strike gathered while the feed left it out arrives when it is back.
    """
    chains = [
        ("14:00", [600.0, 601.0], [0.0, 0.0], [0.0, 0.0]),
        ("14:01", [600.0], [10.0], [5.0]),
        ("14:02", [599.0, 600.0, 601.0], [7.0, 25.0, 4.0], [3.0, 9.0, 2.0]),
    ]
    records = []
    for slot, strikes, flow, gex in chains:
        whole = record(utc(slot))
        zero = [0.0] * len(strikes)
        arrays = dict.fromkeys(whole.profile, zero) | {
            "strike": strikes,
            "call_flow": flow,
            "gamma_flow": flow,
            "call_volume": [10 * f for f in flow],
            "call_gex": gex,
        }
        whole.profile.update({name: np.array(values) for name, values in arrays.items()})
        records.append(whole)
    await store.write(records)
    flow = await ask(caller, f"{ZERO}strike-flow/SPY?bar=1m")
    assert flow["strikes_grid"] == [599.0, 600.0, 601.0]
    assert [b["signed_delta_dollars"] for b in flow["bars"]] == [
        [0.0, 0.0, 0.0],
        [0.0, 10.0, 0.0],
        [7.0, 15.0, 4.0],
    ]
    assert [b["contracts"] for b in flow["bars"]] == [[0, 0, 0], [0, 100, 0], [70, 150, 40]]
    gex = await ask(caller, f"{ZERO}heatmap/SPY")
    assert [b["values"] for b in gex["bars"]] == [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [3.0, 9.0, 2.0]]
    change = await ask(caller, f"{ZERO}heatmap/SPY?mode=delta")
    assert change["bars"][2]["values"] == [3.0, 4.0, 2.0]
    signed = await ask(caller, f"{ZERO}heatmap/SPY?metric=signed_flow&mode=delta")
    assert [b["values"] for b in signed["bars"]] == [
        b["signed_delta_dollars"] for b in flow["bars"]
    ]


async def test_leaderboard_leaves_old_symbols_out(store: Store, caller: Caller) -> None:
    """Only the newest session is ranked; without gamma there is no heat."""
    await store.write(
        [
            record(utc("2026-06-04 15:00"), symbol="OLD", pin_score=99),
            record(utc("14:00"), symbol="AAA", pin_score=10, charm_dollars_per_hour=None),
            record(utc("14:00"), symbol="BBB", pin_score=10, net_gex=0.0),
            record(utc("14:00"), symbol="CCC", pin_score=40),
        ]
    )
    for metric, symbols in (
        ("pin_risk", ["CCC", "AAA", "BBB"]),
        ("charm_intensity", ["BBB", "CCC"]),
        ("heat", ["AAA", "CCC"]),
        ("abs_flow", ["AAA", "BBB", "CCC"]),
    ):
        body = await ask(caller, f"{ZERO}leaderboard?metric={metric}")
        assert [entry["symbol"] for entry in body["entries"]] == symbols, metric
    assert body["market_open"] is True
    old = await ask(caller, f"{ZERO}leaderboard?metric=pin_risk&date=2026-06-04")
    assert [entry["symbol"] for entry in old["entries"]] == ["OLD"]


def test_days_of_answers_are_utc() -> None:
    """The session of this file's fixtures is the one that its comments say."""
    session = session_on(date(2026, 6, 5))
    assert session.open == datetime(2026, 6, 5, 13, 30, tzinfo=UTC)
    assert session.close - session.open == timedelta(hours=6.5)
