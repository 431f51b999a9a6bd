"""The store's connections: run one query, with a limit on how long its answer may take."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from storage.postgres.binary import read_arrays
from storage.postgres.database import time_limit, translate_errors
from storage.record.row import PROFILE_ARRAYS, Row, SlotRecord


class Pool:
    """A pool of connections, and the check that has to pass before its first use."""

    def __init__(
        self,
        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]],
        patience: float = 300.0,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wrap an open pool.

        Parameters
        ----------
        pool : the pool; whoever opened it closes it.
        patience : how long an answer may take before its connection is cut off. [s]
        check : called before the first query, and before each further one until it has passed once.
        """
        self._pool = pool
        self._patience = patience
        self._check = check
        #: The feed that sessions are read of; None for the one that is shown of each.
        self.feed: str | None = None

    def of_feed(self, feed: str | None) -> Self:
        """Return the same store, whose reads are of one feed.

        Parameters
        ----------
        feed : the feed; None for the one that is shown of each session.

        Returns
        -------
        Pool
            A view with the same connections.
        """
        view = copy.copy(self)
        view.feed = feed
        return view

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises
        ------
        StoreUnavailable
            If it gives none.
        """
        await self._one("select 1")

    async def ready(self) -> None:
        """Run the check of a store that was opened with ``later``, unless it has passed already.

        Raises
        ------
        StoreUnavailable, SchemaMissing, SchemaNewer
            What is wrong with the database now.
        """
        if self._check is not None:
            await self._check()
            self._check = None

    async def _all(self, text: str, *, binary: bool = False, **parameters: Any) -> list[DictRow]:
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    cursor = await connection.execute(
                        text, {"feed": self.feed} | parameters, binary=binary
                    )
                    return await cursor.fetchall()

    async def _one(self, text: str, *, binary: bool = False, **parameters: Any) -> DictRow | None:
        rows = await self._all(text, binary=binary, **parameters)
        return rows[0] if rows else None


def session_bounds(symbol: str, expiration: date) -> dict[str, Any]:
    """Return the parameters of a session: its key, and two moments that enclose it.

    ``first`` and ``last`` let the database skip the chunks of other days.

    Parameters
    ----------
    symbol, expiration : the session.

    Returns
    -------
    dict
        ``symbol``, ``expiration``, ``first`` and ``last``.
    """
    first, last = _around(expiration, expiration)
    return {"symbol": symbol, "expiration": expiration, "first": first, "last": last}


def period_bounds(first: date, last: date) -> dict[str, Any]:
    """Return the parameters of a period: its days, and two moments that enclose them.

    Parameters
    ----------
    first, last : days, both included.

    Returns
    -------
    dict
        ``first`` and ``last`` (days), ``since`` and ``until`` (moments, UTC).
    """
    since, until = _around(first, last)
    return {"first": first, "last": last, "since": since, "until": until}


def _around(first: date, last: date) -> tuple[datetime, datetime]:
    # The first and the last date of the calendar are valid too.
    begin = max(first.toordinal(), 2) - 1
    end = min(last.toordinal() + 2, date.max.toordinal())
    midnight = time(0, tzinfo=UTC)
    return (
        datetime.combine(date.fromordinal(begin), midnight),
        datetime.combine(date.fromordinal(end), midnight),
    )


def record_from_columns(columns: DictRow) -> SlotRecord:
    """Return the slot record of a result row. Its profile is empty if no array was selected.

    Parameters
    ----------
    columns : a row's columns, ``evidence``, and arrays as ``p_`` and their name.

    Returns
    -------
    SlotRecord
        The record.
    """
    arrays = [columns[f"p_{name}"] for name in PROFILE_ARRAYS if f"p_{name}" in columns]
    profile = dict(zip(PROFILE_ARRAYS, read_arrays(arrays), strict=True)) if arrays else {}
    return SlotRecord(row=Row.from_columns(columns), profile=profile, evidence=columns["evidence"])
