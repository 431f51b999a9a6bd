"""Slot records in; ``reader`` has the windows out.

A dataset is a PostgreSQL schema; nothing here names one, the search path does. Every write is one
transaction, takes the dataset's write lock first, and gives each change the next revision.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import date
from typing import Self
from weakref import WeakSet

import psycopg
import structlog
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from storage.errors import AccessDenied, SchemaMissing, SchemaNewer, StoreUnavailable
from storage.postgres.database import (
    Connection,
    open_connection,
    prepare_session,
    require_writable,
    time_limit,
    translate_errors,
)
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
        """Connect and check the schema's version; ``patience`` is ``RecordReader``'s.

        With ``write``, also that rows can be written. With ``later`` the database may be away: it
        is checked before it is first used, and every call raises what is wrong until nothing is.

        Raises
        ------
        StoreUnavailable, SchemaMissing, SchemaNewer, StoreError
        """

        # A pool retries silently for long; one plain connection says at once what is wrong.
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
                # A restarted server has ended the others too. Left to itself, the pool would
                # find that out one after another, with growing pauses.
                with ExitStack() as stack:
                    for one in known:
                        stack.enter_context(time_limit(one, _ALIVE))
                    await pool.check()
                raise

        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": 5,
                # Not the environment's.
                "client_encoding": "UTF8",
            },
            configure=configure,
            # A connection that died while it was idle is replaced before it is handed out.
            check=alive,
            min_size=1,
            max_size=size,
            timeout=min(5.0, patience),
            # Back within seconds of the database, however long it was away.
            reconnect_timeout=4,
            open=False,
        )
        await pool.open()
        try:
            yield cls(pool, patience, check if later else None)
        finally:
            await pool.close(timeout=5)

    @property
    def keys(self) -> KeyTable:
        """The table of the API's keys."""
        return KeyTable(self._all)

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: WriteMode = WriteMode.KEEP,
        mixed: bool = False,
    ) -> WriteResult:
        """Write slot records and gaps in one transaction; what changed, a ``Change`` a symbol.

        A slot that has a row keeps it, unless ``mode`` says otherwise; its gap, if any, is closed.
        A slot that has a row is no gap. What changes nothing writes nothing. A record that cannot
        be stored, or is of another source than its session (unless ``mixed``), costs no other one:
        it is left out, logged, and among ``refused`` of the answer.

        Raises
        ------
        StoreUnavailable, StoreFull, StoreError
            Then nothing of it was written.
        """
        if not records and not gaps:
            return WriteResult()
        fitting, marks, unfit = validate_batch(records, gaps, mode)
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    kept = await find_settled_slots(connection, fitting, mode)
                    async with connection.transaction():
                        written = await write_batch(
                            connection, fitting, marks, mode=mode, mixed=mixed, kept=kept
                        )
        result = WriteResult(written.changes, (*unfit, *written.refused))
        for refusal in result.refused:
            log.error("not written", symbol=refusal.symbol, slot=refusal.slot, why=refusal.reason)
        return result

    async def own(self, symbols: Sequence[str], expiration: date) -> None:
        """Note that a daemon samples a session of some symbols: all its slots are to be told of."""
        given = {"symbols": list(symbols), "expiration": expiration}
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    await connection.execute(query("own"), given)
