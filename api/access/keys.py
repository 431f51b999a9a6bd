"""Keys: how they are made, and how a server knows them.

A key is ``flow_<id>_<secret>``: the id finds its hash, and may be shown; the secret is 256 random
bits. Nobody guesses those, so a plain SHA-256 keeps them as well as a slow hash would: slowness
protects what people choose, and here it would be paid by every request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from api.access.gate import (
    Admission,
    Caller,
    Usage,
    next_midnight,
    quota_exceeded,
    tier_restricted,
    unauthorized,
)
from storage.config.plans import PLANS, Quotas
from storage.errors import StoreError
from storage.postgres.keys import ApiKey, KeyTable
from storage.redis.counters import Counters

log = structlog.get_logger()

_KEY = re.compile(r"flow_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
#: How soon a key that was made, rotated or revoked is heard of. [s]
REFRESH = 2.0
#: How often it is written down when keys were used. [s]
_NOTES = 30.0
#: A database that hangs is asked again after so long. [s]
_PATIENCE = 10.0
#: What the hash of an unknown id is compared with, so that it takes as long as a known one.
_NOBODY = bytes(32)


def make_key() -> tuple[str, str]:
    """The id of a new key and the key itself, which nobody sees twice."""
    known_as = secrets.token_hex(6)
    return known_as, key_with_new_secret(known_as)


def key_with_new_secret(known_as: str) -> str:
    """A key with a new secret under an id."""
    return f"flow_{known_as}_{secrets.token_urlsafe(32)}"


def key_digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    caller: Caller


class KeyRing:
    """The keys in force, in memory: read every few seconds, never in a request.

    While the database is away the keys of before stay in force.
    """

    def __init__(self, table: KeyTable, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now
        self._known: dict[str, _Known] = {}
        self._used: dict[str, datetime] = {}

    def __len__(self) -> int:
        """How many keys are in force."""
        now = self._now()
        return sum(1 for known in self._known.values() if known.key.valid(now))

    def find(self, key: str | None) -> Caller | None:
        """Whose key this is; None if it opens nothing. Takes as long for either."""
        # What is no key at all is told by its form, which is no secret.
        form = _KEY.fullmatch(key or "")
        if form is None or key is None:
            return None
        known = self._known.get(form[1])
        same = hmac.compare_digest(key_digest(key), known.key.digest if known else _NOBODY)
        now = self._now()
        if known is None or not same or not known.key.valid(now):
            return None
        self._used[known.key.id] = now
        return known.caller

    def knows(self, caller: Caller) -> bool:
        """Whether a caller's key still is what it was."""
        known = self._known.get(caller.id)
        return known is not None and known.caller == caller and known.key.valid(self._now())

    async def refresh(self) -> None:
        """Read the keys anew.

        Raises
        ------
        StoreError
        """
        found = {}
        for key in await self._table.all():
            if key.plan not in PLANS:
                log.warning("key has a plan that this release does not know", key=key.id)
            elif key.revoked_at is None:
                caller = Caller(key.plan, key.id, key.email, key.issued_at)
                found[key.id] = _Known(key, caller)
        self._known = found

    @asynccontextmanager
    async def kept(self, every: float = REFRESH, notes: float = _NOTES) -> AsyncIterator[None]:
        """Keep the keys current while this is open, and note now and then when they were used.

        Raises
        ------
        StoreError
            If they cannot be read even once.
        """
        await self.refresh()
        keeping = asyncio.create_task(self._keep(every, notes))
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            with suppress(StoreError):
                await self._note()

    async def _keep(self, every: float, notes: float) -> None:
        clock = asyncio.get_running_loop().time
        away, due = False, clock() + notes
        while True:
            await asyncio.sleep(every)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self.refresh()
                    if clock() >= due:
                        due = clock() + notes
                        await self._note()
            except Exception as error:  # Whatever it is, the next round comes.
                if not away:
                    said = str(error) or type(error).__name__
                    log.warning("keys are not current, those of before stay", error=said)
                away = True
            else:
                if away:
                    log.info("keys are current again")
                away = False

    async def _note(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._table.touch(used)
        except BaseException:
            self._used = used | self._used
            raise


class KeyedAccess:
    """The access of a server with keys."""

    def __init__(
        self, ring: KeyRing, counters: Counters, quotas: Quotas, now: Callable[[], datetime]
    ) -> None:
        self._ring = ring
        self._counters = counters
        self._quotas = quotas
        self._now = now

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """See ``Access``."""
        caller = self._ring.find(key)
        if caller is None:
            raise unauthorized()
        now = self._now().astimezone(UTC)
        day, reset, limit = now.date(), next_midnight(now), self._quotas[caller.plan]
        if not caller.may(plan):
            used = await self._counters.used(caller.id, day)
            raise tier_restricted(caller, plan, Usage(limit, used, reset))
        if not count:
            usage = Usage(limit, await self._counters.used(caller.id, day), reset)
            return Admission(caller, usage, usage.headers)
        taken = await self._counters.take(caller.id, day, limit)
        usage = Usage(limit, taken.used, reset)
        if not taken.granted:
            raise quota_exceeded(caller, usage, self._quotas, now)
        return Admission(caller, usage, usage.headers)

    def knows(self, caller: Caller) -> bool:
        """See ``Access``."""
        return self._ring.knows(caller)
