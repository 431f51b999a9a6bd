"""Backfills and recomputations of many sessions: what there is to do, and who does it.

A job is one symbol and session. It is plain data, opens what it needs itself and may run in any
process on any machine that reaches the database; twice is as good as once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import date

from sampler import metrics
from sampler.errors import Refused
from sampler.history import executors
from sampler.history.backfill import BackfillOptions, BackfillResult, backfill_session
from sampler.history.recompute import recompute_session
from sampler.sources import Source, open_source
from storage.config import log
from storage.errors import FlowError
from storage.market.calendar import session_on, sessions_between
from storage.postgres.store import Store
from storage.record.row import DEFINITIONS
from storage.redis.channel import LiveChannel, NoChannel, RedisChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What all jobs of a run have in common."""

    database_url: str
    #: Empty: nobody is told.
    redis_url: str
    dataset: str
    #: Where chains come from; empty: from the store, to be measured again.
    source: str
    backfill: BackfillOptions
    #: κ of a recomputation; None: each row's own.
    oi_confidence: float | None = None
    dry_run: bool = False
    #: How workers log: format and level.
    log: tuple[str, str] = ("auto", "info")
    #: The formulas of whoever planned the run.
    definitions: str = DEFINITIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionJob:
    """One symbol's session."""

    options: JobOptions
    symbol: str
    day: date
    #: About how much work it is.
    slots: int


async def plan_jobs(
    store: Store, options: JobOptions, *, symbols: Sequence[str], first: date, last: date
) -> list[SessionJob]:
    """What there is to do in a period, by symbol and day.

    Raises
    ------
    UsageError
        If the source keeps no history.
    """
    if options.source and (sessions := sessions_between(first, last)):
        # A feed without history says so before anything is started.
        source = open_source(options.source)
        source.history(symbols[0], sessions[0])
        await source.close()
    known = {
        (line["symbol"], line["expiration"]): line["rows"]
        for line in await store.coverage(first, last, symbols)
    }
    planned = []
    for symbol in symbols:
        if not options.source:
            stored = sorted((day, n) for (s, day), n in known.items() if s == symbol and n)
            planned += [
                SessionJob(options=options, symbol=symbol, day=d, slots=n) for d, n in stored
            ]
            continue
        for session in sessions_between(first, last):
            slots = session.slot_count
            if options.backfill.missing:
                slots -= known.get((symbol, session.day), 0)
            if slots > 0:
                planned.append(
                    SessionJob(options=options, symbol=symbol, day=session.day, slots=slots)
                )
    return planned


async def run_job(
    job: SessionJob, source: Source | None, store: Store, live: LiveChannel
) -> BackfillResult:
    """Do one job.

    Raises
    ------
    FlowError
    """
    options, session = job.options, session_on(job.day)
    assert session is not None
    if source is None:
        return await recompute_session(
            store,
            live,
            symbol=job.symbol,
            session=session,
            oi_confidence=options.oi_confidence,
            dry_run=options.dry_run,
        )
    result, since = await backfill_session(
        source, store, live, symbol=job.symbol, session=session, options=options.backfill
    )
    if options.backfill.rewrite and since is not None:
        recomputed = await recompute_session(
            store, live, symbol=job.symbol, session=session, since=since
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
    """Run jobs here, on ``jobs`` processes, or on the Dask cluster at an address, as they end.

    Raises
    ------
    FlowError
        The first error ends the run; what was written stays.
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
    """The run's source, None for a recomputation; formulas are loaded before its first slot."""
    metrics.warm()
    if not options.source:
        yield None
        return
    source = open_source(options.source)
    try:
        yield source
    finally:
        await source.close()


def run_in_worker(job: SessionJob) -> BackfillResult:
    """Do one job in a process that has nothing open.

    Raises
    ------
    FlowError
        In words that travel between processes.
    """
    options = job.options
    log.configure(*options.log)
    if options.definitions != DEFINITIONS:
        raise FlowError(
            f"a worker has definitions {DEFINITIONS}, this run needs {options.definitions}:"
            " install the same release everywhere"
        )

    async def go() -> BackfillResult:
        async with AsyncExitStack() as stack:
            opened = Store.open(options.database_url, options.dataset, size=2)
            store = await stack.enter_async_context(opened)
            live: LiveChannel = NoChannel()
            if options.redis_url:
                channel = RedisChannel.open(options.redis_url, f"flow:{options.dataset}")
                live = await stack.enter_async_context(channel)
            source = await stack.enter_async_context(_opened_source(options))
            return await run_job(job, source, store, live)

    try:
        return asyncio.run(go())
    except Refused as refusal:
        raise FlowError(str(refusal)) from refusal
    except FlowError as error:
        raise type(error)(f"{job.symbol} {job.day}: {error}") from error


def parse_period(first: str, last: str) -> tuple[date, date]:
    """A period from two ISO dates.

    Raises
    ------
    ValueError
        If one is no date, or they stand the wrong way round.
    """
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    if end < begin:
        raise ValueError(f"{last} is before {first}")
    return begin, end
