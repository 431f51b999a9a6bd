"""The commands that sample a market as it trades: ``run`` and ``once``."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
import structlog

from sampler.compiling import load_beside, load_formulas, print_compilation
from sampler.live.backlog import Backlog
from sampler.live.commit import RecordStore
from sampler.live.daemon import Daemon
from sampler.live.fallback import Fallback
from sampler.live.freezer import Freezer
from sampler.live.outcome import Outcome
from sampler.live.prometheus import SamplerMetrics
from sampler.live.settler import Settler
from sampler.live.slots import SlotTracker
from sampler.live.spool_watch import SpoolWatch
from sampler.live.tick import DryRunStore, Tick
from sampler.live.writer import BatchWriter
from sampler.opening import (
    DATABASE_SETTINGS,
    SOURCE_SETTINGS,
    dataset_of,
    describe_polling,
    open_configured_source,
    open_fallback,
    parse_moment,
)
from sampler.sources import Source
from sampler.sources.by_symbol import source_for
from storage import installed_version
from storage.config import log
from storage.config.file_limit import raise_file_limit
from storage.config.running import note_running
from storage.config.settings import REGISTRY, Settings, add_options
from storage.config.systemd import Systemd
from storage.errors import FlowError, StoreUnavailable
from storage.market.calendar import to_new_york
from storage.market.constants import GRID_SECONDS
from storage.notify.messenger import Messenger
from storage.notify.target import configured_targets
from storage.opening import Connections, connect
from storage.postgres.database import describe_database
from storage.postgres.lease import Lease
from storage.record.row import SlotRecord
from storage.redis.channel import LiveChannel, NoChannel
from storage.spool.forecasts import WaitingForecasts
from storage.spool.spool import Spool

_SPOOL_SETTINGS = ("batch_seconds", "lease_max", "spool_dir", "spool_mb")
#: A database that takes longer to answer counts as away, before the slot is over. [s]
_DATABASE_TIMEOUT = 10.0


async def _run(settings: Settings, parsed: argparse.Namespace) -> int:
    raise_file_limit()
    source = open_configured_source(settings, partial(load_beside, settings.data_dir))
    dataset = dataset_of(settings, source)
    second = open_fallback(settings, source)
    structlog.get_logger().info(
        "sampler starts",
        source=settings.source,
        dataset=dataset,
        simulated_market=source.synthetic,
        delay_seconds=source.delay_seconds,
    )
    for sentence, fits in describe_polling(source, settings.symbols):
        report = structlog.get_logger().info if fits else structlog.get_logger().warning
        report("polling" if fits else "too many symbols", requests=sentence)
    if not settings.database_url:
        note_running(
            settings.data_dir,
            dataset=dataset,
            clock=settings.clock,
            port=settings.port,
            metrics_port=settings.metrics_port,
        )
    sampler_metrics = SamplerMetrics(settings.symbols, installed_version())
    try:
        async with (
            sampler_metrics.serving(
                settings.metrics_port,
                required=settings.metrics_port != int(REGISTRY["metrics_port"].default),
            ),
            connect(
                settings, dataset, later=True, patience=_DATABASE_TIMEOUT, write=True
            ) as connections,
        ):
            await _run_daemon(settings, source, second, dataset, connections, sampler_metrics)
    finally:
        await source.close()
        if second is not None:
            await second[0].close()
    return 0


async def _run_daemon(
    settings: Settings,
    source: Source,
    second: tuple[Source, list[str]] | None,
    dataset: str,
    connections: Connections,
    sampler_metrics: SamplerMetrics,
) -> None:
    folder = settings.spool_dir or settings.data_dir / "spool"
    spool = Spool.open(folder / dataset, int(settings.spool_mb * 1e6))
    try:
        try:
            await connections.store.ready()
            spool.remember_database(describe_database(connections.database_url))
        except StoreUnavailable:
            # A database that was reached from here before is away for now. One that never was
            # may be a mistake in the URL, so the command fails.
            if not spool.accounted and not spool.knows_database(
                describe_database(connections.database_url)
            ):
                raise
        lease = Lease(connections.database_url, dataset, settings.symbols, settings.lease_max)
        # A slot of a fast simulated market may be shorter than the setting.
        batch_seconds = min(settings.batch_seconds, GRID_SECONDS / 3 / settings.clock.speed)
        writer = BatchWriter(
            connections.store,
            connections.live,
            Backlog(spool),
            batch_seconds=batch_seconds,
            may_write=lambda: lease.connected,
            counts=sampler_metrics,
            owner=f"{socket.gethostname()}:{(folder / dataset).resolve()}",
        )
        sampler_metrics.watch_writer(writer, folder)
        tick = _make_tick(settings, source, writer, NoChannel(), provisional=True)

        def delay(symbol: str) -> timedelta:
            return timedelta(seconds=source_for(source, symbol).delay_seconds)

        tracker = SlotTracker(tick, connections.store, writer, delay=delay)
        freezing = partial(
            Freezer,
            writer,
            connections.store.of_feed,
            connections.store.forecasts,
            WaitingForecasts(folder / dataset / "forecasts"),
            clock=settings.clock,
            simulated=source.synthetic or settings.clock.simulated,
        )
        freezer = freezing(symbols=lambda: tracker.symbols, feed=tracker.feed, delay=delay)
        fallback = _make_fallback(
            settings, second, connections, writer, lambda outcome: second_freezer.note(outcome)
        )
        # It holds no symbol where there is no fallback.
        second_freezer: Freezer = freezing(
            symbols=lambda: fallback.tracker.symbols if fallback else (),
            feed=lambda symbol: fallback.tracker.feed(symbol) if fallback else "",
            delay=lambda symbol: fallback.delay(symbol) if fallback else timedelta(0),
            first=freezer,
        )

        settler = Settler(
            connections.store,
            source,
            clock=settings.clock,
            symbols=lambda: tracker.symbols,
            delay=delay,
            budget=settings.tick_budget,
            fallback=second[0] if second else None,
            fallback_symbols=second[1] if second else (),
        )

        def note_outcome(outcome: Outcome) -> None:
            sampler_metrics.count_step(outcome)
            freezer.note(outcome)

        daemon = Daemon(
            tracker,
            tick,
            writer,
            lease,
            symbols=settings.symbols,
            clock=settings.clock,
            delay=delay,
            on_outcome=note_outcome,
            on_leases=sampler_metrics.set_leases,
            # A step may take its budget, and then the time that a database may take.
            stuck_after=settings.tick_budget + _DATABASE_TIMEOUT + 5,
            systemd=Systemd(settings.notify_socket),
            fallback=fallback,
        )
        async with (
            _watch_spool(settings, writer, connections, dataset, folder / dataset),
            freezer.running(),
            second_freezer.running(),
            settler.running(),
        ):
            await daemon.run()
    finally:
        spool.close()


@asynccontextmanager
async def _watch_spool(
    settings: Settings, writer: BatchWriter, connections: Connections, dataset: str, folder: Path
) -> AsyncIterator[None]:
    """Tell FLOW_NOTIFY's targets of rows that wait in the spool, while this is open."""
    try:
        targets = configured_targets(settings)
    except FlowError as error:
        # Sampling goes on without messages; the API refuses to start with the same setting.
        structlog.get_logger().warning("no messages from this sampler", why=str(error))
        targets = []
    table = connections.store.alerts
    async with Messenger(table, targets, dataset=dataset, follow=False).running() as messenger:
        watch = SpoolWatch(
            writer,
            messenger,
            settings.clock,
            folder=folder,
            limit=settings.spool_mb * 1e6,
            dataset=dataset,
            node=socket.gethostname(),
        )
        watching = asyncio.create_task(watch.run())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            watch.close()


