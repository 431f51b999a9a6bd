"""The normal distribution against mpmath, and machine code where its cache fails."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from sampler.metrics import special

ROOT = Path(__file__).resolve().parents[3]


def exact_mills(a):
    with mp.workdps(50):
        a = mp.mpf(a)
        return mp.ncdf(-a) / mp.npdf(a)


@pytest.mark.parametrize("a", [0.0, 1e-300, 1e-9, *np.geomspace(1e-3, 60, 80)])
def test_mills_ratio_and_its_slope(a):
    """Y and 1 - a·Y to four units of the last place, where the latter cancels too."""
    y, d = special.mills(float(a))
    with mp.workdps(50):
        expected = exact_mills(a), 1 - mp.mpf(float(a)) * exact_mills(a)
    assert [float(e) for e in expected] == pytest.approx([y, d], rel=9e-16, abs=0)


def test_mills_ratio_far_out():
    """Like 1/a and 1/a² beyond any density that a double holds, and finite to the end."""
    for a in (1e3, 1e8, 1e16):
        assert [1 / a, 1 / a**2] == pytest.approx(special.mills(a), rel=1e-5, abs=0)
    assert np.isfinite(special.mills(1e308)).all()


@pytest.mark.parametrize("x", [*np.linspace(-37, 9, 93), -1e-9, 0.0, 1e-9, math.inf, -math.inf])
def test_normal_distribution(x):
    """N and n to full precision in both tails."""
    with mp.workdps(50):
        cdf, pdf = float(mp.ncdf(float(x))), float(mp.npdf(float(x))) if math.isfinite(x) else 0.0
    close = 4e-16 + 2e-16 * x * x if math.isfinite(x) else 0.0
    assert cdf == pytest.approx(special.norm_cdf(float(x)), rel=close, abs=0)
    assert pdf == pytest.approx(special.norm_pdf(float(x)), rel=close, abs=0)


@pytest.mark.parametrize("ratio", [1.0, 1 + 1e-15, 1 - 1e-12, 1.001, 0.5, 3.0, 1e-30, 1e200])
def test_log_moneyness_near_the_money(ratio):
    """ln(F/K) of the given doubles to three units of the last place, however close they are."""
    forward, strike = 7711.95 * ratio, 7711.95
    with mp.workdps(50):
        expected = float(mp.log(mp.mpf(forward) / mp.mpf(strike)))
    assert expected == pytest.approx(special.log_moneyness(forward, strike), rel=6e-16, abs=0)
    assert -expected == pytest.approx(special.log_moneyness(strike, forward), rel=6e-16, abs=0)


@pytest.mark.parametrize("t", [1e-9, 1e-4, 0.0199, 0.0201, 0.1, 0.49, 0.51, 1.2, 2.0, 5.0])
@pytest.mark.parametrize("a", [0.0, 1e-6, 0.3, 0.99, 1.01, 2.5, 10.0, 25.0])
def test_price_to_vega(a, t):
    """Y(a-t) - Y(a+t) without its cancellation, on both sides of every switch of method."""
    with mp.workdps(60):
        expected = float(exact_mills(mp.mpf(a) - mp.mpf(t)) - exact_mills(mp.mpf(a) + mp.mpf(t)))
    assert expected == pytest.approx(special.price_to_vega(a, t), rel=1e-15 * (5 + a * a), abs=0)


LOOP = """
import numpy as np
from sampler.metrics.special import READ, WRITE, compiled, scalar
from helper import step
from numbers_of import FACTOR

def loop(x, out):
    for i in range(out.size):
        out[i] = FACTOR * step(x[i])

out = np.empty(3)
compiled(loop, READ, WRITE)(np.arange(3.0), out)
print(out.tolist())
"""
HELPER = """
from sampler.metrics.special import scalar

@scalar
def step(x):
    return x + {}
