"""docs/notebooks.md and docs/stream.md, followed to the letter against a serving process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from storage.embedded.attach import Servers
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests.api.conftest import EMPTY
from tests.api.rows import every, record, utc
from tests.api.test_serve import ROOT, Served

HERE = "http://127.0.0.1:8000"
#: Runs blocks one after another, each in a namespace of its own, as cells of a fresh notebook.
CELLS = """
import json, sys
for block in json.load(sys.stdin):
    exec(compile(block, "<block>", "exec"), {})
"""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def fill(database: str) -> None:
    async with Store.open(database, "live", size=1) as store:
        for symbol in ("SPX", "SPY"):
            await store.write(every("13:30", "14:29:30", symbol=symbol))


@pytest.fixture(scope="module")
def served(
    servers: Servers, own_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A serving process with an hour of two symbols."""
    with psycopg.connect(own_database, autocommit=True) as admin:
        admin.execute(EMPTY)  # type: ignore[call-overload]
    asyncio.run(fill(own_database))
    process = Served(own_database, servers.redis_url, tmp_path_factory.mktemp("notes") / "log")
    yield process
    assert process.stop() == 0


def start(served: Served, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "ignore", "-c", code.replace(HERE, served.url)],
        env=os.environ | {"MPLBACKEND": "Agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_notebooks(served: Served) -> None:
    """Every block runs as it stands, each for itself, and shows what is stored."""
    cells = blocks("notebooks.md", "python")
    assert len(cells) == 5
    # From the first import to the plot, five lines.
    assert all(len(cell.replace("\n\n", "\n").splitlines()) <= 5 for cell in cells[:4])
    code = CELLS.replace("json.load(sys.stdin)", repr(cells))
    output, errors = start(served, code).communicate(timeout=120)
    assert errors == ""
    assert "659.5" in output
    assert "[{'from': " in output or "[]" in output


def test_what_is_installed() -> None:
    """The packages that the page installs are those that its test installs."""
    [line] = blocks("notebooks.md", "sh")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in known}
    assert set(line.split()[2:]) <= names


async def test_following(served: Served, servers: Servers, own_database: str) -> None:
    """The pages' programs follow the series: one asks again, the other keeps a stream open."""
    again, stream = blocks("stream.md", "python")
    output, errors = start(served, again + "\nprint(len(bars))").communicate(timeout=60)
    assert (output, errors) == ("60\n", "")
    reading = start(served, stream)
    assert reading.stdout is not None
    async with (
        Store.open(own_database, "live", size=1) as store,
        RedisChannel.open(servers.redis_url, "flow:live", store.identity) as live,
    ):
        line = asyncio.create_task(asyncio.to_thread(reading.stdout.readline))
        landed = {}
        # Whoever lands first may be there before the program is.
        for step in range(120):
            slot = utc("14:30") + timedelta(seconds=30 * step)
            [change] = (await store.write([record(slot)])).changes
            await live.publish([change])
            landed[f"{change.revision} bar {{'t': '{slot:%Y-%m-%dT%H:%M:%SZ}'"] = step
            if (await asyncio.wait({line}, timeout=0.3))[0]:
                break
        reading.kill()
    assert (await line)[:50].partition(", ")[0] in landed
    reading.communicate()


def test_curl(served: Served) -> None:
    """The shell lines answer, and none of them fails."""
    for line in blocks("stream.md", "sh"):
        command = line.replace(HERE, served.url).replace("curl", "curl -sSf --max-time 2", 1)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        stream = "/stream" in line
        assert done.returncode == (28 if stream else 0), done.stderr
        assert done.stdout.startswith("retry" if stream else ("symbol,t" if "csv" in line else "{"))
