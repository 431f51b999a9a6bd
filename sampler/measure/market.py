"""What a chain's quotes say before any position is considered: spot, forward, smile."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.errors import ChainRefused
from sampler.measure.revision import Doubt
from sampler.measure.spikes import (
    REMEMBERED,
    Jump,
    RecentSample,
    came_back,
    spot_jump,
    volatility_jump,
)
from sampler.measure.standing_quotes import (
    count_doubtful,
    count_outrun,
    standing_notes,
    standing_quotes,
)
from sampler.measure.standstill import (
    options_standing,
    own_time_stands,
    require_live_options,
    seconds_ahead,
    spot_standing,
    standstill_notes,
)
from sampler.metrics import black
from sampler.metrics.contradiction import Contradiction, contradiction
from sampler.metrics.flip import has_coverage
from sampler.metrics.flow import Quote
from sampler.metrics.quotes import judge_by, read_quotes
from sampler.metrics.smile import LEAST, Forward, Smile, smile
from sampler.metrics.width import (
    QuotedRange,
    count_wide_quotes,
    quoted_range,
    weighted_forward,
    weighted_smile,
)
from storage.market.constants import YEAR_SECONDS
from storage.record.row import Flag, Reason, SlotRecord

Floats = NDArray[np.float64]

#: Spot is stale when parity contradicts it by this much, and by so many scatters of parity.
STALE_SPOT, STALE_SPREADS = 0.001, 3.0
#: From here on the row says that its two feeds' clocks differ; spot is still the source's.
CLOCK_SKEW = 0.0001
#: A spot that is the same to the cent stands still once parity has moved by so much; once three
#: slots have passed the clocks' difference will do.
MOVED_ON = 0.0003
#: With a smaller part of the contracts that were listed before, a sample is no yardstick. [0-1]
LEAST_LISTED = 0.9
#: For so long a sample's volatility is what the next ones' quotes are judged by. [s]
USUAL_FOR = 900.0
#: ATM volatility of the last minute is auction noise. [years]
LAST_MINUTE = 60 / YEAR_SECONDS
#: While options open, a baseline needs so many strikes quoted on both sides, and never the first
#: second; after that a sampler that starts late takes what there is. [s]
LEAST_PAIRS, SETTLING, OPENING = 5, 1.0, 900.0


# Not frozen: each field of a frozen one is set through a call, 3 µs a slot.
@dataclass(slots=True, kw_only=True, eq=False)
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
    #: Whether the options expire within a minute: the ATM volatility is then auction noise.
    last_minute: bool
    #: What the flags mean in numbers.
    amounts: dict[str, dict[str, float]] = field(default_factory=dict)
    #: What these quotes say against earlier rows.
    doubts: tuple[Doubt, ...] = ()
    #: What the next slot must know of this one's quotes.
    notes: dict[str, Any] = field(default_factory=dict)


def read_market(chain: Chain, previous: SlotRecord | None = None) -> MarketState:
    """Read forward, smile and the spot to use off a chain's quotes.

    Parameters
    ----------
    chain : today's contracts.
    previous : the record of the earlier slot: what stands still and what jumps is seen against it.

    Returns
    -------
    MarketState
        Spot, forward and smile, with what stands still and what jumps.

    Raises
    ------
    ChainRefused
        ``no_spot`` or ``no_iv`` without one of them; ``stale`` or ``unchanged`` where the options
        stand still and the underlying trades on, or nothing at all moves.
    """
    source_spot = chain.spot
    recent = _recent(previous)
    seconds = (chain.quoted_at - chain.session.open).total_seconds()
    usual = _usual_atm(recent, seconds)
    read = read_quotes(
        chain.strike, chain.bid, chain.ask, spot=source_spot, years=chain.years, usual_atm=usual
    )
    quoted, fwd, ranged = read.quote, read.forward, read.ranged
    if not math.isfinite(fwd.level) or fwd.level <= 0:
        raise ChainRefused(
            Reason.NO_SPOT,
            f"{chain.symbol}: no spot, and {fwd.estimates} strikes are too few for parity",
        )
    smiled = _known_smile(chain, read.smile)
    atm, atm_uncertainty, contradicting = read.atm, read.atm_uncertainty, read.contradiction
    wide = 0
    if read.suspect:
        wide = count_wide_quotes(
            chain.strike,
            quoted.half,
            forward=fwd.level,
            remaining=fwd.level * atm * math.sqrt(chain.years),
        )
    if wide:
        weighted = weighted_forward(chain.strike, quoted, chain.bid, source_spot)
        fwd = weighted if weighted.level > 0 else fwd
        smiled = _smile_at(chain, quoted, fwd)
        ranged = _range_at(chain, fwd)
        smiled = weighted_smile(chain.strike, smiled, ranged.uncertainty)
        atm = float(np.interp(fwd.level, chain.strike, smiled.filled))
        atm_uncertainty = _uncertainty_at(chain, ranged, fwd)
        contradicting = _contradiction_of(chain, ranged, fwd, judge_by(atm, usual))
    stale = fwd.estimates >= LEAST and _disagree(source_spot, fwd, STALE_SPOT)
    options = options_standing(chain, previous)
    frozen_spot = own_time_stands(chain, previous)
    if options is not None:
        if frozen_spot:
            raise ChainRefused(
                Reason.UNCHANGED, f"{chain.symbol}: neither the options nor the underlying moved"
            )
        require_live_options(chain, options, contradicted=stale)
    standing = spot_standing(chain, previous)
    if standing is not None:
        # A price may well stand for a while; it is not the market's once the options have moved on.
        moved = CLOCK_SKEW if standing.lasts(chain.slot) else MOVED_ON
        frozen_spot = frozen_spot or _disagree(standing.level, fwd, moved)
    jump = None if math.isnan(source_spot) else spot_jump(recent, source_spot, seconds)
    flags: list[Flag] = []
    amounts: dict[str, dict[str, float]] = {}
    spot = source_spot
    if fwd.estimates < LEAST:
        flags.append(Flag.FORWARD_IS_SPOT)
    elif math.isnan(source_spot) or frozen_spot:
        flags.append(Flag.SPOT_FROM_PARITY)
        spot = fwd.level
    elif jump is not None and _is_spike(jump, source_spot, fwd, previous):
        flags.append(Flag.SPOT_SPIKE)
        amounts[Flag.SPOT_SPIKE] = jump.as_detail()
        spot = fwd.level
    elif stale:
        flags.append(Flag.STALE_SPOT)
        spot = fwd.level
    elif _disagree(source_spot, fwd, CLOCK_SKEW):
        flags.append(Flag.CLOCK_SKEW)
    ahead = seconds_ahead(chain)
    if ahead is not None:
        flags.append(Flag.OPTIONS_AHEAD)
        amounts[Flag.OPTIONS_AHEAD] = {"seconds": round(ahead, 3)}
    if wide:
        flags.append(Flag.WIDE_QUOTES)
        amounts[Flag.WIDE_QUOTES] = {"quotes": wide}
    remaining = fwd.level * atm * math.sqrt(chain.years)
    quotes = standing_quotes(chain, previous, fwd.level)
    contradicted_at = None
    used = source_spot if spot == source_spot else None
    if contradicting is not None:
        amounts[Flag.QUOTES_CONTRADICT] = contradicting.as_detail()
        contradicted_at = round(seconds, 3)
    elif outrun := count_outrun(quotes, chain, forward=fwd.level, remaining=remaining, spot=used):
        amounts[Flag.QUOTES_CONTRADICT] = {"unchanged": outrun}
        contradicted_at = round(seconds, 3)
    elif previous is not None and (doubtful_quotes := count_doubtful(quotes, previous)):
        # They may agree for a while: what stands is right again where spot comes back.
        amounts[Flag.QUOTES_CONTRADICT] = {"unchanged": doubtful_quotes}
        contradicted_at = previous.state[1]["contradicted_at"]
    if contradicted_at is not None:
        flags.append(Flag.QUOTES_CONTRADICT)
    last_minute = chain.years < LAST_MINUTE
    if options is not None:
        flags.append(Flag.OPTIONS_UNCHANGED)
        amounts[Flag.OPTIONS_UNCHANGED] = {"seconds": (chain.slot - options.since).total_seconds()}
    now = RecentSample(round(seconds, 3), float(f"{spot:.8g}"), float(f"{atm:.6g}"))
    # A sample of doubtful quotes is no yardstick for the next ones.
    doubtful = (
        wide or ahead is not None or Flag.QUOTES_CONTRADICT in flags or _is_thinned(chain, previous)
    )
    remembered = recent if doubtful else [*recent, now]
    doubts = (
        []
        if previous is None
        else _spikes_before(
            recent, now, _last_sampled(recent, previous, chain), last_minute=last_minute
        )
    )
    if not last_minute and fwd.estimates >= LEAST:
        jump = volatility_jump(recent, atm, seconds)
        if jump is not None and _sides_disagree(chain, quoted, fwd.level, atm, jump):
            flags.append(Flag.VOLATILITY_SPIKE)
            amounts[Flag.VOLATILITY_SPIKE] = jump.as_detail()
    return MarketState(
        quote=quoted,
        spot=spot,
        forward=fwd,
        smile=smiled,
        quoted_sigma=(
            np.where(np.isnan(smiled.own), np.nan, smiled.filled) if wide else smiled.own
        ),
        uncertainty=ranged.uncertainty,
        atm=atm,
        atm_uncertainty=atm_uncertainty,
        remaining=remaining,
        covered=has_coverage(chain.strike, smiled.quoted, spot=spot, remaining=remaining),
        flags=flags,
        last_minute=last_minute,
        amounts={str(flag): values for flag, values in amounts.items()},
        doubts=tuple(doubts),
        notes=standstill_notes(options, standing, chain.underlying_at)
        | {"recent": [list(sample) for sample in remembered[-REMEMBERED:]]}
        | standing_notes(quotes, contradicted_at),
    )


def _smile_at(chain: Chain, quoted: Quote, fwd: Forward) -> Smile:
    """Each strike's own volatility, and the gaps filled; ``ChainRefused`` if there is none."""
    return _known_smile(
        chain, smile(chain.strike, quoted.mid, chain.bid, forward=fwd.level, years=chain.years)
    )


