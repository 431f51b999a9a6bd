"""What was traded since the previous slot, by whom, and what dealers hedged for it.

State goes from slot to slot in the evidence that is stored with each row: every contract's volume,
quotes and signed volume so far. A contract that a feed leaves out for a while keeps its state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, QUOTES, Chain
from sampler.measure.market import MarketState
from sampler.measure.signing import EachTrade, LastPrint
from sampler.metrics import black, flow
from sampler.metrics.exposure import GreeksByMove
from sampler.metrics.hedge import hedge_flow
from storage.market.constants import GRID_SECONDS
from storage.market.instruments import instrument_of
from storage.record.row import Flag, Row, SlotRecord

Floats = NDArray[np.float64]

#: Option prices move in coarser steps from here on. [$]
COARSER_FROM = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    #: Hedge flow of calls and of puts, in cents exactly. [$]
    cumulative: tuple[float, float]
    standard_error: float
    classified_share: float | None
    since: datetime
    differenced_from: datetime | None
    flags: list[Flag]
    #: What the next slot goes on from: columns, and notes beside them.
    state: tuple[dict[str, NDArray[Any]], dict[str, Any]]


class PreviousSlot:
    """The previous slot's state, brought onto the strikes of both chains."""

    def __init__(self, chain: Chain, previous: SlotRecord | None) -> None:
        self.row: Row | None = None
        self.notes: dict[str, Any] = {}
        self.strike = chain.strike
        self._kept: dict[str, NDArray[Any]] = {}
        #: Where the chain's strikes lie among all; None where they are all, as on most slots.
        self.here: NDArray[np.intp] | None = None
        self._there: NDArray[np.intp] | None = None
        if previous is None:
            return
        self.row = previous.row
        self._kept, self.notes = previous.state
        before = self._kept["strike"]
        if not np.array_equal(before, chain.strike):
            self.strike = np.union1d(chain.strike, before)
            self.here = np.searchsorted(self.strike, chain.strike)
            self._there = np.searchsorted(self.strike, before)

    def recall(self, name: str, fill: float = np.nan) -> Floats:
        """A column of the previous state, ``fill`` for contracts that it did not know."""
        if self.row is not None and self._there is None:
            return self._kept[name]
        wide = np.full((2, len(self.strike)), fill)
        if self.row is not None:
            wide[:, self._there] = self._kept[name]
        return wide

    def widen(self, values: NDArray[Any], fill: Any = np.nan) -> NDArray[Any]:
        """A column of the chain, (n,) or (2, n), ``fill`` for what it does not list."""
        if self.here is None:
            return values
        wide = np.full((*values.shape[:-1], len(self.strike)), fill, values.dtype)
        wide[..., self.here] = values
        return wide

    def narrow(self, values: Floats) -> Floats:
        """The chain's part of a column of all strikes."""
        return values if self.here is None else values[:, self.here]


def update_flow(
    chain: Chain, previous: SlotRecord | None, market: MarketState, sheet: GreeksByMove
) -> FlowState:
    """Difference a chain against the previous slot, contract by contract.

    Without a previous slot the chain is the baseline: nothing has been traded yet.
    """
    past = PreviousSlot(chain, previous)
    row = past.row
    before, volume = past.recall("volume", 0.0), past.widen(chain.volume)
    if row is None:
        added, volume = np.zeros_like(volume), np.nan_to_num(volume)
        sign = added
        flags = [Flag.BASELINE]
    else:
        added, volume = flow.volume_added(before, volume)
        sign = _signs(chain, past, market, added, row.quoted_at)
        after_gap = (chain.slot - row.slot).total_seconds() > GRID_SECONDS
        flags = [Flag.AFTER_GAP] if after_gap else []
        flags += [Flag.VOLUME_REBASED] if (volume < before).any() else []
    hedged = hedge_flow(
        added,
        sign,
        call_delta=past.widen(sheet.now.call_delta, 0.0),
        put_delta=past.widen(sheet.now.put_delta, 0.0),
        gamma=past.widen(sheet.now.gamma, 0.0),
        spot=market.spot,
        so_far=(
            past.recall("signed", 0.0),
            past.recall("dollars", 0.0),
            past.recall("gamma_dollars", 0.0),
        ),
    )
    tally = {
        name: past.notes.get(name, 0.0) + getattr(hedged, name)
        for name in ("traded", "told", "variance")
    }
    call = (row.hedge_flow_call_cumulative if row else 0.0) + hedged.call
    put = (row.hedge_flow_put_cumulative if row else 0.0) + hedged.put
    kept = {
        "strike": past.strike,
        "listed": past.widen(chain.listed, fill=False),
        **{name: past.widen(getattr(chain, name)) for name in QUOTES},
        "volume": volume,
        "signed_volume": _known(past, chain),
        # Both sides of a strike share it.
        "sigma": np.broadcast_to(past.widen(market.smile.filled), volume.shape),
        "signed": hedged.signed,
        "dollars": hedged.dollars,
        "gamma_dollars": hedged.gamma_dollars,
    }
    return FlowState(
        volume=past.narrow(volume),
        signed=past.narrow(hedged.signed),
        dollars=past.narrow(hedged.dollars),
        gamma_dollars=past.narrow(hedged.gamma_dollars),
        cumulative=(round(call, 2), round(put, 2)),
        standard_error=round(math.sqrt(tally["variance"]), 2),
        classified_share=tally["told"] / tally["traded"] if tally["traded"] else None,
        since=row.flow_since if row else chain.slot,
        differenced_from=row.slot if row else None,
        flags=flags,
        state=(kept, _notes(chain) | tally),
    )


def _signs(
    chain: Chain, past: PreviousSlot, market: MarketState, added: Floats, quoted_at: datetime
) -> Floats:
    """Who started the trades, by contract; see ``flow.aggressor_sign``."""
    mid, last = past.widen(market.quote.mid), past.widen(chain.last)
    modelled = np.full_like(mid, np.nan)
    # A yardstick only for what traded without leaving a print.
    silent = (added > 0) & ~(last > 0)
    if silent.any():
        side, at = np.nonzero(silent)
        modelled[silent] = black.price(
            market.forward.level,
            past.strike[at],
            chain.years,
            past.recall("sigma")[silent],
            side == CALL,
        )
    last_print = LastPrint(
        last=last,
        last_at=past.widen(chain.last_at),
        before=flow.quote(past.recall("bid"), past.recall("ask")),
        now=flow.Quote(mid, past.widen(market.quote.half)),
        before_at=quoted_at.timestamp(),
        now_at=chain.quoted_at.timestamp(),
        tick=_tick(chain.symbol, mid),
        modelled=modelled,
    )
    signed = past.widen(chain.signed_volume)
    if np.isnan(signed).all():
        return last_print.signs(added)
    return EachTrade(past.recall("signed_volume"), signed, last_print).signs(added)


def _known(past: PreviousSlot, chain: Chain) -> Floats:
    """The source's signed volume, the last known one where it says none now."""
    now = past.widen(chain.signed_volume)
    return np.where(np.isnan(now), past.recall("signed_volume"), now)


def _tick(symbol: str, price: Floats) -> Floats:
    fine, coarse = instrument_of(symbol).price_steps
    # A contract without a price has the finer step.
    return np.where(price >= COARSER_FROM, coarse, fine)


def _notes(chain: Chain) -> dict[str, Any]:
    """What the evidence needs beside its columns to be a chain again."""
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
