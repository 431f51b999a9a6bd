"""How many requests a minute the sampled symbols take, beside what a vendor's plan allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from storage.market.constants import GRID_SECONDS

#: Slots a minute.
SLOTS = 60 / GRID_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """What a slot costs a vendor that is polled."""

    #: Requests for each symbol, at most.
    per_symbol: int
    #: Requests that all symbols share.
    shared: int = 0
    #: Requests a minute that the plan allows; None: it does not count them by the minute.
    plan: int | None = None
    #: Requests for each symbol's later expirations in a slot, at most, of what is left over.
    later: int = 0
    #: Time between the starts of two requests, and the time within which all must start. [s]
    pace: float
    budget: float

    def requests(self, symbols: int) -> int:
        """Requests of a slot.

        Parameters
        ----------
        symbols : how many symbols are sampled.

        Returns
        -------
        int
            How many at most.
        """
        return self.per_symbol * symbols + self.shared if symbols else 0

    @property
    def room(self) -> float:
        """Requests of a slot that plan, pace and budget have room for; infinite without a limit."""
        by_plan = math.inf if self.plan is None else self.plan / SLOTS
        return min(by_plan, self.budget / self.pace if self.pace else math.inf)

    @property
    def most_symbols(self) -> float:
        """How many symbols fit into a slot; infinite without a limit."""
        room = self.room
        return room if math.isinf(room) else (room + 1e-9 - self.shared) // self.per_symbol

    def sentence(self, name: str, symbols: int) -> str:
        """Say what some symbols take, and whether they fit.

        Parameters
        ----------
        name : the source's name.
        symbols : how many symbols are sampled from it.

        Returns
        -------
        str
            Such as ``tradier: 20 symbols take up to 21 requests a slot, 42 a minute; the plan
            allows 120 a minute, so 59 symbols fit``.
        """
        slot = self.requests(symbols)
        words = (
            f"{name}: {symbols} symbol{'s' * (symbols != 1)} take{'s' * (symbols == 1)} up to"
            f" {slot} request{'s' * (slot != 1)} a slot, {slot * SLOTS:.0f} a minute"
        )
        beside = (
            f". Of what is left over half goes to later expirations, up to {self.later} a symbol"
            if self.later
            else ""
        )
        if math.isinf(self.room):
            return words + beside
        if self.plan is not None and self.plan / SLOTS <= self.room:
            why = f"the plan allows {self.plan} a minute"
        else:
            why = f"a pace of {self.pace:g} s starts {self.room:.0f} within {self.budget:g} s"
        return f"{words}; {why}, so {self.most_symbols:.0f} symbols fit{beside}"


@runtime_checkable
class PolledSource(Protocol):
    """A source whose vendor is asked anew for each slot."""

    polling: Polling
