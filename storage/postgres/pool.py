"""How the store is asked: one answer at a time, each within its patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from storage.postgres.binary import read_arrays
from storage.postgres.database import time_limit, translate_errors
from storage.record.row import PROFILE_ARRAYS, Row, SlotRecord


class Pool:
    """A pool of connections, and what has to be right before the first answer."""

    def __init__(
        self,
        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]],
        patience: float = 300.0,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``patience`` is how long an answer may take; then its connection is cut off. [s]

        ``check`` is called before the first use, and again until it raises nothing.
        """
        self._pool = pool
        self._patience = patience
        self._check = check

    async def ping(self) -> None:
        """Ask the database for a sign of life; raises StoreUnavailable without one."""
        await self._one("select 1")

    async def ready(self) -> None:
        """Raise what is wrong with a database that was opened for later, until nothing is.

        Raises
        ------
        StoreUnavailable, SchemaMissing, SchemaNewer
        """
        if self._check is not None:
            await self._check()
            self._check = None

    async def _all(self, text: str, *, binary: bool = False, **given: Any) -> list[DictRow]:
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    cursor = await connection.execute(text, given, binary=binary)
                    return await cursor.fetchall()

    async def _one(self, text: str, *, binary: bool = False, **given: Any) -> DictRow | None:
        rows = await self._all(text, binary=binary, **given)
        return rows[0] if rows else None


def session_bounds(symbol: str, expiration: date) -> dict[str, Any]:
    """A session, and moments that surely enclose it: days outside are not even looked at."""
    first, last = _around(expiration, expiration)
    return {"symbol": symbol, "expiration": expiration, "first": first, "last": last}


def period_bounds(first: date, last: date) -> dict[str, Any]:
    """Sessions of a period, and moments that surely enclose them."""
    since, until = _around(first, last)
    return {"first": first, "last": last, "since": since, "until": until}


def _around(first: date, last: date) -> tuple[datetime, datetime]:
    # Any date can be asked for, also the first and the last that there is.
    begin = max(first.toordinal(), 2) - 1
    end = min(last.toordinal() + 2, date.max.toordinal())
    midnight = time(0, tzinfo=UTC)
    return (
        datetime.combine(date.fromordinal(begin), midnight),
        datetime.combine(date.fromordinal(end), midnight),
    )


def record_from_columns(found: DictRow) -> SlotRecord:
    """A slot record as it was read; without a profile where none was asked for."""
    sent = [found[f"p_{name}"] for name in PROFILE_ARRAYS if f"p_{name}" in found]
    profile = dict(zip(PROFILE_ARRAYS, read_arrays(sent), strict=True)) if sent else {}
    return SlotRecord(row=Row.from_columns(found), profile=profile, evidence=found["evidence"])
