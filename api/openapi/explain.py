"""The explanation of one figure of one sample."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, Field

from api.openapi.envelope import Origin

Value = bool | int | float | str | list[Any] | dict[str, Any] | None


class Input(BaseModel):
    """A stored figure that enters the formula."""

    name: str
    value: Value = Field(description="Null where it is not known.")
    unit: str
    meaning: str


class Check(BaseModel):
    """The figure again, by arithmetic on stored figures."""

    expression: str
    value: float | None


class FlagMeaning(BaseModel):
    """A caveat of the sample in words."""

    flag: str
    meaning: str
    limits_this: bool = Field(description="Whether it says not to rely on this figure.")
    amounts: dict[str, float] | None = Field(description="What it means in numbers, if it has any.")


class Explanation(Origin):
    """What a figure is made of, and what it is not."""

    symbol: str
    expiration: date
    as_of: datetime
    figure: str = Field(description="Its name in the definitions' glossary.")
    strike: float | None = Field(description="Null for the figure of the whole chain. [$]")
    value: Value = Field(description="As it is stored; null where it is not known.")
    unit: str
    formula: str = Field(description="The formula, or what is meant.")
    positive_means: str | None = Field(description="Null where the sign says nothing.")
    definition: str = Field(description="Where this server defines it, as a relative address.")
    inputs: list[Input]
    strikes: list[dict[str, float | None]] = Field(
        description="The strikes with the largest parts of it; empty where it has no parts."
    )
    check: Check | None = Field(
        description="Null where the figure is no arithmetic on stored figures, or one is missing."
    )
    flag_meanings: list[FlagMeaning] = Field(description="Every flag of the sample in words.")
    is_not: list[str] = Field(description="Readings that the figure does not allow.")
    steps: str = Field(description="The command that derives the sample from its stored chain.")
