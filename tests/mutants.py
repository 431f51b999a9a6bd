"""Mutation testing: small faults are put into the code, and the tests must notice each of them.

``python -m tests.mutants`` draws faults by a seed from each folder of ``TESTS``, puts in one at a
time, runs the tests that reach its lines until the first failure, and prints the faults that no
test noticed, and the part that one did. A fault that makes a test hang is counted by itself.

Which tests reach a line is measured once a folder. Of what numba compiles nobody sees the lines:
every test of the folder that fits is run, and the code is compiled anew for each fault.

Ours, because those that exist do not fit here: mutmut switches between variants inside a function,
which compiled loops cannot do, and cosmic-ray starts an interpreter for each mutant. Here a process
that has loaded everything but the product is forked for each. The tree is a copy; nothing of the
checkout is changed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.equivalent_mutants import EQUIVALENT

if TYPE_CHECKING:
    from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
_MEASURE = [
    "tests/sampler/metrics",
    "tests/sampler/measure",
    "tests/sampler/test_chain.py",
    "tests/sampler/test_hostile.py",
    "tests/sampler/test_twins.py",
    "tests/sampler/live/test_revised.py",
    "tests/sampler/history/test_interest_and_expiry.py",
    "tests/sampler/history/test_explain.py",
]
_POSTGRES = (
    "bad_servers",
    "binary",
    "coverage",
    "encrypted",
    "forecast",
    "grants",
    "lease",
    "migrations",
    "overdue",
    "profiles",
    "store",
    "timescale",
    "timescale_statements",
)
_POSTGRES += ("validate", "windows", "write")
#: Folder → the tests that may notice a fault in it.
TESTS = {
    "sampler/metrics": [
        "tests/sampler/metrics",
        "tests/sampler/measure/test_reference.py",
        "tests/sampler/measure/test_snapshot.py",
        "tests/sampler/measure/test_properties.py",
        "tests/sampler/measure/test_volume.py",
    ],
    "sampler/measure": _MEASURE,
    "storage/postgres": [
        *(f"tests/storage/postgres/test_{name}.py" for name in _POSTGRES),
        "tests/storage/test_backup.py",
        "tests/storage/test_changefeed.py",
        "tests/storage/test_commands.py",
        "tests/storage/test_messenger.py",
        "tests/storage/doctor",
        "tests/api/access/test_keys.py",
        "tests/api/access/test_commands.py",
        "tests/api/test_prometheus.py",
    ],
    "api/series": ["tests/api/series", "tests/api/test_app.py"],
}
#: Folders of compiled loops, of which no coverage sees the lines.
COMPILED = {"sampler/metrics"}
#: Tests that take longer than this are run after the others. Of all that reach a fault no more are
#: begun than take so long without one. [s]
QUICK, BUDGET = 0.5, 60.0
_FEW = 5
#: What tests need that is no part of the product: loaded once, before the fork.
PRELOAD = (
    "coverage",
    "hypothesis",
    "mpmath",
    "numba",
    "numpy",
    "orjson",
    "pandas_market_calendars",
    "psycopg",
    "psycopg_pool",
    "pyarrow.parquet",
    "pytest",
    "scipy.special",
    "scipy.stats",
    "fastapi",
    "httpx",
    "fakeredis",
    "polars",
    "pytest_asyncio.plugin",
    "redis.asyncio",
    "structlog",
    "uvicorn",
    "valkey",
)
OPTIONS = [
    *("-x", "--tb=line", "-p", "no:cacheprovider", "-m", "not clocked"),
    # The plugins that these tests need; to load all that are installed takes a second.
    *("-p", "pytest_asyncio.plugin", "-p", "_hypothesis_pytestplugin"),
    # A mutant is noticed by each run of the tests or by none.
    "--hypothesis-seed=0",
    # What is loaded before the fork cannot be rewritten, and need not be.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]
COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: A mutant may take so many times what its tests take without one, and this much more. [s]
SLACK, LEAST_SECONDS = 5.0, 30.0


@dataclass(frozen=True)
class Mutant:
    """One fault: a stretch of a file, and what is put there."""

    path: Path
    line: int
    #: From the first line of its statement to its own last.
    lines: range
    begin: int
    end: int
    text: str
    was: str
    #: The line that it begins on.
    stands: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is, wherever in its file it stands."""
        return str(self.path), self.stands, f"{self.was} → {self.text}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.stands}\n    {self.was}  →  {self.text}"


