"""Rounding of a row's figures to 12 significant digits, all of them in one compiled pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.special import READ, WRITE, compiled, load_once

Floats = NDArray[np.float64]

#: The powers of two between which numbers are rounded by arithmetic.
LEAST_POWER, MOST_POWER = -34, 40
#: Powers of ten that bring a number between 2^(e-1) and 2^e to 12 or 13 digits before the point, by
#: e from ``LEAST_POWER`` on; all of them are exact.
_SCALES = np.array(
    [
        10.0 ** (11 - math.floor(math.log10(2.0 ** (e - 1))))
        for e in range(LEAST_POWER, MOST_POWER + 1)
    ]
)
#: What is added to a number below 2^51 and taken off again leaves the nearest whole number.
_WHOLE = 1.5 * 2.0**52


def round_figures(values: Sequence[float | None]) -> tuple[list[float], list[int]]:
    """Round numbers to 12 significant digits, as far as arithmetic tells the nearest decimal.

    The arithmetic is that of ``storage.record.figures.significant``, to the bit.

    Parameters
    ----------
    values : the numbers, None where there is none.

    Returns
    -------
    list of float
        The rounded numbers; -0.0 becomes 0.0. NaN where there is none, or one that is not finite.
    list of int
        Where there is no rounded number: NaN, or one that was left as it is because it is very
        large or small, or lies too near to the middle of two decimals.
    """
    figures = np.array(values, np.float64)
    rounded = np.empty((2, len(figures)))
    _loops()[0](_SCALES, figures, rounded[0], rounded[1])
    return rounded[0].tolist(), np.flatnonzero(rounded[1]).tolist()


@load_once
def _loops() -> tuple[Callable[..., None]]:
    return (compiled(_round_loop, READ, READ, WRITE, WRITE),)


def _round_loop(scales: Floats, values: Floats, out: Floats, left: Floats) -> None:
    """Fill ``out`` with rounded numbers, and ``left`` with 1 where a number is not, or is none."""
    for i in range(values.size):
        value = values[i]
        size = abs(value)
        if size == 0.0:
            out[i], left[i] = 0.0, 0.0
            continue
        out[i], left[i] = value if size < math.inf else math.nan, 1.0
        if 1e-10 <= size < 1e12:
            scale = scales[math.frexp(value)[1] - LEAST_POWER]
            scaled = value * scale
            if not -1e12 < scaled < 1e12:
                scale /= 10.0
                scaled = value * scale
            whole = scaled + _WHOLE - _WHOLE
            if -0.499 < scaled - whole < 0.499:
                out[i], left[i] = whole / scale, 0.0
