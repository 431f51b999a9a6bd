"""The chains that expire after today, for vendors that answer one expiration at a time.

They are asked for beside the slots, some at a time, with what plan and pace leave over. A slot's
frame takes those that are known. None of them can cost a slot: what is missing is named in the
frame, and the figures that need it are unknown.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import structlog

from sampler.chain import QUOTES, Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.polling import Polling
from storage.market.calendar import market_day
from storage.record.row import Reason

log = structlog.get_logger()

#: A later expiration of an underlying: its day, and its root where roots are asked for apart.
LaterExpiry = tuple[date, str]
ListExpiries = Callable[[str, date, datetime], Awaitable[Sequence[LaterExpiry]]]
FetchExpiry = Callable[[str, LaterExpiry, datetime], Awaitable[Frame | None]]

#: Later expirations of a symbol that are asked for in a slot, at most; option ``expiries``.
DEFAULT, MOST = 4, 50
#: They are asked for so long after a slot's own chain has come. [s]
AFTER = 6.0
#: No request starts later than this after the first one. [s]
WITHIN = 15.0
#: Expirations within so many days are asked for again after the first time, others after the
#: second; what was refused after the third. [days, s]
NEAR_DAYS, NEAR_SECONDS, FAR_SECONDS, RETRY_SECONDS = 9, 300.0, 1200.0, 300.0
#: An answer counts for so long. [s]
COUNTS_SECONDS = 1800.0
#: A symbol that was not sampled for so long has no more requests. [s]
IDLE_SECONDS = 120.0
#: The expiration that figures name is the one nearest to seven days away: it comes first. [days]
WEEK = 7
#: One that is not known yet is needed as much as one this many periods old. So those of the next
#: days, which are known first, are kept up where there is no time for all.
UNKNOWN_OVERDUE = 4.0


@dataclass(slots=True)
class _SymbolState:
    """What is known of a symbol's later expirations on a day."""

    day: date
    #: When it was last sampled.
    sampled_at: datetime
    #: None until the vendor has listed them.
    listed: list[LaterExpiry] | None = None
    answers: dict[LaterExpiry, Frame] = field(default_factory=dict)
    #: When the listing (None) or an expiration was last refused.
    refused_at: dict[LaterExpiry | None, datetime] = field(default_factory=dict)
    reported: bool = False

    def drop(self, expiry: LaterExpiry) -> None:
        """Forget what is listed and has no contract: there is nothing to wait for."""
        self.listed = [other for other in self.listed or [] if other != expiry]


