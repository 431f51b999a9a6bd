"""Check the database: reachable, of a version and schema that fit, writable, on time."""

from __future__ import annotations

from datetime import datetime, timedelta

from storage.doctor.finding import Finding, fail, ok, warn
from storage.errors import (
    AccessDenied,
    RightMissing,
    SchemaMissing,
    SchemaNewer,
    StoreError,
    StoreUnavailable,
)
from storage.market.clock import Clock
from storage.postgres import timescale
from storage.postgres.database import (
    Connection,
    describe_database,
    fetch_one,
    open_connection,
    read_identity,
    require_writable,
)
from storage.postgres.migrate import VERSION, check_version

#: The oldest version that the tests run on.
_OLDEST = 14
#: Clocks that differ by more put rows into wrong slots, or refuse them.
_CLOCKS = timedelta(seconds=2)


async def check_database(url: str, dataset: str) -> list[Finding]:
    """Check the database and the schema of a dataset.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.

    Returns
    -------
    list of Finding
        What was seen; one ``fail`` if the database cannot be reached.
    """
    try:
        async with open_connection(url, dataset) as opened:
            return await _look(opened, url, dataset)
    except AccessDenied as error:
        advice = "correct user and password in FLOW_DATABASE_URL, or the server's pg_hba.conf"
        return [fail("database", str(error), advice)]
    except StoreUnavailable as error:
        advice = "start the server, or correct host and port in FLOW_DATABASE_URL"
        return [fail("database", str(error), advice)]
    except RightMissing as error:
        advice = "use the role that has run flow-store migrate, or one of flow-store grants"
        return [fail("database", str(error), advice)]
    except StoreError as error:
        return [fail("database", str(error), "use another database, or mend this one")]


async def identify(url: str, dataset: str) -> str:
    """Return the identity of a database, as its live channel has it.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.

    Returns
    -------
    str
        The identity; empty if the database cannot be reached.
    """
    try:
        async with open_connection(url, dataset) as opened:
            return await read_identity(opened)
    except StoreError:
        return ""


async def _look(opened: Connection, url: str, dataset: str) -> list[Finding]:
    findings = [await _server(opened, url), await _extension(opened)]
    try:
        await check_version(opened, dataset)
        findings.append(ok("schema", f"the schema of {dataset} has version {VERSION}"))
    except SchemaNewer as error:
        findings.append(fail("schema", str(error), "install the newer release"))
        return findings
    except SchemaMissing as error:
        findings.append(fail("schema", str(error), "run: flow-store migrate"))
        return findings
    try:
        await require_writable(opened)
        findings.append(ok("rights", "rows can be written"))
    except StoreError as error:
        advice = "use the role that has run flow-store migrate, or a server that takes writes"
        findings.append(fail("rights", str(error), advice))
    return findings


async def _server(opened: Connection, url: str) -> Finding:
    server = await fetch_one(
        opened,
        "select current_setting('server_version_num')::int / 10000 as version,"
        " current_setting('server_version') as shown, clock_timestamp() as now,"
        " (select reset_val from pg_settings where name = 'TimeZone') as zone",
    )
    place = f"{describe_database(url)}: PostgreSQL {server['shown'].split()[0]}"
    if server["version"] < _OLDEST:
        return fail("database", place, f"use PostgreSQL {_OLDEST} or newer")
    difference = _difference(server["now"])
    if abs(difference) > _CLOCKS:
        sentence = f"{place}; its clock is {difference.total_seconds():+.1f} s off this machine's"
        return warn("database", sentence, "turn time synchronisation on, on both machines")
    return ok("database", f"{place}, UTF-8, time zone {server['zone']}, clocks agree")


def _difference(server: datetime) -> timedelta:
    return server - Clock().now()


async def _extension(opened: Connection) -> Finding:
    version, level = await timescale.installed(opened)
    if version is None:
        return ok("timescale", "not installed; plain PostgreSQL tables are used")
    if level != "timescale":
        return warn(
            "timescale",
            f"TimescaleDB {version} at license level {level} does not compress",
            "install the community edition if disk space matters",
        )
    return ok("timescale", f"TimescaleDB {version}, old days are compressed")
