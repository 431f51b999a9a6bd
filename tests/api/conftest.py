"""The application over a real store, at a time of the test's choosing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from api.access import Access
from api.app import create, keep
from api.server import Server
from storage.embedded import Servers
from storage.live import Nobody
from storage.store import Store
from tests.api.rows import every, utc
from tests.api.site import SERIES, Away, Caller, Fed, Site, Still, Wire

__all__ = ["SERIES", "Caller", "Fed", "Site", "Still", "Wire"]


#: Every table of both datasets, emptied in one statement.
EMPTY = "; ".join(
    f"delete from {dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in ("rows", "profiles", "chains", "gaps", "heads", "sessions", "keys")
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
        ) -> Caller:
            clock: Any = Still(utc(now))
            channel = live or Nobody()
            app = create(store, channel, clock, dataset="live", access=access, origins=origins)
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


@pytest.fixture
async def feed(open_app: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of applications that follow a store."""
    running = []

    async def make(store: Store, now: str = "14:30", **given: Any) -> Fed:
        away, wire = Away(store), Wire()
        caller = await open_app(away, now, live=wire, **given)
        caller.__class__ = Fed
        caller.store, caller.wire = away, wire
        app = caller._transport.app
        caller.sessions = app.state.sessions
        running.append(asyncio.create_task(keep(app)))
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
async def site(store: Store, feed: Callable[..., Any]) -> AsyncIterator[Site]:
    """A listening server; 14:29:30 of the Friday is its newest slot."""
    await store.write(every("14:20", "14:29:30"))
    fed = await feed(store)
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
