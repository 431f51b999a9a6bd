"""Later doubts about earlier rows of a session: read from a record, and added to the rows as flags.

A feed's fault is sometimes known only later: a volume that is withdrawn, a spike that comes back.
The record that knows it says so in its evidence. Whoever stores the record adds the flags to the
earlier rows; their figures stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from storage.record.row import Flag, Row, SlotRecord


@dataclass(frozen=True, slots=True)
class Doubt:
    """A flag that earlier rows should have carried."""

    #: Rows quoted at this time or later, and before the record that has the doubt, are in doubt.
    since: datetime
    flag: Flag
    #: What the flag means, as in the row's ``flag_amounts``.
    amounts: Mapping[str, float] = field(default_factory=dict)

    def as_note(self) -> list[Any]:
        """Plain values for the evidence."""
        return [self.since.isoformat(), str(self.flag), dict(self.amounts)]


def doubts_of(record: SlotRecord) -> list[Doubt]:
    """Return the doubts about earlier rows that a record's evidence holds.

    Parameters
    ----------
    record : a measured record.

    Returns
    -------
    list of Doubt
        The doubts; empty if the record has none.

    Raises
    ------
    ValueError
        If the record's evidence is not readable.
    """
    return [
        Doubt(datetime.fromisoformat(since), Flag(flag), amounts)
        for since, flag, amounts in record.state[1].get("doubts", ())
    ]


def revise(record: SlotRecord, doubts: Iterable[Doubt], known_at: datetime) -> SlotRecord:
    """Return a record with the flags of the doubts that concern it; unchanged if none do.

    Parameters
    ----------
    record : an earlier record of the session.
    doubts : the doubts in a later record's evidence.
    known_at : when the quotes of that later record were made, UTC.

    Returns
    -------
    SlotRecord
        The record with the flags added, and ``revised`` with how much later each was known. [s]
    """
    row = record.row
    new_doubts = [
        d for d in doubts if d.since <= row.quoted_at < known_at and not _carries(row, d.flag)
    ]
    if not new_doubts:
        return record
    later = round((known_at - row.quoted_at).total_seconds(), 3)
    return _with_flags(record, {d.flag: (dict(d.amounts), later) for d in new_doubts})


def keep_revisions(stored: SlotRecord, again: SlotRecord) -> SlotRecord:
    """Give a record that was measured again the flags that later records gave the stored one.

    Parameters
    ----------
    stored : the record as it is stored.
    again : the same slot's record, measured again.

    Returns
    -------
    SlotRecord
        The new record, with the flags that its own chain cannot show.
    """
    if Flag.REVISED not in stored.row.flags:
        return again
    amounts = stored.row.detail.flag_amounts or {}
    added = {
        Flag(name): (dict(amounts.get(name, {})), later)
        for name, later in amounts.get(Flag.REVISED, {}).items()
        if name not in again.row.flags
    }
    return _with_flags(again, added) if added else again


def first_doubted(doubts: Sequence[Doubt]) -> datetime:
    """Return the time from which on rows are in doubt.

    Parameters
    ----------
    doubts : at least one doubt.

    Returns
    -------
    datetime
        The earliest ``since`` of them, UTC.
    """
    return min(doubt.since for doubt in doubts)


def _carries(row: Row, flag: Flag) -> bool:
    return flag in row.flags


def _with_flags(
    record: SlotRecord, added: Mapping[Flag, tuple[dict[str, float], float]]
) -> SlotRecord:
    """Add flags, what each means, and how much later it was known. [s]"""
    row = record.row
    amounts = {name: dict(values) for name, values in (row.detail.flag_amounts or {}).items()}
    revised = amounts.pop(Flag.REVISED, {})
    for flag, (values, later) in added.items():
        if values:
            amounts[str(flag)] = values
        revised[str(flag)] = later
    amounts[str(Flag.REVISED)] = revised
    names = [name for name in row.flags if name != Flag.REVISED]
    flags = (*names, *(str(flag) for flag in added), str(Flag.REVISED))
    row = replace(row, flags=flags, detail=replace(row.detail, flag_amounts=amounts))
    return SlotRecord(row=row, profile=record.profile, evidence=record.evidence)
