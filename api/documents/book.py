"""A stored slot's dealer position, live or settled: its figures, arrays by strike, open interest.

The settled book is this morning's open interest. The live book is the settled one, moved by today's
signed volume. Every document reads figures of a position through a ``PositionBook``, so that no
document mixes figures of the two books.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from api.documents.rounding import Floats, Ints, nearest_ints
from storage.record.row import COLUMNS, Row, SlotRecord

_COLUMNS = frozenset(COLUMNS)
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PositionBook:
    """The live or the settled book of one slot; its arrays are by strike, ascending."""

    row: Row
    live: bool
    strike: Floats
    #: Call, put and both: $ of delta per 1 % move.
    call_gex: Floats
    put_gex: Floats
    net_gex: Floats
    call_dex: Floats
    put_dex: Floats
    net_dex: Floats
    vex: Floats
    chex: Floats
    #: Effective open interest when live, else settled, in whole contracts.
    call_oi: Ints
    put_oi: Ints
    #: The profile as it was stored.
    profile: dict[str, Floats]

    def figure(self, name: str) -> Any:
        """Return a headline figure, or one of those stored beside it.

        Parameters
        ----------
        name : the figure, as the row or its settled or detail figures have it.

        Returns
        -------
        Any
            The figure in its own unit; None if it was not stored.
        """
        if not self.live:
            return getattr(self.row.settled, name)
        return getattr(self.row, name) if name in _COLUMNS else getattr(self.row.detail, name)

    @property
    def oi(self) -> Ints:
        """Open interest of calls and puts together."""
        return self.call_oi + self.put_oi


def figure_or_zero(figure: Number | None) -> Number | Literal[0]:
    """Return a figure, or 0 where the row has none.

    Rows of an older release lack the figures that were added later. The answers' contract demands
    a plain number for the fields that are read through here, so they cannot be null. The row's
    ``definitions`` says which release computed it.

    Parameters
    ----------
    figure
        A stored figure in any unit; None if the row does not have it.

    Returns
    -------
    Number or 0
        The figure unchanged, or the integer 0.
    """
    return 0 if figure is None else figure


def read_book(record: SlotRecord, *, live: bool) -> PositionBook:
    """Read the live or the settled book of a stored slot.

    Parameters
    ----------
    record : the slot's record.
    live : the live book; else the settled one.

    Returns
    -------
    PositionBook
        The book.
    """
    profile, prefix = record.profile, "" if live else "settled_"

    def stored_array(name: str) -> Floats:
        return np.nan_to_num(profile[prefix + name])

    confidence = record.row.oi_confidence if live else 0.0
    call_gex, put_gex, call_dex, put_dex = map(
        stored_array, ("call_gex", "put_gex", "call_dex", "put_dex")
    )
    return PositionBook(
        row=record.row,
        live=live,
        strike=profile["strike"],
        call_gex=call_gex,
        put_gex=put_gex,
        net_gex=call_gex + put_gex,
        call_dex=call_dex,
        put_dex=put_dex,
        net_dex=call_dex + put_dex,
        vex=stored_array("vex"),
        chex=stored_array("chex"),
        call_oi=effective_oi(profile["call_oi"], profile["call_signed"], confidence),
        put_oi=effective_oi(profile["put_oi"], profile["put_signed"], confidence),
        profile=profile,
    )


def effective_oi(open_interest: Floats, signed: Floats, confidence: float) -> Ints:
    """Return the open interest of a book: max(0, OI + κB), in whole contracts.

    Parameters
    ----------
    open_interest : settled open interest. (n,) [contracts]
    signed : B, contracts that customers bought less those that they sold. (n,) [contracts]
    confidence : κ, the part of B taken to have opened positions; 0 for the settled book. [0-1]

    Returns
    -------
    Ints
        Effective open interest. (n,) [contracts]
    """
    return nearest_ints(np.maximum(open_interest + confidence * np.nan_to_num(signed), 0.0))
