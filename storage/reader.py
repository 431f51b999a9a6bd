"""What the store answers: rows, windows, gaps and coverage of one dataset. Reads only."""

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import orjson
import psycopg
from numpy.typing import NDArray
from psycopg.rows import DictRow, tuple_row
from psycopg_pool import AsyncConnectionPool

from storage import sql
from storage.arrays import read_array
from storage.database import translated, within
from storage.row import COLUMNS, MOMENTS, PROFILE, Change, Gap, Reason, Row, SlotRecord
from storage.session import session_on

_QUERIES = sql.load("queries.sql")
_KEY = ("symbol", "expiration", "slot")
#: The arrays of a profile as the table has them.
ARRAYS = ("strike", *PROFILE)


def _names(*columns: str) -> str:
    return ", ".join(columns)


def query(
    name: str, columns: Sequence[str] = (), arrays: Sequence[str] = ARRAYS, **parts: str
) -> str:
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
            sent=_names(*(f"array_send(p.{c}) as p_{c}" for c in arrays)),
            **parts,
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profiled:
    """One bucket of a window by strike."""

    bucket: datetime
    #: The sample that stands for it.
    slot: datetime
    spot: float
    oi_confidence: float
    #: The arrays asked for, by name; empty where the row was stored without a profile.
    arrays: dict[str, NDArray[np.float64]]


