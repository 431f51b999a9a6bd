"""Where chains come from: one file a source, opened by URL.

A source knows its vendor's format and its network, and nothing else: no store, no clock, no log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.cboe import Cboe
from sampler.sources.exported import ExportedChains
from sampler.sources.recorded import Recorded
from sampler.sources.synthetic.source import Synthetic
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
        """The newest frame that exists at ``now``.

        Raises ``ChainRefused``: ``source_down``, ``bad_answer`` or ``unchanged`` (the source knows
        that it has nothing newer than what it delivered before). Other symbols may be asked for at
        the same time.
        """
        ...

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """All frames of a past session in the order of their quotes.

        A frame that cannot be read comes as a ``ChainRefused`` in its place; the rest follows.
        Raises ``UsageError`` when the source keeps no history.
        """
        ...

    def newest(self, symbol: str) -> datetime | None:
        """When its newest frame was quoted, where that is known beforehand: a recording's end.

        It is the time at which ``once`` reads a recording; None for every other source.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


#: URL scheme → what opens it, given the rest of the URL.
SOURCES: dict[str, Callable[[str], Source]] = {
    "cboe": Cboe.open,
    "recorded": Recorded.open,
    "parquet": ExportedChains.open,
    "synthetic": Synthetic.open,
}


def open_source(url: str) -> Source:
    """The source that a URL names, e.g. ``cboe:``, ``recorded:chains/``, ``synthetic:?seed=7``.

    Raises
    ------
    UsageError
        For an unknown scheme, an unknown option, or a missing file.
    """
    scheme, _, rest = url.partition(":")
    if scheme not in SOURCES:
        known = ", ".join(f"{name}:" for name in SOURCES)
        raise UsageError(f"unknown source {url[:60]!r}; the known ones are {known}")
    return SOURCES[scheme](rest)
