"""Hedge flow of stored sessions before a day, on the grid; in memory until one of them changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.market.calendar import Session, session_on
from storage.market.constants import CADENCE_RATIO, CADENCE_ROWS, GRID_SECONDS
from storage.postgres.store import Store
from storage.record.flag_figures import FLAG_FIGURES

#: How many stored sessions are looked at, the newest before the day.
EARLIER_DAYS = 60
#: The rate is the flow of so many minutes, or a little more where samples are missing.
RATE_MINUTES = 10
_RATE_SLOTS = RATE_MINUTES * 60 // GRID_SECONDS
#: A stored session counts at a time of day if it has a sample of so many slots before, at most.
_HOLD_SLOTS = 4
#: How many summaries of sessions are kept; each takes some kilobytes.
_SUMMARIES = 4_000
#: How many symbols' sessions are kept; each takes less than a megabyte.
_ROOM = 16
#: Flags that say not to rely on hedge flow.
_DOUBTFUL = tuple(
    flag for flag, names in FLAG_FIGURES.items() if "hedge_flow_cumulative_all" in names
)

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]


def sample_cadence(slots: Floats) -> float | None:
    """Return the median time between samples.

    Parameters
    ----------
    slots : the samples' slots, ascending. (n,) [s]

    Returns
    -------
    float or None
        The median; None of fewer than three samples. [s]
    """
    return float(np.median(np.diff(slots))) if len(slots) >= CADENCE_ROWS else None


def flow_rates(numbers: Slots, flow: Floats) -> Floats:
    """Return the flow a minute over the last ten minutes.

    Parameters
    ----------
    numbers : the samples' slots, counted from the open, ascending. (n,)
    flow : flow since the open. (n,) [$]

    Returns
    -------
    numpy.ndarray, shape (n,)
        The difference to the newest sample that is ten minutes old or older, over the minutes
        between the two; NaN where that sample is older than twenty minutes, or missing. [$/min]
    """
    begins = np.searchsorted(numbers, numbers - _RATE_SLOTS, side="right") - 1
    apart = (numbers - numbers[begins]).astype(np.float64)
    known = (begins >= 0) & (apart <= 2 * _RATE_SLOTS)
    rates = np.full(len(flow), np.nan)
    minutes = apart[known] * GRID_SECONDS / 60
    rates[known] = (flow[known] - flow[begins[known]]) / minutes
    return rates


@dataclass(frozen=True, slots=True, eq=False)
class EarlierFlow:
    """Stored sessions of one feed and cadence, at each time of day of the grid."""

    #: The days, ascending.
    days: tuple[date, ...]
    #: Flow since the open, by session and slot; NaN where there is no sample. [$]
    flow: Floats
    #: Flow a minute, likewise. [$/min]
    rate: Floats


def earlier_flow(
    stored: Mapping[date, tuple[Floats, Floats]],
    calendar: Mapping[date, Session],
    cadence: float | None,
) -> EarlierFlow:
    """Put the flow of stored sessions of one cadence on the grid of a session.

    Parameters
    ----------
    stored : slots [s since 1970] and flow since the open [$] of each day's samples.
    calendar : the session of each day; days without one are left out.
    cadence : the cadence that the sessions must have; None leaves out all of them. [s]

    Returns
    -------
    EarlierFlow
        One line a day.
    """
    lines, width = {}, max((session.slot_count for session in calendar.values()), default=0)
    for day in sorted(set(stored) & set(calendar)):
        slots, flow = stored[day]
        if not _alike(sample_cadence(slots), cadence):
            continue
        numbers = ((slots - calendar[day].open.timestamp()) // GRID_SECONDS).astype(np.int64)
        hold = max(_HOLD_SLOTS, round(CADENCE_RATIO * (cadence or 0.0) / GRID_SECONDS))
        newest = np.searchsorted(numbers, np.arange(width), side="right") - 1
        known = (newest >= 0) & (np.arange(width) - numbers[newest] <= hold)
        # Nothing is known of a half day after its close.
        known &= np.arange(width) < calendar[day].slot_count
        lines[day] = [
            np.where(known, values[newest], np.nan) for values in (flow, flow_rates(numbers, flow))
        ]
    grids = np.array(list(lines.values())).reshape(len(lines), 2, width)
    return EarlierFlow(tuple(lines), grids[:, 0], grids[:, 1])


def _alike(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return False
    return max(first, second) <= CADENCE_RATIO * min(first, second)


class EarlierSessions:
    """What documents compare a session with. It is read again when a stored session has changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Any, EarlierFlow]] = OrderedDict()
        self._summaries: OrderedDict[Hashable, tuple[Any, dict[str, Any]]] = OrderedDict()

    async def flow(
        self,
        store: Store,
        symbol: str,
        day: date,
        *,
        source: str,
        definitions: str,
        cadence: float | None,
    ) -> EarlierFlow:
        """Return the hedge flow of the newest sessions before a day.

        Samples whose flags say not to rely on hedge flow are left out.

        Parameters
        ----------
        store : where they are stored.
        symbol, day : the session that they are compared with.
        source : its feed: sessions of other feeds are left out.
        definitions : its version of the formulas, likewise.
        cadence : its cadence, likewise; None leaves out all sessions. [s]

        Returns
        -------
        EarlierFlow
            The sessions.

        Raises
        ------
        StoreError
            If the store is away.
        """
        key = (symbol, day, source, definitions, cadence)
        heads = await store.earlier_sessions(symbol, source, day, count=EARLIER_DAYS)
        if key in self._kept and self._kept[key][0] == heads:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        stored = await store.flow_history(
            symbol, source, day, count=EARLIER_DAYS, definitions=definitions, without=_DOUBTFUL
        )
        calendar = {
            known: session for known in stored if (session := session_on(known)) is not None
        }
        flow = earlier_flow(stored, calendar, cadence)
        self._kept[key] = (heads, flow)
        while len(self._kept) > _ROOM:
            self._kept.popitem(last=False)
        return flow

    async def summaries(
        self,
        store: Store,
        symbol: str,
        until: date,
        *,
        count: int,
        summarize: Callable[[Mapping[str, Floats], Session, str], dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Return a summary of each of the newest sessions up to a day.

        Parameters
        ----------
        store : where they are stored; its feed's sessions, or the shown ones.
        symbol : the underlying.
        until : the last day that counts.
        count : how many sessions at most.
        summarize : makes a summary of a session's course, hours and feed. Always the same function.

        Returns
        -------
        list of dict
            The summaries, oldest first.

        Raises
        ------
        StoreError
            If the store is away.
        """
        heads = await store.stored_heads(symbol, until, count=count)
        stale = []
        for head in heads:
            key = (symbol, head["source"], head["expiration"])
            if key not in self._summaries or self._summaries[key][0] != head["revision"]:
                stale.append(head)
        courses = await store.courses(symbol, stale)
        summaries = []
        for head in reversed(heads):
            key, day = (symbol, head["source"], head["expiration"]), head["expiration"]
            session = session_on(day)
            if day in courses and session is not None:
                summary = summarize(courses[day], session, head["source"])
                self._summaries[key] = (head["revision"], summary)
            if key in self._summaries:
                self._summaries.move_to_end(key)
                summaries.append(self._summaries[key][1])
        while len(self._summaries) > _SUMMARIES:
            self._summaries.popitem(last=False)
        return summaries