class LaterExpiries:
    """Keeps the later expirations of the symbols that are sampled."""

    def __init__(
        self,
        name: str,
        *,
        per_symbol: int,
        polling: Polling | None,
        list_expiries: ListExpiries,
        fetch_expiry: FetchExpiry,
    ) -> None:
        """Keep nothing yet.

        Parameters
        ----------
        name : the source's name, for the log.
        per_symbol : expirations of a symbol that are asked for in a slot, at most; 0: none ever.
        polling : what a slot costs, and an expiration like a symbol's chain of today; half of what
            it leaves is used. None: nothing counts requests.
        list_expiries : lists what expires after a day.
        fetch_expiry : fetches the chain of an expiration; None where it has no contract.
        """
        self.name, self.per_symbol, self._polling = name, per_symbol, polling
        self._list, self._fetch = list_expiries, fetch_expiry
        self._states: dict[str, _SymbolState] = {}
        self._run: asyncio.Task[None] | None = None

    def complete(self, frame: Frame) -> Frame:
        """Add what is known of later expirations to today's chain, and have more of them fetched.

        Parameters
        ----------
        frame : the chain of today, just fetched.

        Returns
        -------
        Frame
            The chain with the later expirations; it names those that are missing, and says how
            old the oldest of the others is. Without a listing it is the frame as it was.
        """
        if not self.per_symbol:
            return frame
        day = market_day(frame.quoted_at)
        state = self._states.get(frame.symbol)
        if state is None or state.day != day:
            state = self._states[frame.symbol] = _SymbolState(day, frame.fetched_at)
        state.sampled_at = frame.fetched_at
        if self._run is None or self._run.done():
            self._run = asyncio.create_task(self._fetch_some())
            self._run.add_done_callback(self._report_fault)
        if not state.listed:
            return frame
        oldest = frame.fetched_at - timedelta(seconds=COUNTS_SECONDS)
        answers = [state.answers.get(expiry) for expiry in state.listed]
        current = [a for a in answers if a is not None and a.fetched_at >= oldest]
        missing = {
            expiry[0]
            for expiry, answer in zip(state.listed, answers, strict=True)
            if answer is None or answer.fetched_at < oldest
        }
        age = max(
            ((frame.fetched_at - a.fetched_at).total_seconds() for a in current), default=None
        )
        return dataclasses.replace(
            frame,
            **_joined([frame, *current]),
            missing_expirations=tuple(sorted(missing)),
            other_expiries_age_seconds=None if age is None else max(age, 0.0),
        )

    async def close(self) -> None:
        """Ask for nothing more."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def _fetch_some(self) -> None:
        """One slot's share of requests, in the order of need."""
        await asyncio.sleep(AFTER)
        symbols = self._sampled()
        share = self.per_symbol * len(symbols)
        if self._polling is not None:
            spare = self._polling.room - self._polling.requests(len(symbols))
            share = int(min(share, max(spare, 0) / 2 / self._polling.per_symbol))
        ends = asyncio.get_running_loop().time() + WITHIN
        for _ in range(share):
            if asyncio.get_running_loop().time() >= ends:
                return
            needed = self._most_needed(symbols)
            # A vendor that refuses one is asked for nothing more before the next slot.
            if needed is None or not await self._serve(*needed):
                return

    def _sampled(self) -> list[str]:
        """Symbols that are sampled now; the others are forgotten when their day is over."""
        newest = max(state.sampled_at for state in self._states.values())
        for symbol in [s for s, state in self._states.items() if state.day < market_day(newest)]:
            if (newest - self._states[symbol].sampled_at).total_seconds() > IDLE_SECONDS:
                del self._states[symbol]
        return [
            symbol
            for symbol, state in self._states.items()
            if (newest - state.sampled_at).total_seconds() <= IDLE_SECONDS
        ]

    def _most_needed(self, symbols: Sequence[str]) -> tuple[str, LaterExpiry | None] | None:
        """The symbol and expiration (None: the listing) that is most overdue; None if none is."""
        best: tuple[tuple[float, float], str, LaterExpiry | None] | None = None
        for symbol in symbols:
            state = self._states[symbol]
            now = state.sampled_at
            wanted: Sequence[LaterExpiry | None] = [None] if state.listed is None else state.listed
            for expiry in wanted:
                refused = state.refused_at.get(expiry)
                if refused is not None and (now - refused).total_seconds() < RETRY_SECONDS:
                    continue
                overdue = _overdue(expiry, state, now)
                if overdue >= (1.0, 0.0) and (best is None or overdue > best[0]):
                    best = overdue, symbol, expiry
        return None if best is None else (best[1], best[2])

    async def _serve(self, symbol: str, expiry: LaterExpiry | None) -> bool:
        """Fetch a listing or an expiration; tell whether the vendor answered."""
        state = self._states[symbol]
        now = state.sampled_at
        try:
            if expiry is None:
                state.listed = sorted(set(await self._list(symbol, state.day, now)))
                return True
            frame = await self._fetch(symbol, expiry, now)
        except ChainRefused as refusal:
            if expiry is not None and refusal.reason is Reason.NO_ZERO_DTE:
                state.drop(expiry)
                return True
            state.refused_at[expiry] = now
            if not state.reported:
                state.reported = True
                log.warning(
                    "later expirations missing",
                    source=self.name,
                    symbol=symbol,
                    expiration=None if expiry is None else expiry[0].isoformat(),
                    error=str(refusal),
                )
            return False
        if frame is None:
            state.drop(expiry)
            return True
        state.answers[expiry] = _only(frame, expiry[0])
        state.refused_at.pop(expiry, None)
        return True

    def _report_fault(self, run: asyncio.Task[None]) -> None:
        """A fault of this code must not pass unseen, nor end the sampler."""
        if not run.cancelled() and run.exception() is not None:
            log.error("later expirations failed", source=self.name, error=repr(run.exception()))


def expiries_option(options: Mapping[str, str]) -> int:
    """The option ``expiries`` of a source.

    Parameters
    ----------
    options : values by name.

    Returns
    -------
    int
        Later expirations of a symbol that are asked for in a slot, at most.

    Raises
    ------
    UsageError
        If it is no whole number from 0 to 50.
    """
    return url.whole_option(dict(options), "expiries", 0, MOST)


def _overdue(expiry: LaterExpiry | None, state: _SymbolState, now: datetime) -> tuple[float, float]:
    """How much an expiration is needed; 1 and more: now. Of equals, the nearer to a week."""
    if expiry is None:
        return float("inf"), 0.0
    away = (expiry[0] - state.day).days
    answer = state.answers.get(expiry)
    if answer is None:
        return UNKNOWN_OVERDUE, -float(abs(away - WEEK))
    period = NEAR_SECONDS if away <= NEAR_DAYS else FAR_SECONDS
    return (now - answer.fetched_at).total_seconds() / period, 0.0


def _only(frame: Frame, day: date) -> Frame:
    """The contracts of one day: what is of another one must not join today's chain."""
    keep = frame.expiry == np.datetime64(day)
    columns = {name: getattr(frame, name)[keep] for name in _COLUMNS}
    return dataclasses.replace(frame, **columns, multi_leg_volume=None)


_COLUMNS = ("expiry", "root", "strike", "right", *QUOTES)


def _joined(frames: Sequence[Frame]) -> dict[str, Any]:
    """The columns of some frames behind each other."""
    columns = {name: np.concatenate([getattr(f, name) for f in frames]) for name in _COLUMNS}
    legs = frames[0].multi_leg_volume
    if legs is not None:
        more = len(columns["strike"]) - len(legs)
        columns["multi_leg_volume"] = np.concatenate([legs, np.full(more, np.nan)])
    return columns
