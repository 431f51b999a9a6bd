"""A vendor's stream of trades beside its polled chains: the chain is what counts, the stream signs.

One connection for all symbols. The contracts of a polled chain are subscribed to; each print is
kept with the quote before it, and counted when a frame is due. A stream that is down costs no slot:
the frame then has no sides, and the log says once what the vendor did.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import day_bounds
from sampler.sources.sides import StreamedPrints, StreamedSides
from sampler.sources.trades import PrintKind
from sampler.sources.websocket import sign_of_life
from storage.market.calendar import Session
from storage.market.instruments import instrument_of
from storage.record.row import Reason

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: Pauses before attempts to connect: the first, and the longest. [s]
BACK_OFF, LONGEST_BACK_OFF = 0.5, 30.0
#: Without a slot for so long, the connection is closed. [s]
IDLE = 1800.0
#: So many reports wait to be counted; then they are counted before a frame is due.
MOST_WAITING = 4096
#: No expiry of one underlying has more contracts.
MOST_CONTRACTS = 8192

log = structlog.get_logger()


class Report(NamedTuple):
    """One report of a trade, as ``StreamedPrints`` has them in columns."""

    contract: int
    number: int | None
    moment: float
    price: float
    size: float
    bid: float
    ask: float
    kind: PrintKind
    undoes: bool = False
    reports: bool = True


class StreamNotInPlan(ChainRefused):
    """The account does not include the stream: it is not tried again on this day."""


@dataclass(slots=True, eq=False)
class StreamedTable:
    """One symbol's contracts of a day, and the reports that have not been counted yet."""

    symbol: str
    session: Session
    sides: StreamedSides
    #: The stream's name of each contract, and its index.
    names: list[str] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    #: The newest quote of each contract, NaN where none is known. [$]
    bid: list[float] = field(default_factory=list)
    ask: list[float] = field(default_factory=list)
    waiting: list[Report] = field(default_factory=list)
    #: How many contracts this connection was asked for, and whether that was after the open.
    subscribed: int = 0
    subscribed_after_open: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Unix times of the New York day. [s]
    midnight: float = field(init=False)
    day_ends: float = field(init=False)

    def __post_init__(self) -> None:
        _, self.midnight, self.day_ends = day_bounds(self.session.open)

    def add(self, report: Report) -> None:
        """Keep a report until it is counted.

        Parameters
        ----------
        report : of one of the table's contracts. One of another day is left out.
        """
        if not self.midnight <= report.moment < self.day_ends:
            return
        self.waiting.append(report)
        if len(self.waiting) >= MOST_WAITING:
            self.count()

    def count(self) -> None:
        """Count the reports that wait."""
        reports, self.waiting = self.waiting, []
        if not reports:
            return
        columns = list(zip(*reports, strict=True))
        moment, price, size, bid, ask = (np.array(column, np.float64) for column in columns[2:7])
        self.sides.add(
            StreamedPrints(
                contract=np.array(columns[0], np.intp),
                index=columns[1],
                moment=moment,
                price=price,
                size=size,
                bid=bid,
                ask=ask,
                side=np.full(len(reports), math.nan),
                kind=np.array(columns[7], np.int8),
                undoes=np.array(columns[8], np.bool_),
                reports=np.array(columns[9], np.bool_),
            )
        )


