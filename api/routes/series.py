"""The routes of the series: one symbol, several, and the stream of one."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import Response

from api.access.gate import Caller, request_key
from api.context import AppContext, app_context, request_context
from api.documents.lookup import store_of_feed
from api.documents.stamp import stamp
from api.openapi.catalogue import SERIES
from api.routes.admission import require
from api.routes.series_fast_path import PLAN
from api.series import formats
from api.series.files import FileRequest, table_reply
from api.series.params import (
    Query,
    read_cursor,
    read_queries,
    read_query,
    symbol_segment,
)
from api.series.reply import as_response, multi_series_reply, series_reply
from api.series.stream import StreamResponse
from api.series.window import AnswerContext, Selection, select_bars
from storage.market.calendar import market_day

_SYMBOL = Path(description="The underlying.", examples=["SPY"])


def add_series_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    # The series' route accepts symbols with slashes, so the stream's route must come before it.
    for name, handler in (("many", get_many), ("stream", get_stream), ("series", get_series)):
        path, described = SERIES[name]
        app.get(path, **described)(handler)


async def get_series(
    request: Request,
    symbol: Annotated[str, _SYMBOL],
    caller: Annotated[Caller, Depends(require(PLAN))],
) -> Response:
    """Answer with the bars of one symbol.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200, or 304.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    query = read_query(symbol_segment(request, symbol), request.query_params)
    form = _format(request)
    window = await _load_window(app_context(request), query)
    if form != "json":
        return await _table(request, form, [window])
    return as_response(
        await series_reply(
            window,
            app_context(request).bodies,
            if_none_match=_if_none_match(request),
            accepts=request.headers.get("Accept-Encoding", ""),
        )
    )


async def get_many(request: Request, caller: Annotated[Caller, Depends(require(PLAN))]) -> Response:
    """Answer with the bars of several symbols; each is what it would be alone.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200, or 304.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    queries = read_queries(request.query_params)
    form = _format(request)
    context = app_context(request)
    windows = await asyncio.gather(*(_load_window(context, query) for query in queries))
    if form != "json":
        return await _table(request, form, windows)
    delivered = [(each.query.symbol, each.day.newest.get("quoted_at")) for each in windows]
    return as_response(
        await multi_series_reply(
            windows,
            context.bodies,
            stamped=stamp(context.node, delivered),
            if_none_match=_if_none_match(request),
            accepts=request.headers.get("Accept-Encoding", ""),
        )
    )


async def get_stream(
    request: Request,
    symbol: Annotated[str, _SYMBOL],
    caller: Annotated[Caller, Depends(require(PLAN))],
) -> Response:
    """Answer with bars as they are stored, as Server-Sent Events.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; it ends when the client or the server closes the connection.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    StoreError
        If the store is away.
    """
    query = read_query(symbol_segment(request, symbol, "/stream"), request.query_params)
    context = app_context(request)
    await _check_feed(context, query, market_day(context.clock.now()))
    last_id = request.headers.get("Last-Event-ID")
    since = query.since if last_id is None or not last_id.strip() else read_cursor(last_id)
    stream = StreamResponse(
        context.hub,
        query.symbol,
        query.feed,
        query.seconds,
        since,
        caller,
        wants_body=request_context(request.scope).wants_body,
    )
    await stream.prepare()
    return stream


async def _load_window(context: AppContext, query: Query) -> Selection:
    """The window of a session that a query asks for, from memory or from the store."""
    now = context.clock.now()
    session_day = query.day or market_day(now)
    await _check_feed(context, query, session_day)
    day = await context.sessions.get(query.symbol, session_day, query.feed)
    known = bool(day.cursor) or await context.sessions.known(query.symbol)
    delay = await context.sessions.delay(day)
    known_at = context.sessions.known_at
    if known_at is not None and not day.newest:
        # Without a sample in memory nobody can say why there is none.
        await context.store.ping()
    answer_context = AnswerContext(known=known, delay=delay, node=context.node, known_at=known_at)
    return select_bars(day, query, answer_context, now)


async def _check_feed(context: AppContext, query: Query, day: date) -> None:
    """Refuse a feed that the symbol never had; the store is not asked about one in memory."""
    if query.feed is None:
        return
    for feed in (query.feed, None):
        session = context.sessions.peek(query.symbol, day, feed)
        if session is not None and session.newest and session.feed == query.feed:
            return
    await store_of_feed(context.store, query.symbol, query.feed)


async def _table(request: Request, form: str, windows: list[Selection]) -> Response:
    headers = request.headers
    asked_for = FileRequest(
        if_none_match=headers.get("If-None-Match"),
        range=headers.get("Range"),
        if_range=headers.get("If-Range"),
        if_match=headers.get("If-Match"),
        wants_body=request_context(request.scope).wants_body,
    )
    address = request.client.host if request.client else ""
    reader = repr((address, request_key(request.scope), form, str(request.url)))
    # A hash: keys must not stay in memory.
    digest = hashlib.sha256(reader.encode()).digest()
    return as_response(
        await table_reply(form, windows, app_context(request).files, digest, asked_for)
    )


def _format(request: Request) -> str:
    name = request.query_params.get("format")
    return formats.read_format(name, request.headers.get("Accept", ""))


def _if_none_match(request: Request) -> str | None:
    return request.headers.get("If-None-Match")
