"""How rows, profiles and chains get into their tables.

One row by a plain upsert, more by COPY into a temporary table and one upsert; profiles and chains
by COPY straight into their tables.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from storage.postgres import binary
from storage.postgres.database import Connection
from storage.postgres.queries import query
from storage.postgres.validate import InvalidRecord, SlotKey, slot_key
from storage.record.mode import WriteMode
from storage.record.row import COLUMNS, JSON_COLUMNS, PROFILE_ARRAYS, Gap, Row, SlotRecord

_ROW = operator.attrgetter(*COLUMNS)
_CONFLICT = query("conflict", COLUMNS, replaces=query("replaces", offered_at="excluded.quoted_at"))
_UPSERT_ROW = query("upsert_row", COLUMNS, conflict=_CONFLICT)
_UPSERT_ROWS = query("upsert_rows", COLUMNS, conflict=_CONFLICT)
_INCOMING = query("incoming", COLUMNS)
_KINDS = query("incoming_kinds", COLUMNS)
_NAMES = ", ".join(COLUMNS)
_COPY_ROWS = f"copy incoming ({_NAMES}, ordinal) from stdin (format binary)"
_ARRAY_NAMES = ", ".join(PROFILE_ARRAYS)
_COPY_PROFILES = (
    f"copy profiles (symbol, expiration, slot, {_ARRAY_NAMES}) from stdin (format binary)"
)
_COPY_CHAINS = "copy chains (symbol, expiration, slot, evidence) from stdin (format binary)"


async def upsert_rows(
    connection: Connection, records: Sequence[SlotRecord], mode: WriteMode
) -> dict[SlotKey, int]:
    """Write rows; the revisions of those that changed something."""
    how = rule_parameters(mode) | {"backfilled": mode.backfills}
    if len(records) == 1:
        values: dict[str, Any] = {name: getattr(records[0].row, name) for name in COLUMNS}
        values["flags"] = list(values["flags"])
        values |= {name: Jsonb(values[name], orjson.dumps) for name in JSON_COLUMNS}
        cursor = await connection.execute(_UPSERT_ROW, values | how)
    else:
        await connection.execute(_INCOMING)
        # A batch that is tried by halves comes here several times.
        await connection.execute(query("nothing_incoming"))
        kinds = await connection.execute(_KINDS)
        assert kinds.description is not None
        async with connection.cursor() as sending, sending.copy(_COPY_ROWS) as copy:
            copy.set_types([column.type_code for column in kinds.description])
            for ordinal, one in enumerate(records):
                await copy.write_row(_values(one.row, ordinal))
        cursor = await connection.execute(_UPSERT_ROWS, how)
    found = await cursor.fetchall()
    return {(r["symbol"], r["expiration"], r["slot"]): r["revision"] for r in found}


def _values(row: Row, ordinal: int) -> list[Any]:
    values = list(_ROW(row))
    for at in _AT_JSON:
        values[at] = Jsonb(values[at], orjson.dumps)
    values[_AT_FLAGS] = list(row.flags)
    values.append(ordinal)
    return values


_AT_JSON = [COLUMNS.index(name) for name in JSON_COLUMNS]
_AT_FLAGS = COLUMNS.index("flags")


async def copy_profiles_and_chains(connection: Connection, changed: Sequence[SlotRecord]) -> None:
    """Write the profiles and chains of rows that have changed."""
    if not changed:
        return
    keys = key_columns(one.row for one in changed)
    await connection.execute(query("drop_profiles"), keys)
    await connection.execute(query("drop_chains"), keys)
    for statement, encode in ((_COPY_PROFILES, _profile), (_COPY_CHAINS, _chain)):
        async with connection.cursor() as sending, sending.copy(statement) as copy:
            for block in binary.copy_stream(map(encode, changed)):
                await copy.write(block)


def _profile(record: SlotRecord) -> bytes:
    try:
        columns = [record.profile[name] for name in PROFILE_ARRAYS]
        return binary.key_fields(*slot_key(record.row), len(PROFILE_ARRAYS)) + binary.array_fields(
            columns
        )
    # Foreign values can fail anywhere.
    except Exception as error:
        raise InvalidRecord(f"its profile cannot be stored: {error!r}") from error


def _chain(record: SlotRecord) -> bytes:
    try:
        return binary.key_fields(*slot_key(record.row), 1) + binary.bytea_field(record.evidence)
    except Exception as error:
        raise InvalidRecord(f"its chain cannot be stored: {error!r}") from error


def rule_parameters(mode: WriteMode) -> dict[str, Any]:
    """Return a mode's conflict rule as parameters of queries.sql."""
    return {
        "over_sampled": mode.rule.sampled.value,
        "over_backfilled": mode.rule.backfilled.value,
        "keeps_origin": mode.rule.keeps_origin,
        "writes_equal": mode.rule.writes_equal,
    }


def key_columns(those: Iterable[Row | Gap]) -> dict[str, Any]:
    """Keys as columns, and between which slots they lie: what is beyond is not looked at."""
    found = list(those)
    slots = [one.slot for one in found]
    return {
        "symbols": [one.symbol for one in found],
        "expirations": [one.expiration for one in found],
        "slots": slots,
        "first": min(slots),
        "last": max(slots),
    }
