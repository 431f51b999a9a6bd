"""The file of rules: read again when it changes, and replaced as a whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from storage.errors import UsageError
from storage.locks import open_lock, try_lock
from storage.notify.rules import DEFAULT_RULES, FILE_LIMIT, Rule, parse_rules

#: How long a writer waits for another one. [s]
_PATIENCE = 5.0


class RulesConflict(Exception):
    """The file is not the one that the writer has seen."""


class RulesFile:
    """The rules of a file, or the built-in ones where no file is named.

    A file that cannot be read leaves the previous rules in force; ``problem`` says what is wrong.
    """

    def __init__(self, path: Path | None) -> None:
        """Prepare; nothing is read yet.

        Parameters
        ----------
        path : the file; None for the built-in rules.
        """
        self.path = path
        #: The rules in force.
        self.rules: tuple[Rule, ...] = DEFAULT_RULES if path is None else ()
        #: Why the file cannot be used; empty if it can.
        self.problem = ""
        #: Names the file's content, and changes with it.
        self.tag = _tag(b"")
        self._state: tuple[int, int, int] | None = None

    async def refresh(self) -> bool:
        """Read the file if it has changed.

        Returns
        -------
        bool
            True if other rules are in force now.
        """
        if self.path is None:
            return False
        return await asyncio.to_thread(self._refresh, self.path)

    def _refresh(self, path: Path) -> bool:
        try:
            status = path.stat()
            state = (status.st_mtime_ns, status.st_ino, status.st_size)
            if state == self._state and not self.problem:
                return False
            text = _read(path)
            rules = parse_rules(text)
        except OSError as error:
            self.problem = f"FLOW_ALERT_RULES: {path} cannot be read: {error.strerror}"
            self._state = None
            return False
        except UsageError as error:
            self.problem = f"FLOW_ALERT_RULES: {path}: {error}"
            self._state, self.tag = None, _tag(text)
            return False
        changed = rules != self.rules
        self.rules, self.problem, self._state, self.tag = rules, "", state, _tag(text)
        return changed

    async def replace(self, text: bytes, expected: str | None) -> None:
        """Replace the file; a reader has the old one or the new one, never a part.

        Parameters
        ----------
        text : the new file.
        expected : the ``tag`` of the file that the writer has seen; None: whatever it is.

        Raises
        ------
        UsageError
            If the text is no file of rules, no file is named, or it cannot be written.
        RulesConflict
            If the file has changed since.
        """
        parse_rules(text)
        if self.path is None:
            raise UsageError("FLOW_ALERT_RULES names no file, so the built-in rules cannot change")
        await asyncio.to_thread(_replace, self.path, text, expected)
        self._state = None
        await self.refresh()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_LIMIT + 1)


def _tag(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _replace(path: Path, text: bytes, expected: str | None) -> None:
    try:
        with closing(_Locked(path.with_name(f".{path.name}.lock"))):
            if expected is not None:
                with suppress(FileNotFoundError):
                    if _tag(_read(path)) != expected:
                        raise RulesConflict
            _write(path, text)
    except OSError as error:
        raise UsageError(f"FLOW_ALERT_RULES: {path} cannot be written: {error.strerror}") from error


def _write(path: Path, text: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Locked:
    """A file lock that is held until it is closed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_lock(path)
        until = time.monotonic() + _PATIENCE
        while not try_lock(self._descriptor):
            if time.monotonic() > until:
                self.close()
                raise OSError(0, "another process writes it")
            time.sleep(0.02)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
