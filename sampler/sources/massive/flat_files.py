"""``massive:PATH``: past sessions from Massive's flat files of option trades and quotes.

The files are those of ``us_options_opra``, as they come: ``trades_v1`` and ``quotes_v1``, one of
each a day, with the day in its name. There is no price of the underlying and no open interest.
"""

from __future__ import annotations

from pathlib import Path

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.day_files import DayFiles
from sampler.sources.massive.flat_frames import FlatSession, day_of_file, prefixes_of
from sampler.sources.massive.flat_rows import QUOTES, TRADES, columns_of, is_of, read_flat_rows
from sampler.sources.massive.parse import NAME
from storage.market.calendar import Session
from storage.record.row import Reason


class MassiveFlatFiles(DayFiles):
    """A folder of flat files."""

    name = NAME

    def chains_of(self, symbol: str, session: Session) -> list[Frame]:
        """Read the chains of a session.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        list of Frame
            A chain a slot; empty without a file of the day.

        Raises
        ------
        ChainRefused
            ``bad_answer`` for a file that cannot be read, two files of trades, or no quotes;
            ``no_zero_dte`` where no contract expires on the day.
        """
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
