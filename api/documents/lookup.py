"""From the store to what the documents are made of: a session's state, and a moment of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from api.documents import degraded
from api.documents.query import MomentQuery
from api.documents.sample import Sample
from api.documents.session_state import SessionState, why_empty
from api.series.params import Window
from api.series.sessions import session_on_day
from storage.market.calendar import Session, last_session, market_day
from storage.postgres.store import Store
from storage.record.row import Reason


async def lookup_session(store: Store, symbol: str, day: date, *, today: date) -> SessionState:
    """A session's newest row, gaps and slots."""
    session = await session_on_day(day)
    # The cursor is read first: what lands meanwhile is told again after it, never left out.
    newest = await store.newest(symbol, day)
    delay = newest.get("delay_seconds")
    if delay is None and session is not None and day == today:
        before = last_session(session.open - timedelta(days=1))
        delay = (await store.newest(symbol, before.day)).get("delay_seconds")
    # In this order: a row that closes a gap in between must not look like neither.
    gaps = await store.gaps(symbol, day)
    return SessionState(
        symbol=symbol,
        day=day,
        session=session,
        newest=newest,
        delay=None if delay is None else timedelta(seconds=delay),
        gaps={gap["slot"]: gap["reason"] for gap in gaps},
        there=frozenset(await store.slots(symbol, day)),
    )


class NoData(Exception):
    """No data of the symbol, or of the expiry that was asked for."""


class NoChain(Exception):
    """There is no chain to show; ``body`` says why."""

    def __init__(self, body: dict[str, Any], *, moment: datetime, market_open: bool) -> None:
        super().__init__(body["message"])
        self.body = body
        self.moment = moment
        self.market_open = market_open


async def lookup_sample(store: Store, symbol: str, asked: MomentQuery, now: datetime) -> Sample:
    """The newest sample that a moment knew: now's, or the one asked for.

    Raises
    ------
    Absent
        If nothing was ever sampled of the symbol, or nothing of the expiry.
    Degraded
        Outside a session without being asked for one, and where the session has no sample.
    """
    moment = min(asked.at or now, now)
    day = asked.session_day or market_day(moment)
    if asked.expiry is not None and asked.expiry != day:
        raise NoData
    session = await session_on_day(day)
    is_open = session is not None and session.open <= moment < session.close
    record = None
    if session is not None and (is_open or asked.session_day is not None):
        record = await store.moment(symbol, day, asked.at)
    if record is None or session is None:
        await _explain(store, symbol, asked, session, moment, day)
    assert record is not None
    assert session is not None
    return Sample(record=record, session=session, moment=_stands_for(asked, session, moment))


async def lookup_nearest_sample(
    store: Store, symbol: str, asked: MomentQuery, now: datetime
) -> Sample:
    """The newest sample of the nearest stored expiry: the one asked for, or the newest.

    Raises
    ------
    Absent
    """
    moment = min(asked.at or now, now)
    day = asked.session_day or await store.newest_day(symbol, market_day(moment))
    if day is None or (asked.expiry is not None and asked.expiry != day):
        raise NoData
    record, session = await store.moment(symbol, day, asked.at), await session_on_day(day)
    if record is None or session is None:
        raise NoData
    return Sample(record=record, session=session, moment=_stands_for(asked, session, moment))


def _stands_for(asked: MomentQuery, session: Session, moment: datetime) -> datetime:
    """An earlier session is told as of its close; a moment that was asked for as of itself."""
    return moment if asked.at else min(moment, session.close)


async def _explain(
    store: Store,
    symbol: str,
    asked: MomentQuery,
    session: Session | None,
    moment: datetime,
    day: date,
) -> None:
    """Raise why there is no chain."""
    if asked.expiry is not None or not await store.known(symbol):
        raise NoData
    opened = session is not None and session.open <= moment
    is_open = session is not None and session.open <= moment < session.close
    gaps = await store.gaps(symbol, day)
    idle = bool(gaps) and {gap["reason"] for gap in gaps} == {Reason.NO_ZERO_DTE}
    if idle and (is_open or asked.session_day is not None):
        body = degraded.no_zero_dte(symbol, day, gaps, today=market_day(moment))
        raise NoChain(body, moment=moment, market_open=is_open)
    window = Window(day=day, session=session, start=moment, end=moment, due=moment)
    reason = why_empty(
        window,
        known=True,
        now=moment,
        delay=timedelta(),
        gaps=[gap["reason"] for gap in gaps],
    )
    shown = is_open or (opened and asked.session_day is not None)
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
