"""Theta's answers, from CSV to columns: numbers, New York times, and a key for each contract. Pure.

Times are New York wall clock without an offset, their fractions with the trailing zeros cut. A cell
that is no number is NaN. Columns are found by their names; those that nobody asks for may change.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from sampler.chain import HIGHEST_PRICE, LOWEST_STRIKE, Floats
from sampler.errors import ChainRefused
from storage.market.calendar import from_new_york
from storage.record.row import Drop, Reason

Keys = NDArray[np.int64]

NAME = "theta"
#: The columns that tell a contract.
CONTRACT = ("symbol", "expiration", "strike", "right")
#: Columns that are times; every other one that is not of ``CONTRACT`` is a number.
TIMES = ("timestamp", "trade_timestamp", "quote_timestamp")
TEXTS = ("symbol", "expiration", "right")
_HOUR = 3600
#: Unix seconds of 1990 and of 2100: all times lie between.
_EARLIEST, _LATEST = 631_152_000, 4_102_444_800
_RIGHTS = {"CALL": 1, "PUT": -1, "C": 1, "P": -1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The rows of one answer that are of the contracts that were asked for."""

    #: Of each row: its contract, see ``contract_keys``. Zeros where rows have no contract.
    key: Keys
    columns: dict[str, Floats]
    #: How many rows were left out, by reason.
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    def take(self, order: NDArray[np.intp]) -> Answer:
        """The rows in another order.

        Parameters
        ----------
        order : positions of rows. (n,)

        Returns
        -------
        Answer
            These rows.
        """
        columns = {name: column[order] for name, column in self.columns.items()}
        return Answer(key=self.key[order], columns=columns, dropped=self.dropped)


def read_answer(
    body: bytes,
    names: Sequence[str],
    *,
    path: str,
    symbol: str,
    root: str | None = None,
    expiration: date | None = None,
) -> Answer:
    """Read an answer.

    Parameters
    ----------
    body : the answer, unpacked.
    names : the columns to read.
    path : what was asked for, such as ``option/snapshot/quote``; sentences name it.
    symbol : the underlying; sentences begin with it.
    root : the option root that was asked for; None: rows have no contract.
    expiration : the expiry that was asked for. Rows of another one are left out.

    Returns
    -------
    Answer
        Times as unix seconds, NaN for what is none.

    Raises
    ------
    ChainRefused
        ``bad_answer``: no such CSV, a column that is missing, or rows of another symbol only.
    """

    def bad(what: str) -> ChainRefused:
        return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: {NAME} answered {path} {what}")

    if not body.strip():
        raise bad("with nothing")
    header = _header(body)
    wanted = [*(CONTRACT if root else ()), *names]
    if missing := [name for name in wanted if name not in header]:
        start = body[:40].decode(errors="replace")
        raise bad(f"without the column {missing[0]!r}; it starts {start!r}")
    try:
        table = _read(body, wanted)
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        raise bad(f"with what is no CSV: {_one_line(error)}") from None
    columns = {name: _numbers(name, table[name]) for name in names}
    if root is None:
        return Answer(key=np.zeros(table.num_rows, np.int64), columns=columns, dropped={})
    ours = _texts(table["symbol"], lambda text: text.strip().upper() == root, np.bool_)
    if table.num_rows and not ours.any():
        other = str(table["symbol"][0].as_py())[:20]
        raise bad(f"for {other!r} in place of {root}")
    if expiration is not None:
        day = np.datetime64(expiration)
        ours &= _texts(table["expiration"], _day, np.dtype("datetime64[D]")) == day
        if table.num_rows and not ours.any():
            other = str(table["expiration"][0].as_py())[:20]
            raise bad(f"for an expiry of {other!r} in place of {expiration}")
    key, dropped = contract_keys(
        _numbers("strike", table["strike"]), _texts(table["right"], _right, np.int8), ours
    )
    keep = key >= 0
    columns = {name: column[keep] for name, column in columns.items()}
    return Answer(key=key[keep], columns=columns, dropped=dropped)


def join_answers(answers: Sequence[Answer]) -> Answer | None:
    """Some answers of the same columns as one.

    Parameters
    ----------
    answers : in the order of their rows.

    Returns
    -------
    Answer or None
        All rows; None where there is no answer.
    """
    if not answers:
        return None
    dropped = Counter[str]()
    for answer in answers:
        dropped.update(answer.dropped)
    return Answer(
        key=np.concatenate([answer.key for answer in answers]),
        columns={
            name: np.concatenate([answer[name] for answer in answers])
            for name in answers[0].columns
        },
        dropped=dict(dropped),
    )


def read_days(body: bytes, *, path: str, symbol: str) -> list[date]:
    """The days of a list of expiries; what is no day is left out.

    Parameters
    ----------
    body : the answer, unpacked.
    path, symbol : what was asked for; sentences name it.

    Returns
    -------
    list of date
        As they stand.

    Raises
    ------
    ChainRefused
        ``bad_answer`` where it is no such list.
    """
    try:
        names = _header(body)
        if "expiration" not in names:
            raise ValueError(f"without the column 'expiration'; it starts {body[:40]!r}")
        cells = _read_as(body, {"expiration": pa.string()})["expiration"].to_pylist()
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        raise ChainRefused(
            Reason.BAD_ANSWER, f"{symbol}: {NAME} answered {path}: {_one_line(error)}"
        ) from None
    days = [_day(cell or "") for cell in cells]
    return [day for day in days if day is not None]


