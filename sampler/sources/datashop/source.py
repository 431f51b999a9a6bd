"""``datashop:PATH``: option quotes by interval, bought from Cboe DataShop, as files of a day each.

Only contracts that expire on the day of their quotes are read.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.datashop.parse import NAME, datashop_frames, read_datashop_rows
from sampler.sources.day_files import DayFiles
from storage.market.calendar import Session, session_on


class DataShop(DayFiles):
    """A file or a folder of DataShop files."""

    name = NAME

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
            session = session_on(day)
            chains = self.chains_of(symbol, session) if session else []
            frames = [chain for chain in chains if isinstance(chain, Frame)]
            if frames:
                return frames[-1].quoted_at
        return None

    def _files(self) -> list[tuple[Path, date | None]]:
        """Every file with the day in its name; one whose name has none is always looked into."""
        names = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        kinds = (".csv", ".gz", ".zip")
        return [(p, _day(p.name)) for p in names if p.suffix.lower() in kinds and p.is_file()]

    def chains_of(self, symbol: str, session: Session) -> list[Frame | ChainRefused]:
        """Read the chains of a session.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        list of Frame or ChainRefused
            ``bad_answer`` for each file that cannot be read, then the chains of the others.
        """
        refusals: list[Frame | ChainRefused] = []
        rows: list[list[str]] = []
        for path, named in self._files():
            if named in (None, session.day):
                try:
                    rows += read_datashop_rows(path, symbol, session.day)
                except ChainRefused as refusal:
                    refusals.append(refusal)
        return refusals + list(datashop_frames(rows, symbol, session))


def _day(name: str) -> date | None:
    """The day in a file's name, e.g. of ``UnderlyingOptionsIntervals_60sec_2030-01-15.zip``."""
    match = re.search(r"\d{4}-\d\d-\d\d", name)
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None
