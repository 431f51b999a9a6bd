"""The projection of a moment: the newest that was known then, as it is stored."""

from __future__ import annotations

import dataclasses
from typing import Any

from storage.postgres.store import Store
from tests.api.conftest import Caller
from tests.api.rows import record, utc

PATH = "/v1/flow/zero-dte/projection/SPY"
SURFACE = {
    "seconds": [0.0, 1798.0],
    "levels": [599.0, 600.0, 601.0],
    "gamma": [[-1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]],
    "charm": [[0.0, 0.0, 0.0], [7.0, -8.0, 9.0]],
    "flip": [599.5, None],
}


def sample(slot: str, surface: Any) -> Any:
    """A sample, quoted two seconds after its slot, with or without a projection."""
    sampled = record(utc(slot), spot=600.25, remaining_1sd=3.5, flags=("clock_skew",))
    detail = dataclasses.replace(sampled.row.detail, projection=surface)
    sampled.row = dataclasses.replace(sampled.row, detail=detail)
    return sampled


async def test_the_newest_projection(store: Store, caller: Caller) -> None:
    """Samples between two projections have the one before; times count from its quotes."""
    later = SURFACE | {"flip": [601.5, 602.5]}
    records = [sample("14:00", SURFACE), sample("14:00:30", None), sample("14:05", later)]
    await store.write(records, [])
    caller.clock.moment = utc("14:06")
    body = (await caller.get(PATH)).json()
    assert (body["slot"], body["flip"]) == ("2026-06-05T14:05:00Z", [601.5, 602.5])
    body = (await caller.get(PATH, params={"at": "2026-06-05T14:05:01Z"})).json()
    assert (body["slot"], body["newest"]) == ("2026-06-05T14:00:00Z", "2026-06-05T14:00:02Z")
    assert body["times"] == ["2026-06-05T14:00:02Z", "2026-06-05T14:30:00Z"]
    for name in ("levels", "gamma", "charm", "flip"):
        assert body[name] == SURFACE[name]
    assert (body["underlying_price"], body["remaining_1sd"]) == (600.25, 3.5)
    assert body["flags"] == ["clock_skew"]
    assert "volatility" in body["assumes"]


async def test_without_one(store: Store, caller: Caller) -> None:
    """A session without any says so, and so does an unknown symbol."""
    await store.write([sample("14:00", None)], [])
    caller.clock.moment = utc("14:06")
    body = (await caller.get(PATH)).json()
    assert (body["expiration"], body["slot"], body["levels"], body["gamma"]) == (
        "2026-06-05",
        None,
        [],
        [],
    )
    assert "has a projection" in body["reason"]
    sent = await caller.get(PATH.replace("SPY", "XYZ"))
    assert (sent.status_code, sent.json()["error"]) == (404, "symbol_not_found")
    sent = await caller.get(PATH, params={"at": "2026-06-05T13:00:00Z"})
    assert (sent.status_code, sent.json()["times"]) == (200, [])
