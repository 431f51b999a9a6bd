"""The page in a browser, from a serving process over a real store and live channel.

With ``SCREENSHOTS`` set to a folder each test leaves a picture of what it ended with.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.record.row import Gap, SlotRecord
from storage.redis.channel import RedisChannel
from tests import forked
from tests.conftest import other_database
from tests.page.browser import launch

ROOT = Path(__file__).resolve().parents[2]
SERIES = "/v1/flow/zero-dte/series/"
#: What a browser itself says of a server that is away; the page cannot keep it from that.
AWAY = re.compile(
    r"net::ERR_(CONNECTION|EMPTY|INCOMPLETE|SOCKET|NETWORK|TOO_MANY)|status of 40[13] "
)
#: A desktop of the smallest kind that the page is laid out for.
DESKTOP = {"width": 1280, "height": 720}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A serving process, and the store and channel behind it."""

    def __init__(
        self, database_url: str, redis_url: str, store: Store, channel: RedisChannel
    ) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.store = store
        self.channel = channel
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: forked.Popen | None = None
        self.now: datetime | None = None

    async def start(
        self, now: datetime, speed: float = 0.001, dataset: str = "live", **settings: str
    ) -> None:
        """Serve, with a clock that stands at ``now`` or runs from there."""
        self.now = now
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
        environment |= {
            "FLOW_DATABASE_URL": self.database_url,
            "FLOW_REDIS_URL": self.redis_url,
            "FLOW_CLOCK": f"simulated:{now.isoformat()}@{speed}",
            "FLOW_PORT": str(self.port),
            "FLOW_LOG_LEVEL": "warning",
            "FLOW_DATASET": dataset,
        } | settings
        command = [sys.executable, "-m", "api", "serve"]
        self.process = await asyncio.to_thread(
            forked.Popen, command, cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        # On a busy machine a start takes long, which is no fault of the page.
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 120)
        assert b"listening" in line

    async def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, 30)
            assert self.process.stdout is not None
            self.process.stdout.close()
        self.process = None

    async def put(self, records: Sequence[SlotRecord] = (), gaps: Sequence[Gap] = ()) -> None:
        """Store and tell, as a sampler does."""
        await self.channel.publish((await self.store.write(records, gaps)).changes)

    async def empty(self) -> None:
        """A store without anything in it."""
        async with await psycopg.AsyncConnection.connect(
            self.database_url, autocommit=True
        ) as admin:
            tables = (
                "rows",
                "profiles",
                "chains",
                "gaps",
                "heads",
                "sessions",
                "watched",
                "alerts",
            )
            await admin.execute(";".join(f"delete from live.{table}" for table in tables))  # type: ignore[arg-type]

    async def get(self, path: str, **query: Any) -> Any:
        """An answer of the API, asked by somebody else."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            sent = await client.get(path, params=query)
            assert sent.status_code == 200, sent.text
            return sent.json()

    async def bars(self, symbol: str = "SPX", bar: str = "1m", **query: Any) -> list[Any]:
        """Bars of the series."""
        return (await self.get(SERIES + symbol, bar=bar, minutes=390, **query))["bars"]


class Tab:
    """One tab: what it showed, asked for and complained of."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        #: Where the page comes from, and everything else with it.
        self.home = site.url
        self.errors: list[str] = []
        self.requested: list[str] = []
        #: Whether the server is taken away in this test, or refuses the caller.
        self.away = False
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    async def open(self, view: str = "") -> None:
        """Go there, and wait until the page has shown what it found."""
        await self.page.goto(f"{self.home}/{view and '#' + view}")
        await self.until(
            "document.querySelector('.tile b') !== null"
            " && !document.getElementById('market').textContent.includes('…')"
        )

    async def until(self, condition: str, seconds: float = 12) -> None:
        """Wait until an expression holds; the page's own policy forbids waiting inside of it."""
        ends = time.monotonic() + seconds
        while not await self.page.evaluate(condition):
            assert time.monotonic() < ends, condition
            await asyncio.sleep(0.03)

    async def chosen(self, name: str) -> str:
        """The text of what a picker stands on."""
        chosen = await self.page.evaluate(
            f"document.getElementById('{name}').selectedOptions[0]?.textContent ?? ''"
        )
        return str(chosen)

    async def chooses(self, name: str, text: str) -> None:
        """Wait until a picker stands on a text."""
        # The page's policy forbids what waits for a condition by evaluating text in the page.
        deadline = time.monotonic() + 12.0
        while await self.chosen(name) != text:
            assert time.monotonic() < deadline, f"{name} does not stand on {text}"
            await asyncio.sleep(0.05)

    async def settled_box(self, selector: str) -> Any:
        """Where an element lies, once it has not moved for half a second."""
        places: list[Any] = []
        while len(places) < 6 or any(place != places[-1] for place in places[-6:]):
            places.append(await self.page.locator(selector).bounding_box())
            await asyncio.sleep(0.1)
        return places[-1]

    async def text(self, selector: str) -> str:
        return (await self.page.locator(selector).first.inner_text()).strip()

    async def tile(self, field: str) -> str:
        """A headline number."""
        return await self.text(f".tile[data-field={field}] b")

    async def shows(self, selector: str, text: str | re.Pattern[str], seconds: float = 12) -> None:
        """Wait for a text."""
        element = self.page.locator(selector).filter(has_text=text).first
        await element.wait_for(state="visible", timeout=seconds * 1000)

    def check(self) -> None:
        """No complaint, and nothing asked of anybody else."""
        unexpected = [error for error in self.errors if not (self.away and AWAY.search(error))]
        assert unexpected == []
        abroad = [url for url in self.requested if not url.startswith((f"{self.home}/", "blob:"))]
        assert abroad == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for a file's tests."""
    async with async_playwright() as play:
        opened = await launch(play)
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
def site_database(servers: Servers, template: str) -> Any:
    """URL of a migrated database for a file's tests."""
    name = f"flow_page_{os.getpid()}_{free_port()}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")  # type: ignore[arg-type]
    yield other_database(servers.database_url, name)
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(servers: Servers, site_database: str) -> AsyncIterator[Site]:
    """A site that a test starts."""
    async with (
        Store.open(site_database, "live", size=2) as store,
        RedisChannel.open(servers.redis_url, "flow:live", store.identity) as channel,
    ):
        started = Site(site_database, servers.redis_url, store, channel)
        yield started
        await started.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def tabs(
    request: pytest.FixtureRequest, browser: Browser, site: Site
) -> AsyncIterator[Callable[..., Any]]:
    """Opens tabs of any size; each is checked, and pictured, at the end."""
    opened: list[Tab] = []
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Tab:
            context: BrowserContext = await browser.new_context(
                **{"viewport": DESKTOP, "color_scheme": "dark", **options}
            )
            stack.push_async_callback(context.close)
            tab = Tab(await context.new_page(), site)
            opened.append(tab)
            return tab

        yield make
        folder = os.environ.get("SCREENSHOTS")
        for k, tab in enumerate(opened):
            if folder:
                name = re.sub(r"^test_", "", request.node.name) + (f"-{k + 1}" if k else "")
                await tab.page.screenshot(path=Path(folder) / f"{name}.png")
            tab.check()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(tabs: Callable[..., Any]) -> Tab:
    """One desktop tab."""
    return await tabs()
