"""The previous slot's evidence, brought onto the strikes of both chains.

The evidence of a record is all that the next slot knows of the session: every contract's volume,
quotes and signed volume so far. A contract that a feed leaves out for a while keeps its state.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.measure.volume import (
    COLUMNS,
    FLOW_SUMS,
    KNOWN_COLUMNS,
    MOMENTS,
    OTHER,
    empty_ledger,
)
from storage.record.row import Row, SlotRecord

Floats = NDArray[np.float64]

#: Columns of a ledger without disputes.
_ORDINARY = tuple(name for name in COLUMNS if name not in OTHER)


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
        # To the byte: a sixth of the time of a comparison of numbers.
        if before.tobytes() != chain.strike.tobytes():
            self.strike = np.union1d(chain.strike, before)
            self.here = np.searchsorted(self.strike, chain.strike)
            self._there = np.searchsorted(self.strike, before)

    def recall(self, name: str, fill: float = np.nan) -> Floats:
        """Return a column of the previous slot's evidence, on the strikes of both chains.

        Parameters
        ----------
        name : the column.
        fill : the value of contracts that the previous slot did not know.

        Returns
        -------
        ndarray
            The column. (2, n) [its own unit]
        """
        if self.row is not None and self._there is None:
            return self._columns[name]
        wide = np.full((2, len(self.strike)), fill)
        if self.row is not None:
            wide[:, self._there] = self._columns[name]
        return wide

    def has(self, name: str) -> bool:
        """Say whether the previous slot's evidence has a column of that name.

        Parameters
        ----------
        name : the column.

        Returns
        -------
        bool
            True if it has; evidence of an earlier release may lack it.
        """
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
            elif name not in OTHER:
                fill = 0.0 if name in FLOW_SUMS else np.nan
                ledger[name] = np.full((2, len(self.strike)), fill)
        return ledger

    def ordinary_ledger(self) -> list[Floats] | None:
        """The ledger's columns as the evidence has them, in their order, without disputes.

        Returns
        -------
        list of ndarray or None
            Columns with moments as ages before the previous quotes [s]. (2, n) each. None on a
            baseline, with other strikes, in a dispute, and after an earlier release's slot.
        """
        columns = self._columns
        if self.row is None or self.here is not None or not columns.keys() >= KNOWN_COLUMNS:
            return None
        if OTHER[0] in columns:
            return None
        unknown = np.full((2, len(self.strike)), np.nan)
        return [*map(columns.get, _ORDINARY, itertools.repeat(unknown))]

    def listed_before(self) -> NDArray[np.bool_]:
        """Return which contracts an earlier slot of the session listed. (2, n)"""
        if self.row is None or "listed_before" not in self._columns:
            return np.zeros((2, len(self.strike)), np.bool_)
        return self.recall("listed_before", 0.0).astype(np.bool_, copy=False)

    def widen(self, values: NDArray[Any], fill: Any = np.nan) -> NDArray[Any]:
        """Bring a column of the chain onto the strikes of both chains.

        Parameters
        ----------
        values : the column, by strike of the chain. (m,) or (2, m)
        fill : the value of strikes that the chain does not list.

        Returns
        -------
        ndarray
            The column by strike of both chains. (n,) or (2, n)
        """
        if self.here is None:
            return values
        wide = np.full((*values.shape[:-1], len(self.strike)), fill, values.dtype)
        wide[..., self.here] = values
        return wide

    def narrow(self, values: Floats) -> Floats:
        """Bring a column on the strikes of both chains back onto the chain's own.

        Parameters
        ----------
        values : by strike of both chains. (2, n)

        Returns
        -------
        ndarray
            By strike of the chain. (2, m)
        """
        return values if self.here is None else values[:, self.here]
