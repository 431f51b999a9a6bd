"""A day to an answer: bars, what is missing between them, and what they are made of. Pure.

An answer is a short head with the server's time, made for each request, and a rest that stays the
same until something changes. The rest is joined once from bars that were encoded when they came.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from api.series.day import JSON, Day, Interval, text
from api.series.params import Query, Window, resolve_window
from storage.market.constants import GRID_SECONDS
from storage.market.instruments import instrument_of
from storage.record.row import DEFINITIONS, Reason

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
class Background:
    """What a symbol's answer rests on beside the day itself."""

    #: Whether the symbol was ever sampled, or tried.
    known: bool
    #: How far the feed declares its quotes to lie behind; None for nobody's symbol.
    delay: timedelta | None
    #: Which server answers.
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The part of a day that a query means. Slots in whole seconds since 1970."""

    day: Day
    query: Query
    span: Window
    behind: Background
    now: datetime
    #: Half-open.
    start: int
    until: int
    #: Bars of the query's size that have a sample in the window: first, and one after the last.
    first: int
    last: int
    missing: Sequence[Interval]
    #: The weak ETag.
    tag: str

    @property
    def filled(self) -> bool:
        """Whether the window has a sample."""
        return self.first < self.last

    @property
    def key(self) -> tuple[Any, ...]:
        """What the rest of an answer depends on; for windows that have a sample."""
        due = int(self.span.due.timestamp()) // GRID_SECONDS
        bounds = (-(-self.start // GRID_SECONDS), -(-self.until // GRID_SECONDS), due)
        day, query = self.day, self.query
        return (day.symbol, day.day, day.cursor, query.bar, query.since, bounds)


def cut(day: Day, query: Query, behind: Background, now: datetime) -> Cut:
    """Find the part of a day that a query means."""
    newest = day.newest_slot
    delay = behind.delay or timedelta()
    span = resolve_window(
        query,
        day=day.day,
        session=day.session,
        now=now,
        delay=delay,
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
    )
    # A slot is on a whole second: rounded up, both bounds mean the same slots.
    start, until = math.ceil(span.start.timestamp()), math.ceil(span.end.timestamp())
    missing, unaccounted = day.missing(int(span.due.timestamp()))
    shown = day.bars(query.seconds).lasts
    return Cut(
        day=day,
        query=query,
        span=span,
        behind=behind,
        now=now,
        start=start,
        until=until,
        first=bisect_left(shown, start),
        last=bisect_left(shown, until),
        missing=missing,
        tag=tag(day.cursor, unaccounted),
    )


def bodies(part: Cut) -> list[bytes]:
    """The bars of a part as JSON; with ``since``, only those that changed after that cursor."""
    found = part.day.bars(part.query.seconds).bodies
    if part.query.since is None:
        return found[part.first : part.last]
    at = part.day.changed(part.query.seconds, part.query.since, part.start, part.until)
    return [found[i] for i in at]


def head(part: Cut) -> bytes:
    """The beginning of an answer: it alone changes from request to request."""
    return b'{"symbol":"%s","expiration":"%s","as_of":"%s"' % (
        part.query.symbol.encode(),
        part.day.day.isoformat().encode(),
        text(int(part.now.timestamp())).encode(),
    )


def rest(part: Cut, *, empty: bool = False) -> bytes:
    """The answer from ``bar_size`` on, in one join; ``empty`` leaves the bars out."""
    opening = b',"bar_size":"%s","bars":[' % part.query.bar.encode()
    closing = b"]," + orjson.dumps(_about(part), option=JSON)[1:]
    bars = [] if empty else bodies(part)
    if not bars:
        return opening + closing
    bars[0] = opening + bars[0]
    bars[-1] += closing
    return b",".join(bars)


def _about(part: Cut) -> dict[str, Any]:
    """What an answer says beside its bars."""
    day, newest, session = part.day, part.day.newest, part.day.session
    reason = None if part.filled else why_empty(part)
    about: dict[str, Any] = {} if reason is None else {"reason": reason}
    # Of a symbol that nobody samples, nothing is missing.
    gaps = [] if reason == "unknown_symbol" else gap_intervals(part)
    delay = part.behind.delay
    return about | {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gaps,
        "cursor": day.cursor,
        "source": newest.get("source"),
        "delay_seconds": None if delay is None else int(delay.total_seconds()),
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
        "endpoint_version": ENDPOINT_VERSION,
        "data_as_of": data_as_of(day.symbol, newest.get("quoted_at"), part.behind.node),
    }


def gap_intervals(part: Cut) -> list[dict[str, str]]:
    """Stretches of the window without rows, each with its reason; ``to`` is exclusive."""
    first = -(-part.start // GRID_SECONDS) * GRID_SECONDS
    until = -(-part.until // GRID_SECONDS) * GRID_SECONDS
    return [
        {
            "from": text(max(found.first, first)),
            "to": text(min(found.until, until)),
            "reason": found.reason,
        }
        for found in part.missing
        if found.first < until and found.until > first
    ]


def tag(cursor: int, missing: int) -> str:
    """The weak ETag of an answer: its cursor.

    Slots that nobody accounts for change an answer as time passes while its cursor stands still;
    without their number, whoever polls would never hear that the sampler is dead.
    """
    return f'W/"{cursor}"' if missing == 0 else f'W/"{cursor}-{missing}"'


def matches(tag: str, if_none_match: str | None) -> bool:
    """Whether a caller's If-None-Match names this ETag; strong and weak compare alike."""
    if if_none_match is None:
        return False
    offered = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered


def why_empty(part: Cut) -> str:
    """Why a window has no bars."""
    if not part.behind.known:
        return "unknown_symbol"
    session, now = part.day.session, part.now
    if session is None:
        return "closed" if part.day.day.weekday() >= 5 else "holiday"
    if now - (part.behind.delay or timedelta()) < session.open:
        return str(Reason.BEFORE_OPEN)
    gaps = part.day.reasons()
    if gaps and set(gaps) == {Reason.NO_ZERO_DTE}:
        return str(Reason.NO_ZERO_DTE)
    if gaps and gaps[-1] == Reason.STALE:
        return str(Reason.STALE)
    if now >= session.close:
        return "closed"
    return str(Reason.NOT_SAMPLED)


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
