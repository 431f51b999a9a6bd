"""How strongly price is held at a strike: a score, and a probability that the market implies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.levels import StrikeLevels
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


def pin_probability(
    magnet: int, *, strike: Floats, own: Floats, atm: float, forward: float, years: float
) -> float:
    """Implied probability, in %, of settling between the magnet's neighbouring strikes.

    P(S > K) = N(d₂) − F·n(d₁)·√T·σ′(K), with the smile's slope by three points; lognormal with
    ``atm`` where a strike that it needs has no volatility of its own, or where the result is no
    probability.

    Parameters
    ----------
    magnet : index into ``strike``.
    strike : ascending. (n,) [$]
    own : the strikes' own volatilities, NaN without one. (n,) [decimal]
    atm : volatility at the money. [decimal]
    forward : of the chain. [$]
    years : time to expiry, above 0. [years]

    Returns
    -------
    float
        The probability. [%]
    """
    first = max(magnet - REACH, 0)
    strikes, sigmas = (column[first : magnet + REACH + 1].tolist() for column in (strike, own))
    below, above = magnet - first - 1, magnet - first + 1

    def over(index: int, *, flat: bool) -> float:
        if not 0 <= index < len(strikes):
            return 1.0 if index < 0 else 0.0
        total = (atm if flat else sigmas[index]) * math.sqrt(years)
        d1 = math.log(forward / strikes[index]) / total + total / 2
        # N(d₂); erfc keeps its digits far out.
        digital = math.erfc((total - d1) / math.sqrt(2)) / 2
        if flat:
            return digital
        density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
        return digital - forward * density * math.sqrt(years) * _slope(strikes, sigmas, index)

    smiled = over(below, flat=False) - over(above, flat=False)
    if 0 <= smiled <= 1:
        return 100 * smiled
    return 100 * (over(below, flat=True) - over(above, flat=True))


def pin_probability_noise(
    magnet: int,
    *,
    strike: Floats,
    own: Floats,
    uncertainty: Floats,
    atm: float,
    atm_uncertainty: float,
    forward: float,
    years: float,
) -> float | None:
    """How uncertain the widths of its quotes leave ``pin_probability``, in points of %.

    Parameters
    ----------
    magnet, strike, own, atm, forward, years : as for ``pin_probability``.
    uncertainty : (n,) of each volatility that ``own`` has. [decimal]
    atm_uncertainty : of ``atm``. [decimal]

    Returns
    -------
    float or None
        √Σ(∂P/∂σ·u)² over the volatilities that enter it, as if each erred by itself. The same
        where the smile's result is no probability, and is not used: it says why. |∂P/∂σ|·u of
        the lognormal one where a strike has no volatility of its own. None where an uncertainty
        that enters is not known (NaN).
    """
    first = max(magnet - REACH, 0)
    near = slice(first, magnet + REACH + 1)
    strikes, sigmas = strike[near].tolist(), own[near].tolist()
    slopes = [0.0] * len(strikes)
    smiled = flat_slope = 0.0
    for index, sign in ((magnet - first - 1, 1.0), (magnet - first + 1, -1.0)):
        if not 0 <= index < len(strikes):
            continue
        sigma = sigmas[index]
        flat_slope += sign * _digital_slope(strikes[index], atm, forward, years)
        slope = _digital_slope(strikes[index], sigma, forward, years)
        bend = _slope(strikes, sigmas, index)
        # −F·n(d₁)·√T·σ′: it moves with σ′, and by n(d₁) with the strike's own σ.
        total = sigma * math.sqrt(years)
        d1 = math.log(forward / strikes[index]) / total + total / 2
        scale = forward * math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) * math.sqrt(years)
        smiled += scale * bend
        slopes[index] += sign * (slope - scale * bend * d1 * (d1 - total) / sigma)
        for i, weight in _slope_weights(strikes, index):
            slopes[i] -= sign * scale * weight
    if math.isfinite(smiled):
        variance = 0.0
        for slope, width in zip(slopes, uncertainty[near].tolist(), strict=True):
            if slope != 0.0:
                variance += (slope * width) * (slope * width)
        noise = math.sqrt(variance)
    else:
        noise = abs(flat_slope) * atm_uncertainty
    return 100 * noise if math.isfinite(noise) else None


def _digital_slope(strike: float, sigma: float, forward: float, years: float) -> float:
    """How N(d₂) moves with σ: −n(d₂)·d₁/σ."""
    total = sigma * math.sqrt(years)
    d1 = math.log(forward / strike) / total + total / 2
    return -math.exp(-((d1 - total) ** 2) / 2) / math.sqrt(2 * math.pi) * d1 / sigma


def _slope_weights(strike: Sequence[float], index: int) -> list[tuple[int, float]]:
    """What each volatility counts in ``_slope``. [1/$]"""
    low, high = max(index - 1, 0), min(index + 1, len(strike) - 1)
    if low == high:
        return []
    step = strike[high] - strike[low]
    if index in (low, high):
        return [(low, -1 / step), (high, 1 / step)]
    before, after = strike[index] - strike[low], strike[high] - strike[index]
    return [
        (low, -after / (before * step)),
        (index, (after - before) / (before * after)),
        (high, before / (after * step)),
    ]


def _slope(strike: Sequence[float], own: Sequence[float], index: int) -> float:
    """σ′(K) by three points over uneven steps, by two at the ends; NaN where one is missing."""
    low, high = max(index - 1, 0), min(index + 1, len(strike) - 1)
    k0, k1, k2 = strike[low], strike[index], strike[high]
    s0, s1, s2 = own[low], own[index], own[high]
    if low == high:
        return 0.0
    if index in (low, high):
        return (s2 - s0) / (k2 - k0)
    left, right = (s1 - s0) / (k1 - k0), (s2 - s1) / (k2 - k1)
    return (left * (k2 - k1) + right * (k1 - k0)) / (k2 - k0)
