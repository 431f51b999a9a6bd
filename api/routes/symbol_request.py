"""A request about one symbol: what every route reads of it, and how every route answers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from api.context import AppContext, app_context
from api.documents.lookup import lookup_nearest_sample, store_of_feed
from api.documents.query import MomentQuery
from api.documents.sample import Sample
from api.documents.stamp import stamp
from api.series import reply
from api.series.params import QueryError, symbol_segment
from storage.errors import UsageError
from storage.market.instruments import parse_symbol
from storage.postgres.store import Store


@dataclass(frozen=True, slots=True)
class SymbolRequest:
    """A request about one symbol."""

    http: Request
    #: As it is stored.
    symbol: str
    #: The server's time when the request came, UTC.
    now: datetime

    @property
    def query(self) -> QueryParams:
        """The parameters of the query string."""
        return self.http.query_params

    @property
    def context(self) -> AppContext:
        """The parts of the application that answers."""
        return app_context(self.http)

    async def store_of_feed(self, feed: str | None) -> Store:
        """Return the store as it reads the feed that the query names.

        Parameters
        ----------
        feed : the feed; None for the one that is shown of each session.

        Returns
        -------
        Store
            The store. Raises as ``store_of_feed`` of the lookup does.
        """
        return await store_of_feed(self.context.store, self.symbol, feed)

    async def nearest_sample(self, moment: MomentQuery) -> Sample:
        """Read the newest sample of the expiry of the query, or else of the newest stored expiry.

        Parameters
        ----------
        moment : the moment that the caller asks for, and the feed.

        Returns
        -------
        Sample
            The sample. Raises as ``lookup_nearest_sample`` does.
        """
        store = await self.store_of_feed(moment.feed)
        return await lookup_nearest_sample(store, self.symbol, moment, self.now)

    async def answer(self, body: dict[str, Any], quoted_at: datetime | None) -> Response:
        """Answer with a document about the symbol.

        Parameters
        ----------
        body : the document.
        quoted_at : the time of the newest quotes behind it; None without a sample.

        Returns
        -------
        Response
            Status 200: the document, then the fields that every answer ends with (``stamp``).
        """
        return await answer_document(self.http, body, [(self.symbol, quoted_at)])


async def answer_document(
    request: Request, body: dict[str, Any], delivered: list[tuple[str, datetime | None]]
) -> Response:
    """Answer with a document about any number of symbols.

    Parameters
    ----------
    request : the request.
    body : the document.
    delivered : the symbols behind it, each with the time of its newest quotes.

    Returns
    -------
    Response
        Status 200: the document, then the fields that every answer ends with (``stamp``).
    """
    whole = body | stamp(app_context(request).node, delivered)
    return await reply.document_reply(whole, request.headers.get("Accept-Encoding", ""))


def read_symbol_request(request: Request, symbol: str) -> SymbolRequest:
    """Read the symbol of a request.

    Parameters
    ----------
    request : the request.
    symbol : the symbol as the caller wrote it.

    Returns
    -------
    SymbolRequest
        The request, with the symbol as it is stored.

    Raises
    ------
    QueryError
        ``invalid_symbol``.
    """
    try:
        name = parse_symbol(symbol)
    except UsageError as error:
        raise QueryError("invalid_symbol", str(error)) from None
    return SymbolRequest(request, name, app_context(request).clock.now())


async def _read_path(
    request: Request, symbol: Annotated[str, Path(description="The underlying.", examples=["SPY"])]
) -> SymbolRequest:
    return read_symbol_request(request, symbol_segment(request, symbol))


#: A request whose path ends in the symbol.
PathSymbolRequest = Annotated[SymbolRequest, Depends(_read_path)]
