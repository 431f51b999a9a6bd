"""Databento's binary files (DBN): from a file to arrays of records. Pure numpy, versions 1 to 3.

A file begins with ``DBN``, its version and a block of metadata; records of a fixed size follow,
each with its own length and kind (``rtype``) in front. It may be packed with Zstandard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zstandard
from numpy.typing import NDArray

from sampler.errors import ChainRefused
from storage.record.row import Reason

#: Kinds of records (``rtype``).
TRADE, DEFINITION, STATISTIC = 0, 19, 24
#: Schemas of files of trades, alone and with quotes; such a file may hold none.
TRADES, TRADES_AND_QUOTES = 4, 17
#: A trade with the consolidated quote before it, which has no number of its own.
TRADE_AND_QUOTE = 194
#: Consolidated quotes: every change, by the second, by the minute, and beside each trade.
QUOTES = frozenset({177, 192, 193, TRADE_AND_QUOTE})
#: Values that stand for an unknown price and an unknown time.
NO_PRICE, NO_TIME = 2**63 - 1, 2**64 - 1
#: A count from this on is unknown: DBN writes one with 31 or 32 bits set.
NO_COUNT = 2**31 - 1
VERSIONS = (1, 2, 3)
#: No block of metadata is larger; ten thousand symbols take 2 MB. [bytes]
METADATA_LIMIT = 64 << 20
_PIECE = 16 << 20
_PACKED = b"\x28\xb5\x2f\xfd"

Field = tuple[str, int]
_HEAD: dict[str, Field] = {"instrument_id": ("<u4", 4)}
_PRINT: dict[str, Field] = {
    **_HEAD,
    "ts_event": ("<u8", 8),
    "price": ("<i8", 16),
    "size": ("<u4", 24),
    "action": ("S1", 28),
    "ts_recv": ("<u8", 32),
}
_TRADE: dict[str, Field] = {**_PRINT, "publisher_id": ("<u2", 2), "sequence": ("<u4", 44)}
_QUOTE: dict[str, Field] = {**_PRINT, "bid": ("<i8", 48), "ask": ("<i8", 56)}
_STATISTIC: dict[str, Field] = {**_HEAD, "ts_recv": ("<u8", 16)}
_OPTION = {**_HEAD, "ts_recv": ("<u8", 16), "expiration": ("<u8", 40)}
#: By version: fields of a definition, each with its format and where it begins. [bytes]
_DEFINITIONS: dict[int, dict[str, Field]] = {
    1: {
        **_OPTION,
        "raw_symbol": ("S22", 200),
        "underlying": ("S21", 300),
        "instrument_class": ("S1", 325),
        "strike_price": ("<i8", 328),
    },
    2: {
        **_OPTION,
        "strike_price": ("<i8", 112),
        "raw_symbol": ("S71", 200),
        "underlying": ("S21", 349),
        "instrument_class": ("S1", 374),
    },
    3: {
        **_OPTION,
        "strike_price": ("<i8", 104),
        "raw_symbol": ("S71", 238),
        "underlying": ("S21", 391),
        "instrument_class": ("S1", 487),
    },
}
_STATISTICS: dict[int, dict[str, Field]] = {
    1: {**_STATISTIC, "quantity": ("<i4", 40), "stat_type": ("<u2", 52)},
    2: {**_STATISTIC, "quantity": ("<i4", 40), "stat_type": ("<u2", 52)},
    3: {**_STATISTIC, "quantity": ("<i8", 40), "stat_type": ("<u2", 56)},
}


@dataclass(frozen=True, slots=True)
class DbnHeader:
    """What a file says of itself."""

    version: int
    #: The kind of its records by the vendor's list; ``TRADES`` is one.
    schema: int
    #: Its records lie between, unix time [ns]; the end is ``NO_TIME`` where it is open.
    start: int
    end: int


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_dbn_header(path: Path) -> DbnHeader:
    """Read what a file says of itself.

    Parameters
    ----------
    path : the file, packed or not.

    Returns
    -------
    DbnHeader
        Its version and the time that it covers.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that is none of DBN, or of a version that is not known.
    """
    with ExitStack() as opened:
        try:
            return _header(_opened(path, opened), path)
        except (OSError, zstandard.ZstdError) as error:
            raise _bad(path, f"cannot be read: {error}") from None


def read_dbn(path: Path, kinds: frozenset[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Read the records of some kinds, in the file's order.

    Parameters
    ----------
    path : the file, packed or not.
    kinds : kinds of records (``rtype``).

    Yields
    ------
    tuple of int and array
        A kind, and a run of its records with named fields.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that cannot be read to its end.
    """
    with ExitStack() as opened:
        try:
            file = _opened(path, opened)
            version = _header(file, path).version
            for kind, run in _runs(file, path):
                if kind in kinds:
                    yield kind, _named(run, kind, version, path)
        except (OSError, zstandard.ZstdError) as error:
            raise _bad(path, f"cannot be read: {error}") from None


