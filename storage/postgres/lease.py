"""Which symbols this process samples: one advisory lock a symbol, on a connection of its own.

Any number of samplers may ask for the same symbols; the database gives each symbol to one. A lock
lasts as long as its connection, which the server ends when its client is dead, cut off or silent:
another sampler has the symbol a few seconds later. A pooler that shares sessions breaks this; the
URL must lead to the server itself.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from storage.errors import StoreError
from storage.postgres.database import Connection, open_connection, time_limit, translate_errors
from storage.postgres.queries import query

log = structlog.get_logger()

#: An answer that takes longer is none. [s]
_PATIENCE = 5.0
#: A client that says nothing for so long has lost its symbols, be it stopped or cut off. [s]
_SILENCE = 12.0
#: What tells both ends that the other one is gone. [s, s, number, ms]
_ALIVE = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """What a beat has changed, in the order in which the symbols were asked for."""

    #: Ours from now on.
    gained: tuple[str, ...] = ()
    #: Ours again, after a time in which another sampler may have had it.
    regained: tuple[str, ...] = ()
    #: Another sampler's.
    lost: tuple[str, ...] = ()


class Lease:
    """Symbols held by locks. ``beat`` it every second or so; ``close`` it to give all back.

    While the database cannot be reached, what was held stays held *on credit*: nobody else can
    be told to take over by a database that is away, and whoever can reach it will.
    """

    def __init__(self, url: str, dataset: str, symbols: Sequence[str], most: int = 0) -> None:
        """``most`` is how many symbols one process takes; 0 for all."""
        self._url, self._dataset = url, dataset
        self._symbols = tuple(symbols)
        self._most = most or len(self._symbols)
        self._locked: list[str] = []
        self._opened: AsyncExitStack | None = None
        self._connection: Connection | None = None
        #: Ours, by a lock or on credit.
        self.held: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether what is held is held by locks."""
        return self._connection is not None

    def credit(self, first: Container[str]) -> list[str]:
        """Hold symbols without a lock until the database can be asked: all we may, these first.

        Another sampler may do the same: two at once are harmless, none at all is not.
        """
        ours = sorted(self._symbols, key=lambda symbol: symbol not in first)[: self._most]
        self.held |= set(ours)
        return ours

    async def beat(self) -> LeaseChange:
        """Show the server that we live, and take what is free and wanted; never raises."""
        try:
            fresh = self._connection is None
            if fresh:
                await self._connect()
            locked = await self._lock()
        except StoreError as error:
            if self._opened is not None:
                log.warning("leases on credit", symbols=len(self.held), error=str(error))
            await self._disconnect()
            return LeaseChange()
        regained = tuple(s for s in locked if s in self.held)
        lost = tuple(s for s in self._symbols if s in self.held and s not in self._locked)
        gained = tuple(s for s in locked if s not in self.held)
        self.held = set(self._locked)
        return LeaseChange(gained, regained, lost)

    async def close(self) -> None:
        """Give all symbols back."""
        await self._disconnect()
        self.held = set()

    async def _connect(self) -> None:
        stack = AsyncExitStack()
        try:
            opened = await stack.enter_async_context(
                open_connection(self._url, self._dataset, keepalives=1, **_ALIVE)
            )
            with translate_errors(), time_limit(opened, _PATIENCE):
                silence = f"{_SILENCE * 1e3:.0f}ms"
                await opened.execute(query("lease_session"), {"silence": silence})
        except StoreError:
            await stack.aclose()
            raise
        self._opened, self._connection = stack, opened

    async def _disconnect(self) -> None:
        stack, self._opened, self._connection, self._locked = self._opened, None, None, []
        if stack is not None:
            await stack.aclose()

    async def _lock(self) -> list[str]:
        """Lock what is still wanted, first what was held before."""
        assert self._connection is not None
        free = [s for s in self._symbols if s not in self._locked]
        wanted = sorted(free, key=lambda symbol: symbol not in self.held)
        room = self._most - len(self._locked)
        with translate_errors(), time_limit(self._connection, _PATIENCE):
            cursor = await self._connection.execute(
                query("lease"), {"symbols": wanted, "room": max(room, 0)}
            )
            locked = [row["symbol"] for row in await cursor.fetchall()]
        self._locked += locked
        return locked
