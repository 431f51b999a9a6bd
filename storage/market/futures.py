"""Index futures: which index each follows, and on which day it settles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from storage.market.calendar import session_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Future:
    """One index future with quarterly contracts that settle on the index's opening prices."""

    #: The index whose options have the same expiration.
    index: str
    #: The future's price over the index's as its options quote it: DJX is a hundredth of the Dow.
    multiple: float = 1.0


#: Futures by symbol.
FUTURES: dict[str, Future] = {
    "ES": Future(index="SPX"),
    "MES": Future(index="SPX"),
    "NQ": Future(index="NDX"),
    "MNQ": Future(index="NDX"),
    "RTY": Future(index="RUT"),
    "M2K": Future(index="RUT"),
    "YM": Future(index="DJX", multiple=100.0),
    "MYM": Future(index="DJX", multiple=100.0),
}
#: The indexes that have a future.
FUTURES_INDEXES = frozenset(future.index for future in FUTURES.values())
_FRIDAY = 4


def settlement_after(day: date) -> date:
    """Return the day on which the nearest quarterly contract settles that lives through a day.

    Contracts settle on the opening prices of the third Friday of March, June, September and
    December; where that is no session, of the session before it. On its day of settlement a
    contract is over when the session begins.

    Parameters
    ----------
    day : a session's day.

    Returns
    -------
    date
        The day of settlement, after ``day``.
    """
    year, month = day.year, -(-day.month // 3) * 3
    while True:
        first = date(year, month, 1)
        settles = first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)
        while session_on(settles) is None:
            settles -= timedelta(days=1)
        if settles > day:
            return settles
        year, month = (year + 1, 3) if month == 12 else (year, month + 3)
