"""Routes of the documents: read the query, load the data, and return the document made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import Response

from api.access.gate import Caller
from api.context import app_context
from api.documents import (
    degraded,
    heatmap,
    hedge_flow,
    held_levels,
    history,
    leaderboard,
    pressure,
    projection,
    strike_flow,
)
from api.documents import query as parameters
from api.documents.explain import explain
from api.documents.figure_inputs import FIGURES
from api.documents.lookup import (
    NoChain,
    NoData,
    lookup_nearest_sample,
    lookup_sample,
    lookup_session,
    store_of_feed,
)
from api.documents.sample import Sample
from api.documents.scorecard import read_scorecard_query, scorecard_document
from api.documents.siblings import SIBLINGS
from api.documents.snapshot import exposure, snapshot
from api.documents.stamp import stamp
from api.documents.stored_sessions import stored_sessions
from api.documents.strikes import DEFAULT_RANGE
from api.documents.windowed import StoredWindow, answer_window
from api.http.json import json_response
from api.openapi.catalogue import DOCUMENTS
from api.routes.admission import require
from api.series import reply
from api.series.earlier import RATE_MINUTES, sample_cadence
from api.series.params import QueryError, read_day, read_feed, symbol_segment
from api.series.sessions import session_on_day
from storage.errors import UsageError
from storage.market.calendar import market_day, sessions_between
from storage.market.constants import SLOT_WIDTH
from storage.market.instruments import parse_symbol
from storage.postgres.store import Store
from storage.postgres.windows import ProfileRow

Symbol = Annotated[str, Path(description="The underlying.", examples=["SPY"])]
Free = Annotated[Caller, Depends(require("Free"))]
Growth = Annotated[Caller, Depends(require("Growth"))]
Alpha = Annotated[Caller, Depends(require("Alpha"))]


def add_document_routes(app: FastAPI) -> None:
    """Add the documents' routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: dict[str, Callable[..., Awaitable[Response]]] = {
        "hedge-flow": get_hedge_flow,
        "pressure": get_pressure,
        "snapshot": get_snapshot,
        "exposure": get_exposure,
        "heatmap": get_heatmap,
        "strike-flow": get_strike_flow,
        "leaderboard": get_leaderboard,
        "scorecard": get_scorecard,
        "sessions": get_sessions,
        "explain": get_explanation,
        "held-levels": get_held_levels,
        "history": get_history,
        "projection": get_projection,
    }
    for name, document in SIBLINGS.items():
        handlers[name] = _sibling(document)
    for name, handler in handlers.items():
        path, described = DOCUMENTS[name]
        app.get(path, **described)(handler)


def _symbol(request: Request, symbol: str) -> str:
    try:
        return parse_symbol(symbol_segment(request, symbol))
    except UsageError as error:
        raise QueryError("invalid_symbol", str(error)) from None


