"""The sampler's door: run, once, backfill, sources. Reads the environment and wires the parts."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date, datetime, timedelta

import orjson
import structlog

from sampler import metrics
from sampler.errors import NoHistory
from sampler.history import calibrate, explain, report
from sampler.history import jobs as past
from sampler.history.backfill import Wishes
from sampler.live.backlog import Backlog
from sampler.live.commit import Keeper
from sampler.live.daemon import Daemon
from sampler.live.outcome import Outcome
from sampler.live.prometheus import Telemetry
from sampler.live.slots import Watch
from sampler.live.tick import Nowhere, Tick
from sampler.live.writer import Writer
from sampler.sources import SOURCES, Source, open_source
from storage.config import log
from storage.config.run import run_command
from storage.config.settings import REGISTRY, Settings, add_options, parse_symbol
from storage.errors import FlowError, StoreUnavailable, UsageError
from storage.market.calendar import GRID, from_new_york, market_day, session_on, to_new_york
from storage.opening import REAL, SYNTHETIC, Connections, connect, server_urls
from storage.postgres.database import name_of
from storage.postgres.lease import Lease
from storage.record.row import SlotRecord
from storage.redis.channel import Live, Nobody
from storage.spool.spool import Spool

_PARTS = ("database_url", "redis_url", "data_dir", "dataset", "log", "log_level")
_DURABLE = ("batch_seconds", "lease_max", "spool_dir", "spool_mb")
_FED = ("symbols", "source", "oi_confidence")


#: A database that takes longer for an answer is away: a slot must not end meanwhile. [s]
_PATIENCE = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage."""
    return run_command(_parser(), arguments, os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-sampler", description="Sample 0DTE option chains into the flow series."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="sample on the session's grid until SIGTERM")
    add_options(run, *_FED, "clock", "tick_budget", "metrics_port", *_DURABLE, *_PARTS)
    run.set_defaults(command=_run)

    once = commands.add_parser("once", help="take one sample of each symbol now, or at a time")
    once.add_argument("--at", metavar="T", help="ISO time, New York unless it has an offset")
    once.add_argument("--dry-run", action="store_true", help="store nothing, need no database")
    once.add_argument("--json", action="store_true", help="print the whole row, a line a symbol")
    add_options(once, *_FED, "clock", "tick_budget", *_PARTS)
    once.set_defaults(command=_once)

    fill = commands.add_parser("backfill", help="fill past sessions, or measure them again")
    fill.add_argument("--from", dest="first", metavar="D", required=True, help="first day, ISO")
    fill.add_argument("--to", dest="last", metavar="D", required=True, help="last day, ISO")
    what = fill.add_mutually_exclusive_group()
    what.add_argument(
        "--missing",
        action="store_true",
        help="only slots without a row (a feed without history has none: exit 0)",
    )
    what.add_argument(
        "--recompute",
        action="store_true",
        help="measure stored chains again, after a definition has changed; needs no source",
    )
    fill.add_argument(
        "--rewrite",
        action="store_true",
        help="the source's rows win; rows after a filled slot are differenced anew against it",
    )
    fill.add_argument("--mix-feeds", action="store_true", help="also into sessions of another feed")
    fill.add_argument(
        "--dry-run", action="store_true", help="with --recompute: tell what changes, store nothing"
    )
    fill.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes to work in (default: 1)"
    )
    fill.add_argument(
        "--dask", default="", metavar="URL", help="a Dask scheduler, e.g. tcp://scheduler:8786"
    )
    add_options(fill, *_FED, *_PARTS)
    fill.set_defaults(command=_backfill)

    why = commands.add_parser("explain", help="derive one stored row from its stored chain")
    why.add_argument("--symbol", required=True, metavar="SYMBOL", help="whose row")
    why.add_argument(
        "--at", required=True, metavar="T", help="ISO time, New York unless it has an offset"
    )
    why.add_argument("--json", action="store_true", help="print plain data")
    add_options(why, *_PARTS)
    why.set_defaults(command=_explain)

    score = commands.add_parser(
        "calibrate", help="score pin probability and the 1σ range over stored sessions"
    )
    score.add_argument("--from", dest="first", metavar="D", help="first day, ISO (default: all)")
    score.add_argument("--to", dest="last", metavar="D", help="last day, ISO (default: today)")
    score.add_argument("--json", action="store_true", help="print plain data")
    add_options(score, "symbols", "clock", *_PARTS)
    score.set_defaults(command=_calibrate)

    sources = commands.add_parser("sources", help="list the sources there are")
    add_options(sources, "symbols", "source", "log", "log_level")
    sources.set_defaults(command=_sources)
    return parser


