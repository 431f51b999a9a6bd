"""What could not be written yet, on disk, in order, until the database is back.

A folder of segments, ``00000001.spool`` and so on; see ``storage.spool.segment``. Each process
writes its own, and takes over those whose owners are dead. An entry is a batch, on disk (fsync)
before ``append`` returns. Entries are taken off, oldest first, once the database has them; one
that comes again after a crash changes nothing there.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

from storage.errors import SpoolError, SpoolFull
from storage.fault import Fault, no_fault
from storage.record.row import SlotRecord
from storage.record.wire import BATCH_FIELDS, Batch, encode_batch
from storage.spool.segment import Segment, encode_entry

#: A segment is followed by the next one from here on: a drained one gives its room back. [bytes]
_SEGMENT = 64 << 20
#: Where it is kept which database was reached from here.
_KNOWN = "database"
#: No room: of the disk, of a quota, of a limit on files.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Spool:
    """The spool of one process; one thread at a time. Open with ``Spool.open``, then ``close``."""

    def __init__(self, folder: Path, limit: int, fault: Fault = no_fault) -> None:
        """``limit`` is how large the process's segments may grow together. [bytes]"""
        self._folder = folder
        self._limit = limit
        self._fault = fault
        self._segments: list[Segment] = []
        #: The two newest records of each symbol that wait, oldest first.
        self._newest: dict[str, list[SlotRecord]] = {}
        #: The newest slot of each symbol that waits, as a row or a gap.
        self.accounted: dict[str, datetime] = {}

    @classmethod
    def open(cls, folder: Path, limit: int, fault: Fault = no_fault) -> Spool:
        """The spool of a folder, made if it is not there, with what dead processes left in it.

        Raises
        ------
        SpoolError
            If the folder cannot be used, or holds a spool of another release.
        """
        spool = cls(folder, limit, fault)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / f".{os.getpid()}"
            probe.touch(0o600)
            probe.unlink()
        except OSError as error:
            raise SpoolError(_unwritable(folder, error)) from error
        try:
            spool.adopt()
        except SpoolError:
            spool.close()
            raise
        return spool

    @property
    def waiting(self) -> int:
        """Batches that the database does not have yet."""
        return sum(segment.waiting for segment in self._segments)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.end for segment in self._segments)

    def newest(self, symbol: str, expiration: date, before: datetime) -> SlotRecord | None:
        """The newest waiting record of a session that is earlier than a moment."""
        known = self._newest.get(symbol, [])
        fit = [r for r in known if r.row.expiration == expiration and r.row.slot < before]
        return fit[-1] if fit else None

    def adopt(self) -> int:
        """Take over the segments of processes that are no more; how many batches that gave.

        Raises
        ------
        SpoolError
            For a spool of another release; it stays as it is.
        """
        mine = {segment.path for segment in self._segments}
        found = 0
        for path in sorted(self._folder.glob("*.spool")):
            segment = None if path in mine else Segment.take(path)
            if segment is None:
                continue
            for batch in segment.entries():
                segment.waiting += 1
                self._note(batch)
            self._segments.append(segment)
            found += segment.waiting
        self._segments.sort(key=lambda segment: segment.path)
        self._prune()
        return found

    def append(self, batch: Batch) -> None:
        """Keep a batch: on disk when this returns.

        Raises
        ------
        SpoolFull
            If there is no room for it, on the disk or within the limit; nothing of it stays.
        SpoolError
            If the folder cannot be written.
        """
        data = encode_entry(encode_batch(batch))
        if self.size + len(data) > self._limit:
            raise SpoolFull(
                f"FLOW_SPOOL_MB: {self._folder} holds {self.size / 1e6:.1f} MB"
                f" and may hold {self._limit / 1e6:.1f} MB"
            )
        try:
            self._writable().put(data, self._fault)
        except OSError as error:
            kind = SpoolFull if error.errno in _NO_ROOM else SpoolError
            raise kind(_unwritable(self._folder, error)) from error
        self._note(batch)
        self._fault("spooled")

    def oldest(self) -> Batch | None:
        """The batch that comes first, None when all have been taken off."""
        for segment in self._segments:
            for batch in segment.entries():
                return batch
            # Whatever is left there cannot be read.
            segment.waiting = 0
        self._prune()
        return None

    def drop(self, batch: Batch) -> None:
        """Take the oldest batch off: the database has it."""
        segment, end = batch.place
        segment.drop(end)
        self._prune()

    def quarantine(self, batch: Batch) -> Path:
        """Put aside what the database will not take, in a file that nobody replays; its path.

        Raises
        ------
        SpoolError
            If it cannot be written.
        """
        path = self._folder / f"refused-{BATCH_FIELDS}.batches"
        try:
            with path.open("ab") as file:
                file.write(encode_entry(encode_batch(batch)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SpoolError(_unwritable(path, error)) from error
        return path

    def remember_database(self, database: str) -> None:
        """Note that a database, named without its password, was reached from here.

        Raises
        ------
        SpoolError
            If it cannot be written.
        """
        path = self._folder / _KNOWN
        try:
            if not self.knows_database(database):
                path.write_text(database + "\n")
        except OSError as error:
            raise SpoolError(_unwritable(path, error)) from error

    def knows_database(self, database: str) -> bool:
        """Whether the last database that was reached from here is this one."""
        try:
            return (self._folder / _KNOWN).read_text() == database + "\n"
        except (OSError, UnicodeDecodeError):
            return False

    def close(self) -> None:
        """Let go of the segments; what waits stays on disk for the next process."""
        for segment in self._segments:
            segment.close()
        self._segments = []

    def _note(self, batch: Batch) -> None:
        for symbol, slot in batch.slots:
            self.accounted[symbol] = max(slot, self.accounted.get(symbol, slot))
        for record in batch.records:
            kept = self._newest.get(record.row.symbol, [])
            others = [r for r in kept if r.row.slot != record.row.slot]
            ordered = sorted([*others, record], key=lambda r: r.row.slot)
            self._newest[record.row.symbol] = ordered[-2:]

    def _prune(self) -> None:
        """Remove drained segments, also the one that was being written."""
        for segment in [s for s in self._segments if not s.waiting]:
            segment.remove()
            self._segments.remove(segment)
        if not self._segments:
            self._newest, self.accounted = {}, {}

    def _writable(self) -> Segment:
        newest = self._segments[-1] if self._segments else None
        if newest is None or not newest.own or newest.end >= _SEGMENT:
            newest = self._make()
            self._segments.append(newest)
        return newest

    def _make(self) -> Segment:
        """A segment behind all others; another process may be about to make the same."""
        while True:
            numbers = [int(p.stem) for p in self._folder.glob("*.spool") if p.stem.isdecimal()]
            path = self._folder / f"{max(numbers, default=0) + 1:08d}.spool"
            with suppress(FileExistsError):
                return Segment.make(path)


def _unwritable(path: Path, error: OSError) -> str:
    return f"FLOW_SPOOL_DIR: {path} cannot be written: {error.strerror}"
