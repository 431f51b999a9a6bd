"""Check the machine: disk, file limits, the cache of compiled formulas, the calendar, backups."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path

from storage.doctor.finding import Finding, fail, ok, warn
from storage.market.calendar import next_session, sessions_between

#: Free space below this fails; a day of three symbols is some 100 MB. [bytes]
_NO_ROOM = 500e6
#: Sessions that the free space should be enough for.
_SESSIONS_AHEAD = 60
#: Fewer files than this shut callers out under load.
_FEW_FILES = 4096


def check_disk(folder: Path, bytes_a_session: float | None) -> Finding:
    """Check the free space of a folder's disk, and for how many sessions it is enough.

    Parameters
    ----------
    folder : the folder of the spool, and of the embedded database.
    bytes_a_session : how much a session adds; None if that is not known.

    Returns
    -------
    Finding
        What was seen.
    """
    there = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    room = f"{free / 1e9:,.1f} GB free at {there}"
    if not os.access(there, os.W_OK):
        return fail("disk", f"{there} cannot be written", "correct its owner, or FLOW_DATA_DIR")
    if free < _NO_ROOM:
        return fail("disk", room, "make room: flow-store prune, or a larger disk")
    if bytes_a_session:
        sessions = int(free / bytes_a_session)
        room += f", enough for {sessions:,} sessions at {bytes_a_session / 1e6:,.0f} MB each"
        if sessions < _SESSIONS_AHEAD:
            return warn("disk", room, "keep less (FLOW_KEEP_PROFILES, FLOW_KEEP_CHAINS)")
    return ok("disk", room)


def check_files() -> Finding:
    """Check how many files a process may have open here.

    Returns
    -------
    Finding
        What was seen.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft if hard == resource.RLIM_INFINITY else hard
    shown = f"a process may have {soft} files open, and raise that to {limit}"
    if 0 <= limit < _FEW_FILES:
        return warn("files", shown, "raise the hard limit: LimitNOFILE=65536, or ulimit -Hn")
    return ok("files", shown)


def check_cache(environment: Mapping[str, str], package: Path) -> Finding:
    """Check whether the compiled formulas are kept, so that a start does not take a minute.

    Parameters
    ----------
    environment : holds NUMBA_CACHE_DIR, if it is set.
    package : the folder of the package ``sampler``.

    Returns
    -------
    Finding
        What was seen.
    """
    named = environment.get("NUMBA_CACHE_DIR")
    beside, home = package / "metrics", Path.home()
    places = {Path(named): named} if named else {beside: "__pycache__", home: ".cache/numba"}
    for place, folder in places.items():
        there = next((p for p in (place, *place.parents) if p.exists()), Path("/"))
        if not os.access(there, os.W_OK):
            continue
        if not any((place / folder).rglob("*.nbi")):
            shown = f"no compiled formulas are in {place}: the sampler's first start compiles them"
            return warn(
                "cache", shown, "compile them before, as the sampler's user: flow-sampler warm"
            )
        return ok("cache", f"compiled formulas are kept in {place}")
    advice = "set NUMBA_CACHE_DIR to a folder that can be written"
    return warn("cache", "compiled formulas cannot be kept: each start compiles them", advice)


def check_calendar(now: datetime, overrides: int = 0) -> Finding:
    """Check that the calendar knows the sessions ahead, and how old it is.

    Parameters
    ----------
    now : the present, UTC.
    overrides : how many days FLOW_CALENDAR_OVERRIDES names.

    Returns
    -------
    Finding
        What was seen.
    """
    version = metadata.version("pandas-market-calendars")
    today = now.date()
    ahead = sessions_between(today, today + timedelta(days=365))
    shown = f"pandas-market-calendars {version}, next session {next_session(today).day}"
    # New York trades some 250 sessions a year.
    if not 245 <= len(ahead) <= 256:
        advice = "update the package: pip install --upgrade pandas-market-calendars"
        return fail("calendar", f"{shown}; {len(ahead)} sessions in the year ahead", advice)
    if overrides:
        shown += f", {overrides} days of FLOW_CALENDAR_OVERRIDES"
    return ok("calendar", f"{shown}, {len(ahead)} sessions in the year ahead")


def check_python() -> Finding:
    """Check the version of Python.

    Returns
    -------
    Finding
        What was seen.
    """
    shown = f"Python {sys.version.split()[0]}, zerodte-flow {metadata.version('zerodte-flow')}"
    return ok("program", shown)


def check_backups(folder: Path | None, today: date, *, embedded: bool) -> Finding:
    """Check how old the newest backup is.

    Parameters
    ----------
    folder : ``FLOW_BACKUP_DIR``; None if no folder is named.
    today : the present day.
    embedded : whether the database is the embedded one.

    Returns
    -------
    Finding
        What was seen.
    """
    if folder is None:
        what = "the embedded database" if embedded else "the database"
        advice = "make dumps, and name their folder in FLOW_BACKUP_DIR (docs/operations.md)"
        return warn("backups", f"no folder of backups of {what} is named", advice)
    try:
        times = [path.stat().st_mtime for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        return fail("backups", f"{folder}: {error.strerror}", "correct FLOW_BACKUP_DIR")
    if not times:
        return warn("backups", f"{folder} is empty", "make a dump (docs/operations.md)")
    age = (today - datetime.fromtimestamp(max(times), UTC).date()).days
    shown = f"the newest file of {folder} is {age} days old"
    if age > 7:
        return warn("backups", shown, "make a new dump (docs/operations.md)")
    return ok("backups", shown)
