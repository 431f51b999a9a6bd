"""The store of one dataset: slot records and gaps are written here; ``read`` has the queries.

A dataset is a schema of the database. Queries do not name it: the connection's search path does.
Every write is one transaction. It takes the dataset's write lock first and gives each change the
next revision, so revisions become visible in order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import date
from typing import Self
from weakref import WeakSet

import psycopg
import structlog
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from storage.errors import AccessDenied, SchemaMissing, SchemaNewer, StoreUnavailable
from storage.postgres.alerts import AlertTable
from storage.postgres.database import (
    ALIVE,
    Connection,
    leave_read_only,
    open_connection,
    prepare_session,
    read_identity,
    require_writable,
    time_limit,
    translate_errors,
)
from storage.postgres.forecasts import ForecastTable
from storage.postgres.keys import KeyTable
from storage.postgres.migrate import check_version
from storage.postgres.queries import query
from storage.postgres.read import RecordReader
from storage.postgres.validate import validate_batch
from storage.postgres.write import find_settled_slots, write_batch
from storage.record.mode import WriteMode
from storage.record.result import WriteResult
from storage.record.row import Gap, SlotRecord

log = structlog.get_logger()

#: A connection that does not answer for so long is dead. [s]
_ALIVE = 3.0


class Store(RecordReader):
    """One dataset of one database. Open with ``Store.open``; whoever opens it closes it."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        dataset: str,
        *,
        size: int = 8,
        write: bool = False,
        patience: float = 300.0,
        later: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect, and check that the schema is the one of this release.

        Parameters
        ----------
        url, dataset : the database, and the schema in it.
        size : how many connections the pool may have.
        write : check also that rows can be written.
        patience : how long an answer may take before its connection is cut off. [s]
        later : open the store even if the database is away or not migrated yet. It is then checked
            before its first use, and each call raises what is wrong until nothing is.

        Yields
        ------
        Store
            The store; its connections are closed at the end of the block.

        Raises
        ------
        AccessDenied
            If the server does not let the user in, also with ``later``.
        StoreUnavailable, SchemaMissing, SchemaNewer
            If the database is away, or its schema is of another release, unless ``later``.
        StoreError
            If the database cannot be used: it is read-only, or not encoded in UTF-8.
        """

        # A pool retries silently for a long time. A plain connection fails at once, with a reason.
        async def check() -> None:
            async with open_connection(url, dataset) as first:
                await check_version(first, dataset)
                if write:
                    await require_writable(first)

        try:
            await check()
        except (StoreUnavailable, SchemaMissing, SchemaNewer) as error:
            # Waiting may bring the server back or a migration; it does not correct a password.
            if not later or isinstance(error, AccessDenied):
                raise

        async def configure(fresh: psycopg.AsyncConnection[DictRow]) -> None:
            await prepare_session(fresh, dataset)
            known.add(fresh)

        known: WeakSet[Connection] = WeakSet()

        async def alive(idle: psycopg.AsyncConnection[DictRow]) -> None:
            try:
                with time_limit(idle, _ALIVE):
                    await pool.check_connection(idle)
            except psycopg.Error:
                # If the server was restarted, all connections are dead. The pool by itself would
                # find that out one connection at a time, with growing pauses.
                with ExitStack() as stack:
                    for pooled in known:
                        stack.enter_context(time_limit(pooled, _ALIVE))
                    await pool.check()
                raise

        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": 5,
                # PGCLIENTENCODING in the environment must not change it.
                "client_encoding": "UTF8",
                **ALIVE,
            },
            configure=configure,
            # A connection that died while it was idle is replaced before it is handed out.
            check=alive,
            min_size=1,
            max_size=size,
            timeout=min(5.0, patience),
            # Reconnect within seconds after the database is back, however long it was away.
            reconnect_timeout=4,
            open=False,
        )
        await pool.open()
        try:
            yield cls(pool, patience, check if later else None)
        finally:
            await pool.close(timeout=5)

    async def identity(self) -> str:
        """Return what tells this database from every other one; see ``read_identity``.

        Raises
        ------
        StoreError
            If the database is away.
        """
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    return await read_identity(connection)

    @property
    def keys(self) -> KeyTable:
        """The table of the API's keys."""
        return KeyTable(self._all)

    @property
    def alerts(self) -> AlertTable:
        """The log of alerts."""
        return AlertTable(self._all)

    @property
    def forecasts(self) -> ForecastTable:
        """The record of forecasts."""
        return ForecastTable(self._all)

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
    ) -> WriteResult:
        """Write slot records and gaps in one transaction.

        A feed's rows and gaps of a day are a session of their own. A slot with a row is never a
        gap: a record closes its slot's gap, and a gap of a slot that has a row is not written.
        What equals the stored row or gap is not written. A record that cannot be stored is left out
        and logged; the others are written.

        Parameters
        ----------
        records : the records to write.
        gaps : slots without a row, each with its reason.
        mode : what happens to a slot that has a row already of the same feed.

        Returns
        -------
        WriteResult
            What changed, one change a symbol, and which records and gaps were refused.

        Raises
        ------
        StoreUnavailable
            If the database is away or answers too late.
        StoreFull
            If it has no room left.
        StoreError
            If it refuses the whole write. Whatever is raised, nothing was written.
        """
        if not records and not gaps:
            return WriteResult()
        valid, valid_gaps, invalid = validate_batch(records, gaps, mode)
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    async with leave_read_only(connection):
                        settled = await find_settled_slots(connection, valid, mode)
                        async with connection.transaction():
                            written = await write_batch(
                                connection, valid, valid_gaps, mode=mode, settled=settled
                            )
        result = WriteResult(written.changes, (*invalid, *written.refused))
        for refusal in result.refused:
            log.error("not written", symbol=refusal.symbol, slot=refusal.slot, why=refusal.reason)
        return result

    async def own(
        self, feeds: Mapping[str, str], expiration: date, *, fallback: bool = False
    ) -> None:
        """Note that a daemon samples a session of some symbols.

        Each slot of such a session must become a row or a gap; ``flow-store check`` judges it so.

        Parameters
        ----------
        feeds : the feed that each symbol is sampled from.
        expiration : the session's day.
        fallback : whether these feeds stand in for the ones that answers show first.
        """
        parameters = {
            "symbols": list(feeds),
            "sources": list(feeds.values()),
            "expiration": expiration,
            "fallback": fallback,
        }
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    async with leave_read_only(connection):
                        await connection.execute(query("own"), parameters)
