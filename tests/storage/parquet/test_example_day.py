"""The simulated session that comes with the package: stored once, in its dataset only, or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from factories import record

from storage.errors import FlowError
from storage.market.calendar import session_on
from storage.parquet import example_day
from storage.parquet.example_day import DAY, FEED, FOLDER, SYMBOL, read_example, store_example
from storage.parquet.read import EXPORT_MARK
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.row import PROFILE_ARRAYS
from tests import forked

SESSION = session_on(DAY)


@pytest_asyncio.fixture
async def simulated(database: str) -> AsyncIterator[Store]:
    """An empty simulated dataset."""
    await migrate(database, "synthetic")
    async with Store.open(database, "synthetic") as store:
        yield store


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The files, to be spoiled."""
    return Path(shutil.copytree(FOLDER, tmp_path / "example"))


def rewritten(folder: Path, table: str, change) -> None:
    """A table of the files, changed, with the same mark."""
    [path] = folder.glob(f"{table}/*/*/*/*.parquet")
    content = pq.read_table(path, partitioning=None)
    pq.write_table(change(content).replace_schema_metadata(content.schema.metadata), path)


async def test_an_empty_dataset_gets_it_once(simulated: Store) -> None:
    """Rows of every slot but the first, strikes of each fifteenth minute; a second time changes nothing."""
    assert await store_example(simulated, "synthetic") == 779
    assert await simulated.slots(SYMBOL, DAY) == SESSION.slots[1:]
    [gap] = await simulated.gaps(SYMBOL, DAY)
    assert (gap["slot"], gap["reason"]) == (SESSION.open, "not_open")
    revision = await simulated.cursor()
    assert await store_example(simulated, "synthetic") == 0
    assert await simulated.cursor() == revision

    records, _ = read_example()
    for wanted in (records[0], records[29], records[500], records[-1]):
        stored = await simulated.moment(SYMBOL, DAY, wanted.row.slot)
        assert stored.row == wanted.row
        assert {name: column.tobytes() for name, column in stored.profile.items()} == {
            name: wanted.profile.get(name, np.empty(0)).tobytes() for name in PROFILE_ARRAYS
        }
    profiled = [r.row.slot for r in records if r.profile]
    assert len(profiled) == 26
    assert all((slot.minute + 1) % 15 == 0 and slot.second == 30 for slot in profiled)
    # No row says that it was sampled, and no forecast that it was frozen.
    [line] = await simulated.coverage(DAY, DAY, [SYMBOL])
    assert (line["owned"], line["source"]) == (False, FEED)
    assert await simulated.forecasts.frozen(SYMBOL, DAY, DAY) == []


async def test_it_is_marked_as_filled_in_afterwards(database: str, simulated: Store) -> None:
    """As every session that was not sampled while it traded; it has no chains."""
    await store_example(simulated, "synthetic")
    async with await psycopg.AsyncConnection.connect(database) as direct:
        marks = await direct.execute("select distinct backfilled from synthetic.rows")
        assert await marks.fetchall() == [(True,)]
        chains = await direct.execute("select count(*) from synthetic.chains")
        assert await chains.fetchall() == [(0,)]


async def test_a_session_that_has_rows_stays_as_it_is(simulated: Store) -> None:
    """One row is enough, whatever it says."""
    own = record(symbol=SYMBOL, expiration=DAY, slot=SESSION.slots[5], source=FEED)
    await simulated.write([own])
    assert await store_example(simulated, "synthetic") == 0
    assert await simulated.slots(SYMBOL, DAY) == [SESSION.slots[5]]


async def test_a_real_dataset_never_gets_it(store: Store) -> None:
    """Not a row of it."""
    with pytest.raises(FlowError, match="never go to the dataset live"):
        await store_example(store, "live")
    assert await store.symbols() == {}


async def test_files_that_cannot_be_used_store_nothing(simulated: Store, copied: Path) -> None:
    """A flipped bit, other formulas, other columns, no files: each with a sentence, and no row."""
    [rows] = copied.glob("rows/*/*/*/*.parquet")
    whole = rows.read_bytes()
    spoiled = bytearray(whole)
    spoiled[len(spoiled) // 2] ^= 1
    rows.write_bytes(spoiled)
    with pytest.raises(FlowError, match="damaged"):
        await store_example(simulated, "synthetic", copied)

    def other(name: str, value: str):
        def change(table: pa.Table) -> pa.Table:
            place = table.schema.get_field_index(name)
            column = pa.array([value] * len(table))
            return table.set_column(place, table.schema.field(place), column)

        return change

    rows.write_bytes(whole)
    rewritten(copied, "rows", other("definitions", "2"))
    with pytest.raises(FlowError, match="formulas version 2, this release has 3"):
        await store_example(simulated, "synthetic", copied)

    for table, column in (("rows", "net_gex_se"), ("profiles", "vex")):
        shutil.rmtree(copied)
        shutil.copytree(FOLDER, copied)
        rewritten(copied, table, lambda content, column=column: content.drop_columns([column]))
        with pytest.raises(FlowError, match="columns are those of another release"):
            await store_example(simulated, "synthetic", copied)

    shutil.rmtree(copied)
    shutil.copytree(FOLDER, copied)
    content = pq.read_table(rows, partitioning=None)
    mark = {EXPORT_MARK: b'{"format": "0", "dataset": "synthetic"}'}
    pq.write_table(content.replace_schema_metadata(mark), rows)
    with pytest.raises(FlowError, match="exported in format 0"):
        await store_example(simulated, "synthetic", copied)

    shutil.rmtree(copied)
    with pytest.raises(FlowError, match="not a whole Parquet file"):
        await store_example(simulated, "synthetic", copied)
    assert await simulated.symbols() == {}
    assert await simulated.gaps(SYMBOL, DAY) == []


def test_the_command(database: str, tmp_path: Path) -> None:
    """Once, twice, and for the real dataset; without importing the compiler."""

    def flow(*words: str) -> tuple[int, str, str]:
        done = forked.run(
            [sys.executable, "-m", "storage", "example", *words],
            env=os.environ | {"FLOW_DATABASE_URL": database, "FLOW_DATA_DIR": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    assert forked.run(
        [sys.executable, "-m", "storage", "migrate"],
        env=os.environ | {"FLOW_DATABASE_URL": database}, capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    assert flow() == (0, f"{SYMBOL} {DAY}, simulated: 779 rows stored\n", "")
    assert flow() == (0, f"{SYMBOL} {DAY}, simulated: there already; nothing changed\n", "")
    status, _, error = flow("--dataset", "live")
    assert (status, "never one of live" in error) == (2, True)
    imported = "import sys, storage.__main__; sys.exit('numba' in sys.modules)"
    assert forked.run([sys.executable, "-c", imported], check=False).returncode == 0


def test_the_files_are_small() -> None:
    """They are in every clone and every wheel."""
    assert sum(p.stat().st_size for p in example_day.FOLDER.rglob("*.parquet")) < 1.5e6
