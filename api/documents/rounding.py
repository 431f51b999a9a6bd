"""How numbers are written: whole ones as integers, shares in %, nothing that JSON does not have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Decimals of a percentage, and of a sum of dollars.
PERCENT, CENTS = 4, 2


def nearest_int(value: float) -> int:
    """Return the nearest integer, halves up.

    Parameters
    ----------
    value : in any unit.

    Returns
    -------
    int
        In the same unit.
    """
    return math.floor(value + 0.5)


def nearest_ints(values: Floats) -> Ints:
    """Return the nearest integers, halves up; 0 for what is no number.

    Parameters
    ----------
    values : in any unit.

    Returns
    -------
    ndarray
        Of the same shape and unit.
    """
    return np.floor(np.nan_to_num(values) + 0.5).astype(np.int64)


def percent_of(amount: float | None, whole: float | None) -> float | None:
    """Return an amount in % of a whole.

    Parameters
    ----------
    amount : in any unit; None if it is not known.
    whole : in the same unit; None if it is not known.

    Returns
    -------
    float or None
        The percentage; None if one is not known, or the whole is 0. [%]
    """
    if amount is None or not whole:
        return None
    return rounded(100 * amount / whole, PERCENT)


def share_pct(amount: float, whole: float) -> float:
    """Return an amount in % of a whole; 0 if the whole is 0.

    Parameters
    ----------
    amount, whole : in the same unit.

    Returns
    -------
    float
        The part. [%]
    """
    return percent_of(amount, whole) or 0.0


def distance_pct(level: float | None, spot: float) -> float | None:
    """Return how far a level lies above spot, in % of spot.

    Parameters
    ----------
    level : the level; None without one. [$]
    spot : price of the underlying. [$]

    Returns
    -------
    float or None
        Positive above spot, negative below. [%]
    """
    return None if level is None else percent_of(level - spot, spot)


def rounded(value: float | None, digits: int = CENTS) -> float | None:
    """Return a rounded number without a negative zero; None for what is not finite.

    Parameters
    ----------
    value : in any unit; None if it is not known.
    digits : decimals that stay.

    Returns
    -------
    float or None
        In the same unit.
    """
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits) + 0.0


def dollars(values: Floats) -> Floats:
    """Round dollars to the cent; 0 for what is no number.

    Parameters
    ----------
    values : of any shape. [$]

    Returns
    -------
    ndarray
        Of the same shape. [$]
    """
    known: Floats = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    return known.round(CENTS) + 0.0


def rounded_list(values: Floats, digits: int = CENTS) -> list[Any]:
    """Round numbers; None for what is no number.

    Parameters
    ----------
    values : in any unit. (n,)
    digits : decimals that stay.

    Returns
    -------
    list
        n numbers in the same unit.
    """
    return [rounded(value, digits) for value in values.tolist()]


def strike_text(strike: float) -> str:
    """Write a strike as it is spoken: 590, 592.5.

    Parameters
    ----------
    strike : the strike. [$]

    Returns
    -------
    str
        At most four decimals, without trailing zeros.
    """
    return f"{strike:.4f}".rstrip("0").rstrip(".")


def money_text(value: float) -> str:
    """Write an amount of dollars in words: $1.25 bn, -$3.4 mn.

    Parameters
    ----------
    value : the amount. [$]

    Returns
    -------
    str
        The amount, with two decimals from $1,000 on.
    """
    size, sign = abs(value), "-" if value < 0 else ""
    for unit, name in ((1e12, " tn"), (1e9, " bn"), (1e6, " mn"), (1e3, " k")):
        if size >= unit:
            return f"{sign}${size / unit:.2f}{name}"
    return f"{sign}${size:.0f}"