class Reader:
    """The reading half of ``Store``."""

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

    async def before(self, symbol: str, expiration: date, slot: datetime) -> SlotRecord | None:
        """The newest slot record of a session that is earlier than ``slot``."""
        asked = _session(symbol, expiration)
        found = await self._one(query("record"), **asked, before=slot)
        return None if found is None else _record(found)

    async def slots(self, symbol: str, expiration: date) -> list[datetime]:
        """Slots of a session that have a row, in order."""
        rows = await self._all(query("slots"), **_session(symbol, expiration))
        return [row["slot"] for row in rows]

    async def gaps(self, symbol: str, expiration: date) -> list[DictRow]:
        """Known gaps of a session: slot, reason, detail, revision."""
        return await self._all(query("gaps"), **_session(symbol, expiration))

    async def accounted(self, symbol: str, expiration: date) -> set[datetime]:
        """Slots of a session that are a row or a gap."""
        rows = await self._all(query("accounted"), symbol=symbol, expiration=expiration)
        return {row["slot"] for row in rows}

    async def unaccounted(
        self, symbols: Sequence[str], first: date, last: date
    ) -> list[tuple[str, date]]:
        """Sessions that a daemon sampled and that have slots which are neither row nor gap."""
        rows = await self._all(query("watched"), symbols=list(symbols), first=first, last=last)
        found = []
        for row in rows:
            session = session_on(row["expiration"])
            if session is not None and row["accounted"] < session.slot_count:
                found.append((row["symbol"], session.day))
        return found

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
            query("window", columns),
            symbol=symbol,
            expiration=expiration,
            start=start,
            until=until,
            width=width,
        )

    async def profiles(
        self,
        symbol: str,
        expiration: date,
        *,
        start: datetime,
        until: datetime,
        width: timedelta,
        columns: Sequence[str],
    ) -> list[Profiled]:
        """The last row of each bucket of a half-open window, in order, with its arrays.

        ``columns`` are names of ``ARRAYS``; buckets are those of ``window``.
        """
        rows = await self._all(
            query("profiles", arrays=columns),
            binary=True,
            symbol=symbol,
            expiration=expiration,
            start=start,
            until=until,
            width=width,
        )
        return [_profiled(row, columns) for row in rows]

    async def profile_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: Sequence[str]
    ) -> Profiled | None:
        """What an increment counts from: the newest row before a moment, else the session's first.

        None where the session has no row.
        """
        found = await self._one(
            query("profile_before", arrays=columns),
            binary=True,
            **_session(symbol, expiration),
            before=before,
        )
        return None if found is None else _profiled(found, columns)

    async def figures_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: Sequence[str]
    ) -> DictRow | None:
        """Columns of a session's newest row before a moment."""
        return await self._one(
            query("figures_before", columns), **_session(symbol, expiration), before=before
        )

    async def moment(
        self, symbol: str, expiration: date, until: datetime | None = None
    ) -> SlotRecord | None:
        """A session's newest row and its profile, without evidence; None without one.

        With ``until``, the newest of those that were quoted by then. A row that was stored without
        a profile has empty arrays.
        """
        found = await self._one(
            query("moment"), binary=True, **_session(symbol, expiration), until=until
        )
        if found is None:
            return None
        profile = {name: read_array(found[f"p_{name}"]) for name in ARRAYS}
        return SlotRecord(row=_row(found), profile=profile)

    async def newest_day(self, symbol: str, until: date) -> date | None:
        """The newest day up to another that has a row of the symbol."""
        found = await self._one(query("newest_day"), symbol=symbol, until=until)
        return None if found is None else found["max"]

    async def board(self, until: date, *, columns: Sequence[str]) -> list[DictRow]:
        """Columns of each symbol's newest row up to a day, by symbol."""
        return await self._all(query("board", columns), until=until)

    async def sessions(self, symbol: str) -> list[DictRow]:
        """Each stored day of a symbol, in order.

        ``expiration``, ``rows`` and ``gaps`` (counts), ``reasons`` (gaps by reason), ``first`` and
        ``last`` (slots with a row) and the ``source`` of the last.
        """
        return await self._all(query("sessions"), symbol=symbol)

    async def session(
        self, symbol: str, expiration: date, columns: Sequence[str], facts: Sequence[str]
    ) -> tuple[list[tuple[Any, ...]], dict[str, Any] | None, list[dict[str, Any]]]:
        """All of a session at one moment: rows, some columns of the newest, and gaps.

        A row is a tuple of its revision, its slot in seconds since 1970, and ``columns``; a gap has
        ``slot``, ``reason`` and ``revision``.
        """
        nothing = _names(*("null" for _ in columns))
        text = query("session", columns, facts=_names(*facts), nothing=nothing)
        await self.ready()
        with translated():
            async with self._pool.connection() as connection:
                with within(connection, self._patience):
                    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
                        await cursor.execute(text, _session(symbol, expiration))
                        found = await cursor.fetchall()
        # They come in order; the standard leaves that open.
        found.sort(key=operator.itemgetter(1))
        return _whole(found)

    async def newest(self, symbol: str, expiration: date) -> DictRow:
        """The newest row of a session (nulls without one), and ``cursor``, its newest change."""
        found = await self._one(query("newest", COLUMNS), **_session(symbol, expiration))
        return found or {}

    async def known(self, symbol: str) -> bool:
        """Whether a symbol was ever sampled, or tried."""
        found = await self._one(query("known"), symbol=symbol)
        return bool(found and next(iter(found.values())))

    async def symbols(self) -> dict[str, datetime]:
        """Every symbol that has rows, and its newest slot."""
        return {row["symbol"]: row["slot"] for row in await self._all(query("symbols"))}

    async def newest_slot(self) -> datetime | None:
        """The newest slot of the dataset."""
        found = await self._one(query("newest_slot"))
        return None if found is None else found["slot"]

    async def coverage(
        self, first: date, last: date, symbols: Sequence[str] | None = None
    ) -> list[DictRow]:
        """Rows and gaps of each symbol and session of a period."""
        wanted = None if symbols is None else list(symbols)
        return await self._all(query("coverage"), symbols=wanted, **_period(first, last))

    async def cursor(self) -> int:
        """The newest change of the dataset; 0 for none."""
        found = await self._one(query("cursor"))
        return int(found["revision"]) if found else 0

    async def heads(self, symbols: Sequence[str] | None = None) -> dict[str, int]:
        """The newest revision of each symbol that was ever sampled, or tried."""
        wanted = None if symbols is None else list(symbols)
        found = await self._all(query("heads"), symbols=wanted)
        return {row["symbol"]: row["revision"] for row in found}

    async def changes(self, after: Mapping[str, int], limit: int | None = None) -> list[Change]:
        """What has changed of these symbols beyond each one's cursor; at most one a symbol.

        With ``limit``, each has at most so many rows, and goes as far as they do.
        """
        found = await self._all(
            query("behind"), symbols=list(after), after=[int(n) for n in after.values()]
        )
        if not found:
            return []
        # Revisions become visible in order: up to the heads, both answers are of one moment.
        asked = {
            "symbols": [f["symbol"] for f in found],
            "after": [f["after"] for f in found],
            "first": min(f["first"] for f in found),
            "last": max(f["last"] for f in found),
        }
        heads = {f["symbol"]: f["head"] for f in found}
        rows: dict[str, list[tuple[int, Row]]] = {symbol: [] for symbol in heads}
        text = query("changed_rows", COLUMNS)
        for row in await self._all(text, **asked, heads=list(heads.values()), limit=limit):
            rows[row["symbol"]].append((row["revision"], _row(row)))
        for symbol, kept in rows.items():
            if limit is not None and len(kept) >= limit:
                heads[symbol] = kept[-1][0]
        gaps: dict[str, list[tuple[int, Gap]]] = {symbol: [] for symbol in heads}
        for row in await self._all(query("changed_gaps"), **asked, heads=list(heads.values())):
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
            for f in found
        ]

    async def records(
        self, symbol: str, expiration: date, *, profiles: bool = True
    ) -> AsyncGenerator[SlotRecord, None]:
        """The slot records of a session as they are kept, in order; profiles empty if not asked.

        All are of one moment, however long the reading takes.
        """
        text = query("records" if profiles else "states")
        with translated():
            async with (
                self._pool.connection() as connection,
                connection.transaction(),
                connection.cursor("records", binary=True) as cursor,
            ):
                await cursor.execute(text, _session(symbol, expiration))
                async for row in cursor:
                    yield _record(row)

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
        with translated():
            async with self._pool.connection() as connection:
                with within(connection, self._patience):
                    cursor = await connection.execute(text, given, binary=binary)
                    return await cursor.fetchall()

    async def _one(self, text: str, *, binary: bool = False, **given: Any) -> DictRow | None:
        rows = await self._all(text, binary=binary, **given)
        return rows[0] if rows else None


