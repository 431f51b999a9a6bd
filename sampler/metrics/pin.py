"""How strongly price is held at a strike: a score, and a probability that the market implies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.levels import StrikeLevels
from sampler.metrics.special import LEVEL, READ, WRITE, compiled, load_once, scalar
from storage.market.constants import PIN_WEIGHTS

Floats = NDArray[np.float64]

#: Excess open interest in the top three strikes, and part of gamma, that count as full.
FULL_OI, FULL_GAMMA = 0.277, 0.45
#: The pin probability depends on volatilities of so many strikes on each side of the magnet.
REACH = 2


class PinScore(NamedTuple):
    """The score and its parts, each 0 to 100."""

    score: int
    oi: float
    proximity: float
    time: float
    gamma: float


def pin_score(
    levels: StrikeLevels,
    *,
    spot: float,
    magnet: float | None,
    magnet_gex: float | None,
    remaining: float,
    elapsed: float,
) -> PinScore:
    """0.30·oi + 0.25·proximity + 0.25·time + 0.20·gamma, rounded half up.

    Without a magnet, proximity and gamma are 0.

    Parameters
    ----------
    levels : of the book, for its open interest and total gamma exposure.
    spot : price of the underlying. [$]
    magnet : strike of the magnet; None without one. [$]
    magnet_gex : gamma exposure there; None without one. [$ per 1 %]
    remaining : one standard deviation of what is left. [$]
    elapsed : part of the session that has passed. [0-1]

    Returns
    -------
    PinScore
        The score and its four parts. [0-100]
    """
    oi = 100.0 * min(max(levels.excess / FULL_OI, 0.0), 1.0)
    proximity = gamma = 0.0
    if magnet is not None and remaining > 0:
        proximity = 100.0 * math.exp(-0.5 * ((spot - magnet) / remaining) ** 2)
    if magnet_gex is not None and magnet_gex > 0:
        gamma = 100.0 * min(magnet_gex / (FULL_GAMMA * levels.total_gex), 1.0)
    parts = (oi, proximity, 100.0 * elapsed, gamma)
    total = sum(w * p for w, p in zip(PIN_WEIGHTS.values(), parts, strict=True))
    return PinScore(math.floor(total + 0.5), *parts)


class PinProbability(NamedTuple):
    """Probability of settling between the magnet's neighbours, and its noise."""

    #: [%]
    percent: float
    #: How uncertain the widths of quotes leave it: √Σ(∂P/∂σ·u)² over the volatilities that enter
    #: it; None where one of their uncertainties is not known. [points of %]
    noise: float | None


def pin_probability(
    magnet: int,
    *,
    strike: Floats,
    own: Floats,
    uncertainty: Floats,
    atm: float,
    atm_uncertainty: float,
    forward: float,
    years: float,
) -> PinProbability:
    """Implied probability of settling between the magnet's neighbouring strikes, and its noise.

    P(S > K) = N(d₂) − F·n(d₁)·√T·σ′(K), with the smile's slope by three points; lognormal with
    ``atm`` where a strike that it needs has no volatility of its own, or where the result is no
    probability. Compiled, the two take 3 µs; in plain Python they took 17 µs.

    Parameters
    ----------
    magnet : index into ``strike``.
    strike : ascending. (n,) [$]
    own : the strikes' own volatilities, NaN without one. (n,) [decimal]
    uncertainty : of each volatility that ``own`` has, NaN where it is not known. (n,) [decimal]
    atm : volatility at the money. [decimal]
    atm_uncertainty : of ``atm``. [decimal]
    forward : of the chain. [$]
    years : time to expiry, above 0. [years]

    Returns
    -------
    PinProbability
        Its noise is as if each volatility erred by itself. It is that of the smile's result where
        that is no probability, and is not used: it says why. It is |∂P/∂σ|·u of the lognormal one
        where a strike has no volatility of its own.
    """
    out = np.empty(2)
    _loops()[0](magnet, atm, atm_uncertainty, forward, years, strike, own, uncertainty, out)
    percent, noise = out.tolist()
    return PinProbability(percent, noise if math.isfinite(noise) else None)


@load_once
def _loops() -> tuple[Callable[..., None]]:
    return (compiled(_pin_loop, *[LEVEL] * 5, *[READ] * 3, WRITE),)


