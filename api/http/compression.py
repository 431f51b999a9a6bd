"""Bodies that many callers ask for: kept while there is room, compressed once a head.

The libraries compress a whole answer, head and rest. Answers whose fixed parts were compressed
beforehand and joined by hand were measured at 1.0 to 1.3 times the speed; that was not worth it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache

import brotli
import zstandard

#: A shorter body is sent as it is: it fits into a packet or two anyway. [bytes]
LEAST = 2_048
#: What is kept in all, compressed forms included. [bytes]
_ROOM = 64_000_000
#: A thread compresses what is longer than this: other requests should not wait for it. [bytes]
LONG = 32_768
#: The codings, best first where a caller likes them alike: by time taken for much the same size.
_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdCompressor(level=3).compress(body),
    "br": lambda body: brotli.compress(body, quality=5),
    "gzip": lambda body: gzip.compress(body, compresslevel=4, mtime=0),
}


class Body:
    """A body without its changing head, and its newest compressed answer in each coding."""

    __slots__ = ("_compressed", "_lock", "head", "plain", "tag")

    def __init__(self, plain: bytes, *, head: bytes = b"", tag: str = "") -> None:
        self.plain = plain
        #: The fixed beginning of the head, and the ETag, where they are kept with the body.
        self.head = head
        self.tag = tag
        self._compressed: dict[str, tuple[bytes, bytes]] = {}
        self._lock: asyncio.Lock | None = None

    def __len__(self) -> int:
        return len(self.plain)

    async def compress(self, coding: str, head: bytes) -> bytes:
        """Head and body as one compressed answer; callers at the same time share the work.

        Parameters
        ----------
        coding : one that ``coding_of`` returns.
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
    """The best compression that an Accept-Encoding header allows; empty for none."""
    return _coding(accepted) if len(accepted) < 200 else ""


@lru_cache(maxsize=64)
def _coding(accepted: str) -> str:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            weight = 0.0
        weights[name.strip()] = weight
    known = [name for name in _CODINGS if weights.get(name, 0.0) > 0]
    return max(known, key=lambda name: weights[name], default="")


class CompressedBodies:
    """Bodies by what they depend on; those asked for least recently make room."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._size = 0
        self._bodies: OrderedDict[Hashable, Body] = OrderedDict()

    def get(self, key: Hashable) -> Body | None:
        """A body, if it is kept."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def put(self, key: Hashable, body: Body) -> None:
        """Keep a body."""
        if key in self._bodies:
            return
        self._bodies[key] = body
        self._size += _cost(body)
        while self._size > self._room:
            _, dropped = self._bodies.popitem(last=False)
            self._size -= _cost(dropped)


def _cost(body: Body) -> int:
    # Each compressed form of numbers takes about a third of the plain one.
    return len(body) * 2 + 500
