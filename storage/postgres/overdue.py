"""Judge for how long a symbol that should have a row has had nstate. Pure; the caller reads.

A symbol is due if a daemon samples it, something of it expires today, and its feed has reached the
session. A dead sampler, a dead feed and a database that takes no rows look alike from here: the
newest row grows old.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from storage.market.calendar import Session
from storage.market.constants import SLOT_WIDTH
from storage.market.zero_dte import surely_expires
from storage.record.row import Reason

#: Options of some names begin to trade minutes after the open. For so long that is no fault.
_OPENING = timedelta(minutes=15)
#: A symbol without a row for so long beyond its feed's delay counts as without rows. [market s]
OVERDUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledSymbol:
    """A symbol that a daemon sampled in a session or in the one before, and how far it came."""

    symbol: str
    #: The newer of the two days on which a daemon noted that it samples the symbol.
    noted: date
    #: The newest slot of the session that has a row; None without state.
    row: datetime | None
    #: By how much the feed declares its quotes to be delayed.
    delay: timedelta
    #: The newest slot of the session that is a gap, and its reason; None without state.
    gap: datetime | None
    reason: Reason | None


def symbols_of_today(sampled: Iterable[SampledSymbol], session: Session) -> list[SampledSymbol]:
    """Return the symbols that a sampler should sample in a session.

    Parameters
    ----------
    sampled : the symbols, with what is stored of ``session``.
    session : the session of today.

    Returns
    -------
    list of SampledSymbol
        Without symbols that nobody samples any more, and symbols of which nothing is known to
        expire today.
    """
    sampled = list(sampled)
    # If a sampler is there, it has noted its symbols of today. If none is, those of the session
    # before are taken to be wanted.
    somebody_samples = any(state.noted == session.day for state in sampled)
    return [
        state
        for state in sampled
        if state.noted == session.day
        or (not somebody_samples and surely_expires(state.symbol, session.day))
        if state.row is not None or state.reason is not Reason.NO_ZERO_DTE
    ]


def is_due(state: SampledSymbol, session: Session, now: datetime) -> bool:
    """Say whether a symbol's feed is within the session now.

    Parameters
    ----------
    state : the symbol.
    session : the session of today.
    now : the market's time, UTC.

    Returns
    -------
    bool
        True from the open to the close, later by the feed's delay.
    """
    return session.open <= now - state.delay < session.close + SLOT_WIDTH


def overdue_seconds(
    sampled: Iterable[SampledSymbol], session: Session, now: datetime
) -> dict[str, float]:
    """Return for how long each symbol has had no row that should have come.

    Parameters
    ----------
    sampled : the symbols, with what is stored of ``session``.
    session : the session of today.
    now : the market's time, UTC.

    Returns
    -------
    dict of str to float
        Seconds of market time from the end of the newest row's slot, or from the open, to the
        newest quotes that the feed can have; 0 while nothing is due. Left out: symbols that
        nobody samples any more, and symbols of which nothing is known to expire today.
    """
    overdue = {}
    for state in symbols_of_today(sampled, session):
        quoted = now - state.delay
        if not is_due(state, session, now):
            overdue[state.symbol] = 0.0
            continue
        opening = state.reason is Reason.NOT_OPEN and quoted < session.open + _OPENING
        since = session.open if state.row is None else state.row + SLOT_WIDTH
        overdue[state.symbol] = 0.0 if opening else max((quoted - since).total_seconds(), 0.0)
    return overdue
