"""Databento's files: the records, what was known at each slot, and every refusal."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.sources.databento import dbn
from sampler.sources.databento.dbn import read_dbn, read_dbn_header
from sampler.sources.databento.source import DatabentoFiles
from sampler.sources.synthetic.source import Synthetic
from storage.errors import UsageError
from storage.market.calendar import Session, market_day, session_on
from storage.record.row import Reason
from tests import forked
from tests.real_chains import DATA
from tests.vendors.databento import (
    CBBO_1M,
    TCBBO,
    dbn_file,
    definition,
    nanoseconds,
    quote,
    statistic,
    trade,
    write_dbn,
    write_session,
)
from tests.vendors.same_row import measured_rows, only_today, real_sessions, through_cboe, without

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
#: 10:15:00 New York.
AT = datetime(2026, 8, 19, 14, 15, tzinfo=UTC)
MORNING = nanoseconds(datetime(2026, 8, 19, 11, 30, tzinfo=UTC))
CALL = "SPXW  260819C07700000"


def ns(seconds: float = 0.0) -> int:
    return nanoseconds(AT + timedelta(seconds=seconds))


def contract(number: int = 1, raw: str = CALL, expiry: date = DAY, **fields: Any) -> bytes:
    return definition(
        number, raw, expiry, int(raw[13:]) / 1000, moment=fields.pop("at", MORNING), **fields
    )


def fill(folder: Path, **schemas: list[bytes]) -> Path:
    """Files of a day: a definition, open interest, and what is given, by schema."""
    files = {
        "definition": [contract()],
        "statistics": [statistic(1, 50, moment=MORNING)],
        "cbbo-1s": [quote(1, 10.0, 10.4, moment=ns())],
        "trades": [],
    }
    for schema, records in (files | {k.replace("_", "-"): r for k, r in schemas.items()}).items():
        if records or schema not in schemas:
            write_dbn(folder / f"x.{schema}.dbn.zst", dbn_file(schema, DAY, records))
    return folder


async def history(folder: Path, symbol: str = "SPX", session: Session = SESSION) -> list[Any]:
    return [frame async for frame in DatabentoFiles.open(str(folder)).history(symbol, session)]


async def refusal(folder: Path, symbol: str = "SPX") -> ChainRefused:
    (refused,) = await history(folder, symbol)
    assert isinstance(refused, ChainRefused)
    return refused


# Recorded files


def test_recorded_files_are_read() -> None:
    """Real records of one contract on 2025-02-20, as the vendor's own client shows them."""
    folder = DATA / "databento"

    def records(schema: str, kind: int) -> Any:
        ((got, run),) = read_dbn(folder / f"test_data.{schema}.dbn.zst", frozenset({kind}))
        assert got == kind
        return run

    (definition,) = records("definition", 19)
    assert (definition["instrument_id"], definition["raw_symbol"]) == (
        16783963,
        b"AAPL  250221C00250000",
    )
    assert (definition["strike_price"], definition["instrument_class"], definition["underlying"]) == (
        250_000_000_000, b"C", b"AAPL",
    )  # fmt: skip
    assert definition["expiration"] == nanoseconds(datetime(2025, 2, 21, tzinfo=UTC))
    assert definition["ts_recv"] == 1740051008943854625
    interest = records("statistics", 24)
    assert [(r["stat_type"], r["quantity"]) for r in interest] == [(9, 57924)] * 4
    prints = records("trades", 0)
    assert prints["price"].tolist() == [240_000_000, 200_000_000, 190_000_000, 190_000_000]
    assert prints["size"].tolist() == [1, 2, 1, 4]
    assert prints["sequence"].tolist() == [713382, 882595, 887133, 921205]
    seconds = records("cbbo-1s", 192)
    assert seconds["bid"].tolist() == [dbn.NO_PRICE, 100_000_000, 180_000_000, 220_000_000]
    assert seconds["ask"].tolist() == [dbn.NO_PRICE, 250_000_000, 210_000_000, 240_000_000]
    assert seconds["ts_event"][0] == dbn.NO_TIME
    assert seconds["ts_recv"][1] == nanoseconds(datetime(2025, 2, 20, 14, 30, 1, tzinfo=UTC))
    assert records("cbbo-1m", 193)["bid"].tolist()[1:] == [320_000_000, 430_000_000, 340_000_000]
    header = read_dbn_header(folder / "test_data.trades.dbn.zst")
    assert (header.version, header.end - header.start) == (3, 86_400 * 10**9)


