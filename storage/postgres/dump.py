"""Dump a whole database to a file, and restore it into an empty one, by pg_dump and pg_restore."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from psycopg import conninfo

from storage.errors import StoreError
from storage.postgres import timescale
from storage.postgres.database import open_connection

#: The schemas that a dump brings; a database with one of them is not empty.
_SCHEMAS = ("live", "synthetic")
#: How ``pg_restore --list`` shows that a dump has TimescaleDB.
_HAS_TIMESCALE = " EXTENSION - timescaledb "


async def write_dump(
    url: str, folder: Path, now: datetime, programs: Path | None, environment: Mapping[str, str]
) -> Path:
    """Write a dump of the whole database: both datasets, keys and alerts.

    The file appears under its name when it is whole. Its owner alone may read it.

    Parameters
    ----------
    url : the database.
    folder : where the file is written; made if it does not exist.
    now : the present, UTC; the file is named after it.
    programs : the folder of ``pg_dump``; None to take it from the PATH.
    environment : the process's variables, which the program gets.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the program is missing or fails, with its own words, or the folder cannot be written.
    """
    file = folder / f"zerodte-flow-{now:%Y-%m-%dT%H%M%SZ}.dump"
    draft = file.with_name(f".{file.name}.draft")
    try:
        await asyncio.to_thread(_make_private_file, draft)
        await _run("pg_dump", url, programs, environment, "--format=custom", f"--file={draft}")
        draft.replace(file)
    except OSError as error:
        raise StoreError(f"{folder} cannot hold a dump: {error.strerror}") from error
    finally:
        await asyncio.to_thread(_remove, draft)
    return file


def _make_private_file(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)


async def restore_dump(
    url: str, file: Path, programs: Path | None, environment: Mapping[str, str]
) -> None:
    """Restore a dump into a database that has no dataset yet: all of it, or nothing.

    Parameters
    ----------
    url : the database.
    file : what ``write_dump`` or ``pg_dump --format=custom`` wrote.
    programs : the folder of ``pg_restore``; None to take it from the PATH.
    environment : the process's variables, which the program gets.

    Raises
    ------
    StoreUnavailable
        If the database is away.
    StoreError
        If the database has a dataset, if it or the dump has TimescaleDB, or if the program is
        missing or fails: with its output.
    """
    if not await asyncio.to_thread(file.is_file):
        raise StoreError(f"{file} is no file")
    contents = await _run("pg_restore", None, programs, environment, "--list", str(file))
    async with open_connection(url, _SCHEMAS[0]) as opened:
        cursor = await opened.execute(
            "select nspname from pg_namespace where nspname = any(%s)", (list(_SCHEMAS),)
        )
        there = [row["nspname"] for row in await cursor.fetchall()]
        version, _ = await timescale.installed(opened)
    if there:
        raise StoreError(
            f"the database has the dataset {' and '.join(there)} already: restore into an"
            " empty one; without FLOW_DATABASE_URL, set FLOW_DATA_DIR to a new folder"
        )
    # Without those functions its background jobs begin to work while rows still arrive.
    if version is not None or _HAS_TIMESCALE in contents:
        raise StoreError(
            "TimescaleDB restores between two functions of its own: use pg_restore, as"
            " docs/operations.md#backups describes"
        )
    options = ("--single-transaction", "--no-owner", "--no-privileges", str(file))
    await _run("pg_restore", url, programs, environment, *options)


async def _run(
    program: str,
    url: str | None,
    programs: Path | None,
    environment: Mapping[str, str],
    *options: str,
) -> str:
    """Run a program of PostgreSQL's, on a database if one is named; return what it printed."""
    path = shutil.which(program) if programs is None else str(programs / program)
    if path is None:
        raise StoreError(f"{program} is not there: install PostgreSQL's client programs")
    # Every user of the machine can read a command line: the password goes by the environment.
    parameters = {} if url is None else conninfo.conninfo_to_dict(url)
    password = parameters.pop("password", None)
    named = conninfo.make_conninfo("", **{k: str(v) for k, v in parameters.items()})
    process = await asyncio.create_subprocess_exec(
        path,
        *(() if url is None else (f"--dbname={named}", "--no-password")),
        *options,
        env=dict(environment) | ({"PGPASSWORD": str(password)} if password else {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise StoreError(f"{program} failed: {complaint.decode(errors='replace').strip()[:2000]}")
    return printed.decode(errors="replace")
