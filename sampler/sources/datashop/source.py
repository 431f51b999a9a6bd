"""``datashop:PATH``: option quotes by interval, bought from Cboe DataShop, as files of a day each.

Only contracts that expire on the day of their quotes are read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Self

from sampler.chain import Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources import url
from sampler.sources.datashop.parse import NAME, datashop_frames, read_datashop_rows
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.calendar import Session, last_session, session_on


class DataShop:
    """A file or a folder of files. It has past sessions only, and declares no delay."""

    name = NAME
    facts = "no quotes of now; past sessions: those of the files"
    delay_seconds = 0
    synthetic = False
    remote = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows ``datashop:``.

        Parameters
        ----------
        rest : a file, or a folder that is searched with all that it contains.
        keys : not needed.

        Returns
        -------
        DataShop
            The source. No file has been opened yet.

        Raises
        ------
        UsageError
            If there is nothing at the path.
        """
        name, _ = url.split_options(rest)
        return cls(url.existing_path(name, NAME))

    def newest(self, symbol: str) -> datetime | None:
        """Return when the newest chain of a symbol was quoted.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        datetime or None
            UTC; None if no file with a day in its name has a chain of the symbol.
        """
        for day in sorted({day for _, day in self._files() if day}, reverse=True):
            frames = [frame for frame in self._frames(symbol, day) if isinstance(frame, Frame)]
            if frames:
                return frames[-1].quoted_at
        return None

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Return the newest chain that was quoted by a time, of that time's session.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            The chain.

        Raises
        ------
        ChainRefused
            ``source_down`` without such a chain.
        """
        day = last_session(now).day
        frames = await asyncio.to_thread(self._frames, symbol, day)
        known = [f for f in frames if isinstance(f, Frame) and f.quoted_at <= now]
        if known:
            return known[-1]
        raise no_chain_quoted_by(now, symbol, self.path.name)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session in order, and a refusal for each file that is unreadable.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain, or ``bad_answer``.
        """
        for frame in await asyncio.to_thread(self._frames, symbol, session.day):
            yield frame

    async def close(self) -> None:
        """Nothing is held open."""

    def _files(self) -> list[tuple[Path, date | None]]:
        """Every file with the day in its name; one whose name has none is always looked into."""
        names = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        kinds = (".csv", ".gz", ".zip")
        return [(p, _day(p.name)) for p in names if p.suffix.lower() in kinds and p.is_file()]

    def _frames(self, symbol: str, day: date) -> list[Frame | ChainRefused]:
        refusals: list[Frame | ChainRefused] = []
        rows: list[list[str]] = []
        for path, named in self._files():
            if named in (None, day):
                try:
                    rows += read_datashop_rows(path, symbol, day)
                except ChainRefused as refusal:
                    refusals.append(refusal)
        session = session_on(day)
        return refusals + (list(datashop_frames(rows, symbol, session)) if session else [])


def _day(name: str) -> date | None:
    """The day in a file's name, e.g. of ``UnderlyingOptionsIntervals_60sec_2030-01-15.zip``."""
    match = re.search(r"\d{4}-\d\d-\d\d", name)
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None
