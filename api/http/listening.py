"""The address that the API listens on, and whether that address requires keys."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import FlowError, UsageError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UsageError(
            f"FLOW_HOST: {host[:80]!r} is not an address: use localhost or an IP address of"
            " this machine; 0.0.0.0 and :: mean all of them"
        ) from None


def keys_required(host: str, access: str) -> bool:
    """Say whether a server requires keys.

    Parameters
    ----------
    host
        ``FLOW_HOST``, the address that the server listens on.
    access
        ``FLOW_ACCESS``: ``auto``, ``open`` or ``keys``.

    Returns
    -------
    bool
        True if a request must carry a key.

    Raises
    ------
    UsageError
        If ``host`` is not an address, or an open server would listen beyond loopback.
    """
    loopback = _address(host).is_loopback
    if access == "open" and not loopback:
        raise UsageError(
            f"FLOW_ACCESS: an open server listens on loopback only, and {host!r} is not: leave"
            " FLOW_ACCESS at auto and make a key with flow-api keys create"
        )
    return access == "keys" or not loopback


@contextmanager
def bound_socket(host: str, port: int, *, setting: str = "FLOW_PORT") -> Iterator[socket.socket]:
    """Bind a socket to an address. Nobody can connect until the server listens on it.

    Parameters
    ----------
    host
        An IP address of this machine, or ``localhost``.
    port
        The TCP port.
    setting
        The setting that has the port, for errors.

    Yields
    ------
    socket.socket
        The socket; it closes with the block.

    Raises
    ------
    UsageError
        If ``host`` is not an address.
    FlowError
        If another program has the port, or the system refuses the address.
    """
    address = _address(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Name TCP: asyncio switches off Nagle's delay of 40 ms only for such sockets.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((str(address), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                option = f"--{setting.removeprefix('FLOW_').lower().replace('_', '-')}"
                raise FlowError(
                    f"{setting}: port {port} of {host} is taken by another program;"
                    f" stop that program, or choose another port with {option}"
                ) from error
            raise FlowError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
        yield listener