async def get_snapshot(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with today's chain now, on effective open interest.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    name, context = _symbol(request, symbol), app_context(request)

    async def document(sample: Sample) -> dict[str, Any]:
        return snapshot(sample, await context.frozen_scores.of_symbol(context.store, name))

    return await _chain_document(request, symbol, document, _reason_alone)


async def get_exposure(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with today's chain on this morning's open interest alone; when closed, the last one.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    reach = parameters.read_strike_range(request.query_params, DEFAULT_RANGE)

    async def document(sample: Sample) -> dict[str, Any]:
        return exposure(sample, reach)

    return await _chain_document(request, symbol, document, _reason_with_price, while_closed=True)


async def _chain_document(
    request: Request,
    symbol: str,
    document: Callable[[Sample], Awaitable[dict[str, Any]]],
    reason_body: Callable[[Store, str, NoChain], Awaitable[dict[str, Any]]],
    *,
    while_closed: bool = False,
) -> Response:
    """A document of one moment's chain.

    Parameters
    ----------
    document
        Makes the document of a sample.
    reason_body
        Makes the body that is sent instead where the moment has no chain.
    while_closed
        Whether the newest session's last sample is shown while the market is closed.
    """
    name, when = _symbol(request, symbol), parameters.read_moment(request.query_params)
    store = await store_of_feed(app_context(request).store, name, when.feed)
    now = app_context(request).clock.now()
    configured = name in app_context(request).sessions.configured
    try:
        try:
            sample = await lookup_sample(store, name, when, now, configured=configured)
        except NoChain as reason:
            closed = not reason.market_open and when.session_day is None
            if not (while_closed and closed):
                raise
            sample = await lookup_nearest_sample(store, name, when, now)
    except NoData:
        return _not_found_response(request, name, when)
    except NoChain as reason:
        return await _document_response(request, await reason_body(store, name, reason), name, None)
    body = await document(sample)
    return await _document_response(request, body, name, sample.record.row.quoted_at)


async def _reason_alone(store: Store, symbol: str, reason: NoChain) -> dict[str, Any]:
    return reason.body


async def _reason_with_price(store: Store, symbol: str, reason: NoChain) -> dict[str, Any]:
    """The reason, with the newest stored price."""
    day = await store.newest_day(symbol, market_day(reason.moment))
    newest = await store.newest(symbol, day) if day else {}
    price_fields = degraded.exposure_fields(
        newest.get("spot"), reason.moment, market_open=reason.market_open
    )
    return reason.body | price_fields


def _sibling(document: Callable[[Sample], dict[str, Any]]) -> Callable[..., Awaitable[Response]]:
    async def get(request: Request, symbol: Symbol, caller: Growth) -> Response:
        name, when = _symbol(request, symbol), parameters.read_moment(request.query_params)
        store = await store_of_feed(app_context(request).store, name, when.feed)
        try:
            sample = await lookup_nearest_sample(
                store, name, when, app_context(request).clock.now()
            )
        except NoData:
            return _not_found_response(request, name, when)
        return await _document_response(
            request, document(sample), name, sample.record.row.quoted_at
        )

    return get


async def get_explanation(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with one figure's formula, inputs and flags, and what it is not.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    figure = parameters.read_figure(request.query_params, FIGURES)
    strike = parameters.read_strike(request.query_params)
    return await _sibling(lambda sample: explain(sample, figure, strike))(request, symbol, caller)


async def get_hedge_flow(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with what dealers bought (positive) or sold to hedge customers' trades, by bar.

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
    side = parameters.read_choice(request.query_params, "side", parameters.SIDES)
    query = parameters.read_window_query(symbol_segment(request, symbol), request.query_params)
    store = app_context(request).store.of_feed(query.feed)

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        if window.filled:
            key = (query.symbol, window.state.day)
            rows = await store.window(*key, **window.bounds, columns=hedge_flow.COLUMNS)
            first = rows[0]["bucket"]
            before = await store.figures_before(*key, first, columns=hedge_flow.COLUMNS)
            bars = hedge_flow.hedge_flow_bars(rows, before, side)
        return {"as_of": window.now, "side": side, "bar_size": query.bar, "bars": bars}

    return await answer_window(request, query, ("hedge-flow", side), make)


async def get_pressure(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with hedge flow by bar, its rate, and where both stand among stored sessions.

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
    query = parameters.read_window_query(
        symbol_segment(request, symbol), request.query_params, bar="1m"
    )
    context = app_context(request)
    store = context.store.of_feed(query.feed)

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        days: tuple[date, ...] = ()
        cadence = None
        if window.filled and (session := window.state.session) is not None:
            key = (query.symbol, window.state.day)
            samples = await store.pressure(*key, until=window.window.end)
            slots = np.array([sample["slot"].timestamp() for sample in samples])
            cadence = sample_cadence(slots)
            newest = window.state.newest
            earlier = await context.earlier.flow(
                store,
                *key,
                source=newest["source"],
                definitions=newest["definitions"],
                cadence=cadence,
            )
            days = earlier.days
            bars = await asyncio.to_thread(
                pressure.pressure_bars,
                samples,
                earlier,
                session,
                start=window.window.start,
                width=query.seconds,
            )
        head: dict[str, Any] = {"as_of": window.now, "bar_size": query.bar, "bars": bars}
        return head | {
            "rate_minutes": RATE_MINUTES,
            "cadence_seconds": cadence,
            "compared_days": days,
            "least_sessions": pressure.LEAST_SESSIONS,
        }

    return await answer_window(request, query, ("pressure",), make)


async def get_held_levels(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with flip, walls and magnet by bar, each held until another level has led for a while.

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
    query = parameters.read_window_query(symbol_segment(request, symbol), request.query_params)
    store = app_context(request).store.of_feed(query.feed)

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        if window.filled and window.state.session is not None:
            key = (query.symbol, window.state.day)
            # From the open on, whatever the window: a level is held by what came before.
            whole = {"start": window.state.session.open, "until": window.bounds["until"]}
            width = SLOT_WIDTH
            rows = await store.window(*key, **whole, width=width, columns=held_levels.COLUMNS)
            profiles = await store.profiles(*key, **whole, width=width, columns=held_levels.ARRAYS)
            held = await asyncio.to_thread(held_levels.held_levels, rows, profiles)
            sampled = await store.window(*key, **window.bounds, columns=("slot",))
            bars = [
                {"t": row["bucket"], **held[row["slot"]], "sampled_at": row["slot"]}
                for row in sampled
                if row["slot"] in held
            ]
        return {
            "as_of": window.now,
            "bar_size": query.bar,
            "lead_share": held_levels.LEAD,
            "flip_leap_share": held_levels.LEAP,
            "hold_seconds": int(held_levels.HOLD.total_seconds()),
            "bars": bars,
        }

    return await answer_window(request, query, ("held-levels",), make)


async def get_heatmap(request: Request, symbol: Symbol, caller: Alpha) -> Response:
    """Answer with one metric by strike and bar.

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
    metric = parameters.read_choice(request.query_params, "metric", parameters.METRICS)
    mode = parameters.read_choice(request.query_params, "mode", parameters.MODES)
    book = parameters.read_choice(request.query_params, "book", parameters.BOOKS)
    query = parameters.read_window_query(
        symbol_segment(request, symbol), request.query_params, bar="1m"
    )
    store = app_context(request).store.of_feed(query.feed)

    async def make(window: StoredWindow) -> dict[str, Any]:
        profiles, before = await _profiles(
            store,
            window,
            heatmap.metric_columns(metric, book),
            baseline=heatmap.baseline_of(metric, mode),
        )
        # A day of a wide chain is 100,000 numbers. In a thread, they hold up no other request.
        grid = await asyncio.to_thread(
            heatmap.heatmap, profiles, before, metric=metric, mode=mode, book=book
        )
        head: dict[str, Any] = {"underlying_price": _price(window, profiles)}
        head |= {"metric": metric, "mode": mode, "book": book, "bar_size": query.bar}
        return head | {"as_of": window.now, "tier_used": "raw"} | grid

    return await answer_window(request, query, ("heatmap", metric, mode, book), make)


async def get_strike_flow(request: Request, symbol: Symbol, caller: Alpha) -> Response:
    """Answer with signed flow by strike and bar.

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
    query = parameters.read_window_query(
        symbol_segment(request, symbol), request.query_params, bar="1m"
    )
    store = app_context(request).store.of_feed(query.feed)

    async def make(window: StoredWindow) -> dict[str, Any]:
        profiles, before = await _profiles(store, window, strike_flow.COLUMNS, baseline="before")
        grid = await asyncio.to_thread(strike_flow.strike_flow, profiles, before)
        head = {"underlying_price": _price(window, profiles), "bar_size": query.bar}
        return head | {"as_of": window.now, "tier_used": "raw"} | grid

    return await answer_window(request, query, ("strike-flow",), make)


def _price(window: StoredWindow, profiles: Sequence[ProfileRow]) -> float | None:
    return profiles[-1].spot if profiles else window.state.newest.get("spot")


async def _profiles(
    store: Store, window: StoredWindow, columns: Sequence[str], *, baseline: str
) -> tuple[list[ProfileRow], ProfileRow | None]:
    """A window's samples by strike.

    Parameters
    ----------
    columns
        Arrays to load of each sample.
    baseline
        Which sample the document needs beside the window's: ``before``, ``first`` or none.

    Returns
    -------
    list
        The samples that have figures by strike, oldest first.
    ProfileRow or None
        The newest sample before the window, else the session's first; None without a baseline.

    Raises
    ------
    QueryError
        ``no_strike_data_for_window`` if the window has rows, but none has figures by strike, or
        if the session's first sample, which the document needs, has none.
    """
    symbol, day = window.query.symbol, window.state.day
    if not window.filled:
        return [], None
    rows = await store.profiles(symbol, day, **window.bounds, columns=columns)
    profiles = [row for row in rows if len(row.arrays["strike"])]
    if not profiles:
        raise QueryError(
            "no_strike_data_for_window",
            "the samples of this window were stored without figures by strike",
        )
    if not baseline:
        return profiles, None
    # No row is as early as the day before: the answer is then the session's first one.
    early = profiles[0].bucket - (timedelta() if baseline == "before" else timedelta(days=1))
    before = await store.profile_before(symbol, day, early, columns=columns)
    if baseline == "first" and (before is None or not len(before.arrays["strike"])):
        raise QueryError(
            "no_strike_data_for_window",
            "the session's first sample was stored without figures by strike",
        )
    return profiles, before


async def get_leaderboard(request: Request, caller: Alpha) -> Response:
    """Answer with symbols ranked by one figure of their newest sample.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    query = request.query_params
    metric, n = (
        parameters.read_choice(query, "metric", parameters.LEADERBOARD_METRICS),
        parameters.read_board_size(query),
    )
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
    quoted = [(row["symbol"], row["quoted_at"]) for row in rows]
    body |= stamp(app_context(request).node, quoted)
    return await reply.document_reply(body, request.headers.get("Accept-Encoding", ""))


async def get_sessions(request: Request, symbol: Symbol, caller: Free) -> Response:
    """Answer with a symbol's stored sessions, and how many of each session's slots are stored.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If the symbol is not valid.
    """
    name, feed = _symbol(request, symbol), read_feed(request.query_params)
    store = await store_of_feed(app_context(request).store, name, feed)
    rows = await store.sessions(name)
    if not rows:
        return _not_found_response(request, name)
    now = app_context(request).clock.now()
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
        spooled=await _spooled_slots(request, store, name, now - delay),
    )
    body = {"symbol": name, "count": len(sessions), "as_of": now, "sessions": sessions}
    return await _document_response(request, body, name, newest.get("quoted_at"))


async def get_history(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with a symbol's newest stored sessions, each in a few numbers.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    name, query = _symbol(request, symbol), request.query_params
    count, feed = parameters.read_board_size(query), read_feed(query)
    day = read_day(query["date"]) if "date" in query else None
    context = app_context(request)
    store = await store_of_feed(context.store, name, feed)
    now = context.clock.now()
    summaries = await context.earlier.summaries(
        store, name, day or market_day(now), count=count, summarize=history.session_summary
    )
    if not summaries and not await store.known(name):
        return _not_found_response(request, name)
    newest = await store.newest(name, summaries[-1]["date"]) if summaries else {}
    body = {
        "symbol": name,
        "count": len(summaries),
        "as_of": now,
        "course_seconds": history.COURSE_SECONDS,
        "sessions": summaries,
    }
    return await _document_response(request, body, name, newest.get("quoted_at"))


async def get_projection(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with gamma and charm until the close, by the newest sample that has them.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    name, when = _symbol(request, symbol), parameters.read_moment(request.query_params)
    context = app_context(request)
    store = await store_of_feed(context.store, name, when.feed)
    now = context.clock.now()
    moment = min(when.moment or now, now)
    day = when.session_day or await store.newest_day(name, market_day(moment))
    if day is None or not await store.newest_day(name, day):
        return _not_found_response(request, name, when)
    row = await store.projection(name, day, moment=when.moment, columns=projection.COLUMNS)
    body = {"symbol": name, "as_of": min(moment, now)} | projection.projection(row, day)
    return await _document_response(request, body, name, row["quoted_at"] if row else None)


async def get_scorecard(request: Request, symbol: Symbol, caller: Growth) -> Response:
    """Answer with how a symbol's forecasts came out, each kind apart.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 if nothing was ever sampled of the symbol, and nothing is scored.

    Raises
    ------
    QueryError
        If a parameter is not valid.
    """
    name, context = _symbol(request, symbol), app_context(request)
    query = read_scorecard_query(request.query_params)
    table = context.store.forecasts
    lines = await table.scores(name, query.first, query.last)
    frozen = await table.frozen(name, query.first, query.last)
    if not lines and not frozen and not await context.store.known(name):
        return _not_found_response(request, name)
    # A year of a symbol takes some tenths of a second. In a thread, it holds up no other request.
    body = await asyncio.to_thread(scorecard_document, lines, frozen, query)
    head = {"symbol": name, "as_of": context.clock.now(), "dataset": context.dataset}
    day = await context.store.newest_day(name, date.max)
    newest = await context.store.newest(name, day) if day else {}
    return await _document_response(request, head | body, name, newest.get("quoted_at"))


async def _spooled_slots(
    request: Request, store: Store, symbol: str, until: datetime
) -> dict[date, int]:
    """How many slots of each day have passed, are not stored, and wait in a sampler's spool."""
    sessions = app_context(request).sessions
    counts = {}
    for day in sessions.waiting_days(symbol):
        state = await lookup_session(store, symbol, day, today=day)
        state = replace(state, waiting=sessions.waiting(symbol, day))
        counts[day] = state.count_spooled(until)
    return counts


async def _document_response(
    request: Request, body: dict[str, Any], symbol: str, newest: datetime | None
) -> Response:
    stamped = body | stamp(app_context(request).node, [(symbol, newest)])
    return await reply.document_reply(stamped, request.headers.get("Accept-Encoding", ""))


def _not_found_response(
    request: Request, symbol: str, when: parameters.MomentQuery | None = None
) -> Response:
    expiring = f" expiring {when.expiry}" if when and when.expiry else ""
    body = {"error": "symbol_not_found", "message": f"No data for {symbol}{expiring}."}
    anything = when is None or (when.session_day, when.moment, when.feed) == (None, None, None)
    if anything and symbol in app_context(request).sessions.configured:
        # Nobody has mistyped it: its sampler has not stored anything of it yet.
        body = {
            "error": "symbol_not_found",
            "message": f"No data for {symbol} yet: it is configured, and was not sampled so far.",
            "reason": "not_sampled",
        }
    return json_response(body, 404)
