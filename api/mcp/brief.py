"""Documents cut down to what an assistant can read, with a sentence for all that was left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import orjson

#: The size of an answer where nothing else is asked for. [bytes]
DEFAULT_LIMIT = 16_000
#: The figures of a bar where nothing else is asked for.
HEADLINES = (
    "t", "spot", "net_gex", "regime", "regime_confidence", "gamma_flip", "call_wall", "put_wall",
    "magnet", "pin_score", "pin_probability_pct", "atm_iv", "remaining_1sd",
    "charm_dollars_per_hour", "hedge_flow_cumulative_all", "flags", "sampled_at",
)  # fmt: skip
#: Gaps that are listed one by one; the others are counted.
MOST_GAPS = 10
#: How many strikes a heatmap keeps that is too large for an answer: as many, between these two, as
#: leave room for all bars; where not even the fewest do, the most strikes and fewer bars.
MOST_STRIKES, FEWEST_STRIKES = 21, 11


def headlines(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a series with the headline figures of each bar alone.

    Parameters
    ----------
    document : the series.

    Returns
    -------
    dict
        A copy; ``left_out`` names the figures that are missing.
    """
    bars = document["bars"]
    others = [name for name in (bars[0] if bars else ()) if name not in HEADLINES]
    short = dict(document)
    short["bars"] = [{name: bar[name] for name in HEADLINES if name in bar} for bar in bars]
    if document.get("opening"):
        opening = document["opening"]
        short["opening"] = {name: opening[name] for name in HEADLINES if name in opening}
    if others:
        note = f"figures of each bar: {', '.join(others)}; figures=all returns them"
        short["left_out"] = [*document.get("left_out", ()), note]
    return short


def fit(document: Mapping[str, Any], limit: int) -> bytes:
    """Encode a document within a size: first far strikes go, then old bars, then old gaps.

    Parameters
    ----------
    document : the document; it is not changed.
    limit : the size. [bytes]

    Returns
    -------
    bytes
        Compact JSON. ``left_out`` has a sentence for each thing that was cut. It is larger than
        the limit only where the document has nothing that can be cut.
    """
    whole = copy.copy(dict(document))
    _cut_gaps(whole)
    if len(encoded := orjson.dumps(whole)) <= limit:
        return encoded
    if "strikes_grid" in whole:
        for count in range(MOST_STRIKES, FEWEST_STRIKES - 1, -2):
            encoded = orjson.dumps(_with_strikes(whole, count))
            if len(encoded) <= limit:
                return encoded
        whole = _with_strikes(whole, MOST_STRIKES)
        return _largest(partial(_with_last, whole, "bars"), len(whole["bars"]), limit)
    if "strikes" in whole:
        return _largest(partial(_with_strikes, whole), len(whole["strikes"]), limit)
    for name in ("bars", "gaps", "sessions", "alerts", "entries", "symbols"):
        if isinstance(whole.get(name), list):
            return _largest(partial(_with_last, whole, name), len(whole[name]), limit)
    return encoded


def _largest(cut: Callable[[int], dict[str, Any]], most: int, limit: int) -> bytes:
    """The document with as many elements as fit; with one where none fits."""
    low, high = 1, most
    best = orjson.dumps(cut(1))
    while low < high:
        middle = (low + high + 1) // 2
        encoded = orjson.dumps(cut(middle))
        if len(encoded) <= limit:
            low, best = middle, encoded
        else:
            high = middle - 1
    return best


def _noted(document: dict[str, Any], note: str) -> dict[str, Any]:
    document["left_out"] = [*document.get("left_out", ()), note]
    return document


def _cut_gaps(document: dict[str, Any]) -> None:
    gaps = document.get("gap_intervals") or []
    if len(gaps) > MOST_GAPS:
        document["gap_intervals"] = gaps[-MOST_GAPS:]
        _noted(document, f"the {len(gaps) - MOST_GAPS} older of {len(gaps)} gaps; get_gaps has all")


def _with_strikes(document: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The document with the strikes nearest to spot."""
    spot = document.get("underlying_price") or 0.0
    grid: Sequence[Any] = document.get("strikes_grid") or document.get("strikes") or ()
    prices = [row["strike"] if isinstance(row, dict) else row for row in grid]
    nearest = sorted(sorted(range(len(grid)), key=lambda i: abs(prices[i] - spot))[:count])
    short = dict(document)
    if "strikes_grid" in document:
        short["strikes_grid"] = [grid[i] for i in nearest]
        short["bars"] = [_bar_with(bar, nearest, len(grid)) for bar in document["bars"]]
    else:
        short["strikes"] = [grid[i] for i in nearest]
    if len(nearest) < len(grid):
        note = f"{len(grid) - len(nearest)} of {len(grid)} strikes: those farthest from spot"
        _noted(short, note)
    return short


def _bar_with(bar: Mapping[str, Any], places: Sequence[int], width: int) -> dict[str, Any]:
    return {
        name: [value[i] for i in places]
        if isinstance(value, list) and len(value) == width
        else value
        for name, value in bar.items()
    }


def _with_last(document: Mapping[str, Any], name: str, count: int) -> dict[str, Any]:
    """The document with the newest elements of a list."""
    elements = document[name]
    # Alerts come with the newest first, a leaderboard with the largest, symbols in their order.
    newest_first = name in ("alerts", "entries", "symbols")
    short = dict(document) | {name: elements[:count] if newest_first else elements[-count:]}
    if count < len(elements):
        rest = "last" if name in ("entries", "symbols") else "older"
        _noted(short, f"the {len(elements) - count} {rest} of {len(elements)} {name}")
    return short


def age_of(document: Mapping[str, Any]) -> float | None:
    """Return how old a document's newest quotes were when it was made.

    Parameters
    ----------
    document : the document.

    Returns
    -------
    float or None
        Seconds from ``newest`` to ``as_of``, at least 0; None without quotes.
    """
    newest, now = document.get("newest"), document.get("as_of")
    if not newest or not now:
        return None
    age = datetime.fromisoformat(now) - datetime.fromisoformat(newest)
    return max(age.total_seconds(), 0.0)
