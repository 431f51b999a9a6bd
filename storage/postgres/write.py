"""The write path: one transaction takes a batch of records and gaps into the tables.

Profiles and chains are written only for slots whose row has changed. If the database refuses a
value, the batch is halved until the record with that value is found; it is left out and the rest is
written.
"""

from __future__ import annotations

import dataclasses
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
    returned_key,
    slot_key,
)
from storage.record.mode import Replaces, WriteMode
from storage.record.result import Refusal, WriteResult
from storage.record.row import Change, Gap, Row, SlotRecord

_SETTLED = query("settled", replaces=query("replaces", offered_at="k.quoted_at"))


@dataclass(slots=True)
class _Progress:
    """What a transaction has written so far, each with its revision, and what was refused."""

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

    Parameters
    ----------
    connection : an open connection, outside a transaction.
    records : the batch; at most one record a slot.
    mode : how the batch will be written.

    Returns
    -------
    frozenset
        Keys of slots.
    """
    if len(records) < 2 or mode.rule.sampled is Replaces.ALWAYS:
        return frozenset()
    try:
        keys = key_columns(item.row for item in records) | {
            "quoted": [item.row.quoted_at for item in records],
            **rule_parameters(mode),
        }
        rows = await (await connection.execute(_SETTLED, keys)).fetchall()
    except VALUE_ERRORS:
        # The write will find the record that has the value.
        return frozenset()
    return frozenset(map(returned_key, rows))


async def write_batch(
    connection: Connection,
    records: Sequence[SlotRecord],
    gaps: Sequence[Gap],
    *,
    mode: WriteMode,
    settled: Container[SlotKey],
) -> WriteResult:
    """Write a batch in the connection's open transaction, under the dataset's write lock.

    Parameters
    ----------
    connection : with an open transaction.
    records, gaps : valid, at most one of each a slot.
    mode : as for ``Store.write``.
    settled : slots whose row stays, from ``find_settled_slots``; their records are not sent.

    Returns
    -------
    WriteResult
        What changed, one change a symbol, and what was refused.
    """
    await connection.execute(query("lock"))
    items: list[Row | Gap] = [*(item.row for item in records), *gaps]
    keys = {
        "symbols": [item.symbol for item in items],
        "expirations": [item.expiration for item in items],
    }
    standing = await (await connection.execute(query("standing"), keys)).fetchall()
    heads = {row["symbol"]: row["revision"] for row in standing if row["expiration"] is None}
    feeds: dict[tuple[str, date], set[str]] = {}
    shown: dict[tuple[str, date], str] = {}
    for row in standing:
        if row["expiration"] is not None:
            key = row["symbol"], row["expiration"]
            feeds.setdefault(key, set()).add(row["source"])
            if row["shown"]:
                shown[key] = row["source"]
    for item in records:
        shown.setdefault((item.row.symbol, item.row.expiration), item.row.source)
    progress = _Progress()
    sent = [item for item in records if slot_key(item.row) not in settled]
    await _put(connection, sent, mode, progress)
    await _mark(connection, _with_feed(gaps, shown), progress)
    changed = _changes(heads, progress)
    if changed:
        await _advance(connection, changed, feeds)
    return WriteResult(tuple(changed), tuple(progress.refused))


def _with_feed(gaps: Sequence[Gap], shown: dict[tuple[str, date], str]) -> list[Gap]:
    """Give gaps of an earlier release, which name no feed, that of their session."""
    named = [
        gap
        if gap.source
        else dataclasses.replace(gap, source=shown.get((gap.symbol, gap.expiration), ""))
        for gap in gaps
    ]
    return list({slot_key(gap): gap for gap in named}.values())


async def _put(
    connection: Connection, records: Sequence[SlotRecord], mode: WriteMode, progress: _Progress
) -> None:
    """Write records. If the database refuses a value, try each half by itself."""
    if not records:
        return
    try:
        async with connection.transaction():
            revisions = await upsert_rows(connection, records, mode)
            changed = [item for item in records if slot_key(item.row) in revisions]
            await connection.execute(query("close_gaps"), key_columns(item.row for item in records))
            await copy_profiles_and_chains(connection, changed)
    except VALUE_ERRORS as error:
        if len(records) == 1:
            progress.refused.append(Refusal(records[0], refusal_reason(error)))
            return
        half = len(records) // 2
        await _put(connection, records[:half], mode, progress)
        await _put(connection, records[half:], mode, progress)
        return
    progress.rows += [(revisions[slot_key(item.row)], item.row) for item in changed]


async def _mark(connection: Connection, gaps: Sequence[Gap], progress: _Progress) -> None:
    """Write gaps. If the database refuses a value, try each half by itself."""
    if not gaps:
        return
    parameters = key_columns(gaps) | {
        "reasons": [str(gap.reason) for gap in gaps],
        "details": [gap.detail for gap in gaps],
        "next_expiries": [gap.next_expiry for gap in gaps],
    }
    try:
        async with connection.transaction():
            marked = await (await connection.execute(query("mark_gaps"), parameters)).fetchall()
    except VALUE_ERRORS as error:
        if len(gaps) == 1:
            progress.refused.append(Refusal(gaps[0], refusal_reason(error)))
            return
        half = len(gaps) // 2
        await _mark(connection, gaps[:half], progress)
        await _mark(connection, gaps[half:], progress)
        return
    by_key = {slot_key(gap): gap for gap in gaps}
    progress.gaps += [(r["revision"], by_key[returned_key(r)]) for r in marked]


def _changes(heads: dict[str, int], progress: _Progress) -> list[Change]:
    """Return what was written as one change a symbol, from the symbol's earlier head on."""
    rows: dict[str, list[tuple[int, Row]]] = {}
    gaps: dict[str, list[tuple[int, Gap]]] = {}
    for revision, row in sorted(progress.rows, key=itemgetter(0)):
        rows.setdefault(row.symbol, []).append((revision, row))
    for revision, gap in sorted(progress.gaps, key=itemgetter(0)):
        gaps.setdefault(gap.symbol, []).append((revision, gap))
    return [
        Change(
            symbol=symbol,
            after=heads.get(symbol, 0),
            # Both lists are in order of revision.
            revision=max(written[symbol][-1][0] for written in (rows, gaps) if symbol in written),
            rows=tuple(rows.get(symbol, ())),
            gaps=tuple(gaps.get(symbol, ())),
        )
        for symbol in sorted(rows.keys() | gaps.keys())
    ]


