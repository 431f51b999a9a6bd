"""The server's side of a WebSocket (RFC 6455), written out by hand, and what can go wrong with it.

Any injected fault also cuts the connections that are open, and refuses new ones.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import orjson

from tests.vendors.server import Request, VendorServer

#: What RFC 6455 has a server add to the client's key.
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class StreamingVendor(VendorServer):
    """A vendor with a WebSocket; a subclass names the class that serves one connection."""

    #: Serves one connection.
    peer: Callable[[Any, socket.socket], Peer]

    def __init__(self) -> None:
        super().__init__()
        #: Whether nothing is sent any more, not even the answer to a ping.
        self.silent = False
        #: Messages of every connection, in order.
        self.messages: list[dict[str, Any]] = []
        #: Texts that the next connection to look sends as they are.
        self.raw: list[bytes] = []
        #: Connections that are to be cut, and that were opened.
        self.cuts = 0
        self.streams = 0
        #: Whether connections are refused.
        self.no_stream = False

    def heal(self) -> None:
        super().heal()
        self.silent = self.no_stream = False

    def stream(self, handler: BaseHTTPRequestHandler, request: Request) -> bool:
        if request.headers.get("upgrade", "").lower() != "websocket" or self._faults:
            return False
        if self.no_stream:
            return False
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        handler.send_response(101)
        for name, text in (
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept),
        ):  # fmt: skip
            handler.send_header(name, text)
        handler.end_headers()
        self.streams += 1
        type(self).peer(self, handler.connection).serve()
        return True


class Peer:
    """One connection: ``hear`` takes a client's message, ``push`` sends what is new."""

    def __init__(self, vendor: Any, connection: socket.socket) -> None:
        self.vendor, self.connection = vendor, connection
        self.buffer = bytearray()
        self.cuts = vendor.cuts

    def hear(self, message: dict[str, Any]) -> None:
        """Answer a client's message."""

    def push(self) -> None:
        """Send what is new. It is called before the answer to a ping, and every 20 ms."""

    def serve(self) -> None:
        """Serve until either side has had enough."""
        try:
            while self.vendor._server is not None and self.cuts == self.vendor.cuts:
                while (message := self._frame()) is not None:
                    if not self._answer(*message):
                        return
                readable, _, _ = select.select([self.connection], [], [], 0.02)
                if readable:
                    data = self.connection.recv(1 << 16)
                    if not data:
                        return
                    self.buffer += data
                elif not self.vendor._faults:
                    self._push()
        except OSError:
            return

    def send(self, message: Any) -> None:
        """Send an object as JSON."""
        self.write(1, orjson.dumps(message))

    def write(self, kind: int, body: bytes) -> None:
        """Send a frame as it stands."""
        n = len(body)
        head = bytes([0x80 | kind])
        if n < 126:
            head += bytes([n])
        elif n < 1 << 16:
            head += b"\x7e" + struct.pack(">H", n)
        else:
            head += b"\x7f" + struct.pack(">Q", n)
        self.connection.sendall(head + body)

    def _frame(self) -> tuple[int, bytes] | None:
        """The next frame of a client: masked, with a length in one of three forms."""
        data = self.buffer
        if len(data) < 2:
            return None
        length, offset = data[1] & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(data) < offset + size:
                return None
            length = int.from_bytes(data[offset : offset + size], "big")
            offset += size
        if len(data) < offset + 4 + length:
            return None
        mask = bytes(data[offset : offset + 4])
        body = bytes(data[offset + 4 : offset + 4 + length])
        kind = data[0] & 0x0F
        del data[: offset + 4 + length]
        pad = mask * (length // 4 + 1)
        return kind, bytes(a ^ b for a, b in zip(body, pad, strict=False))

    def _answer(self, kind: int, body: bytes) -> bool:
        if kind == 8:
            self.write(8, body)
            return False
        if self.vendor.silent:
            return True
        if kind == 9:
            if self.vendor._faults:
                return False
            self._push()
            self.write(10, body)
        if kind != 1:
            return True
        message = orjson.loads(body)
        self.vendor.messages.append(message)
        self.hear(message)
        return True

    def _push(self) -> None:
        if self.vendor.silent:
            return
        while self.vendor.raw:
            self.write(1, self.vendor.raw.pop(0))
        self.push()
