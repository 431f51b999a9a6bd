"""A symbol that is configured, before anything of it is stored, at each endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage.postgres.store import Store
from tests.api import contract
from tests.api.conftest import Caller
from tests.api.rows import record, utc

ZERO = contract.ZERO
WINDOWS = [f"{ZERO}{name}/" for name in ("series", "hedge-flow", "heatmap", "strike-flow")]
ONE_SAMPLE = [f"/v1/flow/{name}/" for name in ("levels", "pin-risk", "gex", "dex", "summary")]
ONE_SAMPLE += [f"/v1/flow/{name}/" for name in ("dealer-risk", "oi", "live")]
CHAINS = [f"{ZERO}snapshot/", "/v1/exposure/zero-dte/"]


@pytest.fixture
async def configured(store: Store, open_app: Callable[..., Any]) -> Caller:
    """A client of an application whose samplers are to sample IWM; SPY alone has a sample."""
    await store.write([record(utc("14:00"))])
    return await open_app(store, symbols=("SPY", "IWM"))


@pytest.mark.parametrize("path", WINDOWS)
async def test_windows_tell_what_is_missing(configured: Caller, path: str) -> None:
    """While the session runs every slot of the window is a gap; another symbol is unknown."""
    body = (await configured.get(f"{path}IWM?minutes=30")).json()
    assert (body["bars"], body["reason"]) == ([], "not_sampled")
    assert [(g["from"], g["to"]) for g in body["gap_intervals"]] == [
        ("2026-06-05T14:00:00Z", "2026-06-05T14:30:00Z")
    ]
    body = (await configured.get(f"{path}XYZ?minutes=30")).json()
    assert (body["reason"], body["gap_intervals"]) == ("unknown_symbol", [])
    for moment, reason in (
        ("12:00", "before_open"),
        ("21:00", "closed"),
        ("2026-06-06 15:00", "closed"),
    ):
        configured.clock.moment = utc(moment)
        body = (await configured.get(f"{path}IWM")).json()
        assert (body["bars"], body["reason"]) == ([], reason)


async def test_several_symbols(configured: Caller) -> None:
    """As in each symbol's own answer."""
    body = (await configured.get("/v1/flow/zero-dte/series?symbols=IWM,XYZ,SPY")).json()
    reasons = [answer.get("reason") for answer in body["series"]]
    assert reasons == ["not_sampled", "unknown_symbol", None]


async def test_tables(configured: Caller) -> None:
    """A table has no rows, and is no error."""
    sent = await configured.get(f"{ZERO}series/IWM?format=csv")
    assert (sent.status_code, len(sent.text.splitlines())) == (200, 1)


@pytest.mark.parametrize("path", CHAINS)
async def test_chains_say_that_there_is_none_yet(configured: Caller, path: str) -> None:
    """As of a symbol whose samples of today are missing; an unknown one stays 404."""
    sent = await configured.get(f"{path}IWM")
    body = sent.json()
    assert (sent.status_code, body["session_closed"], body["reason"]) == (200, True, "not_sampled")
    assert body["message"] == (
        "No sample of 2026-06-05 yet (not_sampled). Last session: 2026-06-04."
    )
    assert body["last_stored_session"] is None
    assert (await configured.get(f"{path}XYZ")).json() == {
        "error": "symbol_not_found",
        "message": "No data for XYZ.",
    }
    assert (await configured.get(f"{path}IWM?expiry=2026-06-08")).status_code == 404


@pytest.mark.parametrize("path", [*ONE_SAMPLE, f"{ZERO}sessions/"])
async def test_what_needs_a_sample_says_why_there_is_none(configured: Caller, path: str) -> None:
    """404 as before, and the reason; a day or an expiry that is not stored is another matter."""
    sent = await configured.get(f"{path}IWM")
    assert (sent.status_code, sent.json()) == (
        404,
        {
            "error": "symbol_not_found",
            "message": "No data for IWM yet: it is configured, and was not sampled so far.",
            "reason": "not_sampled",
        },
    )
    plain = {"error": "symbol_not_found", "message": "No data for XYZ."}
    assert (await configured.get(f"{path}XYZ")).json() == plain
    if path in ONE_SAMPLE:
        for query in ("date=2026-06-01", "expiry=2026-06-08", "at=2026-06-05T13:00:00Z"):
            assert "reason" not in (await configured.get(f"{path}IWM?{query}")).json()


async def test_in_memory(store: Store, feed: Callable[..., Any]) -> None:
    """Also where the sessions are in memory; with its first sample the symbol has bars."""
    await store.write([record(utc("14:00"))])
    caller = await feed(store, symbols=("IWM",))
    assert (await caller.series("IWM"))["reason"] == "not_sampled"
    assert (await caller.series("QQQ"))["reason"] == "unknown_symbol"
    await caller.land(record(utc("14:29"), symbol="IWM"))
    assert len((await caller.series("IWM"))["bars"]) == 1
