"""A backfill over machines of their own: workers die, links are cut, and each slot is written once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage.postgres.migrate import migrate
from tests.cluster import Cluster, make_certificates, why_not

pytestmark = [
    pytest.mark.skipif(bool(reason := why_not()), reason=reason or "namespaces can be made"),
    pytest.mark.clocked,
]
WORDS = (
    # An early close: 420 slots of each symbol.
    *("--from", "2025-11-28", "--to", "2025-11-28"),
    *("--symbols", "SPX,QQQ", "--source", "synthetic:?seed=5"),
)
#: Counts each time that a row is written; what a transaction undoes does not count.
COUNTED = """
create table synthetic.writes (symbol text, slot timestamptz);
create function synthetic.count_write() returns trigger language plpgsql as
$$ begin insert into synthetic.writes values (new.symbol, new.slot); return null; end $$;
create trigger counted after insert or update on synthetic.rows
for each row execute function synthetic.count_write();
"""
#: A writer that stands still in the middle of its transaction.
HOLD_LOCK = """
import asyncio, os
from storage.postgres.database import open_connection
from storage.postgres.queries import query

async def main():
    async with open_connection(os.environ["FLOW_DATABASE_URL"], "synthetic") as connection:
        async with connection.transaction():
            await connection.execute(query("lock"))
            print("locked", flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""
#: Another one, that wants to write.
TAKE_LOCK = HOLD_LOCK.replace("await asyncio.sleep(600)", "pass")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        started.create_database("alone")
        for name in ("flow", "alone"):
            asyncio.run(migrate(started.url_here(name), "synthetic"))
            with psycopg.connect(started.url_here(name)) as database:
                database.execute(COUNTED)
        yield started


def until_rows(cluster: Cluster) -> None:
    """Wait until a worker is in the middle of a session."""
    ends = time.monotonic() + 120
    with psycopg.connect(cluster.url_here("flow"), autocommit=True) as database:
        while True:
            done = database.execute(
                "select count(*) from synthetic.rows group by symbol"
            ).fetchall()
            if done:
                assert max(done) < (400,), "too late: a session is over"
                return
            assert time.monotonic() < ends
            time.sleep(0.02)


def content(database: str) -> list[tuple]:
    """Each row to the bit but for its revision, and how often it was written."""
    with psycopg.connect(database) as connection:
        connection.execute("set search_path to synthetic")
        names = [c.name for c in connection.execute("select * from rows limit 0").description]
        columns = ", ".join(f"r.{name}" for name in names if name != "revision")
        return connection.execute(
            f"select {columns}, md5(p::text), c.evidence, (select count(*) from writes w"
            " where w.symbol = r.symbol and w.slot = r.slot) from rows r"
            " join profiles p using (symbol, expiration, source, slot)"
            " join chains c using (symbol, expiration, source, slot) order by symbol, slot"
        ).fetchall()


def test_a_worker_dies_and_a_link_is_cut(cluster: Cluster) -> None:
    """The rows are those of one process, to the bit, and none was written more often than there."""
    process = cluster.backfill(*WORDS)
    until_rows(cluster)
    cluster.kill_worker("worker0")
    cluster.network.cut("worker1")
    cluster.start_worker("worker0")
    # After ten seconds the server gives up the sessions of a machine that is cut off.
    time.sleep(15)
    cluster.network.mend("worker1")
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    alone = cluster.run("client", "-m", "sampler", "backfill", *WORDS, database="alone")
    assert alone.communicate(timeout=300)[1] == ""
    stored = content(cluster.url_here("flow"))
    assert len(stored) > 830
    assert stored == content(cluster.url_here("alone"))


def test_a_foreign_certificate_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """Whose certificate another authority has signed is not let in, and hears it in a sentence."""
    words = ("-m", "sampler", "backfill", *WORDS, "--dask", cluster.address)
    process = cluster.run("client", *words, **make_certificates(tmp_path))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"--dask: no scheduler answers at {cluster.address}" in err


def test_a_machine_that_is_cut_off_while_it_writes(cluster: Cluster) -> None:
    """Its write lock falls with its session, within seconds and not hours; others go on."""
    holder = cluster.run("worker0", "-c", HOLD_LOCK)
    try:
        assert holder.stdout.readline() == "locked\n"
        cluster.network.cut("worker0")
        since = time.monotonic()
        other = cluster.run("client", "-c", TAKE_LOCK)
        out, err = other.communicate(timeout=60)
        assert (out, err) == ("locked\n", "")
        assert 1 < time.monotonic() - since < 30
    finally:
        cluster.network.mend("worker0")
        holder.kill()
        holder.communicate()
