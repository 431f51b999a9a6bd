"""A stored session without its bars: newest row, gaps and sampled slots, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from api.series.epoch import epoch_seconds
from api.series.gaps import MissingSlots, missing_slots
from api.series.params import Window
from api.series.window import count_spooled, etag, surrounding_fields
from storage.market.calendar import Session
from storage.market.constants import GRID_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What the store has of a symbol's session beside its bars. Slots in seconds since 1970."""

    symbol: str
    day: date
    #: None where the market is closed all day.
    session: Session | None
    #: The fields of the session's newest row, each None where it has no row. Two more keys belong
    #: to the session: ``cursor``, its newest revision, and ``feed``, the name of its source.
    newest: Mapping[str, Any]
    #: The feed's declared delay; None for a symbol that nobody has sampled lately.
    delay: timedelta | None
    #: Reasons of the stored gaps by slot, in order.
    gaps: Mapping[int, str]
    #: Slots that have a row.
    sampled: frozenset[int]
    #: The first and the last slot that wait in a sampler's spool; None if none waits.
    waiting: tuple[int, int] | None = None

    @property
    def cursor(self) -> int:
        """The newest revision of the session; 0 for none."""
        return self.newest.get("cursor") or 0

    def filled(self, window: Window) -> bool:
        """Say whether a window has a row.

        Parameters
        ----------
        window : a window of the session.

        Returns
        -------
        bool
            True if it has.
        """
        return any(window.first_slot <= slot < window.until_slot for slot in self.sampled)

    def tag(self, window: Window) -> str:
        """Return the weak ETag of an answer about the session; see ``api.series.window.etag``.

        Parameters
        ----------
        window : a window of the session.

        Returns
        -------
        str
            The tag.
        """
        missing, unexplained = self._missing(window.due_slot)
        return etag(self.cursor, unexplained, spooled=count_spooled(missing))

    def count_spooled(self, until: datetime) -> int:
        """Count the slots that have passed, are not stored, and wait in a sampler's spool.

        Parameters
        ----------
        until : the feed's time: slots whose 30 seconds ended by then have passed.

        Returns
        -------
        int
            How many they are.
        """
        missing, _ = self._missing(epoch_seconds(until) - GRID_SECONDS)
        return count_spooled(missing)

    def _missing(self, due: int) -> tuple[list[MissingSlots], int]:
        return missing_slots(self.session, self.sampled, self.gaps, due, self.waiting)

    def surrounding_fields(self, window: Window, *, known: bool, now: datetime) -> dict[str, Any]:
        """Return the fields of an answer that follow its bars.

        Parameters
        ----------
        window : a window of the session.
        known : whether the symbol was ever sampled, or tried.
        now : the server's time, UTC.

        Returns
        -------
        dict
            The fields by name.
        """
        missing, _ = self._missing(window.due_slot)
        return surrounding_fields(
            window,
            missing,
            self.newest,
            cursor=self.cursor,
            filled=self.filled(window),
            known=known,
            now=now,
            delay=self.delay,
            gap_reasons=list(self.gaps.values()),
            feed=self.newest.get("feed"),
        )
