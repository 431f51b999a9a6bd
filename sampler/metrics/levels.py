"""Levels of a book of options: its walls, magnet and max pain, and how concentrated it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.special import scalar

Floats = NDArray[np.float64]

#: Within this part of spot the top three strikes are compared with the rest; see
#: ``strikes_for_concentration``.
NEAR = 0.01


class StrikeLevels(NamedTuple):
    """Indices of strikes, None where nothing there is positive; and two sums over strikes."""

    #: The largest call gex, |put gex| and |net gex|, ties to the strike nearest spot.
    call_wall: int | None
    put_wall: int | None
    magnet: int | None
    #: The settlement at which holders receive least; None without open interest.
    max_pain: int | None
    #: How much more of the open interest near spot (``NEAR``) the top three strikes hold than three
    #: of as many equal ones would: (share − 3/n)/(1 − 3/n); 0 for three strikes or fewer.
    excess: float
    #: Σ |net gex|. [$ per 1 %]
    total_gex: float


def levels_of(values: Sequence[float]) -> StrikeLevels:
    """Name what ``levels_loop`` has filled in.

    Parameters
    ----------
    values : its six numbers.

    Returns
    -------
    StrikeLevels
        The same with None for an index of −1.
    """
    call_wall, put_wall, magnet, pain = [None if i < 0 else int(i) for i in values[:4]]
    return StrikeLevels(call_wall, put_wall, magnet, pain, values[4], values[5])


@scalar
def levels_loop(
    spot: float,
    low: float,
    high: float,
    strike: Floats,
    gex: Floats,
    open_interest: Floats,
    out: Floats,
) -> None:
    """Fill ``out`` in the order of ``StrikeLevels``, -1 for None.

    Parameters
    ----------
    spot : price of the underlying. [$]
    strike : ascending. (n,) [$]
    gex : gamma exposure, calls first. (2, n) [$ per 1 %]
    open_interest : calls first. (2, n) [contracts]
    low, high : index of the first strike that is near, and the one after the last.
    out : six numbers.
    """
    n = strike.size
    size, total = np.empty(n), 0.0
    for k in range(n):
        size[k] = abs(gex[0, k] + gex[1, k])
        total += size[k]
    out[0] = strongest(strike, gex[0], spot)
    out[1] = strongest(strike, np.abs(gex[1]), spot)
    out[2] = strongest(strike, size, spot)
    out[3] = max_pain(strike, open_interest[0], open_interest[1], spot)
    out[4] = excess(open_interest[0], open_interest[1], low, high)
    out[5] = total


@scalar
def strongest(strike: Floats, size: Floats, spot: float) -> int:
    """Index of the largest size, ties to the strike nearest spot; -1 if none is positive.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    size : what is compared, in any unit. (n,)
    spot : price of the underlying. [$]

    Returns
    -------
    int
        Index into ``strike``, or -1.
    """
    best, top = -1, 0.0
    for k in range(strike.size):
        nearer = best >= 0 and abs(strike[k] - spot) < abs(strike[best] - spot)
        if size[k] > top or (size[k] == top and nearer):
            best, top = k, size[k]
    return best


@scalar
def max_pain(strike: Floats, calls: Floats, puts: Floats, spot: float) -> int:
    """Index of the settlement at which holders receive least; -1 without open interest.

    Ties go to the strike nearest spot.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    calls, puts : open interest. (n,) [contracts]
    spot : price of the underlying. [$]

    Returns
    -------
    int
        Index into ``strike``, or -1.
    """
    n, held, worth, all_held = strike.size, 0.0, 0.0, 0.0
    paid = np.zeros(n)
    for k in range(n):
        all_held += calls[k] + puts[k]
    if not all_held > 0.0:
        return -1
    for k in range(1, n):
        # Settling one strike higher pays every call with a lower strike the step between them.
        held += calls[k - 1]
        worth += held * (strike[k] - strike[k - 1])
        paid[k] += worth
    held, worth = 0.0, 0.0
    for k in range(n - 2, -1, -1):
        # Settling one strike lower pays every put with a higher strike the step between them.
        held += puts[k + 1]
        worth += held * (strike[k + 1] - strike[k])
        paid[k] += worth
    best = 0
    for k in range(1, n):
        nearer = abs(strike[k] - spot) < abs(strike[best] - spot)
        if paid[k] < paid[best] or (paid[k] == paid[best] and nearer):
            best = k
    return best


@scalar
def excess(calls: Floats, puts: Floats, low: float, high: float) -> float:
    """How much more open interest near spot the top three strikes hold than an even spread gives.

    Parameters
    ----------
    calls, puts : open interest by strike, ascending. (n,) [contracts]
    low, high : index of the first strike that is near, and the one after the last.

    Returns
    -------
    float
        (share − 3/n)/(1 − 3/n), n strikes near; 0 for three or fewer, or without open interest.
        [0-1]
    """
    n, total, first, second, third = int(high) - int(low), 0.0, 0.0, 0.0, 0.0
    for k in range(int(low), int(high)):
        held = calls[k] + puts[k]
        total += held
        if held > first:
            first, second, third = held, first, second
        elif held > second:
            second, third = held, second
        elif held > third:
            third = held
    if n <= 3 or not total > 0.0:
        return 0.0
    even = 3.0 / n
    share: float = (first + second + third) / total
    return (share - even) / (1.0 - even)
