"""Which symbols this process samples: one advisory lock a symbol, on a connection of its own.

Any number of samplers may ask for the same symbols; the database gives each symbol to one of them.
A lock lasts as long as its connection. The server ends the connection when its client is dead, cut
off or silent, and another sampler gets the symbol a few seconds later. Connection poolers share
server sessions and break this: the URL must lead to the server itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from storage.errors import StoreError, StoreUnavailable
from storage.postgres.database import Connection, open_connection, time_limit, translate_errors
from storage.postgres.queries import query

log = structlog.get_logger()

#: How long the server may take to answer; then it counts as away. [s]
_PATIENCE = 5.0
#: The server ends the session, and with it the locks, of a client that is silent for longer. [s]
_SILENCE = 12.0


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """Which symbols a beat has gained or lost, in the order in which the lease lists them."""

    #: Held from now on.
    gained: tuple[str, ...] = ()
    #: Locked again after they were held on credit: another sampler may have had them meanwhile.
    regained: tuple[str, ...] = ()
    #: Held until now, and locked by another sampler.
    lost: tuple[str, ...] = ()


class Lease:
    """The symbols that this process holds. Call ``beat`` every second, and ``close`` at the end.

    While the database cannot be reached, symbols stay held *on credit*, without a lock. A sampler
    that can still reach the database takes them over.
    """

    def __init__(
        self, url: str, dataset: str, symbols: Sequence[str], most: int = 0, owner: str = ""
    ) -> None:
        """Prepare a lease; nothing is held yet.

        Parameters
        ----------
        url, dataset : the database, and the dataset that is sampled.
        symbols : the symbols to hold, in order of preference.
        most : how many symbols this process may hold; 0 for all.
        owner : who holds them, as messages name it; empty: this machine and process.
        """
        self._owner = owner or f"{socket.gethostname()[:40]} (process {os.getpid()})"
        self._url, self._dataset = url, dataset
        self._symbols = tuple(symbols)
        self._most = most or len(self._symbols)
        self._locked: list[str] = []
        self._opened: AsyncExitStack | None = None
        self._connection: Connection | None = None
        #: The symbols held, by a lock or on credit.
        self.held: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether locks of the database hold the symbols; without it they are held on credit."""
        return self._connection is not None

    def credit(self, first: Container[str]) -> list[str]:
        """Hold as many symbols as allowed on credit, those of ``first`` first, and return them.

        Another sampler may do the same. Two samplers of a symbol do no harm; none loses its slots.

        Parameters
        ----------
        first : the symbols to prefer.

        Returns
        -------
        list of str
            The symbols held on credit.
        """
        ours = sorted(self._symbols, key=lambda symbol: symbol not in first)[: self._most]
        self.held |= set(ours)
        return ours

    async def beat(self) -> LeaseChange:
        """Show the server that this process lives, and lock the symbols that are free.

        If the database is away, nothing changes and nothing is raised: the symbols are held on
        credit.
        """
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
        """Release all symbols, so that another sampler has them at its next beat."""
        if self._connection is not None:
            try:
                with translate_errors(), time_limit(self._connection, _PATIENCE):
                    await self._connection.execute(query("lease_release"))
            except StoreError as error:
                # The server releases the locks itself when it notices that the connection is gone.
                log.warning("leases not released", symbols=len(self.held), error=str(error))
        await self._disconnect()
        self.held = set()

    async def _connect(self) -> None:
        stack = AsyncExitStack()
        try:
            opened = await stack.enter_async_context(open_connection(self._url, self._dataset))
            with translate_errors(), time_limit(opened, _PATIENCE):
                silence = f"{_SILENCE * 1e3:.0f}ms"
                await opened.execute(
                    query("lease_session"), {"silence": silence, "owner": self._owner}
                )
        except StoreError:
            await stack.aclose()
            raise
        self._opened, self._connection = stack, opened

    async def _disconnect(self) -> None:
        stack, self._opened, self._connection, self._locked = self._opened, None, None, []
        if stack is not None:
            await stack.aclose()

    async def _lock(self) -> list[str]:
        """Lock symbols that are free, those held on credit first; return them."""
        assert self._connection is not None
        with translate_errors(), time_limit(self._connection, _PATIENCE):
            # After a failover the old server may live on, read-only: its locks hold nobody off.
            cursor = await self._connection.execute(query("read_only"))
            if (state := await cursor.fetchone()) and state["closed"]:
                raise StoreUnavailable("FLOW_DATABASE_URL: the database has become read-only")
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