async def test_recorded_files_make_a_session(tmp_path: Path) -> None:
    """The contract expired a day later: read as of that day it makes a chain, as of its own none."""
    for path in (DATA / "databento").glob("*.zst"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (refused,) = await history(tmp_path, "AAPL", session_on(date(2025, 2, 20)))
    assert refused.reason is Reason.NO_ZERO_DTE
    assert await history(tmp_path, "AAPL", session_on(date(2025, 2, 21))) == []


# The format


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("ending", ["dbn", "dbn.zst"])
async def test_every_field_lands_in_its_column(tmp_path: Path, version: int, ending: str) -> None:
    """Each version's layout, packed and not."""
    put = "SPXW  260819P07702500"
    for schema, records in (
        ("definition", [contract(9, put, version=version)]),
        ("statistics", [statistic(9, 345, moment=MORNING, version=version)]),
        ("trades", [trade(9, 1.2, 67, moment=ns(-20), event=ns(-20.5), sequence=1)]),
        ("cbbo-1s", [quote(9, 1.1, 1.3, moment=ns(-1))]),
    ):
        content = dbn_file(schema, DAY, records, version=version)
        write_dbn(tmp_path / f"{schema}.{ending}", content)
    (frame,) = await history(tmp_path)
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPX", "databento", 0)
    assert frame.quoted_at == frame.fetched_at == AT - timedelta(seconds=1)
    assert math.isnan(frame.spot)
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("SPXW", 7702.5, -1)
    assert frame.expirations == [DAY]
    assert (frame.bid[0], frame.ask[0], frame.last[0]) == (1.1, 1.3, 1.2)
    assert (frame.open_interest[0], frame.volume[0]) == (345, 67)
    assert frame.last_at[0] == (AT - timedelta(seconds=20.5)).timestamp()
    assert np.isnan([frame.source_iv[0], frame.signed_volume[0]]).all()


async def test_a_slot_has_what_was_received_by_its_time(tmp_path: Path) -> None:
    """A quote stands until the next; volume adds up; the slot's own moment counts to it."""
    fill(
        tmp_path,
        cbbo_1s=[
            quote(1, 9.0, 9.4, moment=ns(-1)),
            quote(1, 10.0, 10.4, moment=ns()),
            quote(1, 11.0, 11.4, moment=ns(1)),
            quote(2, 5.0, 5.2, moment=ns(29)),
        ],
        definition=[contract(), contract(2, "SPXW  260819P07700000")],
        trades=[
            trade(1, 10.1, 3, moment=ns(-3600), sequence=1),
            trade(1, 10.2, 4, moment=ns(), sequence=2),
            trade(1, 10.9, 5, moment=ns(30), sequence=3),
            trade(1, 11.9, 6, moment=ns(31), sequence=4),
        ],
    )
    first, second = await history(tmp_path)
    assert (first.quoted_at, second.quoted_at) == (AT, AT + timedelta(seconds=29))
    assert first.bid.tolist()[:1] + second.bid.tolist() == [10.0, 11.0, 5.0]
    assert (first.volume.tolist(), second.volume.tolist()) == ([7, 0], [12, 0])
    assert (first.last[0], second.last[0]) == (10.2, 10.9)
    assert math.isnan(first.bid[1])


async def test_a_slot_without_a_quote_of_its_own_has_no_frame(tmp_path: Path) -> None:
    """Quotes by the minute make every second slot."""
    minutes = [quote(1, 10 + i, 10.5 + i, moment=ns(60 * i), kind=CBBO_1M) for i in range(3)]
    fill(tmp_path, cbbo_1s=[], cbbo_1m=minutes)
    (tmp_path / "x.cbbo-1s.dbn.zst").unlink(missing_ok=True)
    got = await history(tmp_path)
    assert [frame.quoted_at for frame in got] == [AT + timedelta(minutes=i) for i in range(3)]


async def test_quotes_beside_trades_serve_as_quotes(tmp_path: Path) -> None:
    """A file of the schema ``tcbbo``."""
    beside = [quote(1, 10.0, 10.4, moment=ns(-2), kind=TCBBO, last=10.4, last_at=ns(-2))]
    fill(tmp_path, cbbo_1s=[], tcbbo=beside)
    (frame,) = await history(tmp_path)
    assert (frame.bid[0], frame.ask[0], frame.volume[0]) == (10.0, 10.4, 0)


async def test_sides_come_from_the_quote_before_each_trade(tmp_path: Path) -> None:
    """By hand, quoted 10.00 by 10.40: at the ask +3 and +3, alike in all; at the bid −2; between 0."""

    def printed(price: float, size: int, seconds: float) -> bytes:
        moment = ns(seconds)
        return quote(
            1, 10.0, 10.4, moment=moment, kind=TCBBO, last=price, last_at=moment, size=size
        )

    beside = [
        printed(10.4, 9, -4 * 3600),  # before the open: no side
        printed(10.4, 3, -60),
        printed(10.4, 3, -60),
        printed(10.0, 2, 0),
        printed(10.2, 7, 10),
        printed(10.0, 1, 20),
    ]
    fill(tmp_path, tcbbo=beside, cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(s)) for s in (0, 30)])
    assert [frame.signed_volume[0] for frame in await history(tmp_path)] == [6, 4, 3]
    # A second file of the same time: a print in both cannot be told from two alike.
    write_dbn(tmp_path / "again.dbn", dbn_file("tcbbo", DAY, beside))
    assert np.isnan([frame.signed_volume[0] for frame in await history(tmp_path)]).all()


