"""Mutation testing: small faults are put into the code, and the tests must notice each of them.

``python -m tests.mutants`` draws faults by a seed from the folders of ``TESTS``, one process, until
its minutes are over, and prints those that no test noticed, and the part that one did.

Ours, because those that exist do not fit here: mutmut switches between variants inside a function,
which compiled loops cannot do, and cosmic-ray starts an interpreter for each mutant. Here a process
that has loaded everything but the product is forked for each. The tree is a copy; nothing of the
checkout is changed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Folder → the tests that must notice a fault in it, the likeliest first.
TESTS = {
    "sampler/metrics": [
        "tests/sampler/measure/test_reference.py",
        "tests/sampler/metrics",
        "tests/sampler/measure",
    ],
    "sampler/measure": ["tests/sampler/measure", "tests/sampler/live/test_tick.py"],
    "storage/postgres": ["tests/storage/postgres", "tests/storage/test_changefeed.py"],
    "api/series": ["tests/api/series"],
}
#: What tests need that is no part of the product: loaded once, before the fork.
PRELOAD = (
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
)
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
#: A mutant may take so many times what the tests of its folder take without one. [s]
SLACK, LEAST_SECONDS = 3.0, 60.0


@dataclass(frozen=True)
class Mutant:
    """One fault: a stretch of a file, and what is put there."""

    path: Path
    line: int
    begin: int
    end: int
    text: str
    was: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.was}  →  {self.text}"


def mutants_of(path: Path, source: str) -> list[Mutant]:
    """Every fault that can be put into a file."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants = []
    for node in _statements(ast.parse(source)):
        for changed in _variants(node):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            was = source.encode()[begin:end].decode()
            text = ast.unparse(changed)
            if isinstance(node, ast.expr):
                text = f"({text})"
            mutants.append(Mutant(path, node.lineno, begin, end, text, " ".join(was.split())))
    return mutants


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that do something: no annotation, docstring, name of a type, or text of a message."""
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
            if message or docstring or typing or strict:
                continue
            yield child
            yield from _statements(child)


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


def draw(tree: Path, folders: list[str], seed: int) -> Iterator[Mutant]:
    """Mutants in an order that the seed alone decides, the folders in turn."""
    queues = []
    for folder in folders:
        mutants = []
        for path in sorted((tree / folder).rglob("*.py")):
            mutants += mutants_of(path.relative_to(tree), path.read_text())
        random.Random(seed).shuffle(mutants)
        queues.append(mutants)
    while any(queues):
        yield from (queue.pop() for queue in queues if queue)


def run(tree: Path, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass, in a fork that loads the product anew."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(tree / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for stream in (0, 1, 2):
            os.dup2(output, stream)
        code = 1
        with contextlib.suppress(BaseException):
            import pytest

            options = ["-x", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not clocked"]
            # What is loaded before the fork cannot be rewritten, and need not be.
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main([*options, *(str(tree / name) for name in tests)]))
            sys.stdout.flush()
        os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def folder_of(mutant: Mutant) -> str:
    """The folder of ``TESTS`` that a mutant is in."""
    return next(folder for folder in TESTS if mutant.path.is_relative_to(folder))


def main() -> None:
    """Draw, try, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn")
    parser.add_argument("--minutes", type=float, default=15.0, help="how long to go on")
    parser.add_argument("folders", nargs="*", default=list(TESTS), help="some of the folders only")
    options = parser.parse_args()
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
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        for module in [m for m in sys.modules if m.partition(".")[0] in {"tests", "storage"}]:
            del sys.modules[module]
        stack.enter_context(_servers(tree))
        for module in PRELOAD:
            __import__(module)
        _report(tree, options.folders, options.seed, options.minutes)


@contextlib.contextmanager
def _servers(tree: Path) -> Iterator[None]:
    """The servers that the tests need, once for all mutants."""
    if os.environ.get("TEST_DATABASE_URL"):
        yield
        return
    code = (
        "import sys, pathlib, tempfile; from storage.embedded.attach import attach\n"
        "folder = pathlib.Path(tempfile.mkdtemp(prefix='flow-test-')); folder.chmod(0o755)\n"
        "with attach(folder, wait=True) as servers:\n"
        "    print(servers.database_url, servers.redis_url, sep='\\t', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tree, **pipes) as process:
        database, redis = process.stdout.readline().strip().split("\t")
        os.environ |= {"TEST_DATABASE_URL": database, "TEST_REDIS_URL": redis}
        try:
            yield
        finally:
            process.stdin.close()


def _report(tree: Path, folders: list[str], seed: int, minutes: float) -> None:
    patience = {}
    for folder in folders:
        begin = time.monotonic()
        if not run(tree, TESTS[folder], 600):
            output = (tree / "output").read_text()[-5000:]
            sys.exit(f"{output}\nthe tests of {folder} fail without a mutant")
        patience[folder] = max(SLACK * (time.monotonic() - begin), LEAST_SECONDS)
        print(f"{folder}: its tests take {time.monotonic() - begin:.0f} s", flush=True)
    end = time.monotonic() + 60 * minutes
    killed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    # Drawn before anything is changed.
    for mutant in list(draw(tree, folders, seed)):
        if time.monotonic() > end:
            break
        folder, original = folder_of(mutant), (tree / mutant.path).read_bytes()
        changed = original[: mutant.begin] + mutant.text.encode() + original[mutant.end :]
        (tree / mutant.path).write_bytes(changed)
        survived = run(tree, TESTS[folder], patience[folder])
        (tree / mutant.path).write_bytes(original)
        tried[folder] += 1
        killed[folder] += not survived
        if survived:
            print(f"survived  {mutant}", flush=True)
        if sum(tried.values()) % 20 == 0:
            print(f"so far {sum(killed.values())} of {sum(tried.values())} noticed", flush=True)
    for folder in folders:
        if tried[folder]:
            share = killed[folder] / tried[folder]
            print(f"{folder:18} {killed[folder]:4} of {tried[folder]:4} noticed, {share:.0%}")
    if total := sum(tried.values()):
        print(
            f"{'all':18} {sum(killed.values()):4} of {total:4} noticed, {sum(killed.values()) / total:.0%}"
        )


if __name__ == "__main__":
    main()
