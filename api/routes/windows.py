"""Routes of documents about a window of a session, by bar, and by strike and bar."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
from starlette.responses import Response

from api.documents import heatmap, hedge_flow, held_levels, pressure, strike_flow
from api.documents import query as parameters
from api.documents.windowed import StoredWindow, answer_window
from api.routes.admission import Handlers
from api.routes.symbol_request import PathSymbolRequest
from api.series.earlier import RATE_MINUTES, sample_cadence
from api.series.params import QueryError
from storage.market.constants import SLOT_WIDTH
from storage.postgres.windows import ProfileRow


async def _hedge_flow(request: PathSymbolRequest) -> Response:
    """Answer with what dealers bought (positive) or sold to hedge customers' trades, by bar."""
    side = parameters.read_choice(request.query, "side", parameters.SIDES)
    query = parameters.read_window_query(request.symbol, request.query)

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        if window.filled:
            columns = hedge_flow.COLUMNS
            rows = await window.store.window(*window.session_key, **window.bounds, columns=columns)
            first = rows[0]["bucket"]
            before = await window.store.figures_before(*window.session_key, first, columns=columns)
            bars = hedge_flow.hedge_flow_bars(rows, before, side)
        return {"as_of": window.now, "side": side, "bar_size": query.bar, "bars": bars}

    return await answer_window(request.http, query, ("hedge-flow", side), make)


async def _pressure(request: PathSymbolRequest) -> Response:
    """Answer with hedge flow by bar, its rate, and where both stand among stored sessions."""
    query = parameters.read_window_query(request.symbol, request.query, bar="1m")

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        days: tuple[date, ...] = ()
        cadence = None
        if window.filled and (session := window.state.session) is not None:
            samples = await window.store.pressure(*window.session_key, until=window.window.end)
            slots = np.array([sample["slot"].timestamp() for sample in samples])
            cadence = sample_cadence(slots)
            newest = window.state.newest
            earlier = await request.context.earlier.flow(
                window.store,
                *window.session_key,
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

    return await answer_window(request.http, query, ("pressure",), make)


async def _held_levels(request: PathSymbolRequest) -> Response:
    """Answer with flip, walls and magnet by bar, each held until another has led for a while."""
    query = parameters.read_window_query(request.symbol, request.query)

    async def make(window: StoredWindow) -> dict[str, Any]:
        bars: list[dict[str, Any]] = []
        if window.filled and window.state.session is not None:
            store, key, width = window.store, window.session_key, SLOT_WIDTH
            # From the open on, whatever the window: a level is held by what came before.
            whole = {"start": window.state.session.open, "until": window.bounds["until"]}
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

    return await answer_window(request.http, query, ("held-levels",), make)


async def _heatmap(request: PathSymbolRequest) -> Response:
    """Answer with one metric by strike and bar."""
    metric = parameters.read_choice(request.query, "metric", parameters.METRICS)
    mode = parameters.read_choice(request.query, "mode", parameters.MODES)
    book = parameters.read_choice(request.query, "book", parameters.BOOKS)
    query = parameters.read_window_query(request.symbol, request.query, bar="1m")

    async def make(window: StoredWindow) -> dict[str, Any]:
        columns = heatmap.metric_columns(metric, book)
        baseline = heatmap.baseline_of(metric, mode)
        profiles, before = await _profiles(window, columns, baseline=baseline)
        # A day of a wide chain is 100,000 numbers. In a thread, they hold up no other request.
        grid = await asyncio.to_thread(
            heatmap.heatmap, profiles, before, metric=metric, mode=mode, book=book
        )
        head: dict[str, Any] = {"underlying_price": _price(window, profiles)}
        head |= {"metric": metric, "mode": mode, "book": book, "bar_size": query.bar}
        return head | {"as_of": window.now, "tier_used": "raw"} | grid

    return await answer_window(request.http, query, ("heatmap", metric, mode, book), make)


async def _strike_flow(request: PathSymbolRequest) -> Response:
    """Answer with signed flow by strike and bar."""
    query = parameters.read_window_query(request.symbol, request.query, bar="1m")

    async def make(window: StoredWindow) -> dict[str, Any]:
        profiles, before = await _profiles(window, strike_flow.COLUMNS, baseline="before")
        grid = await asyncio.to_thread(strike_flow.strike_flow, profiles, before)
        head = {"underlying_price": _price(window, profiles), "bar_size": query.bar}
        return head | {"as_of": window.now, "tier_used": "raw"} | grid

    return await answer_window(request.http, query, ("strike-flow",), make)


def _price(window: StoredWindow, profiles: Sequence[ProfileRow]) -> float | None:
    return profiles[-1].spot if profiles else window.state.newest.get("spot")


async def _profiles(
    window: StoredWindow, columns: Sequence[str], *, baseline: str
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
    store = window.store
    if not window.filled:
        return [], None
    rows = await store.profiles(*window.session_key, **window.bounds, columns=columns)
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
    before = await store.profile_before(*window.session_key, early, columns=columns)
    if baseline == "first" and (before is None or not len(before.arrays["strike"])):
        raise QueryError(
            "no_strike_data_for_window",
            "the session's first sample was stored without figures by strike",
        )
    return profiles, before


HANDLERS: Handlers = {
    "hedge-flow": ("Growth", _hedge_flow),
    "pressure": ("Growth", _pressure),
    "held-levels": ("Growth", _held_levels),
    "heatmap": ("Alpha", _heatmap),
    "strike-flow": ("Alpha", _strike_flow),
}
