"""nginx and Caddy with TLS on loopback, from the example files of ``deploy/proxy``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "deploy" / "proxy"
KINDS = ("nginx", "caddy")
#: nginx by itself: it runs as whoever runs the tests, and keeps all its files in one folder.
_NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/flow.conf;
}}
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require(kind: str) -> str:
    """The program; without it the test is skipped, or fails in CI, which installs both."""
    program = shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        reason = f"no {kind} on PATH (apt-get install nginx-light caddy)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def certificate(folder: Path) -> None:
    """A key and a certificate of localhost."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-days", "2", "-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def reverse_proxy(kind: str, folder: Path, upstream: int) -> Iterator[str]:
    """The address of a proxy that serves the API of a port under ``/flow``."""
    program, port = require(kind), free_port()
    certificate(folder)
    address = f"127.0.0.1:{upstream}"
    if kind == "nginx":
        text = (EXAMPLES / "nginx.conf").read_text()
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        text = text.replace("/etc/ssl/flow", str(folder)).replace("127.0.0.1:8000", address)
        (folder / "flow.conf").write_text(text.replace("flow.example.org", "localhost"))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder))
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        if os.geteuid() == 0:
            command += ["-g", "user root;"]
    else:
        text = (EXAMPLES / "Caddyfile").read_text().replace("127.0.0.1:8000", address)
        tls = f"\ttls {folder}/fullchain.pem {folder}/privkey.pem\n"
        text = text.replace("flow.example.org {\n", f"https://localhost:{port} {{\n{tls}")
        settings = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
        (folder / "Caddyfile").write_text(settings + text)
        command = [program, "run", "--config", str(folder / "Caddyfile")]
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        ends = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                assert time.monotonic() < ends, (folder / "proxy.log").read_text()
                time.sleep(0.05)
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        process.wait(15)
