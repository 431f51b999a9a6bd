"""What every vendor's loopback server has in common: frames by symbol and time, faults, a log.

A vendor's own server is a subclass with ``respond``: it reads what a request asks for and writes
frames in the vendor's format. It answers from threads of its own, so a test may block. ``inject``
lays a fault over its answers, whatever the format.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import socket
import threading
import time
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from sampler.chain import Frame
from storage.market.calendar import market_day


@dataclass(frozen=True)
class Answer:
    """What is sent, as it stands: nothing is packed or added but the length."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Before the first byte. [s]
    delay: float = 0.0
    #: The part of the body after which the connection is dropped; None: it is sent whole.
    cut: float | None = None


@dataclass(frozen=True)
class Request:
    """What was asked for, from which port, and when (monotonic)."""

    method: str
    #: Behind the server's base, without the query.
    path: str
    query: Mapping[str, str]
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes
    port: int
    arrived: float


#: From the answer that would be sent to the one that is.
Fault = Callable[[Answer], Answer]

FIREWALL = (
    b"<!DOCTYPE html>\n<html><head><title>Attention Required!</title></head>"
    b"<body><h1>Sorry, you have been blocked</h1></body></html>"
)


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Fault:
    """Another status, with nothing of the answer."""
    return lambda answer: Answer(code, headers or {}, body)


def slow(seconds: float) -> Fault:
    """The same answer, later."""
    return lambda answer: replace(answer, delay=answer.delay + seconds)


def cut(fraction: float = 0.5) -> Fault:
    """The headers announce the whole body; a part of it comes, then the connection ends."""
    return lambda answer: replace(answer, cut=fraction)


def html(code: int = 200) -> Fault:
    """A firewall's page."""
    return lambda answer: Answer(code, {"Content-Type": "text/html"}, FIREWALL)


def empty() -> Fault:
    """A good status and no body."""
    return lambda answer: Answer(200, {"Content-Type": "application/json"}, b"")


def garbage(size: int = 2000, seed: int = 0) -> Fault:
    """Bytes that are no format at all."""
    return lambda answer: Answer(200, {}, random.Random(seed).randbytes(size))


def truncated(fraction: float = 0.5) -> Fault:
    """A body that ends early with a length that agrees: only its format can tell."""

    def shorten(answer: Answer) -> Answer:
        body = unpacked(answer)
        return replace(answer, headers=_plain(answer), body=body[: int(len(body) * fraction)])

    return shorten