def contract_keys(
    strike: Floats, right: NDArray[np.int8], ours: NDArray[np.bool_]
) -> tuple[Keys, dict[str, int]]:
    """One number for each contract of an expiry: its strike in thousandths, twice; a put's is odd.

    Parameters
    ----------
    strike : of each row. (n,) [$]
    right : +1 call, -1 put, 0 unreadable. (n,)
    ours : rows that count. (n,)

    Returns
    -------
    tuple of ndarray and dict
        The keys, -1 for a row that does not count or cannot be read; how many could not, by why.
    """
    bad_strike = ours & ~((strike >= LOWEST_STRIKE) & (strike <= HIGHEST_PRICE))
    bad_right = ours & ~bad_strike & (right == 0)
    good = ours & ~bad_strike & ~bad_right
    thousandths = np.rint(np.where(good, strike, 0.0) * 1000.0).astype(np.int64)
    counts = {str(Drop.BAD_STRIKE): bad_strike, str(Drop.BAD_RIGHT): bad_right}
    dropped = {why: int(rows.sum()) for why, rows in counts.items() if rows.any()}
    return np.where(good, 2 * thousandths + (right < 0), -1), dropped


def contracts_of(key: Keys) -> tuple[Floats, NDArray[np.int8]]:
    """Which contracts keys stand for.

    Parameters
    ----------
    key : of ``contract_keys``, 0 or more. (n,)

    Returns
    -------
    tuple of ndarray
        Strikes [$] and rights, +1 call, -1 put, each of shape (n,).
    """
    return (key // 2) / 1000.0, np.where(key % 2, -1, 1).astype(np.int8)


def unix_of_wall(wall: Floats) -> Floats:
    """Unix times of New York wall times.

    Parameters
    ----------
    wall : seconds from 1970 to the wall time, as if New York lay in Greenwich; NaN for none. (n,)

    Returns
    -------
    Floats
        Unix times, NaN for what is outside 1990 to 2100. (n,) [s]
    """
    sane = (wall >= _EARLIEST) & (wall < _LATEST)
    hour = np.floor(np.where(sane, wall, 0.0) / _HOUR).astype(np.int64)
    hours, which = np.unique(hour, return_inverse=True)
    # An offset never changes within an hour, so each hour is looked up once.
    offsets = np.array([_offset(h) if h else 0.0 for h in hours.tolist()])
    return np.where(sane, wall - offsets[which], np.nan)


def _offset(hour: int) -> float:
    """Seconds from UTC to the New York wall clock at a wall hour since 1970."""
    wall = datetime.fromtimestamp(hour * _HOUR, UTC).replace(tzinfo=None)
    return hour * _HOUR - from_new_york(wall).timestamp()


def _header(body: bytes) -> list[str]:
    line = body.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0][:2000]
    return [name.strip().strip('"') for name in line.decode(errors="replace").split(",")]


def _read(body: bytes, names: list[str]) -> pa.Table:
    """The columns as Arrow reads them; as texts, where a cell is not what its column should be."""
    types = {name: pa.float64() for name in names}
    types |= {name: pa.timestamp("us") for name in names if name in TIMES}
    types |= {name: pa.dictionary(pa.int32(), pa.string()) for name in names if name in TEXTS}
    try:
        return _read_as(body, types)
    except pa.ArrowInvalid:
        return _read_as(body, {name: pa.string() for name in names})


def _read_as(body: bytes, types: dict[str, Any]) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(body),
        # The samplers of other symbols share this machine's cores.
        read_options=csv.ReadOptions(use_threads=False, block_size=4 << 20),
        convert_options=csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=True
        ),
    )


def _numbers(name: str, column: pa.ChunkedArray) -> Floats:
    """A column of numbers, or of times as unix seconds; NaN for what is none, and for infinity."""
    times = name in TIMES
    if pa.types.is_string(column.type):
        read = _wall if times else _number
        values = np.array([read(cell) for cell in column.to_pylist()], np.float64)
    elif times:
        whole = column.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
        values = whole / 1e6
    else:
        values = column.cast(pa.float64()).fill_null(math.nan).to_numpy()
    values = np.where(np.isfinite(values), values, np.nan)
    return unix_of_wall(values) if times else values


def _texts(column: pa.ChunkedArray, read: Any, dtype: Any) -> NDArray[Any]:
    """What a column of few different texts says, each text read once."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], column.type)
    meanings = [read(text or "") for text in encoded.dictionary.to_pylist()]
    # What is null has the last place.
    table = np.array([*meanings, read("")], dtype)
    place: NDArray[np.intp] = encoded.indices.fill_null(len(meanings)).to_numpy(
        zero_copy_only=False
    )
    return table[place]


def _right(text: str) -> int:
    return _RIGHTS.get(text.strip().upper(), 0)


def _day(text: str) -> date | None:
    """``2024-11-08`` or ``20241108``; None for anything else."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _wall(text: str | None) -> float:
    try:
        wall = datetime.fromisoformat((text or "").strip())
        if wall.tzinfo is not None:
            return math.nan
        return wall.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
