"""Compare stored records with recomputed ones, and sum up what changes field by field."""

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
    """How one field changes."""

    #: How many rows the field changes in.
    rows: int = 0
    #: The largest change, in the field's unit; None if the field holds no numbers.
    largest: float | None = None
    #: The largest change as a part of the stored value, where that is not 0.
    largest_relative: float | None = None
    #: The first change, as text: stored value → recomputed value.
    example: str = ""


@dataclass(slots=True)
class DiffSummary:
    """How the records of a session, or of several, change."""

    #: How many records were compared.
    records: int = 0
    #: How many of them change.
    changed: int = 0
    #: The fields that change, by name. Values inside a field have a path, as in ``detail.theta``.
    fields: dict[str, FieldDiff] = field(default_factory=dict)

    def compare(self, stored: SlotRecord, new: SlotRecord, *, by_field: bool = True) -> bool:
        """Compare two records of a slot, and add the result to the summary.

        Parameters
        ----------
        stored, new : the stored record and the recomputed one.
        by_field : whether to note which fields differ. Without it the comparison only finds out
            whether any does, in a fraction of the time.

        Returns
        -------
        bool
            Whether the records differ.
        """
        self.records += 1
        differs = self._compare_fields(stored, new) if by_field else _differ(stored, new)
        self.changed += differs
        return differs

    def _compare_fields(self, stored: SlotRecord, new: SlotRecord) -> bool:
        differs = False
        if stored.row != new.row:
            for name in COLUMNS:
                old_value, new_value = getattr(stored.row, name), getattr(new.row, name)
                if old_value != new_value:
                    self._note_values(
                        dict(_leaves(name, old_value)), dict(_leaves(name, new_value))
                    )
            differs = True
        for name, array in new.profile.items():
            if stored.profile[name].tobytes() != array.tobytes():
                self._note_arrays(f"profile.{name}", stored.profile[name], array)
                differs = True
        (old_arrays, old_notes), (new_arrays, new_notes) = stored.state, new.state
        for name in old_arrays.keys() | new_arrays.keys():
            old, new_array = old_arrays.get(name), new_arrays.get(name)
            if old is None or new_array is None:
                self._field(f"evidence.{name}").rows += 1
                differs = True
            elif old.shape != new_array.shape or old.tobytes() != new_array.tobytes():
                self._note_arrays(f"evidence.{name}", old, new_array)
                differs = True
        if old_notes != new_notes:
            self._note_values(
                dict(_leaves("evidence", old_notes)), dict(_leaves("evidence", new_notes))
            )
            differs = True
        return differs

    def add(self, other: DiffSummary) -> None:
        """Add the summary of another session.

        Parameters
        ----------
        other : the other session's summary; it stays as it is.
        """
        self.records += other.records
        self.changed += other.changed
        for name, diff in other.fields.items():
            own = self._field(name)
            own.rows += diff.rows
            own.largest = _largest(own.largest, diff.largest)
            own.largest_relative = _largest(own.largest_relative, diff.largest_relative)
            own.example = own.example or diff.example

    def table_lines(self) -> list[str]:
        """Return a table with a line for each field, the one that changes in most rows first."""
        if not self.fields:
            return []
        width = max(len(name) for name in self.fields)
        lines = [
            f"{'field':{width}}  {'rows':>8}  {'max change':>12}  {'relative':>9}  first change"
        ]
        ordered = sorted(self.fields.items(), key=lambda item: (-item[1].rows, item[0]))
        for name, diff in ordered:
            largest = "" if diff.largest is None else f"{diff.largest:.6g}"
            relative = "" if diff.largest_relative is None else f"{diff.largest_relative:.2e}"
            lines.append(
                f"{name:{width}}  {diff.rows:8}  {largest:>12}  {relative:>9}  {diff.example}"
            )
        return lines

    def _field(self, name: str) -> FieldDiff:
        return self.fields.setdefault(name, FieldDiff())

    def _note_values(
        self, old_values: dict[str, list[Any]], new_values: dict[str, list[Any]]
    ) -> None:
        for name in old_values.keys() | new_values.keys():
            old, new = old_values.get(name, []), new_values.get(name, [])
            if old == new:
                continue
            diff = self._field(name)
            diff.rows += 1
            pairs = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
            diff.example = diff.example or (
                "{} → {}".format(*map(_short, pairs[0])) if pairs else f"{len(old)} → {len(new)}"
            )
            for a, b in pairs:
                self._note_change(diff, a, b)

    def _note_arrays(
        self, name: str, stored: np.ndarray[Any, Any], new: np.ndarray[Any, Any]
    ) -> None:
        diff = self._field(name)
        diff.rows += 1
        if stored.shape != new.shape:
            diff.example = diff.example or f"{stored.shape[-1]} strikes → {new.shape[-1]}"
            return
        both_nan = np.isnan(stored) & np.isnan(new)
        differ = np.flatnonzero((stored != new) & ~both_nan)
        if not len(differ):
            diff.example = diff.example or "signs of zeros"
            return
        old_values = stored.ravel()[differ].astype(float)
        new_values = new.ravel()[differ].astype(float)
        first = f"{_short(float(old_values[0]))} → {_short(float(new_values[0]))}"
        diff.example = diff.example or first
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.abs(new_values - old_values)
            relative = change / np.abs(old_values)
        for values, attribute in (
            (change, "largest"),
            (relative[old_values != 0], "largest_relative"),
        ):
            finite = values[np.isfinite(values)]
            if len(finite):
                setattr(diff, attribute, _largest(getattr(diff, attribute), float(finite.max())))

    def _note_change(self, diff: FieldDiff, old: Any, new: Any) -> None:
        if not isinstance(old, int | float) or not isinstance(new, int | float):
            return
        change = abs(new - old)
        if math.isfinite(change):
            diff.largest = _largest(diff.largest, float(change))
            if old:
                diff.largest_relative = _largest(diff.largest_relative, abs(change / old))


def _differ(stored: SlotRecord, new: SlotRecord) -> bool:
    (old_arrays, old_notes), (new_arrays, new_notes) = stored.state, new.state
    return (
        stored.row != new.row
        or old_notes != new_notes
        or old_arrays.keys() != new_arrays.keys()
        or any(stored.profile[name].tobytes() != a.tobytes() for name, a in new.profile.items())
        or any(
            old_arrays[name].shape != a.shape or old_arrays[name].tobytes() != a.tobytes()
            for name, a in new_arrays.items()
        )
    )


def _leaves(name: str, value: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the path and the plain values inside a value; all items of a list share one path."""
    if isinstance(value, Figures):
        value = value.as_json()
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        by_path: dict[str, list[Any]] = {f"{name}[]": []}
        for item in value:
            for path, leaves in _leaves(f"{name}[]", item):
                by_path.setdefault(path, []).extend(leaves)
        yield from by_path.items()
    else:
        yield name, [value]


def _largest(first: float | None, second: float | None) -> float | None:
    values = [value for value in (first, second) if value is not None]
    return max(values) if values else None


def _short(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)[:40]
