"""Write slot records and gaps as Parquet files; ``storage.parquet.read`` has their layout."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.errors import FlowError
from storage.parquet.read import (
    CHAIN_FIELDS,
    EXPORT_MARK,
    FLOAT_LIST,
    FORMAT,
    GAP_SCHEMA,
    GAPS,
    PROFILE_SCHEMA,
    ROW_SCHEMA,
    SIDES,
    SLOTS_A_GROUP,
    TABLES,
    UTC_TIMESTAMP,
    ParquetPartition,
    dataset_and_feed,
)
from storage.record.figures import OTHER_EXPIRIES
from storage.record.row import JSON_COLUMNS, PROFILE_ARRAYS, Gap, SlotRecord


class ParquetWriter:
    """Writes one session of a symbol and feed.

    Readers see the files once the writer is closed, all of them at once.

    Use as a context manager. A session that was exported before is replaced as a whole.
    """

    def __init__(self, partition: ParquetPartition, dataset: str) -> None:
        self.partition = partition
        self._mark = {EXPORT_MARK: orjson.dumps({"format": FORMAT, "dataset": dataset})}
        self._open: dict[str, tuple[pa.Schema, pq.ParquetWriter]] = {}
        self._files: Counter[str] = Counter()
        #: Bytes written, by table; known once the writer is closed.
        self.sizes: dict[str, int] = {}

    def __enter__(self) -> Self:
        for table in (*TABLES, GAPS):
            shutil.rmtree(self._fresh(table), ignore_errors=True)
        return self

    def write(self, records: Sequence[SlotRecord]) -> None:
        """Add slot records; each is later than those added before.

        Parameters
        ----------
        records : slot records of one session, ascending by slot.

        Raises
        ------
        FlowError
            If a record's evidence cannot be read, or the disk is full.
        """
        for start in range(0, len(records), SLOTS_A_GROUP):
            some = records[start : start + SLOTS_A_GROUP]
            for table, as_table in (
                ("rows", rows_table),
                ("profiles", profiles_table),
                ("chains", _chains),
            ):
                self._write(table, as_table(some))

    def write_gaps(self, gaps: Sequence[Gap]) -> None:
        """Add the gaps of the session: its slots without a row.

        Parameters
        ----------
        gaps : gaps of the session, ascending by slot.

        Raises
        ------
        FlowError
            If the disk is full.
        """
        if not gaps:
            return
        values = [(gap.slot, str(gap.reason), gap.detail, gap.next_expiry) for gap in gaps]
        columns = dict(zip(GAP_SCHEMA.names, zip(*values, strict=True), strict=True))
        self._write(GAPS, pa.table(columns, schema=GAP_SCHEMA))

    def __exit__(self, failed: object, *_: object) -> None:
        for _, writer in self._open.values():
            writer.close()
        for table in (*TABLES, GAPS):
            fresh, final = self._fresh(table), self.partition.path(table)
            if failed is not None:
                shutil.rmtree(fresh, ignore_errors=True)
                continue
            shutil.rmtree(final, ignore_errors=True)
            if table in self._open:
                self.sizes[table] = sum(file.stat().st_size for file in fresh.iterdir())
                fresh.rename(final)
        if failed is None:
            self._replace_earlier_release()

    def _replace_earlier_release(self) -> None:
        """Delete the same session's files of an earlier release, whose folder names no feed."""
        earlier = dataclasses.replace(self.partition, feed="")
        files = [file for t in (*TABLES, GAPS) for file in earlier.path(t).glob("*.parquet")]
        if self.partition.feed and files and dataset_and_feed(earlier)[1] == self.partition.feed:
            for file in files:
                file.unlink()

    def _write(self, table: str, content: pa.Table) -> None:
        try:
            schema, writer = self._open.get(table, (None, None))
            if schema is None or not schema.equals(content.schema):
                # Another release stored other columns: the rest of the day goes to a new file.
                if writer is not None:
                    writer.close()
                writer = self._start(table, content.schema)
                self._open[table] = content.schema, writer
            writer.write_table(content, row_group_size=SLOTS_A_GROUP)
        except OSError as error:
            where = self.partition.path(table)
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
            # With the checksum, a flipped bit is an error instead of another price.
            write_page_checksum=True,
            # Neighbouring numbers share their leading bytes: split by bytes, files are a third
            # smaller than with dictionaries.
            use_dictionary=[f.name for f in schema if f.type == pa.string()],
            use_byte_stream_split=split_columns(schema),
        )

    def _fresh(self, table: str) -> Path:
        final = self.partition.path(table)
        # Readers of a folder skip names that begin with a dot.
        return final.with_name(f".{final.name}.{os.getpid()}")


