"""tastytrade's stream of events, ``dxlink:``: chains assembled in memory, sampled on the grid.

One WebSocket for all symbols. A symbol is subscribed to when it is first asked for; from then on
events come by themselves, and a slot takes what has been assembled. The keys are
``FLOW_TASTYTRADE_CLIENT_SECRET`` and ``FLOW_TASTYTRADE_REFRESH_TOKEN``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.assembler import ChainAssembler
from sampler.sources.dxlink.connection import DxlinkConnection, down
from sampler.sources.dxlink.parse import (
    NAME,
    ListedDay,
    compact_events,
    numbers_of,
    parse_access,
    parse_listed_day,
    parse_quote_token,
    refused_answer,
    streamed_prints,
)
from sampler.sources.http import HttpClient, Status, base_of, is_loopback, seconds_option
from sampler.sources.live_only import LiveOnly
from sampler.sources.websocket import require_websockets
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import Session, closed_day_kind, market_day, session_on
from storage.record.row import Reason

PRODUCTION = "https://api.tastyworks.com"
#: Events of a contract, and of an underlying.
CONTRACT_EVENTS, UNDERLYING_EVENTS = ("Quote", "Trade", "Summary", "TimeAndSale"), ("Trade",)
#: Pauses before attempts to connect: the first, and the longest. [s]
BACK_OFF, LONGEST_BACK_OFF = 0.5, 30.0
#: How often a symbol's listing is read anew, for strikes that are listed during the day. [s]
LISTING_AGE = 600.0
#: A contract that has sent nothing this long after the others did has no quote. [s]
QUIET = 0.5
#: The first chain needs this many answers, each within the budget: two tokens, the stream, the
#: listing.
ANSWERS = 4
#: Without a slot for so long, the connection is closed. [s]
IDLE = 1800.0
#: An access token is renewed so long before it ends. [s]
MARGIN = 60.0
STATUSES = {
    401: Status(Reason.SOURCE_DOWN, "refuses the client secret, the refresh token or its access"),
    403: Status(
        Reason.SOURCE_DOWN, "forbids this: the account is not funded yet, or a firewall answers"
    ),
}


@dataclass(slots=True)
class StreamedSymbol:
    """A symbol's table of today, and its listing."""

    table: ChainAssembler
    #: Number that its contracts' places begin with.
    number: int
    #: When the listing was read (monotonic) [s], and whether that was after the open.
    listed_at: float
    listed_open: bool
    #: The connection that is subscribed to, and when its newest contract sent a first quote.
    subscribed: DxlinkConnection | None = None
    quoted: int = 0
    quoted_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    relisting: asyncio.Task[None] | None = None


