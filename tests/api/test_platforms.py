"""Levels for charting programs and spreadsheets: stable keys, any instrument, one URL."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import polars as pl
import pytest

from api.openapi.platforms import PlatformLevels
from storage.postgres.store import Store
from storage.record.figures import DetailFigures
from storage.record.row import Flag, SlotRecord
from tests.api.conftest import ROOT, Caller
from tests.api.rows import record, utc
from tests.api.serving import served
from tests.api.test_app import Table

#: The contract of the table. A key or a column that is here is never renamed, moved or left out.
KEYS = [
    *("spot", "gamma_flip", "call_wall", "put_wall", "magnet", "max_pain"),
    *("pin_lower", "pin_upper", "sigma_lower", "sigma_upper"),
]
COLUMNS = [
    *("key", "name", "price", "level", "doubts", "symbol", "target", "basis_kind", "basis"),
    *("quoted_at", "age_seconds", "delay_seconds", "market_open", "simulated"),
]
PLATFORMS = ROOT / "deploy/platforms"
#: What a basis that is not by parity says of parity.
NO_PARITY = dict.fromkeys(("settles", "forward", "scatter", "age_seconds"))


def sampled(slot: str, **changes: Any) -> SlotRecord:
    """SPX at 7400, with a flip at 7388.37 and one standard deviation of 20.1."""
    known: dict[str, Any] = {
        "symbol": "SPX",
        "spot": 7400.0,
        "gamma_flip": 7388.37,
        "call_wall": 7450.0,
        "put_wall": 7350.0,
        "magnet": 7425.0,
        "max_pain": None,
        "remaining_1sd": 20.1,
    }
    detail = DetailFigures.from_json({"pin_lower": 7420.0, "pin_upper": 7430.0})
    return record(utc(slot), **(known | {"detail": detail} | changes))


async def levels(caller: Caller, query: str = "", symbol: str = "SPX") -> dict[str, Any]:
    sent = await caller.get(f"/v1/levels/{symbol}{query}")
    assert sent.status_code == 200, sent.text
    PlatformLevels.model_validate(sent.json())
    return sent.json()


def prices(document: dict[str, Any]) -> dict[str, float | None]:
    return {level["key"]: level["price"] for level in document["levels"]}


@pytest.fixture
async def spx(store: Store, caller: Caller) -> Caller:
    """SPX at 14:29:30, at 14:30."""
    await store.write([sampled("14:29:30")])
    return caller


async def test_keys_and_values(spx: Caller) -> None:
    """Every key is there, in its order; what the sample has not is null."""
    body = await levels(spx)
    assert [level["key"] for level in body["levels"]] == KEYS
    assert prices(body) == {
        "spot": 7400.0,
        "gamma_flip": 7388.37,
        "call_wall": 7450.0,
        "put_wall": 7350.0,
        "magnet": 7425.0,
        "max_pain": None,
        "pin_lower": 7420.0,
        "pin_upper": 7430.0,
        "sigma_lower": 7379.9,
        "sigma_upper": 7420.1,
    }
    same = {"kind": "difference", "amount": 0.0, "from": "same", "reason": None}
    assert body["basis"] == same | NO_PARITY
    # Quoted at 14:29:32, and it is 14:30.
    assert (body["age_seconds"], body["market_open"], body["simulated"]) == (28, True, False)


@pytest.mark.parametrize(
    ("query", "wall", "flip", "basis"),
    [
        ("?to=ES&basis=38.25", 7488.25, 7426.5, ("difference", 38.25, "basis")),
        ("?to=ES&price=7440", 7490.0, 7428.25, ("difference", 40.0, "price")),
        ("?to=SPY&price=740", 745.0, 738.84, ("ratio", 0.1, "price")),
        ("?to=us500&ratio=1.001", 7457.45, 7395.76, ("ratio", 1.001, "ratio")),
        ("?to=SPX", 7450.0, 7388.37, ("difference", 0.0, "same")),
    ],
)
async def test_other_instruments(
    spx: Caller, query: str, wall: float, flip: float, basis: tuple[str, float, str]
) -> None:
    """In the prices of the instrument, rounded to its steps; the own level is beside."""
    body = await levels(spx, query)
    assert (prices(body)["call_wall"], prices(body)["gamma_flip"]) == (wall, flip)
    assert tuple(body["basis"].values())[:3] == pytest.approx(basis)
    assert [row["level"] for row in body["levels"]][2] == 7450.0


async def test_a_sampled_instrument_needs_no_basis(store: Store, spx: Caller) -> None:
    """Its price is that of the same moment; one that is a minute away is of another moment."""
    await store.write([sampled("14:29", symbol="SPY", spot=740.0)])
    body = await levels(spx, "?to=SPY")
    assert body["basis"] == {
        "kind": "ratio", "amount": 0.1, "from": "sampled", "reason": None, **NO_PARITY,
    }  # fmt: skip
    assert prices(body)["call_wall"] == 745.0
    await store.write([sampled("14:20", symbol="XSP", spot=740.0)])
    apart = await levels(spx, "?to=XSP")
    assert apart["basis"]["reason"].startswith("The two are not quoted within a minute")
    assert (apart["basis"]["from"], apart["basis"]["amount"]) == ("apart", None)
    assert set(prices(apart).values()) == {None}
    assert [row["level"] for row in apart["levels"]][2] == 7450.0
    # A charting program, which reads CSV, is refused: a table without prices tells it nothing.
    sent = await spx.get("/v1/levels/SPX?to=XSP&format=csv")
    assert (sent.status_code, sent.json()["error"]) == (400, "no_basis")


def with_forward(**changes: Any) -> SlotRecord:
    """SPX at 7400 with today's forward at 7400.5, and 7452.75 in June, its oldest quote 90 s older."""
    figures = {
        "future_forward": 7452.75, "future_forward_scatter": 0.125, "other_expiries_age_seconds": 90.0,
        "pin_lower": 7420.0, "pin_upper": 7430.0,
    }  # fmt: skip
    detail = DetailFigures.from_json(figures | changes.pop("figures", {}))
    return sampled("14:29:30", **({"forward": 7400.5, "detail": detail} | changes))


