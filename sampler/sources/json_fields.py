"""What every vendor's JSON needs: decoding that forgives a NaN, numbers as columns, times.

Pure: a vendor's own format is in its own module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from sampler.chain import Floats
from storage.market.calendar import market_day, new_york_time

#: The overnight session of index options belongs to the day after it, from 20:00 New York on.
OVERNIGHT = timedelta(hours=4)


def decode_json(body: bytes) -> Any:
    """Decode a JSON document, with NaN, Infinity and numbers beyond a float too.

    Parameters
    ----------
    body : the document, unpacked.

    Returns
    -------
    Any
        The value.

    Raises
    ------
    ValueError or RecursionError
        If it is no JSON, or is nested too deeply.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Python's own parser, twice as slow, also takes NaN, Infinity and 1e999: one such number
        # must not cost all the others.
        return json.loads(body)


def finite(value: Any) -> float:
    """Read a number, or NaN for what is none.

    Parameters
    ----------
    value : any value of a JSON document.

    Returns
    -------
    float
        The number; NaN for what is none, and for infinity.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def text_of(value: Any) -> str:
    """Read a text.

    Parameters
    ----------
    value : any value of a JSON document.

    Returns
    -------
    str
        The text without blanks around it; empty for a value that is no text.
    """
    return value.strip() if isinstance(value, str) else ""


def day_of(value: Any) -> date | None:
    """Read the day at the beginning of a text, such as ``2026-08-19T16:00``.

    Parameters
    ----------
    value : any value of a JSON document.

    Returns
    -------
    date or None
        The day; None for a value that does not begin with one.
    """
    try:
        return date.fromisoformat(text_of(value)[:10])
    except ValueError:
        return None


def number_columns(
    objects: Sequence[Mapping[str, Any]], fields: Mapping[str, str]
) -> dict[str, Floats]:
    """Numbers of many objects as columns of one length.

    Parameters
    ----------
    objects : the n objects, such as a chain's contracts.
    fields : column → the field of an object that it holds.

    Returns
    -------
    dict of Floats
        Each column, of shape (n,); NaN for what is absent, no number or infinite.
    """
    names = tuple(fields.values())
    try:
        values = chain.from_iterable(map(itemgetter(*names), objects))
        numbers = np.fromiter(values, np.float64, len(objects) * len(names))
    except (KeyError, TypeError, ValueError, OverflowError):
        numbers = np.array([finite(item.get(name)) for item in objects for name in names])
    numbers[~np.isfinite(numbers)] = np.nan
    return dict(zip(fields, numbers.reshape(len(objects), len(names)).T, strict=True))


def day_bounds(quoted_at: datetime) -> tuple[float, float, float]:
    """When the New York day of some quotes begins and ends, and the overnight session before it.

    Parameters
    ----------
    quoted_at : the quotes' time, with a zone.

    Returns
    -------
    tuple of float
        Unix times of 20:00 of the evening before, of midnight, and of the next midnight. [s]
    """
    day = market_day(quoted_at)
    midnight = new_york_time(day, 0)
    end = new_york_time(day + timedelta(days=1), 0)
    return (midnight - OVERNIGHT).timestamp(), midnight.timestamp(), end.timestamp()


def moment_of(seconds: float) -> datetime | None:
    """A unix time as a moment.

    Parameters
    ----------
    seconds : the unix time. [s]

    Returns
    -------
    datetime or None
        The moment, UTC; None for what is no time from 1970-01-02 to 2100.
    """
    if not 86_400 <= seconds < 4_102_444_800:
        return None
    return datetime.fromtimestamp(seconds, UTC)
