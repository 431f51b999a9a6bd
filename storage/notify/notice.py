"""An event that somebody should hear of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that began, or that is over."""

    #: What it is, such as ``no_rows``.
    kind: str
    #: Symbols that it is about; empty if it is about the whole product.
    symbols: tuple[str, ...] = ()
    #: When it began, UTC.
    began: datetime
    #: When it was over, UTC; None while it lasts.
    ended: datetime | None = None
    #: One sentence that its reader understands without anything else.
    sentence: str
    #: Which dataset it is about, and which machine has noticed it.
    dataset: str = ""
    node: str = ""

    @property
    def id(self) -> str:
        """The event's name: the same for every delivery, and for the message that it is over."""
        words = (self.kind, ",".join(self.symbols), self.began.isoformat(), self.dataset)
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the values as JSON has them; times are ISO, UTC."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": "ended" if self.ended else "began",
            "symbols": list(self.symbols),
            "began": self.began.isoformat(timespec="seconds"),
            "ended": self.ended and self.ended.isoformat(timespec="seconds"),
            "message": self.sentence,
            "dataset": self.dataset,
            "node": self.node,
        }
