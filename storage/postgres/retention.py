"""How long things are kept, and how much room they take.

Days count back from a dataset's newest session, not from today: a sampler that was off for a year
loses nothing by it, and a simulated market ages at its own speed. Rows outlive what hangs on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from storage.postgres import sql, timescale
from storage.postgres.database import Connection, open_connection
from storage.postgres.migrate import check_version

_QUERIES = sql.load("retention.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """What became of a table."""

    table: str
    #: Sessions before this day are gone; None if all are kept.
    before: date | None
    #: Whole days dropped by TimescaleDB, or rows deleted.
    dropped: int
    unit: str
    #: With indexes and all.
    size: int


def retention_days(keep: Mapping[str, int]) -> dict[str, int]:
    """Days by table, 0 for ever; nothing that hangs on a row is kept longer than the row."""
    rows = keep["rows"]
    return {
        table: min(days or rows, rows) if rows and table in ("profiles", "chains") else days
        for table, days in keep.items()
    }


async def prune(
    url: str, dataset: str, keep: Mapping[str, int], *, dry: bool = False
) -> list[RetentionReport]:
    """Drop what is older than its days; what became of each table, and its size now.

    ``keep`` has days by table, 0 for ever; ``dry`` only measures.

    Raises
    ------
    StoreUnavailable, SchemaMissing, SchemaNewer, StoreError
    """
    async with open_connection(url, dataset) as opened:
        await check_version(opened, dataset)
        found = await (await opened.execute(_QUERIES["newest_session"])).fetchone()
        newest = None if found is None else found["expiration"]
        done, gone = [], {}
        for table, days in retention_days(keep).items():
            before = newest - timedelta(days=days) if newest is not None and days else None
            dropped, unit = 0, "rows"
            if before is not None and not dry:
                gone[table] = before
                dropped, unit = await _drop(opened, dataset, table, before)
            size = await _size(opened, dataset, table)
            done.append(
                RetentionReport(table=table, before=before, dropped=dropped, unit=unit, size=size)
            )
        if {"rows", "gaps"} <= gone.keys():
            before = min(gone["rows"], gone["gaps"])
            await opened.execute(_QUERIES["forget_sessions"], {"before": before})
    return done


async def _drop(opened: Connection, dataset: str, table: str, before: date) -> tuple[int, str]:
    moment = datetime.combine(before, time(0), tzinfo=UTC)
    days = await timescale.drop_chunks(opened, dataset, table, moment)
    if days is not None:
        return days, "days"
    # A session at a time: no transaction is long, and a writer never waits.
    cursor = await opened.execute(_QUERIES["sessions_before"], {"before": before})
    dropped = 0
    for session in await cursor.fetchall():
        gone = await opened.execute(_QUERIES[f"forget_{table}"], session)
        dropped += gone.rowcount
    return dropped, "rows"


async def _size(opened: Connection, dataset: str, table: str) -> int:
    size = await timescale.hypertable_size(opened, dataset, table)
    if size is None:
        found = await (await opened.execute(_QUERIES["size"], {"table": table})).fetchone()
        assert found is not None
        size = int(found["bytes"])
    return size
