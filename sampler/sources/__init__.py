"""Where chains come from: one file a source, opened by URL.

A source knows its vendor's format and its network, and nothing else: no store, no clock, and no log
but for what it alone can know, such as a login that is about to end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.cboe import Cboe
from sampler.sources.databento.source import DatabentoFiles
from sampler.sources.datashop.source import DataShop
from sampler.sources.exported import ExportedChains
from sampler.sources.massive.source import Massive
from sampler.sources.recorded import Recorded
from sampler.sources.schwab.source import Schwab
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta.source import Theta
from sampler.sources.tradier.source import Tradier
from storage.config.vendor_keys import NO_KEYS, VendorKeys, refuse_key
from storage.errors import UsageError
from storage.market.calendar import Session


class Source(Protocol):
    """What a source promises. Whoever opens it closes it; ``close`` comes last, once."""

    #: What rows will say they came from.
    name: str
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
        """Let go of connections."""
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


#: URL scheme → what opens it, with the rest of the URL and the vendors' keys.
SOURCES: dict[str, Callable[[str, VendorKeys], Source]] = {
    "cboe": Cboe.open,
    "recorded": Recorded.open,
    "parquet": ExportedChains.open,
    "synthetic": Synthetic.open,
    "tradier": Tradier.open,
    "massive": Massive.open,
    "theta": Theta.open,
    "schwab": Schwab.open,
    "datashop": DataShop.open,
    "databento": DatabentoFiles.open,
}


def open_source(url: str, keys: VendorKeys = NO_KEYS) -> Source:
    """The source that a URL names, e.g. ``cboe:``, ``recorded:chains/``, ``synthetic:?seed=7``.

    Parameters
    ----------
    url : A scheme of ``SOURCES``, a colon, and what that source reads from the rest.
    keys : the vendors' keys; a source takes its own.

    Returns
    -------
    Source
        The source. Nothing has been fetched yet.

    Raises
    ------
    UsageError
        For an unknown scheme, an unknown option, a missing file or key, or a URL that carries a
        key.
    """
    scheme, _, rest = refuse_key(url).partition(":")
    if scheme not in SOURCES:
        known = ", ".join(f"{name}:" for name in SOURCES)
        raise UsageError(f"unknown source {url[:60]!r}; the known ones are {known}")
    return SOURCES[scheme](rest, keys)