def _known_smile(chain: Chain, fitted: Smile | None) -> Smile:
    if fitted is None:
        raise ChainRefused(Reason.NO_IV, f"{chain.symbol}: no two-sided quote gives a volatility")
    return fitted


def _uncertainty_at(chain: Chain, ranged: QuotedRange, fwd: Forward) -> float:
    """The uncertainty of the volatility at the forward; NaN where none is known."""
    known = np.isfinite(ranged.uncertainty)
    if not known.any():
        return math.nan
    return float(np.interp(fwd.level, chain.strike[known], ranged.uncertainty[known]))


def _range_at(chain: Chain, fwd: Forward) -> QuotedRange:
    return quoted_range(chain.strike, chain.bid, chain.ask, forward=fwd.level, years=chain.years)


def _contradiction_of(
    chain: Chain, ranged: QuotedRange, fwd: Forward, atm: float
) -> Contradiction | None:
    """What contradicts; nothing can where parity gives no forward."""
    if fwd.estimates < LEAST:
        return None
    return contradiction(
        chain.strike,
        chain.bid,
        chain.ask,
        ranged.at_bid,
        ranged.at_ask,
        forward=fwd.level,
        atm=atm,
        years=chain.years,
    )


def _recent(previous: SlotRecord | None) -> list[RecentSample]:
    """The last slots' spot and volatility, oldest first; empty where no slot remembers them."""
    if previous is None:
        return []
    return [RecentSample(*sample) for sample in previous.state[1].get("recent", ())]


