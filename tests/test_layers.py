"""Arrows one way, one home a dependency: read off the imports, so that nobody must remember."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for d in ("sampler", "storage", "api") for p in (ROOT / d).rglob("*.py"))
#: Third-party package → the modules that may import it.
HOMES = {
    "apscheduler": {"sampler.live.daemon"},
    "pandas_market_calendars": {"storage.market.calendar"},
    "psycopg": {
        "storage.postgres.store",
        "storage.postgres.pool",
        "storage.postgres.database",
        "storage.postgres.migrate",
        "storage.postgres.validate",
        "storage.postgres.read",
        "storage.postgres.copy",
        "storage.postgres.timescale",
        "storage.postgres.windows",
    },
    "psycopg_pool": {
        "storage.postgres.store",
        "storage.postgres.pool",
        "storage.postgres.database",
    },
    "pyarrow": {"storage.parquet.read", "storage.parquet.write", "api.series.formats"},
    "distributed": {"sampler.history.executors"},
    "redis": {"storage.redis.channel", "storage.redis.counters"},
    "httpx": {"sampler.sources.cboe"},
    "fastapi": {
        "api.app",
        "api.access.dependency",
        "api.routes.account",
        "api.routes.server",
        "api.routes.series",
        "api.page",
        "api.routes.documents",
    },
    "prometheus_client": {"api.prometheus", "api.routes.server", "sampler.live.prometheus"},
    "uvicorn": {"api.http.server"},
    "uvloop": {"api.__main__"},
    "brotli": {"api.http.compression"},
    "zstandard": {"storage.record.packing", "api.http.compression"},
}
#: What plain vocabulary of storage the sources may use: words, times, packed columns.
VOCABULARY = {
    "storage.record.row",
    "storage.market.calendar",
    "storage.market.constants",
    "storage.market.instruments",
    "storage.errors",
    "storage.record.packing",
    "storage.parquet.read",
}


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            # from storage import sql: the module is the name.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_arrows(path):
    """storage knows neither neighbour; api and sampler know storage, never each other."""
    allowed = {"storage": {"storage"}, "sampler": {"sampler", "storage"}, "api": {"api", "storage"}}
    own = module(path).split(".")[0]
    assert packages(path) & {"sampler", "storage", "api"} <= allowed[own]


@pytest.mark.parametrize("path", FILES, ids=module)
def test_third_party_packages_have_one_home(path):
    """Each is imported where it lives and nowhere else."""
    used = {package for package in packages(path) if package in HOMES}
    assert {package for package in used if module(path) not in HOMES[package]} == set()


@pytest.mark.parametrize(
    "path",
    sorted(p for p in (ROOT / "sampler/metrics").glob("*.py") if p.stem != "special"),
    ids=module,
)
def test_metrics_are_arithmetic(path):
    """numpy and maths, nothing that reads a clock, a file or a network.

    ``special`` is apart: it compiles, and numba keeps what it compiled on disk.
    """
    maths = {
        "__future__",
        "collections",
        "contextlib",
        "enum",
        "functools",
        "math",
        "numba",
        "numpy",
        "sampler",
        "scipy",
        "storage",
        "typing",
    }
    assert packages(path) <= maths
    # Of storage the numbers that are shared, and no more.
    assert {m for m in imports(path) if m.startswith("storage")} <= {
        "storage.market.constants",
        *(m for m in imports(path) if m.startswith("storage.market.constants.")),
    }
    assert {
        m for m in imports(path) if m.startswith("sampler") and not m.startswith("sampler.metrics")
    } == set()


@pytest.mark.parametrize("path", sorted((ROOT / "sampler/sources").glob("*.py")), ids=module)
def test_sources_know_a_vendor_and_nothing_else(path):
    """Of storage only its vocabulary: no store, no channel, no settings; and no metric."""
    files = {module(file) for file in FILES if file.name != "__init__.py"}
    of_storage = {name for name in imports(path) & files if name.startswith("storage.")}
    assert of_storage <= VOCABULARY
    assert not {m for m in imports(path) if m.startswith("sampler.metrics")}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_only_doors_read_the_environment(path):
    """os.environ is the doors'; the data folder's default and the cache's are the two exceptions."""
    if module(path).endswith("__main__") or module(path) in {
        "storage.config.settings",
        "sampler.metrics.special",
    }:
        return
    assert "os.environ" not in path.read_text()


def test_now_is_called_in_few_places():
    """Time is an argument: the machine's clock is read by clock.py, and by what runs in real time."""
    readers = {
        module(p)
        for p in FILES
        if "datetime.now(" in p.read_text() or "time.time()" in p.read_text()
    }
    assert readers <= {"storage.market.clock"}
