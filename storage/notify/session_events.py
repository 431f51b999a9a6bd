"""Read the samples of one symbol's session from the store, and find the events that they show."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from storage.market.calendar import Session, session_on
from storage.notify.market import (
    ARRAYS,
    COLUMNS,
    DOUBTFUL_FLOW,
    MarketEvents,
    MarketSample,
    flow_history,
)
from storage.notify.notice import Notice
from storage.notify.rules import Rule
from storage.postgres.store import Store


class SessionEvents:
    """Follows one symbol's session of one feed in the store, by some rules."""

    def __init__(
        self,
        store: Store,
        rules: Sequence[Rule],
        symbol: str,
        session: Session,
        source: str,
        *,
        dataset: str = "",
    ) -> None:
        """Begin before the session's first sample; nothing is read yet.

        Parameters
        ----------
        store : where samples are read.
        rules : the rules.
        symbol, session, source : what is followed.
        dataset : the dataset of the store.
        """
        self._store = store
        self._rules = [rule for rule in rules if rule.covers(symbol)]
        self._symbol, self._session, self.source = symbol, session, source
        self._dataset = dataset
        self._events: MarketEvents | None = None
        #: How far the newest sample's feed declares to lie behind. [s]
        self.delay_seconds = 0

    async def read(self) -> list[Notice]:
        """Read the samples that are new, and return the events that they show.

        Returns
        -------
        list of Notice
            The events, in the order of the samples.

        Raises
        ------
        StoreError
            If the database is away; the next call reads the same samples again.
        """
        if not self._rules:
            return []
        after = None if self._events is None else self._events.newest
        rows = await self._store.samples(
            self._symbol,
            self._session.day,
            self.source,
            after=after,
            columns=COLUMNS,
            arrays=ARRAYS,
        )
        if not rows:
            return []
        if self._events is None:
            self._events = await self._begin(rows[-1][1]["definitions"])
        samples = [MarketSample(slot, figures, arrays) for slot, figures, arrays in rows]
        self.delay_seconds = samples[-1].figures["delay_seconds"]
        # A session that is read as a whole takes a tenth of a second of computing.
        return await asyncio.to_thread(_take, self._events, samples)

    def wait(self, quoted: datetime) -> list[Notice]:
        """Return the events of a time without samples.

        Parameters
        ----------
        quoted : up to when there should be quotes: the market's time less the feed's delay. UTC.

        Returns
        -------
        list of Notice
            The events.
        """
        return [] if self._events is None else self._events.wait(quoted)

    async def _begin(self, definitions: str) -> MarketEvents:
        history = None
        counts = [int(r.numbers["sessions"]) for r in self._rules if r.kind == "hedge_flow"]
        if counts:
            stored = await self._store.flow_history(
                self._symbol,
                self.source,
                self._session.day,
                count=max(counts),
                definitions=definitions,
                without=DOUBTFUL_FLOW,
            )
            sessions = {day: session for day in stored if (session := session_on(day)) is not None}
            history = flow_history(stored, sessions)
        return MarketEvents(
            self._rules, self._symbol, self._session, dataset=self._dataset, history=history
        )


def _take(events: MarketEvents, samples: Sequence[MarketSample]) -> list[Notice]:
    return [event for sample in samples for event in events.take(sample)]
