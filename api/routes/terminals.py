"""Routes whose form other programs prescribe: OpenBB Workspace, and UDF for charting libraries."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.access.gate import Caller
from api.context import AppContext, app_context
from api.documents import openbb, udf
from api.documents.basis import IDENTITY
from api.documents.lookup import NoData, lookup_nearest_sample
from api.documents.platform_levels import levels_document
from api.documents.query import MomentQuery
from api.documents.sample import Sample
from api.http.json import json_response
from api.openapi.catalogue import TERMINALS
from api.routes.admission import require
from api.series import reply
from api.series.params import QueryError
from api.series.sessions import session_on_day
from storage.errors import UsageError
from storage.market.calendar import market_day
from storage.market.constants import GRID_SECONDS
from storage.market.instruments import parse_symbol

Growth = Annotated[Caller, Depends(require("Growth"))]
Free = Annotated[Caller, Depends(require("Free"))]
_SLOT = timedelta(seconds=GRID_SECONDS)
_NOW = MomentQuery(day=None, expiry=None, moment=None)
#: How many sessions one answer looks into.
_MOST_SESSIONS = 40
_DIGITS = re.compile(r"[0-9]{1,11}")
_LATEST = 4_102_444_800


def add_terminal_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: dict[str, Callable[..., Awaitable[Response]]] = {
        "widgets": get_widgets,
        "apps": get_apps,
        "openbb-symbols": get_symbol_options,
        "openbb-levels": get_level_rows,
        "openbb-figures": get_figures,
        "openbb-strikes": get_strikes,
        "openbb-bars": get_bars,
        "udf-config": get_config,
        "udf-time": get_time,
        "udf-symbols": get_symbol_info,
        "udf-search": get_search,
        "udf-history": get_udf_history,
        "udf-marks": get_marks,
    }
    for name, handler in handlers.items():
        path, described = TERMINALS[name]
        app.get(path, **described)(handler)


# OpenBB


async def get_widgets(request: Request, caller: Free) -> Response:
    """Answer with what OpenBB can put on a dashboard.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    return json_response(openbb.widgets(await _symbols(request)))


async def get_apps(request: Request, caller: Free) -> Response:
    """Answer with OpenBB's dashboard.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    return json_response(openbb.apps(await _symbols(request)))


async def get_symbol_options(request: Request, caller: Free) -> Response:
    """Answer with what a widget's symbol can be.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    return json_response(openbb.symbol_options(await _symbols(request)))


async def get_level_rows(request: Request, caller: Growth) -> Response:
    """Answer with the levels as a table.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 without a sample.
    """
    sample = await _sample(request)
    if sample is None:
        return _no_sample()
    simulated = _is_simulated(app_context(request))
    symbol = sample.record.row.symbol
    document = levels_document(sample, symbol, IDENTITY, "same", simulated=simulated)
    return json_response(openbb.level_rows(document))


async def get_figures(request: Request, caller: Growth) -> Response:
    """Answer with figures as labels and values.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 without a sample.
    """
    sample = await _sample(request)
    if sample is None:
        return _no_sample()
    return json_response(openbb.metrics(sample, simulated=_is_simulated(app_context(request))))


async def get_strikes(request: Request, caller: Growth) -> Response:
    """Answer with gamma by strike as a figure of Plotly.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 without a sample.
    """
    sample = await _sample(request)
    if sample is None:
        return _no_sample()
    simulated = _is_simulated(app_context(request))
    return json_response(openbb.strikes_figure(sample, simulated=simulated))


