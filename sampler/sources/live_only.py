"""What all feeds share that show the present only: no past sessions, nothing known beforehand."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sampler.chain import Frame
from sampler.errors import ChainRefused, NoHistory
from sampler.sources.http import HttpClient
from storage.market.calendar import Session


class LiveOnly:
    """The part of a source that is the same for every live feed without past chains."""

    name: str
    #: What asks the feed.
    http: HttpClient

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Refuse: the feed keeps no past chains.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        AsyncIterator
            Never.

        Raises
        ------
        NoHistory
            Always.
        """
        raise NoHistory(
            f"{self.name}: keeps no history, so none of {symbol} on {session.day}; "
            "backfill from a source that has past sessions: docs/sources.md lists them"
        )

    def newest(self, symbol: str) -> None:
        """Tell nothing: what is newest is only known by asking the feed.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always.
        """
        return

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()
