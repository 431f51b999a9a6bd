"""Slot records in, windows out. psycopg is used here and in ``database``, nowhere else.

A dataset is a PostgreSQL schema; nothing here names one, the search path does. Every write is one
transaction, takes the dataset's write lock first, and gives each change the next revision.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Self

import numpy as np
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from storage import sql
from storage.database import check_version, connection, prepare, translated
from storage.row import COLUMNS, PROFILE, Gap, Row, SlotRecord

_QUERIES = sql.load("queries.sql")
_KEY = ("symbol", "expiration", "slot")
_PROFILE = ("strike", *PROFILE)
#: What happens to a slot that has a row already: see ``upsert_row``.
KEEP, NEWER, REWRITE = "keep", "newer", "rewrite"


@dataclass(frozen=True, slots=True)
class Stored:
    """A row that was written, and the revision it got."""

    row: Row
    revision: int


def _names(*columns: str) -> str:
    return ", ".join(columns)


def _query(name: str, columns: Sequence[str] = ()) -> str:
    """A named query with its column lists filled in; the names come from our own dataclasses."""
    text = _QUERIES[name]
    if "{" in text:
        changing = [c for c in columns if c not in _KEY]
        text = text.format(
            columns=_names(*columns),
            values=_names(*(f"%({c})s" for c in columns)),
            assignments=_names(*(f"{c} = excluded.{c}" for c in changing)),
            stored=_names(*(f"rows.{c}" for c in changing)),
            offered=_names(*(f"excluded.{c}" for c in changing)),
            # Rows and profiles share names (call_gex is a sum here, an array there).
            profile=_names(*(f"p.{c} as p_{c}" for c in _PROFILE)),
        )
    return text


_UPSERT_ROW = _query("upsert_row", COLUMNS)
_UPSERT_PROFILE = _query("upsert_profile", _PROFILE)


class Store:
    """One dataset of one database. Open with ``Store.open``; whoever opens it closes it."""

    def __init__(self, pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]) -> None:
        self._pool = pool

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
                await connection.execute(_query("close_gap"), values)
                if found is None:
                    continue
                arrays = {name: record.profile[name].tolist() for name in _PROFILE}
                await connection.execute(_UPSERT_PROFILE, values | arrays)
                evidence = {"evidence": record.evidence}
                await connection.execute(_query("upsert_chain"), values | evidence)
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
                    _query("mark_gap"),
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

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """The newest slot record of a session that is earlier than ``slot``."""
        found = await self._one(_query("record"), symbol=symbol, expiration=expiration, before=slot)
        return None if found is None else _record(found)

    async def slots(self, symbol: str, expiration: date) -> list[datetime]:
        """Slots of a session that have a row, in order."""
        rows = await self._all(_query("slots"), symbol=symbol, expiration=expiration)
        return [row["slot"] for row in rows]

    async def gaps(self, symbol: str, expiration: date) -> list[DictRow]:
        """Known gaps of a session: slot, reason, detail, revision."""
        return await self._all(_query("gaps"), symbol=symbol, expiration=expiration)

    async def window(
        self,
        symbol: str,
        expiration: date,
        *,
        start: datetime,
        until: datetime,
        width: timedelta,
        columns: Sequence[str],
    ) -> list[DictRow]:
        """The last row of each bucket of a half-open window, in order.

        Each has ``bucket`` (its start), the columns asked for, and the bucket's newest
        ``revision``. Buckets align to the clock.
        """
        return await self._all(
            _query("window", columns),
            symbol=symbol,
            expiration=expiration,
            start=start,
            until=until,
            width=width,
        )

    async def newest(self, symbol: str, expiration: date) -> DictRow:
        """The newest row of a session (nulls without one), and ``cursor``, its newest change."""
        found = await self._one(_query("newest", COLUMNS), symbol=symbol, expiration=expiration)
        return found or {}

    async def known(self, symbol: str) -> bool:
        """Whether a symbol was ever sampled, or tried."""
        found = await self._one(_query("known"), symbol=symbol)
        return bool(found and next(iter(found.values())))

    async def symbols(self) -> dict[str, datetime]:
        """Every symbol that has rows, and its newest slot."""
        return {row["symbol"]: row["slot"] for row in await self._all(_query("symbols"))}

    async def newest_slot(self) -> datetime | None:
        """The newest slot of the dataset."""
        found = await self._one(_query("newest_slot"))
        return None if found is None else found["max"]

    async def coverage(
        self, first: date, last: date, symbols: Sequence[str] | None = None
    ) -> list[DictRow]:
        """Rows and gaps of each symbol and session of a period."""
        wanted = None if symbols is None else list(symbols)
        return await self._all(_query("coverage"), first=first, last=last, symbols=wanted)

    async def changed_since(
        self, cursor: int, symbols: Sequence[str] | None = None, limit: int = 1000
    ) -> list[DictRow]:
        """Rows whose revision is above a cursor, in the order in which they were stored."""
        wanted = None if symbols is None else list(symbols)
        query = _query("changed_since", COLUMNS)
        return await self._all(query, cursor=cursor, symbols=wanted, limit=limit)

    async def cursor(self) -> int:
        """The newest change of the dataset."""
        found = await self._one(_query("cursor"))
        return int(found["greatest"]) if found else 0

    async def exported(
        self, first: date, last: date, symbols: Sequence[str] | None = None
    ) -> AsyncGenerator[DictRow, None]:
        """Chains of a period as they are kept: symbol, expiration, slot, evidence."""
        wanted = None if symbols is None else list(symbols)
        given = {"first": first, "last": last, "symbols": wanted}
        with translated():
            async with (
                self._pool.connection() as connection,
                connection.transaction(),
                connection.cursor("exported") as cursor,
            ):
                await cursor.execute(_query("exported"), given)
                async for row in cursor:
                    yield row

    async def ping(self) -> None:
        """Ask the database for a sign of life; raises StoreUnavailable without one."""
        await self._one("select 1")

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_query("lock"))
                yield connection

    async def _all(self, query: str, **given: Any) -> list[DictRow]:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, given)
                return await cursor.fetchall()

    async def _one(self, query: str, **given: Any) -> DictRow | None:
        rows = await self._all(query, **given)
        return rows[0] if rows else None


def _row_values(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    values["flags"] = list(row.flags)
    for name in ("dropped", "quotes_unused", "settled", "detail"):
        values[name] = Jsonb(values[name])
    return values


def _record(found: DictRow) -> SlotRecord:
    values = {name: found[name] for name in COLUMNS} | {"flags": tuple(found["flags"])}
    profile = {name: np.array(found[f"p_{name}"], np.float64) for name in _PROFILE}
    return SlotRecord(row=Row(**values), profile=profile, evidence=found["evidence"])
