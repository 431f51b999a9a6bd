"""The sampler's command line: what it prints without a database, and how it reads a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sampler.__main__ import main
from sampler.opening import parse_moment
from sampler.sources import SOURCES
from storage.errors import UsageError
from tests import forked

ROOT = Path(__file__).resolve().parents[2]
#: A Tuesday, 10:00 New York; the Saturday before it.
TUESDAY = datetime(2026, 8, 18, 14, tzinfo=UTC)
SATURDAY = datetime(2026, 8, 15, 14, tzinfo=UTC)


def run(
    module: str, *words: str, path: Path = ROOT, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FLOW_")
    }
    return forked.run(
        [sys.executable, "-m", module, *words],
        env=environment | {"PYTHONPATH": str(path)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "now", "moment"),
    [
        ("10:30", TUESDAY, datetime(2026, 8, 18, 14, 30, tzinfo=UTC)),
        ("9:45:30", TUESDAY, datetime(2026, 8, 18, 13, 45, 30, tzinfo=UTC)),
        # Without a session today, and before today's open, the one before it.
        ("10:30", SATURDAY, datetime(2026, 8, 14, 14, 30, tzinfo=UTC)),
        ("10:30", TUESDAY.replace(hour=12), datetime(2026, 8, 17, 14, 30, tzinfo=UTC)),
        ("2026-08-19T10:30", SATURDAY, datetime(2026, 8, 19, 14, 30, tzinfo=UTC)),
        ("2026-08-19T10:30+00:00", SATURDAY, datetime(2026, 8, 19, 10, 30, tzinfo=UTC)),
    ],
)
def test_moments(text, now, moment):
    """A time of day is of the newest session; a whole time is what it says."""
    assert parse_moment(text, now) == moment


@pytest.mark.parametrize("text", ["25:00", "10:75", "10", "noon", "2026-08-15T10:30"])
def test_no_moment(text):
    """What is no time, or of a day without a session, is refused by the option's name."""
    with pytest.raises(UsageError, match=r"^--at: "):
        parse_moment(text, TUESDAY)


def test_no_moment_is_told_before_formulas_are_compiled(monkeypatch, capsys):
    """Compiling takes minutes on a slow machine, and nothing could be sampled afterwards."""

    def compile_formulas(hear: object) -> None:
        raise AssertionError("the formulas were loaded")

    monkeypatch.setattr("sampler.opening.load_formulas", compile_formulas)
    assert main(["once", "--source", "synthetic:", "--dry-run", "--at", "noon"]) == 2
    assert "--at: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "program"),
    [("sampler", "flow-sampler"), ("storage", "flow-store"), ("api", "flow-api")],
)
def test_version(module, program):
    """Each program says its release and the version of its formulas."""
    done = run(module, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{program} \S.*, definitions 3\n", done.stdout)


def test_sources():
    """Each source is described, in words without markup."""
    done = run("sampler", "sources")
    assert done.returncode == 0
    assert "`" not in done.stdout
    heads = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert heads == [f"{name}:" for name in SOURCES]


def test_example_from_the_wheel(tmp_path, monkeypatch):
    """A built wheel brings the example chain and the type marks; recorded:example measures it."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    forked.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    for package in ("sampler", "storage", "api"):
        assert (unpacked / package / "py.typed").is_file()
    words = ("once", "--symbols", "SPX", "--source", "recorded:example", "--dry-run", "--json")
    # A folder of its own has no compiled formulas; test_warm.py and test_special.py compile them.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    done = run("sampler", *words, path=unpacked, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)
    assert (row["symbol"], row["spot"], row["source"]) == ("SPX", 6001.45, "recorded")
    assert row["expiration"] == date(2026, 6, 10).isoformat()


def test_a_folder_named_example_wins(tmp_path):
    """A recording of one's own by that name is the one that is read."""
    (tmp_path / "example").mkdir()
    words = ("once", "--symbols", "SPX", "--source", "recorded:example", "--dry-run")
    done = run("sampler", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert "no chain quoted" in done.stderr
