"""Answers of a window of bars: fetched, encoded once, compressed once, and kept until it changes.

A day by strike is megabytes. While a session is in memory its cursor is known, and whoever polls
between two changes costs no query, no encoding and no compression.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.context import AppContext, app_context
from api.documents.lookup import lookup_session
from api.documents.session_state import SessionState, surrounding_fields
from api.documents.stamp import stamp
from api.http.compression import Body
from api.http.json import encode_json
from api.series.day import text
from api.series.params import Query, Window, resolve_window
from api.series.reply import Reply, headers_of, packed, response
from api.series.window import Background, cut, matches
from storage.market.calendar import market_day


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindow:
    """A window of a session, and what is around it."""

    query: Query
    kept: SessionState
    span: Window
    now: datetime

    @property
    def filled(self) -> bool:
        """Whether it has a row."""
        return self.kept.filled(self.span)

    @property
    def bounds(self) -> dict[str, Any]:
        """The arguments that tell the store which rows are meant."""
        return {
            "start": self.span.start,
            "until": self.span.end,
            "width": self.query.width,
        }


#: Makes what an answer says before what is around its bars; it has ``as_of``.
MakeDocument = Callable[[StoredWindow], Awaitable[dict[str, Any]]]


async def answer_window(
    request: Request, query: Query, words: tuple[str, ...], make: MakeDocument
) -> Response:
    """The answer to a query; ``words`` are the document and what else was asked of it."""
    context = app_context(request)
    now = context.clock.now()
    bodies = context.documents
    place = _place(context, query, now)
    key = None if place is None else (*words, *place)
    body = None if key is None else bodies.get(key)
    offered = request.headers.get("If-None-Match")
    if body is None:
        of = await _windowed(context, query, now)
        tag = of.kept.tag(of.span)
        # An answer without samples is small, and its reason changes while nothing is stored.
        if of.filled and matches(tag, offered):
            return response(Reply(304, headers_of(tag), []))
        said = await _said(context, of, await make(of))
        # Nobody else waits for a hundred thousand numbers.
        body = await asyncio.to_thread(_body, said, tag)
        if key is not None and place is not None and of.kept.newest.get("cursor") == place[2]:
            bodies.put(key, body)
    elif matches(body.tag, offered):
        return response(Reply(304, headers_of(body.tag), []))
    head = body.head + text(int(now.timestamp())).encode()
    accepts = request.headers.get("Accept-Encoding", "")
    return response(await packed(head, body, headers_of(body.tag), accepts))


def _place(context: AppContext, query: Query, now: datetime) -> tuple[Any, ...] | None:
    """What a window's answer depends on: symbol, day, cursor, ...; None if it is not known."""
    day = context.sessions.peek(query.symbol, query.day or market_day(now))
    if day is None or not day.newest:
        return None
    part = cut(day, query, Background(known=True, delay=day.delay, node=context.node), now)
    return part.key if part.filled else None


async def _windowed(context: AppContext, query: Query, now: datetime) -> StoredWindow:
    today = market_day(now)
    kept = await lookup_session(context.store, query.symbol, query.day or today, today=today)
    span = resolve_window(
        query,
        day=kept.day,
        session=kept.session,
        now=now,
        delay=kept.delay or timedelta(),
        newest=kept.newest.get("slot"),
    )
    return StoredWindow(query=query, kept=kept, span=span, now=now)


async def _said(context: AppContext, of: StoredWindow, made: dict[str, Any]) -> dict[str, Any]:
    """What was made, and what is around it."""
    symbol, filled = of.query.symbol, of.filled
    known = filled or await context.store.known(symbol)
    said = {"symbol": symbol, "expiration": of.kept.day} | made
    said |= surrounding_fields(of.kept, of.span, known=known, filled=filled, now=of.now)
    return said | stamp(context.node, [(symbol, of.kept.newest.get("quoted_at"))])


def _body(said: dict[str, Any], tag: str) -> Body:
    """An answer but for its ``as_of``, which each request has its own of."""
    names = list(said)
    at = names.index("as_of")
    head = encode_json({name: said[name] for name in names[:at]})[:-1]
    rest = b",".join(b'"%s":%s' % (name.encode(), _encoded(said[name])) for name in names[at + 1 :])
    return Body(b'",' + rest + b"}", head=head + b',"as_of":"', tag=tag)


def _encoded(value: Any) -> bytes:
    # By element: the loop gets its turn between two, not after megabytes.
    if isinstance(value, list):
        return b"[" + b",".join(map(encode_json, value)) + b"]"
    return encode_json(value)
