"""A vendor's key is used, and is in nothing that anybody may read: tested with keys of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
import zstandard

from sampler.__main__ import main
from sampler.sources.synthetic.source import Synthetic
from storage.config.vendor_keys import VENDOR_SETTINGS
from storage.market.clock import Clock
from tests.proxy import Proxy
from tests.vendors import server as faults
from tests.vendors.feeds import FEEDS, Feed
from tests.vendors.server import VendorServer

ROOT = Path(__file__).resolve().parents[3]
MOMENT = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
SLOT = timedelta(seconds=30)
KEYED = sorted(name for name, feed in FEEDS.items() if feed.secrets)
TROUBLES = [
    faults.status(401), faults.status(403), faults.status(500), faults.status(301),
    faults.status(429, {"Retry-After": "1"}), faults.html(403), faults.garbage(), faults.cut(),
    faults.broken_gzip(), faults.status(200, {"bad header\x00": "x"}),
]  # fmt: skip


@pytest.fixture(params=KEYED)
def feed(request: pytest.FixtureRequest) -> Feed:
    return FEEDS[request.param]


@pytest.fixture
def server(feed: Feed) -> Iterator[VendorServer]:
    server = feed.server()
    server.start()
    server.put(asyncio.run(Synthetic(seed=7).live("SPX", MOMENT)))
    yield server
    server.stop()


def settings(feed: Feed, server: VendorServer, folder: Path, *, files: bool) -> dict[str, str]:
    """The feed's environment: its keys as they are, or each in a file of its own."""
    environment = feed.settings(folder, MOMENT)
    if files:
        for name in list(environment):
            if VENDOR_SETTINGS[name[5:].lower()].kind == "secret":
                (folder / name).write_text(environment.pop(name) + "\n")
                environment[f"{name}_FILE"] = str(folder / name)
    source = f"{feed.scheme}:{server.url}?{feed.options.replace('=10', '=0.5')}"
    return environment | {"FLOW_SOURCE": source, "FLOW_SYMBOLS": "SPX"}


def assert_hidden(feed: Feed, *texts: str) -> None:
    for text in texts:
        for secret in feed.secrets:
            assert secret not in text


def assert_sent(feed: Feed, server: VendorServer) -> None:
    """The vendor got a key: the test is of nothing otherwise."""
    assert any(
        s in value
        for s in feed.secrets
        for r in server.requests
        for value in (*r.headers.values(), *r.query.values())
    )


@pytest.mark.parametrize("files", [False, True], ids=["environment", "files"])
def test_no_command_shows_a_key(
    feed: Feed, server: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], files: bool,
) -> None:  # fmt: skip
    """Rows, errors of every kind, debug logs and the list of sources."""
    for name, value in settings(feed, server, tmp_path, files=files).items():
        monkeypatch.setenv(name, value)
    once = ["once", "--dry-run", "--json", "--at", MOMENT.isoformat(), "--log-level", "debug"]
    assert main(once) == 0
    row = capsys.readouterr()
    assert json.loads(row.out)["source"] == feed.scheme
    assert_sent(feed, server)
    assert_hidden(feed, row.out, row.err)
    for trouble in TROUBLES:
        server.heal()
        server.inject(trouble)
        assert main(once) == 1
        output = capsys.readouterr()
        assert "message" in output.out
        assert_hidden(feed, output.out, output.err)
    assert main(["sources"]) == 0
    output = capsys.readouterr()
    assert f"{feed.scheme}:" in output.out
    assert_hidden(feed, output.out, output.err)


