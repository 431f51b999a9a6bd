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
    """The nearest integer, halves up."""
    return math.floor(value + 0.5)


def nearest_ints(values: Floats) -> Ints:
    """The nearest integers, halves up; 0 for what is no number."""
    return np.floor(np.nan_to_num(values) + 0.5).astype(np.int64)


def percent_of(part: float | None, of: float | None) -> float | None:
    """A part in %; None if there is no part, or nothing that it could be a part of."""
    if part is None or not of:
        return None
    return rounded(100 * part / of, PERCENT)


def share_pct(part: float, of: float) -> float:
    """A part in %; 0 of nothing."""
    return percent_of(part, of) or 0.0


def distance_pct(level: float | None, spot: float) -> float | None:
    """How far a level lies above spot, in % of spot; negative below."""
    return None if level is None else percent_of(level - spot, spot)


def rounded(value: float | None, digits: int = CENTS) -> float | None:
    """A rounded number without a negative zero; None for what is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits) + 0.0


def dollars(values: Floats) -> Floats:
    """Dollars to the cent; 0 for what is no number."""
    known: Floats = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    return known.round(CENTS) + 0.0


def rounded_list(values: Floats, digits: int = CENTS) -> list[Any]:
    """Numbers rounded; None for what is no number."""
    return [rounded(value, digits) for value in values.tolist()]


def strike_text(strike: float) -> str:
    """A strike as it is spoken: 590, 592.5."""
    return f"{strike:.4f}".rstrip("0").rstrip(".")


def money_text(value: float) -> str:
    """Dollars in words: $1.25 bn, -$3.4 mn."""
    size, sign = abs(value), "-" if value < 0 else ""
    for unit, name in ((1e12, " tn"), (1e9, " bn"), (1e6, " mn"), (1e3, " k")):
        if size >= unit:
            return f"{sign}${size / unit:.2f}{name}"
    return f"{sign}${size:.0f}"
