"""Tradier's event stream: each trade with the quote that stood when it was made.

A session is made by a request, then one WebSocket takes the symbols of all chains. Tradier allows
one session a user. Its events are one JSON object a line; of these only ``timesale`` are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from sampler.chain import Frame
from sampler.sources.http import HttpClient, is_loopback
from sampler.sources.json_fields import decode_json, finite
from sampler.sources.print_stream import PrintStream, Report, StreamedTable, strikes_in
from sampler.sources.trades import PrintKind
from sampler.sources.tradier.parse import NAME
from sampler.sources.websocket import open_socket

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: Where production streams; another base streams under its own address.
PRODUCTION_STREAM = "wss://ws.tradier.com/v1/markets/events"
#: What ``session`` says of a trade in regular hours: two pages of the vendor's name it differently.
REGULAR = ("normal", "regular")
RIGHTS = {1: "C", -1: "P"}


class TradierStream(PrintStream):
    """The ``timesale`` events of the contracts that ``tradier:`` polls."""

    name = NAME
    # No field is documented that says whether a trade was a leg of a spread.
    tells_legs = False
    by_price = True
    asks_after_open = True

    def __init__(self, http: HttpClient, *, production: str, timeout: float) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        http : asks for a session; it has the token.
        production : the base of the real-time service.
        timeout : see ``PrintStream``. [s]
        """
        super().__init__(timeout=timeout)
        self._http = http
        self._url = PRODUCTION_STREAM
        if http.base != production:
            self._url = f"ws{http.base.removeprefix('http')}/markets/events"
        self._session = ""

    async def connect(self) -> ClientConnection:
        """Ask for a session and open the WebSocket.

        Returns
        -------
        ClientConnection
            The connection.

        Raises
        ------
        ChainRefused
            Where Tradier gives no session.
        """
        path = "/markets/events/session"
        answer = await self._http.get(path, symbol="", now=self.time(), form={})
        self._session = self.session_of(answer.body or b"")
        local = is_loopback(urlsplit(self._url).hostname or "")
        return await open_socket(self._url, proxy=not local)

    def session_of(self, body: bytes) -> str:
        """Read a session from the answer of ``/markets/events/session``.

        Parameters
        ----------
        body : the answer, unpacked.

        Returns
        -------
        str
            The session, which is as good as a key.

        Raises
        ------
        ChainRefused
            ``bad_answer``, with nothing of the answer.
        """
        try:
            session = decode_json(body)["stream"]["sessionid"]
        except (LookupError, TypeError, ValueError, RecursionError):
            session = None
        if not isinstance(session, str) or not session.isascii() or not session.isprintable():
            raise self.bad("no session")
        return session

    async def subscribe(
        self, socket: ClientConnection, table: StreamedTable, fresh: Sequence[str]
    ) -> None:
        """Send the list of all contracts anew, which is how Tradier's changes.

        Parameters
        ----------
        socket : the connection.
        table : the table whose contracts are new.
        fresh : the new ones.
        """
        request = {
            "symbols": list(self.places),
            "sessionid": self._session,
            "filter": ["timesale"],
            "linebreak": True,
            "validOnly": True,
        }
        await socket.send(orjson.dumps(request).decode())
        table.sides.begin(slice(None), self.clock())

    def take(self, message: str | bytes) -> None:
        """Take a message of any number of lines.

        Parameters
        ----------
        message : one event a line.

        Raises
        ------
        ChainRefused
            For a line that is no event, or an error of Tradier's.
        """
        for line in message.splitlines():
            if not line:
                continue
            try:
                event = decode_json(line.encode() if isinstance(line, str) else line)
            except (ValueError, RecursionError):
                raise self.bad("a line that is no JSON") from None
            if not isinstance(event, dict):
                raise self.bad("a line that is no object")
            if "error" in event:
                # The text of the error may repeat the session's id, which is a secret.
                session = "session" in str(event["error"])[:200].lower()
                raise self.down(
                    "refuses its session: it has ended, or another program has opened one"
                    if session
                    else "does not accept the subscription"
                )
            if event.get("type") == "timesale":
                self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        name = event.get("symbol")
        place = self.places.get(name) if isinstance(name, str) else None
        if place is None:
            return
        table, contract = place
        moment = finite(event.get("date")) / 1000
        table.add(
            Report(
                contract,
                _index(event),
                self.clock() if math.isnan(moment) else moment,
                finite(event.get("last")),
                finite(event.get("size")),
                finite(event.get("bid")),
                finite(event.get("ask")),
                PrintKind.SIDED if event.get("session") in REGULAR else PrintKind.UNSIDED,
                undoes=event.get("cancel") is True or event.get("correction") is True,
                reports=event.get("cancel") is not True,
            )
        )

    def names_of(self, frame: Frame) -> list[str]:
        """Contracts as Tradier names them, such as ``SPXW260819C07700000``.

        Parameters
        ----------
        frame : the chain.

        Returns
        -------
        list of str
            One a contract.
        """
        days = [f"{day:%y%m%d}" if day is not None else "" for day in frame.expiry.tolist()]
        return [
            f"{root or frame.symbol}{day}{RIGHTS.get(right, '')}{strike:08d}"
            for root, day, right, strike in zip(
                frame.root.tolist(), days, frame.right.tolist(), strikes_in(frame, 0.001),
                strict=True,
            )
        ]  # fmt: skip


def _index(event: dict[str, Any]) -> int | None:
    """A trade's number, by which a later cancel names it; each exchange may count its own."""
    number, exchange = event.get("seq"), event.get("exch")
    if type(number) is not int or number < 0:
        return None
    letter = ord(exchange[0]) if isinstance(exchange, str) and exchange else 0
    return (number << 24) | letter
