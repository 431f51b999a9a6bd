"""The application over a real store, at a time of the test's choosing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from api.access import Access
from api.app import create
from storage.embedded import Servers
from storage.live import Nobody
from storage.store import Store
from tests.api.rows import utc

SERIES = "/v1/flow/zero-dte/series/"


#: Every table of both datasets, emptied in one statement.
EMPTY = "; ".join(
    f"delete from {dataset}.{table}"
    for dataset in ("live", "synthetic")
    for table in ("rows", "profiles", "chains", "gaps", "keys")
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
