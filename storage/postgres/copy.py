"""Send rows, profiles and chains to their tables.

A single row is a plain upsert. Several rows go by COPY into a temporary table, then by one upsert.
Profiles and chains go by COPY straight into their tables.
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
from storage.postgres.validate import InvalidRecord, SlotKey, returned_key, slot_key
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
    f"copy profiles (symbol, expiration, source, slot, {_ARRAY_NAMES}) from stdin (format binary)"
)
_COPY_CHAINS = "copy chains (symbol, expiration, source, slot, evidence) from stdin (format binary)"


async def upsert_rows(
    connection: Connection, records: Sequence[SlotRecord], mode: WriteMode
) -> dict[SlotKey, int]:
    """Write rows by the mode's conflict rule; return the revisions of those that were written.

    Parameters
    ----------
    connection : an open connection, in a transaction.
    records : the records whose rows are written; at most one a slot.
    mode : what happens to a slot that has a row already.

    Returns
    -------
    dict
        Revision by symbol, expiration, feed and slot.
    """
    how = rule_parameters(mode) | {"backfilled": mode.backfills}
    if len(records) == 1:
        values: dict[str, Any] = {name: getattr(records[0].row, name) for name in COLUMNS}
        values["flags"] = list(values["flags"])
        values |= {name: Jsonb(values[name], orjson.dumps) for name in JSON_COLUMNS}
        cursor = await connection.execute(_UPSERT_ROW, values | how)
    else:
        await connection.execute(_INCOMING)
        # A batch that is written by halves comes here several times in a transaction.
        await connection.execute(query("nothing_incoming"))
        kinds = await connection.execute(_KINDS)
        assert kinds.description is not None
        async with connection.cursor() as copying, copying.copy(_COPY_ROWS) as copy:
            copy.set_types([column.type_code for column in kinds.description])
            for ordinal, item in enumerate(records):
                await copy.write_row(_values(item.row, ordinal))
        cursor = await connection.execute(_UPSERT_ROWS, how)
    returned = await cursor.fetchall()
    return {returned_key(r): r["revision"] for r in returned}


def _values(row: Row, ordinal: int) -> list[Any]:
    values = list(_ROW(row))
    for index in _AT_JSON:
        values[index] = Jsonb(values[index], orjson.dumps)
    values[_AT_FLAGS] = list(row.flags)
    values.append(ordinal)
    return values


_AT_JSON = [COLUMNS.index(name) for name in JSON_COLUMNS]
_AT_FLAGS = COLUMNS.index("flags")


async def copy_profiles_and_chains(connection: Connection, changed: Sequence[SlotRecord]) -> None:
    """Replace the profiles and chains of records whose row was written.

    Parameters
    ----------
    connection : an open connection, in a transaction.
    changed : the records. One without a chain gets none, and no profile where its own is empty.
    """
    if not changed:
        return
    profiled = [item for item in changed if item.profile or item.has_chain]
    chained = [item for item in changed if item.has_chain]
    keys = key_columns(item.row for item in changed)
    await connection.execute(query("drop_profiles"), keys)
    await connection.execute(query("drop_chains"), keys)
    for statement, encode, records in (
        (_COPY_PROFILES, _profile, profiled),
        (_COPY_CHAINS, _chain, chained),
    ):
        async with connection.cursor() as copying, copying.copy(statement) as copy:
            for block in binary.copy_stream(map(encode, records)):
                await copy.write(block)


def _profile(record: SlotRecord) -> bytes:
    try:
        columns = [record.profile[name] for name in PROFILE_ARRAYS]
        return binary.key_fields(*slot_key(record.row), len(PROFILE_ARRAYS)) + binary.array_fields(
            columns
        )
    # A profile may hold any value, so to encode it may raise any error.
    except Exception as error:
        raise InvalidRecord(f"its profile cannot be stored: {error!r}") from error


def _chain(record: SlotRecord) -> bytes:
    try:
        return binary.key_fields(*slot_key(record.row), 1) + binary.bytea_field(record.evidence)
    except Exception as error:
        raise InvalidRecord(f"its chain cannot be stored: {error!r}") from error


def rule_parameters(mode: WriteMode) -> dict[str, Any]:
    """Return a mode's conflict rule as parameters of queries.sql.

    Parameters
    ----------
    mode : the write mode.

    Returns
    -------
    dict
        Parameters by name.
    """
    return {
        "over_sampled": mode.rule.sampled.value,
        "over_backfilled": mode.rule.backfilled.value,
        "keeps_origin": mode.rule.keeps_origin,
        "writes_equal": mode.rule.writes_equal,
    }


def key_columns(rows_or_gaps: Iterable[Row | Gap]) -> dict[str, Any]:
    """Return the keys of rows or gaps as columns, with their first and last slot.

    The two slots let the database skip the chunks of other days.

    Parameters
    ----------
    rows_or_gaps : at least one.

    Returns
    -------
    dict
        ``symbols``, ``expirations``, ``sources`` and ``slots`` of one length, ``first`` and
        ``last``.
    """
    returned = list(rows_or_gaps)
    slots = [item.slot for item in returned]
    return {
        "symbols": [item.symbol for item in returned],
        "expirations": [item.expiration for item in returned],
        "sources": [item.source for item in returned],
        "slots": slots,
        "first": min(slots),
        "last": max(slots),
    }
