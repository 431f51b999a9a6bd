"""Out to Parquet and back in: by our own commands, and as DuckDB, Polars and pandas read the files."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import DAY, OPEN, at, gap, record

from sampler.chain import select_chain
from sampler.history.backfill import BackfillOptions, backfill_session
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from storage.errors import FlowError, UsageError
from storage.market.calendar import session_on
from storage.parquet import read as parquet
from storage.parquet.read import (
    ParquetPartition,
    dataset_and_feed,
    list_partitions,
    read_chains,
    read_gaps,
    read_quote_times,
    read_records,
)
from storage.parquet.write import ParquetWriter
from storage.postgres.store import Store
from storage.record.row import PROFILE, Reason, SlotRecord
from storage.redis.channel import NoChannel
from tests import forked

PERIOD = ("--from", "2026-08-19", "--to", "2026-08-19")
SESSION = session_on(DAY)


def flow(database: str, *words: str | Path) -> tuple[int, str, str]:
    """The store's command on a database."""
    done = forked.run(
        [sys.executable, "-m", "storage", *map(str, words)],
        env=os.environ | {"FLOW_DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def content(database: str, dataset: str = "live") -> dict[str, list[tuple[object, ...]]]:
    """All that a dataset keeps, but for revisions; arrays and evidence to the bit."""
    with psycopg.connect(database) as connection:
        connection.execute(f"set search_path to {dataset}")
        rows = connection.execute("select * from rows order by symbol, slot")
        revision = [column.name for column in rows.description].index("revision")
        return {
            "rows": [tuple(v for i, v in enumerate(row) if i != revision) for row in rows],
            # As bytes: a NaN is not equal to itself.
            "profiles": connection.execute(
                "select symbol, slot, md5(p::text) from profiles p order by 1, 2"
            ).fetchall(),
            "chains": connection.execute(
                "select symbol, slot, evidence from chains order by 1, 2"
            ).fetchall(),
        }


def write(folder: Path, records: list[SlotRecord], dataset: str = "live") -> ParquetPartition:
    """Export records as the command does."""
    row = records[0].row
    partition = ParquetPartition(folder, row.expiration, row.symbol)
    with ParquetWriter(partition, dataset) as writer:
        writer.write(records)
    return partition


def whole_record(step: int, **changes: object) -> SlotRecord:
    """A record whose evidence is a chain of two strikes, one of them not listed on one side."""
    bare = record(slot=at(step), **changes)
    state = {
        "strike": np.array([7695.0, 7700.0]),
        "listed": np.array([[True, True], [True, False]]),
        "bid": np.array([[1.0, 0.1 + 0.2], [float("nan"), -0.0]]),
        "volume": np.array([[1e300, 2.0], [3.0, 5e-324]]),
    }
    notes = {"symbol": bare.row.symbol, "spot": None, "dropped": {"duplicate": 2}, "told": 1e16}
    return SlotRecord(row=bare.row, profile=bare.profile, state=(state, notes))


class Short:
    """The first 69 rows of a simulated session."""

    name = "synthetic"

    def __init__(self) -> None:
        self._whole = open_source("synthetic:?seed=3")

    async def history(self, symbol, session):
        async for frame in self._whole.history(symbol, session):
            if OPEN < frame.quoted_at < OPEN + timedelta(minutes=35):
                yield frame


def test_a_figure_of_later_is_none(tmp_path):
    """An export without a figure that a row may lack is read; the figure is None."""
    partition = write(tmp_path, [whole_record(0), whole_record(1)])
    (file,) = partition.path("rows").glob("*.parquet")
    table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["max_pain"]), file)
    read = [record for records in read_records(partition) for record in records]
    assert [record.row.max_pain for record in read] == [None, None]
    assert [record.row.net_gex for record in read] == [1.25e9, 1.25e9]
    pq.write_table(table.drop_columns(["net_gex"]), file)
    with pytest.raises(FlowError, match="net_gex"):
        list(read_records(partition))