def mutants_of(path: Path, source: str) -> list[Mutant]:
    """Every fault that can be put into a file."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants = []
    for statement, node in _parts(ast.parse(source), 0):
        for changed in _variants(node):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            was = source.encode()[begin:end].decode()
            text = ast.unparse(changed)
            if isinstance(node, ast.expr):
                text = f"({text})"
            stands = source.splitlines()[node.lineno - 1].strip()
            lines = range(statement, node.end_lineno + 1)
            was = " ".join(was.split())
            mutants.append(Mutant(path, node.lineno, lines, begin, end, text, was, stands))
    return mutants


def _parts(tree: ast.AST, statement: int) -> Iterator[tuple[int, ast.AST]]:
    """Nodes that do something, each with the first line of its statement.

    No annotation, docstring, name of a type, or text of a message.
    """
    for name, value in ast.iter_fields(tree):
        if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            message = isinstance(child, ast.JoinedStr | ast.Raise | ast.Assert)
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            # zip's own check, that no right code trips.
            strict = isinstance(child, ast.keyword) and child.arg == "strict"
            if message or docstring or typing or strict or _is_log(child):
                continue
            begin = child.lineno if isinstance(child, ast.stmt) else statement
            yield begin, child
            yield from _parts(child, begin)


def _is_log(node: ast.AST) -> bool:
    """Whether a node is a statement that only writes a line of the log."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func).startswith("log.")


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What may be wrong about a node, one fault each."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        yield ast.Compare(
            node.left, [COMPARE[type(node.ops[0])](), *node.ops[1:]], node.comparators
        )
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not (isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)):
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield ast.Call(ast.Name(CALLS[node.func.id]), node.args, node.keywords)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await):
        # A call for its effect is left out.
        yield ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None:
        if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Continue | ast.Break):
        yield ast.Pass()


def draw(tree: Path, folder: str, seed: int) -> list[Mutant]:
    """A folder's mutants in an order that the seed alone decides, without the equivalent ones."""
    mutants = []
    for path in sorted((tree / folder).rglob("*.py")):
        mutants += mutants_of(path.relative_to(tree), path.read_text())
    random.Random(seed).shuffle(mutants)
    return [mutant for mutant in mutants if mutant.key not in EQUIVALENT]


