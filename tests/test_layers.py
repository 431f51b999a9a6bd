"""Rules about folders: who may import whom, where each third-party package lives, one name a thing.

All of them are read off the source. A module that stands at the top of a package (``sampler.chain``)
is a place of its own; a folder is one place with all that it contains.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("storage", "sampler", "api")
FILES = sorted(p for d in PACKAGES for p in (ROOT / d).rglob("*.py"))

#: Place → the places that it may import. ``storage.errors`` and a package itself (its version) may
#: be imported from everywhere that may import the package.
MAY_IMPORT: dict[str, set[str]] = {
    # storage: the record imports nothing; a folder a dependency knows the record and no neighbour.
    "storage.errors": set(),
    "storage.fault": set(),
    "storage.locks": set(),
    "storage.record": set(),
    "storage.market": set(),
    "storage.config": {"storage.locks", "storage.market", "storage.record"},
    "storage.scorecard": {"storage.market", "storage.record"},
    "storage.postgres": {"storage.market", "storage.record", "storage.scorecard"},
    "storage.redis": {"storage.record"},
    "storage.spool": {
        "storage.record",
        "storage.fault",
        "storage.locks",
        "storage.scorecard",
    },
    "storage.parquet": {"storage.record", "storage.postgres"},
    "storage.research": set(),
    "storage.embedded": {"storage.locks"},
    "storage.notify": {
        "storage.config",
        "storage.locks",
        "storage.market",
        "storage.postgres",
        "storage.record",
    },
    "storage.changefeed": {"storage.record", "storage.redis"},
    "storage.opening": {
        "storage.config",
        "storage.embedded",
        "storage.market",
        "storage.postgres",
        "storage.redis",
    },
    "storage.doctor": {
        "storage.config",
        "storage.market",
        "storage.notify",
        "storage.opening",
        "storage.postgres",
        "storage.redis",
    },
    "storage.__main__": {
        "storage.changefeed",
        "storage.config",
        "storage.doctor",
        "storage.market",
        "storage.notify",
        "storage.opening",
        "storage.parquet",
        "storage.postgres",
    },
    # sampler: formulas know numbers only; a source knows what a chain is, never where rows go.
    "sampler.errors": {"storage.market", "storage.record"},
    "sampler.metrics": {"storage.market"},
    "sampler.chain": {"sampler.errors", "storage.market", "storage.record"},
    "sampler.sources": {
        "sampler.chain",
        "sampler.errors",
        "sampler.metrics",
        "storage.config",
        "storage.market",
        "storage.parquet",
        "storage.record",
    },
    "sampler.measure": {
        "sampler.chain",
        "sampler.errors",
        "sampler.metrics",
        "storage.market",
        "storage.record",
    },
    "sampler.revising": {"sampler.measure", "storage.record"},
    "sampler.scoring": {
        "sampler.chain",
        "sampler.sources",
        "storage.market",
        "storage.postgres",
        "storage.scorecard",
    },
    "sampler.compiling": {"sampler.metrics", "storage.config"},
    "sampler.opening": {
        "sampler.compiling",
        "sampler.sources",
        "storage.config",
        "storage.market",
        "storage.opening",
    },
    "sampler.live": {
        "sampler.chain",
        "sampler.compiling",
        "sampler.errors",
        "sampler.measure",
        "sampler.opening",
        "sampler.revising",
        "sampler.scoring",
        "sampler.sources",
        "storage.config",
        "storage.fault",
        "storage.locks",
        "storage.market",
        "storage.notify",
        "storage.opening",
        "storage.postgres",
        "storage.record",
        "storage.redis",
        "storage.scorecard",
        "storage.spool",
    },
    "sampler.history": {
        "sampler.chain",
        "sampler.errors",
        "sampler.measure",
        "sampler.metrics",
        "sampler.opening",
        "sampler.revising",
        "sampler.scoring",
        "sampler.sources",
        "storage.config",
        "storage.market",
        "storage.opening",
        "storage.postgres",
        "storage.record",
        "storage.redis",
        "storage.scorecard",
    },
    "sampler.__main__": {
        "sampler.compiling",
        "sampler.history",
        "sampler.live",
        "sampler.opening",
        "sampler.sources",
        "storage.config",
    },
    # api: documents and the series know no route; routes know everything below them.
    "api.market_hours": {"storage.market"},
    "api.market_watch": {"storage.market", "storage.notify", "storage.postgres"},
    "api.upkeep": {"storage.market", "storage.notify", "storage.postgres"},
    "api.watch": {
        "api.market_watch",
        "api.upkeep",
        "storage.market",
        "storage.notify",
        "storage.postgres",
        "storage.record",
    },
    "api.prometheus": {"api.market_hours", "storage.market", "storage.postgres", "storage.redis"},
    "api.readiness": {"storage.market", "storage.postgres", "storage.redis"},
    "api.http": set(),
    "api.series": {
        "api.access",
        "api.http",
        "storage.changefeed",
        "storage.market",
        "storage.postgres",
        "storage.record",
        "storage.redis",
        "storage.scorecard",
    },
    "api.access": {
        "storage.config",
        "storage.postgres",
        "storage.record",
        "storage.redis",
    },
    "api.context": {
        "api.access",
        "api.http",
        "api.prometheus",
        "api.readiness",
        "api.series",
        "storage.market",
        "storage.notify",
        "storage.postgres",
        "storage.redis",
    },
    "api.documents": {
        "api.context",
        "api.http",
        "api.series",
        "storage.market",
        "storage.notify",
        "storage.postgres",
        "storage.record",
        "storage.scorecard",
    },
    "api.errors": {"api.access", "api.context", "api.documents", "api.http", "api.series"},
    "api.access_log": {"api.context", "api.http", "api.prometheus"},
    "api.openapi": {"api.documents", "api.errors", "storage.config", "storage.scorecard"},
    "api.page": {
        "api.context",
        "api.definitions",
        "api.first_answers",
        "api.http",
        "api.page_script",
    },
    "api.first_answers": {"api.access", "api.context", "api.http", "api.routes"},
    "api.page_script": set(),
    "api.definitions": set(),
    "api.routes": {
        "api.access",
        "api.access_log",
        "api.context",
        "api.documents",
        "api.errors",
        "api.http",
        "api.market_hours",
        "api.openapi",
        "api.series",
        "storage.config",
        "storage.market",
        "storage.notify",
        "storage.postgres",
    },
    "api.mcp": {
        "api.access",
        "api.context",
        "api.definitions",
        "api.errors",
        "api.http",
        "api.openapi",
        "storage.record",
    },
    "api.app": {
        "api.access",
        "api.access_log",
        "api.context",
        "api.documents",
        "api.errors",
        "api.http",
        "api.mcp",
        "api.openapi",
        "api.page",
        "api.prometheus",
        "api.readiness",
        "api.routes",
        "api.series",
        "storage.market",
        "storage.notify",
        "storage.postgres",
        "storage.redis",
    },
    "api.__main__": {
        "api.access",
        "api.app",
        "api.http",
        "api.market_watch",
        "api.mcp",
        "api.upkeep",
        "api.watch",
        "storage.config",
        "storage.market",
        "storage.notify",
        "storage.opening",
        "storage.postgres",
        "storage.redis",
    },
}

#: Third-party package → its places. Those of ``ANYWHERE`` have no home.
HOMES: dict[str, set[str]] = {
    "apprise": {"storage.notify"},
    "apscheduler": {"sampler.live"},
    "brotli": {"api.http"},
    "databento": {"sampler.sources"},
    "databento_dbn": {"sampler.sources"},
    "distributed": {"sampler.history"},
    "fastapi": {"api.app", "api.mcp", "api.page", "api.routes"},
    "httpx": {"api.mcp", "sampler.sources", "storage.notify"},
    "markdown_it": {"api.definitions"},
    "mcp": {"api.mcp"},
    "numba": {"sampler.metrics"},
    "pandas_market_calendars": {"storage.market"},
    "pandas": {"storage.research"},
    "polars": {"storage.research"},
    "prometheus_client": {"api.prometheus", "api.routes", "sampler.live"},
    "psycopg": {"storage.postgres"},
    "psycopg_pool": {"storage.postgres"},
    "pyarrow": {"storage.parquet", "storage.research", "sampler.sources", "api.series"},
    "pydantic": {"api.errors", "api.mcp", "api.openapi"},
    "redis": {"storage.redis"},
    "requests": {"sampler.sources"},
    "uvicorn": {"api.http"},
    "uvloop": {"api.__main__"},
    "websockets": {"sampler.sources"},
    "zstandard": {"api.http", "sampler.sources", "storage.record"},
}
#: numpy and orjson are how values are held and sent, structlog is how a process speaks, starlette
#: is the API's own alphabet.
ANYWHERE = {"numpy", "orjson", "structlog"}
ONLY_IN_API = {"starlette"}

#: Names that two packages give to the same thing, or that a process is entered by.
SHARED_NAMES = {
    "main": "how a module is run: python -m",
    "Session": "one trading day: its hours, and how the API serves them",
}


def module(path: Path) -> str:
    """``sampler.live.tick`` of its file."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def place(name: str) -> str:
    """The folder of a module, or the module itself where it stands at the top of a package."""
    return ".".join(name.split(".")[:2])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports: ``from storage import sql`` is ``storage.sql``."""
    modules = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                modules.add(whole if whole in MODULES else node.module)
    return frozenset(modules)


def places(path: Path) -> set[str]:
    """The other places of ours that a file imports."""
    ours = {place(name) for name in imports(path) if name in MODULES}
    return ours - {place(module(path)), *PACKAGES}


def third_party(path: Path) -> set[str]:
    """Packages that are neither ours nor the standard library's."""
    first = {name.split(".")[0] for name in imports(path)}
    return first - set(sys.stdlib_module_names) - set(PACKAGES)


