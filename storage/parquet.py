"""Slot records as Parquet files, and back: pyarrow's one home.

``FOLDER/rows``, ``profiles`` and ``chains`` each hold a row a slot, partitioned hive-style by
``date=`` (the session, which is the expiry) and ``symbol=``. Profiles and chains have a list per
column, aligned with the list ``strike``; of a chain, ``call_bid`` and ``put_bid`` and so on. What a
list of values says is in ``storage.row``; what a chain keeps beside its quotes is the state that
the next slot goes on from.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage import columns as packing
from storage.errors import FlowError
from storage.row import COLUMNS, PROFILE, SURFACE, Row, SlotRecord

TABLES = ("rows", "profiles", "chains")
#: Raised when files of an earlier release can no longer be read.
FORMAT = "1"
#: Slots a row group: read and written at a time.
GROUP = 65
_SIDES = ("call", "put")
_ARRAYS = ("strike", *PROFILE)
_MARK = b"zerodte-flow"
_UTC = pa.timestamp("us", tz="UTC")
_TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "datetime": _UTC,
    # Objects of changing keys: as JSON, which every reader can look into.
    "dict": pa.string(),
    "tuple": pa.list_(pa.string()),
}
_JSON = ("dropped", "quotes_unused", "settled", "detail")


def _row_fields() -> list[pa.Field]:
    fields = []
    for field in dataclasses.fields(Row):
        if field.name in ("symbol", "expiration"):
            continue  # The folders' names say them.
        kind = str(field.type)
        base = kind.partition("|")[0].partition("[")[0].strip()
        fields.append(pa.field(field.name, _TYPES[base], nullable="None" in kind))
    return fields


_ROWS = pa.schema(_row_fields())
_LISTS = pa.list_(pa.float64())
_PROFILES = pa.schema(
    [pa.field("slot", _UTC, nullable=False)]
    + [pa.field(name, _LISTS, nullable=False) for name in _ARRAYS]
)
_CHAIN_HEAD = [
    pa.field("slot", _UTC, nullable=False),
    pa.field("quoted_at", _UTC, nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("spot", pa.float64()),
    *(pa.field(name, pa.float64()) for name in SURFACE),
    # Everything beside the columns, as it is kept.
    pa.field("notes", pa.string(), nullable=False),
]


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One session of one symbol in a folder of exports."""

    folder: Path
    day: date
    symbol: str

    def path(self, table: str) -> Path:
        """The folder of one of its tables."""
        return self.folder / table / f"date={self.day}" / f"symbol={quote(self.symbol, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptChain:
    """A chain as it was kept: ``columns`` and ``notes`` are the evidence's."""

    columns: dict[str, NDArray[Any]]
    notes: dict[str, Any]
    #: What the source's other expiries added; see ``storage.row.SURFACE``.
    surface: dict[str, float | None]


def parts(folder: Path, table: str = "chains") -> list[Part]:
    """The sessions that a folder of exports has, by day and symbol.

    Raises
    ------
    FlowError
        If there is no such folder, or nothing in it was exported by us.
    """
    if not (folder / table).is_dir():
        raise FlowError(f"{folder}: no folder {table!r} in it, as flow-store export makes")
    found = []
    for path in (folder / table).glob("date=*/symbol=*"):
        try:
            day = date.fromisoformat(path.parent.name.removeprefix("date="))
        except ValueError:
            raise FlowError(f"{path.parent}: its name is no date") from None
        found.append(Part(folder, day, unquote(path.name.removeprefix("symbol="))))
    return sorted(found)


