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
MEMORY = 64_000_000


class Backlog:
    """Batches that wait, oldest first. Whoever opened the spool closes it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: deque[Batch] = deque()
        self._lost: list[Gap] = []
        self._lock = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many batches wait."""
        return self._spool.waiting + len(self._held) + bool(self._lost)

    @property
    def accounted(self) -> dict[str, datetime]:
        """The newest slot of each symbol that waits on disk."""
        return self._spool.accounted

    async def adopt(self) -> int:
        """Take over what dead processes have left; how many batches that gave."""
        async with self._lock:
            return await asyncio.to_thread(self._spool.adopt)

    def newest(self, symbol: str, expiration: date, before: datetime) -> SlotRecord | None:
        """The newest waiting record of a session that is earlier than a moment."""
        rows = [r for batch in self._held for r in batch.records if r.row.symbol == symbol]
        fit = [r for r in rows if r.row.expiration == expiration and r.row.slot < before]
        spooled = self._spool.newest(symbol, expiration, before)
        if spooled is not None:
            fit.append(spooled)
        return max(fit, key=lambda r: r.row.slot, default=None)

    async def keep(self, batch: Batch) -> None:
        """Keep a batch until the database has it.

        Raises
        ------
        SpoolError
            If there is room for it neither on disk nor in memory.
        """
        # Before the first await: from now on it counts.
        self._held.append(batch)
        try:
            await self.sink()
        except SpoolError as error:
            log.error("spool cannot take more", in_memory=len(self._held), error=str(error))
            if sum(held.size for held in self._held) > MEMORY:
                self._held = deque(held for held in self._held if held is not batch)
                self._lose(batch, str(error))
                raise

    async def sink(self) -> None:
        """Bring what is in memory to disk; SpoolError if it cannot."""
        async with self._lock:
            while self._held:
                await asyncio.to_thread(self._spool.append, self._held[0])
                self._held.popleft()

    async def drain(self, land: Callable[[Batch], Awaitable[None]]) -> int:
        """Hand over all that waits, oldest first; each is off the list once ``land`` returns.

        Raises
        ------
        StoreError
            As ``land`` does; the rest stays.
        """
        done = 0
        while (batch := await self._oldest()) is not None:
            await land(batch)
            async with self._lock:
                # One that meanwhile went from memory to disk comes again, and changes nothing.
                if self._held and self._held[0] is batch:
                    self._held.popleft()
                elif batch.place is not None:
                    await asyncio.to_thread(self._spool.drop, batch)
            done += 1
        while self._lost:
            lost = self._lost[:1000]
            await land(Batch(gaps=lost))
            self._lost = self._lost[len(lost) :]
        return done

    async def put_aside(self, batch: Batch, error: Exception) -> None:
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
            return batch or (self._held[0] if self._held else None)

    def _lose(self, batch: Batch, detail: str) -> None:
        rows = [record.row for record in batch.records]
        self._lost += batch.gaps
        self._lost += [
            Gap(
                symbol=row.symbol,
                expiration=row.expiration,
                slot=row.slot,
                reason=Reason.NO_ROOM,
                detail=detail,
            )
            for row in rows
        ]
