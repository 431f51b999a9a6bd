"""The application over a real store, at a time of the test's choosing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from api.access.gate import Access
from api.app import create_app, keep_current
from api.http.server import Server
from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.redis.channel import NoChannel
from tests import forked
from tests.api.rows import every, utc
from tests.api.site import SERIES, Away, Caller, Fed, Site, Still, Wire
from tests.real_chains import EXTRA, schwab, volkit

__all__ = ["SERIES", "Caller", "Fed", "Site", "Still", "Wire"]
ROOT = Path(__file__).resolve().parents[2]


#: Every table of both datasets, emptied in one statement.
EMPTY = "; ".join(
    f"delete from {dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in (
        "rows",
        "profiles",
        "chains",
        "gaps",
        "heads",
        "sessions",
        "keys",
        "watched",
        "alerts",
    )
)
#: What refuses to be emptied, past its triggers.
EMPTY += "; set session_replication_role = replica; " + "; ".join(
    f"delete from {dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in ("scores", "settlements", "forecasts")
)


@pytest.fixture(scope="session")
def own_database(servers: Servers, template: str) -> Iterator[str]:
    """URL of one migrated database for all tests of this folder."""
    name = f"flow_api_{os.getpid()}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")  # type: ignore[call-overload]
    yield urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]


@pytest.fixture
def database(own_database: str) -> str:
    """URL of a database without rows; emptying one is faster than making one."""
    with psycopg.connect(own_database, autocommit=True) as admin:
        admin.execute(EMPTY)  # type: ignore[call-overload]
    return own_database


@pytest.fixture
async def open_app() -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of applications on any store, live channel and access."""
    async with AsyncExitStack() as stack:

        async def make(
            store: Any,
            now: str = "14:30",
            *,
            live: Any = None,
            access: Access | None = None,
            origins: Sequence[str] = ("*",),
            rules: Any = None,
            symbols: Sequence[str] = (),
            formulas: Callable[[], Any] = lambda: None,
        ) -> Caller:
            clock: Any = Still(utc(now))
            channel = live or NoChannel()
            app = create_app(
                store,
                channel,
                clock,
                dataset="live",
                access=access,
                origins=origins,
                rules=rules,
                symbols=symbols,
                formulas=formulas,
            )
            transport = httpx.ASGITransport(app=app)
            caller = await stack.enter_async_context(
                Caller(transport=transport, base_url="http://flow")
            )
            caller.clock = clock
            return caller

        yield make


@pytest.fixture
async def stranger(open_app: Callable[..., Any]) -> Caller:
    """A client of an application that must not ask its store anything."""
    return await open_app(None)


@pytest.fixture
async def caller(store: Store, open_app: Callable[..., Any]) -> Caller:
    """A client of an application on an empty store; it is 14:30 UTC on the Friday."""
    return await open_app(store)


#: Sessions of the recorded chains without a licence, those of the licensed ones, and a made-up one
#: with flow in every slot: a short day, whose close is 18:00 UTC.
RECORDED = ("2026-08-18", "2026-08-19")
LICENSED = ("2019-06-26", "2024-10-15")
FLOWING = "2026-11-27"


#: What a session is stored in.
TABLES = [
    f"{dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in ("rows", "profiles", "chains", "gaps", "heads", "sessions", "watched")
]


