"""Answers with a window of bars: the series and the documents; and what is stored."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import Hours, Stamp, Windowed


class Bar(BaseModel):
    """One bar: the last sample of its bucket."""

    t: datetime = Field(description="Start of the bucket; a 30 s bar's own slot.")
    spot: float = Field(description="Price of the underlying. [$]")
    net_gex: float = Field(description="$ of delta per 1 % move; positive: dealers dampen moves.")
    net_gex_se: float | None = Field(
        description="Standard deviation of `net_gex` if each trade's side were a coin toss. [$]"
    )
    net_gex_se_measured: float | None = Field(
        description=(
            "Standard deviation of `net_gex` at the measured accuracy of trades' sides; null"
            " where that was not measured. [$]"
        )
    )
    net_dex: float = Field(description="Holders' delta. [$]")
    gamma_flip: float | None = Field(description="Where the repriced net gamma crosses zero. [$]")
    gamma_flip_status: Literal["available", "no_boundary", "insufficient_local_coverage"]
    distance_to_flip_sigmas: float | None = Field(
        description="|flip − spot| over `remaining_1sd`. [standard deviations]"
    )
    flip_out_of_reach: bool | None = Field(
        description="Whether the flip lies more than four `remaining_1sd` from spot."
    )
    call_wall: float | None = Field(description="Strike of the largest call gamma exposure. [$]")
    put_wall: float | None = Field(description="Strike of the largest put gamma exposure. [$]")
    magnet: float | None = Field(description="Strike of the largest |net gamma exposure|. [$]")
    pin_score: int = Field(ge=0, le=100)
    pin_probability_pct: float | None = Field(
        description="Implied probability of settling between the magnet's neighbours. [%]"
    )
    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    regime_confidence: float | None = Field(
        description=(
            "Probability that the sign of `net_gex` is right, given κ and the dealer convention."
            " [0-1]"
        )
    )
    atm_iv: float | None = Field(description="At-the-money volatility. [decimal]")
    remaining_1sd: float | None = Field(
        description="One standard deviation of what is left of the session. [$]"
    )
    charm_dollars_per_hour: float | None = Field(
        description=(
            "What time alone makes dealers trade within `charm_horizon_seconds`, not scaled to an"
            " hour; positive: they buy. Null in the last minute. [$]"
        )
    )
    charm_horizon_seconds: float | None = Field(
        description="The time that charm looks ahead: an hour, or half of what is left. [s]"
    )
    hedge_flow_call_cumulative: float = Field(
        description="Hedge flow of calls since `flow_since`; positive: dealers buy. [$]"
    )
    hedge_flow_put_cumulative: float = Field(
        description="Hedge flow of puts since `flow_since`; positive: dealers buy. [$]"
    )
    hedge_flow_cumulative_all: float = Field(description="Calls + puts; positive: dealers buy. [$]")
    flags: list[str] = Field(
        description="Caveats of the sample, by name; the documentation explains each."
    )
    sampled_at: datetime = Field(description="Slot of the sample that the bar shows.")


class Series(Windowed):
    """A symbol's window of bars, and what the bars rest on."""

    bars: list[Bar] = Field(description="Ascending by `t`.")
    opening: Bar | None = Field(
        description="The session's first 30 s sample, the same for every bar size and window:"
        " changes since the open are measured from it. Null while the session has no sample."
    )


class Many(Stamp):
    """The windows of several symbols."""

    count: int
    cursor: str = Field(description="One number for each symbol; send it back as `since`.")
    series: list[Series] = Field(description="In the order of `symbols`.")


class HedgeFlowBar(BaseModel):
    """Hedge flow in a bucket, and since the baseline."""

    t: datetime = Field(description="Start of the bucket.")
    bar: float = Field(description="Delta traded in the bucket; positive: dealers buy. [$]")
    cumulative: float = Field(description="The same since `flow_since`. [$]")
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class HedgeFlow(Windowed):
    """What customers' trades made dealers buy or sell."""

    side: Literal["all", "calls", "puts"]
    bars: list[HedgeFlowBar] = Field(description="Ascending by `t`.")


class HeldLevelsBar(BaseModel):
    """Flip, walls and magnet of a bucket's last sample, as they are held."""

    t: datetime = Field(description="Start of the bucket.")
    gamma_flip: float | None = Field(description="[$]")
    call_wall: float | None = Field(description="[$]")
    put_wall: float | None = Field(description="[$]")
    magnet: float | None = Field(description="[$]")
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class HeldLevels(Windowed):
    """Flip, walls and magnet, each held until another level has led for a while."""

    lead_share: float = Field(
        description="Part by which the new strike's gamma must exceed the old one's, and by which"
        " spot must be nearer to a flip that has leapt than to the old one. [0-1]"
    )
    flip_leap_share: float = Field(
        description="A flip that moves by more than this part of itself is another one. [0-1]"
    )
    hold_seconds: int = Field(description="For how long, in every 30 s sample. [s]")
    bars: list[HeldLevelsBar] = Field(description="Ascending by `t`.")


