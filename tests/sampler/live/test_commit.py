"""The writer, the rebaser and the commit by themselves, over a scripted store."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from factories import DAY, OPEN, at, gap, record

from sampler.live import rebase
from sampler.live.backlog import Backlog
from sampler.live.commit import commit_batch
from sampler.live.rebase import Rebaser
from sampler.live.writer import BatchWriter
from storage.errors import StoreUnavailable
from storage.record.mode import WriteMode
from storage.record.result import Refusal, WriteResult
from storage.record.row import Change, Flag, Reason, SlotRecord
from storage.record.wire import Batch
from storage.redis.channel import NoChannel
from storage.spool.spool import Spool


class ScriptedStore:
    """A store that can be away, and has the predecessors that a test gives it."""

    def __init__(self, *stored: SlotRecord) -> None:
        self.away = False
        self.stored = stored
        self.writes: list[tuple[list, list, WriteMode]] = []
        self.refused: list[Refusal] = []
        self.error: Exception | None = None

    async def write(self, records=(), gaps=(), *, mode=WriteMode.KEEP):
        if self.away:
            raise StoreUnavailable("away")
        if self.error is not None:
            raise self.error
        self.writes.append(([r.row.slot for r in records], list(gaps), mode))
        refused, self.refused = self.refused, []
        return WriteResult((), tuple(refused))

    async def before(self, symbol, expiration, slot, feed):
        if self.away:
            raise StoreUnavailable("away")
        earlier = [r for r in self.stored if r.row.slot < slot and r.row.expiration == expiration]
        return max(earlier, key=lambda r: r.row.slot, default=None)


@pytest.fixture
def store():
    return ScriptedStore()


@pytest.fixture
def writer(store, tmp_path):
    spool = Spool.open(tmp_path, 10**9)
    yield BatchWriter(store, NoChannel(), Backlog(spool), batch_seconds=60)
    spool.close()


class TestWriter:
    """Batches that wait for each other, for a mode of their own, or for the database."""

    async def test_a_batch_does_not_wait_for_its_own_step(self, writer, store):
        """The only symbol that steps has nothing to wait for, however long the deadline is."""
        writer.begin_step("SPX")
        await asyncio.wait_for(writer.write(gaps=[gap(0)]), 5)
        assert len(store.writes) == 1

    async def test_a_batch_waits_for_the_steps_of_others(self, writer, store):
        """Until the last of them has ended."""
        writer.begin_step("SPX")
        writer.begin_step("SPY")
        writing = asyncio.create_task(writer.write(gaps=[gap(0)]))
        await asyncio.sleep(0.1)
        assert store.writes == []
        writer.end_step("SPY")
        await asyncio.wait_for(writing, 5)

    async def test_modes_do_not_mix(self, writer, store):
        """Two modes are two transactions, each with its own records."""
        await asyncio.gather(
            writer.write([record(slot=at(0))], mode=WriteMode.KEEP),
            writer.write([record(slot=at(1))], mode=WriteMode.NEWER),
        )
        assert [(slots, mode) for slots, _, mode in store.writes] == [
            ([at(0)], WriteMode.KEEP),
            ([at(1)], WriteMode.NEWER),
        ]

    async def test_order_is_kept_while_batches_wait(self, writer, store):
        """The database is back, but older batches wait: a new one lines up behind them."""
        store.away = True
        assert await writer.write(gaps=[gap(0)]) is None
        store.away = False
        assert await writer.write(gaps=[gap(1)]) is None
        assert store.writes == []
        async with writer.running():
            await asyncio.wait_for(writer.drained(), 5)
            assert [[g.slot for g in gaps] for _, gaps, _ in store.writes] == [[at(0)], [at(1)]]
            assert (await writer.write(gaps=[gap(2)])).changes == ()

    @pytest.mark.parametrize(("stored", "spooled"), [(3, 5), (5, 3)])
    async def test_the_newest_record_is_the_predecessor(self, stored, spooled, writer, store):
        """Of the stored and the spooled record the one with the later slot."""
        store.away = True
        await writer.write([record(slot=at(spooled))])
        store.away = False
        store.stored = (record(slot=at(stored)),)
        newest = await writer.before("SPX", DAY, at(9), "test")
        assert newest.row.slot == at(5)


class TestCommit:
    """What the database refuses."""

    async def test_a_refused_record_becomes_a_gap(self, store):
        """It is quarantined; its gap quotes the reason without the NUL that the database refuses."""
        bad = record(slot=at(1))
        store.refused = [Refusal(bad, "source: nul\0byte")]
        quarantined = []

        async def quarantine(batch, error):
            quarantined.append((batch.records, str(error)))

        await commit_batch(store, Batch(records=[record(slot=at(0)), bad]), quarantine)
        assert quarantined == [([bad], "source: nul\0byte")]
        (_, (replacement,), _) = store.writes[1]
        assert (replacement.slot, replacement.reason) == (at(1), Reason.FAILED)
        assert replacement.detail == "source: nulbyte"

    async def test_a_batch_that_cannot_be_read(self, store):
        """A value that breaks the writing itself is quarantined, and no error stops the daemon."""
        store.error = TypeError("not a date")
        batch = Batch(records=[record()])
        quarantined = []

        async def quarantine(refused, error):
            quarantined.append((refused, str(error)))

        assert (await commit_batch(store, batch, quarantine)).changes == ()
        assert quarantined == [(batch, "TypeError: not a date")]


@pytest.fixture
def remeasured(monkeypatch):
    """Replaces the measuring: a record takes over its predecessor's baseline. Tells the pairs."""
    pairs = []

    def remeasure(measured, predecessor, session):
        pairs.append((measured.row.slot, predecessor.row.slot))
        row = dataclasses.replace(measured.row, flow_since=predecessor.row.flow_since)
        return SlotRecord(row=row, profile=measured.profile, evidence=measured.evidence)

    monkeypatch.setattr(rebase, "remeasure", remeasure)
    return pairs


