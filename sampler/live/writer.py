"""Collect what the steps of many symbols write, and commit it in one transaction a tick.

Changes are published after they are stored. While the database is away, batches go to the backlog
in order. When it is back the backlog is drained first, oldest batch first; new batches go to the
database again only when the backlog is empty.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

import structlog

from sampler.live.backlog import Backlog, gaps_of_lost
from sampler.live.commit import RecordStore, commit_batch, replacement_gaps
from sampler.live.rebase import Rebaser
from storage.errors import FlowError, LiveError, SpoolError, StoreError, StoreUnavailable
from storage.fault import Fault, no_fault
from storage.record.mode import WriteMode
from storage.record.result import WriteResult
from storage.record.row import Gap, SlotRecord
from storage.record.wire import Batch
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: How long to wait between two attempts to drain the backlog. [s]
_RETRY_SECONDS = 0.5


class WriteCounts(Protocol):
    """Counts what is lost, where it is written."""

    def count_gaps(self, gaps: Iterable[Gap]) -> None:
        """Count slots that became gaps, each once.

        Parameters
        ----------
        gaps : gaps that were written or spooled.
        """
        ...

    def count_spooled(self, records: int) -> None:
        """Count rows that went to the spool.

        Parameters
        ----------
        records : how many.
        """
        ...

    def count_quarantined(self, items: int) -> None:
        """Count rows and gaps that the database refused.

        Parameters
        ----------
        items : how many.
        """
        ...


@dataclass(frozen=True, slots=True)
class _PendingWrite:
    """A batch that waits for the tick's transaction."""

    batch: Batch
    #: Resolved with the batch's result; with None if it was spooled.
    answer: asyncio.Future[WriteResult | None]


