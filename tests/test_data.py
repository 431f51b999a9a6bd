"""The recorded data of tests/data is whole and licensed; nothing outside the checkout is needed."""

from __future__ import annotations

import lzma
import zipfile
from pathlib import Path

import pytest

from tests.real_chains import DATA, LEAN_DAYS, lean_minutes, schwab, volkit

TESTS = Path(__file__).parent
FOLDERS = [
    "volkit",
    "lean",
    "schwab",
    "databento",
    "options-desk",
    "vectors/strata",
    "vectors/py_vollib",
    "vectors/haug",
]


def test_every_file_belongs_to_a_named_folder():
    """The README's table and the folders are the same."""
    folders = {p.parent.relative_to(DATA).as_posix() for p in DATA.rglob("*") if p.is_file()}
    assert folders - {"."} == set(FOLDERS)
    text = (DATA / "README.md").read_text()
    assert [folder for folder in FOLDERS if f"| `{folder}` |" not in text] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_licence_lies_beside(folder):
    """Each folder has its licence, but for figures of a printed book."""
    licence = DATA / folder / "LICENSE"
    assert licence.is_file() == (folder != "vectors/haug")
    if licence.is_file():
        text = licence.read_text()
        assert "Copyright" in text
        assert any(name in text for name in ("MIT", "BSD 3-Clause", "Apache License"))


def test_every_file_can_be_unpacked():
    """No file is cut off or a pointer to somewhere else."""
    for path in DATA.rglob("*.xz"):
        assert len(lzma.decompress(path.read_bytes())) > 10_000
    for path in DATA.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def test_the_chains_are_what_they_are_said_to_be():
    """Counts that are known from where the chains were recorded."""
    assert (len(volkit().contracts), len(volkit().today)) == (10_384, 322)
    assert len(schwab().today) == len(schwab().contracts) == 20
    minutes = [list(lean_minutes(day)) for day in LEAN_DAYS]
    assert [len(day) for day in minutes] == [374, 374, 374]
    assert {len(chain.today) for day in minutes for chain in day} == {4}
    # What the SPX closed at: 3,700.65.
    assert abs(minutes[0][-1].spot - 3700.65) < 2


def test_unlicensed_chains_are_reached_by_one_fixture():
    """What lies beside the checkout is an extra: only the fixture ``shared`` knows where it is."""
    knowing = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        if '/ "shared"' in path.read_text() or "shared/data" in path.read_text()
    }
    assert {name for name in knowing if not name.startswith("benchmarks/")} == {
        "real_chains.py",
        "test_data.py",
    }
