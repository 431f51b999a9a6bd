"""Keys and quotas: what opens, what does not, and the count over several servers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import fakeredis
import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

from api.access.gate import AccessError, OpenAccess, request_key
from api.access.keys import KeyedAccess, KeyRing, key_digest, key_with_new_secret, make_key
from storage.config.plans import parse_quotas
from storage.embedded.attach import Servers
from storage.errors import StoreUnavailable
from storage.postgres.keys import ApiKey, KeyTable
from storage.postgres.store import Store
from storage.redis.counters import Counters
from tests.api.conftest import SERIES, Caller, Still
from tests.api.rows import utc

#: Far from today: no counter of the machine's own day is touched.
NOON = "2099-06-05 12:00"
OTHER = "flow_0123456789ab_" + "A" * 43


async def issue(keys: KeyTable, name: str, plan: str, expires: datetime | None = None) -> str:
    """A new key in the table."""
    key_id, key = make_key()
    entry = await keys.insert(
        key_id,
        key_digest(key),
        name=name,
        email=f"{name}@example.com",
        plan=plan,
        expires_at=expires,
    )
    assert entry is not None
    return key


@pytest.fixture
def clock() -> Still:
    return Still(utc(NOON))


@pytest.fixture
async def keys(store: Store) -> KeyTable:
    return store.keys


@pytest.fixture
async def counters() -> AsyncIterator[Counters]:
    async with fakeredis.FakeAsyncRedis() as fake:
        yield Counters(fake, "t")


@pytest.fixture
def ring(keys: KeyTable, clock: Still) -> KeyRing:
    return KeyRing(keys, clock.now)


@pytest.fixture
def access(ring: KeyRing, counters: Counters, clock: Still) -> KeyedAccess:
    return KeyedAccess(ring, counters, parse_quotas("Free=2"), clock.now)


async def refused(access: Any, key: str | None, plan: str = "Free") -> AccessError:
    with pytest.raises(AccessError) as raised:
        await access.admit(key, plan)
    return raised.value


async def test_what_is_stored(keys: KeyTable) -> None:
    """A key has 256 random bits behind a public part; the table has its SHA-256 and not itself."""
    pairs = [make_key() for _ in range(100)]
    assert len({key for _, key in pairs}) == len({key_id for key_id, _ in pairs}) == 100
    key = await issue(keys, "alice", "Growth")
    [entry] = await keys.all()
    assert key.startswith(f"flow_{entry.id}_")
    assert len(key) == len("flow_") + 12 + 1 + 43
    assert entry.digest == hashlib.sha256(key.encode()).digest()
    assert key[-43:] not in repr(entry)
    assert (entry.name, entry.email, entry.plan) == ("alice", "alice@example.com", "Growth")
    assert (entry.last_used_at, entry.expires_at, entry.revoked_at) == (None, None, None)


async def test_names(keys: KeyTable) -> None:
    """A name means one key in force; one that was revoked gives it back."""
    await issue(keys, "alice", "Free")
    key_id, key = make_key()
    columns: dict[str, Any] = {"name": "alice", "email": "", "plan": "Free", "expires_at": None}
    assert await keys.insert(key_id, key_digest(key), **columns) is None
    revoked = await keys.revoke("alice")
    assert revoked is not None
    assert await keys.revoke("alice") is await keys.revoke(revoked.id) is None
    assert await keys.insert(key_id, key_digest(key), **columns) is not None
    assert await keys.rotate(revoked.id, b"") is None
    assert len(await keys.all()) == 2


async def test_admits(keys: KeyTable, ring: KeyRing, access: KeyedAccess) -> None:
    """A key opens what its plan includes; its caller is known by the public part."""
    key = await issue(keys, "alice", "Growth")
    await ring.refresh()
    admitted = await access.admit(key, "Growth")
    [entry] = await keys.all()
    assert (admitted.caller.id, admitted.caller.plan) == (entry.id, "Growth")
    assert dict(admitted.headers) == {
        b"x-ratelimit-limit": b"2500",
        b"x-ratelimit-remaining": b"2499",
        b"x-ratelimit-reset": b"4084387200",
    }
    assert (await refused(access, key, "Alpha")).body["required_plan"] == "Alpha"
    # A refusal does not count, nor does what is told not to.
    assert (await access.admit(key, "Free", count=False)).usage == admitted.usage
    assert (await access.admit(key, "Basic")).headers[1] == (b"x-ratelimit-remaining", b"2498")


@pytest.mark.parametrize(
    "change",
    [
        lambda key: None,
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key.upper(),
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key[:30] + " " + key[31:],
        lambda key: key + "\n",
        lambda key: key + "\0",
        lambda key: key[:-1] + "é",
        lambda key: key[:-1] + "\udcff",
        lambda key: key.replace("flow_", "ｆlow_"),
        lambda key: OTHER,
        lambda key: "flow_" + "0" * 12 + key[17:],
        lambda key: key * 10_000,
        lambda key: "'; drop table keys; --",
    ],
)
async def test_no_key(
    change: Callable[[str], str | None], keys: KeyTable, ring: KeyRing, access: KeyedAccess
) -> None:
    """Whatever is not exactly a key opens nothing, whatever its length or letters."""
    key = await issue(keys, "alice", "Enterprise")
    await ring.refresh()
    error = await refused(access, change(key))
    assert error.status == 401
    assert error.body == {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."}
    assert error.headers == ()


async def test_constant_time(
    ring: KeyRing, keys: KeyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known ids and unknown ones cost one hash and one comparison of whole digests."""
    key = await issue(keys, "alice", "Free")
    await ring.refresh()
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return really(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for candidate in (key, key[:-43] + "A" * 43, OTHER):
        ring.find(candidate)
    assert compared == [(32, 32)] * 3


async def test_end_of_a_key(
    keys: KeyTable, ring: KeyRing, access: KeyedAccess, clock: Still
) -> None:
    """Expired, revoked and rotated keys open nothing; answers that stay open find out."""
    ends = utc(NOON) + timedelta(hours=1)
    short, gone, turned = (
        await issue(keys, "short", "Free", ends),
        await issue(keys, "gone", "Free"),
        await issue(keys, "turned", "Free"),
    )
    await ring.refresh()
    callers = [(await access.admit(key, "Free")).caller for key in (short, gone, turned)]
    assert [access.knows(caller) for caller in callers] == [True] * 3
    assert len(ring) == 3
    await keys.revoke("gone")
    fresh = key_with_new_secret(callers[2].id)
    await keys.rotate(callers[2].id, key_digest(fresh))
    await ring.refresh()
    clock.moment = ends
    for key in (short, gone, turned):
        assert (await refused(access, key)).status == 401
    assert [access.knows(caller) for caller in callers] == [False] * 3
    assert len(ring) == 1
    # The new secret goes on with the old one's count.
    assert (await access.admit(fresh, "Free")).headers[1] == (b"x-ratelimit-remaining", b"0")


async def test_quota(keys: KeyTable, ring: KeyRing, access: KeyedAccess, clock: Still) -> None:
    """At the limit it is 429 until 00:00 UTC, in whole seconds; then the count starts again."""
    key = await issue(keys, "alice", "Free")
    await ring.refresh()
    clock.moment = utc("2099-06-05 23:59:57").replace(microsecond=250_000)
    for _ in range(2):
        await access.admit(key, "Free")
    error = await refused(access, key)
    assert error.status == 429
    assert error.body == {
        "status": "ERROR",
        "error": "Quota exceeded",
        "message": "The Free plan's 2 requests of today are used up;"
        " ask again after 2099-06-06T00:00:00Z.",
        "current_plan": "Free",
        "limit": 2,
        "upgrade_to": "Basic",
        "reset_at": "2099-06-06T00:00:00Z",
    }
    assert dict(error.headers) == {
        b"x-ratelimit-limit": b"2",
        b"x-ratelimit-remaining": b"0",
        b"x-ratelimit-reset": b"4084387200",
        b"retry-after": b"3",
    }
    clock.moment = utc("2099-06-05 23:59:59").replace(microsecond=999_999)
    assert dict((await refused(access, key)).headers)[b"retry-after"] == b"1"
    clock.moment = utc("2099-06-06 00:00")
    assert (await access.admit(key, "Free")).headers[1] == (b"x-ratelimit-remaining", b"1")


@pytest.mark.parametrize(
    ("quotas", "upgrade"),
    [
        ("Free=0", "Basic"),
        ("Free=0,Basic=0", "Growth"),
        ("Free=0,Basic=0,Growth=0,Alpha=0,Enterprise=0", None),
    ],
)
async def test_upgrade(
    quotas: str,
    upgrade: str | None,
    keys: KeyTable,
    ring: KeyRing,
    counters: Counters,
    clock: Still,
) -> None:
    """The next plan that gives more is named, if there is one."""
    key = await issue(keys, "alice", "Free")
    await ring.refresh()
    error = await refused(KeyedAccess(ring, counters, parse_quotas(quotas), clock.now), key)
    assert error.body["upgrade_to"] == upgrade


async def test_open_server() -> None:
    """Without keys there is no plan, no count, no header."""
    admitted = await OpenAccess().admit("whatever", "Enterprise")
    assert (admitted.caller.plan, admitted.headers, admitted.usage) == ("Enterprise", (), None)
    assert OpenAccess().knows(admitted.caller)


class Flaky:
    """A table of keys that can be away."""

    def __init__(self, keys: KeyTable) -> None:
        self.keys = keys
        self.error: Exception | None = None
        self.read = asyncio.Event()
        self.noted: list[dict[str, datetime]] = []

    async def all(self) -> list[ApiKey]:
        self.read.set()
        if self.error:
            raise self.error
        return await self.keys.all()

    async def touch(self, used: dict[str, datetime]) -> None:
        if self.error:
            raise self.error
        self.noted.append(used)
        await self.keys.touch(used)

    async def after_another_read(self) -> None:
        for _ in range(2):
            self.read.clear()
            await asyncio.wait_for(self.read.wait(), 5)
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), RuntimeError("a defect")])
async def test_database_is_away(error: Exception, keys: KeyTable, clock: Still) -> None:
    """Nobody is locked out while keys cannot be read; what is new is heard of afterwards."""
    table = Flaky(keys)
    ring = KeyRing(table, clock.now)  # type: ignore[arg-type]
    old = await issue(keys, "old", "Free")
    with capture_logs() as lines:
        async with ring.current(0.01, 0.01):
            assert ring.find(old)
            table.error = error
            await table.after_another_read()
            await table.after_another_read()
            assert ring.find(old)
            table.error = None
            new = await issue(keys, "new", "Free")
            await keys.revoke("old")
            async with asyncio.timeout(5):
                while len(lines) < 2 or ring.find(old):
                    await asyncio.sleep(0.01)
            assert ring.find(new)
    assert [line["event"] for line in lines] == [
        "keys are not current, those of before stay",
        "keys are current again",
    ]


