"""The record of forecasts as files: every line as it is stored, and a reader that verifies it."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import DAY

from storage.parquet.archive import export_sessions
from storage.postgres.store import Store
from storage.research import Archive, ResearchError
from storage.scorecard.forecast import FrozenForecast

TEN = datetime(2026, 8, 19, 14, tzinfo=UTC)
#: The SHA-256 of this text by a program of another's: printf | sha256sum.
CONTENT = '{"simulated":false,"spot":7700.0}'
DIGEST = "129a4a9aadce5bac88b69b18e79a79f5f69d390974136711c2b8ab6ea8ee94a9"
FORECAST = FrozenForecast(
    symbol="SPX",
    expiration=DAY,
    source="cboe",
    freeze_time=TEN,
    frozen_at=TEN,
    slot=TEN,
    definitions="3",
    content=CONTENT,
    digest=DIGEST,
)
MISSED = dataclasses.replace(
    FORECAST, freeze_time=TEN + timedelta(hours=2), slot=None, definitions=None, content=None,
    digest=None, missed="no row",
)  # fmt: skip


@pytest.fixture
async def folder(store: Store, tmp_path: Path) -> Path:
    """One forecast that was frozen and scored, one that was missed, and a corrected close."""
    table = store.forecasts
    for forecast in (FORECAST, MISSED):
        assert await table.freeze(forecast, TEN)
    for price, correct in ((7700.0, False), (7701.25, True)):
        await table.settle(
            "SPX", DAY, price, origin="entered", detail="page", quoted_at=TEN, correct=correct
        )
    settled = (await table.settlements("SPX", DAY, DAY))[DAY]
    names = ("symbol", "expiration", "source", "freeze_time", "definitions", "content", "digest")
    line = {name: getattr(FORECAST, name) for name in names}
    line |= {"kind": "frozen", "settlement": settled["sequence"], "method": 1}
    await table.score([line | {"outcome": {"pin_hit": True}}])
    done = await export_sessions(
        store, "live", tmp_path, first=date.min, last=date.max, symbols=["SPX", "QQQ"]
    )
    # No session has rows, and the record is written all the same.
    assert (done.sessions, done.forecasts) == (0, 2)
    return tmp_path


async def test_every_line_is_there(folder: Path, store: Store) -> None:
    """As the database has them; other readers find them by their folders."""
    archive = Archive(str(folder))
    frozen, missed = archive.forecasts("spx").arrow.to_pylist()
    assert hashlib.sha256(frozen["content"].encode()).hexdigest() == frozen["sha256"] == DIGEST
    assert (frozen["session"], frozen["feed"], frozen["slot"]) == (DAY, "cboe", TEN)
    assert (missed["missed"], missed["content"]) == ("no row", None)
    stored = await store.forecasts.frozen("SPX", DAY, DAY)
    assert [frozen["stored_at"], missed["stored_at"]] == [line["stored_at"] for line in stored]
    closes = archive.settlements("SPX").polars()
    assert closes["price"].to_list() == [7700.0, 7701.25]
    [score] = archive.scores("SPX").arrow.to_pylist()
    assert (score["settlement"], score["outcome"]) == (closes["sequence"][1], '{"pin_hit":true}')
    assert len(archive.forecasts("QQQ")) == len(archive.scores("QQQ")) == 0
    [(symbol, text)] = duckdb.sql(
        f"select symbol, content from '{folder}/forecasts/**/*.parquet' where sha256 is not null"
    ).fetchall()
    assert (symbol, text) == ("SPX", CONTENT)


def rewrite(file: Path, name: str, value: str) -> None:
    table = pq.read_table(file, partitioning=None)
    column = pa.array([value, *table[name].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), file)


def test_what_was_changed_is_refused(folder: Path) -> None:
    """Another text, another digest, a score of a text that nobody froze, half a file."""
    archive = Archive(str(folder))
    [forecasts] = folder.glob("forecasts/**/*.parquet")
    [scores] = folder.glob("scores/**/*.parquet")
    whole = forecasts.read_bytes()
    rewrite(forecasts, "content", CONTENT.replace("7700", "7750"))
    with pytest.raises(ResearchError, match="does not have its digest"):
        archive.forecasts("SPX")
    forecasts.write_bytes(whole)
    changed = CONTENT.replace("7700", "7750")
    rewrite(scores, "content", changed)
    with pytest.raises(ResearchError, match="does not have its digest"):
        archive.scores("SPX")
    rewrite(scores, "sha256", hashlib.sha256(changed.encode()).hexdigest())
    with pytest.raises(ResearchError, match="scored as frozen"):
        archive.scores("SPX")
    forecasts.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ResearchError, match="damaged"):
        archive.forecasts("SPX")


async def test_a_second_export_replaces_the_first(folder: Path, store: Store) -> None:
    """A line that came meanwhile is there, and none twice."""
    later = dataclasses.replace(MISSED, freeze_time=TEN + timedelta(hours=4))
    assert await store.forecasts.freeze(later, TEN)
    await export_sessions(store, "live", folder, first=DAY, last=DAY, symbols=["SPX"])
    assert len(Archive(str(folder)).forecasts("SPX")) == 3
    assert not list(folder.glob("**/.lines*"))
