"""Rows to answer: bars, what is missing between them, and what they are made of. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from api.params import Query, Window
from storage.row import DEFINITIONS, Reason
from storage.session import GRID

#: Version of this answer's shape.
ENDPOINT_VERSION = "1"
#: A bar's figures, named as the row's columns, in the order of the answer.
FIGURES = (
    "spot",
    "net_gex",
    "net_dex",
    "gamma_flip",
    "gamma_flip_status",
    "call_wall",
    "put_wall",
    "magnet",
    "pin_score",
    "pin_probability_pct",
    "regime",
    "atm_iv",
    "charm_dollars_per_hour",
    "hedge_flow_call_cumulative",
    "hedge_flow_put_cumulative",
    "hedge_flow_cumulative_all",
    "flags",
)
#: What a window must be asked for.
COLUMNS = ("slot", *FIGURES)
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
_INDEXES = frozenset({"SPX", "NDX", "RUT", "VIX", "XSP", "DJX"})
_STEP = timedelta(seconds=GRID)


def bars(rows: Sequence[Mapping[str, Any]], since: int | None) -> list[dict[str, Any]]:
    """A window's rows as bars; with ``since``, only those that changed after that cursor."""
    return [
        {"t": row["bucket"], **{name: row[name] for name in FIGURES}, "sampled_at": row["slot"]}
        for row in rows
        if since is None or row["revision"] > since
    ]


def gap_intervals(
    window: Window, reasons: Mapping[datetime, str], there: Collection[datetime]
) -> list[dict[str, Any]]:
    """Stretches of the window without rows, each with its reason; ``to`` is exclusive.

    Slots that nobody accounted for, such as those after a sampler died, are ``not_sampled``.
    """
    found: list[dict[str, Any]] = []
    for slot in window.session.slots if window.session else []:
        if not window.start <= slot < window.end or slot in there:
            continue
        if slot not in reasons and slot > window.due:
            continue
        reason = reasons.get(slot, str(Reason.NOT_SAMPLED))
        if found and found[-1]["to"] == slot and found[-1]["reason"] == reason:
            found[-1]["to"] = slot + _STEP
        else:
            found.append({"from": slot, "to": slot + _STEP, "reason": reason})
    return found


def unaccounted(window: Window, known: Collection[datetime]) -> int:
    """How many slots of the session have had their time and are neither row nor gap."""
    slots = window.session.slots if window.session else []
    return sum(1 for slot in slots if slot <= window.due and slot not in known)


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


def why_empty(
    window: Window, *, known: bool, now: datetime, delay: timedelta, gaps: Sequence[str]
) -> str:
    """Why a window has no bars. ``gaps`` are the reasons of the session's gaps, in order."""
    if not known:
        return "unknown_symbol"
    if window.session is None:
        return "closed" if window.day.weekday() >= 5 else "holiday"
    if now - delay < window.session.open:
        return str(Reason.BEFORE_OPEN)
    if gaps and set(gaps) == {Reason.NO_ZERO_DTE}:
        return str(Reason.NO_ZERO_DTE)
    if gaps and gaps[-1] == Reason.STALE:
        return str(Reason.STALE)
    if now >= window.session.close:
        return "closed"
    return str(Reason.NOT_SAMPLED)


def answer(
    query: Query,
    window: Window,
    *,
    now: datetime,
    node: str,
    newest: Mapping[str, Any],
    delay: timedelta | None,
    bars: Sequence[dict[str, Any]],
    gaps: Sequence[dict[str, Any]],
    reason: str | None,
) -> dict[str, Any]:
    """The whole answer. ``newest`` is the session's newest row, nulls where there is none."""
    body: dict[str, Any] = {
        "symbol": query.symbol,
        "expiration": window.day,
        "as_of": now,
        "bar_size": query.bar,
        "bars": bars,
    }
    if reason is not None:
        body["reason"] = reason
    session = window.session
    return body | {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gaps,
        "cursor": newest.get("cursor") or 0,
        "source": newest.get("source"),
        "delay_seconds": None if delay is None else int(delay.total_seconds()),
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
        "endpoint_version": ENDPOINT_VERSION,
        "data_as_of": data_as_of(query.symbol, newest.get("quoted_at"), node),
    }


def data_as_of(symbol: str, newest: datetime | None, node: str) -> dict[str, Any]:
    """When each feed behind an answer last delivered; null for feeds that it does not rest on."""
    if symbol in _INDEXES:
        market = "index"
    elif symbol.endswith("=F"):
        market = "futures"
    else:
        market = "equity"
    used = {f"{market}_feed", f"{market}_options_feed", "flow_feed", "oi_feed"}
    return {"node": node} | {feed: newest if feed in used else None for feed in _FEEDS}