def broken_gzip() -> Fault:
    """A packed body whose second half is missing."""

    def halve(answer: Answer) -> Answer:
        packed = gzip.compress(unpacked(answer))
        headers = _plain(answer) | {"Content-Encoding": "gzip"}
        return replace(answer, headers=headers, body=packed[: len(packed) // 2])

    return halve


def gzip_bomb(size: int = 80 << 20) -> Fault:
    """A small body that unpacks to more than any chain has."""
    packed = gzip.compress(b" " * size)
    return lambda answer: Answer(200, {"Content-Encoding": "gzip"}, packed)


def unpacked(answer: Answer) -> bytes:
    """The body, whatever it was packed with."""
    return gzip.decompress(answer.body) if "Content-Encoding" in answer.headers else answer.body


def _plain(answer: Answer) -> dict[str, str]:
    return {name: text for name, text in answer.headers.items() if name != "Content-Encoding"}


class Loopback:
    """Listens on loopback, from threads of its own, while it is open or between start and stop."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server: LoopbackServer | None = None
        self._port = 0
        self._handler = handler

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = LoopbackServer(("127.0.0.1", self._port), self._handler)
        self._server.owner = self
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.drop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.stop()


class VendorServer(Loopback):
    """Serves ``frames`` on loopback under ``url``; a subclass writes them in a vendor's format.

    ``put`` adds a frame. ``newest`` is the last one quoted by ``now`` (None: the last of all), and
    ``session`` those of a day. ``frozen`` makes ``newest`` repeat what it gave last. ``packed``
    packs answers for clients that accept gzip, as vendors do.
    """

    #: What the vendor's own base has behind its host, such as ``/v1``.
    base_path = ""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.frames: dict[str, list[Frame]] = defaultdict(list)
        #: The market's time as this server sees it.
        self.now: datetime | None = None
        self.frozen = False
        self.packed = True
        #: Sent with every good answer.
        self.headers: dict[str, str] = {}
        #: Every request, in the order of arrival.
        self.requests: list[Request] = []
        self._served: dict[str, Frame] = {}
        self._faults: list[_Injected] = []

    def respond(self, request: Request) -> Answer:
        """The answer to a request, unpacked and without faults."""
        raise NotImplementedError

    def stream(self, handler: BaseHTTPRequestHandler, request: Request) -> bool:
        """Serve a stream in place of an answer, until it ends; False where it is none."""
        return False

    # Frames

    def put(self, *frames: Frame) -> None:
        """Add frames; one with the time of another comes after it."""
        for frame in frames:
            insort(self.frames[frame.symbol], frame, key=_quoted_at)

    def newest(self, symbol: str) -> Frame | None:
        """The frame that the vendor shows now; None for a symbol it does not have."""
        if self.frozen and symbol in self._served:
            return self._served[symbol]
        frames = self.frames.get(symbol, [])
        n = len(frames) if self.now is None else bisect_right(frames, self.now, key=_quoted_at)
        if n == 0:
            return None
        self._served[symbol] = frames[n - 1]
        return frames[n - 1]

    def session(self, symbol: str, day: date) -> list[Frame]:
        """The frames of a New York day, in order."""
        return [f for f in self.frames.get(symbol, []) if market_day(f.quoted_at) == day]

    # Faults

    def inject(
        self,
        fault: Fault,
        *,
        when: Callable[[Request], bool] = lambda request: True,
        times: int | None = None,
    ) -> None:
        """Lay a fault over answers: those for which ``when`` holds, the next ``times`` of them."""
        self._faults.append(_Injected(fault, when, times))

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()
        self.frozen = False

    # The server

    @property
    def url(self) -> str:
        """The base that a source is given behind its scheme."""
        return f"http://127.0.0.1:{self._port}{self.base_path}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        return 0 if self._server is None else len(self._server._open)

    def asked(self, path: str) -> Iterable[Request]:
        """The requests whose path ends in ``path``."""
        return [request for request in self.requests if request.path.endswith(path)]

    def _answer(self, request: Request) -> Answer:
        answer = self.respond(request)
        if answer.status == 200:
            answer = replace(answer, headers={**answer.headers, **self.headers})
            accepts = "gzip" in request.headers.get("accept-encoding", "")
            if self.packed and accepts and "Content-Encoding" not in answer.headers:
                headers = {**answer.headers, "Content-Encoding": "gzip"}
                answer = replace(answer, headers=headers, body=gzip.compress(answer.body, 1))
        for injected in list(self._faults):
            if injected.applies(request):
                answer = injected.fault(answer)
        return answer


@dataclass
class _Injected:
    fault: Fault
    when: Callable[[Request], bool]
    left: int | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def applies(self, request: Request) -> bool:
        if not self.when(request):
            return False
        with self.lock:
            if self.left is None:
                return True
            self.left -= 1
            return self.left >= 0


def _quoted_at(frame: Frame) -> datetime:
    return frame.quoted_at


class LoopbackServer(ThreadingHTTPServer):
    """A server whose open connections can be counted and dropped."""

    daemon_threads = True
    #: What the handler answers from.
    owner: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up is what many a test wants


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackServer

    def do_GET(self) -> None:
        owner = self.server.owner
        target = urlsplit(self.path)
        request = Request(
            self.command,
            target.path.removeprefix(owner.base_path),
            dict(parse_qsl(target.query, keep_blank_values=True)),
            {name.lower(): text for name, text in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
            self.client_address[1],
            time.monotonic(),
        )
        owner.requests.append(request)
        if owner.stream(self, request):
            self.close_connection = True
            return
        answer = owner._answer(request)
        time.sleep(answer.delay)
        # A status that no standard names has no phrase.
        self.send_response(answer.status, None if answer.status < 460 else "")
        for name, text in answer.headers.items():
            self.send_header(name, text)
        if answer.status != 304 and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.cut is None:
            self.wfile.write(answer.body)
        else:
            self.wfile.write(answer.body[: int(len(answer.body) * answer.cut)])
            self.close_connection = True

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass
