"""Samplers that are killed with -9 at every point, several at once, and servers that die."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from killable_servers import KillableServers
from proxy import Proxy
from rig import STEP, gaps, rows
from sampler_process import SamplerProcess

from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.redis.channel import NoChannel

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
SYMBOLS = ["SPX", "SPY", "QQQ"]
SEED = 3
#: On the way of a record into a database that is there.
POINTS = [
    "fetching",
    "fetched",
    "measured",
    "writing",
    "committing",
    "written",
    "published",
    "kept",
]
#: And into the spool, and out of it.
SPOOLING = ["spooling", "half spooled", "spooled"]


def slot(step: int):
    return SESSION.open + (20 + step) * STEP


def now(step: int):
    return slot(step) + timedelta(seconds=1)


async def straight(url: str, steps: range, symbols=SYMBOLS, first: int = 0) -> dict:
    """Rows of a run in which nothing fails, in a dataset of its own."""
    source = Synthetic(seed=SEED)
    async with Store.open(url, "live", size=2) as store:
        tick = Tick(source, store, NoChannel(), oi_confidence=0.43, budget=5)
        for symbol in symbols:
            for step in steps:
                await tick.store_frame(await source.live(symbol, now(step)), Outcome(symbol=symbol))
    return rows(url, "live")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Two processes that samplers are forked from; starting one takes seconds."""
    log = tmp_path_factory.mktemp("samplers") / "log"
    started = [SamplerProcess(log), SamplerProcess(log)]
    yield started
    for process in started:
        process.close()


@pytest.fixture
def make(tmp_path, processes):
    """Makes up to two samplers; they are gone at the end."""
    samplers = []

    def make(database: str, name: str = "a", **changes) -> SamplerProcess:
        options = {"spool": str(tmp_path / "spool" / name), "symbols": SYMBOLS, "seed": SEED}
        process = processes[len(samplers)]
        process.settings = options | changes | {"database": database}
        samplers.append(process)
        return process

    yield make
    for process in samplers:
        process.drop()


def since(stored: dict, step: int) -> dict:
    return {key: value for key, value in stored.items() if key[1] >= slot(step)}


@pytest.mark.clocked
@pytest.mark.parametrize("nth", [1, 2])
async def test_killed_at_every_point(database, make, nth):
    """kill -9 at each point between fetch and publish, and back: to the cent as if nothing was."""
    sampler = make(database)
    for step, point in enumerate(POINTS):
        if not sampler.lives:
            sampler.start(now(step))
        answer = sampler.tick(now(step), kill=(point, nth))
        if answer.get("dead") is None:
            # A batch passes some points once.
            assert nth == 2
            continue
        assert answer == {"dead": -9}
        # Back within the slot: the step that is due is taken at the start.
        sampler.start(now(step))
    sampler.stop()
    stored = rows(database)
    assert stored == await straight(database, range(len(POINTS)))
    assert since(gaps(database), 0) == {}


@pytest.mark.clocked
async def test_killed_at_every_point_without_a_database(database, make):
    """The same while rows go to the spool, each slot by a sampler that starts without a database."""
    with Proxy(database) as proxy:
        sampler = make(proxy.url)
        sampler.start(now(0))
        sampler.tick(now(0))
        proxy.refuse()
        sampler.tick(now(1))
        for step, point in enumerate(SPOOLING, 2):
            assert sampler.tick(now(step), kill=(point, 1)) == {"dead": -9}
            answer = sampler.start(now(step))
            assert answer["symbols"] == sorted(SYMBOLS)
        sampler.tick(now(5), kill=("spooled", 1))
        proxy.mend()
        # Killed again while the spool is emptied, after each of its transactions.
        for nth in (1, 2):
            assert sampler.start(now(5), kill=("landed", nth)) == {"dead": -9}
        sampler.start(now(6))
        sampler.tick(now(6), settle=10)
        sampler.stop()
    assert rows(database) == await straight(database, range(7))
    assert since(gaps(database), 0) == {}


@pytest.mark.clocked
async def test_started_without_any_state(database, make):
    """Neither database nor a row in the spool says what went before, and the sampler is killed after
    each step of landing: what it fetched goes on from what is stored all the same."""
    with Proxy(database) as proxy:
        sampler = make(proxy.url)
        sampler.start(now(0))
        sampler.tick(now(0))
        proxy.refuse()
        # Only gaps wait: that the symbols were ours is all that the next one knows.
        sampler.tick(now(1), trouble=dict.fromkeys(SYMBOLS, "source_down"))
        sampler.drop()
        sampler.start(now(2), trouble=dict.fromkeys(SYMBOLS, "source_down"))
        for step in (2, 3, 4, 5):
            assert set(sampler.tick(now(step))["words"].values()) <= {"spooled", "unchanged"}
        sampler.drop()
        proxy.mend()
        for nth in (1, 2, 3):
            assert sampler.start(now(6), kill=("landed", nth)) == {"dead": -9}
        sampler.start(now(6))
        sampler.tick(now(6), settle=10)
        sampler.tick(now(7))
        sampler.stop()
    assert rows(database) == await straight(database, [0, *range(2, 8)])
    assert since(gaps(database), 0) == {(symbol, slot(1)): "source_down" for symbol in SYMBOLS}


