"""``databento:``: what is shown before it is bought, what is bought, and that it is bought once.

The vendor's own client asks a server on loopback.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import zstandard

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.history.backfill import BackfillOptions
from sampler.history.jobs import JobOptions, SessionJob, announce_jobs
from sampler.sources import open_source
from sampler.sources.databento.purchase import DatabentoPurchases
from sampler.sources.databento.source import DatabentoFiles
from sampler.sources.databento.vendor import Price
from storage.config.vendor_keys import VendorKeys
from storage.errors import FlowError, UsageError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests import forked
from tests.sampler.sources.test_databento import DAY as SMALL_DAY
from tests.sampler.sources.test_databento import FILES as SMALL
from tests.sampler.sources.test_databento import simulated
from tests.vendors import server as faults
from tests.vendors.databento import TCBBO, definition, nanoseconds, quote, write_session
from tests.vendors.databento_service import KEY, DatabentoService
from tests.vendors.fuzz import ODD
from tests.vendors.same_row import measured_rows, through_cboe

pytest.importorskip("databento", reason="the extra zerodte-flow[databento] is not installed")

#: The client leaves files open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

DAY = date(2026, 11, 27)
SESSION = session_on(DAY)
KEYS = {"FLOW_DATABENTO_KEY": KEY, "FLOW_DATABENTO_CAP_USD": "1000"}
SLOTS = 6


@pytest.fixture(autouse=True)
def _closed_files() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def chains() -> list[Frame]:
    return asyncio.run(simulated(SLOTS))


@pytest.fixture
async def server(tmp_path: Path, chains: list[Frame]) -> AsyncIterator[DatabentoService]:
    """A session of SPX; a contract of another day; each contract's first trade beside its quote."""
    (tmp_path / "vendor").mkdir()
    write_session(tmp_path / "vendor", chains)
    morning = nanoseconds(datetime.combine(DAY, time(11, 30), UTC))
    async with DatabentoService() as server:
        server.load(tmp_path / "vendor")
        server.records["definition"].append(
            definition(5, "SPXW  261130C07000000", date(2026, 11, 30), 7000.0, moment=morning)
        )
        server.records["cbbo-1s"].append(quote(5, 1.0, 2.0, moment=morning + 4 * 3600 * 10**9))
        server.records["tcbbo"] = []
        yield server


def open_purchases(
    server: DatabentoService, folder: Path, options: str = "", **keys: str
) -> DatabentoPurchases:
    url = f"databento:{server.url}?folder={folder}{options}"
    source = open_source(url, VendorKeys.read(KEYS | keys))
    assert isinstance(source, DatabentoPurchases)
    return source


async def buy(source: DatabentoPurchases, sessions: Any = (SESSION,)) -> list[str]:
    return [line async for line in source.buy("SPX", sessions)]


async def history(source: DatabentoPurchases) -> list[Any]:
    return [frame async for frame in source.history("SPX", SESSION)]


def size_of(server: DatabentoService, schema: str, *, others: bool = True) -> int:
    """Bytes of a schema's records, by hand: those of contract 5 are of another day."""
    return sum(len(r) for r in server.records[schema] if others or r[4:8] != b"\5\0\0\0")


async def test_the_price_is_shown_and_nothing_is_bought(
    server: DatabentoService, tmp_path: Path
) -> None:
    """Each schema's price and size; what the definitions cost exactly, the rest at most."""
    source = open_purchases(server, tmp_path / "kept")
    text = await source.announce("SPX", [SESSION])
    definitions, quotes = size_of(server, "definition"), size_of(server, "cbbo-1s")
    assert f"1 sessions will cost definition {definitions * 1e-6:.4f} USD" in text
    assert f"({definitions / 1e6:,.1f} MB)" in text
    assert "less than all of SPXW.OPT" in text
    assert f"cbbo-1s {Price(quotes * 1e-6, quotes)}" in text
    for schema in ("trades", "statistics", "tcbbo"):
        assert f"{schema} " in text
    assert f"{tmp_path}/kept" in text
    assert server.sold == []
    assert {request.path.rpartition(".")[2] for request in server.requests} == {
        "get_cost", "get_billable_size",
    }  # fmt: skip
    assert not source.complete("SPX", [SESSION])
    (refusal,) = await history(source)
    assert refusal.reason is Reason.SOURCE_DOWN
    assert "has not been bought" in str(refusal)


