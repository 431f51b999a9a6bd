"""Routes that OpenBB Workspace prescribes: its widgets, its dashboard, and the widgets' data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.context import app_context
from api.documents import openbb
from api.documents.basis import IDENTITY
from api.documents.lookup import NoData
from api.documents.platform_levels import levels_document
from api.documents.query import MomentQuery
from api.documents.sample import Sample
from api.http.json import json_response
from api.openapi.catalogue import TERMINALS
from api.routes.admission import Handlers, add_routes
from api.routes.symbol_request import SymbolRequest, read_symbol_request
from api.series.sessions import session_on_day
from storage.market.calendar import market_day
from storage.market.constants import SLOT_WIDTH

_NOW = MomentQuery(day=None, expiry=None, moment=None)


async def _read_parameter(request: Request) -> SymbolRequest:
    return read_symbol_request(request, request.query_params.get("symbol", "SPX"))


#: A request that has the symbol as a parameter.
ParameterSymbolRequest = Annotated[SymbolRequest, Depends(_read_parameter)]


def add_openbb_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: Handlers = {
        "widgets": ("Free", _of_symbols(openbb.widgets)),
        "apps": ("Free", _of_symbols(openbb.apps)),
        "openbb-symbols": ("Free", _of_symbols(openbb.symbol_options)),
        "openbb-levels": ("Growth", _of_sample(_level_rows)),
        "openbb-figures": ("Growth", _of_sample(openbb.metrics)),
        "openbb-strikes": ("Growth", _of_sample(openbb.strikes_figure)),
        "openbb-bars": ("Growth", _bars),
    }
    add_routes(app, TERMINALS, handlers)


def _of_symbols(document: Callable[[list[str]], Any]) -> Callable[..., Awaitable[Response]]:
    """Make a handler that answers with what is made of the names of all symbols."""

    async def get(request: Request) -> Response:
        return json_response(document(list(await app_context(request).store.symbols())))

    return get


def _of_sample(document: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
    """Make a handler that answers with what is made of the symbol's newest sample."""

    async def get(request: ParameterSymbolRequest) -> Response:
        sample = await request.nearest_sample(_NOW)
        return json_response(document(sample, simulated=request.context.is_simulated))

    return get


def _level_rows(sample: Sample, *, simulated: bool) -> list[dict[str, Any]]:
    symbol = sample.record.row.symbol
    return openbb.level_rows(levels_document(sample, symbol, IDENTITY, "same", simulated=simulated))


async def _bars(request: ParameterSymbolRequest) -> Response:
    """Answer with the newest session's bars as a table."""
    store = request.context.store
    day = await store.newest_day(request.symbol, market_day(request.now))
    session = None if day is None else await session_on_day(day)
    if day is None or session is None:
        raise NoData(request.symbol)
    rows = await store.window(
        request.symbol,
        day,
        start=session.open,
        until=session.close + SLOT_WIDTH,
        width=timedelta(minutes=5),
        columns=openbb.BAR_COLUMNS,
    )
    return json_response(openbb.bar_rows(rows))
