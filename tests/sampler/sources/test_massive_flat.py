"""Massive's flat files: lines, what was known at each slot, sides by trade, and every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import os
import random
import sys
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.sources import open_source
from sampler.sources.massive import flat_rows
from sampler.sources.massive.conditions import massive_kinds
from sampler.sources.massive.flat_files import MassiveFlatFiles
from sampler.sources.trades import PrintKind
from storage.errors import UsageError
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from tests import forked
from tests.sampler.sources.test_databento import simulated, timed
from tests.vendors.massive_flat import (
    QUOTES,
    TRADES,
    flat_lines,
    quote_line,
    trade_line,
    write_flat,
    write_flat_session,
)
from tests.vendors.same_row import measured_rows, real_sessions, through_cboe, without

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
CALL, PUT = "O:SPXW260819C06400000", "O:SPXW260819P06400000"


def ns(clock: str) -> int:
    """Unix time of a New York time on the day, which is UTC-4. [ns]"""
    hours, minutes, seconds = clock.split(":")
    whole = datetime(2026, 8, 19, int(hours) + 4, int(minutes), tzinfo=UTC).timestamp()
    return round(whole) * 10**9 + round(float(seconds) * 1e9)


def files(
    folder: Path, trades: list[str] | None, quotes: list[str] | None, ending: str = "csv.gz"
) -> Path:
    if trades is not None:
        write_flat(folder / f"trades_v1/{DAY}.{ending}", TRADES, trades)
    if quotes is not None:
        write_flat(folder / f"quotes_v1/{DAY}.{ending}", QUOTES, quotes)
    return folder


async def history(folder: Path, symbol: str = "SPX", day: date = DAY) -> list[Any]:
    source = MassiveFlatFiles(folder)
    return [frame async for frame in source.history(symbol, session_on(day))]


def by_ticker(frame: Frame) -> dict[str, int]:
    letters = {1: "C", -1: "P"}
    keys = zip(frame.root, frame.right, frame.strike, strict=True)
    return {f"O:{root}260819{letters[int(r)]}{round(k * 1000):08d}": i for i, (root, r, k) in enumerate(keys)}  # fmt: skip


@pytest.mark.parametrize("ending", ["csv.gz", "csv"])
async def test_every_field_lands_in_its_column(tmp_path: Path, ending: str) -> None:
    """Quotes, volume, last price and its time, sides and legs, at the slots that have quotes."""
    trades = [
        trade_line(CALL, 10.4, 3, ns("10:14:40.25")),
        trade_line(CALL, 10.2, 2, ns("10:14:50"), "232"),
        trade_line(PUT, 5.0, 4, ns("10:14:58.5")),
        trade_line(PUT, 5.2, 1, ns("10:15:10")),
    ]
    quotes = [
        quote_line(CALL, 10.0, 10.4, ns("10:14:30")),
        quote_line(PUT, 5.0, 5.4, ns("10:14:31")),
        quote_line(CALL, 10.5, 10.9, ns("10:14:59.75")),
        quote_line(PUT, float("nan"), 5.6, ns("10:15:20")),
        quote_line(CALL, float("nan"), float("nan"), ns("10:16:00")),
    ]
    first, second, third, fourth = await history(files(tmp_path, trades, quotes, ending))
    assert (first.symbol, first.source, first.delay_seconds) == ("SPX", "massive", 0)
    assert first.quoted_at == datetime(2026, 8, 19, 14, 14, 30, tzinfo=UTC)
    assert first.strike.tolist() == [6400.0]  # the put is quoted a second later
    assert second.quoted_at == datetime(2026, 8, 19, 14, 14, 59, 750_000, tzinfo=UTC)
    index = by_ticker(second)
    call, put = index[CALL], index[PUT]
    assert set(second.root.tolist()) == {"SPXW"}
    assert (second.bid[call], second.ask[call]) == (10.5, 10.9)
    assert (second.volume[call], second.volume[put]) == (5.0, 4.0)
    assert second.multi_leg_volume is not None
    assert (second.multi_leg_volume[call], second.multi_leg_volume[put]) == (2.0, 0.0)
    # 3 at the ask; the leg has no side; 4 at the bid.
    assert (second.signed_volume[call], second.signed_volume[put]) == (3.0, -4.0)
    assert (second.last[call], second.last_at[call]) == (10.2, ns("10:14:50") / 1e9)
    assert np.isnan(second.open_interest).all()
    assert np.isnan(second.spot)
    # 5.2 in the middle of 5.0 and 5.4 has no side; no bid beside an ask is a bid of 0.
    assert (third.volume[put], third.signed_volume[put]) == (5.0, -4.0)
    assert (third.bid[put], third.ask[put]) == (0.0, 5.6)
    assert np.isnan(fourth.bid[call])
    assert np.isnan(fourth.ask[call])


@pytest.mark.parametrize("piece", [64, 16 << 20])
async def test_a_print_is_signed_by_the_quote_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Not by one of the same nanosecond or later, whatever file order and piece they are in."""
    monkeypatch.setattr(flat_rows, "PIECE", piece)
    moment = ns("10:14:40")
    trades = [trade_line(CALL, 10.4, 1, moment), trade_line(PUT, 5.0, 1, moment)]
    quotes = [
        quote_line(CALL, 10.0, 10.4, moment - 1),
        quote_line(CALL, 10.4, 10.8, moment),
        quote_line(CALL, 10.4, 10.8, moment - 2),
        quote_line(PUT, 5.0, 5.4, moment + 1),
        quote_line(CALL, 10.0, 10.4, ns("10:14:59")),
    ]
    for shuffled in (quotes, quotes[::-1], [quotes[i] for i in (4, 1, 3, 0, 2)]):
        (frame,) = await history(files(tmp_path, trades, shuffled))
        at_of = by_ticker(frame)
        assert frame.signed_volume[at_of[CALL]] == 1.0
        # Without a quote before it a print has no side, and its volume counts.
        assert (frame.volume[at_of[PUT]], frame.signed_volume[at_of[PUT]]) == (1.0, 0.0)