async def test_database_is_away_at_the_start(keys: KeyTable, clock: Still) -> None:
    """Without having read them once, no server starts."""
    table = Flaky(keys)
    table.error = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        async with KeyRing(table, clock.now).current():  # type: ignore[arg-type]
            pass


async def test_last_used(keys: KeyTable, clock: Still) -> None:
    """It is noted now and then, not in requests, and at the end; a note never goes back."""
    table = Flaky(keys)
    ring = KeyRing(table, clock.now)  # type: ignore[arg-type]
    key = await issue(keys, "alice", "Free")
    async with ring.current(0.01, 3600):
        ring.find(key)
        clock.moment += timedelta(minutes=5)
        ring.find(key)
        ring.find(OTHER)
        await table.after_another_read()
        assert table.noted == []
    [entry] = await keys.all()
    assert entry.last_used_at == utc(NOON) + timedelta(minutes=5)
    await keys.touch({entry.id: utc(NOON)})
    assert await keys.all() == [entry]


async def test_unknown_plan(keys: KeyTable, clock: Still) -> None:
    """A key of a plan that this release does not have opens nothing, and hides no other."""
    good = await issue(keys, "good", "Free")
    bad = await issue(keys, "bad", "Platinum")
    ring = KeyRing(keys, clock.now)
    with capture_logs() as lines:
        await ring.refresh()
    assert (bool(ring.find(good)), ring.find(bad)) == (True, None)
    assert [line["event"] for line in lines] == ["key has a plan that this release does not know"]


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ([], b"", None),
        ([(b"x-api-key", b"a")], b"apiKey=b", "a"),
        ([(b"x-api-key", b" a\t")], b"", "a"),
        ([(b"x-api-key", b"  ")], b"apiKey=b", "b"),
        ([(b"x-api-key", b""), (b"x-api-key", b"a")], b"", "a"),
        ([(b"x-api-key", b"\xff\x00")], b"", "\xff\x00"),
        ([], b"bar=1m&apiKey=b", "b"),
        ([], b"apiKey=&apiKey=b&apiKey=c", "b"),
        ([], b"apiKey=%20b%0A", "b"),
        ([], b"apikey=b&api_key=c&xapiKey=d", None),
        ([], b"apiKey", None),
        ([], b"apiKey=%00%ff", "\x00�"),
        ([], b"apiKey=b" + b"&x=1" * 100_000, None),
    ],
)
def test_where_a_key_is(headers: list[tuple[bytes, bytes]], query: bytes, key: str | None) -> None:
    """The header wins, blanks around it are nobody's; else the parameter, by its exact name."""
    assert request_key({"type": "http", "headers": headers, "query_string": query}) == key