async def get_bars(request: Request, caller: Growth) -> Response:
    """Answer with the newest session's bars as a table.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    context = app_context(request)
    symbol = _symbol(request.query_params)
    day = await context.store.newest_day(symbol, market_day(context.clock.now()))
    session = None if day is None else await session_on_day(day)
    if day is None or session is None:
        return _no_sample()
    rows = await context.store.window(
        symbol,
        day,
        start=session.open,
        until=session.close + _SLOT,
        width=timedelta(minutes=5),
        columns=openbb.BAR_COLUMNS,
    )
    return json_response(openbb.bar_rows(rows))


async def _symbols(request: Request) -> list[str]:
    return list(await app_context(request).store.symbols())


def _is_simulated(context: AppContext) -> bool:
    return context.dataset == "synthetic"


def _symbol(query: Mapping[str, str]) -> str:
    try:
        return parse_symbol(query.get("symbol", "SPX"))
    except UsageError as error:
        raise QueryError("invalid_symbol", str(error)) from None


async def _sample(request: Request) -> Sample | None:
    context = app_context(request)
    symbol = _symbol(request.query_params)
    try:
        return await lookup_nearest_sample(context.store, symbol, _NOW, context.clock.now())
    except NoData:
        return None


def _no_sample() -> Response:
    return json_response({"error": "symbol_not_found", "message": "No data for the symbol."}, 404)


# UDF


async def get_config() -> Response:
    """What the datafeed can do."""
    return json_response(udf.config())


async def get_time(request: Request) -> Response:
    """Answer with the server's time, which a simulated market sets.

    Parameters
    ----------
    request : the request.

    Returns
    -------
    Response
        Status 200: Unix seconds as text.
    """
    return Response(str(int(app_context(request).clock.now().timestamp())), media_type="text/plain")


async def get_symbol_info(request: Request, caller: Free) -> Response:
    """Answer with what one symbol of the datafeed is.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 404 for a symbol that was never sampled.
    """
    ticker = udf.read_ticker(request.query_params.get("symbol", ""))
    if ticker.underlying not in await _symbols(request):
        return _udf_error("unknown symbol", 404)
    return json_response(udf.symbol_info(ticker, simulated=_is_simulated(app_context(request))))


async def get_search(request: Request, caller: Free) -> Response:
    """Answer with the symbols that have a text in their name or description.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200.
    """
    query = request.query_params
    limit = query.get("limit", "30")
    matches = udf.search_results(
        await _symbols(request),
        query.get("query", "")[:40],
        query.get("type", ""),
        min(int(limit), 500) if _DIGITS.fullmatch(limit) else 30,
        simulated=_is_simulated(app_context(request)),
    )
    return json_response(matches)


async def get_udf_history(request: Request, caller: Growth) -> Response:
    """Answer with bars of a symbol of the datafeed.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 400 and 404 with ``s: error``.
    """
    query = request.query_params
    ticker = udf.read_ticker(query.get("symbol", ""))
    seconds = udf.RESOLUTIONS.get(query.get("resolution", "").upper())
    window = _window(query)
    if seconds is None or window is None:
        resolutions = "|".join(udf.RESOLUTIONS)
        return _udf_error(f"resolution must be {resolutions}; from and to are Unix seconds", 400)
    if ticker.underlying not in await _symbols(request):
        return _udf_error("unknown symbol", 404)
    start, until = window
    wanted = query.get("countback", "0")
    count = min(int(wanted), udf.MOST_BARS) if _DIGITS.fullmatch(wanted) else 0
    context, figure = app_context(request), udf.FIGURES[ticker.figure]
    if count:
        # Countback stands above `from`: so many bars, however far back they are.
        start = datetime.fromtimestamp(0, UTC)
    answer: dict[str, Any] = udf.history([], figure, seconds)
    day = await context.store.newest_day(ticker.underlying, market_day(until - _SLOT / 2))
    for _ in range(_MOST_SESSIONS):
        if day is None or day < market_day(start):
            break
        rows = await context.store.window(
            ticker.underlying,
            day,
            start=max(start, datetime(day.year, day.month, day.day, tzinfo=UTC)),
            until=until,
            width=_SLOT,
            columns=figure.columns,
        )
        bars = udf.history(rows, figure, seconds)
        answer = {"s": "ok"} | {name: bars[name] + answer[name] for name in "tohlc"}
        if len(answer["t"]) >= (count or udf.MOST_BARS):
            break
        day = await context.store.newest_day(ticker.underlying, day - timedelta(days=1))
    if not answer["t"]:
        earlier = None
        if day is not None:
            newest = (await context.store.newest(ticker.underlying, day)).get("slot")
            earlier = newest if newest is not None and newest < start else None
        return json_response(udf.no_data(earlier))
    body = {"s": "ok"} | {name: answer[name][-udf.MOST_BARS :] for name in "tohlc"}
    return await reply.document_reply(body, request.headers.get("Accept-Encoding", ""))


async def get_marks(request: Request, caller: Growth) -> Response:
    """Answer with changes of the regime and missing slots, as marks on bars.

    Parameters
    ----------
    request : the request.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200; 400 and 404 with ``s: error``.
    """
    query = request.query_params
    ticker, window = udf.read_ticker(query.get("symbol", "")), _window(query)
    if window is None:
        return _udf_error("from and to are Unix seconds", 400)
    if ticker.underlying not in await _symbols(request):
        return _udf_error("unknown symbol", 404)
    start, until = window
    store = app_context(request).store
    regimes: list[Mapping[str, Any]] = []
    gaps: list[tuple[datetime, datetime, str]] = []
    day = await store.newest_day(ticker.underlying, market_day(until))
    for _ in range(_MOST_SESSIONS):
        if day is None or day < market_day(start):
            break
        key = (ticker.underlying, day)
        rows = await store.window(*key, start=start, until=until, width=_SLOT, columns=("regime",))
        regimes = [*rows, *regimes]
        gaps += _stretches(await store.gaps(*key), start, until)
        day = await store.newest_day(ticker.underlying, day - timedelta(days=1))
    return json_response(udf.marks(regimes, gaps))


def _stretches(
    gaps: list[dict[str, Any]], start: datetime, until: datetime
) -> list[tuple[datetime, datetime, str]]:
    """Join gaps of neighbouring slots that have the same reason."""
    stretches: list[tuple[datetime, datetime, str]] = []
    for gap in sorted(gaps, key=lambda gap: gap["slot"]):
        slot, reason = gap["slot"], gap["reason"]
        if not start <= slot < until:
            continue
        if stretches and stretches[-1][1:] == (slot, reason):
            stretches[-1] = (stretches[-1][0], slot + _SLOT, reason)
        else:
            stretches.append((slot, slot + _SLOT, reason))
    return stretches


def _window(query: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    first, last = query.get("from", "0"), query.get("to", "")
    if not _DIGITS.fullmatch(first) or not _DIGITS.fullmatch(last):
        return None
    start, until = int(first), int(last)
    if start > until or until > _LATEST:
        return None
    return datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(until, UTC)


def _udf_error(message: str, status: int) -> Response:
    return json_response({"s": "error", "errmsg": message}, status)