@pytest.fixture(scope="session")
def sessions_database(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a database that is only read: recorded days, and a synthetic one of SPX.

    The dataset ``live`` has the licensed chains, and those without a licence where they are there.
    Test processes that run side by side measure the sessions once and copy them.
    """
    name = f"flow_sessions_{os.getpid()}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")  # type: ignore[call-overload]
    url = urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "sessions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "sessions.done").exists():
            _copy(url, folder, "from stdin")
        else:
            _measure(url, servers.redis_url)
            _copy(url, folder, "to stdout")
            (folder / "sessions.done").touch()
    yield url
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]


def _measure(database_url: str, redis_url: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    environment |= {
        "FLOW_DATABASE_URL": database_url,
        "FLOW_REDIS_URL": redis_url,
        "FLOW_LOG_LEVEL": "error",
    }

    def backfill(source: str, symbols: str, first: str, last: str) -> None:
        command = ["backfill", "--source", source, "--symbols", symbols]
        forked.run(
            [sys.executable, "-m", "sampler", *command, "--from", first, "--to", last],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=300,
        )

    with tempfile.TemporaryDirectory() as folder:
        for day, chain in zip(LICENSED, (volkit(), schwab()), strict=True):
            file = Path(folder) / f"SPX_{chain.quoted_at:%Y-%m-%dT%H%M%S}.json"
            file.write_text(json.dumps(chain.compact()))
            backfill(f"recorded:{folder}", "SPX", day, day)
    if (EXTRA / "chains").is_dir():
        backfill(f"recorded:{EXTRA / 'chains'}", "SPX,SPY,QQQ", *RECORDED)
    backfill("synthetic:?seed=7", "SPX", FLOWING, FLOWING)


def _copy(url: str, folder: Path, direction: str) -> None:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in TABLES:
            file = folder / f"sessions-{table}"
            # Of a table of TimescaleDB itself COPY would send nothing: its rows are in chunks.
            out = direction.startswith("to")
            what = f"(select * from {table})" if out else table
            with cursor.copy(f"copy {what} {direction} (format binary)") as copy:  # type: ignore[arg-type]
                if out:
                    file.write_bytes(b"".join(copy))
                else:
                    copy.write(file.read_bytes())


@pytest.fixture
async def recorded(
    shared: Path, sessions_database: str, open_app: Callable[..., Any]
) -> AsyncIterator[Caller]:
    """A client of an application on all recorded days, long after them."""
    async with Store.open(sessions_database, "live", size=4) as opened:
        yield await open_app(opened, "2026-08-21 15:00")


@pytest.fixture
async def licensed(sessions_database: str, open_app: Callable[..., Any]) -> AsyncIterator[Caller]:
    """A client of an application on the days of the licensed chains, long after them."""
    async with Store.open(sessions_database, "live", size=4) as opened:
        yield await open_app(opened, "2026-08-21 15:00")


@pytest.fixture
async def flowing(sessions_database: str, open_app: Callable[..., Any]) -> AsyncIterator[Caller]:
    """A client of an application on the synthetic day, at its close."""
    async with Store.open(sessions_database, "synthetic", size=4) as opened:
        yield await open_app(opened, "2026-11-27 18:00")


@pytest.fixture
async def feed(open_app: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of applications that follow a store."""
    running = []

    async def make(store: Store, now: str = "14:30", **options: Any) -> Fed:
        away, wire = Away(store), Wire()
        caller = await open_app(away, now, live=wire, **options)
        caller.__class__ = Fed
        caller.store, caller.wire = away, wire
        app = caller._transport.app
        caller.sessions = app.context.sessions
        running.append(asyncio.create_task(keep_current(app)))
        async with asyncio.timeout(10):
            while caller.sessions.head("SPY") is None:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        return caller

    yield make
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def open_site(store: Store, feed: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Makes listening servers; 14:29:30 of the Friday is their newest slot."""
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Site:
            await store.write(every("14:20", "14:29:30"))
            fed = await feed(store, **options)
            return await stack.enter_async_context(_listening(fed))

        yield make


@asynccontextmanager
async def _listening(fed: Fed) -> AsyncIterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(fed, listener.getsockname()[1])
        site.server = Server(fed._transport.app, lambda: None)
        serving = asyncio.create_task(site.server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            while not site.server.started:
                await asyncio.sleep(0.005)
        yield site
        site.hub.close()
        for events in site.opened:
            events.writer.close()
            with suppress(OSError):
                await events.writer.wait_closed()
        site.server.should_exit = True
        await serving


@pytest.fixture
async def site(open_site: Callable[..., Any]) -> Site:
    """A listening server that admits everybody."""
    return await open_site()
