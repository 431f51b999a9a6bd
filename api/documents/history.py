"""A stored session in a few numbers: how it opened, where it went, and its course. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.documents.rounding import share_pct
from api.series.earlier import sample_cadence
from storage.market.calendar import Session

#: The course has a point a quarter of an hour. [s]
COURSE_SECONDS = 900
#: A session is complete if it has a sample in its first and in its last minutes. [s]
_EDGE = 900
#: Significant digits of the numbers of a session's course, which are enough to draw it.
_DIGITS = 6
#: The figures of a course.
COURSE = ("spot", "net_gex", "hedge_flow", "atm_iv")

Floats = NDArray[np.float64]


def session_summary(course: Mapping[str, Floats], session: Session, source: str) -> dict[str, Any]:
    """Return a stored session in a few numbers.

    Parameters
    ----------
    course : the session's samples, ascending, as ``Store.courses`` has them; one at least.
    session : its hours.
    source : its feed.

    Returns
    -------
    dict
        ``date``, ``feed``, coverage, the first, highest, lowest and last spot [$], ``opening``, and
        ``course``: the last sample of each quarter of an hour from the open, null where there is
        none.
    """
    slot, spot = course["slot"], course["spot"]
    opened, closed = session.open.timestamp(), session.close.timestamp()
    count = -int(-(closed - opened) // COURSE_SECONDS)
    ends = opened + COURSE_SECONDS * np.arange(1, count + 1)
    newest = np.searchsorted(slot, ends, side="left") - 1
    known = (newest >= 0) & (slot[newest] >= ends - COURSE_SECONDS)
    net_gex = float(course["net_gex"][0])
    return {
        "date": session.day,
        "feed": source,
        "session_open": session.open,
        "session_close": session.close,
        "rows": len(slot),
        "coverage_pct": share_pct(len(slot), session.slot_count),
        "cadence_seconds": sample_cadence(slot),
        "complete": bool(slot[0] - opened < _EDGE and closed - slot[-1] <= _EDGE),
        "open": float(spot[0]),
        "high": float(spot.max()),
        "low": float(spot.min()),
        "close": float(spot[-1]),
        "opening": {
            "regime": _regime(net_gex),
            "net_gex": net_gex,
            "atm_iv": _number(course["atm_iv"][0]),
            "remaining_1sd": _number(course["remaining_1sd"][0]),
            "sampled_at": datetime.fromtimestamp(float(slot[0]), UTC),
        },
        "course": {
            name: [
                _short(value) if there else None
                for value, there in zip(course[name][newest].tolist(), known, strict=True)
            ]
            for name in COURSE
        },
    }


def _regime(net_gex: float) -> str:
    if net_gex == 0:
        return "unknown"
    return "positive_gamma" if net_gex > 0 else "negative_gamma"


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _short(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{_DIGITS}g}")
