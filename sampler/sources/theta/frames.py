"""From Theta's answers to frames: one of now, or a past session's one by one. Pure.

Theta has an answer for quotes, one for the day's bars, one for open interest and one for prints.
They are joined by contract. A contract that has not been quoted yet stands as 0 at 0 with sizes of
0, which is no quote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.theta.answers import NAME, Answer, Keys, contracts_of
from sampler.sources.theta.conditions import kinds_of
from sampler.sources.trades import Prints, TradeTally
from storage.market.calendar import Session, new_york_time
from storage.market.instruments import instrument_of
from storage.record.row import Drop, Reason

#: What is read of each answer.
QUOTE = ("timestamp", "bid_size", "bid", "ask_size", "ask")
BAR = ("timestamp", "close", "volume")
INTEREST = ("timestamp", "open_interest")
PRINT = ("trade_timestamp", "condition", "size", "price", "bid", "ask")
PRICE = ("timestamp", "price")
DAY_SECONDS = 86_400.0
#: The time of a row of a history may differ from its interval's grid by this much. [s]
GRID_ERROR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootAnswers:
    """What Theta has answered for one option root and expiry; None for an answer without data."""

    root: str
    quotes: Answer
    bars: Answer | None
    interest: Answer | None
    #: Whether a contract that is not among the bars has not traded; else its volume is unknown.
    bars_complete: bool = True


def join_live(
    answers: Sequence[RootAnswers],
    *,
    symbol: str,
    now: datetime,
    day: date,
    spot: tuple[float, float],
) -> Frame:
    """Join the answers of one moment to a frame.

    Parameters
    ----------
    answers : one a root that has contracts today; the first is the root that settles on the close.
    symbol : the underlying.
    now : when the answers were fetched, UTC.
    day : today in New York: rows of another day are no quotes, and count no volume.
    spot : the index's price [$] and its unix time [s]; NaN where Theta has none.

    Returns
    -------
    Frame
        Today's contracts. The quotes' time is the newest one's.

    Raises
    ------
    ChainRefused
        ``stale`` where nothing was quoted today.
    """
    begin = new_york_time(day, 0).timestamp()
    parts, newest, dropped = [], -np.inf, Counter[str]()
    for answer in answers:
        joined, quoted = _joined(answer, begin)
        parts.append(joined | {"root": np.full(len(joined["strike"]), answer.root)})
        newest = max(newest, quoted)
        dropped.update(answer.quotes.dropped)
        if twins := len(answer.quotes) - len(np.unique(answer.quotes.key)):
            dropped[str(Drop.DUPLICATE)] += twins
    if newest == -np.inf:
        raise ChainRefused(
            Reason.STALE, f"{symbol}: {NAME} has no quote of {day} for any contract that expires"
        )
    columns: dict[str, Any] = {
        name: np.concatenate([joined[name] for joined in parts]) for name in parts[0]
    }
    price, price_at = spot
    of_today = begin <= price_at < begin + DAY_SECONDS and price > 0
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=0,
        quoted_at=datetime.fromtimestamp(newest, UTC),
        fetched_at=now,
        spot=price if of_today else np.nan,
        underlying_at=datetime.fromtimestamp(price_at, UTC) if of_today else None,
        columns=columns | {"expiry": np.full(len(columns["strike"]), day, "datetime64[D]")},
        dropped=dict(dropped),
    )


def _joined(answer: RootAnswers, begin: float) -> tuple[dict[str, Any], float]:
    """A root's contracts as columns, and when the newest of them was quoted. [unix s]"""
    quotes, bars, interest = answer.quotes, answer.bars, answer.interest
    key = np.unique(np.concatenate([a.key for a in (quotes, bars, interest) if a is not None]))
    bid, ask, quoted_at = _quotes_of(quotes)
    current = (quoted_at >= begin) & (quoted_at < begin + DAY_SECONDS) & ~np.isnan(ask)
    columns = {name: np.full(len(key), np.nan) for name in ("bid", "ask", "last", "last_at")}
    # Of a contract that stands twice the row with the most life counts, and it is assigned last.
    life = np.lexsort((-ask, quoted_at, bid > 0, (ask > 0) & (ask >= bid)))
    rows = life[current[life]]
    place = np.searchsorted(key, quotes.key[rows])
    columns["bid"][place], columns["ask"][place] = bid[rows], ask[rows]
    volume = np.full(len(key), 0.0 if answer.bars_complete else np.nan)
    if bars is not None:
        bars = bars.take(np.argsort(np.nan_to_num(bars["volume"]), kind="stable"))
        # A bar of another day: the contract has not traded today.
        of_today = (bars["timestamp"] >= begin) & (bars["timestamp"] < begin + DAY_SECONDS)
        place = np.searchsorted(key, bars.key)
        unreadable = np.isnan(bars["timestamp"]) | np.isnan(bars["volume"])
        volume[place] = np.where(of_today, bars["volume"], np.where(unreadable, np.nan, 0.0))
        traded = of_today & (bars["volume"] > 0) & (bars["close"] > 0)
        columns["last"][place[traded]] = bars["close"][traded]
        columns["last_at"][place[traded]] = bars["timestamp"][traded]
    strike, right = contracts_of(key)
    columns |= {
        "strike": strike,
        "right": right,
        "volume": volume,
        "open_interest": open_interest_of(key, interest, begin),
    }
    return columns, float(quoted_at[current].max(initial=-np.inf))


