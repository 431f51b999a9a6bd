"""From the lines of Massive's flat files to the frames of a session. Pure: rows in, frames out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import day_bounds
from sampler.sources.massive.conditions import massive_kinds
from sampler.sources.massive.flat_rows import FlatRows, contract_of
from sampler.sources.massive.parse import NAME
from sampler.sources.slot_table import Integers, SlotTable
from sampler.sources.trades import Prints, TradeTally
from storage.market.calendar import Session
from storage.market.instruments import CLOSING_ROOTS, instrument_of
from storage.record.row import Reason

#: Contracts of one expiry, at most; SPX has some 600.
MOST_CONTRACTS = 2048
#: Times within a day take so many bits. [ns]
_TIME_BITS = 47
_SECOND = 10**9


def prefixes_of(symbol: str, session: Session) -> list[str]:
    """How the tickers of the contracts begin that expire with a session.

    Parameters
    ----------
    symbol : the underlying.
    session : the session.

    Returns
    -------
    list of str
        One a root, such as ``O:SPXW260209``.
    """
    closing = CLOSING_ROOTS.get(symbol, symbol)
    roots = [closing, *sorted(instrument_of(symbol).am_roots - {closing})]
    names = ("".join(filter(str.isalnum, root)) for root in roots)
    return [f"O:{name}{session.day:%y%m%d}" for name in names]


class FlatSession:
    """One symbol's session. Trades are added before quotes: each waits for the quote before it."""

    def __init__(self, symbol: str, session: Session) -> None:
        """Begin without a contract.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.
        """
        self._symbol, self._session = symbol, session
        self._slots = np.array([round(s.timestamp()) * _SECOND for s in session.slots])
        _, midnight, _ = day_bounds(session.open)
        self._begin = round(midnight) * _SECOND
        #: By root, right and strike, in the order in which they came.
        self._contracts: dict[tuple[str, int, float], int] = {}
        self._known: dict[str, int] = {}
        #: When each contract was first quoted or traded. [unix ns]
        self._first = np.full(MOST_CONTRACTS, np.iinfo(np.int64).max)
        self._quotes = SlotTable(self._slots, MOST_CONTRACTS, "bid", "ask")
        self._trades: list[FlatRows] = []
        self._prints: Prints | None = None
        #: The key of each print, ascending: contract and time.
        self._keys: Integers = np.zeros(0, np.int64)
        #: When the newest quote before each print was made; -1 for none.
        self._quoted: Integers = np.zeros(0, np.int64)
        self._has_trades = self.has_quotes = False

    def add_trades(self, rows: FlatRows) -> None:
        """Add trades, in the order of their reports contract by contract.

        Parameters
        ----------
        rows : trades of the session's contracts, each once.
        """
        self._trades.append(rows)

    def trades_are_complete(self) -> None:
        """Say that all trades of the day have been added, be there any or none."""
        self._has_trades = True
        contract, moments_of_files, price, size, kind = [], [], [], [], []
        for rows in self._trades:
            which, place, moments = self._of_session(rows)
            contract.append(place)
            moments_of_files.append(moments)
            price.append(rows.numbers["price"][which])
            size.append(rows.numbers["size"][which])
            conditions, corrections = rows.texts["conditions"], rows.texts.get("correction")
            kinds = massive_kinds(conditions, corrections or [""] * len(conditions))
            kind.append(kinds[which])
        self._trades = []
        none = [np.zeros(0)]
        moment = np.concatenate(moments_of_files or none).astype(np.int64)
        contracts = np.concatenate(contract or none).astype(np.int64)
        sizes = np.concatenate(size or none)
        if np.isnan(sizes).any():
            raise ChainRefused(
                Reason.BAD_ANSWER, f"{self._symbol}: massive's trades have a line without a size"
            )
        # Reports keep their order within one nanosecond.
        order = np.lexsort((moment, contracts))
        n = len(order)
        self._keys = (contracts << _TIME_BITS | moment - self._begin)[order]
        self._quoted = np.full(n, -1, np.int64)
        self._prints = Prints(
            contract=contracts[order].astype(np.intp),
            at=moment[order] / _SECOND,
            price=np.concatenate(price or none)[order],
            size=sizes[order],
            bid=np.full(n, np.nan),
            ask=np.full(n, np.nan),
            kind=np.concatenate(kind or none).astype(np.int8)[order],
        )

    def add_quotes(self, rows: FlatRows) -> None:
        """Add quotes. No bid beside an ask is a bid of 0; no ask, or neither, is unknown.

        Parameters
        ----------
        rows : quotes of the session's contracts, in any order.
        """
        which, contract, moments = self._of_session(rows)
        if not len(moments):
            return
        self.has_quotes = True
        bid, ask = rows.numbers["bid_price"][which], rows.numbers["ask_price"][which]
        ask = np.where(ask > 0, ask, np.nan)
        bid = np.where((bid > 0) | ((bid == 0) & (ask > 0)), bid, np.nan)
        self._quotes.add(contract, moments, bid=bid, ask=ask)
        self._quote_prints(contract, moments, bid, ask)

    def frames(self) -> Iterator[Frame]:
        """Make the frame of each slot that has quotes of its own, in order.

        Yields
        ------
        Frame
            Its time is that of the newest quote.
        """
        session = self._session
        received, quotes = self._quotes.filled()
        tally = TradeTally(
            opens=session.open,
            closes=session.close,
            price_steps=instrument_of(self._symbol).price_steps,
            contracts=len(self._contracts),
        )
        prints, begin, ends = self._in_order()
        keys = list(self._contracts)
        root, right, strike = (np.array([key[i] for key in keys]) for i in range(3))
        unknown = np.full(len(keys), np.nan)
        for i, slot in enumerate(session.slots):
            if prints is not None:
                tally.add(prints.take(slice(begin, ends[i])))
                begin = ends[i]
            which = np.flatnonzero(self._first[: len(keys)] <= self._slots[i])
            newest = int(received[i].max())
            if not len(which) or newest < 0:
                continue
            quoted_at = datetime.fromtimestamp(newest // _SECOND, UTC) + timedelta(
                microseconds=newest % _SECOND // 1000
            )
            if not session.open <= quoted_at or session.slot_of(quoted_at) != slot:
                continue
            known = prints is not None
            columns: dict[str, Floats] = {
                "bid": quotes["bid"][i][: len(keys)],
                "ask": quotes["ask"][i][: len(keys)],
                "last": tally.last if known else unknown,
                "last_at": tally.last_at if known else unknown,
                "volume": tally.volume if known else unknown,
                "signed_volume": tally.signed_volume if known else unknown,
                "multi_leg_volume": tally.multi_leg_volume if known else unknown,
            }
            yield Frame.of(
                symbol=self._symbol,
                source=NAME,
                delay_seconds=0,
                quoted_at=quoted_at,
                fetched_at=quoted_at,
                spot=math.nan,
                columns={
                    "expiry": np.full(len(which), session.day, "datetime64[D]"),
                    "root": root[which],
                    "strike": strike[which],
                    "right": right[which],
                    # A copy: the tally goes on in its own arrays.
                    **{name: column[which] for name, column in columns.items()},
                },
            )

    def _of_session(self, rows: FlatRows) -> tuple[Integers, Integers, Integers]:
        """Which lines are of the session, with contract and time [ns] of each."""
        places = np.array([self._place(ticker) for ticker in rows.tickers] or [-1], np.int64)
        contract = places[rows.ticker]
        ours = (contract >= 0) & (rows.moment >= self._begin) & (rows.moment <= self._slots[-1])
        which = np.flatnonzero(ours)
        contract, moments = contract[which], rows.moment[which]
        np.minimum.at(self._first, contract, moments)
        return which, contract, moments

    def _place(self, ticker: str) -> int:
        """The index of a ticker's contract; -1 for none."""
        if ticker not in self._known:
            contract = contract_of(ticker)
            place = -1
            if contract is not None:
                place = self._contracts.setdefault(contract, len(self._contracts))
            if place >= MOST_CONTRACTS:
                raise ChainRefused(
                    Reason.BAD_ANSWER,
                    f"{self._symbol}: over {MOST_CONTRACTS:,} contracts expire on"
                    f" {self._session.day}",
                )
            self._known[ticker] = place
        return self._known[ticker]

    def _quote_prints(
        self, contract: Integers, moments: Integers, bid: Floats, ask: Floats
    ) -> None:
        """Give each print the newest quote before it, if that is newer than the one it has."""
        if self._prints is None or not len(self._keys):
            return
        keys = contract << _TIME_BITS | moments - self._begin
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        low = int(np.searchsorted(self._keys, keys[0], side="right"))
        high = int(np.searchsorted(self._keys, (int(keys[-1] >> _TIME_BITS) + 1) << _TIME_BITS))
        wanted = self._keys[low:high]
        # A quote of the print's own moment may be a reaction to it: only earlier ones count.
        place = np.searchsorted(keys, wanted, side="left") - 1
        some = place >= 0
        some[some] = keys[place[some]] >> _TIME_BITS == wanted[some] >> _TIME_BITS
        quote = order[place[some]]
        mine = low + np.flatnonzero(some)
        newer = moments[quote] >= self._quoted[mine]
        mine, quote = mine[newer], quote[newer]
        self._quoted[mine] = moments[quote]
        self._prints.bid[mine], self._prints.ask[mine] = bid[quote], ask[quote]

    def _in_order(self) -> tuple[Prints | None, int, Sequence[int]]:
        """The prints by time, from which on, and up to where those of each slot are."""
        if not self._has_trades or self._prints is None:
            return None, 0, []
        moment = (self._keys & ((1 << _TIME_BITS) - 1)) + self._begin
        order = np.argsort(moment, kind="stable")
        ends = np.searchsorted(moment[order], self._slots, side="right")
        return self._prints.take(order), 0, ends.tolist()


def day_of_file(name: str) -> date | None:
    """The day in a file's name, such as ``2026-02-09.csv.gz``.

    Parameters
    ----------
    name : the file's name.

    Returns
    -------
    date or None
        None where it has none.
    """
    match = re.search(r"\d{4}-\d\d-\d\d", name)
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None
