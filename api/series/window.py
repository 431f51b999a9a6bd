"""From a session to an answer: the selected bars, the gaps, and where the figures come from. Pure.

An answer is a short head with the server's time, made for each request, and a rest that stays the
same until something changes. The rest is joined from bars that were encoded when they arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from api.series.bars import JSON_OPTIONS, SessionBars
from api.series.epoch import epoch_text
from api.series.gaps import SPOOLED, MissingSlots, gap_intervals, why_empty
from api.series.params import Query, Window, resolve_window
from storage.market.constants import GRID_SECONDS
from storage.market.instruments import instrument_of
from storage.record.row import DEFINITIONS

#: Version of this answer's shape.
ENDPOINT_VERSION = "1"
_FEEDS = (
    "equity_feed",
    "equity_options_feed",
    "index_feed",
    "index_options_feed",
    "futures_feed",
    "futures_options_feed",
    "flow_feed",
    "oi_feed",
    "macro_feed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerContext:
    """What an answer needs beside the session: the symbol's state and the server's name."""

    #: Whether the symbol was ever sampled, or tried.
    known: bool
    #: The feed's declared delay; None for a symbol that nobody has sampled lately.
    delay: timedelta | None
    #: Which server answers.
    node: str
    #: Up to when it is known what the store has; None while the store answers. [UTC]
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The bars of a session that a query selects, and the missing slots."""

    day: SessionBars
    query: Query
    window: Window
    context: AnswerContext
    now: datetime
    #: Bars of the query's size that have a sample in the window: first, and one after the last.
    first: int
    last: int
    missing: Sequence[MissingSlots]
    #: The weak ETag.
    tag: str

    @property
    def filled(self) -> bool:
        """Whether the window has a sample."""
        return self.first < self.last

    @property
    def key(self) -> tuple[Any, ...]:
        """What the rest of an answer depends on; for windows that have a sample."""
        window, day, query = self.window, self.day, self.query
        bounds = (window.first_slot, window.until_slot, window.due_slot)
        known = (self.context.known_at, day.waiting)
        return (day.symbol, day.day, day.cursor, query.bar, query.since, bounds, known)


def select_bars(day: SessionBars, query: Query, context: AnswerContext, now: datetime) -> Selection:
    """Select the bars of a session that a query asks for.

    Parameters
    ----------
    day : the session in memory.
    query : what the caller asks for.
    context : the symbol's state and the server's name.
    now : the server's time, UTC.

    Returns
    -------
    Selection
        The bars by index, the missing slots, and the ETag.
    """
    newest = day.newest_slot
    delay = context.delay or timedelta()
    window = resolve_window(
        query,
        day=day.day,
        session=day.session,
        now=now,
        delay=delay,
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
    )
    due = window.due_slot
    if context.known_at is not None:
        # What came after the last contact with the store may be stored, though it is not here.
        due = min(due, int((context.known_at - delay).timestamp()) - GRID_SECONDS)
    missing, unexplained = day.missing_slots(due)
    shown = day.bars(query.seconds).lasts
    return Selection(
        day=day,
        query=query,
        window=window,
        context=context,
        now=now,
        first=bisect_left(shown, window.first_slot),
        last=bisect_left(shown, window.until_slot),
        missing=missing,
        tag=etag(day.cursor, unexplained, context.known_at, spooled=count_spooled(missing)),
    )


def bar_bodies(selection: Selection) -> list[bytes]:
    """Return the selected bars as JSON; with ``since``, only those that changed after that cursor.

    Parameters
    ----------
    selection : the bars by index.

    Returns
    -------
    list of bytes
        One JSON object a bar, ascending by time.
    """
    bodies = selection.day.bars(selection.query.seconds).bodies
    if selection.query.since is None:
        return bodies[selection.first : selection.last]
    window = selection.window
    changed = selection.day.changed(
        selection.query.seconds, selection.query.since, window.first_slot, window.until_slot
    )
    return [bodies[i] for i in changed]


def answer_head(selection: Selection) -> bytes:
    """Return the beginning of an answer: it alone changes from request to request.

    Parameters
    ----------
    selection : the bars by index.

    Returns
    -------
    bytes
        JSON up to ``as_of``, without a comma after it.
    """
    return b'{"symbol":"%s","expiration":"%s","as_of":"%s"' % (
        selection.query.symbol.encode(),
        selection.day.day.isoformat().encode(),
        epoch_text(int(selection.now.timestamp())).encode(),
    )


def answer_rest(selection: Selection, *, empty: bool = False) -> bytes:
    """Return the answer from ``bar_size`` on, in one join.

    Parameters
    ----------
    selection : the bars by index.
    empty : leave the bars out.

    Returns
    -------
    bytes
        JSON, from a comma to the closing brace.
    """
    opening = b',"bar_size":"%s","bars":[' % selection.query.bar.encode()
    closing = b"]," + orjson.dumps(_about(selection), option=JSON_OPTIONS)[1:]
    bars = [] if empty else bar_bodies(selection)
    if not bars:
        return opening + closing
    bars[0] = opening + bars[0]
    bars[-1] += closing
    return b",".join(bars)