def test_conditions() -> None:
    """OPRA's letters A-Z, a-v are 201-226, 227-248: legs are f to t, cancels A, C, E and G."""
    kinds = {
        PrintKind.SIDED: ["209", "219", "227", "228", "229", "230", "231", "", "0"],
        PrintKind.MULTI_LEG: [str(code) for code in range(232, 247)] + ["209,232"],
        PrintKind.UNSIDED: ["202", "204", "206", "208", "247", "248", "213", "999", "x", "209,1"],
        PrintKind.CANCEL: ["201", "203", "207", "232,201"],
        PrintKind.CANCEL_FIRST: ["205"],
    }
    for kind, codes in kinds.items():
        assert massive_kinds(codes, ["0"] * len(codes)).tolist() == [kind] * len(codes), codes
    assert massive_kinds(["209", "209", "232"], ["1", "", "1"]).tolist() == [
        PrintKind.UNSIDED, PrintKind.SIDED, PrintKind.MULTI_LEG,
    ]  # fmt: skip


async def test_cancels_and_late_prints(tmp_path: Path) -> None:
    """A cancel takes back the print that it names; a late one adds volume alone."""
    trades = [
        trade_line(CALL, 10.4, 3, ns("10:14:40")),
        trade_line(CALL, 10.4, 7, ns("10:14:41")),
        trade_line(CALL, 10.4, 3, ns("10:14:42"), "201"),
        trade_line(CALL, 10.0, 2, ns("10:14:43"), "204"),
        trade_line(CALL, 10.4, 5, ns("09:29:50")),
    ]
    quotes = [quote_line(CALL, 10.0, 10.4, ns("09:29:00")), quote_line(CALL, 10.0, 10.4, ns("10:14:59"))]  # fmt: skip
    (frame,) = await history(files(tmp_path, trades, quotes))
    assert frame.volume.tolist() == [14.0]
    assert frame.signed_volume.tolist() == [7.0]
    assert frame.last.tolist() == [10.4]


