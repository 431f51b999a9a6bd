"""Read rows, gaps, coverage and changes of a dataset."""

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from psycopg.rows import DictRow, tuple_row

from storage.market.calendar import Session, session_on
from storage.postgres.database import time_limit, translate_errors
from storage.postgres.overdue import SampledSymbol
from storage.postgres.pool import Pool, period_bounds, record_from_columns, session_bounds
from storage.postgres.queries import query
from storage.postgres.windows import WindowReader
from storage.record.row import COLUMNS, MOMENTS, Change, Gap, Reason, Row, SlotRecord


class ChangeReader(Pool):
    """Reads how far each symbol is, and what has changed beyond a cursor."""

    async def cursor(self) -> int:
        """Return the newest revision of the dataset; 0 if it has none."""
        row = await self._one(query("cursor"))
        return int(row["revision"]) if row else 0

    async def heads(self, symbols: Sequence[str] | None = None) -> dict[str, int]:
        """Return the newest revision of each symbol that has a row or a gap.

        Parameters
        ----------
        symbols : the symbols; None for all.

        Returns
        -------
        dict
            Revision by symbol.
        """
        selection = None if symbols is None else list(symbols)
        rows = await self._all(query("heads"), symbols=selection)
        return {row["symbol"]: row["revision"] for row in rows}

    async def changes(self, after: Mapping[str, int], limit: int | None = None) -> list[Change]:
        """Return what has changed beyond the cursors of some symbols.

        Parameters
        ----------
        after : a cursor a symbol: the revision that the caller has.
        limit : at most so many rows a symbol. The change then ends at its last row's revision.

        Returns
        -------
        list of Change
            One change of each symbol that has changed.
        """
        behind = await self._all(
            query("behind"), symbols=list(after), after=[int(n) for n in after.values()]
        )
        if not behind:
            return []
        # Revisions become visible in order. Up to the heads, the two queries see the same state.
        parameters = {
            "symbols": [f["symbol"] for f in behind],
            "after": [f["after"] for f in behind],
            "first": min(f["first"] for f in behind),
            "last": max(f["last"] for f in behind),
        }
        heads = {f["symbol"]: f["head"] for f in behind}
        rows: dict[str, list[tuple[int, Row]]] = {symbol: [] for symbol in heads}
        text = query("changed_rows", COLUMNS)
        for row in await self._all(text, **parameters, heads=list(heads.values()), limit=limit):
            rows[row["symbol"]].append((row["revision"], Row.from_columns(row)))
        for symbol, new_rows in rows.items():
            if limit is not None and len(new_rows) >= limit:
                heads[symbol] = new_rows[-1][0]
        gaps: dict[str, list[tuple[int, Gap]]] = {symbol: [] for symbol in heads}
        for row in await self._all(query("changed_gaps"), **parameters, heads=list(heads.values())):
            revision = row.pop("revision")
            gaps[row["symbol"]].append((revision, Gap(**row | {"reason": Reason(row["reason"])})))
        return [
            Change(
                symbol=f["symbol"],
                after=f["after"],
                revision=heads[f["symbol"]],
                rows=tuple(rows[f["symbol"]]),
                gaps=tuple(gaps[f["symbol"]]),
            )
            for f in behind
        ]


