"""One WebSocket of dxLink: set up, authorised, read until it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from sampler.errors import ChainRefused
from sampler.sources.dxlink.parse import (
    EVENT_FIELDS,
    NAME,
    event_fields,
    read_message,
    refused_answer,
)
from sampler.sources.websocket import open_socket, sign_of_life
from storage.record.row import Reason

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: A message tells the vendor that we live, this often. [s]
KEEPALIVE = 30.0
#: How much later than twice that the vendor's own may come. [s]
GRACE = 15.0
#: Subscriptions that one message asks for.
BATCH = 500
#: How long the vendor may collect events before it sends them. [s]
AGGREGATION = 0.1
CHANNEL = 1

#: Takes the data of a FEED_DATA message, and the order of fields.
OnEvents = Callable[[Any, Mapping[str, Sequence[str]]], None]


class DxlinkConnection:
    """A connection that has a feed channel; ``read`` hands on its events until it ends."""

    def __init__(self, socket: ClientConnection, on_events: OnEvents, *, silence: float) -> None:
        self._socket, self._on_events, self._silence = socket, on_events, silence
        self._fields: dict[str, Sequence[str]] = dict(EVENT_FIELDS)
        self._ended = False

    @classmethod
    async def open(
        cls, url: str, token: str, on_events: OnEvents, *, within: float, proxy: bool
    ) -> DxlinkConnection:
        """Connect, authorise, and open a feed channel.

        Parameters
        ----------
        url : address of the WebSocket.
        token : the stream's token. It appears in no error.
        on_events : takes events as they come.
        within : time limit of all this. [s]
        proxy : whether the environment's proxy is used.

        Returns
        -------
        DxlinkConnection
            The connection; nothing is subscribed to yet.

        Raises
        ------
        ChainRefused
            ``source_down`` or ``bad_answer``; the sentence has no symbol.
        """
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(within):
                socket = await open_socket(url, proxy=proxy)
                connection = cls(socket, on_events, silence=2 * KEEPALIVE + GRACE)
                try:
                    await connection._set_up(token)
                except BaseException:
                    await connection.close()
                    raise
        except TimeoutError:
            raise down("did not open its stream in time") from None
        except (OSError, WebSocketException) as error:
            # The message of the error may quote an address or a header with the token: not shown.
            raise down(f"cannot be reached by its stream: {type(error).__name__}") from None
        return connection

    async def subscribe(
        self, kinds: Sequence[str], names: Iterable[str], *, end: bool = False
    ) -> None:
        """Begin, or end, to receive some kinds of events of some contracts.

        Parameters
        ----------
        kinds : kinds of events.
        names : the stream's names.
        end : whether to end it.
        """
        wanted = [{"type": kind, "symbol": name} for name in names for kind in kinds]
        action = "remove" if end else "add"
        for begin in range(0, len(wanted), BATCH):
            await self._send("FEED_SUBSCRIPTION", CHANNEL, **{action: wanted[begin:][:BATCH]})

    async def ping(self, within: float) -> bool:
        """Ask for a sign of life; when it has come, all that was sent before it has been read.

        Parameters
        ----------
        within : how long to wait. [s]

        Returns
        -------
        bool
            Whether it came.
        """
        # A socket that still answers is of no use once nobody reads it.
        return await sign_of_life(self._socket, within) and not self._ended

    async def read(self) -> ChainRefused:
        """Hand on events until the connection ends.

        Returns
        -------
        ChainRefused
            Why it has ended, without a symbol.
        """
        from websockets.exceptions import ConnectionClosed

        beat = asyncio.create_task(self._beat())
        try:
            while True:
                try:
                    self._take(await self._receive())
                except TimeoutError:
                    return down(f"has been silent for {self._silence:g} s")
                except ConnectionClosed:
                    return down("has cut the stream")
                except ChainRefused as refused:
                    return refused
                except Exception as error:
                    return refused_answer(f"what cannot be read: {type(error).__name__}")
        finally:
            self._ended = True
            beat.cancel()
            await self.close()

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            await self._socket.close()

    async def _set_up(self, token: str) -> None:
        """Send SETUP, AUTH, CHANNEL_REQUEST and FEED_SETUP, each when it is its turn."""
        seconds = round(2 * KEEPALIVE)
        await self._send(
            "SETUP", 0, version="0.1", keepaliveTimeout=seconds, acceptKeepaliveTimeout=seconds
        )
        await self._send("AUTH", 0, token=token)
        refused = False
        while True:
            message = await self._receive()
            kind = message["type"]
            if kind == "AUTH_STATE":
                if message.get("state") == "AUTHORIZED":
                    await self._send(
                        "CHANNEL_REQUEST", CHANNEL, service="FEED", parameters={"contract": "AUTO"}
                    )
                elif refused:
                    raise down("refuses the stream's token")
                # The first state comes before our AUTH has been read.
                refused = True
            elif kind == "CHANNEL_OPENED":
                await self._send(
                    "FEED_SETUP",
                    CHANNEL,
                    acceptAggregationPeriod=AGGREGATION,
                    acceptDataFormat="COMPACT",
                    acceptEventFields=EVENT_FIELDS,
                )
                return
            else:
                self._take(message)

    async def _beat(self) -> None:
        with contextlib.suppress(Exception):
            while True:
                await asyncio.sleep(KEEPALIVE)
                await self._send("KEEPALIVE", 0)

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "FEED_DATA":
            self._on_events(message.get("data"), self._fields)
        elif kind == "FEED_CONFIG":
            self._fields |= event_fields(message)
        elif kind == "ERROR":
            code = str(message.get("error"))
            if code == "UNAUTHORIZED":
                raise down("refuses the stream's token")
            known = code.replace("_", "").isalpha() and len(code) <= 40
            raise down(f"ended the stream with an error{f' {code}' if known else ''}")
        elif kind == "CHANNEL_CLOSED":
            raise down("closed the stream's channel")

    async def _receive(self) -> dict[str, Any]:
        async with asyncio.timeout(self._silence):
            return read_message(await self._socket.recv())

    async def _send(self, kind: str, channel: int, **fields: Any) -> None:
        await self._socket.send(orjson.dumps({"type": kind, "channel": channel, **fields}).decode())


def down(words: str) -> ChainRefused:
    """A refusal without the symbol that its sentence begins with.

    Parameters
    ----------
    words : what the vendor does.

    Returns
    -------
    ChainRefused
        ``source_down``.
    """
    return ChainRefused(Reason.SOURCE_DOWN, f"{NAME} {words}")
