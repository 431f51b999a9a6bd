"""How slot records and gaps get into the tables: the store's write path.

Rows by COPY into a temporary table and one upsert; profiles and chains by COPY straight into their
tables, for the slots alone whose row has changed. What the database refuses of a batch is found by
halves and left out; the rest of the batch is written.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import orjson
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from storage import pgcopy
from storage.database import Connection
from storage.reader import ARRAYS, query
from storage.row import COLUMNS, FLOATS, Change, Gap, Row, SlotRecord

#: What happens to a slot that has a row already: see ``conflict`` in queries.sql.
KEEP, NEWER, FILL = "keep", "newer", "fill"
REWRITE, REPLACE = "rewrite", "replace"
_FLOATS = operator.attrgetter(*FLOATS)
#: Whole numbers, and those that the table has eight bytes for.
_WHOLE = tuple(f.name for f in dataclasses.fields(Row) if f.type == "int")
_LONG = frozenset(n for n in _WHOLE if n.endswith(("_oi", "_volume")))
_INTEGERS = operator.attrgetter(*_WHOLE)
_ROW = operator.attrgetter(*COLUMNS)
_CONFLICT = query("conflict", COLUMNS)
_UPSERT_ROW = query("upsert_row", COLUMNS, conflict=_CONFLICT)
_UPSERT_ROWS = query("upsert_rows", COLUMNS, conflict=_CONFLICT)
_INCOMING = query("incoming", COLUMNS)
_KINDS = query("incoming_kinds", COLUMNS)
_JSON = ("dropped", "quotes_unused", "settled", "detail")
_NAMES = ", ".join(COLUMNS)
_COPY_ROWS = f"copy incoming ({_NAMES}, ordinal) from stdin (format binary)"
_COPY_PROFILES = (
    f"copy profiles (symbol, expiration, slot, {', '.join(ARRAYS)}) from stdin (format binary)"
)
_COPY_CHAINS = "copy chains (symbol, expiration, slot, evidence) from stdin (format binary)"

_Key = tuple[str, date, datetime]


def _key(one: Row | Gap) -> _Key:
    return one.symbol, one.expiration, one.slot


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record or a gap that was not written, and why."""

    what: SlotRecord | Gap
    why: str


class Written(list[Change]):
    """What a write has changed, a ``Change`` a symbol; and what of it was refused."""

    def __init__(self, changes: Iterable[Change] = (), refused: Iterable[Refusal] = ()) -> None:
        super().__init__(changes)
        self.refused = tuple(refused)


class Unfit(ValueError):
    """A value of a record is nothing to store."""


def fit(
    records: Sequence[SlotRecord], gaps: Sequence[Gap], mode: str
) -> tuple[list[SlotRecord], list[Gap], list[Refusal]]:
    """Of each slot the record that counts, and the gap; and what nothing can be made of."""
    kept: dict[_Key, SlotRecord] = {}
    marks: dict[_Key, Gap] = {}
    refused = []
    every: list[SlotRecord | Gap] = [*records, *gaps]
    for one in every:
        try:
            if isinstance(one, Gap):
                _require_name(one)
                marks[_key(one)] = one
                continue
            _require_name(one.row)
            _require_numbers(one.row)
        except (Unfit, TypeError, AttributeError) as error:
            refused.append(Refusal(one, str(error)))
            continue
        there = kept.setdefault(_key(one.row), one)
        if mode in (REWRITE, REPLACE) or (mode != KEEP and one.row.quoted_at > there.row.quoted_at):
            kept[_key(one.row)] = one
    return list(kept.values()), list(marks.values()), refused


def _require_name(one: Row | Gap) -> None:
    if "\x00" in one.symbol:
        raise Unfit(f"symbol is {one.symbol!r}")


