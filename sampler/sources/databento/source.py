"""``databento:PATH``: past sessions from a folder of Databento's DBN files.

The folder holds files of the dataset OPRA.PILLAR in the schemas ``definition`` (the contracts), one
of ``cbbo-1s``, ``cbbo-1m`` and ``tcbbo`` (quotes), ``trades`` (volume) and ``statistics`` (open
interest), under whatever names. Only contracts that expire on their day are read. There is no price
of the underlying: spot comes from put-call parity.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources import url
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
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.calendar import Session, last_session, session_on
from storage.record.row import Reason


class DatabentoFiles:
    """A folder of DBN files. It has past sessions only, and declares no delay."""

    name = NAME
    facts = "no quotes of now; past sessions: those of the files"
    delay_seconds = 0
    synthetic = False
    remote = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows ``databento:``.

        Parameters
        ----------
        rest : a file, or a folder that is searched with all that it contains.
        keys : not needed.

        Returns
        -------
        DatabentoFiles
            The source. No file has been opened yet.

        Raises
        ------
        UsageError
            If there is nothing at the path.
        """
        name, _ = url.split_options(rest)
        return cls(url.existing_path(name, NAME))

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
            A chain a slot; or ``bad_answer`` alone, where a file of the day cannot be read: a
            session with a part of its trades would be wrong without a sign of it.
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