@pytest.mark.parametrize("query", ["?to=ES", "?to=ES&basis=parity", "?to=mes"])
async def test_a_future_by_parity(store: Store, caller: Caller, query: str) -> None:
    """The forward of the future's day less today's: 52.25 points, with its day, scatter and age."""
    await store.write([with_forward()])
    body = await levels(caller, query)
    assert body["basis"] == {
        "kind": "difference", "amount": 52.25, "from": "parity", "reason": None,
        # The third Friday is Juneteenth. Quoted 28 s ago, and a part of it 90 s before that.
        "settles": "2026-06-18", "forward": 7452.75, "scatter": 0.125, "age_seconds": 118,
    }  # fmt: skip
    assert prices(body)["call_wall"] == 7502.25
    # 7388.37 + 52.25 = 7440.62, to the future's quarter points.
    assert prices(body)["gamma_flip"] == 7440.5
    table = await caller.get(f"/v1/levels/SPX{query}&format=csv")
    assert "7502.25" in table.text
    # A number that is given counts before it.
    assert (await levels(caller, "?to=ES&basis=38.25"))["basis"]["from"] == "basis"


async def test_the_dow_s_future_is_a_hundred_of_its_index(store: Store, caller: Caller) -> None:
    """DJX at 440.5 and a forward of 443.42 are YM at 44,342: a ratio, in whole points."""
    await store.write(
        [with_forward(symbol="DJX", forward=440.5, spot=440.5, call_wall=445.0,
                      figures={"future_forward": 443.42, "other_expiries_age_seconds": None})]
    )  # fmt: skip
    body = await levels(caller, "?to=YM", "DJX")
    assert body["basis"]["kind"] == "ratio"
    assert body["basis"]["forward"] == 44342.0
    # 445 · 44342/440.5 = 44794.98.
    assert prices(body)["call_wall"] == 44795.0
    assert body["basis"]["age_seconds"] == 28


async def test_a_future_without_its_forward(spx: Caller) -> None:
    """No number stands in for it: the prices are null, and the reason names the day."""
    body = await levels(spx, "?to=ES")
    assert set(prices(body).values()) == {None}
    assert (body["basis"]["from"], body["basis"]["kind"]) == ("parity", None)
    assert body["basis"]["settles"] == "2026-06-18"
    assert body["basis"]["reason"].startswith("ES settles on 2026-06-18, and this sample has no")
    # A fund's own options have no such forward.
    refused = await spx.get("/v1/levels/SPX?to=NQ")
    assert refused.status_code == 400