def _open(settings: Settings) -> Source:
    """The source that the settings name; the formulas are loaded before its first slot."""
    if settings.source in ("", "auto"):
        known = ", ".join(f"{name}:" for name in SOURCES)
        why = "auto is for make run only" if settings.source else "no source is named"
        raise UsageError(f"FLOW_SOURCE: {why}; name one of {known}")
    source = open_source(settings.source)
    if settings.clock.simulated and source.remote:
        raise UsageError("FLOW_CLOCK: a simulated clock would ask a live vendor out of time")
    metrics.warm()
    return source


def _tick(
    settings: Settings, source: Source, store: Keeper, live: Live, *, blind: bool = False
) -> Tick:
    return Tick(
        source,
        store,
        live,
        oi_confidence=settings.oi_confidence,
        budget=settings.tick_budget,
        quiet=settings.clock.simulated,
        blind=blind,
    )


def _dataset(settings: Settings, source: Source) -> str:
    own = SYNTHETIC if source.synthetic else REAL
    if settings.dataset not in ("", own):
        raise UsageError(f"FLOW_DATASET: {source.name} rows belong to {own} alone")
    return own


async def _run(settings: Settings, parsed: argparse.Namespace) -> int:
    source = _open(settings)
    dataset = _dataset(settings, source)
    structlog.get_logger().info(
        "sampler starts",
        source=settings.source,
        dataset=dataset,
        simulated_market=source.synthetic,
        delay_seconds=source.delay_seconds,
    )
    telemetry = Telemetry()
    try:
        async with (
            telemetry.served(settings.metrics_port),
            connect(settings, dataset, later=True, patience=_PATIENCE, write=True) as connections,
        ):
            await _sample_for_ever(settings, source, dataset, connections, telemetry)
    finally:
        await source.close()
    return 0


async def _sample_for_ever(
    settings: Settings, source: Source, dataset: str, connections: Connections, telemetry: Telemetry
) -> None:
    folder = settings.spool_dir or settings.data_dir / "spool"
    spool = Spool.open(folder / dataset, int(settings.spool_mb * 1e6))
    try:
        try:
            await connections.store.ready()
            spool.know(name_of(connections.database_url))
        except StoreUnavailable:
            # One that was there before is away; one that never was may be a mistake.
            if not spool.accounted and not spool.knows(name_of(connections.database_url)):
                raise
        lease = Lease(connections.database_url, dataset, settings.symbols, settings.lease_max)
        # A simulated slot is short.
        patience = min(settings.batch_seconds, GRID / 3 / settings.clock.speed)
        writer = Writer(
            connections.store,
            connections.live,
            Backlog(spool),
            patience=patience,
            may_write=lambda: lease.connected,
        )
        tick = _tick(settings, source, writer, Nobody(), blind=True)
        delay = timedelta(seconds=source.delay_seconds)
        daemon = Daemon(
            Watch(tick, connections.store, writer, delay=delay),
            tick,
            writer,
            lease,
            symbols=settings.symbols,
            clock=settings.clock,
            delay=delay,
            heard=telemetry.heard,
        )
        await daemon.run()
    finally:
        spool.close()


