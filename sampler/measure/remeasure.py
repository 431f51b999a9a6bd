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
    """Measure a stored record's chain again, with the row's own κ unless another is given.

    Flags that later records gave the row stay with it: its own chain does not show them.
    ``previous`` is the record of the slot that it was differenced against. Other expiries are not
    kept, so what they added is taken over from the row.

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
    """Fields whose value is another one now: name → [stored, recomputed]."""
    was, now = stored.row.as_json(), again.row.as_json()
    return {name: [was[name], now[name]] for name in was if was[name] != now[name]}