async def test_sides_are_known_as_far_as_their_files_reach(tmp_path: Path) -> None:
    """Behind the end of the last file they are unknown, and without one from the start."""
    fill(tmp_path, tcbbo=[], cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(s)) for s in (0, 30)])
    assert np.isnan([frame.signed_volume[0] for frame in await history(tmp_path)]).all()
    write_dbn(tmp_path / "x.dbn", dbn_file("tcbbo", DAY, [], end=ns(15)))
    first, second = await history(tmp_path)
    assert (first.signed_volume[0], math.isnan(second.signed_volume[0])) == (0, True)


async def test_the_newest_quote_stands_whatever_file_it_is_in(tmp_path: Path) -> None:
    """Files are read in the order of their names, which is not that of their times."""
    older = [quote(1, 8.0, 8.4, moment=ns(-5), kind=TCBBO)]
    fill(tmp_path, cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(-1))], tcbbo=older)
    (frame,) = await history(tmp_path)
    assert (frame.bid[0], frame.quoted_at) == (10.0, AT - timedelta(seconds=1))


async def test_what_is_undefined_is_unknown(tmp_path: Path) -> None:
    """No price on either side; no bid beside an ask is a bid of 0; sizes and quantities of 2³¹ − 1."""
    puts = [f"SPXW  260819P0{7700 + 5 * i}000" for i in range(4)]
    fill(
        tmp_path,
        definition=[contract(i, raw) for i, raw in enumerate(puts)],
        statistics=[
            statistic(0, 2**31 - 1, moment=MORNING),
            statistic(1, 2**63 - 1, moment=MORNING),
            statistic(2, 8, moment=MORNING, stat_type=6),
        ],
        cbbo_1s=[
            quote(0, math.nan, math.nan, moment=ns()),
            quote(1, math.nan, 0.05, moment=ns()),
            quote(2, 1.0, math.nan, moment=ns()),
            quote(3, 1.0, 1.2, moment=ns()),
        ],
        trades=[
            trade(3, 1.1, 2, moment=ns(-60), sequence=1),
            trade(3, 1.1, 2**31 - 1, moment=ns(-50), sequence=2),
            trade(2, math.nan, 5, moment=ns(-40), sequence=3),
        ],
    )
    (frame,) = await history(tmp_path)
    assert np.isnan(frame.bid).tolist() == [True, False, False, False]
    assert frame.bid[1:].tolist() == [0.0, 1.0, 1.0]
    assert np.isnan(frame.ask).tolist() == [True, False, True, False]
    assert np.isnan(frame.open_interest).all()
    assert np.isnan(frame.volume).tolist() == [False, False, False, True]
    assert (frame.volume[2], math.isnan(frame.last[2])) == (5, True)


