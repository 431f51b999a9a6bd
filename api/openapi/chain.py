"""The snapshot and the exposure: one moment of a chain."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import FlipStatus, Origin, Stamp
from api.openapi.scorecard import Probabilities
from api.openapi.siblings import Components, Direction
from api.openapi.strikes import Strike


class Crossing(BaseModel):
    """A level at which repriced net gamma changes its sign."""

    level: float = Field(description="[$]")
    distance_sigmas: float | None = Field(
        description="From spot, in standard deviations of what is left of the session."
    )


class Regime(BaseModel):
    """The sign of gamma at spot."""

    label: Literal["positive_gamma", "negative_gamma", "unknown"]
    description: str
    gamma_flip: float | None = Field(description="Where net gamma crosses zero. [$]")
    gamma_flip_status: FlipStatus
    spot_vs_flip: Literal["above", "below"]
    spot_to_flip_pct: float | None = Field(description="Positive: spot above the flip. [%]")
    distance_to_flip_dollars: float | None
    distance_to_flip_sigmas: float | None = Field(
        description="In standard deviations of what is left of the session."
    )
    flip_out_of_reach: bool | None = Field(
        description="Whether the flip lies more than four of these from spot."
    )
    crossings: list[Crossing] = Field(
        description="Every level within ±10 % of spot where net gamma crosses zero, ascending."
    )
    regime_confidence: float | None = Field(
        description=(
            "Probability that the live label is right, given κ and the dealer convention; null for"
            " the settled book. [0-1]"
        )
    )


class Exposures(BaseModel):
    """Net exposures of the book. [$]"""

    net_gex: float = Field(description="Per 1 % move; positive: dealers dampen moves.")
    net_dex: float = Field(description="Holders' delta.")
    net_vex: float = Field(description="Per vol point; positive: vol up, dealers sell.")
    net_chex: float = Field(
        description="What half of the time left makes dealers trade; positive: they buy."
    )
    pct_of_total_gex: float | None = Field(
        description="Today's part of every expiry's net GEX; null where that is not known. [%]"
    )
    total_chain_net_gex: float = Field(
        description="Settled net GEX of the expiries that `total_chain_covers` names."
    )
    total_chain_covers: Literal["every_expiry", "today"] = Field(
        description=(
            "`today` where the source brings today's expiry alone, or not yet all that it lists."
        )
    )
    net_gex_se: float | None = Field(
        description=(
            "Standard deviation of the live net_gex if each trade's side were a coin toss; null for"
            " the settled book."
        )
    )
    net_gex_se_measured: float | None = Field(
        description=(
            "Standard deviation of net_gex at the measured accuracy of trades' sides; null where"
            " that was not measured."
        )
    )
    gross_gex: float | None
    dealer_delta: float | None


class ExpectedMove(BaseModel):
    """One standard deviation of price, and of what is left of it."""

    implied_1sd_dollars: float = Field(description="Of a whole session. [$]")
    implied_1sd_pct: float
    remaining_1sd_dollars: float = Field(description="Of what is left of the session. [$]")
    remaining_1sd_pct: float
    upper_bound: float
    lower_bound: float
    straddle_price: float
    atm_iv: float = Field(description="[decimal]")
    atm_iv_uncertainty: float | None = Field(
        description="How uncertain the spreads of its quotes leave atm_iv. [decimal]"
    )


class PinBlock(BaseModel):
    """How strongly price is held at the magnet, or driven through it."""

    magnet_strike: float | None
    magnet_gex: float | None = Field(description="Negative: price is driven through it.")
    distance_to_magnet_pct: float | None = Field(description="Positive: above spot.")
    pin_score: int = Field(ge=0, le=100)
    components: Components
    max_pain: float | None
    oi_concentration_top3_pct: float | None = Field(description="Of the OI within ±1 % of spot.")
    description: str
    pin_probability_pct: float | None
    pin_probability_noise: float | None = Field(
        description="How uncertain the spreads of quotes leave the probability. [points of %]"
    )
    pin_lower: float | None
    pin_upper: float | None


class Hedge(BaseModel):
    """What dealers trade after a move of spot."""

    dealer_shares_to_trade: int = Field(description="Positive: buy.")
    direction: Literal["buy", "sell"]
    notional_usd: float = Field(description="Shares at spot, signed.")


class Hedges(BaseModel):
    """By move of spot, every contract repriced."""

    spot_up_10bp: Hedge
    spot_down_10bp: Hedge
    spot_up_25bp: Hedge
    spot_down_25bp: Hedge
    spot_up_half_pct: Hedge
    spot_down_half_pct: Hedge
    spot_up_1pct: Hedge
    spot_down_1pct: Hedge
    convexity_at_spot: float | None = Field(description="Σ q·Γ·M. [shares per $]")


class Decay(BaseModel):
    """Theta and charm: what the passing of time takes, and makes dealers trade."""

    net_theta_dollars: float | None = Field(description="Until the close; positive: book gains.")
    theta_per_hour_remaining: float | None
    charm_regime: Literal["time_decay_dealers_buy", "time_decay_dealers_sell", "neutral"]
    charm_description: str
    gamma_acceleration: float | None = Field(
        description="Gamma when half of the time left, at most an hour, has passed, over gamma now."
    )
    description: str
    charm_dollars_per_hour: float | None = Field(
        description=(
            "What time alone makes dealers trade within `charm_horizon_seconds`, in dollars, not"
            " scaled to an hour; positive: they buy. Null in the last minute."
        )
    )
    charm_horizon_seconds: float | None = Field(description="An hour, or half of what is left.")
    charm_curve: list[list[float]] | None = Field(
        description=(
            "Pairs of a spot level and the dollars that time alone leaves to trade until the close"
            " if spot stays there. Live book only; null for the settled one and in the last minute."
        )
    )


class VolContext(BaseModel):
    """Volatilities, in %."""

    zero_dte_atm_iv: float
    seven_dte_atm_iv: float | None = Field(
        description="Of the expiry nearest to 7 days away; null where the source brings none."
    )
    iv_ratio_0dte_7dte: float | None = Field(description="Of volatilities per session.")
    vix: float | None
    skew_25d: float | None = Field(description="25-delta put less call, in points.")
    vanna_exposure: float = Field(description="Positive: vol up, dealers sell. [$ per point]")
    vanna_interpretation: Literal["vol_up_dealers_sell", "vol_up_dealers_buy", "neutral"]
    description: str


class Flow(BaseModel):
    """Volume and open interest, in contracts."""

    total_volume: int
    call_volume: int
    put_volume: int
    net_call_minus_put_volume: int
    total_oi: int
    call_oi: int
    put_oi: int
    pc_ratio_volume: float | None
    pc_ratio_oi: float | None
    volume_to_oi_ratio: float | None
    atm_volume_share_pct: float = Field(description="Within ±0.5 % of spot.")
    top3_strike_volume_pct: float


class LevelBlock(BaseModel):
    """Walls, magnet and extremes by strike."""

    call_wall: float | None
    call_wall_gex: float | None
    call_wall_strength: float | None = Field(description="Part of the side's gamma. [0-1]")
    distance_to_call_wall_pct: float | None = Field(description="Positive: above spot.")
    put_wall: float | None
    put_wall_gex: float | None
    put_wall_strength: float | None = Field(description="Part of the side's gamma. [0-1]")
    distance_to_put_wall_pct: float | None = Field(description="Positive: above spot.")
    distance_to_magnet_dollars: float | None
    highest_oi_strike: float | None
    highest_oi_total: int | None
    max_positive_gamma: float | None
    max_negative_gamma: float | None
    level_cluster_score: int | None = Field(ge=0, le=100)


class Liquidity(BaseModel):
    """Spreads in % of mid."""

    atm_spread_pct: float
    weighted_spread_pct: float
    median_spread_pct: float | None = Field(description="Of two-sided quotes within ±2 % of spot.")
    execution_score: int = Field(ge=0, le=100)


class Metadata(BaseModel):
    """Age of the quotes, size and quality of the chain."""

    snapshot_age_seconds: float
    chain_contract_count: int
    data_quality_score: int = Field(ge=0, le=100)
    greek_smoothness_score: int = Field(ge=0, le=100)
    quoted_at: datetime
    fetched_at: datetime
    strikes: int
    strikes_with_iv: int
    dropped: dict[str, int]
    quotes_unused: dict[str, int]


class FlowDirection(BaseModel):
    """What flow has made of this morning's gamma."""

    label: Direction
    settled_net_gex: float
    live_net_gex: float
    flow_gex_adjustment: float
    flow_gex_pct_shift: float | None = Field(description="A fraction of the settled figure.")
    contracts_with_flow: int
    total_abs_delta_contracts: int
    description: str


