"""Accepts connections: all that wait, at each turn of the event loop.

uvloop's own servers accept one connection a turn. While a flood of new connections sends requests a
turn is long, and whoever connects then would wait for as many turns as connections are ahead.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

#: How many connections are accepted in one turn at most, so that the others are answered as well.
_AT_ONCE = 1024
#: Pause after an error that lasts, such as no file left. [s]
_PAUSE_SECONDS = 0.2


class Acceptor:
    """Hands each connection of a listening socket to a protocol of its own."""

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Prepare.

        Parameters
        ----------
        listener : a bound socket; the caller closes it.
        make_protocol : makes a connection's protocol.
        """
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        #: Tasks that hand a connection on. asyncio drops a task that nothing else refers to.
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen, and accept from now on.

        Parameters
        ----------
        backlog : how many connections may wait to be accepted.
        """
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._resume()

    def stop(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()
