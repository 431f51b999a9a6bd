"""A sample, its session, and the moment that an answer describes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from storage.market.calendar import Session
from storage.market.constants import YEAR_SECONDS
from storage.record.flag_figures import figures_in_doubt
from storage.record.row import SlotRecord

#: From here to the close an answer warns. [s]
WARNING_SECONDS = 300
#: No time to the close is said to be shorter than this by pin-risk. [h]
SHORTEST_HOURS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The newest sample that a moment knew.

    Time to the close counts from the quotes, as every formula does: on a feed that lies behind, the
    answer agrees with itself, and ``as_of`` less ``quoted_at`` says by how much it is old.
    """

    record: SlotRecord
    session: Session
    moment: datetime

    @property
    def seconds_left(self) -> float:
        """From the quotes to the close; 0 from the close on. [s]"""
        return max((self.session.close - self.record.row.quoted_at).total_seconds(), 0.0)

    @property
    def closing(self) -> bool:
        """Whether the quotes are of the session's last five minutes."""
        return self.seconds_left <= WARNING_SECONDS

    @property
    def age(self) -> float:
        """From the quotes to the moment. [s]"""
        return max((self.moment - self.record.row.quoted_at).total_seconds(), 0.0)

    @property
    def atm_iv(self) -> float | None:
        """At-the-money volatility. [decimal]

        In the last minute, when a row has none because it is auction noise, the smile at the
        forward all the same: here it may not be missing, and the answer warns.
        """
        row, profile = self.record.row, self.record.profile
        if row.atm_iv is not None or not len(profile["strike"]):
            return row.atm_iv
        return float(np.interp(row.forward, profile["strike"], profile["iv"]))

    @property
    def remaining(self) -> float | None:
        """One standard deviation of what is left of the session. [$]"""
        row = self.record.row
        return row.remaining_1sd or self._deviation(max(row.years_to_expiry, 0.0))

    @property
    def whole_day(self) -> float | None:
        """One standard deviation of a whole session. [$]"""
        length = (self.session.close - self.session.open).total_seconds()
        stored: float | None = self.record.row.detail.implied_1sd
        return stored or self._deviation(length / YEAR_SECONDS)

    def _deviation(self, years: float) -> float | None:
        sigma = self.atm_iv
        return None if sigma is None else self.record.row.forward * sigma * math.sqrt(years)

    def time_fields(self) -> dict[str, Any]:
        """What every such answer says of the time."""
        row = self.record.row
        return {
            "as_of": self.moment,
            "market_open": self.session.open <= self.moment < self.session.close,
            "time_to_close_hours": round(self.seconds_left / 3600, 4),
            "time_to_close_pct": round(100 * self.session.elapsed(row.quoted_at), 4),
        }

    def provenance_fields(self) -> dict[str, Any]:
        """What an answer is made of."""
        row = self.record.row
        amounts = row.detail.flag_amounts
        doubts = figures_in_doubt(row.flags)
        return {
            **({} if amounts is None else {"flag_amounts": amounts}),
            **({"flag_figures": doubts} if doubts else {}),
            "slot": row.slot,
            "newest": row.quoted_at,
            "feed": row.source,
            "source": row.source,
            "delay_seconds": row.delay_seconds,
            "flow_since": row.flow_since,
            "classified_share": row.classified_share,
            "definitions": row.definitions,
            "oi_confidence": row.oi_confidence,
            "flags": row.flags,
        }