@pytest.mark.clocked
async def test_two_at_once(database, make):
    """Two samplers, both writing: one row a slot, and the survivor goes on within the slot."""
    first, second = make(database, "a"), make(database, "b")
    assert first.start(now(0))["symbols"] == sorted(SYMBOLS)
    assert second.start(now(0))["symbols"] == []
    for step in range(3):
        assert set(first.tick(now(step))["words"].values()) <= {"stored", "unchanged"}
        assert second.tick(now(step))["words"] == {}
    assert first.tick(now(3), kill=("measured", 2)) == {"dead": -9}
    # The lock fell with the connection.
    deadline = time.monotonic() + 10
    while not (words := second.tick(now(3))["words"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    second.tick(now(4))
    second.stop()
    assert rows(database) == await straight(database, range(5))
    assert since(gaps(database), 0) == {}
    assert words


@pytest.mark.clocked
async def test_two_that_both_believe(database, make):
    """Cut off, the first goes on to its spool while the second has taken over: no row twice, none
    lost, and the first one lets go when it is back."""
    with Proxy(database) as proxy:
        first, second = make(proxy.url, "a"), make(database, "b")
        first.start(now(0))
        second.start(now(0))
        first.tick(now(0))
        proxy.refuse()
        assert set(first.tick(now(1))["words"].values()) == {"spooled"}
        assert first.tick(now(2))["waiting"] == 2
        for step in (3, 4):
            second.tick(now(step))
            first.tick(now(step))
        proxy.mend()
        assert first.tick(now(5), settle=10)["words"] == {}
        second.tick(now(5))
        first.stop()
        second.stop()
    stored = rows(database)
    assert set(stored) == {(symbol, slot(step)) for symbol in SYMBOLS for step in range(6)}
    assert since(gaps(database), 0) == {}
    whole = await straight(database, range(6))
    early = {key for key in stored if key[1] < slot(3)}
    assert {key: stored[key] for key in early} == {key: whole[key] for key in early}


@pytest.mark.clocked
async def test_symbols_are_shared_out(database, make):
    """Two samplers with room for two each sample three symbols; one's death moves its own."""
    first, second = make(database, "a", most=2), make(database, "b", most=2)
    assert first.start(now(0))["symbols"] == ["SPX", "SPY"]
    assert second.start(now(0))["symbols"] == ["QQQ"]
    for step in range(2):
        first.tick(now(step))
        second.tick(now(step))
    first.tick(now(2), kill=("fetching", 1))
    deadline = time.monotonic() + 10
    while len(second.tick(now(2))["words"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    second.stop()
    stored = rows(database)
    assert {key for key in stored if key[0] == "QQQ"} == {("QQQ", slot(i)) for i in range(3)}
    assert {key for key in stored if key[0] == "SPX"} == {("SPX", slot(i)) for i in range(3)}


def test_a_torn_last_record(database, make, tmp_path):
    """The spool's last entry is cut short while its owner is dead: the others land."""
    with Proxy(database) as proxy:
        sampler = make(proxy.url)
        sampler.start(now(0))
        sampler.tick(now(0))
        proxy.refuse()
        for step in (1, 2, 3):
            sampler.tick(now(step))
        assert sampler.tick(now(4), kill=("fetching", 1)) == {"dead": -9}
        (path,) = (tmp_path / "spool/a").glob("*.spool")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 100)
        proxy.mend()
        sampler.start(now(4))
        sampler.tick(now(4))
        sampler.stop()
    stored = rows(database)
    steps = sorted({key[1] for key in stored})
    assert steps == [slot(0), slot(1), slot(2), slot(4)]
    assert {gaps(database)[symbol, slot(3)] for symbol in SYMBOLS} == {"not_running"}
    assert all("after_gap" in stored[symbol, slot(4)]["flags"] for symbol in SYMBOLS)


@pytest.fixture
def mortal():
    with KillableServers() as servers:
        yield servers


@pytest.mark.clocked
async def test_servers_killed(mortal, make, tmp_path):
    """PostgreSQL killed -9 in mid-transaction and back after 50 slots, Redis killed and emptied:
    every slot a row, to the cent, and the followers' cursor without a hole."""
    from storage.postgres.migrate import migrate

    for dataset in ("live", "synthetic"):
        await migrate(mortal.database_url, dataset)
    sampler = make(mortal.database_url, redis=mortal.redis_url)
    sampler.start(now(0))
    for step in range(2):
        sampler.tick(now(step))
    # A writer before it holds the lock, so that the server dies in mid-transaction.
    other = psycopg.connect(mortal.database_url)
    other.execute("set search_path to synthetic")
    other.execute(
        "select pg_advisory_xact_lock(hashtextextended('zerodte-flow writes ' || current_schema(), 0))"
    )
    assert set(sampler.tick(now(2))["words"].values()) == {"spooled"}
    mortal.kill(mortal.postgres)
    other.close()
    for step in range(3, 52):
        if step == 20:
            mortal.kill(mortal.valkey)
        assert set(sampler.tick(now(step))["words"].values()) == {"spooled"}
    mortal.revive(mortal.postgres)
    sampler.tick(now(52), settle=30)
    mortal.revive(mortal.valkey)
    for step in range(53, 55):
        assert set(sampler.tick(now(step), settle=30)["words"].values()) == {"stored"}
    sampler.stop()
    assert rows(mortal.database_url) == await straight(mortal.database_url, range(55))
    assert since(gaps(mortal.database_url), 0) == {}
    with redis.Redis.from_url(mortal.redis_url) as client:
        (stream,) = client.keys("flow:synthetic:*:changes:SPX")
        assert client.xlen(stream) == 2
    with psycopg.connect(mortal.database_url) as connection:
        heads = dict(connection.execute("select symbol, revision from synthetic.heads").fetchall())
        newest = connection.execute(
            "select symbol, max(revision) from synthetic.rows group by symbol"
        ).fetchall()
    assert heads == dict(newest)
    assert list(Path(tmp_path / "spool/a").iterdir()) == []
