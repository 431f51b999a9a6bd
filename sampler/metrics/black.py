"""Undiscounted Black (1976): price, implied volatility, greeks by strike.

Prices are in the unit of forward and strike, years are ACT/365, σ is decimal. Arguments are scalars
or arrays that broadcast; a scalar gives the same bits as an array.

The solver works on x = |ln(F/K)|, s = σ√T, a = x/s and t = s/2. There the out-of-the-money option
is worth R times its vega in s, √(FK)·n(a)·exp(-t²/2), with R = Y(a-t) - Y(a+t), Y Mills' ratio.
The objective ln(price) then needs one logarithm and no exponential, and all its derivatives are
rational in R, a² and t². The normal model starts it within 1e-4, and one third-order step ends it:
the error goes with its fourth power. Prices near their bound are solved by what is missing to it.
After P. Jäckel, *Let's Be Rational* (2013) and *Implied Normal Volatility* (2017).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sampler.metrics.special import (
    LEVEL,
    NARROW,
    READ,
    WRITE_TABLE,
    Floats,
    Loop,
    compiled,
    element,
    inlined,
    load_once,
    log_moneyness,
    mills,
    mills_at,
    norm_pdf,
    price_to_vega,
    price_to_vega_series,
    scalar,
    tabulate,
    time_value,
)

_ROOT_2PI = math.sqrt(2.0 * math.pi)
_LN_ROOT_2PI = math.log(_ROOT_2PI)
#: Above this part of its upper bound a price is solved by what is missing to the bound.
_HIGH = 0.25
#: Relative step whose fourth power is nothing; of 3 million prices none took more than 3 steps.
_LAST_STEP, _MOST_STEPS = 1e-4, 10
#: Scale for prices near the smallest double.
_LIFT = 2.0**400
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
    """Undiscounted price in the unit of F; for T <= 0 the intrinsic value, whatever σ.

    Call F·N(d1) - K·N(d2), put K·N(-d2) - F·N(-d1), but without their cancellation: out of the
    money within 1e-13 relative as far as 10 σ√T, in the money that plus the intrinsic value.

    Parameters
    ----------
    forward, strike : F and K. Arrays that broadcast, or scalars. [$]
    years : time to expiry T, ACT/365. As above. [years]
    sigma : volatility. As above. [decimal]
    call : true for a call, false for a put. As above.

    Returns
    -------
    ndarray
        Prices, in the common shape of the arguments. NaN where an input is NaN, F or K is not
        positive and finite, or σ is negative or infinite. [$]

    Raises
    ------
    ValueError
        Where the shapes do not broadcast.
    """
    return tabulate(_loops()[0], 1, (forward, years), (strike, sigma, call))[0, ...]


def implied_volatility(
    price: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, call: ArrayLike
) -> Floats:
    """Volatility whose price is the given one, decimal; NaN where there is none.

    There is none at or below the intrinsic value, at or above F (call) or K (put), for T <= 0,
    F or K <= 0, or where anything is NaN or infinite. Every price between has a finite one.

    Parameters
    ----------
    price : undiscounted price. Arrays that broadcast, or scalars. [$]
    forward, strike : F and K. As above. [$]
    years : time to expiry T, ACT/365. As above. [years]
    call : true for a call, false for a put. As above.

    Returns
    -------
    ndarray
        Volatilities, in the common shape of the arguments. [decimal]

    Raises
    ------
    ValueError
        Where the shapes do not broadcast.

    Notes
    -----
    The price of σ agrees with the given double to 1e-12 relative, and σ with the exact answer for
    that double to 1e-14. A relative error ε of the price itself is a relative error
    ε·price/(σ·vega) of σ. That is at most about ε for out-of-the-money prices up to a quarter
    of their bound, but grows without limit towards the bound and deep in the money: there, take
    the other side's price.
    """
    return tabulate(_loops()[1], 1, (forward, years), (price, strike, call))[0, ...]


def greeks(
    spot: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, sigma: ArrayLike
) -> Greeks:
    """All greeks by strike in one pass; F moves in proportion to spot.

    Formulas and units are at `Greeks`. Finite for every T, however short; for T <= 0, whatever σ,
    and for σ = 0 deltas are intrinsic (½ at K = F) and all else is 0.

    Parameters
    ----------
    spot, forward, strike : S, F and K. Arrays that broadcast, or scalars. [$]
    years : time to expiry T, ACT/365. As above. [years]
    sigma : volatility. As above. [decimal]

    Returns
    -------
    Greeks
        Each field in the common shape of the arguments. NaN where an input is NaN, S, F or K is
        not positive and finite, or σ is negative or infinite.

    Raises
    ------
    ValueError
        Where the shapes do not broadcast.
    """
    t = tabulate(_loops()[2], 7, (spot, forward, years), (strike, sigma))
    return Greeks(t[0], t[1], t[2], t[3], t[4], t[5], t[6])  # faster than *t


@load_once
def _loops() -> tuple[Loop, Loop, Loop]:
    # On first use, not at import: a command that prices nothing does not wait for it.
    return (
        compiled(_price_loop, *[LEVEL] * 2, *[READ] * 3, WRITE_TABLE),
        compiled(_implied_loop, *[LEVEL] * 2, *[READ] * 3, WRITE_TABLE),
        compiled(_greeks_loop, *[LEVEL] * 3, *[READ] * 2, WRITE_TABLE),
    )


@scalar
def one_price(forward: float, strike: float, years: float, sigma: float, call: float) -> float:
    """Return ``price`` of one option, to compiled code.

    Parameters
    ----------
    forward, strike : F and K. [$]
    years : time to expiry T. [years]
    sigma : volatility. [decimal]
    call : 1 for a call, 0 for a put.

    Returns
    -------
    float
        The price; NaN where an input is unusable. [$]
    """
    low, high = min(forward, strike), max(forward, strike)
    if not (forward > 0.0 and strike > 0.0 and high < math.inf):
        return math.nan
    intrinsic = high - low if (forward > strike) == (call != 0.0) else 0.0
    if years <= 0.0:
        return intrinsic
    total = sigma * math.sqrt(years)
    if not 0.0 <= total < math.inf:
        return math.nan
    return intrinsic if total < _NONE else intrinsic + time_value(low, high, total)


def _price_loop(
    forward: float, years: float, strike: Floats, sigma: Floats, call: Floats, out: Floats
) -> None:
    for i in range(out.shape[1]):
        out[0, i] = one_price(
            forward, element(strike, i), years, element(sigma, i), element(call, i)
        )


@inlined
def _usable(
    price: float, forward: float, strike: float, years: float, call: float
) -> tuple[float, float, float]:
    """Return the out-of-the-money price, NaN where refused, and the lower and higher of F and K."""
    low, high = min(forward, strike), max(forward, strike)
    if (forward > strike) == (call != 0.0):
        gap = high - low
        price = (price - gap) - ((high - gap) - low)  # with what `gap` was rounded by
    good = 0.0 < price < low and 0.0 < years < math.inf and forward > 0.0 and strike > 0.0
    return price if good else math.nan, low, high


@inlined
def _normal_guess(x: float, target: float, shift: float) -> float:
    """Total volatility of the normal model, within 5.4e-5; Black's is s²/24 more at the money.

    With l = ln(1 + x/target), (l/a)² is a rational function of l: our fit, made like the one of
    `mills`, for 0 <= a <= 40.
    """
    if x == 0.0:
        return _ROOT_2PI * target
    l = math.log1p(x / target) + shift
    above = 0.187957558 + l * (0.0123782842 + l * 4.44358326e-05)
    above = 6.28251721 + l * (1.11338382 + l * above)
    below = 1.0 + l * (0.176283874 + l * (0.0236020167 + l * 8.88404663e-05))
    return x / l * math.sqrt(above / below)


@inlined
def _householder(x: float, total: float, target: float, ratio: float, shift: float) -> float:
    """Step of s, relative to it, that brings ln(vega·|ratio|) to ln(target) - shift.

    `ratio` is R, or minus its like for what is missing to the bound. Householder's third order.
    """
    # Everything is a derivative in units of s: b''/b' = a² - t², and b/b' = 1/slope.
    a2, t2, slope = (x / total) ** 2, (0.5 * total) ** 2, total / ratio
    miss = math.log(abs(ratio) / target) + shift - 0.5 * (a2 + t2) - _LN_ROOT_2PI
    newton, bend = -miss / slope, a2 - t2
    second = bend - slope
    third = bend * bend - 3.0 * a2 - t2 - 3.0 * bend * slope + 2.0 * slope * slope
    half = 0.5 * second * newton
    return newton * (1.0 + half) / (1.0 + newton * (second + newton * third / 6.0))


@scalar
def _solve(value: float, low: float, high: float) -> float:
    """Total volatility of any out-of-the-money price; NaN for NaN."""
    x = log_moneyness(high, low)
    root, shift = math.sqrt(low) * math.sqrt(high), 0.0
    near_bound = value > _HIGH * low
    if near_bound:
        target = (low - value) / root
        # Not below the answer, since N(-z) <= exp(-z²/2)/2; from there the steps do not overshoot.
        z2 = -2.0 * math.log((low - value) / low)
        total = math.sqrt(z2) + math.sqrt(z2 + 2.0 * x)
    else:
        if value < 1e-250 * root:
            if x == 0.0:
                return _ROOT_2PI * (value / root)
            value, shift = value * _LIFT, math.log(_LIFT)
        target = value / root
        total = _normal_guess(x, target, shift)
    for _ in range(_MOST_STEPS):
        a, t = x / total, 0.5 * total
        ratio = -mills_at(t - a) - mills_at(a + t) if near_bound else price_to_vega(a, t)
        step = _householder(x, total, target, ratio, shift)
        total *= 1.0 + step
        if abs(step) < _LAST_STEP:
            break
    return total


def _implied_loop(
    forward: float, years: float, price: Floats, strike: Floats, call: Floats, out: Floats
) -> None:
    implied_column(forward, years, price, strike, call, out[0])


@scalar
def implied_column(
    forward: float, years: float, price: Floats, strike: Floats, call: Floats, out: Floats
) -> None:
    """Fill a column with ``implied_volatility``, from compiled code.

    Parameters
    ----------
    forward, years : F [$] and T [years].
    price, strike, call : of each option; columns of length 1 stand for all. (n,) [$, $, 1 or 0]
    out : is filled with volatilities, NaN where there is none. (n,) [decimal]
    """
    # In stages, so that no element waits for another's divisions and logarithms: three times as
    # fast as one after the other. Whatever the short way does not settle, `_solve` does.
    n, root = out.size, math.sqrt(years)
    x, target, total, ratio = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        value, low, high = _usable(
            element(price, i), forward, element(strike, i), years, element(call, i)
        )
        x[i] = log_moneyness(high, low)
        target[i] = value / (math.sqrt(low) * math.sqrt(high))
        total[i] = _normal_guess(x[i], target[i], 0.0)
    for i in range(n):
        ratio[i] = price_to_vega_series(x[i] / total[i], 0.5 * total[i], 4)
    for i in range(n):
        step = _householder(x[i], total[i], target[i], ratio[i], 0.0)
        if total[i] < NARROW and abs(step) < _LAST_STEP:
            out[i] = total[i] * (1.0 + step) / root
        else:
            value, low, high = _usable(
                element(price, i), forward, element(strike, i), years, element(call, i)
            )
            out[i] = _solve(value, low, high) / root


@scalar
def _last_delta(spot: float, forward: float, strike: float, years: float, sigma: float) -> float:
    """Delta of a call with no volatility left; NaN where there is some, or an input is unusable."""
    usable = 0.0 < spot < math.inf and 0.0 < forward < math.inf and 0.0 < strike < math.inf
    if not usable or not (years <= 0.0 or 0.0 <= sigma * math.sqrt(years) < _NONE):
        return math.nan
    return 0.5 if forward == strike else 1.0 if forward > strike else 0.0


def _greeks_loop(
    spot: float, forward: float, years: float, strike: Floats, sigma: Floats, out: Floats
) -> None:
    moneyness = np.empty(out.shape[1])
    for i in range(moneyness.size):
        moneyness[i] = log_moneyness(forward, element(strike, i))
    greeks_columns(spot, forward, years, moneyness, strike, sigma, out)


@scalar
def greeks_columns(
    spot: float,
    forward: float,
    years: float,
    moneyness: Floats,
    strike: Floats,
    sigma: Floats,
    out: Floats,
) -> None:
    """Fill columns with ``greeks``, from compiled code.

    Parameters
    ----------
    spot, forward, years : S, F [$] and T [years].
    moneyness : ln(F/K) of each strike. (n,)
    strike, sigma : columns of length 1 stand for all. (n,) [$, decimal]
    out : is filled with the fields of ``Greeks``, a row each. (7, n)
    """
    n, root = out.shape[1], math.sqrt(years)
    usable = 0.0 < spot < math.inf and 0.0 < forward < math.inf
    d1, tail, rate, density = out[0], out[1], out[2], out[3]  # until the last loop
    for i in range(n):
        total = element(sigma, i) * root
        rate[i] = 1.0 / total
        d1[i] = moneyness[i] * rate[i] + 0.5 * total
        density[i] = norm_pdf(d1[i])
    for i in range(n):
        tail[i] = density[i] * mills(abs(d1[i]))[0]
    per_spot, vega, theta, charm = 1.0 / spot, forward * root, -0.5 * forward / root, 0.5 / years
    for i in range(n):
        vol = element(sigma, i)
        total = vol * root
        if usable and 0.0 < element(strike, i) < math.inf and _NONE <= total < math.inf:
            below, beyond, bell, inverse = d1[i] < 0.0, tail[i], density[i], rate[i]
            bend = bell * (d1[i] - total)
            out[0, i] = beyond if below else 1.0 - beyond
            out[1, i] = beyond - 1.0 if below else -beyond
            out[2, i] = bell * inverse * per_spot
            out[3, i] = bell * vega
            out[4, i] = bell * vol * theta
            out[5, i] = -bend * root * inverse
            out[6, i] = bend * charm
        else:
            delta = _last_delta(spot, forward, element(strike, i), years, vol)
            out[0, i], out[1, i] = delta, delta - 1.0
            out[2:, i] = 0.0 * delta
