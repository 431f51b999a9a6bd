"""``databento:PATH``: past sessions from a folder of Databento's DBN files.

The folder holds files of the dataset OPRA.PILLAR in the schemas ``definition`` (the contracts), one
of ``cbbo-1s``, ``cbbo-1m`` and ``tcbbo`` (quotes), ``trades`` (volume) and ``statistics`` (open
interest), under whatever names. Only contracts that expire on their day are read. There is no price
of the underlying: spot comes from put-call parity.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.databento.dbn import (
    DEFINITION,
    QUOTES,
    STATISTIC,
    TRADE,
    TRADE_AND_QUOTE,
    TRADES,
    TRADES_AND_QUOTES,
    DbnHeader,
    read_dbn,
    read_dbn_header,
)
from sampler.sources.databento.frames import NAME, DatabentoSession, todays_contracts
from sampler.sources.day_files import DayFiles
from storage.market.calendar import Session
from storage.record.row import Reason


class DatabentoFiles(DayFiles):
    """A folder of DBN files."""

    name = NAME

    def chains_of(self, symbol: str, session: Session) -> list[Frame]:
        """Read the chains of a session.

        A session with a part of its trades would be wrong without a sign of it. So one file that
        cannot be read refuses them all.

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
            ``bad_answer`` for a file that cannot be read or no quotes, ``no_zero_dte`` where no
            contract expires on the day.
        """
        files = self._files(session.day)
        definitions: list[NDArray[Any]] = []
        for path, _ in files:
            definitions += [run for _, run in read_dbn(path, frozenset({DEFINITION}))]
        contracts = todays_contracts(definitions, symbol, session)
        if not len(contracts.instrument_id):
            if not files:
                return []
            raise ChainRefused(
                Reason.NO_ZERO_DTE,
                f"{symbol}: no definition in {self.path.name} expires on {session.day}",
            )
        collected = DatabentoSession(symbol, session, contracts)
        trades: list[list[NDArray[Any]]] = []
        spans: dict[int, list[tuple[int, int]]] = {TRADES: [], TRADES_AND_QUOTES: []}
        for path, header in files:
            trades.append([])
            if header.schema in spans:
                spans[header.schema].append((header.start, header.end))
            for kind, run in read_dbn(path, frozenset({TRADE, STATISTIC}) | QUOTES):
                if kind == TRADE:
                    trades[-1].append(collected.only_ours(run))
                elif kind == STATISTIC:
                    collected.add_statistics(run)
                else:
                    collected.add_quotes(run)
                if kind == TRADE_AND_QUOTE:
                    collected.add_sides(run)
        collected.cover_trades(spans[TRADES])
        collected.cover_sides(spans[TRADES_AND_QUOTES])
        for run in _once(trades):
            collected.add_trades(run)
        if not collected.has_quotes:
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: {self.path.name} has no quotes of {session.day}:"
                " no file of the schemas cbbo-1s, cbbo-1m or tcbbo",
            )
        return list(collected.frames())

    def _files(self, day: date) -> list[tuple[Path, DbnHeader]]:
        """The files that cover a day of UTC, in the order of their names."""
        names = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        first, last = (round(t.timestamp()) * 10**9 for t in (begin, begin + timedelta(days=1)))
        files = []
        for path in names:
            if (path == self.path or ".dbn" in path.suffixes) and path.is_file():
                header = read_dbn_header(path)
                if header.start < last and header.end > first:
                    files.append((path, header))
        return files


def _once(files: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    """The trades of some files; what two files have both counts once."""
    full = [np.concatenate(runs) for runs in files if sum(map(len, runs))]
    return full if len(full) < 2 else [np.unique(np.concatenate(full))]
