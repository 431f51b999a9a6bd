"""Compression, and a cache of bodies with their compressed forms.

A body is the large part of an answer, which changes with the data only. The head before it changes
with each second. The libraries compress head and body together. To compress the body beforehand
and join the head to it by hand gained 1.0 to 1.3 times the speed, which was not worth the code.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache

import brotli
import zstandard

#: Shorter bodies are not compressed: they fit into one or two packets as they are. [bytes]
LEAST = 2_048
#: Room of the cache, for bodies and their compressed forms. [bytes]
_ROOM = 64_000_000
#: Longer answers are compressed in a thread, so that no other request waits for it. [bytes]
LONG = 32_768
#: The codings. Where a caller prefers none of them, the first one is used: it is the fastest for
#: about the same size.
_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdCompressor(level=3).compress(body),
    "br": lambda body: brotli.compress(body, quality=5),
    "gzip": lambda body: gzip.compress(body, compresslevel=4, mtime=0),
}


class Body:
    """A body, and the newest compressed answer made of it in each coding.

    Parameters
    ----------
    plain
        The body, without the head that changes.
    head
        The unchanging start of the head, where it is stored with the body.
    tag
        The ETag, where it is stored with the body.
    """

    __slots__ = ("_compressed", "_lock", "head", "plain", "tag")

    def __init__(self, plain: bytes, *, head: bytes = b"", tag: str = "") -> None:
        self.plain = plain
        self.head = head
        self.tag = tag
        self._compressed: dict[str, tuple[bytes, bytes]] = {}
        self._lock: asyncio.Lock | None = None

    def __len__(self) -> int:
        return len(self.plain)

    async def compress(self, coding: str, head: bytes) -> bytes:
        """Compress head and body into one answer. Callers at the same time share the work.

        Parameters
        ----------
        coding
            ``zstd``, ``br`` or ``gzip``.
        head
            The bytes before the body.

        Returns
        -------
        bytes
            The compressed answer.
        """
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            known = self._compressed.get(coding)
            if known is not None and known[0] == head:
                return known[1]
            whole = head + self.plain
            if len(whole) < LONG:
                answer = _CODINGS[coding](whole)
            else:
                answer = await asyncio.to_thread(_CODINGS[coding], whole)
            self._compressed[coding] = (head, answer)
            return answer


def coding_of(accepted: str) -> str:
    """Return the best coding that an Accept-Encoding header allows.

    Parameters
    ----------
    accepted : the header's value.

    Returns
    -------
    str
        ``zstd``, ``br`` or ``gzip``; empty if it allows none of them.
    """
    return _coding(accepted) if len(accepted) < 200 else ""


@lru_cache(maxsize=64)
def _coding(accepted: str) -> str:
    weights: dict[str, float] = {}
    for entry in accepted.lower().split(","):
        name, _, parameter = entry.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            weight = 0.0
        weights[name.strip()] = weight
    acceptable = [name for name in _CODINGS if weights.get(name, 0.0) > 0]
    return max(acceptable, key=lambda name: weights[name], default="")


class CompressedBodies:
    """A cache of bodies. When it is full, the least recently used bodies are dropped.

    Parameters
    ----------
    room
        Bytes of all bodies and their compressed forms.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._size = 0
        self._bodies: OrderedDict[Hashable, Body] = OrderedDict()

    def get(self, key: Hashable) -> Body | None:
        """Return the body stored under a key; None if there is none.

        Parameters
        ----------
        key : what the body depends on.

        Returns
        -------
        Body or None
            The body, with the compressed forms that it has so far.
        """
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def put(self, key: Hashable, body: Body) -> None:
        """Store a body, unless the key has one; the bodies unused for longest make room.

        Parameters
        ----------
        key : what the body depends on.
        body : the body.
        """
        if key in self._bodies:
            return
        self._bodies[key] = body
        self._size += _cost(body)
        while self._size > self._room:
            _, dropped = self._bodies.popitem(last=False)
            self._size -= _cost(dropped)


def _cost(body: Body) -> int:
    # The body and its three compressed forms, each about a third of its length.
    return len(body) * 2 + 500
