"""Plan the jobs of a backfill or recomputation, and run them here, on processes or on Dask.

A job is one symbol's session. It is plain data and opens what it needs by itself, so it may run in
any process on any machine that reaches the database. A job that runs twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date

import structlog

from sampler import metrics
from sampler.errors import ChainRefused, NoHistory
from sampler.history import executors
from sampler.history.backfill import BackfillOptions, BackfillResult, backfill_session
from sampler.history.recompute import recompute_session
from sampler.sources import AnnouncedHistory, PaidHistory, Source, open_source
from sampler.sources.by_symbol import source_for
from storage.config import log
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import FlowError, UsageError
from storage.market.calendar import (
    CalendarOverrides,
    Session,
    session_on,
    sessions_between,
    use_overrides,
)
from storage.postgres.store import Store
from storage.record.row import DEFINITIONS
from storage.redis.channel import LiveChannel, NoChannel, RedisChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What all jobs of a run have in common."""

    database_url: str
    #: URL of the Redis on which changes are published; empty if they are not published.
    redis_url: str
    dataset: str
    #: Where chains come from; empty to measure the stored chains again.
    source: str
    backfill: BackfillOptions
    #: The keys of vendors, which a worker on another machine does not have.
    keys: VendorKeys = NO_KEYS
    #: κ of a recomputation; None for each row's own. [0-1]
    oi_confidence: float | None = None
    dry_run: bool = False
    #: Days that differ from the market calendar; a worker has no settings of its own.
    calendar: CalendarOverrides = field(default_factory=dict)
    #: Format and level of the workers' logs.
    log: tuple[str, str] = ("auto", "info")
    #: Definitions of the release that planned the run; a worker of another one refuses its jobs.
    definitions: str = DEFINITIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionJob:
    """One symbol's session."""

    options: JobOptions
    symbol: str
    day: date
    #: The feed whose chains are measured again; empty where a source fills the session.
    feed: str = ""
    #: How many slots there are to do, as an estimate for the progress line.
    slots: int


async def plan_jobs(
    store: Store, options: JobOptions, *, symbols: Sequence[str], first: date, last: date
) -> list[SessionJob]:
    """Plan the jobs of a period, by symbol and day.

    Parameters
    ----------
    store : tells which rows are stored.
    options : of the run.
    symbols : whose sessions.
    first, last : the first and the last day.

    Returns
    -------
    list of SessionJob
        One job a session, by symbol and day; sessions without anything to do are left out.

    Raises
    ------
    UsageError
        If the source keeps no history.
    """
    feeds: dict[str, str] = {}
    if options.source and (sessions := sessions_between(first, last)):
        # A source without history refuses here, before any process is started.
        source = open_source(options.source, options.keys)
        symbols = _with_history(source, symbols, sessions[0])
        feeds = {symbol: source_for(source, symbol).name for symbol in symbols}
        await source.close()
    stored_rows = {
        (line["symbol"], line["expiration"], line["source"]): line["rows"]
        for line in await store.coverage(first, last, symbols)
    }
    planned = []
    for symbol in symbols:
        if not options.source:
            # Rows of a day that FLOW_CALENDAR_OVERRIDES has closed since are not measured again.
            days = sorted(
                (d, f, n)
                for (s, d, f), n in stored_rows.items()
                if s == symbol and n and session_on(d)
            )
            planned += [
                SessionJob(options=options, symbol=symbol, day=day, feed=feed, slots=n)
                for day, feed, n in days
            ]
            continue
        for session in sessions_between(first, last):
            slots = session.slot_count
            if options.backfill.missing:
                slots -= stored_rows.get((symbol, session.day, feeds[symbol]), 0)
            if slots > 0:
                planned.append(
                    SessionJob(options=options, symbol=symbol, day=session.day, slots=slots)
                )
    return planned


def _with_history(source: Source, symbols: Sequence[str], session: Session) -> list[str]:
    """The symbols that the source has past sessions of; with sources by symbol not all may."""
    with_history, last = [], None
    for symbol in symbols:
        try:
            source.history(symbol, session)
            with_history.append(symbol)
        except NoHistory as error:
            last = error
            structlog.get_logger().warning("no history", symbol=symbol, why=str(error))
    if not with_history and last is not None:
        raise last
    return with_history


async def announce_jobs(
    planned_jobs: Sequence[SessionJob], *, buy: bool = False
) -> AsyncGenerator[str, None]:
    """Say what the planned jobs will ask their source for, and buy what has to be bought.

    Parameters
    ----------
    planned_jobs : the jobs of a run.
    buy : whether what costs money may be bought.

    Yields
    ------
    str
        A sentence a symbol, none where asking costs nothing worth saying; then one for each file
        that is bought.

    Raises
    ------
    UsageError
        If something would have to be bought and may not, or costs more than the cap.
    FlowError
        If the source cannot say, or does not deliver.
    """
    options = planned_jobs[0].options if planned_jobs else None
    if options is None or not options.source:
        return
    days: dict[str, list[Session]] = {}
    for job in planned_jobs:
        session = session_on(job.day)
        assert session is not None
        days.setdefault(job.symbol, []).append(session)
    source = open_source(options.source, options.keys)
    try:
        if isinstance(source, AnnouncedHistory):
            for symbol, sessions in days.items():
                if line := await source.announce(symbol, sessions):
                    yield line
        if not isinstance(source, PaidHistory):
            return
        unpaid = [symbol for symbol in days if not source.complete(symbol, days[symbol])]
        if unpaid and not buy:
            raise UsageError("nothing has been bought; with --yes these files are")
        for symbol in unpaid:
            async for line in source.buy(symbol, days[symbol]):
                yield line
    finally:
        await source.close()


