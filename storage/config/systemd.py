"""Tell systemd, or whatever set NOTIFY_SOCKET, how this process is (see ``man sd_notify``).

A message is one datagram. Without NOTIFY_SOCKET nothing is sent, so the programs run the same from
a terminal. A message that cannot be delivered is dropped: a supervisor that is away must not stop
the work.
"""

from __future__ import annotations

import socket
from contextlib import suppress


class Systemd:
    """Sends notices to systemd; does nothing where systemd did not start this process."""

    def __init__(self, name: str) -> None:
        """Note where to send messages; nothing is sent yet.

        Parameters
        ----------
        name : NOTIFY_SOCKET: a path, or a name of Linux's abstract namespace after ``@``; empty if
            systemd did not start this process.
        """
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._status = ""

    def ready(self) -> None:
        """Say that the process has started and does its work."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the process is ending by itself."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Say that the process works. Without this message for WatchdogSec, systemd kills it."""
        self._send("WATCHDOG=1")

    def stuck(self) -> None:
        """Say that the process no longer works: systemd (243 or newer) ends it at once."""
        self._send("WATCHDOG=trigger")

    def status(self, sentence: str) -> None:
        """Show a line in ``systemctl status``; the same line is sent once.

        Parameters
        ----------
        sentence : the line, without a line break.
        """
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.setblocking(False)
            channel.sendto(message.encode(), self._address)
