"""Write the record of forecasts as Parquet: what was frozen, closes, and how each came out.

``FOLDER/forecasts``, ``settlements`` and ``scores`` have a file a session, partitioned hive-style
by ``date=`` and ``symbol=``. ``content`` is the exact text that ``sha256`` is of, so a reader can
compute it again; ``storage.research`` does. The record does not come back by an import: the
database's own clock says when a forecast was stored, and an import would stamp it anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import FlowError
from storage.parquet.read import EXPORT_MARK, FORMAT, UTC_TIMESTAMP

FORECASTS, SETTLEMENTS, SCORES = "forecasts", "settlements", "scores"
#: Each table's columns, and the database's name of a column that is called otherwise there.
RECORD_SCHEMAS = {
    FORECASTS: pa.schema(
        [
            ("feed", pa.string()),
            ("freeze_time", UTC_TIMESTAMP),
            ("slot", UTC_TIMESTAMP),
            ("definitions", pa.string()),
            ("content", pa.string()),
            ("sha256", pa.string()),
            ("missed", pa.string()),
            ("frozen_at", UTC_TIMESTAMP),
            ("written_at", UTC_TIMESTAMP),
            ("stored_at", UTC_TIMESTAMP),
        ]
    ),
    SETTLEMENTS: pa.schema(
        [
            ("sequence", pa.int64()),
            ("price", pa.float64()),
            ("origin", pa.string()),
            ("detail", pa.string()),
            ("quoted_at", UTC_TIMESTAMP),
            ("stored_at", UTC_TIMESTAMP),
        ]
    ),
    SCORES: pa.schema(
        [
            ("feed", pa.string()),
            ("kind", pa.string()),
            ("freeze_time", UTC_TIMESTAMP),
            ("definitions", pa.string()),
            ("content", pa.string()),
            ("sha256", pa.string()),
            ("settlement", pa.int64()),
            ("outcome", pa.string()),
            ("method", pa.int32()),
            ("scored_at", UTC_TIMESTAMP),
        ]
    ),
}
_STORED_NAMES = {"feed": "source", "sha256": "digest"}


def write_record_lines(
    folder: Path,
    table: str,
    day: date,
    symbol: str,
    lines: Sequence[Mapping[str, Any]],
    dataset: str,
) -> int:
    """Write a session's lines of one table; a file of an earlier export is replaced as a whole.

    Parameters
    ----------
    folder : where exports go.
    table : a key of ``RECORD_SCHEMAS``.
    day, symbol : the session.
    lines : columns of each line, as the database names them; one at least.
    dataset : ``live`` or ``synthetic``; the file carries its name.

    Returns
    -------
    int
        The file's size. [bytes]

    Raises
    ------
    FlowError
        If the file cannot be written.
    """
    schema = RECORD_SCHEMAS[table]
    columns = {
        name: [_as_text(line[_STORED_NAMES.get(name, name)]) for line in lines]
        for name in schema.names
    }
    mark = {EXPORT_MARK: orjson.dumps({"format": FORMAT, "dataset": dataset})}
    where = folder / table / f"date={day}" / f"symbol={quote(symbol, safe='')}"
    draft = where / f".lines.{os.getpid()}"
    try:
        where.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.table(columns, schema=schema.with_metadata(mark)),
            draft,
            compression="zstd",
            write_page_checksum=True,
        )
        draft.replace(where / "lines.parquet")
    except OSError as error:
        raise FlowError(f"cannot write {where}: {error.strerror or error}") from error
    return (where / "lines.parquet").stat().st_size


def _as_text(value: Any) -> Any:
    """Objects are kept as JSON text, which every reader of Parquet can query."""
    return orjson.dumps(value).decode() if isinstance(value, dict) else value
