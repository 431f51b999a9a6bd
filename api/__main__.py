"""The API's door: serve. Reads the environment and wires the parts."""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from api.app import create, keep
from api.server import Server
from storage import log
from storage.errors import FlowError, UsageError
from storage.parts import REAL, SYNTHETIC, connect
from storage.session import market_day, session_on
from storage.settings import Settings, add_options, options_of


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = Settings.read(os.environ, options_of(parsed))
        log.configure(settings.log, settings.log_level)
        return uvloop.run(parsed.command(settings)) or 0
    except UsageError as error:
        print(f"flow-api: {error}", file=sys.stderr)
        return 2
    except FlowError as error:
        print(f"flow-api: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flow-api", description="The flow series over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer requests until SIGTERM")
    add_options(serve, "host", "port", "cors_origins", "dataset", "source", "clock")
    add_options(serve, "database_url", "redis_url", "data_dir", "log", "log_level")
    serve.set_defaults(command=_serve)
    return parser


def _dataset(settings: Settings) -> str:
    by_source = SYNTHETIC if settings.source.startswith("synthetic:") else REAL
    return settings.dataset or by_source


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    dataset = _dataset(settings)
    with _bound(settings.host, settings.port) as listener:
        # A calendar takes a second to load: before the first request, not in it.
        await asyncio.to_thread(session_on, market_day(settings.clock.now()))
        async with connect(settings, dataset) as parts:
            app = create(
                parts.store,
                parts.live,
                settings.clock,
                dataset=dataset,
                origins=settings.cors_origins,
            )
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            where = f"http://{host}:{settings.port}"
            said = f"flow-api: listening on {where} ({dataset} data; {where}/docs)"
            server = Server(app, lambda: print(said, flush=True))
            keeping = asyncio.create_task(keep(app))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            told = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            app.state.hub.close()
            server.should_exit = True
            await serving
            keeping.cancel()
            await asyncio.wait({keeping})
    return 0


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at a loopback address; nobody can connect until the server listens on it.

    Raises
    ------
    UsageError
        For an address that others could reach.
    FlowError
        If it cannot be had.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise UsageError(
            f"FLOW_HOST: {host!r} is not loopback. Without keys the API only listens on loopback:"
            " put it behind a reverse proxy that authenticates"
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio switches Nagle's delay of 40 ms off only where TCP is named.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((str(address), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise FlowError(
                    f"FLOW_PORT: port {port} of {host} is taken by another program;"
                    " stop that one, or choose another port with --port"
                ) from error
            raise FlowError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
        yield listener


if __name__ == "__main__":
    sys.exit(main())