def rows_table(records: Sequence[SlotRecord]) -> pa.Table:
    """Return the rows of records as a table of ``ROW_SCHEMA``.

    Parameters
    ----------
    records : slot records of one session.

    Returns
    -------
    Table
        A line a record.
    """
    plain: dict[str, list[Any]] = {
        name: [getattr(record.row, name) for record in records] for name in ROW_SCHEMA.names
    }
    for name in JSON_COLUMNS:
        plain[name] = [orjson.dumps(value).decode() for value in plain[name]]
    return pa.table(plain, schema=ROW_SCHEMA)


def profiles_table(records: Sequence[SlotRecord]) -> pa.Table:
    """Return the figures by strike of records as a table of ``PROFILE_SCHEMA``.

    Parameters
    ----------
    records : slot records of one session.

    Returns
    -------
    Table
        A line a record.
    """
    slots = pa.array([record.row.slot for record in records], UTC_TIMESTAMP)
    lists = [_lists([record.profile[name] for record in records]) for name in PROFILE_ARRAYS]
    return pa.Table.from_arrays([slots, *lists], schema=PROFILE_SCHEMA)


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
        **{name: [getattr(row.detail, name) for row in rows] for name in OTHER_EXPIRIES},
        "notes": [orjson.dumps(notes).decode() for _, notes in states],
    }
    table = pa.table(head, schema=pa.schema(CHAIN_FIELDS))
    for name in _in_order([tuple(columns) for columns, _ in states]):
        arrays = [columns.get(name) for columns, _ in states]
        sides = {array.ndim for array in arrays if array is not None} != {1}
        for side, label in enumerate(SIDES if sides else ("",)):
            values = [
                None if array is None else array[side] if sides else array for array in arrays
            ]
            table = table.append_column(f"{label}_{name}" if sides else name, _lists(values))
    return table


def _in_order(slots: Sequence[tuple[str, ...]]) -> list[str]:
    """Return all names so that each slot's own come in its order: it is part of its bytes."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for names in dict.fromkeys(slots):
        for before, name in pairwise(names):
            order.add(name, before)
    try:
        return list(order.static_order())
    except CycleError:
        # Slots of two releases, which write their names in different orders, are in one session.
        return list(dict.fromkeys(name for names in slots for name in names))


def _lists(arrays: Sequence[NDArray[Any] | None]) -> pa.ListArray:
    """Return one list a slot, of numbers or booleans as they are."""
    known = [np.empty(0, arrays[0].dtype if arrays[0] is not None else np.float64)]
    known += [a for a in arrays if a is not None]
    offsets = np.cumsum([0, *(0 if a is None else len(a) for a in arrays)]).astype(np.int32)
    absent = pa.array([a is None for a in arrays])
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(np.concatenate(known)),
        mask=absent if any(a is None for a in arrays) else None,
    )


def split_columns(schema: pa.Schema) -> list[str]:
    """Return the paths of floats and of lists of floats, which are split by bytes.

    Parameters
    ----------
    schema : the columns of a table.

    Returns
    -------
    list of str
        Their paths, as Parquet has them.
    """
    return [f.name for f in schema if f.type == pa.float64()] + [
        f"{f.name}.list.element" for f in schema if f.type == FLOAT_LIST
    ]
