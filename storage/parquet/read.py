"""Exported Parquet files: their layout, and reading them; ``storage.parquet.write`` writes them.

``FOLDER/rows``, ``profiles`` and ``chains`` each hold a row a slot, partitioned hive-style by
``date=`` (the session, which is the expiry), ``symbol=`` and ``feed=``; earlier releases wrote no
folder of the feed. ``gaps`` holds slots without a row.
Profiles and chains have a list per column, aligned with the list ``strike``; a chain has a list for
calls and one for puts, such as ``call_bid`` and ``put_bid``. ``storage.record.row`` says what each
list means. Beside its quotes a chain has the state that the next slot is measured against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.errors import FlowError
from storage.record import packing
from storage.record.figures import OTHER_EXPIRIES, DetailFigures, SettledFigures
from storage.record.row import (
    COLUMNS,
    JSON_COLUMNS,
    PROFILE_ARRAYS,
    Gap,
    Reason,
    Row,
    SlotRecord,
)

TABLES = ("rows", "profiles", "chains")
#: The table of slots without a row. A session whose slots all have rows has no such files.
GAPS = "gaps"
#: Raised when files of an earlier release can no longer be read.
FORMAT = "1"
#: Slots that are read and written at a time: one row group.
SLOTS_A_GROUP = 65
#: What a row group may take in memory; ours take some 20 MB. A file of a few kB can name as many
#: values as it likes. [bytes]
GROUP_LIMIT = 1 << 30
SIDES = ("call", "put")
EXPORT_MARK = b"zerodte-flow"
UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")
_TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "datetime": UTC_TIMESTAMP,
    # Objects are kept as JSON text, which every reader of Parquet can query.
    "dict": pa.string(),
    "SettledFigures": pa.string(),
    "DetailFigures": pa.string(),
    "tuple": pa.list_(pa.string()),
}


def _row_fields() -> list[pa.Field]:
    fields = []
    for field in dataclasses.fields(Row):
        if field.name in ("symbol", "expiration"):
            continue  # The names of the folders say these two.
        kind = str(field.type)
        base = kind.partition("|")[0].partition("[")[0].strip()
        fields.append(pa.field(field.name, _TYPES[base], nullable="None" in kind))
    return fields


ROW_SCHEMA = pa.schema(_row_fields())
#: Figures that a row may lack, as None.
NO_FIGURES: dict[str, Any] = {field.name: None for field in ROW_SCHEMA if field.nullable}
FLOAT_LIST = pa.list_(pa.float64())
PROFILE_SCHEMA = pa.schema(
    [pa.field("slot", UTC_TIMESTAMP, nullable=False)]
    + [pa.field(name, FLOAT_LIST, nullable=False) for name in PROFILE_ARRAYS]
)
GAP_SCHEMA = pa.schema(
    [
        pa.field("slot", UTC_TIMESTAMP, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("next_expiry", pa.date32()),
    ]
)
CHAIN_FIELDS = [
    pa.field("slot", UTC_TIMESTAMP, nullable=False),
    pa.field("quoted_at", UTC_TIMESTAMP, nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("spot", pa.float64()),
    *(pa.field(name, pa.float64()) for name in OTHER_EXPIRIES),
    # The state's values that are not columns, as JSON.
    pa.field("notes", pa.string(), nullable=False),
]


@dataclass(frozen=True, slots=True, order=True)
class ParquetPartition:
    """One session of one symbol and feed in a folder of exports."""

    folder: Path
    day: date
    symbol: str
    #: Empty where an earlier release wrote the files: their rows name it.
    feed: str = ""

    def path(self, table: str) -> Path:
        """Return the folder of one of the partition's tables.

        Parameters
        ----------
        table : ``rows``, ``profiles``, ``chains`` or ``gaps``.

        Returns
        -------
        Path
            The folder.
        """
        path = self.folder / table / f"date={self.day}" / f"symbol={quote(self.symbol, safe='')}"
        return path / f"feed={quote(self.feed, safe='')}" if self.feed else path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChain:
    """A chain as it was stored. ``columns`` and ``notes`` are those of the record's evidence."""

    columns: dict[str, NDArray[Any]]
    notes: dict[str, Any]
    #: What the source's other expiries added; see ``storage.record.figures.OTHER_EXPIRIES``.
    other_expiries: dict[str, float | None]


