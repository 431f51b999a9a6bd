"""Slot records in; ``reader`` has the windows out.

A dataset is a PostgreSQL schema; nothing here names one, the search path does. Every write is one
transaction, takes the dataset's write lock first, and gives each change the next revision.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self
from weakref import WeakSet

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from storage.database import Connection, check_version, connection, prepare, translated, within
from storage.keys import Keys
from storage.reader import ARRAYS, Reader, query
from storage.row import COLUMNS, Change, Gap, Row, SlotRecord

#: What happens to a slot that has a row already: see ``upsert_row``.
KEEP, NEWER, REWRITE = "keep", "newer", "rewrite"


#: A connection that does not answer for so long is dead. [s]
_ALIVE = 3.0

_UPSERT_ROW = query("upsert_row", COLUMNS)
_UPSERT_PROFILE = query("upsert_profile", ARRAYS)


class Store(Reader):
    """One dataset of one database. Open with ``Store.open``; whoever opens it closes it."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        dataset: str,
        *,
        size: int = 8,
        patience: float = 300.0,
        later: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect and check the schema's version; ``patience`` is ``Reader``'s.

        With ``later`` the database may be away: it is checked before it is first used, and every
        call raises what is wrong until nothing is.

        Raises
        ------
        StoreUnavailable, SchemaMissing, SchemaNewer
        """

        # A pool retries silently for long; one plain connection says at once what is wrong.
        async def check() -> None:
            async with connection(url, dataset) as first:
                await check_version(first, dataset)

        if not later:
            await check()

        async def configure(fresh: psycopg.AsyncConnection[DictRow]) -> None:
            await prepare(fresh, dataset)
            known.add(fresh)

        known: WeakSet[Connection] = WeakSet()

        async def alive(idle: psycopg.AsyncConnection[DictRow]) -> None:
            try:
                with within(idle, _ALIVE):
                    await pool.check_connection(idle)
            except psycopg.Error:
                # A restarted server has ended the others too. Left to itself, the pool would
                # find that out one after another, with growing pauses.
                with ExitStack() as stack:
                    for one in known:
                        stack.enter_context(within(one, _ALIVE))
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
    def keys(self) -> Keys:
        """The table of the API's keys."""
        return Keys(self._all)

    async def write(
        self,
        records: Sequence[SlotRecord] = (),
        gaps: Sequence[Gap] = (),
        *,
        mode: str = KEEP,
    ) -> list[Change]:
        """Write slot records and gaps in one transaction; what changed, a ``Change`` a symbol.

        A slot that has a row keeps it, unless ``mode`` says otherwise; its gap, if any, is closed.
        A slot that has a row is no gap. What changes nothing writes nothing.

        Raises
        ------
        StoreUnavailable, StoreFull, StoreError
            Then nothing of it was written.
        """
        if not records and not gaps:
            return []
        news = _News()
        async with self._writing() as connection:
            for record in records:
                if revision := await _put(connection, record, mode):
                    news.rows.append((revision, record.row))
            for gap in gaps:
                if revision := await _mark(connection, gap):
                    news.gaps.append((revision, gap))
            return await _advance(connection, news)

    async def own(self, symbols: Sequence[str], expiration: date) -> None:
        """Note that a daemon samples a session of some symbols: all its slots are to be told of."""
        given = {"symbols": list(symbols), "expiration": expiration}
        await self.ready()
        with translated():
            async with self._pool.connection() as connection:
                with within(connection, self._patience):
                    await connection.execute(query("own"), given)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        await self.ready()
        with translated():
            async with self._pool.connection() as connection:
                with within(connection, self._patience):
                    async with connection.transaction():
                        await connection.execute(query("lock"))
                        yield connection


@dataclass(slots=True)
class _News:
    """What a transaction has written, in order."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    gaps: list[tuple[int, Gap]] = field(default_factory=list)


async def _put(connection: Connection, record: SlotRecord, mode: str) -> int | None:
    """Write a slot record; its revision, None if it changed nothing."""
    values = _row_values(record.row)
    found = await (await connection.execute(_UPSERT_ROW, values | {"mode": mode})).fetchone()
    await connection.execute(query("close_gap"), values)
    if found is None:
        return None
    arrays = {name: record.profile[name].tolist() for name in ARRAYS}
    await connection.execute(_UPSERT_PROFILE, values | arrays)
    await connection.execute(query("upsert_chain"), values | {"evidence": record.evidence})
    return int(found["revision"])


async def _mark(connection: Connection, gap: Gap) -> int | None:
    """Write a gap; its revision, None if it changed nothing."""
    given = {name: getattr(gap, name) for name in ("symbol", "expiration", "slot", "detail")}
    cursor = await connection.execute(query("mark_gap"), given | {"reason": str(gap.reason)})
    found = await cursor.fetchone()
    return None if found is None else int(found["revision"])


async def _advance(connection: Connection, news: _News) -> list[Change]:
    """Move the heads of what was written; the changes."""
    changed: list[tuple[int, Row | Gap]] = [*news.rows, *news.gaps]
    symbols = sorted({one.symbol for _, one in changed})
    cursor = await connection.execute(query("heads"), {"symbols": symbols})
    before = {row["symbol"]: row["revision"] for row in await cursor.fetchall()}
    for revision, one in changed:
        values = {name: getattr(one, name) for name in ("symbol", "expiration", "slot")}
        values |= {"source": getattr(one, "source", None), "revision": revision}
        await connection.execute(query("advance_session"), values)
    changes = []
    for symbol in symbols:
        change = Change(
            symbol=symbol,
            after=before.get(symbol, 0),
            revision=max(revision for revision, one in changed if one.symbol == symbol),
            rows=tuple(r for r in news.rows if r[1].symbol == symbol),
            gaps=tuple(g for g in news.gaps if g[1].symbol == symbol),
        )
        await connection.execute(
            query("advance_head"), {"symbol": symbol, "revision": change.revision}
        )
        changes.append(change)
    return changes


def _row_values(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    values["flags"] = list(row.flags)
    for name in ("dropped", "quotes_unused", "settled", "detail"):
        values[name] = Jsonb(values[name])
    return values
