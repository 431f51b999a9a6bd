"""Open the store and the live channel of a dataset, on the embedded servers or by URL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.config.passwords import url_with_password
from storage.config.running import RunningProduct, read_running
from storage.config.settings import Settings
from storage.config.source_url import is_simulated
from storage.embedded import attach as embedded
from storage.embedded.programs import client_programs
from storage.market.clock import Clock
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel, NoChannel, RedisChannel

#: The two datasets: simulated rows are kept apart from real ones.
REAL, SYNTHETIC = "live", "synthetic"


def product_dataset(settings: Settings) -> str:
    """Return the dataset that a command looks at.

    The settings' own; else the one that the settings' source writes; else the one that the product
    on the embedded servers runs with, or ran with last; else the real one.

    Parameters
    ----------
    settings : the command's settings.

    Returns
    -------
    str
        ``live`` or ``synthetic``.
    """
    if settings.dataset:
        return settings.dataset
    if settings.source not in ("", "auto"):
        return SYNTHETIC if is_simulated(settings.source) else REAL
    product = running_product(settings)
    return REAL if product is None else product.dataset


def product_clock(settings: Settings) -> Clock:
    """Return the clock that a command judges a dataset by.

    The settings' own if it is simulated; else the one of the product on the embedded servers, where
    that is the dataset's; else the machine's.

    Parameters
    ----------
    settings : the command's settings.

    Returns
    -------
    Clock
        The clock, real or simulated.
    """
    product = running_product(settings)
    if settings.clock.simulated or product is None:
        return settings.clock
    return product.clock if product.dataset == product_dataset(settings) else settings.clock


def running_product(settings: Settings) -> RunningProduct | None:
    """Return what runs on the embedded servers, or ran there last.

    Parameters
    ----------
    settings : the command's settings.

    Returns
    -------
    RunningProduct or None
        None if that is not known: a database by URL has its own product, of which this machine
        knows nothing.
    """
    return None if settings.database_url else read_running(settings.data_dir)


@dataclass(frozen=True, slots=True)
class Connections:
    """The open connections of a command. Whoever opened them closes them."""

    store: Store
    live: LiveChannel
    database_url: str
    #: Where the live channel and the counters are; empty where there are none.
    redis_url: str = ""


@asynccontextmanager
async def server_urls(settings: Settings, *, live: bool = True) -> AsyncIterator[tuple[str, str]]:
    """Yield the URLs of database and live channel; embedded servers run while this is open.

    Parameters
    ----------
    settings : the command's settings; a URL that they lack is that of an embedded server.
    live : whether the channel is needed. If not, a given database is enough, and the channel's URL
        may come back empty.

    Yields
    ------
    tuple of str
        URL of the database, URL of the live channel.

    Raises
    ------
    EmbeddedError
        If a URL is missing and the embedded servers cannot be had.
    UsageError
        If a password stands in two places, or cannot be read.
    """
    credentials = settings.credentials_dir
    database_url = url_with_password(
        settings.database_url, "database", settings.database_password_file, credentials
    )
    redis_url = url_with_password(
        settings.redis_url, "redis", settings.redis_password_file, credentials
    )
    if database_url and (redis_url or not live):
        yield database_url, redis_url
        return
    # Starting servers waits for processes: not on the event loop.
    attached = embedded.attach(settings.data_dir)
    servers = await asyncio.to_thread(attached.__enter__)
    try:
        yield (
            database_url or servers.database_url,
            redis_url or servers.redis_url,
        )
    finally:
        attached.__exit__(None, None, None)


def postgres_programs(settings: Settings) -> Path | None:
    """Return the folder of PostgreSQL's client programs; None if they are on the PATH, if anywhere.

    The embedded server needs those of its own release. Another server's are the machine's.

    Parameters
    ----------
    settings : the command's settings.

    Returns
    -------
    Path or None
        The folder.
    """
    if settings.database_url and shutil.which("pg_dump"):
        return None
    return client_programs()


@asynccontextmanager
async def connect(
    settings: Settings,
    dataset: str,
    *,
    live: bool = True,
    write: bool = False,
    later: bool = False,
    patience: float = 300.0,
) -> AsyncIterator[Connections]:
    """Open a dataset. An embedded database is migrated first, one given by URL never.

    A channel that is away may come back later; one whose URL cannot be used is refused.

    Parameters
    ----------
    settings : the command's settings.
    dataset : ``live`` or ``synthetic``.
    live : whether a live channel is opened; without, one that does nothing.
    write : check also that rows can be written.
    later : open the store even if the database is away or not migrated yet.
    patience : how long an answer may take before its connection is cut off. [s]

    Yields
    ------
    Connections
        Store and live channel; they close with the block.

    Raises
    ------
    EmbeddedError
        If the embedded servers are needed and cannot be had.
    AccessDenied
        If the server does not let the user in.
    StoreUnavailable, SchemaMissing, SchemaNewer
        If the database is away, or its schema is of another release, unless ``later``.
    StoreError
        If the database cannot be used.
    LiveError
        If the channel's URL cannot be used.
    """
    async with AsyncExitStack() as stack:
        database_url, redis_url = await stack.enter_async_context(server_urls(settings, live=live))
        if not settings.database_url:
            await migrate(database_url, dataset)
        store = await stack.enter_async_context(
            Store.open(database_url, dataset, write=write, patience=patience, later=later)
        )
        channel: LiveChannel = NoChannel()
        if live:
            opened = await stack.enter_async_context(
                RedisChannel.open(redis_url, f"flow:{dataset}", store.identity)
            )
            await opened.require_usable()
            channel = opened
        yield Connections(store, channel, database_url, redis_url)
