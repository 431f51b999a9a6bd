"""Routes of documents about stored sessions: which there are, what came of them, and the board."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta

from fastapi import Request
from starlette.responses import Response

from api.context import app_context
from api.documents import history, leaderboard
from api.documents import query as parameters
from api.documents.lookup import NoData, lookup_session, store_of_feed
from api.documents.scorecard import read_scorecard_query, scorecard_document
from api.documents.stored_sessions import stored_sessions
from api.routes.admission import Handlers
from api.routes.symbol_request import PathSymbolRequest, SymbolRequest, answer_document
from api.series.params import read_day, read_feed
from api.series.sessions import session_on_day
from storage.market.calendar import market_day, sessions_between
from storage.postgres.store import Store


async def _sessions(request: PathSymbolRequest) -> Response:
    """Answer with a symbol's stored sessions, and how many of each session's slots are stored."""
    name, now = request.symbol, request.now
    store = await request.store_of_feed(read_feed(request.query))
    rows = await store.sessions(name)
    if not rows:
        raise NoData(name)
    calendar = sessions_between(rows[0]["expiration"], rows[-1]["expiration"])
    newest = await store.newest(name, rows[-1]["expiration"])
    declared = newest.get("delay_seconds")
    if declared is None and len(rows) > 1:
        # A session without a row yet has the delay of the one before.
        declared = (await store.newest(name, rows[-2]["expiration"])).get("delay_seconds")
    delay = timedelta(seconds=declared or 0)
    sessions = stored_sessions(
        rows,
        {session.day: session for session in calendar},
        now,
        delay=delay,
        spooled=await _spooled_slots(request, store, now - delay),
    )
    body = {"symbol": name, "count": len(sessions), "as_of": now, "sessions": sessions}
    return await request.answer(body, newest.get("quoted_at"))


async def _spooled_slots(request: SymbolRequest, store: Store, until: datetime) -> dict[date, int]:
    """How many slots of each day have passed, are not stored, and wait in a sampler's spool."""
    sessions = request.context.sessions
    counts = {}
    for day in sessions.waiting_days(request.symbol):
        state = await lookup_session(store, request.symbol, day, today=day)
        state = replace(state, waiting=sessions.waiting(request.symbol, day))
        counts[day] = state.count_spooled(until)
    return counts


async def _history(request: PathSymbolRequest) -> Response:
    """Answer with a symbol's newest stored sessions, each in a few numbers."""
    name, query = request.symbol, request.query
    count, feed = parameters.read_board_size(query), read_feed(query)
    day = read_day(query["date"]) if "date" in query else market_day(request.now)
    store = await request.store_of_feed(feed)
    summaries = await request.context.earlier.summaries(
        store, name, day, count=count, summarize=history.session_summary
    )
    if not summaries and not await store.known(name):
        raise NoData(name)
    newest = await store.newest(name, summaries[-1]["date"]) if summaries else {}
    body = {
        "symbol": name,
        "count": len(summaries),
        "as_of": request.now,
        "course_seconds": history.COURSE_SECONDS,
        "sessions": summaries,
    }
    return await request.answer(body, newest.get("quoted_at"))


async def _scorecard(request: PathSymbolRequest) -> Response:
    """Answer with how a symbol's forecasts came out, each kind apart."""
    name, context, query = request.symbol, request.context, read_scorecard_query(request.query)
    table = context.store.forecasts
    lines = await table.scores(name, query.first, query.last)
    frozen = await table.frozen(name, query.first, query.last)
    if not lines and not frozen and not await context.store.known(name):
        raise NoData(name)
    # A year of a symbol takes some tenths of a second. In a thread, it holds up no other request.
    body = await asyncio.to_thread(scorecard_document, lines, frozen, query, request.now)
    head = {"symbol": name, "as_of": request.now, "dataset": context.dataset}
    day = await context.store.newest_day(name, date.max)
    newest = await context.store.newest(name, day) if day else {}
    return await request.answer(head | body, newest.get("quoted_at"))


async def _leaderboard(request: Request) -> Response:
    """Answer with symbols ranked by one figure of their newest sample."""
    query = request.query_params
    metric = parameters.read_choice(query, "metric", parameters.LEADERBOARD_METRICS)
    n = parameters.read_board_size(query)
    day = read_day(query["date"]) if "date" in query else None
    store = await store_of_feed(app_context(request).store, None, read_feed(query))
    now = app_context(request).clock.now()
    rows = await store.board(day or market_day(now), columns=leaderboard.COLUMNS)
    expiration = day or max((row["expiration"] for row in rows), default=None)
    rows = [row for row in rows if row["expiration"] == expiration]
    session = await session_on_day(market_day(now))
    body = {
        "metric": metric,
        "n": n,
        "as_of": now,
        "market_open": session is not None and session.open <= now < session.close,
        "entries": leaderboard.ranked_entries(rows, metric, n),
        "expiration": expiration,
    }
    delivered = [(row["symbol"], row["quoted_at"]) for row in rows]
    return await answer_document(request, body, delivered)


HANDLERS: Handlers = {
    "sessions": ("Free", _sessions),
    "history": ("Growth", _history),
    "scorecard": ("Growth", _scorecard),
    "leaderboard": ("Alpha", _leaderboard),
}
