"""Between the steps and the store: what has arrived by a tick's deadline is one transaction.

Durable first, then live. While the database is away records and gaps go to the backlog, in order;
it is emptied, oldest first, when the database is back, and only then is anything written past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime

import structlog

from sampler.live.backlog import Backlog
from sampler.live.commit import RecordStore, commit_batch
from sampler.live.rebase import Rebaser
from storage.errors import FlowError, LiveError, SpoolError, StoreError, StoreUnavailable
from storage.fault import Fault, no_fault
from storage.record.mode import WriteMode
from storage.record.row import Change, Gap, SlotRecord
from storage.record.wire import Batch
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: How often a database that is away is tried. [s]
_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _PendingWrite:
    batch: Batch
    #: Its changes; None if they land later.
    answer: asyncio.Future[list[Change] | None]


class BatchWriter:
    """Takes what the steps of many symbols have, and lands it together."""

    def __init__(
        self,
        store: RecordStore,
        live: LiveChannel,
        backlog: Backlog,
        *,
        batch_seconds: float,
        may_write: Callable[[], bool] = lambda: True,
        fault: Fault = no_fault,
    ) -> None:
        """``batch_seconds`` is how long what has arrived waits for symbols that are late. [s]

        While ``may_write`` says no, nothing is written: another sampler may have our symbols.
        """
        self._store = store
        self._rebaser = Rebaser(store)
        self._live = live
        self.backlog = backlog
        self._batch_seconds = batch_seconds
        self._may_write = may_write
        self._fault = fault
        self._items: list[_PendingWrite] = []
        self._expected: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._database_away = False
        self._spooled = 0
        self._drain_wanted = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BatchWriter]:
        """Empty the backlog whenever it can be; at the end what is left stays on disk."""
        if self.backlog.waiting:
            self._begin_spooling()
        draining = asyncio.create_task(self._drain_until_cancelled())
        try:
            yield self
        finally:
            draining.cancel()
            with suppress(asyncio.CancelledError):
                await draining
            if self.backlog.waiting:
                with suppress(SpoolError):
                    await self.backlog.flush()
                log.warning("left in the spool", batches=self.backlog.waiting)

    @property
    def database_away(self) -> bool:
        """Whether what is written now goes to the backlog."""
        return self._database_away

    def begin_step(self, symbol: str) -> None:
        """A step of a symbol has begun: what others have waits for it until the deadline."""
        self._expected.add(symbol)

    def end_step(self, symbol: str) -> None:
        """A step has ended: nothing more is to be waited for."""
        self._expected.discard(symbol)
        self._schedule_flush()

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> list[Change] | None:
        """Write a symbol's records and gaps with those of others, and publish them.

        What changed comes back; None if the database is away: then it is kept, and lands later.

        Raises
        ------
        SpoolError
            If nothing had room for it.
        """
        if not records and not gaps:
            return []
        batch = Batch(records=records, gaps=gaps, mode=mode)
        item = _PendingWrite(batch, asyncio.get_running_loop().create_future())
        self._items.append(item)
        self._expected -= {symbol for symbol, _ in batch.slots}
        self._schedule_flush()
        return await item.answer

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """The newest record before a moment, of the store or of what waits for it."""
        waiting = self.backlog.newest_record(symbol, expiration, slot)
        try:
            if not self._may_write():
                raise StoreUnavailable("the database is away")
            stored = await self._store.before(symbol, expiration, slot)
        except StoreError:
            if waiting is None:
                raise
            return waiting
        found = [record for record in (stored, waiting) if record is not None]
        return max(found, key=lambda record: record.row.slot, default=None)

    async def adopt(self) -> None:
        """Take over what dead processes have left on this machine.

        Raises
        ------
        SpoolError
            If a spool is another release's.
        """
        if await self.backlog.adopt():
            self._begin_spooling()

    async def drained(self) -> None:
        """Wait until the database has everything."""
        await self._drained.wait()

    def _schedule_flush(self) -> None:
        if not self._items:
            return
        loop = asyncio.get_running_loop()
        if not self._expected:
            # Not at once: steps of the same tick may be about to begin.
            loop.call_soon(self._start_flush)
        elif self._timer is None:
            self._timer = loop.call_later(self._batch_seconds, self._start_flush)

    def _start_flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._items and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._items:
            items, self._items = self._items, []
            for mode in dict.fromkeys(item.batch.mode for item in items):
                await self._write_together([item for item in items if item.batch.mode == mode])

    async def _write_together(self, items: Sequence[_PendingWrite]) -> None:
        together = Batch(
            records=[record for item in items for record in item.batch.records],
            gaps=[gap for item in items for gap in item.batch.gaps],
            mode=items[0].batch.mode,
        )
        try:
            changes = await self._commit_or_spool(together)
        except Exception as error:
            for item in items:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        for item in items:
            mine = {symbol for symbol, _ in item.batch.slots}
            found = None if changes is None else [c for c in changes if c.symbol in mine]
            if not item.answer.done():
                item.answer.set_result(found)

    async def _commit_or_spool(self, batch: Batch) -> list[Change] | None:
        self._fault("writing")
        if not self._database_away and self._may_write():
            try:
                return await self._commit(batch, waited=False)
            except StoreError as error:
                log.error("database away: spooling", error=str(error))
        self._begin_spooling()
        self._spooled += 1
        await self.backlog.add(batch)
        return None

    async def _commit(self, batch: Batch, *, waited: bool) -> list[Change]:
        records = await self._rebaser.rebase(batch.records, waited=waited)
        changes = await commit_batch(
            self._store, replace(batch, records=records), self.backlog.quarantine
        )
        self._rebaser.note_written(changes)
        self._fault("written")
        try:
            await self._live.publish(changes)
        except LiveError as error:
            log.warning("not published", error=str(error))
        self._fault("published")
        return changes

    def _begin_spooling(self) -> None:
        self._database_away = True
        self._drained.clear()
        self._drain_wanted.set()

    async def _drain_until_cancelled(self) -> None:
        said = ""
        while True:
            await self._drain_wanted.wait()
            try:
                if self._may_write():
                    await self._drain()
                    said = ""
                    continue
            except FlowError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("database still away", error=said, waiting=self.backlog.waiting)
            except Exception:
                log.exception("spool cannot be emptied", waiting=self.backlog.waiting)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _drain(self) -> None:
        async def one(batch: Batch) -> None:
            await self._commit(batch, waited=True)
            self._fault("landed")

        done = await self.backlog.drain(one)
        if self.backlog.waiting:
            return
        self._database_away = False
        self._drain_wanted.clear()
        self._drained.set()
        log.info("spool emptied", batches=done, spooled=self._spooled)
        self._spooled = 0
