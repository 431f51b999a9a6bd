"""Recorded chains that lie about their times: each is read right, or refused by itself."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampler.errors import ChainRefused
from sampler.sources.recorded import Recorded, read_chain
from storage.market.calendar import session_on
from storage.record.row import Reason

#: 16:00 New York of 2026-06-10.
EXPIRY = 1_781_121_600
QUOTED = datetime(2026, 6, 10, 18, 0, tzinfo=UTC)


def write(path: Path, **changes: Any) -> Path:
    """A chain of two contracts in the compact format."""
    option = {"e": EXPIRY, "t": "C", "k": 6000, "iv": 0.1, "oi": 5, "v": 1, "b": 1, "a": 2, "l": 1}
    chain = {
        "sym": "SPX",
        "spot": 6000.0,
        "asof": "2026-06-10T14:00:00",
        "fetched": "2026-06-10T18:00:02+00:00",
        "o": [option, option | {"t": "P"}],
    }
    path.write_bytes(orjson.dumps(chain | changes))
    return path


@pytest.mark.parametrize(
    "asof",
    ["2026-06-10T14:00:00", "2026-06-10T13:00:00-05:00", "2026-06-10T18:00:00+00:00"],
)
def test_asof_with_and_without_offset(tmp_path: Path, asof: str) -> None:
    """An offset counts; without one the quotes' time is New York's."""
    assert read_chain(write(tmp_path / "a.json", asof=asof)).quoted_at == QUOTED


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Tokyo"])
def test_fetched_without_offset_is_utc(tmp_path: Path, zone: str) -> None:
    """The age of the quotes is the same in whatever zone the machine is."""
    path = write(tmp_path / "a.json", fetched="2026-06-10T18:00:02")
    program = (
        "import sys; from pathlib import Path; from sampler.sources.recorded import read_chain;"
        "frame = read_chain(Path(sys.argv[1]));"
        "print((frame.fetched_at - frame.quoted_at).total_seconds())"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=os.environ | {"TZ": zone, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "2.0"


UNREADABLE: dict[str, dict[str, Any]] = {
    "milliseconds": {"o": [{"e": EXPIRY * 1000, "t": "C", "k": 6000}]},
    "year 20000": {"o": [{"e": 568_971_820_800, "t": "C", "k": 6000}]},
    "no number": {"o": [{"e": "soon", "t": "C", "k": 6000}]},
    "a list for an option": {"o": [[EXPIRY, "C", 6000]]},
    "a list for a right": {"o": [{"e": EXPIRY, "t": ["C"], "k": 6000}]},
    "an object for the options": {"o": {"e": EXPIRY}},
    "a number for a time": {"asof": 5},
    "no time": {"fetched": "yesterday"},
}


def text(**tokens: str) -> bytes:
    """A chain as text, with JSON tokens of a field replaced: ``k`` is that of the first option."""
    values = {"sym": '"SPX"', "spot": "6000.0", "asof": '"2026-06-10T14:01:00"'}
    values |= {"e": str(EXPIRY), "t": '"C"', "k": "6000", "b": "1", "oi": "5"} | tokens
    fixed = {"iv": "0.1", "v": "1", "a": "2", "l": "1"}
    names = ("e", "t", "k", "oi", "b")
    option = {name: values.pop(name) for name in names} | fixed
    fields = ",".join(f'"{name}":{token}' for name, token in option.items())
    chain = values | {"fetched": '"2026-06-10T18:01:02+00:00"', "o": f"[{{{fields}}}]"}
    return ("{" + ",".join(f'"{name}":{token}' for name, token in chain.items()) + "}").encode()


#: Files that are not even such JSON, or whose JSON holds what no number and no text is.
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut": text()[:100],
    "gzip": gzip.compress(text()),
    "gzip, cut": gzip.compress(text())[:40],
    "utf-16": text().decode().encode("utf-16"),
    "html": b"<!DOCTYPE html><html>",
    "a list": b"[1]",
    "a number": b"5",
    "null": b"null",
    "spot NaN": text(spot="NaN"),
    "bid Infinity": text(b="Infinity"),
    "bid 1e400": text(b="1e400"),
    "500 digits": text(oi="9" * 500),
    "expiry NaN": text(e="NaN"),
    "expiry 1e400": text(e="1e400"),
    "expiry true": text(e="true"),
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": text(spot='{"a":' * 5000 + "1" + "}" * 5000),
    "half a character": text(sym='"\\ud800"'),
    "half a character, raw": text().replace(b"SPX", b"\xed\xa0\x80"),
    "half a character for a right": text(t='"\\ud800"'),
    "another symbol": text(sym='"SPY"'),
    "a list for a symbol": text(sym='["SPX"]'),
    "year 9999": text(asof='"9999-12-31T23:59:59"'),
    "year 1": text(asof='"0001-01-01T00:00:00+14:00"'),
    "a day for a time": text(asof='"2026-06-10"'),
    "no option": text().replace(b'"o":[', b'"o":[],"p":['),
}


def test_the_text_itself_is_a_chain(tmp_path: Path) -> None:
    """The hostile files differ from a good one by what their names say alone."""
    path = tmp_path / "a.json"
    path.write_bytes(text())
    assert read_chain(path).spot == 6000.0


@pytest.mark.parametrize("name", UNREADABLE | HOSTILE)
async def test_one_unreadable_frame_is_one_bad_answer(tmp_path: Path, name: str) -> None:
    """The frames before and after it, and those of another symbol, are read as without it."""
    for minute in (0, 1, 2):
        changes = UNREADABLE.get(name, {}) if minute == 1 else {}
        path = tmp_path / f"SPX_2026-06-10T140{minute}00.json"
        write(path, **{"asof": f"2026-06-10T14:0{minute}:00"} | changes)
        if minute == 1 and name in HOSTILE:
            path.write_bytes(HOSTILE[name])
    write(tmp_path / "SPY_2026-06-10T140100.json", sym="SPY")
    # A name without a time is opened to see what it holds, and this is no chain of SPX.
    (tmp_path / "free.json").write_bytes(b"{}")
    session = session_on(QUOTED.date())
    assert session is not None
    source = Recorded(tmp_path)
    frames = [frame async for frame in source.history("SPX", session)]
    refused = frames[1]
    assert isinstance(refused, ChainRefused)
    assert refused.reason is Reason.BAD_ANSWER
    assert [len(frame.strike) for frame in (frames[0], frames[2])] == [2, 2]  # type: ignore[union-attr]
    others = [frame async for frame in source.history("SPY", session)]
    assert [len(frame.strike) for frame in others] == [2]  # type: ignore[union-attr]


async def test_a_name_that_is_no_time(tmp_path: Path) -> None:
    """A file named after a day that no calendar has is opened, and costs no other file."""
    write(tmp_path / "SPX_2026-13-45T996161.json", asof="2026-06-10T14:01:00")
    write(tmp_path / "SPX_2026-06-10T140000.json")
    session = session_on(QUOTED.date())
    assert session is not None
    frames = [frame async for frame in Recorded(tmp_path).history("SPX", session)]
    minutes = [frame.quoted_at.minute for frame in frames]  # type: ignore[union-attr]
    assert minutes == [0, 1]


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    """A file over 64 MiB is refused by its size alone."""
    path = tmp_path / "a.json"
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(ChainRefused, match="1,099,511,627,776 bytes") as caught:
        read_chain(path)
    assert caught.value.reason is Reason.BAD_ANSWER


async def test_a_file_without_a_name_that_cannot_be_read_is_a_bad_answer(tmp_path: Path) -> None:
    """Its expiry is in milliseconds, but it says whose it is and when: refused at its time, whether
    it is the only file or one of several; a file that says neither is left out."""
    write(tmp_path / "first.json")
    bad = write(tmp_path / "second.json", asof="2026-06-10T14:01:00", **UNREADABLE["milliseconds"])
    (tmp_path / "other.json").write_bytes(b"{}")
    session = session_on(QUOTED.date())
    assert session is not None
    frames = [outcome async for outcome in Recorded(tmp_path).history("SPX", session)]
    assert [isinstance(outcome, ChainRefused) for outcome in frames] == [False, True]
    for source in (Recorded(tmp_path), Recorded(bad)):
        refused = [outcome async for outcome in source.history("SPX", session)][-1]
        assert isinstance(refused, ChainRefused)
        assert (refused.reason, refused.quoted_at) == (
            Reason.BAD_ANSWER,
            datetime(2026, 6, 10, 18, 1, tzinfo=UTC),
        )
