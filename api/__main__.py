"""The command ``flow-api``: serve answers requests, mcp serves an assistant, keys manages keys."""

from __future__ import annotations

from storage.config.loading import finish_loading  # first: Ctrl-C is silent while the rest loads

# isort: split
import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog
import uvloop

from api.access import commands as key_commands
from api.access.gate import Access, OpenAccess
from api.access.keys import KeyedAccess, KeyRing
from api.app import Application, OperationsOnly, create_app, keep_current
from api.http.host import allowed_hosts
from api.http.listening import bound_socket, keys_required
from api.http.local_users import other_users
from api.http.server import Server
from api.market_watch import MarketWatch
from api.mcp.stdio import own_api, remote_api, serve_stdio
from api.upkeep import Upkeep
from api.watch import WATCH, Watch, send_heartbeats
from storage.config.file_limit import raise_file_limit
from storage.config.run import add_version, run_command
from storage.config.running import read_formulas
from storage.config.settings import Settings, add_options
from storage.config.source_url import is_simulated
from storage.config.systemd import Systemd
from storage.errors import FlowError, UsageError
from storage.market.calendar import market_day, session_on
from storage.market.clock import Clock
from storage.notify.messenger import Messenger
from storage.notify.rules_file import RulesFile
from storage.notify.target import configured_targets
from storage.opening import (
    REAL,
    SYNTHETIC,
    Connections,
    connect,
    product_clock,
    product_dataset,
)
from storage.postgres.lease import Lease
from storage.redis.counters import Counters

finish_loading()


def main(arguments: list[str] | None = None) -> int:
    """Run one command of ``flow-api``.

    Parameters
    ----------
    arguments : the command line without the program's name; None for that of this process.

    Returns
    -------
    int
        Exit status: 0 done, 1 failed, 2 wrong usage.
    """
    return run_command(_parser, arguments, os.environ, run=uvloop.run, interrupted=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flow-api", description="The flow series over HTTP.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer requests until SIGTERM")
    add_options(serve, "host", "port", "access", "quotas", "cors_origins", "allowed_hosts")
    add_options(serve, "root_path", "trusted_proxies", "api_metrics_port")
    add_options(serve, "dataset", "source", "symbols", "clock", "alert_rules")
    add_options(serve, "database_url", "redis_url", "data_dir", "log", "log_level")
    serve.set_defaults(command=_serve)
    assistant = commands.add_parser(
        "mcp", help="serve an assistant by MCP over standard input and output"
    )
    assistant.add_argument(
        "--url", help="ask the server at this address; if left out, the database is read directly"
    )
    assistant.add_argument(
        "--key-file", type=Path, help="file with the key for the server of --url"
    )
    add_options(assistant, "dataset", "source", "clock", "database_url", "redis_url", "data_dir")
    assistant.set_defaults(command=_mcp)
    keys = commands.add_parser("keys", help="make, list, revoke and rotate keys")
    key_commands.add_key_commands(keys, _keys)
    return parser


def _dataset(settings: Settings) -> str:
    by_source = SYNTHETIC if is_simulated(settings.source) else REAL
    return settings.dataset or by_source


async def _keys(settings: Settings, parsed: argparse.Namespace) -> int:
    async with connect(settings, product_dataset(settings), live=False) as connections:
        return await key_commands.run_key_command(connections.store.keys, parsed, Clock().now())


async def _mcp(settings: Settings, parsed: argparse.Namespace) -> int:
    if parsed.url is not None:
        key = None
        if parsed.key_file is not None:
            try:
                key = parsed.key_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"--key-file: {error}") from error
        async with remote_api(parsed.url, key) as caller:
            await serve_stdio(caller)
        return 0
    if parsed.key_file is not None:
        raise UsageError("--key-file is the key for --url, which is not given")
    # Whoever may read the database needs no key: the answers are those of an open server.
    async with connect(settings, product_dataset(settings), live=False) as connections:
        clock = product_clock(settings)
        app = create_app(
            connections.store,
            connections.live,
            clock,
            dataset=product_dataset(settings),
            symbols=settings.symbols,
        )
        await serve_stdio(own_api(app))
    return 0


@asynccontextmanager
async def _access(
    settings: Settings, connections: Connections, dataset: str
) -> AsyncIterator[Access]:
    """The access that the address and ``FLOW_ACCESS`` require.

    Parameters
    ----------
    settings
        The address, the access and the quotas.
    connections
        The store with the keys, and the URL of Redis for the counters.
    dataset
        ``live`` or ``synthetic``: each has its own keys.

    Raises
    ------
    FlowError
        If keys are required and none is in force: nobody could call the API.
    """
    if not keys_required(settings.host, settings.access):
        yield OpenAccess()
        return
    # Quotas and expiry go by the machine's clock, even where the market's clock is simulated.
    now = Clock().now
    ring = KeyRing(connections.store.keys, now)
    async with ring.current(), Counters.open(connections.redis_url, f"flow:{dataset}") as counters:
        if not len(ring):
            option = "" if dataset == REAL else f" --dataset {dataset}"
            raise FlowError(
                f"no key is in force for the {dataset} data, so nobody could call the API: make one"
                f" with flow-api keys create --name NAME --plan PLAN{option},"
                " or run an open server on loopback with FLOW_HOST=127.0.0.1 and FLOW_ACCESS=open"
            )
        yield KeyedAccess(ring, counters, settings.quotas, now)


