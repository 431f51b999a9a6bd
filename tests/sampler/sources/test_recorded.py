"""Recorded chains that lie about their times: each is read right, or refused by itself."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", UNREADABLE)
async def test_one_unreadable_frame_is_one_bad_answer(tmp_path: Path, name: str) -> None:
    """The frames before and after it are read as if it were not there."""
    for minute in (0, 1, 2):
        changes = UNREADABLE[name] if minute == 1 else {"asof": f"2026-06-10T14:0{minute}:00"}
        write(tmp_path / f"SPX_2026-06-10T140{minute}00.json", **changes)
    session = session_on(QUOTED.date())
    assert session is not None
    frames = [frame async for frame in Recorded(tmp_path).history("SPX", session)]
    refused = frames[1]
    assert isinstance(refused, ChainRefused)
    assert refused.reason is Reason.BAD_ANSWER
    assert [len(frame.strike) for frame in (frames[0], frames[2])] == [2, 2]  # type: ignore[union-attr]