class Dxlink(LiveOnly):
    """tastytrade's dxLink stream, or a server that speaks its format."""

    name = NAME
    facts = "real-time quotes and each trade's side, by a stream; no past sessions"
    synthetic = False

    def __init__(
        self, base: str, secret: str, refresh: str, *, pace: float, timeout: float, budget: float
    ) -> None:
        self.delay_seconds = 0
        self.http = HttpClient(
            NAME, base, pace=pace, timeout=timeout, budget=budget, statuses=STATUSES
        )
        self.remote = self.http.remote
        self._form = {
            "grant_type": "refresh_token", "refresh_token": refresh, "client_secret": secret,
        }  # fmt: skip
        self._access, self._access_ends = "", 0.0
        self._symbols: dict[str, StreamedSymbol] = {}
        #: The stream's name → where its events go: number of the symbol, then of the contract.
        self._places: dict[str, int] = {}
        self._by_number: dict[int, StreamedSymbol] = {}
        self._underlyings: dict[str, StreamedSymbol] = {}
        self._listing: dict[str, asyncio.Lock] = {}
        self._connection: DxlinkConnection | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        #: Attempts that have failed, the newest refusal, and when the next attempt may begin
        #: (monotonic). [s]
        self._failures = 0
        self._refused: ChainRefused = down("has not been reached yet")
        self._next_attempt = 0.0
        #: Whether the connection has delivered a frame.
        self._delivered = False
        #: The caller's newest time, unix [s], and when that was (monotonic). [s]
        self._now, self._now_at = 0.0, 0.0

    @classmethod
    def open(cls, rest: str, keys: VendorKeys) -> Dxlink:
        """Open what follows ``dxlink:``, e.g. ``http://127.0.0.1:8001?pace=0``.

        Parameters
        ----------
        rest : nothing for tastytrade itself, or a base address; then the options ``pace``,
            ``timeout`` and ``budget``, each in seconds.
        keys : has ``FLOW_TASTYTRADE_CLIENT_SECRET`` and ``FLOW_TASTYTRADE_REFRESH_TOKEN``.

        Returns
        -------
        Dxlink
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            Without a key or the WebSocket library, for an unknown option, one out of bounds, or a
            base that is no URL.
        """
        base, options = url.split_options(rest, pace="0.2", timeout="4", budget="4")
        require_websockets("dxlink:")
        return cls(
            base_of(NAME, base, PRODUCTION, keyed=True),
            keys.need("FLOW_TASTYTRADE_CLIENT_SECRET"),
            keys.need("FLOW_TASTYTRADE_REFRESH_TOKEN"),
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Today's chain as it has been assembled by now, with the underlying's price.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract that is listed for today.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, ``no_zero_dte`` with the next expiry, or
            ``market_closed`` on a day without a session, when nothing is asked.
        """
        day = market_day(now)
        session = session_on(day)
        if session is None:
            raise ChainRefused(
                Reason.MARKET_CLOSED,
                f"{symbol}: {day} has no session: it is a {closed_day_kind(day)}",
            )
        self._now, self._now_at = now.timestamp(), time.monotonic()
        patience = ANSWERS * self.http.budget
        end = self._now_at + patience
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + patience):
                while True:
                    connection = await self._connected(end)
                    if not await connection.ping(self.http.timeout):
                        await connection.close()
                        # The supervisor notices, and connects again.
                        await self._lost(connection)
                        continue
                    streamed = await self._symbol(symbol, session, now)
                    if await self._subscribed(streamed, connection):
                        break
        except TimeoutError:
            raise ChainRefused(
                Reason.SOURCE_DOWN, f"{symbol}: {NAME} did not answer in time"
            ) from None
        except ChainRefused as refused:
            raise _of_symbol(refused, symbol) from None
        self._relist(symbol, streamed, now)
        frame = streamed.table.frame(now)
        self._delivered = True
        return frame

    async def close(self) -> None:
        """Close the connections, and end the tasks that use them."""
        tasks = [streamed.relisting for streamed in self._symbols.values()]
        for task in (self._supervisor, *tasks):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._supervisor = None
        await super().close()

    # The connection

    async def _connected(self, end: float) -> DxlinkConnection:
        """The connection, or the refusal of the attempt that was to make it."""
        if self._supervisor is None or self._supervisor.done():
            self._supervisor = asyncio.create_task(self._supervise())
        failures = self._failures
        while self._connection is None:
            wait = self._next_attempt - time.monotonic()
            if self._failures != failures or self._next_attempt > end:
                then = f"; the next attempt is in {wait:.0f} s" if wait >= 1 else ""
                raise ChainRefused(self._refused.reason, f"{self._refused}{then}")
            await self._changed.wait()
        return self._connection

    async def _lost(self, connection: DxlinkConnection) -> None:
        while self._connection is connection:
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _supervise(self) -> None:
        """Connect, read until the connection ends, and connect again, as long as slots come."""
        pause = BACK_OFF
        while time.monotonic() - self._now_at < IDLE:
            try:
                connection = await self._open()
            except ChainRefused as refused:
                self._refused = refused
            except Exception as error:
                self._refused = down(f"cannot be reached: {type(error).__name__}")
            else:
                for streamed in self._symbols.values():
                    streamed.table.begin_connection(self._clock())
                self._connection = connection
                self._notify()
                reading = asyncio.create_task(connection.read())
                try:
                    while not reading.done() and time.monotonic() - self._now_at < IDLE:
                        await asyncio.wait([reading], timeout=IDLE / 10)
                finally:
                    self._connection = None
                    reading.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        self._refused = await reading
                self._notify()
                if self._delivered:
                    # Connect again at once, since the connection worked: each second costs trades.
                    self._delivered, pause = False, BACK_OFF
                    continue
            self._next_attempt = time.monotonic() + pause
            self._failures += 1
            self._notify()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_BACK_OFF)

    async def _open(self) -> DxlinkConnection:
        token = await self._token()
        answer = await self.http.get(
            "/api-quote-tokens", symbol="", now=self._time(), headers=_bearer(token)
        )
        stream_token, address = parse_quote_token(answer.body or b"")
        parts = urlsplit(address)
        local = is_loopback(parts.hostname or "")
        if parts.scheme != "wss" and not (parts.scheme == "ws" and local and not self.remote):
            raise refused_answer("with an address of its stream that is not wss://")
        return await DxlinkConnection.open(
            address, stream_token, self._take, within=self.http.timeout, proxy=not local
        )

    async def _token(self) -> str:
        """The access token; it lasts a quarter of an hour."""
        if time.monotonic() >= self._access_ends:
            answer = await self.http.get(
                "/oauth/token", symbol="", now=self._time(), form=self._form
            )
            self._access, lasts = parse_access(answer.body or b"")
            self._access_ends = time.monotonic() + lasts - MARGIN
        return self._access

    def _clock(self) -> float:
        """The caller's time now, unix. [s]"""
        return self._now + time.monotonic() - self._now_at

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    # Symbols

    async def _symbol(self, symbol: str, session: Session, now: datetime) -> StreamedSymbol:
        """The symbol's table of the day; a new one when the day is new."""
        async with self._listing.setdefault(symbol, asyncio.Lock()):
            streamed = self._symbols.get(symbol)
            if streamed is not None and streamed.table.session.day == session.day:
                return streamed
            listed = await self._listed(symbol, session)
            table = ChainAssembler(symbol, session, source=NAME, delay_seconds=0)
            table.list_contracts(listed.contracts, adjusted=listed.adjusted)
            if streamed is not None:
                await self._forget(streamed)
            number = max(self._by_number, default=0) + 1
            streamed = StreamedSymbol(table, number, time.monotonic(), now >= session.open)
            table.begin_connection(self._clock())
            self._symbols[symbol] = self._by_number[number] = streamed
            self._underlyings[symbol] = streamed
            self._place(streamed, 0)
            return streamed

    def _place(self, streamed: StreamedSymbol, first: int) -> None:
        for index, name in enumerate(streamed.table.names[first:], first):
            self._places[name] = (streamed.number << 16) | index

    async def _forget(self, streamed: StreamedSymbol) -> None:
        """End what a table of another day was subscribed to."""
        del self._by_number[streamed.number]
        for name in streamed.table.names:
            self._places.pop(name, None)
        if self._connection is not None and streamed.subscribed is self._connection:
            with contextlib.suppress(Exception):
                await self._connection.subscribe(CONTRACT_EVENTS, streamed.table.names, end=True)

    async def _listed(self, symbol: str, session: Session) -> ListedDay:
        answer = await self.http.get(
            f"/option-chains/{quote(symbol, safe='')}/nested",
            symbol=symbol,
            now=self._time(),
            headers=_bearer(await self._token()),
        )
        listed = await asyncio.to_thread(parse_listed_day, answer.body or b"", session.day)
        if not listed.contracts:
            upcoming = next((day for day in listed.days if day > session.day), None)
            if not listed.days:
                raise down("has no options of it")
            raise ChainRefused(
                Reason.NO_ZERO_DTE,
                f"nothing expires on {session.day}"
                + (f"; next expiry {upcoming}" if upcoming else ""),
                next_expiry=upcoming,
            )
        return listed

    async def _subscribed(self, streamed: StreamedSymbol, connection: DxlinkConnection) -> bool:
        """Wait until the contracts that send a quote have sent it; False: the connection is cut."""
        from websockets.exceptions import ConnectionClosed

        table = streamed.table
        async with streamed.lock:
            if streamed.subscribed is not connection:
                try:
                    await connection.subscribe(CONTRACT_EVENTS, table.names)
                    await connection.subscribe(UNDERLYING_EVENTS, [table.symbol])
                except ConnectionClosed:
                    return False
                streamed.subscribed = connection
                streamed.quoted, streamed.quoted_at = 0, time.monotonic()
            while table.quoted < len(table.names):
                if table.quoted > streamed.quoted:
                    streamed.quoted, streamed.quoted_at = table.quoted, time.monotonic()
                elif streamed.quoted and time.monotonic() - streamed.quoted_at > QUIET:
                    break
                if self._connection is not connection:
                    return False
                await asyncio.sleep(0.01)
        return self._connection is connection

    def _relist(self, symbol: str, streamed: StreamedSymbol, now: datetime) -> None:
        """Read the listing anew when it is old, and once after the open, beside the slots."""
        opened = now >= streamed.table.session.open and not streamed.listed_open
        old = time.monotonic() - streamed.listed_at > LISTING_AGE
        if (opened or old) and (streamed.relisting is None or streamed.relisting.done()):
            streamed.listed_at = time.monotonic()
            streamed.listed_open = now >= streamed.table.session.open
            streamed.relisting = asyncio.create_task(self._list_again(symbol, streamed))

    async def _list_again(self, symbol: str, streamed: StreamedSymbol) -> None:
        # A listing that cannot be read costs nothing: the contracts that are known go on.
        with contextlib.suppress(Exception):
            listed = await self._listed(symbol, streamed.table.session)
            first = streamed.table.list_contracts(listed.contracts, adjusted=listed.adjusted)
            self._place(streamed, first)
            if self._connection is not None and streamed.subscribed is self._connection:
                await self._connection.subscribe(CONTRACT_EVENTS, streamed.table.names[first:])

    # Events

    def _take(self, data: Any, fields: Mapping[str, Sequence[str]]) -> None:
        """Hand each event to its symbol's table. Events of what is not listed are left out."""
        arrived = self._clock()
        for kind, events in compact_events(data, fields):
            names = events["eventSymbol"]
            if kind == "Trade":
                self._take_underlyings(names, events)
            places = np.array(
                [self._places.get(name, -1) if isinstance(name, str) else -1 for name in names],
                np.int64,
            )
            numbers = places >> 16
            for number in np.unique(numbers[places >= 0]).tolist():
                which = np.flatnonzero(numbers == number)
                if len(which) < len(names):
                    some = which.tolist()
                    chosen = {n: [column[i] for i in some] for n, column in events.items()}
                else:
                    chosen = events
                _add(self._by_number[number].table, kind, chosen, places[which] & 0xFFFF, arrived)

    def _take_underlyings(self, names: Sequence[Any], events: Mapping[str, list[Any]]) -> None:
        for i, name in enumerate(names):
            streamed = self._underlyings.get(name) if isinstance(name, str) else None
            if streamed is not None:
                price = numbers_of([events.get("price", [None] * len(names))[i]], 1)
                moment = numbers_of([events.get("time", [None] * len(names))[i]], 1)
                streamed.table.add_underlying(float(price[0]), float(moment[0]) / 1000)


def _add(
    table: ChainAssembler, kind: str, events: Mapping[str, list[Any]], contract: Any, arrived: float
) -> None:
    """Add one kind of events to the table of their symbol."""
    n = len(contract)

    def number(name: str) -> Any:
        return numbers_of(events.get(name), n)

    if kind == "Quote":
        moment = np.fmax(number("bidTime"), number("askTime")) / 1000
        table.add_quotes(
            contract, bid=number("bidPrice"), ask=number("askPrice"), moment=moment, arrived=arrived
        )
    elif kind == "Trade":
        table.add_trades(
            contract,
            price=number("price"),
            moment=number("time") / 1000,
            volume=number("dayVolume"),
        )
    elif kind == "Summary":
        table.add_open_interest(contract, number("openInterest"))
    else:
        table.add_prints(streamed_prints(events, contract))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _of_symbol(refused: ChainRefused, symbol: str) -> ChainRefused:
    """The refusal with the symbol in front, whoever's turn it was when it came about."""
    words = str(refused)
    words = words.removeprefix(f"{symbol}: ").removeprefix(": ")
    return ChainRefused(refused.reason, f"{symbol}: {words}", next_expiry=refused.next_expiry)
