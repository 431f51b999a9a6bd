"""Cboe DataShop's interval files: the format, what is added up, and every refusal."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.sources.datashop.parse import datashop_frames, read_datashop_rows
from sampler.sources.datashop.source import DataShop
from storage.errors import UsageError
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from tests import forked
from tests.real_chains import LEAN_DAYS, lean_minutes
from tests.vendors.datashop import (
    COLUMNS,
    datashop_csv,
    datashop_line,
    datashop_lines,
    write_datashop,
)
from tests.vendors.same_row import measured_rows, real_sessions, through_cboe, without

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
NAME = "UnderlyingOptionsIntervals_60sec_calcs_oi_2026-08-19"
SPX = {"underlying_symbol": "^SPX", "root": "SPXW", "expiration": DAY.isoformat()}


def line(clock: str = "10:15:00", strike: float = 7700, side: str = "C", **fields: Any) -> dict:
    base = SPX | {"quote_datetime": f"{DAY} {clock}", "strike": strike, "option_type": side}
    quote = {"bid": 10.0, "ask": 10.4, "bid_size": 1, "ask_size": 2, "trade_volume": 3}
    return datashop_line(**base | quote | {"open_interest": 50} | fields)


async def frames(path: Path, symbol: str = "SPX") -> list[Any]:
    return [frame async for frame in DataShop.open(str(path)).history(symbol, SESSION)]


async def outcomes_of(tmp_path: Path, *lines: dict, name: str = f"{NAME}.csv") -> list[Any]:
    return await frames(write_datashop(tmp_path / name, datashop_csv(lines)))


async def refusal(path: Path) -> str:
    (refused,) = await frames(path)
    assert isinstance(refused, ChainRefused)
    assert refused.reason is Reason.BAD_ANSWER
    return str(refused)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".zip"])
async def test_every_field_lands_in_its_column(tmp_path: Path, ending: str) -> None:
    """Plain and packed; New York's time, the middle of the underlying's quote as spot."""
    (frame,) = await outcomes_of(
        tmp_path,
        line(
            side="P",
            strike="7702.500",
            close=10.2,
            implied_volatility=0.1432,
            underlying_bid=7710.0,
            underlying_ask=7710.5,
        ),
        name=NAME + ending,
    )
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPX", "datashop", 0)
    assert frame.quoted_at == frame.fetched_at == datetime(2026, 8, 19, 14, 15, tzinfo=UTC)
    assert (frame.spot, frame.underlying_at) == (7710.25, None)
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("SPXW", 7702.5, -1)
    assert frame.expirations == [DAY]
    assert (frame.bid[0], frame.ask[0], frame.last[0]) == (10.0, 10.4, 10.2)
    assert (frame.open_interest[0], frame.volume[0], frame.source_iv[0]) == (50, 3, 0.1432)
    assert np.isnan([frame.last_at[0], frame.signed_volume[0]]).all()


async def test_volume_adds_up_and_a_last_price_stays(tmp_path: Path) -> None:
    """By hand: 3, 3 + 0, 3 + 0 + 4; an interval without a trade has no price of its own."""
    lines = [
        line("10:16:00", trade_volume=0, close=0),
        line("10:17:00", trade_volume=4, close=10.6),
        line("10:15:00", trade_volume=3, close=10.2),
    ]
    got = await outcomes_of(tmp_path, *lines)
    assert [frame.quoted_at.minute for frame in got] == [15, 16, 17]
    assert [frame.volume[0] for frame in got] == [3, 3, 7]
    assert [frame.last[0] for frame in got] == [10.2, 10.2, 10.6]


async def test_a_contract_without_a_line_is_not_listed_and_keeps_its_volume(tmp_path: Path) -> None:
    """A strike that is listed later, and one that is missing from an interval."""
    got = await outcomes_of(
        tmp_path,
        line("10:15:00"),
        line("10:16:00", 7800),
        line("10:17:00", trade_volume=2),
        line("10:17:00", 7800),
    )
    assert [frame.strike.tolist() for frame in got] == [[7700.0], [7800.0], [7700.0, 7800.0]]
    assert got[2].volume.tolist() == [5, 6]


async def test_trades_before_the_open_count_and_make_no_frame(tmp_path: Path) -> None:
    """Nor do quotes at the close or after it."""
    clocks = ["09:15:00", "09:30:00", "15:59:00", "16:00:00", "16:15:00"]
    got = await outcomes_of(tmp_path, *(line(clock) for clock in clocks))
    assert [frame.quoted_at.strftime("%H:%M") for frame in got] == ["13:30", "19:59"]
    assert [frame.volume[0] for frame in got] == [6, 9]


async def test_a_line_that_stands_twice_counts_once(tmp_path: Path) -> None:
    """The same day in two files, or twice in one."""
    text = datashop_csv([line(), line()])
    write_datashop(tmp_path / f"{NAME}.csv", text)
    write_datashop(tmp_path / f"{NAME}.zip", text)
    (frame,) = await frames(tmp_path)
    assert frame.volume.tolist() == [3]


async def test_what_is_unknown_is_unknown(tmp_path: Path) -> None:
    """No quote, no open interest in the order, an unreadable volume, and volatility 0."""
    columns = [name for name in COLUMNS if name not in ("open_interest", "active_underlying_price")]
    lines = [
        line("10:15:00", bid=0, ask=0, bid_size=0, ask_size=0),
        line("10:15:00", 7800, bid=0, ask=0.05),
        line("10:15:00", 7900, trade_volume=""),
        line("10:16:00", 7900),
    ]
    path = write_datashop(tmp_path / f"{NAME}.csv", datashop_csv(lines, columns))
    first, second = await frames(path)
    assert np.isnan([first.bid[0], first.ask[0]]).all()
    assert (first.bid[1], first.ask[1]) == (0, 0.05)
    assert np.isnan(first.open_interest).all()
    assert np.isnan([first.volume[2], second.volume[0], first.spot]).all()
    assert np.isnan(first.source_iv).all()
    assert np.isnan(first.last).all()


async def test_the_last_price_of_the_underlying_serves_without_its_quote(tmp_path: Path) -> None:
    """A file with calculations has it for indices."""
    (frame,) = await outcomes_of(tmp_path, line(active_underlying_price=7711.5))
    assert frame.spot == 7711.5


async def test_only_todays_contracts_of_the_symbol_are_read(tmp_path: Path) -> None:
    """Other expiries, other symbols and other days stay out; AM-settled ones by their root."""
    spy = {"underlying_symbol": "SPY", "root": "SPY"}
    yesterday = f"{DAY - timedelta(days=1)} 10:15:00"
    lines = [
        line(),
        line(root="SPX"),
        line(strike=7705, expiration="2026-08-20"),
        line(strike=7710, quote_datetime=yesterday),
        line(strike=700, **spy),
    ]
    (frame,) = await outcomes_of(tmp_path, *lines)
    assert sorted(frame.root.tolist()) == ["SPX", "SPXW"]
    assert select_chain(frame, SESSION).dropped == {"am_settled": 1}
    (fund,) = await frames(tmp_path, "SPY")
    assert (fund.symbol, fund.strike.tolist()) == ("SPY", [700.0])


async def test_a_file_without_a_day_in_its_name_is_looked_into(tmp_path: Path) -> None:
    """Names are the buyer's own; a file of another day is not opened."""
    write_datashop(tmp_path / "mine.csv", datashop_csv([line()]))
    write_datashop(tmp_path / "2026-08-18.csv", b"no file of quotes")
    assert len(await frames(tmp_path)) == 1


