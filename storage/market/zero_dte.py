"""Underlyings of which something expires on every session, and since when: a second witness.

A feed that once answers without today's expiry and a symbol that has none today look the same. For
the symbols below the exchanges list an expiry for each weekday, so such an answer is wrong. A
symbol or a day that is not in the table is unknown, and the feed is believed.
"""

from __future__ import annotations

from datetime import date

#: Symbol → the first day from which on every session has an expiry. SPX: Cboe added Tuesdays on
#: 2022-04-18 and Thursdays on 2022-05-11. SPY and QQQ: Tuesdays and Thursdays since mid-November
#: 2022; the table begins with the month after. NDX and IWM: every session of the chains that we
#: recorded, which begin on 2026-07-16.
EVERY_SESSION_SINCE: dict[str, date] = {
    "SPX": date(2022, 5, 12),
    "SPY": date(2022, 12, 1),
    "QQQ": date(2022, 12, 1),
    "NDX": date(2026, 7, 16),
    "IWM": date(2026, 7, 16),
}


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
    since = EVERY_SESSION_SINCE.get(symbol)
    return since is not None and day >= since
