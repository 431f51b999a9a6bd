"""What TimescaleDB adds to plain PostgreSQL, where it is: chunks of a day, and compression.

Nothing depends on it: the same tables and queries work without. Its Apache license level has no
compression; a version before 2.18 has another one, which is left alone.
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
#: The first version with the columnstore's own commands.
_COLUMNSTORE = (2, 18)


async def enable_timescale(
    opened: Connection, dataset: str, tables: tuple[str, ...], compress_after: int
) -> list[str]:
    """Make hypertables of a dataset's tables, compressed behind so many days; what was done.

    ``compress_after`` 0 leaves compression as it is.
    """
    offered = await _one(opened, _QUERIES["offered"])
    if not offered["offered"]:
        return []
    if not offered["installed"]:
        try:
            await opened.execute("create extension if not exists timescaledb schema public")
        except psycopg.Error as error:
            said = str(error).strip().split("\n")[0]
            return [f"TimescaleDB is here but cannot be used: {said}"]
    await opened.execute(_QUERIES["reach"])
    done = []
    for name in tables:
        if await _standing(opened, dataset, name) is None:
            await opened.execute(_QUERIES["hypertable"], {"table": f"{dataset}.{name}"})
            done.append(f"{dataset}: {name} is a TimescaleDB hypertable, a chunk a day")
        index = compose.Identifier(dataset, f"{name}_slot_idx")
        await opened.execute(compose.SQL(_QUERIES["default_index"]).format(index=index))
    # Read late: the extension's settings are there once one of its functions has run.
    level = await _one(opened, _QUERIES["level"])
    version, license_level = level["version"], level["license"]
    if license_level != "timescale":
        if done:
            done.append(
                f"{dataset}: TimescaleDB {version} at license level {license_level}: no compression"
            )
        return done
    if tuple(int(part) for part in version.split(".")[:2]) < _COLUMNSTORE:
        if done:
            done.append(f"{dataset}: TimescaleDB {version} is before 2.18: no compression")
        return done
    if compress_after:
        for name in tables:
            done += await _compress(opened, dataset, name, compress_after)
    return done


async def _compress(opened: Connection, dataset: str, name: str, days: int) -> list[str]:
    standing = await _standing(opened, dataset, name)
    assert standing is not None
    wanted = timedelta(days=days)
    if standing["compressed"] and standing["after"] is not None:
        found = await _one(opened, "select %s::interval as after", standing["after"])
        if found["after"] == wanted:
            return []
    table = compose.Identifier(dataset, name)
    if not standing["compressed"]:
        await opened.execute(compose.SQL(_QUERIES["columnstore"]).format(table=table))
    named = compose.Literal(f"{dataset}.{name}")
    await opened.execute(compose.SQL(_QUERIES["forget_policy"]).format(table=named))
    after = compose.SQL("interval {}").format(compose.Literal(f"{days} days"))
    await opened.execute(compose.SQL(_QUERIES["policy"]).format(table=named, after=after))
    return [f"{dataset}: {name} is compressed by column once it is {days} days old"]


async def drop_chunks(opened: Connection, dataset: str, name: str, before: datetime) -> int | None:
    """Drop whole days of a hypertable; how many. None if the table is none."""
    if not await is_hypertable(opened, dataset, name):
        return None
    given = {"table": f"{dataset}.{name}", "before": before}
    cursor = await opened.execute(_QUERIES["drop_chunks"], given)
    found = await cursor.fetchone()
    assert found is not None
    return int(found["n"])


async def hypertable_size(opened: Connection, dataset: str, name: str) -> int | None:
    """Bytes of a hypertable with all that belongs to it; None if the table is none."""
    if not await is_hypertable(opened, dataset, name):
        return None
    cursor = await opened.execute(_QUERIES["size"], {"table": f"{dataset}.{name}"})
    found = await cursor.fetchone()
    assert found is not None
    return int(found["bytes"] or 0)


async def is_hypertable(opened: Connection, dataset: str, name: str) -> bool:
    """Whether the extension is here and keeps this table."""
    if not (await _one(opened, _QUERIES["offered"]))["installed"]:
        return False
    await opened.execute(_QUERIES["reach"])
    return await _standing(opened, dataset, name) is not None


async def _standing(opened: Connection, dataset: str, name: str) -> DictRow | None:
    cursor = await opened.execute(_QUERIES["standing"], {"dataset": dataset, "name": name})
    return await cursor.fetchone()


async def _one(opened: Connection, text: str, *given: Any) -> DictRow:
    found = await (await opened.execute(text, given or None)).fetchone()
    assert found is not None
    return found