def _usual_atm(recent: list[RecentSample], seconds: float) -> float:
    """The volatility at the money of the last sound sample; infinite if that is too old."""
    if recent and 0.0 < seconds - recent[-1].seconds <= USUAL_FOR:
        return recent[-1].atm
    return math.inf


def _is_thinned(chain: Chain, previous: SlotRecord | None) -> bool:
    """Whether over a tenth of the contracts that were listed before are missing."""
    if previous is None or "listed_before" not in previous.state[0]:
        return False
    before = int(np.count_nonzero(previous.state[0]["listed_before"]))
    return int(np.count_nonzero(chain.listed)) < LEAST_LISTED * before


def _is_spike(jump: Jump, source_spot: float, fwd: Forward, previous: SlotRecord | None) -> bool:
    """Whether a spot that jumped is contradicted by parity, and was not there a slot ago.

    A source's spot that stays where parity is not is stale, and no spike.
    """
    away = abs(source_spot - fwd.level)
    if away <= abs(jump.size) / 2 or away <= STALE_SPREADS * fwd.spread:
        return False
    before = previous.row.source_spot if previous is not None else None
    return before is None or abs(source_spot - before) > abs(jump.size) / 2


def _last_sampled(recent: list[RecentSample], previous: SlotRecord, chain: Chain) -> datetime:
    """When the last sample that is remembered was quoted: the previous row, or one before it."""
    if not recent:
        return previous.row.quoted_at
    # Samples have their time to the millisecond.
    last = chain.session.open + timedelta(seconds=recent[-1].seconds - 0.001)
    before = previous.row.quoted_at - last > timedelta(seconds=1)
    return last if before else previous.row.quoted_at


def _spikes_before(
    recent: list[RecentSample], now: RecentSample, since: datetime, *, last_minute: bool
) -> list[Doubt]:
    """Return doubts about the rows since the last sample: jumps that this slot has undone."""
    spot, volatility = came_back(recent, now)
    return [
        Doubt(since, flag, jump.as_detail())
        for flag, jump in (
            (Flag.SPOT_SPIKE, spot),
            (Flag.VOLATILITY_SPIKE, None if last_minute else volatility),
        )
        if jump is not None
    ]


def _sides_disagree(chain: Chain, quoted: Quote, level: float, atm: float, jump: Jump) -> bool:
    """Whether the volatilities of calls and of puts at the money differ by half of a jump.

    By parity they are the same: a jump that both sides show is the market's.
    """
    nearest = int(np.argmin(np.abs(chain.strike - level)))
    sides = black.implied_volatility(
        quoted.mid[:, nearest], level, chain.strike[nearest], chain.years, np.array([True, False])
    )
    off = abs(float(sides[0]) - float(sides[1]))
    return off > atm * abs(1.0 - math.exp(-abs(jump.size))) / 2


def _disagree(spot: float, fwd: Forward, tolerance: float) -> bool:
    """Whether parity lies farther from spot than this share of it, and than parity scatters."""
    off = abs(fwd.level - spot)
    return off > tolerance * spot and off > STALE_SPREADS * fwd.spread


def require_open(chain: Chain) -> None:
    """Refuse a chain whose options market is not open yet: flow does not count from its quotes.

    Parameters
    ----------
    chain : today's contracts.

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
