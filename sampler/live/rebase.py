"""Re-measure records that were taken without a known predecessor.

While the database is unreachable, a starting sampler treats the first chain of a session as its
baseline: the flow of the session counts from there. Before such a record is written, the stored
predecessor is looked up. If the session already has an earlier baseline, the record is measured
again from its own chain against that predecessor, and so are the records that follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import structlog

from sampler.errors import ChainRefused
from sampler.live.commit import RecordStore
from sampler.measure.remeasure import remeasure
from storage.market.calendar import session_on
from storage.record.row import Change, Flag, SlotRecord

log = structlog.get_logger()


class Rebaser:
    """Knows the baseline of each symbol's session, and measures records with another one again."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        #: Session and baseline (``flow_since``) of the newest stored row of each symbol and feed.
        self._baselines: dict[tuple[str, str], tuple[date, datetime]] = {}
        #: The newest rebased record of each symbol and feed: the predecessor of the next one, once
        #: it is stored.
        self._rebased: dict[tuple[str, str], SlotRecord] = {}

    async def rebase(self, records: Sequence[SlotRecord], *, spooled: bool) -> list[SlotRecord]:
        """Measure again the records that were taken without knowing their stored predecessor.

        Parameters
        ----------
        records : measured records, oldest first within a symbol.
        spooled : whether the records were measured while the database was away. Then the
            predecessor of a symbol without a known baseline is looked up for every record;
            otherwise only for records that say they are a baseline.

        Returns
        -------
        list of SlotRecord
            The records as they are to be stored, in the same order.

        Raises
        ------
        StoreError
            If a predecessor must be read and the database is away.
        """
        return [await self._rebase_record(record, spooled=spooled) for record in records]

    def note_written(self, changes: Sequence[Change]) -> None:
        """Remember the baselines of the rows that were written.

        Parameters
        ----------
        changes : what a transaction wrote.
        """
        for change in changes:
            for _, row in change.rows:
                self._baselines[row.symbol, row.source] = (row.expiration, row.flow_since)

    async def _rebase_record(self, record: SlotRecord, *, spooled: bool) -> SlotRecord:
        row = record.row
        feed = row.symbol, row.source
        session, baseline = self._baselines.get(feed, (None, None))
        if session == row.expiration:
            if row.flow_since == baseline:
                return record
        elif not spooled and Flag.BASELINE not in row.flags:
            return record
        predecessor = self._rebased.get(feed)
        if (
            predecessor is None
            or predecessor.row.expiration != row.expiration
            or predecessor.row.slot >= row.slot
        ):
            predecessor = await self._store.before(row.symbol, row.expiration, row.slot, row.source)
        if predecessor is None or predecessor.row.flow_since == row.flow_since:
            self._baselines[feed] = (row.expiration, row.flow_since)
            return record
        rebased = _measure_again(record, predecessor)
        self._rebased[feed] = rebased
        return rebased


def _measure_again(record: SlotRecord, predecessor: SlotRecord) -> SlotRecord:
    """Measure a record's chain against a predecessor; the record itself if that is impossible."""
    row = record.row
    context = {"symbol": row.symbol, "slot": row.slot, "after": predecessor.row.slot}
    session = session_on(row.expiration)
    assert session is not None
    try:
        rebased = remeasure(record, predecessor, session)
    except (ChainRefused, ValueError) as error:
        # The row is stored as it was measured. Its flags say that it is a baseline of its own.
        log.warning("not measured again", why=str(error), **context)
        return record
    log.info("measured again", **context)
    return rebased
