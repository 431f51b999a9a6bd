"""What came of a step, how long each stage stage_ms, and its one canonical log line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from storage.record.row import Reason, SlotRecord

log = structlog.get_logger()

#: What happens on any good day.
_CALM = (None, Reason.UNCHANGED, Reason.NOT_OPEN, Reason.NO_ZERO_DTE)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a step. ``stored`` is False for a record that was there already."""

    symbol: str
    record: SlotRecord | None = None
    stored: bool = False
    #: Whether it waits for a database that is away.
    spooled: bool = False
    reason: Reason | None = None
    detail: str = ""
    #: Milliseconds by stage.
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The outcome in a word: a reason, or what became of the record."""
        if self.reason is not None:
            return str(self.reason)
        if self.detail:
            return "not_stored"
        if self.spooled:
            return "spooled"
        return "stored" if self.stored else "already_there"


class StageTimer:
    """Adds the milliseconds of its block to an outcome, also when the block raises."""

    def __init__(self, outcome: Outcome, stage: str) -> None:
        self._outcome, self._stage = outcome, stage

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._outcome.stage_ms[self._stage] = round((time.perf_counter() - self._since) * 1e3, 2)


def log_outcome(outcome: Outcome, now: datetime, target: datetime | None, *, quiet: bool) -> None:
    """Write the canonical line of a step; ``quiet`` leaves what went well to debug."""
    figures: dict[str, Any] = {"symbol": outcome.symbol, "target": target}
    if outcome.record is not None:
        row = outcome.record.row
        figures |= {
            "slot": row.slot,
            "source": row.source,
            "spot": row.spot,
            "net_gex": row.net_gex,
            "contracts": row.contracts,
            "dropped": row.dropped,
            "quotes_unused": row.quotes_unused,
            "flags": row.flags,
            "quote_age_seconds": round((now - row.quoted_at).total_seconds(), 1),
        }
    figures |= {"outcome": outcome.label, "detail": outcome.detail, "ms": outcome.stage_ms}
    if outcome.spooled:
        figures["spooled"] = True
    if outcome.label == "not_stored":
        log.error("tick", **figures)
    elif outcome.reason not in _CALM:
        log.warning("tick", **figures)
    elif quiet:
        log.debug("tick", **figures)
    else:
        log.info("tick", **figures)