async def test_only_the_contracts_of_the_day_are_bought_and_once(
    server: DatabentoService, tmp_path: Path, chains: list[Frame]
) -> None:
    """Definitions first, then the rest by identifier; a second time nothing is asked at all."""
    source = open_purchases(server, tmp_path / "kept")
    lines = await buy(source)
    assert [form["schema"] for form in server.sold] == [
        "definition", "cbbo-1s", "trades", "statistics", "tcbbo",
    ]  # fmt: skip
    first, *others = server.sold
    assert (first["symbols"], first["stype_in"]) == ("SPXW.OPT", "parent")
    ids = {16_000_000 + 7 * k for k in range(len(chains[0].strike))}
    for form in others:
        assert form["stype_in"] == "instrument_id"
        assert set(map(int, form["symbols"].split(","))) == ids
    quotes = size_of(server, "cbbo-1s", others=False)
    assert f"SPX {DAY}: bought cbbo-1s for {Price(quotes * 1e-6, quotes)}" in lines
    starts = {form["schema"]: datetime.fromisoformat(form["start"]) for form in server.sold}
    midnight = datetime.combine(DAY, time(), UTC)
    assert starts["trades"] == starts["statistics"] == starts["definition"] == midnight
    assert starts["cbbo-1s"] == SESSION.open - timedelta(minutes=15)
    assert starts["tcbbo"] == SESSION.open
    assert {datetime.fromisoformat(form["end"]) for form in server.sold} == {SESSION.close}
    assert sorted(p.name for p in (tmp_path / "kept/SPX" / str(DAY)).iterdir()) == sorted(
        f"{form['schema']}.dbn.zst" for form in server.sold
    )
    server.requests.clear()
    again = open_purchases(server, tmp_path / "kept")
    assert again.complete("SPX", [SESSION])
    assert "1 of 1 sessions have been bought" in await again.announce("SPX", [SESSION])
    assert await buy(again) == []
    assert server.requests == []


async def test_what_was_bought_makes_the_rows_of_live_sampling(
    server: DatabentoService, tmp_path: Path, chains: list[Frame]
) -> None:
    """The figures of the same chains through Cboe's format, and those of files of one's own."""
    source = open_purchases(server, tmp_path / "kept", "&sides=no")
    await buy(source)
    ours = await history(source)
    assert len(ours) == SLOTS
    assert measured_rows(ours) == measured_rows(through_cboe(chains))
    files = DatabentoFiles(tmp_path / "vendor")
    theirs = [frame async for frame in files.history("SPX", SESSION)]
    assert measured_rows(ours) == measured_rows(theirs)


async def test_sides_are_bought_with_the_quotes_beside_trades(
    server: DatabentoService, tmp_path: Path, chains: list[Frame]
) -> None:
    """A print at the ask counts whole as bought."""
    moment = nanoseconds(chains[2].quoted_at) - 10**9
    server.records["tcbbo"].append(
        quote(16_000_000, 1.0, 2.0, moment=moment, kind=TCBBO, last=2.0, last_at=moment, size=4)
    )
    source = open_purchases(server, tmp_path / "kept")
    await buy(source)
    ours = await history(source)
    signed = [frame.signed_volume[0] for frame in ours]
    assert signed == [0.0, 0.0, 4.0, 4.0, 4.0, 4.0]
    without = open_purchases(server, tmp_path / "other", "&sides=no")
    await buy(without)
    assert all(np.isnan(frame.signed_volume).all() for frame in await history(without))


async def test_the_cap_holds_over_all_sessions(server: DatabentoService, tmp_path: Path) -> None:
    """What the cap does not allow is not bought, with or without leave; definitions count too."""
    source = open_purchases(server, tmp_path / "kept", FLOW_DATABENTO_CAP_USD="0")
    with pytest.raises(UsageError, match=r"the cap of 0.00 USD \(FLOW_DATABENTO_CAP_USD\)"):
        await buy(source)
    assert server.sold == []
    definitions = size_of(server, "definition") * 1e-6
    rest = sum(size_of(server, s, others=False) * 1e-6 for s in ("cbbo-1s", "trades", "statistics"))
    short = open_purchases(
        server, tmp_path / "kept", FLOW_DATABENTO_CAP_USD=f"{definitions + rest - 1e-6:.7f}"
    )
    with pytest.raises(UsageError, match="on top of"):
        await buy(short)
    assert [form["schema"] for form in server.sold] == ["definition"]
    enough = open_purchases(server, tmp_path / "kept", FLOW_DATABENTO_CAP_USD=f"{rest + 1e-6:.7f}")
    assert len(await buy(enough)) == 4


