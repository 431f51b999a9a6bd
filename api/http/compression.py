"""Bodies that many callers ask for: joined once, compressed once, kept while there is room.

A body's head changes with every request, its rest does not. All three formats of compression let a
head be put in front of a rest that was compressed earlier, so nothing is compressed twice.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache

import brotli
import zstandard

#: What is shorter goes out as it is: it fits a packet or two anyway.
LEAST = 2_048
#: Bytes that are kept, compressed ones included.
_ROOM = 64_000_000
#: Beyond this, compressing takes longer than other requests should wait.
LONG = 32_768
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ZSTD_HEAD = 6  #: magic number, descriptor and window of a frame without size
#: Best first, where a caller likes them alike: by the time they take for much the same size.
_CODINGS = ("zstd", "br", "gzip")
#: Brotli's window, 2^22 bytes, as its stream begins: four bits.
_BROTLI_WINDOW, _BROTLI_BITS = 22, 0x0B


class Body:
    """The rest of a body, and its compressed forms once somebody has asked for them."""

    __slots__ = ("_brotli", "_gzip", "_zstd", "head", "plain", "tag")

    def __init__(self, plain: bytes, *, head: bytes = b"", tag: str = "") -> None:
        self.plain = plain
        #: What stands in front of the head's changing end, and the ETag, where they are kept here.
        self.head = head
        self.tag = tag
        self._brotli: tuple[tuple[int, bytes], bytes] | None = None
        self._gzip: tuple[bytes, int] | None = None
        self._zstd: bytes | None = None

    def __len__(self) -> int:
        return len(self.plain)

    def ready(self, coding: str) -> bool:
        """Whether the compressed form is there, or made in no time."""
        made = {"gzip": self._gzip, "zstd": self._zstd, "br": self._brotli}[coding]
        return made is not None or len(self.plain) < LONG

    def packed(self, coding: str, head: bytes) -> list[bytes]:
        """Head and rest as one, in one of the codings that ``coding_of`` knows."""
        pack = {"gzip": self.gzip, "zstd": self.zstd, "br": self.brotli}[coding]
        return pack(head)

    def gzip(self, head: bytes) -> list[bytes]:
        """Head and rest as one gzip member."""
        if self._gzip is None:
            raw = zlib.compressobj(4, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._gzip = (raw.compress(self.plain) + raw.flush(), zlib.crc32(self.plain))
        rest, checksum = self._gzip
        # A stored block ends on a byte, and the rest refers to nothing before itself.
        size = len(head)
        stored = struct.pack("<BHH", 0, size, size ^ 0xFFFF) + head
        whole = _joined(zlib.crc32(head), checksum, len(self.plain))
        end = struct.pack("<II", whole, (size + len(self.plain)) & 0xFFFFFFFF)
        return [_GZIP_HEAD + stored, rest, end]

    def zstd(self, head: bytes) -> list[bytes]:
        """Head and rest as one frame of zstd."""
        if self._zstd is None:
            packer = zstandard.ZstdCompressor(level=3, write_content_size=False)
            self._zstd = packer.compress(self.plain)
        # A raw block in front: it is not the last one, and leaves no state behind.
        raw = struct.pack("<I", len(head) << 3)[:3] + head
        return [self._zstd[:_ZSTD_HEAD] + raw, self._zstd[_ZSTD_HEAD:]]

    def brotli(self, head: bytes) -> list[bytes]:
        """Head and rest as one brotli stream; a head has 3 to 65,536 bytes."""
        # The rest depends on the head's length, which words of the format's own dictionary are
        # addressed by, and on its last two bytes, the context of what follows.
        like = (len(head), head[-2:])
        if self._brotli is None or self._brotli[0] != like:
            packer = brotli.Compressor(quality=5, lgwin=_BROTLI_WINDOW)
            packer.process(_stranger(len(head) - 2) + head[-2:])
            packer.flush()
            self._brotli = (like, packer.process(self.plain) + packer.finish())
        # A block that is not the last one and not compressed; its length minus one in 16 bits.
        opening = _BROTLI_BITS | (len(head) - 1) << 7 | 1 << 23
        return [struct.pack("<I", opening)[:3] + head, self._brotli[1]]


def coding_of(accepted: str) -> str:
    """The best compression that an Accept-Encoding header allows; empty for none."""
    return _coding(accepted) if len(accepted) < 200 else ""


@lru_cache(maxsize=64)
def _coding(accepted: str) -> str:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, rest = part.strip().partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            weight = 0.0
        weights[name.strip()] = weight
    known = [name for name in _CODINGS if weights.get(name, 0.0) > 0]
    return max(known, key=lambda name: weights[name], default="")


class CompressedBodies:
    """Bodies by what they depend on; those that nobody asks for make room."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._size = 0
        self._kept: OrderedDict[Hashable, Body] = OrderedDict()

    def get(self, key: Hashable) -> Body | None:
        """A body, if it is kept."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Hashable, body: Body) -> None:
        """Keep a body."""
        if key in self._kept:
            return
        self._kept[key] = body
        self._size += _cost(body)
        while self._size > self._room:
            _, gone = self._kept.popitem(last=False)
            self._size -= _cost(gone)


def _cost(body: Body) -> int:
    # The compressed forms of numbers take a third of the plain one each, if all are asked for.
    return len(body) * 2 + 500


def _stranger(size: int) -> bytes:
    """Bytes that no JSON has, no four of them twice: nothing in there or after is a repetition.

    A repetition would be referred to, or leave its distance behind for the next one to refer to.
    """
    counted = (bytes((0, 1 + i // 961, 1 + i // 31 % 31, 1 + i % 31)) for i in range(size // 4 + 1))
    return b"".join(counted)[:size]


def _joined(first: int, second: int, length: int) -> int:
    """The CRC-32 of two pieces from those of each, the second of a known length."""
    return _apply(_shift(length), first) ^ second


@lru_cache(maxsize=256)
def _shift(length: int) -> list[int]:
    """What so many zero bytes do to a CRC-32, as one matrix over the field of two."""
    step = [0xEDB88320, *(1 << i for i in range(31))]  # a zero bit
    for _ in range(3):
        step = _times(step, step)
    whole = [1 << i for i in range(32)]
    while length:
        if length & 1:
            whole = _times(step, whole)
        step = _times(step, step)
        length >>= 1
    return whole


def _times(left: list[int], right: list[int]) -> list[int]:
    return [_apply(left, column) for column in right]


def _apply(matrix: list[int], vector: int) -> int:
    found = 0
    for column in matrix:
        if vector & 1:
            found ^= column
        vector >>= 1
    return found
