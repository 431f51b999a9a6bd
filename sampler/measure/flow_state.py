"""What was traded since the previous slot, by whom, and what dealers hedged for it.

State goes from slot to slot in the evidence that is stored with each row: every contract's volume,
quotes and signed volume so far. A contract that a feed leaves out for a while keeps its state.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, MULTI_LEG_VOLUME, PUT, QUOTES, REPORTED_VOLUME, Chain
from sampler.measure.market import MarketState
from sampler.measure.previous import PreviousSlot
from sampler.measure.revision import Doubt
from sampler.measure.signing import EachTrade, LastPrint
from sampler.measure.volume import (
    ACCOUNT,
    COLUMNS,
    DISPUTE_SECONDS,
    EARLIER_RISE,
    LATER_RISE,
    MOMENTS,
    OTHER,
    RISES,
    Movement,
    VolumeStep,
    add_flow,
    read_volumes,
)
from sampler.metrics import flow
from sampler.metrics.exposure import ONE_PERCENT, GreeksByMove
from sampler.metrics.hedge import HedgeSums, hedge_flow
from sampler.metrics.ledger import ContractsRead, read_contracts
from sampler.metrics.slot_flow import flow_of_slot
from storage.market.constants import BEFORE_OPEN, GRID_SECONDS, MULTIPLIER
from storage.market.instruments import COARSER_FROM, instrument_of
from storage.record.row import Flag

Floats = NDArray[np.float64]

#: Within so long after the open a feed may begin today's count anew. [s]
OPENING_SECONDS = 900.0
#: So near to the close a frame's prints may be from after it.
CLOSING = timedelta(minutes=15)


# Not frozen: each field of a frozen one is set through a call, 3 µs a slot.
@dataclass(slots=True, kw_only=True, eq=False)
class FlowState:
    """Signed volume so far, on the chain's strikes; dollars are cumulative since ``since``."""

    #: The day's volume, the last known one where it cannot be read now. (2, n) [contracts]
    volume: Floats
    #: B: contracts that customers bought, less those that they sold. (2, n)
    signed: Floats
    #: Hedge flow by contract. (2, n) [$]
    dollars: Floats
    #: The same of gamma, per 1 % move. (2, n) [$]
    gamma_dollars: Floats
    #: Σ ΔV² of each contract, of the slots that count. (2, n) [contracts²]
    volume_squares: Floats
    #: The measured accuracy of the way in which sides are told; None: not measured. [0-1]
    accuracy: float | None
    #: Volume before its contract's first readable figure, since the baseline. [contracts]
    unattributed: float
    #: The part of the slot's volume that traded as legs of spreads; None: unknown. [0-1]
    multi_leg_share: float | None
    #: Hedge flow of calls and of puts, in cents exactly. [$]
    cumulative: tuple[float, float]
    standard_error: float
    classified_share: float | None
    since: datetime
    differenced_from: datetime | None
    flags: list[Flag]
    #: For each flag about volumes: contracts, volume [contracts] and hedge flow [$] that it means.
    amounts: dict[str, dict[str, float]]
    #: What the next slot goes on from: columns, and notes beside them.
    state: tuple[dict[str, NDArray[Any]], dict[str, Any]]


