"""Records that were measured while nobody could say what they go on from, measured again on it.

A sampler that starts while the database is away takes a symbol's first chain for the session's
baseline, and goes on from there. Whether it is one shows when it lands: a session has one baseline,
that of the row before. What counts from another one is measured again, from its own chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import structlog

from sampler.errors import Refused
from sampler.live.commit import RecordStore
from sampler.measure.remeasure import remeasure
from storage.market.calendar import session_on
from storage.record.row import Change, Flag, SlotRecord

log = structlog.get_logger()


class Rebaser:
    """What each symbol's flow counts from, as far as this process has seen it stored."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        #: Of the newest row that was written: session and baseline.
        self._known: dict[str, tuple[date, datetime]] = {}
        #: The newest record that was measured again; the next one may go on from it.
        self._again: dict[str, SlotRecord] = {}

    async def rebase(self, records: Sequence[SlotRecord], *, waited: bool) -> list[SlotRecord]:
        """The records as they are to be stored.

        ``waited`` says that the database was away when they were measured: one of a symbol that
        nothing is known of is looked at beside the stored row before it. A baseline always is.

        Raises
        ------
        StoreError
            If the database is away.
        """
        return [await self._rebase_record(record, waited=waited) for record in records]

    def note_written(self, changes: Sequence[Change]) -> None:
        """Take in what was written."""
        for change in changes:
            for _, row in change.rows:
                self._known[change.symbol] = (row.expiration, row.flow_since)

    async def _rebase_record(self, record: SlotRecord, *, waited: bool) -> SlotRecord:
        row = record.row
        session, baseline = self._known.get(row.symbol, (None, None))
        if session == row.expiration:
            if row.flow_since == baseline:
                return record
        elif not waited and Flag.BASELINE not in row.flags:
            return record
        previous = self._again.get(row.symbol)
        if (
            previous is None
            or previous.row.expiration != row.expiration
            or previous.row.slot >= row.slot
        ):
            previous = await self._store.before(row.symbol, row.expiration, row.slot)
        if previous is None or previous.row.flow_since == row.flow_since:
            self._known[row.symbol] = (row.expiration, row.flow_since)
            return record
        again = _measure_again(record, previous)
        self._again[row.symbol] = again
        return again


def _measure_again(record: SlotRecord, previous: SlotRecord) -> SlotRecord:
    row = record.row
    where = {"symbol": row.symbol, "slot": row.slot, "after": previous.row.slot}
    session = session_on(row.expiration)
    assert session is not None
    try:
        again = remeasure(record, previous, session)
    except (Refused, ValueError) as error:
        # It is a row all the same, on a baseline of its own, and says so.
        log.warning("not measured again", why=str(error), **where)
        return record
    log.info("measured again", **where)
    return again
