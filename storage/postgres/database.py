"""Open connections to the database, and turn the driver's errors into ours.

A dataset is a schema; a connection's search path says which one queries use.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any

import orjson
import psycopg
from psycopg import errors as pg
from psycopg import sql as compose
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import PoolTimeout

from storage.errors import (
    AccessDenied,
    RightMissing,
    SchemaMissing,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueRefused,
)
from storage.postgres.queries import query
from storage.postgres.startup import is_user_refused

Connection = psycopg.AsyncConnection[DictRow]
#: TCP settings by which a client notices after ten seconds that its server is gone; by the query
#: ``give_up`` a server notices the same of its client. [-, s, s, number, ms]
ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: The connection is gone, also because the server has ended a session that stood still.
_GONE = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.IdleInTransactionSessionTimeout,
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of the driver into errors of ``storage.errors``; the cause stays attached.

    Raises
    ------
    StoreError
        Or its subclass that says what went wrong.
    """
    try:
        yield
    except (pg.DiskFull, pg.OutOfMemory) as error:
        raise StoreFull(f"the database has no room left: {_first_line(error)}") from error
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName) as error:
        raise SchemaMissing(
            f"the database lacks our tables ({_first_line(error)}); run: flow-store migrate"
        ) from error
    except pg.ReadOnlySqlTransaction as error:
        raise StoreError("FLOW_DATABASE_URL: the database is read-only") from error
    except pg.InsufficientPrivilege as error:
        raise RightMissing(
            f"FLOW_DATABASE_URL: the role may not do this: {_first_line(error)}"
        ) from error
    except (pg.InvalidPassword, pg.InvalidAuthorizationSpecification) as error:
        raise _access_denied(error) from error
    except _GONE as error:
        raise StoreUnavailable(
            f"FLOW_DATABASE_URL: the database cannot be reached: {_first_line(error)}"
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ValueRefused(f"the database refused a value: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise StoreError(f"the database refused: {_first_line(error)}") from error


def _access_denied(error: psycopg.Error) -> AccessDenied:
    return AccessDenied(
        f"FLOW_DATABASE_URL: the server does not let this user in: {_first_line(error)}"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


async def prepare_session(opened: Connection, dataset: str) -> None:
    """Set a connection's dataset, UTC and ISO dates, and how soon the server gives it up.

    Without the last, a machine that is cut off while it writes would keep the dataset's write lock,
    and every other writer waiting, for the two hours that operating systems take by default.

    Parameters
    ----------
    opened : an open connection.
    dataset : the schema that queries read and write.
    """
    await opened.set_autocommit(True)
    path = compose.SQL("set search_path to {}, public").format(compose.Identifier(dataset))
    await opened.execute(path)
    await opened.execute("set timezone to 'UTC'")
    await opened.execute("set datestyle to 'ISO'")
    await opened.execute(query("give_up"))
    set_json_loads(orjson.loads, opened)


@asynccontextmanager
async def leave_read_only(opened: Connection) -> AsyncIterator[None]:
    """Give up a connection whose server has become read-only, as after a failover.

    The next connection asks for the address anew, and may lead to the server that writes.

    Parameters
    ----------
    opened : an open connection.

    Yields
    ------
    None
        Once; the error of the block is raised on.
    """
    try:
        yield
    except pg.ReadOnlySqlTransaction:
        await opened.close()
        raise


@contextmanager
def time_limit(opened: Connection, seconds: float) -> Iterator[None]:
    """Cut a connection off if the block takes longer; the driver then raises OperationalError.

    Cancelling the query would not help where the network has lost its answer: the driver would wait
    for the server to confirm.

    Parameters
    ----------
    opened : an open connection.
    seconds : how long the block may take. [s]

    Yields
    ------
    None
        Once; the connection is as it was if the block ends in time.
    """

    def cut() -> None:
        # The server may have closed the connection already.
        with suppress(OSError, psycopg.Error), socket(fileno=os.dup(opened.fileno())) as end:
            end.shutdown(SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(seconds, cut)
    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def open_connection(url: str, dataset: str, **options: Any) -> AsyncIterator[Connection]:
    """Open one plain connection to a dataset.

    Parameters
    ----------
    url, dataset : the database, and the schema in it.
    options : libpq's own options.

    Yields
    ------
    Connection
        The connection; it is closed at the end of the block.

    Raises
    ------
    AccessDenied
        If the server does not let the user in.
    StoreUnavailable
        If the server cannot be reached. The message has the server's own words; it does not repeat
        the URL, which may hold a password.
    StoreError
        If the database's encoding is not UTF-8.
    """
    _check_url(url)
    with translate_errors():
        try:
            opened = await Connection.connect(
                url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=5,
                client_encoding="UTF8",
                **(ALIVE | options),
            )
        except psycopg.OperationalError as error:
            if error.pgconn is not None and await is_user_refused(error.pgconn):
                raise _access_denied(error) from error
            raise
    async with opened:
        with translate_errors():
            await _require_utf8(opened)
            await prepare_session(opened, dataset)
            yield opened


async def _require_utf8(opened: Connection) -> None:
    """Refuse a database that cannot store every text; a vendor may send any."""
    encoding = opened.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"FLOW_DATABASE_URL: the database's encoding is {encoding}, not UTF8; make another:"
            " createdb --encoding=UTF8 --template=template0 NAME"
        )


async def require_writable(opened: Connection) -> None:
    """Refuse a database in which this role cannot write rows.

    Parameters
    ----------
    opened : an open connection to the dataset.

    Raises
    ------
    StoreError
        If the database is read-only or a replica, or the role lacks a privilege.
    """
    role = await fetch_one(
        opened,
        "select current_setting('transaction_read_only')::bool or pg_is_in_recovery() as closed,"
        " has_table_privilege('rows', 'insert, update') and has_table_privilege('rows', 'select')"
        " and has_sequence_privilege('revision', 'usage')"
        " and has_database_privilege(current_database(), 'temporary') as may,"
        " current_user as name",
    )
    if role["closed"]:
        raise StoreError("FLOW_DATABASE_URL: the database is read-only: nothing can be stored")
    if not role["may"]:
        raise StoreError(
            f"FLOW_DATABASE_URL: the role {role['name']} may not write here: it needs SELECT,"
            " INSERT, UPDATE and DELETE on the tables, USAGE on the sequence revision, TEMPORARY"
            " on the database; easiest is the role that has run flow-store migrate"
        )


async def read_identity(opened: Connection) -> str:
    """Return what tells a database from every other one, on whatever server.

    It stays the same over restarts and failovers. A copy, a restored dump and a server after
    pg_upgrade have another one.

    Parameters
    ----------
    opened : an open connection.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    try:
        row = await fetch_one(
            opened,
            "select s.system_identifier || '/' || d.oid as identity"
            " from pg_control_system() s, pg_database d where d.datname = current_database()",
        )
    except pg.InsufficientPrivilege:
        # Some services keep the server's own identifier to themselves.
        row = await fetch_one(
            opened,
            "select d.datname || '/' || d.oid as identity"
            " from pg_database d where d.datname = current_database()",
        )
    return hashlib.sha256(row["identity"].encode()).hexdigest()[:12]


def describe_database(url: str) -> str:
    """Return host, port and name of a URL's database, and nothing secret.

    Parameters
    ----------
    url : the URL.

    Returns
    -------
    str
        Such as ``db.example 5432 flow``, with - for what the URL leaves out.

    Raises
    ------
    StoreUnavailable
        If the URL cannot be read.
    """
    _check_url(url)
    read = conninfo_to_dict(url)
    return " ".join(str(read.get(field, "-")) for field in ("host", "port", "dbname"))


def _check_url(url: str) -> None:
    """Refuse a URL that libpq cannot read, or misreads; its message would repeat the password."""
    try:
        read = conninfo_to_dict(url)
        misread = any("@" in str(read.get(field, "")) for field in ("host", "port", "dbname"))
    except (psycopg.ProgrammingError, UnicodeError):
        misread = True
    if misread:
        raise StoreUnavailable(
            "FLOW_DATABASE_URL: not a URL that PostgreSQL can read; in a password, @ is written"
            " %40, / %2F and % %25"
        ) from None


async def fetch_one(opened: Connection, query: str, *parameters: Any) -> DictRow:
    """Run a statement that returns one row.

    Parameters
    ----------
    opened : an open connection.
    query : the statement.
    *parameters : values of its placeholders, in order.

    Returns
    -------
    dict
        The row's values by column.
    """
    row = await (await opened.execute(query, parameters)).fetchone()
    assert row is not None
    return row
