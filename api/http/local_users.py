"""Who else has an account on this machine, and so can reach what listens on loopback."""

from __future__ import annotations

import os
from pathlib import Path

#: People have user ids from the first number up to, and without, the second one: lower ids belong
#: to services, higher ones to the account ``nobody`` and to containers.
_PEOPLE = range(1000, 60_000)
_NO_SHELLS = ("nologin", "false", "sync")


def other_users(accounts: Path = Path("/etc/passwd")) -> list[str]:
    """Return the names of other people's accounts that can log in; root's is not among them.

    Parameters
    ----------
    accounts : the file of local accounts; users of a directory service are not in it.

    Returns
    -------
    list of str
        Names, sorted; empty if the file cannot be read.
    """
    try:
        lines = accounts.read_text(errors="replace").splitlines()
    except OSError:
        return []
    names = []
    for line in lines:
        fields = line.split(":")
        if len(fields) != 7 or not fields[2].isdecimal():
            continue
        person = int(fields[2]) in _PEOPLE and int(fields[2]) != os.getuid()
        if person and fields[6].rpartition("/")[2] not in _NO_SHELLS:
            names.append(fields[0])
    return sorted(names)
