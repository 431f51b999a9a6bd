"""One source for some symbols and another for the rest: ``SPX=theta:,SPY=tradier:,*=cboe:``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.protocol import AnnouncedHistory, PaidHistory, Source
from storage.config.source_url import OTHERS
from storage.errors import UsageError
from storage.market.calendar import Session


def source_for(source: Source, symbol: str) -> Source:
    """Return the source that a symbol's chains come from.

    Parameters
    ----------
    source : the configured source.
    symbol : the underlying.

    Returns
    -------
    Source
        The symbol's own where sources are named by symbol, else the source itself.

    Raises
    ------
    UsageError
        If the symbol has none.
    """
    return source.source_of(symbol) if isinstance(source, BySymbol) else source


class BySymbol:
    """Asks each symbol's own source. Symbols with the same URL share one, and its connections."""

    facts = "as each symbol's source"

    def __init__(self, urls: dict[str, str], open_one: Callable[[str], Source]) -> None:
        """Open every source once.

        Parameters
        ----------
        urls : symbol → URL, ``*`` for every other symbol.
        open_one : opens a URL.

        Raises
        ------
        UsageError
            If a source cannot be opened, or simulated and real quotes are mixed.
        """
        by_url: dict[str, Source] = {}
        for url in urls.values():
            if url not in by_url:
                by_url[url] = open_one(url)
        self._sources = list(by_url.values())
        self._by_symbol = {symbol: by_url[url] for symbol, url in urls.items()}
        if len({source.synthetic for source in self._sources}) > 1:
            raise UsageError("simulated and real quotes have a dataset each: they cannot be mixed")
        self.name = "+".join(dict.fromkeys(source.name for source in self._sources))
        #: The largest of all. [s]
        self.delay_seconds = max(source.delay_seconds for source in self._sources)
        self.synthetic = self._sources[0].synthetic
        self.remote = any(source.remote for source in self._sources)

    def source_of(self, symbol: str) -> Source:
        """The source of a symbol.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        Source
            Its own, or that of all others.

        Raises
        ------
        UsageError
            If it has none.
        """
        source = self._by_symbol.get(symbol) or self._by_symbol.get(OTHERS)
        if source is None:
            raise UsageError(f"FLOW_SOURCE: no source is named for {symbol}; *=… is for all others")
        return source

    def require(self, symbols: Iterable[str]) -> None:
        """Check that every symbol has a source.

        Parameters
        ----------
        symbols : what will be sampled.

        Raises
        ------
        UsageError
            If one has none.
        """
        for symbol in symbols:
            self.source_of(symbol)

    async def live(self, symbol: str, now: datetime) -> Frame:
        """See ``Source.live``; the symbol's own source answers, or refuses.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            The frame, under its source's own name.
        """
        return await self.source_of(symbol).live(symbol, now)

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """See ``Source.history``; the symbol's own source answers, or refuses.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        AsyncIterator
            The frames.
        """
        return self.source_of(symbol).history(symbol, session)

    async def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """See ``AnnouncedHistory.announce``.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            The sentence; empty where the symbol's source has nothing to announce.
        """
        source = self.source_of(symbol)
        return (
            await source.announce(symbol, sessions) if isinstance(source, AnnouncedHistory) else ""
        )

    def complete(self, symbol: str, sessions: Sequence[Session]) -> bool:
        """See ``PaidHistory.complete``.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        bool
            True too where the symbol's source sells nothing.
        """
        source = self.source_of(symbol)
        return source.complete(symbol, sessions) if isinstance(source, PaidHistory) else True

    async def buy(self, symbol: str, sessions: Sequence[Session]) -> AsyncIterator[str]:
        """See ``PaidHistory.buy``.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Yields
        ------
        str
            A sentence for each file; none where the symbol's source sells nothing.
        """
        source = self.source_of(symbol)
        if isinstance(source, PaidHistory):
            async for line in source.buy(symbol, sessions):
                yield line

    def newest(self, symbol: str) -> datetime | None:
        """See ``Source.newest``.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        datetime or None
            The end of a recording, UTC; None for every other source.
        """
        return self.source_of(symbol).newest(symbol)

    async def close(self) -> None:
        """Close every source, also when one of them fails to."""
        first: BaseException | None = None
        for source in self._sources:
            try:
                await source.close()
            except Exception as error:
                first = first or error
        if first is not None:
            raise first
