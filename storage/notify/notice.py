"""An event that somebody should hear of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

#: The two categories of events: the product is unwell, or the market did something.
OPERATIONAL, MARKET = "operational", "market"
#: What an event of the log can be, with its category.
KINDS = {
    "no_sampler": OPERATIONAL,
    "no_rows": OPERATIONAL,
    "database_away": OPERATIONAL,
    "spooling": OPERATIONAL,
    "spool_grows": OPERATIONAL,
    "spool_filling": OPERATIONAL,
    "unit_failed": OPERATIONAL,
    "rules_broken": OPERATIONAL,
    "feed_late": OPERATIONAL,
    "takeover": OPERATIONAL,
    "coverage_short": OPERATIONAL,
    "disk_filling": OPERATIONAL,
    "key_ends": OPERATIONAL,
    "regime": MARKET,
    "flip_cross": MARKET,
    "wall": MARKET,
    "magnet": MARKET,
    "pin_score": MARKET,
    "hedge_flow": MARKET,
    "gap": MARKET,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that began, or that is over."""

    #: The kind of event, such as ``no_rows``.
    kind: str
    category: str = OPERATIONAL
    #: Symbols that it is about; empty if it is about the whole product.
    symbols: tuple[str, ...] = ()
    #: When it began, UTC.
    began: datetime
    #: When it was over, UTC; None while it lasts.
    ended: datetime | None = None
    #: False for an event of one moment: no message says later that it is over.
    lasting: bool = True
    #: One sentence that its reader understands without anything else.
    sentence: str
    #: Which dataset it is about, and which machine has noticed it.
    dataset: str = ""
    node: str = ""
    #: The session that it belongs to; None: that of the day on which it began.
    session: date | None = None
    #: The slot of the sample that shows it; None for an operational event.
    slot: datetime | None = None
    #: The numbers that led to the event, by name.
    figures: Mapping[str, Any] = field(default_factory=dict)
    #: What a market event is about. Events of one topic keep a quiet time between them.
    topic: str = ""
    quiet: timedelta = timedelta(0)
    #: The event's name where kind, symbols and beginning do not make it, as ``name_event`` does.
    name: str = ""

    @property
    def id(self) -> str:
        """The event's name: the same for every delivery, and for the message that it is over."""
        words = (self.kind, ",".join(self.symbols), self.began.isoformat(), self.dataset)
        return self.name or name_event(*words)

    def as_json(self) -> dict[str, Any]:
        """Return the values as JSON has them; times are ISO, UTC."""
        return {
            "id": self.id,
            "category": self.category,
            "kind": self.kind,
            "state": "ended" if self.ended else "began",
            "symbols": list(self.symbols),
            "began": self.began.isoformat(timespec="seconds"),
            "ended": self.ended and self.ended.isoformat(timespec="seconds"),
            "session": self.session and self.session.isoformat(),
            "slot": self.slot and self.slot.isoformat(timespec="seconds"),
            "message": self.sentence,
            "figures": dict(self.figures),
            "dataset": self.dataset,
            "node": self.node,
        }


def name_event(*words: str) -> str:
    """Make the name of an event from what makes it the same event wherever it is noticed.

    Parameters
    ----------
    words : such as its kind, its symbol and its session.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