def _make_fallback(
    settings: Settings,
    second: tuple[Source, list[str]] | None,
    connections: Connections,
    writer: BatchWriter,
    on_outcome: Callable[[Outcome], None],
) -> Fallback | None:
    if second is None:
        return None
    source, symbols = second

    def delay(symbol: str) -> timedelta:
        return timedelta(seconds=source_for(source, symbol).delay_seconds)

    tick = _make_tick(settings, source, writer, NoChannel(), provisional=True)
    tracker = SlotTracker(tick, connections.store, writer, delay=delay, fallback=True)
    return Fallback(
        tracker,
        symbols=symbols,
        delay=delay,
        after=settings.fallback_after,
        on_outcome=on_outcome,
    )


def _make_tick(
    settings: Settings,
    source: Source,
    store: RecordStore,
    live: LiveChannel,
    *,
    provisional: bool = False,
) -> Tick:
    return Tick(
        source,
        store,
        live,
        oi_confidence=settings.oi_confidence,
        budget=settings.tick_budget,
        quiet=settings.clock.simulated,
        provisional=provisional,
    )


async def _once(settings: Settings, parsed: argparse.Namespace) -> int:
    if settings.log_level == REGISTRY["log_level"].default:
        # The outcome is printed; the log line would repeat it.
        log.configure(settings.log, "critical")
    # Before the formulas are compiled, for minutes.
    moment = None if parsed.at is None else parse_moment(parsed.at, settings.clock.now())
    source = open_configured_source(settings, partial(load_formulas, print_compilation))
    dataset = dataset_of(settings, source)
    try:
        if parsed.dry_run:
            dry = _make_tick(settings, source, DryRunStore(), NoChannel())
            return await _sample_once(settings, source, dry, moment, parsed)
        async with connect(settings, dataset, write=True) as connections:
            tick = _make_tick(settings, source, connections.store, connections.live)
            return await _sample_once(settings, source, tick, moment, parsed)
    finally:
        await source.close()


