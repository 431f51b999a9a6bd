"""A chain assembled in memory from streamed events, and sampled as a frame when a slot is due.

One table a symbol and day: an entry a contract in each column, and no history of events but for the
newest prints, which cancels and corrections name. What is known of a contract's quote and volume
ends with the connection that brought it: until the next one has sent them, they are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from sampler.chain import MULTI_LEG_VOLUME, Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import day_bounds, moment_of
from sampler.sources.sides import StreamedPrints, StreamedSides
from sampler.sources.trades import Indexes, TradeTally
from storage.market.calendar import Session
from storage.record.row import Drop, Reason

#: A quote whose own time is ahead of its arrival by more than this has no usable time. [s]
AHEAD = 120.0
#: An answer with more contracts than this is refused: no expiry of one underlying has so many.
MOST_CONTRACTS = 8192
#: Numbers by contract, NaN where unknown.
NUMBERS = ("bid", "ask", "quote_at", "last", "last_at", "volume", "open_interest")


@dataclass(frozen=True, slots=True)
class StreamedContract:
    """What a listing says of a contract."""

    root: str
    expiry: date
    strike: float
    #: +1 call, -1 put.
    right: int


class ChainAssembler:
    """The newest state of one symbol's contracts that expire on one day."""

    def __init__(self, symbol: str, session: Session, *, source: str, delay_seconds: int) -> None:
        """Begin without a contract.

        Parameters
        ----------
        symbol : the underlying.
        session : the day's session.
        source : the source's name, as rows carry it.
        delay_seconds : how far the source declares its events to lie behind. [s]
        """
        self.symbol, self.session = symbol, session
        self._source, self._delay = source, delay_seconds
        #: The stream's name of each contract, in the order of the columns.
        self.names: list[str] = []
        self.adjusted = 0
        self._contracts: list[StreamedContract] = []
        self._columns = {name: np.zeros(0) for name in NUMBERS}
        #: Number of the connection that sent each contract's newest quote, and volume.
        self._quoted_by = np.zeros(0, np.int64)
        self._traded_by = np.zeros(0, np.int64)
        self._connection = 0
        self._spot: tuple[float, datetime | None] = (math.nan, None)
        self._spot_by = 0
        self._bounds = day_bounds(session.open)
        self._sides = StreamedSides(symbol, session)

    @property
    def tally(self) -> TradeTally:
        """The running totals of the prints."""
        return self._sides.tally

    def list_contracts(self, contracts: Mapping[str, StreamedContract], *, adjusted: int) -> int:
        """Add contracts that are not in the table yet.

        Parameters
        ----------
        contracts : by the stream's name.
        adjusted : contracts that the listing has and that were left out. [count]

        Returns
        -------
        int
            The index of the first new contract; the number of contracts where none is new.

        Raises
        ------
        ChainRefused
            ``bad_answer`` for more than ``MOST_CONTRACTS``.
        """
        self.adjusted = adjusted
        first, known = len(self.names), set(self.names)
        new = {name: contract for name, contract in contracts.items() if name not in known}
        if first + len(new) > MOST_CONTRACTS:
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{self.symbol}: {self._source} lists over {MOST_CONTRACTS:,} contracts of a day",
            )
        self.names += new
        self._contracts += new.values()
        unknown = np.full(len(new), np.nan)
        self._columns = {name: np.append(old, unknown) for name, old in self._columns.items()}
        never = np.zeros(len(new), np.int64)
        self._quoted_by = np.append(self._quoted_by, never)
        self._traded_by = np.append(self._traded_by, never)
        self._sides.widen(len(self.names))
        if self._connection:
            # Trades of a new contract from before it was subscribed to were not sent.
            self._sides.begin(slice(first, None), math.inf)
        return first

    def begin_connection(self, moment: float) -> None:
        """Note that another connection begins: nothing that was sent before is current.

        Open interest, which is of the morning, and the totals of the prints stay; the next frame
        does not tell the sides, since nobody knows what traded meanwhile.

        Parameters
        ----------
        moment : unix time. [s]
        """
        self._connection += 1
        self._sides.cut()
        self._sides.begin(slice(None), moment)

    @property
    def quoted(self) -> int:
        """How many contracts this connection has sent a quote of."""
        return int((self._quoted_by == self._connection).sum())

    def add_quotes(
        self, contract: Indexes, *, bid: Floats, ask: Floats, moment: Floats, arrived: float
    ) -> None:
        """Take some quotes, the last of each contract counts.

        Parameters
        ----------
        contract : index of the contract of each. (n,)
        bid, ask : prices, NaN where there is none. (n,) [$]
        moment : unix time of each quote; NaN or 0 where the stream does not say. (n,) [s]
        arrived : unix time of their arrival, which stands for a time that is not said. [s]
        """
        stated = (moment >= self._bounds[0]) & (moment <= arrived + AHEAD)
        self._columns["bid"][contract] = bid
        self._columns["ask"][contract] = ask
        self._columns["quote_at"][contract] = np.where(stated, moment, arrived)
        self._quoted_by[contract] = self._connection

    def add_trades(
        self, contract: Indexes, *, price: Floats, moment: Floats, volume: Floats
    ) -> None:
        """Take some states of the day's trading, the last of each contract counts.

        Parameters
        ----------
        contract : index of the contract of each. (n,)
        price : of the last trade. (n,) [$]
        moment : its unix time; 0 or NaN where the stream does not say. (n,) [s]
        volume : the day's volume. (n,) [contracts]
        """
        evening, midnight, end = self._bounds
        # A contract shows its last trade until the next one: of another day, it is no trade today.
        dated = moment >= 86_400
        self._columns["volume"][contract] = np.where(dated & (moment < evening), 0.0, volume)
        other_day = dated & ((moment < midnight) | (moment >= end))
        self._columns["last"][contract] = np.where(other_day, np.nan, price)
        self._columns["last_at"][contract] = np.where(dated & ~other_day, moment, np.nan)
        self._traded_by[contract] = self._connection

    def add_open_interest(self, contract: Indexes, value: Floats) -> None:
        """Take some contracts' open interest.

        Parameters
        ----------
        contract : index of the contract of each. (n,)
        value : open interest; one that is unknown changes nothing. (n,) [contracts]
        """
        known = value >= 0
        self._columns["open_interest"][contract[known]] = value[known]

    def add_underlying(self, price: float, moment: float) -> None:
        """Take the underlying's price.

        Parameters
        ----------
        price : the price. [$]
        moment : its unix time; 0 or NaN where the stream does not say. [s]
        """
        self._spot = (price if price > 0 else math.nan, moment_of(moment))
        self._spot_by = self._connection

    def add_prints(self, prints: StreamedPrints) -> None:
        """Count some reports of trades, cancels and corrections; see ``StreamedSides.add``.

        Parameters
        ----------
        prints : the reports.
        """
        self._sides.add(prints)

    def frame(self, now: datetime) -> Frame:
        """Sample the table.

        Parameters
        ----------
        now : the time, UTC.

        Returns
        -------
        Frame
            Every listed contract. Quotes and volumes that this connection has not sent are NaN; a
            contract that has a quote and never sent a trade has traded nothing.

        Raises
        ------
        ChainRefused
            ``source_down`` where this connection has sent no quote.
        """
        known = {name: column.copy() for name, column in self._columns.items()}
        quoted = self._quoted_by == self._connection
        traded = self._traded_by == self._connection
        for name in ("bid", "ask", "quote_at"):
            known[name][~quoted] = np.nan
        for name in ("last", "last_at", "volume"):
            known[name][~traded] = np.nan
        known["volume"][quoted & (self._traded_by == 0)] = 0.0
        quoted_at, bid, ask = known.pop("quote_at"), known["bid"], known["ask"]
        two_sided = (bid > 0) & (ask >= bid)
        times = quoted_at[two_sided] if two_sided.any() else quoted_at[quoted]
        if not len(times):
            raise ChainRefused(
                Reason.SOURCE_DOWN,
                f"{self.symbol}: {self._source} has sent no quote since it connected",
            )
        signed, legs = self._sides.sample(known["volume"])
        spot, spot_at = self._spot if self._spot_by == self._connection else (math.nan, None)
        columns = {
            "root": np.array([contract.root for contract in self._contracts]),
            "expiry": np.array([contract.expiry for contract in self._contracts], "datetime64[D]"),
            "strike": np.array([contract.strike for contract in self._contracts]),
            "right": np.array([contract.right for contract in self._contracts]),
            **known,
            "signed_volume": signed,
            MULTI_LEG_VOLUME: legs,
        }
        return Frame.of(
            symbol=self.symbol,
            source=self._source,
            delay_seconds=self._delay,
            quoted_at=datetime.fromtimestamp(float(times.max()), UTC),
            fetched_at=now,
            spot=spot,
            underlying_at=spot_at,
            columns=columns,
            dropped={str(Drop.ADJUSTED): self.adjusted} if self.adjusted else None,
        )
