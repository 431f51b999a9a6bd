"""Forward of an expiry that lies months ahead: parity with the discount that the quotes imply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.smile import LEAST, NEAREST, Forward

Floats = NDArray[np.float64]

#: A discount outside of this comes from wrong quotes. [ratio]
LOWEST_DISCOUNT, HIGHEST_DISCOUNT = 0.8, 1.05


def discounted_forward(strike: Floats, mid: Floats, bid: Floats) -> Forward | None:
    """Median of K + (C − P)/D over the 12 strikes with the smallest |C − P|.

    D, the discount, is minus the median of the slopes of C − P between any two of these strikes.

    Parameters
    ----------
    strike : (n,) ascending. [$]
    mid, bid : (2, n), calls first; mid NaN where a quote is unusable. [$]

    Returns
    -------
    Forward or None
        The level, half the interquartile range of the estimates [$], and how many there were; None
        with fewer than three, or where the slopes are no discount.

    Notes
    -----
    At least one of a strike's two quotes must have a bid.
    """
    gap = mid[0] - mid[1]
    usable = np.flatnonzero(np.isfinite(gap) & (bid > 0).any(axis=0))
    near = np.sort(usable[np.argsort(np.abs(gap[usable]), kind="stable")[:NEAREST]])
    if len(near) < LEAST:
        return None
    first, second = np.triu_indices(len(near), 1)
    k, g = strike[near], gap[near]
    discount = -float(np.median((g[second] - g[first]) / (k[second] - k[first])))
    if not LOWEST_DISCOUNT <= discount <= HIGHEST_DISCOUNT:
        return None
    low, level, high = np.quantile(k + g / discount, (0.25, 0.5, 0.75)).tolist()
    return Forward(level, (high - low) / 2, len(near))