class Writer:
    """Writes one session of a symbol; complete when it is closed, nothing before.

    Use as a context manager. A session that was exported before is replaced as a whole.
    """

    def __init__(self, part: Part, dataset: str) -> None:
        self.part = part
        self._mark = {_MARK: orjson.dumps({"format": FORMAT, "dataset": dataset})}
        self._open: dict[str, tuple[pa.Schema, pq.ParquetWriter]] = {}
        self._files: Counter[str] = Counter()
        #: Bytes written, by table; known once it is closed.
        self.sizes: dict[str, int] = {}

    def __enter__(self) -> Self:
        for table in TABLES:
            shutil.rmtree(self._fresh(table), ignore_errors=True)
        return self

    def write(self, records: Sequence[SlotRecord]) -> None:
        """Add slot records, later than those before.

        Raises
        ------
        FlowError
            If a record's evidence cannot be read, or the disk takes no more.
        """
        for at in range(0, len(records), GROUP):
            some = records[at : at + GROUP]
            for table, made in (("rows", _rows), ("profiles", _profiles), ("chains", _chains)):
                self._write(table, made(some))

    def __exit__(self, failed: object, *_: object) -> None:
        for _, writer in self._open.values():
            writer.close()
        for table in TABLES:
            fresh, final = self._fresh(table), self.part.path(table)
            if failed is not None or table not in self._open:
                shutil.rmtree(fresh, ignore_errors=True)
                continue
            self.sizes[table] = sum(file.stat().st_size for file in fresh.iterdir())
            shutil.rmtree(final, ignore_errors=True)
            fresh.rename(final)

    def _write(self, table: str, content: pa.Table) -> None:
        try:
            schema, writer = self._open.get(table, (None, None))
            if schema is None or not schema.equals(content.schema):
                # A release that kept other columns: the rest of the day is a file of its own.
                if writer is not None:
                    writer.close()
                writer = self._start(table, content.schema)
                self._open[table] = content.schema, writer
            writer.write_table(content, row_group_size=GROUP)
        except OSError as error:
            where = self.part.path(table)
            raise FlowError(f"cannot write {where}: {error.strerror or error}") from error

    def _start(self, table: str, schema: pa.Schema) -> pq.ParquetWriter:
        folder = self._fresh(table)
        folder.mkdir(parents=True, exist_ok=True)
        self._files[table] += 1
        return pq.ParquetWriter(
            folder / f"slots-{self._files[table]}.parquet",
            schema.with_metadata(self._mark),
            compression="zstd",
            compression_level=3,
            # With it, a flipped bit is an error and not another price.
            write_page_checksum=True,
            # Neighbouring numbers share their leading bytes: a third smaller than dictionaries.
            use_dictionary=[f.name for f in schema if f.type == pa.string()],
            use_byte_stream_split=_split(schema),
        )

    def _fresh(self, table: str) -> Path:
        final = self.part.path(table)
        # Readers of a folder pass over names that begin with a dot.
        return final.with_name(f".{final.name}.{os.getpid()}")


def read(part: Part) -> Iterator[list[SlotRecord]]:
    """The records of an exported session, some at a time, in order; the same bytes as exported.

    Raises
    ------
    FlowError
        For files that are foreign, damaged, or do not belong together.
    """
    tables = [_read(part, table) for table in TABLES]
    while True:
        rows, profiles, chains = (next(table, None) for table in tables)
        if rows is None and profiles is None and chains is None:
            return
        if (
            rows is None
            or profiles is None
            or chains is None
            or not (rows["slot"].equals(profiles["slot"]) and rows["slot"].equals(chains["slot"]))
        ):
            raise FlowError(
                f"{part.path('rows')}: its slots are not those of profiles and chains;"
                " export that session again"
            )
        yield _records(part, rows, profiles, chains)


def chains(part: Part) -> Iterator[KeptChain]:
    """The chains of an exported session, in order.

    Raises
    ------
    FlowError
        For files that are foreign or damaged.
    """
    for batch in _read(part, "chains"):
        kept = _columns(batch)
        notes = batch["notes"].to_pylist()
        surfaces = batch.select([n for n in SURFACE if n in batch.schema.names]).to_pylist()
        for i, (note, surface) in enumerate(zip(notes, surfaces, strict=True)):
            yield KeptChain(
                columns=_at(kept, i),
                notes=orjson.loads(note),
                surface=dict.fromkeys(SURFACE) | surface,
            )


def quoted(part: Part) -> list[datetime]:
    """When the chains of an exported session were quoted, in order."""
    found = [b["quoted_at"].to_pylist() for b in _read(part, "chains", ["quoted_at"])]
    return [moment for some in found for moment in some]


def describe(part: Part) -> tuple[str, str]:
    """The dataset and the feed of an exported session."""
    marks = [mark for file in _files(part, "chains") for mark in [_marked(file)]]
    first = next(_read(part, "chains", ["source"]), None)
    source = "" if first is None or not first.num_rows else first["source"][0].as_py()
    return (marks[0]["dataset"] if marks else ""), source


def _rows(records: Sequence[SlotRecord]) -> pa.Table:
    plain: dict[str, list[Any]] = {
        name: [getattr(record.row, name) for record in records] for name in _ROWS.names
    }
    for name in _JSON:
        plain[name] = [orjson.dumps(value).decode() for value in plain[name]]
    return pa.table(plain, schema=_ROWS)


def _profiles(records: Sequence[SlotRecord]) -> pa.Table:
    slots = pa.array([record.row.slot for record in records], _UTC)
    lists = [_lists([record.profile[name] for record in records]) for name in _ARRAYS]
    return pa.Table.from_arrays([slots, *lists], schema=_PROFILES)


def _chains(records: Sequence[SlotRecord]) -> pa.Table:
    states = []
    for record in records:
        try:
            states.append(record.state)
        except ValueError as error:
            row = record.row.as_json()
            raise FlowError(f"{row['symbol']} {row['slot']}: {error}") from error
    rows = [record.row for record in records]
    head = {
        "slot": [row.slot for row in rows],
        "quoted_at": [row.quoted_at for row in rows],
        "source": [row.source for row in rows],
        "spot": [row.source_spot for row in rows],
        **{name: [row.detail.get(name) for row in rows] for name in SURFACE},
        "notes": [orjson.dumps(notes).decode() for _, notes in states],
    }
    table = pa.table(head, schema=pa.schema(_CHAIN_HEAD))
    names = list(dict.fromkeys(name for kept, _ in states for name in kept))
    for name in names:
        found = [kept.get(name) for kept, _ in states]
        sides = {one.ndim for one in found if one is not None} != {1}
        for side, label in enumerate(_SIDES if sides else ("",)):
            values = [None if one is None else one[side] if sides else one for one in found]
            table = table.append_column(f"{label}_{name}" if sides else name, _lists(values))
    return table


