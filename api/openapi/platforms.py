"""What the reference says of the levels for charting programs and spreadsheets."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import Origin


class BasisFields(BaseModel):
    """How a price of the symbol becomes a price of the target."""

    kind: Literal["difference", "ratio"] | None
    amount: float | None = Field(description="What is added, or what is multiplied by.")
    from_: Literal["same", "sampled", "parity", "price", "basis", "ratio", "apart"] = Field(
        alias="from",
        description="Where it is from: the target is the symbol itself, both are sampled here, or"
        " the parameter of that name. `apart`: both are sampled, and not at the same time now."
        " `parity`: the target is a future of this index, by the forward of the options that expire"
        " when it settles.",
    )
    reason: str | None = Field(description="Why there is none; null where there is one.")
    settles: date | None = Field(
        description="By parity: the day on whose opening prices the future settles."
    )
    forward: float | None = Field(
        description="By parity: the forward of that day, as a price of the future."
    )
    scatter: float | None = Field(
        description="By parity: half the interquartile range of that forward's estimates by strike."
    )
    age_seconds: int | None = Field(
        description="By parity: how old the quotes behind it are, at most. [s]"
    )


class PlatformLevel(BaseModel):
    """One level."""

    key: str = Field(description="The stable name of the level.", examples=["call_wall"])
    name: str = Field(description="The same for people.")
    price: float | None = Field(
        description="In the target's prices, a multiple of `price_step`; null where the sample has"
        " no such level, or there is no basis."
    )
    level: float | None = Field(description="In the symbol's own prices, not rounded. [$]")
    doubts: list[str] = Field(description="Flags that say not to rely on this level.")


class PlatformLevels(Origin):
    """The levels of the newest sample, in the prices of one instrument."""

    symbol: str
    target: str = Field(description="The instrument whose prices these are.")
    expiry: date
    as_of: datetime = Field(description="The moment that the answer stands for.")
    market_open: bool
    simulated: bool = Field(description="True: no number here is of a real market.")
    age_seconds: int = Field(description="From the quotes to `as_of`. [s]")
    basis: BasisFields
    price_step: float = Field(description="The step of the target's prices.")
    levels: list[PlatformLevel] = Field(description="Every key, always in the same order.")