def list_partitions(folder: Path, table: str = "chains") -> list[ParquetPartition]:
    """List the sessions in a folder of exports, by day, symbol and feed.

    Parameters
    ----------
    folder : the folder of the export.
    table : the table whose sessions are listed.

    Returns
    -------
    list of ParquetPartition
        The sessions; empty if there is none.

    Raises
    ------
    FlowError
        If the folder is missing, or is not one that ``flow-store export`` wrote.
    """
    if not (folder / table).is_dir():
        raise FlowError(f"{folder} has no folder {table!r}, which flow-store export makes")
    partitions = []
    for path in (folder / table).glob("date=*/symbol=*"):
        try:
            day = date.fromisoformat(path.parent.name.removeprefix("date="))
        except ValueError:
            raise FlowError(f"{path.parent}: its name is no date") from None
        symbol = unquote(path.name.removeprefix("symbol="))
        feeds = [unquote(p.name.removeprefix("feed=")) for p in path.glob("feed=*")]
        # An earlier release wrote the files right here.
        feeds += [""] * (not feeds or any(path.glob("*.parquet")))
        partitions += [ParquetPartition(folder, day, symbol, feed) for feed in feeds]
    return sorted(partitions)


def read_records(partition: ParquetPartition) -> Iterator[list[SlotRecord]]:
    """Read the records of an exported session in order, a row group at a time.

    Every value has the same bytes as when it was exported.

    Parameters
    ----------
    partition : symbol and day.

    Yields
    ------
    list[SlotRecord]
        Records of one row group, ascending by slot.

    Raises
    ------
    FlowError
        If files were not written by an export, are damaged, or do not belong together.
    """
    tables = [_read(partition, table) for table in TABLES]
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
                f"{partition.path('rows')}: its slots are not those of profiles and chains;"
                " export that session again"
            )
        yield _records(partition, rows, profiles, chains)


def read_plain_records(partition: ParquetPartition) -> list[SlotRecord]:
    """Read all rows of a session, and the profiles that there are; chains are not looked for.

    Parameters
    ----------
    partition : the session.

    Returns
    -------
    list of SlotRecord
        Records without chains, ascending by slot. A slot without a profile has an empty one.

    Raises
    ------
    FlowError
        If files are missing, damaged, or not what an export writes.
    """
    profiles: dict[datetime, dict[str, NDArray[np.float64]]] = {}
    records = []
    try:
        for batch in _read(partition, "profiles"):
            arrays = {name: _without_missing(_floats(batch[name])) for name in PROFILE_ARRAYS}
            for i, slot in enumerate(batch["slot"].to_pylist()):
                profiles[slot] = {name: lists[i] for name, lists in arrays.items()}
        for batch in _read(partition, "rows"):
            for values in batch.to_pylist():
                row = _row(partition, values)
                records.append(SlotRecord(row=row, profile=profiles.get(row.slot, {})))
    except (KeyError, TypeError, ValueError) as error:
        raise FlowError(f"{partition.path('rows')}: not what was exported: {error}") from error
    return records


