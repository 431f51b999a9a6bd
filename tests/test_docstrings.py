"""Public functions say what goes in and what comes out, in all three packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("api", "sampler", "storage")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions, and methods of classes, whose name has no leading underscore."""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
            yield child


def missing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The sections that a function with parameters lacks."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if all(argument.arg in ("self", "cls") for argument in arguments):
        return set()
    lines = {line.strip() for line in (ast.get_docstring(function) or "").splitlines()}
    returned = "None" if function.returns is None else ast.unparse(function.returns)
    lacks = {"Parameters"} - lines
    if returned != "None" and not lines & {"Returns", "Yields"}:
        lacks.add("Returns")
    return lacks


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_say_what_goes_in_and_out(path: Path) -> None:
    """A public function with parameters has the sections Parameters, and Returns or Yields."""
    functions = public(ast.parse(path.read_text()))
    lacking = {f.name: sorted(lacks) for f in functions if (lacks := missing(f))}
    assert lacking == {}


def test_the_exception_is_named_as_it_is() -> None:
    """A section Raises names ``ChainRefused``, and not the ``Refused`` of an earlier release."""
    stale = [
        path.name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(line.strip() == "Refused" for line in path.read_text().splitlines())
    ]
    assert stale == []
