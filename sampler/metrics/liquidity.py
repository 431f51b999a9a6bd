"""How well a chain is quoted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Strikes that count as near the money, and the spread that leaves nothing of the score. [%]
NEAR, WORST = 0.02, 20.0
#: How far a volatility may lie off its neighbours' line. [decimal]
ROUGH = 0.02


class Liquidity(NamedTuple):
    """Spreads in % of mid, scores 0 to 100."""

    #: Mean spread of the call and the put at the strike nearest the forward.
    atm_spread_pct: float | None
    #: Spread of two-sided quotes within ±2 % of spot, weighted by volume.
    weighted_spread_pct: float | None
    #: 100·clip(1 − weighted/20, 0, 1): 100 is free, 0 is a fifth of the price.
    execution_score: int | None


def liquidity(
    strike: Floats,
    bid: Floats,
    ask: Floats,
    two_sided: Bools,
    volume: Floats,
    *,
    spot: float,
    forward: float,
) -> Liquidity:
    """Spreads of a chain; (2, n) quotes, calls first. Null where no quote qualifies."""
    low, high = np.searchsorted(strike, [spot * (1 - NEAR), spot * (1 + NEAR)])
    bid, ask = bid[:, low:high], ask[:, low:high]
    quoted, weight = two_sided[:, low:high], volume[:, low:high]
    spread = np.zeros_like(bid)
    np.divide(200 * (ask - bid), ask + bid, out=spread, where=quoted)
    traded = float(weight[quoted].sum())
    weighted = float((spread * weight).sum()) / traded if traded > 0 else None
    at = int(np.argmin(np.abs(strike - forward))) - low
    money = []
    if 0 <= at < spread.shape[1]:
        money = [float(spread[side, at]) for side in (0, 1) if quoted[side, at]]
    return Liquidity(
        atm_spread_pct=sum(money) / len(money) if money else None,
        weighted_spread_pct=weighted,
        execution_score=None if weighted is None else _percent(1 - weighted / WORST),
    )


def data_quality(strike: Floats, two_sided: Bools, *, spot: float, reach: float) -> int | None:
    """Share of the contracts within ±reach of spot that are quoted on both sides. [0-100]"""
    near = two_sided[:, np.abs(strike - spot) <= reach * spot]
    return _percent(float(near.mean())) if near.size else None


def smoothness(strike: Floats, own: Floats, *, spot: float, reach: float) -> int | None:
    """How straight the smile runs from strike to strike within ±reach of spot. [0-100]

    The share of the strikes with a volatility of their own that lie within 0.02 of the line between
    their two neighbours; null with fewer than three.
    """
    near = (np.abs(strike - spot) <= reach * spot) & np.isfinite(own)
    k, sigma = strike[near], own[near]
    if len(k) < 3:
        return None
    part = (k[1:-1] - k[:-2]) / (k[2:] - k[:-2])
    line = sigma[:-2] + part * (sigma[2:] - sigma[:-2])
    return _percent(float((np.abs(sigma[1:-1] - line) <= ROUGH).mean()))


def _percent(part: float) -> int:
    return int(np.floor(100 * min(max(part, 0.0), 1.0) + 0.5))