class PrintStream(ABC):
    """Keeps the connection, the subscriptions and the count; a vendor's own class speaks to it."""

    #: The vendor's name.
    name: str
    #: Whether the stream tells legs of spreads from other trades.
    tells_legs: bool
    #: Whether a cancel may name its print by price and size.
    by_price = False
    #: A connection that sends nothing for so long is dead; None: it may be silent. [s]
    silence: float | None = None
    #: Whether all contracts are asked for once more after the open.
    asks_after_open = False

    def __init__(self, *, timeout: float) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        timeout : how long a slot waits for the stream, and an attempt to connect may take. [s]
        """
        self._timeout = timeout
        self._tables: dict[str, StreamedTable] = {}
        #: The stream's name of a contract → its table and index.
        self.places: dict[str, tuple[StreamedTable, int]] = {}
        self._socket: ClientConnection | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        #: Set when the connection is of no use any more.
        self._given_up = asyncio.Event()
        #: Whether an attempt to connect is under way, which a slot waits for.
        self._attempting = False
        self._why: ChainRefused = self.down("has not been reached yet")
        self._logged = ""
        #: Messages of all connections.
        self._received = 0
        #: Whether the connection has told the sides of a frame.
        self._worked = False
        self._not_in_plan: date | None = None
        #: The caller's newest time, unix [s], and when that was (monotonic). [s]
        self._now, self._now_at = 0.0, 0.0

    # What a vendor's own class says

    @abstractmethod
    async def connect(self) -> ClientConnection:
        """Open the vendor's stream; nothing is subscribed to yet."""

    @abstractmethod
    async def subscribe(
        self, socket: ClientConnection, table: StreamedTable, fresh: Sequence[str]
    ) -> None:
        """Ask for the trades of contracts that this connection does not have yet.

        Parameters
        ----------
        socket : the open connection.
        table : the symbol whose contracts they are.
        fresh : the stream's names of the contracts.
        """

    async def unsubscribe(self, socket: ClientConnection, table: StreamedTable) -> None:  # noqa: B027
        """End what a table of another day was subscribed to.

        Parameters
        ----------
        socket : the open connection.
        table : the table of the other day.
        """

    @abstractmethod
    def take(self, message: str | bytes) -> None:
        """Add the reports of a message to their tables.

        Parameters
        ----------
        message : as it came.

        Raises
        ------
        ChainRefused
            If it cannot be read, or ends the connection.
        """

    @abstractmethod
    def names_of(self, frame: Frame) -> list[str]:
        """Give the stream's name of each contract of a frame.

        Parameters
        ----------
        frame : a polled chain.

        Returns
        -------
        list of str
            The names, in the frame's order.
        """

    # What its source uses

    def wake(self, now: datetime) -> None:
        """Connect if need be, while the chain is asked for.

        Parameters
        ----------
        now : the time, UTC.
        """
        self._now, self._now_at = now.timestamp(), time.monotonic()
        if self._not_in_plan == now.date():
            return
        if self._supervisor is None or self._supervisor.done():
            self._attempting = True
            self._supervisor = asyncio.create_task(self._supervise())

    async def with_sides(self, frame: Frame, session: Session) -> Frame:
        """Add what the stream says of a chain's trades.

        Parameters
        ----------
        frame : the polled chain.
        session : the day's session.

        Returns
        -------
        Frame
            The same, with ``signed_volume``, and with ``multi_leg_volume`` where the stream tells
            legs; NaN where a trade may have been missed.
        """
        table = await self._table(frame.symbol, session)
        places = self._list(table, frame)
        socket = await self._ready(table)
        table.count()
        volume = np.full(len(table.names), math.nan)
        volume[places[places >= 0]] = frame.volume[places >= 0]
        signed, legs = (
            np.where(places >= 0, np.append(column, math.nan)[places], math.nan)
            for column in table.sides.sample(volume)
        )
        if socket is not None:
            self._worked = True
            if self._logged:
                log.info("stream is back", source=self.name)
                self._logged = ""
        return dataclasses.replace(
            frame, signed_volume=signed, multi_leg_volume=legs if self.tells_legs else None
        )

    async def close(self) -> None:
        """End the connection."""
        task, self._supervisor = self._supervisor, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def clock(self) -> float:
        """The caller's time now, unix. [s]"""
        return self._now + time.monotonic() - self._now_at

    def time(self) -> datetime:
        """The caller's time now, UTC."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def down(self, words: str) -> ChainRefused:
        """Say why there is no stream, without a symbol.

        Parameters
        ----------
        words : what follows the stream's name.

        Returns
        -------
        ChainRefused
            With the reason ``source_down``.
        """
        return ChainRefused(Reason.SOURCE_DOWN, f"{self.name}'s stream {words}")

    def bad(self, what: str) -> ChainRefused:
        """Make the refusal of an unreadable message; its sentence names no symbol.

        Parameters
        ----------
        what : what the stream has sent.

        Returns
        -------
        ChainRefused
            With the reason ``bad_answer``.
        """
        return ChainRefused(Reason.BAD_ANSWER, f"{self.name}'s stream sent {what}")

    # Tables

    async def _table(self, symbol: str, session: Session) -> StreamedTable:
        table = self._tables.get(symbol)
        if table is not None and table.session.day == session.day:
            return table
        if table is not None:
            for name in table.names:
                self.places.pop(name, None)
            if self._socket is not None and table.subscribed:
                with contextlib.suppress(Exception):
                    await self.unsubscribe(self._socket, table)
        sides = StreamedSides(symbol, session, by_price=self.by_price)
        table = self._tables[symbol] = StreamedTable(symbol, session, sides)
        return table

    def _list(self, table: StreamedTable, frame: Frame) -> np.ndarray:
        """Index of each contract of a frame in its table, -1 where it is not followed."""
        morning = instrument_of(frame.symbol).am_roots
        today = np.datetime64(table.session.day)
        followed = (frame.expiry == today) & (np.abs(frame.right) == 1) & (frame.strike > 0)
        if morning:
            followed &= ~np.isin(frame.root, list(morning))
        places = np.full(len(frame.strike), -1, np.intp)
        names = self.names_of(frame)
        for i in np.flatnonzero(followed).tolist():
            name = names[i]
            place = table.index.get(name)
            if place is None:
                if len(table.names) >= MOST_CONTRACTS:
                    break
                place = table.index[name] = len(table.names)
                table.names.append(name)
                table.bid.append(math.nan)
                table.ask.append(math.nan)
                self.places[name] = (table, place)
            places[i] = place
            if math.isnan(table.ask[place]):
                # Until the stream has sent a quote, the chain's is the one before the next print.
                table.bid[place], table.ask[place] = float(frame.bid[i]), float(frame.ask[i])
        table.sides.widen(len(table.names))
        return places

    # The connection

    async def _ready(self, table: StreamedTable) -> ClientConnection | None:
        """Subscribe to what is new, and wait until all that was sent so far has been read."""
        from websockets.exceptions import ConnectionClosed

        socket, why, received = None, "did not answer in time", self._received
        try:
            async with asyncio.timeout(self._timeout):
                while self._socket is None and self._attempting:
                    await self._changed.wait()
                socket = self._socket
                if socket is None:
                    return None
                async with table.lock:
                    await self._subscribe(socket, table)
                if await sign_of_life(socket, self._timeout) and socket is self._socket:
                    return socket
        except TimeoutError:
            pass
        except ConnectionClosed:
            why = "was cut"
        if socket is not None and socket is self._socket and self._received != received:
            # It is busy, with what was subscribed to just now, and not dead.
            return socket
        if socket is not None:
            self._lose(socket, self.down(why))
        return None

    async def _subscribe(self, socket: ClientConnection, table: StreamedTable) -> None:
        after_open = self.clock() >= table.session.open.timestamp()
        if self.asks_after_open and after_open and not table.subscribed_after_open:
            table.subscribed = 0
        fresh = table.names[table.subscribed :]
        if fresh:
            table.subscribed, table.subscribed_after_open = len(table.names), after_open
            await self.subscribe(socket, table, fresh)

    def _lose(self, socket: ClientConnection, why: ChainRefused) -> None:
        """Note that a connection is of no use any more, once."""
        if socket is not self._socket:
            return
        self._socket, self._why = None, why
        self._given_up.set()
        for table in self._tables.values():
            table.count()
            table.sides.cut()
            table.subscribed = 0
            table.bid, table.ask = ([math.nan] * len(table.names) for _ in range(2))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _supervise(self) -> None:
        """Connect, read until the connection ends, and connect again, as long as slots come."""
        pause = BACK_OFF
        while time.monotonic() - self._now_at < IDLE:
            self._attempting = True
            try:
                async with asyncio.timeout(self._timeout):
                    socket = await self.connect()
            except StreamNotInPlan as refused:
                self._give_up(refused)
                return
            except ChainRefused as refused:
                self._why = ChainRefused(refused.reason, str(refused).removeprefix(": "))
            except TimeoutError:
                self._why = self.down("did not open in time")
            except Exception as error:
                # The text of the error may quote an address or a header.
                self._why = self.down(f"cannot be reached: {type(error).__name__}")
            else:
                self._socket, self._attempting, self._given_up = socket, False, asyncio.Event()
                self._notify()
                try:
                    why = await self._read(socket)
                finally:
                    self._lose(socket, self._why)
                    with contextlib.suppress(Exception):
                        await socket.close()
                if isinstance(why, StreamNotInPlan):
                    self._give_up(why)
                    return
                self._say(why)
                if self._worked:
                    # Connect again at once: trades are lost while there is no connection.
                    self._worked, pause = False, BACK_OFF
                    continue
            self._attempting = False
            self._notify()
            self._say(self._why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_BACK_OFF)

    def _give_up(self, refused: StreamNotInPlan) -> None:
        self._why, self._not_in_plan = refused, self.time().date()
        self._attempting = False
        self._notify()
        self._say(refused)

    def _say(self, why: ChainRefused) -> None:
        if str(why) != self._logged:
            self._logged = str(why)
            log.warning(
                "stream is down", source=self.name,
                detail=f"{why}; sides come from the last print of each slot",
            )  # fmt: skip

    async def _read(self, socket: ClientConnection) -> ChainRefused:
        """Take messages until the connection ends; return why."""
        from websockets.exceptions import ConnectionClosed

        why = None
        closing = asyncio.create_task(self._close_when_useless(socket))
        try:
            while why is None:
                try:
                    async with asyncio.timeout(self.silence):
                        message = await socket.recv()
                    self._received += 1
                    if socket is self._socket:
                        self.take(message)
                    else:
                        why = self._why
                except TimeoutError:
                    why = self.down(f"has been silent for {self.silence:g} s")
                except ConnectionClosed:
                    why = self._why if socket is not self._socket else self.down("was cut")
                except ChainRefused as refused:
                    why = refused
                except Exception as error:
                    why = self.bad(f"what cannot be read: {type(error).__name__}")
        finally:
            closing.cancel()
        self._lose(socket, why)
        return why

    async def _close_when_useless(self, socket: ClientConnection) -> None:
        """Close a connection that was given up, or that no slot has used for long."""
        given_up = False
        while not given_up and time.monotonic() - self._now_at < IDLE:
            with contextlib.suppress(TimeoutError):
                given_up = await asyncio.wait_for(self._given_up.wait(), IDLE / 10)
        await socket.close()


def strikes_in(frame: Frame, unit: float) -> list[int]:
    """Strikes as whole numbers of a unit, as streams name contracts.

    Parameters
    ----------
    frame : the chain.
    unit : such as 0.001. [$]

    Returns
    -------
    list of int
        One a contract; 0 for a strike that is no number.
    """
    whole = np.rint(np.nan_to_num(frame.strike, posinf=0.0, neginf=0.0) / unit)
    return [int(value) for value in whole.tolist()]
