"""Arrays of numbers as PostgreSQL sends them, without a Python object a number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

#: PostgreSQL's number of the type.
_FLOAT8_ARRAY = 1022
#: An element on the wire: its length, and an IEEE double.
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])
#: Dimensions, whether there are nulls, the elements' type; and of the one dimension size and start.
_HEAD, _DIMENSION = 12, 8


class FloatsLoader(Loader):
    """``double precision[]`` as a numpy array; ValueError for nulls and tables."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[np.float64]:
        """One value."""
        body = bytes(data)
        dimensions, nulls = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
        if not dimensions:
            return np.empty(0)
        if dimensions > 1 or nulls:
            raise ValueError("not a plain list of numbers")
        return np.frombuffer(body, _ELEMENT, offset=_HEAD + _DIMENSION)["value"].astype(np.float64)


def read_as_numpy(opened: AdaptContext) -> None:
    """Have a connection or cursor that reads binary give arrays as numpy's."""
    adapters: Any = opened.adapters
    adapters.register_loader(_FLOAT8_ARRAY, FloatsLoader)
