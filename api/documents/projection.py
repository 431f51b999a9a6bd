"""Gamma and charm until the close, as they are stored with a sample. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

#: Columns of a row that the document has.
COLUMNS = (
    "expiration",
    "slot",
    "quoted_at",
    "source",
    "delay_seconds",
    "definitions",
    "oi_confidence",
    "flags",
    "spot",
    "remaining_1sd",
)
#: Why there is none.
NO_PROJECTION = (
    "No sample of this session has a projection so far: its last five minutes have none, nor have"
    " rows of earlier releases until they are recomputed."
)
#: What a projection holds fixed.
ASSUMES = (
    "The live book as it stands: nobody trades. Each strike keeps its volatility, and the forward"
    " its ratio to spot. What would follow from spot and time alone, not a forecast of either."
)


def projection(row: Mapping[str, Any] | None, day: date) -> dict[str, Any]:
    """Return a stored projection as an answer.

    Parameters
    ----------
    row : ``COLUMNS`` of a row, and ``projection`` as it is stored; None: the session has none.
    day : the session.

    Returns
    -------
    dict
        The times as moments; the levels; gamma and charm by time and level; the flip at each time.
        Without a projection the lists are empty, and ``reason`` says why.
    """
    if row is None:
        nothing = dict.fromkeys(COLUMNS[1:]) | {"flags": []}
        nothing |= {name: [] for name in ("times", "levels", "gamma", "charm", "flip")}
        row = nothing | {"expiration": day}
        return _named(row, row) | {"reason": NO_PROJECTION}
    stored = row["projection"]
    quoted = row["quoted_at"]
    times = [quoted + timedelta(seconds=second) for second in stored["seconds"]]
    return _named(row, stored | {"times": times})


def _named(row: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an answer, from a row and its projection."""
    return {
        "expiration": row["expiration"],
        "slot": row["slot"],
        "underlying_price": row["spot"],
        "remaining_1sd": row["remaining_1sd"],
        "times": stored["times"],
        "levels": stored["levels"],
        "gamma": stored["gamma"],
        "charm": stored["charm"],
        "flip": stored["flip"],
        "assumes": ASSUMES,
        "newest": row["quoted_at"],
        "feed": row["source"],
        "source": row["source"],
        "delay_seconds": row["delay_seconds"],
        "definitions": row["definitions"],
        "oi_confidence": row["oi_confidence"],
        "flags": row["flags"],
    }
