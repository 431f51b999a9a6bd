"""Real servers for the tests: an embedded PostgreSQL and Valkey, or those that TEST_*_URL name.

``TEST_DATABASE_URL`` (a superuser's, TimescaleDB or plain) and ``TEST_REDIS_URL`` replace the
embedded servers. A migrated template database is made once; each test copies it in milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import structlog
from psycopg import sql

from storage.embedded import attach as embedded
from storage.embedded.attach import Servers
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from tests.real_chains import EXTRA

_numbers = itertools.count()
#: Where tests need neither a server nor compiled loops, but for those that ask for one of
#: ``NEEDS``: these get the marker ``unit``.
UNIT = (
    "api/access/test_keys.py",
    "api/documents",
    "api/http/test_compression.py",
    "api/series",
    "sampler/sources/test_cboe.py",
    "sampler/sources/test_json_fields.py",
    "sampler/test_chain.py",
    "storage/config",
    "storage/market",
    "storage/postgres/test_coverage.py",
    "storage/postgres/test_profiles.py",
    "storage/record",
    "storage/spool",
    "test_data.py",
    "test_independent.py",
    "test_layers.py",
)
#: Fixtures that start a server, or that skip where something is missing.
NEEDS = {"data_dir", "servers", "shared"}


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that a test runs in this process binds the log to that test's standard error."""
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests by where they are and what they ask for."""
    tests = Path(__file__).parent
    for item in items:
        where = item.path.relative_to(tests).as_posix()
        needed = NEEDS & set(getattr(item, "fixturenames", ()))
        if where.startswith(UNIT) and not needed and not item.get_closest_marker("clocked"):
            item.add_marker(pytest.mark.unit)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("FLOW_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded chains that have no licence: an extra, where it is there."""
    if not (EXTRA / "chains").is_dir():
        pytest.skip("an extra: the recorded chains without a licence are not beside this checkout")
    return EXTRA


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A data folder that an unprivileged server reaches; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="flow-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(data_dir: Path) -> Iterator[Servers]:
    """A running PostgreSQL and Valkey."""
    database, redis = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    if database and redis:
        yield Servers(database, redis)
        return
    with embedded.attach(data_dir, wait=True) as started:
        yield Servers(database or started.database_url, redis or started.redis_url)


def other_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database that is only ever copied."""
    if name := os.environ.get("TEST_TEMPLATE"):
        yield name
        return
    name = f"flow_template_{os.getpid()}"
    make_template(servers.database_url, name)
    yield name
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        drop = sql.SQL("drop database if exists {} with (force)")
        admin.execute(drop.format(sql.Identifier(name)))


def make_template(url: str, name: str) -> None:
    """Make a migrated database that can be copied."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    for dataset in ("live", "synthetic"):
        asyncio.run(migrate(other_database(url, name), dataset))
    # TimescaleDB's workers would keep the template busy, and a busy one cannot be copied.
    with psycopg.connect(url, autocommit=True) as admin:
        closed = sql.SQL("alter database {} with allow_connections false")
        admin.execute(closed.format(sql.Identifier(name)))
        admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
            [name],
        )


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """URL of a fresh database that was never migrated."""
    yield from _fresh(servers, "template0")


@pytest.fixture
def database(servers: Servers, template: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    yield from _fresh(servers, template)


@pytest.fixture
def second_database(servers: Servers, template: str) -> Iterator[str]:
    """URL of one more fresh, migrated database on the same server."""
    yield from _fresh(servers, template)


def _fresh(servers: Servers, template: str) -> Iterator[str]:
    name = f"flow_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        create = sql.SQL("create database {} template {}")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    yield other_database(servers.database_url, name)
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        drop = sql.SQL("drop database if exists {} with (force)")
        admin.execute(drop.format(sql.Identifier(name)))


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """An open store of a fresh dataset."""
    async with Store.open(database, "live", size=4) as opened:
        yield opened
