"""On which weekdays something of an underlying expires, and since when: a second witness.

A feed that once answers without today's expiry and a symbol that has none today look the same.
Where the exchanges list an expiry for the weekday, such an answer is wrong. A symbol, a weekday or
a day that is not in the table is unknown, and the feed is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple


class Listing(NamedTuple):
    """Weekdays on which an expiry is listed, Monday 0, and the first day of it."""

    weekdays: frozenset[int]
    since: date
    #: The first day from which monthly expiry days count as well; None: from ``since`` on.
    monthly_since: date | None = None


#: Every session of the week.
DAILY = frozenset(range(5))
#: The weekly expiry. A week whose Friday is closed has its expiry on another day.
FRIDAYS = frozenset({4})
#: Monthly expiries of 2024 and 2025 that are no Friday: 2025-04-18 was Good Friday.
BEFORE_CLOSED_THIRD_FRIDAYS = frozenset({date(2025, 4, 17)})
#: The nine names to which the exchanges added Mondays and Wednesdays on 2026-01-26. Those two days
#: are left out around earnings, and the list is reviewed each quarter; so only Fridays are sure.
LARGEST_NAMES = ("AAPL", "AMZN", "AVGO", "GOOGL", "IBIT", "META", "MSFT", "NVDA", "TSLA")
#: Symbol → its listing. SPX: Cboe added Tuesdays on 2022-04-18 and Thursdays on 2022-05-11. SPY
#: and QQQ: Tuesdays and Thursdays since mid-November 2022; the table begins with the month after.
#: NDX and IWM: every session of the chains that we recorded, which begin on 2026-07-16. XSP:
#: Cboe's news of its night session (from 2022-12-11 on) says that Tuesdays and Thursdays were
#: listed by then, so that something expires on every business day; the table begins with the month
#: after. RUT: Cboe's news of 2023-12-21 lists Tuesdays and Thursdays from 2024-01-08 on, for an
#: expiry on every trading day; the table begins with the month after. On third Fridays its standard
#: contract settles in the morning. One that settles on the close was approved in the autumn of 2024
#: (SEC, Federal Register of 2024-10-02, volume 89, page 80291), and Cboe's page of the product says
#: that it is listed, not since when: the table begins with 2026.
LISTINGS: dict[str, Listing] = {
    "SPX": Listing(DAILY, date(2022, 5, 12)),
    "SPY": Listing(DAILY, date(2022, 12, 1)),
    "QQQ": Listing(DAILY, date(2022, 12, 1)),
    "NDX": Listing(DAILY, date(2026, 7, 16)),
    "IWM": Listing(DAILY, date(2026, 7, 16)),
    "XSP": Listing(DAILY, date(2023, 1, 1)),
    "RUT": Listing(DAILY, date(2024, 2, 1), monthly_since=date(2026, 1, 1)),
    **{symbol: Listing(FRIDAYS, date(2026, 1, 26)) for symbol in LARGEST_NAMES},
}


def listed_today(symbols: Sequence[str], day: date) -> str:
    """Say of which symbols something surely expires on a session, and of which the feed must tell.

    Parameters
    ----------
    symbols : the underlyings.
    day : a day with a session, New York.

    Returns
    -------
    str
        A sentence.
    """
    sure = [symbol for symbol in symbols if surely_expires(symbol, day)]
    rest = [symbol for symbol in symbols if symbol not in sure]
    words = f"on {day:%A}, {day}, something expires of {', '.join(sure) or 'no symbol for sure'}"
    return words + (f"; the feed tells whether of {', '.join(rest)}" if rest else "")


def surely_expires(symbol: str, day: date) -> bool:
    """Tell whether something of a symbol is known to expire on a session.

    Parameters
    ----------
    symbol : the underlying.
    day : a day with a session, New York.

    Returns
    -------
    bool
        False where it is not known: nothing may expire, or something may.
    """
    listing = LISTINGS.get(symbol)
    if listing is None or day < listing.since or day.weekday() not in listing.weekdays:
        return False
    later = listing.monthly_since
    return later is None or day >= later or not _has_monthly_expiry(day)


def _has_monthly_expiry(day: date) -> bool:
    """Whether standard contracts expire on a session: on a third Friday, or the day before it."""
    return (day.weekday() == 4 and 15 <= day.day <= 21) or day in BEFORE_CLOSED_THIRD_FRIDAYS