class Exposure(Origin):
    """One moment of a symbol's expiring chain, on settled open interest."""

    symbol: str
    underlying_price: float
    expiration: date
    as_of: datetime = Field(description="The moment that the answer stands for.")
    market_open: bool
    time_to_close_hours: float = Field(description="From the time of the quotes. [h]")
    time_to_close_pct: float = Field(description="Of the session, elapsed. [0-100]")
    regime: Regime
    exposures: Exposures
    expected_move: ExpectedMove
    pin_risk: PinBlock
    hedging: Hedges
    decay: Decay
    vol_context: VolContext
    flow: Flow
    levels: LevelBlock
    liquidity: Liquidity
    metadata: Metadata
    strikes: list[Strike]
    warnings: list[str] = Field(default=[], description="Only in the last five minutes.")


class Snapshot(Exposure):
    """One moment of a symbol's expiring chain, on effective open interest."""

    flow_direction: FlowDirection
    probabilities: Probabilities


class NoZeroDte(Stamp):
    """Nothing of the symbol expires on the day."""

    symbol: str
    no_zero_dte: Literal[True]
    next_zero_dte_expiry: date | None
    message: str


class SessionClosed(Stamp):
    """There is no session to show."""

    symbol: str
    session_closed: Literal[True]
    last_session: date
    message: str
    reason: str
    last_stored_session: date | None


class Beside(BaseModel):
    """Fields that the exposure has beside those of the snapshot when there is no chain."""

    underlying_price: float | None = Field(description="The newest that is known.")
    expiration: date | None = Field(description="Always null: no chain is shown.")
    as_of: datetime
    market_open: bool


class ExposureNoZeroDte(NoZeroDte, Beside):
    """Nothing of the symbol expires on the day."""


class ExposureSessionClosed(SessionClosed, Beside):
    """There is no session to show."""
