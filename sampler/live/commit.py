"""Commit a batch of records and gaps to the store, and quarantine what the database refuses.

A refused value costs its own slot only. The slot becomes a gap with reason ``failed``, the refused
record goes into quarantine, and the rest of the batch is stored. Earlier rows that a record of the
batch puts in doubt get their flags before the batch is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from sampler.revising import EarlierRecords, revised_by
from storage.errors import StoreError, ValueRefused
from storage.record.mode import WriteMode
from storage.record.result import WriteResult
from storage.record.row import Change, Gap, Reason, SlotRecord
from storage.record.wire import Batch

log = structlog.get_logger()


class RecordStore(EarlierRecords, Protocol):
    """Where a step reads its predecessor and writes its record: a store, or a batching writer."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> WriteResult | None:
        """Write records and gaps in one transaction, as ``Store.write`` does.

        Parameters
        ----------
        records, gaps : what to write.
        mode : what happens to a row that a record's slot has already.

        Returns
        -------
        WriteResult or None
            What was written and what was refused; None if the batch was spooled for later.

        Raises
        ------
        StoreError
            If the database is away or full.
        """
        ...


async def revise_earlier(store: RecordStore, records: Sequence[SlotRecord]) -> tuple[Change, ...]:
    """Add flags to the stored rows that some records put in doubt.

    Parameters
    ----------
    store : where the earlier rows are.
    records : new records, not yet stored.

    Returns
    -------
    tuple of Change
        What changed; empty if no earlier row is in doubt.

    Raises
    ------
    StoreError
        If the database is away.
    """
    changes: list[Change] = []
    for record in records:
        if revised := await revised_by(store, record):
            written = await store.write(revised, mode=WriteMode.REWRITE)
            changes += written.changes if written else ()
    return tuple(changes)


async def commit_batch(
    store: RecordStore, batch: Batch, quarantine: Callable[[Batch, Exception], Awaitable[None]]
) -> WriteResult:
    """Write a batch in one transaction, and replace each refused record or gap by a gap.

    Parameters
    ----------
    store : where the batch is written.
    batch : the records and gaps.
    quarantine : called with each refused part of the batch and the reason for the refusal.

    Returns
    -------
    WriteResult
        What was written, with the gaps that replace refused records, and what was refused.

    Raises
    ------
    StoreError
        If the database is away or full. The same batch may be committed again: what is stored
        already stays as it is.
    """
    try:
        revised = await revise_earlier(store, batch.records)
    except StoreError:
        raise
    except Exception:
        # A flag too few must not keep the records themselves waiting.
        log.exception("earlier rows not revised")
        revised = ()
    try:
        written = await store.write(batch.records, batch.gaps, mode=batch.mode)
    except StoreError:
        raise
    except Exception as error:
        # Not even the keys of these values could be read, so no gap can stand for them.
        await quarantine(batch, ValueRefused(f"{type(error).__name__}: {error}"))
        return WriteResult(revised)
    if written is None:
        return WriteResult(revised)
    changes = [*revised, *written.changes]
    for refusal in written.refused:
        refused = (
            Batch(records=[refusal.item], mode=batch.mode)
            if isinstance(refusal.item, SlotRecord)
            else Batch(gaps=[refusal.item])
        )
        await quarantine(refused, ValueRefused(refusal.reason))
        replaced = await store.write(gaps=replacement_gaps(refused, refusal.reason))
        changes += replaced.changes if replaced else ()
    return WriteResult(tuple(changes), written.refused)


def replacement_gaps(refused: Batch, detail: str) -> list[Gap]:
    """Return the gaps that stand for a refused part of a batch.

    Parameters
    ----------
    refused : the records and gaps that the database refuses.
    detail : the text of the gaps.

    Returns
    -------
    list of Gap
        The gaps with this text, and a gap ``failed`` a record.
    """
    # The database refuses NUL, and the text may quote the refused value.
    detail = detail.replace("\0", "")
    gaps = [dataclasses.replace(gap, detail=detail) for gap in refused.gaps]
    for record in refused.records:
        row = record.row
        gaps.append(
            Gap(
                symbol=row.symbol,
                expiration=row.expiration,
                slot=row.slot,
                reason=Reason.FAILED,
                detail=detail,
                # The feed itself may be what the database refuses.
                source="" if "\0" in row.source else row.source,
            )
        )
    return gaps
