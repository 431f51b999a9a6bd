"""What DataShop's interval files look like: lines of CSV, and the frames that they make.

A file has one line a contract and interval: quotes at the interval's end in New York time, and what
was traded within it. It may be plain, ``.gz`` or ``.zip``; the order of its lines does not matter.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import finite
from storage.market.calendar import Session, from_new_york
from storage.record.row import Reason

#: An opened file, unpacked as it is read.
Bytes = IO[bytes] | gzip.GzipFile
#: The vendor's name, as rows and source URLs have it.
NAME = "datashop"
TEXTS = ("underlying_symbol", "quote_datetime", "root", "expiration", "option_type")
NUMBERS = ("strike", "close", "trade_volume", "bid", "ask")
#: Columns that not every order includes; without them the figure is unknown.
OPTIONAL = (
    *("underlying_bid", "underlying_ask", "active_underlying_price"),
    *("implied_volatility", "open_interest"),
)
RIGHTS = {"C": 1, "P": -1}
#: A file is refused if a line is longer [bytes], or if a day has more lines of one symbol's
#: expiring contracts.
LINE_LIMIT, ROW_LIMIT = 64 << 10, 4_000_000
_CHUNK = 8 << 20
_UNREADABLE = (
    *(OSError, EOFError, csv.Error, zlib.error, zipfile.BadZipFile),
    # What zipfile raises for a damaged directory, an encrypted member, or packing it does not know.
    *(ValueError, LookupError, ArithmeticError, RuntimeError, struct.error, lzma.LZMAError),
)


def read_datashop_rows(path: Path, symbol: str, day: date) -> list[list[str]]:
    """Read the lines of one symbol's contracts that are quoted and expire on a day.

    Parameters
    ----------
    path : a CSV file, plain or packed.
    symbol : the underlying, as we name it (``SPX``; in the file ``^SPX``).
    day : the day, New York.

    Returns
    -------
    list of list of str
        A line's values in the order of ``TEXTS``, ``NUMBERS`` and ``OPTIONAL``; empty texts for
        columns that the file does not have.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that cannot be unpacked, or is none of interval quotes.
    """
    rows: list[list[str]] = []
    try:
        with ExitStack() as opened:
            for file in _texts_of(path, opened):
                for row in _rows_of(file, path, str(day)):
                    if row[0].strip().lstrip("^").upper() == symbol:
                        rows.append(row)
                if len(rows) > ROW_LIMIT:
                    raise _bad(path, f"over {ROW_LIMIT:,} lines of {symbol} on {day}")
    except _UNREADABLE as error:
        raise _bad(path, f"cannot be read: {error or type(error).__name__}") from None
    return rows


def datashop_frames(
    rows: list[list[str]], symbol: str, session: Session
) -> Iterator[Frame | ChainRefused]:
    """Make the frames of a session from its lines, in order.

    Volume adds up the intervals from the day's first line on; a last price stays until the next
    trade, and its time within the interval is unknown. A line that stands twice counts once.

    Parameters
    ----------
    rows : lines as ``read_datashop_rows`` reads them, in any order.
    symbol : the underlying.
    session : the session; quotes outside its hours make no frame, and their trades count.

    Yields
    ------
    Frame or ChainRefused
        A chain for each interval, or ``bad_answer`` for lines whose time cannot be read.
    """
    if not rows:
        return
    table = list(zip(*rows, strict=True))
    texts = dict(zip(TEXTS, table, strict=False))
    values = {
        name: _floats(column)
        for name, column in zip((*NUMBERS, *OPTIONAL), table[len(TEXTS) :], strict=True)
    }
    names, name_index = np.unique(np.array(texts["quote_datetime"]), return_inverse=True)
    moments = [_moment(str(name)) for name in names]
    if None in moments:
        odd = next(str(n) for n, moment in zip(names, moments, strict=True) if moment is None)
        yield ChainRefused(
            Reason.BAD_ANSWER,
            f"{symbol}: datashop has a quote_datetime that is no time: {odd[:40]!r}",
        )
    known = np.array([m is not None for m in moments])[name_index]
    times = sorted({m for m in moments if m is not None})
    if not times:
        return
    places = np.array([times.index(m) if m else 0 for m in moments])
    right = np.array([RIGHTS.get(text.strip().upper()[:1], 0) for text in texts["option_type"]])
    roots = np.array([text.strip() for text in texts["root"]])
    keys = np.array(
        [f"{r}|{s}|{k!r}" for r, s, k in zip(roots, right, values["strike"].tolist(), strict=True)]
    )
    _, first, contract = np.unique(keys, return_index=True, return_inverse=True)
    cell = places[name_index] * len(first) + contract
    _, once = np.unique(np.where(known, cell, -1), return_index=True)
    once = once[known[once]]

    def by_time(column: Floats) -> Floats:
        out = np.full(len(times) * len(first), np.nan)
        out[cell[once]] = column[once]
        return out.reshape(len(times), len(first))

    listed = ~np.isnan(by_time(np.zeros(len(rows))))
    traded = by_time(np.where(values["trade_volume"] >= 0, values["trade_volume"], np.nan))
    volume = np.cumsum(np.where(listed, traded, 0.0), axis=0)
    last = _filled_forward(by_time(values["close"]))
    bid, ask = by_time(values["bid"]), by_time(values["ask"])
    nothing = ~((bid > 0) | (ask > 0))
    bid[nothing] = ask[nothing] = np.nan
    open_interest, iv = by_time(values["open_interest"]), by_time(values["implied_volatility"])
    spots = by_time(_spots(values))
    for i, moment in enumerate(times):
        if not session.open <= moment < session.close:
            continue
        which = np.flatnonzero(listed[i])
        minute_spots = spots[i][which]
        minute_spots = minute_spots[~np.isnan(minute_spots)]
        yield Frame.of(
            symbol=symbol,
            source=NAME,
            delay_seconds=0,
            quoted_at=moment,
            fetched_at=moment,
            spot=float(minute_spots[0]) if len(minute_spots) else math.nan,
            columns={
                "expiry": np.full(len(which), session.day, "datetime64[D]"),
                "root": roots[first][which],
                "strike": values["strike"][first][which],
                "right": right[first][which],
                "bid": bid[i][which],
                "ask": ask[i][which],
                "last": last[i][which],
                "open_interest": open_interest[i][which],
                "volume": volume[i][which],
                "source_iv": np.where(iv[i] > 0, iv[i], np.nan)[which],
            },
        )


def _texts_of(path: Path, opened: ExitStack) -> Iterator[Bytes]:
    """The CSV texts of a file, unpacked."""
    if path.suffix.lower() == ".zip":
        archive = opened.enter_context(zipfile.ZipFile(path))
        for name in sorted(archive.namelist()):
            if name.lower().endswith(".csv"):
                yield opened.enter_context(archive.open(name))
    elif path.suffix.lower() == ".gz":
        yield opened.enter_context(gzip.GzipFile(path))
    else:
        yield opened.enter_context(path.open("rb"))


def _rows_of(file: Bytes, path: Path, day: str) -> Iterator[list[str]]:
    """A text's lines that are quoted and expire on a day, as the columns that we read."""
    lines = _lines(file, path)
    header = next(lines, b"").decode("utf-8-sig", "replace")
    names = [name.strip().lower() for name in next(csv.reader([header]), [])]
    for name in (*TEXTS, *NUMBERS):
        if name not in names:
            raise _bad(path, f"has no column {name}: no file of interval quotes")
    width = len(names)
    picked = [names.index(n) if n in names else width for n in (*TEXTS, *NUMBERS, *OPTIONAL)]
    mark = day.encode()
    # The day stands in the quote's time and in the expiration: most lines are left at that.
    todays = (line.decode("utf-8", "replace") for line in lines if line.count(mark) > 1)
    for row in csv.reader(todays):
        if len(row) != width:
            raise _bad(path, f"has a line of {len(row)} values under {width} columns")
        row.append("")
        values = [row[i] for i in picked]
        if values[1].startswith(day) and values[3].strip() == day:
            yield values


