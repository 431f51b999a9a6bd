"""polars, pandas and DuckDB read the series by URL: past sessions, and one that is running."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import psycopg
import pytest

from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.api.conftest import EMPTY
from tests.api.openapi.foreign import PYTHON, program, run
from tests.api.rows import every, record, utc
from tests.api.test_serve import ROOT, Served

HERE = Path(__file__).parent
#: The day before the server's, and how many slots it has.
PAST, SLOTS = "2026-06-04", 780
#: From the open to the server's time.
RUNNING = 120
Reader = Callable[[str], tuple[int, float]]


def of_polars(frame: pl.DataFrame) -> tuple[int, float]:
    return frame.height, float(frame["spot"].sum())


def of_pandas(frame: pd.DataFrame) -> tuple[int, float]:
    return len(frame), float(frame.spot.sum())


#: Each reads a URL to which the format is added, and returns rows and sum of spot.
READERS: dict[str, Reader] = {
    "polars scan_parquet": lambda url: of_polars(
        pl.scan_parquet(url + "parquet").select("spot").collect()
    ),
    "polars read_parquet": lambda url: of_polars(pl.read_parquet(url + "parquet")),
    "polars scan_csv": lambda url: of_polars(pl.scan_csv(url + "csv").select("spot").collect()),
    "polars read_csv": lambda url: of_polars(pl.read_csv(url + "csv")),
    "pandas read_parquet": lambda url: of_pandas(pd.read_parquet(url + "parquet")),
    "pandas read_csv": lambda url: of_pandas(pd.read_csv(url + "csv")),
}


def spots(count: int) -> float:
    """The sum of spot over the first slots of a day: 600 at the open, and 0.5 more each slot."""
    return 600.0 * count + 0.5 * (count - 1) * count / 2


@pytest.fixture(scope="module")
def server(
    servers: Servers, own_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A serving process with a whole day, and an hour of the day that is running."""
    with psycopg.connect(own_database, autocommit=True) as admin:
        admin.execute(EMPTY)  # type: ignore[call-overload]

    async def fill() -> None:
        async with Store.open(own_database, "live", size=1) as store:
            await store.write(every(f"{PAST} 13:30", f"{PAST} 19:59:30"))
            await store.write(every("13:30", "14:29:30"))

    asyncio.run(fill())
    process = Served(own_database, servers.redis_url, tmp_path_factory.mktemp("readers") / "log")
    yield process
    assert process.stop() == 0


@contextmanager
def arriving(database: str, redis: str) -> Iterator[list[int]]:
    """Rows arrive, twenty a second, until the block ends; how many are stored so far."""
    stored, over = [RUNNING], threading.Event()

    async def write() -> None:
        async with (
            Store.open(database, "live", size=1) as store,
            RedisChannel.open(redis, "flow:live", store.identity) as live,
        ):
            while not over.is_set() and stored[0] < SLOTS:
                slot = utc("13:30") + timedelta(seconds=30 * stored[0])
                changes = (await store.write([record(slot)])).changes
                await live.publish(changes)
                stored[0] += 1
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(write()), daemon=True)
    thread.start()
    try:
        yield stored
    finally:
        over.set()
        thread.join(30)


@pytest.mark.parametrize("name", READERS)
def test_a_past_session(server: Served, name: str) -> None:
    """Every reader gets every row."""
    url = f"{server.url}/v1/flow/zero-dte/series/SPY?date={PAST}&format="
    assert READERS[name](url) == (SLOTS, spots(SLOTS))


def test_several_symbols(server: Served) -> None:
    """The URL of several symbols is a file like the others."""
    url = f"{server.url}/v1/flow/zero-dte/series?symbols=SPY&date={PAST}&bar=5m&format="
    for name, read in READERS.items():
        assert read(url)[0] == SLOTS // 10, name


def test_duckdb_reads_past_sessions(server: Served, tmp_path: Path) -> None:
    """By its own httpfs; the documented query too."""
    program("python")
    url = f"{server.url}/v1/flow/zero-dte/series/SPY?date={PAST}&format="
    [documented] = re.findall(
        r"```sql\n(.*?)```", (ROOT / "docs/notebooks.md").read_text(), re.DOTALL
    )
    documented = documented.replace("http://127.0.0.1:8000", server.url).replace("SPX", "SPY")
    queries = [
        f"select count(*), sum(spot) from read_parquet('{url}parquet')",
        f"select count(*), sum(spot) from read_csv('{url}csv')",
        f"select count(*), max(spot) from ({documented.strip().removesuffix(';')})",
    ]
    answers = ask_duckdb(queries, tmp_path)
    assert answers[:2] == [[[SLOTS, spots(SLOTS)]]] * 2
    # The three newest minutes of the running session; the last sample is of 14:29:30.
    assert answers[2] == [[3, 659.5]]


def test_libreoffice_reads_the_documented_address(server: Served, tmp_path: Path) -> None:
    """The documented command makes a sheet; its cells are those of the table."""
    if shutil.which("soffice") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("soffice is not installed")
        pytest.skip("soffice is not installed")
    [command] = re.findall(
        r"```bash\n(.*?)```", (ROOT / "docs/notebooks.md").read_text(), re.DOTALL
    )
    assert " --convert-to ods " in command
    command = command.replace("http://127.0.0.1:8000", server.url).replace("SPX", "SPY")
    command = command.replace("bar=1m&minutes=390", f"date={PAST}").replace(" ods ", " csv ")
    subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        timeout=240,
    )
    sheet = pd.read_csv(tmp_path / "SPY.csv")
    assert of_pandas(sheet) == (SLOTS, spots(SLOTS))
    assert list(sheet.regime.unique()) == ["negative_gamma"]


def ask_duckdb(queries: list[str], folder: Path) -> list[Any]:
    shutil.copy(HERE / "ask_duckdb.py", folder)
    printed = run([PYTHON, "ask_duckdb.py"], folder, input=json.dumps(queries))
    return [json.loads(line) for line in printed.splitlines()]


def test_a_running_session(
    server: Served, servers: Servers, own_database: str, tmp_path: Path
) -> None:
    """Twenty-five readings of each reader while rows arrive: whole rows, and never fewer than before."""
    url = f"{server.url}/v1/flow/zero-dte/series/SPY?minutes=390&format="
    readers = dict(READERS)
    with arriving(own_database, servers.redis_url) as stored:
        for name, read in readers.items():
            counts = []
            for _ in range(25):
                count, spot = read(url)
                assert spot == spots(count), name
                counts.append(count)
            assert counts == sorted(counts), name
            assert RUNNING <= counts[-1] <= stored[0] + 1, name
        program("python")
        queries = [
            f"select count(*), sum(spot) from read_{kind}('{url}{kind}')"
            for kind in ("parquet", "csv")
            for _ in range(25)
        ]
        for [(count, spot)] in ask_duckdb(queries, tmp_path):
            assert spot == spots(count)
    assert stored[0] > RUNNING + 5
    # A reader is shown one state of the file for five seconds after it began; then it sees new rows.
    deadline = time.monotonic() + 20
    while (counts := [read(url)[0] for read in readers.values()]) != [stored[0]] * len(readers):
        assert time.monotonic() < deadline, counts
        time.sleep(0.5)
