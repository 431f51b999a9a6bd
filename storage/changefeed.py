"""The changefeed: every change of the store once and in order, whatever fails meanwhile.

The live channel brings changes at once, and the store has all of them. A follower reads the store
when a message does not continue from its cursor, when the channel is away, and every few seconds.
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

#: How often the store is read while the channel is away. [s]
_POLL = 1.0
#: How often the store is read while the channel is there, as a sampler may die after it has stored
#: and before it publishes. [s]
_RECONCILE = 5.0
#: How many symbols, and rows of each, a follower that is behind reads in one batch.
_SYMBOLS, _ROWS = 16, 400


class ContactListener(Protocol):
    """Is called after each comparison with the store."""

    def __call__(self, *, answered: bool) -> None:
        """Learn whether the store answered.

        Parameters
        ----------
        answered : False if it is away.
        """
        ...


class ChangeSource(Protocol):
    """Where a follower reads changes: a store."""

    async def heads(self, symbols: Sequence[str] | None = None) -> dict[str, int]:
        """Return the newest revision of each symbol, as ``ChangeReader.heads`` does.

        Parameters
        ----------
        symbols : the symbols; None for all.

        Returns
        -------
        dict
            Revision by symbol.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...

    async def changes(self, after: Mapping[str, int], limit: int | None = None) -> list[Change]:
        """Return what has changed beyond some cursors, as ``ChangeReader.changes`` does.

        Parameters
        ----------
        after : a cursor a symbol: the revision that the caller has.
        limit : at most so many rows a symbol.

        Returns
        -------
        list of Change
            One change of each symbol that has changed.

        Raises
        ------
        StoreError
            If the database is away.
        """
        ...


async def follow_changes(
    store: ChangeSource,
    live: LiveChannel,
    heads: Mapping[str, int],
    symbols: Sequence[str] | None = None,
    on_contact: ContactListener | None = None,
) -> AsyncGenerator[Change, None]:
    """Iterate over every later change, each once and in order of its symbol, until it is closed.

    It does not raise if the channel or the store is away.

    Parameters
    ----------
    store, live : where changes are read, and where they are announced.
    heads : the revision of each symbol that the caller has. A symbol that is missing here is
        followed from its first change.
    symbols : the symbols to follow; None for all, also those that appear later.
    on_contact : called after each comparison with the store; nobody is called if left out.

    Yields
    ------
    Change
        A change; a symbol's changes come in the order of their revisions, without holes.
    """
    followed = None if symbols is None else list(dict.fromkeys(symbols))
    follower = _Follower(store, followed, dict(heads), on_contact)
    async with aclosing(_listen(live, followed)) as messages:
        async for batch in messages:
            for change in follower.accept(batch or []):
                yield change
            if batch is None or follower.due:
                await follower.compare()
            while changes := await follower.read():
                for change in changes:
                    yield change


async def _listen(
    live: LiveChannel, symbols: Sequence[str] | None
) -> AsyncGenerator[list[ChannelMessage] | None, None]:
    """Iterate over the channel's messages; None says that the store must be compared with.

    It never ends, and does not raise if the channel is away.
    """
    away = False
    while True:
        try:
            async with aclosing(live.listen(symbols)) as messages:
                # From the first item on no message is missed. What was published before, the store
                # has.
                async for _ in messages:
                    if away:
                        away = False
                        log.info("live channel is back")
                    yield None
                    break
                async for batch in messages:
                    yield batch
        except LiveError as error:
            if not away:
                away = True
                log.warning("live channel is away: the store is polled", error=str(error))
        yield None
        await asyncio.sleep(_POLL)


class _Follower:
    """The cursors of one follower, and the symbols of which the store has more."""

    def __init__(
        self,
        store: ChangeSource,
        symbols: list[str] | None,
        cursors: dict[str, int],
        on_contact: ContactListener | None,
    ) -> None:
        self._store = store
        self._on_contact = on_contact
        self._symbols = symbols
        self._cursors = cursors
        self._behind: list[str] = []
        #: When the heads of the store were last read; None while it is away.
        self._compared: float | None = None
        self._away = False

    @property
    def due(self) -> bool:
        """Whether the heads of the store must be read again."""
        return self._compared is None or time.monotonic() - self._compared > _RECONCILE

    def accept(self, batch: Sequence[ChannelMessage]) -> list[Change]:
        """Return the changes of messages that continue from the cursors.

        Symbols of which there is more are noted, to be read from the store.
        """
        fresh = []
        for message in batch:
            for change in message.changes:
                # A change that does not continue from the cursor is left to the store.
                if change.after == self._cursor(message.symbol) < change.revision:
                    self._cursors[message.symbol] = change.revision
                    fresh.append(change)
            if message.revision > self._cursor(message.symbol):
                self._behind.append(message.symbol)
        return fresh

    async def compare(self) -> None:
        """Note the symbols of which the store has more."""
        try:
            heads = await self._store.heads(self._symbols)
        except StoreError as error:
            self._note_away(error)
            return
        self._behind = [symbol for symbol, head in heads.items() if head > self._cursor(symbol)]
        self._compared = time.monotonic()
        self._report_contact(answered=True)
        if self._away:
            self._away = False
            log.info("store is back")

    async def read(self) -> list[Change]:
        """Read the next batch of noted symbols; empty if none is left, or the store is away."""
        symbols = list(dict.fromkeys(self._behind))[:_SYMBOLS]
        if not symbols:
            return []
        try:
            changes = await self._store.changes({s: self._cursor(s) for s in symbols}, _ROWS)
        except StoreError as error:
            self._note_away(error)
            return []
        finished = set(symbols) - {change.symbol for change in changes if len(change.rows) >= _ROWS}
        self._behind = [symbol for symbol in self._behind if symbol not in finished]
        for change in changes:
            self._cursors[change.symbol] = change.revision
        return changes or await self.read()

    def _cursor(self, symbol: str) -> int:
        return self._cursors.get(symbol, 0)

    def _report_contact(self, *, answered: bool) -> None:
        if self._on_contact is not None:
            self._on_contact(answered=answered)

    def _note_away(self, error: StoreError) -> None:
        # When the store is back, all symbols are compared again.
        self._compared, self._behind = None, []
        self._report_contact(answered=False)
        if not self._away:
            self._away = True
            log.warning("store is away: what it has is read later", error=str(error))
