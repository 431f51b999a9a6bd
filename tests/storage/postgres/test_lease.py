"""Leases on a real PostgreSQL: one holder a symbol, whoever dies, whatever is cut."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psycopg
import pytest
from proxy import Proxy

from storage.errors import StoreError
from storage.postgres import lease as module
from storage.postgres.lease import Lease, LeaseChange
from storage.record.mode import WriteMode
from tests.api.rows import record, utc

SYMBOLS = ("SPX", "SPY", "QQQ")


@pytest.fixture
async def lease(database):
    """Makes leases; they are closed at the end."""
    leases = []

    def make(*symbols: str, most: int = 0, url: str = database, dataset: str = "live") -> Lease:
        leases.append(Lease(url, dataset, symbols or SYMBOLS, most))
        return leases[-1]

    yield make
    for opened in leases:
        await opened.close()


async def until(condition, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.05)


async def test_one_works_the_other_waits(lease):
    """The first one has all, the second none; when the first leaves, the second has all."""
    first, second = lease(), lease()
    assert await first.beat() == LeaseChange(gained=SYMBOLS)
    assert await second.beat() == LeaseChange()
    assert await first.beat() == LeaseChange()
    assert (first.held, second.held) == (set(SYMBOLS), set())
    await first.close()
    assert await second.beat() == LeaseChange(gained=SYMBOLS)


async def test_shared_out(lease):
    """Samplers with room for two each share four symbols; the third takes over what is left."""
    symbols = ("A", "B", "C", "D")
    first, second, third = (lease(*symbols, most=2) for _ in range(3))
    turns = [await holder.beat() for holder in (first, second, third)]
    assert [turn.gained for turn in turns] == [("A", "B"), ("C", "D"), ()]
    await first.close()
    assert (await second.beat(), (await third.beat()).gained) == (LeaseChange(), ("A", "B"))


async def test_a_server_that_becomes_read_only(lease, database):
    """After a failover the old server's locks hold nobody off: the symbols are held on credit."""
    holder = lease()
    assert await holder.beat() == LeaseChange(gained=SYMBOLS)
    with read_only(database):
        await until(lambda: _on_credit(holder))
        assert holder.held == set(SYMBOLS)
        assert await holder.beat() == LeaseChange()
        assert not holder.connected
    await until(lambda: _regained(holder))
    assert holder.held == set(SYMBOLS)


async def _on_credit(holder: Lease) -> bool:
    await holder.beat()
    return not holder.connected


async def _regained(holder: Lease) -> bool:
    return (await holder.beat()).regained == SYMBOLS


