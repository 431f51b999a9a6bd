"""What all feeds share that read whole past sessions from files which a user has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from sampler.chain import Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources import url
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.calendar import Session, last_session, session_on


class DayFiles:
    """A file or a folder of files with past sessions. It has no quotes of now and no delay."""

    #: The vendor, as its URL begins.
    name: str
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

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows the vendor's name and a colon in a source's URL.

        Parameters
        ----------
        rest : a file, or a folder that is searched with all that it contains.
        keys : not needed.

        Returns
        -------
        DayFiles
            The source. No file has been opened yet.

        Raises
        ------
        UsageError
            If there is nothing at the path.
        """
        path, _ = url.split_options(rest)
        return cls(url.existing_path(path, cls.name))

    def chains_of(self, symbol: str, session: Session) -> Sequence[Frame | ChainRefused]:
        """Read the chains of a session. It is called in a thread of its own.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        sequence of Frame or ChainRefused
            In order of time; a refusal for each file that is left out.

        Raises
        ------
        ChainRefused
            If nothing of the session can be used.
        """
        raise NotImplementedError

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
            ``source_down`` without such a chain, or what reading the session raises.
        """
        session = session_on(last_session(now).day)
        assert session is not None
        chains = await asyncio.to_thread(self.chains_of, symbol, session)
        known = [c for c in chains if isinstance(c, Frame) and c.quoted_at <= now]
        if known:
            return known[-1]
        raise no_chain_quoted_by(now, symbol, self.path.name)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session in order.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain a slot and a refusal for each file that is left out; or one refusal alone,
            where nothing of the session can be used.
        """
        try:
            chains = await asyncio.to_thread(self.chains_of, symbol, session)
        except ChainRefused as refusal:
            yield refusal
            return
        for chain in chains:
            yield chain

    async def close(self) -> None:
        """Nothing is held open."""
