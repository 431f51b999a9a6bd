"""A real PostgreSQL and a real Valkey from wheels, shared by every command that needs them.

A command attaches. The first one starts a *keeper* process, which starts both servers; the last
one out lets it stop them. Who is there is told by file locks alone, because the kernel lets go
of them however a process dies. In DATA_DIR/run:

``users.lock``    shared: one hold per attached command. The keeper stops the servers once it
                  can have the lock for itself.
``keeper.lock``   held by the keeper and by every server it started: whoever gets it knows that
                  nothing of an earlier keeper is left, not even a server still shutting down.
``servers.json``  the servers' addresses, true only while the keeper holds a lock on that very
                  file: one that a killed keeper left behind cannot be mistaken for news.
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

#: Seconds a command waits for the servers to come or go. Longer than a keeper waits for either,
#: so that the keeper's reason arrives before the command gives up.
_PATIENCE = 150.0
_PACKAGES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the embedded servers answer."""

    database_url: str
    redis_url: str


@contextmanager
def attach(data_dir: Path, *, wait: bool = False) -> Iterator[Servers]:
    """Use the embedded servers that keep their data in ``data_dir``; start them if need be.

    They run at least until the block is left and stop when nobody uses them any more. With
    ``wait``, leaving lasts until they have stopped, unless others still use them.

    Raises
    ------
    EmbeddedError
        If they cannot be had: wheels not installed, a folder of somebody else's or of another
        PostgreSQL, out of reach or out of room. The message says what to do.
    """
    data_dir = data_dir.resolve()
    with _explained(data_dir):
        run = _run_folder(data_dir)
        users = open_lock(run / "users.lock")
    try:
        with _explained(data_dir):
            servers = _servers(data_dir, run, users)
        yield servers
    finally:
        # A forked child may hold a copy of the descriptor: closing ours would not let go.
        fcntl.flock(users, fcntl.LOCK_UN)
        if wait:
            _see_off(run, users)
        os.close(users)


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(f"{data_dir} cannot hold the embedded servers: {error}") from error


def _run_folder(data_dir: Path) -> Path:
    """DATA_DIR/run, made if missing. Folders that existed keep their owner and mode."""
    run = data_dir / "run"
    for folder in reversed([f for f in (run, *run.parents) if not f.exists()]):
        with suppress(FileExistsError):  # Another command was faster.
            folder.mkdir()
            # Whatever the umask: root's folders must let the unprivileged servers pass.
            folder.chmod(0o700 if os.geteuid() else 0o755)
    owner = run.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(
            f"{data_dir} belongs to the user {user_name(owner)}: "
            "run the command as that user, or set FLOW_DATA_DIR to a folder of your own"
        )
    return run


def user_name(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _servers(data_dir: Path, run: Path, users: int) -> Servers:
    """Join the users, then wait for the servers' addresses, starting a keeper if none lives."""
    deadline = time.monotonic() + _PATIENCE
    started = False
    while time.monotonic() < deadline:
        # Not to be had while a keeper stops the servers: the last user was just gone.
        if try_lock(users, shared=True):
            if servers := _announced(run):
                return servers
            keeper = open_lock(run / "keeper.lock")
            try:
                if try_lock(keeper):
                    if started:
                        reason = (run / "keeper.log").read_text().strip()
                        raise EmbeddedError(reason or "the embedded servers' keeper was killed")
                    _start_keeper(data_dir, run, keeper)
                    started = True
            finally:
                os.close(keeper)
        time.sleep(0.01)
    raise EmbeddedError(
        f"the embedded servers were not ready after {_PATIENCE:.0f} s; "
        f"the logs in {run} tell how far they came"
    )


def _announced(run: Path) -> Servers | None:
    try:
        with (run / "servers.json").open("rb") as file:
            if try_lock(file.fileno(), shared=True):
                return None  # The keeper that wrote it is no more.
            told = json.load(file)
    except FileNotFoundError:
        return None
    return Servers(told["database_url"], told["redis_url"])


def _start_keeper(data_dir: Path, run: Path, keeper: int) -> None:
    # A session of its own: Ctrl-C in the terminal is for the commands. The keeper forks itself
    # off at once, so this returns and leaves us no child to wait for.
    with (run / "keeper.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "storage.embedded.supervisor", str(data_dir), str(keeper)],
            cwd=_PACKAGES,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(keeper,),
            check=False,
        )


def _see_off(run: Path, users: int) -> None:
    """Wait until the keeper and its servers are gone, or somebody else turns out to use them."""
    deadline = time.monotonic() + _PATIENCE
    keeper = open_lock(run / "keeper.lock")
    try:
        while not try_lock(keeper) and time.monotonic() < deadline:
            # Shared but not exclusive: there are others. Neither: the keeper is stopping.
            # Both: the keeper has not noticed yet.
            if try_lock(users, shared=True) and not try_lock(users):
                return
            fcntl.flock(users, fcntl.LOCK_UN)
            time.sleep(0.02)
    finally:
        os.close(keeper)
