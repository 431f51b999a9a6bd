"""Whose ports are the API's and the metrics': free, the running product's, or another program's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sampler.live.prometheus import SamplerMetrics
from storage.config.running import RunningProduct
from storage.config.settings import Settings
from storage.doctor.finding import Finding, State
from storage.doctor.ports import check_ports
from storage.market.clock import Clock


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(port: int, metrics: int = 0, **more: str) -> Settings:
    return Settings.read({"FLOW_PORT": str(port), "FLOW_METRICS_PORT": str(metrics), **more})


@contextmanager
def healthy() -> Iterator[int]:
    """A server that answers at /health as the API does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"status":"Healthy"}' if self.path == "/health" else b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_free_ports() -> None:
    """Nothing runs there: that is in order, and it says that nothing runs."""
    findings = check_ports(settings(free_port(), free_port()))
    assert [finding.state for finding in findings] == [State.OK, State.OK]
    assert all("is free: nothing runs there" in finding.sentence for finding in findings)


def test_an_api_that_answers() -> None:
    """The API's own answer: its process is named."""
    with healthy() as port:
        finding = only(check_ports(settings(port)))
    assert finding.state is State.OK
    assert f"FLOW_PORT {port} is served by this product" in finding.sentence
    assert f"process {os.getpid()})" in finding.sentence


async def test_the_metrics_of_a_sampler_with_many_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 symbols' metrics are ours wherever the sign stands, and no proxy is asked for them."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    metrics = SamplerMetrics([f"S{number}" for number in range(600)], "0")
    port = free_port()
    async with metrics.serving(port):
        _, finding = check_ports(settings(free_port(), port))
    assert finding.state is State.OK
    assert f"FLOW_METRICS_PORT {port} is served by this product" in finding.sentence


def test_a_product_that_was_started_with_another_port() -> None:
    """A command in a second terminal has the default port; the product's own one is shown."""
    ours = free_port()
    with healthy() as port:
        running = RunningProduct(dataset="live", clock=Clock(), port=port)
        finding = only(check_ports(settings(ours), running))
        assert finding.state is State.OK
        assert f"FLOW_PORT {port} is served by the running product" in finding.sentence
        assert f"this command's FLOW_PORT is {ours}" in finding.sentence
    finding = only(check_ports(settings(ours), running))
    assert f"FLOW_PORT {ours} is free" in finding.sentence


@pytest.mark.parametrize(("name", "state"), [("flow-api", State.WARN), ("flow-other", State.FAIL)])
def test_a_process_that_does_not_answer(tmp_path: Path, name: str, state: State) -> None:
    """A silent process of ours is told to wait for; any other silent process is another program."""
    script = tmp_path / name
    script.write_text(
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            port = int(process.stdout.readline())
            finding = only(check_ports(settings(port)))
        finally:
            process.kill()
    assert finding.state is state
    assert f"process {process.pid})" in finding.sentence
    assert finding.advice


def test_a_program_that_speaks_another_protocol() -> None:
    """A server that greets like SSH is another program, and no traceback."""

    def greet(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        finding = only(check_ports(settings(port)))
        thread.join()
    assert finding.state is State.FAIL
    assert f"FLOW_PORT {port} is taken by another program" in finding.sentence
    assert "choose another FLOW_PORT" in finding.advice


def test_an_api_on_another_address_of_the_machine() -> None:
    """The port is asked at the address that the API listens on; all addresses include loopback."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        free = only(check_ports(settings(port)))
        held = only(check_ports(settings(port, FLOW_HOST="127.0.0.2")))
    assert (free.state, held.state) == (State.OK, State.FAIL)
    with healthy() as port:
        assert only(check_ports(settings(port, FLOW_HOST="0.0.0.0"))).state is State.OK