async def _once(settings: Settings, parsed: argparse.Namespace) -> int:
    if settings.log_level == REGISTRY["log_level"].default:
        # The answer is printed; the log's line would say it twice.
        log.configure(settings.log, "critical")
    source = _open(settings)
    dataset = _dataset(settings, source)
    at = None if parsed.at is None else _moment(parsed.at)
    try:
        if parsed.dry_run:
            dry = _tick(settings, source, Nowhere(), Nobody())
            return await _sample(settings, source, dry, at, parsed)
        async with connect(settings, dataset, write=True) as connections:
            tick = _tick(settings, source, connections.store, connections.live)
            return await _sample(settings, source, tick, at, parsed)
    finally:
        await source.close()


async def _sample(
    settings: Settings, source: Source, tick: Tick, at: datetime | None, parsed: argparse.Namespace
) -> int:
    """One sample a symbol, printed; 1 if any made no row."""
    refused = False
    for symbol in settings.symbols:
        # A recording is read at the time of its own quotes.
        now = at or source.newest(symbol) or settings.clock.now()
        outcome = await tick.sample(symbol, now=now, target=None)
        _show(outcome, as_json=parsed.json)
        refused |= outcome.record is None or bool(outcome.detail)
    return int(refused)


def _show(outcome: Outcome, *, as_json: bool) -> None:
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
    at = to_new_york(row.slot).strftime("%Y-%m-%d %H:%M:%S")
    flip = row.gamma_flip_status if row.gamma_flip is None else f"{row.gamma_flip:.2f}"
    put, call, magnet = (
        "none" if strike is None else f"{strike:g}"
        for strike in (row.put_wall, row.call_wall, row.magnet)
    )
    return (
        f"{row.symbol} {at} New York  spot {row.spot:.2f}  net GEX {row.net_gex / 1e9:+.3f} bn"
        f" ({row.regime})  flip {flip}  walls {put}/{call}  magnet {magnet}  pin {row.pin_score}"
        f"  hedge flow {row.hedge_flow_cumulative_all / 1e6:+.1f} mm  {' '.join(row.flags)}"
    )


async def _backfill(settings: Settings, parsed: argparse.Namespace) -> int:
    _require_sense(settings, parsed)
    first, last = _span(parsed.first, parsed.last)
    dataset = settings.dataset or REAL
    if not parsed.recompute:
        source = _open(settings)
        dataset = _dataset(settings, source)
        await source.close()
    tell = not parsed.dry_run
    async with server_urls(settings, live=tell) as (database_url, redis_url):
        order = past.Order(
            database_url=database_url,
            # Workers elsewhere do not reach the embedded channel.
            redis_url=redis_url if tell and not (parsed.dask and not settings.redis_url) else "",
            dataset=dataset,
            source="" if parsed.recompute else settings.source,
            wishes=Wishes(
                oi_confidence=settings.oi_confidence,
                missing=parsed.missing,
                rewrite=parsed.rewrite,
                mix_feeds=parsed.mix_feeds,
            ),
            # Each row's own, unless another was asked for on the command line.
            oi_confidence=None if parsed.oi_confidence is None else settings.oi_confidence,
            dry_run=parsed.dry_run,
            log=(settings.log, settings.log_level),
        )
        async with connect(settings, dataset, live=tell, write=tell) as connections:
            try:
                todo = await past.tasks(
                    connections.store, order, symbols=settings.symbols, first=first, last=last
                )
            except NoHistory as error:
                # A nightly job over such a feed has nothing to do, and nothing has failed.
                print(error)
                return 0 if parsed.missing else 2
            done = past.results(
                todo, connections.store, connections.live, jobs=parsed.jobs, dask=parsed.dask
            )
            return await report.follow(
                done, todo, period=f"{first} to {last}", dry_run=parsed.dry_run
            )


