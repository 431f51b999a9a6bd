import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sampler.metrics import special
from sampler.metrics.special import mills, norm_pdf, scalar

Floats = NDArray[np.float64]

_ROOT_2PI = math.sqrt(2.0 * math.pi)
_LN_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
_DEEP = 0.25
_SHRINK = 2.0**400
_LN_SHRINK = 400.0 * math.log(2.0)


class Greeks(NamedTuple):
    call_delta: Floats
    put_delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    vanna: Floats
    charm: Floats


def price(forward: ArrayLike, strike: ArrayLike, years: ArrayLike, sigma: ArrayLike, call: ArrayLike) -> Floats:
    columns, size, shape = _columns(call, forward, strike, years, sigma)
    out = np.empty(size)
    _kernels()[0](*columns, out)
    return out if shape is None else out.reshape(shape)


def implied_volatility(price: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, call: ArrayLike) -> Floats:
    columns, size, shape = _columns(call, price, forward, strike, years)
    out = np.empty(size)
    _kernels()[1](*columns, out)
    return out if shape is None else out.reshape(shape)


def greeks(spot: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, sigma: ArrayLike) -> Greeks:
    columns, size, shape = _columns(spot, forward, strike, years, sigma)
    out = np.empty((7, size))
    _kernels()[2](*columns, out)
    return Greeks._make(out if shape is None else out.reshape(7, *shape))


def warm():
    _kernels()


@functools.cache
def _kernels():
    read, write = special.READ, special.WRITE
    return (
        special.compiled(_price_loop, *[read] * 5, write),
        special.compiled(_implied_loop, *[read] * 5, write),
        special.compiled(_greeks_loop, *[read] * 5, special.WRITE_TABLE),
    )


def _columns(*values):
    columns = [np.ascontiguousarray(v, np.float64) for v in values]
    sizes = {c.size for c in columns}
    sizes.discard(1)
    if len(sizes) == 1 and all(c.ndim == 1 for c in columns):
        return columns, sizes.pop(), None
    wide = np.broadcast_arrays(*[np.asarray(v, np.float64) for v in values])
    return [np.ascontiguousarray(c).ravel() for c in wide], wide[0].size, wide[0].shape


@scalar
def _mills_of(z):
    if z >= 0.0:
        return mills(z)[0]
    return _ROOT_2PI * math.exp(0.5 * z * z) - mills(-z)[0]


@scalar
def _ratio(a, t):
    if t < 0.5 and a * t < 0.5:
        y, d = mills(a)
        before, odd, total, factor, n = y, d, d, 1.0, 1.0
        while True:
            before = n * before - a * odd
            odd = (n + 1.0) * odd - a * before
            factor *= t * t / ((n + 1.0) * (n + 2.0))
            term = factor * odd
            total += term
            n += 2.0
            if not term > 1e-17 * total:
                return 2.0 * t * total
    return _mills_of(a - t) - _mills_of(a + t)


@scalar
def _otm_price(low, high, total):
    a = math.log1p((high - low) / low) / total
    t = 0.5 * total
    vega = math.sqrt(low) * math.sqrt(high) * math.exp(-0.5 * (a * a + t * t)) / _ROOT_2PI
    if t >= 0.5 and a < t:
        return low - vega * (mills(t - a)[0] + mills(a + t)[0])
    return vega * _ratio(a, t)


@scalar
def _guess(x, beta, shift):
    if x == 0.0:
        return _ROOT_2PI * beta
    l = math.log1p(x / beta) + shift
    num = 6.28251721 + l * (1.11338382 + l * (0.187957558 + l * (0.0123782842 + l * 4.44358326e-05)))
    den = 1.0 + l * (0.176283874 + l * (0.0236020167 + l * 8.88404663e-05))
    return x / l * math.sqrt(num / den)


@scalar
def _total(value, low, high):
    x = math.log1p((high - low) / low)
    root = math.sqrt(low) * math.sqrt(high)
    shift = 0.0
    upper = value > _DEEP * low
    if upper:
        rest = low - value
        target = rest / root
        z2 = -2.0 * math.log(rest / low)
        total = math.sqrt(z2) + math.sqrt(z2 + 2.0 * x)
    else:
        if value < 1e-250 * root:
            if x == 0.0:
                return _ROOT_2PI * (value / root), 0
            value *= _SHRINK
            shift = _LN_SHRINK
        target = value / root
        total = _guess(x, target, shift)
    for it in range(30):
        a = x / total
        t = 0.5 * total
        if upper:
            r = _mills_of(t - a) + _mills_of(a + t)
            rho = -r / total
        else:
            r = _ratio(a, t)
            rho = r / total
        a2, t2 = a * a, t * t
        miss = math.log(r / target) + shift - 0.5 * (a2 + t2) - _LN_ROOT_2PI
        inv = 1.0 / rho
        newton = -miss * rho
        b = a2 - t2
        second = b - inv
        third = b * b - 3.0 * a2 - t2 - 3.0 * b * inv + 2.0 * inv * inv
        step = newton * (1.0 + 0.5 * second * newton) / (1.0 + newton * (second + newton * third / 6.0))
        total *= 1.0 + step
        if abs(step) < 1e-4:
            break
    return total, it


@scalar
def _implied(call, price, forward, strike, years):
    low, high = min(forward, strike), max(forward, strike)
    if (forward > strike) == (call != 0.0):
        gap = high - low
        price = (price - gap) - ((high - gap) - low)
    if not (0.0 < price < low and high < math.inf and 0.0 < years < math.inf):
        return math.nan
    return _total(price, low, high)[0] / math.sqrt(years)


def _implied_loop(call, price, forward, strike, years, out):
    c, p, f, k, y = int(call.size > 1), int(price.size > 1), int(forward.size > 1), int(strike.size > 1), int(years.size > 1)
    for i in range(out.size):
        out[i] = _implied(call[i * c], price[i * p], forward[i * f], strike[i * k], years[i * y])


def _price_loop(call, forward, strike, years, sigma, out):
    c, f, k, y, s = int(call.size > 1), int(forward.size > 1), int(strike.size > 1), int(years.size > 1), int(sigma.size > 1)
    for i in range(out.size):
        out[i] = _otm_price(min(forward[i*f],strike[i*k]), max(forward[i*f],strike[i*k]), sigma[i*s]*math.sqrt(years[i*y]))


def _greeks_loop(spot, forward, strike, years, sigma, out):
    s, f, k, y, v = int(spot.size > 1), int(forward.size > 1), int(strike.size > 1), int(years.size > 1), int(sigma.size > 1)
    for i in range(out.shape[1]):
        F, K, T, S, vol = forward[i*f], strike[i*k], years[i*y], spot[i*s], sigma[i*v]
        root = math.sqrt(T)
        total = vol * root
        x = math.log1p((F-K)/K) if F>=K else -math.log1p((K-F)/F)
        d1 = x / total + 0.5 * total
        d2 = d1 - total
        n = norm_pdf(d1)
        tail = n * mills(abs(d1))[0]
        out[0, i] = tail if d1 < 0 else 1 - tail
        out[1, i] = tail - 1 if d1 < 0 else -tail
        out[2, i] = n / (S * total)
        out[3, i] = F * n * root
        out[4, i] = -0.5 * F * n * vol / root
        out[5, i] = -n * d2 / vol
        out[6, i] = n * d2 / (2 * T)
