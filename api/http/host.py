"""The Host check: an open server answers only requests that name it as this machine.

A page of any site can point a name of its own at 127.0.0.1 (DNS rebinding). To the browser the
server is then of the page's own origin, so CORS does not stop it. The name in ``Host`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: Names of this machine's loopback address, without a port.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@lru_cache(maxsize=256)
def is_host_allowed(host: bytes, allowed: frozenset[str]) -> bool:
    """Say whether a request's ``Host`` is one that the server answers to.

    Parameters
    ----------
    host
        The header, with or without a port.
    allowed
        Names in lower case, without a port; ``*`` is any.

    Returns
    -------
    bool
        True if the name, whatever its port, is allowed.
    """
    if "*" in allowed:
        return True
    name = host.decode("latin-1").lower()
    head, colon, port = name.rpartition(":")
    if colon and (not port or port.isdigit()):
        name = head
    return name.removesuffix(".") in allowed


def allowed_hosts(names: Iterable[str]) -> frozenset[str]:
    """Return the names that an open server answers to: loopback's, and those of the settings.

    Parameters
    ----------
    names
        ``FLOW_ALLOWED_HOSTS``.

    Returns
    -------
    frozenset of str
        Names in lower case, without a port.
    """
    return LOOPBACK_HOSTS | {name.lower() for name in names}
