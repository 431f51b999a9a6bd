"""The route of levels for charting programs and spreadsheets."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from api.documents import query as parameters
from api.documents.basis import IDENTITY, Basis, are_related, basis_between
from api.documents.platform_levels import (
    BasisFrom,
    TargetQuery,
    given_basis,
    levels_document,
    levels_table,
    parity_basis,
    read_target,
)
from api.documents.sample import Sample
from api.openapi.catalogue import PLATFORMS
from api.routes.admission import add_routes
from api.routes.symbol_request import read_symbol_request
from api.series.formats import MEDIA_TYPES, read_format
from api.series.params import QueryError, symbol_segment
from storage.market.futures import FUTURES, settlement_after
from storage.postgres.store import Store

Symbol = Annotated[str, Path(description="The underlying.", examples=["SPX"])]
FORMATS = ("json", "csv")
#: Prices of two instruments are of one moment if they are quoted within this time.
_TOGETHER = timedelta(seconds=60)
#: Half a slot: a sample that is quoted no later than this after another one is of its slot.
_SAME_SLOT = timedelta(seconds=15)


def add_platform_routes(app: FastAPI) -> None:
    """Add the route to an application.

    Parameters
    ----------
    app : the application.
    """
    add_routes(app, PLATFORMS, {"levels": ("Levels", _levels)})


async def _levels(http: Request, symbol: Symbol) -> Response:
    """Answer with the newest levels of a symbol, as prices of the instrument that ``to`` names."""
    request = read_symbol_request(http, symbol_segment(http, symbol))
    context, query = request.context, request.query
    form = parameters.read_choice(query, "format", FORMATS)
    if "format" not in query and read_format(None, http.headers.get("Accept", "")) == "csv":
        form = "csv"
    # A format is refused by documents that come as JSON alone; this one comes as a table too.
    when = parameters.read_moment({k: v for k, v in query.items() if k != "format"})
    target = read_target(query)
    sample = await request.nearest_sample(when)
    basis, origin = await _basis(context.store, target, sample, null=form == "json")
    document = levels_document(
        sample, target.target or request.symbol, basis, origin, simulated=context.is_simulated
    )
    if form == "csv":
        headers = {
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": 'inline; filename="levels.csv"',
        }
        # A charset in media_type is kept as it is.
        return Response(levels_table(document), headers=headers, media_type=MEDIA_TYPES["csv"])
    return await request.answer(document, sample.record.row.quoted_at)


async def _basis(
    store: Store, query: TargetQuery, sample: Sample, *, null: bool
) -> tuple[Basis | None, BasisFrom]:
    """The basis, and where it is from. ``null``: none, not a refusal, where time may bring it."""
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
    future = FUTURES.get(query.target)
    if future is not None and future.index == row.symbol:
        basis = parity_basis(row, query.target)
        if basis is None and not null:
            raise QueryError(
                "no_basis",
                f"This sample has no forward of {settlement_after(row.expiration)}, when"
                f" {query.target} settles: say price=, its price now, or basis= or ratio=",
            )
        return basis, "parity"
    target_price = await _price_beside(store, query.target, sample)
    if target_price is None:
        if null and query.target in await store.symbols():
            return None, "apart"
        raise QueryError(
            "no_basis",
            f"{query.target} has no sample of this moment here: say price=, its price now, or"
            " basis= or ratio=",
        )
    return basis_between(row.spot, target_price), "sampled"


async def _price_beside(store: Store, target: str, sample: Sample) -> float | None:
    """The target's price in the same slot, else within a minute; none later than was asked for.

    A moment that has passed must be answered with what was known then.
    """
    quoted_at = sample.record.row.quoted_at
    for later in (_SAME_SLOT, _TOGETHER):
        latest = min(quoted_at + later, sample.moment)
        other = await store.moment(target, sample.session.day, latest)
        if other is not None and abs(other.row.quoted_at - quoted_at) <= _TOGETHER:
            return other.row.spot
    return None