def _require_sense(settings: Settings, parsed: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if parsed.recompute and (parsed.rewrite or parsed.mix_feeds):
        raise UsageError("--rewrite, --mix-feeds: a recomputation has no other source")
    if parsed.dry_run and not parsed.recompute:
        raise UsageError("--dry-run: tells what --recompute would change, and goes with it only")
    if not 1 <= parsed.jobs <= 256:
        raise UsageError(f"--jobs: {parsed.jobs} is not between 1 and 256")
    if parsed.dask and parsed.jobs > 1:
        raise UsageError("--jobs: the Dask cluster has as many workers as it has")
    if parsed.dask and not settings.database_url:
        raise UsageError(
            "--dask: FLOW_DATABASE_URL is not set; workers on other machines cannot reach the"
            " embedded database of this one"
        )


def _span(first: str, last: str) -> tuple[date, date]:
    try:
        return past.span(first, last)
    except ValueError as error:
        raise UsageError(f"--from, --to: {error}") from error


async def _explain(settings: Settings, parsed: argparse.Namespace) -> int:
    symbol, moment = parse_symbol(parsed.symbol), _moment(parsed.at)
    session = session_on(market_day(moment))
    slot = session.slot_of(moment) if session else None
    if session is None or slot is None:
        raise UsageError(f"--at: {parsed.at} lies outside the session")
    metrics.warm()
    async with connect(settings, settings.dataset or REAL, live=False) as connections:
        found = await connections.store.before(symbol, session.day, slot + timedelta(seconds=1))
        if found is None or found.row.slot != slot:
            last = found and to_new_york(found.row.slot).strftime("%H:%M:%S")
            raise FlowError(
                f"{symbol} has no row at {to_new_york(slot):%Y-%m-%d %H:%M:%S} New York;"
                f" {f'the last one before it is of {last}' if last else 'none before it either'}"
            )
        previous = None
        if found.row.differenced_from is not None:
            after = found.row.differenced_from + timedelta(seconds=1)
            previous = await connections.store.before(symbol, session.day, after)
    told = explain.derive(found, previous, session)
    if parsed.json:
        print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        print(explain.tell(told, found))
    return 0


async def _calibrate(settings: Settings, parsed: argparse.Namespace) -> int:
    today = market_day(settings.clock.now())
    first, last = _span(parsed.first or "2000-01-01", parsed.last or today.isoformat())
    columns = ("slot", "spot", "pin_probability_pct", "remaining_1sd", "detail")
    scores = {symbol: calibrate.Score() for symbol in settings.symbols}
    async with connect(settings, settings.dataset or REAL, live=False) as connections:
        for line in await connections.store.coverage(first, last, settings.symbols):
            session = session_on(line["expiration"])
            if session is None:
                continue
            rows = await connections.store.window(
                line["symbol"],
                session.day,
                start=session.open,
                until=session.close,
                width=timedelta(seconds=30),
                columns=columns,
            )
            scores[line["symbol"]].add(session, rows)
    results = {symbol: score.as_json() for symbol, score in scores.items()}
    if parsed.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n\n".join(calibrate.tell(*result) for result in results.items()))
    return 0


async def _sources(settings: Settings, parsed: argparse.Namespace) -> int:
    for name, opened in SOURCES.items():
        said = (sys.modules[opened.__self__.__module__].__doc__ or "").strip()  # type: ignore[attr-defined]
        print(f"{name}:\n  " + said.replace("\n", "\n  ") + "\n")
    if settings.source:
        source = _open(settings)
        print(f"FLOW_SOURCE={settings.source}: {source.name}, delay {source.delay_seconds} s")
        await source.close()
    return 0


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at: {error}") from error
    if moment.tzinfo is None:
        moment = from_new_york(moment)
    if session_on(to_new_york(moment).date()) is None:
        raise UsageError(f"--at: {to_new_york(moment).date()} has no session")
    return moment


if __name__ == "__main__":
    sys.exit(main())
