"""The spool: batches wait on disk, in order, while the database is away.

It is a folder of segments, ``00000001.spool`` and so on; see ``storage.spool.segment``. Each
process writes segments of its own, and takes over those of dead processes. A batch is on disk
(fsync) before ``append`` returns. Batches are removed, the oldest first, once the database has
them. After a crash a batch may be written to the database twice; the second time changes nothing.
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

#: A segment of this size is followed by a new one, as only an empty segment is deleted. [bytes]
_SEGMENT = 64 << 20
#: The file with the name of the database that was last reached from here.
_KNOWN = "database"
#: Errors that say there is no room: on the disk, in a quota, or within a limit on file size.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Spool:
    """The spool of one process. Open it with ``Spool.open`` and close it with ``close``.

    Only one thread may use it at a time.
    """

    def __init__(self, folder: Path, limit: int, fault: Fault = no_fault) -> None:
        """Prepare a spool; ``Spool.open`` does that and reads the folder.

        Parameters
        ----------
        folder : where the segments are.
        limit : how large all segments of this process may be together. [bytes]
        fault : what tests let fail.
        """
        self._folder = folder
        self._limit = limit
        self._fault = fault
        self._segments: list[Segment] = []
        #: The two newest waiting records of each symbol and feed, the older first.
        self._newest: dict[tuple[str, str], list[SlotRecord]] = {}
        #: The newest slot of each symbol and feed that waits here, as a record or a gap. The feed
        #: of a gap that an earlier release left is empty.
        self.accounted: dict[tuple[str, str], datetime] = {}

    @classmethod
    def open(cls, folder: Path, limit: int, fault: Fault = no_fault) -> Spool:
        """Open the spool in a folder, with what dead processes have left in it.

        The folder is made if it does not exist.

        Parameters
        ----------
        folder : where the segments are.
        limit : how large all segments of this process may be together. [bytes]
        fault : called at each named point; tests let it fail there.

        Returns
        -------
        Spool
            The spool; the caller closes it.

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
        """How many batches wait for the database."""
        return sum(segment.waiting for segment in self._segments)

    @property
    def size(self) -> int:
        """The size of all segments. [bytes]"""
        return sum(segment.end for segment in self._segments)

    def newest(
        self, symbol: str, expiration: date, before: datetime, feed: str
    ) -> SlotRecord | None:
        """Return the newest waiting record of a session before a moment; None without one.

        Parameters
        ----------
        symbol, expiration, feed : the session.
        before : a slot, UTC; its own record does not count.

        Returns
        -------
        SlotRecord or None
            The record.
        """
        known = self._newest.get((symbol, feed), [])
        earlier = [r for r in known if r.row.expiration == expiration and r.row.slot < before]
        return earlier[-1] if earlier else None

    def adopt(self) -> int:
        """Take over the segments of dead processes; return how many batches they have.

        Raises
        ------
        SpoolError
            If another release wrote a segment. It stays as it is.
        """
        own_paths = {segment.path for segment in self._segments}
        adopted = 0
        for path in sorted(self._folder.glob("*.spool")):
            segment = None if path in own_paths else Segment.take_over(path)
            if segment is None:
                continue
            for batch in segment.entries():
                segment.waiting += 1
                self._note(batch)
            self._segments.append(segment)
            adopted += segment.waiting
        self._segments.sort(key=lambda segment: segment.path)
        self._prune()
        return adopted

    def append(self, batch: Batch) -> None:
        """Append a batch. When this returns, it is on disk (fsync).

        Parameters
        ----------
        batch : measured records and gaps.

        Raises
        ------
        SpoolFull
            If neither the disk nor the limit has room for it; nothing of it stays.
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
            self._writable().append(data, self._fault)
        except OSError as error:
            error_class = SpoolFull if error.errno in _NO_ROOM else SpoolError
            raise error_class(_unwritable(self._folder, error)) from error
        self._note(batch)
        self._fault("spooled")

    def oldest(self) -> Batch | None:
        """Return the oldest batch; None if none waits."""
        for segment in self._segments:
            for batch in segment.entries():
                return batch
            # The rest of the segment cannot be read.
            segment.waiting = 0
        self._prune()
        return None

    def drop(self, batch: Batch) -> None:
        """Remove the oldest batch: the database has it.

        Parameters
        ----------
        batch : the oldest batch, as ``oldest`` returned it.
        """
        segment, end = batch.place
        segment.drop(end)
        self._prune()

    def quarantine(self, batch: Batch) -> Path:
        """Append a batch that the database refuses to a file for inspection.

        Nothing replays that file.

        Parameters
        ----------
        batch : the refused records or gaps.

        Returns
        -------
        Path
            The file.

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

        Parameters
        ----------
        database : the database's name, from ``describe_database``.

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
        """Say whether this is the database that was last reached from here.

        Parameters
        ----------
        database : the database's name, from ``describe_database``.

        Returns
        -------
        bool
            True if it is.
        """
        try:
            return (self._folder / _KNOWN).read_text() == database + "\n"
        except (OSError, UnicodeDecodeError):
            return False

    def close(self) -> None:
        """Release the segments; waiting batches stay on disk for the next process."""
        for segment in self._segments:
            segment.close()
        self._segments = []

    def _note(self, batch: Batch) -> None:
        for symbol, feed, slot in batch.feed_slots:
            key = symbol, feed
            self.accounted[key] = max(slot, self.accounted.get(key, slot))
        for record in batch.records:
            key = record.row.symbol, record.row.source
            waiting = self._newest.get(key, [])
            others = [r for r in waiting if r.row.slot != record.row.slot]
            ordered = sorted([*others, record], key=lambda r: r.row.slot)
            self._newest[key] = ordered[-2:]

    def _prune(self) -> None:
        """Delete segments in which nothing waits."""
        for segment in [s for s in self._segments if not s.waiting]:
            segment.remove()
            self._segments.remove(segment)
        if not self._segments:
            self._newest, self.accounted = {}, {}

    def _writable(self) -> Segment:
        newest = self._segments[-1] if self._segments else None
        if newest is None or not newest.own or newest.end >= _SEGMENT:
            newest = self._create_segment()
            self._segments.append(newest)
        return newest

    def _create_segment(self) -> Segment:
        """Create a segment with the next number; try again if another process was faster."""
        while True:
            numbers = [int(p.stem) for p in self._folder.glob("*.spool") if p.stem.isdecimal()]
            path = self._folder / f"{max(numbers, default=0) + 1:08d}.spool"
            with suppress(FileExistsError):
                return Segment.create(path)


def _unwritable(path: Path, error: OSError) -> str:
    return f"FLOW_SPOOL_DIR: {path} cannot be written: {error.strerror}"
