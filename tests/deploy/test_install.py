"""``make install`` and ``make uninstall``: into a folder, and what a dry run shows."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted(path.name for path in (ROOT / "deploy/systemd").iterdir())

#: Stands for the machine's Python: makes an environment whose pip notes what it was to install.
FAKE_PYTHON = """#!/bin/sh
if [ "$1" = -m ]; then
  mkdir -p "$3/bin"
  printf '#!/bin/sh\\necho "$@" >> "%s"\\n' "$3/installed" > "$3/bin/pip"
  chmod +x "$3/bin/pip"
else
  exec {python} "$@"
fi
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    program = tmp_path / "python"
    program.write_text(FAKE_PYTHON.format(python=sys.executable))
    program.chmod(0o755)
    return program


def make(target: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", "--no-print-directory", target, f"ARGS={' '.join(words)}"],
        cwd=ROOT, env=inherited | variables, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def test_it_comes_and_goes(python: Path, tmp_path: Path) -> None:
    """Program, settings and units are where the units expect them, and all go but settings and data."""
    root = tmp_path / "root"
    there = {"DESTDIR": str(root), "PYTHON": str(python), "EXTRAS": "notify"}
    done = make("install", **there)
    assert done.returncode == 0, done.stderr
    assert "useradd" not in done.stdout
    assert "systemctl daemon-reload" not in done.stdout
    units = {f"etc/systemd/system/{name}" for name in UNITS}
    assert {f for f in files(root) if f.startswith("etc/systemd")} == units
    installed = (root / "opt/zerodte-flow/venv/installed").read_text()
    assert installed.split()[-1] == f"{ROOT}[notify]"
    env = root / "etc/zerodte-flow/flow.env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    # An upgrade leaves the settings alone, and brings the units up to date.
    env.write_text("FLOW_SOURCE=cboe:\n")
    unit = root / "etc/systemd/system" / UNITS[0]
    unit.write_text("old")
    assert make("install", **there).returncode == 0
    assert env.read_text() == "FLOW_SOURCE=cboe:\n"
    assert unit.read_bytes() == (ROOT / "deploy/systemd" / UNITS[0]).read_bytes()
    spool = root / "var/lib/zerodte-flow/spool/live/1.batches"
    spool.parent.mkdir(parents=True)
    spool.write_text("waits")
    assert make("uninstall", **there).returncode == 0
    assert files(root) == {
        "etc/zerodte-flow/flow.env", "var/lib/zerodte-flow/spool/live/1.batches"
    }  # fmt: skip
    assert make("uninstall", "--purge", **there).returncode == 0
    assert files(root) == set()


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It shows each command, those that only root may do among them, and runs none."""
    done = make("install", "--dry-run", DESTDIR=str(tmp_path / "root"), PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "root").exists()
    commands = re.findall(r"^\+ (\w+)", done.stdout, re.MULTILINE)
    assert commands.count("install") == len(UNITS) + 1
    shown = make("install", "--dry-run", PYTHON=sys.executable).stdout
    # On the machine itself it would make the user, if there is none yet.
    assert "+ useradd --system" in shown or "zerodte-flow:" in Path("/etc/passwd").read_text()
    assert "rm -rf" not in make("uninstall", "--dry-run", DESTDIR="").stdout.replace(
        "+ rm -rf /opt/zerodte-flow\n", ""
    )


def test_wrong_usage(tmp_path: Path) -> None:
    """An unknown word and a Python that is too old end it before anything is done."""
    assert make("install", "--dryrun").returncode != 0
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    root = tmp_path / "root"
    done = make("install", DESTDIR=str(root), PYTHON=str(old))
    assert done.returncode != 0
    assert "is not Python 3.11 or newer with venv" in done.stderr
    assert not root.exists()
