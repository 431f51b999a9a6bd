"""How each symbol's frozen forecasts came out, in memory for a minute."""

from __future__ import annotations

import time
from datetime import date, datetime
from typing import Any

from storage.postgres.store import Store
from storage.scorecard.summary import FROZEN, scorecard

#: A summary is read again after so long. [s]
_FRESH = 60.0


class FrozenScores:
    """The summary of each symbol's frozen forecasts, read again once a minute."""

    def __init__(self) -> None:
        self._summaries: dict[str, tuple[float, dict[str, Any] | None]] = {}

    async def of_symbol(self, store: Store, symbol: str, now: datetime) -> dict[str, Any] | None:
        """Return the summary of a symbol's frozen forecasts.

        Parameters
        ----------
        store : where the record is.
        symbol : the underlying.
        now : the market's time, UTC.

        Returns
        -------
        dict or None
            As ``scorecard`` returns it for this kind; None where nothing is frozen.

        Raises
        ------
        StoreError
            If the store is away.
        """
        until, summary = self._summaries.get(symbol, (0.0, None))
        if time.monotonic() >= until:
            lines = await store.forecasts.scores(symbol, date.min, date.max)
            frozen = [line for line in lines if line["kind"] == FROZEN]
            summary = scorecard(frozen, (), now=now, kinds=(FROZEN,))[FROZEN]
            self._summaries[symbol] = time.monotonic() + _FRESH, summary
        return summary