def update_flow(
    chain: Chain, past: PreviousSlot, market: MarketState, sheet: GreeksByMove
) -> FlowState:
    """Difference a chain against the previous slot, contract by contract.

    Parameters
    ----------
    chain : today's contracts.
    past : the previous slot's evidence. Without one the chain is the baseline: each contract's
        volume is where its counting begins, and nothing has been traded yet.
    market, sheet : spot, quotes and greeks of the chain.

    Returns
    -------
    FlowState : signed volume [contracts] and hedge flow [$] since the baseline, and the state that
        the next slot goes on from. See ``sampler.measure.volume`` for what a fall means.
    """
    row = past.row
    # Whether the source signs each trade itself.
    counts_trades = bool(np.count_nonzero(~np.isnan(chain.signed_volume)))
    moved = _ordinary_slot(chain, past, market, sheet) or _any_slot(
        chain, past, market, sheet, counts_trades=counts_trades
    )
    step, hedged, covered = moved.step, moved.hedged, moved.covered
    tally = {
        "traded": max(past.notes.get("traded", 0.0) + step.corrected_counted, 0.0) + hedged.traded,
        "told": max(past.notes.get("told", 0.0) + step.corrected_classified, 0.0)
        + hedged.classified,
        "variance": max(past.notes.get("variance", 0.0) + step.corrected_variance, 0.0)
        + hedged.variance,
        "unattributed": past.notes.get("unattributed", 0.0)
        + (step.first_read.volume if row is not None else 0.0),
    }
    calls, puts = step.corrected_dollars
    call = (row.hedge_flow_call_cumulative if row else 0.0) + calls + hedged.call
    put = (row.hedge_flow_put_cumulative if row else 0.0) + puts + hedged.put
    listed = past.widen(chain.listed, fill=False)
    reported = past.widen(chain.volume)
    _count_read_again(listed, reported, past, step)
    flags, amounts = _volume_flags(covered, past, step)
    gap, intervals = _cadence(chain, past)
    if row is None:
        flags = [Flag.BASELINE, *flags]
    elif gap:
        flags = [Flag.AFTER_GAP, *flags]
    columns = {
        "strike": past.strike,
        "listed": listed,
        "listed_before": listed | past.listed_before(),
        **{name: past.widen(getattr(chain, name)) for name in QUOTES},
        "signed_volume": moved.signed_volume,
        "sigma": _both_sides(past.widen(market.smile.filled)),
        **moved.columns,
    }
    if chain.multi_leg_volume is not None:
        columns[MULTI_LEG_VOLUME] = past.widen(chain.multi_leg_volume)
    if covered.held:
        # The mark stands in its place; measured again, the row must see what was sent.
        columns[REPORTED_VOLUME] = reported
    notes = _notes(chain) | tally | {"intervals": intervals} | market.notes
    if doubts := [*market.doubts, *_doubts(step)]:
        notes["doubts"] = [doubt.as_note() for doubt in doubts]
    if chain.pages_seconds is not None:
        notes["pages_seconds"] = chain.pages_seconds
    if step.reset_at is not None:
        notes["volume_reset_at"] = step.reset_at
    # A feed that has sent no print in the session tells sides by the moves of quotes, whose
    # accuracy has not been measured.
    printless = bool(past.notes.get("printless", row is None) and np.isnan(chain.last).all())
    if printless:
        notes["printless"] = True
    # At the baseline no side has been told yet.
    measured = row is None or not printless
    return FlowState(
        # A contract that this frame lacks keeps its volume and position until it is listed again.
        volume=past.narrow(covered.volume),
        signed=past.narrow(hedged.signed),
        dollars=past.narrow(hedged.dollars),
        gamma_dollars=past.narrow(hedged.gamma_dollars),
        volume_squares=past.narrow(step.ledger["volume_squares"]),
        accuracy=(EachTrade if counts_trades else LastPrint).accuracy if measured else None,
        unattributed=tally["unattributed"],
        multi_leg_share=_multi_leg_share(chain, past, step),
        cumulative=(round(call, 2), round(put, 2)),
        standard_error=round(math.sqrt(tally["variance"]), 2),
        classified_share=min(tally["told"] / tally["traded"], 1.0) if tally["traded"] else None,
        since=row.flow_since if row else chain.slot,
        differenced_from=row.slot if row else None,
        flags=flags,
        amounts=amounts,
        state=(columns, notes),
    )


def _both_sides(by_strike: Floats) -> Floats:
    """A column for calls and puts, which share it. (2, n)"""
    table = np.empty((2, len(by_strike)))
    table[:] = by_strike
    return table


def volume_of_today(chain: Chain) -> Floats:
    """Reported volumes, as far as they belong to the session. (2, n) [contracts]

    A contract whose last trade is of an earlier session has none today, whatever its feed still
    shows; the overnight session, from 20:00 New York on, belongs to the day. What has traded after
    the close is not readable: part of it may be the session's, and the volume stays as it was.

    Parameters
    ----------
    chain : today's contracts, with the volume and the time of the last trade that the feed sent.

    Returns
    -------
    ndarray
        Volume of the session; NaN where it is not readable. (2, n) [contracts]
    """
    volume = chain.volume
    earlier = chain.last_at < (chain.session.open - BEFORE_OPEN).timestamp()
    if np.count_nonzero(earlier):
        volume = np.where(earlier & ~np.isnan(volume), 0.0, volume)
    if chain.session.close - chain.quoted_at <= CLOSING:
        volume = np.where(chain.last_at >= chain.session.close.timestamp(), np.nan, volume)
    return volume


