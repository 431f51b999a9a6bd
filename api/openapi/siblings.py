"""The eight live answers: levels, pin risk, gamma, delta, summary, dealer risk, OI, everything."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import FlipStatus, Origin

Direction = Literal["no_flow", "neutral", "amplifying", "dampening", "regime_flip"]


class Live(Origin):
    """Fields that the eight live answers share."""

    symbol: str
    as_of: datetime = Field(description="The moment that the answer stands for.")
    underlying_price: float = Field(description="[$]")
    expiry: date = Field(description="The nearest stored expiry, or the one asked for.")


class LevelFigures(BaseModel):
    """Price levels of the live book."""

    live_gamma_flip: float | None = Field(description="Where net gamma crosses zero. [$]")
    gamma_flip_status: FlipStatus
    live_call_wall: float | None = Field(description="[$]")
    live_put_wall: float | None = Field(description="[$]")
    live_max_pain: float | None = Field(description="[$]")


class Levels(Live, LevelFigures):
    """Flip, walls and max pain."""


class Components(BaseModel):
    """The parts of a pin score, 0 to 100."""

    oi_score: int
    proximity_score: int
    time_score: int
    gamma_score: int


class PinRisk(Live):
    """Pin score and its parts."""

    live_pin_risk: int = Field(ge=0, le=100)
    magnet_strike: float | None = Field(description="Strike of the largest |net GEX|. [$]")
    distance_to_magnet_pct: float | None = Field(description="Positive: above spot. [%]")
    time_to_close_hours: float = Field(ge=0.1)
    breakdown: Components


class GexStrike(BaseModel):
    """Gamma exposure of a strike."""

    strike: float
    call_gex: float
    put_gex: float
    net_gex: float
    call_oi: int = Field(description="Effective. [contracts]")
    put_oi: int = Field(description="Effective. [contracts]")
    call_volume: int
    put_volume: int
    call_oi_change: int | None = Field(description="Not known: null.")
    put_oi_change: int | None = Field(description="Not known: null.")


class Gex(Live):
    """Gamma exposure by strike, $ of delta per 1 % move."""

    live_net_gex: float
    live_net_gex_label: Literal["positive", "negative", "neutral"]
    live_gamma_flip: float | None
    gamma_flip_status: FlipStatus
    strikes: list[GexStrike]


class DexStrike(BaseModel):
    """Holders' delta at a strike. [$]"""

    strike: float
    call_dex: float
    put_dex: float
    net_dex: float


class Dex(Live):
    """Holders' delta by strike."""

    live_net_dex: float
    strikes: list[DexStrike]


class Summary(Live):
    """What flow has changed, in six figures."""

    flow_direction: Direction
    intraday_oi_delta: int
    contracts_with_flow: int
    contracts_total: int
    live_gex: float
    flow_gex_pct_shift: float | None = Field(description="A fraction of the settled figure.")


class Risk(BaseModel):
    """Settled and live exposures side by side."""

    settled_net_gex: float
    live_net_gex: float
    flow_gex_adjustment: float
    flow_gex_pct_shift: float | None = Field(description="A fraction of the settled figure.")
    settled_net_dex: float
    live_net_dex: float
    flow_dex_adjustment: float
    flow_dex_pct_shift: float | None = Field(description="A fraction of the settled figure.")
    total_abs_delta_contracts: int
    flow_direction: Direction
    description: str


class DealerRisk(Live, Risk):
    """Settled and live exposures side by side."""

    contracts_with_flow: int


class OpenInterest(BaseModel):
    """Open interest, in contracts."""

    official_oi: int = Field(description="This morning's.")
    simulated_oi: int = Field(description="`official_oi` + `intraday_oi_delta`.")
    intraday_oi_delta: int = Field(description="κ of the contracts that customers bought, net.")
    oi_delta_confidence: float = Field(description="κ. [0-1]")
    effective_oi: int = Field(description="Σ max(0, OI + κB), what the live book uses.")


class Oi(Live, OpenInterest):
    """Open interest: this morning's, with flow, and what the live book uses."""

    contracts_total: int
    contracts_with_flow: int


class Everything(Live, OpenInterest, LevelFigures):
    """Open interest, live exposures and levels, pin, dealers' risk."""

    contracts: int
    contracts_with_flow: int
    live_gex: float
    live_gex_delta: float = Field(description="Net DEX. [$]")
    live_pin_risk: int
    flow_adjusted_dealer_risk: Risk