@pytest.mark.clocked
async def test_exact_over_two_servers(
    store: Store, servers: Servers, clock: Still, open_app: Callable[..., Any]
) -> None:
    """200 requests at once on a limit of 50, over two servers: 50 answers and 150 refusals."""
    key, prefix = await issue(store.keys, "alice", "Growth"), f"test-{uuid.uuid4().hex}"
    async with AsyncExitStack() as stack:
        apps: list[Caller] = []
        for _ in range(2):
            counters = await stack.enter_async_context(Counters.open(servers.redis_url, prefix))
            ring = KeyRing(store.keys, clock.now)
            await ring.refresh()
            access = KeyedAccess(ring, counters, parse_quotas("Growth=50"), clock.now)
            apps.append(await open_app(store, access=access))
        requests = [
            apps[i % 2].get(f"{SERIES}SPY?bar=x", headers={"X-Api-Key": key}) for i in range(200)
        ]
        sent = await asyncio.gather(*requests)
    async with redis.Redis.from_url(servers.redis_url) as client:
        [counter] = [name async for name in client.scan_iter(f"{prefix}:*")]
        await client.delete(counter)
    served = [s for s in sent if s.status_code == 400]
    assert sorted(int(s.headers["X-RateLimit-Remaining"]) for s in served) == list(range(50))
    assert [s.status_code for s in sent].count(429) == 150
    assert {s.headers["X-RateLimit-Remaining"] for s in sent if s.status_code == 429} == {"0"}
