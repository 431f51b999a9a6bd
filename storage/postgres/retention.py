"""Delete what is older than its retention, and measure the tables.

Days count back from the dataset's newest session, not from today. So a sampler that was off for a
year loses nothing, and a simulated market ages by its own clock. Profiles and chains are never kept
longer than their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from storage.market.calendar import sessions_between
from storage.postgres import sql, timescale
from storage.postgres.database import Connection, fetch_one, open_connection
from storage.postgres.migrate import KEPT_TABLES, check_version

_QUERIES = sql.load("retention.sql")
#: With fewer sessions than this the size of empty pages would be most of a forecast.
_LEAST_WORTH = 0.1
#: For so long what is to be deleted may wait for the next run.
_GRACE = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """What a run has deleted of a table, and what is left."""

    table: str
    #: Sessions before this day are deleted; None if all are kept.
    before: date | None
    #: How many units were deleted.
    dropped: int
    #: "days" where TimescaleDB drops whole days, else "rows".
    unit: str
    #: The table with its indexes. [bytes]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForecast:
    """How large a table is, and how large it will be in a year."""

    table: str
    #: The table with its indexes today. [bytes]
    size: int
    #: Days with sessions that the table has.
    sessions: int
    #: What a whole day's sessions add; None while less than 0.1 of a day is stored. [bytes]
    growth: float | None
    #: The table in a year, if as many symbols are sampled; None where ``growth`` is. [bytes]
    ahead: float | None


def forecast_table(
    report: RetentionReport, sessions: int, worth: float, keep_days: int, newest: date
) -> TableForecast:
    """Forecast a table's size in a year from the sessions that it has.

    Parameters
    ----------
    report : the table's size today.
    sessions : days with sessions that the table has.
    worth : how many whole sessions they come to, because one under way has only a part of its rows.
    keep_days : days that it is kept; 0 for ever.
    newest : the newest session.

    Returns
    -------
    TableForecast
        The table's size in a year. PostgreSQL reuses the space of deleted rows and does not give it
        back, so a table never becomes smaller here.
    """
    if worth < _LEAST_WORTH:
        return TableForecast(
            table=report.table, size=report.size, sessions=sessions, growth=None, ahead=None
        )
    end = newest + timedelta(days=365)
    there = sessions + len(sessions_between(newest + timedelta(days=1), end))
    if keep_days:
        there = min(there, len(sessions_between(end - timedelta(days=keep_days), end)))
    growth = report.size / worth
    return TableForecast(
        table=report.table,
        size=report.size,
        sessions=sessions,
        growth=growth,
        ahead=max(growth * there, report.size),
    )


async def forecast(url: str, dataset: str, keep: Mapping[str, int]) -> list[TableForecast]:
    """Forecast the size of each table of a dataset in a year.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.
    keep : days to keep by table, counted from the newest session; 0 keeps all.

    Returns
    -------
    list of TableForecast
        One a table.

    Raises
    ------
    StoreUnavailable, SchemaMissing, SchemaNewer, StoreError
        If the database is away, or not one that this release can work with.
    """
    reports = await prune(url, dataset, keep, dry=True)
    days = retention_days(keep)
    forecasts = []
    async with open_connection(url, dataset) as opened:
        newest = (await fetch_one(opened, _QUERIES["newest_session"]))["expiration"]
        for report in reports:
            stored = await fetch_one(opened, _QUERIES[f"days_of_{report.table}"])
            worth = (stored["worth"] or 0.0) if newest else 0.0
            forecasts.append(
                forecast_table(report, stored["days"], worth, days[report.table], newest)
            )
    return forecasts


async def bytes_a_session(url: str, dataset: str) -> float | None:
    """Return what the sessions of a whole day add to a dataset.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.

    Returns
    -------
    float or None
        Bytes, from what is stored; None while that is less than a tenth of a day.

    Raises
    ------
    StoreUnavailable, SchemaMissing, SchemaNewer, StoreError
        If the database is away, or not one that this release can work with.
    """
    tables = await forecast(url, dataset, dict.fromkeys(KEPT_TABLES, 0))
    rows = next(table for table in tables if table.table == "rows")
    if rows.growth is None:
        return None
    return sum(table.growth for table in tables if table.growth is not None)


def retention_days(keep: Mapping[str, int]) -> dict[str, int]:
    """Return the days to keep by table, 0 for ever, none of a row's parts longer than the row.

    Parameters
    ----------
    keep : days to keep by table, as the settings have them; 0 for ever.

    Returns
    -------
    dict
        Days to keep by table.
    """
    rows = keep["rows"]
    return {
        table: min(days or rows, rows) if rows and table in ("profiles", "chains") else days
        for table, days in keep.items()
    }


async def prune(
    url: str, dataset: str, keep: Mapping[str, int], *, dry: bool = False
) -> list[RetentionReport]:
    """Delete what is older than its retention.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.
    keep : days to keep by table, counted from the newest session; 0 keeps all.
    dry : delete nothing, and only measure.

    Returns
    -------
    list of RetentionReport
        One a table.

    Raises
    ------
    StoreUnavailable, SchemaMissing, SchemaNewer, StoreError
        If the database is away, or not one that this release can work with.
    """
    async with open_connection(url, dataset) as opened:
        await check_version(opened, dataset)
        row = await (await opened.execute(_QUERIES["newest_session"])).fetchone()
        newest = None if row is None else row["expiration"]
        reports, deleted_before = [], {}
        for table, days in retention_days(keep).items():
            before = newest - timedelta(days=days) if newest is not None and days else None
            dropped, unit = 0, "rows"
            if before is not None and not dry:
                deleted_before[table] = before
                dropped, unit = await _drop(opened, dataset, table, before)
            size = await _size(opened, dataset, table)
            reports.append(
                RetentionReport(table=table, before=before, dropped=dropped, unit=unit, size=size)
            )
        if {"rows", "gaps"} <= deleted_before.keys():
            before = min(deleted_before["rows"], deleted_before["gaps"])
            await opened.execute(_QUERIES["forget_sessions"], {"before": before})
    return reports


async def count_session_days(url: str, dataset: str) -> int:
    """Return how many days a dataset has sessions of.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.

    Returns
    -------
    int
        The number of days.

    Raises
    ------
    StoreError
        If the database is away.
    """
    async with open_connection(url, dataset) as opened:
        row = await (await opened.execute(_QUERIES["session_days"])).fetchone()
        return 0 if row is None else int(row["days"])


async def overdue_tables(url: str, dataset: str, keep: Mapping[str, int]) -> list[str]:
    """Return the tables that hold what should have been deleted some nights ago.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.
    keep : days to keep by table, counted from the newest session; 0 keeps all.

    Returns
    -------
    list of str
        Names of tables.

    Raises
    ------
    StoreError
        If the database is away, or not one that this release can work with.
    """
    overdue = []
    async with open_connection(url, dataset) as opened:
        row = await (await opened.execute(_QUERIES["newest_session"])).fetchone()
        newest = None if row is None else row["expiration"]
        for table, days in retention_days(keep).items():
            if newest is None or not days:
                continue
            before = datetime.combine(newest - timedelta(days=days) - _GRACE, time(0), tzinfo=UTC)
            oldest = await opened.execute(_QUERIES[f"oldest_{table}"], {"before": before})
            if await oldest.fetchone():
                overdue.append(table)
    return overdue


async def _drop(opened: Connection, dataset: str, table: str, before: date) -> tuple[int, str]:
    if table == "alerts":
        deleted = await opened.execute(_QUERIES["forget_alerts"], {"before": before})
        return deleted.rowcount, "rows"
    moment = datetime.combine(before, time(0), tzinfo=UTC)
    days = await timescale.drop_chunks(opened, dataset, table, moment)
    if days is not None:
        return days, "days"
    # One session a transaction, so that a writer never waits for long.
    cursor = await opened.execute(_QUERIES["sessions_before"], {"before": before})
    dropped = 0
    for session in await cursor.fetchall():
        deleted = await opened.execute(_QUERIES[f"forget_{table}"], session)
        dropped += deleted.rowcount
    return dropped, "rows"


async def _size(opened: Connection, dataset: str, table: str) -> int:
    size = await timescale.hypertable_size(opened, dataset, table)
    if size is None:
        row = await (await opened.execute(_QUERIES["size"], {"table": table})).fetchone()
        assert row is not None
        size = int(row["bytes"])
    return size