"""


@pytest.fixture
def run(tmp_path):
    """Run LOOP, a module of its own, in a fresh process whose home cannot be written."""
    (tmp_path / "helper.py").write_text(HELPER.format(1.0))
    (tmp_path / "numbers_of.py").write_text("FACTOR = 1.0")
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "nowhere").write_text("a file, so that no folder can be made of it")

    def run(**environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
        clean |= {"PYTHONPATH": f"{ROOT}:{tmp_path}", "HOME": str(tmp_path / "nowhere")}
        command = [sys.executable, "-B", str(tmp_path / "loop.py")]
        done = subprocess.run(
            command, env=clean | environment, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return done.stdout.strip()

    run.folder = tmp_path
    return run


def test_compiles_where_no_cache_can_be_written(run):
    """Neither $NUMBA_CACHE_DIR, nor __pycache__, nor the home: in memory, without a word."""
    (run.folder / "__pycache__").write_text("a file, too")
    assert run(NUMBA_CACHE_DIR=str(run.folder / "nowhere/cache")) == "[1.0, 2.0, 3.0]"


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
def test_damaged_cache_is_survived(run, kind):
    """Half an index or a machine code of junk, as a full disk leaves them."""
    cache = run.folder / "cache"
    run(NUMBA_CACHE_DIR=str(cache))
    (damaged,) = cache.rglob(kind)
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert run(NUMBA_CACHE_DIR=str(cache)) == "[1.0, 2.0, 3.0]"


def test_cache_is_used_and_follows_what_is_elsewhere(run):
    """The same sources load what was saved; another file's change is compiled, not overlooked."""
    cache = run.folder / "cache"
    assert run(NUMBA_CACHE_DIR=str(cache)) == "[1.0, 2.0, 3.0]"
    saved = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert run(NUMBA_CACHE_DIR=str(cache)) == "[1.0, 2.0, 3.0]"
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == saved
    (run.folder / "helper.py").write_text(HELPER.format(5.0))
    assert run(NUMBA_CACHE_DIR=str(cache)) == "[5.0, 6.0, 7.0]"
    (run.folder / "numbers_of.py").write_text("FACTOR = 10.0")
    assert run(NUMBA_CACHE_DIR=str(cache)) == "[50.0, 60.0, 70.0]"


def weighed(level, column, other, table):
    """A loop as ``tabulate`` takes one: each column has the table's length, or one element."""
    assert isinstance(level, float)
    for argument in (column, other):
        assert argument.dtype == float
        assert argument.shape in {(1,), (table.shape[1],)}
    for i in range(table.shape[1]):
        table[0, i] = level * special.element.py_func(column, i)
        table[1, i] = special.element.py_func(other, i)


@pytest.mark.parametrize("level", [2.0, 2, np.float64(2.0), np.array(2.0)])
def test_table_of_one_level(level):
    """Columns of one length, a column of length 1 beside others, and shapes that broadcast."""
    column = np.array([1.0, 3.0, 4.0])
    for other in (np.array([7.0, 8.0, 9.0]), np.array([7.0]), 7.0):
        table = special.tabulate(weighed, 2, (level,), (column, other))
        assert table.tolist() == [[2.0, 6.0, 8.0], np.broadcast_to(other, 3).tolist()]
    table = special.tabulate(weighed, 2, (level,), (column[:, None], np.array([7, 8])))
    assert table[0].tolist() == [[2.0, 2.0], [6.0, 6.0], [8.0, 8.0]]
    assert table[1].tolist() == [[7.0, 8.0]] * 3
    assert special.tabulate(weighed, 2, (level,), (5.0, 7.0)).tolist() == [10.0, 7.0]


def test_table_of_many_levels():
    """Each element has its own level, and is computed by itself."""
    levels = np.array([[1.0], [10.0]])
    table = special.tabulate(weighed, 2, (levels,), (np.array([1.0, 2.0, 3.0]), 4.0))
    assert table.shape == (2, 2, 3)
    assert table[0].tolist() == [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]
    assert table[1].tolist() == [[4.0] * 3] * 2


def test_table_of_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="broadcast"):
        special.tabulate(weighed, 2, (1.0,), (np.zeros(3), np.zeros(2)))
