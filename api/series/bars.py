"""One session of one symbol in memory: each sample is encoded once, when it arrives.

A session is filled from the store and then by changes; the same rows give the same session either
way. Times are whole seconds since 1970, so that they compare fast. No I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from api.series.epoch import epoch_seconds, epoch_text
from api.series.gaps import MissingSlots, missing_slots
from storage.market.calendar import Session
from storage.market.constants import GRID_SECONDS
from storage.record.row import Gap, Row

#: A bar's figures, named as the row's columns, in the order of the answer.
FIGURES = (
    "spot",
    "net_gex",
    "net_gex_se",
    "net_gex_se_measured",
    "net_dex",
    "gamma_flip",
    "gamma_flip_status",
    "distance_to_flip_sigmas",
    "flip_out_of_reach",
    "call_wall",
    "put_wall",
    "magnet",
    "pin_score",
    "pin_probability_pct",
    "regime",
    "regime_confidence",
    "atm_iv",
    "remaining_1sd",
    "charm_dollars_per_hour",
    "charm_horizon_seconds",
    "hedge_flow_call_cumulative",
    "hedge_flow_put_cumulative",
    "hedge_flow_cumulative_all",
    "flags",
)
#: Columns of the newest row that an answer has beside the bars.
PROVENANCE = (
    "source",
    "delay_seconds",
    "quoted_at",
    "flow_since",
    "classified_share",
    "definitions",
    "oi_confidence",
)
#: Figures whose value is a word or a list of words.
_WORDS = frozenset({"gamma_flip_status", "regime", "flags"})
_PATTERN = b",".join(b'"%s":%%s' % name.encode() for name in FIGURES) + b',"sampled_at":"%s"}'
JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


class Event(NamedTuple):
    """A bar or a gap as it stands, and its revision."""

    revision: int
    body: bytes
    gap: bool = False


class Bars:
    """A day's bars of one size: the last sample of each bucket."""

    __slots__ = ("bodies", "lasts", "revisions", "starts", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        #: Starts of the buckets, the slot that each shows, its newest revision, and its JSON.
        self.starts: list[int] = []
        self.lasts: list[int] = []
        self.revisions: list[int] = []
        self.bodies: list[bytes] = []

    def fill(
        self, slots: Sequence[int], revisions: Sequence[int], figures: Sequence[bytes]
    ) -> None:
        """Add all samples of a session at once, ascending by slot. There must be none yet.

        Parameters
        ----------
        slots : the samples' slots, ascending. (n,) [s since 1970]
        revisions : the revision of each. (n,)
        figures : the end of each sample's JSON object. (n,)
        """
        starts = [slot - slot % self.width for slot in slots]
        lasts = [i for i, (start, next_) in enumerate(pairwise([*starts, 0])) if start != next_]
        self.starts = [starts[i] for i in lasts]
        self.lasts = [slots[i] for i in lasts]
        self.revisions = [
            max(revisions[first:last]) for first, last in pairwise([0, *(i + 1 for i in lasts)])
        ]
        self.bodies = [_body(starts[i], figures[i]) for i in lasts]

    def add(self, slot: int, revision: int, figures: bytes) -> None:
        """Add a sample. One that is not the last of its bucket only raises the bar's revision.

        Parameters
        ----------
        slot : the sample's slot. [s since 1970]
        revision : its revision.
        figures : the end of its JSON object.
        """
        start = slot - slot % self.width
        index = len(self.starts)
        if index and start <= self.starts[-1]:
            index = bisect_left(self.starts, start)
        if index == len(self.starts) or self.starts[index] != start:
            self.starts.insert(index, start)
            self.lasts.insert(index, slot)
            self.revisions.insert(index, revision)
            self.bodies.insert(index, _body(start, figures))
            return
        self.revisions[index] = max(self.revisions[index], revision)
        if slot >= self.lasts[index]:
            self.lasts[index] = slot
            self.bodies[index] = _body(start, figures)


class SessionBars:
    """A session's rows and gaps; ``cursor`` is its newest revision, 0 for none."""

    def __init__(self, symbol: str, day: date, session: Session | None) -> None:
        self.symbol = symbol
        self.day = day
        #: None where the market is closed all day.
        self.session = session
        self.cursor = 0
        #: The feed that the session's rows and gaps come from; None while nothing is stored.
        self.feed: str | None = None
        #: ``PROVENANCE`` of the newest row; empty without one.
        self.newest: dict[str, Any] = {}
        self._slots: list[int] = []
        self._revisions: list[int] = []
        #: Each row's figures and slot as the end of a JSON object; its start is the bucket.
        self._figures: list[bytes] = []
        self._gaps: dict[int, tuple[int, str]] = {}
        self._bars: dict[int, Bars] = {}
        #: The first and the last slot that wait in a sampler's spool; None if none waits.
        self.waiting: tuple[int, int] | None = None
        self._missing: tuple[tuple[Any, ...], list[MissingSlots], int] | None = None

    @property
    def newest_slot(self) -> int | None:
        """The newest slot with a row."""
        return self._slots[-1] if self._slots else None

    @property
    def delay(self) -> timedelta | None:
        """The delay that the feed of the newest row declares."""
        seconds = self.newest.get("delay_seconds")
        return None if seconds is None else timedelta(seconds=seconds)

    def fill(
        self,
        rows: Sequence[Sequence[Any]],
        newest: Mapping[str, Any] | None,
        gaps: Iterable[Mapping[str, Any]],
        feed: str | None = None,
    ) -> None:
        """Add the rows and gaps that the store has.

        Parameters
        ----------
        rows : ascending by slot; each is revision, slot [s since 1970], and ``FIGURES``.
        newest : ``PROVENANCE`` of the last row; None without a row.
        gaps : ``slot``, ``revision`` and ``reason`` of each gap.
        feed : whose rows and gaps they are; None where nothing is stored.
        """
        self.feed = feed
        revisions, slots, *columns = zip(*rows, strict=True) if rows else ((), ())
        self._slots += slots
        self._revisions += revisions
        self._figures += _all_figures(columns, slots)
        self.newest = dict(newest or {})
        self._gaps = {epoch_seconds(g["slot"]): (g["revision"], g["reason"]) for g in gaps}
        marked = (revision for revision, _ in self._gaps.values())
        self.cursor = max(self.cursor, *self._revisions, *marked, 0)

    def apply_changes(
        self, rows: Iterable[tuple[int, Row]], gaps: Iterable[tuple[int, Gap]]
    ) -> None:
        """Apply rows and gaps stored since, with their revisions, in any order.

        Parameters
        ----------
        rows : revision and row; rows of other sessions and feeds must not be among them.
        gaps : revision and gap.
        """
        cursor = self.cursor
        for revision, row in rows:
            if revision > cursor:
                self._put(revision, row)
                self.cursor = max(self.cursor, revision)
        for revision, gap in gaps:
            slot = epoch_seconds(gap.slot)
            if revision > cursor and not self._has(slot):
                self._gaps[slot] = (revision, str(gap.reason))
                self.cursor = max(self.cursor, revision)

    def bars(self, width: int) -> Bars:
        """Return the bars of one size, made at the first call and kept up to date after it.

        Parameters
        ----------
        width : the bar size. [s]

        Returns
        -------
        Bars
            The bars, ascending by time.
        """
        bars = self._bars.get(width)
        if bars is None:
            bars = self._bars[width] = Bars(width)
            bars.fill(self._slots, self._revisions, self._figures)
        return bars

    def changed(self, width: int, since: int, start: int, until: int) -> list[int]:
        """Return which bars of a window have a sample that changed after a cursor.

        Parameters
        ----------
        width : the bar size. [s]
        since : the cursor.
        start, until : the window's first slot, and the first one after it. [s since 1970]

        Returns
        -------
        list of int
            Indices into ``bars(width)``, ascending.
        """
        bars = self.bars(width)
        first, last = bisect_left(bars.lasts, start), bisect_left(bars.lasts, until)
        if since >= self.cursor:
            return []
        indices = [i for i in range(first, last) if bars.revisions[i] > since]
        # Of a bucket that begins before the window, only the samples in the window count.
        if indices and indices[0] == first and bars.starts[first] < start:
            first_sample = bisect_left(self._slots, start)
            end_sample = bisect_left(self._slots, bars.starts[first] + width)
            if max(self._revisions[first_sample:end_sample]) <= since:
                del indices[0]
        return indices

    def events(self, width: int, since: int) -> list[Event]:
        """Return the bars and gaps that changed after a cursor, as they stand now.

        Parameters
        ----------
        width : the bar size. [s]
        since : the cursor.

        Returns
        -------
        list of Event
            Events, ascending by revision.
        """
        if since >= self.cursor:
            return []
        bars = self.bars(width)
        events = [
            Event(revision, body)
            for revision, body in zip(bars.revisions, bars.bodies, strict=True)
            if revision > since
        ]
        for slot, (revision, reason) in self._gaps.items():
            if revision > since:
                body = {
                    "from": epoch_text(slot),
                    "to": epoch_text(slot + GRID_SECONDS),
                    "reason": reason,
                }
                events.append(Event(revision, orjson.dumps(body), gap=True))
        return sorted(events)

    def opening_sample(self) -> bytes | None:
        """Return the session's first sample as a 30 s bar.

        It is the same for every bar size and window: what a change since the open is measured from.

        Returns
        -------
        bytes or None
            One JSON object; None while the session has no sample.
        """
        return _body(self._slots[0], self._figures[0]) if self._slots else None

    def missing_slots(self, due: int) -> tuple[list[MissingSlots], int]:
        """Return the session's slots without a sample; computed once a slot.

        Parameters
        ----------
        due : slots up to this one have passed. [s since 1970]

        Returns
        -------
        tuple
            The missing slots in order, and how many of them were added as ``not_sampled``.
        """
        key = (self.cursor, due, self.waiting)
        if self._missing is None or self._missing[0] != key:
            reasons = {slot: reason for slot, (_, reason) in self._gaps.items()}
            counted = missing_slots(self.session, set(self._slots), reasons, due, self.waiting)
            self._missing = (key, *counted)
        return self._missing[1], self._missing[2]

    def gap_reasons(self) -> list[str]:
        """The reasons of the session's gaps, in order."""
        return [self._gaps[slot][1] for slot in sorted(self._gaps)]

    def _has(self, slot: int) -> bool:
        index = bisect_left(self._slots, slot)
        return index < len(self._slots) and self._slots[index] == slot

    def _put(self, revision: int, row: Row) -> None:
        slot = epoch_seconds(row.slot)
        figures = _figures([getattr(row, name) for name in FIGURES], slot)
        self._gaps.pop(slot, None)
        index = bisect_left(self._slots, slot)
        if self._has(slot):
            self._revisions[index], self._figures[index] = revision, figures
        else:
            self._slots.insert(index, slot)
            self._revisions.insert(index, revision)
            self._figures.insert(index, figures)
        if slot == self._slots[-1]:
            self.newest = {name: getattr(row, name) for name in PROVENANCE}
        for bars in self._bars.values():
            bars.add(slot, revision, figures)


def _figures(values: Sequence[Any], slot: int) -> bytes:
    body = dict(zip(FIGURES, values, strict=True))
    body["sampled_at"] = epoch_text(slot)
    return orjson.dumps(body)[1:]


def _all_figures(columns: Sequence[Sequence[Any]], slots: Sequence[int]) -> list[bytes]:
    """What ``_figures`` says of many rows, by column: a day's at once in two thirds of the time."""
    parts = [
        _words(column) if name in _WORDS else orjson.dumps(column)[1:-1].split(b",")
        for name, column in zip(FIGURES, columns, strict=bool(slots))
    ]
    parts.append([epoch_text(slot).encode() for slot in slots])
    return [_PATTERN % row for row in zip(*parts, strict=True)]


def _words(column: Sequence[Any]) -> list[bytes]:
    names = [str(value) for value in column]
    encoded = {
        name: orjson.dumps(value) for name, value in dict(zip(names, column, strict=True)).items()
    }
    return [encoded[name] for name in names]


def _body(start: int, figures: bytes) -> bytes:
    return b'{"t":"%s",%s' % (epoch_text(start).encode(), figures)
