"""The row: what is refused at its birth, how it is shown, and that the table fits it."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import factories
import numpy as np
import psycopg
import pytest

from storage.record.packing import pack
from storage.record.row import (
    COLUMNS,
    FLOATS,
    MOMENTS,
    PROFILE,
    Drop,
    Flag,
    Reason,
    Row,
    SlotRecord,
    utc_text,
)

ROOT = Path(__file__).resolve().parents[3]
#: Figures that a row may lack.
NULLABLE = {f.name for f in dataclasses.fields(Row) if str(f.type).endswith("| None")}
FLOWS = {
    "hedge_flow_call_cumulative",
    "hedge_flow_put_cumulative",
    "hedge_flow_cumulative_all",
    "hedge_flow_se",
}


def test_every_reason_and_flag_is_used():
    """Each member of the three enumerations is named in the packages outside its own module."""
    code = "".join(
        path.read_text()
        for package in ("sampler", "storage", "api")
        for path in (ROOT / package).rglob("*.py")
        if path != ROOT / "storage/record/row.py"
    )
    members = [*Reason, *Flag, *Drop]
    unused = [m for m in members if f"{type(m).__name__}.{m.name}" not in code]
    assert unused == []


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [
        (0.1 + 0.2, 0.3),
        (1234567.8901234567, 1234567.89012),
        (-98765432109876.54, -98765432109900.0),
        (1e-20 / 3, 3.33333333333e-21),
        (2.0 / 3.0, 0.666666666667),
        (7700, 7700.0),
        (0.0, 0.0),
    ],
)
def test_rounded_at_birth(exact, rounded):
    """Numbers have 12 significant digits from the first moment."""
    assert rounded == factories.row(net_gex=exact).net_gex
    assert rounded == factories.row(gamma_flip=exact).gamma_flip


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_hedge_flows_keep_their_cents(name):
    """Dollar sums of flow stay as they are: their cents lie beyond 12 digits."""
    assert getattr(factories.row(**{name: 123_456_789_012.34}), name) == 123_456_789_012.34


def test_every_number_but_flow_is_rounded():
    """No float field is forgotten, and each that may be null takes a null."""
    exact = 1 / 3
    for name in FLOATS:
        stored = getattr(factories.row(**{name: exact}), name)
        assert (exact if name in FLOWS else 0.333333333333) == stored, name
    for name in NULLABLE:
        assert getattr(factories.row(**{name: None}), name) is None


def test_numpy_numbers_become_plain():
    """A float of numpy's is a float of Python's in the row."""
    assert type(factories.row(spot=np.float64(7700.25)).spot) is float


@pytest.mark.parametrize(
    "name", sorted({f.name for f in dataclasses.fields(Row) if "float" in str(f.type)})
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan")], ids=str)
def test_not_finite(name, bad):
    """NaN and infinities are refused by name, in every number."""
    with pytest.raises(ValueError, match=f"^{name} is -?(nan|inf)$"):
        factories.row(**{name: bad})


@pytest.mark.parametrize(
    "name", ["slot", "quoted_at", "fetched_at", "flow_since", "differenced_from"]
)
def test_naive_times(name):
    """A time without zone is refused by name."""
    assert name in MOMENTS
    with pytest.raises(ValueError, match=f"^{name} has no time zone$"):
        factories.row(**{name: datetime(2026, 8, 19, 13, 30)})


def test_a_row_does_not_change():
    """A row is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        factories.row().spot = 1.0


