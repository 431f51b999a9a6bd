"""Answers with a window of bars: read, encoded and compressed once, and kept until it changes.

A day by strike is megabytes. While a session is in memory its cursor is known, so a caller who
polls between two changes costs no query, no encoding and no compression.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.context import AppContext, app_context
from api.documents.lookup import lookup_session, store_of_feed
from api.documents.session_state import SessionState
from api.documents.stamp import stamp
from api.http.compression import Body
from api.http.json import encode_json
from api.series.epoch import epoch_seconds, epoch_text
from api.series.params import Query, Window, resolve_window
from api.series.reply import Reply, as_response, compressed_reply, series_headers
from api.series.window import AnswerContext, etag_matches, select_bars
from storage.market.calendar import market_day
from storage.postgres.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindow:
    """A window of a stored session."""

    #: The store, which reads rows of the query's feed alone.
    store: Store
    query: Query
    state: SessionState
    window: Window
    now: datetime

    @property
    def filled(self) -> bool:
        """Whether the window has a row."""
        return self.state.filled(self.window)

    @property
    def session_key(self) -> tuple[str, date]:
        """Symbol and day, as the store's queries of a session begin."""
        return self.query.symbol, self.state.day

    @property
    def bounds(self) -> dict[str, Any]:
        """Arguments for the store's queries of a window: which rows, and the bucket width."""
        return {
            "start": self.window.start,
            "until": self.window.end,
            "width": self.query.width,
        }


#: Makes the part of an answer that precedes the fields of ``SessionState.surrounding_fields``. The
#: part must contain ``as_of``.
MakeDocument = Callable[[StoredWindow], Awaitable[dict[str, Any]]]


async def answer_window(
    request: Request, query: Query, variant: tuple[str, ...], make: MakeDocument
) -> Response:
    """Answer a query of a window, from memory if the same answer is kept there.

    Parameters
    ----------
    request
        The request, for its ``If-None-Match`` and ``Accept-Encoding``.
    query
        Symbol, day, window and bar size.
    variant
        The name of the document and its other parameters. They are part of the key of a kept
        answer.
    make
        Makes the document of a stored window.

    Returns
    -------
    Response
        Status 200 with the document, or 304 without a body.
    """
    context = app_context(request)
    now = context.clock.now()
    key = _window_key(context, query, now)
    encoded = None if key is None else context.documents.get((*variant, *key))
    offered = request.headers.get("If-None-Match")
    if encoded is None:
        stored = await _read_window(context, query, now)
        tag = stored.state.tag(stored.window)
        # An answer without samples is small, and its reason can change while nothing is stored.
        if stored.filled and etag_matches(tag, offered):
            return as_response(Reply(304, series_headers(tag), []))
        document = await _complete(context, stored, await make(stored))
        # In a thread: encoding a hundred thousand numbers would hold up other requests.
        encoded = await asyncio.to_thread(_encode, document, tag)
        # A session that changed since the key was made has another cursor: not kept.
        if key is not None and stored.state.cursor == key[2]:
            context.documents.put((*variant, *key), encoded)
    elif etag_matches(encoded.tag, offered):
        return as_response(Reply(304, series_headers(encoded.tag), []))
    head = encoded.head + epoch_text(epoch_seconds(now)).encode()
    accepts = request.headers.get("Accept-Encoding", "")
    return as_response(await compressed_reply(head, encoded, series_headers(encoded.tag), accepts))


def _window_key(context: AppContext, query: Query, now: datetime) -> tuple[Any, ...] | None:
    """Return what an answer depends on: symbol, day, cursor, ...; None if it cannot be known.

    It is known if the session is in memory and the window has a sample. Only the sessions of the
    feed that is shown are in memory.
    """
    if query.feed is not None:
        return None
    day = context.sessions.peek(query.symbol, query.day or market_day(now))
    # While the store cannot be reached, its newest revision is not known.
    if day is None or not day.newest or context.sessions.known_at is not None:
        return None
    selection = select_bars(
        day, query, AnswerContext(known=True, delay=day.delay, node=context.node), now
    )
    return selection.key if selection.filled else None


async def _read_window(context: AppContext, query: Query, now: datetime) -> StoredWindow:
    today = market_day(now)
    store = await store_of_feed(context.store, query.symbol, query.feed)
    state = await lookup_session(store, query.symbol, query.day or today, today=today)
    state = replace(state, waiting=context.sessions.waiting(query.symbol, state.day))
    window = resolve_window(
        query,
        day=state.day,
        session=state.session,
        now=now,
        delay=state.delay or timedelta(),
        newest=state.newest.get("slot"),
    )
    return StoredWindow(store=store, query=query, state=state, window=window, now=now)


async def _complete(
    context: AppContext, stored: StoredWindow, document: dict[str, Any]
) -> dict[str, Any]:
    """Add the fields that every window has before and after its document."""
    symbol, state = stored.query.symbol, stored.state
    known = stored.filled or symbol in context.sessions.configured
    known = known or await context.store.known(symbol)
    whole = {"symbol": symbol, "expiration": state.day} | document
    whole |= state.surrounding_fields(stored.window, known=known, now=stored.now)
    return whole | stamp(context.node, [(symbol, state.newest.get("quoted_at"))])


def _encode(document: dict[str, Any], tag: str) -> Body:
    """Encode a document without the value of ``as_of``, which differs in each answer."""
    names = list(document)
    place = names.index("as_of")
    head = encode_json({name: document[name] for name in names[:place]})[:-1]
    rest = b",".join(
        b'"%s":%s' % (name.encode(), _encode_value(document[name])) for name in names[place + 1 :]
    )
    return Body(b'",' + rest + b"}", head=head + b',"as_of":"', tag=tag)


def _encode_value(value: Any) -> bytes:
    # A list is encoded by element, so that other threads can run in between.
    if isinstance(value, list):
        return b"[" + b",".join(map(encode_json, value)) + b"]"
    return encode_json(value)
