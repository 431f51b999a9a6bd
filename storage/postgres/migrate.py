"""Bring a dataset's schema up to date, and refuse a schema that this release cannot work with.

Migrations are numbered and each runs in one transaction. A schema that a newer release has migrated
is left alone. TimescaleDB only adds to plain PostgreSQL.
"""

from __future__ import annotations

from psycopg import sql as compose

from storage.errors import SchemaMissing, SchemaNewer
from storage.postgres import sql, timescale
from storage.postgres.database import Connection, fetch_one, open_connection, prepare_session

#: The schema that this release reads and writes.
VERSION = sql.migrations()[-1][0]
#: Tables that grow with time.
TABLES = ("rows", "profiles", "chains", "gaps")


async def schema_version(opened: Connection, dataset: str) -> int:
    """The newest migration that a dataset has had; 0 for none."""
    found = await fetch_one(opened, "select to_regclass(%s) as t", f"{dataset}.schema_version")
    if found["t"] is None:
        return 0
    found = await fetch_one(opened, "select coalesce(max(version), 0) as v from schema_version")
    return int(found["v"])


async def check_version(opened: Connection, dataset: str) -> None:
    """Refuse a database that this release cannot work with.

    Raises
    ------
    SchemaMissing, SchemaNewer
    """
    version = await schema_version(opened, dataset)
    if version > VERSION:
        raise SchemaNewer(
            f"the database's schema is version {version}, this release knows {VERSION}:"
            " use the newer release; nothing was touched"
        )
    if version < VERSION:
        raise SchemaMissing(
            f"the database's schema is version {version}, this release needs {VERSION};"
            " run: flow-store migrate"
        )


async def migrate(url: str, dataset: str, *, compress_after: int = 0) -> list[str]:
    """Bring a dataset's schema up to date; what was done, in sentences.

    Runs of several processes at once wait for each other; a second run does nothing. Where
    TimescaleDB is and can, what is ``compress_after`` days old is compressed; 0: as it is.

    Raises
    ------
    SchemaNewer, StoreUnavailable, StoreError
    """
    done = []
    async with open_connection(url, dataset) as opened:
        # Held over all transactions, until the connection is closed.
        await opened.execute("select pg_advisory_lock(hashtext('zerodte-flow migrate'))")
        # Who waited may still know a search path without the schema that was made meanwhile.
        await prepare_session(opened, dataset)
        async with opened.transaction():
            version = await schema_version(opened, dataset)
            if version > VERSION:
                await check_version(opened, dataset)
            if version == 0:
                # A role that owns a schema need not be one that may make schemas.
                found = await fetch_one(
                    opened, "select to_regnamespace(%s) is null as due", dataset
                )
                if found["due"]:
                    make = compose.SQL("create schema {}").format(compose.Identifier(dataset))
                    await opened.execute(make)
                await opened.execute(
                    "create table if not exists schema_version"
                    " (version integer primary key, applied_at timestamptz not null default now())"
                )
        applied = await opened.execute("select version from schema_version")
        there = {row["version"] for row in await applied.fetchall()}
        for number, text in sql.migrations():
            if number in there:
                continue
            async with opened.transaction():
                await opened.execute(text)
                await opened.execute("insert into schema_version (version) values (%s)", [number])
            done.append(f"{dataset}: migration {number} applied")
        done += await timescale.enable_timescale(opened, dataset, TABLES, compress_after)
    return done or [f"{dataset}: schema version {VERSION}, nothing to do"]
