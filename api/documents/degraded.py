"""Answers of 200 that have no chain to show: no expiry on the day, or no open session to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any


def no_zero_dte(
    symbol: str, day: date, gaps: Iterable[Mapping[str, Any]], *, today: date
) -> dict[str, Any]:
    """Answer that nothing of the symbol expires on the day.

    Parameters
    ----------
    symbol : the symbol.
    day : the day asked for.
    gaps : gaps of the day, in order; the last one that names a next expiry counts.
    today : today, New York.

    Returns
    -------
    dict
        The answer; ``next_zero_dte_expiry`` is the next one as the source listed it, else None.
    """
    listed = [gap["next_expiry"] for gap in gaps if gap["next_expiry"] is not None]
    upcoming = listed[-1] if listed else None
    on = "today" if day == today else f"on {day}"
    message = f"No 0DTE expiry for {symbol} {on} ({day:%A})."
    if upcoming is not None:
        message += f" Next expiry: {upcoming}."
    return {
        "symbol": symbol,
        "no_zero_dte": True,
        "next_zero_dte_expiry": upcoming,
        "message": message,
    }


def session_closed(
    symbol: str, reason: str, *, last: date, stored: date | None, day: date, opened: bool
) -> dict[str, Any]:
    """Answer that there is no session to show.

    Parameters
    ----------
    symbol : the symbol.
    reason : why, as a word.
    last : the newest session before now.
    stored : the symbol's newest session with samples; None without one.
    day : the day asked for.
    opened : whether its session is open, but nothing of it is stored yet.

    Returns
    -------
    dict
        The answer.
    """
    message = f"Market closed. Last session: {last}."
    if opened:
        message = f"No sample of {day} yet ({reason}). Last session: {last}."
    return {
        "symbol": symbol,
        "session_closed": True,
        "last_session": last,
        "message": message,
        "reason": reason,
        "last_stored_session": stored,
    }


def exposure_fields(spot: float | None, moment: datetime, *, market_open: bool) -> dict[str, Any]:
    """Return the fields that the exposure's degraded answers have beside the snapshot's.

    Parameters
    ----------
    spot : the newest known price of the underlying; None without one. [$]
    moment : the moment that the answer stands for.
    market_open : whether the market is open then.

    Returns
    -------
    dict
        The fields by name.
    """
    return {
        "underlying_price": spot,
        "expiration": None,
        "as_of": moment,
        "market_open": market_open,
    }
