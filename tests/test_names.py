"""Names of variables, parameters and functions say what they hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("api", "sampler", "storage", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

#: Names that say that something was got, and not what it is.
WEAK_NAMES = {
    "asked",
    "at",
    "found",
    "given",
    "kept",
    "made",
    "of",
    "one",
    "part",
    "said",
    "seen",
    "told",
}
#: ``Prints.at`` and ``Print.at`` are when prints traded; ``at(3)`` is when the third slot begins.
ALLOWED = {
    ("sampler/sources/trades.py", "at"),
    ("tests/vendors/tape.py", "at"),
    ("tests/factories.py", "at"),
}


def given_names(path: Path) -> set[tuple[int, str]]:
    """Line and name of every variable, attribute, parameter and function that a file makes.

    Methods are left out: they are read with the name of what they belong to.
    """
    nodes = list(ast.walk(ast.parse(path.read_text())))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    methods = {m for node in nodes if isinstance(node, ast.ClassDef) for m in node.body}
    names = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add((node.lineno, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add((node.lineno, node.attr))
        elif isinstance(node, ast.arg):
            names.add((node.lineno, node.arg))
        elif isinstance(node, functions) and node not in methods:
            names.add((node.lineno, node.name))
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_they_hold(path: Path) -> None:
    """No variable, attribute, parameter or function has one of the weak names."""
    file = str(path.relative_to(ROOT))
    weak = [(line, name) for line, name in sorted(given_names(path)) if name in WEAK_NAMES]
    assert [(line, name) for line, name in weak if (file, name) not in ALLOWED] == []
