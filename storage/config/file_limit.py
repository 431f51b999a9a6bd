"""The number of files and connections that this process may have open."""

from __future__ import annotations

import resource

#: Enough for any use here; a larger limit makes some programs slow. [files]
_ENOUGH = 65_536


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard limit, at most 65,536.

    Many systems give a process 1,024 files and allow it to ask for more.

    Returns
    -------
    int
        The soft limit from now on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
