"""For each slot and contract the newest values by its time: what files of records add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats

Integers = NDArray[np.int64]


class SlotTable:
    """For each slot and contract the newest values that were received by the slot's time."""

    def __init__(self, slots: Integers, contracts: int, *names: str) -> None:
        """Make an empty table.

        Parameters
        ----------
        slots : unix times of the slots, ascending, of shape (m,). [ns]
        contracts : their number n.
        names : of the values.
        """
        self._slots, self._width = slots, contracts
        size = len(slots) * contracts
        #: When the values of a cell were received; -1 for an empty one. [ns]
        self._received = np.full(size, -1, np.int64)
        self._values = {name: np.full(size, np.nan) for name in names}

    def add(self, contract: Integers, received: Integers, **values: Floats) -> None:
        """Add records, in any order; of one cell the last received stays.

        Parameters
        ----------
        contract, received : index of the contract, and when the record was received [ns], of shape
            (k,). None is later than the last slot.
        **values : by name, of shape (k,).
        """
        cell = np.searchsorted(self._slots, received) * self._width + contract
        order = np.lexsort((received, cell))
        last = order[np.append(np.diff(cell[order]) != 0, True)] if len(order) else order
        last = last[received[last] >= self._received[cell[last]]]
        self._received[cell[last]] = received[last]
        for name, column in values.items():
            self._values[name][cell[last]] = column[last]

    def filled(self) -> tuple[Integers, dict[str, Floats]]:
        """Carry each value on until the next one.

        Returns
        -------
        tuple
            When the values were received [ns], -1 where there are none yet, and the values by
            name; each of shape (m, n).
        """
        shape = (len(self._slots), self._width)
        received = self._received.reshape(shape)
        rows = np.where(received >= 0, np.arange(len(self._slots))[:, None], 0)
        newest = np.maximum.accumulate(rows, axis=0)
        values = {
            name: np.take_along_axis(column.reshape(shape), newest, axis=0)
            for name, column in self._values.items()
        }
        return np.take_along_axis(received, newest, axis=0), values