def test_a_key_in_the_wrong_place_is_not_repeated(
    feed: Feed, server: VendorServer, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In FLOW_SOURCE and in a misspelt setting it is refused, elsewhere warned of, without its text."""
    secret = max(feed.secrets, key=len)
    for name, value, status in (
        ("FLOW_SOURCE", f"{feed.scheme}:?apiKey={secret}", 2),
        ("FLOW_SOURCE", f"{feed.scheme}:{server.url}/?token={secret}", 2),
        ("FLOW_SOURCES", secret, 2),
        # It resembles no setting: a newer release may have it.
        ("FLOW_SECRET", secret, 0),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert main(["sources"]) == status
        output = capsys.readouterr()
        assert_hidden(feed, output.out, output.err)
        assert "FLOW_" in output.err


def readable(value: object) -> bytes:
    """What somebody who looks at a stored value can read: its text, or its bytes unpacked."""
    if not isinstance(value, bytes):
        return str(value).encode()
    if value.startswith(ZSTANDARD):
        return zstandard.ZstdDecompressor().decompress(value, max_output_size=1 << 28)
    return value


def tables_of(database: str) -> dict[str, bytes]:
    """Everything that the database holds, by table of any schema but the server's own."""
    content = {}
    with psycopg.connect(database) as connection:
        names = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, name in names:
            rows = connection.execute(f'select * from "{schema}"."{name}"').fetchall()
            content[f"{schema}.{name}"] = b"\n".join(readable(v) for row in rows for v in row)
    return content


def keys_of(redis_url: str) -> dict[bytes, bytes]:
    """Everything that Redis holds, by key."""
    content = {}
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter():
            match client.type(key):
                case b"string":
                    content[key] = client.get(key)
                case b"stream":
                    entries = [entry.items() for _, entry in client.xrange(key)]
                    content[key] = b"\n".join(k + b" " + v for pairs in entries for k, v in pairs)
                case b"hash":
                    content[key] = b"\n".join(k + b" " + v for k, v in client.hgetall(key).items())
                case other:
                    raise AssertionError(f"{key} is a {other}, which nobody looks into")
    return content


def file_of(path: Path) -> bytes:
    """What a file holds, and after it whatever is packed within."""
    content = path.read_bytes()
    packed, offset = [], content.find(ZSTANDARD)
    while offset >= 0:
        with contextlib.suppress(zstandard.ZstdError):
            packed.append(zstandard.ZstdDecompressor().decompressobj().decompress(content[offset:]))
        offset = content.find(ZSTANDARD, offset + 1)
    return b"\n".join([content, *packed])


#: How a Zstandard frame begins.
ZSTANDARD = b"\x28\xb5\x2f\xfd"
#: Symbol → the feed that it is sampled from, by one daemon.
SHARED_OUT = {"SPX": "tradier", "SPY": "massive", "QQQ": "schwab", "IWM": "dxlink", "NDX": "orats"}


@pytest.mark.clocked
async def test_the_daemon_shows_no_key(servers, database, tmp_path: Path) -> None:
    """Every table, all of Redis, the log, the metrics and the process list, with five feeds at once.

    The files, too: the spool of rows and gaps while the database is away, and what it has refused.
    """
    # One daemon has one feed a vendor: Tradier's stream has its key in common with its chains.
    assert sorted({*SHARED_OUT.values(), "tradier with its stream"}) == KEYED
    clock = Clock(MOMENT - timedelta(seconds=40), 5.0, datetime.now(UTC) + timedelta(seconds=12))
    log, spool = tmp_path / "log", tmp_path / "spool"
    files: dict[str, bytes] = {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    async with contextlib.AsyncExitStack() as running:
        vendors: dict[str, VendorServer] = {}
        proxy = running.enter_context(Proxy(database))
        environment = os.environ | {
            "FLOW_DATABASE_URL": proxy.url,
            "FLOW_SPOOL_DIR": str(spool),
            "FLOW_REDIS_URL": servers.redis_url,
            "FLOW_CLOCK": str(clock),
            "FLOW_LOG": "json",
            "FLOW_LOG_LEVEL": "debug",
            "FLOW_METRICS_PORT": str(free_port),
        }
        sources = []
        for symbol, name in SHARED_OUT.items():
            vendors[name] = server = await running.enter_async_context(FEEDS[name].server())
            for step in range(60):
                server.put(await Synthetic(seed=7).live(symbol, MOMENT + step * SLOT))
            server.now = MOMENT
            own = settings(FEEDS[name], server, tmp_path, files=False)
            sources.append(f"{symbol}={own.pop('FLOW_SOURCE').replace('=0.5', '=8')}")
            environment |= own
        environment |= {"FLOW_SOURCE": ",".join(sources), "FLOW_SYMBOLS": ",".join(SHARED_OUT)}
        with log.open("w") as out:
            # An interpreter of its own: its command line is looked through.
            process = subprocess.Popen(
                [sys.executable, "-m", "sampler", "run"],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=out,
            )

        async def until(event: str, symbols: set[str]) -> None:
            begun = len(log.read_text().splitlines())
            for _ in range(900):
                await asyncio.sleep(0.1)
                for server in vendors.values():
                    server.now = clock.now()
                lines = [line for line in log.read_text().splitlines()[begun:] if event in line]
                if all(any(f'"{symbol}' in line for line in lines) for symbol in symbols):
                    return
            raise AssertionError(log.read_text())

        try:
            await until('"outcome":"stored"', set(SHARED_OUT))
            with psycopg.connect(database, autocommit=True) as connection:
                table = "alter table live.rows"
                no_row = f"{table} add constraint no_row check (backfilled) not valid"
                connection.execute(no_row)
                await until("the database refuses", set(SHARED_OUT))
                (refused,) = spool.rglob("refused-*")
                files[refused.name] = file_of(refused)
                connection.execute(f"{table} drop constraint no_row")
            proxy.refuse()
            await until('"outcome":"spooled"', set(SHARED_OUT))
            for server in vendors.values():
                server.inject(faults.status(401))
            # What streams goes on without a request.
            await until("(answer 401)", set(SHARED_OUT) - {"IWM"})
            for path in spool.rglob("*.spool"):
                files[path.name] = file_of(path)
            proxy.mend()
            for _ in range(100):
                if "spool emptied" in log.read_text():
                    break
                await asyncio.sleep(0.3)
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics") as answer:
                metrics = answer.read().decode()
            commands = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        finally:
            process.terminate()
            process.wait(30)
        for name, server in vendors.items():
            assert_sent(FEEDS[name], server)
    tables, channel = tables_of(database), keys_of(servers.redis_url)
    # What was looked through holds what it should: texts, and what was packed.
    for name in SHARED_OUT.values():
        assert f"{name}\n".encode() in tables["live.rows"], name
        assert any(f'"source":"{name}"'.encode() in text for text in channel.values()), name
    assert b"refuses the token" in tables["live.gaps"]
    assert b'"quoted_at":"2026-08-19T' in tables["live.chains"]
    assert [name.rpartition(".")[2] for name in sorted(files)] == ["spool", "batches"]
    for name in SHARED_OUT.values():
        assert all(f'"source":"{name}"'.encode() in text for text in files.values()), name
    for text in files.values():
        assert b'"quoted_at":"2026-08-19T' in text
    assert any(b"refuses the token" in text for text in files.values())
    assert "source_down" in metrics
    assert "sampler" in commands
    for name in SHARED_OUT.values():
        for secret in FEEDS[name].secrets:
            for place, text in [*tables.items(), *channel.items(), *files.items()]:
                assert secret.encode() not in text, (secret, place)
        assert_hidden(FEEDS[name], log.read_text(), metrics, commands)
