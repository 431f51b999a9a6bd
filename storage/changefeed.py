"""Following what is stored: every later change once, in order, whatever dies meanwhile.

The live channel brings changes at once; the store has the truth. A message that does not go on
where its follower stands, a quiet channel and one that is away all make it look into the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from storage.errors import LiveError, StoreError
from storage.record.row import Change
from storage.redis.channel import ChannelMessage, LiveChannel

log = structlog.get_logger()

#: How often the store is asked while the channel is away. [s]
_POLL = 1.0
#: ... and while it is there: a sampler may die between storing and publishing. [s]
_RECONCILE = 5.0
#: Symbols, and rows of each, that are read at once by a follower far behind.
_SYMBOLS, _ROWS = 16, 400


class ChangeSource(Protocol):
    """The part of the store that a follower reads."""

    async def heads(self, symbols: Sequence[str] | None = None) -> dict[str, int]:
        """See ``Reader.heads``."""
        ...

    async def changes(self, after: Mapping[str, int], limit: int | None = None) -> list[Change]:
        """See ``Reader.changes``."""
        ...


async def follow_changes(
    store: ChangeSource,
    live: LiveChannel,
    heads: Mapping[str, int],
    symbols: Sequence[str] | None = None,
) -> AsyncGenerator[Change, None]:
    """Every change beyond ``heads``, per symbol in order, each once; ends when it is closed.

    ``symbols`` None is all of them, also those that appear later; a symbol that ``heads`` lacks is
    followed from its first change. Never raises because the channel or the store is away.
    """
    wanted = None if symbols is None else list(dict.fromkeys(symbols))
    follower = _Follower(store, wanted, dict(heads))
    async with aclosing(_listen(live, wanted)) as heard:
        async for news in heard:
            for change in follower.hear(news or []):
                yield change
            if news is None or follower.due:
                await follower.compare()
            while found := await follower.read():
                for change in found:
                    yield change


async def _listen(
    live: LiveChannel, symbols: Sequence[str] | None
) -> AsyncGenerator[list[ChannelMessage] | None, None]:
    """What the channel tells; None when the store must be asked. Never ends, never raises."""
    away = False
    while True:
        try:
            async with aclosing(live.listen(symbols)) as heard:
                # From the first item on nothing is missed; what was before it, the store has.
                async for _ in heard:
                    if away:
                        away = False
                        log.info("live channel is back")
                    yield None
                    break
                async for news in heard:
                    yield news
        except LiveError as error:
            if not away:
                away = True
                log.warning("live channel is away: the store is polled", error=str(error))
        yield None
        await asyncio.sleep(_POLL)


class _Follower:
    """Where somebody stands in each symbol, and which symbols have more."""

    def __init__(
        self, store: ChangeSource, symbols: list[str] | None, cursors: dict[str, int]
    ) -> None:
        self._store = store
        self._symbols = symbols
        self._cursors = cursors
        self._behind: list[str] = []
        #: When the store was last compared with; None while it is away.
        self._compared: float | None = None
        self._away = False

    @property
    def due(self) -> bool:
        """Whether it is time to compare with the store again."""
        return self._compared is None or time.monotonic() - self._compared > _RECONCILE

    def hear(self, news: Sequence[ChannelMessage]) -> list[Change]:
        """What is new in what the channel tells; symbols with more than that are noted."""
        fresh = []
        for told in news:
            for change in told.changes:
                # What does not go on from here is a sign that there is more than this.
                if change.after == self._cursor(told.symbol) < change.revision:
                    self._cursors[told.symbol] = change.revision
                    fresh.append(change)
            if told.revision > self._cursor(told.symbol):
                self._behind.append(told.symbol)
        return fresh

    async def compare(self) -> None:
        """Note the symbols that the store knows more of."""
        try:
            heads = await self._store.heads(self._symbols)
        except StoreError as error:
            self._missed(error)
            return
        self._behind = [symbol for symbol, head in heads.items() if head > self._cursor(symbol)]
        self._compared = time.monotonic()
        if self._away:
            self._away = False
            log.info("store is back")

    async def read(self) -> list[Change]:
        """The next part of what was noted; empty if there is nothing, or no store."""
        part = list(dict.fromkeys(self._behind))[:_SYMBOLS]
        if not part:
            return []
        try:
            found = await self._store.changes({s: self._cursor(s) for s in part}, _ROWS)
        except StoreError as error:
            self._missed(error)
            return []
        done = set(part) - {change.symbol for change in found if len(change.rows) >= _ROWS}
        self._behind = [symbol for symbol in self._behind if symbol not in done]
        for change in found:
            self._cursors[change.symbol] = change.revision
        return found or await self.read()

    def _cursor(self, symbol: str) -> int:
        return self._cursors.get(symbol, 0)

    def _missed(self, error: StoreError) -> None:
        # All of it is compared again once the store is back.
        self._compared, self._behind = None, []
        if not self._away:
            self._away = True
            log.warning("store is away: what it has is read later", error=str(error))
