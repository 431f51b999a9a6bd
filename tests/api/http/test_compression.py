"""Compressed bodies: head and rest are one, whoever unpacks them; and what is kept is bounded."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http.compression import Body, CompressedBodies, coding_of


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=5_000), st.binary(max_size=300))
def test_one_body(head: bytes, rest: bytes, other: bytes) -> None:
    """A head in front of a rest that was packed before is unpacked as one piece."""
    body = Body(rest)
    for first in (head, other):
        assert gzip.decompress(b"".join(body.gzip(first))) == first + rest
        packed = b"".join(body.zstd(first))
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        assert unpacker.decompress(packed) == first + rest
        assert unpacker.eof
        assert unpacker.unused_data == b""


#: JSON has no NUL; words of brotli's own dictionary, and pieces that come again.
TEXTS = st.lists(
    st.sampled_from(["the time of ", 'Z",', "positive_gamma", '{"t":', "600.25", " and the ", "}"])
    | st.text(st.characters(exclude_characters="\0"), max_size=20),
    max_size=200,
).map(lambda parts: "".join(parts).encode())


@settings(deadline=None)
@given(st.lists(TEXTS.map(lambda text: b"{" + text + b'Z"'), min_size=1, max_size=3), TEXTS)
def test_one_body_of_brotli(heads: list[bytes], rest: bytes) -> None:
    """The same in brotli, whose rest depends on how long the head is and how it ends."""
    body = Body(rest)
    for head in heads:
        for first in (head, bytes(reversed(head[2:-2])) + head[-2:] + b"12", head):
            assert brotli.decompress(b"".join(body.brotli(first))) == first + rest


@pytest.mark.parametrize("program", ["gzip", "zstd", "brotli"])
def test_other_programs(program: str) -> None:
    """The formats' own programs agree, on a body of several blocks."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    head, rest = b'{"symbol":"SPY"', b'{"t":"2026-06-05","spot":600.0},' * 20_000
    body = Body(rest)
    packed = b"".join(body.packed(program.replace("brotli", "br"), head))
    done = subprocess.run([program, "-dc"], input=packed, capture_output=True, check=True)
    assert done.stdout == head + rest
    assert len(packed) < len(rest) / 20


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
    """The best that the caller takes; none is always right."""
    assert coding_of(accepted) == coding


def test_room() -> None:
    """What was asked for last stays, the rest makes room."""
    kept = CompressedBodies(room=10_000)
    for i in range(10):
        kept.put(i, Body(bytes(2_000)))
        assert kept.get(0 if i < 2 else i) is not None
    assert [i for i in range(10) if kept.get(i) is not None] == [8, 9]
    assert kept._size <= 10_000