def _quotes_of(quotes: Answer) -> tuple[Floats, Floats, Floats]:
    """Bid, ask and time of each row; bid and ask are NaN where nobody has quoted."""
    sizes = np.nan_to_num(quotes["bid_size"]) + np.nan_to_num(quotes["ask_size"])
    none = (quotes["bid"] == 0) & (quotes["ask"] == 0) & (sizes == 0)
    bid, ask = (np.where(none, np.nan, quotes[name]) for name in ("bid", "ask"))
    return bid, ask, quotes["timestamp"]


def has_report_of(interest: Answer, day: date) -> bool:
    """Whether an answer has the open interest of a day.

    Parameters
    ----------
    interest : Theta's answer.
    day : the day, New York.

    Returns
    -------
    bool
        False where all rows are of other days.
    """
    begin = new_york_time(day, 0).timestamp()
    moments = interest["timestamp"]
    return bool(((moments >= begin) & (moments < begin + DAY_SECONDS)).any())


def open_interest_of(key: Keys, interest: Answer | None, begin: float) -> Floats:
    """The open interest of contracts, as of the day's start.

    Parameters
    ----------
    key : the contracts. (n,)
    interest : Theta's answer; None where it has none.
    begin : midnight in New York, unix time: a report of another day is not the day's. [s]

    Returns
    -------
    Floats
        Contracts; 0 for one that is not in the day's report, NaN without such a report. (n,)
    """
    if interest is None:
        return np.full(len(key), np.nan)
    of_day = (interest["timestamp"] >= begin) & (interest["timestamp"] < begin + DAY_SECONDS)
    if not of_day.any():
        return np.full(len(key), np.nan)
    known = of_day & np.isin(interest.key, key)
    column = np.zeros(len(key))
    column[np.searchsorted(key, interest.key[known])] = interest["open_interest"][known]
    return column


