"""What a recomputation changes, field by field: how many rows, and by how much at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storage.record.figures import Figures
from storage.record.row import COLUMNS, SlotRecord


@dataclass(slots=True)
class FieldDiff:
    """One field's changes."""

    rows: int = 0
    #: Largest change, in the field's unit; None where no number has become another.
    largest: float | None = None
    #: Largest change against what was there, where that was not 0.
    largest_relative: float | None = None
    #: The first change, in words.
    example: str = ""


@dataclass(slots=True)
class DiffSummary:
    """Every field that changes, by name."""

    #: Records looked at, and how many of them change.
    records: int = 0
    changed: int = 0
    fields: dict[str, FieldDiff] = field(default_factory=dict)

    def compare(self, was: SlotRecord, now: SlotRecord, *, by_field: bool = True) -> bool:
        """Count what differs between two records of a slot; whether anything does.

        Without ``by_field`` only that it does, which takes a fraction of the time.
        """
        self.records += 1
        differs = _differ(was, now) if not by_field else self._compare(was, now)
        self.changed += differs
        return differs

    def _compare(self, was: SlotRecord, now: SlotRecord) -> bool:
        differs = False
        if was.row != now.row:
            for name in COLUMNS:
                old, new = getattr(was.row, name), getattr(now.row, name)
                if old != new:
                    self._note(dict(_leaves(name, old)), dict(_leaves(name, new)))
            differs = True
        for name, new in now.profile.items():
            if was.profile[name].tobytes() != new.tobytes():
                self._arrays(f"profile.{name}", was.profile[name], new)
                differs = True
        (kept, notes), (again, said) = was.state, now.state
        for name in kept.keys() | again.keys():
            old, new = kept.get(name), again.get(name)
            if old is None or new is None:
                self._field(f"evidence.{name}").rows += 1
                differs = True
            elif old.shape != new.shape or old.tobytes() != new.tobytes():
                self._arrays(f"evidence.{name}", old, new)
                differs = True
        if notes != said:
            self._note(dict(_leaves("evidence", notes)), dict(_leaves("evidence", said)))
            differs = True
        return differs

    def add(self, other: DiffSummary) -> None:
        """Take in what another session has changed."""
        self.records += other.records
        self.changed += other.changed
        for name, diff in other.fields.items():
            own = self._field(name)
            own.rows += diff.rows
            own.largest = _largest(own.largest, diff.largest)
            own.largest_relative = _largest(own.largest_relative, diff.largest_relative)
            own.example = own.example or diff.example

    def table_lines(self) -> list[str]:
        """A line a field, the most frequent ones first."""
        if not self.fields:
            return []
        width = max(len(name) for name in self.fields)
        lines = [f"{'field':{width}}  {'rows':>8}  {'by at most':>12}  {'relative':>9}  first"]
        ordered = sorted(self.fields.items(), key=lambda item: (-item[1].rows, item[0]))
        for name, diff in ordered:
            most = "" if diff.largest is None else f"{diff.largest:.6g}"
            part = "" if diff.largest_relative is None else f"{diff.largest_relative:.2e}"
            lines.append(f"{name:{width}}  {diff.rows:8}  {most:>12}  {part:>9}  {diff.example}")
        return lines

    def _field(self, name: str) -> FieldDiff:
        return self.fields.setdefault(name, FieldDiff())

    def _note(self, was: dict[str, list[Any]], now: dict[str, list[Any]]) -> None:
        for name in was.keys() | now.keys():
            old, new = was.get(name, []), now.get(name, [])
            if old == new:
                continue
            diff = self._field(name)
            diff.rows += 1
            pairs = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
            diff.example = diff.example or (
                "{} → {}".format(*map(_short, pairs[0])) if pairs else f"{len(old)} → {len(new)}"
            )
            for a, b in pairs:
                self._measure(diff, a, b)

    def _arrays(self, name: str, was: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> None:
        diff = self._field(name)
        diff.rows += 1
        if was.shape != now.shape:
            diff.example = diff.example or f"{was.shape[-1]} strikes → {now.shape[-1]}"
            return
        differ = np.flatnonzero((was != now) & ~((was != was) & (now != now)))  # noqa: PLR0124
        if not len(differ):
            diff.example = diff.example or "signs of zeros"
            return
        old, new = was.ravel()[differ].astype(float), now.ravel()[differ].astype(float)
        diff.example = diff.example or f"{_short(float(old[0]))} → {_short(float(new[0]))}"
        with np.errstate(invalid="ignore", divide="ignore"):
            by = np.abs(new - old)
            part = by / np.abs(old)
        for values, attribute in ((by, "largest"), (part[old != 0], "largest_relative")):
            known = values[np.isfinite(values)]
            if len(known):
                setattr(diff, attribute, _largest(getattr(diff, attribute), float(known.max())))

    def _measure(self, diff: FieldDiff, was: Any, now: Any) -> None:
        if not all(isinstance(one, int | float) for one in (was, now)):
            return
        by = abs(now - was)
        if math.isfinite(by):
            diff.largest = _largest(diff.largest, float(by))
            if was:
                diff.largest_relative = _largest(diff.largest_relative, abs(by / was))


def _differ(was: SlotRecord, now: SlotRecord) -> bool:
    (kept, notes), (again, said) = was.state, now.state
    return (
        was.row != now.row
        or notes != said
        or kept.keys() != again.keys()
        or any(was.profile[name].tobytes() != new.tobytes() for name, new in now.profile.items())
        or any(
            kept[name].shape != new.shape or kept[name].tobytes() != new.tobytes()
            for name, new in again.items()
        )
    )


def _leaves(name: str, value: Any) -> Iterator[tuple[str, list[Any]]]:
    """The plain values in a value, by path; those of a list share one."""
    if isinstance(value, Figures):
        value = value.as_json()
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(f"{name}.{key}", one)
    elif isinstance(value, list | tuple):
        found: dict[str, list[Any]] = {f"{name}[]": []}
        for one in value:
            for path, leaves in _leaves(f"{name}[]", one):
                found.setdefault(path, []).extend(leaves)
        yield from found.items()
    else:
        yield name, [value]


def _largest(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None


def _short(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)[:40]
