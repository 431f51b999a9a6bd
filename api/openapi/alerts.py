"""Answers about alerts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import Stamp


class Delivery(BaseModel):
    """How far sending one message of an event to one target has got."""

    target: str = Field(description="Scheme and host of the target; never its URL.")
    state: Literal["began", "ended"] = Field(description="Which of the event's messages.")
    attempts: int
    failure: str | None = Field(description="Why the last attempt failed.")
    delivered_at: datetime | None
    given_up_at: datetime | None


class Alert(BaseModel):
    """One event of the log of alerts."""

    id: str = Field(description="The same in every message about it.")
    category: Literal["operational", "market"]
    kind: str = Field(examples=["no_rows"])
    symbols: list[str] = Field(description="Empty if it is about the whole product.")
    session: date
    slot: datetime | None = Field(description="The sample that shows it, of a market event.")
    message: str
    figures: dict[str, Any] = Field(description="What it is measured by.")
    began: datetime = Field(description="The market's time.")
    ended: datetime | None = Field(
        description="When it was over; null while it lasts, and for an event of one moment."
    )
    created_at: datetime = Field(description="When it was written, by the database's clock.")
    closed_at: datetime | None = Field(description="When its end was written.")
    node: str = Field(description="The machine that has noticed it.")
    sent: bool = Field(
        description="False if no process sends it from the log: it was noticed too late, or"
        " was sent by another way, as while the database was away."
    )
    deliveries: list[Delivery] | None = Field(
        description="Whom it was sent to; null for callers who may not know."
    )


class Alerts(Stamp):
    """A page of the log, the newest alert first."""

    as_of: datetime
    count: int
    cursor: int | None = Field(description="Send it back for the next page; null on the last.")
    alerts: list[Alert]


class RuleNumber(BaseModel):
    """A number that a rule may set."""

    name: str
    meaning: str
    default: float = Field(description="What it is where a rule leaves it out.")
    least: float
    most: float
    whole: bool = Field(description="Whether it is a whole number.")


class Rules(Stamp):
    """The rules of market events that are in force."""

    source: Literal["file", "built-in"]
    problem: str | None = Field(
        description="Why the file cannot be used; the rules of before are in force. Null if it can."
    )
    rules: list[dict[str, Any]] = Field(
        description="Each rule with every number; the documentation explains them."
    )
    kinds: dict[str, list[RuleNumber]] = Field(
        description="Each kind of rule with the numbers that it may set."
    )
