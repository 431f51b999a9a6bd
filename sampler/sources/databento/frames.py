"""From Databento's records to the frames of a session: what was known at each slot.

Pure: records in, frames out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.sources.databento.dbn import NO_COUNT, NO_PRICE
from sampler.sources.slot_table import Integers, SlotTable
from sampler.sources.trades import PrintKind, Prints, TradeTally
from storage.market.calendar import Session, new_york_time
from storage.market.instruments import instrument_of

#: The vendor's name, as rows and source URLs have it.
NAME = "databento"
#: Roots of an index are its own name, alone or with one of these behind it.
SUFFIXES = ("", "W", "P")
OPEN_INTEREST = 9
RIGHTS = {b"C": 1, b"P": -1}

#: A day of UTC. [ns]
_DAY = 86_400 * 10**9


@dataclass(frozen=True, slots=True, eq=False)
class OptionDefinitions:
    """The contracts of a symbol that expire on a day, as columns of one length."""

    #: Ascending. An identifier is the contract's on this day alone.
    instrument_id: Integers
    root: NDArray[np.str_]
    strike: Floats
    right: NDArray[np.int8]
    #: When each was first defined, unix time. [ns]
    defined_at: Integers


def todays_contracts(
    records: list[NDArray[Any]], symbol: str, session: Session
) -> OptionDefinitions:
    """Pick a symbol's expiring contracts from definitions.

    Parameters
    ----------
    records : runs of definitions.
    symbol : the underlying.
    session : the session; a contract's day of expiry stands in its definition as midnight UTC.
        Definitions of other days do not count: their identifiers mean other contracts.

    Returns
    -------
    OptionDefinitions
        Each contract once, as it was defined last.
    """
    day = (session.day - date(1970, 1, 1)).days
    index = instrument_of(symbol).index
    name = re.sub(r"[^A-Z0-9]", "", symbol)
    roots = {f"{name}{suffix}" for suffix in (SUFFIXES if index else ("",))}
    contracts: dict[int, tuple[str, float, int]] = {}
    defined_at: dict[int, int] = {}
    for run in records:
        for record in run[(run["expiration"] // _DAY == day) & (run["ts_recv"] // _DAY == day)]:
            right = RIGHTS.get(bytes(record["instrument_class"]), 0)
            root = record["raw_symbol"][:6].decode("ascii", "replace").strip()
            underlying = record["underlying"].decode("ascii", "replace").strip().lstrip("$")
            moment = int(record["ts_recv"])
            if right == 0 or not (root in roots or underlying in (symbol, name)):
                continue
            key, price = int(record["instrument_id"]), int(record["strike_price"])
            strike = price / 1e9 if price != NO_PRICE else math.nan
            contracts[key] = (root, strike, right)
            defined_at[key] = min(defined_at.get(key, moment), moment)
    keys = sorted(contracts)
    return OptionDefinitions(
        instrument_id=np.array(keys, np.int64),
        root=np.array([contracts[key][0] for key in keys], np.str_),
        strike=np.array([contracts[key][1] for key in keys], np.float64),
        right=np.array([contracts[key][2] for key in keys], np.int8),
        defined_at=np.array([defined_at[key] for key in keys], np.int64),
    )


class DatabentoSession:
    """One symbol's session, collected from records in any order of files."""

    def __init__(self, symbol: str, session: Session, contracts: OptionDefinitions) -> None:
        """Begin with the contracts.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.
        contracts : what expires in it.
        """
        self._symbol, self._session, self._contracts = symbol, session, contracts
        self._slots = np.array([round(s.timestamp()) * 1_000_000_000 for s in session.slots])
        # Identifiers are of one day of UTC, in which the overnight session before falls too.
        self._first = (session.day - date(1970, 1, 1)).days * _DAY
        width = len(contracts.instrument_id)
        self._quotes = SlotTable(self._slots, width, "bid", "ask", "last", "last_at")
        self._prints = SlotTable(self._slots, width, "last", "last_at")
        self._interest = SlotTable(self._slots, width, "open_interest")
        self._traded = np.zeros(len(self._slots) * width)
        #: Whether any quotes of the day were there to read.
        self.has_quotes = False
        #: The slots up to which all trades of the session are there to read.
        self._known_volume = np.zeros(len(self._slots), np.bool_)
        #: Trades with their quotes, and the slots up to which all of them are there.
        self._sides: list[NDArray[Any]] = []
        self._known_sides = self._known_volume

    def cover_trades(self, spans: Iterable[tuple[int, int]]) -> None:
        """Say which times the trades to come are of: volume is known as far as they reach.

        Parameters
        ----------
        spans : beginning and end of each file of trades, unix time. [ns]
        """
        self._known_volume = self._covered(spans)

    def cover_sides(self, spans: Iterable[tuple[int, int]]) -> None:
        """Say which times the trades with quotes are of: sides are known as far as they reach.

        Parameters
        ----------
        spans : beginning and end of each file, unix time [ns]. Where two overlap no side is known:
            a print in both cannot be told from two that are alike.
        """
        files = sorted(spans)
        if all(end <= begin for (_, end), (begin, _) in pairwise(files)):
            self._known_sides = self._covered(files)

    def only_ours(self, records: NDArray[Any]) -> NDArray[Any]:
        """The records of the session's contracts, from the day's beginning to the last slot.

        Parameters
        ----------
        records : records of any kind, of any contracts.

        Returns
        -------
        array
            Those that count.
        """
        return self._ours(records)[1]

    def add_quotes(self, records: NDArray[Any]) -> None:
        """Add consolidated quotes. A missing bid beside an ask is a bid of 0.

        Parameters
        ----------
        records : quotes of any contracts, in any order.
        """
        self.has_quotes = True
        contract, records = self._ours(records)
        bid, ask = _prices(records["bid"]), _prices(records["ask"])
        bid = np.where(np.isnan(bid) & (ask > 0), 0.0, bid)
        nothing = ~((bid > 0) | (ask > 0))
        self._quotes.add(
            contract,
            records["ts_recv"].astype(np.int64),
            bid=np.where(nothing, np.nan, bid),
            ask=np.where(nothing, np.nan, ask),
            last=_prices(records["price"]),
            last_at=_seconds(records["ts_event"]),
        )

    def add_trades(self, records: NDArray[Any]) -> None:
        """Add trades. A size that is unknown makes the volume unknown.

        Parameters
        ----------
        records : trades of any contracts, in any order, each once.
        """
        contract, records = self._ours(records[records["action"] == b"T"])
        received = records["ts_recv"].astype(np.int64)
        size = records["size"].astype(np.float64)
        size[size >= NO_COUNT] = np.nan
        cell = np.searchsorted(self._slots, received) * len(self._contracts.strike) + contract
        np.add.at(self._traded, cell, size)
        price = _prices(records["price"])
        known = price > 0
        self._prints.add(
            contract[known],
            received[known],
            last=price[known],
            last_at=_seconds(records["ts_event"])[known],
        )

    def add_sides(self, records: NDArray[Any]) -> None:
        """Add trades that bring the quote before them, to tell who started each.

        Parameters
        ----------
        records : trades with quotes, of any contracts, in any order.
        """
        self._sides.append(self._ours(records)[1])

    def add_statistics(self, records: NDArray[Any]) -> None:
        """Add open interest. Every exchange repeats it: one of them counts.

        Parameters
        ----------
        records : statistics of any kind and any contracts, in any order.
        """
        contract, records = self._ours(records[records["stat_type"] == OPEN_INTEREST])
        quantity = records["quantity"].astype(np.float64)
        known = (quantity >= 0) & (quantity < NO_COUNT)
        received = records["ts_recv"].astype(np.int64)
        self._interest.add(contract[known], received[known], open_interest=quantity[known])

    def frames(self) -> Iterator[Frame]:
        """Make the frame of each slot that has quotes of its own, in order.

        Yields
        ------
        Frame
            Its time is that of the newest quote.
        """
        contracts, session = self._contracts, self._session
        received, quotes = self._quotes.filled()
        _, interest = self._interest.filled()
        _, prints = self._prints.filled()
        known = self._known_volume[:, None]
        volume = np.where(known, np.cumsum(self._traded.reshape(received.shape), axis=0), np.nan)
        # Without trades a quote's own last sale serves.
        times = np.where(known, prints["last_at"], quotes["last_at"])
        today = times >= new_york_time(session.day, 0).timestamp()
        last = np.where(today, np.where(known, prints["last"], quotes["last"]), np.nan)
        last_at = np.where(today, times, np.nan)
        signed = self._signed()
        for i, slot in enumerate(session.slots):
            which = np.flatnonzero(contracts.defined_at <= self._slots[i])
            if not len(which) or (newest := int(received[i].max())) < 0:
                continue
            quoted_at = datetime.fromtimestamp(newest // 1_000_000_000, UTC) + timedelta(
                microseconds=newest % 1_000_000_000 // 1000
            )
            if not session.open <= quoted_at or session.slot_of(quoted_at) != slot:
                continue
            yield Frame.of(
                symbol=self._symbol,
                source=NAME,
                delay_seconds=0,
                quoted_at=quoted_at,
                fetched_at=quoted_at,
                spot=math.nan,
                columns={
                    "expiry": np.full(len(which), session.day, "datetime64[D]"),
                    "root": contracts.root[which],
                    "strike": contracts.strike[which],
                    "right": contracts.right[which],
                    "bid": quotes["bid"][i][which],
                    "ask": quotes["ask"][i][which],
                    "last": last[i][which],
                    "last_at": last_at[i][which],
                    "open_interest": interest["open_interest"][i][which],
                    "volume": volume[i][which],
                    "signed_volume": signed[i][which],
                },
            )

    def _covered(self, spans: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
        """The slots up to which files reach without a hole from the open on."""
        opened = round(self._session.open.timestamp()) * 1_000_000_000
        until = opened
        for begin, end in sorted(spans):
            if begin <= until:
                until = max(until, end)
        return (self._slots < until) & (until > opened)

    def _signed(self) -> Floats:
        """Contracts bought less sold by each slot: (slots, contracts), NaN where unknown."""
        width = len(self._contracts.strike)
        signed = np.full((len(self._slots), width), np.nan)
        if not self._known_sides.any():
            return signed
        tally = TradeTally(
            opens=self._session.open,
            closes=self._session.close,
            price_steps=instrument_of(self._symbol).price_steps,
            contracts=width,
        )
        if not self._sides:
            signed[self._known_sides] = 0.0
            return signed
        contract, records = self._ours(np.concatenate(self._sides))
        order = np.argsort(records["ts_recv"], kind="stable")
        contract, records = contract[order], records[order]
        prints = Prints(
            contract=contract.astype(np.intp),
            at=records["ts_event"] / 1e9,
            price=_prices(records["price"]),
            size=records["size"].astype(np.float64),
            bid=_prices(records["bid"]),
            ask=_prices(records["ask"]),
            kind=np.full(len(records), PrintKind.SIDED, np.int8),
        )
        ends = np.searchsorted(records["ts_recv"], self._slots.astype(np.uint64), side="right")
        begin = 0
        for i, end in enumerate(ends):
            tally.add(prints.take(slice(begin, end)))
            begin = end
            if self._known_sides[i]:
                signed[i] = tally.signed_volume
        return signed

    def _ours(self, records: NDArray[Any]) -> tuple[Integers, NDArray[Any]]:
        """The index of the contract of each record that counts, and these records."""
        ids, keys = self._contracts.instrument_id, records["instrument_id"].astype(np.int64)
        place = np.minimum(np.searchsorted(ids, keys), len(ids) - 1)
        received = records["ts_recv"]
        ours = (ids[place] == keys) & (received >= self._first) & (received <= self._slots[-1])
        return place[ours], records[ours]


def _prices(units: NDArray[Any]) -> Floats:
    """Dollars; NaN for what is no price."""
    # The unit is a billionth of a dollar. One division gives the number nearest to the price.
    return np.where((units >= 0) & (units != NO_PRICE), units / 1e9, np.nan)


def _seconds(nanoseconds: NDArray[Any]) -> Floats:
    """Unix seconds; NaN for what is no time."""
    return np.where(nanoseconds < 2**63, nanoseconds / 1e9, np.nan)
