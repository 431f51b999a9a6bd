"""Fields that answers share: the server's stamp, what a sample rests on, what surrounds bars."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

BarSize = Literal["30s", "1m", "5m", "15m"]
FlipStatus = Literal["available", "no_boundary", "insufficient_local_coverage"]


class DataAsOf(BaseModel):
    """When each feed last delivered; null for one that the answer does not rest on."""

    node: str
    equity_feed: datetime | None
    equity_options_feed: datetime | None
    index_feed: datetime | None
    index_options_feed: datetime | None
    futures_feed: datetime | None
    futures_options_feed: datetime | None
    flow_feed: datetime | None
    oi_feed: datetime | None
    macro_feed: datetime | None


class Stamp(BaseModel):
    """Fields of every answer that is no error."""

    endpoint_version: str
    data_as_of: DataAsOf


class Interval(BaseModel):
    """A stretch of the window without samples."""

    from_: datetime = Field(alias="from", description="First missing slot.")
    to: datetime = Field(description="First slot that is not missing.")
    reason: str = Field(examples=["source_down", "stale", "not_running", "not_sampled", "spooled"])


class Hours(BaseModel):
    """When a session opens and closes."""

    open: datetime
    close: datetime


class Origin(Stamp):
    """What an answer about one sample rests on."""

    slot: datetime = Field(description="The sample's place on the 30 s grid.")
    newest: datetime = Field(description="When its quotes were made.")
    feed: str = Field(description="The feed that the sample is of.", examples=["cboe"])
    source: str = Field(description="The same name as `feed`.", examples=["cboe"])
    delay_seconds: int = Field(description="How far the feed says it lies behind. [s]")
    flow_since: datetime = Field(description="The slot that flow counts from.")
    classified_share: float | None = Field(
        description="Part of the volume behind the flow whose side could be told. [0-1]"
    )
    definitions: str = Field(description="Version of the formulas.")
    oi_confidence: float = Field(
        description="κ: part of signed volume taken to have opened positions. [0-1]"
    )
    flags: list[str] = Field(
        description="Caveats of the sample, by name; the documentation explains each."
    )
    flag_amounts: dict[str, dict[str, float]] | None = Field(
        default=None,
        description=(
            "For each flag with numbers: how many contracts it means, their volume, the dollars"
            " that a correction added to hedge flow, and so on. Left out where no flag has any."
        ),
    )
    flag_figures: dict[str, list[str]] | None = Field(
        default=None,
        description=(
            "For each flag that limits figures: those not to rely on. Left out where no flag does."
        ),
    )


class Windowed(Stamp):
    """Fields that surround the bars of a window."""

    symbol: str
    expiration: date = Field(description="The session's day in New York.")
    as_of: datetime = Field(description="The server's time.")
    bar_size: BarSize
    reason: (
        Literal[
            "no_zero_dte",
            "before_open",
            "holiday",
            "closed",
            "not_sampled",
            "spooled",
            "stale",
            "unknown_symbol",
        ]
        | None
    ) = Field(None, description="Why the window has no samples; only there when it has none.")
    as_known_at: datetime | None = Field(
        None,
        description="Only there while the database is away: up to when it is known what is stored."
        " Later slots are neither bars nor gaps.",
    )
    session: Hours | None = Field(description="Null on a day without a session.")
    gap_intervals: list[Interval] = Field(description="Stretches without samples in the window.")
    cursor: int = Field(
        description="Revision of the session's newest change; send it back as `since`."
    )
    feed: str | None = Field(
        description="The feed whose samples and gaps these are; null where nothing is stored.",
        examples=["cboe"],
    )
    source: str | None = Field(
        description="The same name as `feed`; null where the session has no sample.",
        examples=["cboe"],
    )
    delay_seconds: int | None = Field(description="How far the feed says it lies behind. [s]")
    newest: datetime | None = Field(description="Quote time of the session's newest sample.")
    flow_since: datetime | None = Field(description="The slot that hedge flow counts from.")
    classified_share: float | None = Field(
        description="Part of the volume behind the flow whose side could be told. [0-1]"
    )
    definitions: str = Field(description="Version of the formulas.")
    oi_confidence: float | None = Field(
        description="κ: part of signed volume taken to have opened positions. [0-1]"
    )
