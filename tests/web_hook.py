"""A web hook on loopback: it remembers what it is sent, and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebHookServer:
    """The server; ``requests`` has headers and body of each request so far."""

    def __init__(self, statuses: tuple[int, ...]) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        statuses_left = list(statuses)
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append((dict(self.headers.items()), body))
                self.answer()

            def do_GET(self) -> None:
                requests.append((dict(self.headers.items()), b""))
                self.answer()

            def answer(self) -> None:
                self.send_response(statuses_left.pop(0) if statuses_left else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def web_hook(*statuses: int) -> Iterator[WebHookServer]:
    """A server that answers these statuses in turn, then 200."""
    server = WebHookServer(statuses)
    try:
        yield server
    finally:
        server.close()
