"""Answers about the server and its caller: symbols, market hours, account, health."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.openapi.envelope import DataAsOf, Hours, Stamp
from storage.config.plans import PLANS


class Symbols(Stamp):
    """The symbols that were ever sampled."""

    symbols: list[str]
    indices: list[str] = Field(
        description="Those that are indexes: their levels are points, not dollars."
    )
    count: int
    last_updated: datetime | None
    dataset: Literal["live", "synthetic"]


class Session(Hours):
    """One trading day."""

    date: date


class Formulas(BaseModel):
    """How far a sampler on the server's machine is with compiling the formulas, once."""

    done: int = Field(description="Parts that are compiled.")
    total: int = Field(description="All parts.")
    seconds: int = Field(description="How long it has taken so far. [s]")
    expected_seconds: int = Field(description="How long all of it will take, as it looks now. [s]")


class Market(Stamp):
    """Whether the market is open, and its next hours."""

    state: Literal["open", "pre", "closed", "holiday"]
    session: Session = Field(description="The newest session that has opened.")
    next_open: datetime
    next_close: datetime
    server_time: datetime
    waiting: bool = Field(
        description="Whether a simulated market has not begun: `server_time` stands at its start."
    )
    formulas: Formulas | None = Field(
        description="Null if no sampler compiles, or it runs on another machine."
    )


class Account(BaseModel):
    """A caller's plan, and what is left of today's quota."""

    user_id: str = Field(description="The public part of the key; `local` on an open server.")
    email: str = Field(description="Empty where none is known.")
    plan: str = Field(json_schema_extra={"enum": list(PLANS)})
    daily_limit: str = Field(description="Requests a day, or `unlimited`.")
    usage_today: int = Field(description="Requests that were granted since 00:00 UTC.")
    remaining: str = Field(description="Requests that are left today, or `unlimited`.")
    resets_at: datetime = Field(description="The next 00:00 UTC.")
    endpoint_version: str
    data_as_of: DataAsOf


class Health(BaseModel):
    """The answer of a process that runs."""

    status: Literal["Healthy"]


class Ready(BaseModel):
    """Whether the database and the live channel can be reached, and whether rows come."""

    status: Literal["Ready", "Degraded", "Stale", "Unavailable"]
    database: Literal["ok", "away"]
    live_channel: Literal["ok", "away"]
    samples: Literal["ok", "late", "none due", "unknown"] = Field(
        description="Whether symbols that are sampled and due have rows; out of hours none is due."
    )
    reason: str | None = Field(description="Why the status is not `Ready`.")
    late: dict[str, float] = Field(
        description="Seconds of market time without a due row, by symbol; those above 60 s."
    )