async def test_a_withdrawn_quote_is_gone(tmp_path: Path) -> None:
    """No price on either side ends the quote before it."""
    fill(
        tmp_path,
        cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(-30)), quote(1, math.nan, math.nan, moment=ns())],
    )
    first, second = await history(tmp_path)
    assert (first.bid[0], math.isnan(second.bid[0])) == (10.0, True)


async def test_open_interest_counts_once(tmp_path: Path) -> None:
    """Every exchange repeats it; a later set replaces it from its own time on."""
    repeated = [statistic(1, 50, moment=MORNING, publisher=p) for p in (37, 31, 23)]
    later = [statistic(1, 60, moment=ns(15), publisher=p) for p in (37, 31)]
    fill(
        tmp_path,
        statistics=repeated + later,
        cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(s)) for s in (0, 30)],
    )
    assert [frame.open_interest[0] for frame in await history(tmp_path)] == [50, 60]


async def test_roots_of_one_index_stay_apart(tmp_path: Path) -> None:
    """SPX is settled in the morning; other symbols, expiries and strategies stay out."""
    raws = [
        contract(1),
        contract(2, "SPX   260819C07700000"),
        contract(3, "SPXW  260820C07700000", date(2026, 8, 20)),
        contract(4, "XSP   260819C00770000", underlying="XSP"),
        contract(5, "SPXW  260819C07705000", kind="T"),
    ]
    fill(
        tmp_path,
        definition=raws,
        cbbo_1s=[quote(i, 10.0, 10.4, moment=ns()) for i in range(1, 6)],
    )
    (frame,) = await history(tmp_path)
    assert frame.root.tolist() == ["SPXW", "SPX"]
    assert select_chain(frame, SESSION).dropped == {"am_settled": 1}
    (mini,) = await history(tmp_path, "XSP")
    assert (mini.symbol, mini.strike.tolist()) == ("XSP", [770.0])


async def test_a_contract_is_listed_from_its_definition_on(tmp_path: Path) -> None:
    """A strike that is added during the session."""
    fill(
        tmp_path,
        definition=[contract(), contract(2, "SPXW  260819P07700000", at=ns(10))],
        cbbo_1s=[quote(1, 10.0, 10.4, moment=ns(s)) for s in (0, 30)],
    )
    assert [len(frame.strike) for frame in await history(tmp_path)] == [1, 2]


async def test_trades_of_the_evening_before_count_and_are_no_last_price(tmp_path: Path) -> None:
    """The overnight session of index options belongs to the day of UTC in which it begins."""
    evening = nanoseconds(datetime(2026, 8, 19, 1, 0, tzinfo=UTC))
    fill(tmp_path, trades=[trade(1, 12.0, 9, moment=evening, sequence=1)])
    (frame,) = await history(tmp_path)
    assert frame.volume[0] == 9
    assert np.isnan([frame.last[0], frame.last_at[0]]).all()


async def test_volume_is_known_as_far_as_the_files_of_trades_reach(tmp_path: Path) -> None:
    """Without them, and behind the end of the last one, it is unknown; the last sale remains."""
    quotes = [quote(1, 10, 10.4, moment=ns(s), last=10.1, last_at=ns(s - 5)) for s in (0, 30, 60)]
    fill(tmp_path, cbbo_1s=quotes)
    path = tmp_path / "x.trades.dbn.zst"
    prints = [trade(1, 10.3, 3, moment=ns(-1), sequence=1)]
    write_dbn(path, dbn_file("trades", DAY, prints, end=ns(45)))
    got = await history(tmp_path)
    assert [frame.volume[0] for frame in got[:2]] == [3, 3]
    assert math.isnan(got[2].volume[0])
    assert [frame.last[0] for frame in got] == [10.3, 10.3, 10.1]
    path.unlink()
    got = await history(tmp_path)
    assert np.isnan([frame.volume[0] for frame in got]).all()
    assert got[0].last_at[0] == (AT - timedelta(seconds=5)).timestamp()


