"""Chain and previous slot to this slot's record: pure arithmetic, no clock, no I/O.

The previous record is the only state there is. A restarted sampler reads it back from the store
and goes on as if nothing had happened.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sampler.chain import CALL, PUT, Chain
from sampler.market import read_market, require_open
from sampler.metrics import black, levels, pin
from sampler.metrics.exposure import DEALER_SIGN, MULTIPLIER, ONE_PERCENT, exposures
from sampler.tape import follow
from storage.row import DEFINITIONS, Row, SlotRecord

#: ATM volatility of the last minute is auction noise. [years]
NOISE = 60 / 31_536_000


def measure(chain: Chain, previous: SlotRecord | None, *, oi_confidence: float) -> SlotRecord:
    """Measure a slot's record.

    Parameters
    ----------
    chain : today's expiring contracts.
    previous : the newest record of an earlier slot of the same session, or None: then this slot
        is the baseline that flow counts from.
    oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]

    Raises
    ------
    Refused
        ``not_open``, ``no_spot`` or ``no_iv``: a slot that makes no row.
    """
    market = read_market(chain)
    if previous is None:
        require_open(chain)
    spot, fwd, sigma = market.spot, market.forward.level, market.smile.filled
    greeks = black.greeks(spot, fwd, chain.strike, chain.years, sigma)
    traded = follow(chain, previous, market, greeks)

    settled_oi = chain.open_interest
    live_oi = np.maximum(settled_oi + oi_confidence * traded.signed, 0.0)
    settled_q = DEALER_SIGN * settled_oi
    live_q = settled_q - oi_confidence * traded.signed
    terms: dict[str, Any] = {
        "spot": spot,
        "forward": fwd,
        "strike": chain.strike,
        "years": chain.years,
        "sigma": sigma,
    }
    live = exposures(live_q, live_oi, greeks, **terms)
    settled = exposures(settled_q, settled_oi, greeks, **terms)
    by_volume = DEALER_SIGN * np.nan_to_num(chain.volume) * greeks.gamma
    remaining = fwd * market.atm * np.sqrt(chain.years)
    otm_quoted = np.where(chain.strike >= fwd, chain.two_sided[CALL], chain.two_sided[PUT])
    flips = [
        levels.flip(q.sum(axis=0), otm_quoted, remaining=remaining, **terms)
        for q in (live_q, settled_q)
    ]

    net = live.gex.sum(axis=0)
    call_wall = levels.strongest(chain.strike, live.gex[CALL], spot)
    put_wall = levels.strongest(chain.strike, np.abs(live.gex[PUT]), spot)
    magnet = levels.strongest(chain.strike, np.abs(net), spot)
    magnet_strike = None if magnet is None else float(chain.strike[magnet])
    magnet_gex = None if magnet is None else float(net[magnet])
    pinned = pin.pin_score(
        chain.strike,
        live_oi.sum(axis=0),
        net,
        spot=spot,
        magnet=magnet_strike,
        magnet_gex=magnet_gex,
        remaining=remaining,
        elapsed=chain.session.elapsed(chain.quoted_at),
    )
    probability = None
    if magnet is not None:
        probability = pin.pin_probability(
            magnet,
            strike=chain.strike,
            own=market.smile.own,
            atm=market.atm,
            forward=fwd,
            years=chain.years,
        )
    quiet = chain.years < NOISE
    call_gex, put_gex = float(live.gex[CALL].sum()), float(live.gex[PUT].sum())
    row = Row(
        symbol=chain.symbol,
        expiration=chain.expiration,
        slot=chain.slot,
        quoted_at=chain.quoted_at,
        fetched_at=chain.fetched_at,
        source=chain.source,
        delay_seconds=chain.delay_seconds,
        definitions=DEFINITIONS,
        oi_confidence=oi_confidence,
        spot=spot,
        source_spot=chain.spot if np.isfinite(chain.spot) else None,
        forward=fwd,
        years_to_expiry=chain.years,
        net_gex=call_gex + put_gex,
        call_gex=call_gex,
        put_gex=put_gex,
        gross_gex=float(np.abs(live.gex).sum()),
        net_dex=float(live.dex.sum()),
        call_dex=float(live.dex[CALL].sum()),
        put_dex=float(live.dex[PUT].sum()),
        net_vex=float(live.vex.sum()),
        net_chex=float(live.chex.sum()),
        dealer_delta=live.dealer_delta,
        charm_dollars_per_hour=live.charm_per_hour,
        net_gex_volume=float(by_volume.sum() * MULTIPLIER * spot * spot * ONE_PERCENT),
        gamma_flip=flips[0].level,
        gamma_flip_status=str(flips[0].status),
        regime=_regime(call_gex + put_gex),
        call_wall=None if call_wall is None else float(chain.strike[call_wall]),
        put_wall=None if put_wall is None else float(chain.strike[put_wall]),
        magnet=magnet_strike,
        magnet_gex=magnet_gex,
        max_pain=levels.max_pain(chain.strike, live_oi, spot),
        pin_score=pinned.score,
        pin_oi=pinned.oi,
        pin_proximity=pinned.proximity,
        pin_time=pinned.time,
        pin_gamma=pinned.gamma,
        pin_probability_pct=probability,
        atm_iv=None if quiet else market.atm,
        remaining_1sd=None if quiet else float(remaining),
        settled_net_gex=float(settled.gex[CALL].sum()) + float(settled.gex[PUT].sum()),
        settled_net_dex=float(settled.dex.sum()),
        settled_gamma_flip=flips[1].level,
        hedge_flow_call_cumulative=traded.cumulative[CALL],
        hedge_flow_put_cumulative=traded.cumulative[PUT],
        hedge_flow_cumulative_all=round(sum(traded.cumulative), 2),
        hedge_flow_se=traded.standard_error,
        classified_share=traded.classified_share,
        flow_since=traded.since,
        differenced_from=traded.differenced_from,
        contracts=int(chain.listed.sum()),
        strikes=len(chain.strike),
        strikes_with_iv=int(np.isfinite(market.smile.own).sum()),
        **_totals(chain),
        dropped=chain.dropped,
        quotes_unused=_unused(chain),
        flags=tuple(str(flag) for flag in [*market.flags, *traded.flags]),
        quote_age_seconds=(chain.fetched_at - chain.quoted_at).total_seconds(),
    )
    profile = {
        "strike": chain.strike,
        "iv": sigma,
        "call_gex": live.gex[CALL],
        "put_gex": live.gex[PUT],
        "settled_call_gex": settled.gex[CALL],
        "settled_put_gex": settled.gex[PUT],
        "call_dex": live.dex[CALL],
        "put_dex": live.dex[PUT],
        "vex": live.vex,
        "chex": live.chex,
        "call_oi": settled_oi[CALL],
        "put_oi": settled_oi[PUT],
        "call_volume": np.nan_to_num(chain.volume[CALL]),
        "put_volume": np.nan_to_num(chain.volume[PUT]),
        "call_signed": traded.signed[CALL],
        "put_signed": traded.signed[PUT],
        "call_flow": traded.dollars[CALL],
        "put_flow": traded.dollars[PUT],
        "gamma_flow": traded.gamma_dollars.sum(axis=0),
    }
    return SlotRecord(row=row, profile=profile, evidence=traded.evidence)


def _regime(net_gex: float) -> str:
    if net_gex == 0:
        return "unknown"
    return "positive_gamma" if net_gex > 0 else "negative_gamma"


def _totals(chain: Chain) -> dict[str, int]:
    oi = chain.open_interest.sum(axis=1)
    volume = np.nan_to_num(chain.volume).sum(axis=1)
    return {
        "total_oi": int(oi.sum()),
        "call_oi": int(oi[CALL]),
        "put_oi": int(oi[PUT]),
        "total_volume": int(volume.sum()),
        "call_volume": int(volume[CALL]),
        "put_volume": int(volume[PUT]),
    }


def _unused(chain: Chain) -> dict[str, int]:
    """Quotes that give no volatility, by reason; the contracts keep their open interest."""
    bid, ask = chain.bid, chain.ask
    unreadable = chain.listed & ~(np.isfinite(bid) & np.isfinite(ask) & (bid >= 0) & (ask >= 0))
    crossed = chain.listed & ~unreadable & (bid > ask)
    one_sided = chain.listed & ~unreadable & ~crossed & ~((bid > 0) & (ask > 0))
    counted = {"unreadable": unreadable, "crossed": crossed, "one_sided": one_sided}
    return {name: int(which.sum()) for name, which in counted.items() if which.any()}