def _session(symbol: str, expiration: date) -> dict[str, Any]:
    """A session, and moments that surely enclose it: days outside are not even looked at."""
    first, last = _around(expiration, expiration)
    return {"symbol": symbol, "expiration": expiration, "first": first, "last": last}


def _period(first: date, last: date) -> dict[str, Any]:
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


def _whole(
    found: list[tuple[Any, ...]],
) -> tuple[list[tuple[Any, ...]], dict[str, Any] | None, list[dict[str, Any]]]:
    """Rows, and what the one behind them says: see ``Reader.session``."""
    about = orjson.loads(found.pop()[-1])
    newest = about["newest"]
    for name in MOMENTS:
        if newest and newest.get(name):
            newest[name] = datetime.fromisoformat(newest[name])
    gaps = [
        {"revision": revision, "slot": datetime.fromisoformat(slot), "reason": reason}
        for revision, slot, reason in about["gaps"]
    ]
    return [row[:-1] for row in found], newest, gaps


def _profiled(found: DictRow, columns: Sequence[str]) -> Profiled:
    return Profiled(
        bucket=found["bucket"],
        slot=found["slot"],
        spot=found["spot"],
        oi_confidence=found["oi_confidence"],
        arrays={name: read_array(found[f"p_{name}"]) for name in columns},
    )


def _row(found: DictRow) -> Row:
    values = {name: found[name] for name in COLUMNS} | {"flags": tuple(found["flags"])}
    return Row(**values)


def _record(found: DictRow) -> SlotRecord:
    profile = {n: read_array(found[f"p_{n}"]) for n in ARRAYS if f"p_{n}" in found}
    return SlotRecord(row=_row(found), profile=profile, evidence=found["evidence"])
