"""Query to window: what a caller asked for, and which slots that means. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from storage.errors import UsageError
from storage.market.calendar import Session
from storage.market.constants import GRID_SECONDS, SESSION_MINUTES, SLOT_WIDTH
from storage.market.instruments import parse_symbol

#: Bar sizes by their names; each divides the hour, so that buckets align to the clock.
BAR_WIDTHS = {
    "30s": SLOT_WIDTH,
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
}
_SECONDS = {name: int(width.total_seconds()) for name, width in BAR_WIDTHS.items()}
DEFAULT_BAR = "30s"
DEFAULT_MINUTES = 60
#: Symbols in one call.
MAX_SYMBOLS = 50
#: Before the first day no options expired daily; after the last one there is no calendar.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)
#: ASCII digits alone: ``int`` and ``str.isdigit`` also accept digits of other scripts.
_NUMBER = re.compile(r"([+-]?)0*([0-9]+)")
_CURSOR = re.compile(r"0*([0-9]+)")
_FEED = re.compile(r"[a-z0-9_.-]{1,40}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Longer numbers than this are beyond every bound; they are never converted.
_DIGITS = 18


class QueryError(Exception):
    """A query that cannot be answered: a word for programs, a sentence for people."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a caller asked for, checked."""

    symbol: str
    #: One of ``BARS``.
    bar: str
    #: Length of the window, 1 to 390. [min]
    minutes: int
    #: The session asked for; None is today's.
    day: date | None
    #: Only what was stored after this cursor; None is everything.
    since: int | None
    #: Whose rows; None for the feed that is shown of the session.
    feed: str | None = None

    @property
    def width(self) -> timedelta:
        """How long a bucket is."""
        return BAR_WIDTHS[self.bar]

    @property
    def seconds(self) -> int:
        """The same in seconds."""
        return _SECONDS[self.bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open stretch of one session."""

    #: The day in New York, with or without a session.
    day: date
    #: None where the market is closed all day.
    session: Session | None
    start: datetime
    end: datetime
    #: Slots up to this one have passed: one without a sample is missing.
    due: datetime

    @property
    def first_slot(self) -> int:
        """The first slot on or after ``start``. [s since 1970]"""
        return _next_slot(self.start)

    @property
    def until_slot(self) -> int:
        """The first slot on or after ``end``, which is not of the window. [s since 1970]"""
        return _next_slot(self.end)

    @property
    def due_slot(self) -> int:
        """The last slot up to ``due``. [s since 1970]"""
        return int(self.due.timestamp()) // GRID_SECONDS * GRID_SECONDS


def read_query(symbol: str, query: Mapping[str, str]) -> Query:
    """Read a query from the path's symbol and the query string; unknown parameters are ignored.

    Parameters
    ----------
    symbol : the symbol in the path.
    query : the parameters of the query string.

    Returns
    -------
    Query
        The query, checked, with its defaults.

    Raises
    ------
    QueryError
        ``invalid_symbol``, ``invalid_bar``, ``invalid_minutes``, ``invalid_date``,
        ``invalid_since`` or ``invalid_feed``.
    """
    try:
        name = parse_symbol(symbol)
    except UsageError as error:
        raise QueryError("invalid_symbol", str(error)) from None
    bar = query.get("bar", DEFAULT_BAR)
    if bar not in BAR_WIDTHS:
        raise QueryError("invalid_bar", "bar must be 30s|1m|5m|15m")
    day = read_day(query["date"]) if "date" in query else None
    minutes = SESSION_MINUTES if day else DEFAULT_MINUTES
    if "minutes" in query:
        minutes = _minutes(query["minutes"])
    since = read_cursor(query["since"]) if "since" in query else None
    feed = read_feed(query)
    return Query(symbol=name, bar=bar, minutes=minutes, day=day, since=since, feed=feed)


def read_feed(query: Mapping[str, str]) -> str | None:
    """Read whose rows a query asks for.

    Parameters
    ----------
    query : the parameters of the query string.

    Returns
    -------
    str or None
        The feed; None for the one that is shown.

    Raises
    ------
    QueryError
        ``invalid_feed``.
    """
    feed = query.get("feed")
    if feed is not None and not _FEED.fullmatch(feed):
        raise QueryError("invalid_feed", "feed must be the name of a feed, as in cboe")
    return feed


def read_queries(query: Mapping[str, str]) -> list[Query]:
    """Read the queries of several symbols in one call: ``symbols=SPX,SPY``.

    The other parameters are those of ``read_query``.

    Parameters
    ----------
    query : the parameters of the query string. ``since`` is one cursor for all, or one for each
        symbol in the same order.

    Returns
    -------
    list of Query
        One query a symbol, in the order of the symbols.

    Raises
    ------
    QueryError
        As ``read_query``; ``invalid_symbols`` for none or too many.
    """
    names = list(
        dict.fromkeys(symbol.strip().upper() for symbol in query.get("symbols", "").split(","))
    )
    if names == [""] or len(names) > MAX_SYMBOLS:
        raise QueryError("invalid_symbols", f"symbols must name 1 to {MAX_SYMBOLS}, as in SPX,SPY")
    cursors: list[str | None] = [None] * len(names)
    if "since" in query:
        cursors = list(query["since"].split(","))
        if len(cursors) == 1:
            cursors *= len(names)
        if len(cursors) != len(names):
            raise QueryError(
                "invalid_since", "since must be one cursor, or one for each of the symbols"
            )
    rest = {name: value for name, value in query.items() if name != "since"}
    return [
        read_query(name, rest if cursor is None else rest | {"since": cursor})
        for name, cursor in zip(names, cursors, strict=True)
    ]


def _minutes(text: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise QueryError("invalid_minutes", "minutes must be a whole number, 1 to 390")
    sign, digits = match.groups()
    number = int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
    return min(max(-number if sign == "-" else number, 1), SESSION_MINUTES)


def read_cursor(text: str) -> int:
    """Read a cursor as a client sends it back: ``since``, ``Last-Event-ID``.

    Parameters
    ----------
    text : the parameter's or header's value.

    Returns
    -------
    int
        The cursor; one too long to exist is 10^18.

    Raises
    ------
    QueryError
        ``invalid_since``.
    """
    match = _CURSOR.fullmatch(text.strip())
    if match is None:
        raise QueryError("invalid_since", "since must be the cursor of an answer: 0 or more")
    digits = match[1]
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def read_day(text: str, name: str = "date") -> date:
    """Read the day of a parameter.

    Parameters
    ----------
    text : the parameter's value.
    name : the parameter's name, for the error.

    Returns
    -------
    date
        The day.

    Raises
    ------
    QueryError
        ``invalid_`` and the parameter's name.
    """
    if not _DATE.fullmatch(text.strip()):
        raise QueryError(f"invalid_{name}", f"{name} must be YYYY-MM-DD")
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise QueryError(f"invalid_{name}", f"{name} must be YYYY-MM-DD") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise QueryError(f"invalid_{name}", f"{name} must lie between {FIRST_DAY} and {LAST_DAY}")
    return day


def symbol_segment(request: Request, symbol: str, after: str = "") -> str:
    """Return the symbol if the path has it as one segment: ``BRK%2FB`` is one, ``A/B`` is not.

    Parameters
    ----------
    request
        The request; its path is read as it was sent, before percent-escapes are decoded.
    symbol
        What the router took for the symbol.
    after
        The part of the path that follows the symbol, such as ``/stream``.

    Returns
    -------
    str
        The symbol.

    Raises
    ------
    HTTPException
        404 if the symbol spans several segments.
    """
    sent = request.scope.get("raw_path") or request.scope["path"].encode()
    path = sent.partition(b"?")[0].removesuffix(after.encode())
    last = unquote(path.rpartition(b"/")[2].decode("ascii", "replace"))
    if last != symbol:
        raise HTTPException(404)
    return symbol


def resolve_window(
    query: Query,
    *,
    day: date,
    session: Session | None,
    now: datetime,
    delay: timedelta,
    newest: datetime | None,
) -> Window:
    """Find the slots that a query means.

    Parameters
    ----------
    query : what the caller asks for.
    day : the query's day, or today.
    session : the day's session; None if the market is closed all day.
    now : the server's time, UTC.
    delay : how far the feed declares its quotes to lie behind.
    newest : the session's newest slot with a row; None without one.

    Returns
    -------
    Window
        The window; it is empty on a day without a session.
    """
    if session is None:
        return Window(day=day, session=None, start=now, end=now, due=now)
    if now >= session.close:
        end = session.close
    else:
        end = now - delay
        if newest is not None:
            # A clock that runs behind the feed's must not hide what is there.
            end = max(end, newest + SLOT_WIDTH)
    start = max(end - timedelta(minutes=query.minutes), session.open)
    # The slot whose 30 seconds are still running is not missing yet.
    due = min(now - delay, session.close) - SLOT_WIDTH
    return Window(day=day, session=session, start=start, end=max(end, start), due=due)


def _next_slot(moment: datetime) -> int:
    # Divided in seconds since 1970, of which the grid is a multiple.
    return math.ceil(moment.timestamp() / GRID_SECONDS) * GRID_SECONDS