def _lists(arrays: Sequence[NDArray[Any] | None]) -> pa.ListArray:
    """A list a slot, of numbers or truths as they are."""
    known = [np.empty(0, arrays[0].dtype if arrays[0] is not None else np.float64)]
    known += [a for a in arrays if a is not None]
    offsets = np.cumsum([0, *(0 if a is None else len(a) for a in arrays)]).astype(np.int32)
    absent = pa.array([a is None for a in arrays])
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(np.concatenate(known)),
        mask=absent if any(a is None for a in arrays) else None,
    )


def _split(schema: pa.Schema) -> list[str]:
    """The paths of what is a float, or a list of them."""
    return [f.name for f in schema if f.type == pa.float64()] + [
        f"{f.name}.list.element" for f in schema if f.type == _LISTS
    ]


def _files(part: Part, table: str) -> list[Path]:
    return sorted(part.path(table).glob("*.parquet"))


def _marked(file: Path) -> dict[str, Any]:
    """What an export says of itself; FlowError if it is none of ours."""
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise FlowError(f"{file}: not a whole Parquet file: {error}") from error
    try:
        mark: dict[str, Any] = orjson.loads(metadata[_MARK])
    except (KeyError, orjson.JSONDecodeError):
        raise FlowError(f"{file}: not an export of flow-store") from None
    if mark.get("format") != FORMAT:
        raise FlowError(
            f"{file}: exported in format {mark.get('format')}, this release reads {FORMAT}"
        )
    return mark


def _read(part: Part, table: str, only: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Row groups of a table, each as one batch."""
    files = _files(part, table)
    if not files:
        raise FlowError(f"{part.path(table)}: no Parquet file in it")
    for file in files:
        _marked(file)
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as opened:
                for group in range(opened.num_row_groups):
                    found = opened.read_row_group(group, columns=only, use_threads=False)
                    yield from found.combine_chunks().to_batches()
        except (OSError, pa.ArrowException) as error:
            raise FlowError(f"{file}: damaged: {error}") from error


def _records(
    part: Part, rows: pa.RecordBatch, profiles: pa.RecordBatch, kept: pa.RecordBatch
) -> list[SlotRecord]:
    try:
        plain = [_row(part, values) for values in rows.to_pylist()]
        arrays = {name: _known(_floats(profiles[name])) for name in _ARRAYS}
        columns, notes = _columns(kept), [orjson.loads(n) for n in kept["notes"].to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise FlowError(f"{part.path('rows')}: not what was exported: {error}") from error
    return [
        SlotRecord(
            row=row,
            profile={name: lists[i] for name, lists in arrays.items()},
            evidence=packing.pack(_at(columns, i), **notes[i]),
        )
        for i, row in enumerate(plain)
    ]


def _row(part: Part, values: dict[str, Any]) -> Row:
    values = {name: value for name, value in values.items() if name in COLUMNS}
    for name in _JSON:
        values[name] = orjson.loads(values[name])
    values["flags"] = tuple(values["flags"])
    return Row(symbol=part.symbol, expiration=part.day, **values)


Lists = list[NDArray[Any] | None]


def _columns(batch: pa.RecordBatch) -> dict[str, Lists]:
    """A chain's lists by name, those of calls and puts still apart."""
    lists = [f.name for f in batch.schema if pa.types.is_list(f.type)]
    return {name: _floats(batch[name]) for name in lists}


def _floats(column: pa.ListArray) -> Lists:
    offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return [
        None if none else values[start:end]
        for none, start, end in zip(absent, offsets[:-1], offsets[1:], strict=True)
    ]


def _known(lists: Lists) -> list[NDArray[Any]]:
    if any(one is None for one in lists):
        raise ValueError("a list is missing")
    return [one for one in lists if one is not None]


def _at(columns: dict[str, Lists], i: int) -> dict[str, NDArray[Any]]:
    """One slot's columns, calls over puts, in the order in which they were kept."""
    found: dict[str, NDArray[Any]] = {}
    for name, lists in columns.items():
        own = lists[i]
        if own is None or name.startswith("put_"):
            continue
        if name.startswith("call_"):
            bare = name.removeprefix("call_")
            other = columns[f"put_{bare}"][i]
            assert other is not None
            # Of the general functions none is as fast for so few numbers.
            both = found[bare] = np.empty((2, len(own)), own.dtype)
            both[0], both[1] = own, other
        else:
            found[name] = own
    return found