async def test_the_newest_chain_is_known_beforehand(tmp_path: Path) -> None:
    """``once`` shows the newest; ``--at`` an earlier one."""
    await outcomes_of(tmp_path, line("10:15:00"), line("10:16:00", trade_volume=5))
    source = DataShop.open(str(tmp_path))
    newest = source.newest("SPX")
    assert newest == datetime(2026, 8, 19, 14, 16, tzinfo=UTC)
    assert source.newest("SPY") is None
    assert (await source.live("SPX", newest)).volume.tolist() == [8]
    assert (await source.live("SPX", newest - timedelta(seconds=1))).volume.tolist() == [3]
    with pytest.raises(ChainRefused, match=r"no chain quoted by 2026-08-19 10:00:00 New York"):
        await source.live("SPX", newest - timedelta(minutes=16))


@pytest.mark.parametrize("name", ["underlying_symbol", "quote_datetime", "strike", "trade_volume"])
async def test_a_missing_column_is_named(tmp_path: Path, name: str) -> None:
    """Another file of DataShop's, such as end-of-day quotes, is no interval file."""
    columns = [column for column in COLUMNS if column != name]
    path = write_datashop(tmp_path / f"{NAME}.csv", datashop_csv([line()], columns))
    assert await refusal(path) == f"{NAME}.csv has no column {name}: no file of interval quotes"


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".csv", b"", "no column underlying_symbol"),
        (".zip", b"PK\x03\x04 not a zip", "cannot be read"),
        (".csv.gz", b"not gzip", "cannot be read"),
        (".csv.gz", b"", "no column underlying_symbol"),
        (".csv", b"x" * 100_000, "a line of over"),
        (".csv", datashop_csv([line()]) + b"^SPX,2026-08-19 10:15:00,2026-08-19\n", "3 values"),
    ],
)
async def test_a_file_that_cannot_be_read_is_a_refusal(
    tmp_path: Path, ending: str, content: bytes, words: str
) -> None:
    """In a sentence with the file's name."""
    path = tmp_path / (NAME + ending)
    path.write_bytes(content)
    text = await refusal(path)
    assert words in text
    assert text.startswith(f"{NAME}{ending} ")


