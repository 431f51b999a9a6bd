"""Several symbols in one call, and the same window as a table."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api.conftest import SERIES, Caller
from tests.api.rows import every, gap, record, utc

MANY = "/v1/flow/zero-dte/series"
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


@pytest.fixture
async def filled(store: Store, caller: Caller) -> Caller:
    """Two symbols; nulls, flags and a gap among their rows."""
    rows = [*every("14:00", "14:28"), record(utc("14:29"), gamma_flip=None, atm_iv=None)]
    flags = ("after_gap", "stale_spot")
    await store.write([*rows, record(utc("14:29:30"), flags=flags, spot=0.3)])
    await store.write([record(utc("14:29:30"), symbol="QQQ")])
    await store.write(gaps=[gap("14:28:30", Reason.LATE)])
    return caller


def table_of(name: str, body: bytes) -> list[dict[str, Any]]:
    """A table's rows by another program's reading, times as the JSON has them."""
    if name == "csv":
        return list(csv.DictReader(io.StringIO(body.decode())))
    if name == "ndjson":
        return [orjson.loads(line) for line in body.splitlines()]
    read = parquet.read_table if name == "parquet" else lambda b: pa.ipc.open_stream(b).read_all()
    rows = read(pa.BufferReader(body)).to_pylist()
    for row in rows:
        for moment in ("t", "sampled_at"):
            assert row[moment].utcoffset().total_seconds() == 0
            row[moment] = row[moment].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return rows


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("bar", ["30s", "5m"])
async def test_same_window(filled: Caller, name: str, bar: str) -> None:
    """Every format has the bars of the JSON, field by field."""
    sent = await filled.get(f"{SERIES}SPY?bar={bar}&format={name}")
    body = await filled.series(bar=bar)
    assert (sent.status_code, sent.headers["Content-Type"]) == (200, TYPES[name])
    assert sent.headers["X-Cursor"] == str(body["cursor"])
    assert sent.headers["ETag"] == f'W/"{body["cursor"]}-60"'
    assert f'filename="SPY_2026-06-05_{bar}.{name}"' in sent.headers["Content-Disposition"]
    rows = table_of(name, sent.content)
    assert len(rows) == len(body["bars"])
    for row, shown in zip(rows, body["bars"], strict=True):
        expected = {"symbol": "SPY", **shown}
        if name != "ndjson":
            expected["flags"] = " ".join(shown["flags"])
        if name == "csv":
            expected = {k: "" if v is None else str(v) for k, v in expected.items()}
        assert row == expected


async def test_typed_columns(filled: Caller) -> None:
    """Columns have their types even where nothing is in them."""
    for symbol, minutes in (("SPY", 60), ("XYZ", 60)):
        path = f"{SERIES}{symbol}?minutes={minutes}&format=parquet"
        schema = parquet.read_schema(pa.BufferReader((await filled.get(path)).content))
        kinds = {field.name: str(field.type) for field in schema}
        assert (kinds["t"], kinds["spot"]) == ("timestamp[us, tz=UTC]", "double")
        assert (kinds["pin_score"], kinds["regime"], kinds["flags"]) == (
            "int64",
            "string",
            "string",
        )
        [about] = orjson.loads(schema.metadata[b"zerodte_flow"])
        body = await filled.series(symbol, minutes=minutes)
        assert about == body | {"bars": []}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        ("text/csv, */*", "text/csv; charset=utf-8"),
        ("text/csv;q=0.1, */*", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("APPLICATION/X-NDJSON", "application/x-ndjson"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/html", "application/json"),
        ("text/csv;q=nonsense", "application/json"),
        (";;,,;q=", "application/json"),
        ("", "application/json"),
        # 499 characters are read, 500 are not.
        ("text/csv;" + "a" * 490, "text/csv; charset=utf-8"),
        ("text/csv;" + "a" * 491, "application/json"),
    ],
)
async def test_accept(filled: Caller, accept: str, kind: str) -> None:
    """An Accept header chooses, by weight; what nobody knows is answered with JSON."""
    sent = await filled.get(f"{SERIES}SPY", headers={"Accept": accept})
    assert (sent.status_code, sent.headers["Content-Type"]) == (200, kind)
    sent = await filled.get(f"{SERIES}SPY?format=json", headers={"Accept": accept})
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", ["xml", "", "JSON", "csv ", "parquet\x00"])
async def test_unknown_format(stranger: Caller, name: str) -> None:
    """A format by a name that is none is refused."""
    for path in (f"{SERIES}SPY", f"{MANY}?symbols=SPY"):
        sent = await stranger.get(path, params={"format": name, "symbols": "SPY"})
        assert sent.status_code == 400
        assert sent.json() == {
            "error": "invalid_format",
            "message": "format must be json|csv|ndjson|parquet|arrow",
        }


async def test_unchanged_table(filled: Caller) -> None:
    """304 goes to whoever has the ETag, in any format."""
    for path in (f"{SERIES}SPY?format=csv", f"{MANY}?symbols=SPY,QQQ&format=parquet"):
        etag = (await filled.get(path)).headers["ETag"]
        again = await filled.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")


async def test_frames(filled: Caller) -> None:
    """pandas and polars read it as it comes."""
    path = f"{MANY}?symbols=SPY,QQQ&minutes=1&format="
    text = (await filled.get(path + "csv")).content
    columns = (await filled.get(path + "parquet")).content
    frame = pd.read_csv(io.BytesIO(text), parse_dates=["t"])
    assert frame.groupby("symbol").size().to_dict() == {"SPY": 2, "QQQ": 1}
    assert frame.t[0] == pd.Timestamp("2026-06-05T14:29:00Z")
    other = pl.read_parquet(io.BytesIO(columns))
    assert other["t"][0] == datetime(2026, 6, 5, 14, 29, tzinfo=UTC)
    assert other["spot"].to_list() == frame.spot.to_list() == [659.0, 0.3, 659.5]


async def test_several_symbols(filled: Caller) -> None:
    """Each answer is what its own route says, in the order asked for, each once."""
    sent = await filled.get(f"{MANY}?symbols=qqq,SPY,%20QQQ,XYZ&minutes=2")
    assert sent.status_code == 200
    body = sent.json()
    alone = [await filled.series(name, minutes=2) for name in ("QQQ", "SPY", "XYZ")]
    assert body["series"] == alone
    assert body["count"] == 3
    # SPY's quotes are of 14:29:32, and so are QQQ's; XYZ has none.
    assert body["data_as_of"] == alone[0]["data_as_of"] == alone[1]["data_as_of"]
    assert body["data_as_of"]["equity_feed"] == "2026-06-05T14:29:32Z"
    assert body["endpoint_version"] == "1"
    assert body["cursor"] == ",".join(str(answer["cursor"]) for answer in alone)
    assert body["series"][2]["reason"] == "unknown_symbol"


async def test_several_cursors(store: Store, filled: Caller) -> None:
    """The cursor has one number a symbol; sent back, it brings what changed of each."""
    path = f"{MANY}?symbols=SPY,QQQ"
    cursor = (await filled.get(path)).json()["cursor"]
    again = (await filled.get(f"{path}&since={cursor}")).json()
    assert [answer["bars"] for answer in again["series"]] == [[], []]
    await store.write([record(utc("14:30"), symbol="QQQ")])
    again = (await filled.get(f"{path}&since={cursor}")).json()
    assert [len(answer["bars"]) for answer in again["series"]] == [0, 1]
    whole = (await filled.get(f"{path}&since=0")).json()
    assert [len(answer["bars"]) for answer in whole["series"]] == [59, 2]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "invalid_symbols"),
        ("symbols=", "invalid_symbols"),
        ("symbols=" + ",".join(f"A{i}" for i in range(51)), "invalid_symbols"),
        ("symbols=SPY,,QQQ", "invalid_symbol"),
        ("symbols=SPY,a%20b", "invalid_symbol"),
        ("symbols=SPY%00", "invalid_symbol"),
        ("symbols=SPY,QQQ&since=1,2,3", "invalid_since"),
        ("symbols=SPY,QQQ&since=1,x", "invalid_since"),
        ("symbols=SPY&bar=2m", "invalid_bar"),
        ("symbols=SPY&minutes=x", "invalid_minutes"),
        ("symbols=SPY&date=0000-00-00", "invalid_date"),
    ],
)
async def test_several_refused(stranger: Caller, query: str, error: str) -> None:
    """Whatever cannot be read is refused by name."""
    sent = await stranger.get(f"{MANY}?{query}")
    assert (sent.status_code, sent.json()["error"]) == (400, error)


async def test_several_unchanged(store: Store, filled: Caller) -> None:
    """The ETag is that of all together."""
    path = f"{MANY}?symbols=SPY,QQQ"
    etag = (await filled.get(path)).headers["ETag"]
    assert (await filled.get(path, headers={"If-None-Match": etag})).status_code == 304
    await store.write([record(utc("14:30"), symbol="QQQ")])
    assert (await filled.get(path, headers={"If-None-Match": etag})).status_code == 200
