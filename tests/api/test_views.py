"""The views for analysts say what the API says, and their columns are the documented ones."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from storage.postgres.grants import VIEWS
from tests.api.conftest import FLOWING, ROOT, Caller
from tests.api.site import SERIES

#: Version 1 of the interface. Within a version columns are only added, at the end.
VERSION = 1
BARS = [
    *("symbol", "session", "feed", "shown", "t", "sampled_at", "spot", "atm_iv", "remaining_1sd"),
    *("net_gex", "net_gex_se", "net_dex", "gamma_flip", "gamma_flip_status", "regime"),
    *("call_wall", "put_wall", "magnet", "max_pain", "pin_score", "pin_probability_pct"),
    *("charm_dollars_per_hour", "hedge_flow_call_cumulative", "hedge_flow_put_cumulative"),
    *("hedge_flow_cumulative_all", "call_volume", "put_volume", "classified_share", "flags"),
    *("delay_seconds", "definitions", "net_gex_volume", "quote_age_seconds"),
]
COLUMNS = {
    "interface": ["version"],
    "bars_30s": BARS,
    "bars_1m": BARS,
    "bars_5m": BARS,
    "bars_15m": BARS,
    "strikes": [
        *("symbol", "session", "feed", "shown", "sampled_at", "strike", "iv", "call_gex"),
        *("put_gex", "net_gex", "call_dex", "put_dex", "call_oi", "put_oi", "call_volume"),
        *("put_volume", "call_flow", "put_flow"),
    ],
    "missing_slots": ["symbol", "session", "feed", "shown", "slot", "reason"],
    "stored_sessions": [
        *("symbol", "session", "feed", "shown", "has_rows", "first_slot", "last_slot"),
    ],
}


def select(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("set timezone to 'UTC'; set search_path to flow_synthetic")
        return connection.execute(query.encode()).fetchall()


def test_columns(sessions_database: str) -> None:
    """Each view has the columns of the interface's version, and docs/storage.md names them all."""
    assert set(VIEWS) == set(COLUMNS)
    page = (ROOT / "docs/storage.md").read_text()
    for view, columns in COLUMNS.items():
        with psycopg.connect(sessions_database) as connection:
            cursor = connection.execute(f"select * from flow.{view} limit 0".encode())
            assert [column.name for column in cursor.description or ()] == columns, view
        assert re.search(rf"\b{view}\b", page), view
        for column in columns:
            assert f"`{column}`" in page, (view, column)
    assert select(sessions_database, "select version from interface") == [{"version": VERSION}]


@pytest.mark.parametrize("bar", ["30s", "1m", "5m", "15m"])
async def test_bars_are_those_of_the_series(
    flowing: Caller, sessions_database: str, bar: str
) -> None:
    """Every bar of a session, with the figures that the API gives."""
    series = (await flowing.get(f"{SERIES}SPX?date={FLOWING}&bar={bar}")).json()["bars"]
    rows = select(
        sessions_database,
        f"select * from bars_{bar} where symbol = 'SPX' and session = '{FLOWING}' and shown"
        " order by t",
    )
    assert len(rows) == len(series) > 13
    for row, expected in zip(rows, series, strict=True):
        assert f"{row['t']:%Y-%m-%dT%H:%M:%SZ}" == expected["t"]
        assert f"{row['sampled_at']:%Y-%m-%dT%H:%M:%SZ}" == expected["sampled_at"]
        shared = (set(BARS) & set(expected)) - {"t", "sampled_at"}
        assert len(shared) >= 18
        for name in shared:
            value = expected[name]
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-9)
            assert row[name] == value, name


async def test_strikes_and_gaps(flowing: Caller, sessions_database: str) -> None:
    """A sample's strikes add up to its figures; missing slots have their reasons."""
    where = f"symbol = 'SPX' and session = '{FLOWING}'"
    totals = select(
        sessions_database,
        "select b.net_gex, x.total, x.strikes from bars_30s b join (select sampled_at, sum(net_gex)"
        f" as total, count(*) as strikes from strikes where {where} group by 1) x"
        f" using (sampled_at) where {where}",
    )
    assert len(totals) == 419
    assert all(row["strikes"] > 50 for row in totals)
    for row in totals[::40]:
        assert row["total"] == pytest.approx(row["net_gex"], rel=1e-6)
    gaps = select(sessions_database, f"select slot, reason from missing_slots where {where}")
    assert [gap["reason"] for gap in gaps] == ["not_open"]
    [session] = select(sessions_database, f"select * from stored_sessions where {where}")
    assert (session["feed"], session["shown"], session["has_rows"]) == ("synthetic", True, True)
