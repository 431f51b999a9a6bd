"""The routes of the series: one symbol, several, and the stream of one."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import Response

from api.access.dependency import require
from api.access.gate import Caller
from api.context import AppContext, app_context, request_context
from api.openapi import reference
from api.routes.series_fast_path import PLAN, PREFIX, ROUTE
from api.series import formats
from api.series.params import Query, read_cursor, read_queries, read_query, symbol_segment
from api.series.reply import as_response, multi_series_reply, series_reply, table_reply
from api.series.stream import StreamResponse
from api.series.window import AnswerContext, Selection, select_bars
from storage.market.calendar import market_day

_SYMBOL = Path(description="The underlying.", examples=["SPY"])


def add_series_routes(app: FastAPI) -> None:
    """Add the routes to an application."""
    documented = reference.DOCUMENTED
    app.get(PREFIX.decode().rstrip("/"), **documented["many"])(get_many)
    app.get(ROUTE + "/stream", **documented["stream"])(get_stream)
    app.get(ROUTE, **documented["series"])(get_series)


async def get_series(
    request: Request,
    symbol: Annotated[str, _SYMBOL],
    caller: Annotated[Caller, Depends(require(PLAN))],
) -> Response:
    """The zero-DTE headline figures of a symbol, a bar every 30 seconds to 15 minutes.

    Without parameters: the last 60 minutes of today's session. The window is half-open and ends
    where the data does: at the close once that is past, else at the feed's own present. Each bar
    is the *last* sample of its bucket and the running bucket is among them, so that cumulative
    values are current. A symbol without samples is answered with `bars: []` and the `reason`.
    """
    asked = read_query(symbol_segment(request, symbol), request.query_params)
    form = _format(request)
    part = await _find(app_context(request), asked)
    if form != "json":
        return as_response(await table_reply(form, [part], if_none_match=_offered(request)))
    return as_response(
        await series_reply(
            part,
            app_context(request).bodies,
            if_none_match=_offered(request),
            accepts=request.headers.get("Accept-Encoding", ""),
        )
    )


async def get_many(request: Request, caller: Annotated[Caller, Depends(require(PLAN))]) -> Response:
    """Several symbols in one call: each answer is what its own route would say.

    `cursor` has one number for each symbol, in the order asked for; send it back as `since`.
    """
    asked = read_queries(request.query_params)
    form = _format(request)
    parts = await asyncio.gather(*(_find(app_context(request), one) for one in asked))
    if form != "json":
        return as_response(await table_reply(form, parts, if_none_match=_offered(request)))
    return as_response(
        await multi_series_reply(
            parts,
            app_context(request).bodies,
            if_none_match=_offered(request),
            accepts=request.headers.get("Accept-Encoding", ""),
        )
    )


async def get_stream(
    request: Request,
    symbol: Annotated[str, _SYMBOL],
    caller: Annotated[Caller, Depends(require(PLAN))],
) -> Response:
    """Bars as they land, as Server-Sent Events.

    An event's `data` is the bar as the series has it, its `id` the cursor. `Last-Event-ID` or
    `since` goes on after that cursor without a hole or a double: new bars, the running bucket,
    slots filled late, of today's session and the one before. An event `gap` is a slot without a
    sample, and why. A comment every 15 seconds says that the stream is alive; a reader who is too
    slow is cut off.
    """
    asked = read_query(symbol_segment(request, symbol, "/stream"), request.query_params)
    last = request.headers.get("Last-Event-ID")
    since = asked.since if last is None or not last.strip() else read_cursor(last)
    stream = StreamResponse(
        app_context(request).hub,
        asked.symbol,
        asked.seconds,
        since,
        caller,
        wants_body=request_context(request.scope).wants_body,
    )
    await stream.prepare()
    return stream


async def _find(context: AppContext, asked: Query) -> Selection:
    """The part of a session that a query means, from memory or the store."""
    now = context.clock.now()
    day = await context.sessions.get(asked.symbol, asked.day or market_day(now))
    known = bool(day.cursor) or await context.sessions.known(asked.symbol)
    delay = await context.sessions.delay(day)
    return select_bars(day, asked, AnswerContext(known=known, delay=delay, node=context.node), now)


def _format(request: Request) -> str:
    named = request.query_params.get("format")
    return formats.read_format(named, request.headers.get("Accept", ""))


def _offered(request: Request) -> str | None:
    return request.headers.get("If-None-Match")