async def test_the_same_trades_in_two_files_count_once(tmp_path: Path) -> None:
    """Two prints that differ in their number alone are two prints."""
    prints = [trade(1, 10.2, 4, moment=ns(-9), sequence=s) for s in (5, 6)]
    fill(tmp_path, trades=prints)
    assert [frame.volume[0] for frame in await history(tmp_path)] == [8]
    write_dbn(tmp_path / "again.dbn", dbn_file("trades", DAY, prints))
    assert [frame.volume[0] for frame in await history(tmp_path)] == [8]


async def test_identifiers_are_of_one_day(tmp_path: Path) -> None:
    """Files of another day, with the same identifier, are not read."""
    fill(tmp_path)
    other = date(2026, 8, 20)
    raw = "SPXW  260820C07800000"
    for schema, record in (
        ("definition", contract(1, raw, other, at=nanoseconds(AT + timedelta(hours=21)))),
        ("cbbo-1s", quote(1, 99.0, 99.4, moment=nanoseconds(AT + timedelta(days=1)))),
    ):
        write_dbn(tmp_path / f"y.{schema}.dbn", dbn_file(schema, other, [record]))
    (frame,) = await history(tmp_path)
    assert (frame.strike.tolist(), frame.bid.tolist()) == ([7700.0], [10.0])
    (frame,) = await history(tmp_path, session=session_on(other))
    assert (frame.strike.tolist(), frame.bid.tolist()) == ([7800.0], [99.0])


async def test_a_file_may_cover_many_days(tmp_path: Path) -> None:
    """Identifier 1 is another contract on the day before, which expires on this day as well."""
    before = date(2026, 8, 18)
    end = nanoseconds(datetime(2026, 8, 20, tzinfo=UTC))
    day = 86_400
    for schema, records in (
        (
            "definition",
            [
                contract(1, "SPXW  260819C07600000", at=MORNING - day * 10**9),
                contract(2),
                contract(1, "SPXW  260820C07600000", date(2026, 8, 20)),
            ],
        ),
        ("cbbo-1s", [quote(1, 99.0, 99.4, moment=ns(-day)), quote(2, 10.0, 10.4, moment=ns())]),
        (
            "trades",
            [
                trade(2, 10.1, 50, moment=ns(-day), sequence=1),
                trade(2, 10.2, 3, moment=ns(-1), sequence=2),
            ],
        ),
    ):
        write_dbn(tmp_path / f"{schema}.dbn", dbn_file(schema, before, records, end=end))
    (frame,) = await history(tmp_path)
    assert (frame.strike.tolist(), frame.bid.tolist()) == ([7700.0], [10.0])
    assert (frame.volume.tolist(), frame.last.tolist()) == ([3], [10.2])


async def test_a_file_that_is_named_is_read_whatever_its_ending(tmp_path: Path) -> None:
    """All kinds of records in one file; in a folder only ``.dbn`` counts."""
    records = [contract(), statistic(1, 50, moment=MORNING), quote(1, 10.0, 10.4, moment=ns())]
    path = write_dbn(tmp_path / "session", dbn_file("cbbo-1s", DAY, records))
    (frame,) = await history(path)
    assert (frame.bid[0], frame.open_interest[0]) == (10.0, 50)
    assert await history(tmp_path) == []


def test_records_of_many_kinds_in_one_file(tmp_path: Path) -> None:
    """Runs end where the length or the kind changes, and over the pieces that are read at once."""
    mixed = []
    for i in range(2000):
        mixed += [trade(1, 1.0, 1, moment=i, sequence=i)] * (i % 130 + 1)
        mixed += [quote(1, 1.0, 1.1, moment=i), statistic(1, i, moment=i)]
    path = write_dbn(tmp_path / "x.dbn.zst", dbn_file("trades", DAY, mixed))
    counts = {0: 0, 24: 0, 192: 0}
    for kind, run in read_dbn(path, frozenset(counts)):
        counts[kind] += len(run)
    assert counts == {0: sum(i % 130 + 1 for i in range(2000)), 24: 2000, 192: 2000}


