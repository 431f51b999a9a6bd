"""CORS: which pages of other origins may read the answers, and which headers of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

METHODS = ("GET", "HEAD")
#: Request headers that such a page may send.
REQUEST_HEADERS = (
    "X-Api-Key",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Range",
)
#: Response headers that such a page may read.
EXPOSED_HEADERS = (
    "Accept-Ranges",
    "Content-Range",
    "ETag",
    "Retry-After",
    "X-Cursor",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
#: Time for which a browser may remember these rules. [s]
MAX_AGE = 86_400


@lru_cache(maxsize=64)
def cors_headers(origin: bytes, allowed: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the CORS headers of an answer to a page of another origin.

    Parameters
    ----------
    origin
        The request's ``Origin`` header.
    allowed
        Origins whose pages may read the answers; ``*`` is any.

    Returns
    -------
    tuple[tuple[bytes, bytes], ...]
        Names and values; without ``access-control-allow-origin`` the page may not read the answer.
    """
    exposed = (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())
    if "*" in allowed:
        return ((b"access-control-allow-origin", b"*"), exposed)
    if origin.decode("latin-1") in allowed:
        return ((b"access-control-allow-origin", origin), exposed)
    return (exposed,)
