"""``make release``: what it builds, what it refuses, and that the version stands in one place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from storage.market.calendar import session_on
from storage.parquet.example_day import DAY, read_example

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
#: Stands for cyclonedx-py: writes what it was called with, and the time that it may give.
FAKE_SBOM = """#!/bin/sh
epoch=$SOURCE_DATE_EPOCH words=$*
while [ $# -gt 1 ]; do [ "$1" = --output-file ] && file=$2; shift; done
printf '{"environment": "%s", "epoch": "%s", "words": "%s"}' "$1" "$epoch" "$words" > "$file"
"""


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of its own, with the files of this one, whose changelog is ready for release."""
    folder = tmp_path / "project"
    names = git(ROOT, "ls-files", "--", "sampler", "storage", "api", ".ci", "*.md", "LICENSE",
                "pyproject.toml", ".gitignore").splitlines()  # fmt: skip
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    log = folder / "CHANGELOG.md"
    log.write_text(log.read_text().replace("## Unreleased", f"## {VERSION} (2026-12-01)"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def release(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    sbom = folder.parent / "cyclonedx-py"
    sbom.write_text(FAKE_SBOM)
    sbom.chmod(0o755)
    identity = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")}  # fmt: skip
    return subprocess.run(
        ["bash", str(folder / ".ci" / "release"), *words],
        env=os.environ | identity | {
            "PYTHON": sys.executable, "CYCLONEDX": str(sbom), "RUNTIME": "/runtime"
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_what_a_release_is(project: Path) -> None:
    """Wheel, sdist, SBOM and their checksums, the tag; the same commit gives the same bytes."""
    done = release(project)
    assert done.returncode == 0, done.stdout + done.stderr
    dist = project / "dist"
    names = {f"zerodte_flow-{VERSION}-py3-none-any.whl", f"zerodte_flow-{VERSION}.tar.gz",
             f"zerodte-flow-{VERSION}.cdx.json"}  # fmt: skip
    sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == names
    assert sums == {n: hashlib.sha256((dist / n).read_bytes()).hexdigest() for n in names}
    sbom = json.loads((dist / f"zerodte-flow-{VERSION}.cdx.json").read_text())
    assert sbom["environment"] == "/runtime"
    # No number at random, no clock; the package is the subject, not a part with its folder.
    assert sbom["epoch"] == git(project, "log", "-1", "--format=%ct")
    assert {"--output-reproducible", "--pyproject"} <= set(sbom["words"].split())
    assert git(project, "tag") == f"v{VERSION}"
    # The session that the page shows first comes along, with the rows of every slot.
    with zipfile.ZipFile(dist / f"zerodte_flow-{VERSION}-py3-none-any.whl") as wheel:
        wheel.extractall(project.parent / "installed")
    records, _ = read_example(project.parent / "installed/storage/parquet/example")
    assert [record.row.slot for record in records] == session_on(DAY).slots[1:]
    # CI builds the tagged commit again, and tags nothing.
    assert release(project).returncode == 1
    assert release(project, "--no-tag").returncode == 0
    again = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert again == sums


def test_what_is_refused(project: Path) -> None:
    """A changed tree, and a changelog that does not name the version."""
    log = project / "CHANGELOG.md"
    log.write_text(log.read_text().replace(f"## {VERSION} (2026-12-01)", "## Unreleased"))
    assert "the tree has changes" in release(project).stderr
    git(project, "commit", "--quiet", "--all", "--message", "log")
    assert f"no heading '## {VERSION} (YYYY-MM-DD)'" in release(project).stderr
    assert not (project / "dist").exists()
    assert git(project, "tag") == ""


def test_the_version_stands_in_one_place() -> None:
    """pyproject.toml has it; the programs read the installed package, the example's image follows."""
    for path in [
        *ROOT.glob("api/**/*.py"),
        *ROOT.glob("storage/**/*.py"),
        *ROOT.glob("sampler/**/*.py"),
    ]:
        assert f'"{VERSION}"' not in path.read_text(), path
    images = re.findall(r"zerodte-flow:([0-9.]+)", (ROOT / "deploy/kubernetes.yaml").read_text())
    assert set(images) == {VERSION}


def test_the_workflow_builds_what_make_release_builds() -> None:
    """A tag runs the audit and the same target, and publishes its files."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    # YAML reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    commands = "\n".join(s.get("run", "") for s in workflow["jobs"]["release"]["steps"])
    for command in ("make audit", "make release", "dist/*"):
        assert command in commands


def test_dependencies_are_audited_each_week_and_before_a_release() -> None:
    """Both workflows run ``make audit``; the one of a release before it builds anything."""
    folder = ROOT / ".github/workflows"
    weekly = yaml.safe_load((folder / "audit.yml").read_text())
    assert weekly[True]["schedule"][0]["cron"].split()[2:] == ["*", "*", "1"]
    commands = [step.get("run", "") for step in weekly["jobs"]["audit"]["steps"]]
    assert [c.split()[:2] for c in commands if c] == [["make", "audit"]]
    built = (folder / "release.yml").read_text()
    assert 0 < built.index("run: make audit") < built.index("run: make release")


def audit(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """``.ci/audit`` with a stand-in for pip-audit."""
    fake = folder / "pip-audit"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(0o755)
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit"), str(fake), str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


#: What pip-audit 2.10 prints of a package that it looked up, of one that it could not, and of a vulnerable one.
CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited"}
OURS = {"name": "zerodte-flow", "skip_reason": "Dependency not found on PyPI"}
FAULTY = CLEAN | {"vulns": [{"id": "PYSEC-2027-1", "fix_versions": ["2.4.7"], "aliases": []}]}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([CLEAN, OURS], 0, "1 packages, no known vulnerability"),
        ([FAULTY, OURS], 1, "numpy 2.4.6: PYSEC-2027-1, mended in 2.4.7"),
        ([CLEAN, SKIPPED], 1, "1 of 2 packages could not be looked up"),
        ([SKIPPED, OURS], 1, "none of the 1 packages could be looked up"),
        ([OURS], 1, "none of the 0 packages"),
    ],
)
def test_an_audit_that_looked_nothing_up_fails(
    packages: list[dict[str, object]], code: int, words: str, tmp_path: Path
) -> None:
    """Only an audit that asked about every package says that there is no known vulnerability."""
    answer = json.dumps({"dependencies": packages, "fixes": []})
    done = audit(tmp_path, f"cat <<'END'\n{answer}\nEND")
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True)
    assert ("no known" in done.stdout) == (code == 0)


def test_an_audit_without_a_network_says_so(tmp_path: Path) -> None:
    """pip-audit's last line says why."""
    done = audit(tmp_path, "echo 'ERROR: connection refused' >&2; exit 1")
    assert done.returncode == 1
    assert "did not answer, so nothing is known: ERROR: connection refused" in done.stderr
