"""Answers of bars, and of what is stored."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import Hours, Stamp, Windowed


class HedgeFlowBar(BaseModel):
    """Flow in a bucket, and so far."""

    t: datetime = Field(description="Start of the bucket.")
    bar: float = Field(description="Delta traded in the bucket; positive: dealers buy. [$]")
    cumulative: float = Field(description="The same since `flow_since`. [$]")
    sampled_at: datetime = Field(description="Slot of the bucket's last sample.")


class HedgeFlow(Windowed):
    """What customers' trades made dealers buy or sell."""

    side: Literal["all", "calls", "puts"]
    bars: list[HedgeFlowBar] = Field(description="Ascending by `t`.")


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

    metric: Literal["gex", "dex", "vex", "chex", "oi", "signed_flow"]
    mode: Literal["raw", "delta"]
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
    slots: int = Field(description="Slots that have had their time.")
    rows: int = Field(description="Slots with a sample.")
    gaps: int = Field(description="Slots without one.")
    coverage_pct: float = Field(description="Rows in slots. [%]")
    reasons: dict[str, int] = Field(description="Gaps by reason.")
    cadence_seconds: float | None = Field(
        description="Median time between samples; null below three. Hedge flow and the live book"
        " compare only between sessions of one cadence. [s]"
    )
    first: datetime | None = Field(description="First slot with a sample.")
    last: datetime | None = Field(description="Last slot with a sample.")
    source: str | None = Field(description="Source of the last sample.")


class Sessions(Stamp):
    """Stored days of a symbol, oldest first."""

    symbol: str
    count: int
    as_of: datetime
    sessions: list[StoredSession]