async def test_only_the_symbols_contracts_of_the_day_are_read(tmp_path: Path) -> None:
    """Other roots, days, adjusted contracts, and a third Friday's morning contracts by their root."""
    others = ["O:SPXW260820C06400000", "O:SPXL260819C06400000", "O:SPY260819C00640000",
              "O:SPXW1260819C06400000", "O:SPXW260819X06400000", "O:SPXW260819C0640000"]  # fmt: skip
    moment = ns("10:14:59")
    quotes = [
        quote_line(ticker, 1.0, 2.0, moment) for ticker in (*others, CALL, "O:SPX260819P06400000")
    ]
    quotes.append(quote_line(PUT, 1.0, 2.0, ns("10:14:59") + 86_400 * 10**9))
    quotes.append(quote_line(PUT, 1.0, 2.0, ns("10:14:59") - 86_400 * 10**9))
    (frame,) = await history(
        files(tmp_path, [trade_line(t, 1.0, 9, moment) for t in others], quotes)
    )
    assert sorted(by_ticker(frame)) == ["O:SPX260819P06400000", CALL]
    assert frame.volume.tolist() == [0.0, 0.0]
    chain = select_chain(
        dataclasses.replace(frame, root=np.array(["SPXW", "SPXW"]), quoted_at=frame.quoted_at),
        SESSION,
    )
    assert chain.strike.tolist() == [6400.0]
    (share,) = await history(tmp_path, "SPY")
    assert share.root.tolist() == ["SPY"]


async def test_without_trades_volume_and_sides_are_unknown(tmp_path: Path) -> None:
    """An empty file of trades says that nothing traded; none says nothing."""
    quotes = [quote_line(CALL, 1.0, 2.0, ns("10:14:59"))]
    (frame,) = await history(files(tmp_path / "a", None, quotes))
    for column in (frame.volume, frame.signed_volume, frame.multi_leg_volume, frame.last):
        assert np.isnan(column).all()
    (frame,) = await history(files(tmp_path / "b", [], quotes))
    assert frame.volume.tolist() == frame.signed_volume.tolist() == [0.0]


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda f: files(f, [], None), "no file of quotes_v1"),
        (lambda f: files(f, [], [quote_line("O:SPY260819C00640000", 1.0, 2.0, ns("10:00:00"))]),
         "no quote in .* is of a contract that expires on 2026-08-19"),
        (lambda f: files(f, [], [f"{CALL},302,x,5,302,1.0,5,1,{ns('10:00:00')}"]), "cannot be read"),
        (lambda f: files(f, [], [f"{CALL},302,1.0,5,302,1.0,5,1"]), "cannot be read"),
        (lambda f: files(f, [], [f"{CALL},302,1.0,5,302,1.0,5,1,"]), "without sip_timestamp"),
        (lambda f: files(f, [], [CALL + "," * 5000]), "has a line of over|cannot be read"),
        (lambda f: files(f, [f"{CALL},209,0,302,1.0,{ns('10:00:00')},"], []), "without a size"),
    ],
    ids=["no quotes", "none of it", "no number", "short", "no time", "long", "no size"],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused(tmp_path: Path, write: Any, words: str) -> None:
    (refusal,) = await history(write(tmp_path))
    assert isinstance(refusal, ChainRefused)
    with pytest.raises(ChainRefused, match=words):
        raise refusal


async def test_a_file_that_is_cut_off_costs_the_session(tmp_path: Path) -> None:
    """With a part of the trades a session would be wrong without a sign of it."""
    rng = random.Random(1)
    lines = [trade_line(CALL, 1.0, rng.randrange(1, 99), ns("10:14:40") + i) for i in range(4000)]
    files(tmp_path, lines, [quote_line(CALL, 1.0, 2.0, ns("10:14:59"))])
    path = tmp_path / f"trades_v1/{DAY}.csv.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    (refusal,) = await history(tmp_path)
    assert refusal.reason is Reason.BAD_ANSWER
    assert f"{DAY}.csv.gz cannot be read" in str(refusal)


async def test_two_files_of_trades_of_one_symbol_are_refused(tmp_path: Path) -> None:
    """They would count twice. Files of different symbols, and two of quotes, are no trouble."""
    trades = [trade_line(CALL, 1.5, 3, ns("10:14:40"))]
    quotes = [quote_line(CALL, 1.0, 2.0, ns("10:14:59"))]
    files(tmp_path, trades, quotes)
    write_flat(tmp_path / f"more/quotes-{DAY}.csv", QUOTES, quotes)
    write_flat(
        tmp_path / f"more/SPY-{DAY}.csv", TRADES, [trade_line("O:SPY260819C00640000", 1.0, 1, 0)]
    )
    (frame,) = await history(tmp_path)
    assert frame.volume.tolist() == [3.0]
    write_flat(tmp_path / f"more/SPXW-{DAY}.csv", TRADES, trades)
    (refusal,) = await history(tmp_path)
    assert "both have trades" in str(refusal)


