"""A past session from Theta's history: what is asked for, in which pieces, and how much it will be.

Quotes, bars and open interest of a root come in one answer each, or in one for calls and one for
puts; prints come in half hours. Where the plan has no history every 30 seconds, it is asked for
every minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import structlog

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.theta.answers import NAME, Answer, join_answers, read_answer
from sampler.sources.theta.frames import (
    BAR,
    INTEREST,
    PRICE,
    PRINT,
    QUOTE,
    SessionHistory,
    join_past,
)
from sampler.sources.theta.terminal import NotInPlan, Terminal, TooLarge, together
from storage.errors import UsageError
from storage.market.calendar import Session, to_new_york
from storage.market.constants import GRID_SECONDS
from storage.market.instruments import CLOSING_ROOTS, instrument_of

log = structlog.get_logger()

#: From so many rows on, calls and puts are asked for apart. [rows]
SPLIT_ROWS = 400_000
#: Prints are asked for by so much of a session.
PRINTS_SPAN = timedelta(minutes=30)
#: A chain and a row, for estimates before anything is asked. [contracts, bytes]
TYPICAL_CONTRACTS, ROW_BYTES = 500, 75
MINUTE = 60


def roots_of(symbol: str) -> list[str]:
    """The option roots of an underlying, the one that settles on the close first.

    Parameters
    ----------
    symbol : the underlying.

    Returns
    -------
    list of str
        Such as SPXW and SPX.
    """
    closing = CLOSING_ROOTS.get(symbol, symbol)
    return [closing, *sorted(instrument_of(symbol).am_roots - {closing})]


class PastSessions:
    """Asks a terminal for past sessions."""

    def __init__(self, terminal: Terminal, *, prints: bool) -> None:
        """Begin with a history every 30 seconds.

        Parameters
        ----------
        terminal : what is asked.
        prints : whether prints are asked for, which tell the sides.
        """
        self._terminal = terminal
        self._prints = prints
        #: From one time of a history to the next. [s]
        self._interval = GRID_SECONDS

    def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """Say how much some sessions will ask for. Nothing is asked.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            A sentence with requests, rows and megabytes.
        """
        index = instrument_of(symbol).index
        requests = rows = spans = 0
        for session in sessions:
            times = self._times(session)
            halves = 2 if TYPICAL_CONTRACTS * times > SPLIT_ROWS else 1
            # A request a root for open interest, requests for quotes and for bars, and one for the
            # price of an index.
            requests += len(roots_of(symbol)) + 2 * halves + index
            rows += TYPICAL_CONTRACTS * (2 * times + 1) + index * times
            spans += len(_spans(session))
        text = (
            f"{symbol}: {NAME} will be asked {requests + spans * self._prints:,} requests for"
            f" {len(sessions):,} sessions, about {rows:,} rows and"
            f" {rows * ROW_BYTES / 1e6:,.0f} MB at {TYPICAL_CONTRACTS} contracts every"
            f" {self._interval} s"
        )
        if self._prints:
            return f"{text}, and a row for each trade"
        return f"{text}; no trades, so the sides come from the last prints"

    async def frames(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """All frames of a session in order.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A frame of each time that has quotes; or why there are no more.

        Raises
        ------
        UsageError
            Where the plan does not include the history.
        """
        try:
            roots = await self._load(symbol, session)
            if not roots:
                return
            spot = await self._prices(symbol, session, roots[0].times)
            times, last = roots[0].times, max(root.last_index for root in roots)
            index = 0
            for begin, end in _spans(session):
                if self._prints:
                    await together(*(self._load_prints(root, begin, end) for root in roots))
                while index <= last and times[index] <= end.timestamp():
                    yield join_past(roots, index, spot=float(spot[index]))
                    index += 1
        except NotInPlan as error:
            raise UsageError(str(error)) from error
        except ChainRefused as refusal:
            yield refusal

    async def _load(self, symbol: str, session: Session) -> list[SessionHistory]:
        """Quotes, bars and open interest of each root that has contracts of the day."""
        roots = []
        for root in roots_of(symbol):
            interest = await self._ask(symbol, root, session, "open_interest", INTEREST, {})
            if interest is None and root in instrument_of(symbol).am_roots:
                continue
            contracts = len(interest) if interest else TYPICAL_CONTRACTS
            quotes = await self._timed(symbol, root, session, "quote", QUOTE, contracts)
            if quotes is None or not len(quotes):
                continue
            bars = await self._timed(symbol, root, session, "ohlc", BAR, contracts)
            frames = await asyncio.to_thread(
                SessionHistory,
                quotes,
                bars,
                interest,
                symbol=symbol,
                root=root,
                session=session,
                interval=self._interval,
            )
            roots.append(frames)
        return roots

    async def _timed(
        self,
        symbol: str,
        root: str,
        session: Session,
        what: str,
        names: Sequence[str],
        contracts: int,
    ) -> Answer | None:
        """One kind of answer with a row at each time; every minute where the plan has no more."""
        while True:
            params = _hours(session.open, session.close) | {"interval": self._interval_name}
            at_once = contracts * self._times(session) <= SPLIT_ROWS
            try:
                return await self._ask(symbol, root, session, what, names, params, at_once=at_once)
            except NotInPlan:
                if self._interval == MINUTE:
                    raise
                self._interval = MINUTE
                log.warning(
                    "the plan of theta's terminal has no history every 30 s; it is asked for every"
                    " minute, and every second slot stays without a row"
                )

    async def _ask(
        self,
        symbol: str,
        root: str,
        session: Session,
        what: str,
        names: Sequence[str],
        params: dict[str, str],
        *,
        at_once: bool = True,
    ) -> Answer | None:
        """Calls and puts together, or apart where together they are too large."""
        path, day = f"option/history/{what}", session.day.isoformat()
        params = {"symbol": root, "expiration": day, "date": day, **params}

        async def ask(**more: str) -> Answer | None:
            body = await self._terminal.ask(path, params | more, symbol=symbol, now=session.close)
            if body is None:
                return None
            return await asyncio.to_thread(
                read_answer,
                body,
                names,
                path=path,
                symbol=symbol,
                root=root,
                expiration=session.day,
            )

        if at_once:
            try:
                return await ask()
            except TooLarge:
                pass
        sides = await together(ask(right="call"), ask(right="put"))
        return join_answers([side for side in sides if side is not None])

    async def _load_prints(self, root: SessionHistory, begin: datetime, end: datetime) -> None:
        """Add a root's prints from a begin to just before an end."""
        answer = await self._ask(
            root.symbol, root.root, root.session, "trade_quote", PRINT, _hours(begin, end)
        )
        # Theta includes both ends; a print on the edge belongs to the span that it begins.
        root.add_prints(answer, before=end.timestamp())

    async def _prices(self, symbol: str, session: Session, times: Floats) -> Floats:
        """The index's price at each time; NaN where the account or the terminal has none. [$]"""
        prices = np.full(len(times), np.nan)
        if not instrument_of(symbol).index:
            return prices
        path = "index/history/price"
        params = {"symbol": symbol, "date": session.day.isoformat()}
        params |= _hours(session.open, session.close) | {"interval": self._interval_name}
        try:
            body = await self._terminal.ask(path, params, symbol=symbol, now=session.close)
        except NotInPlan:
            return prices
        if body is None:
            return prices
        answer = read_answer(body, PRICE, path=path, symbol=symbol)
        place = np.minimum(np.searchsorted(times, answer["timestamp"]), len(times) - 1)
        # 0.0 stands for an index that has not been calculated yet.
        known = (times[place] == answer["timestamp"]) & (answer["price"] > 0)
        prices[place[known]] = answer["price"][known]
        return prices

    def _times(self, session: Session) -> int:
        return session.slot_count * GRID_SECONDS // self._interval

    @property
    def _interval_name(self) -> str:
        return "1m" if self._interval == MINUTE else f"{self._interval}s"


def _spans(session: Session) -> list[tuple[datetime, datetime]]:
    """A session in the pieces by which prints are asked for."""
    begins = [session.open]
    while begins[-1] + PRINTS_SPAN < session.close:
        begins.append(begins[-1] + PRINTS_SPAN)
    return [(begin, min(begin + PRINTS_SPAN, session.close)) for begin in begins]


def _hours(begin: datetime, end: datetime) -> dict[str, str]:
    times = {"start_time": begin, "end_time": end}
    return {name: f"{to_new_york(moment):%H:%M:%S}" for name, moment in times.items()}
