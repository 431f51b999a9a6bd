"""The formulas are compiled once: who waits for it hears of what, and for how long; the code is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sampler import compiling, metrics
from sampler.compiling import Compilation, load_formulas

ONCE = ("once", "--source", "recorded:example", "--symbols", "SPX", "--dry-run", "--json")


def flow_sampler(cache: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    return subprocess.run(
        [sys.executable, "-m", "sampler", *command],
        env=environment | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def sizes_of(cache: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in cache.rglob("*.nbc")}


@pytest.mark.clocked
def test_the_first_once_says_what_it_compiles_and_the_second_compiles_nothing(
    tmp_path: Path,
) -> None:
    """The words go to standard error, so that the row on standard output stays JSON."""
    first = flow_sampler(tmp_path, *ONCE)
    assert first.returncode == 0, first.stderr
    row = json.loads(first.stdout)
    assert row["symbol"] == "SPX"
    begins, *during, ends = first.stderr.splitlines()
    assert re.fullmatch(
        r"flow-sampler: compiling the formulas \(sampler\.metrics\) to machine code: once on this"
        r" machine, about \d+ s; later starts load them",
        begins,
    )
    assert len(during) == len(metrics.module_names()) - 1
    passed = [re.fullmatch(r".*formulas: (\d+) of about (\d+) s", line) for line in during]
    assert all(match and int(match[1]) <= int(match[2]) for match in passed), during
    assert re.search(rf"compiled, in \d+ s; kept in {re.escape(str(tmp_path))}", ends)
    written = sizes_of(tmp_path)
    assert len(written) >= len(metrics.module_names())

    second = flow_sampler(tmp_path, *ONCE)
    assert (second.returncode, second.stderr) == (0, "")
    assert json.loads(second.stdout) == row

    warmed = flow_sampler(tmp_path, "warm")
    assert warmed.returncode == 0, warmed.stderr
    *parts, place = warmed.stdout.splitlines()
    counts = [line.split()[1] for line in parts]
    assert counts == [str(i) for i in range(len(counts))]
    assert f"of {len(counts) - 1} parts" in parts[-1]
    assert place.startswith(f"kept in {tmp_path}")
    assert sizes_of(tmp_path) == written


class Loading:
    """``metrics.load_compiled`` on a clock of its own: so many seconds a part, some from the cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, parts: list[tuple[str, float, bool]]):
        self.parts, self.now, self.begins = parts, 0.0, lambda: None
        monkeypatch.setattr(metrics, "module_names", lambda: [name for name, _, _ in parts])
        monkeypatch.setattr(metrics, "on_compiling", self.on_compiling)
        monkeypatch.setattr(metrics, "load_compiled", self.load)
        monkeypatch.setattr(compiling.time, "monotonic", lambda: self.now)

    def on_compiling(self, begins):
        from contextlib import nullcontext

        self.begins = begins
        return nullcontext()

    def load(self, report) -> None:
        for i, (_, seconds, compiles) in enumerate(self.parts):
            report(i, len(self.parts))
            if compiles:
                self.begins()
                self.begins()  # one part has several loops
            self.now += seconds
        report(len(self.parts), len(self.parts))

    def heard(self) -> list[Compilation]:
        states: list[Compilation] = []
        load_formulas(states.append)
        return states


def test_how_long_it_will_take_is_judged_by_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine at a quarter of the usual speed: what usually takes 8 s takes 32."""
    monkeypatch.setattr(compiling, "_USUAL_SECONDS", {"a": 2.0, "b": 5.0, "c": 1.0})
    states = Loading(monkeypatch, [("a", 8, True), ("b", 20, True), ("c", 4, True)]).heard()
    assert [(s.done, s.total, s.seconds, s.expected) for s in states] == [
        (0, 3, 0.0, 8.0),
        (1, 3, 8.0, 32.0),
        (2, 3, 28.0, 32.0),
        (3, 3, 32.0, 32.0),
    ]


def test_formulas_that_are_loaded_are_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_USUAL_SECONDS", {"a": 2.0, "b": 5.0})
    assert Loading(monkeypatch, [("a", 1, False), ("b", 9, False)]).heard() == []


def test_every_module_has_its_usual_time() -> None:
    assert set(compiling._USUAL_SECONDS) == set(metrics.module_names())


def test_code_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without a place for it would compile at each start: that is a failure."""
    from sampler.metrics import special
    from storage.errors import FlowError

    monkeypatch.setattr(special, "load_all_loops", lambda report: None)

    class Stats:
        cache_path = None

    class Loop:
        stats = Stats()

    monkeypatch.setattr(special, "_COMPILED", [Loop()])
    with pytest.raises(FlowError, match="NUMBA_CACHE_DIR"):
        compiling.compile_formulas(lambda done, total: None)