async def test_a_folder_without_the_day_has_nothing(tmp_path: Path) -> None:
    files(tmp_path, [], [])
    (tmp_path / "2026-13-45.csv").write_text("x")
    (tmp_path / "notes.csv").write_text("x")
    assert await history(tmp_path, day=date(2026, 8, 20)) == []


async def test_the_newest_chain_by_a_time(tmp_path: Path) -> None:
    """``once --at``."""
    files(tmp_path, [], [quote_line(CALL, 1.0 + s, 2.5 + s, ns(f"10:1{s}:00")) for s in (0, 1)])
    source = MassiveFlatFiles(tmp_path)
    assert source.newest("SPX") is None
    assert (await source.live("SPX", datetime(2026, 8, 19, 14, 10, 40, tzinfo=UTC))).bid[0] == 1.0
    with pytest.raises(ChainRefused, match="no chain quoted by 2026-08-19 10:00:00 New York"):
        await source.live("SPX", datetime(2026, 8, 19, 14, 0, tzinfo=UTC))
    await source.close()


def test_a_path_is_opened_without_a_key(tmp_path: Path) -> None:
    """A name with a slash is a path, however it looks; without one it may be a key."""
    folder = tmp_path / "a1b2c3d4e5f6a7b8c9"
    folder.mkdir()
    source = open_source(f"massive:{folder}")
    assert isinstance(source, MassiveFlatFiles)
    assert (source.name, source.remote, source.delay_seconds) == ("massive", False, 0)
    for rest, words in (
        ("/no/such/folder", "no such file"),
        (f"{folder}?pace=1", "unknown source option"),
        ("a1b2c3d4e5f6a7b8c9", "belongs into FLOW_MASSIVE_KEY"),
        ("http://user:x@127.0.0.1/a", "belongs into FLOW_MASSIVE_KEY"),
        ("", "needs FLOW_MASSIVE_KEY"),
    ):
        with pytest.raises(UsageError, match=words):
            open_source(f"massive:{rest}")


@pytest.mark.parametrize("piece", [64, 257, 1 << 20])
def test_lines_are_whole_whatever_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Every line of the prefix once and in order, also the first and the last of a file."""
    monkeypatch.setattr(flat_rows, "PIECE", piece)
    rng = random.Random(piece)
    tickers = [CALL, PUT, "O:SPXW260820C06400000", "O:A260819C00001000", "O:SPX260819C06400000"]
    chosen = [rng.choice(tickers) for _ in range(300)]
    lines = [quote_line(ticker, 1.0, 2.0, ns("10:00:00") + i) for i, ticker in enumerate(chosen)]
    text = "\n".join([QUOTES, *lines]).encode()
    for packed in (gzip.compress(text), text):
        path = tmp_path / ("x.csv.gz" if packed is not text else "x.csv")
        path.write_bytes(packed)
        for prefixes in (["O:SPXW260819"], ["O:SPXW260819", "O:SPX260819"]):
            rows = list(flat_rows.read_flat_rows(path, prefixes, flat_rows.QUOTES))
            ours = [
                (r.tickers[t], a) for r in rows for t, a in zip(r.ticker, r.moment, strict=True)
            ]
            assert ours == [
                (ticker, ns("10:00:00") + i)
                for i, ticker in enumerate(chosen)
                if ticker.startswith(tuple(prefixes))
            ]


# One chain, every format


def bare(frames: list[Frame]) -> list[Frame]:
    """Without sides and legs, which no other format here has."""
    return [
        dataclasses.replace(without(frame, "signed_volume"), multi_leg_volume=None)
        for frame in frames
    ]


@pytest.mark.parametrize("by_ticker", [True, False], ids=["by ticker", "by time"])
@pytest.mark.parametrize("name", ["volkit", "schwab", "simulated"])
async def test_the_same_chain_makes_the_same_row_as_through_cboe(
    tmp_path: Path, name: str, by_ticker: bool
) -> None:
    """Chains without spot and open interest, in both formats, agree in every figure to the bit."""
    real = real_sessions()
    chains = timed(real[name]) if name in real else await simulated(12)
    chains = [without(frame, "open_interest") for frame in chains]
    write_flat_session(tmp_path, chains, by_ticker=by_ticker)
    ours = await history(tmp_path, day=market_day(chains[0].quoted_at))
    assert len(ours) == len(chains)
    assert measured_rows(bare(ours)) == measured_rows(through_cboe(chains))


async def test_a_backfill_twice_writes_the_same_bytes(
    servers: Any, database: str, tmp_path: Path
) -> None:
    """A part of a simulated session; again, and written anew, nothing changes."""
    write_flat_session(tmp_path, await simulated(20))
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    span = ("--from", "2026-11-27", "--to", "2026-11-27", "--symbols", "SPX")
    command = ("backfill", *span, "--source", f"massive:{tmp_path}")

    def run(*options: str) -> tuple[str, list[Any]]:
        done = forked.run(
            [sys.executable, "-m", "sampler", *command, *options],
            env=os.environ | parts | {"FLOW_LOG_LEVEL": "error"},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        tables = ("rows", "profiles", "chains", "gaps")
        with psycopg.connect(database) as connection:
            rows = [
                str(line)
                for table in tables
                for line in connection.execute(f"select * from live.{table} order by slot")
            ]
        return done.stdout, rows

    first, rows = run()
    assert "20 rows written" in first
    assert sum("no_open_interest" in line for line in rows) == 20
    for options in ((), ("--rewrite",)):
        again, same = run(*options)
        assert "nothing changed" in again
        assert same == rows


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the quotes take the same memory."""
    monkeypatch.setattr(flat_rows, "PIECE", 1 << 18)
    peaks = []
    for size in (20_000, 80_000):
        folder = tmp_path / str(size)
        quotes = (quote_line(CALL, 1.0, 2.0, ns("10:00:00") + i * 10**6) for i in range(size))
        files(folder, [], quotes)  # type: ignore[arg-type]
        tracemalloc.start()
        assert asyncio.run(history(folder))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)


