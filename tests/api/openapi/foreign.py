"""Programs that others wrote, as ``make clients`` installs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(sys.prefix) / "clients"
PYTHON = CLIENTS / "bin" / "python"


def program(name: str) -> Path:
    """A program's path; where it is not installed the test is skipped, in CI it fails."""
    for path in (CLIENTS / "bin" / name, CLIENTS / "node_modules" / ".bin" / name):
        if path.exists():
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed: make clients")
    pytest.skip(f"{name} is not installed: make clients")


def run(command: list[Any], folder: Path, **options: Any) -> str:
    """What a program prints, on either stream; it must end with 0."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLOW_", "PYTHON"))}
    environment |= {
        # The programs find each other, and report to nobody.
        "PATH": f"{CLIENTS / 'bin'}:{CLIENTS / 'node_modules' / '.bin'}:{os.environ['PATH']}",
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
