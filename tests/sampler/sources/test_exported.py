"""Exported chains that were changed: each is read right, or refused by itself."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from sampler.sources.exported import ExportedChains
from storage.errors import FlowError
from storage.market.calendar import session_on
from storage.parquet import read as parquet
from storage.parquet.read import ParquetPartition, read_chains
from storage.parquet.write import ParquetWriter
from storage.record.row import Reason, SlotRecord

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
assert SESSION is not None
SLOTS = 4


async def simulated() -> list[Frame]:
    """The first frames of a simulated session."""
    assert SESSION is not None
    frames = []
    async for frame in open_source("synthetic:?seed=3").history("SPX", SESSION):
        assert isinstance(frame, Frame)
        if frame.quoted_at > SESSION.open + timedelta(minutes=1):
            frames.append(frame)
        if len(frames) == SLOTS:
            break
    return frames


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of them."""
    records: list[SlotRecord] = []
    for frame in asyncio.run(simulated()):
        before = records[-1] if records else None
        records.append(measure_slot(select_chain(frame, SESSION), before, oi_confidence=0.43))
    folder = tmp_path_factory.mktemp("export")
    with ParquetWriter(ParquetPartition(folder, DAY, "SPX"), "live") as writer:
        writer.write(records)
    return folder


def rewrite(export: Path, folder: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Copy an export with its chains changed; the mark of an export stays."""
    shutil.copytree(export, folder, dirs_exist_ok=True)
    (file,) = ParquetPartition(folder, DAY, "SPX").path("chains").glob("*.parquet")
    table = pq.ParquetFile(file).read()
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, file)
    return folder


def replace(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, name, pa.array(values))


def with_notes(change: Callable[[dict[str, Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    """Change the notes of the second slot; text stands as it is."""

    def changed(table: pa.Table) -> pa.Table:
        texts = table["notes"].to_pylist()
        notes = change(orjson.loads(texts[1]))
        texts[1] = notes if isinstance(notes, str) else orjson.dumps(notes).decode()
        return replace(table, "notes", texts)

    return changed


def with_list(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    """Change a list of the second slot."""

    def changed(table: pa.Table) -> pa.Table:
        lists = table[name].to_pylist()
        lists[1] = values
        return replace(table, name, lists)

    return changed


def noted(**values: Any) -> Callable[[pa.Table], pa.Table]:
    return with_notes(lambda notes: notes | values)


HOSTILE: dict[str, Callable[[pa.Table], pa.Table]] = {
    "notes empty": with_notes(lambda notes: ""),
    "notes cut": with_notes(lambda notes: orjson.dumps(notes).decode()[:40]),
    "notes a list": with_notes(lambda notes: [notes]),
    "notes null": with_notes(lambda notes: "null"),
    "notes deep": with_notes(lambda notes: "[" * 100_000),
    "notes NaN": with_notes(lambda notes: '{"spot":NaN}'),
    "no quote time": with_notes(lambda notes: notes.pop("quoted_at") and notes),
    "no offset": noted(quoted_at="2026-08-19T14:00:00"),
    "a number for a time": noted(quoted_at=5),
    "year 1": noted(fetched_at="0001-01-01T00:00:00+14:00"),
    "spot a list": noted(spot=[1]),
    "spot a text": noted(spot="high"),
    "delay a text": noted(delay_seconds="soon"),
    "dropped a list": noted(dropped=[1]),
    "dropped texts": noted(dropped={"bad_strike": "many"}),
    "another symbol": noted(symbol="SPY"),
    "another expiry": noted(expiration="2026-08-20"),
    "strikes too few": with_list("strike", [7000.0]),
    "no puts' bids": with_list("put_bid", None),
    "no strikes": with_list("strike", None),
    "asks too many": with_list("call_ask", [1.0] * 5000),
}


async def read(folder: Path) -> list[Frame | ChainRefused]:
    assert SESSION is not None
    return [frame async for frame in ExportedChains.open(str(folder)).history("SPX", SESSION)]


def test_an_export_is_read(export: Path, tmp_path: Path) -> None:
    """Unchanged, and written anew, each slot is a chain."""
    frames = asyncio.run(read(rewrite(export, tmp_path, lambda table: table)))
    assert [type(frame) for frame in frames] == [Frame] * SLOTS


@pytest.mark.parametrize("name", HOSTILE)
async def test_one_unreadable_chain_is_one_bad_answer(
    export: Path, tmp_path: Path, name: str
) -> None:
    """The chains before and after it are read as if it were not there, and the newest is found."""
    folder = rewrite(export, tmp_path, HOSTILE[name])
    frames = await read(folder)
    assert [type(frame) for frame in frames] == [Frame, ChainRefused, Frame, Frame]
    refused, last = frames[1], frames[3]
    assert isinstance(refused, ChainRefused)
    assert isinstance(last, Frame)
    assert refused.reason is Reason.BAD_ANSWER
    newest = await ExportedChains.open(str(folder)).live("SPX", last.quoted_at)
    assert newest.quoted_at == last.quoted_at


@pytest.mark.parametrize("name", ["strike", "notes", "listed"])
async def test_a_column_of_another_type_is_a_bad_answer(
    export: Path, tmp_path: Path, name: str
) -> None:
    """A whole file of another layout is refused, and nothing else is raised."""
    folder = rewrite(
        export,
        tmp_path,
        lambda table: table.drop_columns(
            [column for column in table.column_names if column.endswith(name)]
        ),
    )
    frames = await read(folder)
    assert frames
    assert {type(frame) for frame in frames} == {ChainRefused}
    assert {frame.reason for frame in frames if isinstance(frame, ChainRefused)} == {
        Reason.BAD_ANSWER
    }


def test_a_group_that_would_fill_the_memory_is_not_read(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is packed to next to nothing is refused by what it would unpack to."""

    def endless(table: pa.Table) -> pa.Table:
        lists = table["strike"].to_pylist()
        lists[1] = [0.0] * 400_000
        return replace(table, "strike", lists)

    folder = rewrite(export, tmp_path, endless)
    partition = ParquetPartition(folder, DAY, "SPX")
    (file,) = partition.path("chains").glob("*.parquet")
    assert file.stat().st_size < 400_000
    monkeypatch.setattr(parquet, "GROUP_LIMIT", 3_200_000)
    with pytest.raises(FlowError, match="a row group would take"):
        list(read_chains(partition))
    list(read_chains(ParquetPartition(export, DAY, "SPX")))