async def test_a_sampled_instrument_s_price_is_of_the_same_slot(store: Store, spx: Caller) -> None:
    """Neither a later sample nor, at a moment that has passed, one that was not known then counts."""
    spy = [("14:29", 730.0), ("14:29:30", 740.0), ("14:30", 750.0)]
    await store.write([sampled(slot, symbol="SPY", spot=spot) for slot, spot in spy])
    await store.write([sampled("14:28:30"), sampled("14:28", symbol="XSP", spot=740.0)])
    for query in ("?to=SPY", "?to=SPY&at=2026-06-05T14:29:40Z"):
        assert (await levels(spx, query))["basis"]["amount"] == 0.1
    # Of 14:28:30 no sample of SPY is known half a minute before that of 14:29 comes.
    early = await levels(spx, "?to=SPY&at=2026-06-05T14:28:40Z")
    assert (early["basis"]["from"], early["basis"]["amount"]) == ("apart", None)
    # Later the one of 14:29 is within a minute of it; and XSP's of before counts at once.
    assert (await levels(spx, "?to=XSP&at=2026-06-05T14:28:40Z"))["basis"]["amount"] == 0.1


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("?to=ES&format=csv", "no_basis", "no forward of 2026-06-18, when ES settles: say price="),
        ("?to=ES&basis=parity&format=csv", "no_basis", "no forward of 2026-06-18"),
        ("?to=ES&basis=parity&price=7440", "invalid_price", "either price or basis"),
        ("?to=SPY&basis=parity", "invalid_basis", "needs to=, a future"),
        ("?basis=parity", "invalid_basis", "needs to=, a future"),
        ("?to=NQ", "no_basis", "NQ is not known to follow SPX"),
        ("?to=E S", "invalid_to", "is not a symbol"),
        ("?price=7440", "invalid_to", "price needs to="),
        ("?to=ES&price=7440&basis=40", "invalid_basis", "either price or basis"),
        ("?to=ES&price=0", "invalid_price", "a number above 0"),
        ("?to=ES&price=-1", "invalid_price", "a number above 0"),
        ("?to=ES&price=nan", "invalid_price", "a number above 0"),
        ("?to=ES&basis=1e9", "invalid_basis", "must be a number, such"),
        ("?to=ES&ratio=inf", "invalid_ratio", "a number above 0"),
        ("?to=ES&basis=٣", "invalid_basis", "must be a number"),
        ("?format=xml", "invalid_format", "json|csv"),
        ("?at=yesterday", "invalid_at", "a time such as"),
    ],
)
async def test_refusals(spx: Caller, query: str, error: str, words: str) -> None:
    """What cannot be answered is refused with a sentence, also where CSV is wanted."""
    sent = await spx.get(f"/v1/levels/SPX{query}")
    assert (sent.status_code, sent.json()["error"]) == (400, error)
    assert words in sent.json()["message"]


async def test_unknown_symbol(spx: Caller) -> None:
    """404 as everywhere."""
    sent = await spx.get("/v1/levels/XYZ?format=csv")
    assert (sent.status_code, sent.json()["error"]) == (404, "symbol_not_found")


async def test_doubts(store: Store, caller: Caller) -> None:
    """Each level names the flags that say not to rely on it, and no other."""
    await store.write([sampled("14:29:30", flags=(Flag.VOLUME_HELD, Flag.BASELINE))])
    doubts = {row["key"]: row["doubts"] for row in (await levels(caller))["levels"]}
    assert doubts["call_wall"] == doubts["gamma_flip"] == ["volume_held"]
    assert doubts["spot"] == doubts["sigma_upper"] == []
    await store.write([sampled("14:30", flags=(Flag.SPOT_FROM_PARITY,))])
    caller.clock.moment = utc("14:30:10")
    doubts = {row["key"]: row["doubts"] for row in (await levels(caller))["levels"]}
    assert doubts["spot"] == doubts["sigma_lower"] == ["spot_from_parity"]


async def test_table(spx: Caller) -> None:
    """The same as CSV: the columns in their order, a line a key, empty where there is no level."""
    sent = await spx.get("/v1/levels/SPX?to=ES&basis=38.25&format=csv")
    assert sent.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert sent.headers["Cache-Control"] == "no-cache"
    by_accept = await spx.get("/v1/levels/SPX?to=ES&basis=38.25", headers={"Accept": "text/csv"})
    assert by_accept.content == sent.content
    lines = sent.text.splitlines()
    assert lines[0].split(",") == COLUMNS
    assert lines[3] == (
        "call_wall,Call wall,7488.25,7450.0,,SPX,ES,difference,38.25,"
        "2026-06-05T14:29:32Z,28,0,true,false"
    )
    rows = list(csv.DictReader(io.StringIO(sent.text)))
    assert [row["key"] for row in rows] == KEYS
    # The samples split at every comma.
    assert '"' not in sent.text
    assert {line.count(",") for line in lines} == {len(COLUMNS) - 1}
    assert rows[5]["price"] == rows[5]["level"] == ""


