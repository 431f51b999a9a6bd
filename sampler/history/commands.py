"""The commands on stored sessions: ``backfill``, ``explain`` and ``calibrate``."""

from __future__ import annotations

import argparse
from datetime import date, timedelta

import orjson

from sampler import metrics
from sampler.errors import NoHistory
from sampler.history import calibrate, explain, jobs, report
from sampler.history.backfill import BackfillOptions
from sampler.opening import (
    DATABASE_SETTINGS,
    SOURCE_SETTINGS,
    dataset_of,
    open_configured_source,
    parse_moment,
)
from storage.config.settings import Settings, add_options
from storage.errors import FlowError, UsageError
from storage.market.calendar import market_day, session_on, to_new_york
from storage.market.constants import SLOT_WIDTH
from storage.market.instruments import parse_symbol
from storage.opening import REAL, connect, server_urls


async def _backfill(settings: Settings, parsed: argparse.Namespace) -> int:
    _refuse_contradictions(settings, parsed)
    first, last = _parse_period(parsed.first, parsed.last)
    dataset = settings.dataset or REAL
    if not parsed.recompute:
        source = open_configured_source(settings)
        dataset = dataset_of(settings, source)
        await source.close()
    tell = not parsed.dry_run
    async with server_urls(settings, live=tell) as (database_url, redis_url):
        options = jobs.JobOptions(
            database_url=database_url,
            # Workers elsewhere do not reach the embedded channel.
            redis_url=redis_url if tell and not (parsed.dask and not settings.redis_url) else "",
            dataset=dataset,
            source="" if parsed.recompute else settings.source,
            backfill=BackfillOptions(
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
                todo = await jobs.plan_jobs(
                    connections.store, options, symbols=settings.symbols, first=first, last=last
                )
            except NoHistory as error:
                # A nightly job over such a feed has nothing to do, and nothing has failed.
                print(error)
                return 0 if parsed.missing else 2
            done = jobs.run_jobs(
                todo, connections.store, connections.live, jobs=parsed.jobs, dask=parsed.dask
            )
            return await report.report_results(
                done, todo, period=f"{first} to {last}", dry_run=parsed.dry_run
            )


def _refuse_contradictions(settings: Settings, parsed: argparse.Namespace) -> None:
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


def _parse_period(first: str, last: str) -> tuple[date, date]:
    try:
        return jobs.parse_period(first, last)
    except ValueError as error:
        raise UsageError(f"--from, --to: {error}") from error


async def _explain(settings: Settings, parsed: argparse.Namespace) -> int:
    symbol, moment = parse_symbol(parsed.symbol), parse_moment(parsed.at)
    session = session_on(market_day(moment))
    slot = session.slot_of(moment) if session else None
    if session is None or slot is None:
        raise UsageError(f"--at: {parsed.at} lies outside the session")
    metrics.load_compiled()
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
    told = explain.explain_record(found, previous, session)
    if parsed.json:
        print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        print(explain.format_explanation(told, found))
    return 0


async def _calibrate(settings: Settings, parsed: argparse.Namespace) -> int:
    today = market_day(settings.clock.now())
    first, last = _parse_period(parsed.first or "2000-01-01", parsed.last or today.isoformat())
    columns = ("slot", "spot", "pin_probability_pct", "remaining_1sd", "detail")
    scores = {symbol: calibrate.CalibrationScore() for symbol in settings.symbols}
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
                width=SLOT_WIDTH,
                columns=columns,
            )
            scores[line["symbol"]].add(session, rows)
    results = {symbol: score.as_json() for symbol, score in scores.items()}
    if parsed.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n\n".join(calibrate.format_calibration(*result) for result in results.items()))
    return 0


def add_history_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``backfill``, ``explain`` and ``calibrate`` to the parser."""
    _add_backfill(commands)
    _add_explain(commands)
    _add_calibrate(commands)


def _add_backfill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    add_options(fill, *SOURCE_SETTINGS, *DATABASE_SETTINGS)
    fill.set_defaults(command=_backfill)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    why = commands.add_parser("explain", help="derive one stored row from its stored chain")
    why.add_argument("--symbol", required=True, metavar="SYMBOL", help="whose row")
    why.add_argument(
        "--at", required=True, metavar="T", help="ISO time, New York unless it has an offset"
    )
    why.add_argument("--json", action="store_true", help="print plain data")
    add_options(why, *DATABASE_SETTINGS)
    why.set_defaults(command=_explain)


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    score = commands.add_parser(
        "calibrate", help="score pin probability and the 1σ range over stored sessions"
    )
    score.add_argument("--from", dest="first", metavar="D", help="first day, ISO (default: all)")
    score.add_argument("--to", dest="last", metavar="D", help="last day, ISO (default: today)")
    score.add_argument("--json", action="store_true", help="print plain data")
    add_options(score, "symbols", "clock", *DATABASE_SETTINGS)
    score.set_defaults(command=_calibrate)
