"""Routes of documents about one moment: today's chain, its figures, and where they are going."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from api.documents import degraded, projection
from api.documents import query as parameters
from api.documents.explain import explain
from api.documents.figure_inputs import FIGURES
from api.documents.lookup import NoChain, NoData, lookup_nearest_sample, lookup_sample
from api.documents.sample import Sample
from api.documents.siblings import SIBLINGS
from api.documents.snapshot import exposure, snapshot
from api.documents.strikes import DEFAULT_RANGE
from api.routes.admission import Handlers
from api.routes.symbol_request import PathSymbolRequest, SymbolRequest
from storage.market.calendar import market_day
from storage.postgres.store import Store


async def _snapshot(request: PathSymbolRequest) -> Response:
    """Answer with today's chain now, on effective open interest."""

    async def document(sample: Sample) -> dict[str, Any]:
        context = request.context
        scores = await context.frozen_scores.of_symbol(context.store, request.symbol, request.now)
        return snapshot(sample, scores)

    return await _answer_chain(request, document, _reason_alone)


async def _exposure(request: PathSymbolRequest) -> Response:
    """Answer with today's chain on this morning's open interest; when closed, the last one."""
    reach = parameters.read_strike_range(request.query, DEFAULT_RANGE)

    async def document(sample: Sample) -> dict[str, Any]:
        return exposure(sample, reach)

    return await _answer_chain(request, document, _reason_with_price, while_closed=True)


async def _answer_chain(
    request: SymbolRequest,
    document: Callable[[Sample], Awaitable[dict[str, Any]]],
    reason_body: Callable[[Store, str, NoChain], Awaitable[dict[str, Any]]],
    *,
    while_closed: bool = False,
) -> Response:
    """Answer with a document of one moment's chain.

    Parameters
    ----------
    document
        Makes the document of a sample.
    reason_body
        Makes the body that is sent instead where the moment has no chain.
    while_closed
        Whether the newest session's last sample is shown while the market is closed.
    """
    name, now, when = request.symbol, request.now, parameters.read_moment(request.query)
    store = await request.store_of_feed(when.feed)
    configured = name in request.context.sessions.configured
    try:
        sample = await lookup_sample(store, name, when, now, configured=configured)
    except NoChain as reason:
        if reason.market_open or when.session_day is not None or not while_closed:
            return await request.answer(await reason_body(store, name, reason), None)
        sample = await lookup_nearest_sample(store, name, when, now)
    return await request.answer(await document(sample), sample.record.row.quoted_at)


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


async def _answer_sample(
    request: SymbolRequest, document: Callable[[Sample], dict[str, Any]]
) -> Response:
    """Answer with a document of the newest sample up to the moment of the query."""
    sample = await request.nearest_sample(parameters.read_moment(request.query))
    return await request.answer(document(sample), sample.record.row.quoted_at)


def _sibling(document: Callable[[Sample], dict[str, Any]]) -> Callable[..., Awaitable[Response]]:
    async def get(request: PathSymbolRequest) -> Response:
        return await _answer_sample(request, document)

    return get


async def _explanation(request: PathSymbolRequest) -> Response:
    """Answer with one figure's formula, inputs and flags, and what it is not."""
    figure = parameters.read_figure(request.query, FIGURES)
    strike = parameters.read_strike(request.query)
    return await _answer_sample(request, lambda sample: explain(sample, figure, strike))


async def _projection(request: PathSymbolRequest) -> Response:
    """Answer with gamma and charm until the close, by the newest sample that has them."""
    name, when = request.symbol, parameters.read_moment(request.query)
    store = await request.store_of_feed(when.feed)
    moment = min(when.moment or request.now, request.now)
    day = when.session_day or await store.newest_day(name, market_day(moment))
    if day is None or not await store.newest_day(name, day):
        raise NoData(name, when)
    row = await store.projection(name, day, moment=when.moment, columns=projection.COLUMNS)
    body = {"symbol": name, "as_of": moment} | projection.projection(row, day)
    return await request.answer(body, row["quoted_at"] if row else None)


HANDLERS: Handlers = {
    "snapshot": ("Growth", _snapshot),
    "exposure": ("Growth", _exposure),
    "explain": ("Growth", _explanation),
    "projection": ("Growth", _projection),
} | {name: ("Growth", _sibling(document)) for name, document in SIBLINGS.items()}
