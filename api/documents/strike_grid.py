"""Arrays of one window, each on its own strikes, as one table: a row a bar, a column a strike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from api.documents.rounding import Floats
from storage.postgres.windows import ProfileRow

Values = Callable[[ProfileRow], Floats]


def strike_grid(profiles: Sequence[ProfileRow]) -> Floats:
    """Return every strike of any of some samples.

    Parameters
    ----------
    profiles : samples of one window.

    Returns
    -------
    ndarray
        The strikes, ascending. (n,) [$]
    """
    grid = profiles[0].arrays["strike"] if profiles else np.empty(0)
    for profile in profiles[1:]:
        strike = profile.arrays["strike"]
        if not np.array_equal(strike, grid):
            grid = np.union1d(grid, strike)
    return grid


def lay_on_grid(profiles: Sequence[ProfileRow], grid: Floats, values: Values) -> Floats:
    """Lay one figure of some samples out as a table, a row a sample.

    Parameters
    ----------
    profiles : m samples of one window.
    grid : strikes, from ``strike_grid``. (n,) [$]
    values : gives the figure of a sample by its own strikes.

    Returns
    -------
    ndarray
        The table; NaN where a sample has no such strike. (m, n)
    """
    table = np.full((len(profiles), len(grid)), np.nan)
    for row, profile in zip(table, profiles, strict=True):
        strike = profile.arrays["strike"]
        if len(strike) == len(grid):
            row[:] = values(profile)
        else:
            row[np.searchsorted(grid, strike)] = values(profile)
    return table


def increments(
    before: ProfileRow | None, profiles: Sequence[ProfileRow], grid: Floats, values: Values
) -> Floats:
    """Return what each sample adds to a sum that counts from the baseline.

    A strike that a feed leaves out for a while adds nothing meanwhile, and all of it when it is
    back.

    Parameters
    ----------
    before : the newest sample before the window; None to count from 0.
    profiles : m samples of one window, oldest first.
    grid : strikes, from ``strike_grid``. (n,) [$]
    values : gives the sum of a sample by its own strikes.

    Returns
    -------
    ndarray
        The increments. (m, n)
    """
    table = np.full((len(profiles) + 1, len(grid)), np.nan)
    table[1:] = lay_on_grid(profiles, grid, values)
    if before is not None:
        known = np.isin(before.arrays["strike"], grid)
        table[0, np.searchsorted(grid, before.arrays["strike"][known])] = values(before)[known]
    return np.diff(_carried(table), axis=0)


def _carried(table: Floats) -> Floats:
    """Each column with its gaps filled by the last number above them, 0 above the first."""
    missing = np.isnan(table)
    missing[0] = False
    table[0] = np.nan_to_num(table[0])
    if not missing.any():
        return table
    last = np.where(missing, 0, np.arange(len(table))[:, None])
    np.maximum.accumulate(last, axis=0, out=last)
    filled: Floats = np.take_along_axis(table, last, axis=0)
    return filled