class PressureBar(BaseModel):
    """Hedge flow in a bucket and so far, and where it stands among stored sessions."""

    t: datetime = Field(description="Start of the bucket.")
    since: datetime | None = Field(
        description="Slot of the sample that `bar` counts from: the last one of the bar before, or"
        " of an earlier one where samples are missing. Null in the session's first bar."
    )
    bar: float = Field(description="Delta traded since then; positive: dealers buy. [$]")
    cumulative: float = Field(description="The same since `flow_since`. [$]")
    hedge_flow_se: float = Field(
        description="Standard deviation of `cumulative` if each trade's side were a coin toss. [$]"
    )
    percentile: float | None = Field(
        description="Part of the compared sessions whose `cumulative` was below this one at the"
        " same time of day, and half of those that were equal; null with fewer than"
        " `least_sessions`. [%]"
    )
    sessions: int = Field(description="How many sessions that is of.")
    rate_per_minute: float | None = Field(
        description="Flow a minute over the last `rate_minutes`; positive: dealers buy. Null where"
        " no sample is ten to twenty minutes old. [$/min]"
    )
    rate_percentile: float | None = Field(description="The same of `rate_per_minute`. [%]")
    rate_sessions: int = Field(description="How many sessions that is of.")
    classified_share: float | None = Field(
        description="Part of the volume so far whose side is known. [0-1]"
    )
    multi_leg_share: float | None = Field(
        description="Part of the volume so far that traded as legs of spreads; null where the feed"
        " does not tell. [0-1]"
    )
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class Pressure(Windowed):
    """Hedge flow by bar, its rate, and both compared with stored sessions."""

    bars: list[PressureBar] = Field(description="Ascending by `t`.")
    rate_minutes: int = Field(description="What the rate looks back. [minutes]")
    cadence_seconds: float | None = Field(
        description="Median time between the session's samples; null below three. [s]"
    )
    compared_days: list[date] = Field(
        description="The stored sessions before this one that it is compared with: of the same"
        " feed, formulas and cadence, 60 at most."
    )
    least_sessions: int = Field(description="With fewer sessions there is no percentile.")


class ByStrike(Windowed):
    """Bars by strike; every array is aligned with the grid."""

    underlying_price: float | None = Field(description="At the newest bar. [$]")
    tier_used: Literal["raw"]
    strikes_grid: list[float] = Field(description="Ascending. [$]")


class HeatmapBar(BaseModel):
    """A metric by strike at the bucket's last sample."""

    t: datetime = Field(description="Start of the bucket.")
    spot: float = Field(description="[$]")
    values: list[float] = Field(description="By strike; 0 where the bar has no such strike.")
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class Heatmap(ByStrike):
    """A metric by strike and bar."""

    metric: Literal["gex", "dex", "vex", "chex", "oi", "signed_flow", "volume"]
    mode: Literal["raw", "delta", "since_open"]
    book: Literal["live", "settled"]
    bars: list[HeatmapBar] = Field(description="Ascending by `t`.")


class StrikeFlowBar(BaseModel):
    """What was added in a bucket, by strike."""

    t: datetime = Field(description="Start of the bucket.")
    spot: float = Field(description="[$]")
    signed_delta_dollars: list[float] = Field(description="Positive: dealers buy. [$]")
    signed_gamma_dollars: list[float] = Field(
        description="Positive: customers bought gamma. [$ per 1 %]"
    )
    contracts: list[int] = Field(description="Contracts traded.")
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class StrikeFlow(ByStrike):
    """Signed flow by strike and bar."""

    bars: list[StrikeFlowBar] = Field(description="Ascending by `t`.")


class Entry(BaseModel):
    """A ranked symbol."""

    rank: int
    symbol: str
    value: float
    expiration: date
    slot: datetime
    feed: str = Field(description="The feed that the sample is of.")


class Leaderboard(Stamp):
    """Symbols by one figure of their newest sample."""

    metric: Literal["heat", "pin_risk", "abs_flow", "charm_intensity"]
    n: int = Field(ge=1, le=100)
    as_of: datetime
    market_open: bool
    entries: list[Entry] = Field(description="Descending by `value`.")
    expiration: date | None = Field(description="The session that is ranked.")


