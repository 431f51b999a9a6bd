"""Compressed bodies: what unpacks is head and body, and what is kept is bounded."""

from __future__ import annotations

import asyncio
import gzip

import brotli
import pytest
import zstandard

from api.http import compression
from api.http.compression import Body, CompressedBodies, coding_of

UNPACK = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@pytest.mark.parametrize("size", [10, 5_000, 200_000])
@pytest.mark.parametrize("coding", UNPACK)
async def test_head_and_body(coding: str, size: int) -> None:
    """Each head in front of one body is unpacked by the format's own library, small or large."""
    body = Body((b'{"t":"2026-06-05","spot":600.0},' * (size // 32 + 1))[:size])
    for head in (b'{"symbol":"SPY"', b'{"symbol":"SPX","more":1', b'{"symbol":"SPY"'):
        assert UNPACK[coding](await body.compress(coding, head)) == head + body.plain


@pytest.mark.parametrize("coding", UNPACK)
async def test_compressed_once(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers at the same time share one compression of a head; another head has its own."""
    calls: list[bytes] = []
    compress = compression._CODINGS[coding]

    def count(whole: bytes) -> bytes:
        calls.append(whole[:1])
        return compress(whole)

    monkeypatch.setitem(compression._CODINGS, coding, count)
    body = Body(bytes(100_000))
    answers = await asyncio.gather(*(body.compress(coding, b"a") for _ in range(20)))
    assert len(set(answers)) == 1
    assert calls == [b"a"]
    await body.compress(coding, b"b")
    assert calls == [b"a", b"b"]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("GZIP", "gzip"),
        ("identity", ""),
        ("*", ""),
        ("br", "br"),
        ("gzip, deflate, br", "br"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, gzip;q=0", ""),
        ("gzip;q=x", ""),
        ("gzip;q=0", ""),
        ("", ""),
        ("gzip," * 100, ""),
    ],
)
def test_codings(accepted: str, coding: str) -> None:
    """The best coding that the caller takes; none is always right."""
    assert coding_of(accepted) == coding


def test_room() -> None:
    """The bodies asked for last stay; the others make room."""
    bodies = CompressedBodies(room=10_000)
    for i in range(10):
        bodies.put(i, Body(bytes(2_000)))
        assert bodies.get(0 if i < 2 else i) is not None
    assert [i for i in range(10) if bodies.get(i) is not None] == [8, 9]
    assert bodies._size <= 10_000
