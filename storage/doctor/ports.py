"""Check whether the ports of API and metrics are free, the product's, or another program's."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path

from storage.config.running import RunningProduct
from storage.config.settings import Settings
from storage.doctor.finding import Finding, fail, ok, warn

#: How long a server may take to answer. One that compiles its formulas takes some seconds. [s]
_PATIENCE = 3.0
#: State of a listening socket in the kernel's tables.
_LISTENS = "0A"
_PROGRAMS = ("flow-api", "flow-sampler")
#: The same programs as modules: ``python -m api``.
_MODULES = ("api", "sampler")
#: The same programs as parts of ``make run``.
_PART = "deploy/part.py"


@dataclass(frozen=True, slots=True)
class _Port:
    """A port that the product has by its settings."""

    setting: str
    #: The address that is asked.
    host: str
    port: int
    #: The port that the running product was started with; 0 if that is not known.
    running: int
    #: The path that is requested, and bytes that only an answer of this product has.
    path: str
    sign: bytes


def check_ports(settings: Settings, running: RunningProduct | None = None) -> list[Finding]:
    """Check whether the ports of API and metrics are free, the running product's, or another's.

    Parameters
    ----------
    settings : host and ports.
    running : what the data folder says of the product on this machine; None if that is not known.
        A product that was started with other ports than these settings' is asked at its own.

    Returns
    -------
    list of Finding
        One a port.
    """
    api, metrics = (running.port, running.metrics_port) if running else (0, 0)
    ports = [_api_port(settings.host, settings.port, api)]
    for setting, port, started_with, sign in (
        ("FLOW_METRICS_PORT", settings.metrics_port, metrics, b"flow_sampler_"),
        ("FLOW_API_METRICS_PORT", settings.api_metrics_port, 0, b"flow_api_"),
    ):
        if port:
            ports.append(_Port(setting, "127.0.0.1", port, started_with, "/metrics", sign))
    return [_examine(port) for port in ports]


def process_of_product(host: str, port: int) -> str | None:
    """Say whether the API's port is our own already, though perhaps still starting.

    Parameters
    ----------
    host, port : ``FLOW_HOST`` and ``FLOW_PORT``.

    Returns
    -------
    str or None
        The program and its process, in brackets, empty where they cannot be read; None if the port
        is free or another program's.
    """
    described = _api_port(host, port, 0)
    holder = _holder(port)
    if _answers(described, port) or (holder is not None and _is_ours(holder)):
        return _process(port).strip()
    return None


def _api_port(host: str, port: int, running: int) -> _Port:
    sign = b'{"status":"Healthy"}'
    return _Port("FLOW_PORT", _asked(host), port, running, "/health", sign)


def _examine(described: _Port) -> Finding:
    setting, host, port = described.setting, described.host, described.port
    elsewhere = described.running
    if elsewhere and elsewhere != port and _answers(described, elsewhere):
        return ok(
            "port",
            f"{setting} {elsewhere} is served by the running product{_process(elsewhere)};"
            f" this command's {setting} is {port}",
        )
    with closing(socket.socket(_family(host))) as probe:
        probe.settimeout(_PATIENCE)
        if probe.connect_ex((host, port)) != 0:
            return ok("port", f"{setting} {port} is free: nothing runs there")
    if _answers(described, port):
        return ok("port", f"{setting} {port} is served by this product{_process(port)}")
    holder = _holder(port)
    if holder is not None and _is_ours(holder):
        return warn(
            "port",
            f"{setting} {port} is this product's own{_process(port)}, which does not answer"
            f" within {_PATIENCE:g} s",
            "wait until it has started; if it stays silent, read its log and restart it",
        )
    return fail(
        "port",
        f"{setting} {port} is taken by another program{_process(port)}",
        f"stop that program, or choose another {setting}",
    )


def _asked(host: str) -> str:
    """The address at which a server is reached: loopback, if it listens on all addresses."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "::1"
        return host
    return "127.0.0.1"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _answers(described: _Port, port: int) -> bool:
    """Whether our server answers at a port. A proxy of the environment is not asked."""
    host = f"[{described.host}]" if ":" in described.host else described.host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        url = f"http://{host}:{port}{described.path}"
        with opener.open(url, timeout=_PATIENCE) as answer:
            return described.sign in answer.read(1 << 20)
    except (OSError, HTTPException):
        # HTTPException: what answers does not speak HTTP.
        return False


def _process(port: int) -> str:
    """Name and id of the process that listens on a port, in brackets; empty if unreadable."""
    process = _holder(port)
    if process is None:
        return ""
    with suppress(OSError):
        return f" ({(process / 'comm').read_text().strip()}, process {process.name})"
    return ""


def _holder(port: int) -> Path | None:
    """The folder in /proc of the process that listens on a port; None where it cannot be read."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        # Other users' processes cannot be looked into.
        with suppress(OSError):
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return process
    return None


def _listening(port: int) -> list[str]:
    """Inodes of the sockets that listen on a port."""
    inodes = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.append(columns[9])
    return inodes


def _is_ours(process: Path) -> bool:
    """Whether a process is one of our programs, by its command line."""
    with suppress(OSError):
        words = (process / "cmdline").read_text(errors="replace").split("\0")
        if _PART in words[:2] or any(Path(word).name in _PROGRAMS for word in words[:2]):
            return True
        return any(before == "-m" and module in _MODULES for before, module in pairwise(words))
    return False