def test_as_json():
    """Every field as a plain value, in the order of the table; times in UTC, dates as ISO."""
    row = factories.row(
        slot=datetime(2026, 8, 19, 14, 14, 30, tzinfo=UTC),
        quoted_at=datetime(2026, 8, 19, 14, 14, 21, 987_654, tzinfo=UTC),
        differenced_from=None,
        flags=("after_gap",),
        dropped={"duplicate": 2},
        quotes_unused={},
    )
    plain = row.as_json()
    assert list(COLUMNS) == list(plain)
    assert plain["expiration"] == "2026-08-19"
    assert plain["slot"] == "2026-08-19T14:14:30Z"
    assert plain["quoted_at"] == "2026-08-19T14:14:21Z"
    assert plain["flow_since"] == "2026-08-19T13:30:00Z"
    assert plain["differenced_from"] is None
    assert plain["flags"] == ["after_gap"]
    assert plain["dropped"] == {"duplicate": 2}
    assert plain["quotes_unused"] == {}
    assert plain["spot"] == 7700.5
    assert plain["pin_score"] == 61
    assert plain == json.loads(json.dumps(plain, allow_nan=False))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 6, 5, 18, 44, tzinfo=UTC), "2026-06-05T18:44:00Z"),
        (datetime(2026, 6, 5, 18, 44, 59, 999_999, tzinfo=UTC), "2026-06-05T18:44:59Z"),
        (
            datetime(2026, 6, 5, 22, 44, tzinfo=timezone(timedelta(hours=-4))),
            "2026-06-06T02:44:00Z",
        ),
    ],
)
def test_utc_text(moment, text):
    """The Z is true for a moment of any zone; microseconds are left out."""
    assert text == utc_text(moment)


def columns_of(url: str, table: str) -> dict[str, tuple[str, bool]]:
    """Type and nullability of a table's columns, in order."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select column_name, case when data_type = 'ARRAY' then udt_name else data_type end,"
            " is_nullable = 'YES' from information_schema.columns"
            " where table_schema = 'live' and table_name = %s order by ordinal_position",
            [table],
        )
        return {name: (kind, nullable) for name, kind, nullable in rows}


#: What PostgreSQL keeps a field's type as.
KEPT_AS = {
    "str": "text",
    "date": "date",
    "datetime": "timestamp with time zone",
    "float": "double precision",
    "bool": "boolean",
    "dict[str, int]": "jsonb",
    "SettledFigures": "jsonb",
    "DetailFigures": "jsonb",
    "tuple[str, ...]": "_text",
}


def test_table_fits_the_row(database):
    """Each field is a column of its type, null exactly where the field may be None."""
    table = columns_of(database, "rows")
    assert table.pop("revision") == ("bigint", False)
    assert table.pop("backfilled") == ("boolean", False)
    assert set(COLUMNS) == set(table)
    for field in dataclasses.fields(Row):
        kind, _, none = str(field.type).partition(" | ")
        # Open interest and volume of a day may exceed 31 bits; the other counts never do.
        wide = field.name.endswith(("_oi", "_volume")) and kind == "int"
        expected = KEPT_AS.get(kind, "bigint" if wide else "integer")
        assert (expected, none == "None") == table[field.name], field.name


def test_table_fits_the_profile(database):
    """Strikes and every per-strike array are columns of their own, never null."""
    table = columns_of(database, "profiles")
    keys = ["symbol", "expiration", "source", "slot"]
    assert {*keys, "strike", *PROFILE} == set(table)
    assert {("_float8", False)} == {table[name] for name in ("strike", *PROFILE)}


def test_state_and_evidence():
    """A record's state is packed when it is stored; what was stored gives the same state."""
    state = ({"strike": np.array([7695.0, 7700.0])}, {"traded": 3.5})
    row, profile = factories.row(), {"strike": np.array([7700.0])}
    fresh = SlotRecord(row=row, profile=profile, state=state)
    assert fresh.state is state
    assert fresh.evidence == pack({"strike": np.array([7695.0, 7700.0])}, traded=3.5)
    again = SlotRecord(row=row, profile=profile, evidence=fresh.evidence)
    columns, notes = again.state
    assert (columns["strike"].tolist(), notes) == ([7695.0, 7700.0], {"traded": 3.5})
    assert fresh.evidence == again.evidence
    with pytest.raises(ValueError, match="not a packed chain"):
        _ = SlotRecord(row=row, profile=profile, evidence=b"spoilt").state


def test_factory_has_every_array():
    """The tests' profile is complete, so that what they check is all of it."""
    assert {"strike", *PROFILE} == set(factories.PROFILE)


def test_factory_row_tells_fields_apart():
    """No two numbers of the tests' row are equal, so that swapped columns would show."""
    plain: dict[str, Any] = factories.row().as_json()
    numbers = [v for v in plain.values() if isinstance(v, int | float)]
    assert len(numbers) == len(set(numbers))