class BatchWriter:
    """The ``RecordStore`` of a daemon: commits the batches of many symbols together."""

    def __init__(
        self,
        store: RecordStore,
        live: LiveChannel,
        backlog: Backlog,
        *,
        batch_seconds: float,
        may_write: Callable[[], bool] = lambda: True,
        counts: WriteCounts | None = None,
        owner: str = "",
        fault: Fault = no_fault,
    ) -> None:
        """Write nothing yet; ``running`` starts to drain the backlog.

        Parameters
        ----------
        store : the database.
        live : the channel that stored changes are published to.
        backlog : where batches wait while the database is away.
        batch_seconds : how long a batch waits for the steps of other symbols. [s]
        may_write : asked before each write. While it says no, batches are spooled: another sampler
            may hold the symbols.
        counts : counts gaps, spooled and refused records; nothing is counted if left out.
        owner : names this sampler's spool on the live channel.
        fault : called at each named point of a commit; tests let it fail there.
        """
        self._store = store
        self._counts = counts
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
        self._away_because = ""
        #: When the oldest waiting batch came, by a monotonic clock. [s]
        self._spooling_since = 0.0
        self._spooled = 0
        #: The first and the last slot that this process has spooled, by symbol.
        self._waiting: dict[str, tuple[datetime, datetime]] = {}
        self._owner = owner
        self._drain_wanted = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BatchWriter]:
        """Drain the backlog in the background; write what is left of it to disk at the end."""
        if self.backlog.waiting:
            self._begin_spooling()
        else:
            # An earlier process may have announced a spool that is gone.
            await self._announce_waiting()
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
        """Whether batches are spooled at the moment."""
        return self._database_away

    @property
    def spooling_seconds(self) -> float:
        """How long batches have waited for the database; 0 while none waits. [s]"""
        return time.monotonic() - self._spooling_since if self._database_away else 0.0

    @property
    def away_because(self) -> str:
        """Why batches wait, in the database's words; empty while none waits, or if not known."""
        return self._away_because if self._database_away else ""

    @property
    def batches_in_memory(self) -> int:
        """How many of the waiting batches the disk has not taken."""
        return self.backlog.in_memory

    @property
    def spool_batches(self) -> int:
        """How many batches wait."""
        return self.backlog.waiting

    @property
    def spool_bytes(self) -> int:
        """How large the waiting batches are on disk. [bytes]"""
        return self.backlog.size

    def begin_step(self, symbol: str) -> None:
        """Note that a symbol's step has begun: batches of other symbols wait for its own.

        Parameters
        ----------
        symbol : the symbol.
        """
        self._expected.add(symbol)

    def end_step(self, symbol: str) -> None:
        """Note that a symbol's step has ended: no batch waits for it any longer.

        Parameters
        ----------
        symbol : the symbol.
        """
        self._expected.discard(symbol)
        self._schedule_flush()

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> WriteResult | None:
        """Write a symbol's records and gaps with those of other symbols, and publish the changes.

        Parameters
        ----------
        records, gaps : what to write. Nothing is written if both are empty.
        mode : what happens to a row that a record's slot has already.

        Returns
        -------
        WriteResult or None
            What was written and what was refused. None if the database is away: the batch was
            spooled, and is committed when the database is back.

        Raises
        ------
        SpoolError
            If neither the disk nor the memory has room for the batch.
        """
        if not records and not gaps:
            return WriteResult()
        batch = Batch(records=records, gaps=gaps, mode=mode)
        item = _PendingWrite(batch, asyncio.get_running_loop().create_future())
        self._items.append(item)
        self._expected -= {symbol for symbol, _ in batch.slots}
        self._schedule_flush()
        return await item.answer

    async def before(
        self, symbol: str, expiration: date, slot: datetime, feed: str
    ) -> SlotRecord | None:
        """Return the newest record of a session before ``slot``, stored or spooled.

        Parameters
        ----------
        symbol, expiration, feed : the session.
        slot : the moment, UTC; its own record does not count.

        Returns
        -------
        SlotRecord or None
            The newer of the stored and the spooled record; None without one.

        Raises
        ------
        StoreError
            If the database is away and no such record is spooled.
        """
        spooled = self.backlog.newest_record(symbol, expiration, slot, feed)
        try:
            if not self._may_write():
                raise StoreUnavailable("the database is away")
            stored = await self._store.before(symbol, expiration, slot, feed)
        except StoreError:
            if spooled is None:
                raise
            return spooled
        records = [record for record in (stored, spooled) if record is not None]
        return max(records, key=lambda record: record.row.slot, default=None)

    async def adopt(self) -> None:
        """Take over the spools that dead processes have left in this spool's folder.

        Raises
        ------
        SpoolError
            If one of them was written by another release.
        """
        if await self.backlog.adopt():
            self._begin_spooling()

    async def drained(self) -> None:
        """Wait until the backlog is empty."""
        await self._drained.wait()

    def _schedule_flush(self) -> None:
        """Flush soon if no step runs, else at the deadline of the oldest batch."""
        if not self._items:
            return
        loop = asyncio.get_running_loop()
        if not self._expected:
            # Other steps of the same tick may begin before the event loop is idle.
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
        """Write batches of one mode in one transaction, and give each its own changes."""
        merged = Batch(
            records=[record for item in items for record in item.batch.records],
            gaps=[gap for item in items for gap in item.batch.gaps],
            mode=items[0].batch.mode,
        )
        try:
            result = await self._commit_or_spool(merged)
        except Exception as error:
            for item in items:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        for item in items:
            symbols = {symbol for symbol, _ in item.batch.slots}
            own_result = None if result is None else result.of_symbols(symbols)
            if not item.answer.done():
                item.answer.set_result(own_result)

    async def _commit_or_spool(self, batch: Batch) -> WriteResult | None:
        self._fault("writing")
        if not self._database_away and self._may_write():
            try:
                return await self._commit(batch, spooled=False)
            except StoreError as error:
                self._away_because = str(error)
                log.error("database away: spooling", error=str(error))
        elif not self._database_away:
            self._away_because = "the connection that holds its symbols is lost"
            log.error("database away: spooling", error=self._away_because)
        self._begin_spooling()
        self._spooled += 1
        try:
            await self.backlog.add(batch)
        except SpoolError:
            self._count_gaps([*batch.gaps, *gaps_of_lost(batch)])
            raise
        for symbol, slot in batch.slots:
            first, last = self._waiting.get(symbol, (slot, slot))
            self._waiting[symbol] = min(first, slot), max(last, slot)
        await self._announce_waiting()
        if self._counts is not None:
            self._counts.count_spooled(len(batch.records))
        self._count_gaps(batch.gaps)
        return None

    async def _announce_waiting(self) -> None:
        """Tell readers that these slots are no gaps: their rows are to come."""
        try:
            await self._live.announce_waiting(self._owner, self._waiting)
        except LiveError as error:
            log.debug("spool not announced", error=str(error))

    def _count_gaps(self, gaps: Sequence[Gap]) -> None:
        if self._counts is not None:
            self._counts.count_gaps(gaps)

    async def _commit(self, batch: Batch, *, spooled: bool) -> WriteResult:
        """Rebase the batch's records, store them, and publish what changed."""
        records = await self._rebaser.rebase(batch.records, spooled=spooled)
        result = await commit_batch(
            self._store, replace(batch, records=records), self.backlog.quarantine
        )
        self._rebaser.note_written(result.changes)
        if not spooled:
            self._count_gaps(batch.gaps)
        if result.refused:
            refused = [r.item for r in result.refused if isinstance(r.item, SlotRecord)]
            self._count_gaps(replacement_gaps(Batch(records=refused), ""))
            if self._counts is not None:
                self._counts.count_quarantined(len(result.refused))
        self._fault("written")
        try:
            await self._live.publish(result.changes)
        except LiveError as error:
            log.warning("not published", error=str(error))
        self._fault("published")
        return result

    def _begin_spooling(self) -> None:
        if not self._database_away:
            self._spooling_since = time.monotonic()
        self._database_away = True
        self._drained.clear()
        self._drain_wanted.set()

    async def _drain_until_cancelled(self) -> None:
        logged = ""
        while True:
            await self._drain_wanted.wait()
            try:
                if self._may_write():
                    await self._drain()
                    logged = ""
                    continue
            except FlowError as error:
                # The same error once, not at every attempt.
                if str(error) != logged:
                    logged = self._away_because = str(error)
                    log.warning("database still away", error=logged, waiting=self.backlog.waiting)
            except Exception:
                log.exception("spool cannot be emptied", waiting=self.backlog.waiting)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _drain(self) -> None:
        async def commit(batch: Batch) -> None:
            await self._commit(batch, spooled=True)
            self._fault("landed")

        committed = await self.backlog.drain(commit)
        if not self.backlog.waiting:
            self._waiting = {}
            await self._announce_waiting()
        # A batch may have been spooled meanwhile.
        if self.backlog.waiting:
            return
        self._database_away = False
        self._drain_wanted.clear()
        self._drained.set()
        log.info("spool emptied", batches=committed, spooled=self._spooled)
        self._spooled = 0