async def test_a_purchase_that_ends_early_goes_on_where_it_was(
    server: DatabentoService, tmp_path: Path
) -> None:
    """A file that came whole is kept; one that was begun when the process was killed is not."""
    source = open_purchases(server, tmp_path / "kept")
    server.inject(faults.status(503), when=lambda request: b"schema=trades" in request.body)
    with pytest.raises(FlowError, match=r"databento failed \(answer 503"):
        await buy(source)
    # Without the price of each file none of the second step was bought.
    assert [form["schema"] for form in server.sold] == ["definition"]
    server.heal()
    server.inject(
        faults.status(503),
        when=lambda r: b"schema=trades" in r.body and r.path.endswith("get_range"),
    )
    with pytest.raises(FlowError):
        await buy(source)
    assert [form["schema"] for form in server.sold] == ["definition", "cbbo-1s", "trades"]
    server.heal()
    server.sold.clear()
    folder = tmp_path / "kept/SPX" / str(DAY)
    (folder / "trades.part").write_bytes(b"half")
    again = open_purchases(server, tmp_path / "kept")
    assert "1 sessions will cost" in await again.announce("SPX", [SESSION])
    await buy(again)
    assert [form["schema"] for form in server.sold] == ["trades", "statistics", "tcbbo"]
    assert not (folder / "trades.part").exists()


def within_a_record(answer: faults.Answer) -> faults.Answer:
    """A file that is packed whole and ends within a record: the client takes it."""
    content = zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
    return dataclasses.replace(answer, body=zstandard.compress(content[:-5]))


@pytest.mark.parametrize(
    "fault",
    [
        faults.cut(0.5),
        faults.truncated(0.6),
        faults.garbage(),
        faults.empty(),
        faults.html(),
        within_a_record,
    ],
    ids=["cut", "truncated", "garbage", "empty", "html", "record"],
)
async def test_a_file_that_broke_off_is_no_file(
    server: DatabentoService, tmp_path: Path, fault: Any
) -> None:
    """Nothing of it stays, and the next run asks for it again."""
    source = open_purchases(server, tmp_path / "kept")
    server.inject(fault, when=lambda request: request.path.endswith("get_range"))
    with pytest.raises(FlowError) as caught:
        await buy(source)
    assert KEY not in str(caught.value)
    assert str(caught.value).startswith("databento")
    assert list((tmp_path / "kept").rglob("*.*")) == []
    server.heal()
    assert len(await buy(source)) == 5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (None, r"databento refuses the key \(answer 401, auth_invalid_username_in_basic_auth\)"),
        (faults.status(403), "does not allow this to the account"),
        (faults.status(429), "allows no more requests for now"),
        (faults.html(200), "sent an answer that is not JSON"),
        (faults.status(200, {}, b"[1]"), "a price or a size that is no number"),
        (faults.status(200, {}, b"-1"), "below zero"),
        (faults.status(200, {}, b"NaN"), "no number"),
        (faults.cut(0.2), "cannot be reached"),
    ],
    ids=["key", "403", "429", "html", "list", "negative", "nan", "cut"],
)
async def test_a_price_that_is_none(
    server: DatabentoService, tmp_path: Path, fault: Any, words: str
) -> None:
    """Without a price nothing is bought, and the sentence has no word of the vendor's."""
    if fault is None:
        source = open_purchases(server, tmp_path, FLOW_DATABENTO_KEY="db-canaryAnother9Tq2")
    else:
        source = open_purchases(server, tmp_path)
        server.inject(fault)
    for ask in (source.announce("SPX", [SESSION]), buy(source)):
        with pytest.raises(FlowError, match=words) as caught:
            await ask
        assert "canary" not in str(caught.value)
    assert server.sold == []


# Answers with something wrong


