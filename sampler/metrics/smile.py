"""Forward and volatility smile of one expiry, from its quotes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics import black

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: How many strikes' parity estimates the forward is the median of, and the least that will do.
NEAREST, LEAST = 12, 3


class Forward(NamedTuple):
    """The parity forward, how far its estimates scatter, and how many there were."""

    level: float
    spread: float
    estimates: int


class Smile(NamedTuple):
    """Volatility by strike."""

    #: Where the out-of-the-money quote gives one; NaN elsewhere. [decimal]
    own: Floats
    #: The same with gaps filled: linear in strike between known ones, flat outside. [decimal]
    filled: Floats
    #: Whether the out-of-the-money quote has a bid and an ask.
    quoted: Bools


def forward(strike: Floats, mid: Floats, bid: Floats, spot: float) -> Forward:
    """Median of K + C − P over the strikes with the smallest |C − P|.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    mid, bid : (2, n), calls first; mid NaN where a quote is unusable. [$]
    spot : what is returned when fewer than three strikes qualify (then NaN may come back). [$]

    Notes
    -----
    At least one of a strike's two quotes must have a bid. The scatter is half the interquartile
    range of the estimates, robust as the median is.
    """
    gap = mid[0] - mid[1]
    known = np.flatnonzero(np.isfinite(gap) & ((bid[0] > 0) | (bid[1] > 0)))
    if len(known) < LEAST:
        return Forward(spot, 0.0, len(known))
    nearest = known[np.argsort(np.abs(gap[known]), kind="stable")[:NEAREST]]
    estimates = np.sort(strike[nearest] + gap[nearest]).tolist()
    low, level, high = (_quantile(estimates, part) for part in (0.25, 0.5, 0.75))
    return Forward(level, (high - low) / 2, len(estimates))


def _quantile(ordered: list[float], part: float) -> float:
    """Linear between the two nearest ranks; numpy's takes fifty times as long on twelve."""
    at = part * (len(ordered) - 1)
    low = int(at)
    if at == low:
        return ordered[low]
    if part == 0.5:
        return (ordered[low] + ordered[low + 1]) / 2
    return ordered[low] + (at - low) * (ordered[low + 1] - ordered[low])


def smile(
    strike: Floats, mid: Floats, bid: Floats, *, forward: float, years: float
) -> Smile | None:
    """Volatility by strike from the out-of-the-money side: put below the forward, call from it on.

    ``mid``, NaN where a quote is unusable, and ``bid`` are (2, n). None when no strike has a
    volatility.
    """
    call = strike >= forward
    price = np.where(call, mid[0], mid[1])
    quoted = (np.where(call, bid[0], bid[1]) > 0) & (price > 0)
    own = np.full(len(strike), np.nan)
    own[quoted] = black.implied_volatility(
        price[quoted], forward, strike[quoted], years, call[quoted]
    )
    known = np.isfinite(own)
    if not known.any():
        return None
    return Smile(own, np.interp(strike, strike[known], own[known]), quoted)


def skew_25_delta(call_delta: Floats, sigma: Floats) -> float | None:
    """Volatility of the 25-delta put less that of the 25-delta call; None beyond the strikes.

    Linear in delta between neighbouring strikes. [decimal]
    """
    # Call delta falls with strike; a 25-delta put is where a call has 75.
    rising = call_delta[::-1]
    if not (len(rising) > 1 and rising[0] <= 0.25 and rising[-1] >= 0.75):
        return None
    call, put = np.interp([0.25, 0.75], rising, sigma[::-1])
    return float(put - call)
