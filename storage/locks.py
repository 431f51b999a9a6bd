"""File locks. The kernel releases a lock when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open a lock file, which child processes do not inherit.

    Parameters
    ----------
    path : the file; made if it does not exist.

    Returns
    -------
    int
        Its descriptor.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take a file lock without waiting.

    Parameters
    ----------
    descriptor : of the lock file.
    shared : take a lock that others may share; else one that excludes all others.

    Returns
    -------
    bool
        True if the lock is ours; False if another holder is in the way.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
