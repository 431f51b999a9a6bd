"""One file of the spool: a header line, then entries, each with a mark, a length and a checksum.

It is locked for as long as its owner lives: the kernel lets go of it however a process dies.
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
#: Raised with every change of the layout; a change of the row's fields shows by itself.
SEGMENT_HEADER = _NAME + f"1 {BATCH_FIELDS}\n".encode()
_MARK = b"\xf1sl\x1a"
_ENTRY = struct.Struct("<4sII")


def encode_entry(body: bytes) -> bytes:
    """A body as an entry."""
    return _ENTRY.pack(_MARK, len(body), zlib.crc32(body)) + body


class Segment:
    """An open, locked file of the spool. ``make`` begins one, ``take`` takes a dead owner's."""

    __slots__ = ("at", "descriptor", "end", "own", "path", "waiting")

    def __init__(self, path: Path, descriptor: int, *, own: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        #: Whether this process writes it; one that was taken over is only read.
        self.own = own
        #: Where the oldest entry begins that was not taken off, and where what is whole ends.
        self.at = len(SEGMENT_HEADER)
        self.end = len(SEGMENT_HEADER) if own else os.fstat(descriptor).st_size
        #: Entries that were not taken off.
        self.waiting = 0

    @classmethod
    def make(cls, path: Path) -> Segment:
        """Begin a segment; OSError if it cannot be written, or is there already."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(descriptor):
                # Taken over, for it looked like a dead owner's, and removed, for it was empty.
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
    def take(cls, path: Path) -> Segment | None:
        """A dead process's segment; None for a living one's, and for one that is just gone.

        Raises
        ------
        SpoolError
            If it is another release's, or cannot be opened; it stays as it is.
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
        """The batches from the oldest on; what is damaged is skipped, and told in the log."""
        at = self.at
        while at < self.end:
            body, end = self._entry(at)
            if body is None:
                at = self._skip(at)
                continue
            try:
                yield decode_batch(body, (self, end))
            except ValueError as error:
                log.error("spool entry cannot be read", path=str(self.path), error=str(error))
            at = end

    def put(self, data: bytes, fault: Fault) -> None:
        """Write an entry behind the others, on disk when this returns; whole or not at all.

        Raises
        ------
        OSError
            Then nothing of it stays.
        """
        try:
            fault("spooling")
            half = len(data) // 2
            _write(self.descriptor, data[:half], self.end)
            fault("half spooled")
            _write(self.descriptor, data[half:], self.end + half)
            os.fsync(self.descriptor)
        except OSError:
            # Making it shorter needs no room.
            os.ftruncate(self.descriptor, self.end)
            raise
        self.end += len(data)
        self.waiting += 1

    def drop(self, end: int) -> None:
        """Take the oldest entry off, which ends there."""
        self.at = end
        self.waiting -= 1

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def close(self) -> None:
        """Let go of the file; what is in it stays."""
        os.close(self.descriptor)

    def _entry(self, at: int) -> tuple[bytes | None, int]:
        """The body of an entry and where it ends; None if it is not whole."""
        head = os.pread(self.descriptor, _ENTRY.size, at)
        if len(head) < _ENTRY.size:
            return None, self.end
        mark, length, checksum = _ENTRY.unpack(head)
        if mark != _MARK:
            return None, self.end
        body = os.pread(self.descriptor, length, at + _ENTRY.size)
        whole = len(body) == length and zlib.crc32(body) == checksum
        return body if whole else None, at + _ENTRY.size + length

    def _skip(self, at: int) -> int:
        """Where the next whole entry may begin behind a damaged one."""
        found = self._next_mark(at + 1)
        torn = found == self.end
        path = str(self.path)
        log.error("spool damaged", path=path, at=at, skipped=found - at, torn_tail=torn)
        if torn:
            # It was being written when its owner died; it is told once.
            self.end = at
        return found

    def _next_mark(self, at: int) -> int:
        step = 1 << 20
        while at < self.end:
            piece = os.pread(self.descriptor, step + len(_MARK), at)
            found = piece.find(_MARK)
            if found >= 0:
                return at + found
            at += step
        return self.end


def _require_ours(path: Path, head: bytes) -> None:
    # A process may have died between making a segment and writing its first line.
    if SEGMENT_HEADER.startswith(head):
        return
    if not head.startswith(_NAME):
        raise SpoolError(f"FLOW_SPOOL_DIR: {path} is no spool of ours; move it away")
    theirs = head[len(_NAME) :].split(b"\n")[0].decode(errors="replace")
    ours = SEGMENT_HEADER[len(_NAME) : -1].decode()
    raise SpoolError(
        f"FLOW_SPOOL_DIR: {path} was left by another release (spool version {theirs}, this one"
        f" reads {ours}): let that release empty it, or move it away; nothing was touched"
    )


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
