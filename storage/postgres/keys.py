"""The table of API keys. It has a hash of each key, never the key itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from storage.postgres import sql

_QUERIES = sql.load("keys.sql")
#: A function that runs one statement and returns its rows.
RunQuery = Callable[..., Awaitable[list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One API key, without its secret."""

    #: The public part of the key. It may be shown in lists and in the log.
    id: str
    #: SHA-256 of the whole key.
    digest: bytes
    name: str
    email: str
    plan: str
    created_at: datetime
    #: When its secret was made: when the key was created, or last rotated.
    issued_at: datetime
    #: None for a key that does not expire.
    expires_at: datetime | None
    #: To half a minute; None for a key that was never used.
    last_used_at: datetime | None
    revoked_at: datetime | None
    #: What it may do beside what its plan includes.
    rights: tuple[str, ...] = ()

    def valid(self, now: datetime) -> bool:
        """Return whether the key gives access: it is neither revoked nor expired.

        Parameters
        ----------
        now : the time, UTC.

        Returns
        -------
        bool
            Whether the key is accepted.
        """
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyTable:
    """The keys of one dataset, from ``Store.keys``. Its methods raise ``StoreError``."""

    def __init__(self, run_query: RunQuery) -> None:
        self._run_query = run_query

    async def insert(
        self,
        key_id: str,
        digest: bytes,
        *,
        name: str,
        email: str,
        plan: str,
        expires_at: datetime | None,
        rights: Sequence[str] = (),
    ) -> ApiKey | None:
        """Add a key; return None if a key that is not revoked has that name already.

        Parameters
        ----------
        key_id : the public part of the key.
        digest : SHA-256 of the whole key.
        name, email : whose key it is.
        plan : the plan's name.
        expires_at : when it ends, UTC; None for never.
        rights : what it may do beside what its plan includes.

        Returns
        -------
        ApiKey or None
            The key as it is stored.
        """
        text = _QUERIES["insert"]
        fields: dict[str, Any] = {"name": name, "email": email, "plan": plan}
        fields |= {"expires_at": expires_at, "rights": list(rights)}
        return _first(await self._run_query(text, id=key_id, digest=digest, **fields))

    async def all(self) -> list[ApiKey]:
        """Return every key, also revoked and expired ones, the oldest first."""
        return [_key(row) for row in await self._run_query(_QUERIES["all"])]

    async def revoke(self, id_or_name: str) -> ApiKey | None:
        """Revoke the key with this id or name; return None if there is none to revoke.

        Parameters
        ----------
        id_or_name : the public part of the key, or its name.

        Returns
        -------
        ApiKey or None
            The key as it is stored.
        """
        return _first(await self._run_query(_QUERIES["revoke"], which=id_or_name))

    async def rotate(self, key_id: str, digest: bytes) -> ApiKey | None:
        """Replace the secret of a key; return None if there is no such key, or it is revoked.

        Parameters
        ----------
        key_id : the public part of the key.
        digest : SHA-256 of the whole new key.

        Returns
        -------
        ApiKey or None
            The key as it is stored.
        """
        return _first(await self._run_query(_QUERIES["rotate"], id=key_id, digest=digest))

    async def set_rights(self, id_or_name: str, rights: Sequence[str]) -> ApiKey | None:
        """Set what a key may do beside its plan; return None if there is no such key in force.

        Parameters
        ----------
        id_or_name : the public part of the key, or its name.
        rights : all of its rights from now on.

        Returns
        -------
        ApiKey or None
            The key as it is stored.
        """
        text = _QUERIES["set_rights"]
        return _first(await self._run_query(text, which=id_or_name, rights=list(rights)))

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used.

        Parameters
        ----------
        used : time of use (UTC) by key id.
        """
        await self._run_query(_QUERIES["touch"], ids=list(used), moments=list(used.values()))


def _key(row: Mapping[str, Any]) -> ApiKey:
    columns = {field.name: row[field.name] for field in fields(ApiKey)}
    return ApiKey(**columns | {"rights": tuple(columns["rights"])})


def _first(rows: list[dict[str, Any]]) -> ApiKey | None:
    return _key(rows[0]) if rows else None
