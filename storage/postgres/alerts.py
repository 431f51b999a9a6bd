"""The log of alerts: each event once, what it was measured by, and who has been told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from psycopg.rows import DictRow

from storage.postgres import sql

_QUERIES = sql.load("alerts.sql")
#: A function that runs one statement and returns its rows.
RunQuery = Callable[..., Awaitable[list[dict[str, Any]]]]


class AlertTable:
    """The alerts of one dataset, from ``Store.alerts``. Its methods raise ``StoreError``."""

    def __init__(self, run_query: RunQuery) -> None:
        self._run_query = run_query

    async def insert(
        self,
        alert_id: str,
        *,
        category: str,
        kind: str,
        symbols: Sequence[str],
        session: date,
        sentence: str,
        began: datetime,
        lasting: bool = True,
        slot: datetime | None = None,
        figures: Mapping[str, Any] | None = None,
        topic: str = "",
        quiet: timedelta = timedelta(0),
        sent: bool = True,
        node: str = "",
    ) -> bool:
        """Write an event, unless it is there or its topic has its quiet time.

        Parameters
        ----------
        alert_id : the event's name, the same wherever it is noticed.
        category, kind : ``operational`` or ``market``, and what it is.
        symbols, session : what it is about, and on which day.
        sentence : what its reader is told.
        began : the market's time, UTC.
        lasting : whether an end is to come.
        slot : the slot of the sample that shows it.
        figures : what it is measured by, as plain values.
        topic, quiet : events of one topic are at least so far apart, by their slots.
        sent : whether targets get it.
        node : the machine that has noticed it.

        Returns
        -------
        bool
            True if it was written; False if the log had it already.
        """
        return bool(
            await self._run_query(
                _QUERIES["insert"],
                id=alert_id,
                category=category,
                kind=kind,
                symbols=list(symbols),
                topic=topic,
                quiet=quiet,
                session=session,
                slot=slot,
                sentence=sentence,
                figures=orjson.dumps(dict(figures or {})).decode(),
                began=began,
                lasting=lasting,
                sent=sent,
                node=node,
            )
        )

    async def close(self, alert_id: str, ended: datetime) -> bool:
        """Note that an event is over; return False if that is known, or there is no such event.

        Parameters
        ----------
        alert_id : the event's name.
        ended : when it was over, the market's time, UTC.

        Returns
        -------
        bool
            True if its end was not in the log before.
        """
        return bool(await self._run_query(_QUERIES["close"], id=alert_id, ended=ended))

    async def exists(self, alert_id: str) -> bool:
        """Say whether an event is in the log.

        Parameters
        ----------
        alert_id : the event's name.

        Returns
        -------
        bool
            True if it is.
        """
        return bool(await self._run_query(_QUERIES["exists"], id=alert_id))

    async def lasting(self, recent: timedelta) -> list[DictRow]:
        """Return the operational events that go on, and those that began a short time ago.

        Parameters
        ----------
        recent : how short a time; of the server's clock.

        Returns
        -------
        list of dict
            Columns of each event, and ``age`` since it was written. [s]
        """
        return await self._run_query(_QUERIES["lasting"], recent=recent)

    async def next_message(
        self, target: str, *, since: datetime, patience: timedelta, most: timedelta
    ) -> DictRow | None:
        """Take the oldest message that a target has not had, and reserve it for the caller.

        Parameters
        ----------
        target : the target, as it is shown.
        since : messages that were never tried count only if they are newer; the server's time.
        patience : for so long no other process tries it.
        most : messages older than this are given up.

        Returns
        -------
        dict or None
            The event's columns, ``state`` and ``attempts`` with this one; None if nothing is due.
        """
        rows = await self._run_query(
            _QUERIES["next"], target=target, since=since, patience=patience, most=most
        )
        return rows[0] if rows else None

    async def settle(
        self,
        alert_id: str,
        state: str,
        target: str,
        *,
        failure: str,
        pause: timedelta,
        most_attempts: int,
    ) -> bool:
        """Note the outcome of an attempt to deliver a message.

        Parameters
        ----------
        alert_id, state, target : the message: which event, ``began`` or ``ended``, to whom.
        failure : why it has not arrived; empty if it has.
        pause : when it is due again after a failure.
        most_attempts : after so many it is given up.

        Returns
        -------
        bool
            True if it was given up.
        """
        rows = await self._run_query(
            _QUERIES["settle"],
            id=alert_id,
            state=state,
            target=target,
            failure=failure,
            pause=pause,
            most_attempts=most_attempts,
        )
        return bool(rows and rows[0]["given_up_at"])

    async def note_delivery(self, alert_id: str, state: str, target: str, attempts: int) -> None:
        """Note a message that was delivered while the database was away.

        Parameters
        ----------
        alert_id, state, target : the message.
        attempts : how many it took.
        """
        await self._run_query(
            _QUERIES["note_delivery"], id=alert_id, state=state, target=target, attempts=attempts
        )

    async def page(
        self,
        *,
        limit: int,
        symbol: str | None = None,
        day: date | None = None,
        kind: str | None = None,
        before: int | None = None,
    ) -> list[DictRow]:
        """Return alerts, the newest first, each with its ``deliveries``.

        Parameters
        ----------
        limit : at most so many.
        symbol : only those about this symbol.
        day : only those of this session.
        kind : only those of this kind or category.
        before : only those that were written before the one with this sequence number.

        Returns
        -------
        list of dict
            Columns of each alert.
        """
        return await self._run_query(
            _QUERIES["list"], limit=limit, symbol=symbol, day=day, kind=kind, before=before
        )

    async def now(self) -> datetime:
        """Return the time of the server's clock."""
        rows = await self._run_query(_QUERIES["clock"])
        moment: datetime = rows[0]["now"]
        return moment