# Files with something wrong


def mutated(folder: Path, seed: int, texts: dict[str, bytes]) -> None:
    """Change bytes and lines of a session's files at random, before or after packing; read it."""
    rng = random.Random(seed)
    for kind, text in texts.items():
        content = bytearray(text)
        for late in (False, True):
            if late and rng.random() < 0.2:
                content = bytearray(gzip.compress(bytes(content), 1))
            elif late:
                break
            for _ in range(rng.choice([0, 1, 1, 2, 5])):
                place = rng.randrange(len(content))
                odd = rng.choice([b",", b"\n", b'"', b"-", b"9" * 30, b"\0", b"e", b"nan", b"", rng.randbytes(3)])  # fmt: skip
                content[place : place + rng.choice([0, 1, 1, 20])] = odd
        packed = content[:2] == b"\x1f\x8b"
        path = folder / f"{kind}-{DAY}.csv"
        for ending in ("", ".gz"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        Path(f"{path}{'.gz' if packed else ''}").write_bytes(content)
    with contextlib.suppress(ChainRefused):
        for frame in MassiveFlatFiles(folder).chains_of("SPX", SESSION):
            with contextlib.suppress(ChainRefused):
                select_chain(frame, SESSION)


def texts_of() -> dict[str, bytes]:
    tickers = [f"O:SPXW260819{s}0{6400 + 5 * k}000" for s in "CP" for k in range(3)]
    times = [ns("10:14:30") + 30 * k * 10**9 for k in range(3)]
    trades = [trade_line(t, 10.2, 3, moment - 10**9, c) for t in tickers for moment, c in zip(times, ("209", "232", "201"), strict=True)]  # fmt: skip
    quotes = [quote_line(t, 10.0, 10.4, moment) for t in tickers for moment in times]
    return {
        "trades": "\n".join([TRADES, *trades]).encode(),
        "quotes": "\n".join([QUOTES, *quotes]).encode(),
    }


def test_nonsense_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Whatever is changed in the files: frames come of them, or a refusal."""
    texts = texts_of()
    for seed in range(300):
        mutated(tmp_path, seed, texts)


async def test_what_the_writer_writes(tmp_path: Path) -> None:
    """The lines of these tests are those of the vendor's published example rows."""
    assert quote_line("O:A260717C00060000", float("nan"), float("nan"), 1779456601047390893) == (
        "O:A260717C00060000,0,0,0,0,0,0,47390893,1779456601047390893"
    )
    trades, quotes = flat_lines(await simulated(2))
    assert len(quotes) > len(trades) > 10
    assert trades[0].count(",") == TRADES.count(",")
    assert quotes[0].count(",") == QUOTES.count(",")