class StoredSession(Hours):
    """A stored day and its coverage."""

    date: date
    slots: int = Field(description="Slots that have passed.")
    rows: int = Field(description="Slots with a sample.")
    gaps: int = Field(description="Slots without a sample.")
    coverage_pct: float = Field(description="Part of `slots` that has a sample. [%]")
    reasons: dict[str, int] = Field(description="Gaps by reason.")
    cadence_seconds: float | None = Field(
        description="Median time between samples; null below three. Hedge flow and the live book"
        " compare only between sessions of one cadence. [s]"
    )
    first: datetime | None = Field(description="First slot with a sample.")
    last: datetime | None = Field(description="Last slot with a sample.")
    feed: str | None = Field(description="The feed whose samples and gaps are counted here.")
    source: str | None = Field(
        description="The same name as `feed`; null where the session has no sample."
    )
    feeds: list[str] = Field(description="All feeds that have samples of the day.")
    first_feed: str | None = Field(
        description="The feed that a sampler was configured with; null where none ran. `feed` is"
        " another one where the first feed has no sample, or where the query names another."
    )


class Projection(Stamp):
    """Gamma and charm on a grid of spot and time until the close."""

    symbol: str
    expiration: date
    as_of: datetime
    reason: str | None = Field(
        default=None, description="Why there is none; left out where there is one."
    )
    slot: datetime | None = Field(
        description="The sample that it was computed with; null without a projection."
    )
    underlying_price: float | None = Field(description="Spot of that sample. [$]")
    remaining_1sd: float | None = Field(
        description="One standard deviation of what was left of the session then. [$]"
    )
    times: list[datetime] = Field(
        description="From the sample's quotes to five minutes before the last trade."
    )
    levels: list[float] = Field(
        description="Spot from three `remaining_1sd` below to three above, evenly spaced. [$]"
    )
    gamma: list[list[float]] = Field(
        description="By time and level: gamma exposure, the mean over the level's cell; positive:"
        " dealers dampen moves. [$ per 1 %]"
    )
    charm: list[list[float]] = Field(
        description="By time and level: what time alone makes dealers trade until then, if spot is"
        " at that level; positive: they buy. [$]"
    )
    flip: list[float | None] = Field(
        description="By time: where repriced net gamma crosses zero nearest to `underlying_price`;"
        " null where it does not, or strikes are too far apart to tell. [$]"
    )
    assumes: str = Field(description="What is held fixed.")
    newest: datetime | None = Field(description="When the sample's quotes were made.")
    feed: str | None
    source: str | None
    delay_seconds: int | None = Field(description="By how much the feed declares to be late. [s]")
    definitions: str | None
    oi_confidence: float | None = Field(
        description="Part of signed volume taken as new positions. [0-1]"
    )
    flags: list[str] = Field(description="Caveats of the sample, by name.")


class Opening(BaseModel):
    """A session's first sample."""

    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    net_gex: float = Field(description="$ of delta per 1 % move; positive: dealers dampen moves.")
    atm_iv: float | None = Field(description="At-the-money volatility. [decimal]")
    remaining_1sd: float | None = Field(
        description="One standard deviation of what was left of the session. [$]"
    )
    sampled_at: datetime = Field(description="Its slot.")


class Course(BaseModel):
    """The last sample of each quarter of an hour from the open, to six digits; null without one."""

    spot: list[float | None] = Field(description="[$]")
    net_gex: list[float | None] = Field(description="[$ per 1 %]")
    hedge_flow: list[float | None] = Field(
        description="`hedge_flow_cumulative_all`; positive: dealers bought. [$]"
    )
    atm_iv: list[float | None] = Field(description="[decimal]")


class SessionSummary(BaseModel):
    """A stored session in a few numbers."""

    date: date
    feed: str = Field(description="The feed whose samples these are.")
    session_open: datetime
    session_close: datetime
    rows: int = Field(description="Slots with a sample.")
    coverage_pct: float = Field(description="Part of the whole session's slots with a sample. [%]")
    cadence_seconds: float | None = Field(
        description="Median time between samples; null below three. [s]"
    )
    complete: bool = Field(
        description="Whether there is a sample in the first quarter of an hour and in the last one."
    )
    open: float = Field(description="Spot at the first sample. [$]")
    high: float = Field(description="Highest spot of a sample. [$]")
    low: float = Field(description="Lowest spot of a sample. [$]")
    close: float = Field(description="Spot at the newest sample. [$]")
    opening: Opening
    course: Course


class History(Stamp):
    """The newest stored sessions of a symbol, oldest first."""

    symbol: str
    count: int
    as_of: datetime
    course_seconds: int = Field(description="Time from one point of a course to the next. [s]")
    sessions: list[SessionSummary]


class Sessions(Stamp):
    """Stored days of a symbol, oldest first."""

    symbol: str
    count: int
    as_of: datetime
    sessions: list[StoredSession]
