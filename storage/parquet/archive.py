"""Export a dataset to Parquet and import it again, session by session; its size on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from storage.errors import FlowError
from storage.parquet import read as parquet
from storage.parquet.forecasts import FORECASTS, SCORES, SETTLEMENTS, write_record_lines
from storage.parquet.write import ParquetWriter
from storage.postgres.read import RecordReader
from storage.postgres.store import Store
from storage.record.mode import WriteMode
from storage.record.row import Gap, Reason, SlotRecord

#: What the table of sizes counts with.
SLOTS_A_DAY, SESSIONS_A_YEAR = 780, 252


@dataclass(slots=True)
class ExportResult:
    """What an export wrote: sessions of symbols, slots, and bytes by table."""

    sessions: int = 0
    slots: int = 0
    #: Forecasts that were frozen, or missed.
    forecasts: int = 0
    sizes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSession:
    """What an import did with one exported session."""

    partition: parquet.ParquetPartition
    stored: int = 0
    there_already: int = 0
    #: Slots that the store did not know to have no row.
    gaps: int = 0


async def export_sessions(
    store: Store, dataset: str, folder: Path, *, first: date, last: date, symbols: Sequence[str]
) -> ExportResult:
    """Write all sessions of a period, and the record of forecasts; earlier files are replaced.

    Parameters
    ----------
    store : where the records are.
    dataset : ``live`` or ``synthetic``; the files carry its name.
    folder : where the files go; made if it does not exist.
    first, last : the first and the last day.
    symbols : whose sessions.

    Returns
    -------
    ExportResult
        How many slots were written, and the bytes of each table.

    Raises
    ------
    FlowError
        If the folder cannot be written, or a stored chain cannot be read.
    """
    done = ExportResult()
    for line in await store.coverage(first, last, symbols):
        if not line["rows"]:
            continue
        partition = parquet.ParquetPartition(
            folder, line["expiration"], line["symbol"], line["source"]
        )
        feed = store.of_feed(partition.feed)
        with ParquetWriter(partition, dataset) as writer:
            async with aclosing(feed.records(partition.symbol, partition.day)) as records:
                some: list[SlotRecord] = []
                async for record in records:
                    some.append(record)
                    if len(some) == parquet.SLOTS_A_GROUP:
                        writer.write(some)
                        done.slots, some = done.slots + len(some), []
                writer.write(some)
                done.slots += len(some)
            writer.write_gaps(await _gaps(feed, partition))
        done.sessions += 1
        done.sizes.update(writer.sizes)
    for symbol in symbols:
        await _export_record(store, dataset, folder, symbol, first, last, done)
    return done


async def _export_record(
    store: Store,
    dataset: str,
    folder: Path,
    symbol: str,
    first: date,
    last: date,
    done: ExportResult,
) -> None:
    """Write a symbol's record of forecasts, a file a session and table."""
    table = store.forecasts
    for name, lines in (
        (FORECASTS, await table.frozen(symbol, first, last)),
        (SETTLEMENTS, await table.settlement_lines(symbol, first, last)),
        (SCORES, await table.scores(symbol, first, last)),
    ):
        for day, group in groupby(lines, key=itemgetter("expiration")):
            size = write_record_lines(folder, name, day, symbol, list(group), dataset)
            done.sizes[name] += size
        if name == FORECASTS:
            done.forecasts += len(lines)


async def import_sessions(
    store: Store,
    dataset: str,
    folder: Path,
    *,
    first: date,
    last: date,
    symbols: Sequence[str] | None,
) -> AsyncIterator[ImportedSession]:
    """Store the exported sessions of a period. A slot that has a row of the same feed keeps it.

    Parameters
    ----------
    store : where the records go.
    dataset : ``live`` or ``synthetic``; files of another are refused.
    folder : what ``export_sessions`` wrote.
    first, last : the first and the last day.
    symbols : whose sessions; None for all.

    Yields
    ------
    ImportedSession
        What was done with one exported session.

    Raises
    ------
    FlowError
        If files were not written by an export, are damaged, or belong to another dataset. What was
        stored until then stays; a second run adds the rest.
    """
    for partition in parquet.list_partitions(folder, "rows"):
        if not first <= partition.day <= last or (
            symbols is not None and partition.symbol not in symbols
        ):
            continue
        own, _ = parquet.dataset_and_feed(partition)
        if own != dataset:
            raise FlowError(
                f"{partition.path('rows')}: rows of the dataset {own}, not {dataset}; they are"
                f" never mixed: --dataset {own}"
            )
        stored = total = 0
        for records in parquet.read_records(partition):
            result = await store.write(records, mode=WriteMode.FILL)
            stored += sum(len(change.rows) for change in result.changes)
            total += len(records)
        marked = await store.write(gaps=parquet.read_gaps(partition))
        gaps = sum(len(change.gaps) for change in marked.changes)
        yield ImportedSession(
            partition=partition, stored=stored, there_already=total - stored, gaps=gaps
        )


async def _gaps(store: RecordReader, partition: parquet.ParquetPartition) -> list[Gap]:
    return [
        Gap(
            symbol=partition.symbol,
            expiration=partition.day,
            slot=row["slot"],
            reason=Reason(row["reason"]),
            detail=row["detail"],
            next_expiry=row["next_expiry"],
            source=partition.feed,
        )
        for row in await store.gaps(partition.symbol, partition.day)
    ]


def size_table(done: ExportResult) -> list[str]:
    """Lay out bytes a row, a symbol's full day and a symbol's year, by table, for a person.

    Parameters
    ----------
    done : what an export has written.

    Returns
    -------
    list of str
        Lines of text; none if no slot was exported.
    """
    if not done.slots:
        return []
    lines = [f"{'':10}{'a row':>12}{'a symbol-day':>16}{'a symbol-year':>16}"]
    shown = {table: done.sizes[table] for table in parquet.TABLES}
    for name, size in (shown | {"together": sum(shown.values())}).items():
        row = size / done.slots
        day = row * SLOTS_A_DAY
        lines.append(f"{name:10}{_size(row):>12}{_size(day):>16}{_size(day * SESSIONS_A_YEAR):>16}")
    return lines


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
