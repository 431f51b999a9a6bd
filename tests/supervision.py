"""A stand-in for systemd: the socket that services report to."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotifySocket:
    """Receives the messages of ``sd_notify``, one a datagram."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)

    def receive(self, seconds: float) -> str:
        """The next message; empty if none comes in time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def wait_for(self, start: str, seconds: float) -> str:
        """The first message that begins so; fails if none comes in time."""
        deadline = time.monotonic() + seconds
        messages = []
        while (left := deadline - time.monotonic()) > 0:
            messages.append(self.receive(left))
            if messages[-1].startswith(start):
                return messages[-1]
        raise AssertionError(f"no message {start!r} in {seconds} s, but {messages}")

    def drain(self) -> None:
        """Take what has come so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        self._socket.close()


@contextmanager
def notify_socket(folder: Path) -> Iterator[NotifySocket]:
    """A socket in a folder, closed at the end."""
    opened = NotifySocket(folder / "notify")
    try:
        yield opened
    finally:
        opened.close()