def public_names(path: Path) -> set[str]:
    """Classes, and functions without a leading underscore, at the top of a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
        or (isinstance(node, functions) and not node.name.startswith("_"))
    }


# Folders


def test_every_place_has_its_rule():
    """A new folder, or a new module at the top of a package, says what it may import."""
    there = {place(name) for name in MODULES} - set(PACKAGES)
    assert there == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_are_allowed(path):
    """A file imports the places that its own place may import, and no other."""
    own = place(module(path))
    allowed = MAY_IMPORT.get(own, set()) | {"storage.errors"}
    assert places(path) <= allowed


def test_every_allowance_is_used():
    """The table allows nothing that nobody needs."""
    used = defaultdict(set)
    for path in FILES:
        used[place(module(path))] |= places(path)
    unused = {name: may - used[name] for name, may in MAY_IMPORT.items() if may - used[name]}
    assert unused == {}


def test_packages_import_one_way():
    """storage knows neither neighbour; api and sampler know storage, never each other."""
    allowed = {"storage": {"storage"}, "sampler": {"sampler", "storage"}, "api": {"api", "storage"}}
    for path in FILES:
        ours = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
        assert ours <= allowed[module(path).split(".")[0]], module(path)


def test_no_circle_of_places():
    """No place imports another that leads back to it."""
    below = defaultdict(set)
    for path in FILES:
        below[place(module(path))] |= places(path)
    done: set[str] = set()
    while leaves := {
        p for p in below if p not in done and below[p] <= done | (below[p] - set(below))
    }:
        done |= leaves
    assert set(below) - done == set()


def test_no_circle_of_modules():
    """No module imports another that leads back to it, within a folder or beyond."""
    below = {
        name: {m for m in imports(path) if m in MODULES and m not in PACKAGES} - {name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()
    while leaves := {m for m in below if m not in done and below[m] <= done}:
        done |= leaves
    assert set(below) - done == set()


# Third-party packages


@pytest.mark.parametrize("path", FILES, ids=module)
def test_third_party_packages_have_their_folder(path):
    """Each is imported where it lives and nowhere else."""
    own = place(module(path))
    for package in third_party(path) - ANYWHERE:
        if package in ONLY_IN_API:
            assert own.startswith("api."), package
        else:
            assert own in HOMES[package], package


def test_every_home_is_lived_in():
    """No package has a folder where nothing imports it."""
    used = defaultdict(set)
    for path in FILES:
        for package in third_party(path):
            used[package].add(place(module(path)))
    assert {package: used[package] for package in HOMES} == HOMES


# Names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_means_one_thing_in_a_package(package):
    """No class and no public function has the name of another of its package."""
    where = defaultdict(list)
    for name, path in MODULES.items():
        if name.split(".")[0] == package:
            for public in public_names(path):
                where[public].append(name)
    assert {public for public, modules in where.items() if len(modules) > 1} == set()


def test_a_name_means_one_thing_across_packages():
    """What has one name in two packages is the same thing in both."""
    where = defaultdict(set)
    for name, path in MODULES.items():
        for public in public_names(path):
            where[public].add(name.split(".")[0])
    shared = {public for public, packages in where.items() if len(packages) > 1}
    assert shared == set(SHARED_NAMES)


# What a folder is for


@pytest.mark.parametrize(
    "path",
    sorted(p for p in (ROOT / "sampler/metrics").glob("*.py") if p.stem != "special"),
    ids=module,
)
def test_metrics_are_arithmetic(path):
    """numpy and maths, nothing that reads a clock, a file or a network.

    ``special`` is apart: it compiles, and numba keeps what it compiled on disk.
    """
    maths = {"__future__", "collections", "contextlib", "enum", "functools", "math", "typing"}
    ours = {"sampler", "storage"}
    first = {name.split(".")[0] for name in imports(path)}
    assert first <= maths | ours | {"numpy", "numba"}
    # Of storage the numbers and the rule that are shared, and no more.
    shared = {"storage.market.constants", "storage.market.strikes"}
    assert {m for m in imports(path) if m.startswith("storage")} <= shared


@pytest.mark.parametrize("path", FILES, ids=module)
def test_only_command_lines_read_the_environment(path):
    """os.environ is theirs; the data folder's default and the cache's are the two exceptions."""
    if module(path).endswith("__main__") or module(path) in {
        "storage.config.settings",
        "sampler.metrics.special",
    }:
        return
    assert "os.environ" not in path.read_text()


def test_now_is_called_in_one_place():
    """Time is an argument: only ``storage.market.clock`` reads the machine's clock."""
    readers = {
        name
        for name, path in MODULES.items()
        if "datetime.now(" in path.read_text() or "time.time()" in path.read_text()
    }
    assert readers == {"storage.market.clock"}
