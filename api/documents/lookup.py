"""From the store to what the documents are made of: a session's state, and a moment of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from api.documents import degraded
from api.documents.query import When
from api.documents.sample import Seen
from api.documents.windowed import Kept, why_empty
from api.series.calendar import calendar
from api.series.params import Window
from storage.market.calendar import Session, last_session, market_day
from storage.postgres.store import Store
from storage.record.row import Reason


async def recall(store: Store, symbol: str, day: date, *, today: date) -> Kept:
    """A session's newest row, gaps and slots."""
    session = await calendar(day)
    # The cursor is read first: what lands meanwhile is told again after it, never left out.
    newest = await store.newest(symbol, day)
    delay = newest.get("delay_seconds")
    if delay is None and session is not None and day == today:
        before = last_session(session.open - timedelta(days=1))
        delay = (await store.newest(symbol, before.day)).get("delay_seconds")
    # In this order: a row that closes a gap in between must not look like neither.
    gaps = await store.gaps(symbol, day)
    return Kept(
        symbol=symbol,
        day=day,
        session=session,
        newest=newest,
        delay=None if delay is None else timedelta(seconds=delay),
        gaps={gap["slot"]: gap["reason"] for gap in gaps},
        there=frozenset(await store.slots(symbol, day)),
    )


class Absent(Exception):
    """No data of the symbol, or of the expiry that was asked for."""


class Degraded(Exception):
    """There is no chain to show; ``body`` says why."""

    def __init__(self, body: dict[str, Any], *, moment: datetime, market_open: bool) -> None:
        super().__init__(body["message"])
        self.body = body
        self.moment = moment
        self.market_open = market_open


async def see(store: Store, symbol: str, asked: When, now: datetime) -> Seen:
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
        raise Absent
    session = await calendar(day)
    is_open = session is not None and session.open <= moment < session.close
    record = None
    if session is not None and (is_open or asked.session_day is not None):
        record = await store.moment(symbol, day, asked.at)
    if record is None or session is None:
        await _explain(store, symbol, asked, session, moment, day)
    assert record is not None
    assert session is not None
    return Seen(record=record, session=session, moment=_stands_for(asked, session, moment))


async def see_nearest(store: Store, symbol: str, asked: When, now: datetime) -> Seen:
    """The newest sample of the nearest stored expiry: the one asked for, or the newest.

    Raises
    ------
    Absent
    """
    moment = min(asked.at or now, now)
    day = asked.session_day or await store.newest_day(symbol, market_day(moment))
    if day is None or (asked.expiry is not None and asked.expiry != day):
        raise Absent
    record, session = await store.moment(symbol, day, asked.at), await calendar(day)
    if record is None or session is None:
        raise Absent
    return Seen(record=record, session=session, moment=_stands_for(asked, session, moment))


def _stands_for(asked: When, session: Session, moment: datetime) -> datetime:
    """An earlier session is told as of its close; a moment that was asked for as of itself."""
    return moment if asked.at else min(moment, session.close)


async def _explain(
    store: Store, symbol: str, asked: When, session: Session | None, moment: datetime, day: date
) -> None:
    """Raise why there is no chain."""
    if asked.expiry is not None or not await store.known(symbol):
        raise Absent
    opened = session is not None and session.open <= moment
    is_open = session is not None and session.open <= moment < session.close
    gaps = await store.gaps(symbol, day)
    idle = bool(gaps) and {gap["reason"] for gap in gaps} == {Reason.NO_ZERO_DTE}
    if idle and (is_open or asked.session_day is not None):
        body = degraded.no_zero_dte(symbol, day, gaps, today=market_day(moment))
        raise Degraded(body, moment=moment, market_open=is_open)
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
    raise Degraded(body, moment=moment, market_open=is_open)
