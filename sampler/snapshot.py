"""Chain and previous slot to this slot's record: pure arithmetic, no clock, no I/O.

The previous record is the only state there is. A restarted sampler reads it back from the store
and goes on as if nothing had happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, PUT, QUOTES, Chain
from sampler.errors import Refused
from sampler.metrics import black, flow, levels, pin
from sampler.metrics.exposure import DEALER_SIGN, MULTIPLIER, ONE_PERCENT, deltas, exposures
from sampler.metrics.smile import Forward, Smile, forward, smile
from storage import columns
from storage.row import DEFINITIONS, Flag, Reason, Row, SlotRecord
from storage.session import GRID

Floats = NDArray[np.float64]

#: A baseline needs this many strikes with both sides quoted, later than a second into the session.
LEAST_PAIRS, SETTLING = 5, 1.0
#: Spot is stale when parity contradicts it by this much, and by so many scatters of parity.
STALE_SPOT, STALE_SPREADS = 0.001, 3.0
#: ATM volatility of the last minute is auction noise. [years]
NOISE = 60 / 31_536_000
#: Price step below and from 3 $; the index classes of Cboe, and everything else.
INDEX_TICKS, PENNY = (0.05, 0.10), 0.01
_INDEXES = frozenset({"SPX", "NDX", "RUT", "VIX"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Market:
    """What a chain's quotes say before any position is considered."""

    spot: float
    forward: Forward
    smile: Smile
    atm: float
    flags: list[Flag]


def measure(chain: Chain, previous: SlotRecord | None, *, oi_confidence: float) -> SlotRecord:
    """This slot's record.

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
    market = _market(chain)
    if previous is None:
        _require_open(chain)
    spot, fwd, sigma = market.spot, market.forward.level, market.smile.filled
    greeks = black.greeks(spot, fwd, chain.strike, chain.years, sigma)
    moved = _flow(chain, previous, market, deltas(greeks), greeks.gamma)

    settled_oi = chain.open_interest
    live_oi = np.maximum(settled_oi + oi_confidence * moved.signed, 0.0)
    settled_q = DEALER_SIGN * settled_oi
    live_q = settled_q - oi_confidence * moved.signed
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
        settled_net_gex=float(settled.gex.sum()),
        settled_net_dex=float(settled.dex.sum()),
        settled_gamma_flip=flips[1].level,
        hedge_flow_call_cumulative=moved.cumulative[CALL],
        hedge_flow_put_cumulative=moved.cumulative[PUT],
        hedge_flow_cumulative_all=round(sum(moved.cumulative), 2),
        hedge_flow_se=moved.standard_error,
        classified_share=moved.classified_share,
        flow_since=moved.since,
        differenced_from=moved.differenced_from,
        contracts=int(chain.listed.sum()),
        strikes=len(chain.strike),
        strikes_with_iv=int(np.isfinite(market.smile.own).sum()),
        **_totals(chain),
        dropped=chain.dropped,
        quotes_unused=_unused(chain),
        flags=tuple(str(flag) for flag in [*market.flags, *moved.flags]),
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
        "call_signed": moved.signed[CALL],
        "put_signed": moved.signed[PUT],
        "call_flow": moved.dollars[CALL],
        "put_flow": moved.dollars[PUT],
        "gamma_flow": moved.gamma_dollars.sum(axis=0),
    }
    return SlotRecord(row=row, profile=profile, evidence=moved.evidence)


def _market(chain: Chain) -> Market:
    """Forward, smile and the spot to use; Refused without one of them."""
    given = chain.spot if chain.spot > 0 and np.isfinite(chain.spot) else np.nan
    fwd = forward(chain.strike, chain.mid, chain.bid, given)
    if not np.isfinite(fwd.level) or fwd.level <= 0:
        raise Refused(
            Reason.NO_SPOT,
            f"{chain.symbol}: no spot, and {fwd.estimates} strikes are too few for parity",
        )
    flags = []
    spot = given
    if fwd.estimates < 3:
        flags.append(Flag.FORWARD_IS_SPOT)
    elif np.isnan(given) or _stale(given, fwd):
        flags.append(Flag.STALE_SPOT)
        spot = fwd.level
    found = smile(
        chain.strike, chain.mid, chain.two_sided, forward=fwd.level, years=chain.years
    )
    if found is None:
        raise Refused(Reason.NO_IV, f"{chain.symbol}: no two-sided quote gives a volatility")
    atm = float(np.interp(fwd.level, chain.strike, found.filled))
    return Market(spot=spot, forward=fwd, smile=found, atm=atm, flags=flags)


def _stale(spot: float, fwd: Forward) -> bool:
    off = abs(fwd.level - spot)
    return off > STALE_SPOT * spot and off > STALE_SPREADS * fwd.spread


def _require_open(chain: Chain) -> None:
    """Flow is only counted from quotes of an open options market."""
    since_open = (chain.quoted_at - chain.session.open).total_seconds()
    pairs = int(chain.two_sided.all(axis=0).sum())
    if since_open <= SETTLING or pairs < LEAST_PAIRS:
        raise Refused(
            Reason.NOT_OPEN,
            f"{chain.symbol}: {pairs} strikes quoted on both sides {since_open:.0f} s into the"
            f" session; flow counts from the first slot with {LEAST_PAIRS}",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """Signed volume so far, on the chain's strikes; dollars are cumulative since ``since``."""

    signed: Floats
    dollars: Floats
    gamma_dollars: Floats
    cumulative: tuple[float, float]
    standard_error: float
    classified_share: float | None
    since: datetime
    differenced_from: datetime | None
    flags: list[Flag]
    evidence: bytes


