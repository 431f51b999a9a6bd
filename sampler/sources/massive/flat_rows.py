"""Massive's flat files: the lines of some contracts, piece by piece, of a whole market's day.

A day's quotes of all options have over a hundred gigabytes, packed. A file is read once, in pieces;
lines are found by the beginning of their ticker, and only those are taken apart.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from sampler.chain import Floats
from sampler.errors import ChainRefused
from sampler.sources.slot_table import Integers
from storage.record.row import Reason

#: Columns that make a file one of quotes or of trades.
QUOTES = ("bid_price", "ask_price")
TRADES = ("price", "size", "conditions")
TIME = "sip_timestamp"
_TEXTS = ("conditions", "correction")
#: So much is unpacked at once, and no line is longer. [bytes]
PIECE, LINE_LIMIT = 16 << 20, 4 << 10
_OPTION = re.compile(r"O:([A-Z]+)\d{6}([CP])(\d{8})")


@dataclass(frozen=True, slots=True, eq=False)
class FlatRows:
    """Some lines of a file, as columns of one length n."""

    #: The tickers, each once, and which of them each line has.
    tickers: list[str]
    ticker: Integers
    #: Unix time. [ns]
    moment: Integers
    #: The numbers by column, NaN where there is none.
    numbers: dict[str, Floats]
    #: The texts by column.
    texts: dict[str, list[str]]


def columns_of(path: Path) -> list[str]:
    """The names in a file's first line.

    Parameters
    ----------
    path : a CSV file, plain or ``.gz``.

    Returns
    -------
    list of str
        The names, in order.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that cannot be unpacked.
    """
    with ExitStack() as opened:
        try:
            line = _opened(path, opened).read(LINE_LIMIT).partition(b"\n")[0]
        except (OSError, EOFError, zlib.error) as error:
            raise _bad(path, f"cannot be read: {error or type(error).__name__}") from None
    return [name.strip() for name in line.decode("utf-8-sig", "replace").split(",")]


def is_of(columns: Sequence[str], kind: Sequence[str]) -> bool:
    """Whether a file is one of quotes, or of trades.

    Parameters
    ----------
    columns : its names.
    kind : ``QUOTES`` or ``TRADES``.

    Returns
    -------
    bool
        True if all columns of the kind are there.
    """
    return {"ticker", TIME, *kind} <= set(columns)


def read_flat_rows(path: Path, prefixes: Sequence[str], kind: Sequence[str]) -> Iterator[FlatRows]:
    """The lines whose ticker begins with one of some prefixes.

    Parameters
    ----------
    path : a CSV file, plain or ``.gz``, in any order of lines.
    prefixes : such as ``O:SPXW260209``.
    kind : ``QUOTES`` or ``TRADES``: the columns to read.

    Yields
    ------
    FlatRows
        Lines in the file's order.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that cannot be read to its end, or a line with other columns.
    """
    names = columns_of(path)
    wanted = ["ticker", TIME, *kind, *(name for name in ("correction",) if name in names)]
    texts = [name for name in wanted if name in _TEXTS]
    types: dict[str, Any] = dict.fromkeys(wanted, pa.float64())
    types |= {"ticker": pa.dictionary(pa.int32(), pa.string()), TIME: pa.int64()}
    types |= dict.fromkeys(texts, pa.string())
    starts = tuple(prefix.encode() for prefix in prefixes)
    with ExitStack() as opened:
        try:
            for lines in _lines(_opened(path, opened), starts, path):
                table = csv.read_csv(
                    pa.BufferReader(lines),
                    read_options=csv.ReadOptions(
                        column_names=names, use_threads=False, block_size=len(lines) + 1
                    ),
                    convert_options=csv.ConvertOptions(include_columns=wanted, column_types=types),
                )
                yield _columns(table, path, texts)
        except pa.ArrowException as error:
            raise _bad(path, f"has a line that cannot be read: {str(error)[:120]}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise _bad(path, f"cannot be read: {error or type(error).__name__}") from None


def contract_of(ticker: str) -> tuple[str, int, float] | None:
    """Root, right (+1 call, -1 put) and strike of a ticker.

    Parameters
    ----------
    ticker : such as ``O:SPXW260209C06900000``.

    Returns
    -------
    tuple or None
        None for what is no option's ticker.
    """
    match = _OPTION.fullmatch(ticker)
    if match is None:
        return None
    return match[1], 1 if match[2] == "C" else -1, int(match[3]) / 1000


def _opened(path: Path, opened: ExitStack) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return opened.enter_context(gzip.GzipFile(path))  # type: ignore[return-value]
    return opened.enter_context(path.open("rb"))


def _lines(file: BinaryIO, starts: tuple[bytes, ...], path: Path) -> Iterator[bytes]:
    """Those lines of a file that begin so, some at a time."""
    marks = tuple(b"\n" + start for start in starts)
    # The line break in front makes the first line like all others.
    rest = b"\n"
    while piece := file.read(PIECE):
        data = rest + piece
        end = data.rfind(b"\n")
        rest = data[end:]
        if len(rest) > LINE_LIMIT:
            raise _bad(path, f"has a line of over {LINE_LIMIT:,} bytes")
        if some := _matching(data, end, marks, starts):
            yield some
    if some := _matching(rest + b"\n", len(rest), marks, starts):
        yield some


def _matching(data: bytes, end: int, marks: tuple[bytes, ...], starts: tuple[bytes, ...]) -> bytes:
    """The lines that begin so, without those between them that do not."""
    firsts = [place for mark in marks if (place := data.find(mark, 0, end)) >= 0]
    if not firsts:
        return b""
    last = max(data.rfind(mark, 0, end) for mark in marks)
    some = data[min(firsts) + 1 : data.find(b"\n", last + 1)]
    if len(marks) == 1 and some.count(b"\n") == some.count(marks[0]):
        return some
    return b"\n".join(line for line in some.split(b"\n") if line.startswith(starts))


def _columns(table: pa.Table, path: Path, texts: Sequence[str]) -> FlatRows:
    if table[TIME].null_count or table["ticker"].null_count:
        raise _bad(path, f"has a line without {TIME}")
    tickers = table["ticker"].combine_chunks()
    numbers: dict[str, NDArray[Any]] = {
        name: table[name].to_numpy()
        for name in table.column_names
        if name not in ("ticker", TIME, *texts)
    }
    return FlatRows(
        tickers.dictionary.to_pylist(),
        tickers.indices.to_numpy().astype(np.int64),
        table[TIME].to_numpy(),
        numbers,
        {name: table[name].to_pylist() for name in texts},
    )


def _bad(path: Path, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{path.name} {what}")
