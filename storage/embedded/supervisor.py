"""The process that runs the embedded PostgreSQL and Valkey for as long as somebody uses them.

``storage.embedded.attach`` starts it and tells how the locks work. Both servers are its direct
children; if it is killed, the kernel sends them their stop signals.
``storage.embedded.programs`` has their programs, user and folders.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from storage.embedded.programs import (
    PG,
    PG_WHEEL,
    VALKEY,
    VALKEY_WHEEL,
    Account,
    choose_account,
    ensure_cluster,
    ensure_private_folder,
    ensure_socket_folder,
    locate_programs,
    require_access,
    tail,
)
from storage.errors import EmbeddedError
from storage.locks import open_lock, try_lock

#: Seconds that a server may take to start (with a recovery after a crash), and to stop.
_START = 60.0
_STOP = 60.0
#: Seconds that processes of a killed PostgreSQL may take to notice that it is gone.
_ORPHANS = 10.0
#: A log beyond this many bytes is begun anew.
_LOG_LIMIT = 1_000_000


@dataclass(slots=True, kw_only=True)
class _Server:
    """One server process and how to tell that it answers."""

    name: str
    command: list[str]
    stop_signal: int
    #: Ends it when it does not heed the other.
    last_signal: int
    log: Path
    account: Account
    ready: Callable[[int], bool]
    environment: Callable[[], dict[str, str]] = dict
    process: subprocess.Popen[bytes] | None = None
    log_begins: int = 0
    #: Whether an earlier server has left its pid file: its processes may be there a little longer.
    crashed_before: bool = False

    @property
    def lives(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; ``until_ready`` tells when it answers."""
        grown = self.log.exists() and self.log.stat().st_size > _LOG_LIMIT
        environment = self.environment()
        self.crashed_before |= bool(environment)
        options = self.account.options(self.stop_signal, **environment)
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
                raise EmbeddedError(f"{self.name} was not ready in {_START:.0f} s: {tail(said)}")
            if not self.lives:
                if not self.crashed_before or passed > _ORPHANS:
                    raise EmbeddedError(f"{self.name} did not start: {tail(said)}")
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


def _postgres(programs: Path, data_dir: Path, sockets: Path, account: Account) -> _Server:
    pgdata = ensure_cluster(programs, data_dir, account)

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
        command=[f"{programs / PG}/bin/postgres", "-D", str(pgdata), *options],
        stop_signal=signal.SIGINT,  # Fast: SIGTERM would wait for its clients to leave.
        last_signal=signal.SIGQUIT,
        log=data_dir / "run" / "postgres.log",
        account=account,
        ready=ready,
        environment=environment,
    )


def _valkey(programs: Path, data_dir: Path, sockets: Path, account: Account) -> _Server:
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
        "dir": str(ensure_private_folder(data_dir / "valkey", account)),
        "save": "",
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return _Server(
        name="Valkey",
        command=[f"{programs / VALKEY}/valkey-server", *options],
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
        try_lock(file)
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
    account = choose_account(data_dir, keeper_lock)
    require_access(data_dir, account)
    postgres = locate_programs(PG_WHEEL, data_dir, account)
    valkey = locate_programs(VALKEY_WHEEL, data_dir, account)
    sockets = ensure_socket_folder(data_dir, account)
    servers = [
        _valkey(valkey, data_dir, sockets, account),
        _postgres(postgres, data_dir, sockets, account),
    ]
    try:
        while not try_lock(users):
            for server in servers:
                if not server.lives:
                    server.start()
            for server in servers:
                server.until_ready()
            with _announced(run, sockets):
                while all(server.lives for server in servers) and not try_lock(users):
                    time.sleep(0.1)
    finally:
        for server in servers:
            server.stop()
        for server in servers:
            server.until_gone()
        with suppress(OSError):  # Not empty: a killed server's socket. It may stay.
            sockets.rmdir()


def main() -> None:
    """Run as ``python -m storage.embedded.supervisor DATA_DIR DESCRIPTOR``.

    DESCRIPTOR is the open file descriptor of the lock file, already locked.
    """
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
