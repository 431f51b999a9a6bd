"""What a write has changed, and what of it the store refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.record.row import Change, Gap, SlotRecord


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record or a gap that was not written, and why."""

    item: SlotRecord | Gap
    #: A sentence for the log and for the gap that replaces the record.
    reason: str

    @property
    def symbol(self) -> str:
        """The symbol of the record or gap."""
        return self.item.row.symbol if isinstance(self.item, SlotRecord) else self.item.symbol

    @property
    def slot(self) -> datetime:
        """The slot of the record or gap."""
        return self.item.row.slot if isinstance(self.item, SlotRecord) else self.item.slot


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write has changed, and what of it the store refused."""

    #: One change a symbol, of the symbols in which anything changed.
    changes: tuple[Change, ...] = ()
    refused: tuple[Refusal, ...] = ()

    def of_symbols(self, symbols: set[str]) -> WriteResult:
        """Return the part of the result that is about some symbols.

        Parameters
        ----------
        symbols : the symbols.

        Returns
        -------
        WriteResult
            Their changes and refusals.
        """
        return WriteResult(
            tuple(change for change in self.changes if change.symbol in symbols),
            tuple(refusal for refusal in self.refused if refusal.symbol in symbols),
        )
