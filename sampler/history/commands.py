"""Commands about past sessions: ``backfill``, ``explain``, ``compare``, ``calibrate`` and so on."""

from __future__ import annotations

import argparse
from contextlib import aclosing
from datetime import date, timedelta
from typing import Any

import orjson

from sampler import metrics
from sampler.errors import NoHistory
from sampler.history import calibrate, conventions, explain, jobs, report
from sampler.history.backfill import BackfillOptions
from sampler.opening import (
    DATABASE_SETTINGS,
    SOURCE_SETTINGS,
    dataset_of,
    open_configured_source,
    parse_moment,
)
from sampler.scoring import score_session, settle_session
from sampler.sources import open_source
from storage.config.settings import Settings, add_options
from storage.errors import FlowError, UsageError
from storage.market.calendar import Session, market_day, session_on, to_new_york
from storage.market.constants import SLOT_WIDTH
from storage.market.instruments import parse_symbol
from storage.opening import SYNTHETIC, connect, product_clock, product_dataset, server_urls
from storage.postgres.store import Store
from storage.record.row import SlotRecord
from storage.scorecard.summary import scorecard
from storage.scorecard.text import format_scorecard


async def _backfill(settings: Settings, parsed: argparse.Namespace) -> int:
    _refuse_contradictions(settings, parsed)
    first, last = _parse_period(parsed.first, parsed.last)
    dataset = product_dataset(settings)
    if not parsed.recompute:
        source = open_configured_source(settings)
        dataset = dataset_of(settings, source)
        await source.close()
    publish = not parsed.dry_run
    async with server_urls(settings, live=publish) as (database_url, redis_url):
        options = jobs.JobOptions(
            database_url=database_url,
            # Workers on other machines cannot reach the embedded channel.
            redis_url=redis_url if publish and (settings.redis_url or not parsed.dask) else "",
            dataset=dataset,
            source="" if parsed.recompute else settings.source,
            keys=settings.keys,
            backfill=BackfillOptions(
                oi_confidence=settings.oi_confidence,
                missing=parsed.missing,
                rewrite=parsed.rewrite,
            ),
            # A recomputation keeps each row's own κ, unless the command line gives another.
            oi_confidence=None if parsed.oi_confidence is None else settings.oi_confidence,
            dry_run=parsed.dry_run,
            calendar=settings.calendar_overrides,
            log=(settings.log, settings.log_level),
        )
        async with connect(settings, dataset, live=publish, write=publish) as connections:
            try:
                planned = await jobs.plan_jobs(
                    connections.store, options, symbols=settings.symbols, first=first, last=last
                )
            except NoHistory as error:
                # A nightly job over a feed without history has nothing to do. That is no failure.
                print(error)
                return 0 if parsed.missing else 2
            async with aclosing(jobs.announce_jobs(planned, buy=parsed.yes)) as lines:
                async for line in lines:
                    print(line, flush=True)
            done = jobs.run_jobs(
                planned, connections.store, connections.live, jobs=parsed.jobs, dask=parsed.dask
            )
            return await report.report_results(
                done, planned, period=f"{first} to {last}", dry_run=parsed.dry_run
            )


