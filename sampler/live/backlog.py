"""Batches that wait for the database: on disk, or in memory while the disk is full.

A batch that neither has room for is lost. Its slots become gaps with reason ``no_room`` when the
database is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import date, datetime

import structlog

from storage.errors import SpoolError
from storage.record.row import Gap, Reason, SlotRecord
from storage.record.wire import Batch
from storage.spool.spool import Spool

log = structlog.get_logger()

#: How large the batches may be that wait in memory while the disk is full. [bytes]
MEMORY_LIMIT = 64_000_000


class Backlog:
    """The batches that wait, oldest first. The caller opens the spool and closes it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._in_memory: deque[Batch] = deque()
        #: Gaps of the slots whose batches were lost.
        self._lost_gaps: list[Gap] = []
        self._lock = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """The number of batches that wait; all lost slots together count as one."""
        return self._spool.waiting + len(self._in_memory) + bool(self._lost_gaps)

    @property
    def size(self) -> int:
        """The size of the batches on disk. [bytes]"""
        return self._spool.size

    @property
    def in_memory(self) -> int:
        """How many batches the disk has not taken: not yet, or for want of room."""
        return len(self._in_memory)

    @property
    def accounted(self) -> dict[tuple[str, str], datetime]:
        """The newest slot of each symbol and feed among the batches on disk, row or gap."""
        return self._spool.accounted

    async def adopt(self) -> int:
        """Take over the spools of dead processes; return how many batches they held."""
        async with self._lock:
            return await asyncio.to_thread(self._spool.adopt)

    def newest_record(
        self, symbol: str, expiration: date, before: datetime, feed: str
    ) -> SlotRecord | None:
        """Return the newest waiting record of a session that is earlier than ``before``.

        Parameters
        ----------
        symbol, expiration, feed : the session.
        before : a slot, UTC; its own record does not count.

        Returns
        -------
        SlotRecord or None
            The record; None if none of the session waits.
        """
        key = symbol, feed
        records = [
            r
            for batch in self._in_memory
            for r in batch.records
            if (r.row.symbol, r.row.source) == key
        ]
        earlier = [r for r in records if r.row.expiration == expiration and r.row.slot < before]
        spooled = self._spool.newest(symbol, expiration, before, feed)
        if spooled is not None:
            earlier.append(spooled)
        return max(earlier, key=lambda r: r.row.slot, default=None)

    async def add(self, batch: Batch) -> None:
        """Keep a batch until the database has it.

        Parameters
        ----------
        batch : measured records and gaps.

        Raises
        ------
        SpoolError
            If neither the disk nor the memory has room for it: the batch is lost.
        """
        # Before the first await, so that ``newest_record`` sees it from now on.
        self._in_memory.append(batch)
        try:
            await self.flush()
        except SpoolError as error:
            log.error("spool cannot take more", in_memory=len(self._in_memory), error=str(error))
            if sum(waiting.size for waiting in self._in_memory) > MEMORY_LIMIT:
                self._in_memory = deque(b for b in self._in_memory if b is not batch)
                self._note_loss(batch, str(error))
                raise

    async def flush(self) -> None:
        """Write the batches in memory to disk.

        Raises
        ------
        SpoolError
            If the disk cannot take one; it and those behind it stay in memory.
        """
        async with self._lock:
            while self._in_memory:
                await asyncio.to_thread(self._spool.append, self._in_memory[0])
                self._in_memory.popleft()

    async def drain(self, commit: Callable[[Batch], Awaitable[None]]) -> int:
        """Commit every waiting batch, oldest first, then the gaps of lost slots.

        Parameters
        ----------
        commit : writes a batch to the database. A batch is removed once this returns.

        Returns
        -------
        int
            How many batches were committed.

        Raises
        ------
        StoreError
            If ``commit`` raises it. That batch and those behind it stay.
        """
        committed = 0
        while (batch := await self._oldest()) is not None:
            await commit(batch)
            async with self._lock:
                # A batch that went from memory to disk meanwhile is committed a second time, which
                # changes nothing.
                if self._in_memory and self._in_memory[0] is batch:
                    self._in_memory.popleft()
                elif batch.place is not None:
                    await asyncio.to_thread(self._spool.drop, batch)
            committed += 1
        while self._lost_gaps:
            lost = self._lost_gaps[:1000]
            await commit(Batch(gaps=lost))
            self._lost_gaps = self._lost_gaps[len(lost) :]
        return committed

    async def quarantine(self, batch: Batch, error: Exception) -> None:
        """Write a batch that the database refuses to a file beside the spool, for inspection.

        Parameters
        ----------
        batch : the refused records or gaps.
        error : why the database refuses them; goes to the log.
        """
        slots = [f"{symbol} {slot:%H:%M:%S}" for symbol, slot in batch.slots]
        try:
            async with self._lock:
                path = str(await asyncio.to_thread(self._spool.quarantine, batch))
        except SpoolError as full:
            path = str(full)
        log.error("the database refuses", slots=slots, error=str(error), put_aside=path)

    async def _oldest(self) -> Batch | None:
        async with self._lock:
            batch = await asyncio.to_thread(self._spool.oldest)
            return batch or (self._in_memory[0] if self._in_memory else None)

    def _note_loss(self, batch: Batch, detail: str) -> None:
        """Remember the gaps that stand for a lost batch."""
        self._lost_gaps += [*batch.gaps, *gaps_of_lost(batch, detail)]


def gaps_of_lost(batch: Batch, detail: str = "") -> list[Gap]:
    """Return the gaps that stand for the records of a batch that nothing had room for.

    Parameters
    ----------
    batch : the lost batch.
    detail : the text of the gaps.

    Returns
    -------
    list of Gap
        One a record, with the reason ``no_room``.
    """
    return [
        Gap(
            symbol=record.row.symbol,
            expiration=record.row.expiration,
            slot=record.row.slot,
            reason=Reason.NO_ROOM,
            detail=detail,
            source=record.row.source,
        )
        for record in batch.records
    ]
