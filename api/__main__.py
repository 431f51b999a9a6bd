"""The API's door: serve and keys. Reads the environment and wires the parts."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from api.access import commands as admin
from api.access.gate import Access, OpenAccess
from api.access.keys import KeyedAccess, KeyRing
from api.app import create_app, keep_current
from api.http.listening import bound_socket, keys_required
from api.http.server import Server
from storage.config.run import add_version, run_command
from storage.config.settings import Settings, add_options
from storage.errors import FlowError
from storage.market.calendar import market_day, session_on
from storage.market.clock import Clock
from storage.opening import REAL, SYNTHETIC, Connections, connect, product_dataset
from storage.redis.counters import Counters


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage."""
    return run_command(_parser(), arguments, os.environ, run=uvloop.run, interrupted=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flow-api", description="The flow series over HTTP.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer requests until SIGTERM")
    add_options(serve, "host", "port", "access", "quotas", "cors_origins")
    add_options(serve, "dataset", "source", "clock")
    add_options(serve, "database_url", "redis_url", "data_dir", "log", "log_level")
    serve.set_defaults(command=_serve)
    keys = commands.add_parser("keys", help="make, list, revoke and rotate keys")
    admin.add_key_commands(keys, _keys)
    return parser


def _dataset(settings: Settings) -> str:
    by_source = SYNTHETIC if settings.source.startswith("synthetic:") else REAL
    return settings.dataset or by_source


async def _keys(settings: Settings, parsed: argparse.Namespace) -> int:
    async with connect(settings, product_dataset(settings), live=False) as connections:
        return await admin.run_key_command(connections.store.keys, parsed, Clock().now())


@asynccontextmanager
async def _access(
    settings: Settings, connections: Connections, dataset: str
) -> AsyncIterator[Access]:
    """Who may ask, by the address and FLOW_ACCESS.

    Raises
    ------
    FlowError
        If keys are due and there is none: nobody could ask anything.
    """
    if not keys_required(settings.host, settings.access):
        yield OpenAccess()
        return
    # Days end and keys expire by the machine's clock, also where the market's is simulated.
    now = Clock().now
    ring = KeyRing(connections.store.keys, now)
    async with ring.current(), Counters.open(connections.redis_url, f"flow:{dataset}") as counters:
        if not len(ring):
            named = "" if dataset == REAL else f" --dataset {dataset}"
            raise FlowError(
                f"there is no key in force for the {dataset} data, and without one nobody could ask"
                f" anything: make one with flow-api keys create --name NAME --plan PLAN{named},"
                " or be open on loopback with FLOW_HOST=127.0.0.1 and FLOW_ACCESS=open"
            )
        yield KeyedAccess(ring, counters, settings.quotas, now)


async def _serve(settings: Settings, parsed: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    dataset = _dataset(settings)
    keys_required(settings.host, settings.access)  # Refused before anything is opened.
    with bound_socket(settings.host, settings.port) as listener:
        # A calendar takes a second to load: before the first request, not in it.
        await asyncio.to_thread(session_on, market_day(settings.clock.now()))
        async with (
            connect(settings, dataset) as connections,
            _access(settings, connections, dataset) as access,
        ):
            app = create_app(
                connections.store,
                connections.live,
                settings.clock,
                dataset=dataset,
                access=access,
                origins=settings.cors_origins,
            )
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            where = f"http://{host}:{settings.port}"
            # What is there now stays: the collector would stop requests to walk through all of it.
            gc.collect()
            gc.freeze()
            said = f"flow-api: listening on {where} ({dataset} data; {where}/docs)"
            server = Server(app, lambda: print(said, flush=True))
            keeping = asyncio.create_task(keep_current(app))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            told = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            app.context.hub.close()
            server.should_exit = True
            await serving
            keeping.cancel()
            await asyncio.wait({keeping})
    return 0


if __name__ == "__main__":
    sys.exit(main())
