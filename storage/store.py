"""Slot records in; ``reader`` has the windows out.

A dataset is a PostgreSQL schema; nothing here names one, the search path does. Every write is one
transaction, takes the dataset's write lock first, and gives each change the next revision.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from storage.database import check_version, connection, prepare, translated
from storage.keys import Keys
from storage.reader import ARRAYS, Reader, query
from storage.row import COLUMNS, Gap, Row, SlotRecord

#: What happens to a slot that has a row already: see ``upsert_row``.
KEEP, NEWER, REWRITE = "keep", "newer", "rewrite"


@dataclass(frozen=True, slots=True)
class Stored:
    """A row that was written, and the revision it got."""

    row: Row
    revision: int


_UPSERT_ROW = query("upsert_row", COLUMNS)
_UPSERT_PROFILE = query("upsert_profile", ARRAYS)


class Store(Reader):
    """One dataset of one database. Open with ``Store.open``; whoever opens it closes it."""

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, dataset: str, *, size: int = 8) -> AsyncIterator[Self]:
        """Connect and check the schema's version.

        Raises
        ------
        StoreUnavailable, SchemaMissing, SchemaNewer
        """
        # A pool retries silently for long; one plain connection says at once what is wrong.
        async with connection(url, dataset) as first:
            await check_version(first, dataset)

        async def configure(fresh: psycopg.AsyncConnection[DictRow]) -> None:
            await prepare(fresh, dataset)

        async def alive(idle: psycopg.AsyncConnection[DictRow]) -> None:
            try:
                await pool.check_connection(idle)
            except psycopg.Error:
                # A restarted server has ended the others too. Left to itself, the pool would
                # find that out one after another, with growing pauses.
                await pool.check()
                raise

        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={"autocommit": True, "row_factory": dict_row, "connect_timeout": 5},
            configure=configure,
            # A connection that died while it was idle is replaced before it is handed out.
            check=alive,
            min_size=1,
            max_size=size,
            timeout=5,
            # Back within seconds of the database, however long it was away.
            reconnect_timeout=4,
            open=False,
        )
        await pool.open()
        try:
            yield cls(pool)
        finally:
            await pool.close(timeout=5)

    @property
    def keys(self) -> Keys:
        """The table of the API's keys."""
        return Keys(self._all)

    async def append(self, records: Sequence[SlotRecord], mode: str = KEEP) -> list[Stored]:
        """Write slot records in one transaction; what was written comes back, in order.

        A slot that has a row keeps it, unless ``mode`` says otherwise; its gap, if any, is closed.

        Raises
        ------
        StoreUnavailable, StoreFull, StoreError
            Then nothing of it was written.
        """
        written = []
        async with self._writing() as connection:
            for record in records:
                values = _row_values(record.row)
                cursor = await connection.execute(_UPSERT_ROW, values | {"mode": mode})
                found = await cursor.fetchone()
                await connection.execute(query("close_gap"), values)
                if found is None:
                    continue
                arrays = {name: record.profile[name].tolist() for name in ARRAYS}
                await connection.execute(_UPSERT_PROFILE, values | arrays)
                evidence = {"evidence": record.evidence}
                await connection.execute(query("upsert_chain"), values | evidence)
                written.append(Stored(record.row, found["revision"]))
        return written

    async def mark(self, gaps: Sequence[Gap]) -> int:
        """Write gaps in one transaction; how many were news. A slot with a row is none."""
        if not gaps:
            return 0
        news = 0
        async with self._writing() as connection:
            for gap in gaps:
                cursor = await connection.execute(
                    query("mark_gap"),
                    {
                        "symbol": gap.symbol,
                        "expiration": gap.expiration,
                        "slot": gap.slot,
                        "reason": str(gap.reason),
                        "detail": gap.detail[:500],
                    },
                )
                news += len(await cursor.fetchall())
        return news

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(query("lock"))
                yield connection


def _row_values(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    values["flags"] = list(row.flags)
    for name in ("dropped", "quotes_unused", "settled", "detail"):
        values[name] = Jsonb(values[name])
    return values
