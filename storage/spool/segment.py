"""One file of the spool: a header line, then entries, each with a mark, a length and a checksum.

Its owner holds a lock on it. The kernel releases the lock when the process dies, however it dies.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import structlog

from storage.errors import SpoolError
from storage.fault import Fault
from storage.locks import try_lock
from storage.record.wire import BATCH_FIELDS, Batch, decode_batch

log = structlog.get_logger()

_NAME = b"zerodte-flow spool "
#: The first line. Raise the number when the layout changes; the checksum of the fields follows by
#: itself when a row has other fields.
SEGMENT_HEADER = _NAME + f"1 {BATCH_FIELDS}\n".encode()
_MARK = b"\xf1sl\x1a"
_ENTRY = struct.Struct("<4sII")


def encode_entry(body: bytes) -> bytes:
    """Return a body with its mark, length and checksum before it.

    Parameters
    ----------
    body : what the entry holds.

    Returns
    -------
    bytes
        The entry.
    """
    return _ENTRY.pack(_MARK, len(body), zlib.crc32(body)) + body


class Segment:
    """An open, locked file of the spool.

    ``create`` begins one, ``take_over`` takes that of a dead process.
    """

    __slots__ = ("descriptor", "end", "own", "path", "start", "waiting")

    def __init__(self, path: Path, descriptor: int, *, own: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        #: Whether this process created it; a segment that was taken over is only read.
        self.own = own
        #: Where the oldest remaining entry begins, and where the last whole one ends. [bytes]
        self.start = len(SEGMENT_HEADER)
        self.end = len(SEGMENT_HEADER) if own else os.fstat(descriptor).st_size
        #: How many entries remain.
        self.waiting = 0

    @classmethod
    def create(cls, path: Path) -> Segment:
        """Create a segment, locked for this process.

        Parameters
        ----------
        path : its file, which must not exist.

        Returns
        -------
        Segment
            The segment, empty.

        Raises
        ------
        OSError
            If it cannot be written, or exists already.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(descriptor):
                # Another process locked the new file first, took its owner for dead and removes it.
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            _write(descriptor, SEGMENT_HEADER, 0)
            os.fsync(descriptor)
            _sync_folder(path.parent)
        except FileExistsError:
            os.close(descriptor)
            raise
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return cls(path, descriptor, own=True)

    @classmethod
    def take_over(cls, path: Path) -> Segment | None:
        """Take over the segment of a dead process; None if its owner lives, or it is gone by now.

        Parameters
        ----------
        path : its file.

        Returns
        -------
        Segment or None
            The segment, locked for this process.

        Raises
        ------
        SpoolError
            If another release wrote it, or it cannot be opened. It stays as it is.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolError(f"FLOW_SPOOL_DIR: {path}: {error.strerror}") from error
        try:
            if not try_lock(descriptor) or not os.fstat(descriptor).st_nlink:
                os.close(descriptor)
                return None
            _require_ours(path, os.pread(descriptor, len(SEGMENT_HEADER), 0))
        except SpoolError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, own=False)

    def entries(self) -> Iterator[Batch]:
        """Iterate over the remaining batches, the oldest first; log and skip damaged entries."""
        offset = self.start
        while offset < self.end:
            body, end = self._entry(offset)
            if body is None:
                offset = self._skip(offset)
                continue
            try:
                yield decode_batch(body, (self, end))
            except ValueError as error:
                log.error("spool entry cannot be read", path=str(self.path), error=str(error))
            offset = end

    def append(self, data: bytes, fault: Fault) -> None:
        """Append an entry. When this returns, it is on disk (fsync).

        Parameters
        ----------
        data : the entry, from ``encode_entry``.
        fault : called at each named point; tests let it fail there.

        Raises
        ------
        OSError
            If it cannot be written; nothing of it stays in the file.
        """
        try:
            fault("spooling")
            half = len(data) // 2
            _write(self.descriptor, data[:half], self.end)
            fault("half spooled")
            _write(self.descriptor, data[half:], self.end + half)
            os.fsync(self.descriptor)
        except OSError:
            # A half entry must not stay. Truncating needs no room on the disk.
            os.ftruncate(self.descriptor, self.end)
            raise
        self.end += len(data)
        self.waiting += 1

    def drop(self, end: int) -> None:
        """Remove the oldest entry.

        Parameters
        ----------
        end : where it ends in the file. [bytes]
        """
        self.start = end
        self.waiting -= 1

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def close(self) -> None:
        """Release the file; its entries stay on disk."""
        os.close(self.descriptor)

    def _entry(self, offset: int) -> tuple[bytes | None, int]:
        """Return an entry's body, or None if it is damaged, and where the entry ends."""
        header = os.pread(self.descriptor, _ENTRY.size, offset)
        if len(header) < _ENTRY.size:
            return None, self.end
        mark, length, checksum = _ENTRY.unpack(header)
        if mark != _MARK:
            return None, self.end
        body = os.pread(self.descriptor, length, offset + _ENTRY.size)
        whole = len(body) == length and zlib.crc32(body) == checksum
        return body if whole else None, offset + _ENTRY.size + length

    def _skip(self, offset: int) -> int:
        """Log a damaged entry; return where the next one begins."""
        next_entry = self._next_mark(offset + 1)
        torn = next_entry == self.end
        path = str(self.path)
        log.error(
            "spool damaged", path=path, at=offset, skipped=next_entry - offset, torn_tail=torn
        )
        if torn:
            # The owner died while it wrote this entry. It is logged once.
            self.end = offset
        return next_entry

    def _next_mark(self, offset: int) -> int:
        step = 1 << 20
        while offset < self.end:
            block = os.pread(self.descriptor, step + len(_MARK), offset)
            next_entry = block.find(_MARK)
            if next_entry >= 0:
                return offset + next_entry
            offset += step
        return self.end


def _require_ours(path: Path, header: bytes) -> None:
    # A process may have died after it created a segment and before the first line was written.
    if SEGMENT_HEADER.startswith(header):
        return
    if not header.startswith(_NAME):
        raise SpoolError(f"FLOW_SPOOL_DIR: {path} is no spool of ours; move it away")
    their_version = header[len(_NAME) :].split(b"\n")[0].decode(errors="replace")
    our_version = SEGMENT_HEADER[len(_NAME) : -1].decode()
    raise SpoolError(
        f"FLOW_SPOOL_DIR: {path} was left by another release (spool version {their_version}, this"
        f" one reads {our_version}): let that release empty it, or move it away; nothing was"
        " touched"
    )


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