def read_gaps(partition: ParquetPartition) -> list[Gap]:
    """Read the slots of an exported session that have no row.

    Parameters
    ----------
    partition : symbol and day.

    Returns
    -------
    list of Gap
        The gaps; empty where an earlier release exported none.

    Raises
    ------
    FlowError
        If files were not written by an export, or are damaged.
    """
    # An earlier release did not export gaps.
    batches = _read(partition, GAPS) if partition.path(GAPS).is_dir() else ()
    feed = partition.feed or dataset_and_feed(partition)[1]
    try:
        return [
            Gap(
                symbol=partition.symbol,
                expiration=partition.day,
                slot=values["slot"],
                reason=Reason(values["reason"]),
                detail=values["detail"],
                # An earlier release did not write it.
                next_expiry=values.get("next_expiry"),
                source=feed,
            )
            for batch in batches
            for values in batch.to_pylist()
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FlowError(f"{partition.path(GAPS)}: not what was exported: {error}") from error


def read_chains(partition: ParquetPartition) -> Iterator[StoredChain | FlowError]:
    """Read the chains of an exported session, in order.

    Parameters
    ----------
    partition : the session of one symbol.

    Yields
    ------
    StoredChain or FlowError
        A chain a slot, or in its place why that slot alone cannot be read.

    Raises
    ------
    FlowError
        If files were not written by an export, or are damaged.
    """
    for batch in _read(partition, "chains"):
        try:
            lists = _columns(batch)
            notes = batch["notes"].to_pylist()
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
            raise FlowError(
                f"{partition.path('chains')}: not what was exported: {error}"
            ) from error
        other_expiries = batch.select(
            [n for n in OTHER_EXPIRIES if n in batch.schema.names]
        ).to_pylist()
        for i, (note, figures) in enumerate(zip(notes, other_expiries, strict=True)):
            try:
                stored = StoredChain(
                    columns=_slot_columns(lists, i),
                    notes=orjson.loads(note),
                    other_expiries=dict.fromkeys(OTHER_EXPIRIES) | figures,
                )
            except (KeyError, TypeError, ValueError) as error:
                yield FlowError(f"{partition.path('chains')}: slot {i + 1}: not a chain: {error}")
            else:
                yield stored


def read_quote_times(partition: ParquetPartition) -> list[datetime]:
    """Read when the chains of an exported session were quoted, in order.

    Parameters
    ----------
    partition : symbol and day.

    Returns
    -------
    list of datetime
        The times, UTC, ascending.

    Raises
    ------
    FlowError
        If files were not written by an export, or are damaged.
    """
    times = [b["quoted_at"].to_pylist() for b in _read(partition, "chains", ["quoted_at"])]
    return [moment for group in times for moment in group]


def dataset_and_feed(partition: ParquetPartition) -> tuple[str, str]:
    """Read the dataset and the feed of an exported session. The feed is empty without chains.

    Parameters
    ----------
    partition : symbol and day.

    Returns
    -------
    tuple of str
        Dataset and feed; the former is empty without files.

    Raises
    ------
    FlowError
        If files were not written by an export, or are damaged.
    """
    marks = [mark for file in _files(partition, "chains") for mark in [read_mark(file)]]
    first = next(_read(partition, "chains", ["source"]), None)
    source = "" if first is None or not first.num_rows else first["source"][0].as_py()
    return (marks[0]["dataset"] if marks else ""), source


def _files(partition: ParquetPartition, table: str) -> list[Path]:
    return sorted(partition.path(table).glob("*.parquet"))


def read_mark(file: Path) -> dict[str, Any]:
    """Read the mark that an export puts into its files.

    Parameters
    ----------
    file : a Parquet file.

    Returns
    -------
    dict
        ``format`` and ``dataset``.

    Raises
    ------
    FlowError
        If the file is missing, damaged, without a mark, or of another format.
    """
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise FlowError(f"{file}: not a whole Parquet file: {error}") from error
    try:
        mark: dict[str, Any] = orjson.loads(metadata[EXPORT_MARK])
    except (KeyError, orjson.JSONDecodeError):
        raise FlowError(f"{file}: not an export of flow-store") from None
    if mark.get("format") != FORMAT:
        raise FlowError(
            f"{file}: exported in format {mark.get('format')}, this release reads {FORMAT}"
        )
    return mark


def _read(
    partition: ParquetPartition, table: str, only: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read the row groups of a table, each as one batch."""
    files = _files(partition, table)
    if not files:
        raise FlowError(f"{partition.path(table)}: no Parquet file in it")
    for file in files:
        read_mark(file)
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as opened:
                for group in range(opened.num_row_groups):
                    _require_size(file, opened.metadata.row_group(group), only)
                    table_group = opened.read_row_group(group, columns=only, use_threads=False)
                    yield from table_group.combine_chunks().to_batches()
        except (OSError, pa.ArrowException) as error:
            raise FlowError(f"{file}: damaged: {error}") from error


def _require_size(file: Path, group: Any, only: Sequence[str] | None) -> None:
    """Refuse a row group that would take more than ``GROUP_LIMIT``, before it is unpacked."""
    columns = [group.column(i) for i in range(group.num_columns)]
    size = sum(
        max(column.total_uncompressed_size, 8 * column.num_values)
        for column in columns
        if only is None or column.path_in_schema.split(".")[0] in only
    )
    if size > GROUP_LIMIT:
        raise FlowError(f"{file}: a row group would take {size:,} bytes, over {GROUP_LIMIT:,}")


def _records(
    partition: ParquetPartition,
    rows: pa.RecordBatch,
    profiles: pa.RecordBatch,
    chains: pa.RecordBatch,
) -> list[SlotRecord]:
    try:
        plain = [_row(partition, values) for values in rows.to_pylist()]
        arrays = {name: _without_missing(_floats(profiles[name])) for name in PROFILE_ARRAYS}
        columns, notes = _columns(chains), [orjson.loads(n) for n in chains["notes"].to_pylist()]
        return [
            SlotRecord(
                row=row,
                profile={name: lists[i] for name, lists in arrays.items()},
                evidence=packing.pack(_slot_columns(columns, i), **notes[i]),
            )
            for i, row in enumerate(plain)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise FlowError(f"{partition.path('rows')}: not what was exported: {error}") from error


def _row(partition: ParquetPartition, values: dict[str, Any]) -> Row:
    # An export of an earlier release lacks the figures that were added since.
    values = NO_FIGURES | {name: value for name, value in values.items() if name in COLUMNS}
    for name in JSON_COLUMNS:
        values[name] = orjson.loads(values[name])
    values["settled"] = SettledFigures.from_json(values["settled"])
    values["detail"] = DetailFigures.from_json(values["detail"])
    values["flags"] = tuple(values["flags"])
    return Row(symbol=partition.symbol, expiration=partition.day, **values)


Lists = list[NDArray[Any] | None]


def _columns(batch: pa.RecordBatch) -> dict[str, Lists]:
    """Return a chain's lists by name, with calls and puts still apart."""
    lists = [f.name for f in batch.schema if pa.types.is_list(f.type)]
    return {name: _floats(batch[name]) for name in lists}


def _floats(column: pa.ListArray) -> Lists:
    offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return [
        None if none else values[start:end]
        for none, start, end in zip(absent, offsets[:-1], offsets[1:], strict=True)
    ]


def _without_missing(lists: Lists) -> list[NDArray[Any]]:
    if any(item is None for item in lists):
        raise ValueError("a list is missing")
    return [item for item in lists if item is not None]


def _slot_columns(columns: dict[str, Lists], i: int) -> dict[str, NDArray[Any]]:
    """Return one slot's columns in their order, with calls in row 0 and puts in row 1."""
    slot_columns: dict[str, NDArray[Any]] = {}
    for name, lists in columns.items():
        own = lists[i]
        if own is None or name.startswith("put_"):
            continue
        if name.startswith("call_"):
            bare = name.removeprefix("call_")
            other = columns[f"put_{bare}"][i]
            if other is None:
                raise ValueError(f"puts have no {bare}")
            # np.stack and its like take longer for so few numbers.
            both = slot_columns[bare] = np.empty((2, len(own)), own.dtype)
            both[0], both[1] = own, other
        else:
            slot_columns[name] = own
    return slot_columns