class _Slot(NamedTuple):
    """What a slot's volumes mean, and what dealers hedged for them."""

    step: VolumeStep
    hedged: HedgeSums
    covered: ContractsRead
    #: See ``_known``. (2, n) [contracts]
    signed_volume: Floats
    #: The ledger's columns as the evidence has them.
    columns: dict[str, Floats]


def _ordinary_slot(
    chain: Chain, past: PreviousSlot, market: MarketState, sheet: GreeksByMove
) -> _Slot | None:
    """What ``_any_slot`` returns, in a third of the time; None where a volume fell or is new."""
    row, ledger = past.row, past.ordinary_ledger()
    if row is None or ledger is None:
        return None
    flown = flow_of_slot(
        ledger,
        reported=volume_of_today(chain),
        sent=chain.volume,
        listed=(chain.listed, past.listed_before()),
        last=chain.last,
        last_at=chain.last_at,
        bid_before=past.recall("bid"),
        ask_before=past.recall("ask"),
        quote=market.quote,
        sigma_before=past.recall("sigma"),
        signed_volume=(past.recall("signed_volume"), chain.signed_volume),
        strike=chain.strike,
        call_delta=sheet.now.call_delta,
        put_delta=sheet.now.put_delta,
        gamma=sheet.now.gamma,
        spot=market.spot,
        forward=market.forward.level,
        years=chain.years,
        before_at=row.quoted_at.timestamp(),
        now=chain.quoted_at.timestamp(),
        interval=(chain.quoted_at - row.quoted_at).total_seconds(),
        remembered_seconds=DISPUTE_SECONDS,
        price_steps=instrument_of(chain.symbol).price_steps,
        coarser_from=COARSER_FROM,
    )
    if flown is None:
        return None
    counted, hedged = flown.counted, flown.hedged
    values = (counted.mark, *hedged[:3], *flown.remembered[15:], *flown.remembered[:15])
    columns = dict(zip((*ACCOUNT, *RISES), values, strict=True))
    for group, is_known in ((LATER_RISE, flown.later), (EARLIER_RISE, flown.earlier)):
        if not is_known:
            for name in group:
                del columns[name]
    columns["volume_read_at"] = counted.read_at
    step = VolumeStep(
        ledger=columns,
        added=counted.added,
        to_other=np.zeros(counted.added.shape, np.bool_),
        elapsed=counted.elapsed,
        reset_at=past.notes.get("volume_reset_at"),
        unknown=counted.unknown,
    )
    return _Slot(step, hedged, flown.covered, flown.signed_volume, columns)


def _any_slot(
    chain: Chain,
    past: PreviousSlot,
    market: MarketState,
    sheet: GreeksByMove,
    *,
    counts_trades: bool,
) -> _Slot:
    """The same where volumes may have fallen, or strikes have come, step by step."""
    row, now = past.row, chain.quoted_at.timestamp()
    step = read_volumes(
        past.ledger(),
        past.widen(volume_of_today(chain)),
        now=now,
        opening=(chain.quoted_at - chain.session.open).total_seconds() <= OPENING_SECONDS,
        reset_at=past.notes.get("volume_reset_at"),
    )
    ledger = step.ledger
    sign = step.added
    if row is not None and step.added.any():
        sign = _signs(chain, past, market, step, row.quoted_at, counts_trades=counts_trades)
    greeks = {
        "call_delta": past.widen(sheet.now.call_delta, 0.0),
        "put_delta": past.widen(sheet.now.put_delta, 0.0),
        "gamma": past.widen(sheet.now.gamma, 0.0),
    }
    hedged = hedge_flow(
        step.published,
        sign,
        **greeks,
        spot=market.spot,
        so_far=(ledger["signed"], ledger["dollars"], ledger["gamma_dollars"]),
    )
    _remember(step, sign, greeks, market.spot, now)
    ledger |= {
        "signed": hedged.signed,
        "dollars": hedged.dollars,
        "gamma_dollars": hedged.gamma_dollars,
    }
    covered = read_contracts(
        past.widen(chain.listed, fill=False),
        past.listed_before(),
        past.widen(chain.volume),
        ledger["volume"],
    )
    return _Slot(step, hedged, covered, _known(past, chain, step), _stored(ledger, now))


