"""The record of forecasts: frozen ones, closes, and how each forecast came out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from psycopg.rows import DictRow

from storage.postgres import sql
from storage.scorecard.forecast import FrozenForecast

_QUERIES = sql.load("forecasts.sql")
#: A function that runs one statement and returns its rows.
RunStatement = Callable[..., Awaitable[list[dict[str, Any]]]]


class ForecastTable:
    """The record of one dataset, from ``Store.forecasts``. Its methods raise ``StoreError``."""

    def __init__(self, run_statement: RunStatement) -> None:
        self._run = run_statement

    async def freeze(self, forecast: FrozenForecast, written_at: datetime) -> bool:
        """Write a frozen forecast, unless its time has one: the first one stays.

        Parameters
        ----------
        forecast : the forecast, or why there is none.
        written_at : the market's time now, UTC.

        Returns
        -------
        bool
            True if it was written.
        """
        values = {name: getattr(forecast, name) for name in forecast.__slots__}
        return bool(await self._run(_QUERIES["insert"], **values, written_at=written_at))

    async def frozen(self, symbol: str, first: date, last: date) -> list[DictRow]:
        """Return the frozen forecasts of a symbol's sessions, and the missed ones, in order.

        Parameters
        ----------
        symbol : the underlying.
        first, last : days, both included.

        Returns
        -------
        list of dict
            Columns of each.
        """
        return await self._run(_QUERIES["frozen"], symbol=symbol, first=first, last=last)

    async def settle(
        self,
        symbol: str,
        expiration: date,
        price: float,
        *,
        origin: str,
        detail: str = "",
        quoted_at: datetime,
        correct: bool = False,
    ) -> bool:
        """Note the close of a session.

        Parameters
        ----------
        symbol, expiration : the session.
        price : the close. [$]
        origin, detail : what it is, and which feed or person it comes from.
        quoted_at : the time that it is of, UTC.
        correct : note it also where the session has a close: then this one counts.

        Returns
        -------
        bool
            True if it was written.
        """
        return bool(
            await self._run(
                _QUERIES["settle"],
                symbol=symbol,
                expiration=expiration,
                price=price,
                origin=origin,
                detail=detail,
                quoted_at=quoted_at,
                correct=correct,
            )
        )

    async def settlements(self, symbol: str, first: date, last: date) -> dict[date, DictRow]:
        """Return the close of each of a symbol's sessions that has one.

        Parameters
        ----------
        symbol : the underlying.
        first, last : days, both included.

        Returns
        -------
        dict
            By day: ``sequence``, ``price``, ``origin``, ``detail``, ``quoted_at``, ``stored_at``.
        """
        rows = await self._run(_QUERIES["settlements"], symbol=symbol, first=first, last=last)
        return {row["expiration"]: row for row in rows}

    async def settlement_lines(self, symbol: str, first: date, last: date) -> list[DictRow]:
        """Return every close that was noted of a symbol's sessions, in order.

        Parameters
        ----------
        symbol : the underlying.
        first, last : days, both included.

        Returns
        -------
        list of dict
            Columns of each, corrected ones too; the last one of a session counts.
        """
        return await self._run(_QUERIES["settlement_lines"], symbol=symbol, first=first, last=last)

    async def score(self, lines: Sequence[Mapping[str, Any]]) -> int:
        """Note how forecasts came out; what differs from what is there is written anew.

        Parameters
        ----------
        lines : ``symbol``, ``expiration``, ``source``, ``kind``, ``freeze_time``, ``definitions``,
            ``content``, ``digest``, ``settlement`` (its sequence number), ``outcome`` (a JSON
            object) and ``method`` of each.

        Returns
        -------
        int
            How many were written.
        """
        if not lines:
            return 0
        columns = {
            f"{name}s" if name != "definitions" else name: [line[name] for line in lines]
            for name in (
                "symbol",
                "expiration",
                "source",
                "kind",
                "freeze_time",
                "definitions",
                "content",
                "digest",
                "settlement",
                "method",
            )
        }
        outcomes = [orjson.dumps(line["outcome"]).decode() for line in lines]
        return len(await self._run(_QUERIES["score"], **columns, outcomes=outcomes))

    async def scores(self, symbol: str, first: date, last: date) -> list[DictRow]:
        """Return how a symbol's forecasts came out, in order, each with its close.

        Parameters
        ----------
        symbol : the underlying.
        first, last : days, both included.

        Returns
        -------
        list of dict
            Columns of each, with ``price``, ``origin``, ``detail`` and ``quoted_at`` of the close.
        """
        return await self._run(_QUERIES["scores"], symbol=symbol, first=first, last=last)
