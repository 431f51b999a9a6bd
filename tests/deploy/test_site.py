"""The pages of ``make site``: gathered as they lie, with a reference of every public module."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script gathers, in a copy of the repository's files."""
    folder = tmp_path_factory.mktemp("site") / "project"
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"], ["bash", ".ci/site"]):
        subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / yaml.safe_load((ROOT / "mkdocs.yml").read_text())["docs_dir"]


def test_every_page_and_what_it_links_to(gathered: Path) -> None:
    """Each page is there, and every file that a page links to."""
    pages = sorted(gathered.rglob("*.md"))
    names = {str(page.relative_to(gathered)) for page in pages}
    assert {"README.md", "CONTRIBUTING.md", "deploy/README.md", "docs/api.md"} <= names
    for page in pages:
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_module_is_in_the_reference(gathered: Path) -> None:
    """Each module of the three packages, once, but for the command lines."""
    for package in ("sampler", "storage", "api"):
        text = (gathered / "reference" / f"{package}.md").read_text()
        listed = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
        modules = {
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for path in (ROOT / package).rglob("*.py")
            if path.stem != "__main__"
        }
        assert sorted(listed) == sorted(modules)
