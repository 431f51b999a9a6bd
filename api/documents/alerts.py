"""The log of alerts, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from api.series.params import QueryError, read_day
from storage.errors import UsageError
from storage.market.instruments import parse_symbol
from storage.notify.notice import KINDS, MARKET, OPERATIONAL

#: The number of alerts in one answer: where the caller names no ``limit``, and at the most.
DEFAULT_LIMIT, MOST_LIMIT = 100, 500
#: Values of the parameter ``kind``: the categories of events, and the kinds of events.
ALERT_KINDS = (OPERATIONAL, MARKET, *KINDS)
_NUMBER = re.compile(r"0*([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQuery:
    """Which alerts a caller wants; None is all."""

    symbol: str | None
    day: date | None
    kind: str | None
    limit: int
    #: Only alerts that were written before the one with this number.
    before: int | None


def read_alert_query(query: Mapping[str, str]) -> AlertQuery:
    """Read from a query string which alerts the caller wants.

    Parameters
    ----------
    query : the parameters of the query string; all others are ignored.

    Returns
    -------
    AlertQuery
        The query, checked, with its defaults.

    Raises
    ------
    QueryError
        ``invalid_`` and the parameter's name.
    """
    symbol = None
    if "symbol" in query:
        try:
            symbol = parse_symbol(query["symbol"])
        except UsageError as error:
            raise QueryError("invalid_symbol", str(error)) from None
    kind = query.get("kind")
    if kind is not None and kind not in ALERT_KINDS:
        raise QueryError("invalid_kind", f"kind must be {'|'.join(ALERT_KINDS)}")
    limit = DEFAULT_LIMIT
    if "limit" in query:
        limit = _whole(query["limit"], "limit", f"limit must be a whole number, 1 to {MOST_LIMIT}")
    before = None
    if "cursor" in query:
        before = _whole(query["cursor"], "cursor", "cursor must be the cursor of an answer")
    return AlertQuery(
        symbol=symbol,
        day=read_day(query["date"]) if "date" in query else None,
        kind=kind,
        limit=min(max(limit, 1), MOST_LIMIT),
        before=before,
    )


def _whole(text: str, name: str, sentence: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not text.isascii():
        raise QueryError(f"invalid_{name}", sentence)
    return int(match[1])


def alerts_document(
    rows: Sequence[Mapping[str, Any]], limit: int, now: datetime, *, deliveries: bool
) -> dict[str, Any]:
    """Return a page of the log, the newest alert first.

    Parameters
    ----------
    rows : the log's lines, one more than ``limit`` where there are more.
    limit : how many the page has.
    now : the server's time, UTC.
    deliveries : whether the caller may see whom each alert was sent to.

    Returns
    -------
    dict
        ``alerts``, and as ``cursor`` where the next page begins; None where nothing is left.
    """
    page = rows[:limit]
    return {
        "as_of": now,
        "count": len(page),
        "cursor": page[-1]["sequence"] if len(rows) > limit else None,
        "alerts": [_alert(row, deliveries=deliveries) for row in page],
    }


def _alert(row: Mapping[str, Any], *, deliveries: bool) -> dict[str, Any]:
    return {
        "id": row["id"],
        "category": row["category"],
        "kind": row["kind"],
        "symbols": row["symbols"],
        "session": row["session"],
        "slot": row["slot"],
        "message": row["sentence"],
        "figures": row["figures"],
        "began": row["began_at"],
        "ended": row["ended_at"],
        "created_at": row["created_at"],
        "closed_at": row["closed_at"],
        "node": row["node"],
        "sent": row["sent"],
        "deliveries": [_delivery(each) for each in row["deliveries"]] if deliveries else None,
    }


def _delivery(columns: Mapping[str, Any]) -> dict[str, Any]:
    moments = {name: columns[name] for name in ("delivered_at", "given_up_at")}
    plain = {name: columns[name] for name in ("target", "state", "attempts", "failure")}
    return plain | {
        name: None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        for name, seconds in moments.items()
    }
