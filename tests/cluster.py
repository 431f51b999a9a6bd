"""A Dask cluster over machines: database, scheduler, workers and client in network namespaces.

Each of them is a namespace with an address of its own, joined to the others by a bridge that is a
namespace too, so that nothing of this machine's own network is touched. Only root can make them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import psycopg

from tests.killable_servers import KillableServers

ROOT = Path(__file__).resolve().parents[1]
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_SUBNET = "10.77.0"
#: The name in the certificates is that of no machine: Dask checks the authority, not the name.
_NAMES = ("database", "scheduler", "client", "worker0", "worker1")
_PASSWORD = "of-the-test"


def why_not() -> str:
    """Why no network namespace can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "network namespaces can be made by root alone"
    name = f"flow-probe-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", "probe", "type", "bridge")
            _ip("-n", name, "link", "add", "end0", "type", "veth", "peer", "name", "end1")
        finally:
            _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", "") or str(error)
        return f"network namespaces cannot be made here: {words.strip()}"
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Namespaces joined by a bridge; each link can be cut and mended."""

    def __init__(self, names: tuple[str, ...] = _NAMES) -> None:
        self._prefix = f"flow{os.getpid()}"
        self.addresses = {name: f"{_SUBNET}.{10 + i}" for i, name in enumerate(names)}

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("hub", *self.addresses):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", self._space(name))

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _make(self) -> None:
        hub = self._space("hub")
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            space = self._space(name)
            _ip("netns", "add", space)
            link = ("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", hub, *link)
            _ip("-n", hub, "link", "set", name, "master", "bridge")
            _ip("-n", hub, "link", "set", name, "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def cut(self, name: str) -> None:
        """Take a machine's cable out: what it sends is lost, and nobody is told."""
        _ip("-n", self._space("hub"), "link", "set", name, "down")

    def mend(self, name: str) -> None:
        """Put it in again."""
        _ip("-n", self._space("hub"), "link", "set", name, "up")

    def bytes_of(self, name: str) -> int:
        """How many bytes have gone over a machine's cable, in both directions."""
        with self.inside(name):
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
        words = next(line.split() for line in lines if line.lstrip().startswith("eth0"))
        return int(words[1]) + int(words[9])

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Processes that this thread starts in the block have the machine's network."""
        with (
            Path("/proc/thread-self/ns/net").open() as home,
            Path("/run/netns", self._space(name)).open() as space,
        ):
            _enter(space)
            try:
                yield
            finally:
                _enter(home)


def _enter(space: IO[str]) -> None:
    if _LIBC.setns(space.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Cluster:
    """A network with PostgreSQL, and a Dask scheduler and workers that speak TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.network = self._stack.enter_context(Network())
        addresses = self.network.addresses
        self.servers = KillableServers()
        self._stack.callback(self.servers.__exit__)
        self._start_database()
        self._server_url = f"postgresql://postgres:{_PASSWORD}@{addresses['database']}"
        self.environment = os.environ | make_certificates(self.folder)
        self.environment |= {"PYTHONPATH": str(ROOT), "FLOW_LOG_LEVEL": "error"}
        self.address = f"tls://{addresses['scheduler']}:8786"
        host = ("--host", addresses["scheduler"], "--port", "8786", "--no-dashboard")
        self._dask("scheduler", "scheduler", "--protocol", "tls", *host)
        _wait_for(self.folder / "scheduler.log", "Scheduler at:")
        for name in ("worker0", "worker1"):
            self.start_worker(name)
        for name in self.workers:
            _wait_for(self.folder / f"{name}.log", "Registered to:")

    def url_here(self, name: str) -> str:
        """A database's address for the test itself, which is in none of the namespaces."""
        return self.servers.database_url.replace("/flow?", f"/{name}?")

    def create_database(self, name: str) -> None:
        """Make one more database."""
        with psycopg.connect(self.url_here("flow"), autocommit=True) as admin:
            admin.execute(f'create database "{name}"')

    def _start_database(self) -> None:
        server = self.servers.postgres
        hba = self.servers.folder / "pgdata" / "pg_hba.conf"
        hba.write_text(f"{hba.read_text()}\nhost all all {_SUBNET}.0/24 scram-sha-256\n")
        # The last one of two settings counts.
        address = self.network.addresses["database"]
        server.command += ["-c", f"listen_addresses={address}"]
        with self.network.inside("database"):
            server.start()
        server.wait_until_ready()
        with psycopg.connect(self.servers.database_url, autocommit=True) as admin:
            admin.execute(f"alter role postgres password '{_PASSWORD}'")

    def _dask(self, machine: str, *words: str) -> subprocess.Popen[bytes]:
        program = Path(sys.executable).parent / "dask"
        with (self.folder / f"{machine}.log").open("ab") as log, self.network.inside(machine):
            process = subprocess.Popen(
                [sys.executable, str(program), *words],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._stack.callback(_end, process)
        return process

    def start_worker(self, name: str) -> None:
        """Start a machine's worker, with the process that starts it again when it dies."""
        host = ("--host", self.network.addresses[name], "--nthreads", "1", "--no-dashboard")
        self.workers[name] = self._dask(name, "worker", self.address, "--name", name, *host)

    def kill_worker(self, name: str) -> None:
        """kill -9 of the machine's worker and of the process that would start it again."""
        os.killpg(self.workers[name].pid, signal.SIGKILL)
        self.workers[name].wait()

    def backfill(self, *words: str) -> subprocess.Popen[str]:
        """Start ``flow-sampler backfill`` on the client's machine."""
        return self.run("client", "-m", "sampler", "backfill", *words, "--dask", self.address)

    def run(
        self, machine: str, *words: str, database: str = "flow", **environment: str
    ) -> subprocess.Popen[str]:
        """Start a Python program on a machine, with the cluster's database and certificate."""
        environment |= {"FLOW_DATABASE_URL": f"{self._server_url}/{database}"}
        with self.network.inside(machine):
            return subprocess.Popen(
                [sys.executable, *words],
                env=self.environment | environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(log: Path, words: str) -> None:
    ends = time.monotonic() + 60
    while words not in (text := log.read_text()):
        assert time.monotonic() < ends, text
        time.sleep(0.05)


def make_certificates(folder: Path) -> dict[str, str]:
    """An authority and a certificate that it has signed; the settings that Dask reads."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", *key, "-subj", "/CN=flow", "-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl("req", *key, "-subj", "/CN=cluster", "-keyout", "key.pem", "-out", "request.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    settings = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": f"{folder}/ca.pem"}
    settings |= {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = f"{folder}/cert.pem"
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = f"{folder}/key.pem"
    return settings
