"""What waits for the database: on disk as long as there is room, then in memory, then lost.

Lost is what neither could hold; its slots become gaps that say so, once the database is back.
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

#: What may wait in memory while the disk is full. [bytes]
MEMORY_LIMIT = 64_000_000


class Backlog:
    """Batches that wait, oldest first. Whoever opened the spool closes it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._in_memory: deque[Batch] = deque()
        self._lost_gaps: list[Gap] = []
        self._lock = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many batches wait."""
        return self._spool.waiting + len(self._in_memory) + bool(self._lost_gaps)

    @property
    def accounted(self) -> dict[str, datetime]:
        """The newest slot of each symbol that waits on disk."""
        return self._spool.accounted

    async def adopt(self) -> int:
        """Take over what dead processes have left; how many batches that gave."""
        async with self._lock:
            return await asyncio.to_thread(self._spool.adopt)

    def newest_record(self, symbol: str, expiration: date, before: datetime) -> SlotRecord | None:
        """The newest waiting record of a session that is earlier than a moment."""
        rows = [r for batch in self._in_memory for r in batch.records if r.row.symbol == symbol]
        fit = [r for r in rows if r.row.expiration == expiration and r.row.slot < before]
        spooled = self._spool.newest(symbol, expiration, before)
        if spooled is not None:
            fit.append(spooled)
        return max(fit, key=lambda r: r.row.slot, default=None)

    async def add(self, batch: Batch) -> None:
        """Keep a batch until the database has it.

        Raises
        ------
        SpoolError
            If there is room for it neither on disk nor in memory.
        """
        # Before the first await: from now on it counts.
        self._in_memory.append(batch)
        try:
            await self.flush()
        except SpoolError as error:
            log.error("spool cannot take more", in_memory=len(self._in_memory), error=str(error))
            if sum(held.size for held in self._in_memory) > MEMORY_LIMIT:
                self._in_memory = deque(held for held in self._in_memory if held is not batch)
                self._note_loss(batch, str(error))
                raise

    async def flush(self) -> None:
        """Bring what is in memory to disk; SpoolError if it cannot."""
        async with self._lock:
            while self._in_memory:
                await asyncio.to_thread(self._spool.append, self._in_memory[0])
                self._in_memory.popleft()

    async def drain(self, commit: Callable[[Batch], Awaitable[None]]) -> int:
        """Hand over all that waits, oldest first; each is off the list once ``commit`` returns.

        Raises
        ------
        StoreError
            As ``commit`` does; the rest stays.
        """
        done = 0
        while (batch := await self._oldest()) is not None:
            await commit(batch)
            async with self._lock:
                # One that meanwhile went from memory to disk comes again, and changes nothing.
                if self._in_memory and self._in_memory[0] is batch:
                    self._in_memory.popleft()
                elif batch.place is not None:
                    await asyncio.to_thread(self._spool.drop, batch)
            done += 1
        while self._lost_gaps:
            lost = self._lost_gaps[:1000]
            await commit(Batch(gaps=lost))
            self._lost_gaps = self._lost_gaps[len(lost) :]
        return done

    async def quarantine(self, batch: Batch, error: Exception) -> None:
        """Keep what the database will never take where a person finds it."""
        slots = [f"{symbol} {slot:%H:%M:%S}" for symbol, slot in batch.slots]
        try:
            async with self._lock:
                path = str(await asyncio.to_thread(self._spool.refuse, batch))
        except SpoolError as full:
            path = str(full)
        log.error("the database refuses", slots=slots, error=str(error), put_aside=path)

    async def _oldest(self) -> Batch | None:
        async with self._lock:
            batch = await asyncio.to_thread(self._spool.oldest)
            return batch or (self._in_memory[0] if self._in_memory else None)

    def _note_loss(self, batch: Batch, detail: str) -> None:
        rows = [record.row for record in batch.records]
        self._lost_gaps += batch.gaps
        self._lost_gaps += [
            Gap(
                symbol=row.symbol,
                expiration=row.expiration,
                slot=row.slot,
                reason=Reason.NO_ROOM,
                detail=detail,
            )
            for row in rows
        ]
