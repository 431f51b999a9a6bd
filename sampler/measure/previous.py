"""The previous slot's evidence, brought onto the strikes of both chains.

The evidence of a record is all that the next slot knows of the session: every contract's volume,
quotes and signed volume so far. A contract that a feed leaves out for a while keeps its state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.measure.volume import COLUMNS, FLOW_SUMS, MOMENTS, empty_ledger
from storage.record.row import Row, SlotRecord

Floats = NDArray[np.float64]


class PreviousSlot:
    """The previous slot's state, brought onto the strikes of both chains."""

    def __init__(self, chain: Chain, previous: SlotRecord | None) -> None:
        self.row: Row | None = None
        self.notes: dict[str, Any] = {}
        self.strike = chain.strike
        self._columns: dict[str, NDArray[Any]] = {}
        #: Where the chain's strikes lie among all; None where they are all, as on most slots.
        self.here: NDArray[np.intp] | None = None
        self._there: NDArray[np.intp] | None = None
        if previous is None:
            return
        self.row = previous.row
        self._columns, self.notes = previous.state
        before = self._columns["strike"]
        if not np.array_equal(before, chain.strike):
            self.strike = np.union1d(chain.strike, before)
            self.here = np.searchsorted(self.strike, chain.strike)
            self._there = np.searchsorted(self.strike, before)

    def recall(self, name: str, fill: float = np.nan) -> Floats:
        """A column of the previous state, ``fill`` for contracts that it did not know."""
        if self.row is not None and self._there is None:
            return self._columns[name]
        wide = np.full((2, len(self.strike)), fill)
        if self.row is not None:
            wide[:, self._there] = self._columns[name]
        return wide

    def has(self, name: str) -> bool:
        """Whether the previous state has a column of that name."""
        return name in self._columns

    def sent_open_interest(self) -> Floats:
        """The open interest that the previous slot was sent, NaN where none was. (2, n)"""
        if self.row is None:
            return np.full((2, len(self.strike)), np.nan)
        listed = self.recall("listed", 0.0).astype(np.bool_)
        return np.where(listed, self.recall("open_interest"), np.nan)

    def ledger(self) -> dict[str, Floats]:
        """The ledger of volumes as the previous slot left it; empty on a baseline.

        A record of an older release has no ledger: its volumes are the marks, and no rise or
        dispute is known.
        """
        if self.row is None:
            return empty_ledger((2, len(self.strike)))
        quoted_at = self.row.quoted_at.timestamp()
        ledger = {}
        for name in COLUMNS:
            if name in self._columns:
                column = self.recall(name, 0.0 if name in FLOW_SUMS else np.nan)
                ledger[name] = quoted_at - column if name in MOMENTS else column
            elif name == "volume_read_at":
                ledger[name] = np.where(np.isnan(self.recall("volume")), np.nan, quoted_at)
            else:
                fill = 0.0 if name in FLOW_SUMS else np.nan
                ledger[name] = np.full((2, len(self.strike)), fill)
        return ledger

    def listed_before(self) -> NDArray[np.bool_]:
        """Contracts that an earlier slot listed with open interest or volume. (2, n)"""
        if self.row is None or "listed_before" not in self._columns:
            return np.zeros((2, len(self.strike)), np.bool_)
        return self.recall("listed_before", 0.0).astype(np.bool_)

    def widen(self, values: NDArray[Any], fill: Any = np.nan) -> NDArray[Any]:
        """A column of the chain, (n,) or (2, n), ``fill`` for what it does not list."""
        if self.here is None:
            return values
        wide = np.full((*values.shape[:-1], len(self.strike)), fill, values.dtype)
        wide[..., self.here] = values
        return wide

    def narrow(self, values: Floats) -> Floats:
        """The chain's part of a column of all strikes."""
        return values if self.here is None else values[:, self.here]
