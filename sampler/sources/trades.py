"""What a feed's trades add up to, contract by contract: pure, and shared by every source of trades.

A print is signed against the quote that stood before it (``flow.trade_signs``). A leg of a spread
adds volume and no side: its price is part of a package, and says nothing about who started it. A
cancel takes back all that the print which it names has added.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sampler.chain import HIGHEST_COUNT, HIGHEST_PRICE, Floats, mask_outside
from sampler.metrics.flow import quote, trade_signs
from storage.market.instruments import COARSER_FROM

Indexes = NDArray[np.intp]

#: How many of the newest prints a cancel can name. An hour of SPX options has fewer.
KEPT_PRINTS = 1 << 16
_KEPT = np.dtype(
    [
        ("contract", np.int32),
        ("price", np.float64),
        ("size", np.float64),
        ("signed", np.float64),
        ("at", np.float64),
        ("multi_leg", np.bool_),
        ("sets_last", np.bool_),
        ("counts", np.bool_),
    ]
)


class PrintKind(IntEnum):
    """What a print says, by the condition that its exchange gave it."""

    #: One leg, at its market's price: volume and a side.
    SIDED = 0
    #: A leg of a spread: volume and multi-leg volume, no side.
    MULTI_LEG = 1
    #: Reported late, or at a price that quotes of its moment say nothing about: volume, no side.
    UNSIDED = 2
    #: Takes back the newest print of its contract, price and size.
    CANCEL = 3
    #: Takes back the first one.
    CANCEL_FIRST = 4
    #: No trade of its own: a detail of an earlier report, a halt, a nominal price.
    IGNORED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prints:
    """Some prints in the order of their reports, as columns of one length n."""

    #: Index of its contract, 0 or more; -1 for one that is not counted.
    contract: Indexes
    #: When it traded. [unix s]
    at: Floats
    price: Floats
    #: Contracts.
    size: Floats
    #: The quote that stood before it, NaN where there was none. [$]
    bid: Floats
    ask: Floats
    #: ``PrintKind`` of each.
    kind: NDArray[np.int8]
    #: Who started it, where the feed says so: +1 a buyer, -1 a seller, NaN unknown. None: never.
    side: Floats | None = None

    def take(self, which: slice | NDArray[np.bool_] | Indexes) -> Prints:
        """Some of the prints, in their order.

        Parameters
        ----------
        which : a slice, a mask of shape (n,), or positions.

        Returns
        -------
        Prints
            These prints.
        """
        return Prints(
            contract=self.contract[which],
            at=self.at[which],
            price=self.price[which],
            size=self.size[which],
            bid=self.bid[which],
            ask=self.ask[which],
            kind=self.kind[which],
            side=None if self.side is None else self.side[which],
        )


class TradeTally:
    """The running totals of a session's trades. Columns have one entry a contract.

    Memory is bounded: the totals, and the newest ``KEPT_PRINTS`` prints for cancels. A print before
    the open adds volume and no side, since sides count from the open. One at the close or later is
    no part of the session. The order of the prints' times does not matter: each has its own quote.
    """

    def __init__(
        self,
        *,
        opens: datetime,
        closes: datetime,
        price_steps: tuple[float, float],
        contracts: int = 0,
    ) -> None:
        """Begin a session without a trade.

        Parameters
        ----------
        opens, closes : when the session's trading begins and ends.
        price_steps : the step of option prices below 3 $, and from 3 $ on. [$]
        contracts : how many are known so far; prints of further ones make the columns longer.
        """
        self._opens, self._closes = opens.timestamp(), closes.timestamp()
        self._steps = price_steps
        #: Contracts traded. [contracts]
        self.volume: Floats = np.zeros(0)
        #: Of these, bought less sold by who started the trade. [contracts]
        self.signed_volume: Floats = np.zeros(0)
        #: Of ``volume``, legs of spreads. [contracts]
        self.multi_leg_volume: Floats = np.zeros(0)
        #: The last trade that its exchange counts as such. [$, unix s]
        self.last: Floats = np.zeros(0)
        self.last_at: Floats = np.zeros(0)
        #: Prints that were taken back, that no kept print fits, and that came after the close.
        self.cancelled = self.unmatched = self.after_close = 0
        self._kept = np.zeros(KEPT_PRINTS, _KEPT)
        self._count = 0
        self._grow(contracts)

    def add(self, prints: Prints) -> None:
        """Count some more prints.

        Parameters
        ----------
        prints : in the order of their reports. One without a readable size adds nothing.
        """
        late = prints.at >= self._closes
        self.after_close += int(late.sum())
        readable = (prints.contract >= 0) & (prints.size > 0) & (prints.size <= HIGHEST_COUNT)
        prints = prints.take(readable & ~late & (prints.kind != PrintKind.IGNORED))
        if not len(prints.at):
            return
        self._grow(int(prints.contract.max()) + 1)
        begin = 0
        cancels = (prints.kind == PrintKind.CANCEL) | (prints.kind == PrintKind.CANCEL_FIRST)
        for index in np.flatnonzero(cancels).tolist():
            self._count_prints(prints.take(slice(begin, index)))
            self._take_back(prints.take(slice(index, index + 1)))
            begin = index + 1
        self._count_prints(prints.take(slice(begin, None)))

    def _grow(self, contracts: int) -> None:
        more = contracts - len(self.volume)
        if more > 0:
            for name in ("volume", "signed_volume", "multi_leg_volume"):
                setattr(self, name, np.append(getattr(self, name), np.zeros(more)))
            for name in ("last", "last_at"):
                setattr(self, name, np.append(getattr(self, name), np.full(more, np.nan)))

    def _count_prints(self, prints: Prints) -> None:
        for begin in range(0, len(prints.at), KEPT_PRINTS):
            self._count_some(prints.take(slice(begin, begin + KEPT_PRINTS)))

    def _count_some(self, prints: Prints) -> None:
        """Count no more prints than are kept."""
        n, contract = len(prints.at), prints.contract
        sided = (prints.kind == PrintKind.SIDED) & ~(prints.at < self._opens)
        signed = np.where(sided, self._signed(prints), 0.0)
        multi_leg = prints.kind == PrintKind.MULTI_LEG
        np.add.at(self.volume, contract, prints.size)
        np.add.at(self.signed_volume, contract, signed)
        np.add.at(self.multi_leg_volume, contract, np.where(multi_leg, prints.size, 0.0))
        price = mask_outside(prints.price, HIGHEST_PRICE)
        sets_last = (prints.kind != PrintKind.UNSIDED) & (price > 0)
        # The newest of a batch is the last in it: a later assignment to an index wins.
        newer = sets_last & ~(prints.at < self.last_at[contract])
        newest = np.flatnonzero(newer)[np.argsort(prints.at[newer], kind="stable")]
        self.last[contract[newest]] = price[newest]
        self.last_at[contract[newest]] = prints.at[newest]
        places = (self._count + np.arange(n)) % KEPT_PRINTS
        remembered = np.empty(n, _KEPT)
        remembered["contract"], remembered["price"], remembered["size"] = (
            contract,
            prints.price,
            prints.size,
        )
        remembered["signed"], remembered["at"], remembered["multi_leg"] = (
            signed,
            prints.at,
            multi_leg,
        )
        remembered["sets_last"], remembered["counts"] = sets_last, True
        self._kept[places] = remembered
        self._count += n

    def _signed(self, prints: Prints) -> Floats:
        """Contracts bought less sold in each print, by the feed's word or its own quote."""
        middle = quote(prints.bid[None], prints.ask[None])
        mid, half = middle.mid[0], middle.half[0]
        fine, coarse = self._steps
        tick = np.where(mid >= COARSER_FROM, coarse, fine)
        # Prices in binary miss the quote by 1e-15: a print on the ask counts whole.
        signed = np.round(trade_signs(prints.price, prints.size, mid, half, tick=tick), 9)
        if prints.side is None:
            return signed
        has_side = np.isfinite(prints.side)
        return np.where(has_side, np.clip(prints.side, -1.0, 1.0) * prints.size, signed)

    def _take_back(self, cancel: Prints) -> None:
        """Undo the print that a cancel names: one of its contract, price and size."""
        contract = int(cancel.contract[0])
        remembered = self._in_order()
        of_contract = (remembered["contract"] == contract) & remembered["counts"]
        fits = np.flatnonzero(
            of_contract
            & (remembered["price"] == cancel.price[0])
            & (remembered["size"] == cancel.size[0])
        )
        if not len(fits):
            self.unmatched += 1
            return
        place = int(fits[0 if cancel.kind[0] == PrintKind.CANCEL_FIRST else -1])
        wrong = remembered[place]
        of_contract[place] = False
        self.cancelled += 1
        self.volume[contract] -= wrong["size"]
        self.signed_volume[contract] -= wrong["signed"]
        self.multi_leg_volume[contract] -= wrong["size"] if wrong["multi_leg"] else 0.0
        self._kept["counts"][(self._first() + place) % KEPT_PRINTS] = False
        if wrong["sets_last"] and wrong["at"] == self.last_at[contract]:
            before = remembered[of_contract & remembered["sets_last"]]
            newest = before[np.argsort(before["at"], kind="stable")[-1:]]
            self.last[contract] = newest["price"][0] if len(newest) else np.nan
            self.last_at[contract] = newest["at"][0] if len(newest) else np.nan

    def _first(self) -> int:
        """Where the oldest kept print lies."""
        return self._count % KEPT_PRINTS if self._count > KEPT_PRINTS else 0

    def _in_order(self) -> NDArray[np.void]:
        """The kept prints, oldest first."""
        if self._count <= KEPT_PRINTS:
            return self._kept[: self._count]
        return np.roll(self._kept, -self._first())
