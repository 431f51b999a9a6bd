"""The contract as strict types: what a typed client of another language would refuse.

Written from the interface's own description, not from ours: an integer is no ``82.0``, a field that
may not be null is not null, and none that is listed here is missing. More keys are welcome.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
Number = float
MaybeNumber = float | None
Score = Annotated[int, Field(ge=0, le=100)]
MaybeScore = Score | None
Text = Annotated[str, StringConstraints(min_length=1)]
FlipStatus = Literal["available", "no_boundary", "insufficient_local_coverage"]
Direction = Literal["no_flow", "neutral", "amplifying", "dampening", "regime_flip"]
BarSize = Literal["30s", "1m", "5m", "15m"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class DataAsOf(Strict):
    model_config = ConfigDict(strict=True, extra="forbid")
    node: Text
    equity_feed: Moment | None
    equity_options_feed: Moment | None
    index_feed: Moment | None
    index_options_feed: Moment | None
    futures_feed: Moment | None
    futures_options_feed: Moment | None
    flow_feed: Moment | None
    oi_feed: Moment | None
    macro_feed: Moment | None


class Success(Strict):
    endpoint_version: Text
    data_as_of: DataAsOf


class Interval(Strict):
    from_: Moment = Field(alias="from")
    to: Moment
    reason: Text


# Sections 1, 2, 4, 5: bars.


class SeriesBar(Strict):
    t: Moment
    spot: Number
    net_gex: Number
    net_dex: Number
    gamma_flip: MaybeNumber
    gamma_flip_status: FlipStatus
    call_wall: MaybeNumber
    put_wall: MaybeNumber
    magnet: MaybeNumber
    pin_score: Score
    pin_probability_pct: MaybeNumber
    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    atm_iv: MaybeNumber
    charm_dollars_per_hour: MaybeNumber
    hedge_flow_call_cumulative: Number
    hedge_flow_put_cumulative: Number
    hedge_flow_cumulative_all: Number


class Bars(Success):
    symbol: Text
    expiration: Day
    as_of: Moment
    bar_size: BarSize
    gap_intervals: list[Interval]


class Series(Bars):
    bars: list[SeriesBar]


class HedgeFlowBar(Strict):
    t: Moment
    bar: Number
    cumulative: Number


class HedgeFlow(Bars):
    side: Literal["all", "calls", "puts"]
    bars: list[HedgeFlowBar]


class HeldLevelsBar(Strict):
    t: Moment
    gamma_flip: MaybeNumber
    call_wall: MaybeNumber
    put_wall: MaybeNumber
    magnet: MaybeNumber
    sampled_at: Moment


class HeldLevels(Bars):
    lead_share: Number
    flip_leap_share: Number
    hold_seconds: int
    bars: list[HeldLevelsBar]


class PressureBar(Strict):
    t: Moment
    since: Moment | None
    bar: Number
    cumulative: Number
    hedge_flow_se: Number
    percentile: MaybeNumber
    sessions: int
    rate_per_minute: MaybeNumber
    rate_percentile: MaybeNumber
    rate_sessions: int
    classified_share: MaybeNumber
    multi_leg_share: MaybeNumber


class Pressure(Bars):
    bars: list[PressureBar]
    rate_minutes: int
    least_sessions: int
    compared_days: list[Day]


class HeatmapBar(Strict):
    t: Moment
    spot: Number
    values: list[Number]


class ByStrike(Bars):
    underlying_price: MaybeNumber
    tier_used: Literal["raw"]
    strikes_grid: list[Number]


class Heatmap(ByStrike):
    metric: Text
    mode: Literal["raw", "delta"]
    bars: list[HeatmapBar]


class StrikeFlowBar(Strict):
    t: Moment
    spot: Number
    signed_delta_dollars: list[Number]
    signed_gamma_dollars: list[Number]
    contracts: list[int]


class StrikeFlow(ByStrike):
    bars: list[StrikeFlowBar]


# Section 3: the snapshot and the exposure.


class Regime(Strict):
    label: Literal["positive_gamma", "negative_gamma", "unknown"]
    description: Text
    gamma_flip: MaybeNumber
    gamma_flip_status: FlipStatus
    spot_vs_flip: Literal["above", "below"]
    spot_to_flip_pct: MaybeNumber
    distance_to_flip_dollars: MaybeNumber
    distance_to_flip_sigmas: MaybeNumber
    flip_out_of_reach: bool | None
    crossings: list[dict[str, Any]]
    regime_confidence: MaybeNumber


class Exposures(Strict):
    net_gex: Number
    net_dex: Number
    net_vex: Number
    net_chex: Number
    pct_of_total_gex: MaybeNumber
    total_chain_net_gex: Number
    total_chain_covers: Literal["every_expiry", "today"]


class ExpectedMove(Strict):
    implied_1sd_dollars: Number
    implied_1sd_pct: Number
    remaining_1sd_dollars: Number
    remaining_1sd_pct: Number
    upper_bound: Number
    lower_bound: Number
    straddle_price: Number
    atm_iv: Number
    atm_iv_uncertainty: MaybeNumber


class Components(Strict):
    oi_score: Score
    proximity_score: Score
    time_score: Score
    gamma_score: Score


class PinRisk(Strict):
    magnet_strike: MaybeNumber
    magnet_gex: MaybeNumber
    distance_to_magnet_pct: MaybeNumber
    pin_score: Score
    components: Components
    max_pain: MaybeNumber
    oi_concentration_top3_pct: MaybeNumber
    description: Text


class Hedge(Strict):
    dealer_shares_to_trade: Number
    direction: Literal["buy", "sell"]
    notional_usd: Number


class Hedging(Strict):
    spot_up_10bp: Hedge
    spot_down_10bp: Hedge
    spot_up_25bp: Hedge
    spot_down_25bp: Hedge
    spot_up_half_pct: Hedge
    spot_down_half_pct: Hedge
    spot_up_1pct: Hedge
    spot_down_1pct: Hedge
    convexity_at_spot: MaybeNumber


class Decay(Strict):
    net_theta_dollars: Number
    theta_per_hour_remaining: MaybeNumber
    charm_regime: Text
    charm_description: Text
    gamma_acceleration: MaybeNumber
    description: Text


class VolContext(Strict):
    zero_dte_atm_iv: Number
    seven_dte_atm_iv: MaybeNumber
    iv_ratio_0dte_7dte: MaybeNumber
    vix: MaybeNumber
    skew_25d: MaybeNumber
    vanna_exposure: Number
    vanna_interpretation: Text
    description: Text


class Flow(Strict):
    total_volume: int
    call_volume: int
    put_volume: int
    net_call_minus_put_volume: int
    total_oi: int
    call_oi: int
    put_oi: int
    pc_ratio_volume: MaybeNumber
    pc_ratio_oi: MaybeNumber
    volume_to_oi_ratio: MaybeNumber
    atm_volume_share_pct: Number
    top3_strike_volume_pct: Number


class Levels(Strict):
    call_wall: Number
    call_wall_gex: Number
    call_wall_strength: Number
    distance_to_call_wall_pct: Number
    put_wall: Number
    put_wall_gex: Number
    put_wall_strength: Number
    distance_to_put_wall_pct: Number
    distance_to_magnet_dollars: Number
    highest_oi_strike: Number
    highest_oi_total: int
    max_positive_gamma: Number
    max_negative_gamma: Number
    level_cluster_score: Score


class Liquidity(Strict):
    atm_spread_pct: Number
    weighted_spread_pct: Number
    median_spread_pct: MaybeNumber
    execution_score: Score


class Metadata(Strict):
    snapshot_age_seconds: Number
    chain_contract_count: int
    data_quality_score: Score
    greek_smoothness_score: Score


class Strike(Strict):
    strike: Number
    distance_from_spot_pct: Number
    call_symbol: Annotated[str, StringConstraints(pattern=r"^[A-Z]+-\d{6}-C-[\d.]+$")]
    put_symbol: Annotated[str, StringConstraints(pattern=r"^[A-Z]+-\d{6}-P-[\d.]+$")]
    call_gex: Number
    put_gex: Number
    net_gex: Number
    call_dex: Number
    put_dex: Number
    net_dex: Number
    net_vex: Number
    net_chex: Number
    call_oi: int
    put_oi: int
    call_volume: int
    put_volume: int
    gex_share_pct: Number
    oi_share_pct: Number
    volume_share_pct: Number
    call_iv: MaybeNumber
    put_iv: MaybeNumber
    call_delta: MaybeNumber
    put_delta: MaybeNumber
    call_gamma: MaybeNumber
    put_gamma: MaybeNumber
    call_theta: MaybeNumber
    put_theta: MaybeNumber
    call_mid: MaybeNumber
    put_mid: MaybeNumber
    call_spread_pct: MaybeNumber
    put_spread_pct: MaybeNumber


class Exposure(Success):
    symbol: Text
    underlying_price: Number
    expiration: Day
    as_of: Moment
    market_open: bool
    time_to_close_hours: Number
    time_to_close_pct: Annotated[float, Field(ge=0, le=100)]
    regime: Regime
    exposures: Exposures
    expected_move: ExpectedMove
    pin_risk: PinRisk
    hedging: Hedging
    decay: Decay
    vol_context: VolContext
    flow: Flow
    levels: Levels
    liquidity: Liquidity
    metadata: Metadata
    strikes: list[Strike]


class FlowDirection(Strict):
    label: Direction
    settled_net_gex: Number
    live_net_gex: Number
    flow_gex_adjustment: Number
    flow_gex_pct_shift: MaybeNumber
    contracts_with_flow: int
    total_abs_delta_contracts: int
    description: Text


class ScoreOfProbability(Strict):
    n: int
    sessions: int
    verdict: Literal["says_nothing_yet", "agrees", "disagrees"]


class PinProbability(Strict):
    value: MaybeNumber
    reason: Text | None
    calibration_method: Text
    inputs_summary: Text
    score: ScoreOfProbability | None


class RangeProbability(Strict):
    value: MaybeNumber
    reason: Text | None
    calibration_method: Text
    low: MaybeNumber
    high: MaybeNumber
    score: ScoreOfProbability | None


class Probabilities(Strict):
    pin: PinProbability
    range_1sigma: RangeProbability
    range_2sigma: RangeProbability


class Snapshot(Exposure):
    flow_direction: FlowDirection
    probabilities: Probabilities


class NoZeroDte(Success):
    symbol: Text
    no_zero_dte: Literal[True]
    next_zero_dte_expiry: Day | None
    message: Text


class SessionClosed(Success):
    symbol: Text
    session_closed: Literal[True]
    last_session: Day
    message: Text


class ExposureNoZeroDte(NoZeroDte):
    underlying_price: MaybeNumber
    expiration: None
    as_of: Moment
    market_open: bool


# Section 6.


class Entry(Strict):
    rank: int
    symbol: Text
    value: Number


class Leaderboard(Success):
    metric: Literal["heat", "pin_risk", "abs_flow", "charm_intensity"]
    n: int
    as_of: Moment
    market_open: bool
    entries: list[Entry]


# Section 7.


class Live(Success):
    symbol: Text
    as_of: Moment
    underlying_price: Number
    expiry: Day


class LiveLevels(Live):
    live_gamma_flip: MaybeNumber
    gamma_flip_status: FlipStatus
    live_call_wall: MaybeNumber
    live_put_wall: MaybeNumber
    live_max_pain: MaybeNumber


class LivePinRisk(Live):
    live_pin_risk: Score
    magnet_strike: MaybeNumber
    distance_to_magnet_pct: MaybeNumber
    time_to_close_hours: Annotated[float, Field(ge=0.1)]
    breakdown: Components


class GexStrike(Strict):
    strike: Number
    call_gex: Number
    put_gex: Number
    net_gex: Number
    call_oi: int
    put_oi: int
    call_volume: int
    put_volume: int
    call_oi_change: int | None
    put_oi_change: int | None


class LiveGex(Live):
    live_net_gex: Number
    live_net_gex_label: Text
    live_gamma_flip: MaybeNumber
    gamma_flip_status: FlipStatus
    strikes: list[GexStrike]


class DexStrike(Strict):
    strike: Number
    call_dex: Number
    put_dex: Number
    net_dex: Number


class LiveDex(Live):
    live_net_dex: Number
    strikes: list[DexStrike]


class LiveSummary(Live):
    flow_direction: Direction
    intraday_oi_delta: int
    contracts_with_flow: int
    contracts_total: int
    live_gex: Number
    flow_gex_pct_shift: MaybeNumber


class DealerRisk(Strict):
    settled_net_gex: Number
    live_net_gex: Number
    flow_gex_adjustment: Number
    flow_gex_pct_shift: MaybeNumber
    settled_net_dex: Number
    live_net_dex: Number
    flow_dex_adjustment: Number
    flow_dex_pct_shift: MaybeNumber
    total_abs_delta_contracts: int
    flow_direction: Direction
    description: Text


class LiveDealerRisk(Live, DealerRisk):
    contracts_with_flow: int


class LiveOi(Live):
    official_oi: int
    simulated_oi: int
    intraday_oi_delta: int
    oi_delta_confidence: Number
    effective_oi: int
    contracts_total: int
    contracts_with_flow: int


class LiveBundle(Live):
    contracts: int
    contracts_with_flow: int
    official_oi: int
    simulated_oi: int
    intraday_oi_delta: int
    oi_delta_confidence: Number
    effective_oi: int
    live_gex: Number
    live_gex_delta: Number
    live_gamma_flip: MaybeNumber
    gamma_flip_status: FlipStatus
    live_call_wall: MaybeNumber
    live_put_wall: MaybeNumber
    live_max_pain: MaybeNumber
    live_pin_risk: Score
    flow_adjusted_dealer_risk: DealerRisk


# Section 8.


class StoredSession(Strict):
    date: Day
    rows: int
    gaps: int
    slots: int
    coverage_pct: Number
    cadence_seconds: MaybeNumber


class Projection(Success):
    symbol: Text
    expiration: Day
    slot: Moment | None
    underlying_price: MaybeNumber
    times: list[Moment]
    levels: list[Number]
    gamma: list[list[Number]]
    charm: list[list[Number]]
    flip: list[MaybeNumber]
    assumes: Text


class OpeningSample(Strict):
    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    net_gex: Number
    atm_iv: MaybeNumber
    remaining_1sd: MaybeNumber
    sampled_at: Moment


class Course(Strict):
    spot: list[MaybeNumber]
    net_gex: list[MaybeNumber]
    hedge_flow: list[MaybeNumber]
    atm_iv: list[MaybeNumber]


class SessionSummary(Strict):
    date: Day
    feed: Text
    session_open: Moment
    session_close: Moment
    rows: int
    coverage_pct: Number
    cadence_seconds: MaybeNumber
    complete: bool
    open: Number
    high: Number
    low: Number
    close: Number
    opening: OpeningSample
    course: Course


class History(Success):
    symbol: Text
    count: int
    course_seconds: int
    sessions: list[SessionSummary]


class Sessions(Success):
    symbol: Text
    count: int
    sessions: list[StoredSession]


class Symbols(Success):
    symbols: list[Text]
    indices: list[Text]
    count: int
    last_updated: Moment | None


class ExplainedInput(Strict):
    name: Text
    value: Any
    unit: Text
    meaning: Text


class ExplainedFlag(Strict):
    flag: Text
    meaning: Text
    limits_this: bool
    amounts: dict[str, Number] | None


class ExplainedCheck(Strict):
    expression: Text
    value: MaybeNumber


class Explanation(Success):
    symbol: Text
    expiration: Day
    as_of: Moment
    figure: Text
    strike: MaybeNumber
    value: Any
    unit: Text
    formula: Text
    positive_means: Text | None
    definition: Text
    inputs: list[ExplainedInput]
    strikes: list[dict[str, MaybeNumber]]
    check: ExplainedCheck | None
    flag_meanings: list[ExplainedFlag]
    is_not: list[Text]
    steps: Text
    slot: Moment
    flags: list[Text]


class RecordOfKind(Strict):
    n: int
    sessions: int
    simulated: bool
    pin: ScoreOfProbability
    range_1sigma: ScoreOfProbability
    range_2sigma: ScoreOfProbability
    walls: dict[str, Any]
    regime: dict[str, Any]
    flow: dict[str, dict[str, Any]]


class RecordByKind(Strict):
    frozen: RecordOfKind | None
    backfilled: RecordOfKind | None
    recorded: RecordOfKind | None


class FrozenText(Strict):
    expiration: Day
    freeze_time: Moment
    content: Text | None
    sha256: Text | None
    missed: Text | None


class Scorecard(Success):
    symbol: Text
    as_of: Moment
    dataset: Text
    enough_sessions: int
    freeze_times: list[Text]
    kinds: RecordByKind
    forecasts: list[FrozenText]


ZERO = "/v1/flow/zero-dte/"
#: Every route of a symbol, and the type of its answer.
ROUTES: dict[str, type[Success]] = {
    ZERO + "series/{}": Series,
    ZERO + "hedge-flow/{}": HedgeFlow,
    ZERO + "pressure/{}": Pressure,
    ZERO + "held-levels/{}": HeldLevels,
    ZERO + "snapshot/{}": Snapshot,
    "/v1/exposure/zero-dte/{}": Exposure,
    ZERO + "heatmap/{}": Heatmap,
    ZERO + "strike-flow/{}": StrikeFlow,
    ZERO + "sessions/{}": Sessions,
    "/v1/explain/{}": Explanation,
    "/v1/scorecard/{}": Scorecard,
    ZERO + "history/{}": History,
    ZERO + "projection/{}": Projection,
    "/v1/flow/levels/{}": LiveLevels,
    "/v1/flow/pin-risk/{}": LivePinRisk,
    "/v1/flow/gex/{}": LiveGex,
    "/v1/flow/dex/{}": LiveDex,
    "/v1/flow/summary/{}": LiveSummary,
    "/v1/flow/dealer-risk/{}": LiveDealerRisk,
    "/v1/flow/oi/{}": LiveOi,
    "/v1/flow/live/{}": LiveBundle,
}


def read(kind: type[BaseModel], text: str | bytes) -> Any:
    """An answer as a strict client reads it, and as plain JSON."""
    return kind.model_validate_json(text)