async def test_an_earlier_moment(store: Store, spx: Caller) -> None:
    """A moment's levels, and after the close those of the session's end with their age."""
    await store.write([sampled("14:00", call_wall=7460.0)])
    assert prices(await levels(spx, "?at=2026-06-05T14:10:00Z"))["call_wall"] == 7460.0
    spx.clock.moment = utc("2026-06-07 12:00")
    body = await levels(spx)
    # From 14:29:32 to the close at 20:00.
    assert (body["market_open"], body["age_seconds"]) == (False, 19828)
    assert prices(body)["call_wall"] == 7450.0


async def test_a_key_that_reads_levels_alone(store: Store, open_app: Callable[..., Caller]) -> None:
    """A key of the plan Levels, in the address: levels and its account, and nothing else."""
    await store.write([sampled("14:29:30")])
    app: Any = await open_app(store, access=Table())
    assert (await app.get("/v1/levels/SPX?format=csv")).status_code == 401
    for path in ("/v1/levels/SPX?format=csv&", "/v1/account?"):
        assert (await app.get(f"{path}apiKey=key-Levels")).status_code == 200, path
    document = app._transport.app.openapi()
    keyed = [
        path
        for path, item in document["paths"].items()
        if "get" in item and "401" in item["get"]["responses"]
    ]
    assert len(keyed) >= 24
    for path in set(keyed) - {"/v1/levels/{symbol}", "/v1/account"}:
        sent = await app.get(path.replace("{symbol}", "SPX") + "?apiKey=key-Levels")
        assert (sent.status_code, sent.json()["current_plan"]) == (403, "Levels"), path
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert (await app.post("/mcp?apiKey=key-Levels", json=listing)).status_code == 403


NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)