@contextmanager
def read_only(database: str):
    """The server takes no writes, also from sessions that are open already."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("set default_transaction_read_only = off")
        admin.execute("alter system set default_transaction_read_only = on")
        admin.execute("select pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("alter system reset default_transaction_read_only")
            admin.execute("select pg_reload_conf()")


async def test_a_store_whose_server_becomes_read_only(store, database):
    """A refused write gives its connection up; the next one finds the server that writes."""
    spots = itertools.count(600.0)

    async def refused() -> bool:
        # The setting reaches open sessions within a moment.
        try:
            await store.write([record(utc("14:00"), spot=next(spots))], mode=WriteMode.REPLACE)
        except StoreError as error:
            return "read-only" in str(error)
        return False

    async def written() -> bool:
        return not await refused()

    assert await written()
    before = {connection.info.backend_pid for connection in store._pool._pool}
    with read_only(database):
        await until(refused)
    await until(written)
    assert before - {connection.info.backend_pid for connection in store._pool._pool}


async def test_a_lease_that_cannot_be_released(lease, database, monkeypatch):
    """A holder that is cut off from the server closes all the same, within its patience."""
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    with Proxy(database) as proxy:
        holder = lease(url=proxy.url)
        await holder.beat()
        proxy.stall()
        async with asyncio.timeout(10):
            await holder.close()
        assert (holder.connected, holder.held) == (False, set())


async def test_datasets_are_apart(lease):
    """A simulated sampler takes nothing from a real one."""
    real, made_up = lease(), lease(dataset="synthetic")
    assert (await real.beat()).gained == (await made_up.beat()).gained == SYMBOLS


async def test_a_holder_whose_session_is_ended(lease, database):
    """It finds out with its next beat, holds on credit, and has back what nobody took."""
    first, second = lease(), lease()
    await first.beat()
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert await first.beat() == LeaseChange()
    assert (first.connected, first.held) == (False, set(SYMBOLS))
    assert await first.beat() == LeaseChange(regained=SYMBOLS)
    await first.close()
    assert await second.beat() == LeaseChange(gained=SYMBOLS)


async def test_a_holder_that_was_succeeded(lease, servers, database):
    """Cut off, it holds on credit; back again, it sees what another one took, and stops that."""
    with Proxy(database) as proxy:
        first, second = lease(url=proxy.url), lease("SPY")
        await first.beat()
        proxy.refuse()
        await until(lambda: _gained(second))
        assert await first.beat() == LeaseChange()
        assert await first.beat() == LeaseChange()
        assert (first.connected, first.held) == (False, set(SYMBOLS))
        proxy.mend()
        assert await first.beat() == LeaseChange(regained=("SPX", "QQQ"), lost=("SPY",))
        assert first.held == {"SPX", "QQQ"}


async def _gained(holder: Lease) -> bool:
    return bool((await holder.beat()).gained or holder.held)


async def test_a_network_that_swallows(lease, database, monkeypatch):
    """Connections stay open and carry nothing: the server lets go, the client finds out."""
    monkeypatch.setattr(module, "_SILENCE", 0.8)
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    with Proxy(database) as proxy:
        first, second = lease(url=proxy.url), lease()
        await first.beat()
        proxy.stall()
        assert await first.beat() == LeaseChange()
        assert not first.connected
        await until(lambda: _gained(second))
        assert second.held == set(SYMBOLS)
        proxy.mend()
        await until(lambda: _told(first))
        assert (first.connected, first.held) == (True, set())


async def _told(holder: Lease) -> bool:
    return bool((await holder.beat()).lost)


PROGRAM = """
import asyncio, sys
from storage.postgres.lease import Lease
async def main():
    lease = Lease(sys.argv[1], "live", sys.argv[2].split(","))
    while True:
        turn = await lease.beat()
        if turn.gained: print(*turn.gained, flush=True)
        await asyncio.sleep(0.1)
asyncio.run(main())
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_killed_holder(lease, database, monkeypatch, sign):
    """After kill -9 the symbols are free at once; after a stop, when the silence is noticed."""
    monkeypatch.setattr(module, "_SILENCE", 0.8)
    program = PROGRAM.replace(
        "async def main",
        "from storage.postgres import lease as m; m._SILENCE = 0.8\nasync def main",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, database, ",".join(SYMBOLS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().split() == list(SYMBOLS)
        second = lease()
        assert await second.beat() == LeaseChange()
        process.send_signal(sign)
        await until(lambda: _gained(second))
    finally:
        process.kill()
        process.communicate()


async def test_a_database_that_is_away(lease):
    """Nothing is gained, nothing is raised; what is held on credit stays held."""
    alone = lease(url="postgresql://postgres@127.0.0.1:1/none")
    assert alone.credit(["SPY"]) == ["SPY", *(symbol for symbol in SYMBOLS if symbol != "SPY")]
    assert await alone.beat() == LeaseChange()
    assert (alone.connected, alone.held) == (False, set(SYMBOLS))
    few = lease(url="postgresql://postgres@127.0.0.1:1/none", most=1)
    assert few.credit(["SPY"]) == ["SPY"]
    assert few.held == {"SPY"}


async def test_a_connection_notices_in_ten_seconds_that_its_server_is_gone(lease, database):
    """After four silent seconds it asks three times, two seconds apart: ten seconds in all."""
    with Proxy(database) as proxy:
        held = lease(url=proxy.url)
        await held.beat()
        with socket.socket(fileno=os.dup(held._connection.fileno())) as end:
            options = [
                end.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            ]
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert options == [4, 2, 3, 10_000]
        await held.close()


async def test_which_symbols_nobody_holds(lease, store):
    """Those without a lock, of those that were named, as soon as they are released."""
    holder = lease("SPX", "SPY")
    await holder.beat()
    assert sorted(await store.unheld_symbols(["SPX", "QQQ", "SPY", "IWM"])) == ["IWM", "QQQ"]
    assert await store.unheld_symbols(["SPY"]) == []
    await holder.close()
    assert sorted(await store.unheld_symbols(["SPX", "SPY"])) == ["SPX", "SPY"]
