"""Ctrl-C while a program loads its modules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import ROOT

#: A program that gets SIGINT from itself when it first asks for a module.
INTERRUPTED_AT = """
import os, runpy, signal, sys

module, program, *sys.argv[1:] = sys.argv[1:]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            print("interrupted", flush=True)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
if program.endswith(".py"):
    sys.path.insert(0, os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")
else:
    runpy.run_module(program, run_name="__main__", alter_sys=True)
"""

PROGRAMS = {
    "sampler": ("argparse", "structlog", "numpy", "sampler.sources.synthetic"),
    "storage": ("argparse", "structlog", "psycopg", "storage.postgres.dump"),
    "api": ("argparse", "structlog", "uvloop", "api.watch"),
    "deploy/run.py": ("honcho.manager", "part", "storage.opening"),
}


@pytest.mark.parametrize(
    ("program", "module"), [(p, module) for p, modules in PROGRAMS.items() for module in modules]
)
def test_interrupted_while_loading(program, module, tmp_path):
    """Whatever it is about to load, the program ends by the signal and writes nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, module, program, "--version"],
        cwd=ROOT,
        env=os.environ | {"FLOW_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")
    assert ended.returncode == -signal.SIGINT
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize("program", [p for p in PROGRAMS if not p.endswith(".py")])
def test_loaded(program):
    """Once a program is loaded, Ctrl-C is an exception that its command can answer."""
    look = (
        f"import signal, {program}.__main__;"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True, timeout=60)


def test_a_handler_of_its_own():
    """A process that ignores Ctrl-C, as a child of another program may, goes on ignoring it."""
    look = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "import storage.__main__;"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    )
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True, timeout=60)
