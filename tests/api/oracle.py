"""The series by SQL and plain loops, bar by bar: what every faster way must equal."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson

from api.series.params import read_query, resolve_window
from api.series.window import data_as_of
from storage.market.calendar import last_session, market_day, session_on
from storage.postgres.store import Store

#: A bar's fields between ``t`` and ``sampled_at``.
FIGURES = [
    "spot",
    "net_gex",
    "net_gex_se",
    "net_gex_se_measured",
    "net_dex",
    "gamma_flip",
    "gamma_flip_status",
    "distance_to_flip_sigmas",
    "flip_out_of_reach",
    "call_wall",
    "put_wall",
    "magnet",
    "pin_score",
    "pin_probability_pct",
    "regime",
    "regime_confidence",
    "atm_iv",
    "remaining_1sd",
    "charm_dollars_per_hour",
    "charm_horizon_seconds",
    "hedge_flow_call_cumulative",
    "hedge_flow_put_cumulative",
    "hedge_flow_cumulative_all",
    "flags",
]
STEP = timedelta(seconds=30)
#: The formulas' version, by hand: what an answer without a row says.
DEFINITIONS = "3"


async def answer(
    store: Store, symbol: str, query: dict[str, str], now: datetime, node: str
) -> tuple[bytes, str]:
    """Body and ETag."""
    parsed = read_query(symbol, query)
    day = parsed.day or market_day(now)
    session = session_on(day)
    newest = await store.newest(parsed.symbol, day)
    delay = newest.get("delay_seconds")
    if delay is None and session is not None and day == market_day(now):
        before = last_session(session.open - timedelta(days=1))
        delay = (await store.newest(parsed.symbol, before.day)).get("delay_seconds")
    late = timedelta(seconds=delay or 0)
    span = resolve_window(
        parsed, day=day, session=session, now=now, delay=late, newest=newest.get("slot")
    )
    reasons = {gap["slot"]: gap["reason"] for gap in await store.gaps(parsed.symbol, day)}
    there = set(await store.slots(parsed.symbol, day))
    rows = await store.window(
        parsed.symbol,
        day,
        start=span.start,
        until=span.end,
        width=parsed.width,
        columns=("slot", *FIGURES),
    )
    known = await store.known(parsed.symbol)
    slots = session.slots if session else []
    lost = sum(s <= span.due and s not in there and s not in reasons for s in slots)
    cursor = newest.get("cursor") or 0
    opening = None
    if there:
        first, width = min(there), timedelta(seconds=30)
        [row] = await store.window(
            parsed.symbol,
            day,
            start=first,
            until=first + width,
            width=width,
            columns=("slot", *FIGURES),
        )
        opening = {"t": first, **{n: row[n] for n in FIGURES}, "sampled_at": first}
    body: dict[str, Any] = {
        "symbol": parsed.symbol,
        "expiration": day,
        "as_of": now,
        "bar_size": parsed.bar,
        "bars": [
            {"t": row["bucket"], **{n: row[n] for n in FIGURES}, "sampled_at": row["slot"]}
            for row in rows
            if parsed.since is None or row["revision"] > parsed.since
        ],
    }
    if not any(span.start <= slot < span.end for slot in there):
        body["reason"] = _reason(known, day, session, now, late, list(reasons.values()))
    gaps: list[dict[str, Any]] = []
    for slot in slots if known else []:
        if not span.start <= slot < span.end or slot in there:
            continue
        if slot not in reasons and slot > span.due:
            continue
        reason = reasons.get(slot, "not_sampled")
        if gaps and gaps[-1]["to"] == slot and gaps[-1]["reason"] == reason:
            gaps[-1]["to"] = slot + STEP
        else:
            gaps.append({"from": slot, "to": slot + STEP, "reason": reason})
    body |= {
        "session": session and {"open": session.open, "close": session.close},
        "gap_intervals": gaps,
        "cursor": cursor,
        # Gaps of before feeds had names have none.
        "feed": newest.get("feed") or None,
        "source": newest.get("source"),
        "delay_seconds": delay,
        "newest": newest.get("quoted_at"),
        "flow_since": newest.get("flow_since"),
        "classified_share": newest.get("classified_share"),
        "definitions": newest.get("definitions") or DEFINITIONS,
        "oi_confidence": newest.get("oi_confidence"),
        "opening": opening,
        "endpoint_version": "1",
        "data_as_of": data_as_of(parsed.symbol, newest.get("quoted_at"), node),
    }
    tag = f'W/"{cursor}-{lost}"' if lost else f'W/"{cursor}"'
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS), tag


def _reason(known: bool, day: Any, session: Any, now: Any, late: timedelta, gaps: list[str]) -> str:
    if not known:
        return "unknown_symbol"
    if session is None:
        return "closed" if day.weekday() >= 5 else "holiday"
    if now - late < session.open:
        return "before_open"
    if gaps and set(gaps) == {"no_zero_dte"}:
        return "no_zero_dte"
    if gaps and gaps[-1] == "stale":
        return "stale"
    return "closed" if now >= session.close else "not_sampled"