def _opened(path: Path, opened: ExitStack) -> _Readable:
    file = opened.enter_context(path.open("rb"))
    packed = file.read(len(_PACKED)) == _PACKED
    file.seek(0)
    if not packed:
        return file
    unpacker = zstandard.ZstdDecompressor()
    # A file may consist of several packed parts.
    return opened.enter_context(unpacker.stream_reader(file, read_across_frames=True))


def _header(file: _Readable, path: Path) -> DbnHeader:
    prelude = _exactly(file, 8, path)
    if prelude[:3] != b"DBN":
        raise _bad(path, f"is no DBN file: it begins {prelude[:8]!r}")
    version, length = prelude[3], int.from_bytes(prelude[4:], "little")
    if version not in VERSIONS:
        raise _bad(path, f"is of version {version} of DBN; versions 1 to 3 can be read")
    if not 34 <= length <= METADATA_LIMIT:
        raise _bad(path, f"has {length:,} bytes of metadata")
    schema, start, end = struct.unpack_from("<HQQ", _exactly(file, length, path), 16)
    return DbnHeader(version, schema, start, end)


def _exactly(file: _Readable, size: int, path: Path) -> bytes:
    got = b""
    while len(got) < size:
        piece = file.read(size - len(got))
        if not piece:
            raise _bad(path, "ends within its header")
        got += piece
    return got


def _runs(file: _Readable, path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Runs of records of one kind and length, as bytes: one row a record."""
    rest = b""
    while piece := file.read(_PIECE):
        data = rest + piece
        begin = 0
        while len(data) - begin >= 2:
            size, kind = data[begin] * 4, data[begin + 1]
            if size < 16:
                raise _bad(path, f"has a record of {size} bytes")
            count = (len(data) - begin) // size
            if count == 0:
                break
            run = np.frombuffer(data, np.uint8, count * size, begin).reshape(count, size)
            alike = _alike(run)
            yield kind, run[:alike]
            begin += alike * size
        rest = data[begin:]
    if rest:
        raise _bad(path, "ends within a record")


def _alike(run: NDArray[np.uint8]) -> int:
    """How many records from the first one on have its length and kind."""
    width = 64
    while True:
        same = (run[:width, :2] == run[0, :2]).all(axis=1)
        if not same.all():
            return int(np.argmin(same))
        if width >= len(run):
            return len(run)
        width *= 8


def _named(run: NDArray[np.uint8], kind: int, version: int, path: Path) -> NDArray[Any]:
    fields: Mapping[str, Field] = _QUOTE
    if kind == TRADE:
        fields = _TRADE
    elif kind == DEFINITION:
        fields = _DEFINITIONS[version]
    elif kind == STATISTIC:
        fields = _STATISTICS[version]
    size = run.shape[1]
    if size < max(begin + np.dtype(form).itemsize for form, begin in fields.values()):
        raise _bad(path, f"has records of kind {kind} with {size} bytes, too few for them")
    # Records may be longer than their fields: a time of sending can follow them.
    dtype = np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [begin for _, begin in fields.values()],
            "itemsize": size,
        }
    )
    named: NDArray[Any] = run.reshape(-1).view(dtype)
    return named


def _bad(path: Path, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{path.name} {what}")