async def _advance(
    connection: Connection, changes: Sequence[Change], feeds: dict[tuple[str, date], set[str]]
) -> None:
    """Bring the extent and newest revision of sessions, and the heads, up to date.

    ``feeds`` has the feeds that each session had before.
    """
    sessions: dict[tuple[str, date, str], dict[str, Any]] = {}
    for change in changes:
        changed: list[tuple[int, Row | Gap]] = [*change.rows, *change.gaps]
        for revision, item in changed:
            extent = sessions.setdefault(
                (item.symbol, item.expiration, item.source),
                {"first": item.slot, "last": item.slot, "revision": 0, "has_rows": False},
            )
            extent["has_rows"] |= isinstance(item, Row)
            extent["first"], extent["last"] = (
                min(extent["first"], item.slot),
                max(extent["last"], item.slot),
            )
            extent["revision"] = max(extent["revision"], revision)
    await connection.execute(
        query("advance_sessions"),
        {
            "symbols": [symbol for symbol, _, _ in sessions],
            "expirations": [expiration for _, expiration, _ in sessions],
            "sources": [source for _, _, source in sessions],
            "firsts": [extent["first"] for extent in sessions.values()],
            "lasts": [extent["last"] for extent in sessions.values()],
            "revisions": [extent["revision"] for extent in sessions.values()],
            "have_rows": [extent["has_rows"] for extent in sessions.values()],
        },
    )
    for symbol, expiration, source in sessions:
        feeds.setdefault((symbol, expiration), set()).add(source)
    several = [key for key, names in feeds.items() if len(names) > 1]
    if several:
        await connection.execute(query("choose_shown"), _session_keys(several))
    await connection.execute(
        query("advance_heads"),
        {"symbols": [c.symbol for c in changes], "revisions": [c.revision for c in changes]},
    )


def _session_keys(keys: Sequence[tuple[str, date]]) -> dict[str, Any]:
    return {"symbols": [key[0] for key in keys], "expirations": [key[1] for key in keys]}
