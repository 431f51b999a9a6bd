"""Query parameters of the documents; what endpoints share is read by ``api.series.params``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from api.series.params import Query, QueryError, read_day, read_feed, read_query
from storage.market.calendar import from_new_york, market_day

SIDES = ("all", "calls", "puts")
METRICS = ("gex", "dex", "vex", "chex", "oi", "signed_flow", "volume")
MODES = ("raw", "delta", "since_open")
BOOKS = ("live", "settled")
LEADERBOARD_METRICS = ("heat", "pin_risk", "abs_flow", "charm_intensity")
#: Bounds of ``strike_range``, a part of spot, and of the leaderboard's ``n``.
NARROWEST, WIDEST = 0.001, 0.10
DEFAULT_N, MOST_N = 20, 100
_WHOLE = re.compile(r"([+-]?)0*([0-9]+)")
_DIGITS = 18
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|z|[+ -][0-9]{2}:?[0-9]{2})?"
)


def read_window_query(symbol: str, query: Mapping[str, str], *, bar: str = "30s") -> Query:
    """Read ``bar``, ``minutes``, ``date`` and ``feed`` of a window; all others are ignored.

    Parameters
    ----------
    symbol : the symbol in the path.
    query : the parameters of the query string.
    bar : the bar size of a query without one.

    Returns
    -------
    Query
        The query, checked, with its defaults.

    Raises
    ------
    QueryError
        ``invalid_symbol``, ``invalid_bar``, ``invalid_minutes``, ``invalid_date``,
        ``invalid_feed`` or ``invalid_format``.
    """
    _require_json(query)
    window = {name: query[name] for name in ("bar", "minutes", "date", "feed") if name in query}
    return read_query(symbol, {"bar": bar} | window)


def read_choice(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """Read a parameter whose value is one word of a list.

    Parameters
    ----------
    query : the parameters of the query string.
    name : the parameter.
    allowed : the words; the first is the default.

    Returns
    -------
    str
        The word.

    Raises
    ------
    QueryError
        ``invalid_`` and the parameter's name, for any other word.
    """
    word = query.get(name, allowed[0])
    if word not in allowed:
        raise QueryError(f"invalid_{name}", f"{name} must be {'|'.join(allowed)}")
    return word


def read_strike_range(query: Mapping[str, str], default: float) -> float:
    """Read ``strike_range``, a part of spot; clamped to 0.001-0.10.

    Parameters
    ----------
    query : the parameters of the query string.
    default : the part of spot of a query without it. [0-1]

    Returns
    -------
    float
        The part of spot. [0-1]

    Raises
    ------
    QueryError
        ``invalid_strike_range`` for what is no number.
    """
    if "strike_range" not in query:
        return default
    try:
        reach = float(query["strike_range"]) if query["strike_range"].isascii() else math.nan
    except ValueError:
        reach = math.nan
    if math.isnan(reach):
        raise QueryError("invalid_strike_range", "strike_range must be a number, 0.001 to 0.10")
    return min(max(reach, NARROWEST), WIDEST)


def read_figure(query: Mapping[str, str], figures: Sequence[str]) -> str:
    """Read ``figure``, the name of what is to be explained.

    Parameters
    ----------
    query : the parameters of the query string.
    figures : the names; the first is the default.

    Returns
    -------
    str
        The name.

    Raises
    ------
    QueryError
        ``invalid_figure`` for any other name.
    """
    figure = query.get("figure", figures[0])
    if figure not in figures:
        raise QueryError("invalid_figure", "figure must be a name of the definitions' glossary")
    return figure


def read_strike(query: Mapping[str, str]) -> float | None:
    """Read ``strike``.

    Parameters
    ----------
    query : the parameters of the query string.

    Returns
    -------
    float or None
        The strike; None without one. [$]

    Raises
    ------
    QueryError
        ``invalid_strike`` for what is no positive number.
    """
    if "strike" not in query:
        return None
    try:
        strike = float(query["strike"]) if query["strike"].isascii() else math.nan
    except ValueError:
        strike = math.nan
    if not 0 < strike < math.inf:
        raise QueryError("invalid_strike", "strike must be a positive number")
    return strike


def read_board_size(query: Mapping[str, str]) -> int:
    """Read ``n``, how many symbols a leaderboard has; clamped to 1-100.

    Parameters
    ----------
    query : the parameters of the query string.

    Returns
    -------
    int
        The number.

    Raises
    ------
    QueryError
        ``invalid_n`` for what is no whole number.
    """
    if "n" not in query:
        return DEFAULT_N
    match = _WHOLE.fullmatch(query["n"].strip())
    if match is None:
        raise QueryError("invalid_n", "n must be a whole number, 1 to 100")
    sign, digits = match.groups()
    number = int(digits[:_DIGITS]) if len(digits) <= _DIGITS else MOST_N
    return min(max(-number if sign == "-" else number, 1), MOST_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentQuery:
    """Which moment of which session; all None is now."""

    day: date | None
    expiry: date | None
    #: Nothing that was quoted later.
    moment: datetime | None
    #: Whose rows; None for the feed that is shown of the session.
    feed: str | None = None

    @property
    def session_day(self) -> date | None:
        """The session that was asked for, if any."""
        if self.day or self.expiry:
            return self.day or self.expiry
        return market_day(self.moment) if self.moment else None


def read_moment(query: Mapping[str, str]) -> MomentQuery:
    """Read the moment that a query asks for: ``date``, ``expiry`` and ``at``; and its ``feed``.

    ``at`` is a moment in ISO 8601 with an offset; without one it is a New York wall time.

    Parameters
    ----------
    query : the parameters of the query string.

    Returns
    -------
    MomentQuery
        Each of the four; None for one that is left out.

    Raises
    ------
    QueryError
        ``invalid_date``, ``invalid_expiry``, ``invalid_feed``, ``invalid_format`` or
        ``invalid_at``, the last also for a moment of another day than the one asked for.
    """
    _require_json(query)
    day = read_day(query["date"]) if "date" in query else None
    expiry = read_day(query["expiry"], "expiry") if query.get("expiry") else None
    moment = _moment(query["at"]) if "at" in query else None
    wanted = day or expiry
    if moment is not None and wanted is not None and market_day(moment) != wanted:
        raise QueryError("invalid_at", f"at is not a moment of {wanted} in New York")
    return MomentQuery(day=day, expiry=expiry, moment=moment, feed=read_feed(query))


def _require_json(query: Mapping[str, str]) -> None:
    """Refuse a table of a document that has none, rather than answer with JSON in silence."""
    if query.get("format", "json") != "json":
        raise QueryError(
            "invalid_format", "format must be json here: only the series comes as a table"
        )


def _moment(text: str) -> datetime:
    stripped = text.strip()
    if not _MOMENT.fullmatch(stripped):
        raise QueryError("invalid_at", "at must be a time such as 2026-08-19T14:30:00Z")
    # A plus sign that was not escaped arrives as a blank.
    head, offset = stripped[:11], stripped[11:].replace(" ", "+")
    try:
        moment = datetime.fromisoformat(head + offset)
        read_day(moment.date().isoformat(), "at")
        return from_new_york(moment) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError("invalid_at", "at must be a time such as 2026-08-19T14:30:00Z") from None
