"""flow-api serve as a process: its door, its clients, its end, and a database that goes away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
import structlog
from structlog.testing import capture_logs

from api.__main__ import _dataset, _warn_of_other_users, main
from api.http.listening import bound_socket, keys_required
from api.http.local_users import other_users
from storage.config.settings import Settings
from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests import forked
from tests.api.conftest import EMPTY, SERIES
from tests.api.rows import record, utc
from tests.supervision import notify_socket

ROOT = Path(__file__).resolve().parents[2]
#: Time all but stands still at 14:30 UTC on the Friday.
CLOCK = "simulated:2026-06-05T14:30:00+00:00@0.001"
NODE = """
fetch(process.argv[1]).then(async (sent) => {
  if (sent.status !== 200) throw new Error(sent.status);
  console.log(JSON.stringify(await sent.json()));
});
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A serving process and its address."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        log: Path,
        files: int = 0,
        **settings: str,
    ) -> None:
        port = free_port()
        self.log = log
        self.url = f"http://{settings.get('FLOW_HOST', '127.0.0.1')}:{port}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
        environment |= {
            "FLOW_DATABASE_URL": database_url,
            "FLOW_REDIS_URL": redis_url,
            "FLOW_CLOCK": CLOCK,
            "FLOW_PORT": str(port),
            **settings,
        }
        with log.open("wb") as errors:
            limit = ["prlimit", f"--nofile={files}:{files}"] if files else []
            self.process = forked.Popen(
                [*limit, sys.executable, "-m", "api", "serve"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        code = self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def served(
    servers: Servers, own_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One process for the tests of this file."""
    with psycopg.connect(own_database, autocommit=True) as admin:
        # What other tests have left would stay in its memory.
        admin.execute(EMPTY)  # type: ignore[call-overload]
    log = tmp_path_factory.mktemp("serve") / "log"
    process = Served(own_database, servers.redis_url, log)
    yield process
    if process.process.poll() is None:
        assert process.stop() == 0


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs the door in this process; its exit code and what it said on standard error."""

    def start(*arguments: str) -> tuple[int, str]:
        code = main(["serve", *arguments])
        return code, capsys.readouterr().err

    yield start
    structlog.reset_defaults()


async def fill(served: Served, database: str, redis_url: str) -> None:
    """Store three rows, tell of them, and wait until the process has heard."""
    records = [record(utc("13:30")), record(utc("13:31")), record(utc("13:31:30"))]
    async with (
        Store.open(database, "live", size=1) as store,
        RedisChannel.open(redis_url, "flow:live", store.identity) as live,
    ):
        [change] = (await store.write(records)).changes
        await live.publish([change])
    until = time.monotonic() + 15
    while requests.get(f"{served.url}{SERIES}SPY", timeout=10).json()["cursor"] < change.revision:
        assert time.monotonic() < until
        time.sleep(0.05)


def ask_curl(url: str) -> str:
    return forked.run(
        ["curl", "-sSf", url], check=True, capture_output=True, text=True, timeout=20
    ).stdout


def ask_requests(url: str) -> str:
    sent = requests.get(url, timeout=20)
    assert sent.status_code == 200
    assert sent.headers["Content-Type"] == "application/json"
    return sent.text


def ask_node(url: str) -> str:
    return forked.run(
        ["node", "-e", NODE, url], check=True, capture_output=True, text=True, timeout=20
    ).stdout


@pytest.mark.parametrize("ask", [ask_curl, ask_requests, ask_node])
async def test_clients(
    served: Served, servers: Servers, database: str, ask: Callable[[str], str]
) -> None:
    """curl, Python and Node read the same bars from the documented address."""
    program = ask.__name__.removeprefix("ask_")
    if program != "requests" and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    await fill(served, database, servers.redis_url)
    body = json.loads(ask(f"{served.url}/v1/flow/zero-dte/series/SPY?bar=1m&minutes=120"))
    assert [(bar["t"], bar["spot"], bar["pin_score"]) for bar in body["bars"]] == [
        ("2026-06-05T13:30:00Z", 600.0, 82),
        ("2026-06-05T13:31:00Z", 601.5, 82),
    ]
    assert body["expiration"] == "2026-06-05"
    assert body["gap_intervals"] == [
        {"from": "2026-06-05T13:30:30Z", "to": "2026-06-05T13:31:00Z", "reason": "not_sampled"},
        {"from": "2026-06-05T13:32:00Z", "to": "2026-06-05T14:30:00Z", "reason": "not_sampled"},
    ]


def test_announcement(served: Served) -> None:
    """It says where it listens, and on which data."""
    assert served.first_line == (
        f"flow-api: listening on {served.url} (live data; {served.url}/docs)\n"
    )
    sent = requests.get(f"{served.url}/ready", timeout=10)
    assert sent.json() == {
        "status": "Ready",
        "database": "ok",
        "live_channel": "ok",
        "samples": "none due",
        "reason": None,
        "late": {},
    }


def test_paths_as_they_are_sent(served: Served) -> None:
    """Dots and escapes reach the route untouched, and never a file."""
    address = ("127.0.0.1", urlsplit(served.url).port)
    for path, status in (
        (f"{SERIES}..", b"400"),
        (f"{SERIES}%2e%2e%2f", b"400"),
        (f"{SERIES}../../../../etc/passwd", b"404"),
        ("/static/../app.py", b"404"),
        ("/docs/assets/../../core.py", b"404"),
        ("/docs/assets/..%2f..%2fcore.py", b"404"),
        (f"{SERIES}%00", b"400"),
        (f"{SERIES}SPY?minutes={'9' * 60_000}", b"200"),
        (f"{SERIES}SPY?date=%ff&apiKey=%00", b"400"),
    ):
        with socket.create_connection(address, timeout=10) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            assert connection.makefile("rb").readline().split()[1] == status, path[:80]


def test_answers_are_not_held_back() -> None:
    """The listener names TCP: else head and body of an answer leave 40 ms apart (Nagle)."""
    with bound_socket("localhost", free_port()) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_requests_are_logged_once(served: Served) -> None:
    """A request is one line of JSON without the key; uvicorn adds none of its own."""
    requests.get(f"{served.url}/health?apiKey=topsecret", timeout=10)
    requests.get(f"{served.url}/health", headers={"X-Api-Key": "topsecret"}, timeout=10)
    text = served.log.read_text()
    assert "topsecret" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    last = [line for line in lines if line["event"] == "request"][-1]
    assert {"method", "path", "status", "ms", "bytes"} <= set(last)


@contextmanager
def closed(servers: Servers, url: str) -> Iterator[None]:
    """The database throws everybody out and lets nobody in."""
    name = urlsplit(url).path.removeprefix("/")
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"alter database {name} allow_connections false")  # type: ignore[call-overload]
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
        try:
            yield
        finally:
            admin.execute(f"alter database {name} allow_connections true")  # type: ignore[call-overload]


async def test_database_goes_away_and_comes_back(
    served: Served, servers: Servers, database: str
) -> None:
    """Today is served from memory; earlier sessions are 503 and when to ask again, until then."""
    await fill(served, database, servers.redis_url)
    url = f"{served.url}{SERIES}SPY"
    before = requests.get(url, timeout=20).json()
    earlier = f"{url}?date=2026-06-03"
    with closed(servers, database):
        until = time.monotonic() + 15
        while "as_known_at" not in (sent := requests.get(url, timeout=20).json()):
            assert time.monotonic() < until, sent
            time.sleep(0.1)
        assert sent["bars"] == before["bars"]
        unknown = requests.get(f"{served.url}{SERIES}QQQ", timeout=20)
        assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "5")
        sent = requests.get(earlier, timeout=20)
        assert (sent.status_code, sent.headers["Retry-After"]) == (503, "5")
        assert sent.json()["error"] == "store_unavailable"
        assert requests.get(f"{served.url}/health", timeout=5).status_code == 200
        ready = requests.get(f"{served.url}/ready", timeout=5)
        assert (ready.status_code, ready.json()["database"]) == (503, "away")
    until = time.monotonic() + 15
    while requests.get(earlier, timeout=20).status_code != 200:
        assert time.monotonic() < until
    after = requests.get(url, timeout=20).json()
    assert after["bars"] == before["bars"]
    assert "as_known_at" not in after


@pytest.mark.clocked
def test_told_to_stop(servers: Servers, own_database: str, tmp_path: Path) -> None:
    """Told to stop either way, it stops, and that is no failure; nor is a client that stays."""
    signs = (signal.SIGTERM, signal.SIGINT)
    logs = [tmp_path / sign.name for sign in signs]
    with ThreadPoolExecutor() as at_once:
        started = at_once.map(lambda log: Served(own_database, servers.redis_url, log), logs)
    with requests.Session() as kept_open:
        for process, sign in zip(started, signs, strict=True):
            assert kept_open.get(f"{process.url}/health", timeout=10).status_code == 200
            since = time.monotonic()
            assert process.stop(sign) == 0
            assert time.monotonic() - since < 4
    assert not any("Traceback" in log.read_text() for log in logs)


@pytest.mark.parametrize(
    ("host", "access"), [("0.0.0.0", "auto"), ("::", "keys"), ("127.0.0.1", "keys")]
)
def test_no_key_in_force(
    run: Callable[..., tuple[int, str]],
    database: str,
    servers: Servers,
    host: str,
    access: str,
) -> None:
    """Where keys are due and there is none it does not listen, and says what to do."""
    code, output = run(
        *("--host", host, "--access", access, "--port", str(free_port())),
        *("--database-url", database, "--redis-url", servers.redis_url),
    )
    assert code == 1
    assert output == (
        "flow-api: no key is in force for the live data, so nobody could call the API: make one"
        " with flow-api keys create --name NAME --plan PLAN, or run an open server on"
        " loopback with FLOW_HOST=127.0.0.1 and FLOW_ACCESS=open\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_open_on_loopback_only(run: Callable[..., tuple[int, str]], host: str) -> None:
    """An open server is refused wherever others could reach it; nothing is opened for that."""
    code, output = run("--host", host, "--access", "open")
    assert code == 2
    assert output == (
        f"flow-api: FLOW_ACCESS: an open server listens on loopback only, and {host!r} is not:"
        " leave FLOW_ACCESS at auto and make a key with flow-api keys create\n"
    )


@pytest.mark.parametrize("host", ["example.com", "", "1.2.3", "127.0.0.1:80", "*"])
def test_no_address(run: Callable[..., tuple[int, str]], host: str) -> None:
    """A host that is not an address is refused: a name may mean another machine tomorrow."""
    code, output = run("--host", host)
    assert code == 2
    assert output == (
        f"flow-api: FLOW_HOST: {host!r} is not an address: use localhost or an IP address of this machine;"
        " 0.0.0.0 and :: mean all of them\n"
    )


@pytest.mark.parametrize(
    ("host", "access", "due"),
    [
        ("127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("::1", "auto", False),
        ("127.8.9.1", "open", False),
        ("127.0.0.1", "keys", True),
        ("0.0.0.0", "auto", True),
        ("::", "auto", True),
        ("192.0.2.7", "auto", True),
        ("192.0.2.7", "keys", True),
    ],
)
def test_keys_are_due(host: str, access: str, due: bool) -> None:
    """Keys are asked for wherever others could come from, and where the owner says so."""
    assert keys_required(host, access) is due


def test_port_is_taken(run: Callable[..., tuple[int, str]]) -> None:
    """A port in use is one sentence, and exit 1."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        code, output = run("--port", str(port))
    assert code == 1
    assert output == (
        f"flow-api: FLOW_PORT: port {port} of 127.0.0.1 is taken by another program;"
        " stop that program, or choose another port with --port\n"
    )


def test_database_is_away_at_the_start(run: Callable[..., tuple[int, str]]) -> None:
    """Without its database it does not start: one sentence, and no password in it."""
    url = f"postgresql://flow:hunter2@127.0.0.1:{free_port()}/flow"
    code, output = run(
        "--port", str(free_port()), "--database-url", url, "--redis-url", "redis://127.0.0.1:1"
    )
    assert code == 1
    assert output.startswith("flow-api: FLOW_DATABASE_URL: the database cannot be reached")
    assert output.count("\n") == 1
    assert "hunter2" not in output


def test_database_was_never_migrated(
    run: Callable[..., tuple[int, str]], empty_database: str
) -> None:
    """A database without our tables is one sentence that names the command."""
    code, output = run(
        "--port", str(free_port()), "--database-url", empty_database, "--redis-url", "redis://x"
    )
    assert code == 1
    assert output.startswith("flow-api: ")
    assert "flow-store migrate" in output


def test_wrong_usage(run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting is one sentence, and exit 2."""
    assert run("--port", "70000") == (2, "flow-api: --port: '70000' is not a port: 1 to 65535\n")
    monkeypatch.setenv("FLOW_PROT", "8000")
    code, output = run()
    assert code == 2
    assert output.startswith("flow-api: FLOW_PROT is no setting; did you mean FLOW_PORT")


@pytest.mark.parametrize(
    ("environment", "dataset"),
    [
        ({}, "live"),
        ({"FLOW_SOURCE": "cboe:"}, "live"),
        ({"FLOW_SOURCE": "synthetic:?seed=7"}, "synthetic"),
        ({"FLOW_SOURCE": "cboe:", "FLOW_DATASET": "synthetic"}, "synthetic"),
    ],
)
def test_dataset(environment: dict[str, str], dataset: str) -> None:
    """It serves the dataset that is named, or else the source's own."""
    assert _dataset(Settings.read(environment)) == dataset


def test_what_systemd_hears(servers: Servers, own_database: str, tmp_path: Path) -> None:
    """READY once it listens, WATCHDOG while its event loop runs, nothing while it is stopped."""
    with notify_socket(tmp_path) as channel:
        served = Served(
            own_database, servers.redis_url, tmp_path / "log", NOTIFY_SOCKET=channel.path
        )
        try:
            channel.wait_for("READY=1", 10)
            channel.wait_for(f"STATUS=listening on {served.url}", 2)
            channel.wait_for("WATCHDOG=1", 3)
            served.process.send_signal(signal.SIGSTOP)
            channel.drain()
            assert channel.receive(2.5) == ""
            served.process.send_signal(signal.SIGCONT)
            channel.wait_for("WATCHDOG=1", 5)
        finally:
            served.process.send_signal(signal.SIGCONT)
            assert served.stop() == 0
        channel.wait_for("STOPPING=1", 1)


def test_more_connections_than_files(servers: Servers, own_database: str, tmp_path: Path) -> None:
    """With 256 files, 400 connections that send nothing do not shut out one that asks."""
    log = tmp_path / "log"
    with ExitStack() as stack:
        limited = Served(own_database, servers.redis_url, log, files=256)
        stack.callback(limited.stop)
        address = urlsplit(limited.url)
        for _ in range(400):
            stack.enter_context(
                closing(socket.create_connection((address.hostname, address.port), timeout=5))
            )
        assert requests.get(f"{limited.url}/health", timeout=5).status_code == 200
    assert "too many connections" in log.read_text()


def test_names_that_an_open_server_answers_to(
    servers: Servers, own_database: str, tmp_path: Path
) -> None:
    """Loopback's names and those of the settings; a name that a foreign page has pointed here gets
    421 on every path, and no page of another origin may read an answer."""
    settings = {"FLOW_ALLOWED_HOSTS": "flow.example.org"}
    served = Served(own_database, servers.redis_url, tmp_path / "log", **settings)
    try:
        port = urlsplit(served.url).port
        for host, status in (
            (f"127.0.0.1:{port}", 200),
            (f"localhost:{port}", 200),
            ("LOCALHOST.", 200),
            (f"[::1]:{port}", 200),
            ("flow.example.org", 200),
            (f"evil.example:{port}", 421),
            ("127.0.0.1.evil.example", 421),
            ("flow.example.org.evil.example", 421),
            ("", 421),
        ):
            for path in ("/health", f"{SERIES}SPY", "/", "/metrics"):
                sent = requests.get(served.url + path, headers={"Host": host}, timeout=10)
                assert sent.status_code == status, (host, path)
        foreign = {"Origin": "https://evil.example"}
        for path in ("/health", f"{SERIES}SPY"):
            sent = requests.get(served.url + path, headers=foreign, timeout=10)
            assert "Access-Control-Allow-Origin" not in sent.headers
            assert sent.headers["X-Content-Type-Options"] == "nosniff"
    finally:
        assert served.stop() == 0


def test_other_users_of_the_machine(
    servers: Servers, own_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open server says once that others can read it; with keys, or nobody else, it does not."""
    accounts = tmp_path / "passwd"
    accounts.write_text(
        "root:x:0:0::/root:/bin/bash\nwww:x:1200:33::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:"
        f"/bin/sh\nme:x:{os.getuid()}:1::/:/bin/sh\nbob:x:1001:1::/home/bob:/bin/bash\n"
        "alice:x:1002:1::/home/alice:/bin/zsh\nbroken\n"
    )
    assert other_users(accounts) == ["alice", "bob"]
    assert other_users(tmp_path / "none") == []
    monkeypatch.setattr("api.__main__.other_users", lambda: ["alice", "bob"])
    environment = {"FLOW_ACCESS": "open"}
    with capture_logs() as lines:
        _warn_of_other_users(Settings.read(environment))
        _warn_of_other_users(Settings.read({"FLOW_ACCESS": "keys"}))
        monkeypatch.setattr("api.__main__.other_users", list)
        _warn_of_other_users(Settings.read(environment))
    assert [(line["event"], line["others"]) for line in lines] == [
        ("open to every user of this machine", 2)
    ]


def test_metrics_on_a_port_of_their_own(
    servers: Servers, own_database: str, tmp_path: Path
) -> None:
    """There they are, with health and readiness and nothing else; the API's port has none."""
    port = free_port()
    served = Served(
        own_database, servers.redis_url, tmp_path / "log", FLOW_API_METRICS_PORT=str(port)
    )
    try:
        apart = f"http://127.0.0.1:{port}"
        wanted = {
            f"{apart}/metrics": 200,
            f"{apart}/health": 200,
            f"{apart}/ready": 200,
            f"{apart}{SERIES}SPY": 404,
            f"{apart}/": 404,
            f"{served.url}/metrics": 404,
            f"{served.url}/health": 200,
        }
        until = time.monotonic() + 15
        while True:
            try:
                sent = {url: requests.get(url, timeout=10).status_code for url in wanted}
                break
            except requests.ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.1)
        assert sent == wanted
        assert "flow_api_requests_total" in requests.get(f"{apart}/metrics", timeout=10).text
        evil = requests.get(f"{apart}/metrics", headers={"Host": "evil.example"}, timeout=10)
        assert evil.status_code == 421
    finally:
        assert served.stop() == 0