@pytest.fixture
def simulated(database) -> str:
    """A database with sessions that are real in all but their prices."""

    async def fill() -> None:
        options = BackfillOptions(oi_confidence=0.43)
        async with Store.open(database, "synthetic") as store:
            for symbol in ("SPX", "BRK/B"):
                session_options = {"symbol": symbol, "session": SESSION, "options": options}
                await backfill_session(Short(), store, NoChannel(), **session_options)

    asyncio.run(fill())
    return database


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The same sessions as files."""
    folder = tmp_path_factory.mktemp("exported")

    async def measured(symbol: str) -> list[SlotRecord]:
        records = [None]
        async for frame in Short().history(symbol, SESSION):
            chain = select_chain(frame, SESSION)
            records.append(measure_slot(chain, records[-1], oi_confidence=0.43))
        return records[1:]

    for symbol in ("SPX", "BRK/B"):
        write(folder, asyncio.run(measured(symbol)), "synthetic")
    return folder


class TestRoundTrip:
    """What was exported comes back."""

    def test_same_bytes(self, simulated, empty_database, tmp_path):
        """Imported into an empty database: every row, array and chain is the very same, once."""
        words = ("--dataset", "synthetic", "--symbols", "SPX,BRK/B")
        code, out, err = flow(simulated, "export", tmp_path, *PERIOD, *words)
        assert (code, err) == (0, "")
        assert out.startswith("138 slots of 2 sessions written to ")
        assert flow(empty_database, "migrate")[0] == 0
        words = ("import", tmp_path, "--dataset", "synthetic", "--all-symbols")
        code, out, err = flow(empty_database, *words)
        assert (code, err) == (0, "")
        assert out.endswith("138 slots stored, 0 there already\n")
        assert content(empty_database, "synthetic") == content(simulated, "synthetic")
        before = content(empty_database, "synthetic")
        assert flow(empty_database, *words)[1].endswith(
            "0 slots stored, 138 there already; nothing changed\n"
        )
        assert content(empty_database, "synthetic") == before

    def test_gaps(self, database, empty_database, tmp_path):
        """Slots without a row go along, with reason and words; a slot that has a row is none."""

        async def fill() -> None:
            async with Store.open(database, "live") as store:
                await store.write(
                    [whole_record(0)],
                    [gap(1, Reason.STALE, "é\n", next_expiry=date(2026, 8, 21)), gap(2)],
                )

        async def row_of_slot_2() -> None:
            async with Store.open(empty_database, "live") as store:
                await store.write([whole_record(2)])

        asyncio.run(fill())
        assert flow(database, "export", tmp_path, *PERIOD, "--symbols", "SPX")[0] == 0
        assert flow(empty_database, "migrate")[0] == 0
        asyncio.run(row_of_slot_2())
        code, out, err = flow(empty_database, "import", tmp_path)
        assert (code, err) == (0, "")
        assert out == (
            "SPX 2026-08-19 test: 1 stored, 0 there already, 1 gaps\n1 slots stored, 0 there already\n"
        )
        with psycopg.connect(empty_database) as connection:
            stored = connection.execute(
                "select slot, reason, detail, next_expiry from live.gaps"
            ).fetchall()
        assert stored == [(at(1), "stale", "é\n", date(2026, 8, 21))]
        assert flow(empty_database, "import", tmp_path)[1].endswith("nothing changed\n")
        shown = duckdb.sql(f"select reason from '{tmp_path}/gaps/**/*.parquet' order by slot")
        assert shown.fetchall() == [("stale",), ("source_down",)]
        # A second export without gaps leaves none of the first.
        write(tmp_path, [whole_record(0)])
        assert read_gaps(ParquetPartition(tmp_path, DAY, "SPX")) == []

    def test_gaps_of_an_earlier_release(self, tmp_path):
        """Files of gaps that do not have the next expiry are read: nobody knows it."""
        partition = write(tmp_path, [whole_record(0)])
        with ParquetWriter(partition, "live") as writer:
            writer.write([whole_record(0)])
            writer.write_gaps([gap(1, Reason.NO_ZERO_DTE, "words", next_expiry=date(2026, 8, 21))])
        assert [read.next_expiry for read in read_gaps(partition)] == [date(2026, 8, 21)]
        (file,) = partition.path("gaps").glob("*.parquet")
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.drop_columns(["next_expiry"]), file)
        assert read_gaps(partition) == [gap(1, Reason.NO_ZERO_DTE, "words", source="test")]

    def test_to_the_bit(self, tmp_path):
        """Zeros' signs, NaNs, numbers at both ends, absent fields: nothing is rounded or lost."""
        records = [whole_record(0), whole_record(1, gamma_flip=None, flags=(), dropped={})]
        back = [read for some in read_records(write(tmp_path, records)) for read in some]
        assert [read.row for read in back] == [read.row for read in records]
        assert [read.evidence for read in back] == [read.evidence for read in records]
        for was, now in zip(records, back, strict=True):
            assert {n: a.tobytes() for n, a in now.profile.items()} == {
                n: a.tobytes() for n, a in was.profile.items()
            }

    def test_columns_that_change_within_a_day(self, tmp_path):
        """A release that keeps another column starts a file of its own; all of it is read."""
        first, second = whole_record(0), whole_record(70)
        second.state[0]["sigma"] = np.array([[0.1, 0.2], [0.3, 0.4]])
        partition = ParquetPartition(tmp_path, DAY, "SPX")
        with ParquetWriter(partition, "live") as writer:
            writer.write([first])
            writer.write([second])
        assert len(list(partition.path("chains").iterdir())) == 2
        back = [read for some in read_records(partition) for read in some]
        assert [read.evidence for read in back] == [first.evidence, second.evidence]

    def test_again(self, tmp_path):
        """A second export of a session replaces the first as a whole."""
        write(tmp_path, [whole_record(i) for i in range(3)])
        partition = write(tmp_path, [whole_record(5)])
        assert [read.row.slot for some in read_records(partition) for read in some] == [at(5)]
        assert list(tmp_path.rglob(".*")) == []

    def test_left_early(self, tmp_path):
        """An export that fails leaves the earlier one as it was, and nothing half."""
        partition = write(tmp_path, [whole_record(0)])
        with pytest.raises(FlowError, match="SPX 2026-08-19T13:30:30Z: not a packed chain"):
            write(tmp_path, [whole_record(0), record(slot=at(1), evidence=b"spoilt")])
        assert [read.row.slot for some in read_records(partition) for read in some] == [at(0)]
        assert list(tmp_path.rglob(".*")) == []