class Watch:
    """A plugin of the tests: how long each takes, and what it reaches."""

    def __init__(self, coverage: Coverage) -> None:
        """Name the coverage that is switched to each test."""
        self.coverage = coverage
        self.seconds: Counter[str] = Counter()
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Count what is reached for the test's preparation."""
        self.coverage.switch_context(f"{nodeid}|setup")

    def pytest_runtest_call(self, item: Any) -> None:
        """Count what is reached for the test."""
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_teardown(self) -> None:
        """Count what is reached for no test."""
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up how long the test takes."""
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def fork(tree: Path, tests: list[str], seconds: float, body: Callable[..., int]) -> int | None:
    """The exit status of ``body`` in a fork that loads the product anew; None when out of time."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(tree / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for stream in (0, 1, 2):
            os.dup2(output, stream)
        code = 1
        try:
            code = body([*OPTIONS, *tests])
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@dataclass
class Map:
    """Which tests reach which line of a folder, and how long each takes."""

    #: File → line → tests; with ``|setup`` behind a test's name by its preparation.
    lines: dict[str, dict[int, set[str]]]
    seconds: dict[str, float]
    compiled: bool

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that reach a mutant: those of its module first, then the quick ones."""
        lines = self.lines.get(str(mutant.path), {})
        reached = set().union(*(lines.get(line, ()) for line in mutant.lines))
        if "" in reached:
            # What an import runs concerns every test that runs something of the module.
            reached = set().union(*lines.values())
        if self.compiled and len(reached - {""}) < _FEW:
            # Compiled, or compiling: that is done in the first test alone.
            reached = set().union(
                *(names for file in self.lines.values() for names in file.values())
            )
        tests = {name.removesuffix("|setup") for name in reached}
        # A fixture that is made once for a file is counted for the file's first test alone.
        files = {file_of(name) for name in reached if name.endswith("|setup")}
        tests |= {name for name in self.seconds if file_of(name) in files}
        tests &= set(self.seconds)
        spent: Counter[str] = Counter()
        for name in tests:
            spent[file_of(name)] += self.seconds[name]

        def order(name: str) -> tuple[bool, bool, float, str, float]:
            file, seconds = file_of(name), self.seconds[name]
            other = not file.endswith(f"/test_{mutant.path.stem}.py")
            # Those of a file stay together: what they share is made once.
            return other, seconds > QUICK, spent[file], file, seconds

        ordered = sorted(tests, key=order)
        passed = itertools.accumulate(self.seconds[name] for name in ordered)
        # The first may compile for longer than the budget, and is run all the same.
        return [
            name
            for name, until in zip(ordered, passed, strict=True)
            if until - self.seconds[name] <= BUDGET
        ]


def file_of(test: str) -> str:
    """The file of a test."""
    return test.partition("::")[0]


def map_of(tree: Path, folder: str) -> Map:
    """Run a folder's tests once without a mutant, and note what each of them reaches."""
    import coverage

    data_file = str(tree / ".coverage")

    def body(options: list[str]) -> int:
        import pytest

        watched = [f"{tree / folder}/*"]
        cov = coverage.Coverage(data_file, include=watched, config_file=False, messages=False)
        watch = Watch(cov)
        cov.start()
        code = int(pytest.main([*options, "--maxfail=0"], plugins=[watch]))
        cov.stop()
        cov.save()
        (tree / "watched").write_text(json.dumps([watch.seconds, sorted(watch.failed)]))
        # A busy machine fails a test or two that wait: they notice nothing then.
        return 0 if len(watch.failed) <= len(watch.seconds) // 50 else code

    if code := fork(tree, TESTS[folder], 1800, body):
        sys.exit(f"{(tree / 'output').read_text()[-5000:]}\n{folder}: {code} without a mutant")
    data = coverage.CoverageData(data_file)
    data.read()
    lines = {}
    for file in data.measured_files():
        contexts = data.contexts_by_lineno(file)
        lines[str(Path(file).relative_to(tree))] = {k: set(v) for k, v in contexts.items()}
    seconds, failed = json.loads((tree / "watched").read_text())
    for name in failed:
        print(f"fails without a mutant, and is left out: {name}", flush=True)
        del seconds[name]
    return Map(lines, seconds, folder in COMPILED)


def verdict(tree: Path, mutant: Mutant, reach: Map) -> str:
    """Killed, hung, survived, or reached by no test."""
    tests = reach.tests(mutant)
    if not tests:
        return "unreached"

    def body(options: list[str]) -> int:
        import pytest

        return int(pytest.main(options))

    limit = LEAST_SECONDS + SLACK * sum(reach.seconds[name] for name in tests)
    code = fork(tree, tests, limit, body)
    return {0: "survived", None: "hung"}.get(code, "killed")


