"""Undiscounted Black (1976): price, implied volatility, greeks by strike.

Prices are in the unit of forward and strike, `years` is ACT/365, `sigma` decimal. Arguments are
scalars or arrays that broadcast; a scalar gives the same bits as an array.

The solver works on x = -|ln(F/K)|, s = σ√T, h = x/s and t = s/2, where the out-of-the-money
option is v = √(FK)·n(h)·exp(-t²/2)·R with R = Y(h+t) - Y(h-t) and Y = N/n, and its vega in s is
v/R. With ln v as the objective a step therefore costs one logarithm and no exponential.
After P. Jäckel, *Let's Be Rational* (2013) and *Implied Normal Volatility* (2017).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sampler.metrics.special import (
    NARROW,
    READ,
    WRITE,
    WRITE_TABLE,
    at,
    compiled,
    inlined,
    log_moneyness,
    mills,
    mills_at,
    norm_pdf,
    ratio,
    scalar,
    series,
    time_value,
)

Floats = NDArray[np.float64]
Loop = Callable[..., None]

_ROOT_2PI = math.sqrt(2.0 * math.pi)
_LN_ROOT_2PI = math.log(_ROOT_2PI)
#: Above this part of its upper bound a price is solved by what is missing to the bound.
_HIGH = 0.25
#: Relative step after which the next one, of its fourth power, would change nothing.
_LAST_STEP = 1e-4
#: Total volatility that counts as none.
_NONE = 1e-100


class Greeks(NamedTuple):
    """By strike; calls and puts of a strike share σ, so all but delta are one number."""

    #: N(d1), d1 = ln(F/K)/(σ√T) + σ√T/2.
    call_delta: Floats
    #: N(d1) - 1.
    put_delta: Floats
    #: n(d1)/(S·σ√T), per $ of spot.
    gamma: Floats
    #: F·n(d1)·√T, $ per 1.00 of volatility.
    vega: Floats
    #: -F·n(d1)·σ/(2√T), $ per year of calendar time.
    theta: Floats
    #: -n(d1)·d2/σ, change of delta per 1.00 of volatility.
    vanna: Floats
    #: n(d1)·d2/(2T), change of delta per year of calendar time.
    charm: Floats


def price(
    forward: ArrayLike, strike: ArrayLike, years: ArrayLike, sigma: ArrayLike, call: ArrayLike
) -> Floats:
    """Undiscounted price, intrinsic value for T <= 0. [$]

    Out of the money it is exact to about 1e-16·max(d1², 10) relative; in the money it is that
    plus the intrinsic value, so parity holds. NaN for a NaN, and for F or K <= 0, σ < 0 or infinite.
    """
    columns, size, shape = _columns(call, forward, strike, years, sigma)
    out = np.empty(size)
    _loops()[0](*columns, out)
    return out if shape is None else out.reshape(shape)


def implied_volatility(
    price: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, call: ArrayLike
) -> Floats:
    """Volatility whose price is the given one, decimal; NaN where there is none.

    That is where price <= intrinsic value, price >= forward (call) or strike (put), T <= 0, F or
    K <= 0, or anything is NaN or infinite. Every price between the bounds has a finite answer.

    Notes
    -----
    The price of σ agrees with the given one to 1e-12 relative, and σ is that of the given double
    to 1e-14. How well the *price* knows σ is another matter: a relative error ε of the price is one
    of ε·price/(σ·vega) in σ, below ε out of the money and without bound deep in the money,
    where all but the last digits are intrinsic value: take the other side's price there.
    """
    columns, size, shape = _columns(call, price, forward, strike, years)
    out = np.empty(size)
    _loops()[1](*columns, out)
    return out if shape is None else out.reshape(shape)


def greeks(
    spot: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, sigma: ArrayLike
) -> Greeks:
    """All greeks by strike in one pass; F moves in proportion to spot.

    Finite for every T, however short. For T <= 0, or σ = 0, deltas are intrinsic (½ at K = F) and
    all else is 0. NaN for a NaN, and for S, F or K <= 0, σ < 0 or infinite.
    """
    columns, size, shape = _columns(spot, forward, strike, years, sigma)
    out = np.empty((7, size))
    _loops()[2](*columns, out)
    return Greeks._make(out if shape is None else out.reshape(7, *shape))


def warm() -> None:
    """Compile the loops, or load them from the cache, ahead of the first call that needs them."""
    _loops()


@functools.cache
def _loops() -> tuple[Loop, Loop, Loop]:
    # On first use, not at import: who only asks for --help does not pay for it.
    return (
        compiled(_price_loop, *[READ] * 5, WRITE),
        compiled(_implied_loop, *[READ] * 5, WRITE),
        compiled(_greeks_loop, *[READ] * 5, WRITE_TABLE),
    )


def _columns(*values: ArrayLike) -> tuple[list[Floats], int, tuple[int, ...] | None]:
    """Return columns of one common length or of length 1, that length, and a shape to restore."""
    columns = [np.ascontiguousarray(value, np.float64) for value in values]
    sizes = {column.size for column in columns} - {1}
    if len(sizes) == 1 and all(column.ndim == 1 for column in columns):
        return columns, sizes.pop(), None
    shape = np.broadcast_shapes(*(np.shape(value) for value in values))
    if sizes:
        columns = [np.array(np.broadcast_to(c, shape), order="C") for c in columns]
    return [column.reshape(-1) for column in columns], math.prod(shape), shape


@scalar
def _price(call: float, forward: float, strike: float, years: float, sigma: float) -> float:
    low, high = min(forward, strike), max(forward, strike)
    if not (forward > 0.0 and strike > 0.0 and high < math.inf):
        return math.nan
    intrinsic = high - low if (forward > strike) == (call != 0.0) else 0.0
    if years <= 0.0 or sigma == 0.0:
        return intrinsic
    total = sigma * math.sqrt(years)
    if not 0.0 <= total < math.inf:
        return math.nan
    return intrinsic if total < _NONE else intrinsic + time_value(low, high, total)


def _price_loop(
    call: Floats, forward: Floats, strike: Floats, years: Floats, sigma: Floats, out: Floats
) -> None:
    for i in range(out.size):
        out[i] = _price(at(call, i), at(forward, i), at(strike, i), at(years, i), at(sigma, i))


@inlined
def _usable(
    call: float, price: float, forward: float, strike: float, years: float
) -> tuple[float, float, float]:
    """Return the out-of-the-money price, NaN where refused, and the lower and higher of F and K."""
    low, high = min(forward, strike), max(forward, strike)
    if (forward > strike) == (call != 0.0):
        gap = high - low
        price = (price - gap) - ((high - gap) - low)  # with what `gap` was rounded by
    good = 0.0 < price < low and 0.0 < years < math.inf and strike > 0.0 and high < math.inf
    return price if good and forward > 0.0 else math.nan, low, high


@inlined
def _normal_guess(x: float, target: float, shift: float) -> float:
    """Total volatility of the normal model, within 5.4e-5: below Black's, by s²/24 at the money.

    With l = ln(1 + |x|/target) and h = |x|/s, (l/h)² is a rational function of l: our fit, by the
    method of `mills`' coefficients, for 0 <= h <= 40.
    """
    if x == 0.0:
        return _ROOT_2PI * target
    l = math.log1p(x / target) + shift
    top = 6.28251721 + l * (
        1.11338382 + l * (0.187957558 + l * (0.0123782842 + l * 4.44358326e-05))
    )
    return (
        x / l * math.sqrt(top / (1.0 + l * (0.176283874 + l * (0.0236020167 + l * 8.88404663e-05))))
    )


@inlined
def _householder(x: float, total: float, target: float, ratio: float, shift: float) -> float:
    """Relative step of third order (fourth-power convergence) of ln(vega·ratio) to ln(target).

    `ratio` is R below and minus its complement above; derivatives are those in ln s.
    """
    h2, t2, slope = (x / total) ** 2, (0.5 * total) ** 2, total / ratio
    miss = math.log(abs(ratio) / target) + shift - 0.5 * (h2 + t2) - _LN_ROOT_2PI
    newton, bend = -miss / slope, h2 - t2
    second = bend - slope
    third = bend * bend - 3.0 * h2 - t2 - 3.0 * bend * slope + 2.0 * slope * slope
    half = 0.5 * second * newton
    return newton * (1.0 + half) / (1.0 + newton * (second + newton * third / 6.0))


@scalar
def _solve(value: float, low: float, high: float) -> float:
    x = log_moneyness(high, low)
    root, shift = math.sqrt(low) * math.sqrt(high), 0.0
    upper = value > _HIGH * low
    if upper:
        target = (low - value) / root
        z = -2.0 * math.log((low - value) / low)
        total = math.sqrt(z) + math.sqrt(z + 2.0 * x)
    else:
        if value < 1e-250 * root:
            if x == 0.0:
                return _ROOT_2PI * (value / root)
            value, shift = value * 2.0**400, 400.0 * math.log(2.0)
        target = value / root
        total = _normal_guess(x, target, shift)
    for _ in range(30):
        a, t = x / total, 0.5 * total
        depth = -mills_at(t - a) - mills_at(a + t) if upper else ratio(a, t)
        step = _householder(x, total, target, depth, shift)
        total *= 1.0 + step
        if abs(step) < _LAST_STEP:
            break
    return total


def _implied_loop(
    call: Floats, price: Floats, forward: Floats, strike: Floats, years: Floats, out: Floats
) -> None:
    x, target, total, ratio = (
        np.empty_like(out),
        np.empty_like(out),
        np.empty_like(out),
        np.empty_like(out),
    )
    for i in range(out.size):
        value, low, high = _usable(
            at(call, i), at(price, i), at(forward, i), at(strike, i), at(years, i)
        )
        x[i] = log_moneyness(high, low)
        target[i] = value / (math.sqrt(low) * math.sqrt(high))
        total[i] = _normal_guess(x[i], target[i], 0.0)
    for i in range(out.size):
        ratio[i] = series(x[i] / total[i], 0.5 * total[i], 4)
    for i in range(out.size):
        step = _householder(x[i], total[i], target[i], ratio[i], 0.0)
        if total[i] < NARROW and abs(step) < _LAST_STEP:
            s = total[i] * (1.0 + step)
        else:
            value, low, high = _usable(
                at(call, i), at(price, i), at(forward, i), at(strike, i), at(years, i)
            )
            s = _solve(value, low, high)
        out[i] = s / math.sqrt(at(years, i))


@scalar
def _delta_without_volatility(
    spot: float, forward: float, strike: float, years: float, sigma: float
) -> float:
    """Intrinsic delta of a call where no volatility is left; NaN where an input is unusable."""
    usable = 0.0 < spot < math.inf and 0.0 < forward < math.inf and 0.0 < strike < math.inf
    if not usable or not (years <= 0.0 or 0.0 <= sigma * math.sqrt(years) < _NONE):
        return math.nan
    return 0.5 if forward == strike else 1.0 if forward > strike else 0.0


def _greeks_loop(
    spot: Floats, forward: Floats, strike: Floats, years: Floats, sigma: Floats, out: Floats
) -> None:
    n = out.shape[1]
    d1, density, tail = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        total = at(sigma, i) * math.sqrt(at(years, i))
        d1[i] = log_moneyness(at(forward, i), at(strike, i)) / total + 0.5 * total
        density[i] = norm_pdf(d1[i])
    for i in range(n):
        tail[i] = density[i] * mills(abs(d1[i]))[0]
    for i in range(n):
        level, price, time, vol = at(spot, i), at(forward, i), at(years, i), at(sigma, i)
        root = math.sqrt(time)
        total = vol * root
        usable = 0.0 < level < math.inf and 0.0 < at(strike, i) < math.inf
        if usable and 0.0 < price < math.inf and _NONE <= total < math.inf:
            d2 = d1[i] - total
            out[0, i] = tail[i] if d1[i] < 0.0 else 1.0 - tail[i]
            out[1, i] = tail[i] - 1.0 if d1[i] < 0.0 else -tail[i]
            out[2, i] = density[i] / (level * total)
            out[3, i] = price * density[i] * root
            out[4, i] = -0.5 * price * density[i] * vol / root
            out[5, i] = -density[i] * d2 / vol
            out[6, i] = density[i] * d2 / (2.0 * time)
        else:
            delta = _delta_without_volatility(level, price, at(strike, i), time, vol)
            out[0, i], out[1, i] = delta, delta - 1.0
            out[2:, i] = 0.0 * delta
