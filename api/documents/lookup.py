"""Reads from the store what documents are made of: a session's state, or one sample of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, NoReturn

from api.documents import degraded
from api.documents.query import MomentQuery
from api.documents.sample import Sample
from api.documents.session_state import SessionState
from api.series.epoch import epoch_seconds
from api.series.gaps import why_empty
from api.series.params import QueryError
from api.series.sessions import session_on_day
from storage.market.calendar import Session, last_session, market_day
from storage.postgres.store import Store
from storage.record.row import Reason


async def store_of_feed(store: Store, symbol: str | None, feed: str | None) -> Store:
    """Return the store as it reads the feed that a query names.

    Parameters
    ----------
    store : where rows are stored.
    symbol : the symbol; None for an answer about all of them.
    feed : the feed; None for the one that is shown of each session.

    Returns
    -------
    Store
        The same store, with its reads of that feed.

    Raises
    ------
    QueryError
        ``invalid_feed`` if the symbol, or every symbol, has rows of other feeds alone.
    StoreError
        If the store is away.
    """
    if feed is not None:
        feeds = await store.feeds_of(symbol)
        if feeds and feed not in feeds:
            raise QueryError(
                "invalid_feed",
                f"{symbol} has no rows of the feed {feed}; it has {', '.join(feeds)}"
                if symbol
                else f"no symbol has rows of the feed {feed}; there are {', '.join(feeds)}",
            )
    return store.of_feed(feed)


async def lookup_session(store: Store, symbol: str, day: date, *, today: date) -> SessionState:
    """Read a session's newest row, gaps and sampled slots.

    Today's session without a row yet has the delay of the session before.

    Parameters
    ----------
    store : where it is stored.
    symbol, day : the session.
    today : today, New York.

    Returns
    -------
    SessionState
        The session; empty where nothing is stored.

    Raises
    ------
    StoreError
        If the store is away.
    """
    session = await session_on_day(day)
    # The cursor is read first. A change that is stored meanwhile is then newer than the answer's
    # cursor, so a caller who polls with it receives the change again and misses nothing.
    newest = await store.newest(symbol, day)
    delay = newest.get("delay_seconds")
    if delay is None and session is not None and day == today:
        previous = last_session(session.open - timedelta(days=1))
        delay = (await store.newest(symbol, previous.day)).get("delay_seconds")
    # Gaps before slots: a row that replaces a gap between the two reads is then seen twice. In the
    # other order its slot would be in neither.
    gaps = await store.gaps(symbol, day)
    slots = await store.slots(symbol, day)
    return SessionState(
        symbol=symbol,
        day=day,
        session=session,
        newest=newest,
        delay=None if delay is None else timedelta(seconds=delay),
        gaps={epoch_seconds(gap["slot"]): gap["reason"] for gap in gaps},
        sampled=frozenset(map(epoch_seconds, slots)),
    )


class NoData(Exception):
    """Nothing is stored of the symbol, or of the moment that was asked for."""

    def __init__(self, symbol: str, query: MomentQuery | None = None) -> None:
        super().__init__(symbol)
        self.symbol = symbol
        self.query = query


class NoChain(Exception):
    """There is no chain to show. ``body`` is the answer that says why."""

    def __init__(self, body: dict[str, Any], *, moment: datetime, market_open: bool) -> None:
        super().__init__(body["message"])
        self.body = body
        self.moment = moment
        self.market_open = market_open


async def lookup_sample(
    store: Store, symbol: str, query: MomentQuery, now: datetime, *, configured: bool = False
) -> Sample:
    """Read the newest sample that was quoted by now, or by the moment of the query.

    Parameters
    ----------
    store : where samples are stored.
    symbol : the symbol.
    query : the moment that the caller asks for.
    now : the server's time, UTC.
    configured : whether the symbol is to be sampled, though nothing of it may be stored yet.

    Returns
    -------
    Sample
        The sample.

    Raises
    ------
    NoData
        If nothing was ever sampled of the symbol, or nothing of the expiry.
    NoChain
        Outside a session, unless the query names one; and where the session has no sample.
    StoreError
        If the store is away.
    """
    moment = min(query.moment or now, now)
    day = query.session_day or market_day(moment)
    if query.expiry is not None and query.expiry != day:
        raise NoData(symbol, query)
    session = await session_on_day(day)
    is_open = session is not None and session.open <= moment < session.close
    record = None
    if session is not None and (is_open or query.session_day is not None):
        record = await store.moment(symbol, day, query.moment)
    if record is None or session is None:
        known = configured or await store.known(symbol)
        if query.expiry is not None or not known:
            raise NoData(symbol, query)
        await _raise_no_chain(store, symbol, query, session, moment, day)
    return Sample(record=record, session=session, moment=_as_of(query, session, moment))


async def lookup_nearest_sample(
    store: Store, symbol: str, query: MomentQuery, now: datetime
) -> Sample:
    """Read the newest sample of the expiry of the query, or else of the newest stored expiry.

    Parameters
    ----------
    store : where samples are stored.
    symbol : the symbol.
    query : the moment that the caller asks for.
    now : the server's time, UTC.

    Returns
    -------
    Sample
        The sample.

    Raises
    ------
    NoData
        If there is none.
    StoreError
        If the store is away.
    """
    moment = min(query.moment or now, now)
    day = query.session_day or await store.newest_day(symbol, market_day(moment))
    if day is None or (query.expiry is not None and query.expiry != day):
        raise NoData(symbol, query)
    record, session = await store.moment(symbol, day, query.moment), await session_on_day(day)
    if record is None or session is None:
        raise NoData(symbol, query)
    return Sample(record=record, session=session, moment=_as_of(query, session, moment))


def _as_of(query: MomentQuery, session: Session, moment: datetime) -> datetime:
    """Return the moment that an answer describes.

    It is the moment of the query, if it names one; else now, but not after the session's close.
    """
    return moment if query.moment else min(moment, session.close)


async def _raise_no_chain(
    store: Store,
    symbol: str,
    query: MomentQuery,
    session: Session | None,
    moment: datetime,
    day: date,
) -> NoReturn:
    """Raise ``NoChain`` with the reason."""
    opened = session is not None and session.open <= moment
    is_open = session is not None and session.open <= moment < session.close
    gaps = await store.gaps(symbol, day)
    reasons = [gap["reason"] for gap in gaps]
    no_expiry = bool(reasons) and set(reasons) == {Reason.NO_ZERO_DTE}
    if no_expiry and (is_open or query.session_day is not None):
        body = degraded.no_zero_dte(symbol, day, gaps, today=market_day(moment))
        raise NoChain(body, moment=moment, market_open=is_open)
    reason = why_empty(session, day, known=True, now=moment, delay=timedelta(), gap_reasons=reasons)
    shown = is_open or (opened and query.session_day is not None)
    last = last_session(session.open - timedelta(seconds=1) if shown and session else moment)
    body = degraded.session_closed(
        symbol,
        reason,
        last=last.day,
        stored=await store.newest_day(symbol, market_day(moment)),
        day=day,
        opened=shown,
    )
    raise NoChain(body, moment=moment, market_open=is_open)
