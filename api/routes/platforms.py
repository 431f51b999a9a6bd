"""The route of levels for charting programs and spreadsheets."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import Response

from api.access.gate import Caller
from api.context import app_context
from api.documents import query as parameters
from api.documents.basis import IDENTITY, Basis, are_related, basis_between
from api.documents.lookup import NoData, lookup_nearest_sample, store_of_feed
from api.documents.platform_levels import (
    BasisFrom,
    TargetQuery,
    given_basis,
    levels_document,
    levels_table,
    read_target,
)
from api.documents.sample import Sample
from api.documents.stamp import stamp
from api.http.json import json_response
from api.openapi.catalogue import PLATFORMS
from api.routes.admission import require
from api.series import reply
from api.series.formats import MEDIA_TYPES, read_format
from api.series.params import QueryError, symbol_segment
from storage.errors import UsageError
from storage.market.instruments import parse_symbol
from storage.postgres.store import Store

Symbol = Annotated[str, Path(description="The underlying.", examples=["SPX"])]
FORMATS = ("json", "csv")
#: Prices of two instruments are of one moment if they are quoted within this time.
_TOGETHER = timedelta(seconds=60)


def add_platform_routes(app: FastAPI) -> None:
    """Add the route to an application.

    Parameters
    ----------
    app : the application.
    """
    path, described = PLATFORMS["levels"]
    app.get(path, **described)(get_platform_levels)


async def get_platform_levels(
    request: Request, symbol: Symbol, caller: Annotated[Caller, Depends(require("Levels"))]
) -> Response:
    """Answer with the newest levels of a symbol, as prices of the instrument that ``to`` names.

    Parameters
    ----------
    request : the request.
    symbol : the symbol in the path.
    caller : the admitted caller.

    Returns
    -------
    Response
        Status 200 with JSON or CSV; 404 if nothing was ever sampled of the symbol.

    Raises
    ------
    QueryError
        If a parameter is not valid, or the basis is not known.
    """
    try:
        name = parse_symbol(symbol_segment(request, symbol))
    except UsageError as error:
        raise QueryError("invalid_symbol", str(error)) from None
    wanted = request.query_params
    form = parameters.read_choice(wanted, "format", FORMATS)
    if "format" not in wanted and read_format(None, request.headers.get("Accept", "")) == "csv":
        form = "csv"
    when = parameters.read_moment({k: v for k, v in wanted.items() if k != "format"})
    target = read_target(wanted)
    context = app_context(request)
    store = await store_of_feed(context.store, name, when.feed)
    now = context.clock.now()
    try:
        sample = await lookup_nearest_sample(store, name, when, now)
    except NoData:
        return json_response(
            {"error": "symbol_not_found", "message": f"No data for {name} at that time."}, 404
        )
    basis, origin = await _basis(context.store, target, sample)
    document = levels_document(
        sample, target.target or name, basis, origin, simulated=context.dataset == "synthetic"
    )
    if form == "csv":
        table = levels_table(document)
        headers = {
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": 'inline; filename="levels.csv"',
        }
        # A charset in media_type is kept as it is.
        return Response(table, headers=headers, media_type=MEDIA_TYPES["csv"])
    body = document | stamp(context.node, [(name, sample.record.row.quoted_at)])
    return await reply.document_reply(body, request.headers.get("Accept-Encoding", ""))


async def _basis(store: Store, query: TargetQuery, sample: Sample) -> tuple[Basis, BasisFrom]:
    row = sample.record.row
    if query.given_by is not None:
        return given_basis(query, row.spot), query.given_by
    if query.target is None or query.target == row.symbol:
        return IDENTITY, "same"
    if not are_related(row.symbol, query.target):
        raise QueryError(
            "no_basis",
            f"{query.target} is not known to follow {row.symbol}: say price=, its price now, or"
            " basis= or ratio=",
        )
    other = await store.moment(query.target, sample.session.day, row.quoted_at + _TOGETHER)
    if other is None or abs(other.row.quoted_at - row.quoted_at) > _TOGETHER:
        raise QueryError(
            "no_basis",
            f"{query.target} has no sample of this moment here: say price=, its price now, or"
            " basis= or ratio=",
        )
    return basis_between(row.spot, other.row.spot), "sampled"
