"""How well a chain is quoted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.special import scalar
from storage.market.constants import QUALITY_REACH, SMOOTH_WITHIN

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Strikes that count as near the money, and the spread that leaves nothing of the score. [%]
NEAR, WORST = 0.02, 20.0


class QuoteQuality(NamedTuple):
    """Spreads in % of mid, scores 0 to 100; None where nothing qualifies."""

    #: Mean spread of the call and the put at the strike nearest the forward.
    atm_spread_pct: float | None
    #: Spread of two-sided quotes within ±2 % of spot, weighted by volume.
    weighted_spread_pct: float | None
    #: 100·clip(1 − weighted/20, 0, 1): 100 is free, 0 is a fifth of the price.
    execution_score: int | None
    #: Mean of bid/ask of the calls and puts of the strikes within ±3 % of spot; 0 without both.
    data_quality_score: int | None
    #: Share of the volatilities within ±3 % of spot, each strike's own, that lie within 0.02 of the
    #: line between their two neighbours; None with fewer than three.
    greek_smoothness_score: int | None
    #: Middle one of the spreads of two-sided quotes within ±2 % of spot.
    median_spread_pct: float | None


def quality_of(values: Sequence[float]) -> tuple[QuoteQuality, dict[str, int]]:
    """Name what ``liquidity_loop`` has filled in.

    Parameters
    ----------
    values : its eight numbers.

    Returns
    -------
    QuoteQuality
        Spreads [%] and scores [0-100].
    dict
        Unused quotes by reason; reasons left out count 0. [quotes]
    """
    atm, weighted, quoted, smooth, middle, *unused = values
    quality = QuoteQuality(
        atm_spread_pct=None if math.isnan(atm) else atm,
        weighted_spread_pct=None if math.isnan(weighted) else weighted,
        execution_score=_percent(1 - weighted / WORST),
        data_quality_score=_percent(quoted),
        greek_smoothness_score=_percent(smooth),
        median_spread_pct=None if math.isnan(middle) else middle,
    )
    named = zip(("unreadable", "crossed", "one_sided"), unused, strict=True)
    return quality, {name: int(count) for name, count in named if count}


def _percent(share: float) -> int | None:
    return None if math.isnan(share) else math.floor(100 * min(max(share, 0.0), 1.0) + 0.5)


@scalar
def liquidity_loop(
    spot: float,
    money: int,
    strike: Floats,
    listed: Bools,
    bid: Floats,
    ask: Floats,
    volume: Floats,
    own: Floats,
    out: Floats,
) -> None:
    """Fill in the two spreads, the two shares, the median, and the counts of unused quotes.

    A two-sided quote has a bid and an ask that is not below it.

    Parameters
    ----------
    spot : price of the underlying. [$]
    money : index of the strike nearest the forward.
    strike : ascending. (n,) [$]
    listed : whether the contract is listed, calls first. (2, n)
    bid, ask : calls first, NaN where unreadable. (2, n) [$]
    volume : of the day, calls first. (2, n) [contracts]
    own : the strikes' own volatilities, NaN without one. (n,) [decimal]
    out : eight numbers.
    """
    spreads = quotes = paid = traded = contracts = sound = 0.0
    near, count = np.empty(2 * strike.size), 0
    out[5:8] = 0.0
    for k in range(strike.size):
        off = abs(strike[k] - spot)
        for side in range(2):
            b, a = bid[side, k], ask[side, k]
            quoted = b > 0.0 and a >= b
            if listed[side, k]:
                # Unreadable ones are NaN, and fail every comparison.
                if not (b >= 0.0 and a >= 0.0):
                    out[5] += 1.0
                elif b > a:
                    out[6] += 1.0
                elif b == 0.0 or a == 0.0:
                    out[7] += 1.0
            if quoted and k == money:
                spreads, quotes = spreads + 200.0 * (a - b) / (a + b), quotes + 1.0
            if quoted and off <= NEAR * spot:
                paid += volume[side, k] * 200.0 * (a - b) / (a + b)
                traded += volume[side, k]
                near[count] = 200.0 * (a - b) / (a + b)
                count += 1
            if off <= QUALITY_REACH * spot:
                contracts, sound = contracts + 1.0, sound + (b / a if quoted else 0.0)
    out[0] = spreads / quotes  # NaN where there is none
    out[1] = paid / traded
    out[2] = sound / contracts
    out[3] = smoothness(spot, strike, own)
    ordered = np.sort(near[:count])
    out[4] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2.0 if count else math.nan


@scalar
def smoothness(spot: float, strike: Floats, own: Floats) -> float:
    """Share of ``QuoteQuality.greek_smoothness_score``; NaN with fewer than three volatilities.

    Parameters
    ----------
    spot : price of the underlying. [$]
    strike : ascending. (n,) [$]
    own : the strikes' own volatilities, NaN without one. (n,) [decimal]

    Returns
    -------
    float
        Part of the inner volatilities that lie near their neighbours' line. [0-1]
    """
    middle = first = -1
    inner = straight = 0.0
    for k in range(strike.size):
        if math.isnan(own[k]) or abs(strike[k] - spot) > QUALITY_REACH * spot:
            continue
        if first >= 0:
            weight = (strike[middle] - strike[first]) / (strike[k] - strike[first])
            line = own[first] + weight * (own[k] - own[first])
            inner += 1.0
            straight += 1.0 if abs(own[middle] - line) <= SMOOTH_WITHIN else 0.0
        first, middle = middle, k
    share: float = straight / inner
    return share
