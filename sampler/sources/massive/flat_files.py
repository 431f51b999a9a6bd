"""``massive:PATH``: past sessions from Massive's flat files of option trades and quotes.

The files are those of ``us_options_opra``, as they come: ``trades_v1`` and ``quotes_v1``, one of
each a day, with the day in its name. There is no price of the underlying and no open interest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from sampler.chain import Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources.massive.flat_frames import FlatSession, day_of_file, prefixes_of
from sampler.sources.massive.flat_rows import QUOTES, TRADES, columns_of, is_of, read_flat_rows
from sampler.sources.massive.parse import NAME
from storage.market.calendar import Session, last_session, session_on
from storage.record.row import Reason


class MassiveFlatFiles:
    """A folder of flat files. It has past sessions only, and declares no delay."""

    name = NAME
    facts = "no quotes of now; past sessions: those of the files"
    delay_seconds = 0
    synthetic = False
    remote = False

    def __init__(self, path: Path) -> None:
        """Begin without opening a file.

        Parameters
        ----------
        path : a file, or a folder that is searched with all that it contains.
        """
        self.path = path

    def newest(self, symbol: str) -> datetime | None:
        """Tell nothing: files would have to be read to their ends.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always.
        """
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
            ``bad_answer`` for a file that cannot be read, ``source_down`` without such a chain.
        """
        session = session_on(last_session(now).day)
        assert session is not None
        frames = await asyncio.to_thread(self._frames, symbol, session)
        known = [frame for frame in frames if frame.quoted_at <= now]
        if known:
            return known[-1]
        raise no_chain_quoted_by(now, symbol, self.path.name)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session in order, or one refusal.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain a slot; or ``bad_answer`` or ``no_zero_dte`` alone.
        """
        try:
            frames = await asyncio.to_thread(self._frames, symbol, session)
        except ChainRefused as refusal:
            yield refusal
            return
        for frame in frames:
            yield frame

    async def close(self) -> None:
        """Nothing is held open."""

    def _frames(self, symbol: str, session: Session) -> list[Frame]:
        files = [(path, columns_of(path)) for path in self._files(session)]
        if not files:
            return []
        prefixes = prefixes_of(symbol, session)
        collected = FlatSession(symbol, session)
        with_trades: list[str] = []
        all_trades = [path for path, columns in files if is_of(columns, TRADES)]
        for path in all_trades:
            begun = False
            for rows in read_flat_rows(path, prefixes, TRADES):
                collected.add_trades(rows)
                begun = True
            with_trades += [path.name] * begun
        if len(with_trades) > 1:
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: {' and '.join(with_trades[:2])} both have trades of {session.day},"
                " which would count twice",
            )
        if all_trades:
            collected.trades_are_complete()
        quotes = [path for path, columns in files if is_of(columns, QUOTES)]
        if not quotes:
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: {self.path.name} has no quotes of {session.day}: no file of quotes_v1",
            )
        for path in quotes:
            for rows in read_flat_rows(path, prefixes, QUOTES):
                collected.add_quotes(rows)
        if not collected.has_quotes:
            raise ChainRefused(
                Reason.NO_ZERO_DTE,
                f"{symbol}: no quote in {self.path.name} is of a contract that expires on"
                f" {session.day}",
            )
        return list(collected.frames())

    def _files(self, session: Session) -> list[Path]:
        """The files of a day, by their names."""
        names = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        return [
            path
            for path in names
            if path.name.lower().endswith((".csv", ".csv.gz"))
            and day_of_file(path.name) == session.day
            and path.is_file()
        ]
