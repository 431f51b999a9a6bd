"""Keys: how they are made, how a server checks them, and the access of a server with keys.

A key is ``flow_<id>_<secret>``. The id is public and finds the stored hash. The secret is 256
random bits, which nobody can guess, so the stored hash is a plain SHA-256. A slow password hash
protects passwords that people choose; here it would only cost time in every request.
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
#: Time between two reads of the stored keys: a change takes effect this soon. [s]
REFRESH = 2.0
#: Time between two writes of when keys were last used. [s]
_USE_INTERVAL = 30.0
#: Time limit of one read and write of the stored keys. [s]
_TIMEOUT = 10.0
#: Compared with the key's hash where the id is unknown, so that the check takes as long.
_UNKNOWN_DIGEST = bytes(32)


def make_key() -> tuple[str, str]:
    """Make a new key; return its id and the key itself, which is not stored anywhere."""
    key_id = secrets.token_hex(6)
    return key_id, key_with_new_secret(key_id)


def key_with_new_secret(key_id: str) -> str:
    """Make a key with an existing id and a new secret.

    Parameters
    ----------
    key_id : the public part of the key.

    Returns
    -------
    str
        The whole key; it is shown once and stored as its digest only.
    """
    return f"flow_{key_id}_{secrets.token_urlsafe(32)}"


def key_digest(key: str) -> bytes:
    """Return the SHA-256 of a key, which is stored in its place.

    Parameters
    ----------
    key : the whole key.

    Returns
    -------
    bytes
        32 bytes.
    """
    return hashlib.sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class _KeyInForce:
    key: ApiKey
    caller: Caller


class KeyRing:
    """The keys in force, held in memory and read from the store every few seconds.

    No request waits for the store. While the store cannot be reached, the keys that were last read
    stay in force.

    Parameters
    ----------
    table
        The stored keys.
    now
        Returns the present, aware of its time zone.
    """

    def __init__(self, table: KeyTable, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now
        self._keys: dict[str, _KeyInForce] = {}
        self._used: dict[str, datetime] = {}
        #: Why the use of keys could not be noted the last time; empty if it could.
        self._use_failure = ""

    def __len__(self) -> int:
        """How many keys are in force."""
        now = self._now()
        return sum(1 for entry in self._keys.values() if entry.key.valid(now))

    def find(self, key: str | None) -> Caller | None:
        """Return the caller whose key this is; None if the key is missing or not valid.

        A wrong secret and an unknown id take the same time.

        Parameters
        ----------
        key : the key that a request carries; None without one.

        Returns
        -------
        Caller or None
            The caller.
        """
        # The form of a key is public: checking it first gives nothing away.
        form = _KEY.fullmatch(key or "")
        if form is None or key is None:
            return None
        entry = self._keys.get(form[1])
        digest = entry.key.digest if entry else _UNKNOWN_DIGEST
        same = hmac.compare_digest(key_digest(key), digest)
        now = self._now()
        if entry is None or not same or not entry.key.valid(now):
            return None
        self._used[entry.key.id] = now
        return entry.caller

    def knows(self, caller: Caller) -> bool:
        """Say whether a caller's key is in force and unchanged since the caller was admitted.

        Parameters
        ----------
        caller : the caller, as ``find`` returned it.

        Returns
        -------
        bool
            True if it is.
        """
        entry = self._keys.get(caller.id)
        return entry is not None and entry.caller == caller and entry.key.valid(self._now())

    async def refresh(self) -> None:
        """Read the keys from the store.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        in_force = {}
        for key in await self._table.all():
            if key.plan not in PLANS:
                log.warning("key has a plan that this release does not know", key=key.id)
            elif key.revoked_at is None:
                caller = Caller(key.plan, key.id, key.email, key.issued_at, key.rights)
                in_force[key.id] = _KeyInForce(key, caller)
        self._keys = in_force

    @asynccontextmanager
    async def current(
        self, interval: float = REFRESH, use_interval: float = _USE_INTERVAL
    ) -> AsyncIterator[None]:
        """Read the keys now, and again at intervals until the context is left.

        Parameters
        ----------
        interval
            Time between two reads. [s]
        use_interval
            Time between two writes of when keys were last used. [s]

        Yields
        ------
        None
            Nothing; the keys are current within the block.

        Raises
        ------
        StoreError
            If the first read fails. Later failures are logged.
        """
        await self.refresh()
        refreshing = asyncio.create_task(self._refresh_at_intervals(interval, use_interval))
        try:
            yield
        finally:
            refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await refreshing
            with suppress(StoreError):
                await self._store_use()

    async def _refresh_at_intervals(self, interval: float, use_interval: float) -> None:
        clock = asyncio.get_running_loop().time
        away, due = False, clock() + use_interval
        while True:
            await asyncio.sleep(interval)
            try:
                async with asyncio.timeout(_TIMEOUT):
                    await self.refresh()
            except Exception as error:  # No error may end the task.
                if not away:
                    reason = str(error) or type(error).__name__
                    log.warning("keys are not current, those of before stay", error=reason)
                away = True
            else:
                if away:
                    log.info("keys are current again")
                away = False
                if clock() >= due:
                    due = clock() + use_interval
                    await self._try_to_store_use()

    async def _try_to_store_use(self) -> None:
        """Write when keys were last used. A role that may only read keys admits callers as well."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._store_use()
        except (StoreError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            if reason != self._use_failure:
                log.warning("last use of keys is not noted", error=reason)
            self._use_failure = reason
        else:
            self._use_failure = ""

    async def _store_use(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._table.touch(used)
        except BaseException:
            self._used = used | self._used
            raise


class KeyedAccess:
    """Access by keys, plans and daily quotas.

    Parameters
    ----------
    ring
        The keys in force.
    counters
        Counts each caller's requests of a day, over all API processes.
    quotas
        Requests a day by plan; None for a plan without a limit.
    now
        Returns the present, aware of its time zone.
    """

    def __init__(
        self, ring: KeyRing, counters: Counters, quotas: Quotas, now: Callable[[], datetime]
    ) -> None:
        self._ring = ring
        self._counters = counters
        self._quotas = quotas
        self._now = now

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """Admit a caller with a valid key whose plan includes the route.

        Parameters
        ----------
        key : the key that the request carries; None without one.
        plan : the lowest plan that includes the route.
        count : whether the request counts against the day's quota.

        Returns
        -------
        Admission
            The caller, its remaining requests of today, and the response headers that report them.

        Raises
        ------
        AccessError
            401 without a valid key, 403 for a lower plan, 429 when the day's quota is used up.
        """
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
        """Say whether the caller's key is still valid.

        Parameters
        ----------
        caller : the caller, as ``admit`` returned it.

        Returns
        -------
        bool
            True if it is.
        """
        return self._ring.knows(caller)
