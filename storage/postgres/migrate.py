"""Bring a dataset's schema up to date, and refuse a schema that this release cannot work with.

Migrations are numbered and each runs in one transaction. A schema that a newer release has migrated
is left alone. TimescaleDB only adds to plain PostgreSQL.
"""

from __future__ import annotations

from psycopg import sql as compose

from storage.errors import SchemaMissing, SchemaNewer
from storage.postgres import sql, timescale
from storage.postgres.database import Connection, fetch_one, open_connection, prepare_session

#: Numbers that no migration has, or will have. Development databases may have them applied.
RETIRED = frozenset({4, 6})
#: The migrations of this release.
MIGRATIONS = frozenset(number for number, _ in sql.migrations())
#: The schema that this release reads and writes.
VERSION = max(MIGRATIONS)
#: Tables that grow with each slot; TimescaleDB keeps them in chunks.
TABLES = ("rows", "profiles", "chains", "gaps")
#: Tables that retention deletes from.
KEPT_TABLES = (*TABLES, "alerts")


async def applied_migrations(opened: Connection, dataset: str) -> set[int]:
    """Return the numbers of the migrations that a dataset has had; empty if it has no schema.

    Parameters
    ----------
    opened : an open connection.
    dataset : the schema.

    Returns
    -------
    set of int
        The numbers.
    """
    table = await fetch_one(opened, "select to_regclass(%s) as t", f"{dataset}.schema_version")
    if table["t"] is None:
        return set()
    cursor = await opened.execute("select version from schema_version")
    return {row["version"] for row in await cursor.fetchall()}


def require_not_newer(applied: set[int]) -> None:
    """Refuse a schema that a newer release has migrated.

    Parameters
    ----------
    applied : the numbers of the migrations that a dataset has had.

    Raises
    ------
    SchemaNewer
        If a migration was applied that this release does not have.
    """
    if applied - MIGRATIONS - RETIRED:
        raise SchemaNewer(
            f"the database's schema is version {max(applied)}, this release knows {VERSION}:"
            " use the newer release; nothing was touched"
        )


async def check_version(opened: Connection, dataset: str) -> None:
    """Refuse a schema that this release cannot work with.

    The set of applied migrations is compared, not the newest one: a migration may be missing below
    it.

    Parameters
    ----------
    opened : an open connection.
    dataset : the schema.

    Raises
    ------
    SchemaMissing
        If a migration of this release was not applied.
    SchemaNewer
        If a migration was applied that this release does not have.
    """
    applied = await applied_migrations(opened, dataset)
    require_not_newer(applied)
    missing = MIGRATIONS - applied
    if missing:
        numbers = f" not applied: {', '.join(map(str, sorted(missing)))};" if applied else ""
        raise SchemaMissing(
            f"the database's schema is version {max(applied, default=0)}, this release needs"
            f" {VERSION};{numbers} run: flow-store migrate"
        )


async def migrate(url: str, dataset: str, *, compress_after: int = 0) -> list[str]:
    """Bring a dataset's schema up to date.

    Runs of several processes at once wait for each other. A second run does nothing.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.
    compress_after : where TimescaleDB is installed and can compress, compress what is older than
        this; 0 leaves compression as it is. [days]

    Returns
    -------
    list of str
        What was done, one sentence each.

    Raises
    ------
    SchemaNewer
        If a newer release has migrated the schema; nothing is changed then.
    StoreUnavailable, StoreError
        If the database cannot be reached, or refuses a migration.
    """
    done: list[str] = []
    async with open_connection(url, dataset) as opened:
        # Held over all transactions, until the connection is closed.
        await opened.execute("select pg_advisory_lock(hashtext('zerodte-flow migrate'))")
        # Who waited may still know a search path without the schema that was made meanwhile.
        await prepare_session(opened, dataset)
        async with opened.transaction():
            applied = await applied_migrations(opened, dataset)
            require_not_newer(applied)
            if not applied:
                # A role that owns a schema need not be one that may make schemas.
                schema = await fetch_one(
                    opened, "select to_regnamespace(%s) is null as due", dataset
                )
                if schema["due"]:
                    make = compose.SQL("create schema {}").format(compose.Identifier(dataset))
                    await opened.execute(make)
                await opened.execute(
                    "create table if not exists schema_version"
                    " (version integer primary key, applied_at timestamptz not null default now())"
                )
        for number, text in sql.migrations():
            if number in applied:
                continue
            async with opened.transaction():
                await opened.execute(text)
                await opened.execute("insert into schema_version (version) values (%s)", [number])
            done.append(f"{dataset}: migration {number} applied")
        done += await timescale.enable_timescale(opened, dataset, TABLES, compress_after)
    return done or [f"{dataset}: schema version {VERSION}, nothing to do"]
