"""What a chain's quotes say before any position is considered: spot, forward, smile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.errors import ChainRefused
from sampler.metrics.flip import has_coverage
from sampler.metrics.flow import Quote, quote
from sampler.metrics.smile import LEAST, Forward, Smile, forward, smile
from sampler.metrics.width import (
    count_wide_quotes,
    volatility_uncertainty,
    weighted_forward,
    weighted_smile,
)
from storage.market.constants import YEAR_SECONDS
from storage.record.row import Flag, Reason

Floats = NDArray[np.float64]

#: Spot is stale when parity contradicts it by this much, and by so many scatters of parity.
STALE_SPOT, STALE_SPREADS = 0.001, 3.0
#: From here on the row says that its two feeds' clocks differ; spot is still the source's.
CLOCK_SKEW = 0.0001
#: ATM volatility of the last minute is auction noise. [years]
LAST_MINUTE = 60 / YEAR_SECONDS
#: While options open, a baseline needs so many strikes quoted on both sides, and never the first
#: second; after that a sampler that starts late takes what there is. [s]
LEAST_PAIRS, SETTLING, OPENING = 5, 1.0, 900.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketState:
    """Spot, forward and volatilities to measure with."""

    #: The chain's quotes, NaN where unusable. (2, n)
    quote: Quote
    #: The source's, or the forward where that is stale or missing. [$]
    spot: float
    forward: Forward
    smile: Smile
    #: What the smile says of each strike that has a volatility of its own, NaN elsewhere: that one,
    #: or where quotes are too wide the weighted one. (n,) [decimal]
    quoted_sigma: Floats
    #: Half the difference of each strike's volatilities at ask and bid; NaN without both.
    #: (n,) [decimal]
    uncertainty: Floats
    #: The smile at the forward. [decimal]
    atm: float
    #: The uncertainty at the forward; NaN without any. [decimal]
    atm_uncertainty: float
    #: One standard deviation of what is left until expiry. [$]
    remaining: float
    #: Whether the strikes are dense enough, and quoted well enough, to tell a gamma flip by.
    covered: bool
    flags: list[Flag]
    #: How many quotes are wider than makes sense.
    wide_quotes: int
    #: Whether the options expire within a minute: the ATM volatility is then auction noise.
    last_minute: bool

    @property
    def amounts(self) -> dict[str, dict[str, float]]:
        """What the flags about quotes mean in numbers."""
        return {str(Flag.WIDE_QUOTES): {"quotes": self.wide_quotes}} if self.wide_quotes else {}


def read_market(chain: Chain) -> MarketState:
    """Forward, smile and the spot to use.

    Raises
    ------
    ChainRefused
        ``no_spot`` or ``no_iv`` without one of them.
    """
    given = chain.spot
    quoted = quote(chain.bid, chain.ask)
    fwd = forward(chain.strike, quoted.mid, chain.bid, given)
    if not np.isfinite(fwd.level) or fwd.level <= 0:
        raise ChainRefused(
            Reason.NO_SPOT,
            f"{chain.symbol}: no spot, and {fwd.estimates} strikes are too few for parity",
        )
    smiled = _smile_at(chain, quoted, fwd)
    uncertainty = _uncertainty_at(chain, fwd)
    wide = count_wide_quotes(
        chain.strike,
        quoted.half,
        forward=fwd.level,
        remaining=fwd.level * _at_forward(chain, smiled, fwd) * math.sqrt(chain.years),
    )
    if wide:
        weighted = weighted_forward(chain.strike, quoted, chain.bid, given)
        fwd = weighted if weighted.level > 0 else fwd
        smiled = _smile_at(chain, quoted, fwd)
        uncertainty = _uncertainty_at(chain, fwd)
        smiled = weighted_smile(chain.strike, smiled, uncertainty)
    flags = []
    spot = given
    if fwd.estimates < LEAST:
        flags.append(Flag.FORWARD_IS_SPOT)
    elif np.isnan(given) or _disagree(given, fwd, STALE_SPOT):
        flags.append(Flag.STALE_SPOT)
        spot = fwd.level
    elif _disagree(given, fwd, CLOCK_SKEW):
        flags.append(Flag.CLOCK_SKEW)
    if wide:
        flags.append(Flag.WIDE_QUOTES)
    atm = _at_forward(chain, smiled, fwd)
    remaining = fwd.level * atm * math.sqrt(chain.years)
    known = np.isfinite(uncertainty)
    return MarketState(
        quote=quoted,
        spot=spot,
        forward=fwd,
        smile=smiled,
        quoted_sigma=(
            np.where(np.isnan(smiled.own), np.nan, smiled.filled) if wide else smiled.own
        ),
        uncertainty=uncertainty,
        atm=atm,
        atm_uncertainty=(
            float(np.interp(fwd.level, chain.strike[known], uncertainty[known]))
            if known.any()
            else math.nan
        ),
        remaining=remaining,
        covered=has_coverage(chain.strike, smiled.quoted, spot=spot, remaining=remaining),
        flags=flags,
        wide_quotes=wide,
        last_minute=chain.years < LAST_MINUTE,
    )


def _smile_at(chain: Chain, quoted: Quote, fwd: Forward) -> Smile:
    """Each strike's own volatility, and the gaps filled; ``ChainRefused`` if there is none."""
    found = smile(chain.strike, quoted.mid, chain.bid, forward=fwd.level, years=chain.years)
    if found is None:
        raise ChainRefused(Reason.NO_IV, f"{chain.symbol}: no two-sided quote gives a volatility")
    return found


def _at_forward(chain: Chain, of: Smile, fwd: Forward) -> float:
    return float(np.interp(fwd.level, chain.strike, of.filled))


def _uncertainty_at(chain: Chain, fwd: Forward) -> Floats:
    return volatility_uncertainty(
        chain.strike, chain.bid, chain.ask, forward=fwd.level, years=chain.years
    )


def _disagree(spot: float, fwd: Forward, part: float) -> bool:
    """Whether parity contradicts spot by a part of it, and by more than its own scatter."""
    off = abs(fwd.level - spot)
    return off > part * spot and off > STALE_SPREADS * fwd.spread


def require_open(chain: Chain) -> None:
    """Flow is only counted from quotes of an open options market.

    Raises
    ------
    ChainRefused
        ``not_open`` in the first second, and while too few strikes are quoted on both sides.
    """
    since_open = (chain.quoted_at - chain.session.open).total_seconds()
    if since_open <= SETTLING:
        raise ChainRefused(
            Reason.NOT_OPEN,
            f"{chain.symbol}: quoted {since_open:.0f} s into the session; flow does not count from"
            f" quotes of its first {SETTLING:.0f} s",
        )
    pairs = int(chain.two_sided.all(axis=0).sum())
    if since_open <= OPENING and pairs < LEAST_PAIRS:
        raise ChainRefused(
            Reason.NOT_OPEN,
            f"{chain.symbol}: {pairs} strikes quoted on both sides {since_open:.0f} s into the"
            f" session; flow counts from the first slot with {LEAST_PAIRS}",
        )