@pytest.mark.parametrize("piece", [7, 48, 1000])
def test_records_are_whole_whatever_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """A record that begins in one piece and ends in the next."""
    monkeypatch.setattr(dbn, "_PIECE", piece)
    prints = [trade(1, 1.0, i, moment=i, sequence=i) for i in range(100)]
    path = write_dbn(tmp_path / "x.dbn", dbn_file("trades", DAY, prints))
    got = np.concatenate([run for _, run in read_dbn(path, frozenset({0}))])
    assert got["size"].tolist() == list(range(100))


# Refusals


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends within its header"),
        (b"DBN\x03\x00", "ends within its header"),
        (b"not a file of theirs", "is no DBN file"),
        (b"DBN\x04" + bytes(200), "version 4 of DBN; versions 1 to 3"),
        (b"DBN\x03" + b"\xff" * 8, "bytes of metadata"),
        (b"\x28\xb5\x2f\xfd damaged", "cannot be read"),
        (dbn_file("trades", DAY, [b"\x01\x00"]), "a record of 4 bytes"),
        (
            dbn_file("trades", DAY, [trade(1, 1, 1, moment=1, sequence=1)[:-1]]),
            "ends within a record",
        ),
        (dbn_file("trades", DAY, [b"\x04\x00" + bytes(14)]), "too few for them"),
    ],
)
async def test_a_file_that_cannot_be_read_costs_the_session(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """A session with a part of its trades would be wrong without a sign of it."""
    fill(tmp_path)
    (tmp_path / "bad.dbn").write_bytes(content)
    refused = await refusal(tmp_path)
    assert refused.reason is Reason.BAD_ANSWER
    assert str(refused).startswith("bad.dbn ")
    assert words in str(refused)


async def test_a_day_without_quotes_says_so(tmp_path: Path) -> None:
    """Definitions alone make no chain."""
    fill(tmp_path)
    (tmp_path / "x.cbbo-1s.dbn.zst").unlink()
    refused = await refusal(tmp_path)
    assert "no quotes of 2026-08-19" in str(refused)


async def test_a_symbol_that_is_not_in_the_files(tmp_path: Path) -> None:
    """Nothing of it expires on that day."""
    assert (await refusal(fill(tmp_path), "NDX")).reason is Reason.NO_ZERO_DTE
    assert await history(tmp_path, session=session_on(date(2026, 8, 18))) == []


async def test_the_newest_chain_by_a_time(tmp_path: Path) -> None:
    """``once --at``."""
    fill(tmp_path, cbbo_1s=[quote(1, 10.0 + s, 10.5 + s, moment=ns(s)) for s in (0, 30)])
    source = DatabentoFiles.open(str(tmp_path))
    assert source.newest("SPX") is None
    assert (await source.live("SPX", AT + timedelta(seconds=29))).bid[0] == 10.0
    assert (await source.live("SPX", AT + timedelta(hours=9))).bid[0] == 40.0
    with pytest.raises(ChainRefused, match="no chain quoted by 2026-08-19 10:00:00 New York"):
        await source.live("SPX", AT - timedelta(minutes=15))


@pytest.mark.parametrize("rest", ["", "/no/such/folder", "x?y=1"])
def test_a_path_that_is_none_is_refused_at_once(rest: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError):
        DatabentoFiles.open(rest)


# One chain, every format


def timed(frames: list[Frame]) -> list[Frame]:
    """The same without spot; a contract's last trade was a second before its volume grew."""
    out: list[Frame] = []
    for frame in frames:
        before = out[-1] if out else without(frame, "last", "last_at", "volume")
        grew = frame.volume > np.nan_to_num(before.volume)
        last_at = np.where(grew, frame.quoted_at.timestamp() - 1, before.last_at)
        last = np.where(grew, frame.last, before.last)
        bare = without(frame, "spot", "signed_volume", "source_iv")
        out.append(dataclasses.replace(bare, last=last, last_at=last_at))
    return out


async def simulated(slots: int) -> list[Frame]:
    """Slots of a simulated session, 2026-11-27, from 09:35 on: many strikes, trades in each."""
    frames = []
    async for frame in Synthetic(seed=7).history("SPX", session_on(date(2026, 11, 27))):
        frames.append(only_today(frame))
        if len(frames) == slots + 10:
            break
    return timed(frames[10:])


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("name", ["volkit", "schwab", "simulated"])
async def test_the_same_chain_makes_the_same_row_as_through_cboe(
    tmp_path: Path, name: str, version: int
) -> None:
    """Chains without their spot, in both formats, agree in every figure to the last bit."""
    real = real_sessions()
    chains = timed(real[name]) if name in real else await simulated(12)
    write_session(tmp_path, chains, version=version)
    ours = await history(tmp_path, session=session_on(market_day(chains[0].quoted_at)))
    assert len(ours) == len(chains)
    assert measured_rows(ours) == measured_rows(through_cboe(chains))


async def test_a_backfill_twice_writes_the_same_bytes(
    servers: Any, database: str, tmp_path: Path
) -> None:
    """An hour of a simulated session; again, and written anew, nothing changes."""
    write_session(tmp_path, await simulated(120))
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    span = ("--from", "2026-11-27", "--to", "2026-11-27", "--symbols", "SPX")
    command = ("backfill", *span, "--source", f"databento:{tmp_path}")

    def run(*options: str) -> tuple[str, list[Any]]:
        done = forked.run(
            [sys.executable, "-m", "sampler", *command, *options],
            env=os.environ | parts | {"FLOW_LOG_LEVEL": "error"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        with psycopg.connect(database) as connection:
            rows = connection.execute("select * from live.rows order by slot").fetchall()
        return done.stdout, rows

    first, rows = run()
    assert len(rows) == 120, first
    for options in ((), ("--rewrite",)):
        again, same = run(*options)
        assert "nothing changed" in again
        assert same == rows


FILES = {
    "definition": [contract(i, f"SPXW  260819{s}0{7700 + 5 * k}000") for i, (s, k) in enumerate((s, k) for s in "CP" for k in range(3))],
    "statistics": [statistic(i, 10 + i, moment=MORNING) for i in range(6)],
    "cbbo-1s": [quote(i, 10.0, 10.4, moment=ns(30 * k)) for k in range(3) for i in range(6)],
    "trades": [trade(i, 10.2, 3, moment=ns(30 * k - 5), sequence=6 * k + i) for k in range(3) for i in range(6)],
    "tcbbo": [quote(i, 10.0, 10.4, moment=ns(30 * k - 5), kind=TCBBO, last=10.4, size=3) for k in range(3) for i in range(6)],
}  # fmt: skip


def mutated_session(folder: Path, rng: random.Random) -> None:
    """Change bytes of a session's files at random, before or after packing; read it."""
    for schema, records in FILES.items():
        content = bytearray(dbn_file(schema, DAY, records))
        packed = rng.random() < 0.2
        for late in (False, True):
            if late and packed:
                content = bytearray(write_dbn(folder / "x.zst", bytes(content)).read_bytes())
            if rng.random() < (0.5 if not late else 0.1):
                for _ in range(rng.randint(1, 6)):
                    width = rng.choice([1, 1, 2, 4, 8])
                    place = rng.randrange(len(content) - width)
                    odd = rng.choice(
                        [b"\x00" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", rng.randbytes(8)]
                    )
                    content[place : place + width] = odd[:width]
        if rng.random() < 0.05:
            content = content[: rng.randrange(len(content))]
        (folder / f"{schema}.dbn").write_bytes(content)
    with contextlib.suppress(ChainRefused):
        for frame in DatabentoFiles(folder).chains_of("SPX", SESSION):
            with contextlib.suppress(ChainRefused):
                select_chain(frame, SESSION)


def test_nonsense_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Whatever is changed in the files: frames come of them, or a refusal."""
    for seed in range(200):
        mutated_session(tmp_path, random.Random(seed))
