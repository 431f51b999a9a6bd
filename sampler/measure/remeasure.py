"""Measure a stored record's chain again, and name the fields that came out otherwise."""

from __future__ import annotations

from typing import Any

from sampler.chain import chain_of_record
from sampler.measure.other_expiries import OtherExpiries
from sampler.measure.revision import keep_revisions
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import Session
from storage.record.row import SlotRecord


def remeasure(
    record: SlotRecord,
    previous: SlotRecord | None,
    session: Session,
    oi_confidence: float | None = None,
) -> SlotRecord:
    """Measure a stored record's chain again.

    Flags that later records gave the row stay with it: its own chain does not show them. Other
    expiries are not stored, so what they added is taken over from the row.

    Parameters
    ----------
    record : the stored record.
    previous : the record of the slot that it was differenced against; None if it is a baseline.
    session : the session of both.
    oi_confidence : κ to measure with; None for the row's own. [0-1]

    Returns
    -------
    SlotRecord
        The record as these formulas measure it.

    Raises
    ------
    ChainRefused
        If the chain makes no row any more.
    ValueError
        If the stored evidence is not readable.
    """
    chain = chain_of_record(record, session)
    stored = OtherExpiries(*(getattr(record.row.detail, name) for name in OtherExpiries._fields))
    again = measure_slot(
        chain,
        previous,
        oi_confidence=record.row.oi_confidence if oi_confidence is None else oi_confidence,
        other_expiries=lambda _: stored,
    )
    return keep_revisions(record, again)


def changed_fields(stored: SlotRecord, again: SlotRecord) -> dict[str, list[Any]]:
    """Return the fields of a row whose value is another one after a recomputation.

    Parameters
    ----------
    stored : the record as it is stored.
    again : the same slot's record, measured again.

    Returns
    -------
    dict
        Name of the field → [stored value, recomputed value]; empty if every field is equal.
    """
    was, now = stored.row.as_json(), again.row.as_json()
    return {name: [was[name], now[name]] for name in was if was[name] != now[name]}