def _require_numbers(row: Row) -> None:
    for name, value in zip(FLOATS, _FLOATS(row), strict=True):
        # What subtracts to zero is finite.
        if value is not None and value - value != 0:
            raise Unfit(f"{name} is {value}")
    for name, value in zip(_WHOLE, _INTEGERS(row), strict=True):
        # Sent in binary, a number too large would be cut to size.
        if not -(2**31) <= value < 2**31 and not (name in _LONG and -(2**63) <= value < 2**63):
            raise Unfit(f"{name} is {value}")


#: What a database or its driver says about a value, not about itself.
POISON = (
    Unfit,
    pg.DataError,
    pg.IntegrityError,
    pg.ProgramLimitExceeded,
    pg.RaiseException,
    TypeError,
    OverflowError,
    UnicodeEncodeError,
)


@dataclass(slots=True)
class _News:
    """What a transaction has written, and what not."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


async def write(
    connection: Connection,
    records: Sequence[SlotRecord],
    gaps: Sequence[Gap],
    *,
    mode: str,
    mixed: bool,
) -> Written:
    """Write in the transaction that is open, under the dataset's lock."""
    await connection.execute(query("lock"))
    every: list[Row | Gap] = [*(one.row for one in records), *gaps]
    symbols = sorted({one.symbol for one in every})
    asked = {"symbols": [one.symbol for one in every], "expirations": [o.expiration for o in every]}
    found = await (await connection.execute(query("standing"), asked)).fetchall()
    heads = {row["symbol"]: row["revision"] for row in found if row["expiration"] is None}
    news = _News()
    if not mixed:
        feeds = {(r["symbol"], r["expiration"]): r["source"] for r in found if r["source"]}
        records = _of_one_feed(records, feeds, news)
    await _put(connection, records, mode, news)
    await _mark(connection, gaps, news)
    changes = [_change(symbol, heads.get(symbol, 0), news) for symbol in symbols]
    changed = [change for change in changes if change.rows or change.gaps]
    if changed:
        await _advance(connection, changed)
    return Written(changed, news.refused)


def _of_one_feed(
    records: Sequence[SlotRecord], feeds: dict[tuple[str, date], str], news: _News
) -> list[SlotRecord]:
    """Leave out the rows of another source than their session's."""
    kept = []
    for one in records:
        row = one.row
        feed = feeds.setdefault((row.symbol, row.expiration), row.source)
        if feed == row.source:
            kept.append(one)
            continue
        why = (
            f"{row.symbol} {row.expiration}: the session is sampled from {feed};"
            f" rows of {row.source} are not mixed in"
        )
        news.refused.append(Refusal(one, why))
    return kept


async def _put(
    connection: Connection, records: Sequence[SlotRecord], mode: str, news: _News
) -> None:
    """Write records; the half of a batch that is refused is tried by halves."""
    if not records:
        return
    try:
        async with connection.transaction():
            revisions = await _upsert(connection, records, mode)
            changed = [one for one in records if _key(one.row) in revisions]
            await connection.execute(query("close_gaps"), _keys(one.row for one in records))
            await _copy(connection, changed)
    except POISON as error:
        if len(records) == 1:
            news.refused.append(Refusal(records[0], _words(error)))
            return
        half = len(records) // 2
        await _put(connection, records[:half], mode, news)
        await _put(connection, records[half:], mode, news)
        return
    news.rows += [(revisions[_key(one.row)], one.row) for one in changed]


async def _upsert(
    connection: Connection, records: Sequence[SlotRecord], mode: str
) -> dict[_Key, int]:
    """Write rows; the revisions of those that changed something."""
    how = {"mode": mode, "backfilled": mode == FILL}
    if len(records) == 1:
        values: dict[str, Any] = {name: getattr(records[0].row, name) for name in COLUMNS}
        values["flags"] = list(values["flags"])
        values |= {name: Jsonb(values[name], orjson.dumps) for name in _JSON}
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


_AT_JSON = [COLUMNS.index(name) for name in _JSON]
_AT_FLAGS = COLUMNS.index("flags")


