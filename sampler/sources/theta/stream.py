"""The stream of Theta's terminal: trades and quotes of each contract, one WebSocket on loopback.

The terminal takes one connection. A trade comes without a quote, so both are asked for, and a trade
is signed against the quote that came before it. Theta's plan Options Standard is the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from sampler.chain import Frame
from sampler.sources.http import is_loopback
from sampler.sources.json_fields import decode_json, finite
from sampler.sources.print_stream import (
    PrintStream,
    Report,
    StreamedTable,
    StreamNotInPlan,
    strikes_in,
)
from sampler.sources.theta.answers import NAME
from sampler.sources.theta.conditions import kinds_of
from sampler.sources.trades import PrintKind
from sampler.sources.websocket import open_socket
from storage.record.row import Reason

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: Where the terminal streams, on the host of its answers.
PORT, PATH = 25520, "/v1/events"
#: The terminal tells its state every second. Without a word for so long it is gone. [s]
SILENCE = 15.0
#: What a contract is asked for: the quotes first, so that none is missing before a trade.
KINDS = ("QUOTE", "TRADE")
RIGHTS = {1: "C", -1: "P"}


class ThetaStream(PrintStream):
    """Trades and quotes of the contracts that ``theta:`` polls."""

    name = NAME
    tells_legs = True
    silence = SILENCE

    def __init__(self, url: str, *, timeout: float) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        url : address of the WebSocket.
        timeout : see ``PrintStream``. [s]
        """
        super().__init__(timeout=timeout)
        self._url = url
        self._last_id = -1
        #: Requests that have not been answered: number → contract.
        self._asked: dict[int, str] = {}
        #: Contract → how many of ``KINDS`` were granted.
        self._granted: dict[str, int] = {}
        self._connected = False

    async def connect(self) -> ClientConnection:
        """Open the WebSocket.

        Returns
        -------
        ClientConnection
            The connection.
        """
        self._asked, self._granted, self._connected = {}, {}, False
        return await open_socket(
            self._url, proxy=not is_loopback(urlsplit(self._url).hostname or "")
        )

    async def subscribe(
        self, socket: ClientConnection, table: StreamedTable, fresh: Sequence[str]
    ) -> None:
        """Ask for the quotes and trades of some contracts; they stream once both are granted.

        Parameters
        ----------
        socket : the connection.
        table : the contracts' table.
        fresh : their names.
        """
        await self._request(socket, fresh, add=True)

    async def unsubscribe(self, socket: ClientConnection, table: StreamedTable) -> None:
        """End the subscriptions of a table of another day.

        Parameters
        ----------
        socket : the connection.
        table : the table.
        """
        for name in table.names:
            self._granted.pop(name, None)
        await self._request(socket, table.names, add=False)

    async def _request(self, socket: ClientConnection, names: Sequence[str], *, add: bool) -> None:
        for name in names:
            root, day, strike, right = name.rsplit("|", 3)
            contract = {
                "root": root, "expiration": int(day), "strike": int(strike), "right": right,
            }  # fmt: skip
            for kind in KINDS:
                # The terminal wants a number that was never there before.
                self._last_id += 1
                if add:
                    self._asked[self._last_id] = name
                request = {
                    "msg_type": "STREAM", "sec_type": "OPTION", "req_type": kind, "add": add,
                    "id": self._last_id, "contract": contract,
                }  # fmt: skip
                await socket.send(orjson.dumps(request).decode())

    def take(self, message: str | bytes) -> None:
        """Take a message: a quote, a trade, the state of the terminal, or an answer to a request.

        Parameters
        ----------
        message : one JSON object.

        Raises
        ------
        ChainRefused
            For what is none, a terminal that has lost its connection, or a plan without streams.
        """
        try:
            event = decode_json(message.encode() if isinstance(message, str) else message)
        except (ValueError, RecursionError):
            raise self.bad("a message that is no JSON") from None
        header = event.get("header") if isinstance(event, dict) else None
        if not isinstance(header, dict):
            raise self.bad("a message without a header")
        kind = header.get("type")
        if kind == "QUOTE":
            self._quote(event)
        elif kind == "TRADE":
            self._trade(event)
        elif kind == "REQ_RESPONSE":
            self._answered(header)
        # Before the first request it is not connected, and says so.
        if header.get("status") == "CONNECTED":
            self._connected = True
        elif header.get("status") == "DISCONNECTED" and self._connected:
            raise self.down("has lost its connection to Theta Data")

    def _place(self, event: dict[str, Any]) -> tuple[StreamedTable, int] | None:
        contract = event.get("contract")
        if not isinstance(contract, dict):
            return None
        return self.places.get(
            f"{contract.get('root')}|{contract.get('expiration')}"
            f"|{contract.get('strike')}|{contract.get('right')}"
        )

    def _quote(self, event: dict[str, Any]) -> None:
        place, quote = self._place(event), event.get("quote")
        if place is None or not isinstance(quote, dict):
            return
        table, contract = place
        # 0 at 0 is how the absence of a quote is sent: no trade has a side against that.
        table.bid[contract] = finite(quote.get("bid"))
        table.ask[contract] = finite(quote.get("ask"))

    def _trade(self, event: dict[str, Any]) -> None:
        place, trade = self._place(event), event.get("trade")
        if place is None or not isinstance(trade, dict):
            return
        table, contract = place
        day = table.session.day
        if finite(trade.get("date")) != day.year * 10_000 + day.month * 100 + day.day:
            return
        condition = finite(trade.get("condition"))
        code = int(condition) if 0 <= condition < 1000 else -1
        table.add(
            Report(
                contract,
                None,
                table.midnight + finite(trade.get("ms_of_day")) / 1000,
                finite(trade.get("price")),
                finite(trade.get("size")),
                table.bid[contract],
                table.ask[contract],
                PrintKind(int(kinds_of(np.array([code]))[0])),
            )
        )

    def _answered(self, header: dict[str, Any]) -> None:
        number, response = header.get("req_id"), header.get("response")
        name = self._asked.pop(number, None) if type(number) is int else None
        place = self.places.get(name) if name is not None else None
        if response == "INVALID_PERMS":
            raise StreamNotInPlan(
                Reason.SOURCE_DOWN,
                f"{self.name}'s plan is without streams of options; Options Standard is the least",
            )
        if place is None or name is None or response != "SUBSCRIBED":
            # A contract without a stream has no sides: it is never begun.
            return
        self._granted[name] = self._granted.get(name, 0) + 1
        if self._granted[name] == len(KINDS):
            table, contract = place
            table.sides.begin(np.array([contract]), self.clock())

    def names_of(self, frame: Frame) -> list[str]:
        """Contracts as the terminal's messages tell them, such as ``SPXW|20260819|7700000|C``.

        Parameters
        ----------
        frame : the chain.

        Returns
        -------
        list of str
            One a contract.
        """
        days = [f"{day:%Y%m%d}" if day is not None else "0" for day in frame.expiry.tolist()]
        return [
            f"{root or frame.symbol}|{day}|{strike}|{RIGHTS.get(right, '')}"
            for root, day, right, strike in zip(
                frame.root.tolist(), days, frame.right.tolist(), strikes_in(frame, 0.001),
                strict=True,
            )
        ]  # fmt: skip


def stream_url(option: str, base: str) -> str | None:
    """The address that the option ``stream`` names.

    Parameters
    ----------
    option : ``no``, ``yes`` for the terminal's own port, or an address ``ws://…``.
    base : the terminal's address for answers.

    Returns
    -------
    str or None
        The address; None without a stream.

    Raises
    ------
    ValueError
        For anything else.
    """
    if option == "no":
        return None
    if option == "yes":
        host = urlsplit(base).hostname or ""
        return f"ws://{f'[{host}]' if ':' in host else host}:{PORT}{PATH}"
    parts = urlsplit(option)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(option)
    return option
