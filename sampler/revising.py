"""Which stored rows a new record puts in doubt, with the flags that they get."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

from sampler.measure.revision import doubts_of, first_doubted, revise
from storage.record.row import SlotRecord


class EarlierRecords(Protocol):
    """Where a session's earlier records are read."""

    async def before(
        self, symbol: str, expiration: date, slot: datetime, feed: str
    ) -> SlotRecord | None:
        """Return the newest record of a session before ``slot``.

        Parameters
        ----------
        symbol, expiration, feed : the session.
        slot : the moment, UTC; its own record does not count.

        Returns
        -------
        SlotRecord or None
            The record; None without one.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...


async def revised_by(store: EarlierRecords, record: SlotRecord) -> list[SlotRecord]:
    """Return the stored records that a new one puts in doubt, with their new flags.

    Whoever stores the record writes these first, each in place of its own row. If the second write
    fails, the next attempt finds the flags there already, and nothing is left to do.

    Parameters
    ----------
    store : where the session's earlier records are.
    record : measured, not stored yet.

    Returns
    -------
    list of SlotRecord
        Newest first; empty for nearly every record. A row that has the flag is not among them.

    Raises
    ------
    StoreError
        If the store is away.
    """
    try:
        doubts = doubts_of(record)
    except ValueError:
        # Evidence that cannot be read says nothing against other rows.
        return []
    if not doubts:
        return []
    row, since, revised = record.row, first_doubted(doubts), []
    earlier = await store.before(row.symbol, row.expiration, row.slot, row.source)
    while earlier is not None and earlier.row.quoted_at >= since:
        again = revise(earlier, doubts, row.quoted_at)
        if again is not earlier:
            revised.append(again)
        earlier = await store.before(row.symbol, row.expiration, earlier.row.slot, row.source)
    return revised