def _about(selection: Selection) -> dict[str, Any]:
    """What an answer says beside its bars."""
    day = selection.day
    about = surrounding_fields(
        selection.window,
        selection.missing,
        day.newest,
        cursor=day.cursor,
        filled=selection.filled,
        known=selection.context.known,
        now=selection.now,
        delay=selection.context.delay,
        gap_reasons=day.gap_reasons(),
        feed=day.feed,
    )
    as_of = data_as_of(day.symbol, day.newest.get("quoted_at"), selection.context.node)
    opening = day.opening_sample()
    about["opening"] = None if opening is None else orjson.Fragment(opening)
    if selection.context.known_at is not None:
        about["as_known_at"] = selection.context.known_at.replace(microsecond=0)
    return about | {"endpoint_version": ENDPOINT_VERSION, "data_as_of": as_of}


def surrounding_fields(
    window: Window,
    missing: Sequence[MissingSlots],
    newest: Mapping[str, Any],
    *,
    cursor: int,
    filled: bool,
    known: bool,
    now: datetime,
    delay: timedelta | None,
    gap_reasons: Sequence[str],
    feed: str | None,
) -> dict[str, Any]:
    """Return the fields beside the bars of any window: gaps, cursor, and where figures come from.

    Parameters
    ----------
    window, missing
        The window, and the missing slots of its whole session.
    newest
        ``source``, ``quoted_at`` and so on of the session's newest row; empty without one.
    cursor
        The newest revision of the session.
    filled, known
        Whether the window has a sample; whether the symbol was ever sampled, or tried. Of an
        unknown symbol nothing is missing.
    now, delay
        The server's time; the declared delay of the feed, None if nobody has sampled the symbol
        lately.
    gap_reasons
        Reasons of the session's stored gaps, in order of their slots.
    feed
        The feed whose rows and gaps these are; None or empty where it is not known.

    Returns
    -------
    dict
        The fields by name.
    """
    session = window.session
    fields: dict[str, Any] = {}
    if not filled:
        fields["reason"] = why_empty(
            session,
            window.day,
            known=known,
            now=now,
            delay=delay or timedelta(),
            gap_reasons=gap_reasons,
            spooled=any(
                slots.reason == SPOOLED
                and slots.first < window.until_slot
                and slots.until > window.first_slot
                for slots in missing
            ),
        )
    return fields | {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gap_intervals(missing, window) if known else [],
        "cursor": cursor,
        "feed": feed or None,
        "source": newest.get("source"),
        "delay_seconds": None if delay is None else int(delay.total_seconds()),
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
    }


def count_spooled(missing: Sequence[MissingSlots]) -> int:
    """Return how many missing slots wait in a sampler's spool.

    Parameters
    ----------
    missing : missing slots of a session.

    Returns
    -------
    int
        Their number.
    """
    return sum((s.until - s.first) // GRID_SECONDS for s in missing if s.reason == SPOOLED)


def etag(cursor: int, missing: int, known_at: datetime | None = None, *, spooled: int = 0) -> str:
    """Return the weak ETag of an answer: its cursor.

    Slots with neither row nor reason change an answer as time passes while its cursor stays the
    same. Their number is part of the tag, so that a client who polls notices a dead sampler.

    Parameters
    ----------
    cursor : the newest revision of the session.
    missing : slots that have passed with neither row nor reason.
    known_at : up to when it is known what the store has; None while the store answers.
    spooled : how many of the missing slots wait in a sampler's spool.

    Returns
    -------
    str
        Such as ``W/"123"``, or ``W/"123-4"`` with four of them.
    """
    tag = f"{cursor}" if missing == 0 else f"{cursor}-{missing}"
    if spooled:
        tag += f"-s{spooled}"
    if known_at is not None:
        tag += f"-k{int(known_at.timestamp())}"
    return f'W/"{tag}"'


def etag_matches(tag: str, if_none_match: str | None) -> bool:
    """Say whether a caller's ``If-None-Match`` names this ETag; strong and weak compare alike.

    Parameters
    ----------
    tag : the answer's ETag.
    if_none_match : the header; None without one.

    Returns
    -------
    bool
        True if the caller has this answer.
    """
    if if_none_match is None:
        return False
    offered = {name.strip().removeprefix("W/") for name in if_none_match.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered


def data_as_of(symbol: str, newest: datetime | None, node: str) -> dict[str, Any]:
    """Return when each feed behind an answer last delivered.

    Parameters
    ----------
    symbol : the symbol.
    newest : when its newest quotes were made; None without a row.
    node : which server answers.

    Returns
    -------
    dict
        ``node``, and the time by feed; None for feeds that the answer does not rest on.
    """
    if instrument_of(symbol).index:
        market = "index"
    elif symbol.endswith("=F"):
        market = "futures"
    else:
        market = "equity"
    used = {f"{market}_feed", f"{market}_options_feed", "flow_feed", "oi_feed"}
    return {"node": node} | {feed: newest if feed in used else None for feed in _FEEDS}
