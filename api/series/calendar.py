"""The market's calendar for those who may not wait: a year's takes a second to load."""

from __future__ import annotations

import asyncio
from datetime import date

from storage.market.calendar import Session, session_on

#: Years that are loaded.
_LOADED: set[int] = set()


async def calendar(day: date) -> Session | None:
    """The session of a day; a year is loaded in a thread the first time somebody asks for it."""
    if day.year not in _LOADED:
        await asyncio.to_thread(session_on, day)
        _LOADED.add(day.year)
    return session_on(day)