def _refuse_contradictions(settings: Settings, parsed: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if parsed.recompute and parsed.rewrite:
        raise UsageError("--rewrite: --recompute reads no source, so it does not go with it")
    if parsed.dry_run and not parsed.recompute:
        raise UsageError("--dry-run: shows what --recompute would change, and only goes with it")
    if not 1 <= parsed.jobs <= 256:
        raise UsageError(f"--jobs: {parsed.jobs} is not between 1 and 256")
    if parsed.dask and parsed.jobs > 1:
        raise UsageError(
            "--jobs: the Dask cluster decides how many workers run; leave it out with --dask"
        )
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


async def _stored_record(
    settings: Settings, parsed: argparse.Namespace
) -> tuple[SlotRecord, SlotRecord | None, Session]:
    """The row that a command names, the one that it was differenced against, and their session."""
    symbol = parse_symbol(parsed.symbol)
    moment = parse_moment(parsed.at, product_clock(settings).now())
    session = session_on(market_day(moment))
    slot = session.slot_of(moment) if session else None
    if session is None or slot is None:
        raise UsageError(f"--at: {parsed.at} lies outside the session")
    async with connect(settings, product_dataset(settings), live=False) as connections:
        store = connections.store.of_feed(parsed.feed)
        record = await store.before(symbol, session.day, slot + timedelta(seconds=1))
        if record is None or record.row.slot != slot:
            last = record and to_new_york(record.row.slot).strftime("%H:%M:%S")
            earlier = f"the last row before it is of {last}" if last else "none before it either"
            raise FlowError(
                f"{symbol} has no row at {to_new_york(slot):%Y-%m-%d %H:%M:%S} New York; {earlier}"
            )
        previous = None
        if record.row.differenced_from is not None:
            after = record.row.differenced_from + timedelta(seconds=1)
            previous = await store.before(symbol, session.day, after, record.row.source)
    # Once it is known that there is a row: it may take minutes.
    metrics.load_compiled()
    return record, previous, session


async def _compare(settings: Settings, parsed: argparse.Namespace) -> int:
    record, _, session = await _stored_record(settings, parsed)
    if not len(record.profile["strike"]):
        raise FlowError("the row was stored without figures by strike: nothing to compare")
    if parsed.json:
        document = conventions.conventions_document(record, session)
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        print(conventions.format_conventions(record, session))
    return 0


async def _explain(settings: Settings, parsed: argparse.Namespace) -> int:
    record, previous, session = await _stored_record(settings, parsed)
    explanation = explain.explain_record(record, previous, session)
    if parsed.json:
        print(orjson.dumps(explanation, option=orjson.OPT_INDENT_2).decode())
    else:
        print(explain.format_explanation(explanation, record))
    return 0


async def _rows(store: Store, symbol: str, session: Session, columns: tuple[str, ...]) -> list[Any]:
    """A session's rows, oldest first."""
    return await store.window(
        symbol,
        session.day,
        start=session.open,
        until=session.close,
        width=SLOT_WIDTH,
        columns=columns,
    )


async def _calibrate(settings: Settings, parsed: argparse.Namespace) -> int:
    today = market_day(product_clock(settings).now())
    first, last = _parse_period(parsed.first or "2000-01-01", parsed.last or today.isoformat())
    forecast = ("pin_probability_pct", "pin_score", "remaining_1sd", "detail")
    columns = ("slot", "spot", "quote_age_seconds", *forecast)
    scores = {symbol: calibrate.CalibrationScore() for symbol in settings.symbols}
    cadences: dict[str, list[tuple[Session, float | None]]] = {name: [] for name in scores}
    closes = open_source(parsed.closes, settings.keys) if parsed.closes else None
    async with connect(settings, product_dataset(settings), live=False) as connections:
        for line in await connections.store.coverage(first, last, settings.symbols):
            session = session_on(line["expiration"])
            if session is None or not line["shown"]:
                continue
            rows = await _rows(connections.store, line["symbol"], session, ("slot",))
            cadence = calibrate.cadence_of([row["slot"] for row in rows])
            cadences[line["symbol"]].append((session, cadence))
        for symbol, score in scores.items():
            alike = calibrate.of_one_cadence([cadence for _, cadence in cadences[symbol]])
            for (session, _), counts in zip(cadences[symbol], alike, strict=True):
                if not counts:
                    score.other_cadence += 1
                    continue
                close = None
                if closes is not None:
                    close = await calibrate.index_close(closes, symbol, session)
                rows = await _rows(connections.store, symbol, session, columns)
                score.add(session, rows, close=close)
    if closes is not None:
        await closes.close()
    if len(scores) > 1:
        together = calibrate.CalibrationScore()
        for score in scores.values():
            together.merge(score)
        # No symbol is written in lower case.
        scores["together"] = together
    results = {symbol: score.as_json() for symbol, score in scores.items()}
    if parsed.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n\n".join(calibrate.format_calibration(*result) for result in results.items()))
    return 0


async def _score(settings: Settings, parsed: argparse.Namespace) -> int:
    now = product_clock(settings).now()
    first, last = _parse_period(parsed.first or "2000-01-01", parsed.last or str(market_day(now)))
    closes = open_source(parsed.closes, settings.keys) if parsed.closes else None
    dataset = product_dataset(settings)
    results: dict[str, Any] = {}
    unsettled: list[str] = []
    async with connect(settings, dataset, live=False, write=True) as connections:
        store = connections.store
        for symbol in settings.symbols:
            days = {line["expiration"] for line in await store.coverage(first, last, [symbol])}
            days |= {
                line["expiration"] for line in await store.forecasts.frozen(symbol, first, last)
            }
            for day in sorted(days):
                session = session_on(day)
                if session is None or now < session.close:
                    continue
                await settle_session(store, symbol, session, closes)
                simulated = dataset == SYNTHETIC
                counts = await score_session(store, symbol, session, now=now, simulated=simulated)
                if counts is None:
                    unsettled.append(f"{symbol} {day}")
            results[symbol] = scorecard(
                await store.forecasts.scores(symbol, first, last),
                await store.forecasts.frozen(symbol, first, last),
                now=now,
            )
    if closes is not None:
        await closes.close()
    if parsed.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
    else:
        print("\n\n".join(format_scorecard(*result) for result in results.items()))
        if unsettled:
            print(
                f"{len(unsettled)} sessions have no close, and are not scored: {unsettled[0]} ..."
            )
            print("flow-store settle notes a close; --closes names a source that has some.")
    return 0


def add_history_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``backfill``, ``explain``, ``compare``, ``calibrate`` and ``score`` to the parser.

    Parameters
    ----------
    commands : the subcommands of ``flow-sampler``.
    """
    _add_backfill(commands)
    _add_explain(commands)
    _add_compare(commands)
    _add_calibrate(commands)
    _add_score(commands)


def _add_backfill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fill = commands.add_parser(
        "backfill", help="fill past sessions from a source, or measure stored chains again"
    )
    fill.add_argument(
        "--from", dest="first", metavar="D", required=True, help="first day, e.g. 2026-08-17"
    )
    fill.add_argument(
        "--to", dest="last", metavar="D", required=True, help="last day, e.g. 2026-08-19"
    )
    either = fill.add_mutually_exclusive_group()
    either.add_argument(
        "--missing",
        action="store_true",
        help="fill only slots without a row; exits 0 for a source without history",
    )
    either.add_argument(
        "--recompute",
        action="store_true",
        help="measure stored chains again, after a definition has changed; needs no source",
    )
    fill.add_argument(
        "--rewrite",
        action="store_true",
        help="replace stored rows by the source's, and measure the rows after a filled slot again",
    )
    fill.add_argument(
        "--dry-run",
        action="store_true",
        help="with --recompute: show what would change, store nothing",
    )
    fill.add_argument(
        "--yes",
        action="store_true",
        help="buy what the source sells, at the price that is shown and within the cap",
    )
    fill.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)"
    )
    fill.add_argument(
        "--dask",
        default="",
        metavar="URL",
        help="work on the cluster of this Dask scheduler, e.g. tcp://scheduler:8786",
    )
    add_options(fill, *SOURCE_SETTINGS, *DATABASE_SETTINGS)
    fill.set_defaults(command=_backfill)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    why = commands.add_parser("explain", help="show how a stored row comes out of its stored chain")
    _add_row(why)
    why.set_defaults(command=_explain)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    other = commands.add_parser(
        "compare", help="show a stored row's figures by the conventions of other programs"
    )
    other.add_argument(
        "--conventions",
        action="store_true",
        required=True,
        help="compare with other conventions: each number, its formula, its distance",
    )
    _add_row(other)
    other.set_defaults(command=_compare)


def _add_row(why: argparse.ArgumentParser) -> None:
    """Add the options that name one stored row."""
    why.add_argument("--symbol", required=True, metavar="SYMBOL", help="the row's symbol")
    why.add_argument(
        "--at",
        required=True,
        metavar="T",
        help="the row's time: 10:30 of today's session, or ISO; New York unless an offset is given",
    )
    why.add_argument(
        "--feed", metavar="NAME", help="the row's feed (default: the one that answers show)"
    )
    why.add_argument("--json", action="store_true", help="print the result as JSON")
    add_options(why, *DATABASE_SETTINGS)


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    score = commands.add_parser(
        "calibrate", help="score pin probability and 1σ range against the closes of stored sessions"
    )
    score.add_argument(
        "--from", dest="first", metavar="D", help="first day (default: the first stored)"
    )
    score.add_argument("--to", dest="last", metavar="D", help="last day (default: today)")
    score.add_argument(
        "--closes",
        default="",
        metavar="URL",
        help="a source whose frames after the close tell what an index settled at, e.g."
        " recorded:chains",
    )
    score.add_argument("--json", action="store_true", help="print the result as JSON")
    add_options(score, "symbols", "clock", *DATABASE_SETTINGS)
    score.set_defaults(command=_calibrate)


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    score = commands.add_parser(
        "score", help="settle past sessions, score their forecasts, and print the scorecard"
    )
    score.add_argument(
        "--from", dest="first", metavar="D", help="first day (default: the first stored)"
    )
    score.add_argument("--to", dest="last", metavar="D", help="last day (default: today)")
    score.add_argument(
        "--closes",
        default="",
        metavar="URL",
        help="a source that has closes of past sessions, e.g. recorded:chains",
    )
    score.add_argument("--json", action="store_true", help="print the result as JSON")
    add_options(score, "symbols", "clock", *DATABASE_SETTINGS)
    score.set_defaults(command=_score)