def judge(tree: Path, mutant: Mutant, reach: Map) -> str:
    """Put a mutant in, run the tests that reach it, and take it out."""
    file = tree / mutant.path
    original, times = file.read_bytes(), file.stat()
    file.write_bytes(original[: mutant.begin] + mutant.text.encode() + original[mutant.end :])
    try:
        return verdict(tree, mutant, reach)
    finally:
        file.write_bytes(original)
        # What was compiled of the original is then used again.
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def main() -> None:
    """Draw, try, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn")
    parser.add_argument("--count", type=int, default=60, help="how many of each folder")
    parser.add_argument("--lines", nargs="*", help="all mutants of these lines: file:number")
    parser.add_argument("--maps", type=Path, help="where to keep which test reaches which line")
    parser.add_argument("folders", nargs="*", default=list(TESTS), help="some of the folders only")
    options = parser.parse_args()
    options.maps = options.maps and options.maps.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="flow-mutants-") as name,
        contextlib.ExitStack() as stack,
    ):
        tree = Path(name).resolve()
        tree.chmod(0o755)
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
        ).stdout.split(b"\0")
        for file in map(os.fsdecode, filter(None, files)):
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, tree / file)
        os.chdir(tree)
        sys.path[:] = [str(tree), str(tree / "tests"), *(p for p in sys.path if p != str(ROOT))]
        os.environ["PYTHONPATH"] = str(tree)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        stack.enter_context(_servers(tree))
        for module in PRELOAD:
            __import__(module)
        for module in [m for m in sys.modules if m.partition(".")[0] in {"tests", "storage"}]:
            del sys.modules[module]
        for folder in options.folders:
            _report(tree, folder, options)


@contextlib.contextmanager
def _servers(tree: Path) -> Iterator[None]:
    """The servers that the tests need, once for all mutants."""
    code = (
        "import os, sys, pathlib, tempfile\n"
        "from storage.embedded.attach import attach\n"
        "from tests.conftest import make_template\n"
        "folder = pathlib.Path(tempfile.mkdtemp(prefix='flow-test-')); folder.chmod(0o755)\n"
        "with attach(folder, wait=True) as servers:\n"
        "    make_template(servers.database_url, 'flow_template')\n"
        "    print(servers.database_url, servers.redis_url, sep='\\t', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tree, **pipes) as process:
        database, redis = process.stdout.readline().strip().split("\t")
        os.environ |= {"TEST_DATABASE_URL": database, "TEST_REDIS_URL": redis}
        # Migrated once, by the original.
        os.environ["TEST_TEMPLATE"] = "flow_template"
        try:
            yield
        finally:
            process.stdin.close()


def _report(tree: Path, folder: str, options: argparse.Namespace) -> None:
    begin = time.monotonic()
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    stored_map = options.maps and options.maps / f"{folder.replace('/', '-')}.pickle"
    reach = (
        pickle.loads(stored_map.read_bytes())
        if stored_map and stored_map.exists()
        else map_of(tree, folder)
    )
    if stored_map:
        stored_map.write_bytes(pickle.dumps(reach))
    # Only the bytecode of the original is kept.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    print(f"{folder}: {len(reach.seconds)} tests in {time.monotonic() - begin:.0f} s", flush=True)
    mutants = draw(tree, folder, options.seed)
    drawn = mutants[: options.count]
    if options.lines:
        drawn = [m for m in mutants if f"{m.path}:{m.line}" in options.lines]
    verdicts: Counter[str] = Counter()
    begin = time.monotonic()
    for mutant in drawn:
        verdict_of = judge(tree, mutant, reach)
        verdicts[verdict_of] += 1
        if not verdicts.total() % 10:
            print(f"{verdicts.total()} of {len(drawn)}: {dict(verdicts)}", flush=True)
        if verdict_of != "killed":
            print(f"{verdict_of:9} {mutant}", flush=True)
    lived = verdicts["survived"] + verdicts["unreached"]
    print(
        f"{folder}: seed {options.seed}, {len(drawn)} of {len(mutants)} mutants:"
        f" {verdicts['killed']} killed, {verdicts['hung']} hung, {verdicts['survived']} survived,"
        f" {verdicts['unreached']} on lines that no test reaches:"
        f" {1 - lived / max(len(drawn), 1):.0%} noticed, in {time.monotonic() - begin:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
