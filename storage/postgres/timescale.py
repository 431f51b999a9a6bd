"""Use TimescaleDB where it is installed: chunks of a day, and compression by column.

The same tables and queries work without it. At its Apache license level there is no compression,
and a version before 2.18 compresses by other commands; such a server is not asked to compress.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql as compose
from psycopg.rows import DictRow

from storage.postgres import sql

Connection = psycopg.AsyncConnection[DictRow]
_QUERIES = sql.load("timescale.sql")
#: The first version that has the columnstore's commands.
_COLUMNSTORE = (2, 18)


async def enable_timescale(
    opened: Connection, dataset: str, tables: tuple[str, ...], compress_after: int
) -> list[str]:
    """Make a dataset's tables hypertables, and set after how long they are compressed.

    Parameters
    ----------
    opened : a connection to the dataset.
    dataset, tables : the schema, and the tables that grow with time.
    compress_after : compress what is older; 0 leaves compression as it is. [days]

    Returns
    -------
    list of str
        What was done, one sentence each; empty where TimescaleDB is not installed.
    """
    offered = await _one(opened, _QUERIES["offered"])
    if not offered["offered"]:
        return []
    if not offered["installed"]:
        try:
            await opened.execute("create extension if not exists timescaledb schema public")
        except psycopg.Error as error:
            reason = str(error).strip().split("\n")[0]
            return [f"TimescaleDB is here but cannot be used: {reason}"]
    await opened.execute(_QUERIES["reach"])
    done = []
    for name in tables:
        if await _hypertable_state(opened, dataset, name) is None:
            await opened.execute(_QUERIES["hypertable"], {"table": f"{dataset}.{name}"})
            done.append(f"{dataset}: {name} is a TimescaleDB hypertable, a chunk a day")
        index = compose.Identifier(dataset, f"{name}_slot_idx")
        await opened.execute(compose.SQL(_QUERIES["default_index"]).format(index=index))
    # The extension's settings exist only after one of its functions has run.
    level = await _one(opened, _QUERIES["level"])
    version, license_level = level["version"], level["license"]
    if license_level != "timescale":
        if done:
            done.append(
                f"{dataset}: TimescaleDB {version} at license level {license_level}: no compression"
            )
        return done
    if tuple(int(number) for number in version.split(".")[:2]) < _COLUMNSTORE:
        if done:
            done.append(f"{dataset}: TimescaleDB {version} is before 2.18: no compression")
        return done
    if compress_after:
        for name in tables:
            done += await _compress(opened, dataset, name, compress_after)
    return done


async def installed(opened: Connection) -> tuple[str | None, str]:
    """Return the extension's version and license level.

    Parameters
    ----------
    opened : an open connection.

    Returns
    -------
    tuple of str
        The version, None where the extension is not installed; the level, such as ``timescale`` or
        ``apache``, empty where that is not known.
    """
    row = await (await opened.execute(_QUERIES["level"])).fetchone()
    return (None, "") if row is None else (row["version"], row["license"] or "")


async def _compress(opened: Connection, dataset: str, name: str, days: int) -> list[str]:
    state = await _hypertable_state(opened, dataset, name)
    assert state is not None
    wanted = timedelta(days=days)
    if state["compressed"] and state["after"] is not None:
        row = await _one(opened, "select %s::interval as after", state["after"])
        if row["after"] == wanted:
            return []
    table = compose.Identifier(dataset, name)
    if not state["compressed"]:
        await opened.execute(compose.SQL(_QUERIES["columnstore"]).format(table=table))
    name_literal = compose.Literal(f"{dataset}.{name}")
    await opened.execute(compose.SQL(_QUERIES["forget_policy"]).format(table=name_literal))
    after = compose.SQL("interval {}").format(compose.Literal(f"{days} days"))
    await opened.execute(compose.SQL(_QUERIES["policy"]).format(table=name_literal, after=after))
    return [f"{dataset}: {name} is compressed by column once it is {days} days old"]


async def drop_chunks(opened: Connection, dataset: str, name: str, before: datetime) -> int | None:
    """Drop whole days of a hypertable; return how many, or None if it is a plain table.

    Parameters
    ----------
    opened : an open connection to the dataset.
    dataset, name : the table's schema and name.
    before : chunks before this moment are dropped; UTC.

    Returns
    -------
    int or None
        How many chunks were dropped.
    """
    if not await is_hypertable(opened, dataset, name):
        return None
    parameters = {"table": f"{dataset}.{name}", "before": before}
    cursor = await opened.execute(_QUERIES["drop_chunks"], parameters)
    row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def hypertable_size(opened: Connection, dataset: str, name: str) -> int | None:
    """Return the bytes of a hypertable with its indexes; None if it is a plain table.

    Parameters
    ----------
    opened : an open connection to the dataset.
    dataset, name : the table's schema and name.

    Returns
    -------
    int or None
        The size. [bytes]
    """
    if not await is_hypertable(opened, dataset, name):
        return None
    cursor = await opened.execute(_QUERIES["size"], {"table": f"{dataset}.{name}"})
    row = await cursor.fetchone()
    assert row is not None
    return int(row["bytes"] or 0)


async def is_hypertable(opened: Connection, dataset: str, name: str) -> bool:
    """Return whether TimescaleDB is installed and the table is one of its hypertables.

    Parameters
    ----------
    opened : an open connection to the dataset.
    dataset, name : the table's schema and name.

    Returns
    -------
    bool
        False without TimescaleDB, and for a plain table.
    """
    if not (await _one(opened, _QUERIES["offered"]))["installed"]:
        return False
    await opened.execute(_QUERIES["reach"])
    return await _hypertable_state(opened, dataset, name) is not None


async def _hypertable_state(opened: Connection, dataset: str, name: str) -> DictRow | None:
    cursor = await opened.execute(_QUERIES["hypertable_state"], {"dataset": dataset, "name": name})
    return await cursor.fetchone()


async def _one(opened: Connection, text: str, *parameters: Any) -> DictRow:
    row = await (await opened.execute(text, parameters or None)).fetchone()
    assert row is not None
    return row