class TestReaders:
    """Other programs, as they come."""

    def test_duckdb(self, exported):
        """Rows by partition, JSON inside a column, lists unnested."""
        rows = duckdb.sql(
            f"select symbol, date, slot, spot, settled->>'net_gex' as settled"
            f" from '{exported}/rows/**/*.parquet' where symbol = 'SPX' order by slot"
        ).fetchall()
        assert (len(rows), str(rows[0][1])) == (69, "2026-08-19")
        assert rows[0][2].timestamp() == at(1).timestamp()
        assert float(rows[0][4]) != 0
        strikes = duckdb.sql(
            f"select count(*) from (select unnest(strike), unnest(iv)"
            f" from read_parquet('{exported}/profiles/**/*.parquet'))"
        ).fetchall()[0]
        assert strikes[0] > 138 * 20
        quoted = duckdb.sql(
            f"select max(ask - bid) from (select unnest(call_bid) as bid, unnest(call_ask) as ask"
            f" from read_parquet('{exported}/chains/**/*.parquet'))"
        ).fetchall()[0]
        assert quoted[0] > 0
        named = duckdb.sql(
            f"select distinct symbol from read_parquet('{exported}/rows/**/*.parquet') order by 1"
        ).fetchall()
        assert named == [("BRK/B",), ("SPX",)]

    def test_polars(self, exported):
        """Typed columns, lists exploded, partitions as columns."""
        rows = pl.scan_parquet(exported / "rows").filter(pl.col("symbol") == "SPX").collect()
        assert rows.schema["slot"] == pl.Datetime("us", "UTC")
        assert rows.schema["total_oi"] == pl.Int64
        assert rows.schema["flags"] == pl.List(pl.String)
        assert rows["slot"].to_list() == [at(i) for i in range(1, 70)]
        profile = pl.read_parquet(exported / "profiles").explode("strike", "gamma", "call_gex")
        assert profile["gamma"].max() > 0
        assert set(PROFILE) <= set(profile.columns)

    def test_pandas(self, exported):
        """The same figures as the store has, by pandas' own reader of a folder."""
        rows = pd.read_parquet(exported / "rows").sort_values(["symbol", "slot"])
        assert rows["symbol"].astype(str).unique().tolist() == ["BRK/B", "SPX"]
        assert str(rows["slot"].dtype).startswith("datetime64[us, UTC")
        chains = pd.read_parquet(exported / "chains", columns=["slot", "strike", "call_bid"])
        long = chains.explode(["strike", "call_bid"])
        assert len(long) == chains["strike"].map(len).sum()

    def test_compressed_and_typed(self, exported):
        """zstd throughout, times in UTC, the files say what they are."""
        for file in exported.rglob("*.parquet"):
            described = pq.ParquetFile(file)
            group = described.metadata.row_group(0)
            codecs = {group.column(i).compression for i in range(group.num_columns)}
            assert codecs == {"ZSTD"}
            assert described.schema_arrow.field("slot").type == pa.timestamp("us", tz="UTC")

    def test_disk_arithmetic(self, simulated, tmp_path):
        """Bytes a row times rows are the files' sizes; a day is 780 rows, a year 252 days."""
        words = ("export", tmp_path / "o", *PERIOD, "--dataset", "synthetic", "--symbols", "SPX")
        _, out, _ = flow(simulated, *words)
        size = sum(f.stat().st_size for f in (tmp_path / "o").rglob("*.parquet"))
        units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
        cells = next(line for line in out.splitlines() if line.startswith("together")).split()[1:]
        row, day, year = (
            float(value) * units[unit] for value, unit in zip(cells[::2], cells[1::2], strict=True)
        )
        assert row == pytest.approx(size / 69, rel=0.01)
        assert day == pytest.approx(780 * size / 69, rel=0.01)
        assert year == pytest.approx(252 * 780 * size / 69, rel=0.01)