def _remember(
    step: VolumeStep, sign: Floats, greeks: dict[str, Floats], spot: float, now: float
) -> None:
    """Note this slot's rises in the ledger, with the hedges that belong to them."""
    per_delta = step.added * MULTIPLIER * spot
    hedge = np.empty_like(per_delta)
    np.multiply(greeks["call_delta"], per_delta[CALL], out=hedge[CALL])
    np.multiply(greeks["put_delta"], per_delta[PUT], out=hedge[PUT])
    add_flow(
        step,
        sign,
        hedge,
        greeks["gamma"] * per_delta * spot * ONE_PERCENT,
        now=now,
    )


def _stored(ledger: dict[str, Floats], now: float) -> dict[str, Floats]:
    """The ledger's columns as the evidence has them: moments as ages, which compress well. [s]

    The account that is not published is left out where no contract has one: on nearly all slots.
    So is a later or an earlier rise.
    """
    unknown = {
        name
        for group in (OTHER, LATER_RISE, EARLIER_RISE)
        if group[0] not in ledger or np.isnan(ledger[group[0]]).all()
        for name in group
    }
    return {
        name: now - ledger[name] if name in MOMENTS else ledger[name]
        for name in COLUMNS
        if name not in unknown
    }


def _cadence(chain: Chain, past: PreviousSlot) -> tuple[bool, list[float]]:
    """Whether slots are missing by the feed's own cadence, and the last intervals. [s]"""
    if past.row is None:
        return False, []
    interval = (chain.slot - past.row.slot).total_seconds()
    earlier = past.notes.get("intervals") or [float(GRID_SECONDS)]
    return interval > 1.5 * statistics.median(earlier), [*earlier[-4:], interval]


def _count_read_again(
    listed: NDArray[np.bool_], reported: Floats, past: PreviousSlot, step: VolumeStep
) -> None:
    """Count volumes that are readable again as recovered: what traded meanwhile is in this slot.

    So are contracts that were missing and are back, if they have traded meanwhile.
    """
    if past.row is None:
        return
    listed_before = past.recall("listed", 0.0).astype(np.bool_, copy=False)
    if not past.has(REPORTED_VOLUME) and listed_before.tobytes() == listed.tobytes():
        # All were readable, and none is back.
        return
    unread = np.isnan(reported) & ~np.isnan(step.ledger["volume"])
    again = past.listed_before() & ~listed_before & (step.added > 0)
    if past.has(REPORTED_VOLUME):
        again |= listed_before & np.isnan(past.recall(REPORTED_VOLUME))
    again &= listed & ~unread & (step.elapsed > 0)
    step.recovered.contracts += int(again.sum())
    step.recovered.volume += float(step.added[again].sum())


def _volume_flags(
    covered: ContractsRead, past: PreviousSlot, step: VolumeStep
) -> tuple[list[Flag], dict[str, dict[str, float]]]:
    """What the row must say of its volumes, and for each flag how much is meant."""
    amounts: dict[str, dict[str, float]] = {}
    if step.reset:
        amounts[Flag.VOLUME_REBASED] = {}
    if step.held.contracts or covered.unread:
        # How much has traded of contracts with an unreadable volume is not known.
        held = Movement(step.held.contracts + covered.unread, step.held.volume)
        amounts[Flag.VOLUME_HELD] = held.as_detail()
    if step.recovered.contracts:
        amounts[Flag.VOLUME_RECOVERED] = step.recovered.as_detail()
    if (corrected := _corrections(step)).contracts:
        amounts[Flag.VOLUME_CORRECTED] = corrected.as_detail()
    late = step.first_read.volume if past.row is not None else 0.0
    if covered.unknown or late:
        first = step.first_read.contracts if late else 0
        amounts[Flag.VOLUME_UNKNOWN] = {"contracts": covered.unknown + first, "volume": late}
    if covered.missing:
        amounts[Flag.CONTRACTS_MISSING] = {"contracts": covered.missing}
    return [Flag(name) for name in amounts], {str(name): value for name, value in amounts.items()}


def _doubts(step: VolumeStep) -> list[Doubt]:
    """Rows since a rise that is taken out now, or since a fall that is undone now, are in doubt."""
    if step.wrong_since is None:
        return []
    corrected = _corrections(step)
    # Where no earlier flow was corrected, volume came back after a fall: it counts in this row.
    moved = (corrected if corrected.contracts else step.recovered).as_detail()
    since = datetime.fromtimestamp(step.wrong_since, UTC)
    return [Doubt(since, Flag.VOLUME_CORRECTED, moved)]


