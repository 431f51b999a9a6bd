"""The scorecard, and the probabilities of a snapshot."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import Stamp

Agreement = Literal["says_nothing_yet", "agrees", "disagrees"]
Contrast = Literal["says_nothing_yet", "no_difference", "difference"]


class ForecastCounts(BaseModel):
    """What a figure is made of."""

    n: int = Field(description="Forecasts.")
    sessions: int


class HappenedRate(ForecastCounts):
    """How often it came true; the ends are of 95 %, as of so many sessions."""

    predicted_pct: float | None = Field(description="The mean probability.")
    happened_pct: float | None
    happened_low_pct: float | None
    happened_high_pct: float | None


class ProbabilityBin(HappenedRate):
    """Forecasts with a probability above `from_pct`, up to `to_pct`."""

    from_pct: int
    to_pct: int


class PinRecord(HappenedRate):
    """How the pin probability came out."""

    verdict: Agreement
    brier: float | None = Field(description="0 is perfect.")
    brier_low: float | None
    brier_high: float | None
    brier_of_base_rate: float | None = Field(
        description="What always predicting the overall rate would have scored."
    )
    brier_difference_se: float | None
    agreement_p_value: float | None = Field(
        description="How probable such a distance from the outcomes is for a calibrated forecast."
    )
    deciles: list[ProbabilityBin] = Field(description="Only those with a forecast.")


class RangeRecord(ForecastCounts):
    """How often the close lay within a range."""

    verdict: Agreement
    expected_pct: float
    within_pct: float | None
    within_low_pct: float | None
    within_high_pct: float | None


class LevelRate(ForecastCounts):
    """How often something happened at some levels."""

    rate_pct: float | None
    rate_low_pct: float | None
    rate_high_pct: float | None


class LevelContrast(BaseModel):
    """Walls beside levels as far away on the other side of spot."""

    verdict: Contrast
    walls: LevelRate
    other_levels: LevelRate
    difference_points: float | None
    difference_low_points: float | None
    difference_high_points: float | None


class WallRecord(ForecastCounts):
    """What became of the walls."""

    without_control: int = Field(description="Walls without a level to compare with.")
    touched: LevelContrast
    broken_once_touched: LevelContrast
    held: int
    broken: int


class Estimate(BaseModel):
    """After positive gamma, less after negative gamma."""

    value: float | None
    low: float | None
    high: float | None
    verdict: Contrast


class RegimeContrast(BaseModel):
    """The plain difference; and the one that ATM volatility and time of day leave."""

    raw: Estimate
    conditioned: Estimate


class SignedMedians(BaseModel):
    """Medians by the regime that was frozen."""

    positive_gamma: float | None
    negative_gamma: float | None


class RegimeRecord(ForecastCounts):
    """What followed each regime until the close."""

    positive_gamma: int
    negative_gamma: int
    realised_over_implied: SignedMedians
    volatility_difference_pct: RegimeContrast
    autocorrelation_difference: RegimeContrast


class FlowRecord(ForecastCounts):
    """The return after the hedge flow of half an hour."""

    verdict: Contrast
    same_sign_pct: float | None
    same_sign_low_pct: float | None
    same_sign_high_pct: float | None
    mean_bp: float | None = Field(description="Along the flow's sign.")
    mean_low_bp: float | None
    mean_high_bp: float | None
    correlation: float | None = Field(description="Of the flow's size with the return.")
    correlation_low: float | None
    correlation_high: float | None


class FlowHorizons(BaseModel):
    """By how much later."""

    m5: FlowRecord = Field(alias="5m")
    m15: FlowRecord = Field(alias="15m")
    m30: FlowRecord = Field(alias="30m")


class KindRecord(ForecastCounts):
    """How the forecasts of one kind came out."""

    first: date | None
    last: date | None
    simulated: bool
    definitions: dict[str, int] = Field(description="Forecasts by version of the formulas.")
    closes: dict[str, int] = Field(description="Sessions by where their close comes from.")
    feeds: dict[str, int] = Field(description="Forecasts by the feed that they are made of.")
    missed: dict[str, int] = Field(
        default={}, description="Of frozen ones: set times without a forecast, by reason."
    )
    not_scored: int = Field(
        default=0, description="Of frozen ones: without a close yet, or written too late."
    )
    pin: PinRecord
    range_1sigma: RangeRecord
    range_2sigma: RangeRecord
    walls: WallRecord
    regime: RegimeRecord
    flow: FlowHorizons


class RecordKinds(BaseModel):
    """By kind; null for one that has nothing, or was not wanted."""

    frozen: KindRecord | None = Field(description="Fixed before the outcome was known.")
    backfilled: KindRecord | None = Field(description="Made afterwards from stored rows.")
    recorded: KindRecord | None = Field(description="Made afterwards from recorded frames.")


class FrozenLine(BaseModel):
    """One forecast as it was frozen."""

    expiration: date
    freeze_time: datetime
    feed: str
    content: str | None = Field(description="The exact text; JSON. Null if it was missed.")
    sha256: str | None = Field(description="Of `content` in UTF-8.")
    missed: str | None = Field(description="Why there is none.")
    frozen_at: datetime = Field(description="When it was fixed, by the market's clock.")
    written_at: datetime = Field(description="When the database got it, by the same clock.")
    stored_at: datetime = Field(description="The same by the database's own clock.")
    outcome: dict[str, Any] | None = Field(description="How it came out; null until it is scored.")


class Scorecard(Stamp):
    """How a symbol's forecasts came out."""

    symbol: str
    as_of: datetime
    dataset: str = Field(description="`synthetic` is a simulated market.")
    enough_sessions: int = Field(description="Below so many a verdict says nothing yet.")
    freeze_times: list[str] = Field(description="New York.", examples=[["10:00", "12:00"]])
    kinds: RecordKinds
    forecasts: list[FrozenLine] = Field(description="Of the newest day that has some.")


class ProbabilityScore(ForecastCounts):
    """The part of the scorecard that a probability is shown with."""

    verdict: Agreement
    predicted_pct: float | None = None
    happened_pct: float | None = None
    happened_low_pct: float | None = None
    happened_high_pct: float | None = None
    brier: float | None = None
    brier_of_base_rate: float | None = None
    expected_pct: float | None = None
    within_pct: float | None = None
    within_low_pct: float | None = None
    within_high_pct: float | None = None


class ScoredProbability(BaseModel):
    """A probability, only together with its score."""

    value: float | None = Field(description="0 to 1; null with a reason until there is a score.")
    reason: str | None
    calibration_method: str
    score: ProbabilityScore | None


class ScoredPin(ScoredProbability):
    """Of a close between the magnet's neighbouring strikes."""

    inputs_summary: str


class ScoredRange(ScoredProbability):
    """Of a close between two prices."""

    low: float | None
    high: float | None


class Probabilities(BaseModel):
    """What the sample says of the close."""

    pin: ScoredPin
    range_1sigma: ScoredRange
    range_2sigma: ScoredRange
