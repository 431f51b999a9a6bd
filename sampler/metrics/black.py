"""Undiscounted Black (1976): price, implied volatility, greeks by strike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
_ROOT_2PI = np.sqrt(2 * np.pi)


class Greeks(NamedTuple):
    """By strike; calls and puts of a strike share σ, so all but delta are one number."""

    call_delta: Floats
    put_delta: Floats
    #: Per $ of spot.
    gamma: Floats
    #: $ per 1.00 of volatility.
    vega: Floats
    #: $ per year of calendar time.
    theta: Floats
    #: Change of delta per 1.00 of volatility.
    vanna: Floats
    #: Change of delta per year of calendar time.
    charm: Floats


def price(forward: Any, strike: Any, years: Any, sigma: Any, call: Any) -> Floats:
    """Undiscounted price. [$]"""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.asarray(sigma) * np.sqrt(np.maximum(years, 0))
        d1 = np.log(np.asarray(forward) / strike) / total + total / 2
        sign = np.where(call, 1.0, -1.0)
        value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - total)))
        return np.where(total > 0, value, np.maximum(sign * (forward - strike), 0.0))


def implied_volatility(price_: Any, forward: Any, strike: Any, years: Any, call: Any) -> Floats:
    """Volatility whose price is the given one; NaN outside the no-arbitrage bounds."""
    p, f, k, t, c = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(x, np.float64)) for x in (price_, forward, strike, years)),
        np.atleast_1d(call).astype(bool),
    )
    intrinsic = np.maximum(np.where(c, f - k, k - f), 0)
    good = (p > intrinsic) & (p < np.where(c, f, k)) & (t > 0)
    low, high = np.full(p.shape, 1e-9), np.full(p.shape, 1e3)
    for _ in range(100):
        middle = np.sqrt(low * high)
        over = price(f, k, t, middle, c) > p
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    return np.where(good, np.sqrt(low * high), np.nan)


def greeks(spot: float, forward: float, strike: Floats, years: float, sigma: Floats) -> Greeks:
    """All greeks in one pass; at T ≤ 0 intrinsic deltas and nothing else."""
    zero = np.zeros_like(strike)
    if years <= 0:
        delta = np.where(strike < forward, 1.0, np.where(strike == forward, 0.5, 0.0))
        return Greeks(delta, delta - 1, zero, zero, zero, zero, zero)
    root = np.sqrt(years)
    total = sigma * root
    x = np.log(forward / strike)
    d1 = x / total + total / 2
    density = np.exp(-d1 * d1 / 2) / _ROOT_2PI
    delta = ndtr(d1)
    return Greeks(
        call_delta=delta,
        put_delta=-ndtr(-d1),
        gamma=density / (spot * total),
        vega=forward * density * root,
        theta=-forward * density * sigma / (2 * root),
        vanna=-density * (d1 - total) / sigma,
        charm=density * (x / (2 * total * years) - sigma / (4 * root)),
    )
