"""How slot records and gaps get into the tables: the store's write path, one transaction.

Profiles and chains are written for the slots alone whose row has changed. What the database refuses
of a batch is found by halves and left out; the rest of the batch is written.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import Any

from storage.postgres.copy import (
    copy_profiles_and_chains,
    key_columns,
    rule_parameters,
    upsert_rows,
)
from storage.postgres.database import Connection
from storage.postgres.queries import query
from storage.postgres.validate import (
    VALUE_ERRORS,
    SlotKey,
    refusal_reason,
    slot_key,
)
from storage.record.mode import Replaces, WriteMode
from storage.record.result import Refusal, WriteResult
from storage.record.row import Change, Gap, Row, SlotRecord

_SETTLED = query("settled", replaces=query("replaces", offered_at="k.quoted_at"))


@dataclass(slots=True)
class _News:
    """What a transaction has written, and what not."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


async def find_settled_slots(
    connection: Connection, records: Sequence[SlotRecord], mode: WriteMode
) -> frozenset[SlotKey]:
    """Return the slots of a batch whose stored row stays; their records need not be sent.

    Call it before the transaction begins. A transaction that reads a chunk and then writes to it
    deadlocks with TimescaleDB's compression. A write of another process in between does no harm: it
    might as well have come after this batch, which would not have changed these slots.
    """
    if len(records) < 2 or mode.rule.sampled is Replaces.ALWAYS:
        return frozenset()
    try:
        asked = key_columns(one.row for one in records) | {
            "quoted": [one.row.quoted_at for one in records],
            **rule_parameters(mode),
        }
        found = await (await connection.execute(_SETTLED, asked)).fetchall()
    except VALUE_ERRORS:
        # The write finds out which one it is.
        return frozenset()
    return frozenset((r["symbol"], r["expiration"], r["slot"]) for r in found)


async def write_batch(
    connection: Connection,
    records: Sequence[SlotRecord],
    gaps: Sequence[Gap],
    *,
    mode: WriteMode,
    mixed: bool,
    kept: Container[SlotKey],
) -> WriteResult:
    """Write in the transaction that is open, under the dataset's lock.

    ``kept`` are slots that need no record: see ``find_settled_slots``.
    """
    await connection.execute(query("lock"))
    every: list[Row | Gap] = [*(one.row for one in records), *gaps]
    asked = {"symbols": [one.symbol for one in every], "expirations": [o.expiration for o in every]}
    found = await (await connection.execute(query("standing"), asked)).fetchall()
    heads = {row["symbol"]: row["revision"] for row in found if row["expiration"] is None}
    news = _News()
    if not mixed:
        feeds = {(r["symbol"], r["expiration"]): r["source"] for r in found if r["source"]}
        records = _of_one_feed(records, feeds, news)
    sent = [one for one in records if slot_key(one.row) not in kept]
    await _put(connection, sent, mode, news)
    await _mark(connection, gaps, news)
    changed = _changes(heads, news)
    if changed:
        await _advance(connection, changed)
    return WriteResult(tuple(changed), tuple(news.refused))


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
    connection: Connection, records: Sequence[SlotRecord], mode: WriteMode, news: _News
) -> None:
    """Write records; the half of a batch that is refused is tried by halves."""
    if not records:
        return
    try:
        async with connection.transaction():
            revisions = await upsert_rows(connection, records, mode)
            changed = [one for one in records if slot_key(one.row) in revisions]
            await connection.execute(query("close_gaps"), key_columns(one.row for one in records))
            await copy_profiles_and_chains(connection, changed)
    except VALUE_ERRORS as error:
        if len(records) == 1:
            news.refused.append(Refusal(records[0], refusal_reason(error)))
            return
        half = len(records) // 2
        await _put(connection, records[:half], mode, news)
        await _put(connection, records[half:], mode, news)
        return
    news.rows += [(revisions[slot_key(one.row)], one.row) for one in changed]


async def _mark(connection: Connection, gaps: Sequence[Gap], news: _News) -> None:
    """Write gaps; what is refused is found by halves."""
    if not gaps:
        return
    given = key_columns(gaps) | {
        "reasons": [str(gap.reason) for gap in gaps],
        "details": [gap.detail for gap in gaps],
        "next_expiries": [gap.next_expiry for gap in gaps],
    }
    try:
        async with connection.transaction():
            found = await (await connection.execute(query("mark_gaps"), given)).fetchall()
    except VALUE_ERRORS as error:
        if len(gaps) == 1:
            news.refused.append(Refusal(gaps[0], refusal_reason(error)))
            return
        half = len(gaps) // 2
        await _mark(connection, gaps[:half], news)
        await _mark(connection, gaps[half:], news)
        return
    by_key = {slot_key(gap): gap for gap in gaps}
    news.gaps += [(r["revision"], by_key[r["symbol"], r["expiration"], r["slot"]]) for r in found]


def _changes(heads: dict[str, int], news: _News) -> list[Change]:
    """What was written, a change a symbol."""
    rows: dict[str, list[tuple[int, Row]]] = {}
    gaps: dict[str, list[tuple[int, Gap]]] = {}
    for revision, row in sorted(news.rows, key=itemgetter(0)):
        rows.setdefault(row.symbol, []).append((revision, row))
    for revision, gap in sorted(news.gaps, key=itemgetter(0)):
        gaps.setdefault(gap.symbol, []).append((revision, gap))
    return [
        Change(
            symbol=symbol,
            after=heads.get(symbol, 0),
            # Either list ends with its newest.
            revision=max(found[symbol][-1][0] for found in (rows, gaps) if symbol in found),
            rows=tuple(rows.get(symbol, ())),
            gaps=tuple(gaps.get(symbol, ())),
        )
        for symbol in sorted(rows.keys() | gaps.keys())
    ]


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