def _pin_loop(
    magnet: float,
    atm: float,
    atm_uncertainty: float,
    forward: float,
    years: float,
    strike: Floats,
    own: Floats,
    uncertainty: Floats,
    out: Floats,
) -> None:
    """Fill the fields of ``PinProbability``; NaN is a noise that is not known."""
    first = max(int(magnet) - REACH, 0)
    end = int(magnet) + REACH + 1
    strikes, sigmas, widths = strike[first:end], own[first:end], uncertainty[first:end]
    below, above = int(magnet) - first - 1, int(magnet) - first + 1
    smiled = _over(below, False, strikes, sigmas, atm, forward, years)
    smiled -= _over(above, False, strikes, sigmas, atm, forward, years)
    if not 0.0 <= smiled <= 1.0:
        smiled = _over(below, True, strikes, sigmas, atm, forward, years)
        smiled -= _over(above, True, strikes, sigmas, atm, forward, years)
    out[0] = 100.0 * smiled
    slopes = np.zeros(strikes.size)
    bends = flat_slope = 0.0
    for index, sign in ((below, 1.0), (above, -1.0)):
        if not 0 <= index < strikes.size:
            continue
        sigma = sigmas[index]
        flat_slope += sign * _digital_slope(strikes[index], atm, forward, years)
        slope = _digital_slope(strikes[index], sigma, forward, years)
        bend = _slope(strikes, sigmas, index)
        # −F·n(d₁)·√T·σ′: it moves with σ′, and by n(d₁) with the strike's own σ.
        total = sigma * math.sqrt(years)
        d1 = math.log(forward / strikes[index]) / total + total / 2.0
        scale = forward * math.exp(-d1 * d1 / 2.0) / math.sqrt(2.0 * math.pi) * math.sqrt(years)
        bends += scale * bend
        slopes[index] += sign * (slope - scale * bend * d1 * (d1 - total) / sigma)
        _take_slope_weights(strikes, index, sign * scale, slopes)
    variance = 0.0
    for i in range(slopes.size):
        if slopes[i] != 0.0:
            variance += (slopes[i] * widths[i]) * (slopes[i] * widths[i])
    noise = math.sqrt(variance) if math.isfinite(bends) else abs(flat_slope) * atm_uncertainty
    out[1] = 100.0 * noise


@scalar
def _over(
    index: int,
    flat: bool,  # noqa: FBT001
    strikes: Floats,
    sigmas: Floats,
    atm: float,
    forward: float,
    years: float,
) -> float:
    """Probability of settling above a strike; certain below the lowest one, 0 above the highest."""
    if not 0 <= index < strikes.size:
        return 1.0 if index < 0 else 0.0
    total = (atm if flat else sigmas[index]) * math.sqrt(years)
    d1 = math.log(forward / strikes[index]) / total + total / 2.0
    # N(d₂); erfc keeps its digits far out.
    digital = math.erfc((total - d1) / math.sqrt(2.0)) / 2.0
    if flat:
        return digital
    density = math.exp(-d1 * d1 / 2.0) / math.sqrt(2.0 * math.pi)
    return digital - forward * density * math.sqrt(years) * _slope(strikes, sigmas, index)


@scalar
def _digital_slope(strike: float, sigma: float, forward: float, years: float) -> float:
    """How N(d₂) moves with σ: −n(d₂)·d₁/σ."""
    total = sigma * math.sqrt(years)
    d1 = math.log(forward / strike) / total + total / 2.0
    return -math.exp(-((d1 - total) ** 2) / 2.0) / math.sqrt(2.0 * math.pi) * d1 / sigma


@scalar
def _take_slope_weights(strike: Floats, index: int, factor: float, slopes: Floats) -> None:
    """Subtract from ``slopes`` what each volatility counts in ``_slope``, times a factor. [1/$]"""
    low, high = max(index - 1, 0), min(index + 1, strike.size - 1)
    if low == high:
        return
    step = strike[high] - strike[low]
    if index in (low, high):
        slopes[low] -= factor * (-1.0 / step)
        slopes[high] -= factor * (1.0 / step)
        return
    before, after = strike[index] - strike[low], strike[high] - strike[index]
    slopes[low] -= factor * (-after / (before * step))
    slopes[index] -= factor * ((after - before) / (before * after))
    slopes[high] -= factor * (before / (after * step))


@scalar
def _slope(strike: Floats, own: Floats, index: int) -> float:
    """σ′(K) by three points over uneven steps, by two at the ends; NaN where one is missing."""
    low, high = max(index - 1, 0), min(index + 1, strike.size - 1)
    k0, k1, k2 = strike[low], strike[index], strike[high]
    s0, s1, s2 = own[low], own[index], own[high]
    if low == high:
        return 0.0
    slope: float = (s2 - s0) / (k2 - k0)
    if index not in (low, high):
        left, right = (s1 - s0) / (k1 - k0), (s2 - s1) / (k2 - k1)
        slope = (left * (k2 - k1) + right * (k1 - k0)) / (k2 - k0)
    return slope
