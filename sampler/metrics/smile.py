"""Forward and volatility smile of one expiry, from its quotes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics import black
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_TABLE,
    WRITE,
    WRITE_TABLE,
    compiled,
    load_once,
    scalar,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: The forward is the median of the parity estimates of this many strikes, and of no fewer than
#: the second number.
NEAREST, LEAST = 12, 3
#: A smaller volatility can only come from a wrong quote, and its gamma would have no bound.
#: [decimal]
LEAST_SIGMA = 1e-6


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

    Returns
    -------
    Forward
        The level and its scatter [$], and how many strikes were used, 12 at most.

    Notes
    -----
    At least one of a strike's two quotes must have a bid. The scatter is half the interquartile
    range of the estimates, robust as the median is.
    """
    out = np.empty(3)
    _loops()[0](strike, mid, np.ascontiguousarray(bid), out)
    level, spread, count = out.tolist()
    return Forward(level, spread, int(count)) if count >= LEAST else Forward(spot, 0.0, int(count))


@load_once
def _loops() -> tuple[Callable[..., None], Callable[..., None]]:
    return (
        compiled(forward_loop, READ, READ_TABLE, READ_TABLE, WRITE),
        compiled(smile_loop, LEVEL, LEVEL, READ, READ_TABLE, READ_TABLE, WRITE_TABLE),
    )


@scalar
def forward_loop(strike: Floats, mid: Floats, bid: Floats, out: Floats) -> None:
    """Fill in the median, half the interquartile range, and the count of the estimates.

    Parameters
    ----------
    strike, mid, bid : as ``forward`` has them.
    out : the three numbers; the first two are left as they are with too few estimates. (3,)
    """
    # The nearest so far, in order; one more, so that the last can fall out.
    off, estimates, count = np.empty(NEAREST + 1), np.empty(NEAREST + 1), 0
    for k in range(strike.size):
        gap = mid[0, k] - mid[1, k]
        if math.isnan(gap) or not (bid[0, k] > 0.0 or bid[1, k] > 0.0):
            continue
        place = count
        while place > 0 and off[place - 1] > abs(gap):
            off[place], estimates[place] = off[place - 1], estimates[place - 1]
            place -= 1
        off[place], estimates[place] = abs(gap), strike[k] + gap
        count = min(count + 1, NEAREST)
    ordered = np.sort(estimates[:count])
    out[2] = count
    if count >= LEAST:
        out[0] = _quantile(ordered, 0.5)
        out[1] = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / 2.0


@scalar
def _quantile(ordered: Floats, quantile: float) -> float:
    """A quantile of ascending values, interpolated linearly between the two nearest of them."""
    rank = quantile * (ordered.size - 1)
    low = int(rank)
    value: float = ordered[low]
    if rank > low:
        value += (rank - low) * (ordered[low + 1] - ordered[low])
    return value


def smile(
    strike: Floats, mid: Floats, bid: Floats, *, forward: float, years: float
) -> Smile | None:
    """Volatility by strike from the out-of-the-money side: put below the forward, call from it on.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    mid, bid : calls first; mid NaN where a quote is unusable. (2, n) [$]
    forward : of the chain. [$]
    years : time to expiry. [years]

    Returns
    -------
    Smile or None
        Each field (n,); None when no strike has a volatility. [decimal]
    """
    own, filled, quoted = out = np.empty((3, len(strike)))
    _loops()[1](forward, years, strike, mid, np.ascontiguousarray(bid), out)
    # Filled from what is known: NaN only where nothing is.
    return None if math.isnan(filled[0]) else Smile(own, filled, quoted > 0)


@scalar
def smile_loop(
    forward: float, years: float, strike: Floats, mid: Floats, bid: Floats, out: Floats
) -> None:
    """Fill the fields of ``Smile``, a row each; all of ``filled`` is NaN where nothing is known.

    Parameters
    ----------
    forward, years, strike, mid, bid : as ``smile`` has them.
    out : the fields. (3, n)
    """
    n, count = strike.size, 0
    price, quoted, call, sigma = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        side = 0 if strike[k] >= forward else 1
        out[0, k], out[1, k], out[2, k] = math.nan, math.nan, 0.0
        if bid[side, k] > 0.0 and mid[side, k] > 0.0:
            out[2, k] = 1.0
            price[count], quoted[count], call[count] = mid[side, k], strike[k], 1.0 - side
            count += 1
    black.implied_column(forward, years, price[:count], quoted[:count], call[:count], sigma[:count])
    # Fill what lies between two known strikes once the second one is known.
    row, before = 0, -1
    for k in range(n):
        if out[2, k] == 0.0:
            continue
        if not sigma[row] < LEAST_SIGMA:
            out[0, k] = sigma[row]
        row += 1
        if not math.isfinite(out[0, k]):
            continue
        out[1, k] = out[0, k]
        if before < 0:
            out[1, :k] = out[0, k]
        elif k > before + 1:
            slope = (out[0, k] - out[0, before]) / (strike[k] - strike[before])
            for between in range(before + 1, k):
                out[1, between] = slope * (strike[between] - strike[before]) + out[0, before]
        before = k
    if before >= 0:
        out[1, before + 1 :] = out[0, before]


def skew_25_delta(call_delta: Floats, sigma: Floats) -> float | None:
    """Volatility of the 25-delta put less that of the 25-delta call; None beyond the strikes.

    Linear in delta between neighbouring strikes.

    Parameters
    ----------
    call_delta : by ascending strike, so falling. (n,) [0-1]
    sigma : volatility of each strike. (n,) [decimal]

    Returns
    -------
    float or None
        The difference; positive: puts are dearer. [decimal]
    """
    # Call delta falls with strike; a 25-delta put is where a call has 75.
    rising = call_delta[::-1]
    if not (len(rising) > 1 and rising[0] <= 0.25 and rising[-1] >= 0.75):
        return None
    call, put = np.interp([0.25, 0.75], rising, sigma[::-1])
    return float(put - call)