class RecordReader(WindowReader, ChangeReader):
    """All that is read of a dataset. ``Store`` adds the writes."""

    async def before(
        self, symbol: str, expiration: date, slot: datetime, feed: str | None = None
    ) -> SlotRecord | None:
        """Return the newest slot record of a session before ``slot``; None without one.

        Parameters
        ----------
        symbol, expiration : the session.
        slot : the moment, UTC; its own record does not count.
        feed : whose record; None for the feed that this store reads.

        Returns
        -------
        SlotRecord or None
            The record, with its profile and evidence.
        """
        parameters = session_bounds(symbol, expiration)
        row = await self._one(query("record"), **parameters, before=slot, feed=feed or self.feed)
        return None if row is None else record_from_columns(row)

    async def slots(self, symbol: str, expiration: date) -> list[datetime]:
        """Return the slots of a session that have a row, in order.

        Parameters
        ----------
        symbol, expiration : the session.

        Returns
        -------
        list of datetime
            Slots, UTC, ascending.
        """
        rows = await self._all(query("slots"), **session_bounds(symbol, expiration))
        return [row["slot"] for row in rows]

    async def gaps(self, symbol: str, expiration: date) -> list[DictRow]:
        """Return the gaps of a session in order: slot, reason, detail, next expiry, revision.

        Parameters
        ----------
        symbol, expiration : the session.

        Returns
        -------
        list of dict
            One a gap, by slot.
        """
        return await self._all(query("gaps"), **session_bounds(symbol, expiration))

    async def accounted(self, symbol: str, expiration: date, feed: str) -> set[datetime]:
        """Return the slots of a session that are a row or a gap.

        Parameters
        ----------
        symbol, expiration, feed : the session.

        Returns
        -------
        set of datetime
            Slots, UTC.
        """
        rows = await self._all(query("accounted"), **session_bounds(symbol, expiration), feed=feed)
        return {row["slot"] for row in rows}

    async def unaccounted(
        self, symbols: Sequence[str], first: date, last: date
    ) -> list[tuple[str, str, date]]:
        """Return the sessions of a period that a daemon sampled and left slots unaccounted.

        Such a slot is neither a row nor a gap.

        Parameters
        ----------
        symbols : the symbols.
        first, last : days, both included.

        Returns
        -------
        list of tuple
            Symbol, feed and day of each such session.
        """
        rows = await self._all(query("watched"), symbols=list(symbols), first=first, last=last)
        incomplete = []
        for row in rows:
            session = session_on(row["expiration"])
            if session is not None and row["accounted"] < session.slot_count:
                incomplete.append((row["symbol"], row["source"], session.day))
        return incomplete

    async def feeds(self, symbol: str, expiration: date) -> dict[str, bool]:
        """Return the feeds that have rows of a session, each with whether answers show it.

        Parameters
        ----------
        symbol, expiration : the session.

        Returns
        -------
        dict
            Whether it is shown, by feed.
        """
        rows = await self._all(query("feeds"), symbol=symbol, expiration=expiration)
        return {row["source"]: row["shown"] for row in rows}

    async def feeds_of(self, symbol: str | None) -> list[str]:
        """Return the feeds that have rows of a symbol, in any session.

        Parameters
        ----------
        symbol : the underlying; None for the feeds of all.

        Returns
        -------
        list of str
            Their names, in order.
        """
        return [row["source"] for row in await self._all(query("feeds_of"), symbol=symbol)]

    async def newest_day(self, symbol: str, until: date) -> date | None:
        """Return the newest day up to ``until`` on which the symbol has a row; None without one.

        Parameters
        ----------
        symbol : the underlying.
        until : the last day that counts.

        Returns
        -------
        date or None
            The day, New York.
        """
        row = await self._one(query("newest_day"), symbol=symbol, until=until)
        return None if row is None else row["max"]

    async def board(self, until: date, *, columns: Sequence[str]) -> list[DictRow]:
        """Return columns of each symbol's newest row up to a day, in order of symbols.

        Parameters
        ----------
        until : the last day that counts.
        columns : the row's columns to read.

        Returns
        -------
        list of dict
            One a symbol.
        """
        return await self._all(query("board", columns), until=until)

    async def sessions(self, symbol: str) -> list[DictRow]:
        """Return what each stored day of a symbol has, in order.

        ``expiration``, ``rows`` and ``gaps`` (counts), ``reasons`` (gaps by reason), ``first`` and
        ``last`` (slots with a row), ``feed`` (whose rows and gaps these are), ``source`` (the same,
        None without a row), ``feeds`` (all that have rows) and ``first_feed`` (the one that a
        sampler was configured with, None where none ran).

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        list of dict
            One a day.
        """
        return await self._all(query("sessions"), symbol=symbol)

    async def session(
        self, symbol: str, expiration: date, columns: Sequence[str], facts: Sequence[str]
    ) -> tuple[list[tuple[Any, ...]], dict[str, Any] | None, list[dict[str, Any]], str | None]:
        """Read a session's rows, columns of the newest row, its gaps and feed, in one statement.

        A row is a tuple of its revision, its slot in seconds since 1970, and ``columns``; a gap has
        ``slot``, ``reason`` and ``revision``.

        Parameters
        ----------
        symbol, expiration : the session.
        columns : the columns of every row to read.
        facts : the columns of the newest row alone to read.

        Returns
        -------
        tuple
            The rows, ascending by slot; ``facts`` of the newest row by name, None without a
            row; the gaps; and the feed, None where nothing is stored.
        """
        nothing = ", ".join("null" for _ in columns)
        text = query("session", columns, facts=", ".join(facts), nothing=nothing)
        await self.ready()
        with translate_errors():
            async with self._pool.connection() as connection:
                with time_limit(connection, self._patience):
                    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
                        await cursor.execute(
                            text, {"feed": self.feed} | session_bounds(symbol, expiration)
                        )
                        rows = await cursor.fetchall()
        # PostgreSQL returns them in order already, but the SQL standard does not promise it.
        rows.sort(key=operator.itemgetter(1))
        return _split_session(rows)

    async def newest(self, symbol: str, expiration: date) -> DictRow:
        """Return a session's newest row (nulls without one), its newest revision and its feed.

        Parameters
        ----------
        symbol, expiration : the session.

        Returns
        -------
        dict
            The columns by name, ``cursor`` (the revision) and ``feed``; these two are None where
            nothing is stored.
        """
        row = await self._one(query("newest", COLUMNS), **session_bounds(symbol, expiration))
        return row or {}

    async def known(self, symbol: str) -> bool:
        """Return whether a symbol has a row or a gap.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        bool
            Whether anything is stored of it.
        """
        row = await self._one(query("known"), symbol=symbol)
        return bool(row and next(iter(row.values())))

    async def symbols(self) -> dict[str, datetime]:
        """Return every symbol that has rows, with the slot of its newest row."""
        return {row["symbol"]: row["slot"] for row in await self._all(query("symbols"))}

    async def sampled_symbols(self, previous: Session, session: Session) -> list[SampledSymbol]:
        """Return the symbols that a daemon sampled in one of two sessions, and how far it came.

        Parameters
        ----------
        previous, session : a session, and the one after it.

        Returns
        -------
        list of SampledSymbol
            One a symbol, with the newest row and gap of ``session``.

        Raises
        ------
        StoreError
            If the database is away.
        """
        rows = await self._all(
            query("sampled"),
            previous=previous.day,
            day=session.day,
            since=previous.open,
            open=session.open,
            close=session.close,
        )
        return [
            SampledSymbol(
                symbol=row["symbol"],
                noted=row["noted"],
                row=row["slot"],
                delay=timedelta(seconds=row["delay_seconds"] or 0),
                gap=row["gap_slot"],
                reason=row["reason"] and Reason(row["reason"]),
            )
            for row in rows
        ]

    async def unheld_symbols(self, symbols: Sequence[str]) -> list[str]:
        """Return those of some symbols that no sampler holds.

        Parameters
        ----------
        symbols : the symbols.

        Returns
        -------
        list of str
            The symbols whose lock nobody holds.

        Raises
        ------
        StoreError
            If the database is away.
        """
        rows = await self._all(query("unheld"), symbols=list(symbols))
        return [row["symbol"] for row in rows]

    async def holders(self, symbols: Sequence[str]) -> dict[str, str]:
        """Return who holds each of some symbols, as leases name their machine and process.

        Parameters
        ----------
        symbols : the symbols.

        Returns
        -------
        dict
            Holder by symbol; without symbols that nobody holds.

        Raises
        ------
        StoreError
            If the database is away.
        """
        rows = await self._all(query("holders"), symbols=list(symbols))
        return {row["symbol"]: row["holder"] for row in rows}

    async def server_state(self) -> tuple[datetime, int]:
        """Return the time of the server's clock, and the size of the database in bytes.

        Raises
        ------
        StoreError
            If the database is away.
        """
        row = await self._one(query("server_state"))
        assert row is not None
        return row["now"], row["bytes"]

    async def newest_slot(self) -> datetime | None:
        """Return the newest slot of the dataset that has a row; None without one."""
        row = await self._one(query("newest_slot"))
        return None if row is None else row["slot"]

    async def coverage(
        self, first: date, last: date, symbols: Sequence[str] | None = None
    ) -> list[DictRow]:
        """Return the counts of rows and gaps of each symbol, session and feed of a period.

        Parameters
        ----------
        first, last : days, both included.
        symbols : the symbols; None for all.

        Returns
        -------
        list of dict
            One a symbol, session and feed; ``shown`` marks the feed that answers show.
        """
        selection = None if symbols is None else list(symbols)
        return await self._all(query("coverage"), symbols=selection, **period_bounds(first, last))

    async def records(
        self, symbol: str, expiration: date, *, profiles: bool = True
    ) -> AsyncGenerator[SlotRecord, None]:
        """Iterate over the slot records of a session in order.

        All are of one state of the database, however long the reading takes. Without ``profiles``
        the records' profiles are empty.

        Parameters
        ----------
        symbol, expiration : the session.
        profiles : whether the records' profiles are read.

        Yields
        ------
        SlotRecord
            Records, ascending by slot.
        """
        text = query("records", COLUMNS) if profiles else query("states")
        with translate_errors():
            async with (
                self._pool.connection() as connection,
                connection.transaction(),
                connection.cursor("records", binary=True) as cursor,
            ):
                await cursor.execute(text, {"feed": self.feed} | session_bounds(symbol, expiration))
                async for row in cursor:
                    yield record_from_columns(row)


def _split_session(
    rows: list[tuple[Any, ...]],
) -> tuple[list[tuple[Any, ...]], dict[str, Any] | None, list[dict[str, Any]], str | None]:
    """Split the result of ``session``: its last row is a JSON document with the rest."""
    document = orjson.loads(rows.pop()[-1])
    newest = document["newest"]
    for name in MOMENTS:
        if newest and newest.get(name):
            newest[name] = datetime.fromisoformat(newest[name])
    gaps = [
        {"revision": revision, "slot": datetime.fromisoformat(slot), "reason": reason}
        for revision, slot, reason in document["gaps"]
    ]
    return [row[:-1] for row in rows], newest, gaps, document["feed"]