async def _sample_once(
    settings: Settings,
    source: Source,
    tick: Tick,
    moment: datetime | None,
    parsed: argparse.Namespace,
) -> int:
    """Sample each symbol once and print the outcome; return 1 if any symbol has no row."""
    row_missing = False
    for symbol in settings.symbols:
        # A recording is sampled at the time of its own newest quotes.
        now = moment or source.newest(symbol) or settings.clock.now()
        outcome = await tick.sample(symbol, now=now, target=None)
        _print_outcome(outcome, as_json=parsed.json)
        row_missing |= outcome.record is None or bool(outcome.detail)
    return int(row_missing)


def _print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    if outcome.record is None or outcome.detail:
        print(f"flow-sampler: {outcome.detail}", file=sys.stderr)
    if as_json:
        answer = (
            {"symbol": outcome.symbol, "reason": outcome.reason, "message": outcome.detail}
            if outcome.record is None
            else outcome.record.row.as_json()
        )
        print(orjson.dumps(answer).decode())
    elif outcome.record is not None:
        print(_headline(outcome.record))


def _headline(record: SlotRecord) -> str:
    row = record.row
    slot = to_new_york(row.slot).strftime("%Y-%m-%d %H:%M:%S")
    flip = row.gamma_flip_status if row.gamma_flip is None else f"{row.gamma_flip:.2f}"
    put, call, magnet = (
        "none" if strike is None else f"{strike:g}"
        for strike in (row.put_wall, row.call_wall, row.magnet)
    )
    return (
        f"{row.symbol} {slot} New York  spot {row.spot:.2f}  net GEX {row.net_gex / 1e9:+.3f} bn"
        f" ({row.regime})  flip {flip}  walls {put}/{call}  magnet {magnet}  pin {row.pin_score}"
        f"  hedge flow {row.hedge_flow_cumulative_all / 1e6:+.1f} mm  {' '.join(row.flags)}"
    )


def add_live_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run`` and ``once`` to the parser.

    Parameters
    ----------
    commands : the subcommands of ``flow-sampler``.
    """
    run = commands.add_parser("run", help="sample every 30 seconds of the session until SIGTERM")
    add_options(
        run,
        *SOURCE_SETTINGS,
        "fallback",
        "fallback_after",
        "clock",
        "tick_budget",
        "metrics_port",
        *_SPOOL_SETTINGS,
        *DATABASE_SETTINGS,
    )
    run.set_defaults(command=_run)

    once = commands.add_parser(
        "once", help="take one sample of each symbol, now or at a given time"
    )
    once.add_argument(
        "--at",
        metavar="T",
        help="when to sample: 10:30 of today's session, or ISO; New York unless an offset is given",
    )
    once.add_argument("--dry-run", action="store_true", help="store nothing; needs no database")
    once.add_argument("--json", action="store_true", help="print each whole row as a line of JSON")
    add_options(once, *SOURCE_SETTINGS, "clock", "tick_budget", *DATABASE_SETTINGS)
    once.set_defaults(command=_once)
