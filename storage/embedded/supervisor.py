"""The supervisor: a process that runs the embedded PostgreSQL and Valkey while commands use them.

``storage.embedded.attach`` starts it, and its docstring says how the locks work. Both servers are
direct children of the supervisor. If it is killed, the kernel sends them their stop signals.
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
    ServerUser,
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

#: How long a server may take to start, with a recovery after a crash, and to stop. [s]
_START = 60.0
_STOP = 60.0
#: How long processes of a killed PostgreSQL may take to notice that it is gone. [s]
_ORPHANS = 10.0
#: A log that is larger is begun anew at the next start. [bytes]
_LOG_LIMIT = 1_000_000


@dataclass(slots=True, kw_only=True)
class _Server:
    """One server process, and how to see whether it answers."""

    name: str
    command: list[str]
    stop_signal: int
    #: Ends the process if it does not react to the stop signal.
    last_signal: int
    log: Path
    account: ServerUser
    ready: Callable[[int], bool]
    environment: Callable[[], dict[str, str]] = dict
    process: subprocess.Popen[bytes] | None = None
    log_begins: int = 0
    #: Whether an earlier server left its pid file: some of its processes may still be ending.
    crashed_before: bool = False

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process, without waiting until it answers."""
        too_large = self.log.exists() and self.log.stat().st_size > _LOG_LIMIT
        environment = self.environment()
        self.crashed_before |= bool(environment)
        options = self.account.options(self.stop_signal, **environment)
        with self.log.open("wb" if too_large else "ab") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises
        ------
        EmbeddedError
            If it does not start, or not in time; with the end of its log.
        """
        began = time.monotonic()
        while not (self.process and self.ready(self.process.pid)):
            output = self.log.read_bytes()[self.log_begins :].decode(errors="replace")
            waited = time.monotonic() - began
            if waited > _START:
                raise EmbeddedError(f"{self.name} was not ready in {_START:.0f} s: {tail(output)}")
            if not self.lives:
                if not self.crashed_before or waited > _ORPHANS:
                    raise EmbeddedError(f"{self.name} did not start: {tail(output)}")
                time.sleep(0.1)
                self.start()
            time.sleep(0.005)

    def stop(self) -> None:
        """Ask the server to stop cleanly."""
        if self.process:
            self.process.send_signal(self.stop_signal)

    def wait_until_gone(self) -> None:
        """Wait until the server has stopped; end it if that takes too long."""
        if self.process:
            try:
                self.process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self.process.send_signal(self.last_signal)
                self.process.wait()


def _postgres(programs: Path, data_dir: Path, sockets: Path, account: ServerUser) -> _Server:
    pgdata = ensure_cluster(programs, data_dir, account)

    def pid_file() -> list[str]:
        with suppress(FileNotFoundError):
            return (pgdata / "postmaster.pid").read_text().splitlines()
        return []

    def ready(pid: int) -> bool:
        # As pg_ctl does: line 1 of the pid file is the process, line 8 its state.
        lines = pid_file()
        return lines[:1] == [str(pid)] and "".join(lines[7:8]).strip() == "ready"

    def environment() -> dict[str, str]:
        # A pid file that a killed server left may name the pid of any other process by now, and
        # PostgreSQL would take that process for a server. The lock proves that our servers are
        # gone, so this variable makes PostgreSQL ignore the pid. A server that was started by hand
        # is still noticed, by its shared memory.
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
    options = [
        argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")
    ]
    return _Server(
        name="PostgreSQL",
        command=[f"{programs / PG}/bin/postgres", "-D", str(pgdata), *options],
        stop_signal=signal.SIGINT,  # SIGTERM would wait until all clients have left.
        last_signal=signal.SIGQUIT,
        log=data_dir / "run" / "postgres.log",
        account=account,
        ready=ready,
        environment=environment,
    )


def _valkey(programs: Path, data_dir: Path, sockets: Path, account: ServerUser) -> _Server:
    address = str(sockets / "valkey.sock")

    def ready(_: int) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(address)
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    # Nothing is stored on disk: PostgreSQL has the rows.
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
    options = [argument for name, value in settings.items() for argument in (f"--{name}", value)]
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
def _publish_addresses(run: Path, sockets: Path) -> Iterator[None]:
    """Write the addresses to a file, which stays locked while they are valid."""
    fresh = run / "servers.new"
    fresh.unlink(missing_ok=True)
    file = open_lock(fresh)
    try:
        try_lock(file)
        addresses = {
            "database_url": f"postgresql://postgres@/flow?host={quote(str(sockets))}",
            "redis_url": f"unix://{quote(str(sockets))}/valkey.sock",
            "keeper": os.getpid(),
        }
        os.write(file, json.dumps(addresses).encode())
        fresh.rename(run / "servers.json")
        yield
        (run / "servers.json").unlink()
    finally:
        os.close(file)


def _supervise(data_dir: Path, supervisor_lock: int) -> None:
    """Run the servers until the last command has left; restart a server that dies."""
    run = data_dir / "run"
    users = open_lock(run / "users.lock")
    account = choose_account(data_dir, supervisor_lock)
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
                server.wait_until_ready()
            with _publish_addresses(run, sockets):
                while all(server.lives for server in servers) and not try_lock(users):
                    time.sleep(0.1)
    finally:
        for server in servers:
            server.stop()
        for server in servers:
            server.wait_until_gone()
        with suppress(OSError):  # The socket of a killed server may stay in it.
            sockets.rmdir()


def supervise() -> None:
    """Run as ``python -m storage.embedded.supervisor DATA_DIR DESCRIPTOR``.

    DESCRIPTOR is the open file descriptor of the lock file, already locked.
    """
    if os.fork():
        os._exit(0)  # The command that started us has no child process to wait for.
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The supervisor ends when its users have left. The signals are handled and not ignored,
        # because the servers would inherit that they are ignored.
        signal.signal(stop_signal, lambda *_: None)
    try:
        _supervise(Path(sys.argv[1]), int(sys.argv[2]))
    except (EmbeddedError, OSError, subprocess.SubprocessError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    supervise()