def _flow(
    chain: Chain, previous: SlotRecord | None, market: Market, delta: Floats, gamma: Floats
) -> Moved:
    """Difference the chain against the previous slot, contract by contract."""
    past, notes = columns.unpack(previous.evidence) if previous else ({}, {})
    # A contract that a feed leaves out for a while keeps its volume and its sign.
    strike = np.union1d(chain.strike, past["strike"]) if previous else chain.strike
    here = np.searchsorted(strike, chain.strike)

    def spread(values: Floats, fill: float = np.nan) -> Floats:
        wide = np.full((2, len(strike)), fill)
        wide[:, here] = values
        return wide

    def recall(name: str, fill: float = np.nan) -> Floats:
        wide = np.full((2, len(strike)), fill)
        if previous:
            wide[:, np.searchsorted(strike, past["strike"])] = past[name]
        return wide

    flags: list[Flag] = []
    volume = spread(chain.volume)
    if previous is None:
        flags.append(Flag.BASELINE)
        added, volume = np.zeros_like(volume), np.nan_to_num(volume)
        sign = added
    else:
        before = np.nan_to_num(recall("volume"))
        added, volume = flow.volume_added(before, volume)
        if (volume < before).any():
            flags.append(Flag.VOLUME_REBASED)
        if (chain.slot - previous.row.slot).total_seconds() > GRID:
            flags.append(Flag.AFTER_GAP)
        now = flow.Quote(spread(chain.mid), spread((chain.ask - chain.bid) / 2))
        past_mid = np.where(_quoted(recall), (recall("bid") + recall("ask")) / 2, np.nan)
        then = flow.Quote(past_mid, (recall("ask") - recall("bid")) / 2)
        call = np.array([[True], [False]])
        old_sigma = recall("sigma")
        with np.errstate(invalid="ignore"):
            modelled = black.price(market.forward.level, strike, chain.years, old_sigma, call)
        sign = flow.aggressor_sign(
            added,
            spread(chain.last),
            spread(chain.last_at),
            before=then,
            now=now,
            before_at=previous.row.quoted_at.timestamp(),
            now_at=chain.quoted_at.timestamp(),
            tick=_tick(chain.symbol, np.where(np.isnan(now.mid), 0.0, now.mid)),
            modelled=modelled,
        )
    dollars_per_delta = MULTIPLIER * market.spot
    signed_now = sign * added
    hedged = signed_now * spread(delta, 0.0) * dollars_per_delta
    gammas = signed_now * spread(np.broadcast_to(gamma, delta.shape), 0.0)
    gammas *= dollars_per_delta * market.spot * ONE_PERCENT
    signed = recall("signed", 0.0) + signed_now
    dollars = recall("dollars", 0.0) + hedged
    gamma_dollars = recall("gamma_dollars", 0.0) + gammas
    noise = float(((added * spread(delta, 0.0) * dollars_per_delta) ** 2).sum())
    row = previous.row if previous else None
    call_flow = (row.hedge_flow_call_cumulative if row else 0.0) + float(hedged[CALL].sum())
    put_flow = (row.hedge_flow_put_cumulative if row else 0.0) + float(hedged[PUT].sum())
    traded = notes.get("traded", 0.0) + float(added.sum())
    told = notes.get("told", 0.0) + float(added[sign != 0].sum())
    variance = notes.get("variance", 0.0) + noise
    evidence = columns.pack(
        {
            "strike": strike,
            "listed": _widen(chain.listed, here, len(strike)),
            **{name: spread(getattr(chain, name)) for name in QUOTES if name != "volume"},
            "volume": volume,
            "sigma": spread(np.broadcast_to(market.smile.filled, delta.shape)),
            "signed": signed,
            "dollars": dollars,
            "gamma_dollars": gamma_dollars,
        },
        symbol=chain.symbol,
        source=chain.source,
        delay_seconds=chain.delay_seconds,
        expiration=chain.expiration.isoformat(),
        quoted_at=chain.quoted_at.isoformat(),
        fetched_at=chain.fetched_at.isoformat(),
        spot=chain.spot if np.isfinite(chain.spot) else None,
        traded=traded,
        told=told,
        variance=variance,
    )
    return Moved(
        signed=signed[:, here],
        dollars=dollars[:, here],
        gamma_dollars=gamma_dollars[:, here],
        cumulative=(round(call_flow, 2), round(put_flow, 2)),
        standard_error=round(float(np.sqrt(variance)), 2),
        classified_share=told / traded if traded else None,
        since=row.flow_since if row else chain.slot,
        differenced_from=row.slot if row else None,
        flags=flags,
        evidence=evidence,
    )


def _quoted(recall: Any) -> NDArray[np.bool_]:
    bid, ask = recall("bid"), recall("ask")
    return np.asarray((ask > 0) & (bid >= 0) & (ask >= bid))


def _widen(listed: NDArray[np.bool_], here: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    wide = np.zeros((2, n), np.bool_)
    wide[:, here] = listed
    return wide


def _tick(symbol: str, price: Floats) -> Floats:
    if symbol not in _INDEXES:
        return np.full_like(price, PENNY)
    return np.where(price < 3, *INDEX_TICKS)


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
