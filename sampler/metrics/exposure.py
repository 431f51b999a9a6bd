"""What a book of options makes its dealers hedge, by strike.

``position`` is the dealers' contracts per strike, calls in row 0 and puts in row 1, positive long.
Dollars per contract carry the multiplier of 100 shares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.black import Greeks, greeks

Floats = NDArray[np.float64]

MULTIPLIER = 100.0
ONE_PERCENT = 0.01
HOUR = 1 / 8760.0
#: Sign of the dealers' position per open contract: long calls, short puts.
DEALER_SIGN = np.array([[1.0], [-1.0]])


class Exposures(NamedTuple):
    """Exposures of one book; gex and dex are (2, n), the others (n,)."""

    #: $ of delta per 1 % move; positive: dealers dampen moves.
    gex: Floats
    #: Holders' delta in $; puts are negative.
    dex: Floats
    #: $ of delta per vol point; positive: vol up makes dealers sell.
    vex: Floats
    #: $ of delta that time alone leaves to trade until expiry; positive: dealers buy.
    chex: Floats
    #: The dealers' book in $ of delta, summed.
    dealer_delta: float
    #: $ of delta that the next hour alone makes dealers trade; positive: they buy.
    charm_per_hour: float


def deltas(g: Greeks) -> Floats:
    """Delta of calls and puts, (2, n)."""
    return np.stack([g.call_delta, g.put_delta])


def exposures(
    position: Floats,
    open_interest: Floats,
    g: Greeks,
    *,
    spot: float,
    forward: float,
    strike: Floats,
    years: float,
    sigma: Floats,
) -> Exposures:
    """All exposures of a dealer position, and dex of the open interest held against it.

    Formulas: q·Γ·M·S²·0.01; Δ·OI·M·S; q·vanna·M·S·0.01; q·M·S·(Δ(T) − Δ(0)) at fixed forward and
    smile; Σ q·Δ·M·S; Σ q·M·S·(Δ(T) − Δ(T − 1 h)).
    """
    now = deltas(g)
    dollars = MULTIPLIER * spot
    net = position.sum(axis=0)

    def drift(until: float) -> Floats:
        # A call's and a put's delta differ by one at any time, so their changes are the same.
        later = greeks(spot, forward, strike, until, sigma)
        return np.asarray(net * dollars * (g.call_delta - later.call_delta))

    return Exposures(
        gex=position * g.gamma * dollars * spot * ONE_PERCENT,
        dex=now * open_interest * dollars,
        vex=net * g.vanna * dollars * ONE_PERCENT,
        chex=drift(0.0),
        dealer_delta=float((position * now).sum() * dollars),
        charm_per_hour=float(drift(max(years - HOUR, 0.0)).sum()),
    )
