"""The same window as a table: CSV, NDJSON, Parquet and Arrow, flat and with typed columns."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from api.series import window as series
from api.series.bars import FIGURES
from api.series.params import QueryError
from api.series.window import Selection
from storage.record.row import Row

#: What is sent for each name.
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
#: What an Accept header may call them.
_ACCEPTED = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
}
COLUMNS = ("symbol", "t", *FIGURES, "sampled_at")
_MOMENTS = frozenset({"t", "sampled_at"})
#: A figure's type is that of the row's field.
_KINDS = {field.name: str(field.type).partition(" | ")[0] for field in dataclasses.fields(Row)}


def read_format(named: str | None, accept: str) -> str:
    """Return the format that a caller asks for, by name or else by an Accept header.

    Parameters
    ----------
    named : the parameter ``format``; None without one.
    accept : the header ``Accept``; empty without one.

    Returns
    -------
    str
        A key of ``MEDIA_TYPES``.

    Raises
    ------
    QueryError
        ``invalid_format`` for a name that is none.
    """
    if named is None:
        return _by_accept(accept) if accept and len(accept) < 500 else "json"
    if named not in MEDIA_TYPES:
        raise QueryError("invalid_format", f"format must be {'|'.join(MEDIA_TYPES)}")
    return named


def prefers_table(accept: str) -> bool:
    """Say whether an Accept header asks for anything but JSON.

    Parameters
    ----------
    accept : the header; empty without one.

    Returns
    -------
    bool
        True if it prefers another format.
    """
    return read_format(None, accept) != "json"


@lru_cache(maxsize=256)
def _by_accept(accept: str) -> str:
    weights: dict[str, float] = {}
    anything = 0.0
    for choice in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in choice.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name in _ACCEPTED:
            weights.setdefault(_ACCEPTED[name], weight)
        elif name in {"*/*", "application/*"}:
            anything = max(anything, weight)
    # What is named counts before what any type would do for.
    best = max(weights, key=lambda name: weights[name], default="json")
    return best if weights.get(best, 0.0) >= anything and weights.get(best) else "json"


def write_table(name: str, selections: Sequence[Selection], *, timeless: bool = False) -> bytes:
    """Write some symbols' bars in one of the formats but JSON; may take some milliseconds.

    Parameters
    ----------
    name : ``csv``, ``ndjson``, ``parquet`` or ``arrow``.
    selections : each symbol's bars, in the order of the file.
    timeless : leave out of the notes when and by which server the file was written, so that its
        bytes are the same each time.

    Returns
    -------
    bytes
        The file.
    """
    if name == "ndjson":
        return b"".join(
            b'{"symbol":"%s",%s\n' % (selection.query.symbol.encode(), body[1:])
            for selection in selections
            for body in series.bar_bodies(selection)
        )
    rows = [row for selection in selections for row in _rows(selection)]
    return (
        _csv(rows)
        if name == "csv"
        else _columnar(name, rows, _notes(selections, timeless=timeless))
    )


def _rows(selection: Selection) -> list[dict[str, Any]]:
    bars = orjson.loads(b"[" + b",".join(series.bar_bodies(selection)) + b"]")
    named = {"symbol": selection.query.symbol}
    return [named | bar | {"flags": " ".join(bar["flags"])} for bar in bars]


def _csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    # As in JSON: a spreadsheet reads true and false.
    texts = {True: "true", False: "false"}
    writer.writerows(
        {name: texts[value] if isinstance(value, bool) else value for name, value in row.items()}
        for row in rows
    )
    return file.getvalue().encode()


def _notes(selections: Sequence[Selection], *, timeless: bool) -> bytes:
    """What the JSON says beside its bars, for each symbol."""
    notes = [
        orjson.loads(series.answer_head(selection) + series.answer_rest(selection, empty=True))
        for selection in selections
    ]
    if timeless:
        for note in notes:
            del note["as_of"], note["data_as_of"]["node"]
    return orjson.dumps(notes)


def _columnar(name: str, rows: list[dict[str, Any]], notes: bytes) -> bytes:
    # Half a second to import: paid by the first who asks for it.
    import pyarrow as pa
    from pyarrow import parquet

    def kind(column: str) -> Any:
        if column in _MOMENTS:
            return pa.timestamp("us", "UTC")
        # Flags are joined to one text.
        types = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
        return types.get(_KINDS[column], pa.string())

    schema = pa.schema([(c, kind(c)) for c in COLUMNS], {"zerodte_flow": notes})
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if field.name in _MOMENTS:
            values = [datetime.fromisoformat(value) for value in values]
        columns.append(pa.array(values, field.type))
    table = pa.table(columns, schema=schema)
    sink = pa.BufferOutputStream()
    if name == "parquet":
        parquet.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written
