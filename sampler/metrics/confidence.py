"""How sure the sign of the live book is, when the side of each trade is only known in part.

The live position is settled open interest less κ times signed volume. Settled open interest and κ
are taken as given here, and so is the convention by which dealers hold it: what is measured is the
part of the doubt that comes from the sides of trades.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sampler.metrics.exposure import ONE_PERCENT
from storage.market.constants import MULTIPLIER


class SignConfidence(NamedTuple):
    """How far net gamma exposure may be off, and how sure its sign is."""

    #: Standard deviation of net gamma exposure if the side of each trade were guessed by a coin.
    #: [$ per 1 %]
    coin: float
    #: Standard deviation of net gamma exposure with sides that are as often right as was measured;
    #: None: not measured. [$ per 1 %]
    measured: float | None
    #: Probability that the sign is right; None where the exposure is 0. [0-1]
    confidence: float | None


def sign_confidence(
    net_gex: float,
    gamma_variance: float,
    *,
    spot: float,
    oi_confidence: float,
    accuracy: float | None,
) -> SignConfidence:
    """Tell how far net gamma exposure may be off, and how sure its sign is.

    If the side of every trade were a fair coin, each contract's signed volume would have the
    variance Σ ΔV². A side that is right with probability a leaves 1 − (2a − 1)² of it.

    Parameters
    ----------
    net_gex : live gamma exposure. [$ per 1 %]
    gamma_variance : Σ ΔV²·Γ² over contracts. [(contracts·delta per $)²]
    spot : price of the underlying. [$]
    oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]
    accuracy : part of the volume whose side is told rightly; None: not measured. [0-1]

    Returns
    -------
    SignConfidence
        The confidence is by the measured figure, or else by the coin's. It is 1 without flow.
    """
    per_contract = oi_confidence * MULTIPLIER * spot * spot * ONE_PERCENT
    coin = per_contract * math.sqrt(gamma_variance)
    measured = None if accuracy is None else coin * math.sqrt(1.0 - (2.0 * accuracy - 1.0) ** 2)
    spread = coin if measured is None else measured
    sure: float | None = None
    if net_gex != 0.0:
        # Without flow there is no doubt of this kind.
        sure = 1.0 if spread == 0.0 else 0.5 * math.erfc(-abs(net_gex) / spread / math.sqrt(2.0))
    return SignConfidence(coin, measured, sure)