class TestRefusals:
    """What is no export is told in a sentence, and stores nothing."""

    @pytest.mark.parametrize("form", ["2", "0", "", None])
    def test_another_format(self, tmp_path, form):
        """Files of a format that this release does not read are refused, whatever they hold."""
        partition = write(tmp_path, [whole_record(0)])
        for table in ("rows", "profiles", "chains"):
            (file,) = partition.path(table).glob("*.parquet")
            content = pq.ParquetFile(file).read()
            mark = json.dumps({"format": form, "dataset": "live"}).encode()
            pq.write_table(content.replace_schema_metadata({b"zerodte-flow": mark}), file)
        message = f"exported in format {form}, this release reads 1"
        for reading in (read_records, read_chains, read_quote_times):
            with pytest.raises(FlowError, match=message):
                list(reading(partition))
        with pytest.raises(FlowError, match=message):
            dataset_and_feed(partition)

    def test_selection(self, database, tmp_path):
        """Only the days and symbols asked for; none is fine too."""
        code, out, _ = flow(database, "export", tmp_path / "none", *PERIOD)
        assert (code, out) == (0, f"0 slots of 0 sessions written to {tmp_path}/none, 0.0 MB\n")
        write(tmp_path, [whole_record(0)])
        write(tmp_path, [whole_record(0, symbol="IWM")])
        code, out, _ = flow(database, "import", tmp_path, "--symbols", "IWM")
        assert (code, out.splitlines()[0]) == (0, "IWM 2026-08-19: 1 stored, 0 there already")
        code, out, _ = flow(database, "import", tmp_path, "--from", "2026-08-20")
        assert (code, out) == (0, "0 slots stored, 0 there already; nothing changed\n")

    def test_symbols_stay_in_the_folder(self, tmp_path):
        """No symbol leads a file out of the folder, and each is found again by its own name."""
        folder = tmp_path / "deep" / "down"
        for symbol in ("BRK/B", "A/../../../B", "..", "^SPX"):
            write(folder, [whole_record(0, symbol=symbol)])
        outside = [p for p in tmp_path.rglob("*.parquet") if folder not in p.parents]
        assert outside == []
        assert [partition.symbol for partition in list_partitions(folder)] == [
            "..",
            "A/../../../B",
            "BRK/B",
            "^SPX",
        ]

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda file: file.write_bytes(b"PAR1"), "not a whole Parquet file"),
            (lambda file: file.write_bytes(b""), "not a whole Parquet file"),
            (lambda file: file.write_bytes(file.read_bytes()[:-100]), "not a whole Parquet file"),
            (lambda file: file.write_bytes(_flipped(file)), "damaged"),
            (
                lambda file: pq.write_table(pa.table({"x": [1]}), file),
                "not an export of flow-store",
            ),
            (lambda file: file.unlink(), "no Parquet file in it"),
        ],
        ids=["four bytes", "empty", "truncated", "a bit", "foreign", "gone"],
    )
    @pytest.mark.parametrize("table", ["rows", "profiles", "chains"])
    def test_spoilt_files(self, spoil, message, table, tmp_path):
        """Whatever happened to a file, the error names it and what is wrong."""
        partition = write(tmp_path, [whole_record(i) for i in range(30)])
        (file,) = partition.path(table).iterdir()
        spoil(file)
        with pytest.raises(FlowError, match=message) as raised:
            list(read_records(partition))
        assert str(partition.path(table)) in str(raised.value)

    def test_tables_of_two_exports(self, tmp_path):
        """Files that do not belong together are not joined."""
        partition = write(tmp_path, [whole_record(i) for i in range(3)])
        other = write(tmp_path / "other", [whole_record(i) for i in range(2)])
        (partition.path("chains") / "slots-1.parquet").write_bytes(
            (other.path("chains") / "slots-1.parquet").read_bytes()
        )
        with pytest.raises(FlowError, match="its slots are not those of profiles and chains"):
            list(read_records(partition))

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (("import", "{}/nowhere"), 1, "has no folder 'rows', which flow-store export makes"),
            (("import", "{}/synthetic"), 1, "rows of the dataset synthetic, not live"),
            (("import", "{}/live", "--from", "soon"), 2, "'soon' is no date"),
            (("export", "{}/taken", *PERIOD), 1, "cannot write {}/taken"),
        ],
        ids=["no folder", "made up", "no date", "a file in the way"],
    )
    def test_by_the_command(self, words, code, message, database, tmp_path):
        """One line, no trace, and the exit status says whose fault it is."""
        write(tmp_path / "synthetic", [whole_record(0)], "synthetic")
        (tmp_path / "taken").touch()

        async def fill() -> None:
            async with Store.open(database, "live") as store:
                await store.write([whole_record(0)])

        asyncio.run(fill())
        done = flow(database, *(word.format(tmp_path) for word in words))
        assert (done[0], done[1]) == (code, "")
        assert message.format(tmp_path) in done[2]
        assert done[2].count("\n") == 1

    def test_two_feeds(self, database, tmp_path):
        """Each feed's session is imported and exported by itself."""
        write(tmp_path, [whole_record(1, source="other")])

        async def fill() -> None:
            async with Store.open(database, "live") as store:
                await store.write([whole_record(0)])

        asyncio.run(fill())
        code, out, err = flow(database, "import", tmp_path)
        assert (code, err) == (0, "")
        assert out.startswith("SPX 2026-08-19: 1 stored")
        both = tmp_path / "both"
        code, out, err = flow(
            database, "export", both, "--from", "2026-08-19", "--to", "2026-08-19"
        )
        assert (code, err) == (0, "")
        feeds = {p.feed: p for p in parquet.list_partitions(both)}
        assert {
            name: [r.row.slot for some in parquet.read_records(p) for r in some]
            for name, p in feeds.items()
        } == {"test": [at(0)], "other": [at(1)]}
        with pytest.raises(
            UsageError, match=r"exported of other and test: choose one with \?feed="
        ):
            open_source(f"parquet:{both}")
        assert open_source(f"parquet:{both}?feed=other").name == "other"

    def test_files_of_an_earlier_release(self, database, tmp_path):
        """They have no folder of the feed: they are read, and replaced by an export of it."""
        old = parquet.ParquetPartition(tmp_path, DAY, "SPX")
        with ParquetWriter(old, "live") as writer:
            writer.write([whole_record(0)])
            writer.write_gaps([gap(1)])
        assert parquet.list_partitions(tmp_path) == [old]
        assert [g.source for g in parquet.read_gaps(old)] == ["test"]
        assert flow(database, "import", tmp_path)[0] == 0
        assert (
            flow(database, "export", tmp_path, "--from", "2026-08-19", "--to", "2026-08-19")[0] == 0
        )
        (fresh,) = parquet.list_partitions(tmp_path)
        assert fresh.feed == "test"
        assert [r.row.slot for some in parquet.read_records(fresh) for r in some] == [at(0)]
        assert [(g.slot, g.source) for g in parquet.read_gaps(fresh)] == [(at(1), "test")]


def _flipped(file: Path) -> bytes:
    """One bit of the first column's values is another."""
    first = pq.read_metadata(file).row_group(0).column(0)
    body = bytearray(file.read_bytes())
    body[first.data_page_offset + first.total_compressed_size - 3] ^= 1
    return bytes(body)
