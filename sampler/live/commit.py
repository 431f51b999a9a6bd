"""A batch into the store; one value that the database refuses holds up no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from typing import Protocol

from storage.errors import StoreError, ValueRefused
from storage.record.mode import WriteMode
from storage.record.row import Change, Gap, Reason, SlotRecord
from storage.record.wire import Batch


class RecordStore(Protocol):
    """The part of the store that a step needs."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> list[Change] | None:
        """See ``Store.write``; None says that it is kept, and lands later."""
        ...

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """See ``Store.before``."""
        ...


async def commit_batch(
    store: RecordStore, batch: Batch, quarantine: Callable[[Batch, Exception], Awaitable[None]]
) -> list[Change]:
    """Write a batch in one transaction.

    What the store leaves out of it, a value that no database takes or another feed's row, is put
    aside, and its slot is a gap.

    Raises
    ------
    StoreError
        If the database is away or full: a second try changes nothing that is written already.
    """
    try:
        written = await store.write(batch.records, batch.gaps, mode=batch.mode)
    except StoreError:
        raise
    except Exception as error:
        # Values that not even their keys can be read of.
        await quarantine(batch, ValueRefused(f"{type(error).__name__}: {error}"))
        return []
    changes = list(written or [])
    for refusal in getattr(written, "refused", ()):
        part = (
            Batch(records=[refusal.what], mode=batch.mode)
            if isinstance(refusal.what, SlotRecord)
            else Batch(gaps=[refusal.what])
        )
        await quarantine(part, ValueRefused(refusal.why))
        changes += await store.write(gaps=_replacement_gaps(part, refusal.why)) or []
    return changes


def _replacement_gaps(part: Batch, detail: str) -> list[Gap]:
    """What stands for a refused record or gap: its key, its reason, and words of our own."""
    detail = detail.replace("\0", "")
    gaps = [dataclasses.replace(gap, detail=detail) for gap in part.gaps]
    for record in part.records:
        row = record.row
        gaps.append(
            Gap(
                symbol=row.symbol,
                expiration=row.expiration,
                slot=row.slot,
                reason=Reason.FAILED,
                detail=detail,
            )
        )
    return gaps
