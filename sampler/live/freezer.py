"""Freeze the forecasts of set times, as the market trades.

The row of a freeze is the last one at or before its time, two minutes old at most. It is frozen
when it is there, and no later: what no sampler froze within two minutes is missed, for ever. While
the database is away a frozen forecast waits on disk, and is written with the time at which it was
frozen and that at which it was written. Nothing here waits for a step, and no step waits for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import structlog

from sampler.live.outcome import Outcome
from storage.errors import FlowError, StoreError
from storage.market.calendar import Session, market_day, session_on
from storage.market.clock import Clock
from storage.market.constants import SLOT_WIDTH
from storage.postgres.forecasts import ForecastTable
from storage.record.row import Reason, Row, SlotRecord
from storage.scorecard.forecast import (
    FLOW_SPAN,
    FORECAST_COLUMNS,
    FREEZE_REACH,
    ON_TIME,
    FrozenForecast,
    freeze,
    freeze_moments,
)
from storage.spool.forecasts import WaitingForecasts

log = structlog.get_logger()

#: So many rows of a symbol are at hand: more than a freeze may reach back.
_ROWS = 8
#: A row of the freeze's own slot is awaited for so long.
_PATIENCE = SLOT_WIDTH * 1.5
#: How often times are looked at when no row comes. [s]
_BEAT = 1.0
#: A time that nobody has frozen is noted as missed so long after it, or at the close: another
#: machine may have frozen it while the database was away.
_NOTED_AFTER = timedelta(minutes=30)

NOT_RUNNING = "no sampler froze it within two minutes"
NO_ROW = "no row at the time, nor within two minutes before it"
AWAY = "the database was away, and the rows before the time could not be read"


class EarlierRows(Protocol):
    """Where the rows before a moment are: stored, or waiting in the spool."""

    async def before(
        self, symbol: str, expiration: date, slot: datetime, feed: str
    ) -> SlotRecord | None:
        """Return the newest record of a session before ``slot``; None without one.

        Parameters
        ----------
        symbol, expiration, feed : the session.
        slot : the moment, UTC.

        Returns
        -------
        SlotRecord or None
            The record.

        Raises
        ------
        StoreError
            If the store is away.
        """
        ...


class EarlierFigures(Protocol):
    """Where single columns of stored rows are."""

    async def figures_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """Return columns of a session's newest row before a moment; None without one.

        Parameters
        ----------
        symbol, expiration : the session.
        before : the moment, UTC.
        columns : the row's columns to read.

        Returns
        -------
        dict or None
            The columns by name.

        Raises
        ------
        StoreError
            If the store is away.
        """
        ...


class Freezer:
    """Freezes the forecasts of the symbols that this sampler holds."""

    def __init__(
        self,
        records: EarlierRows,
        figures: Callable[[str], EarlierFigures],
        table: ForecastTable,
        waiting: WaitingForecasts,
        *,
        clock: Clock,
        symbols: Callable[[], Collection[str]],
        feed: Callable[[str], str],
        delay: Callable[[str], timedelta],
        simulated: bool,
        first: Freezer | None = None,
    ) -> None:
        """Freeze nothing yet; ``running`` does.

        Parameters
        ----------
        records : the rows before a moment.
        figures : the stored rows of a feed.
        table : the record of forecasts.
        waiting : where forecasts wait while the database is away.
        clock : the time of the market, real or simulated.
        symbols : returns the symbols that are sampled here now.
        feed, delay : a symbol's feed, and how far its quotes lie behind the clock.
        simulated : whether the market, or its clock, is made up.
        first : of a fallback feed, the freezer of the first feed: only what that one misses is
            frozen, and nothing is noted as missed once more.
        """
        self._first = first
        self._records, self._figures, self._table = records, figures, table
        self._waiting = waiting
        self._clock = clock
        self._symbols, self._feed, self._delay = symbols, feed, delay
        self._simulated = simulated
        self._rows: defaultdict[str, deque[Row]] = defaultdict(lambda: deque(maxlen=_ROWS))
        #: The day on which nothing of a symbol expires.
        self._idle: dict[str, date] = {}
        #: Symbols and times that are frozen, or missed.
        self._settled: set[tuple[str, datetime]] = set()
        #: Those of them that are missed.
        self._missed: set[tuple[str, datetime]] = set()
        self._news = asyncio.Event()
        #: Whether forecasts wait on disk; until the folder is read, they may.
        self._may_wait = True

    def note(self, outcome: Outcome) -> None:
        """Take in what a step has measured.

        Parameters
        ----------
        outcome : of the step; one without a record says nothing.
        """
        symbol = outcome.symbol
        if outcome.record is not None:
            self._rows[symbol].append(outcome.record.row)
            self._news.set()
        elif outcome.reason is Reason.NO_ZERO_DTE:
            self._idle[symbol] = market_day(self._clock.now() - self._delay(symbol))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Freeze in the background while this is open."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                if self._may_wait:
                    await self.write_waiting()
                await self.freeze_due(self._clock.now())
            except Exception:
                log.exception("forecasts not frozen")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _BEAT)

    async def freeze_due(self, now: datetime) -> None:
        """Freeze what is due and there; note what was missed.

        Parameters
        ----------
        now : the market's time, UTC.
        """
        for symbol in sorted(self._symbols()):
            quoted = now - self._delay(symbol)
            session = session_on(market_day(quoted))
            if self._idle.get(symbol) == market_day(quoted):
                continue
            for moment in freeze_moments(session) if session else ():
                if moment > quoted or (symbol, moment) in self._settled:
                    continue
                assert session is not None
                if not await self._falls_to_us(symbol, session, moment, now):
                    continue
                forecast = await self._forecast(symbol, session, moment, now)
                if forecast is None:
                    continue
                self._settled.add((symbol, moment))
                if forecast.missed:
                    self._missed.add((symbol, moment))
                if self._first is None or not forecast.missed:
                    await self._write(forecast)
        oldest = now - timedelta(days=2)
        self._settled = {key for key in self._settled if key[1] > oldest}
        self._missed &= self._settled

    async def _falls_to_us(
        self, symbol: str, session: Session, moment: datetime, now: datetime
    ) -> bool:
        """Whether no earlier feed has frozen a time, nor can do so any more."""
        if self._first is None or (symbol, moment) in self._first._missed:
            return True
        if (symbol, moment) not in self._first._settled:
            if now - self._first._delay(symbol) - moment <= ON_TIME:
                return False
            # An earlier run, or another sampler, may have frozen it.
            try:
                lines = await self._table.frozen(symbol, session.day, session.day)
            except StoreError:
                return False
            if not any(line["content"] and line["freeze_time"] == moment for line in lines):
                return True
        self._settled.add((symbol, moment))
        return False

    async def write_waiting(self) -> None:
        """Write the forecasts that wait on disk, unless the database is still away."""
        for path, forecast in await asyncio.to_thread(self._waiting.waiting):
            try:
                await self._table.freeze(forecast, self._clock.now())
            except StoreError as error:
                log.debug("frozen forecasts still wait", error=str(error))
                return
            self._waiting.remove(path)
        self._may_wait = False

    async def _forecast(
        self, symbol: str, session: Session, moment: datetime, now: datetime
    ) -> FrozenForecast | None:
        """The forecast of a time, or that it is missed; None while its row may still come."""
        late = now - self._delay(symbol) - moment
        missed = FrozenForecast(
            symbol=symbol,
            expiration=session.day,
            source=self._feed(symbol),
            freeze_time=moment,
            frozen_at=now,
            missed=NOT_RUNNING,
        )
        if late > ON_TIME:
            over = late > _NOTED_AFTER or moment + late >= session.close
            return missed if over else None
        rows = [row for row in self._rows[symbol] if row.expiration == session.day]
        before = [row for row in rows if row.slot <= moment]
        row = before[-1] if before else None
        # The row of the time itself, or what no later one can replace any more.
        if row is None or (row.slot < moment and rows[-1].slot <= moment):
            if late < _PATIENCE:
                return None
            try:
                record = await self._records.before(
                    symbol, session.day, moment + timedelta(seconds=1), missed.source
                )
            except StoreError:
                if row is None:
                    # The database may be back before it is too late.
                    return None if late + SLOT_WIDTH < ON_TIME else _because(missed, AWAY)
            else:
                row = record.row if record is not None else row
        if row is None or moment - row.slot > FREEZE_REACH:
            return _because(missed, NO_ROW)
        columns = {name: getattr(row, name) for name in FORECAST_COLUMNS}
        columns["detail"] = row.detail.as_json()
        return freeze(
            columns,
            moment,
            frozen_at=now,
            simulated=self._simulated,
            flow_before=await self._flow_before(row),
        )

    async def _flow_before(self, row: Row) -> float | None:
        """The hedge flow as it was half an hour before a row; None if it is not known."""
        then = row.slot - FLOW_SPAN
        if then < row.flow_since:
            return None
        try:
            earlier = await self._figures(row.source).figures_before(
                row.symbol,
                row.expiration,
                then + timedelta(seconds=1),
                columns=("slot", "hedge_flow_cumulative_all"),
            )
        except StoreError:
            return None
        if earlier is None or then - earlier["slot"] > FREEZE_REACH:
            return None
        flow: float = earlier["hedge_flow_cumulative_all"]
        return flow

    async def _write(self, forecast: FrozenForecast) -> None:
        try:
            written = await self._table.freeze(forecast, self._clock.now())
        except StoreError as error:
            try:
                await asyncio.to_thread(self._waiting.add, forecast)
            except FlowError as worse:
                log.error("frozen forecast lost", symbol=forecast.symbol, error=str(worse))
                return
            self._may_wait = True
            log.warning("frozen forecast waits", symbol=forecast.symbol, error=str(error))
            return
        if written:
            log.info(
                "forecast missed" if forecast.missed else "forecast frozen",
                symbol=forecast.symbol,
                time=forecast.freeze_time,
                **({"why": forecast.missed} if forecast.missed else {"digest": forecast.digest}),
            )


def _because(missed: FrozenForecast, why: str) -> FrozenForecast:
    return FrozenForecast(
        symbol=missed.symbol,
        expiration=missed.expiration,
        source=missed.source,
        freeze_time=missed.freeze_time,
        frozen_at=missed.frozen_at,
        missed=why,
    )
