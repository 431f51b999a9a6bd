"""Attach to the embedded PostgreSQL and Valkey, which all commands of a data folder share.

The first command that attaches starts a supervisor process, and the supervisor starts both servers.
When the last command has left, the supervisor stops them. File locks alone say who is there: the
kernel releases a lock when its process dies, however it dies. In DATA_DIR/run:

``users.lock``    each attached command holds it, shared. The supervisor stops the servers once it
                  gets the lock exclusively.
``keeper.lock``   the supervisor holds it, and each server that it started. Whoever gets it knows
                  that an earlier supervisor and all its servers are gone.
``keeper.log``    why the supervisor failed.
``servers.json``  the addresses of the servers. They are valid only while the supervisor holds a
                  lock on that file, so the file of a killed supervisor is never used.

The names of these files stay as they are: releases of different age may share a data folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from storage.errors import EmbeddedError
from storage.locks import open_lock, try_lock

#: How long a command waits for the servers to start or stop. The supervisor waits less for either,
#: so its reason is there before the command gives up. [s]
_PATIENCE = 150.0
_PACKAGES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the embedded servers."""

    database_url: str
    redis_url: str


@contextmanager
def attach(data_dir: Path, *, wait: bool = False) -> Iterator[Servers]:
    """Use the embedded servers of a data folder in this block; start them if they do not run.

    They stop when no command uses them any more.

    Parameters
    ----------
    data_dir : the folder with the servers' data; made if it does not exist.
    wait : when the block is left, wait until the servers have stopped, unless others use them.

    Yields
    ------
    Servers
        The servers' URLs.

    Raises
    ------
    EmbeddedError
        If they cannot be started: the wheels are not installed, the folder belongs to another user
        or to another PostgreSQL, cannot be reached, or has no room. The message says what to do.
    """
    data_dir = data_dir.resolve()
    with _explain_os_errors(data_dir):
        run = _run_folder(data_dir)
        users = open_lock(run / "users.lock")
    try:
        with _explain_os_errors(data_dir):
            servers = _servers(data_dir, run, users)
        yield servers
    finally:
        # Closing the descriptor does not release the lock if a forked child has a copy of it.
        fcntl.flock(users, fcntl.LOCK_UN)
        if wait:
            _wait_until_gone(run, users)
        os.close(users)


@contextmanager
def _explain_os_errors(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(f"{data_dir} cannot hold the embedded servers: {error}") from error


def _run_folder(data_dir: Path) -> Path:
    """Return DATA_DIR/run, made if missing. Existing folders keep their owner and mode."""
    run = data_dir / "run"
    for folder in reversed([f for f in (run, *run.parents) if not f.exists()]):
        with suppress(FileExistsError):  # Another command has just made it.
            folder.mkdir()
            # Whatever the umask is: the servers of root run as a user who must get through.
            folder.chmod(0o700 if os.geteuid() else 0o755)
    owner = run.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(
            f"{data_dir} belongs to the user {user_name(owner)}: "
            "run the command as that user, or set FLOW_DATA_DIR to a folder of your own"
        )
    return run


def user_name(uid: int) -> str:
    """Return a user's name, or the number of a user without one.

    Parameters
    ----------
    uid : the user's number.

    Returns
    -------
    str
        The name.
    """
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _servers(data_dir: Path, run: Path, users: int) -> Servers:
    """Become a user, then wait for the addresses; start a supervisor if none lives."""
    deadline = time.monotonic() + _PATIENCE
    started = False
    while time.monotonic() < deadline:
        # While a supervisor stops the servers it holds this lock, and we wait.
        if try_lock(users, shared=True):
            if servers := _read_addresses(run):
                return servers
            supervisor_lock = open_lock(run / "keeper.lock")
            try:
                if try_lock(supervisor_lock):
                    if started:
                        reason = (run / "keeper.log").read_text().strip()
                        raise EmbeddedError(reason or "the embedded servers' supervisor was killed")
                    _start_supervisor(data_dir, run, supervisor_lock)
                    started = True
            finally:
                os.close(supervisor_lock)
        time.sleep(0.01)
    raise EmbeddedError(
        f"the embedded servers were not ready after {_PATIENCE:.0f} s; "
        f"the logs in {run} tell how far they came"
    )


def _read_addresses(run: Path) -> Servers | None:
    try:
        with (run / "servers.json").open("rb") as file:
            if try_lock(file.fileno(), shared=True):
                return None  # The supervisor that wrote it is dead.
            addresses = json.load(file)
    except FileNotFoundError:
        return None
    return Servers(addresses["database_url"], addresses["redis_url"])


def _start_supervisor(data_dir: Path, run: Path, supervisor_lock: int) -> None:
    # In a session of its own, Ctrl-C in the terminal does not reach it. It forks at once, so this
    # returns and leaves no child process to wait for.
    with (run / "keeper.log").open("wb") as log:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "storage.embedded.supervisor",
                str(data_dir),
                str(supervisor_lock),
            ],
            cwd=_PACKAGES,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(supervisor_lock,),
            check=False,
        )


def _wait_until_gone(run: Path, users: int) -> None:
    """Wait until the supervisor and its servers are gone, or another command uses them."""
    deadline = time.monotonic() + _PATIENCE
    supervisor_lock = open_lock(run / "keeper.lock")
    try:
        while not try_lock(supervisor_lock) and time.monotonic() < deadline:
            # If this process gets the lock shared but not exclusively, other commands use the
            # servers. If it gets none, the supervisor is stopping. If it gets it exclusively, the
            # supervisor has not noticed yet that the last command has ended.
            if try_lock(users, shared=True) and not try_lock(users):
                return
            fcntl.flock(users, fcntl.LOCK_UN)
            time.sleep(0.02)
    finally:
        os.close(supervisor_lock)