def test_readers_by_url(sessions_database: str, tmp_path: Path) -> None:
    """pandas and, where it is installed, LibreOffice read the address as it stands; polars the file."""
    with served(sessions_database, "synthetic", NOON) as (url, _):
        address = f"{url}/v1/levels/SPX?format=csv&to=ES&basis=38.25"
        frame = pd.read_csv(address)
        assert list(frame.key) == KEYS
        assert frame.simulated.all()
        wall = frame.set_index("key").loc["call_wall"]
        assert wall.price == wall.level + 38.25
        assert pl.read_csv(httpx.get(address).content)["key"].to_list() == KEYS
        office = shutil.which("soffice") or shutil.which("libreoffice")
        if office is not None:
            command = [office, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless"]
            # The address names no kind of file; an output in the same format keeps the address's name.
            command += ["--infilter=Text - txt - csv (StarCalc):44,34,76,1", "--convert-to", "ods"]
            command += ["--outdir", str(tmp_path), address]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            [converted] = tmp_path.glob("*.ods")
            assert "call_wall" in zipfile.ZipFile(converted).read("content.xml").decode()


# The samples for charting programs.

#: What each sample reads.
SAMPLES = {
    "FlowLevels.pine": {"key", "name", "price", "doubts", "quoted_at", "simulated"},
    "FlowLevelsNinjaTrader.cs": {"key", "name", "price", "doubts", "age_seconds", "simulated"},
    "FlowLevelsSierra.cpp": {"key", "name", "price", "doubts", "age_seconds", "simulated"},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_read_what_is_sent(name: str) -> None:
    """Each key and column that a sample names is one of the table, and it names those it needs."""
    text = (PLATFORMS / name).read_text()
    words = set(re.findall(r'"([a-z_]+)"', text))
    if name.endswith(".pine"):
        # Pine counts the columns.
        [comment] = re.findall("// Columns: (.+)\\.", text)
        columns = {name: int(number) for number, name in map(str.split, comment.split(", "))}
        assert all(COLUMNS[number] == name for name, number in columns.items())
        used = {int(number) for number in re.findall(r"array\.get\(cells, (\d+)\)", text)}
        assert used == set(columns.values())
        words |= set(columns)
    assert SAMPLES[name] <= words
    assert words & {"call_wall", "put_wall", "gamma_flip", "magnet"} <= set(KEYS)
    assert len(words & set(KEYS)) >= 4
    assert words <= {*KEYS, *COLUMNS, "error", "flow_", "flow_state", "_name", "true", ""}


@pytest.fixture
def sierra_reader(tmp_path: Path) -> Callable[[str], str]:
    """The Sierra sample's reader, compiled: a table's levels, as text."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    (tmp_path / "main.cpp").write_text(
        f'#define WITHOUT_SIERRA\n#include "{PLATFORMS / "FlowLevelsSierra.cpp"}"\n'
        """#include <iostream>
#include <iterator>
int main() {
    std::string text((std::istreambuf_iterator<char>(std::cin)), {});
    FlowTable table = ReadFlowTable(text);
    std::cout << table.levels.size() << " " << table.age_seconds << " " << table.simulated;
    for (auto& level : table.levels)
        std::cout << "|" << level.key << " " << level.there << " " << level.price << level.doubted;
}
"""
    )
    command = [compiler, "-std=c++14", "-Wall", "-Werror", "-o", str(tmp_path / "read")]
    subprocess.run([*command, str(tmp_path / "main.cpp")], check=True)

    def read(text: str) -> str:
        done = subprocess.run(
            [tmp_path / "read"], input=text, capture_output=True, text=True, check=True
        )
        return done.stdout

    return read


async def test_the_sierra_sample_reads_every_level(
    spx: Caller, sierra_reader: Callable[[str], str]
) -> None:
    """Of an answer as it is sent."""
    sent = await spx.get("/v1/levels/SPX?to=ES&basis=38.25&format=csv")
    state, *levels_read = sierra_reader(sent.text).split("|")
    assert state == "10 28 0"
    assert [level.split()[0] for level in levels_read] == KEYS


def test_the_ninjatrader_sample_draws_every_level(sessions_database: str, tmp_path: Path) -> None:
    """Compiled against stand-ins for NinjaTrader's classes, and run against a server."""
    compiler, runtime = shutil.which("mcs"), shutil.which("mono")
    if compiler is None or runtime is None:
        pytest.skip("no Mono is installed")
    program = tmp_path / "sample.exe"
    sources = [ROOT / "tests/api/platform_programs/ninjatrader.cs"]
    sources.append(PLATFORMS / "FlowLevelsNinjaTrader.cs")
    command = [compiler, "-langversion:5", "-warnaserror", "-r:System.Net.Http.dll"]
    subprocess.run([*command, f"-out:{program}", *map(str, sources)], check=True)

    def draw(address: str) -> list[list[str]]:
        done = subprocess.run(
            [runtime, program, address], capture_output=True, text=True, check=True, timeout=60
        )
        return [line.split("|") for line in done.stdout.splitlines()]

    with served(sessions_database, "synthetic", NOON) as (url, _):
        address = f"{url}/v1/levels/SPX?format=csv&to=ES"
        table = httpx.get(f"{address}&basis=38.25").text
        drawn = draw(f"{address}&basis=38.25")
        refused = draw(address)
    rows = list(csv.DictReader(io.StringIO(table)))
    expected = {row["key"]: float(row["price"]) for row in rows[1:] if row["price"]}
    lines = {w[1].removeprefix("flow_"): float(w[2]) for w in drawn if w[0] == "line"}
    assert lines == expected
    assert len(lines) >= 5
    [corner] = [words[1] for words in drawn if words[0] == "corner"]
    assert re.fullmatch(r"Flow levels, \d+ s old, SIMULATED MARKET", corner)
    assert "error 400" in refused[0][1]


def test_the_sierra_sample_reads_the_table(sierra_reader: Callable[[str], str]) -> None:
    """A new column changes nothing, and an error has no level."""
    read = sierra_reader
    header = ",".join(COLUMNS)
    rest = "SPX,ES,difference,38.25,2026-06-05T14:29:32Z,28,0,true,true"
    body = f"spot,Spot,7438.25,7400.0,,{rest}\nmax_pain,Max pain,,,a b,{rest}\n"
    assert read(f"{header}\n{body}") == "2 28 1|spot 1 7438.250|max_pain 0 01"
    # A column that comes later changes nothing.
    more = "\n".join(line + ",9" for line in body.splitlines())
    assert read(f"{header},new\r\n{more}") == "2 28 1|spot 1 7438.250|max_pain 0 01"
    assert read(json.dumps({"error": "no_basis", "message": "say price=, basis="})) == "0  0"
    assert read("") == "0  0"