async def run_job(
    job: SessionJob, source: Source | None, store: Store, live: LiveChannel
) -> BackfillResult:
    """Run one job: fill a session from a source, or measure its stored chains again.

    Parameters
    ----------
    job : the session, and what to do with it.
    source : where frames come from; None to measure the stored chains again.
    store, live : where records are written, and where changes are published.

    Returns
    -------
    BackfillResult
        What was done.

    Raises
    ------
    FlowError
        If the source or the store fails.
    """
    options, session = job.options, session_on(job.day)
    assert session is not None
    if source is None:
        return await recompute_session(
            store,
            live,
            symbol=job.symbol,
            session=session,
            feed=job.feed,
            oi_confidence=options.oi_confidence,
            dry_run=options.dry_run,
        )
    result, since = await backfill_session(
        source, store, live, symbol=job.symbol, session=session, options=options.backfill
    )
    if options.backfill.rewrite and since is not None:
        recomputed = await recompute_session(
            store, live, symbol=job.symbol, session=session, feed=result.feed, since=since
        )
        result.rewritten += recomputed.rewritten
        result.diff.add(recomputed.diff)
    return result


async def run_jobs(
    planned_jobs: Sequence[SessionJob],
    store: Store,
    live: LiveChannel,
    *,
    jobs: int = 1,
    dask: str = "",
) -> AsyncGenerator[BackfillResult, None]:
    """Run the planned jobs, and yield each result when its job ends.

    Parameters
    ----------
    planned_jobs : what to run.
    store, live : used when the jobs run in this process.
    jobs : the number of processes; 1 for this one.
    dask : address of a Dask scheduler; if given, the jobs run on its workers.

    Yields
    ------
    BackfillResult
        What one job has done.

    Raises
    ------
    FlowError
        The first error ends the run. What was stored stays.
    """
    if not dask and jobs == 1:
        async for result in _run_in_order(planned_jobs, store, live):
            yield result
        return
    workers = (
        executors.dask_executor(dask)
        if dask
        else executors.process_pool(min(jobs, len(planned_jobs) or 1))
    )
    with workers as executor:
        async with aclosing(executors.map_unordered(executor, run_in_worker, planned_jobs)) as done:
            async for result in done:
                yield result


async def _run_in_order(
    planned_jobs: Sequence[SessionJob], store: Store, live: LiveChannel
) -> AsyncGenerator[BackfillResult, None]:
    if not planned_jobs:
        return
    async with _opened_source(planned_jobs[0].options) as source:
        for job in planned_jobs:
            yield await run_job(job, source, store, live)


@asynccontextmanager
async def _opened_source(options: JobOptions) -> AsyncGenerator[Source | None, None]:
    """Open the run's source, None for a recomputation, and load the compiled formulas."""
    metrics.load_compiled()
    if not options.source:
        yield None
        return
    source = open_source(options.source, options.keys)
    try:
        yield source
    finally:
        await source.close()


def run_in_worker(job: SessionJob) -> BackfillResult:
    """Run one job in a process of its own: open store, channel and source, and close them.

    Parameters
    ----------
    job : the session, and what to do with it.

    Returns
    -------
    BackfillResult
        What was done.

    Raises
    ------
    FlowError
        With symbol and day in its message, and of a class that can be pickled.
    """
    options = job.options
    log.configure(*options.log)
    use_overrides(options.calendar)
    if options.definitions != DEFINITIONS:
        raise FlowError(
            f"this worker has definitions {DEFINITIONS}, the run needs {options.definitions}:"
            " install the same release everywhere"
        )

    async def open_and_run() -> BackfillResult:
        async with AsyncExitStack() as stack:
            opened = Store.open(options.database_url, options.dataset, size=2)
            store = await stack.enter_async_context(opened)
            live: LiveChannel = NoChannel()
            if options.redis_url:
                channel = RedisChannel.open(
                    options.redis_url, f"flow:{options.dataset}", store.identity
                )
                live = await stack.enter_async_context(channel)
            source = await stack.enter_async_context(_opened_source(options))
            return await run_job(job, source, store, live)

    try:
        return asyncio.run(open_and_run())
    except ChainRefused as refusal:
        raise FlowError(str(refusal)) from refusal
    except FlowError as error:
        raise type(error)(f"{job.symbol} {job.day}: {error}") from error


def parse_period(first: str, last: str) -> tuple[date, date]:
    """Parse the first and the last day of a period, both in ISO form.

    Parameters
    ----------
    first, last : the days, e.g. ``2026-03-02``.

    Returns
    -------
    tuple of date
        Both days.

    Raises
    ------
    ValueError
        If one of them is not a date, or the last day is before the first.
    """
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    if end < begin:
        raise ValueError(f"{last} is before {first}")
    return begin, end
