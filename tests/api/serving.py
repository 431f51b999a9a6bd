"""The application behind a real socket on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import uvicorn

from api.app import create_app, keep_current
from storage.postgres.store import Store
from storage.redis.channel import NoChannel
from tests.api.conftest import Still


@contextlib.contextmanager
def served(
    database: str, dataset: str, now: datetime, *, access: Any = None, follows: bool = False
) -> Iterator[tuple[str, Still]]:
    """A running server's address, and the clock that it reads.

    A server that follows the store has streams, and today's session in memory.
    """
    clock = Still(now)
    ready = threading.Event()
    running: dict[str, Any] = {}

    async def run() -> None:
        async with Store.open(database, dataset, size=4) as store:
            app = create_app(store, NoChannel(), clock, dataset=dataset, access=access)  # type: ignore[arg-type]
            config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")
            server = uvicorn.Server(config)
            # Signals are the test run's.
            server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
            running["server"] = server
            following = asyncio.create_task(keep_current(app)) if follows else None
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():
                await asyncio.sleep(0.005)
            if server.started:
                running["port"] = server.servers[0].sockets[0].getsockname()[1]
            ready.set()
            await serving
            if following is not None:
                following.cancel()
                await asyncio.wait({following})

    def work() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield f"http://127.0.0.1:{running['port']}", clock
    finally:
        running["server"].should_exit = True
        thread.join(15)


Serve = Callable[..., contextlib.AbstractContextManager[tuple[str, Still]]]
