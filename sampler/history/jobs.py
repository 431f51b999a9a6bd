"""Backfills and recomputations of many sessions: what there is to do, and who does it.

A task is one symbol and session. It is plain data, opens what it needs itself and may run in any
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
from sampler.history import executors as spread
from sampler.history.backfill import Filled, Wishes, backfill
from sampler.history.recompute import recompute
from sampler.sources import Source, open_source
from storage.config import log
from storage.errors import FlowError
from storage.market.calendar import session_on, sessions_between
from storage.postgres.store import Store
from storage.record.row import DEFINITIONS
from storage.redis.channel import Channel, Live, Nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all tasks of a run have in common."""

    database_url: str
    #: Empty: nobody is told.
    redis_url: str
    dataset: str
    #: Where chains come from; empty: from the store, to be measured again.
    source: str
    wishes: Wishes
    #: κ of a recomputation; None: each row's own.
    oi_confidence: float | None = None
    dry_run: bool = False
    #: How workers log: format and level.
    log: tuple[str, str] = ("auto", "info")
    #: The formulas of whoever gave the order.
    definitions: str = DEFINITIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One symbol's session."""

    order: Order
    symbol: str
    day: date
    #: About how much work it is.
    slots: int


async def tasks(
    store: Store, order: Order, *, symbols: Sequence[str], first: date, last: date
) -> list[Task]:
    """What there is to do in a period, by symbol and day.

    Raises
    ------
    UsageError
        If the source keeps no history.
    """
    if order.source and (sessions := sessions_between(first, last)):
        # A feed without history says so before anything is started.
        source = open_source(order.source)
        source.history(symbols[0], sessions[0])
        await source.close()
    known = {
        (line["symbol"], line["expiration"]): line["rows"]
        for line in await store.coverage(first, last, symbols)
    }
    found = []
    for symbol in symbols:
        if not order.source:
            stored = sorted((day, n) for (s, day), n in known.items() if s == symbol and n)
            found += [Task(order=order, symbol=symbol, day=d, slots=n) for d, n in stored]
            continue
        for session in sessions_between(first, last):
            slots = session.slot_count
            if order.wishes.missing:
                slots -= known.get((symbol, session.day), 0)
            if slots > 0:
                found.append(Task(order=order, symbol=symbol, day=session.day, slots=slots))
    return found


async def perform(task: Task, source: Source | None, store: Store, live: Live) -> Filled:
    """Do one task.

    Raises
    ------
    FlowError
    """
    order, session = task.order, session_on(task.day)
    assert session is not None
    if source is None:
        return await recompute(
            store,
            live,
            symbol=task.symbol,
            session=session,
            oi_confidence=order.oi_confidence,
            dry_run=order.dry_run,
        )
    filled, since = await backfill(
        source, store, live, symbol=task.symbol, session=session, wishes=order.wishes
    )
    if order.wishes.rewrite and since is not None:
        again = await recompute(store, live, symbol=task.symbol, session=session, since=since)
        filled.rewritten += again.rewritten
        filled.shifts.add(again.shifts)
    return filled


async def results(
    todo: Sequence[Task], store: Store, live: Live, *, jobs: int = 1, dask: str = ""
) -> AsyncGenerator[Filled, None]:
    """Do tasks here, on ``jobs`` processes, or on the Dask cluster at an address, as they end.

    Raises
    ------
    FlowError
        The first error ends the run; what was written stays.
    """
    if not dask and jobs == 1:
        async for filled in _one_by_one(todo, store, live):
            yield filled
        return
    workers = spread.dask(dask) if dask else spread.processes(min(jobs, len(todo) or 1))
    with workers as executor:
        async with aclosing(spread.each(executor, alone, todo)) as done:
            async for filled in done:
                yield filled


async def _one_by_one(
    todo: Sequence[Task], store: Store, live: Live
) -> AsyncGenerator[Filled, None]:
    if not todo:
        return
    async with _source(todo[0].order) as source:
        for task in todo:
            yield await perform(task, source, store, live)


@asynccontextmanager
async def _source(order: Order) -> AsyncGenerator[Source | None, None]:
    """The order's source, None for a recomputation; formulas are loaded before its first slot."""
    metrics.warm()
    if not order.source:
        yield None
        return
    source = open_source(order.source)
    try:
        yield source
    finally:
        await source.close()


def alone(task: Task) -> Filled:
    """Do one task in a process that has nothing open.

    Raises
    ------
    FlowError
        In words that travel between processes.
    """
    order = task.order
    log.configure(*order.log)
    if order.definitions != DEFINITIONS:
        raise FlowError(
            f"a worker has definitions {DEFINITIONS}, the order is for {order.definitions}:"
            " install the same release everywhere"
        )

    async def go() -> Filled:
        async with AsyncExitStack() as stack:
            opened = Store.open(order.database_url, order.dataset, size=2)
            store = await stack.enter_async_context(opened)
            live: Live = Nobody()
            if order.redis_url:
                channel = Channel.open(order.redis_url, f"flow:{order.dataset}")
                live = await stack.enter_async_context(channel)
            source = await stack.enter_async_context(_source(order))
            return await perform(task, source, store, live)

    try:
        return asyncio.run(go())
    except Refused as refusal:
        raise FlowError(str(refusal)) from refusal
    except FlowError as error:
        raise type(error)(f"{task.symbol} {task.day}: {error}") from error


def span(first: str, last: str) -> tuple[date, date]:
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
