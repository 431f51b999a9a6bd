"""The sides of a stream's trades, contract by contract, and where they are not known.

A frame tells a contract's signed volume only if no trade can have been missed since the frame
before: not across a cut, not before its subscription, and not where its volume has risen by much
more than the stream's trades. There the last print of the slot answers (``measure.signing``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats
from sampler.sources.trades import KEPT_PRINTS, Indexes, PrintKind, Prints, TradeTally
from storage.market.calendar import Session
from storage.market.instruments import instrument_of

#: A stream that begins no later than this behind the open has missed nothing that counts: sides
#: count from the open, and no earlier process can have counted any. [s]
LATE_START = 30.0
#: Of a contract's new volume the stream must have had this part. The chain and the stream are not
#: of the same instant, so not all of it. [0-1]
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamedPrints:
    """Some reports of trades in the order of their arrival, as columns of one length n."""

    contract: Indexes
    #: What a cancel or a correction names its print by, within its contract; None: by nothing.
    index: Sequence[int | None]
    #: Unix time of the trade. [s]
    moment: Floats
    price: Floats
    size: Floats
    bid: Floats
    ask: Floats
    #: +1 a buyer began it, -1 a seller, NaN unknown.
    side: Floats
    #: ``PrintKind`` of the report.
    kind: NDArray[np.int8]
    #: Whether the report takes back the print of its index.
    undoes: NDArray[np.bool_]
    #: Whether the report adds a trade; a correction takes one back and adds another.
    reports: NDArray[np.bool_]


class StreamedSides:
    """What the prints of one symbol's contracts add up to on one day."""

    def __init__(self, symbol: str, session: Session, *, by_price: bool = False) -> None:
        """Begin without a contract.

        Parameters
        ----------
        symbol : the underlying.
        session : the day's session.
        by_price : whether a cancel whose index names no print takes back the newest print of its
            contract, price and size; without it, such a cancel is ignored.
        """
        #: The running totals.
        self.tally = TradeTally(
            opens=session.open,
            closes=session.close,
            price_steps=instrument_of(symbol).price_steps,
        )
        self._open, self._by_price = session.open.timestamp(), by_price
        #: Contract and index of each of the newest prints → its price and size, oldest first.
        self._prints: OrderedDict[tuple[int, int | None], tuple[float, float]] = OrderedDict()
        #: By contract: whether its trades are streamed now, whether they ever were, and whether the
        #: stream may have missed some since the newest frame with its volume.
        self._streams = np.zeros(0, np.bool_)
        self._began = np.zeros(0, np.bool_)
        self._missed = np.zeros(0, np.bool_)
        #: Volume of the newest frame, and of the prints then. [contracts]
        self._volume: Floats = np.zeros(0)
        self._printed: Floats = np.zeros(0)

    def widen(self, contracts: int) -> None:
        """Know of more contracts; the trades of new ones do not come yet.

        Parameters
        ----------
        contracts : how many there are.
        """
        more = contracts - len(self._volume)
        if more > 0:
            no = np.zeros(more, np.bool_)
            self._streams, self._began = np.append(self._streams, no), np.append(self._began, no)
            self._missed = np.append(self._missed, ~no)
            self._volume = np.append(self._volume, np.full(more, np.nan))
            self._printed = np.append(self._printed, np.zeros(more))

    def begin(self, contracts: slice | Indexes, moment: float) -> None:
        """Note that some contracts' trades come from now on.

        Parameters
        ----------
        contracts : their indexes.
        moment : unix time. [s]
        """
        if moment <= self._open + LATE_START:
            self._missed[contracts] &= self._began[contracts]
        self._streams[contracts] = self._began[contracts] = True

    def cut(self) -> None:
        """Note that no trades come any more, until ``begin``."""
        self._missed |= self._streams
        self._streams[:] = False

    def add(self, prints: StreamedPrints) -> None:
        """Count some reports of trades, cancels and corrections.

        A report of a print that was reported before adds nothing. A cancel or correction of a print
        that is not among the newest ``KEPT_PRINTS`` is none of ours: nothing is undone or added.

        Parameters
        ----------
        prints : the reports.
        """
        rows: list[int] = []
        kinds: list[int] = []
        price, size = prints.price.tolist(), prints.size.tolist()
        undoes, reports = prints.undoes.tolist(), prints.reports.tolist()
        kind_of = prints.kind.tolist()
        #: Price and size of each counted row; a cancel has those of the print that it takes back.
        prices: list[float] = []
        sizes: list[float] = []
        for i, key in enumerate(zip(prints.contract.tolist(), prints.index, strict=True)):
            if undoes[i]:
                before = self._prints.pop(key, None)
                named = key[1] is not None and not (self._by_price and not reports[i])
                if before is None and (named or reports[i]):
                    self.tally.unmatched += 1
                    continue
                undone = before or (price[i], size[i])
                rows.append(i)
                kinds.append(PrintKind.CANCEL)
                prices.append(undone[0])
                sizes.append(undone[1])
            elif key in self._prints:
                continue
            if reports[i]:
                if key[1] is not None:
                    self._prints[key] = (price[i], size[i])
                rows.append(i)
                kinds.append(kind_of[i])
                prices.append(price[i])
                sizes.append(size[i])
        while len(self._prints) > KEPT_PRINTS:
            self._prints.popitem(last=False)
        if not rows:
            return
        which = np.array(rows, np.intp)
        self.tally.add(
            Prints(
                contract=prints.contract[which],
                at=prints.moment[which],
                price=np.array(prices),
                size=np.array(sizes),
                bid=prints.bid[which],
                ask=prints.ask[which],
                kind=np.array(kinds, np.int8),
                side=prints.side[which],
            )
        )

    def sample(self, volume: Floats) -> tuple[Floats, Floats]:
        """What the prints say when a frame is made; the next frame goes on from there.

        Parameters
        ----------
        volume : the day's volume as the frame has it, NaN where it is unknown. (n,) [contracts]

        Returns
        -------
        tuple of Floats
            Signed volume and multi-leg volume; NaN where a trade may have been missed. (n,)
            [contracts]
        """
        n, readable = len(volume), np.isfinite(volume)
        printed = self._wide(self.tally.volume, n)
        rise = np.where(np.isnan(self._volume), 0.0, volume - self._volume)
        few = (rise > 0) & (printed - self._printed < LEAST_SHARE * rise)
        unknown = self._missed | ~self._streams | few | ~readable
        # The measurement goes on from this frame where it knows the volume, and nowhere else.
        self._missed &= ~readable
        self._volume[readable], self._printed[readable] = volume[readable], printed[readable]
        signed, legs = self.tally.signed_volume, self.tally.multi_leg_volume
        return (
            np.where(unknown, math.nan, self._wide(signed, n)),
            np.where(unknown, math.nan, self._wide(legs, n)),
        )

    @staticmethod
    def _wide(column: Floats, n: int) -> Floats:
        """A total with a place for contracts that have not traded yet."""
        return np.append(column, np.zeros(n - len(column)))