def baseline(step: int, **changes) -> SlotRecord:
    """A record that counts its flow from its own slot."""
    columns = {"slot": at(step), "flow_since": at(step), "flags": (Flag.BASELINE,)} | changes
    return record(**columns)


class TestRebase:
    """Which records are measured again, and against which."""

    async def test_a_baseline_where_a_row_is_stored(self, remeasured):
        """It goes on from the newest stored row, and so do the records that went on from it."""
        rebaser = Rebaser(ScriptedStore(record(slot=at(0)), record(slot=at(2))))
        spooled = [baseline(4), record(slot=at(5), flow_since=at(4))]
        done = await rebaser.rebase(spooled, spooled=True)
        assert remeasured == [(at(4), at(2)), (at(5), at(4))]
        assert {r.row.flow_since for r in done} == {OPEN}

    async def test_the_same_slot_twice(self, remeasured):
        """The last slot's second record goes on from the row before it, never from itself."""
        rebaser = Rebaser(ScriptedStore(record(slot=at(2))))
        await rebaser.rebase([baseline(4), baseline(4)], spooled=True)
        assert remeasured == [(at(4), at(2)), (at(4), at(2))]

    async def test_a_baseline_is_always_looked_up(self, remeasured):
        """Also one of a tick whose writes went through: reading alone may have failed."""
        rebaser = Rebaser(ScriptedStore(record(slot=at(2))))
        await rebaser.rebase([baseline(4)], spooled=False)
        assert remeasured == [(at(4), at(2))]

    async def test_another_session(self, remeasured):
        """A record never goes on from one of the day before."""
        tomorrow = DAY + timedelta(days=1)
        rebaser = Rebaser(ScriptedStore(record(slot=at(2))))
        first = baseline(4)
        next_day = at(4) + timedelta(days=1)
        other = baseline(4, slot=next_day, flow_since=next_day, expiration=tomorrow)
        done = await rebaser.rebase([first, other], spooled=True)
        assert remeasured == [(at(4), at(2))]
        assert done[1] is other

    async def test_what_is_stored_is_not_looked_up(self):
        """A record on the baseline of the row that was written last needs no question."""
        store = ScriptedStore()
        rebaser = Rebaser(store)
        waiting = record(slot=at(1), flow_since=at(0))
        rebaser.note_written([Change(symbol="SPX", after=0, revision=1, rows=((1, waiting.row),))])
        store.away = True
        later = record(slot=at(2), flow_since=at(0))
        assert await rebaser.rebase([later], spooled=True) == [later]
        with pytest.raises(StoreUnavailable):
            await rebaser.rebase([baseline(3)], spooled=False)

    async def test_measured_beside_the_database(self):
        """A record that was measured on a known predecessor is taken as it is."""
        store = ScriptedStore()
        store.away = True
        waiting = record(slot=at(2))
        assert await Rebaser(store).rebase([waiting], spooled=False) == [waiting]
