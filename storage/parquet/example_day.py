"""The simulated session that comes with the package: a first picture before anything is sampled.

It has the rows of every slot, and figures by strike of each fifteenth minute only: a package is
small. It has no chains. A slot without them reads as one whose profile and chain are not kept any
longer. ``python -m tests.example_day`` writes the files anew where a formula has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import FlowError
from storage.parquet.read import (
    EXPORT_MARK,
    FORMAT,
    GAP_SCHEMA,
    GAPS,
    PROFILE_SCHEMA,
    ROW_SCHEMA,
    ParquetPartition,
    read_gaps,
    read_mark,
    read_plain_records,
)
from storage.parquet.write import profiles_table, rows_table, split_columns
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import DEFINITIONS, Gap, SlotRecord

#: The session: one of the simulated market with this seed, at the default κ.
SYMBOL, DAY, FEED, SEED, DATASET = "SPX", date(2026, 11, 10), "synthetic", 7, "synthetic"
#: How many slots there are to each one that has figures by strike: the last of each 15 minutes.
PROFILE_EVERY = timedelta(minutes=15)
FOLDER = Path(__file__).with_name("example")
_FILE = "slots-1.parquet"
_LEVEL = 19


def write_example(folder: Path, records: Sequence[SlotRecord], gaps: Sequence[Gap]) -> int:
    """Write the files of the session; files that are there are replaced.

    Parameters
    ----------
    folder : where the files go.
    records : the session's slot records, ascending by slot, all with their profiles.
    gaps : its slots without a row.

    Returns
    -------
    int
        The size of all files. [bytes]
    """
    partition = _partition(folder)
    profiled = [record for record in records if has_profile(record)]
    gap_lines = [
        {
            "slot": gap.slot,
            "reason": str(gap.reason),
            "detail": gap.detail,
            "next_expiry": gap.next_expiry,
        }
        for gap in gaps
    ]
    size = 0
    for name, table in (
        ("rows", rows_table(records)),
        ("profiles", profiles_table(profiled)),
        (GAPS, pa.Table.from_pylist(gap_lines, schema=GAP_SCHEMA)),
    ):
        path = partition.path(name) / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = {EXPORT_MARK: orjson.dumps({"format": FORMAT, "dataset": DATASET})}
        pq.write_table(
            table.replace_schema_metadata(mark),
            path,
            compression="zstd",
            compression_level=_LEVEL,
            write_page_checksum=True,
            use_dictionary=[f.name for f in table.schema if f.type == pa.string()],
            use_byte_stream_split=split_columns(table.schema),
        )
        size += path.stat().st_size
    return size


def has_profile(record: SlotRecord) -> bool:
    """Return whether the files have a record's figures by strike.

    Parameters
    ----------
    record : a slot record of the session.

    Returns
    -------
    bool
        True for the last slot of each 15 minutes.
    """
    following = record.row.slot + timedelta(seconds=30)
    return not int(following.timestamp()) % int(PROFILE_EVERY.total_seconds())


def read_example(folder: Path = FOLDER) -> tuple[list[SlotRecord], list[Gap]]:
    """Read the session's records and gaps.

    Parameters
    ----------
    folder : where the files are.

    Returns
    -------
    tuple of list of SlotRecord and list of Gap
        The records, ascending by slot, without chains, and most of them with an empty profile.

    Raises
    ------
    FlowError
        If files are missing, damaged, or were computed by formulas, or have columns, of another
        release.
    """
    partition = _partition(folder)
    for table, schema in (("rows", ROW_SCHEMA), ("profiles", PROFILE_SCHEMA)):
        file = partition.path(table) / _FILE
        read_mark(file)
        if not pq.read_schema(file).equals(schema):
            raise FlowError(f"{file}: its columns are those of another release")
    records = read_plain_records(partition)
    made_by = {record.row.definitions for record in records}
    if made_by != {DEFINITIONS}:
        raise FlowError(
            f"{partition.path('rows')}: computed by formulas version {', '.join(sorted(made_by))},"
            f" this release has {DEFINITIONS}"
        )
    return records, read_gaps(partition)


async def store_example(store: Store, dataset: str, folder: Path = FOLDER) -> int:
    """Store the session, as rows that were filled in afterwards, unless it has rows already.

    Parameters
    ----------
    store : where it goes.
    dataset : the dataset of the store; it must be the simulated one.
    folder : where the files are.

    Returns
    -------
    int
        How many rows were stored: all, or 0 where the session has rows already.

    Raises
    ------
    FlowError
        If the dataset is a real one, or the files cannot be used; nothing is stored then.
    StoreError
        If the store is away.
    """
    if dataset != DATASET:
        raise FlowError(
            f"the example is a simulated session: its rows never go to the dataset {dataset}"
        )
    if await store.feeds(SYMBOL, DAY):
        return 0
    records, gaps = read_example(folder)
    result = await store.write(records, gaps, mode=WriteMode.FILL)
    return sum(len(change.rows) for change in result.changes)


def _partition(folder: Path) -> ParquetPartition:
    return ParquetPartition(folder, DAY, SYMBOL, FEED)
