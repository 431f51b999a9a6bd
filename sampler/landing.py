"""A batch into the store; one value that the database refuses holds up no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Protocol

from storage.batch import Batch
from storage.errors import StoreError, ValueRefused
from storage.row import Change, Gap, Reason, SlotRecord
from storage.store import KEEP


class Keeper(Protocol):
    """The part of the store that a step needs."""

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: str = KEEP,
    ) -> list[Change] | None:
        """See ``Store.write``; None says that it is kept, and lands later."""
        ...

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """See ``Store.before``."""
        ...


async def land(
    store: Keeper, batch: Batch, put_aside: Callable[[Batch, Exception], Awaitable[None]]
) -> list[Change]:
    """Write a batch in one transaction.

    If the database refuses a value, each record and gap is tried by itself; a refused one is put
    aside, and its slot is a gap.

    Raises
    ------
    StoreError
        If the database is away or full: a second try changes nothing that is written already.
    """
    try:
        return await _write(store, batch)
    except ValueRefused:
        pass
    changes: list[Change] = []
    for part in _parts(batch):
        try:
            changes += await _write(store, part)
        except ValueRefused as refusal:
            await put_aside(part, refusal)
            changes += await _write(store, Batch(gaps=_instead(part, str(refusal))))
    return changes


async def _write(store: Keeper, batch: Batch) -> list[Change]:
    try:
        return await store.write(batch.records, batch.gaps, mode=batch.mode) or []
    except StoreError:
        raise
    except Exception as error:
        # A value that the driver cannot even send.
        raise ValueRefused(f"{type(error).__name__}: {error}") from error


def _parts(batch: Batch) -> Iterator[Batch]:
    for record in batch.records:
        yield Batch(records=[record], mode=batch.mode)
    for gap in batch.gaps:
        yield Batch(gaps=[gap])


def _instead(part: Batch, detail: str) -> list[Gap]:
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
