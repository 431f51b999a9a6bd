"""Chain and previous slot to this slot's record: pure arithmetic, no clock, no I/O.

The previous record is the only state there is. A restarted sampler reads it back from the store
and goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, PUT, Chain
from sampler.measure.book import DealerBook, measure_books
from sampler.measure.flow_state import FlowState, update_flow
from sampler.measure.market import MarketState, read_market, require_open
from sampler.measure.open_interest import StandingOpenInterest, read_open_interest
from sampler.measure.other_expiries import NO_OTHER_EXPIRIES, OtherExpiries
from sampler.measure.previous import PreviousSlot
from sampler.measure.projection import measure_projection, projection_due
from sampler.measure.rounded import rounded_row
from sampler.metrics.chain_sums import ChainSums, chain_sums
from sampler.metrics.confidence import sign_confidence
from sampler.metrics.exposure import (
    ONE_PERCENT,
    BookExposures,
    GreeksByMove,
    charm_curve,
    greeks_by_move,
)
from sampler.metrics.smile import skew_25_delta
from storage.market.constants import MULTIPLIER, YEAR_SECONDS
from storage.record.row import DEFINITIONS, Row, SlotRecord

Floats = NDArray[np.float64]

#: Levels of the charm curve, from spot. [standard deviations of what is left]
CURVE = tuple(i / 2 for i in range(-4, 5))


def measure_slot(
    chain: Chain,
    previous: SlotRecord | None,
    *,
    oi_confidence: float,
    other_expiries: Callable[[MarketState], OtherExpiries] | None = None,
) -> SlotRecord:
    """Measure a slot's record.

    Parameters
    ----------
    chain : today's expiring contracts.
    previous : the newest record of an earlier slot of the same session, or None: then this slot
        is the baseline that flow counts from.
    oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]
    other_expiries : measures the source's other expiries, once spot and volatility are known.

    Returns
    -------
    SlotRecord
        The row, its profile by strike, and the evidence that the next slot continues from.

    Raises
    ------
    ChainRefused
        ``not_open``, ``no_spot``, ``no_iv``, ``stale`` or ``unchanged``: a slot that makes no row.
    """
    market = read_market(chain, previous)
    if previous is None:
        require_open(chain)
    scene = greeks_by_move(
        market.spot, market.forward.level, chain.strike, chain.years, market.smile.filled
    )
    past = PreviousSlot(chain, previous)
    interest = read_open_interest(chain, past)
    traded = update_flow(chain, past, market, scene)
    if interest.values is not chain.open_interest:
        chain = replace(chain, open_interest=interest.values)
    expiries = other_expiries(market) if other_expiries else NO_OTHER_EXPIRIES
    # Flow alone is no position: without open interest there is none.
    signed = traded.signed if interest.known and np.count_nonzero(traded.signed) else None
    # Without flow the live book is the settled one.
    books = measure_books(chain, market, scene, signed, oi_confidence=oi_confidence)
    settled, live = books[0], books[-1]
    return SlotRecord(
        row=_row(chain, market, scene, traded, interest, live, settled, oi_confidence, expiries),
        profile=_profile(chain, market, scene, traded, live.exposures, settled.exposures),
        state=(traded.state[0] | interest.columns, traded.state[1] | interest.notes),
    )


def _row(
    chain: Chain,
    market: MarketState,
    scene: GreeksByMove,
    traded: FlowState,
    interest: StandingOpenInterest,
    live: DealerBook,
    settled: DealerBook,
    oi_confidence: float,
    expiries: OtherExpiries,
) -> Row:
    quiet = market.last_minute
    sums = chain_sums(
        chain.strike,
        chain.listed,
        chain.bid,
        chain.ask,
        chain.open_interest,
        traded.volume,
        traded.signed,
        traded.volume_squares,
        market.smile.own,
        scene.now,
        spot=market.spot,
        forward=market.forward.level,
    )
    (call_oi, put_oi), (call_volume, put_volume) = sums.open_interest, sums.volume
    sign = sign_confidence(
        live.headline["net_gex"],
        sums.gamma_variance,
        spot=market.spot,
        oi_confidence=oi_confidence,
        accuracy=traded.accuracy,
    )
    columns = dict(
        symbol=chain.symbol,
        expiration=chain.expiration,
        slot=chain.slot,
        quoted_at=chain.quoted_at,
        fetched_at=chain.fetched_at,
        source=chain.source,
        delay_seconds=chain.delay_seconds,
        definitions=DEFINITIONS,
        oi_confidence=oi_confidence,
        spot=market.spot,
        source_spot=chain.spot if math.isfinite(chain.spot) else None,
        forward=market.forward.level,
        years_to_expiry=chain.years,
        **live.headline,
        net_gex_volume=sums.volume_gamma * MULTIPLIER * market.spot * market.spot * ONE_PERCENT,
        net_gex_se=sign.coin,
        net_gex_se_measured=sign.measured,
        regime_confidence=sign.confidence,
        atm_iv=None if quiet else market.atm,
        remaining_1sd=None if quiet else market.remaining,
        hedge_flow_call_cumulative=traded.cumulative[CALL],
        hedge_flow_put_cumulative=traded.cumulative[PUT],
        hedge_flow_cumulative_all=round(sum(traded.cumulative), 2),
        hedge_flow_se=traded.standard_error,
        classified_share=traded.classified_share,
        flow_since=traded.since,
        differenced_from=traded.differenced_from,
        contracts=sums.contracts,
        strikes=len(chain.strike),
        strikes_with_iv=sums.strikes_with_iv,
        total_oi=int(call_oi + put_oi),
        call_oi=int(call_oi),
        put_oi=int(put_oi),
        total_volume=int(call_volume + put_volume),
        call_volume=int(call_volume),
        put_volume=int(put_volume),
        dropped=chain.dropped,
        quotes_unused=sums.unused,
        flags=tuple(str(flag) for flag in [*market.flags, *traded.flags, *interest.flags]),
        quote_age_seconds=(chain.fetched_at - chain.quoted_at).total_seconds(),
    )
    return rounded_row(
        columns,
        settled={**settled.headline, **settled.extras()},
        detail={
            **live.extras(),
            **_detail(chain, market, scene, traded, sums, expiries, quiet=quiet),
            "charm_curve": _charm_curve(chain, market, scene, live),
            "projection": (
                measure_projection(chain, market, scene, live.net)
                if projection_due(chain.slot, traded.differenced_from)
                else None
            ),
            "flag_amounts": (market.amounts | traded.amounts | interest.amounts) or None,
        },
    )


def _detail(
    chain: Chain,
    market: MarketState,
    scene: GreeksByMove,
    traded: FlowState,
    sums: ChainSums,
    expiries: OtherExpiries,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """What a snapshot shows that no position enters."""
    session = (chain.session.close - chain.session.open).total_seconds()
    straddle = float(market.quote.mid[CALL, sums.money] + market.quote.mid[PUT, sums.money])
    whole_day = market.forward.level * market.atm * math.sqrt(session / YEAR_SECONDS)
    return {
        "implied_1sd": None if quiet else whole_day,
        "straddle_price": straddle if math.isfinite(straddle) else None,
        "skew_25d": skew_25_delta(scene.now.call_delta, market.smile.filled),
        **sums.quality._asdict(),
        "atm_iv_uncertainty": (
            market.atm_uncertainty if math.isfinite(market.atm_uncertainty) and not quiet else None
        ),
        **expiries._asdict(),
        "vix": None,
        "contracts_with_flow": sums.with_flow,
        "total_abs_delta_contracts": sums.absolute_delta,
        "volume_unattributed": traded.unattributed,
        "multi_leg_share": traded.multi_leg_share,
        "pages_seconds": chain.pages_seconds,
    }


def _charm_curve(
    chain: Chain, market: MarketState, scene: GreeksByMove, live: DealerBook
) -> tuple[tuple[float, float], ...] | None:
    """What time alone leaves to trade until the close, if spot stays at each of nine levels."""
    if market.last_minute:
        return None
    levels = [market.spot + market.remaining * sigmas for sigmas in CURVE]
    return charm_curve(
        live.net,
        [level for level in levels if level > 0],
        scene,
        forward=market.forward.level,
        strike=chain.strike,
        sigma=market.smile.filled,
    )


def _profile(
    chain: Chain,
    market: MarketState,
    scene: GreeksByMove,
    traded: FlowState,
    live: BookExposures,
    settled: BookExposures,
) -> dict[str, Floats]:
    """Arrays by strike; see ``storage.record.row.PROFILE``."""
    return {
        "strike": chain.strike,
        "iv": market.smile.filled,
        "own_iv": market.smile.own,
        "call_delta": scene.now.call_delta,
        "gamma": scene.now.gamma,
        "theta": scene.now.theta,
        "call_bid": chain.bid[CALL],
        "call_ask": chain.ask[CALL],
        "put_bid": chain.bid[PUT],
        "put_ask": chain.ask[PUT],
        "call_oi": chain.open_interest[CALL],
        "put_oi": chain.open_interest[PUT],
        "call_volume": traded.volume[CALL],
        "put_volume": traded.volume[PUT],
        "call_signed": traded.signed[CALL],
        "put_signed": traded.signed[PUT],
        "call_flow": traded.dollars[CALL],
        "put_flow": traded.dollars[PUT],
        "gamma_flow": traded.gamma_dollars[CALL] + traded.gamma_dollars[PUT],
        **_by_strike("", live),
        **_by_strike("settled_", settled),
    }


def _by_strike(prefix: str, book: BookExposures) -> dict[str, Floats]:
    return {
        f"{prefix}call_gex": book.gex[CALL],
        f"{prefix}put_gex": book.gex[PUT],
        f"{prefix}call_dex": book.dex[CALL],
        f"{prefix}put_dex": book.dex[PUT],
        f"{prefix}vex": book.vex,
        f"{prefix}chex": book.chex,
    }
