"""Requests beyond what the server can answer at once wait, in order, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.http import request_queue
from api.http.request_queue import LEAST, MOST, RequestQueue
from tests.api.site import SERIES, Site

SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "headers": []}


class Requests:
    """Requests of numbered callers, whose answers the test lets begin."""

    def __init__(self, waits: RequestQueue) -> None:
        self.waits = waits
        #: Numbers in the order in which the application was asked.
        self.begun: list[int] = []
        self.statuses: dict[int, int] = {}
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.gone: set[int] = set()
        self._answers: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def come(self, number: int, path: bytes = b"/v1/x") -> None:
        """A request comes; the application begins its answer after ``answer``."""
        self._answers[number] = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.begun.append(number)
            await self._answers[number].wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses[number] = message["status"]
                self.headers[number] = dict(message["headers"])

        def begin(answering: Any) -> bool:
            if number in self.gone:
                return False
            self._tasks.append(asyncio.create_task(answering(SCOPE, None, send)))
            return True

        self.waits.begin(begin, app, path)

    async def answer(self, number: int) -> None:
        self._answers[number].set()
        await settle()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def come() -> AsyncIterator[Callable[..., Requests]]:
    """Makes requests of a server that answers two at once."""
    opened: list[Requests] = []

    def make(limit: int = 2, **options: Any) -> Requests:
        waits = RequestQueue(**options)
        waits.limit = limit
        opened.append(Requests(waits))
        return opened[-1]

    yield make
    for requests in opened:
        requests.close()


async def test_beyond_the_limit_they_wait_in_order(come: Callable[..., Requests]) -> None:
    """The third begins when the first one's answer begins, though that goes on; none is lost."""
    requests = come()
    for number in range(5):
        requests.come(number)
    await settle()
    assert requests.begun == [0, 1]
    await requests.answer(1)
    assert requests.begun == [0, 1, 2]
    await requests.answer(0)
    await requests.answer(2)
    assert requests.begun == [0, 1, 2, 3, 4]
    # Who comes now waits too: two have begun.
    requests.come(5)
    await settle()
    assert requests.begun == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("path", [b"/health", b"/ready", b"/metrics", b"/flow/ready"])
async def test_operators_never_wait(come: Callable[..., Requests], path: bytes) -> None:
    """What a balancer and Prometheus ask is answered beside a full queue, and takes no place."""
    requests = come()
    for number in range(4):
        requests.come(number)
    requests.come(4, path)
    await settle()
    assert requests.begun == [0, 1, 4]
    await requests.answer(4)
    assert requests.begun == [0, 1, 4]


async def test_no_room_in_the_queue(
    come: Callable[..., Requests], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with 503 and a time to come again, and counted; one line of the log says so."""
    monkeypatch.setattr(request_queue, "QUEUE", 3)
    counted: list[int] = []
    requests = come(refused=lambda: counted.append(1))
    with capture_logs() as lines:
        for number in range(8):
            requests.come(number)
        await settle()
    assert requests.begun == [0, 1]
    assert requests.statuses == {5: 503, 6: 503, 7: 503}
    assert requests.headers[5][b"retry-after"] == b"1"
    assert len(counted) == 3
    assert [line["event"] for line in lines] == ["overloaded"]


async def test_who_has_waited_too_long(
    come: Callable[..., Requests], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten seconds a request is refused, though no other one ends; a younger one waits on."""
    now = [100.0]
    monkeypatch.setattr(request_queue, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(request_queue, "LEAST", 2)
    requests = come()
    for number in range(3):
        requests.come(number)
    now[0] += 9.0
    requests.come(3)
    requests.waits.note_lateness(9.0)
    await settle()
    assert requests.statuses == {}
    now[0] += 1.5
    requests.waits.note_lateness(9.0)
    await settle()
    assert (requests.statuses, requests.begun) == ({2: 503}, [0, 1])
    await requests.answer(0)
    assert requests.begun == [0, 1, 3]


async def test_callers_who_have_left(come: Callable[..., Requests]) -> None:
    """A caller who leaves while waiting takes nobody's place."""
    requests = come()
    for number in range(3_000):
        requests.come(number)
    requests.gone = set(range(2, 2_998))
    await settle()
    await requests.answer(0)
    await requests.answer(1)
    assert requests.begun == [0, 1, 2_998, 2_999]


async def test_the_end_of_the_server(come: Callable[..., Requests]) -> None:
    """What waits when the server stops is refused, not cut off."""
    requests = come()
    for number in range(4):
        requests.come(number)
    requests.waits.stop()
    await settle()
    assert requests.statuses == {2: 503, 3: 503}


def test_the_limit_follows_the_loop() -> None:
    """A late loop halves it down to its least; a loop in time raises it step by step to its most."""
    waits = RequestQueue()
    waits.note_lateness(0.5)
    assert waits.limit == MOST // 2
    for _ in range(10):
        waits.note_lateness(0.5)
    assert waits.limit == LEAST
    waits.note_lateness(0.01)
    assert LEAST < waits.limit < 2 * LEAST
    for _ in range(1000):
        waits.note_lateness(0.0)
    assert waits.limit == MOST


async def test_a_server_with_more_than_it_can_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over sockets: requests wait while one is answered, health is told, and all get their answer."""
    monkeypatch.setattr(request_queue, "LEAST", 1)
    monkeypatch.setattr(request_queue, "MOST", 1)
    # A busy machine takes long for an answer.
    monkeypatch.setattr(request_queue, "QUEUE_SECONDS", 3600.0)
    waits = site.server.request_queue
    waits.note_lateness(0.0)
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})

    waits.begin(lambda app: bool(asyncio.create_task(app(SCOPE, None, settled))), slow, b"/slow")
    tasks = [asyncio.create_task(ask(site, f"{SERIES}SPY?window=1")) for _ in range(3)]
    assert await ask(site, "/health") == 200
    assert not any(task.done() for task in tasks)
    release.set()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*tasks) == [200, 200, 200]


async def settled(message: Any) -> None:
    """Take a message of an answer that nobody reads."""


async def ask(site: Site, path: str) -> int:
    """The status of an answer over a connection of its own."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: flow\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    return int(answer.split()[1])
