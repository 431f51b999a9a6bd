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
from api.series.gaps import MissingSlots, gap_intervals, why_empty
from api.series.params import Query, Window, resolve_window
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The bars of a session that a query selects, and the missing slots."""

    day: SessionBars
    query: Query
    window: Window
    behind: AnswerContext
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
        return (day.symbol, day.day, day.cursor, query.bar, query.since, bounds)


def select_bars(day: SessionBars, query: Query, behind: AnswerContext, now: datetime) -> Selection:
    """Select the bars of a session that a query asks for."""
    newest = day.newest_slot
    delay = behind.delay or timedelta()
    window = resolve_window(
        query,
        day=day.day,
        session=day.session,
        now=now,
        delay=delay,
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
    )
    missing, unexplained = day.missing_slots(window.due_slot)
    shown = day.bars(query.seconds).lasts
    return Selection(
        day=day,
        query=query,
        window=window,
        behind=behind,
        now=now,
        first=bisect_left(shown, window.first_slot),
        last=bisect_left(shown, window.until_slot),
        missing=missing,
        tag=etag(day.cursor, unexplained),
    )


def bar_bodies(part: Selection) -> list[bytes]:
    """The bars of a part as JSON; with ``since``, only those that changed after that cursor."""
    found = part.day.bars(part.query.seconds).bodies
    if part.query.since is None:
        return found[part.first : part.last]
    window = part.window
    at = part.day.changed(
        part.query.seconds, part.query.since, window.first_slot, window.until_slot
    )
    return [found[i] for i in at]


def answer_head(part: Selection) -> bytes:
    """The beginning of an answer: it alone changes from request to request."""
    return b'{"symbol":"%s","expiration":"%s","as_of":"%s"' % (
        part.query.symbol.encode(),
        part.day.day.isoformat().encode(),
        epoch_text(int(part.now.timestamp())).encode(),
    )


def answer_rest(part: Selection, *, empty: bool = False) -> bytes:
    """The answer from ``bar_size`` on, in one join; ``empty`` leaves the bars out."""
    opening = b',"bar_size":"%s","bars":[' % part.query.bar.encode()
    closing = b"]," + orjson.dumps(_about(part), option=JSON_OPTIONS)[1:]
    bars = [] if empty else bar_bodies(part)
    if not bars:
        return opening + closing
    bars[0] = opening + bars[0]
    bars[-1] += closing
    return b",".join(bars)


def _about(part: Selection) -> dict[str, Any]:
    """What an answer says beside its bars."""
    day = part.day
    about = surrounding_fields(
        part.window,
        part.missing,
        day.newest,
        cursor=day.cursor,
        filled=part.filled,
        known=part.behind.known,
        now=part.now,
        delay=part.behind.delay,
        gap_reasons=day.gap_reasons(),
    )
    as_of = data_as_of(day.symbol, day.newest.get("quoted_at"), part.behind.node)
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
        )
    return fields | {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gap_intervals(missing, window) if known else [],
        "cursor": cursor,
        "source": newest.get("source"),
        "delay_seconds": None if delay is None else int(delay.total_seconds()),
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
    }


def etag(cursor: int, missing: int) -> str:
    """The weak ETag of an answer: its cursor.

    Slots with neither row nor reason change an answer as time passes while its cursor stays the
    same. Their number is part of the tag, so that a client who polls notices a dead sampler.
    """
    return f'W/"{cursor}"' if missing == 0 else f'W/"{cursor}-{missing}"'


def etag_matches(tag: str, if_none_match: str | None) -> bool:
    """Whether a caller's If-None-Match names this ETag; strong and weak compare alike."""
    if if_none_match is None:
        return False
    offered = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered


def data_as_of(symbol: str, newest: datetime | None, node: str) -> dict[str, Any]:
    """When each feed behind an answer last delivered; null for feeds that it does not rest on."""
    if instrument_of(symbol).index:
        market = "index"
    elif symbol.endswith("=F"):
        market = "futures"
    else:
        market = "equity"
    used = {f"{market}_feed", f"{market}_options_feed", "flow_feed", "oi_feed"}
    return {"node": node} | {feed: newest if feed in used else None for feed in _FEEDS}
