"""Settle sessions and score their forecasts: what a close is, and which forecasts it judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from sampler.chain import Frame
from sampler.sources import KnowsCloses, Source
from sampler.sources.by_symbol import source_for
from storage.market.calendar import Session
from storage.market.constants import SLOT_WIDTH
from storage.market.instruments import instrument_of
from storage.postgres.store import Store
from storage.scorecard.forecast import FORECAST_COLUMNS, FrozenForecast
from storage.scorecard.hindsight import forecasts_of_rows
from storage.scorecard.outcome import METHOD, judge
from storage.scorecard.summary import BACKFILLED, FROZEN, RECORDED

#: An index is quoted for so long after the close, at the value that the close has left.
SETTLED_WITHIN = timedelta(minutes=20)
#: A row that was fetched so long after its quotes may carry the spot of when it was fetched.
FETCHED_LATE = timedelta(minutes=20)
#: The last row of a share or fund that is not quoted earlier than so long before the close.
LAST_QUOTE = timedelta(seconds=45)
#: The feed of recorded chains.
_RECORDED_FEED = "recorded"

#: Where closes come from.
CLOSING_FRAME, LAST_ROW, SIMULATED, ENTERED = "closing_frame", "last_row", "simulated", "entered"


def is_closing_frame(frame: Frame, symbol: str, session: Session) -> bool:
    """Return whether a frame has an index's close for its spot.

    A share or fund trades on after the close, so its price then is no close.

    Parameters
    ----------
    frame : what a source answered.
    symbol, session : the session.

    Returns
    -------
    bool
        True for a frame of an index that is quoted within 20 minutes after the close.
    """
    return (
        instrument_of(symbol).index
        and math.isfinite(frame.spot)
        and session.close <= frame.quoted_at <= session.close + SETTLED_WITHIN
    )


async def closing_frame(source: Source, symbol: str, session: Session) -> Frame | None:
    """Return the last frame of a past session that has an index's close for its spot.

    Parameters
    ----------
    source : a source with frames of the session.
    symbol, session : the session.

    Returns
    -------
    Frame or None
        The frame; None where the source has none.
    """
    if not instrument_of(symbol).index:
        return None
    last = None
    async for frame in source.history(symbol, session):
        if isinstance(frame, Frame) and is_closing_frame(frame, symbol, session):
            last = frame
    return last


@dataclass(frozen=True, slots=True)
class Close:
    """What a session settled at: its price [$], where it comes from, and when it was quoted."""

    price: float
    origin: str
    #: The feed that it is from.
    detail: str
    quoted_at: datetime


async def is_settled(store: Store, symbol: str, session: Session) -> bool:
    """Return whether a session's close is noted.

    Parameters
    ----------
    store : where closes are noted.
    symbol, session : the session.

    Returns
    -------
    bool
        True if it is.

    Raises
    ------
    StoreError
        If the database is away.
    """
    return session.day in await store.forecasts.settlements(symbol, session.day, session.day)


async def find_close(
    store: Store,
    symbol: str,
    session: Session,
    source: Source | None,
    *,
    live_at: datetime | None = None,
) -> Close | None:
    """Return what a session settled at, by a feed or by its rows.

    Parameters
    ----------
    store : where the session's rows are.
    symbol, session : the session; it is over.
    source : a feed that may know the close; None for rows alone.
    live_at : if the source is asked for its frame of now: the time, UTC. Else for past frames.

    Returns
    -------
    Close or None
        The close; None where neither source nor rows have one.

    Raises
    ------
    ChainRefused
        If the source has no frame now.
    StoreError
        If the database is away.
    """
    if source is not None:
        source = source_for(source, symbol)
        if isinstance(source, KnowsCloses):
            price = await source.settlement(symbol, session)
            if price is not None:
                origin = SIMULATED if source.synthetic else CLOSING_FRAME
                return Close(price, origin, source.name, session.close)
        elif instrument_of(symbol).index:
            frame: Frame | None
            if live_at is None:
                frame = await closing_frame(source, symbol, session)
            else:
                frame = await source.live(symbol, live_at)
            if frame is not None and is_closing_frame(frame, symbol, session):
                return Close(frame.spot, CLOSING_FRAME, source.name, frame.quoted_at)
    return None if instrument_of(symbol).index else await _last_row(store, symbol, session)


async def _last_row(store: Store, symbol: str, session: Session) -> Close | None:
    """The last row that is a close: of the feed that answers show, else of another one."""
    shown_first = sorted(
        (await store.feeds(symbol, session.day)).items(), key=lambda item: (not item[1], item[0])
    )
    for feed, _ in shown_first:
        row = await store.of_feed(feed).figures_before(
            symbol,
            session.day,
            session.close,
            columns=("spot", "quoted_at", "quote_age_seconds"),
        )
        if row is None or row["quoted_at"] < session.close - LAST_QUOTE:
            continue
        if row["quote_age_seconds"] <= FETCHED_LATE.total_seconds():
            return Close(row["spot"], LAST_ROW, feed, row["quoted_at"])
    return None


async def note_close(store: Store, symbol: str, session: Session, close: Close) -> None:
    """Note what a session settled at.

    Parameters
    ----------
    store : where closes are noted.
    symbol, session : the session; no close of it is noted so far.
    close : what is noted, under the name of its feed.

    Raises
    ------
    StoreError
        If the database is away.
    """
    await store.forecasts.settle(
        symbol,
        session.day,
        close.price,
        origin=close.origin,
        detail=close.detail,
        quoted_at=close.quoted_at,
    )


async def settle_session(
    store: Store, symbol: str, session: Session, source: Source | None
) -> bool:
    """Note a past session's close, unless it is noted already.

    Parameters
    ----------
    store : where closes are noted, and where the session's rows are.
    symbol, session : the session; it is over.
    source : a source whose past frames may have the close; None for rows alone.

    Returns
    -------
    bool
        True if the session has a close.

    Raises
    ------
    StoreError
        If the database is away.
    """
    if await is_settled(store, symbol, session):
        return True
    close = await find_close(store, symbol, session, source)
    if close is not None:
        await note_close(store, symbol, session, close)
    return close is not None


async def score_session(
    store: Store, symbol: str, session: Session, *, now: datetime, simulated: bool
) -> Counter[str] | None:
    """Score the frozen forecasts of a session, and those that its rows make afterwards.

    Parameters
    ----------
    store : the rows, and the record.
    symbol, session : the session.
    now : the time, UTC.
    simulated : whether the market is made up.

    Returns
    -------
    Counter or None
        How many forecasts of each kind were judged; None if the session has no close.

    Raises
    ------
    StoreError
        If the database is away.
    """
    table, day = store.forecasts, session.day
    settled = await table.settlements(symbol, day, day)
    if day not in settled:
        return None
    frozen = [
        line
        for line in await table.frozen(symbol, day, day)
        if line["content"] is not None and fixed_before(line, session.close)
    ]
    feeds = {line["source"] for line in frozen}
    lines: list[dict[str, Any]] = []
    for feed in sorted(feeds):
        rows = await _rows(store.of_feed(feed), symbol, session, ("slot", "spot"))
        for line in frozen:
            if line["source"] == feed:
                lines.append(_judged(line, FROZEN, settled[day], rows, session))
    rows = await _rows(store, symbol, session, (*FORECAST_COLUMNS, "flow_since"))
    if rows:
        kind = RECORDED if rows[0]["source"] == _RECORDED_FEED else BACKFILLED
        for forecast in forecasts_of_rows(
            rows,
            session,
            now=now,
            simulated=simulated,
            own_times=kind == RECORDED,
            without={line["freeze_time"] for line in frozen},
        ):
            lines.append(_judged(_columns(forecast), kind, settled[day], rows, session))
    await table.score(lines)
    return Counter(line["kind"] for line in lines)


def fixed_before(line: Mapping[str, Any], close: datetime) -> bool:
    """Return whether a frozen forecast was in the database before its session closed.

    Parameters
    ----------
    line : a line of the table of forecasts that has a content.
    close : the session's close, UTC.

    Returns
    -------
    bool
        Judged by the database's own clock; where the market's clock is simulated, by that one.
    """
    simulated = orjson.loads(line["content"])["simulated"]
    fixed: datetime = line["written_at"] if simulated else line["stored_at"]
    return fixed < close


async def _rows(
    store: Store, symbol: str, session: Session, columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    return await store.window(
        symbol,
        session.day,
        start=session.open,
        until=session.close,
        width=SLOT_WIDTH,
        columns=columns,
    )


def _columns(forecast: FrozenForecast) -> dict[str, Any]:
    return {name: getattr(forecast, name) for name in forecast.__slots__}


def _judged(
    line: Mapping[str, Any],
    kind: str,
    settlement: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    session: Session,
) -> dict[str, Any]:
    """A line of the table of scores."""
    outcome = judge(
        orjson.loads(line["content"]),
        close=settlement["price"],
        path=[(row["slot"], row["spot"]) for row in rows],
        session=session,
    )
    names = ("symbol", "expiration", "source", "freeze_time", "definitions", "content", "digest")
    return {name: line[name] for name in names} | {
        "kind": kind,
        "settlement": settlement["sequence"],
        "outcome": outcome,
        "method": METHOD,
    }
