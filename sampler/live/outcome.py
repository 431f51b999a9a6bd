"""The outcome of a step: its record or the reason for none, its timings, and its one log line.

A step is one attempt to sample one symbol for one slot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import structlog

from storage.record.row import Reason, SlotRecord

log = structlog.get_logger()

#: Outcomes of a day without trouble; any other reason is logged as a warning.
_CALM = (None, Reason.UNCHANGED, Reason.NOT_OPEN, Reason.NO_ZERO_DTE)


#: What becomes of a step's record, in a word; see ``Outcome.label``.
STORED_OUTCOMES = ("stored", "already_there", "spooled", "not_stored")
#: The stages of a step, in order.
STAGES = ("fetch", "select", "recall", "measure", "store", "publish")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The outcome of a step; the step fills it in stage by stage."""

    symbol: str
    record: SlotRecord | None = None
    #: Whether the record was stored. False if the slot had this row already.
    stored: bool = False
    #: Whether the record waits in the spool for a database that is away.
    spooled: bool = False
    #: Why the slot has no row.
    reason: Reason | None = None
    #: The reason in a sentence, or why a record could not be stored.
    detail: str = ""
    #: With the reason ``no_zero_dte``: the symbol's next listed expiry; None if none is listed.
    next_expiry: date | None = None
    #: Milliseconds that each stage took.
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The outcome in a word: the reason for a gap, or what became of the record."""
        if self.reason is not None:
            return str(self.reason)
        if self.detail:
            return "not_stored"
        if self.spooled:
            return "spooled"
        return "stored" if self.stored else "already_there"


class StageTimer:
    """Measures its block, and notes the milliseconds in an outcome, also when the block raises."""

    def __init__(self, outcome: Outcome, stage: str) -> None:
        self._outcome, self._stage = outcome, stage

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._outcome.stage_ms[self._stage] = round((time.perf_counter() - self._began) * 1e3, 2)


def log_outcome(outcome: Outcome, now: datetime, target: datetime | None, *, quiet: bool) -> None:
    """Log the line of a step.

    Parameters
    ----------
    outcome : the outcome of the step.
    now : the time of the clock when the step began.
    target : the slot that was due, if any.
    quiet : whether steps without trouble are logged at level debug instead of info.
    """
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
