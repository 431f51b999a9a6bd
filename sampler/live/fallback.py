"""A second feed for the symbols whose first one gives no rows: when it begins, and when it ends.

The fallback's rows and gaps are sessions of their own; the first feed is sampled all the while. A
session of the fallback begins when it is needed. From then on each of its slots is accounted for:
slots at which it was not needed are gaps ``standby``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from sampler.live.grid import due_slot
from sampler.live.outcome import Outcome
from sampler.live.slots import SlotTracker
from storage.record.row import Reason

log = structlog.get_logger()

#: What a slot without a row says against the feed.
FEED_FAILURES = frozenset(
    {Reason.SOURCE_DOWN, Reason.BAD_ANSWER, Reason.STALE, Reason.NO_SPOT, Reason.NO_IV}
)


@dataclass(slots=True)
class _Standing:
    """How a symbol's first feed does, and whether its fallback is sampled."""

    #: Slots in a row without a row for the feed's reasons, and slots in a row with one.
    missed: int = 0
    answered: int = 0
    #: The first slot that the feed answered again.
    back_since: datetime | None = None
    active: bool = False
    #: The day whose stored slots were looked up.
    looked_up: date | None = None


class Fallback:
    """Samples a second feed for each symbol while its first one fails."""

    def __init__(
        self,
        tracker: SlotTracker,
        *,
        symbols: Iterable[str],
        delay: Callable[[str], timedelta],
        after: int,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sampled yet.

        Parameters
        ----------
        tracker : accounts for the slots of the fallback's sessions.
        symbols : the symbols that have a fallback.
        delay : how far its quotes lie behind the clock, by symbol.
        after : after so many slots in a row the fallback begins, or ends. [slots]
        on_outcome : called after each step of the fallback.
        """
        self._on_outcome = on_outcome
        self.tracker = tracker
        self.delay = delay
        self._after = after
        self._standing = {symbol: _Standing() for symbol in symbols}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that have a fallback."""
        return tuple(self._standing)

    def note(self, outcome: Outcome) -> None:
        """Learn the outcome of a step of a symbol's first feed.

        A slot without a row that is not the feed's fault counts neither for it nor against it.

        Parameters
        ----------
        outcome : of the step.
        """
        standing = self._standing.get(outcome.symbol)
        if standing is None:
            return
        if outcome.record is not None:
            standing.answered, standing.missed = standing.answered + 1, 0
            standing.back_since = standing.back_since or outcome.record.row.slot
        elif outcome.reason in FEED_FAILURES:
            standing.answered, standing.missed = 0, standing.missed + 1
            standing.back_since = None
            if standing.missed >= self._after and not standing.active:
                standing.active = True
                feed = self.tracker.feed(outcome.symbol)
                log.warning("fallback begins", symbol=outcome.symbol, feed=feed, why=outcome.label)

    async def step(self, symbol: str, now: datetime, held: Container[str]) -> Outcome | None:
        """Sample a symbol's fallback for the slot that is due, if it is needed.

        Parameters
        ----------
        symbol : the symbol.
        now : the time of the clock, UTC.
        held : the symbols that this sampler is responsible for.

        Returns
        -------
        Outcome or None
            The outcome of the step; None if nothing was sampled.
        """
        due, standing = due_slot(now, self.delay(symbol)), self._standing[symbol]
        if symbol not in held:
            self.tracker.drop_symbol(symbol)
            standing.looked_up = None
            return None
        if due is None:
            return None
        session, slot = due
        self._end_if_back(symbol, standing, slot)
        if standing.looked_up != session.day:
            # An earlier run of this sampler, or another sampler, may have begun the session.
            if await self.tracker.has_begun(symbol, session):
                await self.tracker.add_symbols([symbol], now)
            standing.looked_up = session.day
        if standing.active and symbol not in self.tracker.symbols:
            await self.tracker.add_symbols([symbol], now, missed=Reason.STANDBY)
        if symbol not in self.tracker.symbols:
            return None
        outcome = await self.tracker.step(symbol, now, standby=not standing.active)
        if outcome is not None:
            self._on_outcome(outcome)
        if now - self.delay(symbol) >= session.close:
            # Tomorrow's session begins when it is needed.
            self.tracker.drop_symbol(symbol)
        return outcome

    def _end_if_back(self, symbol: str, standing: _Standing, slot: datetime) -> None:
        """End the fallback once it has covered the slots up to the first feed's return."""
        since = standing.back_since
        if not standing.active or since is None:
            return
        if standing.answered >= self._after and slot >= since:
            standing.active = False
            log.info("fallback ends", symbol=symbol, feed=self.tracker.feed(symbol))
