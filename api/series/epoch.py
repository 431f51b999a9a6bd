"""Times as whole seconds since 1970, which compare and count fast, and their text in answers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_DAY = 86_400


def epoch_seconds(moment: datetime) -> int:
    """Return a time as whole seconds since 1970, rounded down.

    Parameters
    ----------
    moment : with any offset.

    Returns
    -------
    int
        The time. [s since 1970]
    """
    return int(moment.timestamp())


def epoch_text(seconds: int) -> str:
    """Write a time as ``2026-06-05T18:44:00Z``.

    Parameters
    ----------
    seconds : the time. [s since 1970]

    Returns
    -------
    str
        The time, UTC.
    """
    return _date_text(seconds // _DAY) + _time_text(seconds % _DAY)


@lru_cache(maxsize=512)
def _date_text(days: int) -> str:
    return datetime.fromtimestamp(days * _DAY, UTC).strftime("%Y-%m-%dT")


@lru_cache(maxsize=8192)
def _time_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%SZ")