async def test_a_bad_file_costs_no_other(tmp_path: Path) -> None:
    """The session is read from the rest."""
    write_datashop(tmp_path / f"a_{NAME}.zip", datashop_csv([line()]))
    (tmp_path / f"b_{NAME}.zip").write_bytes(b"PK\x03\x04")
    refused, frame = await frames(tmp_path)
    assert isinstance(refused, ChainRefused)
    assert frame.volume.tolist() == [3]


async def test_a_time_that_is_none_is_a_refusal_among_frames(tmp_path: Path) -> None:
    """The other lines make their frames."""
    refused, frame = await outcomes_of(tmp_path, line("soon"), line())
    assert "no time: '2026-08-19 soon'" in str(refused)
    assert len(frame.strike) == 1


@pytest.mark.parametrize("rest", ["", "/no/such/folder", "x?y=1"])
def test_a_path_that_is_none_is_refused_at_once(rest: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError):
        DataShop.open(rest)


# One chain, every format


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
async def test_the_same_chain_makes_the_same_row_as_through_cboe(tmp_path: Path, name: str) -> None:
    """Real chains in both formats agree in every figure; the files have no times of trades."""
    chains = real_sessions()[name]
    day = market_day(chains[0].quoted_at)
    write_datashop(tmp_path / f"{day}.csv.gz", datashop_csv(datashop_lines(chains)))
    source = DataShop.open(str(tmp_path))
    ours = [frame async for frame in source.history("SPX", session_on(day))]
    assert len(ours) == len(chains)
    untimed = [without(frame, "last_at") for frame in chains]
    assert measured_rows(ours) == measured_rows(through_cboe(untimed))


def test_a_backfill_twice_writes_the_same_bytes(
    servers: Any, database: str, tmp_path: Path
) -> None:
    """A recorded session of 374 minutes; again, and written anew, nothing changes."""
    chains = [chain.frame for chain in lean_minutes(LEAN_DAYS[0])]
    write_datashop(tmp_path / "2021-01-04.zip", datashop_csv(datashop_lines(chains)))
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    span = ("--from", "2021-01-04", "--to", "2021-01-04", "--symbols", "SPX")
    command = ("backfill", *span, "--source", f"datashop:{tmp_path}")
    query = "select * from live.rows order by slot"

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
            return done.stdout, connection.execute(query).fetchall()

    first, rows = run()
    assert len(rows) == 374, first
    for options in ((), ("--rewrite",)):
        again, same = run(*options)
        assert "nothing changed" in again
        assert same == rows


TEXT = datashop_csv([line(f"10:1{i}:00", 7700 + 5 * k, s) for i in range(3) for k in range(3) for s in "CP"])  # fmt: skip
ODD = [
    b"",
    b"-1",
    b"nan",
    b"1e999",
    b"\xff\xfe",
    b'"',
    b"2026-13-40 10:15:00",
    b"0" * 400,
    b"inf",
    b"\n",
]


def mutated_frames(folder: Path, rng: random.Random) -> None:
    """Replace some values of a file at random, or bytes of it, packed or not; read it."""
    rows = [row.split(b",") for row in TEXT.split(b"\r\n")]
    for _ in range(rng.randint(1, 8)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(ODD)
    ending = rng.choice([".csv", ".csv.gz", ".zip"])
    path = write_datashop(folder / f"x{ending}", b"\r\n".join(b",".join(row) for row in rows))
    if rng.random() < 0.4:
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 5)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randint(1, len(content))] if rng.random() < 0.3 else content)
    with contextlib.suppress(ChainRefused):
        rows_read = read_datashop_rows(path, "SPX", DAY)
        for frame in datashop_frames(rows_read, "SPX", SESSION):
            if isinstance(frame, Frame):
                with contextlib.suppress(ChainRefused):
                    select_chain(frame, SESSION)


def test_nonsense_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Whatever is changed in a file: frames come of it, or a refusal."""
    for seed in range(300):
        mutated_frames(tmp_path, random.Random(seed))


def test_a_locked_archive_is_refused(tmp_path: Path) -> None:
    """An archive with a password: its flag alone, in both of the archive's headers."""
    path = write_datashop(tmp_path / f"{NAME}.zip", datashop_csv([line()]))
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    assert zipfile.ZipFile(path).infolist()[0].flag_bits & 1
    with pytest.raises(ChainRefused, match="cannot be read"):
        read_datashop_rows(path, "SPX", DAY)
