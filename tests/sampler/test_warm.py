"""``flow-sampler warm``: compiles once, shows progress, and says where the code is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def warm(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    return subprocess.run(
        [sys.executable, "-m", "sampler", "warm"],
        env=environment | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def sizes_of(cache: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in cache.rglob("*.nbc")}


@pytest.mark.clocked
def test_what_is_compiled_is_kept(tmp_path: Path) -> None:
    """The first run writes machine code and counts its parts; a second one writes nothing."""
    first = warm(tmp_path)
    assert first.returncode == 0, first.stderr
    *parts, place = first.stdout.splitlines()
    counts = [line.split()[1] for line in parts]
    assert counts == [str(i) for i in range(len(counts))]
    assert f"of {len(counts) - 1} parts" in parts[-1]
    assert place.startswith(f"kept in {tmp_path}")
    written = sizes_of(tmp_path)
    assert len(written) >= len(counts) - 1
    assert warm(tmp_path).returncode == 0
    assert sizes_of(tmp_path) == written


def test_code_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without a place for it would compile at each start: that is a failure."""
    from sampler import opening
    from sampler.metrics import special
    from storage.errors import FlowError

    monkeypatch.setattr(special, "load_all_loops", lambda report: None)

    class Stats:
        cache_path = None

    class Loop:
        stats = Stats()

    monkeypatch.setattr(special, "_COMPILED", [Loop()])
    with pytest.raises(FlowError, match="NUMBA_CACHE_DIR"):
        opening.compile_formulas(lambda done, total: None)
