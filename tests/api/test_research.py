"""The reader for research: archive and server say the same, and the worked notebooks run."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import requests

from storage import research
from storage.parquet.archive import export_sessions
from storage.postgres.store import Store
from storage.research import Archive, Remote, ResearchError, ResearchSession
from tests.api.conftest import FLOWING, ROOT
from tests.api.serving import served
from tests.api.site import SERIES

DAY = date.fromisoformat(FLOWING)
LATER = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)
SESSION = ResearchSession(DAY, "SPX", "synthetic")
#: Version 1: what may not be removed or changed.
BARS = [
    *("symbol", "session", "feed", "simulated", "t", "sampled_at", "spot", "atm_iv"),
    *("remaining_1sd", "net_gex", "net_gex_se", "net_dex", "gamma_flip", "call_wall", "put_wall"),
    *("magnet", "pin_probability_pct", "charm_dollars_per_hour", "hedge_flow_call_cumulative"),
    *("hedge_flow_put_cumulative", "hedge_flow_cumulative_all", "pin_score", "gamma_flip_status"),
    *("regime", "flags"),
]
PUBLIC = {
    "Archive": "(location: 'str') -> 'None'",
    "Archive.sessions": "(self, symbol: 'str') -> 'list[ResearchSession]'",
    "Archive.bars": "(self, symbol: 'str', day: 'date', *, bar: 'str' = '1m',"
    " feed: 'str | None' = None) -> 'ResearchTable'",
    "Archive.missing": "(self, symbol: 'str', day: 'date', *, feed: 'str | None' = None)"
    " -> 'ResearchTable'",
    "Archive.strikes": "(self, symbol: 'str', day: 'date', *, feed: 'str | None' = None)"
    " -> 'ResearchTable'",
    "Archive.forecasts": "(self, symbol: 'str') -> 'ResearchTable'",
    "Archive.settlements": "(self, symbol: 'str') -> 'ResearchTable'",
    "Archive.scores": "(self, symbol: 'str') -> 'ResearchTable'",
    "Remote": "(address: 'str', key: 'str | None' = None) -> 'None'",
}


@pytest.fixture(scope="module")
def exported(sessions_database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic session, exported."""
    folder = tmp_path_factory.mktemp("exported")

    async def export() -> None:
        async with Store.open(sessions_database, "synthetic", size=2) as store:
            await export_sessions(store, "synthetic", folder, first=DAY, last=DAY, symbols=["SPX"])

    asyncio.run(export())
    return folder


@pytest.fixture(scope="module")
def address(sessions_database: str) -> Iterator[str]:
    """A server on the same session, days later."""
    with served(sessions_database, "synthetic", LATER) as (url, _):
        yield url


def test_the_promise() -> None:
    """Version 1 has these names, parameters and columns."""
    assert research.VERSION.split(".")[0] == "1"
    assert research.BAR_SCHEMA.names[: len(BARS)] == BARS
    for name, signature in PUBLIC.items():
        owner, _, method = name.partition(".")
        thing = getattr(research, owner)
        called = inspect.signature(getattr(thing, method) if method else thing)
        assert str(called) == signature, name


@pytest.mark.parametrize("bar", ["30s", "1m", "15m"])
def test_both_readers_say_what_the_api_says(exported: Path, address: str, bar: str) -> None:
    """The same table from files and from the server, with the figures of the JSON."""
    archive, server = Archive(str(exported)), Remote(address)
    assert archive.sessions("spx") == server.sessions("SPX") == [SESSION]
    assert SESSION.simulated
    table = archive.bars("SPX", DAY, bar=bar).arrow
    assert table.equals(server.bars("SPX", DAY, bar=bar).arrow)
    body = requests.get(f"{address}{SERIES}SPX?date={DAY}&bar={bar}", timeout=20).json()
    rows = table.to_pylist()
    assert len(rows) == len(body["bars"]) > 10
    for row, expected in zip(rows, body["bars"], strict=True):
        assert f"{row['t']:%Y-%m-%dT%H:%M:%SZ}" == expected["t"]
        assert row["flags"].split() == expected["flags"]
        for name in ("spot", "net_gex", "gamma_flip", "pin_score", "regime", "atm_iv"):
            assert row[name] == expected[name], name
    assert {row["simulated"] for row in rows} == {True}


def test_missing_slots(exported: Path, address: str) -> None:
    """The gap at the open, from both."""
    table = Archive(str(exported)).missing("SPX", DAY).arrow
    assert table.equals(Remote(address).missing("SPX", DAY).arrow)
    [gap] = table.to_pylist()
    assert gap["reason"] == "not_open"
    assert (gap["to"] - gap["from"]).total_seconds() == 30


def test_strikes(exported: Path) -> None:
    """A sample's strikes add up to its net GEX."""
    archive = Archive(str(exported))
    strikes = archive.strikes("SPX", DAY).pandas()
    bars = archive.bars("SPX", DAY, bar="30s").pandas()
    sums = (strikes.call_gex + strikes.put_gex).groupby(strikes.sampled_at).sum()
    assert len(sums) == len(bars) == 419
    np.testing.assert_allclose(sums.to_numpy(), bars.net_gex.to_numpy(), rtol=1e-6)


def test_other_libraries(exported: Path) -> None:
    """polars and pandas have the same columns; DuckDB reads the folder in one line."""
    table = Archive(str(exported)).bars("SPX", DAY)
    assert table.polars().columns == list(table.pandas().columns) == BARS
    assert len(table) == len(table.polars()) == 210
    query = f"select count(*), max(spot) from '{exported}/rows/**/*.parquet' where symbol = 'SPX'"
    [(count, highest)] = duckdb.sql(query).fetchall()
    assert (count, highest) == (
        419,
        Archive(str(exported)).bars("SPX", DAY, bar="30s").pandas().spot.max(),
    )


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda folder, _: Archive(f"{folder}/none").sessions("SPX"), "has no folder rows"),
        (lambda folder, _: Archive(folder).bars("SPX", date(2026, 1, 5)), "has no session of SPX"),
        (lambda folder, _: Archive(folder).bars("SPX", DAY, feed="cboe"), "of the feed cboe"),
        (lambda folder, _: Archive(folder).bars("SPX", DAY, bar="2m"), "'2m' is no bar"),
        (lambda _, url: Remote(url).bars("SPX", date(2026, 11, 26)), "no bars of SPX on 2026-11-26"),
        (lambda _, url: Remote(url).sessions("NONE"), "answers 404"),
        (lambda _, url: Remote("http://127.0.0.1:9").sessions("SPX"), "cannot be reached"),
        (lambda _, url: Remote("file:///etc"), "is no address of a server"),
    ],
)  # fmt: skip
def test_refusals(exported: Path, address: str, ask: Any, words: str) -> None:
    """What cannot be read is said in a sentence."""
    with pytest.raises(ResearchError, match=words):
        ask(str(exported), address)


NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_worked_notebooks(exported: Path, path: Path) -> None:
    """Each runs from its first cell to its last, prints a result, and says what is simulated."""
    cells = json.loads(path.read_text())["cells"]
    code = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"EXPORT_FOLDER": str(exported), "MPLBACKEND": "Agg"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SIMULATED MARKET" in done.stdout
    assert "nan" not in done.stdout.lower().replace("nanosecond", "")
    assert done.stdout.count("\n") >= 4


def test_there_are_three_notebooks() -> None:
    """Committed without output: nobody's data is in them."""
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")
