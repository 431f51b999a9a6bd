"""How a symbol's forecasts came out; and the probabilities of a snapshot, with their score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from api.documents.sample import Sample
from api.series.params import QueryError, read_day
from storage.scorecard.forecast import FREEZE_TIMES
from storage.scorecard.summary import (
    ENOUGH_SESSIONS,
    FROZEN,
    KINDS,
    WITHIN,
    scorecard,
)

_WITHOUT = "null until {enough} frozen sessions of {symbol} are scored: there are {count}"
_PIN_METHOD = (
    "none: the market's own probability between the magnet's neighbouring strikes, from the smile"
)
_RANGE_METHOD = (
    "none: a normal distribution with what at-the-money volatility makes of the time left"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorecardQuery:
    """Which days and kinds a caller wants."""

    first: date
    last: date
    kinds: tuple[str, ...]


def read_scorecard_query(query: Mapping[str, str]) -> ScorecardQuery:
    """Read from a query string what the caller wants.

    Parameters
    ----------
    query : the parameters of the query string; all others are ignored.

    Returns
    -------
    ScorecardQuery
        The query, checked, with its defaults.

    Raises
    ------
    QueryError
        ``invalid_`` and the parameter's name.
    """
    first, last = (
        read_day(query[name]) if name in query else default
        for name, default in (("from", date.min), ("to", date.max))
    )
    if last < first:
        raise QueryError("invalid_to", f"to must not be before from: {last} is before {first}")
    kind = query.get("kind")
    if kind is not None and kind not in KINDS:
        raise QueryError("invalid_kind", f"kind must be {'|'.join(KINDS)}")
    return ScorecardQuery(first=first, last=last, kinds=KINDS if kind is None else (kind,))


def scorecard_document(
    lines: Sequence[Mapping[str, Any]],
    frozen: Sequence[Mapping[str, Any]],
    query: ScorecardQuery,
    now: datetime,
) -> dict[str, Any]:
    """Sum up a symbol's record, and show the forecasts of its newest day.

    Parameters
    ----------
    lines : lines of the table of scores.
    frozen : lines of the table of forecasts of the same days.
    query : what the caller wants.
    now : the market's time, UTC.

    Returns
    -------
    dict
        ``kinds``, None for one that has nothing, and ``forecasts``.
    """
    cards = scorecard(lines, frozen, now=now, kinds=query.kinds)
    newest = max((line["expiration"] for line in frozen), default=None)
    outcomes = {
        (line["expiration"], line["source"], line["freeze_time"]): line["outcome"]
        for line in lines
        if line["kind"] == FROZEN
    }
    return {
        "enough_sessions": ENOUGH_SESSIONS,
        "freeze_times": [f"{moment:%H:%M}" for moment in FREEZE_TIMES],
        "kinds": {kind: cards.get(kind) for kind in KINDS},
        "forecasts": [
            {
                "expiration": line["expiration"],
                "freeze_time": line["freeze_time"],
                "feed": line["source"],
                "content": line["content"],
                "sha256": line["digest"],
                "missed": line["missed"],
                "frozen_at": line["frozen_at"],
                "written_at": line["written_at"],
                "stored_at": line["stored_at"],
                "outcome": outcomes.get((line["expiration"], line["source"], line["freeze_time"])),
            }
            for line in frozen
            if line["expiration"] == newest
        ],
    }


def probabilities_block(sample: Sample, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a sample says of the close as probabilities, each with how such ones came out.

    Parameters
    ----------
    sample : the sample.
    summary : the score of the symbol's frozen forecasts; None where nothing is scored.

    Returns
    -------
    dict
        The block ``probabilities``: ``pin``, ``range_1sigma`` and ``range_2sigma``. A value is a
        fraction, and None with a ``reason`` until its score has enough sessions.
    """
    row = sample.record.row
    lower, upper = row.detail.pin_lower, row.detail.pin_upper
    chance = row.pin_probability_pct
    between = f"{_price(lower, '-∞')} and {_price(upper, '∞')}"
    block = {
        "pin": _with_score(
            None if chance is None else chance / 100,
            summary and summary["pin"],
            row.symbol,
            {
                "calibration_method": _PIN_METHOD,
                "inputs_summary": f"close between {between}; magnet"
                f" {_price(row.magnet, 'unknown')}, spot {_price(row.spot, '')},"
                f" {sample.seconds_left / 3600:.2f} h left",
            },
        )
    }
    for times in (1, 2):
        name = f"range_{times}sigma"
        width = None if row.remaining_1sd is None else times * row.remaining_1sd
        entry = _with_score(
            None if width is None else WITHIN[times] / 100,
            summary and summary[name],
            row.symbol,
            {
                "calibration_method": _RANGE_METHOD,
                "low": None if width is None else round(row.spot - width, 4),
                "high": None if width is None else round(row.spot + width, 4),
            },
        )
        if entry["value"] is None:
            entry |= {"low": None, "high": None}
        block[name] = entry
    return block


def _price(price: float | None, otherwise: str) -> str:
    return otherwise if price is None else f"{price:.10g}"


def _with_score(
    value: float | None, score: Mapping[str, Any] | None, symbol: str, more: Mapping[str, Any]
) -> dict[str, Any]:
    """A probability together with its score, or why there is none."""
    sessions = 0 if score is None else score["sessions"]
    reason = None
    if sessions < ENOUGH_SESSIONS:
        value = None
        reason = _WITHOUT.format(enough=ENOUGH_SESSIONS, symbol=symbol, count=sessions)
    elif value is None:
        reason = "the sample does not say: no strike, or no volatility, in its last minute"
    counted = (
        "n", "sessions", "verdict",
        "predicted_pct", "happened_pct", "happened_low_pct", "happened_high_pct", "brier",
        "brier_of_base_rate", "expected_pct", "within_pct", "within_low_pct", "within_high_pct",
    )  # fmt: skip
    return {
        "value": value,
        "reason": reason,
        **more,
        "score": None
        if not sessions
        else {name: score[name] for name in counted if score is not None and name in score},
    }
