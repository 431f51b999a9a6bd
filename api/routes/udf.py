"""Routes of a UDF datafeed, whose form TradingView's charting library prescribes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api.context import app_context
from api.documents import udf
from api.http.json import json_response
from api.openapi.catalogue import TERMINALS
from api.routes.admission import Handlers, add_routes
from api.series import reply
from storage.market.calendar import market_day
from storage.market.constants import SLOT_WIDTH
from storage.postgres.store import Store

#: How many sessions one answer looks into.
_MOST_SESSIONS = 40
_DIGITS = re.compile(r"[0-9]{1,11}")
_LATEST = 4_102_444_800


class UdfRefusal(Exception):
    """A request that cannot be answered, in the form that the datafeed prescribes."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Window(NamedTuple):
    """The moments between ``from`` and ``to``."""

    start: datetime
    until: datetime


async def _read_ticker(request: Request) -> udf.Ticker:
    """Read the parameter ``symbol``; it must have been sampled."""
    ticker = udf.read_ticker(request.query_params.get("symbol", ""))
    if ticker.underlying not in await app_context(request).store.symbols():
        raise UdfRefusal("unknown symbol", 404)
    return ticker


async def _read_window(request: Request) -> _Window:
    first, last = request.query_params.get("from", "0"), request.query_params.get("to", "")
    if _DIGITS.fullmatch(first) and _DIGITS.fullmatch(last):
        start, until = int(first), int(last)
        if start <= until <= _LATEST:
            return _Window(*(datetime.fromtimestamp(second, UTC) for second in (start, until)))
    raise UdfRefusal("from and to are Unix seconds", 400)


_Ticker = Annotated[udf.Ticker, Depends(_read_ticker)]
_Between = Annotated[_Window, Depends(_read_window)]


def add_udf_routes(app: FastAPI) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers: Handlers = {
        "udf-config": (None, _config),
        "udf-time": (None, _time),
        "udf-symbols": ("Free", _symbol_info),
        "udf-search": ("Free", _search),
        "udf-history": ("Growth", _history),
        "udf-marks": ("Growth", _marks),
    }
    add_routes(app, TERMINALS, handlers)
    app.add_exception_handler(UdfRefusal, _error_response)


async def _error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, UdfRefusal)
    return json_response({"s": "error", "errmsg": str(error)}, error.status)


async def _config() -> Response:
    """Answer with what the datafeed can do."""
    return json_response(udf.config())


async def _time(request: Request) -> Response:
    """Answer with the server's time, which a simulated market sets, in Unix seconds as text."""
    return Response(str(int(app_context(request).clock.now().timestamp())), media_type="text/plain")


async def _symbol_info(request: Request, ticker: _Ticker) -> Response:
    """Answer with what one symbol of the datafeed is."""
    return json_response(udf.symbol_info(ticker, simulated=app_context(request).is_simulated))


async def _search(request: Request) -> Response:
    """Answer with the symbols that have a text in their name or description."""
    query, context = request.query_params, app_context(request)
    limit = query.get("limit", "30")
    matches = udf.search_results(
        await context.store.symbols(),
        query.get("query", "")[:40],
        query.get("type", ""),
        min(int(limit), 500) if _DIGITS.fullmatch(limit) else 30,
        simulated=context.is_simulated,
    )
    return json_response(matches)


async def _history(request: Request, window: _Between, ticker: _Ticker) -> Response:
    """Answer with bars of a symbol of the datafeed."""
    query = request.query_params
    seconds = udf.RESOLUTIONS.get(query.get("resolution", "").upper())
    if seconds is None:
        raise UdfRefusal(f"resolution must be {'|'.join(udf.RESOLUTIONS)}", 400)
    countback = query.get("countback", "0")
    count = min(int(countback), udf.MOST_BARS) if _DIGITS.fullmatch(countback) else 0
    store, figure = app_context(request).store, udf.FIGURES[ticker.figure]
    # Countback stands above `from`: so many bars, however far back they are.
    start = datetime.fromtimestamp(0, UTC) if count else window.start
    answer: dict[str, Any] = udf.history([], figure, seconds)
    newest = market_day(window.until - SLOT_WIDTH / 2)
    async for day in _days_back(store, ticker.underlying, newest, market_day(start)):
        rows = await store.window(
            ticker.underlying,
            day,
            start=max(start, datetime(day.year, day.month, day.day, tzinfo=UTC)),
            until=window.until,
            width=SLOT_WIDTH,
            columns=figure.columns,
        )
        bars = udf.history(rows, figure, seconds)
        answer = {"s": "ok"} | {name: bars[name] + answer[name] for name in "tohlc"}
        if len(answer["t"]) >= (count or udf.MOST_BARS):
            break
    if not answer["t"]:
        earlier = await store.newest_day(ticker.underlying, market_day(start) - timedelta(days=1))
        last = await store.newest(ticker.underlying, earlier) if earlier else {}
        return json_response(udf.no_data(last.get("slot")))
    body = {"s": "ok"} | {name: answer[name][-udf.MOST_BARS :] for name in "tohlc"}
    return await reply.document_reply(body, request.headers.get("Accept-Encoding", ""))


async def _marks(request: Request, window: _Between, ticker: _Ticker) -> Response:
    """Answer with changes of the regime and missing slots, as marks on bars."""
    store = app_context(request).store
    regimes: list[Mapping[str, Any]] = []
    gaps: list[tuple[datetime, datetime, str]] = []
    newest, oldest = market_day(window.until), market_day(window.start)
    async for day in _days_back(store, ticker.underlying, newest, oldest):
        key, bounds = (ticker.underlying, day), window._asdict()
        rows = await store.window(*key, **bounds, width=SLOT_WIDTH, columns=("regime",))
        regimes = [*rows, *regimes]
        gaps += _stretches(await store.gaps(*key), **bounds)
    return json_response(udf.marks(regimes, gaps))


async def _days_back(store: Store, symbol: str, newest: date, oldest: date) -> AsyncIterator[date]:
    """Stored sessions between two days, the newest first, and no more than an answer may have."""
    day = await store.newest_day(symbol, newest)
    for _ in range(_MOST_SESSIONS):
        if day is None or day < oldest:
            return
        yield day
        day = await store.newest_day(symbol, day - timedelta(days=1))


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
            stretches[-1] = (stretches[-1][0], slot + SLOT_WIDTH, reason)
        else:
            stretches.append((slot, slot + SLOT_WIDTH, reason))
    return stretches
