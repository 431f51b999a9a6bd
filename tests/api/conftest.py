"""The application over a real store, at a time of the test's choosing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from api.access import Access
from api.app import create, keep
from storage.embedded import Servers
from storage.errors import StoreUnavailable
from storage.live import News, Nobody
from storage.row import Change
from storage.store import KEEP, Store
from tests.api.rows import utc

SERIES = "/v1/flow/zero-dte/series/"


#: Every table of both datasets, emptied in one statement.
EMPTY = "; ".join(
    f"delete from {dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in ("rows", "profiles", "chains", "gaps", "heads", "sessions")
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


@dataclass
class Still:
    """A clock that a test sets."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


class Caller(httpx.AsyncClient):
    """A client of the application; ``clock`` is what it reads the time from."""

    clock: Still

    async def series(self, symbol: str = "SPY", status: int = 200, **query: Any) -> dict[str, Any]:
        """An answer of the series."""
        sent = await self.get(SERIES + symbol, params=query)
        assert sent.status_code == status, sent.text
        return sent.json()


@pytest.fixture
async def open_app() -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of applications on any store, live channel and access."""
    async with AsyncExitStack() as stack:

        async def make(
            store: Any, now: str = "14:30", *, live: Any = None, access: Access | None = None
        ) -> Caller:
            clock = Still(utc(now))
            app = create(store, live or Nobody(), clock, dataset="live", access=access)  # type: ignore[arg-type]
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


class Wire(Nobody):
    """A live channel within the process."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[list[News]] = asyncio.Queue()

    async def publish(self, changes: Any) -> None:
        self.sent.put_nowait(
            [News(symbol=c.symbol, revision=c.revision, changes=(c,)) for c in changes]
        )

    async def listen(self, symbols: Any) -> AsyncIterator[list[News]]:  # type: ignore[override]
        yield []
        while True:
            yield await self.sent.get()

    async def ping(self) -> None:
        pass


class Away:
    """A store that goes away when told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        async def ask(*given: Any, **named: Any) -> Any:
            if self.away:
                raise StoreUnavailable("gone")
            return await found(*given, **named)

        return ask


class Fed(Caller):
    """A client of an application that keeps sessions in memory."""

    sessions: Any
    store: Away
    wire: Wire

    async def land(self, *records: Any, gaps: Any = (), mode: str = KEEP) -> list[Change]:
        """Store and publish, and wait until it is taken in."""
        changes = await self.store.write(list(records), list(gaps), mode=mode)
        await self.wire.publish(changes)
        await self.reached({change.symbol: change.revision for change in changes})
        return changes

    async def reached(self, heads: dict[str, int]) -> None:
        async with asyncio.timeout(10):
            while any((self.sessions.head(s) or 0) < head for s, head in heads.items()):
                await asyncio.sleep(0.001)


@pytest.fixture
async def feed(open_app: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of applications that follow a store."""
    running = []

    async def make(store: Store, now: str = "14:30") -> Fed:
        away, wire = Away(store), Wire()
        caller = await open_app(away, now, live=wire)
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