def changed(rng: random.Random, share: float, outcomes: Counter[str]) -> faults.Fault:
    """A fault that spoils this share of the answers: changed bytes, other statuses, odd numbers, cuts."""

    def change(answer: faults.Answer) -> faults.Answer:
        if rng.random() >= share:
            return answer
        outcomes["changed"] += 1
        kind = rng.randrange(8)
        if kind == 0:
            codes = (200, 204, 206, 301, 400, 401, 402, 404, 422, 429, 500, 503)
            return faults.status(rng.choice(codes), {}, changed_bytes(answer.body, rng))(answer)
        if kind == 1:
            return dataclasses.replace(answer, cut=rng.random())
        if answer.headers.get("Content-Type") == "application/json":
            odd = json.dumps(rng.choice([*ODD, -0.0, 1e-9, 0.5])).encode()
            return dataclasses.replace(
                answer, body=odd if kind < 6 else changed_bytes(answer.body, rng)
            )
        if kind < 4:
            return dataclasses.replace(answer, body=changed_bytes(answer.body, rng))
        content = zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
        return dataclasses.replace(answer, body=zstandard.compress(changed_bytes(content, rng)))

    return change


def changed_bytes(body: bytes, rng: random.Random) -> bytes:
    """A body with some bytes replaced, put in or left out, or without its end."""
    content = bytearray(body)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(content) + 1)
        odd = rng.choice([b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"", rng.randbytes(3)])
        content[place : place + rng.choice([0, 1, 2, 4, 8])] = odd
    return bytes(content[: rng.randrange(len(content) + 1)] if rng.random() < 0.1 else content)


async def changed_purchases(cases: int, seed: int, folder: Path) -> Counter[str]:
    """Announce, buy and read a small session from answers changed at random; count what came."""
    rng, outcomes, sentences = random.Random(seed), Counter[str](), list[str]()
    session = session_on(SMALL_DAY)
    async with DatabentoService() as server:
        server.records = {schema: list(records) for schema, records in SMALL.items()}
        for case in range(cases):
            server.heal()
            server.requests.clear()
            server.inject(changed(rng, rng.choice([0.02, 0.1, 0.3]), outcomes))
            source = open_purchases(server, folder / str(case), FLOW_DATABENTO_CAP_USD="5")
            # A second command goes on where the first one broke off, and begins with good answers.
            for attempt in ("first", "second"):
                for step in ("announce", "buy"):
                    try:
                        if step == "announce":
                            assert str(folder) in await source.announce("SPX", [session])
                        else:
                            lines = [line async for line in source.buy("SPX", [session])]
                            assert all("bought" in line for line in lines)
                        outcomes[f"{attempt} {step}"] += 1
                    except FlowError as refusal:
                        sentences.append(str(refusal))
                        outcomes[f"{attempt} {step}: {type(refusal).__name__}"] += 1
                for item in [item async for item in source.history("SPX", session)]:
                    outcomes["frames" if isinstance(item, Frame) else "refusals"] += 1
                outcomes["answers"] += len(server.requests)
                server.requests.clear()
                server.heal()
                source = open_purchases(server, folder / str(case), FLOW_DATABENTO_CAP_USD="5")
            shutil.rmtree(folder / str(case), ignore_errors=True)
    assert not any(KEY in sentence for sentence in sentences)
    return outcomes


async def test_answers_at_random(tmp_path: Path) -> None:
    """Whatever Databento answers: files are bought, or a sentence says why not."""
    outcomes = await changed_purchases(30, 1, tmp_path)
    assert outcomes["first buy"] > 2
    assert outcomes["first buy: FlowError"] > 5
    # The answers between the spoilt ones are good: a purchase that broke off is completed by them.
    assert outcomes["second buy"] > 20
    assert outcomes["frames"] > 60


async def test_a_day_without_an_expiry_costs_its_definitions_alone(
    server: DatabentoService, tmp_path: Path
) -> None:
    """Nothing more is bought for it, then or later; its refusal says why."""
    server.records["definition"] = server.records["definition"][-1:]
    source = open_purchases(server, tmp_path / "kept")
    assert len(await buy(source)) == 1
    assert source.complete("SPX", [SESSION])
    (refusal,) = await history(source)
    assert refusal.reason is Reason.NO_ZERO_DTE


async def test_definitions_that_cannot_be_read_are_named(
    server: DatabentoService, tmp_path: Path
) -> None:
    """A file that somebody broke makes a refusal, not a second purchase."""
    source = open_purchases(server, tmp_path / "kept")
    await buy(source)
    folder = tmp_path / "kept/SPX" / str(DAY)
    (folder / "definition.dbn.zst").write_bytes(b"DBN\3")
    (folder / "trades.dbn.zst").unlink()
    (refusal,) = await history(open_purchases(server, tmp_path / "kept"))
    assert refusal.reason is Reason.BAD_ANSWER


