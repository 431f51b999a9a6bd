"""What a source promises to those who ask it for chains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from sampler.chain import Frame
from sampler.errors import ChainRefused
from storage.market.calendar import Session


class Source(Protocol):
    """What a source promises. Whoever opens it closes it; ``close`` comes last, once."""

    #: What rows will say they came from.
    name: str
    #: Delay and past sessions in a line, for ``flow-sampler sources``.
    facts: str
    #: How far its quotes lie behind, as declared. [s]
    delay_seconds: int
    #: Whether its chains are made up: they go to a dataset of their own.
    synthetic: bool
    #: Whether it reads a live vendor over the network, which a simulated clock must not do.
    remote: bool

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Return the newest frame that exists at a time. Symbols may be asked for concurrently.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract that the source has, as columns.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer`` or ``unchanged``: the source knows that it has nothing
            newer than what it delivered before.
        """
        ...

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield all frames of a past session in the order of their quotes.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A frame, or a refusal in place of one that cannot be read; the rest follows.

        Raises
        ------
        NoHistory
            When the source keeps no past frames.
        """
        ...

    def newest(self, symbol: str) -> datetime | None:
        """Return when the newest frame was quoted, where that is known beforehand.

        ``once`` reads a recording as of this time.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        datetime or None
            The end of a recording, UTC; None for every other source.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class AnnouncedHistory(Protocol):
    """A source whose past sessions cost requests or money, and that says beforehand how much."""

    async def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """Say what a backfill of some sessions will ask for.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            A sentence for the person who started it.
        """
        ...


@runtime_checkable
class KnowsCloses(Protocol):
    """A source that knows what a past session settled at."""

    async def settlement(self, symbol: str, session: Session) -> float | None:
        """Return the price at a session's close.

        Parameters
        ----------
        symbol : the underlying.
        session : a session that is over.

        Returns
        -------
        float or None
            The price; None where it is not known. [$]
        """
        ...


@runtime_checkable
class PaidHistory(Protocol):
    """A source whose past sessions are bought, and read from files afterwards."""

    def complete(self, symbol: str, sessions: Sequence[Session]) -> bool:
        """Tell whether all that some sessions need has been bought.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        bool
            False where something would have to be bought.
        """
        ...

    def buy(self, symbol: str, sessions: Sequence[Session]) -> AsyncIterator[str]:
        """Buy what is missing, within the cap of the settings.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Yields
        ------
        str
            A sentence for each file.

        Raises
        ------
        UsageError
            If it would cost more than the cap.
        FlowError
            If the vendor does not deliver.
        """
        ...
