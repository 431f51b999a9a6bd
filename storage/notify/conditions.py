"""From what is wrong at each look to events: one when it begins, and one when it is over.

Pure: times are arguments. A condition that lasts is told once. One that comes back soon after it
was over is not told again before its quiet time has passed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.notify.notice import Notice


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong at one look."""

    kind: str
    #: The symbol that it is about; empty if it is about the whole product.
    symbol: str
    #: How long it must last before it is told. [s]
    hold: float


@dataclass(slots=True)
class _Condition:
    #: When it was first and last there, by a monotonic clock. [s]
    first: float
    last: float
    began: datetime
    event: Notice | None = None


#: Words an event: its kind and its symbols.
Wording = Callable[[str, Sequence[str]], str]


class Conditions:
    """Remembers what was wrong at earlier looks."""

    def __init__(self, wording: Wording, *, quiet: float = 900.0, over: float = 15.0) -> None:
        """Begin with nothing wrong.

        Parameters
        ----------
        wording : makes an event's sentence from its kind and its symbols.
        quiet : for so long after an event a condition is not told again. [s]
        over : for so long a condition must be away before it counts as over. [s]
        """
        self._wording = wording
        self._quiet = quiet
        self._over = over
        self._conditions: dict[tuple[str, str], _Condition] = {}
        #: When each condition was last told. [s]
        self._told_at: dict[tuple[str, str], float] = {}

    def adopt(self, event: Notice, *, age: float, monotonic: float) -> None:
        """Take over an event that another watcher has told: it is not told again while it lasts.

        Parameters
        ----------
        event : the event; one that is over only begins the quiet time.
        age : how long ago it was told. [s]
        monotonic : the time of a monotonic clock. [s]
        """
        for symbol in event.symbols or ("",):
            key = (event.kind, symbol)
            self._told_at[key] = max(monotonic - age, self._told_at.get(key, monotonic - age))
            if event.ended is None:
                self._conditions[key] = _Condition(monotonic, monotonic, event.began, event)

    def look(self, problems: Sequence[Trouble], *, monotonic: float, now: datetime) -> list[Notice]:
        """Take in what is wrong now, and return what is to be told.

        Parameters
        ----------
        problems : everything that is wrong at this look.
        monotonic : the time of a monotonic clock. [s]
        now : the market's time, UTC.

        Returns
        -------
        list of Notice
            Events that began, symbols of one kind together, and events that are over.
        """
        begun: defaultdict[str, list[tuple[str, _Condition]]] = defaultdict(list)
        for problem in problems:
            key = (problem.kind, problem.symbol)
            condition = self._conditions.setdefault(key, _Condition(monotonic, monotonic, now))
            condition.last = monotonic
            told_at = self._told_at.get(key)
            quiet = told_at is not None and monotonic - told_at < self._quiet
            if (
                condition.event is None
                and monotonic - condition.first >= problem.hold
                and not quiet
            ):
                begun[problem.kind].append((problem.symbol, condition))
        events = []
        for kind, group in begun.items():
            symbols = tuple(sorted(symbol for symbol, _ in group if symbol))
            event = Notice(
                kind=kind,
                symbols=symbols,
                began=min(condition.began for _, condition in group),
                sentence=self._wording(kind, symbols),
            )
            for symbol, condition in group:
                condition.event = event
                self._told_at[kind, symbol] = monotonic
            events.append(event)
        return events + self._ended(monotonic, now)

    def _ended(self, monotonic: float, now: datetime) -> list[Notice]:
        gone = {
            key: condition
            for key, condition in self._conditions.items()
            if monotonic - condition.last >= self._over
            or (condition.event is None and condition.last < monotonic)
        }
        for key in gone:
            del self._conditions[key]
        # An event is over when the last of its symbols is well.
        lasting = {c.event.id for c in self._conditions.values() if c.event is not None}
        over: Mapping[str, Notice] = {c.event.id: c.event for c in gone.values() if c.event}
        return [
            Notice(
                kind=event.kind,
                symbols=event.symbols,
                began=event.began,
                ended=now,
                sentence=f"Over: {event.sentence}",
            )
            for name, event in over.items()
            if name not in lasting
        ]
