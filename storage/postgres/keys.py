"""The table of the API's keys: who may ask, never with what. Only hashes are kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from storage.postgres import sql

_QUERIES = sql.load("keys.sql")
#: Runs one statement and returns its rows.
RunQuery = Callable[..., Awaitable[list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key, without what makes it one."""

    #: Its public part: in lists, in the log, in the key itself.
    id: str
    #: SHA-256 of the whole key.
    digest: bytes
    name: str
    email: str
    plan: str
    created_at: datetime
    #: When its present secret was made: at the beginning, or when it was last rotated.
    issued_at: datetime
    #: None for a key that does not end by itself.
    expires_at: datetime | None
    #: To half a minute; None for one that was never used.
    last_used_at: datetime | None
    revoked_at: datetime | None

    def valid(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyTable:
    """The keys of one dataset; had from an open ``Store``. Raises ``StoreError`` as that does."""

    def __init__(self, ask: RunQuery) -> None:
        self._ask = ask

    async def insert(
        self,
        known_as: str,
        digest: bytes,
        *,
        name: str,
        email: str,
        plan: str,
        expires_at: datetime | None,
    ) -> ApiKey | None:
        """Add a key under an id; None if a key in force has that name already."""
        text = _QUERIES["insert"]
        given = {"name": name, "email": email, "plan": plan, "expires_at": expires_at}
        return _first(await self._ask(text, id=known_as, digest=digest, **given))

    async def all(self) -> list[ApiKey]:
        """Every key, also those that open nothing any more; the oldest first."""
        return [_key(row) for row in await self._ask(_QUERIES["all"])]

    async def revoke(self, which: str) -> ApiKey | None:
        """End the key of an id or a name for good; None if there is none in force."""
        return _first(await self._ask(_QUERIES["revoke"], which=which))

    async def rotate(self, known_as: str, digest: bytes) -> ApiKey | None:
        """Give a key another secret; None if there is none in force."""
        return _first(await self._ask(_QUERIES["rotate"], id=known_as, digest=digest))

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were used, by their ids."""
        await self._ask(_QUERIES["touch"], ids=list(used), moments=list(used.values()))


def _key(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(**{field.name: row[field.name] for field in fields(ApiKey)})


def _first(rows: list[dict[str, Any]]) -> ApiKey | None:
    return _key(rows[0]) if rows else None