async def _serve(settings: Settings, parsed: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    dataset = _dataset(settings)
    files = raise_file_limit()
    keys_required(
        settings.host, settings.access
    )  # Refuse wrong settings before anything is opened.
    with (
        bound_socket(settings.host, settings.port) as listener,
        _metrics_socket(settings) as metrics_listener,
    ):
        # Load the calendar, which takes a second, before the first request.
        await asyncio.to_thread(session_on, market_day(settings.clock.now()))
        targets = configured_targets(settings)
        rules = RulesFile(settings.alert_rules)
        async with (
            connect(settings, dataset) as connections,
            _access(settings, connections, dataset) as access,
            Messenger(connections.store.alerts, targets, dataset=dataset).running() as messenger,
        ):
            app = create_app(
                connections.store,
                connections.live,
                settings.clock,
                dataset=dataset,
                access=access,
                origins=_origins(settings),
                hosts=_hosts(settings),
                rules=rules,
                symbols=settings.symbols,
                formulas=partial(read_formulas, settings.data_dir),
                root_path=settings.root_path,
                metrics_apart=metrics_listener is not None,
            )
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{settings.port}"
            # Exclude what is loaded from garbage collection, which would interrupt requests.
            gc.collect()
            gc.freeze()
            announcement = f"flow-api: listening on {url} ({dataset} data; {url}/docs)"
            systemd = Systemd(settings.notify_socket)

            def started() -> None:
                with suppress(OSError):
                    print(announcement, flush=True)
                _warn_of_other_users(settings)
                systemd.ready()
                systemd.status(f"listening on {url}")

            server = Server(
                app,
                started,
                files=files,
                trusted_proxies=settings.trusted_proxies,
                refused=app.context.metrics.refused.inc,
            )
            updating = asyncio.create_task(keep_current(app))
            background = [updating, asyncio.create_task(_report_alive(systemd))]
            node = socket.gethostname()
            market = MarketWatch(
                connections.store, settings.clock, messenger, rules, dataset=dataset, node=node
            )
            watch = Watch(
                connections.store,
                settings.clock,
                messenger,
                dataset=dataset,
                node=node,
                market=market,
                upkeep=_upkeep(settings, connections),
                lease=Lease(connections.database_url, dataset, [WATCH]),
                waiting=app.context.sessions.waiting,
            )
            background.append(asyncio.create_task(watch.run()))
            if settings.heartbeat_url:
                background.append(asyncio.create_task(send_heartbeats(settings.heartbeat_url)))
            if metrics_listener is not None:
                background.append(asyncio.create_task(_serve_metrics(app, metrics_listener)))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            app.context.hub.close()
            server.should_exit = True
            systemd.stopping()
            await serving
            for task in background:
                task.cancel()
            await asyncio.wait(background)
    return 0


@contextmanager
def _metrics_socket(settings: Settings) -> Iterator[socket.socket | None]:
    """The socket of the metrics on loopback; None where the API's own port has them."""
    if not settings.api_metrics_port:
        yield None
        return
    with bound_socket(
        "127.0.0.1", settings.api_metrics_port, setting="FLOW_API_METRICS_PORT"
    ) as listener:
        yield listener


async def _serve_metrics(app: Application, listener: socket.socket) -> None:
    server = Server(OperationsOnly(app), lambda: None)
    try:
        await server.serve(sockets=[listener])
    finally:
        server.should_exit = True


def _warn_of_other_users(settings: Settings) -> None:
    """Say once that an open server's answers can be read by everybody on this machine."""
    if keys_required(settings.host, settings.access):
        return
    if users := other_users():
        structlog.get_logger().warning(
            "open to every user of this machine",
            others=len(users),
            first=users[:3],
            advice="set FLOW_ACCESS=keys if they must not read the answers",
        )


def _upkeep(settings: Settings, connections: Connections) -> Upkeep:
    folders = [settings.data_dir, settings.spool_dir or settings.data_dir / "spool"]
    login = None
    # It is the sampler's file: the API goes without where it may not read it.
    with suppress(FlowError):
        login = settings.keys.get("FLOW_SCHWAB_TOKEN_FILE")
    return Upkeep(
        connections.store,
        folders=_one_a_disk(folders),
        least_coverage=settings.min_coverage,
        keys=keys_required(settings.host, settings.access),
        login=Path(login) if login else None,
    )


def _one_a_disk(folders: Sequence[Path]) -> list[Path]:
    """The first folder of each disk; those that do not exist are left out."""
    disks: dict[int, Path] = {}
    for folder in folders:
        with suppress(OSError):
            disks.setdefault(folder.stat().st_dev, folder)
    return list(disks.values())


def _origins(settings: Settings) -> tuple[str, ...]:
    """Origins whose pages may read the answers; on an open server none by default."""
    if "auto" not in settings.cors_origins:
        return settings.cors_origins
    named = tuple(origin for origin in settings.cors_origins if origin != "auto")
    return ("*",) if keys_required(settings.host, settings.access) else named


def _hosts(settings: Settings) -> frozenset[str]:
    """Names that a request may have in ``Host``: with keys any, else this machine's."""
    if keys_required(settings.host, settings.access):
        return frozenset({"*"})
    return allowed_hosts(settings.allowed_hosts)


async def _report_alive(systemd: Systemd) -> None:
    """Tell systemd every second that the event loop runs."""
    while True:
        systemd.alive()
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