def _lines(file: Bytes, path: Path) -> Iterator[bytes]:
    """Lines, read in large pieces: a day has millions of them."""
    rest = b""
    while piece := file.read(_CHUNK):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LINE_LIMIT:
            raise _bad(path, f"has a line of over {LINE_LIMIT:,} bytes")
    if rest:
        yield rest


def _spots(values: dict[str, Floats]) -> Floats:
    """The underlying's price by line: the middle of its quote, or its last price; NaN without."""
    bid, ask = values["underlying_bid"], values["underlying_ask"]
    middle = np.where((bid > 0) & (ask >= bid), (bid + ask) / 2, np.nan)
    active = values["active_underlying_price"]
    return np.where(np.isnan(middle) & (active > 0), active, middle)


def _filled_forward(prices: Floats) -> Floats:
    """Each contract's newest price so far; NaN before its first. Rows are times."""
    last_priced = np.where(prices > 0, np.arange(len(prices))[:, None], -1)
    newest = np.maximum.accumulate(last_priced, axis=0)
    filled = np.take_along_axis(prices, np.maximum(newest, 0), axis=0)
    return np.where(newest >= 0, filled, np.nan)


def _floats(texts: tuple[str, ...]) -> Floats:
    """Numbers of a column; NaN for what is none."""
    try:
        numbers: NDArray[Any] = np.array(texts, np.float64)
    except ValueError:
        numbers = np.array([finite(text) for text in texts])
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _moment(text: str) -> datetime | None:
    try:
        wall = datetime.fromisoformat(text.strip() if len(text.strip()) > 15 else "")
    except ValueError:
        return None
    return from_new_york(wall) if wall.tzinfo is None else None


def _bad(path: Path, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{path.name} {what}")
