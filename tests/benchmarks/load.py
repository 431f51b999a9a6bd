"""A load generator on loopback: epoll and plain sockets, so that it is not what is measured.

``python -m tests.benchmarks.load`` reads one job as JSON on standard input and prints its result.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from typing import Any

_BUFFER = memoryview(bytearray(1 << 20))


class Connection:
    """One connection that asks for one thing again and again."""

    def __init__(self, port: int, request: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.request = request
        self.left = 0
        self.since = 0.0

    def ask(self, since: float) -> None:
        self.since = since
        self.sock.send(self.request)

    def read(self) -> bool:
        """Take in what is there; whether the answer is complete."""
        while True:
            try:
                got = self.sock.recv_into(_BUFFER)
            except BlockingIOError:
                return False
            if got == 0:
                raise ConnectionError("the server hung up")
            if self.left == 0:
                start = bytes(_BUFFER[: min(got, 2048)])
                head, _, _ = start.partition(b"\r\n\r\n")
                if b" 200 " not in head[:16]:
                    raise ConnectionError(head.decode())
                size = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                self.left = len(head) + 4 + int(size)
            self.left -= got
            if self.left == 0:
                return True


def request(path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: flow\r\n{lines}\r\n".encode()


def connect(job: dict[str, Any]) -> tuple[list[Connection], select.epoll, dict[int, Connection]]:
    sent = request(job["path"], job.get("headers", {}))
    connections = [Connection(job["port"], sent) for _ in range(job["connections"])]
    poll = select.epoll()
    for connection in connections:
        poll.register(connection.sock, select.EPOLLIN)
    return connections, poll, {connection.sock.fileno(): connection for connection in connections}


def flood(job: dict[str, Any]) -> dict[str, Any]:
    """As fast as answers come: requests a second."""
    connections, poll, by_number = connect(job)
    now = time.perf_counter()
    warm, end = now + job["seconds"] / 5, now + job["seconds"]
    for connection in connections:
        connection.ask(now)
    done = whole = 0
    while (now := time.perf_counter()) < end:
        for number, _ in poll.poll(0.1):
            connection = by_number[number]
            if connection.read():
                whole += 1
                done += now >= warm
                connection.ask(now)
    return {"rate": done / (end - warm), "all": whole}


def pace(job: dict[str, Any]) -> dict[str, Any]:
    """At a given rate, whatever the server does: latencies from when a request was due."""
    connections, poll, by_number = connect(job)
    idle, step = deque(connections), 1 / job["rate"]
    start = time.perf_counter()
    due, end = start, start + job["seconds"]
    took = []
    while (now := time.perf_counter()) < end:
        while due <= now and idle:
            idle.popleft().ask(due)
            due += step
        for number, _ in poll.poll(max(min(due - time.perf_counter(), 0.05), 0) if idle else 0.05):
            connection = by_number[number]
            if connection.read():
                took.append(time.perf_counter() - connection.since)
                idle.append(connection)
    took.sort()
    return {"n": len(took), **{f"p{p}": took[len(took) * p // 100] * 1e3 for p in (50, 90, 99)}}


def listen(job: dict[str, Any]) -> dict[str, Any]:
    """Readers of a stream: when the last of them has each event, by the machine's clock."""
    connections, poll, by_number = connect(job)
    for connection in connections:
        connection.ask(0)
    heads = set(by_number)
    by_event: dict[str, list[float]] = {}
    end = time.monotonic() + job["seconds"]
    ready = False
    while time.monotonic() < end:
        for number, _ in poll.poll(0.1):
            got = by_number[number].sock.recv_into(_BUFFER)
            if got == 0:
                raise ConnectionError("the server hung up")
            now = time.monotonic()
            text = bytes(_BUFFER[:got])
            if number in heads:
                heads.discard(number)
            start = text.find(b"id: ")
            while start >= 0:
                name = text[start + 4 : text.index(b"\n", start)].decode()
                result = by_event.setdefault(name, [0, 0.0])
                result[0] += 1
                result[1] = now
                start = text.find(b"id: ", start + 4)
        if not ready and not heads:
            ready = True
            print("ready", flush=True)
    return {"seen": by_event}


if __name__ == "__main__":
    order = json.loads(sys.stdin.readline())
    result = {"flood": flood, "pace": pace, "listen": listen}[order["kind"]](order)
    print(json.dumps(result), flush=True)
