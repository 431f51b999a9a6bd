"""``theta:``: Theta Data's live chains and past sessions, through its terminal on this machine.

``theta:?plan=standard`` also reads each trade of a past session with its quote, which tells the
sides; with ``&stream=yes`` the terminal's stream tells those of now.
``theta:http://127.0.0.1:25503/v3`` names another terminal. A live chain is three answers of one
moment: quotes, the day's bars, and once a day open interest; the underlying's price is a fourth.
Later expirations are asked for beside the slots, one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.http import base_of, seconds_option
from sampler.sources.later_expiries import DEFAULT, LaterExpiries, LaterExpiry, expiries_option
from sampler.sources.theta.answers import NAME, Answer, read_answer, read_days
from sampler.sources.theta.frames import (
    BAR,
    INTEREST,
    PRICE,
    QUOTE,
    RootAnswers,
    has_report_of,
    join_live,
)
from sampler.sources.theta.past import PastSessions, roots_of
from sampler.sources.theta.stream import ThetaStream, stream_url
from sampler.sources.theta.terminal import BASE, PLANS, NotInPlan, Terminal, together
from sampler.sources.websocket import require_websockets
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import UsageError
from storage.market.calendar import (
    Session,
    closed_day_kind,
    market_day,
    session_on,
    to_new_york,
)
from storage.market.instruments import instrument_of
from storage.record.row import Reason

#: Plans that include each print with its quote, and so tell the sides of a past session.
WITH_PRINTS = frozenset({"standard", "pro"})
#: How long a slot waits for the stream. [s]
STREAM_TIMEOUT = 3.0
#: Paths of the terminal that answer with the price of an index, and of a share.
PRICE_OF_INDEX, PRICE_OF_STOCK = "index/snapshot/price", "stock/snapshot/trade"
Ask = Callable[[str, Sequence[str]], Coroutine[Any, Any, Answer | None]]


class Theta:
    """Theta Data's terminal, or a server that speaks its format."""

    name = NAME
    facts = (
        "real-time quotes, each trade's side with ?plan=standard&stream=yes; past sessions of 8"
        " years at 30 s, or of 4 years at 1 minute"
    )
    synthetic = False
    delay_seconds = 0

    def __init__(
        self,
        terminal: Terminal,
        *,
        prints: bool,
        expiries: int = 0,
        stream: ThetaStream | None = None,
    ) -> None:
        self.remote = terminal.remote
        #: The stream that gives each live trade its side; None without the option ``stream``.
        self._stream = stream
        self._terminal = terminal
        self._past = PastSessions(terminal, prints=prints)
        #: By root and day: the open interest, which is asked for until it is there.
        self._interest: dict[tuple[str, date], Answer] = {}
        #: By day: roots without a contract, roots that have traded, and underlyings whose price
        #: the account does not include.
        self._empty: set[tuple[str, date]] = set()
        self._traded: set[tuple[str, date]] = set()
        self._priceless: set[tuple[str, date]] = set()
        #: Each symbol's newest frame: its quotes' time and its volume.
        self._delivered: dict[str, tuple[datetime, float]] = {}
        self._later = LaterExpiries(
            NAME,
            per_symbol=expiries,
            polling=None,
            list_expiries=self._listed,
            fetch_expiry=self._expiry,
        )
        #: By root and later expiration: a day, and the open interest that was reported on it.
        self._later_interest: dict[LaterExpiry, tuple[date, Answer]] = {}

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Theta:
        """Open what follows ``theta:``, e.g. ``?plan=standard`` or ``http://127.0.0.1:25503/v3``.

        Parameters
        ----------
        rest : a base address, or nothing for the terminal's own, and the options ``plan`` (value),
            ``stream`` (no; yes, or the address of the terminal's WebSocket), ``pace`` (0),
            ``timeout`` (8), ``budget`` (12) and ``patience`` (120), these four in seconds, and
            ``expiries`` (4): how many later expirations of a symbol are asked for in a slot, at
            most.
        keys : not needed: the terminal has logged in.

        Returns
        -------
        Theta
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            For an unknown option, one out of bounds, a base that is no http(s) URL, a stream with
            a plan that has none, or without the WebSocket library.
        """
        address, options = url.split_options(
            rest,
            plan="value",
            stream="no",
            pace="0",
            timeout="8",
            budget="12",
            patience="120",
            expiries=str(DEFAULT),
        )
        plan = options["plan"]
        if plan not in PLANS:
            raise UsageError(f"source option plan={plan[:20]!r} is none of {', '.join(PLANS)}")
        base = base_of(NAME, address, BASE)
        try:
            stream_at = stream_url(options["stream"], base)
        except ValueError:
            raise UsageError(
                f"source option stream={options['stream'][:60]!r} is no address ws://host/path,"
                " and neither yes nor no"
            ) from None
        if stream_at is not None:
            require_websockets("theta:?stream=yes")
            if plan not in WITH_PRINTS:
                raise UsageError(f"theta: a stream needs plan=standard or pro, not plan={plan}")
        terminal = Terminal(
            base,
            plan=plan,
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
            patience=seconds_option(options, "patience", 0.05, 3600.0),
        )
        stream = None if stream_at is None else ThetaStream(stream_at, timeout=STREAM_TIMEOUT)
        return cls(
            terminal,
            prints=plan in WITH_PRINTS,
            expiries=expiries_option(options),
            stream=stream,
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Today's expiring contracts, as the terminal has them now.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            The contracts of today, of all roots, and those of later days that have been fetched
            beside the slots.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, ``unchanged``, ``stale``, ``market_closed`` or
            ``no_zero_dte``.
        """
        day = market_day(now)
        session = session_on(day)
        if session is None:
            raise ChainRefused(
                Reason.MARKET_CLOSED,
                f"{symbol}: {to_new_york(now):%Y-%m-%d %H:%M:%S} New York is a"
                f" {closed_day_kind(day)}",
            )
        if self._stream is not None:
            self._stream.wake(now)
        self._forget_before(day)
        roots = [root for root in roots_of(symbol) if (root, day) not in self._empty]
        *answers, spot = await together(
            *(self._root(symbol, root, day, now) for root in roots), self._spot(symbol, day, now)
        )
        some = [answer for answer in answers if answer is not None]
        if not some:
            raise await self._nothing_today(symbol, day, now)
        frame = join_live(some, symbol=symbol, now=now, day=day, spot=spot)
        state = frame.quoted_at, float(np.nansum(frame.volume))
        if self._delivered.get(symbol) == state:
            raise ChainRefused(
                Reason.UNCHANGED, f"{symbol}: {NAME} has no newer quote and no newer trade"
            )
        self._delivered[symbol] = state
        if self._stream is not None:
            frame = await self._stream.with_sides(frame, session)
        return self._later.complete(frame)

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """All frames of a past session in order.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        AsyncIterator
            A frame every 30 seconds, or every minute where the plan has no more; or a refusal that
            says why there are no more.
        """
        return self._past.frames(symbol, session)

    async def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """Say how much a backfill will ask for. Nothing is asked.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            A sentence with requests, rows and megabytes.
        """
        return self._past.announce(symbol, sessions)

    def newest(self, symbol: str) -> datetime | None:
        """Tell nothing: a live feed has no newest frame beforehand.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always: what is newest is only known by asking the feed.
        """
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._later.close()
        if self._stream is not None:
            await self._stream.close()
        await self._terminal.close()

    async def _root(self, symbol: str, root: str, day: date, now: datetime) -> RootAnswers | None:
        """What the terminal has of a root's contracts of today; None where there are none."""
        ask = self._asks_of(symbol, root, day, now)
        if root in instrument_of(symbol).am_roots:
            # It has nothing today but on one day a month: then it is not asked again.
            quotes = await ask("quote", QUOTE)
            if quotes is None:
                self._empty.add((root, day))
                return None
            rest = await together(ask("ohlc", BAR), self._interest_of(ask, root, day))
            bars, interest = rest
        else:
            quotes, bars, interest = await together(
                ask("quote", QUOTE), ask("ohlc", BAR), self._interest_of(ask, root, day)
            )
        if quotes is None or not len(quotes):
            return None
        if bars is not None and (bars["volume"] > 0).any():
            self._traded.add((root, day))
        # Volumes that have been there do not end: it is the answer that lacks them.
        lost = bars is None and (root, day) in self._traded
        return RootAnswers(
            root=root, quotes=quotes, bars=bars, interest=interest, bars_complete=not lost
        )

    def _asks_of(self, symbol: str, root: str, expiration: date, now: datetime) -> Ask:
        """What asks for one of the snapshots of a root and an expiration."""

        async def ask(what: str, names: Sequence[str]) -> Answer | None:
            path = f"option/snapshot/{what}"
            params = {"symbol": root, "expiration": expiration.isoformat()}
            body = await self._terminal.ask(path, params, symbol=symbol, now=now)
            if body is None:
                return None
            return read_answer(
                body, names, path=path, symbol=symbol, root=root, expiration=expiration
            )

        return ask

    async def _expiry(self, symbol: str, expiry: LaterExpiry, now: datetime) -> Frame | None:
        """Quotes and open interest of a later expiration; its volume is not asked for."""
        expiration, root = expiry
        today = market_day(now)
        ask = self._asks_of(symbol, root, expiration, now)
        quotes = await ask("quote", QUOTE)
        if quotes is None or not len(quotes):
            return None
        day, interest = self._later_interest.get(expiry, (None, None))
        if day != today:
            interest = await ask("open_interest", INTEREST)
            if interest is not None and has_report_of(interest, today):
                self._later_interest[expiry] = today, interest
        answers = RootAnswers(
            root=root, quotes=quotes, bars=None, interest=interest, bars_complete=False
        )
        nothing = np.nan, np.nan
        frame = join_live([answers], symbol=symbol, now=now, day=today, spot=nothing)
        days = np.full(len(frame.strike), expiration, "datetime64[D]")
        return dataclasses.replace(frame, expiry=days)

    async def _listed(self, symbol: str, day: date, now: datetime) -> list[LaterExpiry]:
        path = "option/list/expirations"
        expiries: list[LaterExpiry] = []
        for root in roots_of(symbol):
            body = await self._terminal.ask(path, {"symbol": root}, symbol=symbol, now=now)
            days = read_days(body, path=path, symbol=symbol) if body else []
            expiries += [(other, root) for other in days if other > day]
        return expiries

    async def _interest_of(self, ask: Ask, root: str, day: date) -> Answer | None:
        """The day's open interest, asked for once it is known to be the day's."""
        if (root, day) in self._interest:
            return self._interest[root, day]
        interest = await ask("open_interest", INTEREST)
        if interest is not None and has_report_of(interest, day):
            self._interest[root, day] = interest
        return interest

    async def _spot(self, symbol: str, day: date, now: datetime) -> tuple[float, float]:
        """The underlying's price [$] and its unix time [s]; NaN where there is none.

        Of a share or a fund it is its last trade, which a plan for stocks has in real time or not
        at all; their quotes may be 15 minutes old without a word. A price is not worth a slot:
        put-call parity gives one too, and the row says so.
        """
        unknown = np.nan, np.nan
        if (symbol, day) in self._priceless:
            return unknown
        path = PRICE_OF_INDEX if instrument_of(symbol).index else PRICE_OF_STOCK
        try:
            body = await self._terminal.ask(path, {"symbol": symbol}, symbol=symbol, now=now)
            answer = read_answer(body or b"", PRICE, path=path, symbol=symbol)
        except NotInPlan:
            self._priceless.add((symbol, day))
            return unknown
        except ChainRefused:
            return unknown
        if not len(answer):
            return unknown
        return float(answer["price"][-1]), float(answer["timestamp"][-1])

    async def _nothing_today(self, symbol: str, day: date, now: datetime) -> ChainRefused:
        """Why no root has a contract of today: nothing expires, or the terminal lacks it."""
        path = "option/list/expirations"
        days: list[date] = []
        for root in roots_of(symbol):
            body = await self._terminal.ask(path, {"symbol": root}, symbol=symbol, now=now)
            days += read_days(body, path=path, symbol=symbol) if body else []
        if day in days:
            return ChainRefused(
                Reason.SOURCE_DOWN,
                f"{symbol}: {NAME} lists contracts that expire on {day} and quotes none of them",
            )
        upcoming = min((d for d in days if d > day), default=None)
        then = f"; next expiry {upcoming}" if upcoming else ""
        return ChainRefused(
            Reason.NO_ZERO_DTE,
            f"{symbol}: {NAME} has nothing that expires on {day}{then}",
            next_expiry=upcoming,
        )

    def _forget_before(self, day: date) -> None:
        """Forget what was remembered of earlier days."""
        for known in (self._empty, self._traded, self._priceless):
            known -= {entry for entry in known if entry[1] < day}
        for entry in [entry for entry in self._interest if entry[1] < day]:
            del self._interest[entry]
        for expiry in [key for key, (then, _) in self._later_interest.items() if then < day]:
            del self._later_interest[expiry]