class SessionHistory:
    """One root's past session on a grid of times: quotes at each, and what had traded by then."""

    def __init__(
        self,
        quotes: Answer,
        bars: Answer | None,
        interest: Answer | None,
        *,
        symbol: str,
        root: str,
        session: Session,
        interval: int,
    ) -> None:
        """Lay out a session.

        Parameters
        ----------
        quotes : a row of each contract at each time.
        bars, interest : the day's bars and open interest; None for an answer without data.
        symbol, root : the underlying, and the option root of the answers.
        session : the session.
        interval : seconds from one time to the next.

        Raises
        ------
        ChainRefused
            ``bad_answer`` where no quote lies on the grid.
        """
        self.symbol, self.root, self.session = symbol, root, session
        self.times = np.arange(session.open.timestamp(), session.close.timestamp(), interval)
        begin = new_york_time(session.day, 0).timestamp()
        self.dropped = dict(quotes.dropped)
        self.key = np.unique(quotes.key)
        shape = (len(self.times), len(self.key))
        bid, ask, quoted_at = _quotes_of(quotes)
        slot_index, on_grid = self._on_grid(quoted_at, interval)
        if len(quotes) and not on_grid.any():
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: {NAME} answered option/history/quote without a quote on the times"
                f" of {session.day}, every {interval} s",
            )
        #: The last time that has a quote: a session may still be on.
        self.last_index = int(slot_index[on_grid].max(initial=-1))
        place = np.searchsorted(self.key, quotes.key[on_grid])
        self._bid, self._ask = np.full(shape, np.nan), np.full(shape, np.nan)
        self._bid[slot_index[on_grid], place] = bid[on_grid]
        self._ask[slot_index[on_grid], place] = ask[on_grid]
        self._volume, self._last = np.zeros(shape), np.full(shape, np.nan)
        if bars is not None:
            self._lay_out_bars(bars, interval)
        self._interest = open_interest_of(self.key, interest, begin)
        self._tally = TradeTally(
            opens=session.open,
            closes=session.close,
            price_steps=instrument_of(symbol).price_steps,
            contracts=len(self.key),
        )
        #: Prints by time, of which the first ones are counted already.
        self._waiting: list[Prints] = []
        #: Whether prints are counted; without them nobody knows the sides.
        self.counts_prints = False

    def _on_grid(self, moments: Floats, interval: int) -> tuple[Any, Any]:
        """The grid index of each moment, and whether it has one."""
        steps = (moments - self.times[0]) / interval
        index = np.rint(np.where(np.isfinite(steps), steps, -1.0))
        near = np.abs(steps - index) * interval < GRID_ERROR
        return index.astype(np.intp), near & (index >= 0) & (index < len(self.times))

    def _lay_out_bars(self, bars: Answer, interval: int) -> None:
        """The day's volume and last price at each time, of the bars that had ended by then."""
        slot_index, on_grid = self._on_grid(bars["timestamp"], interval)
        known = on_grid & np.isin(bars.key, self.key) & (bars["volume"] > 0)
        # A bar's contracts have traded by the next time of the grid.
        known &= slot_index + 1 < len(self.times)
        slot_index, place = slot_index[known] + 1, np.searchsorted(self.key, bars.key[known])
        np.add.at(self._volume, (slot_index, place), bars["volume"][known])
        np.cumsum(self._volume, axis=0, out=self._volume)
        self._last[slot_index, place] = np.where(
            bars["close"][known] > 0, bars["close"][known], np.nan
        )
        row = np.where(np.isnan(self._last), 0, np.arange(len(self.times))[:, None])
        np.maximum.accumulate(row, axis=0, out=row)
        self._last = np.take_along_axis(self._last, row, axis=0)

    def add_prints(self, answer: Answer | None, *, before: float) -> None:
        """Add the prints of some time; they count to the frames after them.

        Parameters
        ----------
        answer : of ``option/history/trade_quote``; None where nothing was traded.
        before : unix time from which on prints are left out. [s]
        """
        self.counts_prints = True
        if answer is not None:
            place = np.searchsorted(self.key, answer.key)
            place = np.minimum(place, len(self.key) - 1)
            contract = np.where(self.key[place] == answer.key, place, -1)
            condition = np.nan_to_num(answer["condition"], nan=-1.0, posinf=-1.0, neginf=-1.0)
            prints = Prints(
                contract=contract,
                at=answer["trade_timestamp"],
                price=answer["price"],
                size=answer["size"],
                bid=answer["bid"],
                ask=answer["ask"],
                kind=kinds_of(np.clip(condition, -1, 1e6).astype(np.intp)),
            )
            # Nobody knows when a print without a readable time traded: it is not counted.
            timed = np.flatnonzero(prints.at < before)
            order = timed[np.argsort(prints.at[timed], kind="stable")]
            self._waiting.append(prints.take(order))

    def columns_at(self, index: int) -> dict[str, Any]:
        """A time's contracts as the columns of a frame. Times are asked for in order.

        Parameters
        ----------
        index : which of ``times``.

        Returns
        -------
        dict
            Columns of shape (n,), in the order of the contracts' keys.
        """
        strike, right = contracts_of(self.key)
        n = len(self.key)
        columns: dict[str, Any] = {
            "expiry": np.full(n, self.session.day, "datetime64[D]"),
            "root": np.full(n, self.root),
            "strike": strike,
            "right": right,
            "bid": self._bid[index],
            "ask": self._ask[index],
            "last": self._last[index],
            "volume": self._volume[index],
            "open_interest": self._interest,
        }
        if not self.counts_prints:
            return columns
        self._count_prints(before=self.times[index])
        tally = self._tally
        # A print that bars leave out, such as one of extended hours, must not hide the bars' last.
        known = np.isfinite(tally.last_at)
        return columns | {
            "last": np.where(known, tally.last, columns["last"]),
            "last_at": tally.last_at.copy(),
            "signed_volume": tally.signed_volume.copy(),
            "multi_leg_volume": tally.multi_leg_volume.copy(),
        }

    def _count_prints(self, *, before: float) -> None:
        """Count the prints that had traded before a time: what a bar that ended then has."""
        for index, prints in enumerate(self._waiting):
            due = int(np.searchsorted(prints.at, before))
            self._tally.add(prints.take(slice(0, due)))
            self._waiting[index] = prints.take(slice(due, None))
        self._waiting = [prints for prints in self._waiting if len(prints.at)]


def join_past(roots: Sequence[SessionHistory], index: int, *, spot: float) -> Frame:
    """A frame of a past session.

    Parameters
    ----------
    roots : one a root that had contracts of the day.
    index : which of their times; in order.
    spot : the index's price then, NaN where it is unknown. [$]

    Returns
    -------
    Frame
        The contracts, as if they had been fetched at that time.
    """
    first = roots[0]
    moment = datetime.fromtimestamp(first.times[index], UTC)
    parts = [root.columns_at(index) for root in roots]
    dropped = Counter[str]()
    for root in roots:
        dropped.update(root.dropped)
    times = len(first.times)
    return Frame.of(
        symbol=first.symbol,
        source=NAME,
        delay_seconds=0,
        quoted_at=moment,
        fetched_at=moment,
        spot=spot,
        underlying_at=moment if np.isfinite(spot) else None,
        columns={name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]},
        # Counted in rows, which a contract has one of at each time.
        dropped={why: -(-rows // times) for why, rows in dropped.items()},
    )
