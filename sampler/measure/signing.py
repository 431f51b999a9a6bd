"""Who started the trades: one question to two kinds of source.

A delayed chain tells volume and the last trade: ``LastPrint``. A source that delivers trades has
signed each against its own quote (``flow.trade_signs``) and counts on: ``EachTrade``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from sampler.metrics.flow import Floats, Quote, aggressor_sign

#: Part of the volume whose side the last print tells rightly, on the simulated SPX day; see
#: docs/signing.md. 1/2 is a coin. [0-1]
LAST_PRINT_ACCURACY = 0.68


class Signer(Protocol):
    """Tells the side of what was traded between two samples."""

    #: The part of the volume whose side came out right when it was measured; None: not measured.
    #: [0-1]
    accuracy: ClassVar[float | None]

    def signs(self, added: Floats) -> Floats:
        """Return the part of each contract's new volume that customers bought, less what they sold.

        Parameters
        ----------
        added : volume since the previous slot. (2, n) [contracts]

        Returns
        -------
        ndarray
            Between −1 (all sold) and 1 (all bought); 0 where nothing traded or nothing is known.
            (2, n)
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LastPrint:
    """By the last print against the interpolated mid; arguments of ``flow.aggressor_sign``."""

    accuracy: ClassVar[float | None] = LAST_PRINT_ACCURACY

    #: The last trade. [$, unix s]
    last: Floats
    last_at: Floats
    #: Both quotes and when they stood. [$, unix s]
    before: Quote
    now: Quote
    before_at: float
    now_at: float
    #: The contract's price step. [$]
    tick: Floats
    #: What Black says at the new forward, for contracts without a print. [$]
    modelled: Floats
    #: Slots in which each contract's new volume traded, 1 or more. One print speaks for less of a
    #: longer time: its sign is worth 1/√n of what it is worth in one slot. (2, n)
    slots: Floats | float = 1.0

    def signs(self, added: Floats) -> Floats:
        """Return the sign of each contract's last print, less certain the more slots it stands for.

        Parameters
        ----------
        added : volume since the previous slot. (2, n) [contracts]

        Returns
        -------
        ndarray
            Sign divided by √slots, positive where customers bought. (2, n) [−1 to 1]
        """
        sign = aggressor_sign(
            added,
            self.last,
            self.last_at,
            before=self.before,
            now=self.now,
            before_at=self.before_at,
            now_at=self.now_at,
            tick=self.tick,
            modelled=self.modelled,
        )
        return sign / np.sqrt(self.slots)


@dataclass(frozen=True, slots=True, eq=False)
class EachTrade:
    """By a source's own signed volume; by another signer where that is unknown (NaN)."""

    accuracy: ClassVar[float | None] = None

    #: Contracts bought less sold since the session's open, at both samples.
    before: Floats
    now: Floats
    otherwise: Signer

    def signs(self, added: Floats) -> Floats:
        """Return the balance of each contract's trades, Δsigned/ΔV.

        Parameters
        ----------
        added : volume since the previous slot. (2, n) [contracts]

        Returns
        -------
        ndarray
            The balance, positive where customers bought more; where the feed has signed no trade,
            what the last print says. (2, n) [−1 to 1]
        """
        # The bounds hold against a feed whose volume and trades disagree; where nothing traded
        # there is nothing to divide by.
        bought = np.clip(self.now - self.before, -added, added)
        share = bought / np.where(added > 0, added, np.inf)
        return np.where(np.isnan(share), self.otherwise.signs(added), share)
