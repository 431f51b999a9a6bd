"""Packed columns: what goes in comes out, bit for bit, and nothing else is taken for it."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from storage.record.packing import pack, unpack

KINDS = st.one_of(
    st.just(np.dtype("f8")),
    st.just(np.dtype(">f8")),
    st.just(np.dtype("b1")),
    st.sampled_from([np.dtype(f"i{n}") for n in (1, 2, 4, 8)]),
    st.sampled_from([np.dtype(f"U{n}") for n in (1, 4, 9)]),
)
ARRAYS = KINDS.flatmap(
    lambda kind: st_np.arrays(
        kind, st_np.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
    )
)
COLUMNS = st.dictionaries(st.text(max_size=8), ARRAYS, max_size=5)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
NOTES = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda n: n != "columns"), PLAIN, max_size=3)  # fmt: skip


def little(array: np.ndarray[Any, Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def same(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal names in order, types, shapes and bits."""
    return list(first) == list(other) and all(
        first[k].dtype == other[k].dtype.newbyteorder("=")
        and first[k].shape == other[k].shape
        and little(first[k]) == little(other[k])
        for k in first
    )


@settings(deadline=None)
@given(COLUMNS, NOTES)
def test_round_trip(columns, notes):
    """Names, order, types, shapes, every bit and the notes come back; the same gives the same."""
    packed = pack(columns, **notes)
    unpacked, unpacked_notes = unpack(packed)
    native = {k: v.astype(v.dtype.newbyteorder("=")) for k, v in columns.items()}
    assert same(native, unpacked)
    assert notes == unpacked_notes
    assert packed == pack(columns, **notes)


def test_bits_of_nan():
    """A NaN keeps its payload, a zero its sign."""
    bits = [0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001, 0x8000000000000000, 1]
    column = np.array(bits, np.uint64).view(np.float64)
    unpacked = unpack(pack({"x": column}))[0]["x"]
    assert bits == unpacked.view(np.uint64).tolist()


def test_a_strided_view():
    """A view that is not contiguous comes back as what it shows."""
    wide = np.arange(12.0).reshape(3, 4)
    unpacked = unpack(pack({"x": wide.T[::2]}))[0]["x"]
    assert unpacked.tolist() == [[0.0, 4.0, 8.0], [2.0, 6.0, 10.0]]


def test_nothing():
    """No columns are columns too."""
    assert unpack(pack({})) == ({}, {})


def test_layout():
    """The bytes are what the module says: other programs may read them."""
    packed = pack({"strike": np.array([1.5, 2.0]), "listed": np.array([[True], [False]])}, a=1)
    raw = zstandard.ZstdDecompressor().decompress(packed)
    line, _, body = raw.partition(b"\n")
    expected = {"columns": [["strike", "<f8", [2]], ["listed", "|b1", [2, 1]]], "notes": {"a": 1}}
    assert expected == json.loads(line)
    assert struct.pack("<dd??", 1.5, 2.0, True, False) == body


def test_a_chain_is_small():
    """A chain of 520 contracts takes some kilobytes."""
    strike = np.arange(260.0) * 5 + 7000
    quotes = np.round(np.tile(strike, (2, 1)) % 97 / 20, 2)
    assert len(pack({"strike": strike, "bid": quotes, "ask": quotes + 0.05})) < 8_000


@pytest.fixture
def packed() -> bytes:
    return pack({"x": np.arange(50.0), "name": np.array(["SPXW", "SPX"])}, symbol="SPX")


def test_truncated(packed):
    """No beginning of a packed value is one itself."""
    for end in range(len(packed)):
        with pytest.raises(ValueError, match="not a packed chain: "):
            unpack(packed[:end])


def test_corrupt(packed):
    """A single flipped bit, wherever it is, is noticed or changes nothing."""
    whole = unpack(packed)
    for place in range(len(packed)):
        for bit in range(8):
            flipped = bytearray(packed)
            flipped[place] ^= 1 << bit
            try:
                unpacked, notes = unpack(bytes(flipped))
            except ValueError:
                continue
            assert same(whole[0], unpacked), (place, bit)
            assert whole[1] == notes


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes(foreign):
    """Bytes of any other kind are refused."""
    with pytest.raises(ValueError, match="not a packed chain: "):
        unpack(foreign)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"\xff\xfe\n",
        b"[]\n",
        b"5\n",
        b"null\n",
        b"{}\n",
        b'{"columns":[]}\n',
        b'{"columns":[],"notes":5}\n',
        b'{"columns":5,"notes":{}}\n',
        b'{"columns":[["x"]],"notes":{}}\n',
        b'{"columns":[["x","<f8",[2]]],"notes":{}}\n12345678',
        b'{"columns":[["x","<f8",[1]]],"notes":{}}\n12345678more',
        b'{"columns":[["x","O",[1]]],"notes":{}}\n12345678',
        b'{"columns":[["x","nonsense",[1]]],"notes":{}}\n12345678',
        b'{"columns":[["x","<f8,(",[1]]],"notes":{}}\n12345678',
        b'{"columns":[["x",{"a":1},[1]]],"notes":{}}\n12345678',
        b'{"columns":[["x","<f8",["1"]]],"notes":{}}\n12345678',
        b'{"columns":[["x","<f8",[1e400]]],"notes":{}}\n12345678',
        b'{"columns":[["x","<f8",[4611686018427387904,4]]],"notes":{}}\n',
        b'{"columns":[["x","<f8",1]],"notes":[[]]}\n12345678',
        b"[" * 100_000,
    ],
    ids=lambda raw: raw[:60].decode(errors="replace").replace("\n", "|"),
)
def test_foreign_contents(raw):
    """A frame that holds something else is refused, whatever it holds."""
    with pytest.raises(ValueError, match="not a packed chain: "):
        unpack(zstandard.ZstdCompressor().compress(raw))


@pytest.mark.parametrize("size", [1 << 29, 1 << 40, 1 << 62])
def test_asks_for_all_memory(size):
    """A frame that claims to hold more than any chain is refused before memory is asked for."""
    head = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(ValueError, match="not a packed chain: too large"):
        unpack(head)


def test_older_frames():
    """A value packed before frames had a checksum can still be read."""
    raw = b'{"columns":[["x","<f8",[1]]],"notes":{}}\n' + struct.pack("<d", 1.5)
    assert unpack(zstandard.ZstdCompressor(level=3).compress(raw))[0]["x"].tolist() == [1.5]