def _corrections(step: VolumeStep) -> Movement:
    """What was taken out of earlier rows' figures, and put back, in this slot."""
    moves = (step.withdrawn, step.restored, step.busted)
    return Movement(
        sum(m.contracts for m in moves),
        sum(m.volume for m in moves),
        sum(m.dollars for m in moves),
    )


def _signs(
    chain: Chain,
    past: PreviousSlot,
    market: MarketState,
    step: VolumeStep,
    quoted_at: datetime,
    *,
    counts_trades: bool,
) -> Floats:
    """Who started the trades, by contract; see ``flow.aggressor_sign``."""
    added = step.added
    mid, last = past.widen(market.quote.mid), past.widen(chain.last)
    last_print = LastPrint(
        last=last,
        last_at=past.widen(chain.last_at),
        before=flow.quote(past.recall("bid"), past.recall("ask")),
        now=flow.Quote(mid, past.widen(market.quote.half)),
        before_at=quoted_at.timestamp(),
        now_at=chain.quoted_at.timestamp(),
        tick=_tick(chain.symbol, mid),
        modelled=flow.silent_prices(
            added,
            last,
            forward=market.forward.level,
            strike=past.strike,
            years=chain.years,
            sigma=past.recall("sigma"),
        ),
        slots=_slots_of_flow(step.elapsed, chain.quoted_at - quoted_at),
    )
    if not counts_trades:
        return last_print.signs(added)
    signed = past.widen(chain.signed_volume)
    return EachTrade(past.recall("signed_volume"), signed, last_print).signs(added)


def _slots_of_flow(elapsed: Floats, interval: timedelta) -> Floats | float:
    """In how many slots each contract's new volume traded; 1 or more. (2, n), or one number for all

    Those between the two frames, or those in which the contract's own volume could not be counted.
    """
    between = max(round(interval.total_seconds() / GRID_SECONDS), 1)
    if elapsed.max() <= GRID_SECONDS * (between + 1):
        # Every volume could be counted in the previous frame, as on most slots.
        return float(between)
    return np.maximum(np.rint(elapsed / GRID_SECONDS) - 1.0, between)


def _known(past: PreviousSlot, chain: Chain, step: VolumeStep) -> Floats:
    """The source's signed volume, where its contract's volume was counted; else the last known.

    A volume that was counted while its trades were not signed has no signed volume to go on from:
    trades that come later would be taken for a part of that volume.
    """
    counted = step.ledger["volume_read_at"] == chain.quoted_at.timestamp()
    return np.where(counted, past.widen(chain.signed_volume), past.recall("signed_volume"))


def _multi_leg_share(chain: Chain, past: PreviousSlot, step: VolumeStep) -> float | None:
    """The part of this slot's volume that traded as legs of spreads; None if unknown.

    Of the contracts whose multi-leg volume is known at both ends of the slot. No contract has more
    of it than it traded, and none takes any back: a feed corrects it as it corrects volumes.
    """
    if chain.multi_leg_volume is None or not past.has(MULTI_LEG_VOLUME):
        return None
    legs = past.widen(chain.multi_leg_volume) - past.recall(MULTI_LEG_VOLUME)
    added = np.where(np.isnan(legs) | step.to_other, 0.0, step.added)
    traded = float(added.sum())
    return float(np.clip(np.nan_to_num(legs), 0.0, added).sum()) / traded if traded else None


def _tick(symbol: str, price: Floats) -> Floats:
    fine, coarse = instrument_of(symbol).price_steps
    # A contract without a price has the finer step.
    return np.where(price >= COARSER_FROM, coarse, fine)


def _notes(chain: Chain) -> dict[str, Any]:
    """Values of the chain that are no columns; the evidence stores them to restore the chain."""
    return {
        "symbol": chain.symbol,
        "source": chain.source,
        "delay_seconds": chain.delay_seconds,
        "expiration": chain.expiration.isoformat(),
        "quoted_at": chain.quoted_at.isoformat(),
        "fetched_at": chain.fetched_at.isoformat(),
        "spot": chain.spot if math.isfinite(chain.spot) else None,
        "dropped": chain.dropped,
    }