async def _copy(connection: Connection, changed: Sequence[SlotRecord]) -> None:
    """Write the profiles and chains of rows that have changed."""
    if not changed:
        return
    keys = _keys(one.row for one in changed)
    await connection.execute(query("drop_profiles"), keys)
    await connection.execute(query("drop_chains"), keys)
    for statement, encode in ((_COPY_PROFILES, _profile), (_COPY_CHAINS, _chain)):
        async with connection.cursor() as sending, sending.copy(statement) as copy:
            for block in pgcopy.stream(map(encode, changed)):
                await copy.write(block)


def _profile(record: SlotRecord) -> bytes:
    try:
        columns = [record.profile[name] for name in ARRAYS]
        return pgcopy.key(*_key(record.row), len(ARRAYS)) + pgcopy.arrays(columns)
    # Foreign values can fail anywhere.
    except Exception as error:
        raise Unfit(f"its profile cannot be stored: {error!r}") from error


def _chain(record: SlotRecord) -> bytes:
    try:
        return pgcopy.key(*_key(record.row), 1) + pgcopy.field(record.evidence)
    except Exception as error:
        raise Unfit(f"its chain cannot be stored: {error!r}") from error


async def _mark(connection: Connection, gaps: Sequence[Gap], news: _News) -> None:
    """Write gaps; what is refused is found by halves."""
    if not gaps:
        return
    given = _keys(gaps) | {
        "reasons": [str(gap.reason) for gap in gaps],
        "details": [gap.detail for gap in gaps],
    }
    try:
        async with connection.transaction():
            found = await (await connection.execute(query("mark_gaps"), given)).fetchall()
    except POISON as error:
        if len(gaps) == 1:
            news.refused.append(Refusal(gaps[0], _words(error)))
            return
        half = len(gaps) // 2
        await _mark(connection, gaps[:half], news)
        await _mark(connection, gaps[half:], news)
        return
    by_key = {_key(gap): gap for gap in gaps}
    news.gaps += [(r["revision"], by_key[r["symbol"], r["expiration"], r["slot"]]) for r in found]


def _change(symbol: str, after: int, news: _News) -> Change:
    rows = sorted((r for r in news.rows if r[1].symbol == symbol), key=lambda r: r[0])
    gaps = sorted((g for g in news.gaps if g[1].symbol == symbol), key=lambda g: g[0])
    newest = max((revision for revision, _ in (*rows, *gaps)), default=after)
    return Change(symbol=symbol, after=after, revision=newest, rows=tuple(rows), gaps=tuple(gaps))


async def _advance(connection: Connection, changes: Sequence[Change]) -> None:
    """Move the sessions and heads of what was written."""
    sessions: dict[tuple[str, date], dict[str, Any]] = {}
    for change in changes:
        changed: list[tuple[int, Row | Gap]] = [*change.rows, *change.gaps]
        for revision, one in changed:
            kept = sessions.setdefault(
                (one.symbol, one.expiration),
                {"source": None, "first": one.slot, "last": one.slot, "revision": 0},
            )
            kept["source"] = kept["source"] or getattr(one, "source", None)
            kept["first"], kept["last"] = min(kept["first"], one.slot), max(kept["last"], one.slot)
            kept["revision"] = max(kept["revision"], revision)
    await connection.execute(
        query("advance_sessions"),
        {
            "symbols": [symbol for symbol, _ in sessions],
            "expirations": [expiration for _, expiration in sessions],
            "sources": [kept["source"] for kept in sessions.values()],
            "firsts": [kept["first"] for kept in sessions.values()],
            "lasts": [kept["last"] for kept in sessions.values()],
            "revisions": [kept["revision"] for kept in sessions.values()],
        },
    )
    await connection.execute(
        query("advance_heads"),
        {"symbols": [c.symbol for c in changes], "revisions": [c.revision for c in changes]},
    )


def _keys(those: Iterable[Row | Gap]) -> dict[str, Any]:
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


def _words(error: Exception) -> str:
    if isinstance(error, Unfit):
        return str(error)
    return f"the database refused: {str(error).strip().splitlines()[0]}"