async def test_it_has_no_chain_of_now(server: DatabentoService, tmp_path: Path) -> None:
    source = open_purchases(server, tmp_path)
    assert source.newest("SPX") is None
    assert not source.remote
    with pytest.raises(ChainRefused, match="backfill buys past sessions"):
        await source.live("SPX", SESSION.open)


@pytest.mark.parametrize(
    ("rest", "keys", "words"),
    [
        ("", {}, "needs FLOW_DATABENTO_KEY"),
        ("?quotes=mbp-1", KEYS, "none of cbbo-1s, cbbo-1m"),
        ("?sides=maybe", KEYS, "none of yes, no"),
        ("?pace=1", KEYS, "unknown source option"),
        ("http://example.com", KEYS, "would show the key to the network"),
        ("", KEYS | {"FLOW_DATABENTO_CAP_USD": "much"}, "FLOW_DATABENTO_CAP_USD"),
        ("", KEYS | {"FLOW_DATABENTO_CAP_USD": "nan"}, "FLOW_DATABENTO_CAP_USD"),
    ],
)
def test_what_cannot_be_opened(rest: str, keys: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(f"databento:{rest}", VendorKeys.read(keys))


def test_its_own_address_is_remote() -> None:
    """A simulated clock must not drive it."""
    source = open_source("databento:", VendorKeys.read(KEYS))
    assert source.remote


def run(
    server: DatabentoService, folder: Path, environment: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [
            *(sys.executable, "-m", "sampler", "backfill", "--symbols", "SPX"),
            *("--from", f"{DAY}", "--to", f"{DAY}"),
            *("--source", f"databento:{server.url}?folder={folder}", *options),
        ],
        env=os.environ | KEYS | {"FLOW_LOG_LEVEL": "debug"} | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


async def test_backfill_asks_before_it_buys(
    servers: Any, database: str, server: DatabentoService, tmp_path: Path
) -> None:
    """Without --yes it ends with a sentence; with it rows are stored; again costs nothing."""
    environment = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    folder = tmp_path / "kept"

    def stored() -> list[Any]:
        with psycopg.connect(database) as connection:
            tables = ("rows", "profiles", "chains", "gaps")
            return [
                str(line)
                for table in tables
                for line in connection.execute(f"select * from live.{table} order by slot")
            ]

    done = run(server, folder, environment)
    assert done.returncode == 2
    assert done.stdout.startswith("SPX: databento: 1 sessions will cost definition ")
    assert "nothing has been bought; with --yes these files are" in done.stderr
    assert server.sold == []
    capped = run(server, folder, environment | {"FLOW_DATABENTO_CAP_USD": "0"}, "--yes")
    assert capped.returncode == 2
    assert "FLOW_DATABENTO_CAP_USD" in capped.stderr
    assert server.sold == []
    bought = run(server, folder, environment, "--yes")
    assert bought.returncode == 0, bought.stderr
    assert f"SPX {DAY}: bought trades for " in bought.stdout
    assert f"{SLOTS} rows written" in bought.stdout
    assert len(server.sold) == 5
    before = stored()
    assert len(before) > 2 * SLOTS
    server.requests.clear()
    again = run(server, folder, environment)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 sessions have been bought" in again.stdout
    assert "nothing changed" in again.stdout
    assert stored() == before
    assert server.requests == []
    for text in (done, capped, bought, again):
        assert KEY not in text.stdout + text.stderr


async def test_symbols_with_sources_of_their_own(server: DatabentoService, tmp_path: Path) -> None:
    """One symbol's purchase is announced and bought, another's source has nothing to sell."""
    url = f"SPX=databento:{server.url}?folder={tmp_path / 'kept'},SPY=synthetic:"
    url = url.replace(",SPY=synthetic:", ",SPY=recorded:example")
    options = JobOptions(
        database_url="", redis_url="", dataset="live", source=url,
        backfill=BackfillOptions(oi_confidence=0.43), keys=VendorKeys.read(KEYS),
    )  # fmt: skip
    jobs = [SessionJob(options=options, symbol=s, day=DAY, slots=9) for s in ("SPX", "SPY")]
    with pytest.raises(UsageError, match="nothing has been bought"):
        [line async for line in announce_jobs(jobs)]
    lines = [line async for line in announce_jobs(jobs, buy=True)]
    assert len(lines) == 6
    assert [line async for line in announce_jobs(jobs[1:], buy=False)] == []
