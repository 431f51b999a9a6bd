"""Connections that come at once are accepted at once, and the server's end leaves none behind."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack

import pytest
import uvloop

from api.http.accepting import Acceptor
from api.http.listening import bound_socket
from api.http.server import Server

#: Turns of the event loop within which all are open.
TURNS = 20
ANSWER = b"HTTP/1.1 200 OK\r\n"


async def application(scope, receive, send) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def hold(count: int) -> tuple[list[int], bytes]:
    """Connections that the server has open after each turn; what the last caller reads."""
    with bound_socket("127.0.0.1", 0) as listener, ExitStack() as callers:
        server = Server(application, lambda: None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        address = listener.getsockname()
        # No turn of the event loop passes meanwhile: all of them wait.
        for _ in range(count):
            caller = callers.enter_context(socket.create_connection(address))
        numbers = []
        for _ in range(TURNS):
            await asyncio.sleep(0)
            numbers.append(len(server.server_state.connections))
        caller.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await asyncio.to_thread(caller.recv, 1000)
        delays = {
            c.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for c in server.server_state.connections
        }
        assert delays == {1}, "an answer would wait for Nagle's 40 ms"
        server.should_exit = True
        callers.close()
        await serving
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        return numbers, answer


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_connections_that_come_at_once(run) -> None:
    """300 of them are open within some turns of the event loop, none beside them; one of them is answered."""
    numbers, answer = run(hold(300))
    assert numbers[-1] == 300
    assert answer.startswith(ANSWER)


async def stop_early() -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        server = Server(application, lambda: None)
        server.should_exit = True
        await server.serve(sockets=[listener])
        assert listener.fileno() == -1


def test_a_stop_before_it_listens() -> None:
    """SIGTERM while the API is starting: it ends without an error, and lets go of the port."""
    uvloop.run(stop_early())


class FullListener:
    """A listening socket of a process that has no file left."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.refusals = listener, 0
        self.fileno, self.setblocking = listener.fileno, listener.setblocking
        self.listen = listener.listen

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals < 2:
            self.refusals += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()


async def wait_for_a_file() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        full, opened = FullListener(listener), asyncio.Event()

        class Noting(asyncio.Protocol):
            def connection_made(self, transport) -> None:
                opened.set()
                transport.abort()

        acceptor = Acceptor(full, Noting)
        acceptor.start(16)
        with socket.create_connection(listener.getsockname()):
            async with asyncio.timeout(20):
                await opened.wait()
        acceptor.stop()
        return full.refusals


def test_no_file_left_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again after a pause, and the caller that waited is let in."""
    monkeypatch.setattr("api.http.accepting._PAUSE_SECONDS", 0.01)
    assert uvloop.run(wait_for_a_file()) == 2
